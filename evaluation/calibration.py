# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
How far scores are from being probabilities, and the temperature and the threshold that follow from scored recordings.

The methods are those of Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize


_BINS = 10
# Temperatures from 1/50 to 50
LARGEST_TEMPERATURE = 50.0


@dataclass(frozen=True)
class ReliabilityBin:
    """
    The answers whose highest score is above `low` and at most `high`.

    Attributes:
        count: their number.
        score: the mean of their highest scores.
        accuracy: the share of them that is right.
    """

    low: float
    high: float
    count: int
    score: float
    accuracy: float


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> list[ReliabilityBin]:
    """
    The reliability table of answers: ten bins of equal width, without the empty ones.

    Args:
        probabilities: `(answers, classes)`.
        labels: `(answers,)`, class indices.
    """
    scores, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.ceil(scores * _BINS).astype(int).clip(1, _BINS) - 1
    rows = []
    for index in np.unique(bins).tolist():
        own = bins == index
        numbers = int(own.sum()), float(scores[own].mean()), float(is_right[own].mean())
        rows.append(ReliabilityBin(index / _BINS, (index + 1) / _BINS, *numbers))
    return rows


def calibration_error(rows: Sequence[ReliabilityBin]) -> float:
    """The expected calibration error: the mean distance between score and accuracy of the bins, by their counts."""
    total = sum(row.count for row in rows)
    return sum(row.count * abs(row.score - row.accuracy) for row in rows) / total


def mean_by_recording(
    probabilities: np.ndarray, labels: np.ndarray, recordings: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """
    The probabilities of recordings: the means over their clips. A recording whose clips have different labels counts
    once for each label.

    Args:
        probabilities: `(clips, classes)`.
        labels: `(clips,)`, class indices.
        recordings: `(clips,)`, names.

    Returns:
        The probabilities `(recordings, classes)`, the labels and the names, sorted by name and label.
    """
    of_clips = list(zip(recordings, labels.tolist(), strict=True))
    pairs = sorted(set(of_clips))
    row_of = {pair: row for row, pair in enumerate(pairs)}
    rows = np.array([row_of[pair] for pair in of_clips])
    sums = np.zeros((len(pairs), probabilities.shape[1]))
    np.add.at(sums, rows, probabilities)
    names = [name for name, _ in pairs]
    return sums / np.bincount(rows)[:, None], np.array([label for _, label in pairs]), names


def softmax(logits: np.ndarray) -> np.ndarray:
    """The probabilities of logits `(..., classes)`."""
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def fit_temperature(logits: np.ndarray, labels: np.ndarray, recordings: Sequence[str]) -> float:
    """
    The temperature by which logits have to be divided so that the scores of recordings are the best probabilities.

    It minimises the negative log likelihood of the labels. As in Platt's scaling of n answers, a label counts
    (n + 1) / (n + 2), and the other classes share the rest. Recordings that are all named right would otherwise ask
    for a temperature of 0, and so for scores of 1.

    Args:
        logits: `(clips, classes)`, of two classes or more.
        labels: `(clips,)`, class indices.
        recordings: `(clips,)`, names. The scores of a recording are the means over its clips.

    Returns:
        The temperature, from 1/50 to 50.

    Example:

    ```python
    >>> import numpy as np
    >>> from polyaudio.evaluation.calibration import fit_temperature

    >>> logits = np.array([[9.0, 0.0], [9.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    >>> fit_temperature(logits, np.array([0, 0, 1, 1]), ["a", "b", "c", "d"]) > 1  # one is wrong, and sure of itself
    True
    ```
    """

    def loss(log_temperature: float) -> float:
        scores, truth, _ = mean_by_recording(softmax(logits / math.exp(log_temperature)), labels, recordings)
        logs = np.log(scores.clip(min=np.finfo(np.float64).tiny))
        own = np.take_along_axis(logs, truth[:, None], axis=1)[:, 0]
        rest = (logs.sum(axis=1) - own) / (logs.shape[1] - 1)
        number = len(truth)
        return float(-((number + 1) * own + rest).mean() / (number + 2))

    limit = math.log(LARGEST_TEMPERATURE)
    found = scipy.optimize.minimize_scalar(loss, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-4})
    return math.exp(found.x)


def choose_threshold(scores: np.ndarray, false_refusals: float) -> float:
    """
    The threshold that refuses at most this share of recordings of known classes.

    Args:
        scores: `(recordings,)`, the highest score of each.
        false_refusals: from 0 to below 1.

    Returns:
        The highest threshold below which lies no larger share of the scores.
    """
    return float(np.sort(scores)[math.floor(round(false_refusals * len(scores), 9))])
