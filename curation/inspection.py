# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Inspects a dataset: durations, formats, classes, and clips that are silent, clipped, duplicate or unreadable."""

import hashlib
import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import soundfile

from ..data.audio import AudioFile, AudioFileError, audio_info, stream_audio
from ..data.folders import write_json
from ..data.labels import FRAMES, SINGLE_LABEL, class_names, classes_of_clips, listed, task_of
from ..data.readable import BadClip, audio_file, clip_names, report_bad_clips
from .chunks import power_dbfs
from .inspection_plots import plot_classes, plot_durations, plot_examples


# A clip with a lower level than this is silent, in dB of full scale
SILENCE_DBFS = -60.0

# Loud masters have single samples at full scale. Three in a row are a sign of clipping.
_FULL_SCALE = 0.9999


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


def inspect_clips(clips: datasets.DatasetDict) -> Inspection:
    """
    Decode every clip of a dataset once and measure it, with a progress bar. Clips that cannot be read are logged.

    Args:
        clips: what `load_clips` returns.

    Raises:
        ValueError: no clip can be read.
    """
    label = next(iter(clips.values())).features["label"]
    names_of_classes, task = class_names(label), task_of(label)
    rows: list[_Row] = []
    measured: list[ClipFacts] = []
    unreadable: list[BadClip] = []
    for split, part in clips.items():
        columns = clip_names(part), part["recording"][:], classes_of_clips(part), part["label"][:]
        for name, recording, classes, value, facts in zip(*columns, _measure_all(part, split), strict=True):
            if isinstance(facts, AudioFileError):
                unreadable.append(BadClip(name, str(facts), split if len(clips) > 1 else None))
            else:
                rows.append(_Row(split, name, recording, classes, value))
                measured.append(facts)
    if not measured:
        raise ValueError(f"None of the {len(unreadable)} clips can be read. The first: {unreadable[0].reason}")
    report_bad_clips(unreadable)

    splits: dict[str, _Part] = defaultdict(_Part)
    classes_found = {name: _Part() for name in names_of_classes}
    copies: dict[bytes, list[_Row]] = defaultdict(list)
    for row, facts in zip(rows, measured, strict=True):
        splits[row.split].add(row.recording, facts.seconds)
        for index in row.classes:
            seconds = facts.seconds
            if task == FRAMES:
                seconds = sum(event["offset"] - event["onset"] for event in row.label if event["label"] == index)
            classes_found[names_of_classes[index]].add(row.recording, seconds)
        copies[facts.digest].append(row)
    numbers = [len(row.classes) for row in rows]
    return Inspection(
        task=task,
        durations=[facts.seconds for facts in measured],
        recordings=len({row.recording for row in rows}),
        sampling_rates=_counts(str(facts.sampling_rate) for facts in measured),
        channels=_counts(str(facts.channels) for facts in measured),
        formats=_counts(facts.format for facts in measured),
        splits={split: part.summary() for split, part in splits.items()},
        classes={name: part.summary() for name, part in classes_found.items()},
        silent=[row.name for row, facts in zip(rows, measured, strict=True) if facts.is_silent],
        clipped=[row.name for row, facts in zip(rows, measured, strict=True) if facts.is_clipped],
        duplicates=[
            Duplicates(
                [row.name for row in group],
                [row.split for row in group],
                [[names_of_classes[index] for index in row.classes] for row in group],
            )
            for group in copies.values()
            if len(group) > 1
        ],
        unreadable=unreadable,
        classes_per_clip=None
        if task == SINGLE_LABEL
        else ClassesPerClip(float(np.mean(numbers)), max(numbers), numbers.count(0)),
    )


def measure_clip(file: AudioFile) -> ClipFacts:
    """Decode a clip to mono, block by block, and measure it. Raises the errors of `stream_audio`."""
    info = audio_info(file)
    rate = info.sampling_rate
    digest = hashlib.blake2b(digest_size=16, salt=rate.to_bytes(8, "little"))
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
    split: str
    name: str
    recording: str
    classes: list[int]
    label: Any


class _Part:
    """Counts the clips, recordings and seconds of a split or a class."""

    def __init__(self) -> None:
        self.clips, self.seconds = 0, 0.0
        self.recordings: set[str] = set()

    def add(self, recording: str, seconds: float) -> None:
        self.clips += 1
        self.recordings.add(recording)
        self.seconds += seconds

    def summary(self) -> PartSummary:
        return PartSummary(self.clips, len(self.recordings), self.seconds / 3600)


def _measure_all(clips: datasets.Dataset, split: str) -> Iterator[ClipFacts | AudioFileError]:
    clips = clips.select_columns("audio")

    def measure(row: int) -> ClipFacts | AudioFileError:
        try:
            return measure_clip(audio_file(clips[row]["audio"]))
        except AudioFileError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from datasets.utils.tqdm(
            pool.map(measure, range(len(clips))), total=len(clips), desc=f"Measuring {split}", unit="clip"
        )


def _format(file: AudioFile) -> str:
    try:
        info = soundfile.info(io.BytesIO(file) if isinstance(file, bytes) else file)
    except soundfile.LibsndfileError:
        return "other"
    return f"{info.format} {info.subtype}"


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _format_names(names: Sequence[str]) -> str:
    return f"{len(names)}" + (f": {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" if names else "")
