# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Measures of classification, computed by scikit-learn on arrays."""

import math
import statistics

import numpy as np
import sklearn.metrics
from numpy.typing import ArrayLike


def accuracy(predictions: ArrayLike, references: ArrayLike) -> float:
    """The share of correct predictions. Both are class indices, one for each clip."""
    return float(sklearn.metrics.accuracy_score(references, predictions))


def f1(predictions: ArrayLike, references: ArrayLike, average: str) -> float:
    """
    The harmonic mean of precision and recall, averaged over the classes. Both are class indices, one for each clip.

    Args:
        average: `"macro"` (the mean over the classes) or `"weighted"` (the mean weighted by the number of clips).
            Classes that are in neither the predictions nor the references do not count.

    Raises:
        ValueError: `average` is neither.
    """
    if average not in ("macro", "weighted"):
        raise ValueError(f'average must be "macro" or "weighted", got {average!r}.')
    return float(sklearn.metrics.f1_score(references, predictions, average=average, zero_division=0))


def single_label_measures(scores: ArrayLike, references: ArrayLike) -> dict[str, float]:
    """
    `accuracy`, `f1_macro` and `f1_weighted` of predicting the class with the highest score.

    Args:
        scores: `(clips, classes)`.
        references: class indices, `(clips,)`.
    """
    predictions = np.argmax(scores, axis=-1)
    return {
        "accuracy": accuracy(predictions, references),
        "f1_macro": f1(predictions, references, "macro"),
        "f1_weighted": f1(predictions, references, "weighted"),
    }


def mean_average_precision(scores: ArrayLike, references: ArrayLike) -> dict[str, float | int]:
    """
    `map`, the area under the curve of precision over recall, averaged over the classes, as AudioSet is scored, and
    `map_classes_left_out`, the number of classes that no clip has, which are left out.

    Args:
        scores: `(clips, classes)`, of which the order alone matters.
        references: `(clips, classes)`, 0 or 1.

    Raises:
        ValueError: no class is left.
    """
    scores, labels = np.asarray(scores), np.asarray(references)
    is_scored = labels.any(axis=0)
    if not is_scored.any():
        raise ValueError("No clip has any class, so there is no average precision.")
    precisions = [
        sklearn.metrics.average_precision_score(labels[:, index], scores[:, index])
        for index in np.flatnonzero(is_scored)
    ]
    return {"map": float(np.mean(precisions)), "map_classes_left_out": int(np.sum(~is_scored))}


def mean_roc_auc(scores: ArrayLike, references: ArrayLike) -> dict[str, float | int]:
    """
    `roc_auc`, the area under the ROC curve, averaged over the classes, and `roc_auc_classes_left_out`, the number of
    classes that no clip has or that all clips have, which are left out.

    Args:
        scores: `(clips, classes)`, of which the order alone matters.
        references: `(clips, classes)`, 0 or 1.

    Raises:
        ValueError: no class is left.
    """
    scores, labels = np.asarray(scores), np.asarray(references)
    is_scored = labels.any(axis=0) & ~labels.all(axis=0)
    if not is_scored.any():
        raise ValueError("No class is in some clips and not in others, so there is no ROC curve.")
    areas = [sklearn.metrics.roc_auc_score(labels[:, index], scores[:, index]) for index in np.flatnonzero(is_scored)]
    return {"roc_auc": float(np.mean(areas)), "roc_auc_classes_left_out": int(np.sum(~is_scored))}


def d_prime(area: float) -> float:
    """
    The square root of 2 times the normal quantile of an area under the ROC curve, from 0 to 1: the distance, in
    standard deviations, between two normal distributions with this area. It is infinite for 0 and 1.
    """
    if area in (0.0, 1.0):
        return math.copysign(math.inf, area - 0.5)
    return math.sqrt(2) * statistics.NormalDist().inv_cdf(area)


def check_logits(logits: np.ndarray) -> None:
    """Raise `ValueError` if some logits are NaN or infinite."""
    if not np.isfinite(logits).all():
        raise ValueError("Some logits are NaN or infinite: the model is broken. Check the losses of its training.")
