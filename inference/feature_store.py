# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Vectors of recordings in Parquet files, which `datasets`, DuckDB and polars open."""

import contextlib
import functools
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..data.digests import digest_of_file, digest_of_values
from ..data.folders import INCOMPLETE, write_json, write_whole
from ..data.locks import locked
from ..data.recordings import Recording
from .feature_settings import check_settings, read_settings


if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

Rows = Literal["recording", "window"]
VectorDtype = Literal["float32", "float16"]

_SETTINGS, _INDEX, _FAILED, _LOCK = "embed.json", "index.jsonl", "failed.jsonl", ".shards.lock"
_KEY = b"polyaudio"  # of the settings in the schema
_OWN_COLUMNS = ("file", "start", "end", "vector", "audio", "model")
# A file that was written to less than this before its digest was taken may change again without another time
_CLOCK_TICK_NS = 2 * 10**9


@dataclass(frozen=True)
class StoreSettings:
    """
    What all vectors of a folder have in common.

    Args:
        model: its name, for messages. A model that was moved or renamed is the same.
        weights: its digest, see `digest_of_model`.
        window, padding: arguments of [`embed`].
        sampling_rate: of the model, in Hz.
        rows: `"recording"` for a row for each recording, `"window"` for a row for each window.
        dtype: of the vectors.
        granularity, layer: what the vectors are.
        precision: `None` for float32.
    """

    model: str
    weights: str
    window: float | None
    padding: str
    sampling_rate: int
    rows: Rows
    dtype: VectorDtype
    granularity: str = "utterance"
    layer: int | str | None = None
    precision: str | None = None


@dataclass(frozen=True)
class StoredRow:
    """
    A row: the vector `(size,)` of a part of a recording, from `start` to `end` in seconds.

    `audio` is the SHA-256 of the recording, and `columns` has the values of the kept columns of its dataset.
    """

    file: str
    start: float
    end: float
    vector: np.ndarray
    audio: str
    columns: Mapping[str, Any] = field(default_factory=dict)


