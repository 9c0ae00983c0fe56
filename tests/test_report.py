# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Evaluation results, their tables and their plots."""

import json
import math

import matplotlib.image
import numpy as np
import pytest

from polyaudio.training.report import evaluate_predictions, format_report, plot_losses, write_evaluation


ID2LABEL = {0: "Todi", 1: "Varali", 2: "$Kalyani$"}


def logits_of(probabilities: list[list[float]]) -> np.ndarray:
    return np.log(np.array(probabilities)) + 7.0


@pytest.fixture
def result() -> dict:
    """Clips: 3 of 5 right. Recordings: the mean over r1 is right though one clip is wrong, r2 is wrong, r3 right."""
    logits = logits_of(
        [[0.9, 0.05, 0.05], [0.4, 0.5, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]],
    )
    return evaluate_predictions(logits, [0, 0, 1, 1, 1], ["r1", "r1", "r3", "r2", "r3"], ID2LABEL)


def test_clips_and_recordings(result):
    assert result["labels"] == ["Todi", "Varali", "$Kalyani$"]
    clips, recordings = result["clips"], result["recordings"]
    assert clips["count"] == 5
    assert clips["accuracy"] == pytest.approx(3 / 5)
    assert clips["majority_accuracy"] == pytest.approx(3 / 5)
    assert clips["confusion_matrix"] == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    assert clips["per_class"]["Varali"] == {
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3),
        "support": 3,
    }
    assert clips["f1_macro"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert clips["f1_weighted"] == pytest.approx((2 * 1 / 2 + 3 * 2 / 3) / 5)
    assert set(clips["per_class"]) == {"Todi", "Varali"}
    assert recordings["count"] == 3
    assert recordings["accuracy"] == pytest.approx(2 / 3)
    assert recordings["confusion_matrix"] == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_labels_of_a_saved_config(result):
    logits = np.eye(3)[[0, 1, 2]]
    saved = json.loads(json.dumps(ID2LABEL))
    assert evaluate_predictions(logits, [0, 1, 2], ["a", "b", "c"], saved)["labels"] == result["labels"]


def test_a_recording_of_two_labels_counts_for_each():
    result = evaluate_predictions(np.eye(3)[[0, 1, 0]], [0, 1, 0], ["artist"] * 3, ID2LABEL)
    assert result["recordings"]["count"] == 2
    assert result["recordings"]["accuracy"] == 1.0


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
    assert scores["recordings"]["accuracy"] == result["recordings"]["accuracy"]
    assert "confusion_matrix" not in scores["clips"]
    assert json.loads((folder / "confusion_matrix.json").read_text()) == {
        "labels": result["labels"],
        "clips": result["clips"]["confusion_matrix"],
        "recordings": result["recordings"]["confusion_matrix"],
    }
    assert matplotlib.image.imread(folder / "confusion_matrix.png").std() > 0


@pytest.mark.parametrize("classes", [2, 50, 527])
def test_any_number_of_classes(tmp_path, classes):
    labels = np.arange(classes)
    names = {index: f"class {index}" for index in range(classes)}
    result = evaluate_predictions(np.eye(classes), labels, list(map(str, labels)), names)
    write_evaluation(result, tmp_path)
    assert max(matplotlib.image.imread(tmp_path / "confusion_matrix.png").shape) <= 2500
    assert len(format_report(result).splitlines()) == 6 + 2 * (2 + classes)


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
