# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
95 % intervals of scores, by a bootstrap over recordings.

A resample draws as many recordings as there are, with replacement, each with all its clips. Clips of one recording are
not independent, so to resample single clips would give intervals that are too narrow. A resample is represented by how
often it holds each recording, so that the scores of all resamples are products with one matrix of counts.

The intervals estimate the range of scores on other test sets of as many recordings. They are the percentiles of the
resampled scores, shifted so that their mean is the score itself. Without the shift they would be biased: copies of a
clip that is ranked high raise average precision, and classes that a resample lacks change a macro F1. With fewer than
about 20 recordings the intervals are too narrow.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csc_array


_PERCENTILES = (2.5, 97.5)


def single_label_intervals(
    labels: np.ndarray, predictions: np.ndarray, recordings: Sequence[str], *, resamples: int = 1000, seed: int = 0
) -> dict[str, list[float] | None]:
    """
    Intervals of accuracy and macro F1. A class counts in the resamples that have it or predict it.

    Args:
        labels, predictions: `(clips,)`, class indices.
        recordings: `(clips,)`, the recording that each clip comes from.
        resamples: how many resamples to draw.
        seed: seed of the draws.

    Returns:
        `accuracy` and `f1_macro`, each as `[low, high]`, or `None` if almost all resamples have the same score, as
        they do with a single recording or without any error.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    rows, counts = _resample(recordings, resamples, seed)
    num_classes = max(labels.max(), predictions.max()) + 1

    def count(is_counted: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """`(classes, 1 + resamples)`: the number of these clips in each class."""
        return _sums(classes[is_counted], rows[is_counted], num_classes, counts)

    is_right, every = labels == predictions, np.full(len(labels), True)
    right, total = count(is_right, labels), count(every, labels)
    with np.errstate(invalid="ignore"):  # 0 / 0 if a resample neither has nor predicts a class
        f1 = 2 * right / (total + count(every, predictions))
    return {
        "accuracy": _interval(right.sum(axis=0) / total.sum(axis=0)),
        "f1_macro": _interval(np.nanmean(f1, axis=0)),
    }


def multi_label_intervals(
    labels: np.ndarray, scores: np.ndarray, recordings: Sequence[str], *, resamples: int = 1000, seed: int = 0
) -> dict[str, list[float] | None]:
    """
    The interval of the mean average precision. Each resample leaves out the classes that it lacks.

    Args:
        labels: `(clips, classes)`, 0 or 1.
        scores: `(clips, classes)`; only their order matters.
        recordings, resamples, seed: as for `single_label_intervals`.

    Returns:
        `map`, as `[low, high]` or `None`; see `single_label_intervals`.
    """
    labels, scores = np.asarray(labels, dtype=bool), np.asarray(scores)
    means = _mean_precisions(labels, scores, *_resample(recordings, resamples, seed))
    return {"map": _interval(means[~np.isnan(means)])}


def accuracy_difference(
    labels: np.ndarray,
    predictions: np.ndarray,
    others: np.ndarray,
    recordings: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[float]:
    """
    The interval `[low, high]` of the accuracy of predictions minus that of others on the same resamples.

    Args:
        labels, predictions, others: `(clips,)`, class indices.
        recordings, resamples, seed: as for `single_label_intervals`.
    """
    labels, predictions, others = (np.asarray(one) for one in (labels, predictions, others))
    rows, counts = _resample(recordings, resamples, seed)
    better = (predictions == labels).astype(np.float64) - (others == labels)
    gained, total = (np.bincount(rows, weights=one) @ counts for one in (better, np.ones(len(labels))))
    return _percentiles(gained / total)


def map_difference(
    labels: np.ndarray,
    scores: np.ndarray,
    others: np.ndarray,
    recordings: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[float]:
    """
    The interval `[low, high]` of the mean average precision of scores minus that of others on the same resamples.

    Args:
        labels, scores, others: `(clips, classes)`, as for `multi_label_intervals`.
        recordings, resamples, seed: as for `single_label_intervals`.
    """
    labels = np.asarray(labels, dtype=bool)
    rows, counts = _resample(recordings, resamples, seed)
    own, theirs = (_mean_precisions(labels, np.asarray(one), rows, counts) for one in (scores, others))
    differences = own - theirs
    return _percentiles(differences[~np.isnan(differences)])


def _mean_precisions(labels: np.ndarray, scores: np.ndarray, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`(1 + resamples,)`, over the classes that a resample has; NaN if it has none."""
    total, number = np.zeros(counts.shape[1]), np.zeros(counts.shape[1])
    for index in np.flatnonzero(labels.any(axis=0)):
        precision = _average_precisions(labels[:, index], scores[:, index], rows, counts)
        is_scored = ~np.isnan(precision)
        total[is_scored] += precision[is_scored]
        number += is_scored
    return np.divide(total, number, out=np.full(len(total), np.nan), where=number > 0)


def _average_precisions(labels: np.ndarray, scores: np.ndarray, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`(1 + resamples,)`, for one class; NaN if a resample lacks it. Clips of equal score have one rank."""
    # Precision counts only where recall grows, at the scores of the class's own clips; all clips between two of these
    # belong to one step
    steps = np.unique(scores[labels])[::-1]
    step = np.searchsorted(-steps, -scores)
    is_counted = step < len(steps)  # clips below the last step do not count
    found = np.cumsum(_sums(step[is_counted], rows[is_counted], len(steps), counts), axis=0)
    right = _sums(step[labels], rows[labels], len(steps), counts)
    precision = np.cumsum(right, axis=0) / np.maximum(found, 1)
    positives = right.sum(axis=0)
    return np.where(positives > 0, (right * precision).sum(axis=0) / np.maximum(positives, 1), np.nan)


def _resample(recordings: Sequence[str], resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """
    The row of each clip's recording, `(clips,)`, and the number of its copies, `(recordings, 1 + resamples)`.

    The first column is the test set itself, with one copy of each recording.
    """
    names, rows = np.unique(np.asarray(recordings), return_inverse=True)
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    counts = np.ones((len(names), 1 + resamples), np.float32)
    counts[:, 1:] = draws.T
    return rows, counts


def _sums(groups: np.ndarray, rows: np.ndarray, num_groups: int, counts: np.ndarray) -> np.ndarray:
    """`(groups, 1 + resamples)`, float64: the number of clips in each group; `rows` are those of `_resample`."""
    clips = csc_array((np.ones(len(rows), np.float32), (groups, rows)), shape=(num_groups, len(counts)))
    return (clips @ counts).astype(np.float64)


def _interval(values: np.ndarray) -> list[float] | None:
    """The interval of a score from 0 to 1, from `(1 + resamples,)` values."""
    low, high = np.clip(_percentiles(values), 0, 1).tolist()
    return [low, high] if high - low > 1e-9 else None  # equal scores differ by rounding


def _percentiles(values: np.ndarray) -> list[float]:
    """The interval from `(1 + resamples,)` values; the first is that of the test set itself."""
    estimate, resampled = values[0], values[1:]
    return (np.percentile(resampled, _PERCENTILES) + estimate - resampled.mean()).tolist()
