# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Keeps a dataset, which may be of somebody else, from reading audio outside its folder."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import huggingface_hub

from .readable import clip_files


# More folders with audio, separated as in PATH, that datasets on this machine may name.
ROOTS_VARIABLE = "POLYAUDIO_AUDIO_ROOTS"

# How a path in a stream of the Hub begins, after the archive that it may be in.
_HUB = "hf://"
_ARCHIVES = frozenset(("zip", "tar", "gzip", "bz2", "xz", "lz4", "zstd"))


class Border(NamedTuple):
    """
    The folders that a dataset may read audio from.

    Attributes:
        roots: the folders.
        is_open: whether the folders of the variable `POLYAUDIO_AUDIO_ROOTS` are among them.
    """

    roots: tuple[str, ...]
    is_open: bool

    def check(self, rows: datasets.Dataset, where: str) -> None:
        """
        Check that the paths of clips lead to files inside the border, after all links.

        Args:
            rows: column `audio` (`Audio(decode=False)`). Clips whose audio is in the dataset itself need no path.
            where: name of the rows, for messages.

        Raises:
            ValueError: the path of a clip leads out.
        """
        roots = self.roots
        if self.is_open:
            roots += tuple(root for root in os.environ.get(ROOTS_VARIABLE, "").split(os.pathsep) if root)
        roots = tuple(_real_folder(root) for root in roots)
        real_folders: dict[str, str] = {}
        for path in filter(None, clip_files(rows)):
            folder, name = os.path.split(path)
            if folder not in real_folders:
                real_folders[folder] = _real_folder(folder)
            real = real_folders[folder] + name
            if name == ".." or os.path.islink(real):
                real = os.path.realpath(real)
            if "://" in path or not real.startswith(roots):
                raise ValueError(self._message(path, real, where))

    def _message(self, path: str, real: str, where: str) -> str:
        problem = f"{where}, names {path!r}, a file outside the dataset"
        if "://" not in path and os.path.abspath(path) != real:
            problem += f" ({real})"
        if not self.is_open:
            return (
                f"{problem}. A dataset on the Hub or in parquet files must hold its audio itself, so it is not read."
            )
        return (
            f"{problem}. Only files inside it are read. If you trust the dataset, name the folder with the audio in "
            f"the environment variable {ROOTS_VARIABLE}, for instance {ROOTS_VARIABLE}=/data/music."
        )


def border_of_folder(folder: Path, *, is_open: bool) -> Border:
    """Return the border of a dataset in a folder."""
    # A snapshot in the cache of the Hub holds links to the files, which are beside it
    is_snapshot = folder.absolute().parent.name == "snapshots"
    return Border((str(folder.absolute().parent.parent if is_snapshot else folder),), is_open)


def border_of_hub() -> Border:
    """Return the border of a dataset on the Hub: what was downloaded."""
    config = datasets.config
    caches = config.HF_DATASETS_CACHE, config.DOWNLOADED_DATASETS_PATH, huggingface_hub.constants.HF_HUB_CACHE
    return Border(tuple(map(str, caches)), False)


def hub_audio_only(example: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a stream of the Hub. A path to somewhere else becomes one that cannot be read."""
    audio = example["audio"]
    if audio and not audio["bytes"] and audio["path"] and not _is_on_hub(audio["path"]):
        return {"audio": {"bytes": None, "path": None}}
    return {"audio": audio}


def _is_on_hub(path: str) -> bool:
    *archives, last = path.split("::")
    return last.startswith(_HUB) and all(part.partition("://")[0] in _ARCHIVES for part in archives)


def _real_folder(folder: str) -> str:
    """The folder without links, with a separator at the end."""
    return os.path.join(os.path.realpath(folder), "")
