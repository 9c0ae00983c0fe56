# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Plots of the attention of segment tokens."""

import math
import os
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..data.folders import write_whole
from ..data.text import one_line
from .annotation_plots import draw_spectrogram, draw_time
from .attention import SegmentAttention
from .pictures import MOST_COLUMNS, compute_spectrogram


# More numbers of segments, or more lines between windows, are too dense to read
_MOST_NUMBERS = 32
_MOST_LINES = 100

# Weights above this quantile have the brightest colour, so that a single frame does not make all others dark
_BRIGHTEST = 0.995


def plot_segment_attention(attention: SegmentAttention, path: str | os.PathLike) -> None:
    """
    Plot the attention of segment tokens over time, below the spectrogram of the recording.

    Each row is a segment token. Those that attend to early frames stand above, sorted by the time of their centre of
    mass. The weights are shown relative to even attention, which is 1, so that windows of different lengths compare.
    Dashed lines separate windows. Of long recordings, the means of several frames are shown.

    Args:
        attention: what to plot. The file is read again for its spectrogram.
        path: the PNG file to write.

    Raises:
        ValueError: the attention has an error instead of weights.
        AudioFileError: the recording cannot be read.
    """
    if attention.weights is None:
        raise ValueError(f"There is nothing to plot: {attention.error}")
    frames = np.repeat(attention.window_frames, attention.window_frames)
    edges, relative = _pooled(attention.weights * frames.astype(np.float32))
    order = np.argsort(_centres(edges, relative), kind="stable")
    edges = (edges - 0.5) * attention.frame_seconds
    # The first and the last frame reach to the ends of the recording
    edges[0], edges[-1] = 0, max(edges[-1], attention.duration)

    height = min(6.0, max(1.5, 0.16 * len(order)))
    figure = Figure(figsize=(14, 3.6 + height), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=[2.4, height])
    above.set_title(one_line(Path(attention.file).name), parse_math=False)
    draw_spectrogram(above, compute_spectrogram(attention.file, attention.duration), attention.duration)
    brightest = max(2.0, float(np.quantile(relative, _BRIGHTEST)))
    image = below.pcolormesh(
        edges, np.arange(len(order) + 1) - 0.5, relative[order], cmap="viridis", vmin=0, vmax=brightest
    )
    figure.colorbar(image, ax=below, label="attention (1 = even)", pad=0.01, extend="max")
    borders = np.cumsum(attention.window_frames)[:-1]
    if len(borders) <= _MOST_LINES:
        for border in borders:
            below.axvline((border - 0.5) * attention.frame_seconds, color="white", linestyle="--", linewidth=0.8)
    rows = range(0, len(order), math.ceil(len(order) / _MOST_NUMBERS))
    below.set_yticks(rows, [str(order[row]) for row in rows], fontsize="small")
    below.set(ylabel="segment", ylim=(len(order) - 0.5, -0.5))
    draw_time(below, attention.duration)
    write_whole(path, partial(figure.savefig, format="png"))


def _pooled(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The edges, in frames, and the means, `(rows, columns)`, of at most `MOST_COLUMNS` columns of frames."""
    frames = values.shape[1]
    starts = np.arange(0, frames, math.ceil(frames / MOST_COLUMNS))
    edges = np.append(starts, frames).astype(np.float64)
    return edges, np.add.reduceat(values, starts, axis=1) / np.diff(edges)


def _centres(edges: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The centre of mass of each row of columns with these edges."""
    masses = means * np.diff(edges)
    return masses @ (edges[1:] + edges[:-1]) / 2 / masses.sum(axis=1)
