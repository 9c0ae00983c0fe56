# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Measures a trained classifier on a dataset."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from transformers import PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor, Trainer, TrainingArguments

from ..data.collators import AudioCollator
from ..data.labels import FRAMES, class_names, renumbered, task_of
from ..data.loading import load_clips, name_of
from ..data.readable import drop_unreadable, report_bad_clips
from ..modeling.inputs import make_targets, reads_windows, whole_clips
from ..modeling.loading import load_classifier, load_feature_extractor
from .classifier import evaluate_clips, label_names
from .results import Evaluation
from .writing import write_evaluation


def evaluate(
    model: str | os.PathLike | PreTrainedModel,
    dataset: str | os.PathLike | Dataset | DatasetDict,
    *,
    feature_extractor: SequenceFeatureExtractor | None = None,
    split: str | None = None,
    audio_column: str = "audio",
    label_column: str | None = None,
    label_columns: list[str] | None = None,
    label_separator: str | None = None,
    group_column: str | None = None,
    batch_size: int = 8,
    output: str | os.PathLike | None = None,
) -> Evaluation:
    """
    Measure a classifier on whole clips and, if each clip has one label, on recordings.

    Args:
        model: a folder, a Hub name or a classifier.
        dataset: a Hub name, a folder, `"ragas"`, or a dataset with an audio column and labels; see `load_clips`.
        feature_extractor: the model's. Needed only if `model` is a classifier that was not loaded from a folder.
        split: the split to measure on; by default `test`, or the only split.
        audio_column, label_column, label_columns, label_separator, group_column: the columns; see `load_clips`.
        batch_size: number of clips or windows in one forward pass.
        output: folder for `evaluation.json` and plots.

    Returns:
        The scores, with 95 % intervals and tables by class.

    Raises:
        ValueError: the model is not a trained classifier or does not know the labels, or the split does not exist.

    Example:

    ```python
    >>> from polyaudio import evaluate

    >>> evaluation = evaluate("runs/ragas", "ragas", split="test")  # doctest: +SKIP
    >>> evaluation.clips["accuracy"]  # doctest: +SKIP
    ```
    """
    clips = load_split(
        dataset,
        split,
        audio_column=audio_column,
        label_column=label_column,
        label_columns=label_columns,
        label_separator=label_separator,
        group_column=group_column,
    )
    folder = None if output is None else Path(output)
    with prepared(model, clips, feature_extractor, batch_size) as run:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        evaluation = evaluate_clips(**vars(run), folder=folder)
    if folder is not None:
        write_evaluation(evaluation, folder)
    return evaluation


def load_split(dataset: str | os.PathLike | Dataset | DatasetDict, split: str | None, **columns: Any) -> DatasetDict:
    """
    The clips of one split, under its name.

    Args:
        dataset, columns: see `load_clips`.
        split: by default `test`, or the only split.

    Raises:
        ValueError: the split does not exist.
    """
    clips = load_clips(dataset, **columns)
    chosen = split or ("test" if "test" in clips else next(iter(clips)))
    if chosen not in clips or (split is None and chosen != "test" and len(clips) > 1):
        raise ValueError(f"{name_of(dataset)} has the splits {', '.join(clips)}; name the split to measure on")
    return DatasetDict({chosen: clips[chosen]})


@dataclass(frozen=True)
class PreparedRun:
    """The arguments of [`evaluate_clips`] and [`predict_timelines`]."""

    trainer: Trainer
    dataset: torch.utils.data.Dataset
    clips: Dataset
    feature_extractor: SequenceFeatureExtractor


@contextlib.contextmanager
def prepared(
    model: str | os.PathLike | PreTrainedModel,
    clips: DatasetDict,
    feature_extractor: SequenceFeatureExtractor | None,
    batch_size: int,
) -> Iterator[PreparedRun]:
    """
    A Trainer with a classifier, and the clips that can be read, as it takes them.

    Args:
        model, feature_extractor, batch_size: see [`evaluate`].
        clips: one split, as [`load_split`] returns it.

    Raises:
        ValueError: the model is not a trained classifier or does not know the labels.
    """
    (split,) = clips.values()
    of_frames = task_of(split.features["label"]) == FRAMES
    source = str(model.config.name_or_path) if isinstance(model, PreTrainedModel) else os.fspath(model)
    classifier = load_classifier(model if isinstance(model, PreTrainedModel) else source, of_frames=of_frames)
    config = classifier.config
    if feature_extractor is None:
        feature_extractor = load_feature_extractor(source, config)
    in_parts = reads_windows(config, feature_extractor)
    readable, bad_clips = drop_unreadable(clips, in_parts=in_parts)
    report_bad_clips(bad_clips)
    (split,) = readable.values()
    labelled = with_labels_of(config, split)
    targets = make_targets(labelled.features["label"], config, feature_extractor, padding=-100.0)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            model=classifier,
            args=_evaluation_arguments(scratch, batch_size),
            # It returns a `BatchFeature`. transformers' type asks for a `dict`, which its own collators do not return.
            data_collator=AudioCollator(feature_extractor, targets),  # type: ignore[arg-type]
            processing_class=feature_extractor,
        )
        yield PreparedRun(trainer, whole_clips(labelled, config, feature_extractor), labelled, feature_extractor)


def _evaluation_arguments(folder: str, batch_size: int) -> TrainingArguments:
    has_accelerator = torch.accelerator.is_available()
    return TrainingArguments(
        output_dir=folder,
        per_device_eval_batch_size=batch_size,
        dataloader_num_workers=2,
        dataloader_pin_memory=has_accelerator,
        remove_unused_columns=False,
        use_cpu=not has_accelerator,
        report_to="none",
    )


def with_labels_of(config: PreTrainedConfig, clips: Dataset) -> Dataset:
    """The clips, with their labels as class indices of the model."""
    names = label_names(config)
    unknown = sorted(set(class_names(clips.features["label"])) - set(names))
    if unknown:
        raise ValueError(
            f"the model does not know the labels {', '.join(unknown[:5])}; it knows {', '.join(names[:5])} ..."
        )
    return renumbered(clips, names)
