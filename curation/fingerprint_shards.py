# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Writes the fingerprints of a collection to Parquet files, a shard for some hundred clips.

The keys of a million clips do not fit in memory. Each shard is written whole or not at all, and its name is the digest
of its clips, so a later run continues with the shards that are missing.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..data.audio import AudioFileError
from ..data.digests import digest_of_audio, digest_of_values
from ..data.folders import write_whole
from ..data.grid import WindowGrid, stream_windows
from ..data.readable import BadClip, audio_file, clip_name, clip_names
from .fingerprints import BLOCK, RATE, Keys, Landmarks, find_landmarks
from .workers import call_for_all


# A part of the digests: the next version, once the keys or the files change
_VERSION = 2

# Clips of a shard: fewer in small collections, so that all workers get some
_MOST_CLIPS, _SHARDS = 256, 64

# Keys that are in memory before they are written, unless one clip has more
_KEYS = 2**20

_SCHEMA = pa.schema(
    {
        "of_intervals": pa.bool_(),
        "key": pa.int64(),
        "clip": pa.int32(),
        "frame": pa.int32(),
        "pitch": pa.float32(),
        "context": pa.float32(),
    }
)


@dataclass(frozen=True)
class Fingerprints:
    """
    The fingerprints of a collection.

    Attributes:
        files: Parquet files with the columns `of_intervals` (whether the key is one of intervals), `key`, `clip`,
            `frame`, `pitch` and `context`, see `Keys`.
        seconds: `(clips,)`, float64, length of each clip; 0 if it cannot be read.
        num_keys, num_interval_keys: `(clips,)`, int32, number of its keys.
        unreadable: the clips that cannot be read.
    """

    files: list[Path]
    seconds: np.ndarray
    num_keys: np.ndarray
    num_interval_keys: np.ndarray
    unreadable: list[BadClip]

    def __len__(self) -> int:
        return len(self.seconds)


def write_fingerprints(
    clips: datasets.Dataset, folder: Path, *, is_cache: bool = False, num_workers: int = 0
) -> Fingerprints:
    """
    Read all clips and write their fingerprints, with a progress bar.

    Args:
        clips: column `audio` (`Audio(decode=False)`).
        folder: where to write.
        is_cache: whether to use the shards that a run on the same clips has left in the folder.
        num_workers: number of processes that read clips; 0 for threads of this one.

    Raises:
        OSError: a shard cannot be written.
    """
    size = min(_MOST_CLIPS, max(1, len(clips) // _SHARDS))
    starts = range(0, len(clips), size)
    write = _ShardWriter(clips, size, folder, is_cache)
    files, unreadable = [], []
    seconds, num_keys, num_interval_keys = (np.zeros(len(clips), dtype) for dtype in ("float64", "int32", "int32"))
    shards = call_for_all(write, starts, num_workers=num_workers, description="Reading", unit="shard")
    for start, file in zip(starts, shards, strict=True):
        files.append(file)
        facts = _facts(file)
        own = slice(start, start + len(facts["seconds"]))
        seconds[own], num_keys[own] = facts["seconds"], facts["num_keys"]
        num_interval_keys[own] = facts["num_interval_keys"]
        unreadable += [BadClip(*clip) for clip in facts["unreadable"]]
    return Fingerprints(files, seconds, num_keys, num_interval_keys, unreadable)


@dataclass(frozen=True)
class _ShardWriter:
    clips: datasets.Dataset
    size: int
    folder: Path
    is_cache: bool

    def __call__(self, start: int) -> Path:
        """Write the shard that begins with this clip, if it is not there, and return its file."""
        rows = range(start, min(start + self.size, len(self.clips)))
        digest = self._digest(rows)
        file = self.folder / f"{digest or start}.parquet"
        if digest is None or not file.exists():
            write_whole(file, lambda new: self._write(new, rows), sync=self.is_cache)
        return file

    def _digest(self, rows: range) -> str | None:
        """The digest of some clips; `None` without a cache, or if a file cannot be read."""
        if not self.is_cache:
            return None
        clips = self.clips.select(rows)
        try:
            audio = digest_of_audio(clips)
        except OSError:
            return None
        return digest_of_values([_VERSION, rows.start, clip_names(clips), audio])

    def _write(self, path: Path, rows: range) -> None:
        facts: dict[str, list[Any]] = {"seconds": [], "num_keys": [], "num_interval_keys": [], "unreadable": []}
        pending: list[tuple[int, Landmarks]] = []
        with closing(pq.ParquetWriter(path, _SCHEMA, compression="lz4")) as writer:
            for row, landmarks in self._read(rows):
                if isinstance(landmarks, BadClip):
                    facts["unreadable"].append(landmarks)
                    landmarks = find_landmarks([])
                facts["seconds"].append(landmarks.seconds)
                facts["num_keys"].append(len(landmarks.keys.keys))
                facts["num_interval_keys"].append(len(landmarks.interval_keys.keys))
                pending.append((row, landmarks))
                if sum(len(one.keys.keys) for _, one in pending) > _KEYS:
                    _write_keys(writer, pending)
                    pending = []
            _write_keys(writer, pending)
            writer.add_key_value_metadata({"clips": json.dumps(facts)})

    def _read(self, rows: range) -> Iterator[tuple[int, Landmarks | BadClip]]:
        for row in rows:
            audio = self.clips[row]["audio"]
            try:
                blocks = stream_windows(audio_file(audio), RATE, WindowGrid(BLOCK, BLOCK))
                yield row, find_landmarks(blocks)
            except AudioFileError as error:
                yield row, BadClip(clip_name(audio, row), str(error))


def _write_keys(writer: pq.ParquetWriter, landmarks: list[tuple[int, Landmarks]]) -> None:
    """Write the keys of some clips, those of intervals apart from the others, so that a reader can skip either."""
    _write_kind(writer, [(row, one.keys) for row, one in landmarks], of_intervals=False)
    _write_kind(writer, [(row, one.interval_keys) for row, one in landmarks], of_intervals=True)


def _write_kind(writer: pq.ParquetWriter, keys_of_clips: list[tuple[int, Keys]], *, of_intervals: bool) -> None:
    if not keys_of_clips:
        return
    rows, all_keys = zip(*keys_of_clips, strict=True)
    keys, *columns = map(np.concatenate, zip(*all_keys, strict=True))
    clips = np.repeat(np.array(rows, np.int32), [len(one.keys) for one in all_keys])
    writer.write_table(pa.table([np.full(len(keys), of_intervals), keys, clips, *columns], schema=_SCHEMA))


def _facts(file: Path) -> dict[str, list[Any]]:
    """What is known of each clip of a shard."""
    return json.loads(pq.read_metadata(file).metadata[b"clips"])
