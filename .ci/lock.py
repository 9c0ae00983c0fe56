# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`make lock`: writes constraints/ anew, with the newest versions of everything, if the checks and the tests pass.

Versions are resolved for every Python that polyaudio supports. With each Python that is on this machine a fresh
environment is set up from them, and `make lint static test` runs there. If that fails, constraints/ stays as it is.
"""

import configparser
import datetime
import os
import platform
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "constraints"
CANDIDATES = ROOT / "build" / "lock"
HEADER = """\
# Exact versions for Python {python}, written by `make lock` on {date}.
# {seen}
"""
TESTED = "Seen to pass with them: `make lint static test` on {platform}, Python {version}."
RESOLVED = "Resolved only: this Python was not on the machine, so no test has run with them."


def pythons() -> list[str]:
    """The versions of Python that setup.cfg names."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return re.findall(r"Python :: (3\.\d+)", setup["metadata"]["classifiers"])


def full_version(python: str) -> str | None:
    """The version of the interpreter `python`, or None where it does not start: some machines have a mere stand-in."""
    if shutil.which(python) is None:
        return None
    found = subprocess.run([python, "--version"], capture_output=True, text=True)
    return found.stdout.split()[1] if found.returncode == 0 else None


def resolve(uv: Path, python: str, lock: Path) -> None:
    """Write the newest versions for a Python, with pip and setuptools, which build the package."""
    requirements = CANDIDATES / "build.in"
    requirements.write_text("pip\nsetuptools\n", encoding="utf-8")
    flags = ["--upgrade", "--quiet", "--no-header", "--no-annotate", "--python-version", python]
    subprocess.run(
        [
            uv,
            "pip",
            "compile",
            "setup.cfg",
            requirements,
            "--extra",
            "dev",
            "--extra",
            "sound-events",
            *flags,
            "--output-file",
            lock,
        ],
        cwd=ROOT,
        check=True,
    )
    lines = lock.read_text(encoding="utf-8").splitlines(keepends=True)
    lock.write_text("".join(line for line in lines if not line.startswith("polyaudio")), encoding="utf-8")


def passes(python: str) -> bool:
    """Whether the checks and the tests pass in a fresh environment with the versions found."""
    environment = CANDIDATES / f"venv-{python}"
    shutil.rmtree(environment, ignore_errors=True)
    variables = [f"PYTHON=python{python}", f"VENV={environment}", f"CONSTRAINTS={CANDIDATES}"]
    return subprocess.run(["make", *variables, "sound-events", "lint", "static", "test"], cwd=ROOT).returncode == 0


def main() -> int:
    tools = CANDIDATES / "tools"
    venv.create(tools, with_pip=True)
    subprocess.run([tools / "bin" / "python", "-m", "pip", "install", "--quiet", "--upgrade", "uv"], check=True)
    os.environ["UV_PYTHON_DOWNLOADS"] = "never"
    headers = {}
    for python in pythons():
        lock = CANDIDATES / f"py{python.replace('.', '')}.txt"
        resolve(tools / "bin" / "uv", python, lock)
        version = full_version(f"python{python}")
        if version is not None and not passes(python):
            print(f"The newest versions fail with Python {python}; constraints/ is as it was.", file=sys.stderr)
            return 1
        system = f"{platform.system()} {platform.machine()}"
        seen = RESOLVED if version is None else TESTED.format(platform=system, version=version)
        headers[lock] = HEADER.format(python=python, date=datetime.date.today(), seen=seen)
    LOCKS.mkdir(exist_ok=True)
    for lock, header in headers.items():
        (LOCKS / lock.name).write_text(header + lock.read_text(encoding="utf-8"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
