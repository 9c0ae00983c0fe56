# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What `requirements.txt` of a Space and of an endpoint is made of."""

import configparser
import importlib.metadata
import re
from pathlib import Path


def package_requirements() -> dict[str, str]:
    """The requirements of polyaudio by their names, such as `transformers>=5.20`."""
    try:
        lines = [line for line in importlib.metadata.requires("polyaudio") or [] if "extra ==" not in line]
    except importlib.metadata.PackageNotFoundError:  # a checkout that is on the path but not installed
        setup = configparser.ConfigParser()
        setup.read(Path(__file__).resolve().parents[1] / "setup.cfg", encoding="utf-8")
        lines = setup["options"]["install_requires"].split()
    return {re.split(r"[^\w.-]", line, maxsplit=1)[0]: line for line in lines}


def installed_version(package: str) -> str:
    """The version of a package that is installed here, as package indexes have it: without the name of a build."""
    return importlib.metadata.version(package).partition("+")[0]
