# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Memory, open files and worker processes of `polyaudio train` and `polyaudio embed` while they run for long.

    python benchmarks/long_runs.py [--files 2000] [--steps 2000]

Each command runs in a process of its own, which is sampled from outside, workers included, from its first result on.
The table has medians over time. Below it stand the growth per minute (the slope of a line through all samples but the
first fifth), and the last fifth of the samples over the second fifth (the ratio of medians: 1 where nothing leaks).
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import soundfile


CLASSES = ("low", "middle", "high")
ROWS = 10
RECIPE = """
model:
  model_type: sam_audio
  conv_dim: [16, 32]
  conv_kernel: [3, 3]
  conv_stride: [4, 4]
  num_segments: 4
  num_attention_heads: 4
  projection_dim: 8
data:
  test_size: 0.2
  crop_seconds: 0.5
training:
  per_device_train_batch_size: 4
  learning_rate: 1.0e-3
  warmup_epochs: 1
  seed: 7
  disable_tqdm: true
"""


class Sample(NamedTuple):
    """One sample of a process: its bytes of memory and open files, the processes below it and the bytes they add."""

    seconds: float
    memory: int
    open_files: int
    workers: int
    workers_memory: int


def write_clips(folder: Path, count: int, seconds: float = 1.0, rate: int = 16_000) -> None:
    """Write `count` wav files of tones in noise, in one folder a class; no two are copies."""
    for index in range(count):
        label = CLASSES[index % len(CLASSES)]
        rng = np.random.default_rng(index)
        frequency = {"low": 200, "middle": 600, "high": 1800}[label] * rng.uniform(0.9, 1.1)
        clip = 0.2 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)
        (folder / label).mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / label / f"{index}.wav", clip + 0.02 * rng.standard_normal(len(clip)), rate)


def train_command(dataset: Path, output: Path, steps: int, *flags: str) -> list[str]:
    """`polyaudio train` of a tiny model, which is evaluated and saved after each epoch."""
    output.mkdir(parents=True, exist_ok=True)
    recipe = output / "tiny.yaml"
    recipe.write_text(RECIPE)
    flags = ("--config", str(recipe), "--output-dir", str(output), "--max-steps", str(steps), *flags)
    return [sys.executable, "-m", "polyaudio", "train", "--dataset", str(dataset), *flags]


def embed_command(dataset: Path, model: Path, output: Path, *flags: str) -> list[str]:
    flags = ("--granularity", "all", "--batch-size", "4", "--output", str(output), *flags)
    return [sys.executable, "-m", "polyaudio", "embed", str(dataset), "--model", str(model), *flags]


def look_at(process: psutil.Process, start: float) -> Sample:
    below = process.children(recursive=True)
    return Sample(
        seconds=time.perf_counter() - start,
        memory=process.memory_info().rss,
        open_files=process.num_fds(),
        workers=len(below),
        workers_memory=sum(one.memory_full_info().uss for one in below),
    )


def watch(command: list[str], output: Path, first_result: str, every: float = 0.2) -> list[Sample]:
    """
    Run a command to its end and sample it regularly, once `output` holds a file `first_result` (a pattern).

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    samples, start = [], time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        process = psutil.Process(running.pid)
        while True:
            try:
                _, errors = running.communicate(timeout=every)
                break
            except subprocess.TimeoutExpired:
                if not samples and next(output.rglob(first_result), None) is None:
                    continue
                try:
                    samples.append(look_at(process, start))
                except psutil.NoSuchProcess:  # a worker, or all of it, has just ended
                    continue
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, command, stderr=errors)
    return samples


def print_table(samples: list[Sample]) -> None:
    print("   seconds   memory MiB   open files   workers   their own memory MiB")
    for part in np.array_split(np.array(samples), ROWS):
        seconds, memory, open_files, workers, more = np.median(part, axis=0)
        print(f"  {seconds:8.1f}{memory / 2**20:13.1f}{open_files:13.0f}{workers:10.0f}{more / 2**20:23.1f}")


def print_growth(samples: list[Sample]) -> None:
    _, early, *_, last = np.array_split(np.array(samples), 5)
    later = np.array(samples[len(samples) // 5 :])
    for name, unit, scale in (("memory", "MiB", 2**20), ("open_files", "files", 1)):
        column = Sample._fields.index(name)
        slope = np.polyfit(later[:, 0], later[:, column], 1)[0] * 60 / scale
        ratio = np.median(last[:, column]) / np.median(early[:, column])
        print(f"  {name.replace('_', ' ')}: {slope:+.2f} {unit} a minute, last fifth / second fifth {ratio:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000, help="files to embed (default: 2000)")
    parser.add_argument("--steps", type=int, default=2000, help="training steps (default: 2000)")
    parser.add_argument("--output", type=Path, help="JSON file for all samples")
    args = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "datasets", "transformers", "soundfile"))
    print(f"{platform.platform()}, Python {platform.python_version()}, {versions}")
    with tempfile.TemporaryDirectory() as folder:
        clips, few, model = Path(folder, "clips"), Path(folder, "few"), Path(folder, "model")
        write_clips(clips, args.files)
        write_clips(few, 250)
        runs = {
            f"train, {args.steps} steps, 2 workers": (train_command(few, model, args.steps), model, "checkpoint-*")
        }
        for workers in (0, 2):
            output = Path(folder, f"features-{workers}")
            command = embed_command(clips, model, output, "--workers", str(workers))
            runs[f"embed, {args.files} files, {workers} workers"] = (command, output, "*.npy")
        results = {}
        for name, run in runs.items():
            samples = watch(*run)
            results[name] = [sample._asdict() for sample in samples]
            print(name)
            print_table(samples)
            print_growth(samples)
    if args.output:
        args.output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
