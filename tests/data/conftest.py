# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Fixtures of the tests of datasets."""

from pathlib import Path

import pytest

from builders import write_clip


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """Audio files of several formats in folders by class, and files that are no clips."""
    root = tmp_path / "instruments"
    for name in (
        "tabla/hit1.wav",
        "tabla/hit2_chunk1.wav",
        "tabla/hit2_chunk2.flac",
        "guitar/hit1.ogg",
        "train/t.WAV",
    ):
        write_clip(root / name)
    (root / "README.md").write_text("no clip")
    (root / "tabla" / "._hit1.wav").write_bytes(b"what another system leaves behind")
    return root
