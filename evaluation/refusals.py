# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""How often a classifier answers "none of these" for recordings of classes that it does not know."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict

from ..data.calibration import Calibration
from ..data.outliers import of_other_classes
from ..data.readable import drop_unreadable, report_bad_clips
from ..inference.exported import ExportedClassifier
from ..inference.precision import Precision
from .calibration import mean_by_recording, softmax
from .results import Evaluation, Scores


if TYPE_CHECKING:
    from transformers import PreTrainedModel, SequenceFeatureExtractor


def with_refusals(
    evaluation: Evaluation,
    model: "str | os.PathLike | PreTrainedModel",
    export: Path | None,
    clips: DatasetDict,
    feature_extractor: "SequenceFeatureExtractor | None",
    batch_size: int,
    precision: Precision = "auto",
) -> Evaluation:
    """
    An evaluation with the scores `refused` and `unknown`: the share and the number of unknown clips and recordings.

    Args:
        evaluation: of the model.
        model, feature_extractor, batch_size, precision: see `evaluate`.
        export: the folder, if the model is an export.
        clips: one split of clips, of which those count whose label the model does not know.

    Raises:
        ValueError: the model is not calibrated, or knows all labels of these clips.
    """
    ((split, rows),) = clips.items()
    unknown = DatasetDict({split: _unknown(rows, evaluation.labels)})
    logits, recordings, calibration = (
        _in_torch(model, unknown, feature_extractor, batch_size, precision)
        if export is None
        else _in_export(export, unknown, batch_size)
    )
    if calibration is None:
        raise ValueError("The model has no threshold for unknown classes. Choose one first: `polyaudio calibrate`.")
    probabilities = softmax(logits.astype(np.float64))
    means, _, _ = mean_by_recording(probabilities, np.zeros(len(logits), dtype=np.int64), recordings)
    refused = {"clips": probabilities.max(axis=1), "recordings": means.max(axis=1)}

    def added(part: str, scores: Scores | None) -> Scores:
        assert scores is not None  # each clip has one label
        share = float((refused[part] < calibration.threshold).mean())
        return replace(scores, values={**scores.values, "unknown": len(refused[part]), "refused": share})

    return replace(
        evaluation,
        clips=added("clips", evaluation.clips),
        recordings=added("recordings", evaluation.recordings),
    )


def _unknown(rows: Dataset, names: Sequence[str]) -> Dataset:
    """The rows whose label is none of these, each with the first of them, since a classifier must know a label."""
    left = of_other_classes(rows, names, "Unknown classes").remove_columns("label")
    return left.add_column("label", [0] * len(left), feature=ClassLabel(names=list(names)))


def _in_torch(
    model: "str | os.PathLike | PreTrainedModel",
    clips: DatasetDict,
    feature_extractor: "SequenceFeatureExtractor | None",
    batch_size: int,
    precision: Precision,
) -> tuple[np.ndarray, list[str], Calibration | None]:
    from .classifier import logits_of_clips
    from .prepared import prepared

    with prepared(model, clips, feature_extractor, batch_size, precision) as run:
        calibration = Calibration.from_config(run.trainer.model.config)  # type: ignore[union-attr]  # it has a model
        return logits_of_clips(run.trainer, run.dataset), run.clips["recording"][:], calibration


def _in_export(export: Path, clips: DatasetDict, batch_size: int) -> tuple[np.ndarray, list[str], Calibration | None]:
    from .exported import export_logits

    classifier = ExportedClassifier(export, batch_size)
    readable, bad_clips = drop_unreadable(clips, in_parts=classifier.reader.grid is not None)
    report_bad_clips(bad_clips)
    (rows,) = readable.values()
    classifier.load()
    return export_logits(classifier, rows), rows["recording"][:], classifier.calibration
