# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Peak memory and time of the commands on recordings of hours, which must not take more memory than one of 10 seconds.

    python benchmarks/long_recordings.py [--hours 10] [--audio FOLDER] [--only NAME ...] [--commands NAME ...]

Each command runs in a process of its own, with tiny models of random weights, on a dataset of one long recording and a
short one, and on the same recordings cut to 10 seconds. The table has the peak memory of the largest process of the
command over that with the 10 seconds, and the seconds for each hour of audio, without those that the 10 seconds take.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile


# What is looped for an hour or ten, if no other folder is given
AUDIO = Path(__file__).parent.parent / "tests" / "reference" / "sslam"
SHORT = 10.0  # seconds
MODELS = """
import sys, torch, polyaudio
torch.manual_seed(0)
labels = {"num_labels": 2, "id2label": {0: "other", 1: "short"}, "label2id": {"other": 0, "short": 1}}
sslam = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
sam_audio = {"conv_dim": [16, 32], "conv_kernel": [3, 3], "conv_stride": [4, 4], "num_segments": 4, "num_attention_heads": 4}
for name, config, model, extractor in (
    ("sslam", polyaudio.SSLAMConfig(**sslam, **labels), polyaudio.SSLAMForAudioClassification, polyaudio.SSLAMFeatureExtractor),
    ("sam_audio", polyaudio.SAMAudioConfig(**sam_audio, **labels), polyaudio.SAMAudioForAudioClassification, polyaudio.SAMAudioFeatureExtractor),
):
    model(config).save_pretrained(sys.argv[1] + "/" + name)
    extractor().save_pretrained(sys.argv[1] + "/" + name)
"""  # noqa: E501


class Kind(NamedTuple):
    """Recordings to measure: their length in hours, sampling rate, channels, ending, and whether they are silent."""

    hours: tuple[float, ...]
    rate: int = 16_000
    channels: int = 1
    ending: str = "flac"
    is_silent: bool = False


class Run(NamedTuple):
    """How long a command took in seconds, and the peak memory of its largest process in bytes."""

    seconds: float
    memory: int


def kinds(hours: float) -> dict[str, Kind]:
    return {
        "silence": Kind((1.0, hours), is_silent=True),
        "sound": Kind((1.0, hours)),
        "wav": Kind((3.0,), ending="wav"),
        "8 channels": Kind((1.0,), rate=96_000, channels=8),
    }


def commands(models: Path, file: Path, dataset: Path, output: Path) -> dict[str, list[str]]:
    """The commands by name, each with its arguments."""
    found: dict[str, list[str]] = {}
    for model in ("sslam", "sam_audio"):
        path = str(models / model)
        found[f"predict {model}"] = ["predict", str(file), "--model", path]
        flags = ["--granularity", "utterance", "--output", str(output / f"embed-{model}")]
        found[f"embed {model}"] = ["embed", str(file), "--model", path, *flags]
        flags = ["--threshold", "0.9", "--output", str(output / f"annotate-{model}")]
        found[f"annotate {model}"] = ["annotate", str(file), "--model", path, *flags]
        found[f"evaluate {model}"] = ["evaluate", path, "--dataset", str(dataset), "--split", "train"]
    found["dataset inspect"] = ["dataset", "inspect", str(dataset)]
    found["dataset stats"] = ["dataset", "stats", str(dataset), "--crop-seconds", "1e6"]
    found["dataset check"] = ["dataset", "check", str(dataset)]
    found["dataset build"] = ["dataset", "build", str(dataset), "--output", str(output / "build"), "--overlap", "0"]
    return found


def sound(folder: Path, rate: int) -> np.ndarray:
    """All recordings of a folder one after the other, mono, as if they were at this rate."""
    files = sorted(file for file in folder.rglob("*") if file.suffix in (".wav", ".flac", ".ogg"))
    parts = [soundfile.read(file, frames=60 * rate, dtype="float32", always_2d=True)[0][:, 0] for file in files]
    return np.concatenate(parts)


