# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Writes dataset folders, complete or not at all, and their JSON files."""

import contextlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


# Files that `split_dataset` and `mix_dataset` write. `build_dataset` writes parquet files in `data/`.
# A folder with one of these files is a dataset
_MARKERS = ("dataset_dict.json", "mixtures.json")


def check_output(output: str | os.PathLike, *, source: str | None = None, overwrite: bool = False) -> None:
    """
    Check that a new dataset may be written to a folder. Only a dataset that polyaudio wrote is ever replaced.

    Args:
        output: the folder for the new dataset.
        source: path or name of the dataset that the new one is made from.
        overwrite: allow to replace a dataset.

    Raises:
        ValueError: the folder contains other files, contains a dataset and `overwrite` is not set, or is or contains
            the source.
    """
    folder = Path(output).resolve()
    if source is not None and Path(source).is_dir() and Path(source).resolve().is_relative_to(folder):
        raise ValueError(f"{output} would replace the dataset that it is made from. Name another folder.")
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not any(folder.glob("data/*.parquet")) and not any((folder / name).is_file() for name in _MARKERS):
        raise ValueError(f"{output} already exists and holds something else; name another folder.")
    if not overwrite:
        raise ValueError(f"{output} already holds a dataset; name another folder, or pass `overwrite`.")


@contextlib.contextmanager
def new_folder(output: str | os.PathLike, *, overwrite: bool = False) -> Iterator[Path]:
    """
    Create a hidden folder beside `output`, and rename it to `output` when the block ends. An error removes it.

    If the process is killed, the folder remains as `.NAME.incomplete`, and the next call removes it.

    Raises:
        ValueError: as [`check_output`], before anything is written.
    """
    check_output(output, overwrite=overwrite)
    output = Path(output).resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    folder, replaced = (output.with_name(f".{output.name}.{word}") for word in ("incomplete", "replaced"))
    for left in (folder, replaced):
        if left.exists():
            shutil.rmtree(left)
    folder.mkdir()
    try:
        yield folder
        if output.exists():
            output.rename(replaced)
        folder.rename(output)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_json(path: str | os.PathLike, content: Any, indent: int | None = 2) -> None:
    """Write a JSON file. NaN and infinity become `null`, because most readers of JSON refuse them."""
    text = json.dumps(_finite(content), indent=indent, ensure_ascii=False, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    """Replace each NaN and infinity in a value by `None`."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
