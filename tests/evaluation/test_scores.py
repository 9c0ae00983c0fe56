# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Evaluation results, their intervals, tables and plots, and summaries of several runs."""

import json
import math

import matplotlib.image
import numpy as np
import pytest
import sklearn.metrics
from transformers import EvalPrediction

from polyaudio.evaluation.intervals import (
    accuracy_difference,
    map_difference,
    multi_label_intervals,
    single_label_intervals,
)
from polyaudio.evaluation.metrics import multilabel_metrics
from polyaudio.evaluation.plots import plot_losses
from polyaudio.evaluation.results import Evaluation
from polyaudio.evaluation.scores import evaluate_predictions
from polyaudio.evaluation.summary import Spread, summarise_runs
from polyaudio.evaluation.tables import format_report, format_summary
from polyaudio.evaluation.writing import write_evaluation, write_json


ID2LABEL = {0: "Todi", 1: "Varali", 2: "$Kalyani$"}


def logits_of(probabilities: list[list[float]]) -> np.ndarray:
    return np.log(np.array(probabilities)) + 7.0


@pytest.fixture
def result() -> Evaluation:
    """Clips: 3 of 5 right. Recordings: the mean over r1 is right though one clip is wrong, r2 is wrong, r3 right."""
    logits = logits_of(
        [[0.9, 0.05, 0.05], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]],
    )
    return evaluate_predictions(logits, [0, 0, 1, 1, 1], ["r1", "r1", "r3", "r2", "r3"], ID2LABEL)


