# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Events from scores: each rule by itself, all of them against plain formulas, and streams against the whole."""

import json
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from builders import FRAME
from polyaudio.data.event_rules import DetectedEvent, EventDetector, EventRules, detect_events
from polyaudio.data.events import Event, events_to_frames


def times(events: list[DetectedEvent]) -> list[tuple[float, float, int]]:
    return [event[:3] for event in events]


def runs(is_on: np.ndarray) -> list[tuple[int, int]]:
    """The first cell of each run and the cell after it."""
    edges = np.flatnonzero(np.diff([0, *is_on.astype(int), 0])).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def slow_events(scores, cell, duration, *, threshold, low_threshold, median_filter, min_duration, max_gap):
    """The definition of the rules, written out for one class; scores whose sums are exact."""
    reach = int(median_filter / cell / 2 + 1e-6)
    padded = np.pad(scores, reach, mode="symmetric")
    smooth = np.array([np.median(padded[i : i + 2 * reach + 1]) for i in range(len(scores))])
    joined: list[list[int]] = []
    for start, stop in runs(smooth > low_threshold):
        if not (smooth[start:stop] > threshold).any():
            continue
        if joined and (start - joined[-1][1]) * cell <= max_gap + 1e-6:
            joined[-1][1] = stop
        else:
            joined.append([start, stop])
    events = [(start * cell, min(stop * cell, duration), float(scores[start:stop].mean())) for start, stop in joined]
    return [event for event in events if event[1] > event[0] and event[1] - event[0] >= min_duration - 1e-6]


def random_case(seed: int):
    """Scores that wander, so that there are runs of all lengths, and rules by class."""
    generator = np.random.default_rng(seed)
    cells, labels = int(generator.integers(1, 120)), int(generator.integers(1, 4))
    wander = np.cumsum(generator.normal(0, 0.25, (cells, labels)), axis=0) + generator.uniform(0, 1, labels)
    scores = np.round(np.abs((wander + 1) % 2 - 1) * 1024).astype(np.float32) / 1024
    settings = {
        "threshold": generator.uniform(0.4, 0.9, labels).tolist(),
        "median_filter": generator.choice([0.0, 0.3, 0.5, 2.1, 9.0], labels).tolist(),
        "min_duration": generator.choice([0.0, 0.2, 0.35, 1.0], labels).tolist(),
        "max_gap": generator.choice([0.0, 0.1, 0.2, 0.75, 60.0], labels).tolist(),
    }
    settings["low_threshold"] = [
        value * share for value, share in zip(settings["threshold"], generator.random(labels), strict=True)
    ]
    return scores, settings, generator


def streamed(scores, cell, rules, duration, cuts) -> list[DetectedEvent]:
    detector = EventDetector(rules, scores.shape[1], cell)
    parts = [detector.push(block) for block in np.split(scores, cuts)]
    for part in parts:
        assert part == sorted(part)
    return sorted([event for part in [*parts, detector.finish(duration)] for event in part])


@pytest.mark.parametrize("seed", range(60))
def test_events_are_those_of_the_definition_for_any_blocks(seed):
    scores, settings, generator = random_case(seed)
    cells, labels = scores.shape
    cell, rules = 0.1, EventRules(**settings)
    duration = None if seed % 3 == 0 else float((cells - generator.random()) * cell)
    events = detect_events(scores, cell, rules, duration)
    expected = [
        DetectedEvent(*event[:2], label, event[2])
        for label in range(labels)
        for event in slow_events(
            scores[:, label].astype(np.float64), cell, np.inf if duration is None else duration,
            **{name: np.float32(value[label]) if "threshold" in name else value[label]
               for name, value in settings.items()},
        )
    ]  # fmt: skip
    assert events == sorted(expected)
    for _ in range(5):
        # Cuts at the same place make empty blocks
        cuts = np.sort(generator.integers(0, cells + 1, generator.integers(0, cells + 2)))
        assert streamed(scores, cell, rules, duration, cuts) == events
    assert streamed(scores, cell, rules, duration, np.arange(cells + 1)) == events


def test_random_cases_have_events_to_find():
    """... that begin before the first cell, end after the last one, and are shorter than their filter."""
    found = [(case[0], detect_events(case[0], 1.0, EventRules(**case[1]))) for case in map(random_case, range(60))]
    assert sum(len(events) for _, events in found) > 100
    assert sum(event.onset == 0 for _, events in found for event in events) > 5
    assert sum(event.offset == len(scores) for scores, events in found for event in events) > 5
    assert sum(len(scores) < 45 for scores, _ in found) > 5


