# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Plots of annotations, and what plots over time have in common."""

import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from ..data.audio import AudioFile
from ..data.folders import write_whole
from ..data.text import one_line
from .annotation import Annotation
from .pictures import Spectrogram, compute_spectrogram, event_labels, leading_labels, narrowed


if TYPE_CHECKING:
    from .melody_picture import MelodyPicture


# More labels, or longer ones, are too small to read
_MOST_LABELS = 20
_LONGEST_LABEL = 40

# Pitches outside of all but so small a share of the melody at either end are not shown
_RARE = 0.01
# Shows glides, which are at each pitch for a short time
_GAMMA = 0.4

# Distances between two ticks of the time axis, in seconds
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800)
_MOST_TICKS = 14


def plot_annotation(
    annotation: Annotation,
    path: str | os.PathLike,
    file: AudioFile | None = None,
    *,
    spectrogram: Spectrogram | None = None,
    melody: "MelodyPicture | None" = None,
) -> None:
    """
    Plot an annotation over time: the spectrogram of the recording, its melody if given, the scores of the leading
    labels, and the events.

    The memory does not grow with the length of the recording. Of many labels, the 20 with the highest scores and the
    20 with the longest events are shown. Gaps are hatched. Without an overview, there are no scores.

    Args:
        annotation: what to plot.
        path: the PNG file to write.
        file: the recording; by default `annotation.file`.
        spectrogram: of the recording, which is not read then.
        melody: of the recording, as `compute_melody` returns it. It is drawn on the swaras of its tonic.

    Raises:
        ValueError: the annotation has an error instead of events.
        AudioFileError: the recording cannot be read.
    """
    if annotation.error is not None:
        raise ValueError(f"There is nothing to plot: {annotation.error}")
    if spectrogram is None:
        spectrogram = compute_spectrogram(annotation.file if file is None else file, annotation.duration)
    leading, rows = leading_labels(annotation, _MOST_LABELS), event_labels(annotation)
    heights = [
        2.4,
        *([] if melody is None else [4.0]),
        *([0.4 + 0.22 * len(leading)] if leading else []),
        0.4 + 0.22 * max(1, len(rows[:_MOST_LABELS])),
    ]
    figure = Figure(figsize=(14, 1.2 + sum(heights)), layout="constrained")
    all_axes = figure.subplots(len(heights), sharex=True, height_ratios=heights)
    all_axes[0].set_title(one_line(Path(annotation.file).name), parse_math=False)

    draw_spectrogram(all_axes[0], spectrogram, annotation.duration)
    if melody is not None:
        _draw_melody(all_axes[1], melody, annotation.duration)
    if leading:
        _draw_scores(all_axes[-2], annotation, leading)
    _draw_events(all_axes[-1], annotation, rows)
    for axes in all_axes:
        for gap in annotation.gaps:
            axes.axvspan(gap.start, gap.stop, facecolor="white", edgecolor="tab:red", hatch="///", alpha=0.7, lw=0.5)
    draw_time(all_axes[-1], annotation.duration, _notes(annotation))
    write_whole(path, partial(figure.savefig, format="png"))


