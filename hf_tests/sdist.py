"""Fetches the tests of the installed transformers, which are in its source distribution but not in its wheel."""

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import transformers


class SuiteUnavailableError(Exception):
    """The tests of transformers are not cached and could not be downloaded."""


def fetch_suite(cache: Path) -> Path:
    """
    Download the source distribution of the installed version of transformers and unpack its tests, unless that has
    been done before, and install `parameterized`, which they need, beside them.

    Args:
        cache: folder that keeps what was fetched, each version by itself.

    Returns:
        The folder to put on `sys.path`; the tests are the package `tests` in it.

    Raises:
        SuiteUnavailableError: pip cannot get at them, for instance because it reaches no package index.
    """
    version = transformers.__version__
    suite = cache / f"transformers-{version}"
    if suite.is_dir():
        return suite
    print(f"Fetching the tests of transformers {version} ...", flush=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        unfinished = Path(scratch) / "suite"
        _pip("install", "--no-deps", f"--target={unfinished}", "parameterized", version=version)
        _pip(
            "download",
            "--no-deps",
            "--no-binary=transformers",
            f"--dest={scratch}",
            f"transformers=={version}",
            version=version,
        )
        (archive,) = Path(scratch).glob("transformers-*.tar.gz")
        with tarfile.open(archive) as tar:
            root = tar.next().name.split("/")[0]
            members = [member for member in tar if member.name.startswith(f"{root}/tests/")]
            tar.extractall(scratch, members=members, filter="data")
        (Path(scratch) / root / "tests").rename(unfinished / "tests")
        # A regular package, so that no other folder of that name can come before it
        (unfinished / "tests" / "__init__.py").touch()
        unfinished.rename(suite)
    return suite


def _pip(*arguments: str, version: str) -> None:
    pip = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True)
    if pip.returncode != 0:
        raise SuiteUnavailableError(
            f"The tests of transformers {version} are not cached, and `pip {' '.join(arguments)}` could not get them. "
            f"They need a package index once. pip says:\n{pip.stderr.strip()}"
        )
