# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What an evaluation found: scores per clip and per recording, tables and plots."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


# Beyond this many classes neither their names nor the counts in the cells can be read.
_MOST_NAMED_CLASSES = 60
_MOST_COUNTED_CLASSES = 20


def evaluate_predictions(
    logits: np.ndarray, labels: Sequence[int], recordings: Sequence[str], id2label: Mapping[int | str, str]
) -> dict[str, Any]:
    """
    Score single-label predictions, for each clip alone and for each recording.

    The probabilities of a recording are the mean of its clips' softmax probabilities. A recording whose clips carry
    different labels counts once for each of them.

    Args:
        logits: `(clips, classes)`.
        labels: `(clips,)`, class indices.
        recordings: `(clips,)`, the recording that each clip comes from.
        id2label: the name of each class.

    Returns:
        A dict for JSON: `labels` (the names in the order of the confusion matrices), and under each of `clips` and
        `recordings`: `count`, `accuracy`, `f1_macro`, `f1_weighted`, `majority_accuracy` (of always answering the most
        frequent label of this very set), `per_class` (precision, recall, f1 and support of every class that was there
        or was answered) and `confusion_matrix` (rows are the true labels, columns the answers).

    Raises:
        ValueError: the shapes do not agree, there is no clip, or a logit is NaN or infinite.
    """
    logits = np.asarray(logits, dtype=np.float64)
    labels = np.asarray(labels)
    if logits.ndim != 2 or len(logits) == 0 or labels.shape != (len(logits),) or len(recordings) != len(logits):
        raise ValueError(
            "Logits must be (clips, classes) with a label and a recording for each clip, got "
            f"{logits.shape} logits, {labels.shape} labels and {len(recordings)} recordings."
        )
    if len(id2label) != logits.shape[1]:
        raise ValueError(f"There are {logits.shape[1]} logits a clip, but {len(id2label)} labels in id2label.")
    if not np.isfinite(logits).all():
        raise ValueError("Some logits are NaN or infinite: the model is broken. Look at the losses of its training.")
    id2label = {int(index): name for index, name in id2label.items()}
    names = [id2label[index] for index in range(logits.shape[1])]

    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    pairs = sorted(set(zip(recordings, labels.tolist(), strict=True)))
    row_of = {pair: row for row, pair in enumerate(pairs)}
    rows = [row_of[pair] for pair in zip(recordings, labels.tolist(), strict=True)]
    summed = np.zeros((len(pairs), logits.shape[1]))
    np.add.at(summed, rows, probabilities)  # the sum has the same argmax as the mean
    return {
        "labels": names,
        "clips": _scores(labels, probabilities, names),
        "recordings": _scores(np.array([label for _, label in pairs]), summed, names),
    }


def _scores(references: np.ndarray, probabilities: np.ndarray, names: list[str]) -> dict[str, Any]:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
    from transformers import EvalPrediction

    from .metrics import classification_metrics

    predictions = probabilities.argmax(axis=1)
    present = np.union1d(references, predictions)
    table = precision_recall_fscore_support(references, predictions, labels=present, zero_division=0)
    return {
        "count": len(references),
        **classification_metrics(EvalPrediction(probabilities, references)),
        "majority_accuracy": float(np.bincount(references).max() / len(references)),
        "per_class": {
            names[index]: {"precision": precision, "recall": recall, "f1": f1, "support": support}
            for index, precision, recall, f1, support in zip(
                present, *(column.tolist() for column in table), strict=True
            )
        },
        "confusion_matrix": confusion_matrix(references, predictions, labels=range(len(names))).tolist(),
    }


def write_evaluation(result: Mapping[str, Any], folder: str | os.PathLike) -> None:
    """
    Write what `evaluate_predictions` found to a folder, which is made where it is missing.

    `evaluation.json` holds the scores, `confusion_matrix.json` the labels and the two confusion matrices, and
    `confusion_matrix.png` shows the one of the clips.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scores: dict[str, Any] = {"labels": result["labels"]}
    matrices: dict[str, Any] = {"labels": result["labels"]}
    for part in ("clips", "recordings"):
        scores[part] = {name: value for name, value in result[part].items() if name != "confusion_matrix"}
        matrices[part] = result[part]["confusion_matrix"]
    (folder / "evaluation.json").write_text(json.dumps(scores, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "confusion_matrix.json").write_text(json.dumps(matrices, ensure_ascii=False) + "\n", encoding="utf-8")
    _plot_confusion_matrix(np.array(matrices["clips"]), result["labels"], folder / "confusion_matrix.png")


def _plot_confusion_matrix(matrix: np.ndarray, names: list[str], path: Path) -> None:
    from matplotlib.figure import Figure

    side = float(np.clip(2.5 + 0.35 * len(names), 5, 20))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the clips with this true label", shrink=0.8)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion matrix (clips)")
    if len(names) <= _MOST_NAMED_CLASSES:
        # Data set authors choose the names: a `$` in them is a dollar and no formula.
        axes.set_xticks(range(len(names)), names, rotation=90, parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
    if len(names) <= _MOST_COUNTED_CLASSES:
        for row, column in np.argwhere(matrix):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=color)
    figure.savefig(path)


def format_report(result: Mapping[str, Any]) -> str:
    """The scores and the per-class tables of what `evaluate_predictions` found, as text for a terminal."""
    width = max(len("weighted F1"), *map(len, result["labels"]))
    lines = [f"{'':{width}}  {'clips':>10}  {'recordings':>10}"]
    rows = {
        "count": "number",
        "accuracy": "accuracy",
        "f1_macro": "macro F1",
        "f1_weighted": "weighted F1",
        "majority_accuracy": "majority",
    }
    for key, title in rows.items():
        values = (result[part][key] for part in ("clips", "recordings"))
        cells = (f"{value:>10}" if isinstance(value, int) else f"{value:>10.4f}" for value in values)
        lines.append(f"{title:{width}}  {'  '.join(cells)}")
    for part in ("clips", "recordings"):
        lines += ["", f"{part:{width}}  precision     recall         F1    support"]
        for name, scores in result[part]["per_class"].items():
            cells = (f"{scores[key]:>9.4f}" for key in ("precision", "recall", "f1"))
            lines.append(f"{name:{width}}  {'  '.join(cells)}  {scores['support']:>9}")
    return "\n".join(lines)


def plot_losses(log_history: Sequence[Mapping[str, Any]], path: str | os.PathLike) -> bool:
    """
    Plot every loss of a training run over its steps.

    Args:
        log_history: `trainer.state.log_history`: every number whose key contains "loss" is drawn, but for the mean
            over the run that a Trainer logs at its end.
        path: the PNG file to write.

    Returns:
        Whether there was a loss to plot; without one no file is written.
    """
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for entry in log_history:
        if "train_runtime" in entry:
            continue
        for key, value in entry.items():
            if "loss" in key and isinstance(value, (int, float)):
                steps, values = curves.setdefault(key, ([], []))
                steps.append(entry["step"])
                values.append(value)
    if not curves:
        return False

    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for key, (steps, values) in curves.items():
        style = "--" if key.startswith("eval_") else "-"
        axes.plot(steps, values, style, marker="." if len(steps) < 50 else None, label=key)
    axes.set(xlabel="step", ylabel="loss", title="Losses")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)
    return True
