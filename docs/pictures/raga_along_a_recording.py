# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Draws the picture of the guide to ragas: a recording of three ragas, with its melody and its ragas over time.

polyaudio demo --output runs/demo
python docs/pictures/raga_along_a_recording.py runs/demo docs/pictures/raga_along_a_recording.png
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from polyaudio import annotate
from polyaudio.data.ragas import SAMPLING_RATE, synthesize_concert
from polyaudio.inference.annotation_plots import plot_annotation
from polyaudio.inference.melody_picture import compute_melody


RAGAS = ("Todi", "Hamsanadam", "Kalyani")
SECONDS, TONIC = 40, 160.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of a SAMAudio classifier with a front end relative to the tonic")
    parser.add_argument("output", help="PNG file to write")
    args = parser.parse_args()

    parts = [
        synthesize_concert(raga, tonic=TONIC, timbre="voice", seconds=SECONDS, seed=seed).samples
        for seed, raga in enumerate(RAGAS, 7)
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "recording.wav")
        soundfile.write(file, np.concatenate(parts), SAMPLING_RATE)
        (annotation,) = annotate(file, args.model, window=16, hop=4)
        melody = compute_melody(file, annotation.duration)
        print(f"tonic {melody.tonic:.1f} Hz, confidence {melody.confidence:.2f}")
        named = dataclasses.replace(annotation, file=f"{', '.join(RAGAS)}, {SECONDS} s each")
        plot_annotation(named, args.output, file, melody=melody)
    image = Image.open(args.output).convert("RGB")
    image.quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(args.output, optimize=True)


if __name__ == "__main__":
    main()
