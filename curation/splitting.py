# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Divides a dataset into splits or folds by recording, and writes the division."""

import contextlib
import csv
import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import datasets
import pyarrow as pa
import pyarrow.compute

from ..data.folders import new_folder
from ..data.labels import class_names, classes_of_clips
from ..data.readable import clip_files, clip_names, report_bad_clips
from ..data.splits import cut_from_train, folds_by_recording, groups_of_clips, unit_of
from .leaks import LeakReport, as_leaks
from .overlaps import find_overlaps, infer_recordings


@dataclass(frozen=True)
class SplitSettings:
    """
    How to divide a dataset: into the splits train, validation and test, or into folds.

    Args:
        test_size: share of the clips for the test split.
        validation_size: share of the clips for the validation split; 0 for none.
        num_folds: number of folds to make instead of splits.
        own_folds: keep the folds of the column `fold` instead.
        seed: seed of the random order of recordings.

    Raises:
        ValueError: the settings contradict each other, or the shares leave nothing to train on.
    """

    test_size: float = 0.1
    validation_size: float = 0.0
    num_folds: int | None = None
    own_folds: bool = False
    seed: int = 42

    def __post_init__(self):
        if self.num_folds is not None and self.own_folds:
            raise ValueError(
                "Either make new folds (`folds`) or keep those of a column (`fold_column`); pass one of them."
            )
        if self.kind == "fold" and self.validation_size:
            raise ValueError("Folds have no validation split. Leave out `validation_size`.")
        shares = self.test_size, self.validation_size
        if not (min(shares) >= 0 and 0 < sum(shares) < 1):
            raise ValueError(f"`test_size` and `validation_size` must be shares that leave some clips, got {shares}.")

    @property
    def kind(self) -> Literal["split", "fold"]:
        return "split" if self.num_folds is None and not self.own_folds else "fold"


@dataclass(frozen=True)
class PartSize:
    """The number of clips of a split or fold, and of the recordings that they come from."""

    clips: int
    recordings: int


@dataclass(frozen=True)
class SplitResult:
    """
    What [`split_dataset`] wrote.

    Attributes:
        kind: whether the parts are splits or folds.
        parts: the size of each split or fold.
        crossing: the recordings that are in several parts, sorted; or the groups, if the clips have groups.
        leaks: pairs of clips with the same audio in different parts, and the clips that cannot be read.
        unit: what the parts keep together.
    """

    kind: Literal["split", "fold"]
    parts: dict[str, PartSize]
    crossing: list[str]
    leaks: LeakReport
    unit: Literal["group", "recording"] = "recording"

    @property
    def has_leak(self) -> bool:
        return bool(self.crossing or self.leaks.leaks)


def split_dataset(
    clips: datasets.DatasetDict,
    output: str | os.PathLike,
    settings: SplitSettings | None = None,
    *,
    infer_groups: bool = False,
    overwrite: bool = False,
    num_workers: int = 0,
    cache: str | os.PathLike | None = None,
) -> SplitResult:
    """
    Divide a dataset by recording, search the parts for common audio, and write the division, with progress bars.

    The output is a folder of `save_to_disk`, which `load_clips` reads, and in it `splits.csv` with the name, the split
    or fold, the classes and the recording of each clip. Audio files are linked into it, which takes no space, or
    copied if that is not possible. Audio that is stored in the dataset itself is written along. Clips that cannot be
    read are logged and kept.

    Args:
        clips: what `load_clips` returns. Its own splits are kept; `test` and `validation` are only cut from `train`
            where they are missing.
        output: the folder to write.
        settings: the splits or folds to make.
        infer_groups: find out the recordings from the audio, as [`infer_recordings`] does.
        overwrite: replace a dataset that is in `output`.
        num_workers, cache: arguments of [`find_overlaps`].

    Raises:
        ValueError: the dataset cannot be divided like that, no clip can be read, or `output` must not be replaced.
    """
    settings = settings or SplitSettings()
    split_of = [split for split, rows in clips.items() for _ in range(len(rows))]
    rows = datasets.concatenate_datasets([_with_plain_audio(part) for part in clips.values()])
    inferred = None
    if infer_groups:
        inferred = infer_recordings(rows, num_workers=num_workers, cache=cache)
        rows = inferred.clips
    part_of = divide(rows, split_of, settings)
    parts = sorted(set(part_of)) if settings.kind == "fold" else list(dict.fromkeys(part_of))
    if inferred is not None:
        overlaps, unreadable = inferred.overlaps, inferred.unreadable
    else:
        sides = [parts.index(part) for part in part_of]
        overlaps, unreadable = find_overlaps(rows, sides=sides, num_workers=num_workers, cache=cache)
    report_bad_clips(unreadable)
    names = clip_names(rows)
    across = [pair for pair in overlaps if part_of[pair.first] != part_of[pair.second]]
    leaks = LeakReport(as_leaks(across, names, part_of), len(rows) - len(unreadable), unreadable)

    rows_of = {part: [row for row, own in enumerate(part_of) if own == part] for part in parts}
    with new_folder(output, overwrite=overwrite) as folder:
        linked = _with_linked_audio(rows, folder, Path(output).absolute())
        _as_divided(linked, part_of, rows_of, settings.kind).save_to_disk(folder)
        _write_table(folder / "splits.csv", settings.kind, names, part_of, rows)

    recordings = rows["recording"][:]
    parts_of_group = defaultdict(set)
    for group, part in zip(groups_of_clips(rows), part_of, strict=True):
        parts_of_group[group].add(part)
    return SplitResult(
        settings.kind,
        {part: PartSize(len(own), len({recordings[row] for row in own})) for part, own in rows_of.items()},
        sorted(group for group, own in parts_of_group.items() if len(own) > 1),
        leaks,
        unit_of(rows),
    )


