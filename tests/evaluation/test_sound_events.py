# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The scores of timelines against formulas of our own."""

import importlib.util
import json

import matplotlib.image
import numpy as np
import pytest
import scipy.optimize
import sklearn.metrics
from transformers import EvalPrediction

from builders import FRAME
from polyaudio.data.event_rules import EventRules, detect_events
from polyaudio.data.events import Event, events_to_frames
from polyaudio.evaluation.plots import plot_timeline
from polyaudio.evaluation.sound_events import frame_metrics, score_events


needs_library = pytest.mark.skipif(
    importlib.util.find_spec("sed_scores_eval") is None,
    reason="sed_scores_eval is not installed, as it needs a C++ compiler: pip install polyaudio[sound-events]",
)


LABELS = ["dog", "onset", "$speech$", "nobody"]


def random_timelines(clips: int = 12, frames: int = 63, seconds: float = 10.0):
    """Scores, and events that start and end between frames; of the last class there are none."""
    generator = np.random.default_rng(7)
    scores, references = {}, {}
    for clip in range(clips):
        references[f"{clip}.wav"] = [
            Event(first + generator.uniform(0, 1), first + generator.uniform(1.5, 3), label)
            for label, name in enumerate(LABELS[:-1])
            for first in generator.choice([0.0, 3.5, 7.0], size=2, replace=False)
        ]
        truth = events_to_frames(references[f"{clip}.wav"], frames, FRAME, len(LABELS))
        noise = generator.normal(0, 0.35, truth.shape)
        scores[f"{clip}.wav"] = (0.2 + 0.6 * truth + noise).astype(np.float32)
    return scores, references, dict.fromkeys(scores, seconds)


@needs_library
def test_perfect_predictions():
    references = {
        "a": [Event(0.16, 1.6, "dog"), Event(1.28, 3.2, "onset"), Event(8.0, 10.08, 0)],
        "b": [Event(0.0, 9.92, "$speech$")],
        "c": [],
    }
    indexed = {"a": [Event(0.16, 1.6, 0), Event(1.28, 3.2, 1), Event(8.0, 10.08, 0)], "b": [Event(0.0, 9.92, 2)]}
    scores = {clip: events_to_frames(indexed.get(clip, []), 63, FRAME, 4) for clip in references}
    evaluation = score_events(scores, references, dict.fromkeys(references, 10.08), LABELS, FRAME)
    assert (evaluation.task, evaluation.labels) == ("frame_classification", LABELS)
    result = evaluation.clips.to_dict()
    assert json.loads(json.dumps(result)) == result
    perfect = {"macro": 1.0, "micro": 1.0, "per_class": {"dog": 1.0, "onset": 1.0, "$speech$": 1.0}}
    assert result == {
        "count": 3,
        "references": 4,
        "references_merged": 0,
        "classes_left_out": 1,
        "events_left_out": 0,
        "segment_f1": perfect,
        "event_f1": perfect,
        "psds1": pytest.approx(1.0),
        "psds2": pytest.approx(1.0),
        "frame_map": 1.0,
        "frame_map_classes_left_out": 1,
    }


@needs_library
def test_shifted_predictions():
    references = {"a": [Event(16.0, 48.0, 0)]}
    duration = {"a": 64.0}
    score_of = {
        shift: score_events(
            {"a": events_to_frames([Event(16.0 + shift, 48.0 + shift, 0)], 400, FRAME, 1)},
            references, duration, ["dog"], FRAME,
        ).clips.to_dict()
        for shift in (FRAME, 2 * FRAME)
    }  # fmt: skip
    assert score_of[FRAME]["event_f1"]["macro"] == 1.0  # within the collar of 200 ms
    assert score_of[2 * FRAME]["event_f1"] == {"macro": 0.0, "micro": 0.0, "per_class": {"dog": 0.0}}
    assert score_of[2 * FRAME]["segment_f1"]["macro"] == pytest.approx(2 * 32 / (2 * 32 + 1))