def test_default_rules_give_the_runs_above_one_half():
    scores = np.random.default_rng(3).random((400, 5)).astype(np.float32)
    expected = [
        (start * FRAME, stop * FRAME, label) for label in range(5) for start, stop in runs(scores[:, label] > 0.5)
    ]
    assert times(detect_events(scores, FRAME, EventRules())) == sorted(expected)


def test_thresholds():
    scores = np.array([[0.6, 0.1], [0.7, 0.5], [0.5, 0.9], [0.9, 0.9]])
    assert times(detect_events(scores, 2.0, EventRules())) == [(0.0, 4.0, 0), (4.0, 8.0, 1), (6.0, 8.0, 0)]
    assert times(detect_events(scores, 2.0, EventRules([0.8, 0.0]))) == [(0.0, 8.0, 1), (6.0, 8.0, 0)]
    assert times(detect_events(scores, 2.0, EventRules([0.8, 0.8], low_threshold=[0.55, 0.2]))) == [
        (2.0, 8.0, 1),
        (6.0, 8.0, 0),
    ]
    assert detect_events(np.ones((4, 2)), 2.0, EventRules(1.0)) == []
    assert detect_events(np.zeros((4, 2)), 2.0, EventRules(0.0)) == []


def test_median_filter_removes_short_runs_and_gaps():
    scores = np.array([[1, 1, 1, 0, 1, 1, 0, 0, 0, 1, 0, 0]]).T
    assert len(detect_events(scores, 1.0, EventRules())) == 3
    for seconds in (2.0, 3.0, 3.9):
        (event,) = detect_events(scores, 1.0, EventRules(median_filter=seconds))
        assert event == (0.0, 6.0, 0, pytest.approx(5 / 6))


def test_joining_comes_before_dropping():
    scores = np.array([[0, 1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 1]]).T
    assert times(detect_events(scores, 0.1, EventRules(max_gap=0.1))) == [
        (0.1, 0.4, 0), (0.6000000000000001, 0.7000000000000001, 0), (1.0, 1.2000000000000002, 0),
    ]  # fmt: skip
    assert [event[:2] for event in detect_events(scores, 0.1, EventRules(max_gap=0.1, min_duration=0.3))] == [
        (0.1, 0.4)
    ]
    (whole,) = detect_events(scores, 0.1, EventRules(max_gap=0.3, min_duration=0.3), duration=1.15)
    assert whole == (0.1, 1.15, 0, pytest.approx(5 / 11))


def test_a_low_run_without_a_peak_does_not_bridge_a_gap():
    scores = np.array([[0.9, 0.1, 0.4, 0.1, 0.9]]).T
    rules = EventRules(0.5, low_threshold=0.3)
    assert times(detect_events(scores, 1.0, EventRules(0.5, low_threshold=0.3, max_gap=2))) == [
        (0.0, 1.0, 0),
        (4.0, 5.0, 0),
    ]
    assert len(detect_events(scores, 1.0, rules)) == 2
    assert len(detect_events(scores, 1.0, EventRules(0.5, low_threshold=0.3, max_gap=3))) == 1


def test_events_come_as_soon_as_they_are_final():
    scores = np.zeros((40, 1), dtype=np.float32)
    scores[5:10] = 1
    for rules, last_cell in (
        (EventRules(), 10),
        (EventRules(max_gap=3.0), 13),
        (EventRules(median_filter=5.0), 12),
        (EventRules(median_filter=5.0, max_gap=3.0), 15),
    ):
        detector = EventDetector(rules, 1, 1.0)
        pushed = [detector.push(scores[index : index + 1]) for index in range(40)]
        assert [bool(events) for events in pushed].index(True) == last_cell
        assert pushed[last_cell] == [(5.0, 10.0, 0, 1.0)]
        assert detector.finish() == []


def test_an_open_event_holds_back_no_other_one():
    scores = np.zeros((20, 2))
    scores[2:, 0] = scores[4:6, 1] = 1
    detector = EventDetector(EventRules(), 2, 1.0)
    assert times(detector.push(scores)) == [(4.0, 6.0, 1)]
    assert times(detector.finish(19.5)) == [(2.0, 19.5, 0)]


