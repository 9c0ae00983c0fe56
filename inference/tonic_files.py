# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The tonics of collections of any size, one by one or in one file."""

import csv
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.audio import AudioFileError
from ..data.folders import write_whole
from ..data.recordings import Recording, Recordings, share_of
from .files import local_files
from .groups import read_groups
from .progress import progress_bar
from .tonic import Tonic, estimate_tonic


TONIC_FORMATS = (".csv", ".jsonl")
_GROUP = 8  # recordings in memory


@dataclass(frozen=True)
class RecordingTonics:
    """
    The tonic of a recording of a collection.

    Attributes:
        file: the path of a file as it was given, or the name of the recording.
        tonics: the candidates, the most probable first.
        error: why it has none, or `None`.
    """

    file: str
    tonics: list[Tonic]
    error: str | None = None


def recording_tonics(
    recordings: Recordings, *, number: int = 3, failed: list[RecordingTonics], description: str | None = None
) -> Iterator[RecordingTonics]:
    """
    Yield the tonics of the recordings that have one.

    Args:
        recordings: as [`find_recordings`] finds them, or of a dataset.
        number: of candidates.
        failed: a list to which the recordings are added that cannot be read, or are silent.
        description: text of a progress bar.
    """
    files = local_files(recordings)
    unfetched: list[tuple[str, str]] = []
    groups: Iterable[list[Recording]] = (
        ([Recording(file, file)] for file in files)
        if files is not None
        else read_groups(share_of(recordings, recordings.root()), _GROUP, unfetched)
    )
    with progress_bar(None if files is None else len(files), description, unit="file") as bar:
        for group in groups:
            for recording in group:
                try:
                    yield RecordingTonics(recording.name, estimate_tonic(recording.audio, number=number))
                except AudioFileError as error:
                    failed.append(RecordingTonics(recording.name, [], str(error)))
                bar.update()
    failed += [RecordingTonics(name, [], reason) for name, reason in unfetched]


def check_tonic_format(output: str | os.PathLike) -> None:
    """Raise `ValueError` if no tonics can be written to a file of this name."""
    if Path(output).suffix not in TONIC_FORMATS:
        raise ValueError(f"{output} must end with {' or '.join(TONIC_FORMATS)}.")


def write_tonics(found: Iterator[RecordingTonics], output: str | os.PathLike) -> int:
    """
    Write tonics to one file, whole or not at all.

    Args:
        found: the tonics of recordings.
        output: a file, which is replaced. `.csv` has a row for each candidate (`file`, `rank`, `tonic` in Hz, `note`,
            `cents`, `probability`), and `.jsonl` a line for each recording.

    Returns:
        The number of recordings.

    Raises:
        ValueError: `output` has another ending.
        OSError: the file cannot be written.
    """
    check_tonic_format(output)
    written = 0

    def write(path: Path) -> None:
        nonlocal written
        with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            rows = csv.writer(file)
            if Path(output).suffix == ".csv":
                rows.writerow(("file", "rank", "tonic", "note", "cents", "probability"))
            for one in found:
                written += 1
                record = as_record(one)
                if Path(output).suffix == ".csv":
                    rows.writerows((one.file, rank, *tonic.values()) for rank, tonic in enumerate(record["tonics"], 1))
                else:
                    file.write(json.dumps(record, ensure_ascii=False) + "\n")

    write_whole(output, write)
    return written


def as_record(one: RecordingTonics) -> dict[str, Any]:
    """A recording and its candidates as JSON has them."""
    return {
        "file": one.file,
        "tonics": [
            {
                "tonic": round(tonic.frequency, 3),
                "note": tonic.note,
                "cents": round(tonic.cents, 1),
                "probability": round(tonic.probability, 4),
            }
            for tonic in one.tonics
        ],
    }