@needs_library
def test_segment_f1_is_that_of_segments():
    scores, references, durations = random_timelines()
    result = score_events(scores, references, durations, LABELS, FRAME).clips.to_dict()["segment_f1"]
    starts = np.arange(10)
    truth, answers = [], []
    for clip, events in references.items():
        truth.append(
            [
                [any(e.label == c and e.onset < s + 1 and e.offset > s for e in events) for c in range(3)]
                for s in starts
            ]
        )
        on = np.arange(63) * FRAME
        answers.append(
            [(scores[clip][(on < s + 1 - 1e-9) & (on + FRAME > s + 1e-9), :3] > 0.5).any(axis=0) for s in starts]
        )
    truth, answers = np.concatenate(truth), np.concatenate(answers)
    expected = sklearn.metrics.f1_score(truth, answers, average=None)
    assert 0.3 < expected.min() < expected.max() < 1
    np.testing.assert_allclose(list(result["per_class"].values()), expected)
    assert list(result["per_class"]) == LABELS[:3]
    assert result["macro"] == pytest.approx(expected.mean())
    assert result["micro"] == pytest.approx(sklearn.metrics.f1_score(truth, answers, average="micro"))


@pytest.mark.parametrize("median_filter", [1, 5])
@pytest.mark.parametrize("settings", [{}, {"low_threshold": 0.3, "min_duration": [0.4, 0, 0.2, 0], "max_gap": 0.3}])
@needs_library
def test_event_f1_is_that_of_the_best_matching(settings, median_filter):
    scores, references, durations = random_timelines()
    rules = EventRules([0.4, 0.5, 0.6, 0.5], median_filter=median_filter * FRAME, **settings)
    result = score_events(scores, references, durations, LABELS, FRAME, rules).clips.to_dict()
    hits, found, there = np.zeros(3), np.zeros(4), np.zeros(3)
    for clip, events in references.items():
        answers = detect_events(scores[clip], FRAME, rules, 10.0)
        for answer in answers:
            found[answer.label] += 1
        for label in range(3):
            ours = np.array([e[:2] for e in answers if e.label == label]).reshape(-1, 1, 2)
            theirs = np.array([(e.onset, min(e.offset, 10.0)) for e in events if e.label == label]).reshape(1, -1, 2)
            ours = np.minimum(ours, 10.0)
            collars = np.maximum(0.2, 0.2 * (theirs[..., 1] - theirs[..., 0]))
            near = np.abs(ours - theirs)
            is_hit = (near[..., 0] <= 0.2) & (near[..., 1] <= collars)
            hits[label] += is_hit[scipy.optimize.linear_sum_assignment(is_hit, maximize=True)].sum()
            there[label] += theirs.shape[1]
    assert hits.sum() > 0
    np.testing.assert_allclose(list(result["event_f1"]["per_class"].values()), 2 * hits / (found[:3] + there))
    assert result["event_f1"]["macro"] == pytest.approx(np.mean(2 * hits / (found[:3] + there)))
    assert result["event_f1"]["micro"] == pytest.approx(2 * hits.sum() / (found[:3].sum() + there.sum()))
    assert result["classes_left_out"] == 1
    assert result["events_left_out"] == found[3] > 0


@needs_library
def test_psds_by_hand():
    """One class is always found, the other every second time; there are no false positives but of whole clips."""
    references = {"a": [Event(1, 3, 0), Event(5, 7, 0)], "b": [Event(1, 3, 1), Event(5, 7, 1)]}
    scores = {clip: events_to_frames(events, 10, 1.0, 2) for clip, events in references.items()}
    scores["b"][5:7] = 0
    result = score_events(scores, references, dict.fromkeys(references, 10.0), ["dog", "cat"], 1.0).clips.to_dict()
    mean, deviation = np.mean([1.0, 0.5]), np.std([1.0, 0.5])
    assert result["psds1"] == pytest.approx(mean - deviation)

    # 30 % of a reference and no more is found: too little for the first scenario, enough for the second
    references = {"a": [Event(0, 10, 0)]}
    scores = {"a": events_to_frames([Event(0, 3, 0)], 20, 1.0, 1)}
    result = score_events(scores, references, {"a": 20.0}, ["dog"], 1.0).clips
    assert result["psds1"] == pytest.approx(0.0)
    assert result["psds2"] == pytest.approx(1.0)


