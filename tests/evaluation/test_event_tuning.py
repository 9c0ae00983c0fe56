# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Rules that are chosen for the F1 of events: counts against other ways to count, and rules against what is known."""

import importlib.util
import itertools
import logging

import numpy as np
import pytest
import scipy.optimize

from polyaudio.data.event_rules import DetectedEvent, EventRules
from polyaudio.data.events import Event, events_to_frames
from polyaudio.evaluation.event_tuning import GRID, choose_rules, event_counts, score_rules
from polyaudio.evaluation.sound_events import score_events


LABELS = ["dog", "cat", "bird", "nobody"]
FRAME = 0.08


def random_timelines(seed: int, clips: int = 12):
    """Noisy scores of events of many lengths, and clips that end within a frame; of the last class there are none."""
    generator = np.random.default_rng(seed)
    scores, references, durations = {}, {}, {}
    for clip in map(str, range(clips)):
        durations[clip] = float(generator.uniform(2.0, 6.0))
        references[clip] = [
            Event(onset, onset + generator.uniform(0.1, 1.5), label)
            for label in range(3)
            for onset in generator.uniform(0, durations[clip] - 0.1, generator.integers(0, 4))
        ]
        frames = int(np.ceil(durations[clip] / FRAME))
        truth = events_to_frames(references[clip], frames, FRAME, len(LABELS))
        noise = generator.normal(0, [0.2, 0.4, 0.3, 0.2], truth.shape)
        scores[clip] = np.clip(0.1 + [0.8, 0.5, 0.2, 0.0] * truth + noise, 0, 1).astype(np.float32)
    return scores, references, durations, LABELS, FRAME


@pytest.mark.parametrize("seed", range(20))
def test_counts_are_those_of_the_best_matching(seed):
    """Events so close to each other that there are many ways to match them."""
    generator = np.random.default_rng(seed)
    found, references = {}, {}
    for clip in map(str, range(4)):
        for events, add in ((found, lambda *event: DetectedEvent(*event, 0.5)), (references, Event)):
            onsets = generator.integers(0, 20, generator.integers(0, 14)) / 10
            events[clip] = [add(onset, onset + 0.3, int(generator.integers(0, 2))) for onset in onsets]
    expected = np.zeros((3, 3), dtype=int)
    for clip, label in itertools.product(references, range(2)):
        ours, theirs = (
            np.array([event[:2] for event in events[clip] if event.label == label]).reshape(-1, 2)
            for events in (found, references)
        )
        near = np.abs(ours[:, None] - theirs).round(6)
        is_hit = (near <= 0.2).all(axis=2)
        hits = is_hit[scipy.optimize.linear_sum_assignment(is_hit, maximize=True)].sum()
        expected[label] += (hits, len(ours), len(theirs))
    assert 0 < expected[:, 0].sum() < expected[:, 2].sum()
    np.testing.assert_array_equal(event_counts(found, references, 3), expected)


def test_collars():
    references = {"a": [Event(1.0, 2.0, 0), Event(5.0, 10.0, 0)], "b": [Event(1.0, 2.0, 0)]}

    def hits(onset: float, offset: float, label: int = 0, clip: str = "a") -> int:
        return int(event_counts({clip: [DetectedEvent(onset, offset, label, 0.5)]}, references, 2)[0, 0])

    assert hits(1.2, 2.2) == hits(0.8, 1.8) == hits(5.2, 9.0) == hits(5.0, 11.0) == hits(1.0, 2.0, clip="b") == 1
    assert hits(1.21, 2.0) == hits(1.0, 2.21) == hits(5.0, 11.01) == hits(1.0, 2.0, label=1) == 0
    assert hits(5.0, 9.0, clip="b") == 0
    np.testing.assert_array_equal(event_counts({"a": [], "b": []}, references, 2), [[0, 0, 3], [0, 0, 0]])
    np.testing.assert_array_equal(event_counts({"a": []}, {"a": []}, 1), [[0, 0, 0]])


@pytest.mark.skipif(
    importlib.util.find_spec("sed_scores_eval") is None,
    reason="sed_scores_eval is not installed, as it needs a C++ compiler: pip install polyaudio[sound-events]",
)
@pytest.mark.parametrize("seed", range(4))
def test_the_f1_is_that_of_score_events(seed):
    timelines = random_timelines(seed)
    for rules in (
        EventRules(),
        EventRules(
            [0.6, 0.4, 0.3, 0.9], low_threshold=0.2, median_filter=0.3, min_duration=0.2, max_gap=[0, 0.2, 0, 0]
        ),
    ):
        expected, ours = score_events(*timelines, rules).clips, score_rules(*timelines, rules)
        for name, value in ours.values.items():
            assert expected[name] == pytest.approx(value, abs=1e-12), name
        assert ours["event_f1_micro"] > 0
        for label, scores in ours.per_class.items():
            assert expected.per_class[label]["event_f1"] == pytest.approx(scores["event_f1"], abs=1e-12)
        assert list(ours.per_class) == list(expected.per_class)


