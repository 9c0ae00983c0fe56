# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Measures a trained classifier on a dataset."""

import os
import tempfile
from pathlib import Path

import torch
from datasets import Dataset, DatasetDict
from transformers import PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor, Trainer, TrainingArguments

from ..data.collators import AudioCollator
from ..data.labels import FRAMES, class_names, renumbered, task_of
from ..data.loading import load_clips, name_of
from ..data.readable import drop_unreadable, report_bad_clips
from ..modeling.inputs import make_targets, whole_clips
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
    Measure a classifier on whole clips, and on recordings where the clips have one label each.

    Args:
        model: a folder, a Hub name or a classifier.
        dataset: a Hub name, a folder, `"ragas"`, or a dataset with an audio column and labels; see `load_clips`.
        feature_extractor: the model's. Needed only where `model` is a classifier that was not loaded from a folder.
        split: the split to measure on, by default `test`, or the only one there is.
        audio_column, label_column, label_columns, label_separator, group_column: the columns; see `load_clips`.
        batch_size: number of clips or windows in one forward pass.
        output: folder for `evaluation.json` and plots.

    Returns:
        The scores, with 95 % intervals and tables by class.

    Raises:
        ValueError: the model is not a trained classifier or does not know the labels, or there is no such split.

    Example:

    ```python
    >>> from polyaudio import evaluate

    >>> evaluation = evaluate("runs/ragas", "ragas", split="test")  # doctest: +SKIP
    >>> evaluation.clips["accuracy"]  # doctest: +SKIP
    ```
    """
    clips = load_clips(
        dataset,
        audio_column=audio_column,
        label_column=label_column,
        label_columns=label_columns,
        label_separator=label_separator,
        group_column=group_column,
    )
    chosen = split or ("test" if "test" in clips else next(iter(clips)))
    if chosen not in clips or (split is None and chosen != "test" and len(clips) > 1):
        raise ValueError(f"{name_of(dataset)} has the splits {', '.join(clips)}; name the split to measure on")
    readable, bad_clips = drop_unreadable(DatasetDict({chosen: clips[chosen]}))
    report_bad_clips(bad_clips)
    of_frames = task_of(clips[chosen].features["label"]) == FRAMES
    source = str(model.config.name_or_path) if isinstance(model, PreTrainedModel) else os.fspath(model)
    classifier = load_classifier(model if isinstance(model, PreTrainedModel) else source, of_frames=of_frames)
    config = classifier.config
    if feature_extractor is None:
        feature_extractor = load_feature_extractor(source, config)
    labelled = _with_labels_of(config, readable[chosen])
    targets = make_targets(labelled.features["label"], config, feature_extractor, padding=-100.0)
    folder = None if output is None else Path(output)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            model=classifier,
            args=_evaluation_arguments(scratch, batch_size),
            # It returns a `BatchFeature`. transformers' type asks for a `dict`, which its own collators do not return.
            data_collator=AudioCollator(feature_extractor, targets),  # type: ignore[arg-type]
            processing_class=feature_extractor,
        )
        clips_to_score = whole_clips(labelled, config, feature_extractor)
        evaluation = evaluate_clips(trainer, clips_to_score, labelled, feature_extractor, folder=folder)
    if folder is not None:
        write_evaluation(evaluation, folder)
    return evaluation


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


def _with_labels_of(config: PreTrainedConfig, clips: Dataset) -> Dataset:
    """The clips with their labels numbered as the model numbers them."""
    names = label_names(config)
    unknown = sorted(set(class_names(clips.features["label"])) - set(names))
    if unknown:
        raise ValueError(
            f"the model does not know the labels {', '.join(unknown[:5])}; it knows {', '.join(names[:5])} ..."
        )
    return renumbered(clips, names)
