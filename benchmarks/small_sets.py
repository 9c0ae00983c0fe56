# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Small labelled datasets of real sounds, from Debian packages that `debian_corpus.py` leaves out.

    python benchmarks/small_sets.py --output sets

It needs `apt-get` and `dpkg-deb` of Debian or a kin of it, and no root. `sets` then holds, each with the group that
has to stay in one split:

- `samples`: the samples of Sonic Pi, 8 classes; the group is the recording,
- `drums`: single strokes of drum kits, 5 classes; the group is the kit,
- `languages`: prompts in 5 languages, each by one speaker; the group is the recording,
- `mixtures-1`, `mixtures-2`, `mixtures-4`: mixtures of one, of up to two and of up to four `samples`, which are split
  already.
"""

import argparse
import csv
import random
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import soundfile

from polyaudio.data.audio import load_audio


SAMPLES = "sonic-pi-samples"
KITS = "hydrogen-drumkits"
PROMPTS = "asterisk-core-sounds-{}-wav"
LANGUAGES = ("en", "es", "fr", "it", "ru")
PROMPTS_EACH = 60
# The classes by the beginning of a name, as in `sn_dolf.flac`
KINDS = {kind: kind for kind in ("ambi", "bass", "drum", "elec", "guit", "loop", "perc", "tabla")}
KINDS |= {"bd": "drum", "sn": "drum"}
# The strokes by the words in their names; the first that fits
STROKES = {
    "snare": r"snare|snr|^sn|_sn|rim",
    "kick": r"kick|bass ?drum|^bd|_bd|^kd",
    "hihat": r"hat|hh",
    "cymbal": r"crash|ride|cym|splash|china",
    "tom": r"tom",
}
RATE = 16_000
MIXTURES = ("--clips", "300", "--validation-clips", "60", "--test-clips", "120", "--seconds", "5", "--labels", "clip")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for the datasets")
    output = parser.parse_args().output
    with tempfile.TemporaryDirectory() as scratch:
        write(output / "samples", samples(Path(scratch)))
        write(output / "drums", drums(Path(scratch)))
        write(output / "languages", languages(Path(scratch)))
    for most in (1, 2, 4):
        places = ("--max-sources", str(most), "--output", str(output / f"mixtures-{most}"))
        subprocess.run(["polyaudio", "dataset", "mix", str(output / "samples"), *MIXTURES, *places], check=True)


def unpack(package: str, scratch: Path) -> Path:
    """Download a package and return the folder with its content."""
    subprocess.run(["apt-get", "download", "--quiet=2", package], cwd=scratch, check=True, stderr=subprocess.DEVNULL)
    (archive,) = scratch.glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "--extract", archive, scratch / package], check=True)
    return scratch / package


# A file, its class, and the group that it belongs to
Clip = tuple[Path, str, str]


def samples(scratch: Path) -> Iterator[Clip]:
    for file in sorted(unpack(SAMPLES, scratch).rglob("*.flac")):
        kind = KINDS.get(file.stem.split("_")[0])
        if kind is not None:
            yield file, kind, file.stem


def drums(scratch: Path) -> Iterator[Clip]:
    for file in sorted(unpack(KITS, scratch).rglob("*")):
        if file.suffix.lower() in (".wav", ".flac"):
            fitting = [stroke for stroke, words in STROKES.items() if re.search(words, file.stem.lower())]
            if fitting:
                yield file, fitting[0], file.parent.name


def languages(scratch: Path) -> Iterator[Clip]:
    for language in LANGUAGES:
        files = sorted(unpack(PROMPTS.format(language), scratch).rglob("*.wav"))
        spoken = [file for file in files if "silence" not in file.parts and soundfile.info(file).duration > 1]
        for file in random.Random(0).sample(spoken, PROMPTS_EACH):
            yield file, language, f"{language}-{file.stem}"


def write(folder: Path, clips: Iterable[Clip]) -> None:
    """Write the clips at 16 kHz, with a metadata.csv."""
    folder.mkdir(parents=True)
    rows = []
    for number, (file, label, group) in enumerate(clips):
        name = f"{number:04}-{label}.flac"
        soundfile.write(folder / name, load_audio(str(file), RATE), RATE)
        rows.append((name, label, group))
    with open(folder / "metadata.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file_name", "label", "group"), *rows])
    print(f"{folder.name}: {len(rows)} clips, {len({label for _, label, _ in rows})} classes")


if __name__ == "__main__":
    main()
