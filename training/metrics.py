# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Classification metrics as `evaluate.Metric`s that need no download, and the function that a Trainer calls."""

from typing import Any

import datasets
import evaluate
import numpy as np
import sklearn.metrics
from transformers import EvalPrediction


class _OfflineMetric(evaluate.Metric):
    """
    A metric on class indices, computed by scikit-learn.

    Predictions are kept in memory: the cache files that `evaluate.Metric` writes otherwise are shared between all
    processes of a user. Each process computes on all predictions, which is what a Trainer gathers for it.
    """

    description: str
    reference_url: str

    def __init__(self, **kwargs: Any):
        super().__init__(**{"keep_in_memory": True, **kwargs})

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).description,
            citation="",
            inputs_description="predictions, references: class indices, one for each clip.",
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
            ),
            reference_urls=[type(self).reference_url],
        )


class Accuracy(_OfflineMetric):
    """`Accuracy().compute(predictions=..., references=...)` gives `{"accuracy": ...}`."""

    description = "The share of predictions that are right."
    reference_url = "https://scikit-learn.org/stable/modules/generated/sklearn.metrics.accuracy_score.html"

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        return {"accuracy": float(sklearn.metrics.accuracy_score(references, predictions))}


class F1(_OfflineMetric):
    """
    `F1().compute(predictions=..., references=..., average="macro")` gives `{"f1_macro": ...}`.

    `average` is `"macro"` (the mean over the classes) or `"weighted"` (the same, weighted by their clips). Classes
    that are in neither the predictions nor the references do not count.
    """

    description = "The harmonic mean of precision and recall, averaged over the classes."
    reference_url = "https://scikit-learn.org/stable/modules/generated/sklearn.metrics.f1_score.html"

    def _compute(self, predictions: list[int], references: list[int], average: str = "macro") -> dict[str, float]:
        if average not in ("macro", "weighted"):
            raise ValueError(f'average must be "macro" or "weighted", got {average!r}.')
        score = sklearn.metrics.f1_score(references, predictions, average=average, zero_division=0)
        return {f"f1_{average}": float(score)}


def classification_metrics(eval_prediction: EvalPrediction) -> dict[str, float]:
    """
    `compute_metrics` of a Trainer for single-label classification.

    Args:
        eval_prediction: logits `(clips, classes)`, or a tuple that starts with them, and labels `(clips,)`.

    Returns:
        `accuracy`, `f1_macro` and `f1_weighted`.
    """
    logits = eval_prediction.predictions
    if isinstance(logits, tuple):
        logits = logits[0]
    inputs = {"predictions": np.argmax(logits, axis=-1), "references": eval_prediction.label_ids}
    return {
        **Accuracy().compute(**inputs),
        **F1().compute(**inputs, average="macro"),
        **F1().compute(**inputs, average="weighted"),
    }
