# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`make matrix`: the tests on every Python, with the newest, the locked and the lowest versions of all requirements.

A Python that is not on this machine is skipped, and nox says so. `nox -f .ci/noxfile.py --list` gives the names of the
sessions, with `--session newest-3.12` it runs one, and what stands behind `--` goes to pytest.
"""

import configparser
import itertools
import re
from pathlib import Path

import nox


ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
# The versions of transformers and PEFT whose pairs must save and load adapters
TRANSFORMERS = ["5.20", "5.21", "5.22", "5.23", "5.24"]
PEFT = ["0.20", "0.21"]


def lowest_versions() -> list[str]:
    """The requirements in setup.cfg, each with its lower bound as the only version."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    requirements = setup["options"]["install_requires"] + setup["options.extras_require"]["test"]
    bounds = [re.match(r"([\w-]+)>=([\d.]+)", requirement) for requirement in requirements.splitlines()]
    return [f"{bound[1]}=={bound[2]}" for bound in bounds if bound]


def install(session: nox.Session, *arguments: str) -> None:
    session.chdir(ROOT)
    session.install("--upgrade", "pip")
    session.install("--editable", ".[test]", *arguments)
    session.run("python", "-m", "pip", "freeze", "--exclude-editable")


def run_tests(session: nox.Session, *tests: str) -> None:
    session.run("python", "-m", "pytest", "--numprocesses", "2", "--dist", "loadfile", *tests, *session.posargs)


nox.options.envdir = str(ROOT / ".nox")
nox.options.default_venv_backend = "venv"


@nox.session(python=PYTHONS)
def newest(session: nox.Session) -> None:
    install(session)
    run_tests(session, "tests")


@nox.session(python=PYTHONS)
def locked(session: nox.Session) -> None:
    lock = str(ROOT / "constraints" / f"py{session.python.replace('.', '')}.txt")
    install(session, "--constraint", lock, "--build-constraint", lock)
    run_tests(session, "tests")


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Without the extras, some of which ask for newer versions. Their tests are skipped."""
    session.chdir(ROOT)
    session.install("--upgrade", "pip")
    session.install("--editable", ".", *lowest_versions())
    session.run("python", "-m", "pip", "freeze", "--exclude-editable")
    run_tests(session, "tests")


@nox.session(python="3.11")
def adapters(session: nox.Session) -> None:
    install(session)
    for transformers, peft in itertools.product(TRANSFORMERS, PEFT):
        session.install(f"transformers=={transformers}.*", f"peft=={peft}.*")
        run_tests(session, "tests", "-k", "lora or adapter")