@needs_library
def test_frame_map():
    scores, references, durations = random_timelines()
    result = score_events(scores, references, durations, LABELS, FRAME).clips
    truth = np.concatenate([events_to_frames(events, 63, FRAME, 4) for events in references.values()])
    values = np.concatenate([*scores.values()])
    expected = [sklearn.metrics.average_precision_score(truth[:, c], values[:, c]) for c in range(3)]
    assert result["frame_map"] == pytest.approx(np.mean(expected))
    assert result["frame_map_classes_left_out"] == 1


@needs_library
def test_references_that_touch_or_overlap_are_one():
    scores = {"a": events_to_frames([Event(1, 6, 0)], 10, 1.0, 2)}
    references = {"a": [Event(4, 6, 0), Event(1, 3, 0), Event(2, 4, 0)]}
    result = score_events(scores, references, {"a": 10.0}, ["dog", "cat"], 1.0).clips.to_dict()
    assert (result["references"], result["references_merged"]) == (1, 2)
    assert result["event_f1"]["macro"] == 1.0


@needs_library
def test_frames_behind_the_end_of_a_clip_are_ignored():
    references = {"a": [Event(1, 9, 0)]}
    scores = events_to_frames([Event(1, 4, 0)], 10, 1.0, 1)
    padded = np.concatenate([scores[:5], np.ones((5, 1))])
    alone = score_events({"a": scores[:5]}, references, {"a": 4.7}, ["dog"], 1.0)
    assert score_events({"a": padded}, references, {"a": 4.7}, ["dog"], 1.0) == alone
    # 0.7 s in which no frame fits belong to the last one
    longer = score_events({"a": scores[:4]}, references, {"a": 4.7}, ["dog"], 1.0)
    assert longer.clips["event_f1_macro"] == 1.0
    with pytest.raises(ValueError, match=r"'a'.* 3 frames of 1.0 s do not cover"):
        score_events({"a": scores[:3]}, references, {"a": 4.7}, ["dog"], 1.0)


@pytest.mark.parametrize("as_tuple", [False, True])
def test_frame_metrics(as_tuple):
    """Frames are padded by the collator in one batch, and by the Trainer, logits too, between batches."""
    generator = np.random.default_rng(5)
    labels = (generator.random((6, 20, 4)) < [0.3, 0.2, 0.4, 0.0]).astype(np.float32)
    logits = generator.normal(0, 1, labels.shape).astype(np.float32) + 1.5 * labels - 0.7
    real = np.arange(20) < np.array([20, 12, 20, 15, 15, 15])[:, None]
    labels[~real] = -100
    logits[3:, 15:] = -100
    predictions = (logits, np.zeros(6)) if as_tuple else logits
    result = frame_metrics(EvalPrediction(predictions, labels))

    truth, values = labels[real], logits[real]
    expected = [sklearn.metrics.average_precision_score(truth[:, c], values[:, c]) for c in range(3)]
    answers = 1 / (1 + np.exp(-values[:, :3])) > 0.5
    assert result == {
        "frame_map": pytest.approx(np.mean(expected)),
        "frame_map_classes_left_out": 1,
        "frame_f1_macro": pytest.approx(sklearn.metrics.f1_score(truth[:, :3], answers, average="macro")),
        "frame_f1_micro": pytest.approx(sklearn.metrics.f1_score(truth[:, :3], answers, average="micro")),
    }
    logits[~real] = 50.0
    assert frame_metrics(EvalPrediction(logits, labels)) == result


