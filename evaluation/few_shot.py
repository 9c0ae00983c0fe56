# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Few-shot curves: the score of a probe that learns from few recordings of each class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from .measures import accuracy, mean_average_precision
from .probe_kinds import FitProbe


@dataclass(frozen=True)
class FewShotPoint:
    """
    The score with a number of recordings of each class.

    Args:
        shots: the number of recordings.
        mean: the mean over the draws, of the accuracy on all held-out clips, or of their mean average precision.
        interval: the 95 % interval of the mean, by Student's t. It covers the draw of the training recordings only;
            `None` for a single draw.
        draws: number of draws.
        short: number of classes that have fewer recordings in a training part; they give all that they have.
    """

    shots: int
    mean: float
    interval: tuple[float, float] | None
    draws: int
    short: int


def few_shot_curve(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    fit: FitProbe,
    *,
    num_classes: int,
    shots: Sequence[int],
    draws: int = 10,
    seed: int = 0,
) -> list[FewShotPoint]:
    """
    Test a probe on the held-out clips of all folds, when it learns from a few recordings of each training part.

    A draw takes the first of the recordings of each class in a random order, so more shots contain fewer shots. With
    several labels a clip, a class may get more recordings through those of other classes.

    Args:
        features: `(clips, feature_size)`.
        labels: `(clips,)`, class indices, or `(clips, classes)`, 0 or 1.
        groups: `(clips,)`, the recording that each clip comes from.
        folds: the training and the test clips of each fold.
        fit: fits a probe, without a choice of settings by cross-validation.
        num_classes: number of classes.
        shots: numbers of recordings of each class.
        draws: number of draws of recordings, each for all folds.
        seed: seed of the draws.
    """
    targets = labels if labels.ndim == 2 else np.eye(num_classes, dtype=int)[labels]
    held_out = np.concatenate([test for _, test in folds])
    scores = np.empty((len(shots), draws))
    short = np.zeros((len(shots), num_classes), bool)
    for draw in range(draws):
        orders = [
            _recordings_in_order(targets, groups, train, np.random.default_rng([seed, draw, number]))
            for number, (train, _) in enumerate(folds)
        ]
        for row, number in enumerate(shots):
            probabilities = np.empty((len(labels), num_classes))
            for (train, test), recordings in zip(folds, orders, strict=True):
                short[row] |= [0 < len(own) < number for own in recordings]
                chosen = _chosen(targets, groups, train, recordings, number, is_single=labels.ndim == 1)
                fitted = fit(features[chosen], labels[chosen], groups[chosen], num_classes=num_classes, seed=seed)
                probabilities[test] = fitted.predict(features[test])
            scores[row, draw] = _score(probabilities[held_out], labels[held_out])
    return [
        FewShotPoint(number, float(own.mean()), _interval(own), draws, int(few.sum()))
        for number, own, few in zip(shots, scores, short, strict=True)
    ]


def _recordings_in_order(
    targets: np.ndarray, groups: np.ndarray, train: np.ndarray, random: np.random.Generator
) -> list[np.ndarray]:
    """For each class, its recordings in a training part in a random order."""
    return [random.permutation(np.unique(groups[train][own])) for own in targets[train].T.astype(bool)]


def _chosen(
    targets: np.ndarray,
    groups: np.ndarray,
    train: np.ndarray,
    recordings: list[np.ndarray],
    number: int,
    *,
    is_single: bool,
) -> np.ndarray:
    """The training clips of the first recordings of each class; of these only those of the class, if it is single."""
    is_chosen = np.zeros(len(train), bool)
    for own, label in zip(recordings, targets[train].T.astype(bool), strict=True):
        of_recordings = np.isin(groups[train], own[:number])
        is_chosen |= of_recordings & label if is_single else of_recordings
    return train[is_chosen]


def _score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    if labels.ndim == 2:
        return float(mean_average_precision(probabilities, labels)["map"])
    return accuracy(probabilities.argmax(axis=1), labels)


def _interval(scores: np.ndarray) -> tuple[float, float] | None:
    if len(scores) < 2:
        return None
    half = scipy.stats.t.ppf(0.975, len(scores) - 1) * scores.std(ddof=1) / np.sqrt(len(scores))
    return max(0.0, float(scores.mean() - half)), min(1.0, float(scores.mean() + half))
