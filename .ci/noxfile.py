# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`make matrix`: the tests on every Python, with the newest and with the lowest versions of what the package requires.

A Python that is not on this machine is skipped, and nox says so. `nox -f .ci/noxfile.py --list` gives the names of the
sessions, with `--session newest-3.12` it runs one, and what stands behind `--` goes to pytest.
"""

import configparser
import re
from pathlib import Path

import nox


ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]


def lowest_versions() -> list[str]:
    """The requirements in setup.cfg, each with its lower bound as the only version."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    requirements = setup["options"]["install_requires"] + setup["options.extras_require"]["test"]
    bounds = [re.match(r"([\w-]+)>=([\d.]+)", requirement) for requirement in requirements.splitlines()]
    return [f"{bound[1]}=={bound[2]}" for bound in bounds if bound]


def run_tests(session: nox.Session, *constraint: str) -> None:
    session.chdir(ROOT)
    session.install("--editable", ".[test]", *constraint)
    session.run("python", "-m", "pip", "freeze", "--exclude-editable")
    session.run("python", "-m", "pytest", "tests", *session.posargs)


nox.options.envdir = str(ROOT / ".nox")


@nox.session(python=PYTHONS, venv_backend="venv")
def newest(session: nox.Session) -> None:
    run_tests(session)


@nox.session(python=PYTHONS[0], venv_backend="venv")
def lowest(session: nox.Session) -> None:
    constraints = Path(session.create_tmp(), "lowest.txt")
    constraints.write_text("\n".join(lowest_versions()), encoding="utf-8")
    run_tests(session, "--constraint", str(constraints))