def test_frame_metrics_of_bad_input():
    logits, labels = np.zeros((2, 3, 4)), np.ones((2, 3, 4))
    for wrong in (labels[:, :2], labels[..., 0], labels[0]):
        with pytest.raises(ValueError, match="must both be"):
            frame_metrics(EvalPrediction(logits, wrong))
    with pytest.raises(ValueError, match="0 or 1"):
        frame_metrics(EvalPrediction(logits, labels * 0.5))
    labels[0, 0, 0] = -100
    with pytest.raises(ValueError, match="for all of them"):
        frame_metrics(EvalPrediction(logits, labels))
    labels[0, 0] = -100
    logits[0, 0] = np.nan
    assert frame_metrics(EvalPrediction(logits, labels))["frame_map"] == 1.0
    logits[0, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        frame_metrics(EvalPrediction(logits, labels))
    with pytest.raises(ValueError, match="No clip has any class"):
        frame_metrics(EvalPrediction(np.zeros((2, 3, 4)), np.zeros((2, 3, 4))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"references": {"a": [Event(2, 2, 0)]}}, "'a'.*no length"),
        ({"references": {"a": [Event(3, 2, 0)]}}, "'a'.*no length"),
        ({"references": {"a": [Event(float("nan"), 2, 0)]}}, "'a'.*no length"),
        ({"references": {"a": [Event(0, float("inf"), 0)]}}, "'a'.*no length"),
        ({"references": {"a": [Event(0, 2, "bird")]}}, "'a'.*bird.*no known class"),
        ({"references": {"a": [Event(0, 2, 2)]}}, "'a'.*no known class"),
        ({"references": {"a": [Event(0, 2, -1)]}}, "'a'.*no known class"),
        ({"references": {"a": [Event(10, 12, 0)]}}, "'a'.*outside"),
        ({"references": {"a": [Event(-2, -1, 0)]}}, "'a'.*outside"),
        ({"references": {"a": []}}, "No clip has any event"),
        ({"references": {}}, "not in `references`.*'a'"),
        ({"references": {"a": [], "b": []}}, "not in `scores`.*'b'"),
        ({"durations": {}}, "not in `durations`.*'a'"),
        ({"durations": {"a": 0.0}}, "'a'.*duration"),
        ({"durations": {"a": float("nan")}}, "'a'.*duration"),
        ({"scores": {"a": np.full((10, 2), np.nan)}}, "'a'.*NaN"),
        ({"scores": {"a": np.zeros((10, 3))}}, r"'a'.*2 labels.*\(10, 3\)"),
        ({"scores": {"a": np.zeros(10)}}, r"'a'.*\(10,\)"),
        ({"scores": {"a": np.zeros((0, 2))}}, r"'a'.*\(0, 2\)"),
        ({"scores": {"a": np.zeros((9, 2))}}, "'a'.*do not cover"),
        ({"labels": ["dog", "dog"]}, "same name"),
        ({"rules": EventRules([0.5, 0.5, 0.5])}, "threshold"),
        ({"scores": {}, "references": {}, "durations": {}}, "No clip has any event"),
    ],
)
@needs_library
def test_score_events_of_bad_input(change, message):
    inputs = {
        "scores": {"a": np.zeros((10, 2))},
        "references": {"a": [Event(1, 2, "dog")]},
        "durations": {"a": 10.0},
        "labels": ["dog", "cat"],
        "frame_seconds": 1.0,
    }
    assert score_events(**inputs).clips["event_f1_macro"] == 0.0
    with pytest.raises(ValueError, match=message):
        score_events(**{**inputs, **change})


def test_plot_timeline(tmp_path):
    events = [Event(1, 3, "dog"), Event(2, 9.5, 2)]
    scores = np.linspace(0, 1, 40).reshape(10, 4)
    plot_timeline(scores, events, LABELS, 1.0, tmp_path / "boxes.png", "$1 and $2 of a_b")
    plot_timeline(scores, [], LABELS, 1.0, tmp_path / "none.png", "$1 and $2 of a_b")
    boxes, none = (matplotlib.image.imread(tmp_path / name) for name in ("boxes.png", "none.png"))
    assert boxes.shape == none.shape
    red = (boxes[..., 0] > 0.7) & (boxes[..., 1] < 0.3) & (boxes[..., 2] < 0.3)
    assert red.sum() > 500
    assert (boxes != none).any(axis=-1).sum() >= red.sum()
    many = [f"class {index}" for index in range(200)]
    plot_timeline(np.zeros((10, 200)), [Event(0, 1, 199)], many, 1.0, tmp_path / "many.png", "many")
    with pytest.raises(ValueError, match="no known class"):
        plot_timeline(scores, [Event(0, 1, "bird")], LABELS, 1.0, tmp_path / "bad.png", "bad")
    with pytest.raises(ValueError, match="4 labels"):
        plot_timeline(scores[:, :3], [], LABELS, 1.0, tmp_path / "bad.png", "bad")
    assert not (tmp_path / "bad.png").exists()
