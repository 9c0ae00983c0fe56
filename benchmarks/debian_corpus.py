# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
A corpus to pre-train on that anybody can rebuild: music, speech and effects under free licences, from Debian packages.

    python benchmarks/debian_corpus.py --output corpus [--packages NAME ...]
    polyaudio dataset build corpus/audio --output corpus/chunks --chunk 10 --overlap 0

It needs `apt-get` and `dpkg-deb` of Debian or a kin of it, and no root. Each package becomes a folder of FLAC files of
16 kHz mono in `corpus/audio`; files shorter than 10 s are joined, because a window for pre-training that holds one of
them would be mostly silence. `corpus/credits.md` lists the packages with their versions, hours and licences, and
`corpus/licences` has the licence texts that came with them. A file that another package has too is taken once.
"""

import argparse
import hashlib
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from polyaudio.data.audio import stream_audio


# Not among them, since they are for tests: asterisk-core-sounds, asterisk-prompt, hydrogen-drumkits,
# fluid-soundfont-gm, ktuberling-data, tuxpaint-stamps-default, sonic-pi-samples
MUSIC = (
    *("drascula-music", "warzone2100-music", "wesnoth-1.16-music", "hyperrogue-music", "asterisk-moh-opsound-wav"),
    *("singularity-music", "asc-music", "supertuxkart-data"),
)
SPEECH = (
    *("fillets-ng-data", "fillets-ng-data-cs", "fillets-ng-data-nl", "klettres-data", "qabcs-data", "gcin-voice"),
    *("kajongg", "festvox-ru", "hedgewars-data"),
)
EFFECTS = (
    *("wesnoth-1.16-data", "widelands-data", "colobot-common-sounds", "freedroidrpg-data", "warmux-data"),
    *("lincity-ng-data", "megaglest-data", "planetblupi-common", "bucklespring-data", "emacspeak"),
    *("ardentryst", "supertux-data", "scorched3d-data", "flare-game", "boswars-data", "scratch", "minetest-data"),
    *("torcs-data", "oxygen-sounds", "sound-theme-freedesktop", "guitarix-common", "pekka-kana-2-data"),
    *("searchandrescue-data", "neverball-common", "enigma-data", "netpanzer-data", "wordwarvi-sound", "btanks-data"),
    *("triplea", "micropolis-data", "bzflag-data", "trackballs-data", "freetennis-common", "castle-game-engine-doc"),
)
PACKAGES = (*MUSIC, *SPEECH, *EFFECTS)
RATE = 16_000
SHORT = 10 * RATE
JOINED = 60 * RATE
PAUSE = RATE // 4
ENDINGS = (".wav", ".flac", ".ogg", ".oga", ".mp3", ".opus", ".aif", ".aiff")


@dataclass(frozen=True)
class Package:
    """What the corpus took from a package: `licences` are the short names in its copyright file."""

    name: str
    version: str
    files: int
    seconds: float
    unreadable: int
    licences: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for the corpus")
    parser.add_argument("--packages", nargs="+", default=PACKAGES, metavar="NAME", help="default: those of the list")
    args = parser.parse_args()
    seen: set[str] = set()
    packages = []
    for name in args.packages:
        packages.append(add_package(name, args.output, seen))
        print(row(packages[-1]), flush=True)
    (args.output / "credits.md").write_text("\n".join([*HEADER, *map(row, packages), total(packages), ""]))
    print(total(packages))


def add_package(name: str, output: Path, seen: set[str]) -> Package:
    """
    Download a package and write its recordings.

    Args:
        seen: digests of the files that the corpus has, to which those of the package are added.

    Raises:
        subprocess.CalledProcessError: the package cannot be downloaded or unpacked.
    """
    files = unreadable = 0
    seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "download", "--quiet=2", name], cwd=folder, check=True, stderr=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.deb")
        version = subprocess.run(
            ["dpkg-deb", "--field", archive, "Version"], check=True, capture_output=True, text=True
        ).stdout.strip()
        content = Path(folder, "content")
        subprocess.run(["dpkg-deb", "--extract", archive, content], check=True)
        for file in recordings(content, seen):
            length = write_mono(file, (output / "audio" / name / file.relative_to(content)).with_suffix(".flac"))
            files, seconds, unreadable = files + (length > 0), seconds + length, unreadable + (length == 0)
        join_short(output / "audio" / name)
        text = (content / "usr" / "share" / "doc" / name / "copyright").read_text(errors="replace")
    (output / "licences").mkdir(parents=True, exist_ok=True)
    (output / "licences" / f"{name}.txt").write_text(text)
    return Package(name, version, files, seconds, unreadable, licences(text))


def recordings(content: Path, seen: set[str]) -> Iterator[Path]:
    """The audio files in a folder that are not seen yet."""
    for file in sorted(content.rglob("*")):
        if file.is_symlink() or not file.is_file() or file.suffix.lower() not in ENDINGS:
            continue
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if digest not in seen:
            seen.add(digest)
            yield file


def write_mono(file: Path, path: Path) -> float:
    """Write a recording at 16 kHz, and return its length in seconds; 0, and no file, if it cannot be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with soundfile.SoundFile(path, "w", RATE, 1, subtype="PCM_16") as output:
            for block in stream_audio(str(file), RATE):
                output.write(block)
            length = output.frames / RATE
    except (ValueError, OSError, soundfile.SoundFileError) as error:
        print(f"{file.name} is left out: {error}")
        length = 0.0
    if length == 0:
        path.unlink()
    return length


def join_short(folder: Path) -> None:
    """Join the short files in a folder into files of about a minute, in an order that mixes their kinds."""
    short = [file for file in folder.rglob("*.flac") if soundfile.info(file).frames < SHORT]
    short.sort(key=lambda file: hashlib.sha256(str(file.relative_to(folder)).encode()).digest())
    parts: list[np.ndarray] = []
    for file in short:
        parts += [soundfile.read(file, dtype="int16")[0], np.zeros(PAUSE, np.int16)]
        file.unlink()
        if file is short[-1] or sum(map(len, parts)) >= JOINED:
            number = len(list(folder.glob("joined-*.flac")))
            soundfile.write(folder / f"joined-{number:03}.flac", np.concatenate(parts), RATE)
            parts = []


def licences(copyright_text: str) -> tuple[str, ...]:
    """The short names of the licences in a copyright file of Debian's format."""
    lines = [line for line in copyright_text.splitlines() if line.startswith("License:")]
    return tuple(sorted({line.removeprefix("License:").strip() for line in lines} - {""}))


HEADER = [
    "# Credits",
    "",
    "The recordings are from these packages of Debian. `licences/` has what each package says of its authors.",
    "",
    "| package | version | files | hours | cannot be read | licences |",
    "|---|---|---|---|---|---|",
]


def row(package: Package) -> str:
    cells = (package.version, package.files, f"{package.seconds / 3600:.2f}", package.unreadable)
    return f"| {package.name} | {' | '.join(map(str, cells))} | {', '.join(package.licences)} |"


def total(packages: list[Package]) -> str:
    hours = sum(package.seconds for package in packages) / 3600
    return f"| all | | {sum(package.files for package in packages)} | {hours:.1f} | | |"


if __name__ == "__main__":
    main()
