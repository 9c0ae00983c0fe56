# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Inspects a dataset: durations, formats, classes, and clips that are silent, clipped, duplicate or unreadable."""

import hashlib
import io
import itertools
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import pyarrow as pa
import soundfile

from ..data.audio import AudioFile, AudioFileError, audio_info, stream_audio
from ..data.folders import write_json
from ..data.labels import FRAMES, SINGLE_LABEL, class_names, classes_of_clips, task_of
from ..data.readable import BadClip, audio_file, clip_name, clip_paths, report_bad_clips
from ..data.text import listed
from .chunks import power_dbfs
from .inspection_plots import plot_classes, plot_durations, plot_examples
from .workers import call_for_all


# A clip with a lower level than this is silent, in dB of full scale
SILENCE_DBFS = -60.0

# Loud masters have single samples at full scale. Three in a row are a sign of clipping.
_FULL_SCALE = 0.9999

_DIGEST_BYTES = 16

# Clips whose labels are in memory at a time
_ROWS = 1000


class ClipFacts(NamedTuple):
    """Measurements of a clip. Clips with the same samples at the same sampling rate have the same `digest`."""

    seconds: float
    sampling_rate: int
    channels: int
    format: str
    is_silent: bool
    is_clipped: bool
    digest: bytes


@dataclass(frozen=True)
class PartSummary:
    """The clips, the recordings and the hours of a split or a class. For events, the hours are those of the events."""

    clips: int
    recordings: int
    hours: float


@dataclass(frozen=True)
class ClassesPerClip:
    """How many classes a clip has: the mean, the highest number, and the number of clips without any."""

    mean: float
    max: int
    clips_without: int


@dataclass(frozen=True)
class Duplicates:
    """Clips with exactly the same samples: the name, the split and the classes of each."""

    names: list[str]
    splits: list[str]
    classes: list[list[str]]


@dataclass(frozen=True)
class Inspection:
    """
    What [`inspect_clips`] measured. Clips that cannot be read count only in `unreadable`.

    Attributes:
        task: the task that the labels are for: `single_label_classification`, `multi_label_classification` or
            `frame_classification`.
        durations: length of each clip in seconds.
        recordings: number of recordings.
        sampling_rates, channels, formats: number of clips of each, the most frequent first.
        splits, classes: the size of each split and of each class.
        silent, clipped: names of the clips that are silent, and of those with three samples in a row at full scale.
        duplicates: groups of clips with the same samples.
        unreadable: the clips that cannot be read.
        classes_per_clip: `None` for `single_label_classification`.
    """

    task: str
    durations: list[float]
    recordings: int
    sampling_rates: dict[str, int]
    channels: dict[str, int]
    formats: dict[str, int]
    splits: dict[str, PartSummary]
    classes: dict[str, PartSummary]
    silent: list[str]
    clipped: list[str]
    duplicates: list[Duplicates]
    unreadable: list[BadClip]
    classes_per_clip: ClassesPerClip | None

    @property
    def clips(self) -> int:
        """Number of readable clips."""
        return len(self.durations)

    @property
    def hours(self) -> float:
        return sum(self.durations) / 3600

    @property
    def seconds(self) -> dict[str, float]:
        """The `min`, `median`, `mean` and `max` of the durations."""
        return {name: float(getattr(np, name)(self.durations)) for name in ("min", "median", "mean", "max")}

    @property
    def imbalance(self) -> float | None:
        """The size of the largest class divided by that of the smallest. Classes without clips do not count."""
        sizes = [part.clips for part in self.classes.values() if part.clips]
        return max(sizes) / min(sizes) if sizes else None

    @property
    def empty_classes(self) -> list[str]:
        return [name for name, part in self.classes.items() if part.clips == 0]

    def to_dict(self) -> dict[str, Any]:
        """The inspection for JSON, without the list of durations."""
        content = {
            "task": self.task,
            "clips": self.clips,
            "recordings": self.recordings,
            "hours": self.hours,
            "seconds": self.seconds,
            "sampling_rates": self.sampling_rates,
            "channels": self.channels,
            "formats": self.formats,
            "splits": {name: asdict(part) for name, part in self.splits.items()},
            "classes": {name: asdict(part) for name, part in self.classes.items()},
            "imbalance": self.imbalance,
            "empty_classes": self.empty_classes,
            "silent": self.silent,
            "clipped": self.clipped,
            "duplicates": [asdict(group) for group in self.duplicates],
            "unreadable": [clip._asdict() for clip in self.unreadable],
        }
        if self.classes_per_clip is not None:
            content["classes_per_clip"] = asdict(self.classes_per_clip)
        return content


