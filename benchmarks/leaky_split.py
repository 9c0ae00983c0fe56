"""
Makes the data that show what a leak is worth: each clip of `ragas` three times, as it is and shifted in pitch.

    python benchmarks/leaky_split.py DIR

It writes two datasets of the same clips. DIR/leaky divides the copies at random, as the original did for its 99.6 %.
DIR/honest names the recording of each clip, by which `polyaudio train` divides them.
docs/guides/splits.md has the results.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import soundfile
import torch

from polyaudio.augmentation.waveforms import PitchShift
from polyaudio.data.audio import decode_audio
from polyaudio.data.ragas import build_ragas


RATE = 16000
SEMITONES = (0.0, -2.0, 2.0)


def main(folder: str) -> None:
    clips = build_ragas()["train"]
    names = clips.features["raga"].names
    shift = PitchShift(max(SEMITONES), RATE).shift
    rows = []
    for number, clip in enumerate(clips):
        waveform, rate = decode_audio(clip["audio"]["bytes"])
        for semitones in SEMITONES:
            copy = shift(torch.from_numpy(np.asarray(waveform, dtype=np.float32)), semitones).numpy()
            rows.append((f"{number}_{semitones:+g}.flac", names[clip["raga"]], clip["recording"], copy, rate))
    is_test = np.random.default_rng(0).random(len(rows)) < 0.1
    for name, parts in (("leaky", {"train": ~is_test, "test": is_test}), ("honest", {"": np.ones(len(rows), bool)})):
        for part, chosen in parts.items():
            target = Path(folder, name, part)
            target.mkdir(parents=True, exist_ok=True)
            with open(target / "metadata.csv", "w", newline="", encoding="utf-8") as file:
                table = csv.writer(file)
                table.writerow(["file_name", "raga", *(["recording"] if name == "honest" else [])])
                for (file_name, raga, recording, copy, rate), is_here in zip(rows, chosen, strict=True):
                    if is_here:
                        soundfile.write(target / file_name, copy, rate)
                        table.writerow([file_name, raga, *([recording] if name == "honest" else [])])


if __name__ == "__main__":
    main(sys.argv[1])
