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

from raga_recordings import SECONDS, reduce_colours, write_recording

from polyaudio import annotate
from polyaudio.inference.annotation_plots import plot_annotation
from polyaudio.inference.melody_picture import compute_melody


RAGAS = ("Todi", "Hamsanadam", "Kalyani")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of a SAMAudio classifier with a front end relative to the tonic")
    parser.add_argument("output", help="PNG file to write")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "recording.wav")
        write_recording(file, RAGAS)
        (annotation,) = annotate(file, args.model, window=16, hop=4)
        melody = compute_melody(file, annotation.duration)
        print(f"tonic {melody.tonic:.1f} Hz, confidence {melody.confidence:.2f}")
        named = dataclasses.replace(annotation, file=f"{', '.join(RAGAS)}, {SECONDS} s each")
        plot_annotation(named, args.output, file, melody=melody)
    reduce_colours(args.output)


if __name__ == "__main__":
    main()
