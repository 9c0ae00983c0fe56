# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Finds clips that cannot be read, and names clips in messages."""

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import datasets
import pyarrow as pa
import pyarrow.compute

from .audio import AudioFile, AudioFileError, check_audio
from .given import PITCH, has_audio, read_pitch_track


logger = logging.getLogger(__name__)


class BadClip(NamedTuple):
    """A clip that cannot be read: its file (or row), the reason, and its split if there are several."""

    name: str
    reason: str
    split: str | None = None


def audio_file(audio: Mapping[str, Any] | None) -> AudioFile:
    """Return the argument of `load_audio` for a value of the column `audio`; `AudioFileError` if it has no audio."""
    file = audio and (audio["bytes"] or audio["path"])
    if not file:
        raise AudioFileError("The clip has no audio: neither bytes nor a path. Leave it out.")
    return file


def clip_name(audio: Mapping[str, Any] | None, row: int) -> str:
    """Return the path of a clip, or its row if it has no path."""
    return (audio and audio["path"]) or f"row {row}"


def clip_names(clips: datasets.Dataset) -> list[str]:
    """Return the path of each clip, or its row if it has no path."""
    return [path or f"row {row}" for row, path in enumerate(clip_paths(clips))]


def clip_paths(clips: datasets.Dataset) -> list[str | None]:
    """Return the path of each clip, or `None` if it has no path. No audio is copied."""
    tables = clips.select_columns("audio").with_format("arrow").iter(batch_size=1000)
    return [path for table in tables for path in table["audio"].combine_chunks().field("path").to_pylist()]


def clip_files(clips: datasets.Dataset) -> list[str | None]:
    """Return the path of each clip whose audio is in that file, `None` for clips with their audio in the dataset."""
    files: list[str | None] = []
    for table in clips.select_columns("audio").with_format("arrow").iter(batch_size=1000):
        audio = table["audio"].combine_chunks()
        sizes = pa.compute.binary_length(audio.field("bytes")).to_pylist()
        paths = audio.field("path").to_pylist()
        files += [None if size else path or None for path, size in zip(paths, sizes, strict=True)]
    return files


def drop_unreadable(
    clips: datasets.DatasetDict, *, in_parts: bool = False
) -> tuple[datasets.DatasetDict, list[BadClip]]:
    """
    Decode every clip once and leave out those that cannot be read. Given pitch tracks are read too.

    Args:
        clips: what `load_clips` returns.
        in_parts: whether only parts of the clips will be read, so that they may be of any length.

    Returns:
        The readable clips, and the others with the reasons.

    Raises:
        ValueError: no clip of a split can be read.
    """
    readable, bad = datasets.DatasetDict(), []
    for split, rows in clips.items():
        reasons = _decode_all(rows, split, in_parts)
        bad += [
            BadClip(clip_name(rows[row]["audio"], row), reason, split) for row, reason in enumerate(reasons) if reason
        ]
        good = [row for row, reason in enumerate(reasons) if not reason]
        if reasons and not good:
            raise ValueError(f"None of the {len(reasons)} clips of split {split} can be read. The first: {reasons[0]}")
        readable[split] = rows if len(good) == len(rows) else rows.select(good)
    return readable, bad


def report_bad_clips(bad_clips: Sequence[BadClip]) -> None:
    """Log a warning with the clips that were left out and the reasons."""
    if not bad_clips:
        return
    lines = [f"  {bad.split + ', ' if bad.split else ''}{bad.name}: {bad.reason}" for bad in bad_clips]
    logger.warning("\n".join([f"{len(bad_clips)} clips cannot be read and are left out:", *lines]))


def _decode_all(clips: datasets.Dataset, split: str, in_parts: bool) -> list[str | None]:
    """The reason why each clip cannot be read, or `None` if it can."""
    with_audio, with_pitch = has_audio(clips), PITCH in clips.column_names
    rows = clips.select_columns(["audio", PITCH] if with_pitch else "audio")

    def reason(row: int) -> str | None:
        clip = rows[row]
        if with_audio:
            try:
                check_audio(audio_file(clip["audio"]), in_parts=in_parts)
            except AudioFileError as error:
                return str(error)
        if with_pitch:
            try:
                read_pitch_track(clip[PITCH])
            except ValueError as error:
                return str(error)
        return None

    # Threads are enough, because soundfile releases the interpreter lock while it decodes
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(
            datasets.utils.tqdm(
                pool.map(reason, range(len(rows))), total=len(rows), desc=f"Checking {split}", unit="clip"
            )
        )
