# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What a run is: the data, the labels, the model and the settings that its result follows from."""

import json
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset
from transformers import PreTrainedConfig, SequenceFeatureExtractor, TrainingArguments

from ..data.digests import digest_of_audio, digest_of_values
from ..data.folders import finite, write_json
from ..data.given import digest_of_given, given_columns
from ..modeling.digests import digest_of_model
from .models import ModelSource


# A Trainer does not push files whose names begin with an underscore
RUN_FILE = "_run.json"

# The arguments of a Trainer that do not change the result of a run: where and how fast it computes, what it shows and
# keeps, and where the result goes
_FREE_ARGUMENTS = frozenset(
    {
        *("output_dir", "resume_from_checkpoint", "do_train", "do_eval", "do_predict", "save_total_limit"),
        *("save_only_model", "save_on_each_node", "enable_jit_checkpoint"),
        *("restore_callback_states_from_checkpoint", "disable_tqdm", "report_to", "run_name", "project"),
        *("debug", "skip_memory_metrics", "log_on_each_node", "include_num_input_tokens_seen"),
        *("include_for_metrics", "remove_unused_columns", "label_names", "use_cpu", "local_rank", "fsdp"),
        *("fsdp_config", "deepspeed", "parallelism_config", "torch_compile", "torch_compile_backend"),
        *("torch_compile_mode", "torch_empty_cache_steps", "use_liger_kernel", "liger_kernel_config"),
        *("activation_checkpointing", "activation_checkpointing_kwargs", "gradient_checkpointing"),
        *("gradient_checkpointing_kwargs", "use_cache", "full_determinism", "per_device_eval_batch_size"),
        *("eval_accumulation_steps", "eval_do_concat_batches", "eval_use_gather_object", "batch_eval_metrics"),
        *("push_to_hub", "dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers"),
        *("dataloader_prefetch_factor", "dataloader_multiprocessing_context"),
    }
)
_FREE_PREFIXES = ("logging_", "log_level", "hub_", "trackio_", "ddp_")
# Settings of the data that its digests show, or that only decide whether a run is refused
_FREE_DATA = frozenset(
    {
        *("audio_column", "label_column", "label_columns", "label_separator", "group_column", "allow_leak"),
        *("skip_leak_check", "group_by", "data_home", "outliers"),
    }
)
# Parts of a configuration or a feature extractor that repeat the labels, or that only loading needs
_FREE_CONFIG = frozenset(
    {
        *("id2label", "label2id", "num_labels", "architectures", "auto_map", "custom_pipelines"),
        *("transformers_version", "_name_or_path", "dtype", "torch_dtype"),
    }
)
_MOST_SHOWN = 60


