# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Classification metrics as `evaluate.Metric`s that need no download, and the `compute_metrics` of a Trainer."""

from typing import TYPE_CHECKING, Any

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike

from .measures import (
    accuracy,
    check_logits,
    d_prime,
    f1,
    mean_average_precision,
    mean_roc_auc,
    single_label_measures,
)


if TYPE_CHECKING:
    from transformers import EvalPrediction


class _OfflineMetric(evaluate.Metric):
    """
    A metric computed by scikit-learn, on class indices unless a subclass sets other features.

    Predictions are kept in memory, because the cache files of `evaluate.Metric` are shared between all processes of a
    user. Each process computes on all predictions, as a Trainer gathers them.
    """

    description: str
    reference_url: str
    inputs_description = "predictions, references: class indices, one for each clip."
    input_features = {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}

    def __init__(self, **kwargs: Any):
        super().__init__(**{"keep_in_memory": True, **kwargs})

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).description,
            citation="",
            inputs_description=type(self).inputs_description,
            features=datasets.Features(type(self).input_features),
            reference_urls=[type(self).reference_url],
        )


class Accuracy(_OfflineMetric):
    """`Accuracy().compute(predictions=..., references=...)` gives `{"accuracy": ...}`."""

    description = "The share of correct predictions."
    reference_url = "https://scikit-learn.org/stable/modules/generated/sklearn.metrics.accuracy_score.html"

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        return {"accuracy": accuracy(predictions, references)}


class F1(_OfflineMetric):
    """
    `F1().compute(predictions=..., references=..., average="macro")` gives `{"f1_macro": ...}`.

    `average` is `"macro"` (the mean over the classes) or `"weighted"` (the mean weighted by the number of clips).
    Classes that are in neither the predictions nor the references do not count.
    """

    description = "The harmonic mean of precision and recall, averaged over the classes."
    reference_url = "https://scikit-learn.org/stable/modules/generated/sklearn.metrics.f1_score.html"

    def _compute(self, predictions: list[int], references: list[int], average: str = "macro") -> dict[str, float]:
        return {f"f1_{average}": f1(predictions, references, average)}


class _MultiLabelMetric(_OfflineMetric):
    """A metric on a score for each class of a clip, whose order alone matters, and on a label of 0 or 1 for each."""

    inputs_description = "predictions: scores, references: 0 or 1, both (clips, classes)."
    input_features = {
        "predictions": datasets.List(datasets.Value("float64")),
        "references": datasets.List(datasets.Value("int64")),
    }


class MeanAveragePrecision(_MultiLabelMetric):
    """
    `MeanAveragePrecision().compute(predictions=..., references=...)` gives `{"map": ...}` and `map_classes_left_out`.

    The mean over the classes, as AudioSet is scored. Classes that no clip has are left out; their number is
    `map_classes_left_out`. Raises `ValueError` if no class is left.
    """

    description = "The area under the curve of precision over recall, averaged over the classes."
    reference_url = "https://scikit-learn.org/stable/modules/generated/sklearn.metrics.average_precision_score.html"

    def _compute(self, predictions: ArrayLike, references: ArrayLike) -> dict[str, float | int]:
        return mean_average_precision(predictions, references)


class ROCAUC(_MultiLabelMetric):
    """
    `ROCAUC().compute(predictions=..., references=...)` gives `{"roc_auc": ...}` and `roc_auc_classes_left_out`.

    The mean over the classes. Classes that no clip has, or that all clips have, are left out; their number is
    `roc_auc_classes_left_out`. Raises `ValueError` if no class is left.
    """

    description = "The area under the ROC curve, averaged over the classes."
    reference_url = "https://scikit-learn.org/stable/modules/generated/sklearn.metrics.roc_auc_score.html"

    def _compute(self, predictions: ArrayLike, references: ArrayLike) -> dict[str, float | int]:
        return mean_roc_auc(predictions, references)


class DPrime(ROCAUC):
    """
    `DPrime().compute(predictions=..., references=...)` gives `{"d_prime": ...}`, from the mean AUC of [`ROCAUC`].

    The distance, in standard deviations, between two normal distributions with this AUC; infinite for 0 and 1.
    """

    description = "The square root of 2 times the normal quantile of the mean area under the ROC curve."

    def _compute(self, predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
        return {"d_prime": d_prime(super()._compute(predictions, references)["roc_auc"])}


def classification_metrics(eval_prediction: "EvalPrediction") -> dict[str, float]:
    """
    The `compute_metrics` of a Trainer for single-label classification.

    Args:
        eval_prediction: logits `(clips, classes)`, or a tuple that starts with them, and labels `(clips,)`.

    Returns:
        `accuracy`, `f1_macro` and `f1_weighted`.

    Raises:
        ValueError: a logit is NaN or infinite.
    """
    return single_label_measures(_logits(eval_prediction), np.asarray(eval_prediction.label_ids))


def multilabel_metrics(eval_prediction: "EvalPrediction") -> dict[str, float]:
    """
    The `compute_metrics` of a Trainer for multi-label classification.

    Args:
        eval_prediction: logits `(clips, classes)`, or a tuple that starts with them, and labels `(clips, classes)`, 0
            or 1.

    Returns:
        `map`, `map_classes_left_out`, `roc_auc`, `roc_auc_classes_left_out` and `d_prime`. The last three are missing
        if every class is in all clips or in none, which can happen with few clips.

    Raises:
        ValueError: a logit is NaN or infinite, or no clip has any class.
    """
    scores, labels = _logits(eval_prediction), np.asarray(eval_prediction.label_ids)
    metrics: dict[str, float] = mean_average_precision(scores, labels)
    if np.any(labels.any(axis=0) & ~labels.all(axis=0)):
        metrics |= mean_roc_auc(scores, labels)
        metrics["d_prime"] = d_prime(metrics["roc_auc"])
    return metrics


def _logits(eval_prediction: "EvalPrediction") -> np.ndarray:
    logits = eval_prediction.predictions
    logits = np.asarray(logits[0] if isinstance(logits, tuple) else logits)
    check_logits(logits)
    return logits
