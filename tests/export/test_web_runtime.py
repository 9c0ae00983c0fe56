# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Where the runtime of the page comes from: a file, a folder, npm once and then the cache, and nothing else."""

import base64
import hashlib
import os
import stat
import tarfile
from pathlib import Path

import pytest

from polyaudio.export import web_runtime
from polyaudio.export.web_runtime import VERSION, copy_web_runtime, read_web_runtime


CONTENTS = {"dist/a.mjs": b"script", "dist/a.wasm": b"program"}


@pytest.fixture(autouse=True)
def small_package(monkeypatch, tmp_path):
    """A small package with its digests, an empty cache, and no npm."""
    digests = {name: base64.b64encode(hashlib.sha512(content).digest()).decode() for name, content in CONTENTS.items()}
    monkeypatch.setattr(web_runtime, "FILES", digests)
    monkeypatch.setattr(web_runtime, "cached_assets_path", lambda *names: tmp_path.joinpath("cache", *names))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def write_package(folder: Path, contents: dict[str, bytes] = CONTENTS) -> Path:
    for name, content in contents.items():
        path = folder / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with tarfile.open(folder / "package.tgz", "w:gz") as archive:
        archive.add(folder / "package", "package")
    return folder / "package.tgz"


def install_npm(folder: Path, script: str) -> None:
    """An npm that counts how often it is called."""
    folder.joinpath("bin").mkdir()
    npm = folder / "bin" / "npm"
    npm.write_text(f'#!/bin/sh\nPATH={os.defpath}\necho "$@" >> {folder}/calls\n{script}\n')
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)


def test_a_package_as_a_file_and_unpacked(tmp_path):
    archive = write_package(tmp_path)
    assert read_web_runtime(archive) == read_web_runtime(tmp_path / "package") == CONTENTS
    copy_web_runtime(tmp_path, CONTENTS)
    assert (tmp_path / "a.wasm").read_bytes() == b"program"


def test_npm_fetches_the_package_once(tmp_path):
    archive = write_package(tmp_path)
    install_npm(tmp_path, f"cp {archive} .")
    assert read_web_runtime() == read_web_runtime() == CONTENTS
    assert (tmp_path / "calls").read_text() == f"pack onnxruntime-web@{VERSION} --silent\n"


def test_npm_that_fails_or_is_missing(tmp_path):
    with pytest.raises(ValueError, match=r"Install Node.js, which has npm, or give the package"):
        read_web_runtime()
    install_npm(tmp_path, "echo 'network is down' >&2; exit 1")
    with pytest.raises(ValueError, match=r"could not fetch onnxruntime-web@.* \(network is down\)"):
        read_web_runtime()
    assert not (tmp_path / "cache").exists()


def test_other_files_are_refused(tmp_path):
    changed = write_package(tmp_path / "changed", {**CONTENTS, "dist/a.wasm": b"PROGRAM"})
    with pytest.raises(ValueError, match=r"is not onnxruntime-web .*: its file dist/a.wasm is another one"):
        read_web_runtime(changed)
    with pytest.raises(ValueError, match=r"it has no file dist/a.mjs"):
        read_web_runtime(tmp_path)
    (tmp_path / "text.tgz").write_text("text")
    with pytest.raises(ValueError, match=r"text.tgz is not the package onnxruntime-web as `npm pack` writes it"):
        read_web_runtime(tmp_path / "text.tgz")
    install_npm(tmp_path, f"cp {changed} .")
    with pytest.raises(ValueError, match="is another one"):
        read_web_runtime()
