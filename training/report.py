# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What an evaluation found: scores per clip and per recording, tables and plots; and what several runs found."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


# Beyond this many classes neither their names nor the counts in the cells can be read.
_MOST_NAMED_CLASSES = 60
_MOST_COUNTED_CLASSES = 20
_MOST_CURVES = 10

# What scores are called in tables; of those that are not here, the name is shown.
_TITLES = {
    "count": "number",
    "clips": "number",
    "accuracy": "accuracy",
    "f1": "F1",
    "f1_macro": "macro F1",
    "f1_micro": "micro F1",
    "f1_weighted": "weighted F1",
    "majority_accuracy": "majority",
    "map": "mAP",
    "map_classes_left_out": "classes not in mAP",
    "roc_auc": "ROC AUC",
    "roc_auc_classes_left_out": "classes not in ROC AUC",
    "d_prime": "d-prime",
    "average_precision": "AP",
    "frame_map": "frame mAP",
    "segment_f1": "segment F1",
    "segment_f1_macro": "segment macro F1",
    "segment_f1_micro": "segment micro F1",
    "event_f1": "event F1",
    "event_f1_macro": "event macro F1",
    "event_f1_micro": "event micro F1",
    "psds1": "PSDS1",
    "psds2": "PSDS2",
    "frame_map_classes_left_out": "classes not in frame mAP",
    "references": "events",
    "references_merged": "events merged with others",
    "classes_left_out": "classes without events",
    "events_left_out": "events predicted of these",
}


def evaluate_predictions(
    logits: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    recordings: Sequence[str],
    id2label: Mapping[int | str, str],
    task: str = "single_label_classification",
) -> dict[str, Any]:
    """
    Score the predictions of a classifier of clips: for each clip alone and, with single labels, for each recording.

    The probabilities of a recording are the mean of its clips' softmax probabilities. A recording whose clips carry
    different labels counts once for each of them.

    Args:
        logits: `(clips, classes)`.
        labels: `(clips,)`, class indices; for multi-label classification `(clips, classes)`, 0 or 1.
        recordings: `(clips,)`, the recording that each clip comes from.
        id2label: the name of each class.
        task: `"single_label_classification"` or `"multi_label_classification"`.

    Returns:
        A dict for JSON: `task`, `labels` (the names by class index), and under `clips` `count`, `intervals` (95 %
        intervals as `[low, high]`, or `None`; see `intervals.py`), `per_class` (of every class that was there or was
        answered) and

        - with single labels `accuracy`, `f1_macro`, `f1_weighted`, `majority_accuracy` (of always answering the most
          frequent label of this very set) and `confusion_matrix` (rows are the true labels, columns the answers), and
          for each class precision, recall, f1 and support; the same under `recordings`;
        - with several labels what `multilabel_metrics` gives, `f1_macro` and `f1_micro`, for each class
          average_precision, roc_auc, precision, recall, f1 and support, and `precision_recall` (`recall`, and the
          precision at each of these recalls: `macro`, the mean over the classes that some clip has, and in `classes`
          that of the 10 most frequent ones). A class is answered where its probability is 0.5 at least. `d_prime` is
          `None` where it is infinite, which is where `roc_auc` is 0 or 1; what cannot be scored is `None` as well.

    Raises:
        ValueError: the shapes do not agree, there is no clip, a logit is NaN or infinite, labels of several classes
            are not 0 or 1, there are none that could be scored, or `task` is another one.
    """
    logits = np.asarray(logits, dtype=np.float64)
    labels = np.asarray(labels)
    scores_of = {"single_label_classification": _single_label, "multi_label_classification": _multi_label}.get(task)
    if scores_of is None:
        raise ValueError(
            f"There is no scoring of clips for the task {task!r}; it must be single_label_classification or "
            "multi_label_classification."
        )
    expected = logits.shape if task == "multi_label_classification" else logits.shape[:1]
    if logits.ndim != 2 or len(logits) == 0 or labels.shape != expected or len(recordings) != len(logits):
        raise ValueError(
            "Logits must be (clips, classes) with a label and a recording for each clip (and for multi-label "
            f"classification a label for each class), got {logits.shape} logits, {labels.shape} labels and "
            f"{len(recordings)} recordings."
        )
    if len(id2label) != logits.shape[1]:
        raise ValueError(f"There are {logits.shape[1]} logits a clip, but {len(id2label)} labels in id2label.")
    if not np.isfinite(logits).all():
        raise ValueError("Some logits are NaN or infinite: the model is broken. Look at the losses of its training.")
    id2label = {int(index): name for index, name in id2label.items()}
    names = [id2label[index] for index in range(logits.shape[1])]
    return {"task": task, "labels": names, **scores_of(logits, labels, recordings, names)}


