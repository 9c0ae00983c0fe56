# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Peak memory and time of the commands on recordings of hours, which must not take more memory than one of 10 seconds.

    python benchmarks/long_recordings.py [--hours 10] [--audio FOLDER] [--only NAME ...] [--commands NAME ...]
        [--rounds 3]

Each command runs in a process of its own, with tiny models of random weights: first on a dataset with recordings of 10
seconds, then on one with a long recording. The table has the peak memory of the process over that of a process that
gets the 10 seconds twice, and the seconds that an hour more takes, from each length to the next: what a command takes
for a recording of any length, such as the start of its workers, is not in them. Seconds of the processor depend little
on what else runs on the machine; of several rounds the fastest counts, and the largest memory.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from itertools import pairwise
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

# Runs a command on one set of arguments, and then on another, which is timed. A pipeline is not among the commands.
TWICE = """
import json, os, sys, time
from polyaudio.scripts.__main__ import main

def run(command):
    if command[0] != "pipeline":
        return main(command)
    import polyaudio
    from transformers import pipeline
    pipeline("sound-event-detection", model=command[1])(command[2], threshold=0.9)
    return 0

for command in map(json.loads, sys.argv[2:]):
    start, used = time.perf_counter(), sum(os.times()[:4])
    if run(command) not in ((0, 1) if "check" in command else (0,)):  # dataset check ends with 1 if it finds a leak
        sys.exit(1)
with open(sys.argv[1], "w") as file:
    json.dump((time.perf_counter() - start, sum(os.times()[:4]) - used), file)
"""


class Kind(NamedTuple):
    """Recordings to measure: their length in hours, sampling rate, channels, ending, and whether they are silent."""

    hours: tuple[float, ...]
    rate: int = 16_000
    channels: int = 1
    ending: str = "flac"
    is_silent: bool = False


class Run(NamedTuple):
    """
    How long the second call of a command took in seconds, the seconds of the processor that it and its workers used,
    and the peak memory of its process in bytes.
    """

    seconds: float
    processor: float
    memory: int


def kinds(hours: float) -> dict[str, Kind]:
    return {
        "silence": Kind((1.0, (1 + hours) / 2, hours), is_silent=True),
        "sound": Kind((1.0, (1 + hours) / 2, hours)),
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
        found[f"pipeline {model}"] = ["pipeline", path, str(file)]
    found["dataset inspect"] = ["dataset", "inspect", str(dataset)]
    found["dataset stats"] = ["dataset", "stats", str(dataset), "--crop-seconds", "1e6"]
    found["dataset check"] = ["dataset", "check", str(dataset)]
    found["dataset build"] = ["dataset", "build", str(dataset), "--output", str(output / "build"), "--overlap", "0"]
    found["dataset split"] = ["dataset", "split", str(dataset), "--output", str(output / "split")]
    flags = ["--clips", "20", "--validation-clips", "0", "--labels", "clip"]
    found["dataset mix"] = ["dataset", "mix", str(dataset), "--output", str(output / "mix"), *flags]
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


def run(first: list[str], second: list[str]) -> Run:
    """
    Run a command of polyaudio on two sets of arguments in one process.

    Raises:
        RuntimeError: the command failed.
    """
    with tempfile.TemporaryDirectory() as folder, open(Path(folder, "errors"), "w+") as errors:
        seconds = Path(folder, "seconds")
        process = subprocess.Popen(
            [sys.executable, "-c", TWICE, str(seconds), json.dumps(first), json.dumps(second)],
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(second)} failed: {errors.read()}")
        # Linux counts in KiB, macOS in bytes
        scale = 1 if sys.platform == "darwin" else 1024
        return Run(*json.loads(seconds.read_text()), usage.ru_maxrss * scale)


def worst_memory_best_time(runs: list[Run]) -> Run:
    seconds, processor, memory = zip(*runs, strict=True)
    return Run(min(seconds), min(processor), max(memory))


def dataset(folder: Path, kind: Kind, audio: np.ndarray, seconds: float) -> Path:
    """Write a dataset with one recording of this length and two of 10 seconds, and return the path of the long one."""
    for split, samples in (("train", audio[::-1]), ("test", -audio[: len(audio) // 2])):
        write(folder / split / "short" / f"{split}.flac", Kind(()), samples, SHORT)
    return write(folder / "train" / "other" / f"long.{kind.ending}", kind, audio, seconds)


def measure(
    kind: Kind, audio: np.ndarray, models: Path, wanted: list[str], rounds: int
) -> Iterator[tuple[str, dict[float, Run]]]:
    """For each command, how it ran on the 10 seconds (0 hours) and on recordings of these hours."""
    with tempfile.TemporaryDirectory() as folder:
        recordings = {0.0: dataset(Path(folder, "0"), kind, audio, SHORT)}
        for hours in kind.hours:
            recordings[hours] = dataset(Path(folder, f"{hours:g}"), kind, audio, 3600 * hours)
        for name in commands(models, recordings[0.0], Path(), Path()):
            if wanted and not any(one in name for one in wanted):
                continue
            runs: dict[float, list[Run]] = {hours: [] for hours in recordings}
            for hours, recording in rounds * list(recordings.items()):
                with tempfile.TemporaryDirectory() as output:
                    first, second = (
                        commands(models, file, file.parent.parent.parent, Path(output, number))[name]
                        for number, file in (("1", recordings[0.0]), ("2", recording))
                    )
                    runs[hours].append(run(first, second))
            yield name, {hours: worst_memory_best_time(of_rounds) for hours, of_rounds in runs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=10.0, help="length of the longest recordings (default: 10)")
    parser.add_argument("--audio", type=Path, default=AUDIO, help="folder of recordings to loop")
    parser.add_argument("--only", nargs="+", default=[], help="silence, sound, wav, 8 channels (default: all)")
    parser.add_argument("--commands", nargs="+", default=[], help="words in the names of commands (default: all)")
    parser.add_argument("--rounds", type=int, default=1, help="how often each command runs (default: 1)")
    parser.add_argument("--output", type=Path, help="JSON file for all results")
    args = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "datasets", "transformers", "soundfile"))
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, {versions}\n")
    columns = f"{'10 s, MiB':>10}{'more, MiB at hours':>32}{'s an hour':>10}  of the processor for an hour more"
    print(f"{'recording':<12}{'command':<20}{columns}")
    results = {}
    with tempfile.TemporaryDirectory() as models:
        subprocess.run([sys.executable, "-c", MODELS, models], check=True, stderr=subprocess.DEVNULL)
        for name, kind in kinds(args.hours).items():
            if args.only and name not in args.only:
                continue
            audio = sound(args.audio, kind.rate)
            results[name] = {}
            for command, runs in measure(kind, audio, Path(models), args.commands, args.rounds):
                results[name][command] = runs
                memory = runs[0.0].memory
                more = [f"{(runs[hours].memory - memory) / 2**20:.0f} ({hours:g})" for hours in kind.hours]
                pace = [
                    f"{(runs[long].processor - runs[short].processor) / (long - short):.2f} ({short:g} to {long:g})"
                    for short, long in pairwise((0.0, *kind.hours))
                ]
                seconds = runs[kind.hours[-1]].seconds / kind.hours[-1]
                cells = f"{memory / 2**20:>10.0f}{', '.join(more):>32}{seconds:>10.2f}  {', '.join(pace)}"
                print(f"{name:<12}{command:<20}{cells}", flush=True)
    if args.output:
        args.output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
