# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What the commands need to run a model on data: both, a device, and the arguments that say how."""

import argparse
import gc
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import torch
    from datasets import DatasetDict
    from transformers import PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor

    from .recipe import DataArguments


def load_config(model_name: str) -> "PreTrainedConfig":
    """The configuration of a model folder or Hub name. Raises `ValueError` where there is none."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(model_name)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{model_name} is neither a model folder nor a model that the Hugging Face Hub gives: {error}"
        ) from error


def make_config(model_type: str, checkpoint: str | None, settings: dict) -> "PreTrainedConfig":
    """
    The configuration of a model to train: of a new one of this type, or of a checkpoint, with a recipe's settings.

    Raises:
        ValueError: a model of this type has no such setting.
    """
    from transformers import AutoConfig

    if checkpoint is None:
        config = AutoConfig.for_model(model_type, **settings)
    else:
        config = AutoConfig.from_pretrained(checkpoint, **settings)
    unknown = [name for name in settings if not hasattr(type(config)(), name)]
    if unknown:
        raise ValueError(f"a model of type {config.model_type} has no setting {unknown[0]!r}; correct the recipe")
    return config


def make_feature_extractor(config: "PreTrainedConfig", settings: dict) -> "SequenceFeatureExtractor":
    """A feature extractor for a new model, with a recipe's settings."""
    from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING

    if config.model_type == "sam_audio":
        settings = {**settings, "frontend": config.frontend, "feature_size": config.feature_size}
    return FEATURE_EXTRACTOR_MAPPING[type(config)](**settings)


def load_feature_extractor(model_name: str, config: "PreTrainedConfig") -> "SequenceFeatureExtractor":
    """
    The feature extractor of a model folder or Hub name.

    The repositories that the authors of SSLAM and EAT publish have no preprocessor_config.json. The defaults of
    [`SSLAMFeatureExtractor`] are what those models were trained with.
    """
    from transformers import AutoFeatureExtractor

    try:
        return AutoFeatureExtractor.from_pretrained(model_name)
    except OSError:
        if config.model_type not in ("eat", "sslam"):
            raise
    from ..feature_extraction.feature_extraction_sslam import SSLAMFeatureExtractor

    print(f"{model_name} has no preprocessor_config.json; taking the published models' settings.", file=sys.stderr)
    feature_extractor = SSLAMFeatureExtractor(config.num_mel_bins)
    feature_extractor.max_length = min(feature_extractor.max_length, config.max_time_patches * config.patch_size)
    return feature_extractor


def load_classifier(model_name: str, *, of_frames: bool = False) -> "PreTrainedModel":
    """A classifier that is ready to use. Raises `ValueError` for a model whose classifier has never been trained."""
    from transformers import AutoModelForAudioClassification, AutoModelForAudioFrameClassification

    auto_class = AutoModelForAudioFrameClassification if of_frames else AutoModelForAudioClassification
    model, info = auto_class.from_pretrained(model_name, config=load_config(model_name), output_loading_info=True)
    if info["missing_keys"]:
        raise ValueError(
            f"{model_name} is no trained classifier: it lacks {', '.join(sorted(info['missing_keys'])[:3])}. "
            "Fine-tune it with `polyaudio train --model-name-or-path` first."
        )
    return model.eval()


def choose_device(name: str | None) -> "torch.device":
    """The device of this name, or the accelerator where there is one. Raises `ValueError` for one that is not."""
    import torch

    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name is None:
        return accelerator or torch.device("cpu")
    there = ["cpu"] + ([accelerator.type] if accelerator else [])
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"there is no device {name!r}; here are {' and '.join(there)}") from error
    if device.type not in there or (device.index or 0) >= max(1, torch.accelerator.device_count()):
        raise ValueError(f"this machine has no device {name!r}; here are {' and '.join(there)}")
    return device


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of a command that runs a model on audio files."""
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="audio file, or a folder, which stands for all audio files below it"
    )
    parser.add_argument("--model", required=True, help="model folder or Hub name")
    parser.add_argument(
        "--batch-size",
        type=_positive(int),
        default=8,
        metavar="N",
        help="windows at a time (8); those of models of other packages than polyaudio go one by one",
    )
    parser.add_argument(
        "--window",
        type=_positive(float),
        metavar="SECONDS",
        help="cut longer clips into windows of so many seconds; by default SSLAM models get windows of the length "
        "that their feature extractor is set to (10.24 s for the published ones) and others get whole clips",
    )
    parser.add_argument(
        "--padding",
        choices=("longest", "max_length"),
        default="longest",
        help="longest: a clip is taken at its own length, and the model does not see padding; max_length, for SSLAM "
        "models: each clip is padded to a whole window, and the model takes the padding for sound, as the original "
        "scripts do",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps ...; by default the accelerator where there is one")
    parser.add_argument(
        "--workers",
        type=_positive(int, or_zero=True),
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="processes that read files (%(default)s)",
    )


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say how the clips of a dataset are labelled."""
    parser.add_argument("--label-column", metavar="NAME", help="column with the class, or with a list of classes")
    parser.add_argument(
        "--label-columns", nargs="+", metavar="NAME", help="columns of 0 and 1, each of them named like a class"
    )
    parser.add_argument("--label-separator", metavar="TEXT", help="what stands between classes in a label of text")
    parser.add_argument("--group-column", metavar="NAME", help="column with the recording a clip comes from")


def load_labelled(args: "argparse.Namespace | DataArguments", fold_column: str | None = None) -> "DatasetDict":
    """The clips that the arguments of a command name."""
    from ..data.loading import load_clips

    return load_clips(
        args.dataset,
        audio_column=args.audio_column,
        label_column=args.label_column,
        label_columns=args.label_columns,
        label_separator=args.label_separator,
        group_column=args.group_column,
        fold_column=fold_column,
    )


def leave_together() -> None:
    """
    End the process group of a run of several processes, where there is one.

    One that exits while another still uses the group, or with a model that is still bound to it, can abort.
    """
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def last_checkpoint(output_dir: str) -> str:
    """
    The newest complete checkpoint folder of a run: one that was being written when the run was killed does not count.

    Raises:
        ValueError: there is none.
    """

    def is_complete(folder: Path) -> bool:
        try:  # the file that Trainer writes last
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return True

    folders = {folder.name.rpartition("-")[2]: folder for folder in Path(output_dir).glob("checkpoint-*")}
    complete = [int(step) for step, folder in folders.items() if step.isdecimal() and is_complete(folder)]
    if not complete:
        raise ValueError(f"there is no checkpoint in {output_dir} to resume from; leave --resume out to start anew")
    return str(folders[str(max(complete))])


def _positive(kind: type, or_zero: bool = False):
    def convert(text: str):
        value = kind(text)
        if not (0 < value < float("inf") or (or_zero and value == 0)):
            raise ValueError
        return value

    convert.__name__ = f"positive {kind.__name__}"  # for argparse's message
    return convert
