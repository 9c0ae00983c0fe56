# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Puts two plots that a training run leaves side by side: its losses and its confusion matrix.

polyaudio train --config carnatic_ragas --epochs 5 --output-dir runs/short
python docs/pictures/a_run.py runs/short docs/pictures/a_run.png
"""

import argparse
from pathlib import Path

from PIL import Image


PLOTS = ("losses.png", "confusion_matrix.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder that `polyaudio train` wrote")
    parser.add_argument("output", help="PNG file to write")
    args = parser.parse_args()

    plots = [Image.open(args.run / name).convert("RGB") for name in PLOTS]
    height = max(plot.height for plot in plots)
    picture = Image.new("RGB", (sum(plot.width for plot in plots), height), "white")
    left = 0
    for plot in plots:
        picture.paste(plot, (left, (height - plot.height) // 2))
        left += plot.width
    picture.quantize(64, dither=Image.Dither.NONE).save(args.output, optimize=True)


if __name__ == "__main__":
    main()
