# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Writing the features of files to a folder."""

import contextlib
import importlib.util
import json
import logging
import os
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..data.digests import digest_of_array, digest_of_file
from ..data.folders import write_json, write_whole
from ..data.locks import locked
from .feature_settings import check_settings, read_settings


try:
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load_file, save_file
except ImportError:  # only one of the formats needs it
    SafetensorError = ValueError  # type: ignore[assignment, misc]

logger = logging.getLogger(__name__)

# What reading a damaged file raises
_DAMAGED = (OSError, ValueError, EOFError, KeyError, SafetensorError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class FeatureSettings:
    """
    What the features of all files in a folder have in common.

    Args:
        model: name of the model, for messages. A model that was moved or renamed is the same.
        weights: its digest, see `digest_of_model`.
        granularity, window, padding, layer: arguments of [`embed`].
        precision: `None` for float32.
    """

    model: str
    weights: str
    granularity: str
    window: float | None
    padding: str
    layer: int | str | None = None
    precision: str | None = None


class FeatureFolder:
    """
    A folder with the features of audio files: one file for each, or one file for all.

    The first run records `root`, the folder that contains all its audio files. The path of the features of a file
    follows from the path of the file relative to `root`. So files with the same name in different folders, or in later
    runs, do not overwrite each other's features.

    `index.jsonl` has a line for each file whose features were written, with the digests of the audio and of the
    features. Several processes can write to a folder at the same time.

    Args:
        folder: the folder.
        settings: what the features are computed with. All features in a folder have the same settings.
        files: the audio files.
        format: `"npy"` or `"safetensors"`.
        single_file: write all features to one file.

    Raises:
        ValueError: the folder has features with other settings, a file is not below `root`, or safetensors is not
            installed.
    """

    def __init__(self, folder: Path, settings: FeatureSettings, files: list[str], format: str, single_file: bool):
        if format == "safetensors" and importlib.util.find_spec("safetensors") is None:
            raise ValueError("The format safetensors needs a package: `pip install safetensors`. Or choose npy.")
        self.archive = folder / ("features.npz" if format == "npy" else "features.safetensors")
        self.single_file = single_file
        self.clips = folder / "parts" if single_file else folder  # parts of an unfinished archive
        self.suffix = f".{format}"
        self.index, self.lock = folder / "index.jsonl", folder / ".embed.lock"
        with locked(self.lock, wait=True):
            self.root = _settle(folder / "embed.json", settings, files)
        self.states = {file: _state(file) for file in files}

    def __str__(self) -> str:
        return str(self.archive if self.single_file else self.clips)

    def _name(self, file: str) -> str:
        return Path(os.path.relpath(os.path.abspath(file), self.root)).as_posix()

    def _path(self, file: str) -> Path:
        return self.clips / (self._name(file) + self.suffix)

    def find_done(self, files: list[str]) -> set[str]:
        """The files whose features are there, complete, and were computed from the audio that the files have now."""
        entries, archived = self._read_index(), self._archived_digests()

        def is_done(file: str) -> bool:
            name = self._name(file)
            part = self._read(self._path(file))
            digest = archived.get(name) if part is None else digest_of_array(part)
            if name not in entries or digest != entries[name]["features"]:
                return False
            try:
                return digest_of_file(file) == entries[name]["audio"]
            except OSError:  # reading it tells why
                return False

        return {file for file in files if is_done(file)}

    def write(self, file: str, features: np.ndarray) -> None:
        """Write the features of a file."""
        path = self._path(file)
        features = np.ascontiguousarray(features)

        def save(unfinished: Path) -> None:
            if self.suffix == ".safetensors":
                save_file({"features": features}, unfinished)
            else:
                with open(unfinished, "wb") as opened:  # np.save would add an extension to a name
                    np.save(opened, features)

        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                write_whole(path, save, sync=False)  # the index shows whether the file is whole
                break
            except FileNotFoundError:  # another process has just moved all parts and removed their folders
                if path.parent.exists():
                    raise
        if _state(file) == self.states[file]:  # otherwise nobody knows which audio the features are those of
            entry = {"file": self._name(file), "audio": digest_of_file(file), "features": digest_of_array(features)}
            self._add_to_index(entry)

    def finish(self) -> None:
        """With `single_file`, move all features into one file."""
        if not self.single_file:
            return
        with locked(self.lock, wait=True):
            if not self.clips.exists():
                return
            parts = {
                path.relative_to(self.clips).as_posix().removesuffix(self.suffix): path
                for path in sorted(self.clips.rglob(f"*{self.suffix}"))
            }
            parts = {name: path for name, path in parts.items() if self._read(path) is not None}
            if parts:
                write_whole(self.archive, lambda path: self._pack(path, parts))
            for part in parts.values():
                part.unlink()
            for folder in sorted((path for path in self.clips.rglob("*") if path.is_dir()), reverse=True):
                with contextlib.suppress(OSError):  # another process has written to it
                    folder.rmdir()
            with contextlib.suppress(OSError):
                self.clips.rmdir()

    def _read_index(self) -> dict[str, dict[str, str]]:
        """What the index has of each file. Lines that a killed process has not written to their end are left out."""
        entries = {}
        if self.index.exists():
            for line in self.index.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    entry = json.loads(line)
                    entries[entry["file"]] = {name: entry[name] for name in ("audio", "features")}
        return entries

    def _add_to_index(self, entry: dict[str, str]) -> None:
        # In one call, so that lines of several processes do not mix, and on a new line after one that was cut off
        line = f"\n{json.dumps(entry)}\n".encode()
        descriptor = os.open(self.index, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def _read(self, path: Path) -> np.ndarray | None:
        """The features in a file; `None` if there is none, or a damaged one."""
        try:
            return load_file(path)["features"] if self.suffix == ".safetensors" else np.load(path)
        except _DAMAGED:
            return None

    def _archived_digests(self) -> dict[str, str]:
        """The digests of the features in the file with all features; none if that file is damaged."""
        if not self.single_file or not self.archive.exists():
            return {}
        try:
            if self.suffix == ".npy":
                with np.load(self.archive) as archive:
                    return {name: digest_of_array(archive[name]) for name in archive.files}
            with safe_open(self.archive, "np") as archive:
                return {name: digest_of_array(archive.get_tensor(name)) for name in archive.keys()}  # noqa: SIM118  not a dict
        except _DAMAGED as error:
            logger.warning(f"{self.archive} is damaged ({error}). What it has is computed again.")
            return {}

    def _pack(self, path: Path, parts: dict[str, Path]) -> None:
        """Write all features to one file: those that are in one already, and the parts, which replace them."""
        old = self._archived_digests().keys() - parts.keys()
        if self.suffix == ".safetensors":
            tensors = load_file(self.archive) if old else {}
            save_file(
                {name: tensors[name] for name in old}
                | {name: load_file(part)["features"] for name, part in parts.items()},
                path,
            )
            return
        with zipfile.ZipFile(path, "w") as packed:  # an npz file is a zip of npy files
            if old:
                with zipfile.ZipFile(self.archive) as archive:
                    for name in sorted(old):
                        packed.writestr(f"{name}.npy", archive.read(f"{name}.npy"))
            for name, part in parts.items():
                packed.write(part, f"{name}.npy")


def _state(file: str) -> tuple[int, int] | None:
    """What changes when a file is written to; `None` if it is missing."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _settle(path: Path, settings: FeatureSettings, files: list[str]) -> str:
    """Return the root of the first run if the settings are the same. In a new folder, record settings and root."""
    folders = [os.path.dirname(os.path.abspath(file)) for file in files]
    if not path.exists():
        root = os.path.commonpath(folders)
        write_json(path, asdict(settings) | {"root": root})
        return root
    kept = read_settings(path)
    check_settings(path.parent, kept, asdict(settings))
    root = os.fspath(kept["root"])
    elsewhere = [folder for folder in folders if os.path.commonpath([root, folder]) != root]
    if elsewhere:
        raise ValueError(
            f"{path.parent} has features of files below {root}, but {elsewhere[0]} is not below it. Choose another "
            "output folder."
        )
    return root
