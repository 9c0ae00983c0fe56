# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Scores of a classifier of clips: for each clip alone and, with single labels, for each recording."""

from collections.abc import Mapping, Sequence

import numpy as np
import sklearn.metrics

from ..data.calibration import Calibration
from ..data.folders import finite
from .calibration import calibration_error, mean_by_recording, reliability, softmax
from .intervals import multi_label_intervals, single_label_intervals
from .measures import check_logits, d_prime, single_label_measures
from .results import Evaluation, PrecisionRecall, Scores


# The most frequent classes, whose curves of precision and recall are kept
_MOST_CURVES = 10


def evaluate_predictions(
    logits: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    recordings: Sequence[str],
    id2label: Mapping[int, str] | Mapping[str, str],
    task: str = "single_label_classification",
    *,
    calibration: Calibration | None = None,
) -> Evaluation:
    """
    Score the predictions of a classifier of clips: for each clip alone and, with single labels, for each recording.

    The probabilities of a recording are the mean of the softmax probabilities of its clips. A recording whose clips
    have different labels counts once for each label.

    With single labels, the scores of clips and of recordings are `count`, `accuracy`, `f1_macro`, `f1_weighted` and
    `majority_accuracy` (the accuracy of always predicting the most frequent label of these clips or recordings),
    `calibration_error` (the expected one), for a calibrated model `false_refusals` (the share that it answers with
    "none of these"), the reliability table, the confusion matrix, and for each class `precision`, `recall`, `f1` and
    `support`.

    With several labels, the scores of clips are `count`, those of `multilabel_metrics`, `f1_macro` and `f1_micro`, for
    each class `average_precision`, `roc_auc`, `precision`, `recall`, `f1` and `support`, and the curves of precision
    and recall of the 10 most frequent classes. A class is predicted where its probability is at least 0.5. `d_prime`
    is `None` where it is infinite, that is where `roc_auc` is 0 or 1.

    The scores of classes leave out classes that are neither among the labels nor among the predictions.

    Args:
        logits: `(clips, classes)`.
        labels: `(clips,)`, class indices; for multi-label classification `(clips, classes)`, 0 or 1.
        recordings: `(clips,)`, the recording that each clip comes from.
        id2label: the name of each class.
        task: `"single_label_classification"` or `"multi_label_classification"`.
        calibration: of the model.

    Returns:
        The scores with their intervals.

    Raises:
        ValueError: the shapes do not agree, there is no clip, a logit is NaN or infinite, multi-label labels are not
            0 or 1 or are all 0, or `task` is unknown.
    """
    logits = np.asarray(logits, dtype=np.float64)
    labels = np.asarray(labels)
    if task not in ("single_label_classification", "multi_label_classification"):
        raise ValueError(
            f"Clips of the task {task!r} cannot be scored; it must be single_label_classification or "
            "multi_label_classification."
        )
    expected = logits.shape if task == "multi_label_classification" else logits.shape[:1]
    if logits.ndim != 2 or len(logits) == 0 or labels.shape != expected or len(recordings) != len(logits):
        raise ValueError(
            "Logits must be (clips, classes) with a label and a recording for each clip (and for multi-label "
            f"classification a label for each class), got {logits.shape} logits, {labels.shape} labels and "
            f"{len(recordings)} recordings."
        )
    if len(id2label) != logits.shape[1]:
        raise ValueError(f"There are {logits.shape[1]} logits a clip, but {len(id2label)} labels in id2label.")
    check_logits(logits)
    name_of = {int(index): name for index, name in id2label.items()}
    names = [name_of[index] for index in range(logits.shape[1])]
    if task == "multi_label_classification":
        return Evaluation(task, names, _multi_label_scores(logits, labels, recordings, names))
    return Evaluation(task, names, *_scores_of_clips_and_recordings(logits, labels, recordings, names, calibration))


def _scores_of_clips_and_recordings(
    logits: np.ndarray,
    labels: np.ndarray,
    recordings: Sequence[str],
    names: list[str],
    calibration: Calibration | None,
) -> tuple[Scores, Scores]:
    probabilities = softmax(logits)
    means, labels_of_recordings, names_of_recordings = mean_by_recording(probabilities, labels, recordings)
    return (
        _single_label_scores(labels, probabilities, recordings, names, calibration),
        _single_label_scores(labels_of_recordings, means, names_of_recordings, names, calibration),
    )