def _single_label(
    logits: np.ndarray, labels: np.ndarray, recordings: Sequence[str], names: list[str]
) -> dict[str, dict[str, Any]]:
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    pairs = sorted(set(zip(recordings, labels.tolist(), strict=True)))
    row_of = {pair: row for row, pair in enumerate(pairs)}
    rows = [row_of[pair] for pair in zip(recordings, labels.tolist(), strict=True)]
    summed = np.zeros((len(pairs), logits.shape[1]))
    np.add.at(summed, rows, probabilities)  # the sum has the same argmax as the mean
    names_of_pairs, labels_of_pairs = zip(*pairs, strict=True)
    return {
        "clips": _single_label_scores(labels, probabilities, recordings, names),
        "recordings": _single_label_scores(np.array(labels_of_pairs), summed, names_of_pairs, names),
    }


def _single_label_scores(
    references: np.ndarray, probabilities: np.ndarray, recordings: Sequence[str], names: list[str]
) -> dict[str, Any]:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
    from transformers import EvalPrediction

    from .intervals import single_label_intervals
    from .metrics import classification_metrics

    predictions = probabilities.argmax(axis=1)
    present = np.union1d(references, predictions)
    table = precision_recall_fscore_support(references, predictions, labels=present, zero_division=0)
    return {
        "count": len(references),
        **classification_metrics(EvalPrediction(probabilities, references)),
        "majority_accuracy": float(np.bincount(references).max() / len(references)),
        "intervals": single_label_intervals(references, predictions, recordings),
        "per_class": _per_class(names, present, ("precision", "recall", "f1", "support"), table),
        "confusion_matrix": confusion_matrix(references, predictions, labels=range(len(names))).tolist(),
    }


def _multi_label(
    logits: np.ndarray, labels: np.ndarray, recordings: Sequence[str], names: list[str]
) -> dict[str, dict[str, Any]]:
    import sklearn.metrics

    from .intervals import multi_label_intervals
    from .metrics import d_prime

    if not ((labels == 0) | (labels == 1)).all():
        raise ValueError("Labels for multi-label classification must be 0 or 1 for each class.")
    labels, predictions = labels.astype(bool), logits >= 0
    if not labels.any():
        raise ValueError("No clip has any class, so there is nothing to score.")
    # From the logits, not from probabilities, in which the highest ones become equal
    precisions, areas = np.full((2, len(names)), np.nan)
    for index in np.flatnonzero(labels.any(axis=0)):
        precisions[index] = sklearn.metrics.average_precision_score(labels[:, index], logits[:, index])
        if not labels[:, index].all():
            areas[index] = sklearn.metrics.roc_auc_score(labels[:, index], logits[:, index])
    area = float(np.nanmean(areas)) if not np.isnan(areas).all() else None
    table = sklearn.metrics.precision_recall_fscore_support(labels, predictions, zero_division=0)
    present = np.flatnonzero((labels | predictions).any(axis=0))
    columns = ("average_precision", "roc_auc", "precision", "recall", "f1", "support")
    return {
        "clips": {
            "count": len(labels),
            "map": float(np.nanmean(precisions)),
            "map_classes_left_out": int(np.isnan(precisions).sum()),
            "roc_auc": area,
            "roc_auc_classes_left_out": int(np.isnan(areas).sum()),
            "d_prime": None if area is None else _finite(d_prime(area)),
            "f1_macro": float(table[2][present].mean()),
            "f1_micro": float(sklearn.metrics.f1_score(labels, predictions, average="micro", zero_division=0)),
            "intervals": multi_label_intervals(labels, logits, recordings),
            "per_class": _per_class(names, present, columns, [c[present] for c in (precisions, areas, *table)]),
            "precision_recall": _precision_recall(labels, logits, names),
        }
    }