def test_clips_and_recordings(result):
    assert result.labels == ["Todi", "Varali", "$Kalyani$"]
    clips, recordings = result.clips, result.recordings
    assert clips["count"] == 5
    assert clips["accuracy"] == pytest.approx(3 / 5)
    assert clips["majority_accuracy"] == pytest.approx(3 / 5)
    assert clips.confusion_matrix == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    assert clips.per_class["Varali"] == {
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3),
        "support": 3,
    }
    assert clips["f1_macro"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert clips["f1_weighted"] == pytest.approx((2 * 1 / 2 + 3 * 2 / 3) / 5)
    assert set(clips.per_class) == {"Todi", "Varali"}
    assert recordings["count"] == 3
    assert recordings["accuracy"] == pytest.approx(2 / 3)
    assert recordings.confusion_matrix == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_labels_of_a_saved_config(result):
    logits = np.eye(3)[[0, 1, 2]]
    saved = json.loads(json.dumps(ID2LABEL))
    assert evaluate_predictions(logits, [0, 1, 2], ["a", "b", "c"], saved).labels == result.labels


def test_a_recording_of_two_labels_counts_for_each():
    result = evaluate_predictions(np.eye(3)[[0, 1, 0]], [0, 1, 0], ["artist"] * 3, ID2LABEL)
    assert result.recordings["count"] == 2
    assert result.recordings["accuracy"] == 1.0


def test_bad_input():
    good = np.zeros((2, 3))
    for arguments, message in (
        ((good, [0], ["a", "b"], ID2LABEL), "a label and a recording for each clip"),
        ((good, [0, 1], ["a"], ID2LABEL), "a label and a recording for each clip"),
        ((good[:0], [], [], ID2LABEL), "a label and a recording for each clip"),
        ((good, [0, 1], ["a", "b"], {0: "a", 1: "b"}), "3 logits a clip, but 2 labels"),
        ((good + math.nan, [0, 1], ["a", "b"], ID2LABEL), "NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate_predictions(*arguments)


def test_files(result, tmp_path):
    folder = tmp_path / "run" / "evaluation"
    write_evaluation(result, folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "confusion_matrix.json",
        "confusion_matrix.png",
        "evaluation.json",
    ]
    scores = json.loads((folder / "evaluation.json").read_text())
    assert scores["recordings"]["accuracy"] == result.recordings["accuracy"]
    assert "confusion_matrix" not in scores["clips"]
    assert json.loads((folder / "confusion_matrix.json").read_text()) == {
        "labels": result.labels,
        "clips": result.clips.confusion_matrix,
        "recordings": result.recordings.confusion_matrix,
    }
    assert matplotlib.image.imread(folder / "confusion_matrix.png").std() > 0


@pytest.mark.parametrize("classes", [2, 50, 527])
def test_any_number_of_classes(tmp_path, classes):
    labels = np.arange(classes)
    names = {index: f"class {index}" for index in range(classes)}
    result = evaluate_predictions(np.eye(classes), labels, list(map(str, labels)), names)
    write_evaluation(result, tmp_path)
    assert max(matplotlib.image.imread(tmp_path / "confusion_matrix.png").shape) <= 2500
    assert len(format_report(result).splitlines()) == 7 + 2 * (2 + classes) + 2 * 3


def test_format_report(result):
    lines = format_report(result).splitlines()
    assert lines[0].split() == ["clips", "recordings"]
    assert lines[1].split() == ["number", "5", "3"]
    assert lines[2].split() == ["accuracy", "0.6000", "0.6667"]
    assert ["Varali", "0.6667", "0.6667", "0.6667", "3"] in [line.split() for line in lines]
    columns = {line.index(word) + len(word) for line, word in ((lines[0], "clips"), (lines[2], "0.6000"))}
    assert len(columns) == 1


def test_plot_losses(tmp_path):
    history = [
        {"loss": 2.0, "mask_loss": 0.5, "learning_rate": 1e-3, "step": 10},
        {"loss": 1.0, "mask_loss": math.nan, "step": 20},
        {"eval_loss": 1.5, "eval_accuracy": 0.5, "step": 20},
        {"train_loss": 1.5, "train_runtime": 3.0, "step": 20},
    ]
    assert plot_losses(history, tmp_path / "losses.png")
    assert matplotlib.image.imread(tmp_path / "losses.png").std() > 0
    for nothing in ([], [{"eval_accuracy": 0.5, "step": 1}], history[-1:]):
        assert not plot_losses(nothing, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


NAMES = ["_rain", "dog\nbark", "$wind$", "never", "always", "spoken"]


@pytest.fixture
def tags() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Logits, labels and recordings of 90 clips; none has class 3, which is answered yet; all have class 4."""
    rng = np.random.default_rng(0)
    labels = (rng.random((90, 6)) < 0.3).astype(np.float32)
    labels[:, 3], labels[:, 4] = 0, 1
    logits = np.round(rng.standard_normal((90, 6)) + labels - 0.5, 1)  # rounded, so that there are ties
    return logits, labels, [f"r{index // 3}" for index in range(90)]


def evaluate_tags(logits, labels, recordings, names=NAMES) -> Evaluation:
    return evaluate_predictions(logits, labels, recordings, dict(enumerate(names)), "multi_label_classification")


def test_multi_label(tags):
    logits, labels, _ = tags
    result = evaluate_tags(*tags)
    assert result.task == "multi_label_classification"
    assert result.recordings is None
    clips = result.clips
    assert clips["count"] == 90
    expected = multilabel_metrics(EvalPrediction(logits, labels))
    assert {name: clips[name] for name in expected} == pytest.approx(expected)
    answers = logits >= 0
    by_hand = []
    for index, name in enumerate(NAMES):
        right = (answers[:, index] & (labels[:, index] == 1)).sum()
        by_hand.append(2 * right / (answers[:, index].sum() + labels[:, index].sum()))
        scores = clips.per_class[name]
        assert scores["support"] == labels[:, index].sum()
        assert scores["f1"] == pytest.approx(by_hand[-1])
        assert scores["precision"] == pytest.approx(right / answers[:, index].sum())
    right = (answers & (labels == 1)).sum()
    assert clips["f1_macro"] == pytest.approx(np.mean(by_hand))
    assert clips["f1_micro"] == pytest.approx(2 * right / (answers.sum() + labels.sum()))
    assert (clips.per_class["never"]["average_precision"], clips.per_class["always"]["roc_auc"]) == (None, None)
    area = sklearn.metrics.roc_auc_score(labels[:, 0], logits[:, 0])
    assert clips.per_class["_rain"]["roc_auc"] == pytest.approx(area)
    low, high = clips.intervals["map"]
    assert low < clips["map"] < high


def test_classes_that_are_nowhere_do_not_count(tags):
    logits, labels, recordings = tags
    silent = logits.copy()
    silent[:, 3] = -5
    clips = evaluate_tags(silent, labels, recordings).clips
    assert "never" not in clips.per_class
    assert clips["f1_macro"] == pytest.approx(np.mean([scores["f1"] for scores in clips.per_class.values()]))


def test_logits_too_high_for_probabilities_keep_their_order():
    logits = np.array([[50.0, -1], [60.0, -1], [-1, 50.0]])
    result = evaluate_tags(logits, np.array([[0, 1], [1, 0], [0, 1]]), ["a", "b", "c"], ["x", "y"])
    assert result.clips.per_class["x"]["average_precision"] == 1.0


def test_multi_label_bad_input(tags):
    logits, labels, recordings = tags
    with pytest.raises(ValueError, match="a label for each class"):
        evaluate_tags(logits, labels[:, 0], recordings)
    with pytest.raises(ValueError, match="must be 0 or 1"):
        evaluate_tags(logits, labels * 0.5, recordings)
    with pytest.raises(ValueError, match="No clip has any class"):
        evaluate_tags(logits, labels * 0, recordings)
    with pytest.raises(ValueError, match="'frame_classification'"):
        evaluate_predictions(logits, labels, recordings, dict(enumerate(NAMES)), "frame_classification")


def strict(path) -> dict:
    """JSON as the standard has it, without NaN and infinity."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_multi_label_files(tags, tmp_path):
    result = evaluate_tags(*tags)
    write_evaluation(result, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "evaluation.json",
        "precision_recall.json",
        "precision_recall.png",
    ]
    assert "precision_recall" not in strict(tmp_path / "evaluation.json")["clips"]
    curves = strict(tmp_path / "precision_recall.json")
    logits, labels, _ = tags
    assert next(iter(curves["classes"])) == "always"  # the most frequent one comes first
    assert len(curves["classes"]) == 5
    order = np.argsort(-logits[:, 0], kind="stable")
    last_of_its_score = np.append(np.diff(logits[order, 0]) != 0, True)
    found = np.cumsum(labels[order, 0])[last_of_its_score]
    recall, precision = found / found[-1], found / (np.flatnonzero(last_of_its_score) + 1)
    for at, value in zip(curves["recall"], curves["classes"]["_rain"], strict=True):
        assert value == pytest.approx(precision[np.argmax(recall >= at - 1e-12)])
    assert np.mean(curves["macro"]) == pytest.approx(result.clips["map"], abs=0.02)
    assert matplotlib.image.imread(tmp_path / "precision_recall.png").std() > 0


def test_infinite_d_prime_is_valid_json(tmp_path):
    labels = np.array([[1, 0], [0, 1], [1, 0], [0, 1]])
    result = evaluate_tags(labels * 2.0 - 1, labels, list("abcd"), ["x", "y"])
    assert (result.clips["roc_auc"], result.clips["d_prime"]) == (1.0, None)
    write_evaluation(result, tmp_path)
    assert strict(tmp_path / "evaluation.json")["clips"]["d_prime"] is None
    everywhere = evaluate_tags(np.ones((2, 1)), np.ones((2, 1)), ["a", "b"], ["x"]).clips
    assert (everywhere["roc_auc"], everywhere["d_prime"], everywhere["map"]) == (None, None, 1.0)


def test_report_shows_whatever_was_scored(tags, tmp_path):
    lines = [line.split() for line in format_report(evaluate_tags(*tags)).splitlines()]
    assert lines[0] == ["clips"]
    assert lines[1] == ["number", "90"]
    assert lines[2][0] == "mAP"
    assert ["clips", "AP", "ROC", "AUC", "precision", "recall", "F1", "support"] in lines
    assert any(line[:3] == ["dog", "bark", "-"] or line[:2] == ["dog", "bark"] for line in lines)
    frames = {
        "task": "frame_classification",
        "labels": ["dog"],
        "clips": {
            "count": 3,
            "frame_map": 0.5,
            "psds1": math.nan,
            "some_new_score": math.inf,
            "per_class": {"dog": {"event_f1": None, "new": 0.25}},
        },
    }
    evaluation = Evaluation.from_dict(frames)
    assert [line.split() for line in format_report(evaluation).splitlines()] == [
        ["clips"],
        ["number", "3"],
        ["frame", "mAP", "0.5000"],
        ["PSDS1", "-"],
        ["some_new_score", "-"],
        [],
        ["clips", "event", "F1", "new"],
        ["dog", "-", "0.2500"],
    ]
    write_evaluation(evaluation, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation.json"]
    clips = strict(tmp_path / "evaluation.json")["clips"]
    assert clips == {**frames["clips"], "psds1": None, "some_new_score": None}
    write_json(tmp_path / "thresholds.json", {"thresholds": [0.5, math.nan]})
    assert strict(tmp_path / "thresholds.json") == {"thresholds": [0.5, None]}


def test_an_evaluation_survives_json(result, tags):
    """With the layout of `evaluation.json`, in which the averages of a score are together."""
    events = {
        "task": "frame_classification",
        "labels": ["dog", "cat", "rain"],
        "clips": {
            "count": 3,
            "segment_f1": {"macro": 0.5, "micro": 0.75, "per_class": {"dog": 0.25, "cat": 0.75}},
            "event_f1": {"macro": 0.25, "micro": 0.5, "per_class": {"dog": 0.0, "cat": 0.5}},
            "psds1": 0.125,
        },
    }
    for evaluation in (result, evaluate_tags(*tags), Evaluation.from_dict(events)):
        assert Evaluation.from_dict(json.loads(json.dumps(evaluation.to_dict()))) == evaluation
    loaded = Evaluation.from_dict(events)
    assert loaded.to_dict() == events
    assert (loaded.clips["segment_f1_micro"], loaded.clips.per_class["cat"]["event_f1"]) == (0.75, 0.5)


def test_what_is_not_an_evaluation(result):
    content = result.to_dict()
    with pytest.raises(ValueError, match="lacks labels and clips"):
        Evaluation.from_dict({"accuracy": 0.5})
    with pytest.raises(ValueError, match="'thresholds' must be a number"):
        Evaluation.from_dict({**content, "clips": {**content["clips"], "thresholds": [0.5]}})
    first = Evaluation.from_dict({key: value for key, value in content.items() if key != "task"})
    assert first.task == "single_label_classification"


def test_report_shows_intervals(result):
    assert result.recordings.intervals.keys() == {"accuracy", "f1_macro"}
    low, high = result.clips.intervals["accuracy"]
    report = format_report(result)
    assert "95 % intervals" in report
    assert f"{low:.4f} to {high:.4f}" in report


def shuffled_recordings(rng, recordings: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, answers and recordings; four clips each, of which half or all are right: three of four on average."""
    labels = np.repeat(rng.integers(classes, size=recordings), 4)
    is_right = rng.random(4 * recordings) < np.repeat(rng.choice([0.5, 1.0], size=recordings), 4)
    answers = np.where(is_right, labels, (labels + 1) % classes)
    return labels, answers, np.repeat([f"r{index}" for index in range(recordings)], 4)


def intervals_by_hand(score, labels, predictions, recordings, resamples: int, seed: int) -> list[float]:
    return np.clip(differences_by_hand(score, labels, predictions, recordings, resamples, seed), 0, 1).tolist()


def differences_by_hand(score, labels, predictions, recordings, resamples: int, seed: int) -> list[float]:
    """Clip after clip: the scores of the copies of whole recordings, as they are drawn, moved to the estimate."""
    names = sorted(set(recordings))
    draws = np.random.default_rng(seed).multinomial(len(names), [1 / len(names)] * len(names), size=resamples)
    values = []
    for draw in draws:
        times = [draw[names.index(recording)] for recording in recordings]
        values.append(score(np.repeat(labels, times, axis=0), np.repeat(predictions, times, axis=0)))
    return (np.percentile(values, [2.5, 97.5]) + score(labels, predictions) - np.mean(values)).tolist()


def test_intervals_equal_a_plain_loop(tags):
    labels, answers, recordings = shuffled_recordings(np.random.default_rng(1), 12)
    arguments = labels, answers, recordings
    found = single_label_intervals(*arguments, resamples=50, seed=7)
    accuracy = intervals_by_hand(sklearn.metrics.accuracy_score, *arguments, resamples=50, seed=7)
    assert found["accuracy"] == pytest.approx(accuracy)

    def macro_f1(labels, answers):
        return sklearn.metrics.f1_score(labels, answers, average="macro", zero_division=0)

    assert found["f1_macro"] == pytest.approx(intervals_by_hand(macro_f1, *arguments, resamples=50, seed=7))

    logits, labels, recordings = tags
    few = slice(0, 24)  # so that resamples lack classes

    def mean_average_precision(labels, logits):
        there = labels.any(axis=0)
        return sklearn.metrics.average_precision_score(labels[:, there], logits[:, there])

    arguments = labels[few], logits[few], recordings[few]
    by_hand = intervals_by_hand(mean_average_precision, *arguments, resamples=50, seed=7)
    assert multi_label_intervals(*arguments, resamples=50, seed=7)["map"] == pytest.approx(by_hand)


def test_differences_are_those_of_the_same_resamples(tags):
    rng = np.random.default_rng(3)
    labels, answers, recordings = shuffled_recordings(rng, 12)
    others = np.where(rng.random(len(labels)) < 0.3, 0, answers)

    def gain(labels, both):
        return (both[:, 0] == labels).mean() - (both[:, 1] == labels).mean()

    both = np.stack([answers, others], axis=1)
    by_hand = differences_by_hand(gain, labels, both, recordings, resamples=50, seed=7)
    assert accuracy_difference(labels, answers, others, recordings, resamples=50, seed=7) == pytest.approx(by_hand)
    assert accuracy_difference(labels, answers, answers, recordings) == [0, 0]

    logits, labels, recordings = tags
    few = slice(0, 24)
    labels, logits, recordings = labels[few], logits[few], recordings[few]
    others = logits + 0.5 * rng.standard_normal(logits.shape)

    def gain_of_map(labels, both):
        there = labels.any(axis=0)
        scores = [
            sklearn.metrics.average_precision_score(labels[:, there], one[:, there]) for one in both.swapaxes(0, 1)
        ]
        return scores[0] - scores[1]

    both = np.stack([logits, others], axis=1)
    by_hand = differences_by_hand(gain_of_map, labels, both, recordings, resamples=50, seed=7)
    assert map_difference(labels, logits, others, recordings, resamples=50, seed=7) == pytest.approx(by_hand)


def test_intervals_hold_the_truth():
    """In 95 of 100 sets of recordings or so; clips as units, which they are not, would give less than 90."""
    rng = np.random.default_rng(0)
    hits = {"recordings": 0, "clips": 0}
    for _ in range(200):
        labels, answers, recordings = shuffled_recordings(rng, 40)
        for unit, units in (("recordings", recordings), ("clips", [str(clip) for clip in range(len(labels))])):
            low, high = single_label_intervals(labels, answers, units, resamples=200)["accuracy"]
            hits[unit] += low <= 0.75 <= high
    assert 180 <= hits["recordings"] <= 199
    assert hits["clips"] < hits["recordings"]


def test_intervals_of_little_or_perfect_data():
    labels, answers = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])
    assert single_label_intervals(labels, answers, ["one"] * 4) == {"accuracy": None, "f1_macro": None}
    assert single_label_intervals(labels, labels, list("abcd")) == {"accuracy": None, "f1_macro": None}
    assert single_label_intervals(labels[:1], answers[:1], ["one"]) == {"accuracy": None, "f1_macro": None}
    tags, scores = np.eye(2)[labels], np.eye(2)[answers]
    assert multi_label_intervals(tags, scores, ["one"] * 4) == {"map": None}
    assert multi_label_intervals(tags, tags, list("abcd")) == {"map": None}
    low, high = multi_label_intervals(np.array([[1], [0], [0]]), np.array([[2.0], [1], [3]]), list("abc"))["map"]
    assert 0 <= low < high <= 1  # a third of the resamples lack the only class


def test_intervals_do_not_depend_on_the_order_of_clips(tags):
    logits, labels, recordings = tags
    order = np.random.default_rng(5).permutation(len(logits))
    shuffled = multi_label_intervals(labels[order], logits[order], np.array(recordings)[order])
    assert shuffled["map"] == pytest.approx(multi_label_intervals(labels, logits, recordings)["map"])


def test_summary_of_runs(result, tmp_path):
    better = evaluate_predictions(np.eye(3)[[0, 1, 2]] * 4, [0, 1, 2], ["a", "b", "c"], ID2LABEL)
    write_evaluation(better, tmp_path)
    written = Evaluation.from_dict(strict(tmp_path / "evaluation.json"))
    summary = summarise_runs([result, written], ["one", "two"])
    content = summary.to_dict()
    assert (content["task"], content["labels"]) == (result.task, result.labels)
    assert [run["name"] for run in content["runs"]] == ["one", "two"]
    assert content["runs"][0]["clips"]["accuracy"] == result.clips["accuracy"]
    assert content["clips"]["accuracy"] == {
        "mean": pytest.approx(0.8),
        "std": pytest.approx(math.sqrt(0.08)),
        "min": pytest.approx(0.6),
        "max": 1.0,
    }
    assert summary.recordings["count"].mean == 3.0
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    lines = format_summary(summary).splitlines()
    assert lines[0].split()[:3] == ["clips", "number", "accuracy"]
    assert "0.8000 ± 0.2828" in lines[3]
    assert len({len(line) for line in lines[:6]}) == 1


def test_summary_of_one_run_and_of_scores_that_are_missing(tags, result):
    one = summarise_runs([result], ["only"])
    assert one.clips["accuracy"].std is None
    assert "±" not in format_summary(one).splitlines()[2].replace("mean ± deviation", "")
    tagged = evaluate_tags(*tags)
    perfect = evaluate_tags(tags[1] * 2.0 - 1, tags[1], tags[2])
    summary = summarise_runs([tagged, perfect], ["a", "b"])
    assert summary.clips["d_prime"] == Spread(None, None, None, None)
    assert summary.clips["map"].max == 1.0
    assert summary.recordings is None
    assert "recordings" not in summary.to_dict()
    assert format_summary(summary)


def test_runs_that_have_no_common_mean(tags, result):
    other_labels = evaluate_predictions(np.eye(2), [0, 1], ["a", "b"], {0: "x", 1: "y"})
    for results, names, message in (
        ([], [], "at least"),
        ([result], ["a", "b"], "a name for each"),
        ([result, evaluate_tags(*tags)], ["a", "b"], "differ in their task"),
        ([result, other_labels], ["a", "b"], "differ in their labels"),
    ):
        with pytest.raises(ValueError, match=message):
            summarise_runs(results, names)