def inspect_clips(clips: datasets.DatasetDict, *, num_workers: int = 0) -> Inspection:
    """
    Decode every clip of a dataset once and measure it, with a progress bar. Clips that cannot be read are logged.

    Args:
        clips: what `load_clips` returns.
        num_workers: number of processes that decode clips; 0 for threads of this process, one for each core.

    Raises:
        ValueError: no clip can be read.
    """
    label = next(iter(clips.values())).features["label"]
    names_of_classes, task = class_names(label), task_of(label)
    collected = _Collected()
    for split, part in clips.items():
        for row, facts in zip(_labelled_rows(part), _measure_all(part, split, num_workers), strict=True):
            if isinstance(facts, BadClip):
                collected.unreadable.append(facts if len(clips) > 1 else facts._replace(split=None))
                collected.rows += 1
            else:
                collected.add(facts, row, task)
    unreadable = collected.unreadable
    if not collected.seconds:
        raise ValueError(f"None of the {len(unreadable)} clips can be read. The first: {unreadable[0].reason}")
    report_bad_clips(unreadable)

    seconds, readable = np.array(collected.seconds), np.array(collected.readable)
    recordings = _numbers_of_recordings(clips)[readable]
    split_of_row = np.repeat(np.arange(len(clips)), [len(part) for part in clips.values()])
    splits = _part_summaries(split_of_row[readable], recordings, seconds, len(clips))
    clip_of_class = np.array(collected.clip_of_class)
    classes = _part_summaries(
        np.array(collected.classes),
        recordings[clip_of_class],
        np.array(collected.seconds_of_class),
        len(names_of_classes),
    )
    numbers = np.bincount(clip_of_class, minlength=len(seconds))
    copies = _groups_of_copies(collected.digests, readable)
    described = _described_rows(clips, {*collected.silent, *collected.clipped, *itertools.chain(*copies)})
    return Inspection(
        task=task,
        durations=seconds.tolist(),
        recordings=len(np.unique(recordings)),
        sampling_rates=dict(collected.sampling_rates.most_common()),
        channels=dict(collected.channels.most_common()),
        formats=dict(collected.formats.most_common()),
        splits={split: part for split, part in zip(clips, splits, strict=True) if part.clips},
        classes=dict(zip(names_of_classes, classes, strict=True)),
        silent=[described[row].name for row in collected.silent],
        clipped=[described[row].name for row in collected.clipped],
        duplicates=[
            Duplicates(
                [described[row].name for row in group],
                [described[row].split for row in group],
                [[names_of_classes[index] for index in described[row].classes] for row in group],
            )
            for group in copies
        ],
        unreadable=unreadable,
        classes_per_clip=None
        if task == SINGLE_LABEL
        else ClassesPerClip(float(np.mean(numbers)), int(numbers.max()), int(np.sum(numbers == 0))),
    )


def measure_clip(file: AudioFile) -> ClipFacts:
    """Decode a clip to mono, block by block, and measure it. Raises the errors of `stream_audio`."""
    info = audio_info(file)
    rate = info.sampling_rate
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES, salt=rate.to_bytes(8, "little"))
    samples, energy, is_clipped = 0, 0.0, False
    before = np.zeros(2, dtype=bool)  # whether the last two samples are at full scale
    for block in stream_audio(file, rate):
        digest.update(np.ascontiguousarray(block).data)
        samples += len(block)
        energy += float(np.sum(np.square(block, dtype=np.float64)))
        is_full = np.concatenate([before, np.abs(block) >= _FULL_SCALE])
        is_clipped = is_clipped or bool((is_full[2:] & is_full[1:-1] & is_full[:-2]).any())
        before = is_full[-2:]
    is_silent = power_dbfs(energy / samples) < SILENCE_DBFS
    return ClipFacts(samples / rate, rate, info.channels, _format(file), is_silent, is_clipped, digest.digest())


