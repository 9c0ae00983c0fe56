# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Links from pages to recordings."""

import os
from pathlib import Path
from urllib.parse import quote


def link_to(recording: Path, folder: Path) -> str:
    """The address of a recording relative to a folder; on Windows the absolute one if it is on another drive."""
    try:
        relative = os.path.relpath(os.path.abspath(recording), os.path.abspath(folder))
    except ValueError:
        return recording.absolute().as_uri()
    return quote(os.fsencode(Path(relative).as_posix()))
