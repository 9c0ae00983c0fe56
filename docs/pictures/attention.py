# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Draws where the segment tokens of a model attend to: in a recording of two ragas with a pause between them.

polyaudio demo --output runs/demo
python docs/pictures/attention.py runs/demo docs/pictures/attention.png
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from polyaudio import plot_segment_attention, segment_attention
from polyaudio.data.ragas import SAMPLING_RATE, synthesize_recording


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of a SAMAudio classifier")
    parser.add_argument("output", help="PNG file to write")
    args = parser.parse_args()

    first, second = (
        synthesize_recording(raga, tonic=160.0, timbre="voice", seconds=10, seed=7) for raga in ("Todi", "Hamsanadam")
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "two_ragas.wav")
        soundfile.write(file, np.concatenate([first, np.zeros(4 * SAMPLING_RATE), second]), SAMPLING_RATE)
        (attention,) = segment_attention(file, args.model)
        plot_segment_attention(attention, args.output)
    image = Image.open(args.output).convert("RGB")
    image = image.resize((1050, 1050 * image.height // image.width), Image.Resampling.LANCZOS)
    image.quantize(256, dither=Image.Dither.NONE).save(args.output, optimize=True)


if __name__ == "__main__":
    main()
