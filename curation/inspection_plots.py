# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Plots of a dataset: durations, sizes of the classes, and spectrograms of examples."""

import os
from collections.abc import Mapping, Sequence
from functools import partial

import datasets
import numpy as np
from matplotlib.figure import Figure

from ..data.audio import AudioFileError, load_audio
from ..data.folders import write_whole
from ..data.labels import class_names, classes_of_clips
from ..data.readable import audio_file
from ..feature_extraction.feature_extraction_sslam import SSLAMFeatureExtractor


_MOST_DRAWN_CLASSES = 60
_MOST_EXAMPLE_CLASSES = 20
_EXAMPLE_SECONDS = 10.0


def plot_durations(seconds: Sequence[float], path: str | os.PathLike) -> None:
    """Plot a histogram of durations as a PNG file."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.hist(seconds, bins=min(50, max(10, len(seconds) // 5)))
    axes.set(xlabel="seconds", ylabel="clips", title=f"Durations of {len(seconds)} clips")
    axes.grid(alpha=0.3)
    write_whole(path, partial(figure.savefig, format="png"))


def plot_classes(sizes: Mapping[str, int], path: str | os.PathLike) -> None:
    """Plot the number of clips of each class as a PNG file. If there are very many classes, the largest are drawn."""
    names = sorted(sizes, key=lambda name: -sizes[name])[:_MOST_DRAWN_CLASSES]
    figure = Figure(figsize=(8, max(3, 1 + 0.25 * len(names))), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(range(len(names)), [sizes[name] for name in names])
    # The names are arbitrary text: a `$` in them does not begin a formula
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.invert_yaxis()
    shown = f"the {len(names)} largest of {len(sizes)} classes" if len(names) < len(sizes) else "all classes"
    axes.set(xlabel="clips", title=f"Clips of {shown}")
    axes.grid(axis="x", alpha=0.3)
    write_whole(path, partial(figure.savefig, format="png"))


def plot_examples(clips: datasets.DatasetDict, path: str | os.PathLike, examples: int = 3) -> None:
    """
    Plot the log-mel energies of the first 10 seconds of some clips of each class as a PNG file.

    The clips are taken from the split `train`, or from the first split if there is no `train`, one of each recording
    while there are enough. If there are more than 20 classes, the first 20 are drawn.

    Args:
        clips: what `load_clips` returns.
        path: the file to write.
        examples: number of clips of each class.
    """
    rows = clips["train"] if "train" in clips else next(iter(clips.values()))
    classes, recordings = classes_of_clips(rows), rows["recording"][:]
    names = class_names(rows.features["label"])[:_MOST_EXAMPLE_CLASSES]
    extractor = SSLAMFeatureExtractor(mean=0.0, std=0.5)  # (x - 0) / (2 * 0.5): not normalised
    figure = Figure(figsize=(3 * examples + 1, 1.6 * len(names) + 0.5), layout="constrained")
    grid = figure.subplots(len(names), examples, squeeze=False)
    for index, name in enumerate(names):
        candidates = [row for row, clip_classes in enumerate(classes) if index in clip_classes]
        firsts = {recordings[row]: row for row in reversed(candidates)}.values()
        candidates = sorted(firsts) + sorted(set(candidates) - set(firsts))
        waveforms = _readable(rows, candidates, examples, extractor.sampling_rate)
        for axes in grid[index]:
            axes.set_axis_off()
        for axes, waveform in zip(grid[index], waveforms, strict=False):
            features = extractor(waveform, sampling_rate=extractor.sampling_rate, padding=False, truncation=False)[
                "input_values"
            ][0]
            extent = (0, len(waveform) / extractor.sampling_rate, 0, features.shape[1])
            axes.imshow(features.T, origin="lower", aspect="auto", extent=extent, interpolation="nearest")
            axes.set_axis_on()
            axes.tick_params(labelsize=6)
            axes.set_yticks([])
        grid[index, 0].set_title(name, loc="left", fontsize=8, parse_math=False)
    figure.suptitle("Log-mel energies over seconds")
    write_whole(path, partial(figure.savefig, format="png", dpi=80))


def _readable(rows: datasets.Dataset, candidates: Sequence[int], number: int, rate: int) -> list[np.ndarray]:
    waveforms: list[np.ndarray] = []
    for row in candidates:
        if len(waveforms) == number:
            break
        try:
            waveforms.append(load_audio(audio_file(rows[row]["audio"]), rate, duration=_EXAMPLE_SECONDS))
        except AudioFileError:  # the inspection lists it
            continue
    return waveforms
