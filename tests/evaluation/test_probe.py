# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Probes on one vector a clip: honest folds, and nothing that is held out has a part in the fit."""

import numpy as np
import pytest

from polyaudio.evaluation.probe import compare_probes, linear_probe, make_folds, run_probe
from polyaudio.evaluation.probe_kinds import fit_knn, fit_linear
from polyaudio.evaluation.summary import MeanStd


NAMES = dict(enumerate("abcd"))


def recordings_of(num_recordings: int, clips: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and recordings of clips: four classes in turn, a recording's clips next to each other."""
    numbers = np.arange(num_recordings).repeat(clips)
    return numbers % 4, np.array([f"recording {number}" for number in numbers])


# The probe ----------------------------------------------------------------------------------------


def test_features_that_carry_the_label_and_noise():
    labels, groups = recordings_of(80, 2)
    noise = np.random.default_rng(0).standard_normal((160, 10))
    carrying = noise + 6 * np.eye(4, 10)[labels]
    good = linear_probe(carrying, labels, groups, id2label=NAMES).scores
    bad = linear_probe(noise, labels, groups, id2label=NAMES).scores
    assert good.accuracy.mean > 0.97
    assert good.f1_macro.mean > 0.97
    assert 0.1 < bad.accuracy.mean < 0.4
    assert good.held_out.clips["majority_accuracy"] == 0.25
    difference = compare_probes(good, [bad, good])
    expected = (good.accuracy.mean - bad.accuracy.mean) / 2
    assert difference["accuracy"].mean == pytest.approx(expected)


def test_a_recording_does_not_help_with_its_other_clips():
    """Features tell the recording and nothing else: with each clip taken for a recording, the score is 1."""
    labels, groups = recordings_of(80, 4)
    rng = np.random.default_rng(0)
    of_recording = rng.standard_normal((80, 200)).repeat(4, axis=0)
    features = of_recording + 0.01 * rng.standard_normal(of_recording.shape)
    leaking = linear_probe(features, labels, [str(clip) for clip in range(320)], id2label=NAMES).scores
    honest = linear_probe(features, labels, groups, id2label=NAMES).scores
    assert leaking.accuracy.mean > 0.97
    assert honest.accuracy.mean < 0.4


def test_folds_keep_recordings_together_and_classes_apart_evenly():
    labels, groups = recordings_of(40, 3)
    held_out = np.zeros(120, dtype=int)
    for train, test in make_folds(labels, groups, num_folds=5, seed=3):
        assert not set(groups[train]) & set(groups[test])
        assert sorted([*train, *test]) == list(range(120))
        assert np.bincount(labels[test]).tolist() == [6, 6, 6, 6]
        held_out[test] += 1
    assert held_out.tolist() == [1] * 120


def test_nothing_that_is_held_out_has_a_part_in_the_fit():
    labels, groups = recordings_of(40, 2)
    features = np.random.default_rng(0).standard_normal((80, 10)) + np.eye(4, 10)[labels]
    is_test = np.arange(80) >= 60
    result = linear_probe(features, labels, groups, id2label=NAMES, is_test=is_test)
    features[61:] *= 100
    other = linear_probe(features, np.where(is_test, 0, labels), groups, id2label=NAMES, is_test=is_test)
    np.testing.assert_array_equal(result.probabilities[60], other.probabilities[60])
    assert result.folds.tolist() == [-1] * 60 + [0] * 20
    assert np.isnan(result.probabilities[:60]).all()
    np.testing.assert_allclose(result.probabilities[60:].sum(axis=1), 1)
    assert [(fold.clips, fold.recordings) for fold in result.scores.folds] == [(20, 10)]
    assert result.scores.accuracy == MeanStd(result.scores.held_out.clips["accuracy"], None)


def test_a_class_of_one_recording_counts_as_wrong():
    labels, groups = recordings_of(40, 2)
    labels[labels == 3] = 2
    labels[:2] = 3
    result = linear_probe(np.eye(4)[labels], labels, groups, id2label=NAMES)
    assert result.scores.unseen == ["d"]
    assert result.probabilities[:2, 3].tolist() == [0, 0]
    assert result.scores.held_out.clips["accuracy"] == pytest.approx(78 / 80)


# Several labels a clip, and nearest neighbours ---------------------------------------------------


def tags_of(num_recordings: int, clips: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels `(clips, classes)` and recordings: most clips have one or two of four classes, some have none."""
    numbers = np.arange(num_recordings).repeat(clips)
    labels = np.eye(4, dtype=int)[numbers % 4] | np.eye(4, dtype=int)[numbers % 3]
    labels[numbers % 10 == 9] = 0
    return labels, np.array([f"recording {number}" for number in numbers])


@pytest.mark.parametrize("fit", [fit_linear, fit_knn])
def test_several_labels_a_clip(fit):
    labels, groups = tags_of(80, 2)
    noise = np.random.default_rng(0).standard_normal((160, 6))
    folds = make_folds(labels, groups, num_folds=4)
    good = run_probe(np.hstack([noise, 9 * labels]), labels, groups, folds, fit, id2label=NAMES)
    bad = run_probe(noise, labels, groups, folds, fit, id2label=NAMES)
    assert good.scores.map.mean > 0.97
    assert bad.scores.map.mean < 0.7
    assert good.probabilities.shape == (160, 4)
    assert good.scores.held_out.clips["f1_macro"] > 0.9
    assert compare_probes(good.scores, [bad.scores])["map"].mean > 0.3


def test_a_label_that_a_training_part_lacks_is_named():
    labels, groups = tags_of(40, 2)
    labels[:, 3] = 0
    labels[groups == "recording 9", 3] = 1
    result = linear_probe(np.hstack([labels, labels]), labels, groups, id2label=NAMES, num_folds=4)
    assert result.scores.unseen == ["d"]


def test_neighbours_of_recordings_that_are_held_out_do_not_vote():
    labels, groups = recordings_of(80, 4)
    rng = np.random.default_rng(0)
    features = rng.standard_normal((80, 50)).repeat(4, axis=0) + 0.01 * rng.standard_normal((320, 50))
    leaking = [str(clip) for clip in range(320)]
    scores = [
        run_probe(features, labels, own, make_folds(labels, own), fit_knn, id2label=NAMES).scores.accuracy.mean
        for own in (leaking, groups)
    ]
    assert scores[0] > 0.97
    assert scores[1] < 0.45


IMPOSSIBLE = {
    "more folds than recordings": ({"num_folds": 11}, "at most 10"),
    "one fold": ({"num_folds": 1}, "at least 2"),
    "a recording on both sides": ({"is_test": np.arange(80) >= 61}, "one is recording 30"),
    "nothing to test on": ({"is_test": np.zeros(80, bool)}, "clips to test on"),
    "too few to choose C": ({"is_test": np.arange(80) >= 10}, "two classes must have two recordings"),
    "features of other clips": ({"features": np.zeros((79, 3))}, r"\(79, 3\) features and \(80,\) labels"),
    "broken features": ({"features": np.full((80, 3), np.nan)}, "NaN"),
    "recordings of other clips": ({"groups": ["x"] * 79}, r"\(80,\) labels and \(79,\) recordings"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_cannot_be_probed_is_an_error(name):
    changes, message = IMPOSSIBLE[name]
    labels, groups = recordings_of(40, 2)
    arguments = {"features": np.zeros((80, 3)), "labels": labels, "groups": groups, "id2label": NAMES, **changes}
    with pytest.raises(ValueError, match=message):
        linear_probe(**arguments)
