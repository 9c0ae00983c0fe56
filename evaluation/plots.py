# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Plots of evaluations, training losses and timelines."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.event_rules import checked_scores
from ..data.events import Event, class_indices, event_times
from ..data.folders import write_whole
from ..data.text import one_line
from .results import PrecisionRecall


if TYPE_CHECKING:
    from matplotlib.figure import Figure


# With more classes, their names or the counts in the cells are too small to read
_MOST_NAMED_CLASSES = 60
_MOST_COUNTED_CLASSES = 20


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # takes half a second

    return Figure(figsize=(width, height), layout="constrained")


def plot_confusion_matrix(matrix: np.ndarray, names: Sequence[str], path: str | os.PathLike) -> None:
    """
    Plot a confusion matrix, coloured by the share of each true label.

    Args:
        matrix: `(classes, classes)`, numbers of clips; rows are true labels, columns predicted ones.
        names: the class names.
        path: the PNG file to write.
    """
    side = float(np.clip(2.5 + 0.35 * len(names), 5, 20))
    figure = _figure(side + 1, side)
    axes = figure.add_subplot()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the clips with this true label", shrink=0.8)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion matrix (clips)")
    if len(names) <= _MOST_NAMED_CLASSES:
        # A `$` in a class name must not start a formula
        titles = list(map(one_line, names))
        axes.set_xticks(range(len(names)), titles, rotation=90, parse_math=False)
        axes.set_yticks(range(len(names)), titles, parse_math=False)
    if len(names) <= _MOST_COUNTED_CLASSES:
        for row, column in np.argwhere(matrix):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=color)
    write_whole(path, partial(figure.savefig, format="png"))


def plot_precision_recall(curves: PrecisionRecall, path: str | os.PathLike) -> None:
    """Plot precision over recall to a PNG file: of single classes, and their mean."""
    figure = _figure(9, 5)
    axes = figure.add_subplot()
    lines = [axes.plot(curves.recall, curves.macro, color="black", linewidth=2.5)[0]]
    lines += [axes.plot(curves.recall, curve, linewidth=1)[0] for curve in curves.classes.values()]
    titles = ["mean over the classes", *map(one_line, curves.classes)]
    axes.set(xlabel="recall", ylabel="precision", title="Precision and recall (clips)", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    numbers = [str(number) for number in range(len(lines))]
    legend = axes.legend(lines, numbers, loc="center left", bbox_to_anchor=(1, 0.5))  # beside the curves
    for text, title in zip(legend.get_texts(), titles, strict=True):
        text.set(text=title, parse_math=False)  # set here, because a legend omits names that begin with `_`
    write_whole(path, partial(figure.savefig, format="png"))


def plot_losses(log_history: Sequence[Mapping[str, Any]], path: str | os.PathLike) -> bool:
    """
    Plot every loss of a training run over its steps.

    Args:
        log_history: `trainer.state.log_history`. Every number whose key contains "loss" is drawn, except for the
            mean over the run that a Trainer logs at its end.
        path: the PNG file to write.

    Returns:
        Whether there was a loss to plot. Otherwise no file is written.
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

    figure = _figure(8, 5)
    axes = figure.add_subplot()
    for key, (steps, values) in curves.items():
        style = "--" if key.startswith("eval_") else "-"
        axes.plot(steps, values, style, marker="." if len(steps) < 50 else None, label=key)
    axes.set(xlabel="step", ylabel="loss", title="Losses")
    axes.grid(alpha=0.3)
    axes.legend()
    write_whole(path, partial(figure.savefig, format="png"))
    return True


def plot_timeline(
    scores: np.ndarray,
    references: Sequence[Event],
    labels: Sequence[str],
    frame_seconds: float,
    path: str | os.PathLike,
    title: str,
) -> None:
    """
    Plot the scores of a clip over time, with a row for each class and a box around each annotated event.

    Args:
        scores: `(frames, labels)`, from 0 to 1.
        references: the annotated events.
        labels: the class names.
        frame_seconds: the length of a frame in seconds.
        path: the PNG file to write.
        title: the title of the plot.

    Raises:
        ValueError: the scores do not fit the labels, or an event has no length or an unknown class.
    """
    scores = checked_scores(scores, len(labels))
    rows = class_indices(references, labels)
    times = event_times(references)

    from matplotlib.patches import Rectangle

    figure = _figure(12, float(np.clip(1.5 + 0.3 * len(labels), 3, 20)))
    axes = figure.add_subplot()
    extent = (0, len(scores) * frame_seconds, len(labels) - 0.5, -0.5)
    image = axes.imshow(scores.T, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest", extent=extent)
    figure.colorbar(image, ax=axes, label="score")
    for (onset, offset), row in zip(times, rows, strict=True):
        axes.add_patch(Rectangle((onset, row - 0.45), offset - onset, 0.9, fill=False, edgecolor="tab:red", lw=1.5))
    axes.set(xlabel="time in seconds", ylabel="class")
    # A `$` in a file or class name must not start a formula
    axes.set_title(title, parse_math=False)
    if len(labels) <= _MOST_NAMED_CLASSES:
        axes.set_yticks(range(len(labels)), labels, parse_math=False)
    write_whole(path, partial(figure.savefig, format="png"))