def _per_class(
    names: list[str], classes: np.ndarray, columns: Sequence[str], table: Sequence[np.ndarray]
) -> dict[str, dict[str, float | int | None]]:
    """The rows of a table, of which each column has a value for each of these classes."""
    rows = zip(*(column.tolist() for column in table), strict=True)
    return {
        names[index]: {column: _finite(value) for column, value in zip(columns, row, strict=True)}
        for index, row in zip(classes, rows, strict=True)
    }


def _precision_recall(labels: np.ndarray, scores: np.ndarray, names: list[str]) -> dict[str, Any]:
    """Precision at the first place in a class's ranking that reaches each recall; see `evaluate_predictions`."""
    from sklearn.metrics import precision_recall_curve

    recalls = np.arange(1, 101) / 100
    support = labels.sum(axis=0)
    curves = {}
    for index in np.argsort(-support, kind="stable")[: np.count_nonzero(support)].tolist():
        precision, recall, _ = precision_recall_curve(labels[:, index], scores[:, index])
        curves[index] = precision[::-1][np.searchsorted(recall[::-1], recalls)]
    return {
        "recall": recalls.tolist(),
        "macro": np.mean(list(curves.values()), axis=0).tolist(),
        "classes": {names[index]: curve.tolist() for index, curve in list(curves.items())[:_MOST_CURVES]},
    }