def format_inspection(inspection: Inspection) -> str:
    """The inspection as text for a terminal."""
    seconds = inspection.seconds
    lines = [
        f"{inspection.clips} clips of {inspection.recordings} recordings, {inspection.hours:.3f} hours, "
        f"{inspection.task}",
        f"seconds        {seconds['min']:.2f} to {seconds['max']:.2f}, median {seconds['median']:.2f}, "
        f"mean {seconds['mean']:.2f}",
    ]
    for title, counts in (
        ("sampling rates", inspection.sampling_rates),
        ("channels", inspection.channels),
        ("formats", inspection.formats),
    ):
        lines.append(f"{title:<14} {', '.join(f'{value} ({number})' for value, number in counts.items())}")
    numbers = inspection.classes_per_clip
    if numbers is not None:
        lines.append(
            f"classes a clip {numbers.mean:.2f} on average, {numbers.max} at most; {numbers.clips_without} clips have "
            "none"
        )
    lines.append(f"silent         {_format_names(inspection.silent)}")
    lines.append(f"clipped        {_format_names(inspection.clipped)}")
    groups = inspection.duplicates
    extra = sum(len(group.names) - 1 for group in groups)
    across = sum(len(set(group.splits)) > 1 for group in groups)
    differing = sum(len(set(map(tuple, group.classes))) > 1 for group in groups)
    lines.append(
        f"duplicates     {extra} clips repeat another exactly; of {len(groups)} groups of copies, {across} are in "
        f"several splits and {differing} have several labels"
    )
    lines.append(f"unreadable     {_format_names([clip.name for clip in inspection.unreadable])}")
    for title, parts in (("split", inspection.splits), ("class", inspection.classes)):
        width = max(len(title), *map(len, parts))
        lines += ["", f"{title:{width}}  {'clips':>8}  {'recordings':>10}  {'hours':>8}"]
        for name, part in parts.items():
            lines.append(f"{name:{width}}  {part.clips:>8}  {part.recordings:>10}  {part.hours:>8.3f}")
    if inspection.imbalance is not None:
        lines += ["", f"The largest class has {inspection.imbalance:.3g} times as many clips as the smallest."]
    if inspection.empty_classes:
        lines.append(f"No clip has the classes {listed(inspection.empty_classes)}.")
    return "\n".join(lines)


def write_inspection(
    inspection: Inspection,
    clips: datasets.DatasetDict,
    folder: str | os.PathLike,
    *,
    name: str | None = None,
    examples: int = 3,
) -> None:
    """
    Write an inspection to a folder, which is created if it does not exist.

    `inspect.json` has all results. `durations.png`, `classes.png` and `examples.png` are plots of them.

    Args:
        inspection: what [`inspect_clips`] returned for `clips`.
        clips: what `load_clips` returned.
        folder: where to write.
        name: name of the dataset, for `inspect.json`.
        examples: number of clips of each class in `examples.png`, from 0 to 20; 0 for no such file.

    Raises:
        ValueError: `examples` is out of its range.
    """
    check_examples(examples)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "inspect.json", {**({"dataset": name} if name else {}), **inspection.to_dict()})
    plot_durations(inspection.durations, folder / "durations.png")
    plot_classes({name: part.clips for name, part in inspection.classes.items()}, folder / "classes.png")
    if examples > 0:
        plot_examples(clips, folder / "examples.png", examples)


def check_examples(examples: int) -> None:
    """Raises `ValueError` for a number of examples that [`write_inspection`] cannot draw."""
    if not 0 <= examples <= 20:
        raise ValueError(f"examples must lie between 0 and 20, got {examples}.")


class _Row(NamedTuple):
    classes: list[int]
    label: Any


class _Described(NamedTuple):
    """What a report says of a clip."""

    name: str
    split: str
    classes: list[int]


@dataclass
class _Collected:
    """
    The measurements of a collection, as few bytes for each clip.

    Attributes:
        rows: number of clips, which are counted over all splits.
        readable, seconds, digests: of the readable clips the rows, the lengths, and the digests one after the other.
        classes, clip_of_class, seconds_of_class: for each class of a clip its index, that of the clip among the
            readable ones, and the seconds that count for it.
        silent, clipped: rows of such clips.
    """

    rows: int = 0
    readable: array = field(default_factory=lambda: array("q"))
    seconds: array = field(default_factory=lambda: array("d"))
    digests: bytearray = field(default_factory=bytearray)
    classes: array = field(default_factory=lambda: array("q"))
    clip_of_class: array = field(default_factory=lambda: array("q"))
    seconds_of_class: array = field(default_factory=lambda: array("d"))
    silent: list[int] = field(default_factory=list)
    clipped: list[int] = field(default_factory=list)
    sampling_rates: Counter[str] = field(default_factory=Counter)
    channels: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    unreadable: list[BadClip] = field(default_factory=list)

    def add(self, facts: ClipFacts, row: _Row, task: str) -> None:
        for index in row.classes:
            seconds = facts.seconds
            if task == FRAMES:
                seconds = sum(event["offset"] - event["onset"] for event in row.label if event["label"] == index)
            self.classes.append(index)
            self.clip_of_class.append(len(self.seconds))
            self.seconds_of_class.append(seconds)
        if facts.is_silent:
            self.silent.append(self.rows)
        if facts.is_clipped:
            self.clipped.append(self.rows)
        self.sampling_rates[str(facts.sampling_rate)] += 1
        self.channels[str(facts.channels)] += 1
        self.formats[facts.format] += 1
        self.readable.append(self.rows)
        self.seconds.append(facts.seconds)
        self.digests += facts.digest
        self.rows += 1


