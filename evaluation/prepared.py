# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A Trainer for a classifier of torch, and clips as it takes them."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from datasets import Dataset, DatasetDict
from transformers import PreTrainedModel, SequenceFeatureExtractor, Trainer, TrainingArguments

from ..data.collators import AudioCollator
from ..data.given import check_front_end
from ..data.labels import FRAMES, task_of
from ..data.readable import drop_unreadable, report_bad_clips
from ..inference.precision import Precision
from ..modeling.inputs import make_targets, reads_windows, whole_clips
from ..modeling.loading import load_classifier, load_feature_extractor
from .answers import with_labels_of
from .bars import name_bars
from .classifier import label_names


@dataclass(frozen=True)
class PreparedRun:
    """The arguments of [`evaluate_clips`]."""

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
    precision: Precision = "auto",
) -> Iterator[PreparedRun]:
    """
    A Trainer with a classifier, and the clips that can be read, as it takes them.

    Args:
        model, feature_extractor, batch_size, precision: see `evaluate`.
        clips: one split, as `load_split` returns it.

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
    check_front_end(split, feature_extractor)
    in_parts = reads_windows(config, feature_extractor)
    readable, bad_clips = drop_unreadable(clips, in_parts=in_parts)
    report_bad_clips(bad_clips)
    (split,) = readable.values()
    labelled = with_labels_of(label_names(config), split)
    targets = make_targets(labelled.features["label"], config, feature_extractor, padding=-100.0)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            model=classifier,
            args=_evaluation_arguments(scratch, batch_size, precision),
            # It returns a `BatchFeature`. transformers' type asks for a `dict`, which its own collators do not return.
            data_collator=AudioCollator(feature_extractor, targets),  # type: ignore[arg-type]
            processing_class=feature_extractor,
        )
        name_bars(trainer)
        yield PreparedRun(trainer, whole_clips(labelled, config, feature_extractor), labelled, feature_extractor)


def _evaluation_arguments(folder: str, batch_size: int, precision: Precision) -> TrainingArguments:
    has_accelerator = torch.accelerator.is_available()
    return TrainingArguments(
        output_dir=folder,
        per_device_eval_batch_size=batch_size,
        dataloader_num_workers=2,
        dataloader_pin_memory=has_accelerator,
        remove_unused_columns=False,
        use_cpu=not has_accelerator,
        bf16=precision == "bfloat16",
        report_to="none",
    )
