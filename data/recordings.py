# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Recordings to read, wherever they are: files, addresses, tar archives, parquet files, datasets."""

import functools
import itertools
import os
import sys
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from .audio import AUDIO_EXTENSIONS


if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

_TARS = (".tar", ".tar.gz", ".tgz")
_PARQUET = ".parquet"
_READ_ROWS = 64  # of a parquet file at once
_SHARD_ROWS = 1000  # of a dataset on this machine
# What reading an archive, a parquet file or a stream raises
_UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, tarfile.TarError, zlib.error)


@dataclass(frozen=True)
class Recording:
    """
    A recording to read.

    Attributes:
        name: tells it from all others of its collection.
        audio: the path of a file, an address that fsspec knows, or the bytes of a file.
        columns: values of other columns of its dataset.
        error: why it cannot be read, or the rest of the archive of this name; `None` where nothing is known yet.
    """

    name: str
    audio: str | bytes
    columns: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def is_remote(self) -> bool:
        return isinstance(self.audio, str) and is_address(self.audio)


Shard = Callable[[], Iterator[Recording]]


class Recordings(Protocol):
    """A collection of recordings: those that can be listed, and shards that are read one after the other."""

    def root(self) -> str:
        """The folder that has all of it, or the name of the dataset."""

    def listed(self, root: str) -> list[Recording]:
        """The recordings in files of their own; their names are relative to `root`."""

    def shards(self, root: str) -> list[Shard]:
        """The other recordings. Each shard is read as often as it is called."""

    def column_types(self) -> "dict[str, pa.DataType]":
        """The types of the columns that recordings have."""


def share_of(recordings: Recordings, root: str, rank: int = 0, world_size: int = 1) -> Iterator[Recording]:
    """
    The recordings that one of several processes reads. Together they read each recording once.

    Files are dealt out by their size, the largest first, and shards are dealt out whole. If their number is not a
    multiple of the number of processes, all processes go through the last of them, and each takes every n-th row.
    """
    yield from sorted(recordings.listed(root), key=_size, reverse=True)[rank::world_size]
    shards = recordings.shards(root)
    whole = len(shards) // world_size * world_size
    for shard in shards[rank:whole:world_size]:
        yield from shard()
    for shard in shards[whole:]:
        yield from itertools.islice(shard(), rank, None, world_size)


@dataclass(frozen=True)
class FileRecordings:
    """
    Files of audio, tar archives and parquet files, on this machine or at addresses of fsspec.

    [`find_recordings`] finds them.

    Args:
        files: of one recording each.
        archives: tar archives with audio files, of which no more than one is in memory, and parquet files.
        audio_column: the column of parquet files with the audio: its bytes, or a struct with the field `bytes`.
        keep_columns: other columns of parquet files to keep.
        folders: those that were searched, and those of the other local files.
    """

    files: Sequence[str]
    archives: Sequence[str] = ()
    audio_column: str = "audio"
    keep_columns: Sequence[str] = ()
    folders: Sequence[str] = ()

    def root(self) -> str:
        """The folder that has all of `folders`; the current one where there are none."""
        return os.path.commonpath(self.folders) if self.folders else os.getcwd()

    def listed(self, root: str) -> list[Recording]:
        return [Recording(_name_below(root, file), file) for file in self.files]

    def shards(self, root: str) -> list[Shard]:
        return [_ArchiveShard(path, _name_below(root, path), self) for path in self.archives]

    def column_types(self) -> "dict[str, pa.DataType]":
        if not self.keep_columns:
            return {}
        parquets = [path for path in self.archives if path.lower().endswith(_PARQUET)]
        if not parquets:
            raise ValueError("Audio files have no other columns. Leave out keep_columns, or pass a dataset.")
        import pyarrow.parquet

        with _opened(parquets[0]) as file:
            features = _features_of(pyarrow.parquet.read_schema(file))
        return _kept_types(features, self.keep_columns, parquets[0])


