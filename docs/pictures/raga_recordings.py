# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What several pictures are made from: a recording of ragas, and how a picture becomes a small file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from polyaudio.data.ragas import SAMPLING_RATE, synthesize_concert


SECONDS, TONIC = 40, 160.0  # of each raga, and in Hz


def write_recording(file: Path, ragas: Sequence[str]) -> None:
    """A recording of one raga after the other, at the same tonic."""
    parts = [
        synthesize_concert(raga, tonic=TONIC, timbre="voice", seconds=SECONDS, seed=seed).samples
        for seed, raga in enumerate(ragas, 7)
    ]
    soundfile.write(file, np.concatenate(parts), SAMPLING_RATE)


def reduce_colours(picture: str) -> None:
    """Write a PNG file again with a palette, which makes it a third as large."""
    image = Image.open(picture).convert("RGB")
    image.quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(picture, optimize=True)