def blocks(kind: Kind, audio: np.ndarray, seconds: float) -> Iterator[np.ndarray]:
    """A recording of the sound in a loop, in noise of -60 dB that does not repeat, second by second."""
    rng, total = np.random.default_rng(0), round(seconds * kind.rate)
    for start in range(0, total, kind.rate):
        length = min(kind.rate, total - start)
        if kind.is_silent:
            yield np.zeros((length, kind.channels), dtype=np.int16)
            continue
        place = (start + np.arange(length)) % len(audio)
        block = 0.5 * audio[place] + 0.001 * rng.standard_normal(length, dtype=np.float32)
        yield np.repeat((2**15 * block).astype(np.int16)[:, None], kind.channels, axis=1)


def write(path: Path, kind: Kind, audio: np.ndarray, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(path, "w", kind.rate, kind.channels, subtype="PCM_16") as file:
        for block in blocks(kind, audio, seconds):
            file.write(block)
    return path


def run(command: list[str]) -> Run:
    """
    Run a command of polyaudio to its end.

    Raises:
        RuntimeError: the command failed. `dataset check` may end with 1, because it may find a leak.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "polyaudio", *command], stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in ((0, 1) if "check" in command else (0,)):
            errors.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed: {errors.read().decode()}")
    # Linux counts in KiB, macOS in bytes
    scale = 1 if sys.platform == "darwin" else 1024
    return Run(time.perf_counter() - start, usage.ru_maxrss * scale)


def measure(kind: Kind, seconds: float, audio: np.ndarray, models: Path, wanted: list[str]) -> dict[str, Run]:
    """Run the commands on a recording of this length."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        long = write(data / "train" / "other" / f"long.{kind.ending}", kind, audio, seconds)
        for split, samples in (("train", audio[::-1]), ("test", -audio[: len(audio) // 2])):
            write(data / split / "short" / f"{split}.flac", Kind(()), samples, SHORT)
        runs = {}
        for name, command in commands(models, long, data, Path(folder)).items():
            if not wanted or any(one in name for one in wanted):
                runs[name] = run(command)
        return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=10.0, help="length of the longest recordings (default: 10)")
    parser.add_argument("--audio", type=Path, default=AUDIO, help="folder of recordings to loop")
    parser.add_argument("--only", nargs="+", default=[], help="silence, sound, wav, 8 channels (default: all)")
    parser.add_argument("--commands", nargs="+", default=[], help="words in the names of commands (default: all)")
    parser.add_argument("--output", type=Path, help="JSON file for all results")
    args = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "datasets", "transformers", "soundfile"))
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, {versions}\n")
    print(f"{'recording':<12}{'command':<20}{'10 s, MiB':>10}{'more, MiB at hours':>26}{'s an hour at hours':>26}")
    results = {}
    with tempfile.TemporaryDirectory() as models:
        subprocess.run([sys.executable, "-c", MODELS, models], check=True, stderr=subprocess.DEVNULL)
        for name, kind in kinds(args.hours).items():
            if args.only and name not in args.only:
                continue
            audio = sound(args.audio, kind.rate)
            reference = measure(kind, SHORT, audio, Path(models), args.commands)
            long = {hours: measure(kind, 3600 * hours, audio, Path(models), args.commands) for hours in kind.hours}
            results[name] = {"10 s": reference, **long}
            for command, short in reference.items():
                more = [
                    f"{(runs[command].memory - short.memory) / 2**20:.0f} ({hours:g})" for hours, runs in long.items()
                ]
                pace = [
                    f"{(runs[command].seconds - short.seconds) / hours:.2f} ({hours:g})"
                    for hours, runs in long.items()
                ]
                print(
                    f"{name:<12}{command:<20}{short.memory / 2**20:>10.0f}{', '.join(more):>26}{', '.join(pace):>26}",
                    flush=True,
                )
    if args.output:
        args.output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
