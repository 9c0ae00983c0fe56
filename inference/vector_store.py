# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Reads the vectors that `polyaudio embed` wrote, block by block."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..data.digests import digest_of_array, digest_of_file
from ..integration.limits import read_json


# Rows that are in memory at once. With 768 numbers each, they are 12 MB
BLOCK_ROWS = 4096

_SETTINGS = b"polyaudio"  # key of the schema's metadata


@dataclass(frozen=True)
class SourceFile:
    """The state of a file that an index was built from. `modified` is in nanoseconds."""

    name: str
    size: int
    modified: int
    sha256: str

    @classmethod
    def of(cls, path: Path, root: Path) -> "SourceFile":
        status = path.stat()
        name = path.relative_to(root).as_posix()
        return cls(name, status.st_size, status.st_mtime_ns, digest_of_file(path))

    def is_unchanged(self, root: Path) -> bool:
        """Whether the file still has the same content. It is read only if its time has changed."""
        path = root / self.name
        try:
            status = path.stat()
            if status.st_size != self.size:
                return False
            return status.st_mtime_ns == self.modified or digest_of_file(path) == self.sha256
        except OSError:
            return False


class Block(NamedTuple):
    """Rows that follow each other: the number of the first, unit vectors `(rows, size)`, float32, and their files."""

    first: int
    vectors: np.ndarray
    files: pa.Array

    def scores(self, queries: np.ndarray) -> np.ndarray:
        """
        The cosines of unit vectors `(queries, size)` with these vectors, `(queries, rows)`; -infinity for vectors of
        zeros, which have no direction.
        """
        scores = queries @ self.vectors.T
        scores[:, ~self.vectors.any(axis=1)] = -np.inf
        return scores