def _labelled_rows(clips: datasets.Dataset) -> Iterator[_Row]:
    for start in range(0, len(clips), _ROWS):
        rows = clips.select(range(start, min(start + _ROWS, len(clips))))
        yield from map(_Row, classes_of_clips(rows), rows["label"][:])


def _measure_all(clips: datasets.Dataset, split: str, num_workers: int) -> Iterator[ClipFacts | BadClip]:
    measure = _Measurement(clips.select_columns("audio"), split)
    return call_for_all(
        measure, range(len(clips)), num_workers=num_workers, description=f"Measuring {split}", unit="clip"
    )


@dataclass(frozen=True)
class _Measurement:
    clips: datasets.Dataset
    split: str

    def __call__(self, row: int) -> ClipFacts | BadClip:
        audio = self.clips[row]["audio"]
        try:
            return measure_clip(audio_file(audio))
        except AudioFileError as error:
            return BadClip(clip_name(audio, row), str(error), self.split)


def _numbers_of_recordings(clips: datasets.DatasetDict) -> np.ndarray:
    """`(clips,)`: a number for the recording of each clip."""
    tables = [part.select_columns("recording").with_format("arrow")[:] for part in clips.values()]
    column = pa.concat_tables(tables)["recording"].dictionary_encode()
    return column.unify_dictionaries().combine_chunks().indices.to_numpy()


def _part_summaries(parts: np.ndarray, recordings: np.ndarray, seconds: np.ndarray, number: int) -> list[PartSummary]:
    """The sizes of the parts of a collection: for each clip the number of its part, its recording and its seconds."""
    most = recordings.max(initial=0) + 1
    num_recordings = np.bincount(np.unique(parts * most + recordings) // most, minlength=number)
    num_clips, hours = np.bincount(parts, minlength=number), np.bincount(parts, seconds, number) / 3600
    return list(map(PartSummary, num_clips.tolist(), num_recordings.tolist(), hours.tolist()))


def _groups_of_copies(digests: bytearray, rows: np.ndarray) -> list[list[int]]:
    """The rows with the same digest, in groups of two and more, sorted."""
    values = np.frombuffer(digests, f"S{_DIGEST_BYTES}")
    order = np.argsort(values, kind="stable")
    starts = np.concatenate([[True], values[order][1:] != values[order][:-1]]).nonzero()[0]
    groups = [rows[order[start:stop]].tolist() for start, stop in _several(starts, len(order))]
    return sorted(groups)


def _several(starts: np.ndarray, stop: int) -> Iterator[tuple[int, int]]:
    """Where runs start and stop that have two elements or more."""
    lengths = np.diff(starts, append=stop)
    is_several = lengths > 1
    yield from zip(starts[is_several].tolist(), (starts + lengths)[is_several].tolist(), strict=True)


def _described_rows(clips: datasets.DatasetDict, rows: Iterable[int]) -> dict[int, _Described]:
    """The name, the split and the classes of some clips by their rows, which are counted over all splits."""
    described, first, rows = {}, 0, sorted(rows)
    for split, part in clips.items():
        own = [row - first for row in rows if first <= row < first + len(part)]
        some = part.select(own)
        names = [path or f"row {row}" for row, path in zip(own, clip_paths(some), strict=True)]
        for row, name, classes in zip(own, names, classes_of_clips(some), strict=True):
            described[first + row] = _Described(name, split, classes)
        first += len(part)
    return described


def _format(file: AudioFile) -> str:
    try:
        info = soundfile.info(io.BytesIO(file) if isinstance(file, bytes) else file)
    except soundfile.LibsndfileError:
        return "other"
    return f"{info.format} {info.subtype}"


def _format_names(names: Sequence[str]) -> str:
    return f"{len(names)}" + (f": {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" if names else "")
