# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Makes soundscapes from recordings of single sounds, with the onset and offset of each sound."""

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import soundfile

from ..data.audio import AudioFile, AudioFileError, load_audio, stream_audio
from ..data.folders import new_folder, write_json
from ..data.labels import SINGLE_LABEL, class_names, task_of
from ..data.loading import load_clips
from ..data.readable import BadClip, audio_file, clip_name, report_bad_clips
from ..data.seeds import combined_seed
from ..data.splits import cut_from_train
from ..data.text import listed
from .leaks import find_leaks


# Separates the classes of a clip in `metadata.csv`
LABEL_SEPARATOR = ";"

_LOWEST_RATE, _HIGHEST_RATE = 1_000, 655_350  # FLAC's limit
_FRAME_SECONDS = 0.01
_AUDIBLE = 1e-2  # relative to the highest frame level of a recording: a sound is audible above -40 dB
_SILENCE = 1e-3  # highest frame level of a silent recording: -60 dB of full scale
_NOISE_LEVEL = 1e-3
_PEAK = 0.5


@dataclass(frozen=True)
class MixResult:
    """
    What [`mix_dataset`] wrote.

    Attributes:
        clips: number of clips of each split.
        recordings: the recordings of each split, sorted, with those that were left out.
        num_used: number of source clips of each split that were used.
        left_out: the source clips that cannot be read or are silent.
    """

    clips: dict[str, int]
    recordings: dict[str, list[str]]
    num_used: dict[str, int]
    left_out: list[BadClip]