def find_recordings(
    inputs: Iterable[str | os.PathLike], *, audio_column: str = "audio", keep_columns: Sequence[str] = ()
) -> FileRecordings:
    """
    Find recordings by their paths and addresses.

    Args:
        inputs: any of

            - audio files;
            - folders: all audio files below them, or where there are none, all parquet files and tar archives;
            - tar archives and parquet files, by their extensions;
            - addresses with a scheme that fsspec knows, such as `https://`, `hf://` and `s3://`, of files as above. A
              folder is searched too, but for `http` and `https`.
        audio_column, keep_columns: see [`FileRecordings`].

    Raises:
        ValueError: a folder has nothing of this kind, or the package that reads an address is not installed.
    """
    files: dict[str, str] = {}
    archives: dict[str, str] = {}
    folders: dict[str, None] = {}
    for given in inputs:
        path = os.fspath(given)
        if is_local(path):
            folders[os.path.abspath(path if os.path.isdir(path) else os.path.dirname(path))] = None
        for found in _files_at(path) if is_address(path) else _files_below(path):
            kind = archives if found.lower().endswith((*_TARS, _PARQUET)) else files
            kind.setdefault(found if is_address(found) else os.path.abspath(found), found)
    return FileRecordings(
        list(files.values()), list(archives.values()), audio_column, tuple(keep_columns), tuple(folders)
    )


def recordings_of(given: str | os.PathLike | Iterable[str | os.PathLike] | Recordings) -> Recordings:
    """A collection, or what [`find_recordings`] finds at a path or at several."""
    if isinstance(given, str | os.PathLike):
        return find_recordings([given])
    return find_recordings(given) if isinstance(given, Iterable) else given


def read_names(inputs: Iterable[str]) -> list[str]:
    """
    Put the lines of lists in their place: of standard input for `-`, and of the file LIST for `@LIST`.

    A file whose own name is `@LIST` stays a file.

    Raises:
        OSError: a list cannot be read.
        ValueError: a list is not UTF-8.
    """
    names: list[str] = []
    for one in inputs:
        if one == "-":
            names += _lines(sys.stdin)
        elif one.startswith("@") and not os.path.exists(one):
            try:
                with open(one[1:], encoding="utf-8") as file:
                    names += _lines(file)
            except UnicodeDecodeError as error:
                raise ValueError(f"The list {one[1:]} is not UTF-8. Save it as UTF-8.") from error
        else:
            names.append(one)
    return names


def _lines(text: Iterable[str]) -> list[str]:
    return [line.rstrip("\r\n") for line in text if line.strip()]


def is_address(path: str) -> bool:
    """Whether a path is an address of fsspec and no file of this machine."""
    return "://" in path and not os.path.exists(path)


def is_local(path: str) -> bool:
    return not is_address(path)


def fetch(address: str) -> bytes:
    """The content of a file at an address. Raises `OSError` where it cannot be read."""
    try:
        with _opened(address) as file:
            return file.read()
    except OSError:
        raise
    except Exception as error:  # each file system of fsspec has errors of its own
        raise OSError(f"{address} cannot be read: {error}") from error


@dataclass(frozen=True)
class DatasetRecordings:
    """
    One split of a dataset.

    Args:
        dataset: as for `load_recordings`.
        split: the split.
        streaming: fetch the clips of a dataset on the Hub as they are read. Nothing is stored.
        audio_column: the column with the audio.
        keep_columns: other columns to keep, of numbers, texts or classes.
    """

    dataset: "str | os.PathLike | datasets.Dataset | datasets.DatasetDict"
    split: str = "train"
    streaming: bool = False
    audio_column: str = "audio"
    keep_columns: Sequence[str] = ()

    def root(self) -> str:
        from .loading import name_of

        name = name_of(self.dataset)
        return os.path.abspath(name) if os.path.exists(name) else name

    def listed(self, root: str) -> list[Recording]:
        if root != self.root():
            raise ValueError(f"The output has features of {root}, not of {self.root()}. Choose another output folder.")
        rows = self._rows
        if _is_stream(rows):
            return []
        from .readable import clip_files

        first = {path: row for row, path in reversed(list(enumerate(clip_files(rows)))) if path is not None}
        columns = self._columns(rows)
        return [
            Recording(self._name(path, row), path, columns(row))
            for path, row in sorted(first.items(), key=lambda one: one[1])
        ]

    def _name(self, path: str, row: int) -> str:
        """The path of a clip in the folder of the dataset, or else its row."""
        root, path = self.root(), os.path.abspath(path)
        if os.path.isabs(root) and os.path.commonpath([root, path]) == root:
            return _name_below(root, path)
        return _text(f"{self.split}/{row:06d}/{os.path.basename(path)}")

    def shards(self, root: str) -> list[Shard]:
        rows = self._rows
        if _is_stream(rows):
            return [_StreamShard(self, rows, shard) for shard in range(rows.num_shards)]
        from .readable import clip_files

        with_bytes = [row for row, path in enumerate(clip_files(rows)) if path is None]
        starts = range(0, len(with_bytes), _SHARD_ROWS)
        return [_RowsShard(self, rows, with_bytes[start : start + _SHARD_ROWS]) for start in starts]

    def column_types(self) -> "dict[str, pa.DataType]":
        return _kept_types(self._rows.features or {}, self.keep_columns, self.root())

    @functools.cached_property
    def _rows(self) -> Any:
        from .loading import load_recordings

        return load_recordings(
            self.dataset,
            audio_column=self.audio_column,
            split=self.split,
            streaming=self.streaming and not os.path.exists(self.root()),
            keep_columns=self.keep_columns,
        )

    def _columns(self, rows: Any) -> Callable[[int], dict[str, Any]]:
        """The kept columns of a row. No audio is read."""
        if not self.keep_columns:
            return lambda row: {}
        kept, features = rows.select_columns(list(self.keep_columns)), rows.features
        return lambda row: _as_texts(kept[row], features)


