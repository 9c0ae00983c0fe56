# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Digests of files, arrays and datasets, by which a later run recognises what an earlier one read or wrote."""

import hashlib
import json
import os
from collections.abc import MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np


if TYPE_CHECKING:
    import datasets

_BLOCK_BYTES = 2**20


def digest_of_file(path: str | os.PathLike) -> str:
    """The SHA-256 of the content of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def digest_of_array(array: np.ndarray) -> str:
    """The SHA-256 of the values, the shape and the dtype of an array."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def digest_of_values(values: Any) -> str:
    """The SHA-256 of numbers, texts, lists and dictionaries of them, as JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def digest_of_audio(clips: "datasets.Dataset", known: MutableMapping[str, str] | None = None) -> str:
    """
    The SHA-256 of the audio of a dataset, of all clips in their order. Files are read, and not decoded.

    Args:
        clips: column `audio` (`Audio(decode=False)`), as `load_clips` and `load_recordings` return them.
        known: the digests of files that were computed before, by path. New ones are added.

    Raises:
        OSError: a file cannot be read.
    """
    known = {} if known is None else known

    def digest_of(audio: dict[str, Any] | None) -> str:
        content, path = (audio or {}).get("bytes"), (audio or {}).get("path")
        if content is not None:
            return hashlib.sha256(content).hexdigest()
        if path is None or not Path(path).is_file():
            return str(path)  # a file on the network
        if path not in known:
            known[path] = digest_of_file(path)
        return known[path]

    total = hashlib.sha256()
    # Threads are enough, because hashing releases the interpreter lock
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for table in clips.select_columns("audio").with_format("arrow").iter(batch_size=100):
            for digest in pool.map(digest_of, table["audio"].to_pylist()):
                total.update(digest.encode())
    return total.hexdigest()
