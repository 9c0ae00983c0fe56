# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Self-supervised pre-training on recordings without labels."""

import itertools
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset, DatasetDict, IterableDataset
from transformers import BatchFeature, PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor, set_seed

from ..augmentation.waveforms import RollAndGain
from ..data.loading import load_recordings, name_of
from ..data.readable import drop_unreadable, report_bad_clips
from ..data.streams import StreamedWindows
from ..data.windows import WaveformWindows
from ..evaluation.plots import plot_losses
from ..hub.model_card import RunDescription, environment, write_pretraining_card
from ..hub.push import push_run
from ..integration.moved import getter_of_moved_names
from .arguments import PretrainingArguments, WindowArguments, for_audio
from .identity import RunIdentity, describe_split
from .models import ModelSource, build_pretraining_model
from .pretrainer import PreTrainer, PretrainingCollator, plot_mixtures
from .runs import begin, check_folder, checkpoint_of, hold_folder


logger = logging.getLogger(__name__)

if not TYPE_CHECKING:  # mypy would take every name to exist
    __getattr__ = getter_of_moved_names(__name__)


@dataclass(frozen=True)
class PretrainingResult:
    """
    Attributes:
        model: the pre-trained model.
        feature_extractor: the model's.
        folder: the model folder, with its card and a plot of the losses.
        history: the logged values, `state.log_history` of the Trainer.
        commit_url: URL of the commit on the Hub, with `args.push_to_hub`.
    """

    model: PreTrainedModel
    feature_extractor: SequenceFeatureExtractor
    folder: Path
    history: list[dict[str, Any]]
    commit_url: str | None = None


def pretrain(
    dataset: str | os.PathLike | Dataset | DatasetDict,
    model: str | os.PathLike | PreTrainedConfig | PreTrainedModel | ModelSource,
    args: PretrainingArguments | None = None,
    *,
    windows: WindowArguments | None = None,
    plot_mixtures_of: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    recipe: str | None = None,
    command: str | None = None,
) -> PretrainingResult:
    """
    Pre-train a model on random windows of recordings without labels, and write a complete model folder.

    Args:
        dataset: a Hub name, a folder, `"ragas"`, or a dataset with an audio column; see `load_recordings`.
        model: the model to train: a folder or Hub name, a configuration for a new model, or a model, whose weights are
            copied.
        args: output folder, updates, learning rate and so on, by default `PretrainingArguments()`.
        windows: column, split and length of the windows, by default 10 s.
        plot_mixtures_of: number of clips whose mixtures are plotted in `mixtures.png` before training. For stage 2 of
            SSLAM only.
        resume: continue from the newest complete checkpoint in the output folder. Data, model and settings must be
            those that the run began with; workers, device, logging and upload may differ. Of a stream, only the name
            of the dataset and the number of its shards are compared.
        overwrite: replace a run that the output folder holds. Its files are removed, and other files stay.
        recipe: name of the recipe that the settings come from, for the model card.
        command: the command line of the run, for the model card.

    The objects that you pass are not changed.

    Returns:
        The model, its feature extractor and its folder.

    Raises:
        ValueError: the dataset cannot be read, the settings contradict each other or the model, the output folder
            holds another run, or another run is using it.
        CollapseError: the model has collapsed.

    Example:

    ```python
    >>> from polyaudio import PretrainingArguments, SSLAMConfig, pretrain

    >>> args = PretrainingArguments("runs/stage1", max_steps=800)  # doctest: +SKIP
    >>> pretrain("recordings/", SSLAMConfig(clone_batch=4), args)  # doctest: +SKIP
    ```
    """
    args, windows = for_audio(args or PretrainingArguments()), windows or WindowArguments()
    source = ModelSource.of(model)
    if args.n_gpu > 1:
        raise ValueError(
            "Start one process for each GPU, with accelerate launch (accelerate launch -m polyaudio.scripts.pretrain)."
        )
    with hold_folder(args) as folder:
        check_folder(folder, source, args, resume=resume, overwrite=overwrite)
        set_seed(args.seed)
        learner, feature_extractor = build_pretraining_model(source, windows.crop_seconds)
        clips = _load_windows(dataset, windows, feature_extractor.sampling_rate, args)
        collator = PretrainingCollator(feature_extractor, learner.config)
        if _mixes(learner):
            _drop_last_batch(args, clips)
        mixtures = _choose_mixtures(learner, clips, collator, plot_mixtures_of) if plot_mixtures_of else None
        identity = None
        if args.process_index == 0:
            recordings = {windows.split: describe_split(clips.clips, name_of(dataset), {})}
            start = (source, learner.config, feature_extractor)
            identity = RunIdentity.of("pretrain", name_of(dataset), recordings, [], *start, args, windows=windows)
        checkpoint = checkpoint_of(folder, identity, args, resume=resume)
        trainer = PreTrainer(
            model=learner,
            args=args,
            train_dataset=clips,
            data_collator=collator,
            processing_class=feature_extractor,
            starts_from_checkpoint=source.name is not None,
        )
        if identity is not None:
            begin(folder, identity, checkpoint)
            if mixtures is not None:
                with torch.random.fork_rng():  # the run is the same without the plot
                    plot_mixtures(learner, mixtures.to(learner.device), folder / "mixtures.png")
        trainer.train(resume_from_checkpoint=checkpoint)
        trainer.save_model()
        trainer.save_state()
        if trainer.is_world_process_zero():
            run = RunDescription(
                model_name=folder.name,
                model_type=learner.config.model_type,
                dataset=name_of(dataset),
                command=command,
                recipe=recipe,
                seeds={"training": args.seed},
                base_model=source.name,
                versions=environment(args.device),
            )
            _report(folder, run, trainer.state.log_history, _describe(windows, clips))
        return PretrainingResult(learner, feature_extractor, folder, trainer.state.log_history, push_run(trainer))