@dataclass(frozen=True)
class _ArchiveShard:
    """The recordings of a tar archive or of a parquet file."""

    path: str
    name: str
    source: FileRecordings

    def __call__(self) -> Iterator[Recording]:
        read = self._parquet_rows if self.path.lower().endswith(_PARQUET) else self._members
        yield from _reported(read(), self.name)

    def _members(self) -> Iterator[Recording]:
        seen: Counter[str] = Counter()
        with _opened(self.path) as file, tarfile.open(fileobj=file, mode="r|*", tarinfo=_Member) as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                opened = archive.extractfile(member) if member.isfile() else None
                if opened is None or path.suffix.lower() not in AUDIO_EXTENSIONS or path.name.startswith("."):
                    continue
                name = _text(f"{self.name}/{path.as_posix().lstrip('/')}")
                seen[name] += 1  # an archive may have several members of one name
                yield Recording(name if seen[name] == 1 else f"{name}#{seen[name]}", opened.read())

    def _parquet_rows(self) -> Iterator[Recording]:
        import pyarrow.parquet

        column, keep = self.source.audio_column, list(self.source.keep_columns)
        with _opened(self.path) as file:
            parquet = pyarrow.parquet.ParquetFile(file)
            features = _features_of(parquet.schema_arrow)
            missing = [name for name in (column, *keep) if name not in features]
            if missing:
                raise ValueError(f"{self.path} has no column {missing[0]!r}, only {', '.join(features)}.")
            batches = parquet.iter_batches(_READ_ROWS, columns=[column, *keep])
            rows = (row for batch in batches for row in batch.to_pylist())
            for index, row in enumerate(rows):
                yield _recording_of_row(f"{self.name}/{index:06d}", row, column, features)