def divide(clips: datasets.Dataset, split_of: Sequence[str], settings: SplitSettings) -> list[str]:
    """
    Choose the split or the fold of each clip.

    Args:
        clips: columns `label`, `recording` or `group`, and `fold` for `own_folds`.
        split_of: the present split of each clip.
        settings: the splits or folds to make.

    Returns:
        The name of the split or fold of each clip.

    Raises:
        ValueError: the dataset cannot be divided like that.
    """
    own = list(dict.fromkeys(split_of))
    part_of = [""] * len(clips)
    if settings.kind == "fold":
        if len(own) > 1:
            raise ValueError(f"The dataset has splits ({', '.join(own)}), so it cannot have folds too.")
        if settings.num_folds is None:
            if "fold" not in clips.column_names:
                raise ValueError("The dataset has no column `fold` with folds to keep. Name it as `fold_column`.")
            return clips["fold"][:]
        folds = folds_by_recording(classes_of_clips(clips), groups_of_clips(clips), settings.num_folds, settings.seed)
        for number, fold in enumerate(folds, 1):
            for row in fold:
                part_of[row] = str(number)
        return part_of

    if settings.validation_size and "validation" in own:
        raise ValueError("The dataset has a validation split already. Leave out `validation_size`.")
    rows = clips.select_columns(["label", unit_of(clips)]).add_column("row", list(range(len(clips))))
    splits = {"train": rows}
    if len(own) > 1:
        splits = {name: rows.select([row for row, split in enumerate(split_of) if split == name]) for name in own}
    shares = {"test": settings.test_size, "validation": settings.validation_size}
    for part, members in cut_from_train(splits, shares, settings.seed).items():
        for row in members["row"][:]:
            part_of[row] = part
    return part_of


def _as_divided(
    clips: datasets.Dataset, part_of: Sequence[str], rows_of: dict[str, list[int]], kind: str
) -> datasets.DatasetDict:
    """The clips as splits, or as the split `train` with a column `fold`."""
    if kind == "split":
        return datasets.DatasetDict({part: clips.select(rows) for part, rows in rows_of.items()})
    others = [column for column in clips.column_names if column != "fold"]
    folds = clips.select_columns(others).add_column("fold", list(part_of), feature=datasets.Value("string"))
    return datasets.DatasetDict(train=folds)


def _write_table(path: Path, kind: str, names: Sequence[str], part_of: Sequence[str], clips: datasets.Dataset) -> None:
    """Write the name, the split or fold, the classes (with `;`), the recording and any group of each clip as CSV."""
    classes = class_names(clips.features["label"])
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        units = ["recording", "group"] if unit_of(clips) == "group" else ["recording"]
        writer.writerow(["clip", kind, "label", *units])
        belongs_to = zip(*(clips[unit][:] for unit in units), strict=True)
        for name, part, indices, own in zip(names, part_of, classes_of_clips(clips), belongs_to, strict=True):
            writer.writerow([name, part, ";".join(classes[index] for index in indices), *own])


def _with_plain_audio(rows: datasets.Dataset) -> datasets.Dataset:
    """
    The rows with their audio as plain bytes and absolute paths.

    `save_to_disk` copies the files of a column with the feature `Audio` into the dataset.
    """
    features = datasets.Features(
        {**rows.features, "audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}}
    )
    files = [file and (os.path.abspath(file) if "://" not in file else file) for file in clip_files(rows)]
    return _with_files(rows, files, features)


def _with_linked_audio(rows: datasets.Dataset, folder: Path, output: Path) -> datasets.Dataset:
    """
    Link the audio files of clips into the new dataset, because a dataset is only read from its own folder.

    Where the file system has no hard links, or the files are on another one, they are copied. A path
    that is not a file, or cannot be copied, stays in the dataset as a clip that cannot be read.

    Args:
        rows: what `_with_plain_audio` returns.
        folder: the folder of the new dataset while it is written.
        output: its folder afterwards.
    """
    files = clip_files(rows)
    folders = {os.path.dirname(file) for file in files if file}
    root = os.path.commonpath(folders) if folders else ""
    place_of = {file: os.path.join("audio", os.path.relpath(file, root)) for file in files if file}
    for file, place in place_of.items():
        source, target = os.path.realpath(file), folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.isfile(source):
            try:
                os.link(source, target)
            except OSError:
                with contextlib.suppress(PermissionError):
                    shutil.copyfile(source, target)
    return _with_files(rows, [file and str(output / place_of[file]) for file in files], rows.features)


def _with_files(rows: datasets.Dataset, files: Sequence[str | None], features: datasets.Features) -> datasets.Dataset:
    """The rows with other paths of the files in the column `audio`, where a file has the audio."""
    table = rows.with_format("arrow")[:]
    chunks, start = [], 0
    for chunk in table["audio"].chunks:  # in one piece, the audio could be too much for an array
        own = pa.array(files[start : start + len(chunk)], pa.string())
        paths = pa.compute.coalesce(own, chunk.field("path"))
        chunks.append(pa.StructArray.from_arrays([chunk.field("bytes"), paths], ["bytes", "path"]))
        start += len(chunk)
    column = pa.chunked_array(chunks, features.arrow_schema.field("audio").type)
    table = table.set_column(table.column_names.index("audio"), "audio", column)
    return datasets.Dataset(table.replace_schema_metadata(features.arrow_schema.metadata))
