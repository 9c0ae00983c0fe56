# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Writing the features of files to a folder."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file


class FeatureFolder:
    """
    A folder with the features of audio files: one file for each, or one file for all.

    The first run records `root`, the folder that contains all its audio files. The path of the features of a file
    follows from the path of the file relative to `root`. So files with the same name in different folders, or in later
    runs, do not overwrite each other's features.

    Args:
        folder: the folder.
        settings: the settings that the features are computed with. All features in a folder have the same settings.
        files: the audio files.
        format: `"npy"` or `"safetensors"`.
        single_file: write all features to one file.

    Raises:
        ValueError: the folder has features with other settings, or a file is not below `root`.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], files: list[str], format: str, single_file: bool):
        self.archive = folder / ("features.npz" if format == "npy" else "features.safetensors")
        self.single_file = single_file
        self.clips = folder / "parts" if single_file else folder  # parts of an unfinished archive
        self.suffix = f".{format}"
        self.root = _settle(folder / "embed.json", settings, files)

    def __str__(self) -> str:
        return str(self.archive if self.single_file else self.clips)

    def _name(self, file: str) -> str:
        return Path(os.path.relpath(os.path.abspath(file), self.root)).as_posix()

    def _path(self, file: str) -> Path:
        return self.clips / (self._name(file) + self.suffix)

    def find_done(self, files: list[str]) -> set[str]:
        """The files whose features exist already."""
        archived = self._archived_names() if self.single_file and self.archive.exists() else set()
        return {file for file in files if self._path(file).exists() or self._name(file) in archived}

    def write(self, file: str, features: np.ndarray) -> None:
        """Write the features of a file."""

        def save(path: Path) -> None:
            if self.suffix == ".safetensors":
                save_file({"features": np.ascontiguousarray(features)}, path)
            else:
                with open(path, "wb") as opened:  # np.save would add an extension to a name
                    np.save(opened, features)

        _write_whole(self._path(file), save)

    def finish(self) -> None:
        """With `single_file`, move all features into one file."""
        if not self.clips.exists() or not self.single_file:
            return
        parts = {
            path.relative_to(self.clips).as_posix().removesuffix(self.suffix): path
            for path in sorted(self.clips.rglob(f"*{self.suffix}"))
        }
        if parts:
            _write_whole(self.archive, lambda path: self._pack(path, parts))
        shutil.rmtree(self.clips)

    def _archived_names(self) -> set[str]:
        if self.suffix == ".npy":
            with zipfile.ZipFile(self.archive) as archive:
                return {name.removesuffix(".npy") for name in archive.namelist()}
        with safe_open(self.archive, "np") as archive:
            return set(archive.keys())

    def _pack(self, path: Path, parts: dict[str, Path]) -> None:
        if self.suffix == ".safetensors":  # the old file and the parts stay until the new file is complete
            tensors = load_file(self.archive) if self.archive.exists() else {}
            save_file(tensors | {name: load_file(part)["features"] for name, part in parts.items()}, path)
            return
        with zipfile.ZipFile(path, "w") as packed:  # an npz file is a zip of npy files
            if self.archive.exists():
                with zipfile.ZipFile(self.archive) as archive:
                    for name in archive.namelist():
                        if name.removesuffix(".npy") not in parts:
                            packed.writestr(name, archive.read(name))
            for name, part in parts.items():
                packed.write(part, f"{name}.npy")


def _settle(path: Path, settings: dict[str, Any], files: list[str]) -> str:
    """Return the root of the first run if the settings are the same. In a new folder, record settings and root."""
    folders = [os.path.dirname(os.path.abspath(file)) for file in files]
    if not path.exists():
        root = os.path.commonpath(folders)
        _write_whole(path, lambda new: new.write_text(json.dumps(settings | {"root": root}, indent=2) + "\n"))
        return root
    kept = json.loads(path.read_text(encoding="utf-8"))
    root = kept.pop("root")
    for name, value in settings.items():
        if kept.get(name) != value:
            raise ValueError(
                f"{path.parent} has features with {name}={kept.get(name)} instead of {value}. Choose another "
                "output folder."
            )
    elsewhere = [folder for folder in folders if os.path.commonpath([root, folder]) != root]
    if elsewhere:
        raise ValueError(
            f"{path.parent} has features of files below {root}, but {elsewhere[0]} is not below it. Choose another "
            "output folder."
        )
    return root


def _write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file under a temporary name and rename it when it is complete, so no incomplete file is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}.tmp")
    try:
        write(unfinished)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
