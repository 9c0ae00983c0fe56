# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Soundscapes made of recordings of single sounds, with onset and offset of each: data for several labels a clip."""

import csv
from pathlib import Path
from typing import NamedTuple

import datasets
import numpy as np
import soundfile

from ..data.audio import AudioFileError, load_audio
from ..data.labels import SINGLE_LABEL, class_names, listed, task_of
from ..data.readable import BadClip, audio_file, clip_name


# Between the classes of a clip in `metadata.csv`
LABEL_SEPARATOR = ";"

_LOWEST_RATE, _HIGHEST_RATE = 1_000, 655_350  # FLAC's limit
_FRAME_SECONDS = 0.01
_AUDIBLE = 1e-2  # share of a recording's highest frame level above which it is heard: 40 dB below
_SILENCE = 1e-3  # highest frame level of a silent recording: -60 dB
_NOISE_LEVEL = 1e-3
_PEAK = 0.5


class _Source(NamedTuple):
    """The audible part of a recording, in samples of the clips' rate, with its level and class."""

    row: int
    start: int
    stop: int
    level: float
    label: str


class _Sound(NamedTuple):
    """A waveform `(samples,)` of level 1 and its class."""

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

    A recording is heard from its first to its last frame of 10 ms whose level is not more than 40 dB below the highest
    one, and that is its event; of a longer one than a clip, the beginning is taken. Each recording is used once before
    any is used again. The name of `folder` is part of the names of the clips: those of two folders are clips of
    different recordings to `load_clips`.

    Args:
        recordings: columns `audio` and `label`, with one class a clip, as `load_clips` gives them.
        folder: where to write; `load_clips` reads it.
        num_clips: number of clips.
        seconds: length of a clip.
        max_sources: a clip has one to so many recordings.
        level_range: the levels (root mean square) of the recordings in a clip differ by up to so many decibels.
        sampling_rate: of the clips, in Hz.
        events: write a row of `file_name`, `onset`, `offset` (seconds) and `label` for each recording in a clip;
            otherwise a row of `file_name` and `label` for each clip, with its classes between semicolons.
        seed: of everything random.

    Returns:
        The recordings that cannot be read, or that are silent: nowhere above -60 dB, where full scale is 0 dB.

    Raises:
        ValueError: an argument is out of its range, the recordings have more than one class each, a class has a
            semicolon in its name where one separates them, or none of the recordings can be used.
    """
    if min(num_clips, max_sources) < 1 or not (0 < seconds < np.inf and 0 <= level_range < np.inf):
        raise ValueError(
            "num_clips and max_sources must be at least 1, seconds above 0 and level_range at least 0, got "
            f"{num_clips}, {max_sources}, {seconds} and {level_range}."
        )
    if not _LOWEST_RATE <= sampling_rate <= _HIGHEST_RATE:
        raise ValueError(f"sampling_rate must be from {_LOWEST_RATE} to {_HIGHEST_RATE} Hz, got {sampling_rate}.")
    if task_of(recordings.features["label"]) != SINGLE_LABEL:
        raise ValueError("Mixtures are made of recordings with one class each; these have several, or events.")
    names = class_names(recordings.features["label"])
    parted = [name for name in names if LABEL_SEPARATOR in name]
    if parted and not events:
        raise ValueError(
            f"Semicolons separate the classes of a clip, so none may have one in its name: rename {listed(parted)}."
        )
    samples = max(1, round(seconds * sampling_rate))
    sources, bad = _find_sources(recordings, samples, sampling_rate)
    if not sources:
        reason = f" The first: {bad[0].reason}" if bad else ""
        raise ValueError(f"None of the {len(recordings)} recordings can be mixed.{reason}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    waiting: list[int] = []
    rows = []
    for number in datasets.utils.tqdm(range(num_clips), desc=f"Mixing {folder.name}", unit="clip"):
        num_sources = rng.integers(1, min(max_sources, len(sources)) + 1)
        if len(waiting) < num_sources:
            others = np.setdiff1d(range(len(sources)), waiting)
            waiting += [*rng.permutation(others).tolist(), *rng.permutation(waiting).tolist()]
        chosen, waiting = waiting[:num_sources], waiting[num_sources:]
        sounds = [_load(recordings, sources[index], sampling_rate) for index in chosen]
        waveform, starts = _mix(sounds, rng, samples, level_range)
        name = f"{number:05d}-{folder.name}.flac"
        soundfile.write(folder / name, waveform, sampling_rate)
        if events:
            rows += [
                {
                    "file_name": name,
                    "onset": start / sampling_rate,
                    "offset": (start + len(sound.waveform)) / sampling_rate,
                    "label": sound.label,
                }
                for start, sound in sorted(zip(starts, sounds, strict=True), key=lambda pair: pair[0])
            ]
        else:
            rows.append({"file_name": name, "label": LABEL_SEPARATOR.join(sorted({one.label for one in sounds}))})
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return bad


def _find_sources(
    recordings: datasets.Dataset, samples: int, sampling_rate: int
) -> tuple[list[_Source], list[BadClip]]:
    names = class_names(recordings.features["label"])
    frame = round(_FRAME_SECONDS * sampling_rate)
    sources, bad = [], []
    for row, clip in enumerate(datasets.utils.tqdm(recordings, desc="Reading", unit="recording")):
        try:
            waveform = load_audio(audio_file(clip["audio"]), sampling_rate)
        except AudioFileError as error:
            bad.append(BadClip(clip_name(clip["audio"], row), str(error)))
            continue
        start, stop = _audible_part(waveform, frame)
        # A recording with pauses can be silent where a clip would end
        stop = start + _audible_part(waveform[start : min(stop, start + samples)], frame)[1]
        if start == stop:
            bad.append(BadClip(clip_name(clip["audio"], row), "It is silent: nowhere above -60 dB. Leave it out."))
            continue
        level = float(np.sqrt(np.mean(np.square(waveform[start:stop], dtype=np.float64))))
        sources.append(_Source(row, start, stop, level, names[clip["label"]]))
    return sources, bad


def _audible_part(waveform: np.ndarray, frame: int) -> tuple[int, int]:
    """Where the sound of a waveform `(samples,)` begins and ends, in samples, by the levels of frames of that size."""
    frames = np.pad(waveform, (0, -len(waveform) % frame)).reshape(-1, frame)
    levels = np.sqrt(np.mean(np.square(frames, dtype=np.float64), axis=1))
    heard = np.flatnonzero(levels > max(_SILENCE, _AUDIBLE * levels.max(initial=0.0)))
    return (int(heard[0]) * frame, min(len(waveform), (int(heard[-1]) + 1) * frame)) if len(heard) else (0, 0)


def _load(recordings: datasets.Dataset, source: _Source, sampling_rate: int) -> _Sound:
    # Read once more, because all recordings of a large set do not fit into memory
    file = audio_file(recordings[source.row]["audio"])
    waveform = load_audio(file, sampling_rate, duration=source.stop / sampling_rate)[source.start :]
    return _Sound(waveform / source.level, source.label)


def _mix(
    sounds: list[_Sound], rng: np.random.Generator, samples: int, level_range: float
) -> tuple[np.ndarray, list[int]]:
    """A clip `(samples,)`, and the sample at which each sound begins in it."""
    mixture = _NOISE_LEVEL * rng.standard_normal(samples)
    starts = []
    for sound in sounds:
        gain = 10 ** (rng.uniform(-level_range, 0) / 20)
        start = int(rng.integers(samples - len(sound.waveform) + 1))
        mixture[start : start + len(sound.waveform)] += gain * sound.waveform
        starts.append(start)
    return _PEAK * mixture / np.abs(mixture).max(), starts