def mix_dataset(
    recordings: datasets.DatasetDict,
    output: str | os.PathLike,
    *,
    num_clips: int,
    num_validation_clips: int | None = None,
    num_test_clips: int = 0,
    seconds: float = 10.0,
    max_sources: int = 4,
    level_range: float = 10.0,
    sampling_rate: int = 16000,
    events: bool = True,
    test_size: float = 0.25,
    seed: int = 0,
    name: str | None = None,
    overwrite: bool = False,
) -> MixResult:
    """
    Write a dataset of soundscapes, with progress bars: clips that mix recordings, as [`write_mixtures`] makes them.

    The output has the folders `train`, `validation` and `test`, which `load_clips` reads, and `mixtures.json` with the
    settings and the recordings. The recordings are divided first, so no recording is in two of the folders. Those that
    cannot be read or are silent are logged and left out.

    Args:
        recordings: what `load_clips` returns, with one class for each clip. Its own splits are kept; `validation` and
            `test` are only cut from `train`, by recording, where they are missing.
        output: the folder to write.
        num_clips, num_validation_clips, num_test_clips: number of clips in `train`, in `validation` (by default a
            fourth of `num_clips`) and in `test`.
        seconds, max_sources, level_range, sampling_rate, events: arguments of [`write_mixtures`].
        test_size: share of the recordings that is cut for `test`, and for `validation`.
        seed: seed of everything random.
        name: name of the dataset that the recordings come from, for `mixtures.json`.
        overwrite: replace a dataset that is in `output`.

    Raises:
        ValueError: an argument is out of its range, the recordings cannot be divided or mixed, names of classes would
            not be read back from `metadata.csv` as they are, or `output` must not be replaced.
    """
    num_validation = max(1, num_clips // 4) if num_validation_clips is None else num_validation_clips
    if num_clips < 1 or min(num_validation, num_test_clips, seed) < 0:
        raise ValueError(
            "The number of training clips must be at least 1, those of validation and test clips and the seed at "
            f"least 0, got {num_clips}, {num_validation}, {num_test_clips} and {seed}."
        )
    counts = {"train": num_clips, "validation": num_validation, "test": num_test_clips}
    parts = _divide(recordings, [part for part, count in counts.items() if count], test_size, seed)
    left_out: list[BadClip] = []
    with new_folder(output, overwrite=overwrite) as folder:
        for index, (part, count) in enumerate(counts.items()):
            if count:
                part_seed = combined_seed(seed, index)  # the noise of two folders must not be the same
                bad = write_mixtures(
                    parts[part],
                    folder / part,
                    num_clips=count,
                    seconds=seconds,
                    max_sources=max_sources,
                    level_range=level_range,
                    sampling_rate=sampling_rate,
                    events=events,
                    seed=part_seed,
                )
                left_out += [clip._replace(split=part) for clip in bad]
        _check_class_names(folder, class_names(parts["train"].features["label"]), events)
        result = MixResult(
            {part: counts[part] for part in parts},
            {part: sorted(set(rows["recording"][:])) for part, rows in parts.items()},
            {part: len(rows) - sum(clip.split == part for clip in left_out) for part, rows in parts.items()},
            left_out,
        )
        content: dict[str, Any] = {
            "dataset": name,
            "clips": counts,
            "seconds": seconds,
            "max_sources": max_sources,
            "level_range": level_range,
            "sampling_rate": sampling_rate,
            "labels": "events" if events else "clip",
            "test_size": test_size,
            "seed": seed,
            "recordings": result.recordings,
            "left_out": [clip._asdict() for clip in left_out],
        }
        write_json(folder / "mixtures.json", content)
    report_bad_clips(left_out)
    return result


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
    Write clips that mix recordings at random times over soft noise, and their `metadata.csv`.

    The event of a recording lasts from its first to its last frame of 10 ms with a level of at most 40 dB below the
    highest one. If a recording is longer than a clip, its beginning is used. Each recording is used once before any is
    used again. The names of the clips contain the name of `folder`, so `load_clips` treats the clips of two folders as
    different recordings.

    Args:
        recordings: columns `audio` and `label`, with one class for each clip, as `load_clips` returns them.
        folder: where to write; `load_clips` reads it.
        num_clips: number of clips.
        seconds: length of a clip.
        max_sources: largest number of recordings in a clip; the smallest is 1.
        level_range: largest difference between the levels (root mean square) of the recordings in a clip, in dB.
        sampling_rate: rate of the clips in Hz.
        events: write a row with `file_name`, `onset`, `offset` (seconds) and `label` for each recording in a clip;
            otherwise a row with `file_name` and `label` for each clip, with semicolons between its classes.
        seed: seed of everything random.

    Returns:
        The recordings that cannot be read or are silent: nowhere above -60 dB of full scale.

    Raises:
        ValueError: an argument is out of its range, the recordings have several classes each, the name of a class
            has a semicolon and `events` is not set, or no recording can be used.
    """
    _check_mixtures(recordings, num_clips, seconds, max_sources, level_range, sampling_rate, events)
    samples = max(1, round(seconds * sampling_rate))
    sources, bad = _find_sources(recordings, samples, sampling_rate)
    if not sources:
        reason = f" The first: {bad[0].reason}" if bad else ""
        raise ValueError(f"None of the {len(recordings)} recordings can be mixed.{reason}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    drawn = _draw(len(sources), max_sources, rng)
    rows = []
    for number in datasets.utils.tqdm(range(num_clips), desc=f"Mixing {folder.name}", unit="clip"):
        sounds = [_load(recordings, sources[index], sampling_rate) for index in next(drawn)]
        waveform, starts = _mix(sounds, rng, samples, level_range)
        name = f"{number:05d}-{folder.name}.flac"
        try:
            soundfile.write(folder / name, waveform, sampling_rate)
        except soundfile.LibsndfileError as error:
            raise OSError(f"{folder / name} cannot be written: {error} Check that its disk has room.") from error
        rows += _event_rows(name, sounds, starts, sampling_rate) if events else [_clip_row(name, sounds)]
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return bad


def _check_mixtures(
    recordings: datasets.Dataset,
    num_clips: int,
    seconds: float,
    max_sources: int,
    level_range: float,
    sampling_rate: int,
    events: bool,
) -> None:
    """Raises what [`write_mixtures`] raises before it reads a recording."""
    if min(num_clips, max_sources) < 1 or not (0 < seconds < np.inf and 0 <= level_range < np.inf):
        raise ValueError(
            "num_clips and max_sources must be at least 1, seconds above 0 and level_range at least 0, got "
            f"{num_clips}, {max_sources}, {seconds} and {level_range}."
        )
    if not _LOWEST_RATE <= sampling_rate <= _HIGHEST_RATE:
        raise ValueError(f"sampling_rate must be from {_LOWEST_RATE} to {_HIGHEST_RATE} Hz, got {sampling_rate}.")
    if task_of(recordings.features["label"]) != SINGLE_LABEL:
        raise ValueError("Mixtures are made of recordings with one class each. These have several classes, or events.")
    with_semicolon = [name for name in class_names(recordings.features["label"]) if LABEL_SEPARATOR in name]
    if with_semicolon and not events:
        raise ValueError(
            f"Semicolons separate the classes of a clip, so no name may contain one: rename {listed(with_semicolon)}."
        )


def _draw(num_sources: int, most: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """The sources of one clip after another, 1 to `most`. Each is drawn once before any is drawn again."""
    waiting: list[int] = []
    while True:
        number = rng.integers(1, min(most, num_sources) + 1)
        if len(waiting) < number:
            others = np.setdiff1d(range(num_sources), waiting)
            waiting += [*rng.permutation(others).tolist(), *rng.permutation(waiting).tolist()]
        chosen, waiting = waiting[:number], waiting[number:]
        yield chosen


def _event_rows(
    name: str, sounds: Sequence["_Sound"], starts: Sequence[int], sampling_rate: int
) -> list[dict[str, Any]]:
    return [
        {
            "file_name": name,
            "onset": start / sampling_rate,
            "offset": (start + len(sound.waveform)) / sampling_rate,
            "label": sound.label,
        }
        for start, sound in sorted(zip(starts, sounds, strict=True), key=lambda pair: pair[0])
    ]


def _clip_row(name: str, sounds: Sequence["_Sound"]) -> dict[str, Any]:
    return {"file_name": name, "label": LABEL_SEPARATOR.join(sorted({one.label for one in sounds}))}


def _divide(
    splits: Mapping[str, datasets.Dataset], wanted: list[str], test_size: float, seed: int
) -> dict[str, datasets.Dataset]:
    """
    The recordings of each wanted split: those of the dataset, or else cut from its training split.

    Raises:
        ValueError: the dataset does not allow that, or a recording is in two of the splits, by its name or its audio.
    """
    if "train" not in splits:
        raise ValueError(f"The dataset has no split 'train', only {', '.join(splits)}.")
    missing = [part for part in wanted if part not in splits]
    if missing and not 0 < test_size * len(missing) < 1:
        raise ValueError(
            f"`test_size` ({test_size:g} of the recordings for each of {' and '.join(missing)}) must leave some to "
            "train on."
        )
    kept = {part: splits[part] for part in wanted if part in splits}
    parts = cut_from_train(kept, dict.fromkeys(missing, test_size), seed)
    split_of: dict[str, str] = {}
    for part, rows in parts.items():
        both = [recording for recording in set(rows["recording"][:]) if split_of.setdefault(recording, part) != part]
        if both:
            raise ValueError(
                f"Recordings are in {part} and in another split: {listed(both)}. Move each to one of them. If these "
                "are different recordings with the same name, pass `group_column`."
            )
    # The names of files say nothing about recordings in two splits of the dataset
    if len(kept) > 1:
        leaks = find_leaks(datasets.DatasetDict(kept)).leaks
        if leaks:
            raise ValueError(
                f"{len(leaks)} recordings are in two of {listed(kept)}, for instance {leaks[0].first} and "
                f"{leaks[0].second}, which hold the same audio. Remove one of each."
            )
    return parts


def _check_class_names(folder: Path, names: list[str], events: bool) -> None:
    """Raises `ValueError` if `load_clips` reads other names of classes from the folder."""
    written = load_clips(str(folder), label_separator=None if events else LABEL_SEPARATOR)["train"]
    strange = set(class_names(written.features["label"])) - set(names)
    if strange:
        raise ValueError(
            f"The classes {listed(names)} would be read from metadata.csv as {listed(strange)}; rename them."
        )


class _Source(NamedTuple):
    """The audible part of a recording, in samples at the rate of the clips, with its level and class."""

    row: int
    start: int
    stop: int
    level: float
    label: str


class _Sound(NamedTuple):
    """A waveform `(samples,)` with the level 1, and its class."""

    waveform: np.ndarray
    label: str


def _find_sources(
    recordings: datasets.Dataset, samples: int, sampling_rate: int
) -> tuple[list[_Source], list[BadClip]]:
    names = class_names(recordings.features["label"])
    frame = round(_FRAME_SECONDS * sampling_rate)
    sources, bad = [], []
    for row, clip in enumerate(datasets.utils.tqdm(recordings, desc="Reading", unit="recording")):
        file = audio_file(clip["audio"])
        try:
            start, stop = _audible_part(stream_audio(file, sampling_rate), frame)
            if start == stop:
                bad.append(BadClip(clip_name(clip["audio"], row), "It is silent: nowhere above -60 dB. Leave it out."))
                continue
            waveform = _read(file, start, min(stop, start + samples), sampling_rate)
        except AudioFileError as error:
            bad.append(BadClip(clip_name(clip["audio"], row), str(error)))
            continue
        # A recording with pauses can be silent at the end of a clip
        waveform = waveform[: _audible_part([waveform], frame)[1]]
        level = float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
        sources.append(_Source(row, start, start + len(waveform), level, names[clip["label"]]))
    return sources, bad


def _audible_part(blocks: Iterable[np.ndarray], frame: int) -> tuple[int, int]:
    """The first and the last audible sample of a waveform in blocks `(samples,)`, from the levels of its frames."""
    rest, levels, samples = np.empty(0, dtype=np.float32), [], 0
    for block in blocks:
        rest, samples = np.concatenate([rest, block]), samples + len(block)
        whole = len(rest) // frame * frame
        levels.append(_levels(rest[:whole], frame))
        rest = rest[whole:]
    all_levels = np.concatenate([*levels, _levels(np.pad(rest, (0, -len(rest) % frame)), frame)])
    heard = np.flatnonzero(all_levels > max(_SILENCE, _AUDIBLE * all_levels.max(initial=0.0)))
    return (int(heard[0]) * frame, min(samples, (int(heard[-1]) + 1) * frame)) if len(heard) else (0, 0)


def _levels(waveform: np.ndarray, frame: int) -> np.ndarray:
    return np.sqrt(np.mean(np.square(waveform.reshape(-1, frame), dtype=np.float64), axis=1))


def _load(recordings: datasets.Dataset, source: _Source, sampling_rate: int) -> _Sound:
    # Read again, because the recordings of a large dataset do not fit into memory
    file = audio_file(recordings[source.row]["audio"])
    return _Sound(_read(file, source.start, source.stop, sampling_rate) / source.level, source.label)


def _read(file: AudioFile, start: int, stop: int, sampling_rate: int) -> np.ndarray:
    return load_audio(file, sampling_rate, offset=start / sampling_rate, duration=(stop - start) / sampling_rate)


def _mix(
    sounds: list[_Sound], rng: np.random.Generator, samples: int, level_range: float
) -> tuple[np.ndarray, list[int]]:
    """A clip `(samples,)`, and the first sample of each sound in it."""
    mixture = _NOISE_LEVEL * rng.standard_normal(samples)
    starts = []
    for sound in sounds:
        gain = 10 ** (rng.uniform(-level_range, 0) / 20)
        start = int(rng.integers(samples - len(sound.waveform) + 1))
        mixture[start : start + len(sound.waveform)] += gain * sound.waveform
        starts.append(start)
    return _PEAK * mixture / np.abs(mixture).max(), starts
