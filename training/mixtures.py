# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Soundscapes made of recordings of single sounds, with onset and offset of each: data for several labels a clip."""

import csv
from pathlib import Path
from typing import NamedTuple

import datasets
import numpy as np
import soundfile

from .audio import AudioFileError, load_audio
from .data import BadClip, audio_file, clip_name
from .labels import SINGLE_LABEL, class_names, task_of


_FRAME_SECONDS = 0.01
_AUDIBLE = 1e-2  # share of a recording's highest frame level above which it is heard: 40 dB below
_NOISE_LEVEL = 1e-3


class _Source(NamedTuple):
    """The audible part of a recording, scaled to a level of 1, and its class."""

    waveform: np.ndarray
    label: str


def write_mixtures(
    recordings: datasets.Dataset,
    folder: str | Path,
    *,
    num_clips: int,
    seconds: float = 10.0,
    max_sources: int = 4,
    level_range: float = 10.0,
    sampling_rate: int = 16000,
    events: bool = True,
    seed: int = 0,
) -> list[BadClip]:
    """
    Write clips in each of which some recordings sound at random times, over soft noise, and their `metadata.csv`.

    Args:
        recordings: columns `audio` and `label`, with one class a clip, as `load_clips` gives them.
        folder: where to write; `load_clips` reads it.
        num_clips: number of clips.
        seconds: length of a clip.
        max_sources: a clip has one to so many recordings.
        level_range: the levels of the recordings in a clip differ by up to so many decibels.
        sampling_rate: of the clips, in Hz.
        events: write a row of `file_name`, `onset`, `offset` and `label` for each recording in a clip; otherwise a row
            of `file_name` and `label` for each clip, with its classes between semicolons.
        seed: of everything random.

    Returns:
        The recordings that cannot be read, or in which nothing is heard.

    Raises:
        ValueError: the recordings have more than one class each, or none of them can be used.
    """
    if task_of(recordings.features["label"]) != SINGLE_LABEL:
        raise ValueError("Mixtures are made of recordings with one class each.")
    sources, bad = _read_sources(recordings, seconds, sampling_rate)
    if not sources:
        raise ValueError(f"None of the {len(recordings)} recordings can be mixed. The first: {bad[0].reason}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(num_clips):
        name = f"{number:05d}.flac"
        waveform, heard = _mix(sources, rng, round(seconds * sampling_rate), max_sources, level_range, sampling_rate)
        soundfile.write(folder / name, waveform, sampling_rate)
        if events:
            rows += [
                {"file_name": name, "onset": onset, "offset": offset, "label": label} for onset, offset, label in heard
            ]
        else:
            rows.append({"file_name": name, "label": ";".join(sorted({label for _, _, label in heard}))})
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return bad


def _read_sources(
    recordings: datasets.Dataset, seconds: float, sampling_rate: int
) -> tuple[list[_Source], list[BadClip]]:
    names = class_names(recordings.features["label"])
    sources, bad = [], []
    for row, clip in enumerate(datasets.utils.tqdm(recordings, desc="Reading", unit="recording")):
        try:
            waveform = load_audio(audio_file(clip["audio"]), sampling_rate, duration=seconds)
        except AudioFileError as error:
            bad.append(BadClip(clip_name(clip["audio"], row), str(error)))
            continue
        audible = _audible_part(waveform, round(_FRAME_SECONDS * sampling_rate))
        if len(audible) == 0:
            bad.append(BadClip(clip_name(clip["audio"], row), "It is silent."))
            continue
        level = np.sqrt(np.mean(np.square(audible)))
        sources.append(_Source(audible / level, names[clip["label"]]))
    return sources, bad


def _audible_part(waveform: np.ndarray, frame: int) -> np.ndarray:
    """A waveform without what is soft at its ends."""
    frames = np.pad(waveform, (0, -len(waveform) % frame)).reshape(-1, frame)
    levels = np.sqrt(np.mean(np.square(frames), axis=1))
    heard = np.flatnonzero(levels > _AUDIBLE * levels.max(initial=0.0))
    return waveform[heard[0] * frame : (heard[-1] + 1) * frame] if len(heard) else waveform[:0]


def _mix(
    sources: list[_Source],
    rng: np.random.Generator,
    samples: int,
    max_sources: int,
    level_range: float,
    sampling_rate: int,
) -> tuple[np.ndarray, list[tuple[float, float, str]]]:
    """A clip of a highest level of 0.5, and onset and offset in seconds and class of each source in it."""
    chosen = rng.choice(len(sources), min(len(sources), rng.integers(1, max_sources + 1)), replace=False)
    mixture = _NOISE_LEVEL * rng.standard_normal(samples)
    heard = []
    for source in (sources[index] for index in chosen):
        sound = source.waveform[:samples] * 10 ** (rng.uniform(-level_range, 0) / 20)
        start = rng.integers(samples - len(sound) + 1)
        mixture[start : start + len(sound)] += sound
        heard.append((start / sampling_rate, (start + len(sound)) / sampling_rate, source.label))
    return 0.5 * mixture / np.abs(mixture).max(), sorted(heard)