class VectorStore:
    """
    Vectors in Parquet files. At most `BLOCK_ROWS` of them are in memory at once.

    Args:
        paths: the Parquet files, in the order of their rows.
        vector_column: column with a list of as many numbers in each row.
        file_column: column with the name of the recording.

    Raises:
        ValueError: a file is damaged or lacks a column, there is no row, or the vectors differ in size.
    """

    def __init__(self, paths: Sequence[Path], vector_column: str = "vector", file_column: str = "file"):
        self.paths = list(paths)
        self.vector_column, self.file_column = vector_column, file_column
        self._groups: list[tuple[int, int]] = []  # the file and the number in it of each row group
        sizes: list[int] = []
        schemas: list[pa.Schema] = []
        for number, path in enumerate(self.paths):
            with _open(path) as file:
                schema, metadata = file.schema_arrow, file.metadata
            for flag, column in (("--vector-column", vector_column), ("--file-column", file_column)):
                if column not in schema.names:
                    raise ValueError(
                        f"{path} has no column {column!r}, only {', '.join(schema.names)}. Name the column ({flag})."
                    )
            schemas.append(schema)
            self._groups += [(number, group) for group in range(metadata.num_row_groups)]
            sizes += [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self.schema = schemas[0]
        self._starts = np.cumsum([0, *sizes])
        self.rows = int(self._starts[-1])
        if not self.rows:
            raise ValueError(f"{self.paths[0]} and the files beside it have no rows.")
        self.size = self._vector_array(next(self._batches([vector_column], rows=1))[1], first=0).shape[1]

    @property
    def columns(self) -> list[str]:
        """The columns with text, numbers, dates and truth values."""
        nested = (pa.types.is_nested, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
        return [column.name for column in self.schema if not any(test(column.type) for test in nested)]

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """
        All rows, or those from the row `start`.

        Raises:
            ValueError: a vector is missing, has another size than the others, or has NaN or infinite numbers.
        """
        for first, batch in self._batches([self.file_column, self.vector_column], start):
            yield Block(first, unit_vectors(self._vector_array(batch, first)), self._file_array(batch))

    def file_blocks(self) -> Iterator[tuple[int, pa.Array]]:
        """For each block of rows, the number of the first, and their files."""
        for first, batch in self._batches([self.file_column]):
            yield first, self._file_array(batch)

    def rows_of(self, names: Sequence[str]) -> dict[str, list[int]]:
        """The rows of each of these files. Files without a row are left out."""
        wanted = pa.array(list(names), pa.string())
        rows: dict[str, list[int]] = {}
        for first, files in self.file_blocks():
            for row in np.flatnonzero(pc.is_in(files, wanted)).tolist():
                rows.setdefault(files[row].as_py(), []).append(first + row)
        return rows

    def take_files(self, rows: np.ndarray) -> list[str]:
        """The files of these rows."""
        return self._file_array(self._take(rows, [self.file_column])).to_pylist()

    def take_vectors(self, rows: np.ndarray) -> np.ndarray:
        """The unit vectors of these rows, `(rows, size)`, float32."""
        return unit_vectors(self._vector_array(self._take(rows, [self.vector_column]), int(rows[0])))

    def take_columns(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """The values of the `columns` of these rows."""
        return self._take(rows, self.columns).to_pylist()

    def matching(self, where: str) -> np.ndarray:
        """
        Which rows fulfil an SQL condition on the columns, such as `label = 'dog' and "start" < 60`.

        Returns:
            `(rows,)`, bool.

        Raises:
            ValueError: DuckDB is not installed, or it does not understand the condition.
        """
        try:
            import duckdb
        except ImportError as error:
            raise ValueError("A filter (--where) needs a package: `pip install duckdb`.") from error
        number = "polyaudio_row"
        is_match = np.zeros(self.rows, bool)
        # The condition gets the rows, and no file
        with duckdb.connect(config={"enable_external_access": "false"}) as connection:
            for first, batch in self._batches(self.columns):
                table = pa.Table.from_batches([batch]).append_column(number, pa.array(range(batch.num_rows)))
                try:
                    found = connection.from_arrow(table).filter(where).project(number).fetchnumpy()[number]
                except duckdb.Error as error:
                    reason = str(error).partition("\n")[0]
                    raise ValueError(
                        f"The filter {where!r} does not work: {reason} Write an SQL condition, such as label = 'dog', "
                        f"on {', '.join(self.columns)}."
                    ) from error
                is_match[first + np.asarray(found, int)] = True
        return is_match

    def _batches(
        self, columns: list[str], start: int = 0, rows: int = BLOCK_ROWS
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Blocks of rows of these columns from the row `start`, each with the number of its first row."""
        group = int(np.searchsorted(self._starts, start, side="right")) - 1
        while group < len(self._groups):
            number = self._groups[group][0]
            end = group + 1
            while end < len(self._groups) and self._groups[end][0] == number:
                end += 1
            first = int(self._starts[group])
            own = [index for _, index in self._groups[group:end]]
            with _open(self.paths[number]) as file:
                for batch in file.iter_batches(rows, row_groups=own, columns=columns):
                    skipped = min(max(0, start - first), batch.num_rows)
                    if batch.num_rows > skipped:
                        yield first + skipped, batch.slice(skipped)
                    first += batch.num_rows
            group = end

    def _take(self, rows: np.ndarray, columns: list[str]) -> pa.RecordBatch:
        """These columns of these rows, in their order."""
        order = np.argsort(rows, kind="stable")
        groups = np.searchsorted(self._starts, rows[order], side="right") - 1
        tables = []
        for group in np.unique(groups).tolist():
            number, index = self._groups[group]
            with _open(self.paths[number]) as file:
                table = file.read_row_group(index, columns=columns)
            tables.append(table.take(rows[order][groups == group] - self._starts[group]))
        taken = pa.concat_tables(tables, promote_options="permissive").take(np.argsort(order, kind="stable"))
        return taken.combine_chunks().to_batches()[0]

    def _file_array(self, batch: pa.RecordBatch) -> pa.Array:
        files = batch.column(self.file_column)
        if files.null_count:
            raise ValueError(
                f"A row has no {self.file_column!r}. Each row needs the name of its recording, or name another column "
                "(--file-column)."
            )
        return files.cast(pa.string())

    def _vector_array(self, batch: pa.RecordBatch, first: int) -> np.ndarray:
        """The vectors of a batch, `(rows, size)`, float32."""
        column = batch.column(self.vector_column)
        is_list = pa.types.is_fixed_size_list(column.type) or pa.types.is_list(column.type)
        if not (is_list or pa.types.is_large_list(column.type)) or not pa.types.is_floating(column.type.value_type):
            raise ValueError(
                f"The column {self.vector_column!r} has {column.type} instead of lists of numbers. Name the column "
                "with the vectors (--vector-column)."
            )
        numbers = column.flatten()
        size = len(numbers) // len(column)
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        size = getattr(self, "size", size)
        if column.null_count or numbers.null_count or size == 0 or not (lengths == size).all():
            raise ValueError(
                f"The vectors in {self.vector_column!r} must all have the same number of numbers, but in or after row "
                f"{first} one is missing or has another size than {size}."
            )
        vectors = numbers.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, size)
        is_finite = np.isfinite(vectors).all(axis=1)
        if not is_finite.all():
            row = first + int(np.argmin(is_finite))
            raise ValueError(
                f"The vector of row {row} has NaN or infinite numbers. Compute it again, with another model or dtype."
            )
        return vectors


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """The vectors `(rows, size)` with length 1, float32; vectors of zeros remain so."""
    vectors = vectors.astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def find_parquet(features: Path) -> list[Path]:
    """The Parquet files of a dataset: those in its folder `data`, or else all below it. A file is its own dataset."""
    if features.is_file():
        return [features]
    return sorted(features.glob("data/*.parquet")) or sorted(features.rglob("*.parquet"))


def read_settings(paths: Sequence[Path]) -> dict[str, Any]:
    """
    The settings with which `polyaudio embed` computed the vectors, from the schemas; empty for files of others.

    Raises:
        ValueError: the files were written with different settings.
    """
    first: dict[str, Any] = {}
    for number, path in enumerate(paths):
        with _open(path) as file:
            text = (file.schema_arrow.metadata or {}).get(_SETTINGS)
        settings = json.loads(text or b"{}")
        first = settings if number == 0 else first
        if settings.get("weights") != first.get("weights"):
            raise ValueError(
                f"{path} has vectors of another model than {paths[0]}, so they cannot be compared. Put the vectors of "
                "each model into a folder of its own."
            )
    return first


def copy_feature_folder(features: Path, path: Path) -> dict[str, Any]:
    """
    Copy the vectors of a folder of npy or safetensors files, which `polyaudio embed` wrote, into one Parquet file.

    Returns:
        The settings with which they were computed.

    Raises:
        ValueError: the folder has other features than one vector a recording, or one is missing or damaged.
    """
    settings = read_json(features / "embed.json")
    if settings.get("granularity") != "utterance":
        raise ValueError(
            f"{features} has features of the granularity {settings.get('granularity')!r}, but a search needs one "
            "vector a recording. Run `polyaudio embed --granularity utterance`."
        )
    digests = {}
    with open(features / "index.jsonl", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # cut off when a process was killed
                entry = json.loads(line)
                digests[entry["file"]] = entry["audio"], entry["features"]
    if not digests:
        raise ValueError(f"{features} has no features. Run `polyaudio embed` to the end.")
    writer = None
    names = list(digests)
    with contextlib.ExitStack() as stack:
        read = _feature_reader(features, stack)
        for start in range(0, len(names), BLOCK_ROWS):
            block = names[start : start + BLOCK_ROWS]
            vectors = [_checked(read(name), name, digests[name][1], features) for name in block]
            table = pa.table(
                {
                    "file": block,
                    "vector": pa.FixedSizeListArray.from_arrays(np.concatenate(vectors), len(vectors[0])),
                    "audio": [digests[name][0] for name in block],
                }
            )
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(path, table.schema, compression="zstd"))
            writer.write_table(table)
    return settings


def _feature_reader(features: Path, stack: contextlib.ExitStack) -> Any:
    """A function that reads the features of a file by its name; it returns `None` where there are none."""
    from safetensors import safe_open

    packed: dict[str, Any] = {}
    if (features / "features.npz").exists():
        archive = stack.enter_context(np.load(features / "features.npz"))
        packed = dict.fromkeys(archive.files, archive.__getitem__)
    elif (features / "features.safetensors").exists():
        archive = stack.enter_context(safe_open(features / "features.safetensors", "np"))
        packed = dict.fromkeys(archive.keys(), archive.get_tensor)

    def read(name: str) -> np.ndarray | None:
        if name in packed:
            return packed[name](name)
        if (path := features / f"{name}.npy").exists():
            return np.load(path)
        if (path := features / f"{name}.safetensors").exists():
            with safe_open(path, "np") as file:
                return file.get_tensor("features")
        return None

    return read


def _checked(vector: np.ndarray | None, name: str, digest: str, features: Path) -> np.ndarray:
    if vector is None or digest_of_array(vector) != digest:
        raise ValueError(f"The features of {name} in {features} are missing or damaged. Run `polyaudio embed` again.")
    return vector


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(os.fspath(path))
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not a whole Parquet file ({error}). Write it again, or remove it.") from error