def test_the_chosen_rules_are_better(caplog):
    timelines = random_timelines(5, clips=30)
    with caplog.at_level(logging.WARNING):
        rules = choose_rules(*timelines)
    assert "keep the default rules: nobody" in caplog.text
    assert choose_rules(*timelines) == rules
    default, chosen = score_rules(*timelines, EventRules()), score_rules(*timelines, rules)
    for label in LABELS[:3]:
        assert chosen.per_class[label]["event_f1"] > default.per_class[label]["event_f1"]
    assert chosen["event_f1_macro"] > 2 * default["event_f1_macro"]
    for name in ("threshold", "low_threshold"):
        assert rules.of_labels(name, 4)[3] == 0.5
    for name in ("median_filter", "min_duration", "max_gap"):
        assert rules.of_labels(name, 4)[3] == 0
    # No class is worse than by any threshold and filter for itself
    for threshold, length in itertools.product(GRID["threshold"][::5], GRID["median_filter"][::2]):
        plain = score_rules(*timelines, EventRules(threshold, median_filter=length))
        for label, scores in plain.per_class.items():
            assert scores["event_f1"] <= chosen.per_class[label]["event_f1"] + 1e-9


def test_of_equally_good_rules_the_simplest_is_chosen():
    references = {"a": [Event(1.0, 2.0, 0), Event(2.4, 3.0, 1)]}
    scores = events_to_frames(references["a"], 20, 0.2, 2)
    assert choose_rules({"a": scores}, references, {"a": 4.0}, ["x", "y"], 0.2) == EventRules(
        (0.5, 0.5), median_filter=(0, 0), min_duration=(0, 0), max_gap=(0, 0)
    )
    # Nothing of the second class can be found
    scores[:, 1] = 0
    assert choose_rules({"a": scores}, references, {"a": 4.0}, ["x", "y"], 0.2).threshold == (0.5, 0.5)


def test_each_rule_is_chosen_where_it_helps():
    """One class for each rule, whose scores need this rule and no other one."""
    generator = np.random.default_rng(0)
    scores, references, durations = {}, {}, {}
    names = ["threshold", "median_filter", "low_threshold", "max_gap", "min_duration"]
    for clip in map(str, range(6)):
        starts = [3 + int(generator.integers(0, 5)), 40 + int(generator.integers(0, 5))]
        references[clip] = [Event(s / 10, (s + 12) / 10, label) for s in starts for label in range(5)]
        durations[clip] = 8.0
        cells = np.zeros((80, 5), dtype=np.float32)
        for start in starts:
            cells[start : start + 12] = 0.9
            cells[start : start + 12, 0] = 0.2
            cells[start : start + 12, 2] = 0.3
            cells[start + 6, 2] = 0.9
            cells[start + 5 : start + 7, 3] = 0
        cells[[25, 30, 70], 1] = 0.9  # ticks
        cells[22:34, 2] = 0.3  # as long as an event, but without a peak
        cells[27:30, 4] = cells[65:68, 4] = 0.9
        scores[clip] = cells
    rules = choose_rules(scores, references, durations, names, 0.1)
    assert score_rules(scores, references, durations, names, 0.1, rules)["event_f1_macro"] == 1.0
    assert rules.threshold[0] < 0.2
    assert rules.median_filter[1] > 0 or rules.min_duration[1] > 0.1
    assert rules.low_threshold[2] < 0.3 < rules.threshold[2]
    assert rules.max_gap[3] >= 0.2 or rules.median_filter[3] >= 0.5
    assert rules.min_duration[4] > 0.3 or rules.median_filter[4] >= 0.7


def test_timelines_that_cannot_be_tuned_on():
    scores, references, durations, labels, frame_seconds = random_timelines(0)
    with pytest.raises(ValueError, match="No clip has any event"):
        choose_rules(scores, dict.fromkeys(references, ()), durations, labels, frame_seconds)
    with pytest.raises(ValueError, match="not in `scores`"):
        choose_rules({}, references, durations, labels, frame_seconds)
