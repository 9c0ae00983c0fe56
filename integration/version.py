# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The version of polyaudio."""

from importlib.metadata import PackageNotFoundError, version


try:
    __version__ = version("polyaudio")
except PackageNotFoundError:  # a checkout that is on the path but not installed
    __version__ = "0+checkout"
