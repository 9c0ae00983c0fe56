# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Draws the picture of the front page: a recording of four ragas, and what the model of the demo hears when.

polyaudio demo --output runs/demo
python docs/pictures/timeline.py runs/demo docs/pictures/timeline.png
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from raga_recordings import reduce_colours, write_recording

from polyaudio import annotate
from polyaudio.inference.pictures import compute_spectrogram


RAGAS = ("Todi", "Hamsanadam", "Kalyani", "Mayamalavagowla")
BACKGROUND, TEXT, FAINT = "#10131f", "#e8eaf2", "#8f97b3"
COLOURS = ("#5fe0d0", "#ffb454", "#b49bff", "#ff7a90")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of a classifier of ragas")
    parser.add_argument("output", help="PNG file to write")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "recording.wav")
        write_recording(file, RAGAS)
        (annotation,) = annotate(file, args.model, window=16, hop=4)
        decibels = compute_spectrogram(file, annotation.duration).decibels

    plt.rcParams.update({"font.size": 12, "text.color": TEXT, "font.family": "DejaVu Sans"})
    figure, (sound, timeline) = plt.subplots(
        2, figsize=(8, 4.2), height_ratios=[3.4, 1], sharex=True, facecolor=BACKGROUND
    )
    figure.subplots_adjust(left=0.015, right=0.985, top=0.98, bottom=0.09, hspace=0.04)
    floor = np.quantile(decibels, 0.05)
    sound.imshow(
        decibels, cmap="magma", aspect="auto", origin="lower", extent=(0, annotation.duration, 0, 1), vmin=floor
    )
    colour_of = {label: COLOURS[index % len(COLOURS)] for index, label in enumerate(RAGAS)}
    for event in annotation.events:
        print(f"{event.onset:6.2f} {event.offset:6.2f}  {event.label} {event.score:.2f}")
        colour = colour_of.get(event.label, FAINT)
        for edge in (event.onset, event.offset):
            sound.axvline(edge, color=colour, linewidth=1.4)
        timeline.axvspan(event.onset, event.offset, 0.06, 1, facecolor=colour)
        middle = (event.onset + event.offset) / 2
        label = f"{event.label}\n{event.score:.0%}"
        style = {"color": BACKGROUND, "weight": "bold", "size": 9.5, "ha": "center", "va": "center", "clip_on": True}
        timeline.text(middle, 0.52, label, **style)
    minutes = np.arange(0, annotation.duration + 1, 20)
    timeline.set(xlim=(0, annotation.duration), ylim=(0, 1), yticks=[], facecolor=BACKGROUND)
    timeline.set_xticks(minutes, [f"{int(one) // 60}:{int(one) % 60:02}" for one in minutes], color=FAINT)
    for axis in (sound, timeline):
        axis.set_yticks([])
        axis.tick_params(length=0)
        for side in axis.spines.values():
            side.set_visible(False)
    for label, place in zip(
        timeline.get_xticklabels(), ("left", *["center"] * (len(minutes) - 2), "right"), strict=True
    ):
        label.set_ha(place)
    figure.savefig(args.output, dpi=150, facecolor=BACKGROUND)
    reduce_colours(args.output)


if __name__ == "__main__":
    main()
