# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Lists the packages, which setup.cfg cannot: each folder with an `__init__.py` is a package below `polyaudio`."""

from setuptools import find_packages, setup


setup(
    packages=["polyaudio", *(f"polyaudio.{name}" for name in find_packages())],
    script_name=__file__,  # by this setuptools knows which module not to install
)