class _Member(tarfile.TarInfo):
    """A member of an archive. tarfile itself takes a damaged or a missing header for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Member":
        try:
            return super().fromtarfile(archive)  # type: ignore[return-value]  # declared with the base class
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the mark at the end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"the archive is cut off or damaged ({error})") from error


@dataclass(frozen=True)
class _RowsShard:
    """Rows of a dataset on this machine that hold their audio."""

    source: DatasetRecordings
    rows: Any
    numbers: list[int]

    def __call__(self) -> Iterator[Recording]:
        for number in self.numbers:
            name = f"{self.source.split}/{number:06d}"
            yield _recording_of_row(name, self.rows[number], "audio", self.rows.features)


@dataclass(frozen=True)
class _StreamShard:
    """A shard of a stream. Its rows have the same names, whatever the number of processes."""

    source: DatasetRecordings
    rows: Any
    index: int

    def __call__(self) -> Iterator[Recording]:
        name = f"{self.source.split}/{self.index:05d}"
        rows = self.rows.shard(num_shards=self.rows.num_shards, index=self.index)
        yield from _reported(self._named(rows, name), name)

    def _named(self, rows: Any, name: str) -> Iterator[Recording]:
        for number, row in enumerate(rows):
            recording = _recording_of_row(f"{name}/{number:06d}", row, "audio", self.rows.features or {})
            path = (row["audio"] or {}).get("path")
            if recording.error is not None and path and is_address(path):  # inside the border: it is on the Hub
                recording = Recording(recording.name, path, recording.columns)
            yield recording


def _reported(recordings: Iterator[Recording], name: str) -> Iterator[Recording]:
    """The recordings of a shard. Where the shard cannot be read any further, the last one says why."""
    number = 0
    try:
        for recording in recordings:
            number += 1
            yield recording
    except _UNREADABLE as error:
        yield Recording(name, b"", error=f"{name} cannot be read after {number} recordings: {error}")


def _recording_of_row(name: str, row: Mapping[str, Any], column: str, features: Mapping[str, Any]) -> Recording:
    audio = row[column]
    columns = _as_texts({key: value for key, value in row.items() if key != column}, features)
    if isinstance(audio, bytes):
        return Recording(name, audio, columns)
    content, path = (audio or {}).get("bytes"), (audio or {}).get("path")
    if path:
        name = _text(f"{name}/{PurePosixPath(path).name}")
    if content:
        return Recording(name, content, columns)
    return Recording(name, b"", columns, error=f"{name} has no audio. Leave it out.")


def _as_texts(values: Mapping[str, Any], features: Mapping[str, Any]) -> dict[str, Any]:
    """Values of columns, with the names of classes instead of their numbers."""

    def text(name: str, value: Any) -> Any:
        names = getattr(features.get(name), "names", None)
        return value if names is None or not isinstance(value, int) or value < 0 else names[value]

    return {name: text(name, value) for name, value in values.items()}


def _kept_types(features: Mapping[str, Any], names: Sequence[str], where: str) -> "dict[str, pa.DataType]":
    import datasets
    import pyarrow as pa

    types = {}
    for name in names:
        feature = features.get(name)
        if isinstance(feature, datasets.ClassLabel):
            types[name] = pa.string()
        elif isinstance(feature, datasets.Value):
            types[name] = feature.pa_type
        else:
            problem = "does not exist" if feature is None else f"holds {feature}, no numbers, texts or classes"
            raise ValueError(f"The column {name!r} of {where} {problem}. Leave it out of keep_columns.")
    return types


def _features_of(schema: "pa.Schema") -> Mapping[str, Any]:
    import datasets

    return datasets.Features.from_arrow_schema(schema)


def _is_stream(rows: Any) -> bool:
    import datasets

    return isinstance(rows, datasets.IterableDataset)


def _files_below(path: str) -> list[str]:
    """A file, or the audio files below a folder, or else its parquet files and tar archives."""
    if not os.path.isdir(path):
        return [path]
    below = [file for file in sorted(Path(path).rglob("*")) if not file.name.startswith(".")]
    audio = [str(file) for file in below if file.suffix.lower() in AUDIO_EXTENSIONS]
    found = audio or [str(file) for file in below if file.name.lower().endswith((*_TARS, _PARQUET))]
    if not found:
        raise ValueError(f"There are no audio files in the folder {path}, nor parquet files or tar archives.")
    return found


def _files_at(address: str) -> list[str]:
    """An address, or those of the files below it."""
    import fsspec

    scheme = address.partition("://")[0]
    try:
        system, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise ValueError(f"{address} needs another package: {error}") from error
    except ValueError as error:
        raise ValueError(f"{address} is no address that can be read: {error}") from error
    try:
        if scheme in ("http", "https") or "::" in address or not system.isdir(path):
            return [address]
        found = [system.unstrip_protocol(file) for file in sorted(system.find(path))]
    except OSError:
        raise
    except Exception as error:  # each file system of fsspec has errors of its own
        raise OSError(f"{address} cannot be read: {error}") from error
    audio = [file for file in found if PurePosixPath(file).suffix.lower() in AUDIO_EXTENSIONS]
    files = audio or [file for file in found if file.lower().endswith((*_TARS, _PARQUET))]
    if not files:
        raise ValueError(f"There are no audio files at {address}, nor parquet files or tar archives.")
    return files


def _opened(path: str) -> BinaryIO:
    if is_local(path):
        return open(path, "rb")
    import fsspec

    return fsspec.open(path, "rb").open()


def _name_below(root: str, path: str) -> str:
    """The name of a file: its path relative to a folder, or its address."""
    if is_address(path):
        return path
    absolute = os.path.abspath(path)
    if not os.path.isabs(root) or os.path.commonpath([root, absolute]) != root:
        raise ValueError(f"{path} is not below {root}, the folder of the other files. Choose another output folder.")
    return _text(Path(os.path.relpath(absolute, root)).as_posix())


def _text(name: str) -> str:
    """A name as UTF-8. Bytes of other encodings become escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _size(recording: Recording) -> int:
    try:
        return os.path.getsize(recording.audio) if isinstance(recording.audio, str) else 0
    except OSError:  # an address, or a file that is missing
        return 0