def write_evaluation(result: Mapping[str, Any], folder: str | os.PathLike) -> None:
    """
    Write what an evaluation found to a folder, which is made where it is missing.

    `evaluation.json` holds the scores. What `evaluate_predictions` gives for plots is in files of its own: for single
    labels `confusion_matrix.json` (the labels and the two confusion matrices) and `confusion_matrix.png` (the one of
    the clips), for several `precision_recall.json` and `precision_recall.png`.

    Args:
        result: what `evaluate_predictions` gives, or another dict of its form: `labels`, and under `clips` (and
            `recordings`) scores by their names, and `per_class`, or what `score_events` gives. Numbers that JSON lacks
            (NaN, infinity) become `null`.
        folder: where to write.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scores = dict(result)
    matrices: dict[str, Any] = {}
    for part in parts_of(result):
        scores[part] = {k: v for k, v in result[part].items() if k not in ("confusion_matrix", "precision_recall")}
        if "confusion_matrix" in result[part]:
            matrices[part] = result[part]["confusion_matrix"]
    write_json(folder / "evaluation.json", scores)
    if matrices:
        write_json(folder / "confusion_matrix.json", {"labels": result["labels"], **matrices}, indent=None)
        _plot_confusion_matrix(np.array(matrices["clips"]), result["labels"], folder / "confusion_matrix.png")
    curves = result["clips"].get("precision_recall")
    if curves is not None:
        write_json(folder / "precision_recall.json", curves, indent=None)
        _plot_precision_recall(curves, folder / "precision_recall.png")


def write_json(path: str | os.PathLike, content: Any, indent: int | None = 2) -> None:
    """Write a JSON file, with `null` for NaN and infinity, which most readers of JSON refuse."""
    text = json.dumps(_finite(content), indent=indent, ensure_ascii=False, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    """The value with `None` for each number in it that is NaN or infinite."""
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
        titles = list(map(one_line, names))
        axes.set_xticks(range(len(names)), titles, rotation=90, parse_math=False)
        axes.set_yticks(range(len(names)), titles, parse_math=False)
    if len(names) <= _MOST_COUNTED_CLASSES:
        for row, column in np.argwhere(matrix):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=color)
    figure.savefig(path)


def _plot_precision_recall(curves: Mapping[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    lines = [axes.plot(curves["recall"], curves["macro"], color="black", linewidth=2.5)[0]]
    lines += [axes.plot(curves["recall"], curve, linewidth=1)[0] for curve in curves["classes"].values()]
    titles = ["mean over the classes", *map(one_line, curves["classes"])]
    axes.set(xlabel="recall", ylabel="precision", title="Precision and recall (clips)", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    legend = axes.legend(lines, range(len(lines)), loc="center left", bbox_to_anchor=(1, 0.5))  # beside the curves
    for text, title in zip(legend.get_texts(), titles, strict=True):
        text.set(text=title, parse_math=False)  # here, as a legend leaves out names that begin with `_`
    figure.savefig(path)


def format_report(result: Mapping[str, Any]) -> str:
    """The scores, their intervals and the per-class tables of an evaluation, as text for a terminal."""
    tables = [score_table(result), interval_table(result), *(class_table(result, part) for part in parts_of(result))]
    tables = [table for table in tables if len(table) > 1]
    width = max(len(row[0]) for table in tables for row in table)
    return "\n\n".join(_align(table, width) for table in tables)


def parts_of(result: Mapping[str, Any]) -> list[str]:
    """What the scores are of: clips, and recordings where they were scored too."""
    return [part for part in ("clips", "recordings") if part in result]


def numbers_of(scores: Mapping[str, Any]) -> dict[str, float | int | None]:
    """The scores that are one number, or could not be computed; `f1_macro` for the `macro` of a score `f1`."""
    numbers: dict[str, float | int | None] = {}
    for name, value in scores.items():
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            numbers[name] = value
        elif _has_means(value):
            numbers.update({f"{name}_{kind}": mean for kind, mean in value.items() if kind != "per_class"})
    return numbers


def _has_means(value: Any) -> bool:
    """Whether it is one score of all classes with its means, as `score_events` gives them."""
    return isinstance(value, Mapping) and "per_class" in value


def title_of(name: str) -> str:
    """What a score is called in tables."""
    return _TITLES.get(name, name)


def score_table(result: Mapping[str, Any]) -> list[list[str]]:
    """The scores by their titles, per clip and per recording: a table of strings whose first row is the header."""
    parts = parts_of(result)
    numbers = [numbers_of(result[part]) for part in parts]
    return [["", *parts]] + [
        [title_of(name), *(format_number(one.get(name)) for one in numbers)] for name in _united(numbers)
    ]


def interval_table(result: Mapping[str, Any]) -> list[list[str]]:
    """As `score_table`, of the 95 % intervals; only the header where there are none."""
    parts = parts_of(result)
    intervals = [result[part].get("intervals") or {} for part in parts]
    return [["95 % intervals", *parts]] + [
        [title_of(name), *(_format_interval(one.get(name)) for one in intervals)]
        for name in _united(intervals)
        if any(one.get(name) for one in intervals)
    ]


def class_table(result: Mapping[str, Any], part: str) -> list[list[str]]:
    """As `score_table`, of the classes in `clips` or `recordings`; only the header where there are none."""
    classes = {name: dict(scores) for name, scores in result[part].get("per_class", {}).items()}
    for score, value in result[part].items():
        if _has_means(value):
            for name, one in value["per_class"].items():
                classes.setdefault(name, {})[score] = one
    columns = _united(list(classes.values()))
    return [[part, *(title_of(column) for column in columns)]] + [
        [one_line(name), *(format_number(scores.get(column)) for column in columns)]
        for name, scores in classes.items()
    ]


def format_number(value: float | int | None) -> str:
    """Counts as they are, scores with four decimals (one from 10 on), and `-` for what could not be scored."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


