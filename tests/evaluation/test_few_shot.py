# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Few-shot curves: what the probes learn from, and what the points say."""

import numpy as np
import pytest

from polyaudio.evaluation.few_shot import few_shot_curve
from polyaudio.evaluation.probe import make_folds
from polyaudio.evaluation.probe_kinds import FittedProbe, fit_knn


# Four classes in turn, two clips a recording
NUMBERS = np.arange(40).repeat(2)
LABELS = NUMBERS % 4
GROUPS = np.array([f"recording {number}" for number in NUMBERS])
FEATURES = np.random.default_rng(0).standard_normal((80, 6)) + 3 * np.eye(4, 6)[LABELS]


def fit(features, labels, groups, *, num_classes, seed):
    return fit_knn(features, labels, groups, num_classes=num_classes, seed=seed, k=(1,))


def test_more_recordings_help_and_the_draws_follow_from_the_seed():
    folds = make_folds(LABELS, GROUPS, num_folds=4)
    curve = few_shot_curve(FEATURES, LABELS, GROUPS, folds, fit, num_classes=4, shots=(1, 5), draws=6)
    assert [(point.shots, point.draws, point.short) for point in curve] == [(1, 6, 0), (5, 6, 0)]
    assert curve[0].mean < curve[1].mean
    assert all(0 <= low < point.mean < high <= 1 for point in curve for low, high in [point.interval])
    assert curve == few_shot_curve(FEATURES, LABELS, GROUPS, folds, fit, num_classes=4, shots=(1, 5), draws=6)
    assert curve != few_shot_curve(FEATURES, LABELS, GROUPS, folds, fit, num_classes=4, shots=(1, 5), draws=6, seed=1)


@pytest.mark.parametrize("several", [False, True])
def test_a_probe_learns_from_so_many_recordings_of_each_class_and_from_no_held_out_one(several):
    labels = np.eye(4, dtype=int)[LABELS] if several else LABELS
    folds = make_folds(labels, GROUPS, num_folds=2)
    parts = []

    def watch(features, labels, groups, *, num_classes, seed):
        parts.append((labels, groups))
        return FittedProbe(lambda features: np.full((len(features), 4), 0.25), {})

    (point,) = few_shot_curve(FEATURES, labels, GROUPS, folds, watch, num_classes=4, shots=(3,), draws=1)
    assert point.interval is None
    assert len(parts) == 2
    for (train, _), (own_labels, own_groups) in zip(folds, parts, strict=True):
        assert set(own_groups) <= set(GROUPS[train])
        classes = own_labels.argmax(axis=1) if several else own_labels
        assert [len(set(own_groups[classes == label])) for label in range(4)] == [3] * 4
        assert len(own_groups) == 24


def test_classes_with_fewer_recordings_are_counted():
    labels = np.where((LABELS == 3) & (NUMBERS > 9), 2, LABELS)  # two recordings of the last class
    folds = make_folds(labels, GROUPS, num_folds=2)
    points = few_shot_curve(FEATURES, labels, GROUPS, folds, fit, num_classes=4, shots=(1, 4), draws=2)
    assert [point.short for point in points] == [0, 1]
