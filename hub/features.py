# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Uploads a folder of vectors, as `embed_collection` writes it, as a dataset."""

import json
import os
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..integration.limits import read_json
from ..integration.version import __version__
from .dataset import push_dataset


if TYPE_CHECKING:
    import pyarrow as pa

_LARGEST_FILE = 2**29  # bytes of vectors in a file on the Hub

_CARD = """\
---
tags:
- audio
- embeddings
---

# {title}

{rows} vectors of {size} values ({dtype}) for {recordings} recordings, one for each {kind}, computed with
[polyaudio](https://github.com/polyaudio/polyaudio) {version}.

| setting | value |
|---|---|
{settings}

| column | content |
|---|---|
| `file` | name of the recording in its collection |
| `start`, `end` | the part of the recording, in seconds |
| `vector` | {dtype}, {size} values |
| `audio` | SHA-256 of the file of the recording |
| `model` | SHA-256 of the weights and settings of the model |
{columns}
```python
from datasets import load_dataset

vectors = load_dataset("{repo}", split="train").with_format("numpy")
```
"""


def push_features(folder: str | os.PathLike, repo: str, *, private: bool = False) -> str:
    """
    Upload the vectors of a folder, with a card, as a dataset. Small files become larger ones. The paths of the model
    and of the recordings on this machine stay here.

    Args:
        folder: a folder that `embed_collection` wrote.
        repo: the repository. It is created if it does not exist.
        private: create it as a private repository.

    Returns:
        The address of the commit.

    Raises:
        ValueError: the folder has no vectors, the Hub cannot be reached or refuses, or `private` is set and the
            repository is public.
    """
    folder = Path(folder)
    again = ["polyaudio", "embed", "...", "--format", "parquet", "--output", str(folder), "--push", repo]
    with tempfile.TemporaryDirectory(prefix="polyaudio-") as name:
        write_dataset(folder, Path(name), repo)
        return push_dataset(name, repo, private=private, again=shlex.join([*again, *(["--private"] * private)]))


def write_dataset(folder: Path, output: Path, repo: str) -> None:
    """
    Write what [`push_features`] uploads: larger parquet files, and `README.md`.

    Raises:
        ValueError: the folder has no vectors.
    """
    import pyarrow.parquet

    settings = read_json(folder / "embed.json")
    public = {name: value for name, value in settings.items() if name not in ("root", "columns")}
    if os.path.isabs(public["model"]):
        public["model"] = os.path.basename(public["model"])
    (output / "data").mkdir()
    rows, recordings, schema = 0, set[str](), None
    writer, room, number = None, 0, 0
    for table in _shards(folder):
        table = table.replace_schema_metadata({b"polyaudio": json.dumps(public).encode()})
        schema = table.schema
        if writer is None or table.nbytes > room:
            if writer is not None:
                writer.close()
            writer = pyarrow.parquet.ParquetWriter(
                output / "data" / f"train-{number:05d}.parquet", schema, compression="zstd"
            )
            room, number = _LARGEST_FILE, number + 1
        writer.write_table(table)
        room -= table.nbytes
        rows += len(table)
        recordings.update(table["file"].to_pylist())
    if writer is None or schema is None:
        raise ValueError(f"{folder} has no vectors, so nothing was pushed.")
    writer.close()
    size = schema.field("vector").type.list_size
    values = {name: "none" if value is None else f"`{value}`" for name, value in public.items()}
    (output / "README.md").write_text(
        _CARD.format(
            title=repo.partition("/")[2] or repo,
            rows=rows,
            size=size,
            dtype=public["dtype"],
            recordings=len(recordings),
            kind=public["rows"],
            version=__version__,
            settings="\n".join(f"| {name} | {value} |" for name, value in values.items()),
            columns="".join(f"| `{name}` | that of the dataset |\n" for name in settings["columns"]),
            repo=repo,
        ),
        encoding="utf-8",
    )


def _shards(folder: Path) -> "Iterator[pa.Table]":
    import pyarrow.parquet

    for path in sorted(folder.glob("data/train-*.parquet")):
        yield pyarrow.parquet.read_table(path)