def one_line(text: str) -> str:
    """The text with a space for each stretch of white space, line breaks among them, and nothing unprintable."""
    return "".join(character for character in " ".join(str(text).split()) if character.isprintable())


def _format_interval(interval: Sequence[float] | None) -> str:
    return "-" if interval is None else " to ".join(map(format_number, interval))


def _united(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys of all rows, in the order in which they come."""
    return list(dict.fromkeys(key for row in rows for key in row))


def _align(table: list[list[str]], width: int = 0) -> str:
    """A table as text, its first column (of this width at least) to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    first, *others = widths
    return "\n".join(
        "  ".join(
            [row[0].ljust(max(first, width))] + [c.rjust(max(w, 9)) for c, w in zip(row[1:], others, strict=True)]
        )
        for row in table
    )


def summarise_runs(results: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """
    What several runs of one task found, such as the folds of a cross-validation or runs of several seeds.

    Args:
        results: what `evaluate_predictions` gives for each run, or what it has written.
        names: the name of each run.

    Returns:
        A dict for JSON: `task` and `labels` of the runs, `runs` (for each its `name` and the numbers in its `clips`
        and `recordings`), and under `clips` (and `recordings`) for each number its `mean`, `std` (of a sample; `None`
        for one run), `min` and `max`, all `None` where a run lacks it.

    Raises:
        ValueError: there is no run, or not a name for each, or the runs have other tasks or labels.
    """
    if not results or len(results) != len(names):
        raise ValueError(
            f"There must be a run at least and a name for each, got {len(results)} and {len(names)} names."
        )
    first = results[0]
    for result, name in zip(results, names, strict=True):
        for key in ("task", "labels"):
            if result.get(key) != first.get(key):
                raise ValueError(f"The runs {names[0]} and {name} differ in their {key}, so they have no common mean.")
    parts = [part for part in parts_of(first) if all(part in result for result in results)]
    runs = [
        {"name": name, **{part: numbers_of(result[part]) for part in parts}}
        for name, result in zip(names, results, strict=True)
    ]
    summary: dict[str, Any] = {"task": first.get("task"), "labels": first["labels"], "runs": runs}
    for part in parts:
        keys = _united([run[part] for run in runs])
        summary[part] = {key: _spread([run[part].get(key) for run in runs]) for key in keys}
    return summary


def _spread(values: Sequence[float | None]) -> dict[str, float | None]:
    if any(value is None or not math.isfinite(value) for value in values):
        return dict.fromkeys(("mean", "std", "min", "max"))
    return {**mean_and_std(values), "min": min(values), "max": max(values)}


def mean_and_std(values: Sequence[float]) -> dict[str, float | None]:
    """`std` is that of a sample, and `None` where there is one value."""
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else None}


def format_mean(score: Mapping[str, float | None]) -> str:
    """`0.8125 ± 0.0312` for a `mean` and a `std`; the mean alone where there is no deviation."""
    return format_number(score["mean"]) + ("" if score["std"] is None else f" ± {format_number(score['std'])}")


def summary_table(summary: Mapping[str, Any], part: str) -> list[list[str]]:
    """As `score_table`: a row for each run, then the means with their deviations and the extremes."""
    scores = summary[part]
    rows = [
        [one_line(run["name"]), *(format_number(run[part].get(name)) for name in scores)] for run in summary["runs"]
    ]
    return [
        [part, *(title_of(name) for name in scores)],
        *rows,
        ["mean ± deviation", *map(format_mean, scores.values())],
        *([which, *(format_number(one[which]) for one in scores.values())] for which in ("min", "max")),
    ]


def format_summary(summary: Mapping[str, Any]) -> str:
    """What `summarise_runs` found, as text for a terminal."""
    return "\n\n".join(_align(summary_table(summary, part)) for part in parts_of(summary))


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
