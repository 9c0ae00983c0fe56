# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The files of ONNX Runtime that run a model in a browser, from the npm package `onnxruntime-web`."""

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from huggingface_hub import cached_assets_path

from ..data.folders import write_whole


PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
# The smallest build that runs all operators: on the CPU, without WebGPU. SHA-512 of each file, in base64.
FILES = {
    "dist/ort.wasm.bundle.min.mjs": (
        "1KcF8CWAZeqtTcvLgKPtOMXIbkWeh++LDCQpDhQ5ARVxHAL1VNL5rr0OI+MxTbmNIANldE/A/q+O4gSKgSMjWQ=="
    ),
    "dist/ort-wasm-simd-threaded.wasm": (
        "Gt7e1iIDIZ/PXEhM/OVleqWHVom0kEI/hs8cod0crXcV9jDGM39B23HuQnlOOgDOC3x4k5pxIgtdgzaL9up3MA=="
    ),
}


def read_web_runtime(source: str | os.PathLike | None = None) -> dict[str, bytes]:
    """
    The files of the runtime, by their paths in the package.

    Args:
        source: the npm package, as the `.tgz` file that `npm pack` writes or unpacked. By default it is fetched with
            npm once, and kept in the cache of Hugging Face (`HF_HOME`).

    Raises:
        ValueError: npm is missing or fails, or the files are not those of this version of the package.
        OSError: a file cannot be read or written.
    """
    if source is not None:
        return _read_package(Path(source))
    cache = cached_assets_path("polyaudio", PACKAGE, VERSION)
    if not all((cache / name).is_file() for name in FILES):
        for name, content in _fetch().items():
            (cache / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(cache / name, lambda new, content=content: new.write_bytes(content))  # type: ignore[misc]
    return _read_package(cache)


def copy_web_runtime(folder: Path, runtime: dict[str, bytes]) -> None:
    """Write the files of [`read_web_runtime`] into a folder."""
    for name, content in runtime.items():
        (folder / Path(name).name).write_bytes(content)


def _read_package(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        contents = {name: (path / name).read_bytes() for name in FILES if (path / name).is_file()}
    else:
        contents = _read_archive(path)
    for name, digest in FILES.items():
        if base64.b64encode(hashlib.sha512(contents.get(name, b"")).digest()).decode() != digest:
            what = f"its file {name} is another one" if name in contents else f"it has no file {name}"
            raise ValueError(
                f"{path} is not {PACKAGE} {VERSION}: {what}. `npm pack {PACKAGE}@{VERSION}` fetches that version."
            )
    return contents


def _read_archive(path: Path) -> dict[str, bytes]:
    contents = {}
    try:
        with tarfile.open(path) as archive:
            for name in FILES:
                member = archive.extractfile(f"package/{name}")
                contents[name] = member.read() if member is not None else b""
    except (tarfile.TarError, EOFError, KeyError) as error:
        raise ValueError(f"{path} is not the package {PACKAGE} as `npm pack` writes it ({error}).") from error
    return contents


def _fetch() -> dict[str, bytes]:
    npm = shutil.which("npm")
    package = f"{PACKAGE}@{VERSION}"
    if npm is None:
        raise ValueError(
            f"The page needs the npm package {package}. Install Node.js, which has npm, or give the package "
            "(--web-runtime)."
        )
    with tempfile.TemporaryDirectory() as folder:
        # In a folder without a project, so that no settings of one apply
        done = subprocess.run([npm, "pack", package, "--silent"], cwd=folder, capture_output=True, text=True)
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or not archives:
            said = (done.stderr or done.stdout).strip().split("\n")[-1]
            raise ValueError(
                f"npm could not fetch {package} ({said}). Try again, or give the package (--web-runtime)."
            )
        return _read_package(archives[0])