def draw_spectrogram(axes: Axes, spectrogram: Spectrogram, duration: float) -> None:
    """Draw the spectrogram of a recording, with the axis of its frequencies."""
    highest = spectrogram.highest_frequency
    extent = (0, duration, 0, _mel(highest))
    image = axes.imshow(spectrogram.decibels, cmap="magma", aspect="auto", origin="lower", extent=extent)
    hertz = [one for one in (250, 1000, 2000, 4000, 8000, 16000) if one <= highest]
    axes.set_yticks([_mel(one) for one in hertz], [str(one) for one in hertz])
    axes.set_ylabel("Hz (mel scale)")
    axes.figure.colorbar(image, ax=axes, label="dB", pad=0.01)


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _draw_melody(axes: Axes, melody: "MelodyPicture", duration: float) -> None:
    """Draw a melody over lines at the swaras, in the octaves that it has."""
    from .melody_picture import swara_places  # which imports torch

    cents = melody.cents
    weights = np.cumsum(melody.shares.sum(axis=1))
    low, high = 0.0, 1200.0
    if weights[-1] > 0:
        ends = np.searchsorted(weights, (_RARE * weights[-1], (1 - _RARE) * weights[-1]))
        low, high = (float(cents[min(end, len(cents) - 1)]) for end in ends)
    low, high = min(low, 0.0) - 150, max(high, 1200.0) + 150
    half = float(cents[1] - cents[0]) / 2
    padded = np.pad(melody.shares, ((1, 1), (0, 0)))  # a row is thinner than a line should be
    thick = np.maximum(np.maximum(padded[:-2], padded[2:]), melody.shares)
    image = axes.imshow(
        thick,
        cmap="Blues",
        norm=PowerNorm(_GAMMA, vmin=0, vmax=1),
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        extent=(0, duration, cents[0] - half, cents[-1] + half),
    )
    places, names = [], []
    for octave in range(math.floor(low / 1200), math.ceil(high / 1200)):
        for name, above in swara_places().items():
            places.append(1200 * octave + above)
            names.append(name)
            is_fixed = name in ("S", "P")
            axes.axhline(places[-1], color="tab:red" if is_fixed else "black", lw=0.8, alpha=0.6 if is_fixed else 0.15)
    axes.set_yticks(places, names, fontsize="x-small")
    axes.set(ylim=(low, high), ylabel=f"melody, S at {melody.tonic:.1f} Hz")
    axes.figure.colorbar(image, ax=axes, label="share of the time", pad=0.01)


def _draw_scores(axes: Axes, annotation: Annotation, leading: list[int]) -> None:
    assert annotation.overview is not None
    overview = narrowed(annotation.overview)
    end = len(overview.scores) * overview.column_seconds
    image = axes.imshow(
        overview.scores[:, leading].T,
        cmap="Blues",
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
        extent=(0, end, len(leading) - 0.5, -0.5),
    )
    _name_rows(axes, [annotation.labels[index] for index in leading])
    axes.set_ylabel("highest score")
    axes.figure.colorbar(image, ax=axes, label="score", pad=0.01)


def _draw_events(axes: Axes, annotation: Annotation, rows: list[str]) -> None:
    shown = rows[:_MOST_LABELS]
    for row, label in enumerate(shown):
        bars = [(one.onset, one.offset - one.onset) for one in annotation.events if one.label == label]
        color = f"C{row}"
        # The edge shows bars that are narrower than a pixel
        axes.broken_barh(bars, (row - 0.4, 0.8), facecolors=color, edgecolors=color, linewidth=0.8)
    _name_rows(axes, shown)
    axes.set(ylim=(max(1, len(shown)) - 0.5, -0.5), ylabel="events")
    axes.grid(axis="x", alpha=0.3)
    if not annotation.events:
        axes.text(0.5, 0.5, "no events", transform=axes.transAxes, ha="center", va="center")


def _name_rows(axes: Axes, labels: list[str]) -> None:
    titles = [one_line(label) for label in labels]
    titles = [title if len(title) <= _LONGEST_LABEL else f"{title[: _LONGEST_LABEL - 1]}…" for title in titles]
    # A `$` in a label must not start a formula
    axes.set_yticks(range(len(labels)), titles, parse_math=False, fontsize="small")


def draw_time(axes: Axes, duration: float, notes: Sequence[str] = ()) -> None:
    """Draw the axis of the time of a recording, in hours, minutes and seconds, with notes below it."""
    step = next((step for step in _STEPS if duration / step <= _MOST_TICKS), duration)
    decimals = max(0, -int(np.floor(np.log10(step))))
    axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _clock(seconds, decimals)))
    axes.set(xlim=(0, duration), xlabel="; ".join(["time", *notes]))


def _notes(annotation: Annotation) -> list[str]:
    hidden = len(event_labels(annotation)) - _MOST_LABELS
    notes = [f"{hidden} more labels have events"] if hidden > 0 else []
    return notes + (["hatched: cannot be read"] if annotation.gaps else [])


def _clock(seconds: float, decimals: int) -> str:
    minutes, seconds = divmod(round(seconds, decimals), 60)
    hours, minutes = divmod(int(minutes), 60)
    width = 2 if decimals == 0 else decimals + 3
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{seconds:0{width}.{decimals}f}"