def test_memory_does_not_grow_with_the_recording():
    rules = EventRules(0.5, low_threshold=0.2, median_filter=10.0, max_gap=60.0)
    block = (np.random.default_rng(0).random((1000, 4)) > 0.4).astype(np.float32)
    detector = EventDetector(rules, 4, 1.0)
    detector.push(block)
    tracemalloc.start()
    detector.push(block)
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(50):
        detector.push(block)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < block.nbytes


def test_no_cells():
    detector = EventDetector(EventRules(median_filter=3.0), 2, 1.0)
    assert detector.push(np.zeros((0, 2))) == []
    assert detector.finish(0.0) == []
    assert EventDetector(EventRules(), 2, 1.0).finish() == []


def test_round_trip():
    frames = (np.random.default_rng(3).random((200, 5)) > 0.6).astype(np.float32)
    events = [Event(*event[:3]) for event in detect_events(frames, FRAME, EventRules())]
    np.testing.assert_array_equal(events_to_frames(events, 200, FRAME, 5), frames)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 1.1}, "`threshold` must be a number from 0 to 1"),
        ({"threshold": -0.1}, "`threshold`"),
        ({"threshold": float("nan")}, "`threshold`"),
        ({"threshold": [0.5, float("nan")]}, "`threshold`"),
        ({"threshold": []}, "`threshold`"),
        ({"threshold": "0.5"}, "`threshold`.*'0.5'"),
        ({"threshold": True}, "`threshold`"),
        ({"threshold": None}, "`threshold`"),
        ({"threshold": [[0.5]]}, "`threshold`"),
        ({"low_threshold": 0.6}, "must not be above"),
        ({"threshold": [0.5, 0.2], "low_threshold": 0.3}, "must not be above"),
        ({"threshold": [0.5, 0.2], "low_threshold": [0.1, 0.1, 0.1]}, "one value for each class"),
        ({"threshold": [0.5, 0.2], "max_gap": [0.1]}, "one value for each class"),
        ({"median_filter": -1.0}, "`median_filter` must be a number from 0 to 60"),
        ({"median_filter": 1e9}, "`median_filter`"),
        ({"min_duration": float("inf")}, "`min_duration` must be a number of at least 0"),
        ({"max_gap": [0.1, -0.1]}, "`max_gap`"),
    ],
)
def test_rules_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        EventRules(**settings)


def test_rules_as_json():
    rules = EventRules(np.array([0.5, 0.25], dtype=np.float32), low_threshold=0, max_gap=[1, 0])
    assert rules == EventRules((0.5, 0.25), low_threshold=0.0, max_gap=(1.0, 0.0))
    settings = json.loads(json.dumps(rules.to_dict()))
    assert EventRules(**settings) == rules
    assert EventRules.from_config(SimpleNamespace(event_rules=settings, num_labels=2)) == rules
    assert EventRules.from_config(SimpleNamespace(event_rules=None, num_labels=2)) == EventRules()
    assert EventRules.from_config(SimpleNamespace(num_labels=2)) == EventRules()
    assert EventRules(**EventRules().to_dict()) == EventRules()
    with pytest.raises(ValueError, match="one for each of 3 classes, got 2"):
        EventRules.from_config(SimpleNamespace(event_rules=settings, num_labels=3))
    with pytest.raises(ValueError, match="no setting 'thresholds'"):
        EventRules.from_config(SimpleNamespace(event_rules={"thresholds": 0.5}, num_labels=3))


def test_detectors_of_bad_input():
    rules = EventRules([0.5, 0.5])
    with pytest.raises(ValueError, match="one for each of 3 classes, got 2"):
        detect_events(np.zeros((3, 3)), 1.0, rules)
    for cell_seconds in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="cell_seconds"):
            EventDetector(rules, 2, cell_seconds)
    for wrong in (np.zeros(2), np.zeros((1, 3)), np.zeros((1, 2, 1)), 0.5):
        with pytest.raises(ValueError, match="2 labels"):
            EventDetector(rules, 2, 1.0).push(wrong)
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="NaN"):
            detect_events(np.full((3, 2), value), 1.0, rules)
    with pytest.raises(ValueError, match=r"\(0, 2\)"):
        detect_events(np.zeros((0, 2)), 1.0, rules)
    for duration in (1.9, float("nan")):
        with pytest.raises(ValueError, match="too many for a recording"):
            detect_events(np.zeros((3, 2)), 1.0, rules, duration=duration)
    detector = EventDetector(rules, 2, 1.0)
    detector.finish()
    for call in (detector.finish, lambda: detector.push(np.zeros((1, 2)))):
        with pytest.raises(ValueError, match="new one"):
            call()