def _single_label_scores(
    references: np.ndarray,
    probabilities: np.ndarray,
    recordings: Sequence[str],
    names: list[str],
    calibration: Calibration | None,
) -> Scores:
    predictions = probabilities.argmax(axis=1)
    present = np.union1d(references, predictions)
    table = sklearn.metrics.precision_recall_fscore_support(references, predictions, labels=present, zero_division=0)
    matrix = sklearn.metrics.confusion_matrix(references, predictions, labels=range(len(names)))
    rows = reliability(probabilities, references)
    values = {
        "count": len(references),
        **single_label_measures(probabilities, references),
        "majority_accuracy": float(np.bincount(references).max() / len(references)),
        "calibration_error": calibration_error(rows),
    }
    if calibration is not None:
        values["false_refusals"] = float((probabilities.max(axis=1) < calibration.threshold).mean())
    return Scores(
        values=values,
        intervals=single_label_intervals(references, predictions, recordings),
        per_class=_per_class(names, present, ("precision", "recall", "f1", "support"), table),
        confusion_matrix=matrix.tolist(),
        reliability=rows,
    )


def _multi_label_scores(logits: np.ndarray, labels: np.ndarray, recordings: Sequence[str], names: list[str]) -> Scores:
    if not ((labels == 0) | (labels == 1)).all():
        raise ValueError("Labels for multi-label classification must be 0 or 1 for each class.")
    labels, predictions = labels.astype(bool), logits >= 0
    if not labels.any():
        raise ValueError("No clip has any class, so there is nothing to score.")
    # Computed from logits: probabilities of large logits round to the same number
    precisions, areas = np.full((2, len(names)), np.nan)
    for index in np.flatnonzero(labels.any(axis=0)):
        precisions[index] = sklearn.metrics.average_precision_score(labels[:, index], logits[:, index])
        if not labels[:, index].all():
            areas[index] = sklearn.metrics.roc_auc_score(labels[:, index], logits[:, index])
    area = float(np.nanmean(areas)) if not np.isnan(areas).all() else None
    table = sklearn.metrics.precision_recall_fscore_support(labels, predictions, zero_division=0)
    present = np.flatnonzero((labels | predictions).any(axis=0))
    columns = ("average_precision", "roc_auc", "precision", "recall", "f1", "support")
    return Scores(
        values={
            "count": len(labels),
            "map": float(np.nanmean(precisions)),
            "map_classes_left_out": int(np.isnan(precisions).sum()),
            "roc_auc": area,
            "roc_auc_classes_left_out": int(np.isnan(areas).sum()),
            "d_prime": None if area is None else finite(d_prime(area)),
            "f1_macro": float(table[2][present].mean()),
            "f1_micro": float(sklearn.metrics.f1_score(labels, predictions, average="micro", zero_division=0)),
        },
        intervals=multi_label_intervals(labels, logits, recordings),
        per_class=_per_class(names, present, columns, [column[present] for column in (precisions, areas, *table)]),
        precision_recall=_precision_recall(labels, logits, names),
    )


def _per_class(
    names: list[str], classes: np.ndarray, columns: Sequence[str], table: Sequence[np.ndarray]
) -> dict[str, dict[str, float | int | None]]:
    """The scores of each class, from a table whose columns have one value for each of these classes."""
    rows = zip(*(column.tolist() for column in table), strict=True)
    return {
        names[index]: {column: finite(value) for column, value in zip(columns, row, strict=True)}
        for index, row in zip(classes, rows, strict=True)
    }


def _precision_recall(labels: np.ndarray, scores: np.ndarray, names: list[str]) -> PrecisionRecall:
    """The precision of each class at the highest score threshold that reaches each recall."""
    recalls = np.arange(1, 101) / 100
    support = labels.sum(axis=0)
    curves = {}
    for index in np.argsort(-support, kind="stable")[: np.count_nonzero(support)].tolist():
        precision, recall, _ = sklearn.metrics.precision_recall_curve(labels[:, index], scores[:, index])
        curves[index] = precision[::-1][np.searchsorted(recall[::-1], recalls)]
    return PrecisionRecall(
        recall=recalls.tolist(),
        macro=np.mean(list(curves.values()), axis=0).tolist(),
        classes={names[index]: curve.tolist() for index, curve in list(curves.items())[:_MOST_CURVES]},
    )