@dataclass(frozen=True)
class RunIdentity:
    """
    What a run began with. Two runs with the same identity have the same result.

    Args:
        command: `"train"` or `"pretrain"`.
        dataset: name of the dataset, for messages. A dataset that was renamed is the same.
        splits: of each split the number of clips and the digests of their audio and of their labels, or of a stream
            its name and the number of its shards.
        labels: the names of the classes, in the order of the outputs of the model.
        weights: the digest of the model that the run starts from; `None` for a new model.
        config: the configuration of the model.
        feature_extractor: the settings of the feature extractor.
        settings: the other settings that the result follows from.
    """

    command: str
    dataset: str
    splits: Mapping[str, Mapping[str, Any]]
    labels: Sequence[str]
    weights: str | None
    config: Mapping[str, Any]
    feature_extractor: Mapping[str, Any]
    settings: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        command: str,
        dataset: str,
        splits: Mapping[str, Mapping[str, Any]],
        labels: Sequence[str],
        source: ModelSource,
        config: PreTrainedConfig,
        feature_extractor: SequenceFeatureExtractor,
        args: TrainingArguments,
        **settings: Any,
    ) -> "RunIdentity":
        """
        The identity of a run.

        Args:
            command, dataset, splits, labels: as above.
            source: where the model comes from.
            config, feature_extractor: those of the model that is trained.
            args: the arguments of the Trainer, as it gets them.
            settings: the other settings, as dataclasses or values.
        """
        start = source.model if source.checkpoint is None else source.checkpoint
        start = source.encoder if start is None else start
        values: dict[str, Any] = {}
        for name, value in settings.items():
            values |= asdict(value) if is_dataclass(value) and not isinstance(value, type) else {name: value}
        identity = cls(
            command,
            dataset,
            splits,
            list(labels),
            None if start is None else digest_of_model(start),
            _without(config.to_dict(), _FREE_CONFIG),
            _without(feature_extractor.to_dict(), _FREE_CONFIG),
            _without(values, _FREE_DATA) | _settings_of_training(args, in_stream=bool(values.get("streaming"))),
        )
        # As it will be read again: tuples are lists then, and keys are texts
        return cls(**json.loads(json.dumps(finite(asdict(identity)), default=str)))

    @classmethod
    def read(cls, folder: Path) -> "RunIdentity | None":
        """
        The identity of the run in a folder; `None` if it has none.

        Raises:
            ValueError: the file is damaged.
        """
        path = folder / RUN_FILE
        if not path.is_file():
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is damaged ({error}), so the run cannot be compared with the one that was asked for. Start a "
                "new run with overwrite (--overwrite), or in another output_dir (--output-dir)."
            ) from error

    def write(self, folder: Path) -> None:
        """Write the identity to the folder of a run, whole or not at all."""
        write_json(folder / RUN_FILE, asdict(self))

    def difference(self, began: "RunIdentity") -> str | None:
        """The first difference from a run that began before, in words; `None` if there is none."""
        if self.command != began.command:
            return f"it is a run of `polyaudio {began.command}`"
        if self.labels != began.labels:
            return f"its classes were {_shown(began.labels)} and are now {_shown(self.labels)}, in this order"
        data = _difference_of_splits(self.splits, began.splits)
        if data is not None:
            return f"{data} (it began with the dataset {began.dataset}, now it is {self.dataset})"
        if self.weights != began.weights:
            return "it began with the weights of another model"
        return (  # first those that a user sets, from which some of the others follow
            _difference_of_settings(self.settings, began.settings, "")
            or _difference_of_settings(self.config, began.config, " of the model")
            or _difference_of_settings(self.feature_extractor, began.feature_extractor, " of the feature extractor")
        )


def describe_split(clips: Dataset | IterableDataset, name: str, known: MutableMapping[str, str]) -> dict[str, Any]:
    """
    The part of an identity for a split.

    Args:
        clips: columns `audio` and, with labels, `label` and `recording`; or a stream.
        name: the name of the dataset, which stands for the audio of a stream.
        known: the digests of files that were computed before; see [`digest_of_audio`].
    """
    if isinstance(clips, IterableDataset):
        return {"stream": name, "shards": clips.num_shards}
    labels = [clips[column][:] for column in ("label", "recording") if column in clips.column_names]
    given = {"given": digest_of_given(clips, known)} if given_columns(clips) else {}
    return {"clips": len(clips), "labels": digest_of_values(labels), "audio": digest_of_audio(clips, known), **given}


def _settings_of_training(args: TrainingArguments, *, in_stream: bool) -> dict[str, Any]:
    """The arguments of a Trainer that change the result, and the number of devices that share a step."""
    free = set(_FREE_ARGUMENTS)
    if not args.load_best_model_at_end:  # otherwise the checkpoints are what the best one is chosen from
        free |= {"save_strategy", "save_steps"}
    if in_stream:  # its order depends on the number of those who read it
        free.remove("dataloader_num_workers")
    values = {name: value for name, value in args.to_dict().items() if not name.startswith(_FREE_PREFIXES)}
    return _without(values, free) | {"devices": args.world_size * max(1, args.n_gpu)}


def _without(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _difference_of_splits(now: Mapping[str, Mapping[str, Any]], began: Mapping[str, Mapping[str, Any]]) -> str | None:
    if now.keys() != began.keys():
        return f"its splits were {_shown(list(began))} and are now {_shown(list(now))}"
    for split, own in now.items():
        other = began[split]
        if own.get("clips") != other.get("clips"):
            return f"{split} had {other.get('clips')} clips and has now {own.get('clips')}"
        if own.get("audio") != other.get("audio"):
            return f"the audio of {split} has changed"
        if own.get("given") != other.get("given"):
            return f"the given tonics or pitch tracks of {split} have changed"
        if own != other:
            return f"the labels, or the recordings, of the clips of {split} have changed"
    return None


def _difference_of_settings(now: Mapping[str, Any], began: Mapping[str, Any], owner: str) -> str | None:
    # A setting that only one of them has is new in another version. The type of a model says most.
    for name in sorted(now.keys() & began.keys(), key=lambda name: (name != "model_type", name)):
        if now[name] != began[name]:
            return f"{name}{owner} was {_shown(began[name])} and is now {_shown(now[name])}"
    return None


def _shown(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