class FeatureStore:
    """
    A folder with vectors: `data/train-*.parquet`, `embed.json` with the settings, and `failed.jsonl`.

    A shard is written whole or not at all. All rows of a recording are in one shard, and no recording is in two. Where
    the audio of a recording has changed, its old rows go before its new rows come. Several processes can write to a
    folder if they have different recordings.

    Args:
        folder: the folder.
        settings: what the vectors are computed with.
        root: the folder that has all recordings, or the name of their dataset. That of the first run stays.
        column_types: the kept columns.

    Attributes:
        root: the folder below which the recordings are, by the first run.

    Raises:
        ValueError: the folder has other settings, or a kept column has the name of one of its own columns.
    """

    def __init__(
        self, folder: Path, settings: StoreSettings, root: str, column_types: "Mapping[str, pa.DataType] | None" = None
    ):
        self.folder, self.data, self.settings = folder, folder / "data", settings
        self.column_types = dict(column_types or {})
        taken = [name for name in self.column_types if name in _OWN_COLUMNS]
        if taken:
            raise ValueError(f"A folder of features has its own column {taken[0]!r}. Leave it out of keep_columns.")
        self.data.mkdir(parents=True, exist_ok=True)
        with locked(folder / _LOCK, wait=True):
            self.root = _settle(folder / _SETTINGS, settings, root, list(self.column_types))
        self._audio: dict[str, bytes] = {}
        self._shards: dict[str, str] = {}
        self._read_shards()
        self._states = self._read_index()

    def __len__(self) -> int:
        """The number of recordings that were there when the folder was opened."""
        return len(self._audio)

    def is_current(self, recording: Recording) -> bool:
        """
        Whether the vectors of a recording are there, and are those of the audio that it has now.

        A local file is unchanged if its size and times are. Otherwise its digest decides. What is at an address is
        taken for unchanged.
        """
        known = self._audio.get(recording.name)
        if known is None or recording.error is not None:
            return False
        if isinstance(recording.audio, bytes):
            return hashlib.sha256(recording.audio).digest() == known
        if recording.is_remote:
            return True
        state = file_state(recording.audio)
        if state is not None and self._states.get(recording.name) == (*state, known.hex()):
            return True
        try:
            return digest_of_file(recording.audio) == known.hex()
        except OSError:  # reading it tells why
            return False

    def write(self, rows: Sequence[StoredRow], states: Mapping[str, tuple[int, ...] | None]) -> None:
        """
        Write a shard. Rows that these recordings had before are removed.

        Args:
            rows: all rows of some recordings.
            states: what [`file_state`] said of the files before they were read.

        Raises:
            OSError: the disk is full, or the folder cannot be written to.
        """
        if not rows:
            return
        audio = {row.file: row.audio for row in rows}
        self._drop(audio.keys() & self._audio.keys())
        table = self._table(rows)
        path = self.data / f"train-{digest_of_values(sorted(audio.items()))[:16]}.parquet"
        write_whole(path, functools.partial(_write_shard, table))
        self._add_to_index(audio, states)

    def _table(self, rows: Sequence[StoredRow]) -> "pa.Table":
        import pyarrow as pa

        vectors = np.stack([row.vector for row in rows]).astype(self.settings.dtype)
        kind = pa.from_numpy_dtype(vectors.dtype)
        flat = pa.array(vectors.reshape(-1), type=kind)
        columns = {
            "file": pa.array([row.file for row in rows], pa.string()),
            "start": pa.array([row.start for row in rows], pa.float64()),
            "end": pa.array([row.end for row in rows], pa.float64()),
            "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
            "audio": pa.array([row.audio for row in rows], pa.string()),
            "model": pa.array([self.settings.weights] * len(rows), pa.string()),
        }
        for name, column_type in self.column_types.items():
            columns[name] = pa.array([row.columns.get(name) for row in rows], column_type)
        settings = json.dumps(asdict(self.settings) | {"root": self.root})
        return pa.table(columns).replace_schema_metadata({_KEY: settings.encode()})

    def _read_shards(self) -> None:
        """Learn what the shards have. A damaged one is set aside."""
        import pyarrow as pa
        import pyarrow.parquet

        for path in sorted(self.data.glob("train-*.parquet")):
            try:
                table = pyarrow.parquet.read_table(path, columns=["file", "audio"])
            except FileNotFoundError:  # another process has just replaced all of its rows
                continue
            except (pa.ArrowException, OSError) as error:
                logger.warning(f"{path} is damaged ({error}) and becomes {path.name}.damaged.")
                with contextlib.suppress(FileNotFoundError):
                    path.rename(path.with_name(f"{path.name}.damaged"))
                continue
            for name, audio in zip(table["file"].to_pylist(), table["audio"].to_pylist(), strict=True):
                self._audio[name] = bytes.fromhex(audio)
                self._shards[name] = path.name

    def _drop(self, names: Iterable[str]) -> None:
        """Remove the rows of recordings that were there when the folder was opened."""
        import pyarrow as pa
        import pyarrow.compute
        import pyarrow.parquet

        names = set(names)
        if not names:
            return
        with locked(self.folder / _LOCK, wait=True):  # another process may remove rows of the same shard
            for shard in sorted({self._shards[name] for name in names}):
                path = self.data / shard
                if not path.exists():
                    continue
                table = pyarrow.parquet.read_table(path)
                is_old = pyarrow.compute.is_in(table["file"], value_set=pa.array(sorted(names), pa.string()))
                rest = table.filter(pyarrow.compute.invert(is_old))
                if len(rest):
                    write_whole(path, functools.partial(_write_shard, rest))
                else:
                    path.unlink()
        for name in names:
            del self._audio[name], self._shards[name]

    def _read_index(self) -> dict[str, tuple[Any, ...]]:
        """The size, the times and the digest of files by their names. Lines that were cut off are left out."""
        states: dict[str, tuple[Any, ...]] = {}
        with contextlib.suppress(FileNotFoundError), open(self.folder / _INDEX, "rb") as index:
            for line in index:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    entry = json.loads(line)
                    states[entry["file"]] = (*entry["state"], entry["audio"])
        return states

    def _add_to_index(self, audio: Mapping[str, str], states: Mapping[str, tuple[int, ...] | None]) -> None:
        settled = time.time_ns() - _CLOCK_TICK_NS
        lines = [
            json.dumps({"file": name, "audio": digest, "state": states[name]})
            for name, digest in audio.items()
            if states.get(name) is not None and max(states[name][1:]) < settled  # type: ignore[index]
        ]
        if not lines:
            return
        # In one call, so that lines of several processes do not mix, and on a new line after one that was cut off
        text = "\n".join(["", *lines, ""]).encode()
        descriptor = os.open(self.folder / _INDEX, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, text)
        finally:
            os.close(descriptor)


def _write_shard(table: "pa.Table", path: Path) -> None:
    import pyarrow.parquet

    pyarrow.parquet.write_table(table, path, compression="zstd")


def file_state(path: str) -> tuple[int, int, int] | None:
    """The size of a file and the times of its last changes, in nanoseconds; `None` if it is missing."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def remove_unfinished(folder: Path) -> None:
    """Remove the shards that killed processes had begun. No process may be writing."""
    for path in folder.glob(f"data/.*{INCOMPLETE}"):
        path.unlink(missing_ok=True)


def write_failures(folder: Path, failures: Sequence[tuple[str, str]]) -> None:
    """Write `failed.jsonl`: the name of each recording that could not be read, and the reason."""
    lines = [json.dumps({"file": name, "reason": reason}, ensure_ascii=False) + "\n" for name, reason in failures]
    write_whole(folder / _FAILED, lambda new: new.write_text("".join(lines), encoding="utf-8"))


def _settle(path: Path, settings: StoreSettings, root: str, columns: list[str]) -> str:
    """Return the root of the first run if the settings are the same. In a new folder, record settings and root."""
    content = asdict(settings) | {"root": root, "columns": columns}
    if not path.exists():
        if any(path.parent.glob("data/*.parquet")):
            raise ValueError(f"{path.parent} has parquet files of something else. Choose another output folder.")
        write_json(path, content)
        return root
    kept = read_settings(path)
    if "rows" not in kept:
        raise ValueError(f"{path.parent} has features of another format. Choose another output folder.")
    check_settings(path.parent, kept, content)
    return os.fspath(kept["root"])