def _drop_last_batch(args: PretrainingArguments, clips: WaveformWindows | StreamedWindows) -> None:
    """
    Leave out a last batch that is smaller: if it had one clip, there would be no other clip to mix it with.

    Raises:
        ValueError: there are fewer clips than a batch has.
    """
    args.dataloader_drop_last = True
    batch_size = args.per_device_train_batch_size * args.world_size
    if isinstance(clips, WaveformWindows) and len(clips) < batch_size:
        raise ValueError(
            f"There are {len(clips)} recordings, but a batch has {batch_size}. Use a smaller "
            "per_device_train_batch_size (--batch-size)."
        )


def _report(folder: Path, run: RunDescription, history: list[dict[str, Any]], windows: str) -> None:
    """Write the model card and the picture of the losses."""
    plot_losses(history, folder / "losses.png")
    write_pretraining_card(folder, run, history, windows)
    logger.info(f"The model is in {folder}: AutoModel.from_pretrained({str(folder)!r})")


def _mixes(model: PreTrainedModel) -> bool:
    """Whether a model is trained on mixtures of clips, as in stage 2 of SSLAM."""
    return getattr(model.config, "pretraining_stage", 1) == 2


def _load_windows(
    dataset: str | os.PathLike | Dataset | DatasetDict,
    windows: WindowArguments,
    sampling_rate: int,
    args: PretrainingArguments,
) -> WaveformWindows | StreamedWindows:
    """Windows of the recordings. Recordings that cannot be read are left out."""
    recordings: Dataset | IterableDataset = load_recordings(
        dataset,
        audio_column=windows.audio_column,
        split=windows.split,
        streaming=windows.streaming,
        data_home=windows.data_home,
    )
    transform = RollAndGain() if windows.roll_and_gain else None
    if windows.streaming:
        if args.max_steps <= 0:
            raise ValueError("A stream has no end. Set the number of updates with max_steps (--max-steps).")
        return StreamedWindows(
            recordings,
            sampling_rate,
            transform=transform,
            crop_seconds=windows.crop_seconds,
            seed=args.seed,
            process_index=args.process_index,
            num_processes=args.world_size,
        )
    readable, bad_clips = drop_unreadable(DatasetDict({windows.split: recordings}), in_parts=True)
    report_bad_clips(bad_clips)
    return WaveformWindows(
        readable[windows.split],
        sampling_rate,
        transform=transform,
        crop_seconds=windows.crop_seconds,
        seed=args.seed,
    )


def _describe(windows: WindowArguments, clips: WaveformWindows | StreamedWindows) -> str:
    """One sentence for the model card on the windows that a model is trained on."""
    amount = f"{len(clips)} recordings" if isinstance(clips, WaveformWindows) else "A stream of recordings"
    return f"{amount} of the split {windows.split}, cut at random to {windows.crop_seconds:g} s in each epoch."


def _choose_mixtures(
    model: PreTrainedModel, clips: torch.utils.data.Dataset, collator: PretrainingCollator, num_clips: int
) -> BatchFeature:
    """A batch of the first clips of the dataset, to plot their mixtures of stage 2."""
    if not _mixes(model):
        raise ValueError("plot_mixtures_of (--plot-mixtures) needs a model in stage 2: stage 1 does not mix clips.")
    items = list(itertools.islice(iter(clips), num_clips))
    if len(items) < 2:
        raise ValueError(
            "plot_mixtures_of (--plot-mixtures) must be at least 2, and so must the number of recordings."
        )
    return collator(items)
