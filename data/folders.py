# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Writes folders and files, complete or not at all."""

import contextlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .locks import locked


# Files that `split_dataset` and `mix_dataset` write. `build_dataset` writes parquet files in `data/`.
# A folder with one of these files is a dataset
_MARKERS = ("dataset_dict.json", "mixtures.json")
# The end of the name of a file or folder that is being written, or was when its process was killed
INCOMPLETE = ".incomplete"


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
    restore(folder)
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
    A hidden folder beside `output`, which becomes the dataset `output` when the block ends; see [`whole_folder`].

    Raises:
        ValueError: as [`check_output`], before anything is written.
    """
    check_output(output, overwrite=overwrite)
    with whole_folder(output) as folder:
        yield folder


@contextlib.contextmanager
def whole_folder(output: str | os.PathLike) -> Iterator[Path]:
    """
    Create a hidden folder beside `output`, and rename it to `output` when the block ends. An error removes it.

    A folder `output` that exists is replaced then. If the process is killed, the new folder remains as
    `.NAME.incomplete`, and the next call removes it; so does the file `.NAME.lock`, which nobody holds then. If it is
    killed between the renames of the old and the new folder, the old one remains as `.NAME.replaced`, and [`restore`]
    or the next call puts it back.

    Raises:
        ValueError: another process is writing `output`.
        OSError: the disk is full, or the folder cannot be written to.
    """
    output = Path(output).resolve()
    folder, replaced = _aside(output, INCOMPLETE), _aside(output, ".replaced")
    with _alone(output):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
            _sync(folder)
            _put_back(output)
            shutil.rmtree(replaced, ignore_errors=True)
            if output.exists():
                output.rename(replaced)
            try:
                folder.rename(output)
            finally:
                _put_back(output)
            shutil.rmtree(replaced, ignore_errors=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def restore(output: str | os.PathLike) -> None:
    """Put a folder back that [`whole_folder`] was about to replace when it was killed."""
    output = Path(output).resolve()
    if _aside(output, ".replaced").exists() and not output.exists():
        with _alone(output):
            _put_back(output)


def _aside(output: Path, word: str) -> Path:
    return output.with_name(f".{output.name}{word}")


def _put_back(output: Path) -> None:
    replaced = _aside(output, ".replaced")
    if replaced.exists() and not output.exists():
        replaced.rename(output)


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(_aside(output, ".lock")))
        except BlockingIOError as error:
            raise ValueError(
                f"Another process is writing {output}. Wait until it has finished, or name another folder."
            ) from error
        yield


def _sync(folder: Path) -> None:
    """Make sure that everything in a folder is on the disk, so that a rename does not get there before it."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


def write_whole(path: str | os.PathLike, write: Callable[[Path], Any], *, sync: bool = True) -> None:
    """
    Let `write` fill a file with a temporary name, and rename it when it is complete, so no incomplete file is left.

    Args:
        path: the file.
        write: writes to the path that it is called with.
        sync: wait until the content is on the disk, so that the file is whole after a power cut too.

    Raises:
        OSError: the file could not be written. A file that was there does not change.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{INCOMPLETE}")
    try:
        unfinished.touch()
        mode = unfinished.stat().st_mode
        write(unfinished)
        unfinished.chmod(mode)  # safetensors would give the file to its owner only
        if sync:
            with open(unfinished, "rb") as file:
                os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, content: Any, indent: int | None = 2) -> None:
    """Write a JSON file whole. NaN and infinity become `null`, because most readers of JSON refuse them."""
    text = json.dumps(finite(content), indent=indent, ensure_ascii=False, allow_nan=False)
    write_whole(path, lambda new: new.write_text(text + "\n", encoding="utf-8"))


def finite(value: Any) -> Any:
    """Replace each NaN and infinity in a value by `None`."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
