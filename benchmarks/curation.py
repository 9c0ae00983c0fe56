# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Time and memory of `polyaudio dataset check`, `inspect` and `stats` on collections, and whether `check` finds what is
planted in them.

    python benchmarks/curation.py [--clips 1000 10000 50000] [--actions check] [--workers 2] [--folder DIR]

The clips are mixtures of notes, drum-like bursts and noise of 6 s at 8 kHz, in FLAC files. Of each hundred clips, one
is a copy of another at another level, one continues another with 2 s in common, one is a copy with a pitch shift, and
one a copy that is played faster or slower. A clip costs what the command took beyond a run on 100 clips: seconds, and
those of the processor. Memory is that of the largest process.
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
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch

from polyaudio.augmentation.waveforms import PitchShift


RATE, SECONDS, SHARED_SECONDS = 8000, 6.0, 2.0
FEW = 100  # clips, whose cost is that of the start
KINDS = "copy", "overlap", "shifted", "faster"
ACTIONS = "check", "inspect", "stats"


class Plan(NamedTuple):
    """A clip: the seed of its sound, and for a planted one its kind and the clip that it is made from."""

    seed: int
    kind: str | None = None
    source: int | None = None


class Run(NamedTuple):
    """Seconds of a command, also those of the processor, and the peak memory of its largest process in bytes."""

    seconds: float
    cpu_seconds: float
    memory: int


def plan(clips: int) -> list[Plan]:
    """The clips of a collection, in an order in which a planted clip is anywhere beside its source."""
    plans, rng = [Plan(seed) for seed in range(clips)], np.random.default_rng(clips)
    places = rng.permutation(clips)
    number = clips // 100
    for index, kind in enumerate(KINDS):
        for planted, source in places[2 * index * number : 2 * (index + 1) * number].reshape(-1, 2).tolist():
            plans[planted] = Plan(source, kind, source)
    return plans


def sound(seed: int, seconds: float) -> np.ndarray:
    """Notes of one instrument with harmonics, drum-like bursts, and noise: `(samples,)`, float32."""
    rng, samples = np.random.default_rng(seed), round(seconds * RATE)
    mixture = np.zeros(samples + RATE, np.float32)
    lowest, scale, harmonics = rng.uniform(110, 220), rng.choice(12, 7, replace=False), rng.uniform(0.2, 1, 5)
    start = 0.0
    while start < seconds:
        length = rng.uniform(0.1, 0.6)
        times = np.arange(round(length * RATE)) / RATE
        phase = 2 * np.pi * lowest * 2 ** (rng.integers(2) + rng.choice(scale) / 12) * times
        note = np.sum([level / number * np.sin(number * phase) for number, level in enumerate(harmonics, 1)], axis=0)
        _add(mixture, start, rng.uniform(0.3, 1) * np.exp(-rng.uniform(1, 5) * times) * note)
        start += length * rng.uniform(0.5, 1)
    for start in rng.uniform(0, seconds, rng.integers(2, 4 * int(SECONDS))):
        length = round(rng.uniform(0.03, 0.15) * RATE)
        decay = np.exp(-np.linspace(0, rng.uniform(3, 8), length))
        _add(mixture, start, rng.uniform(0.2, 1) * decay * rng.standard_normal(length))
    mixture = mixture[:samples] + rng.uniform(0.001, 0.02) * rng.standard_normal(samples, dtype=np.float32)
    return 0.8 * mixture / np.abs(mixture).max()


def _add(mixture: np.ndarray, start: float, samples: np.ndarray) -> None:
    place = round(start * RATE)
    mixture[place : place + len(samples)] += samples


def clip(plan: Plan) -> np.ndarray:
    """The samples of a clip."""
    # All clips are the beginning of a longer sound, which the overlapping one continues
    whole = sound(plan.seed, 2 * SECONDS - SHARED_SECONDS)
    begin = whole[: round(SECONDS * RATE)]
    rng = np.random.default_rng([plan.seed, 1])
    semitones = rng.choice([-1, 1]) * rng.uniform(0.5, 2.5)
    if plan.kind == "copy":
        return 0.3 * begin
    if plan.kind == "overlap":
        return 0.6 * whole[-round(SECONDS * RATE) :]
    if plan.kind == "shifted":
        return PitchShift(3, RATE).shift(torch.from_numpy(begin), semitones).numpy()
    if plan.kind == "faster":
        places = np.arange(0, len(begin) - 1, 2 ** (semitones / 12))
        return np.interp(places, np.arange(len(begin)), begin).astype(np.float32)
    return begin


def file_name(index: int) -> str:
    return f"{index:07d}.flac"


def write_clip(folder: Path, item: tuple[int, Plan]) -> None:
    index, plan = item
    soundfile.write(folder / "ab"[index % 2] / file_name(index), clip(plan).clip(-1, 1), RATE)


def write(folder: Path, plans: list[Plan]) -> None:
    for name in "ab":
        (folder / name).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(initializer=partial(torch.set_num_threads, 1)) as pool:
        for _ in pool.map(partial(write_clip, folder), enumerate(plans), chunksize=64):
            pass


def run(command: list[str]) -> Run:
    """
    Run a command of polyaudio in a process of its own.

    Raises:
        RuntimeError: the command failed.
    """
    with tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "polyaudio", *command], stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 1):  # 1: check has found a leak
            errors.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed: {errors.read()}")
    # Linux counts in KiB, macOS in bytes
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def found(report: Path, plans: list[Plan]) -> str:
    """How many pairs of each kind a check has found, and how many that were not planted."""
    content = json.loads(report.read_text())
    names = [Path(one["name"]).name for one in content["clips"]]
    pairs = {frozenset((names[pair["first"]], names[pair["second"]])) for pair in content["pairs"]}
    planted = {
        kind: {
            frozenset((file_name(index), file_name(plan.source)))
            for index, plan in enumerate(plans)
            if plan.kind == kind and plan.source is not None
        }
        for kind in KINDS
    }
    counts = [f"{kind} {len(own & pairs)} of {len(own)}" for kind, own in planted.items()]
    return ", ".join([*counts, f"not planted {len(pairs.difference(*planted.values()))}"])


def measure(folder: Path, clips: int, actions: list[str], workers: int) -> Iterator[tuple[str, Run, str]]:
    """Run each action on a collection of this size. Yields the action, its run and what it found."""
    plans, data = plan(clips), folder / str(clips)
    if not data.exists():
        unfinished = data.with_suffix(".incomplete")
        write(unfinished, plans)
        unfinished.rename(data)
    report = folder / f"{clips}.json"
    for action in actions:
        flags = ["--output", str(report)] if action == "check" else []
        result = run(["dataset", action, str(data), "--workers", str(workers), *flags])
        yield action, result, found(report, plans) if action == "check" else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", nargs="+", type=int, default=[1000, 10_000], help="sizes (default: 1000 10000)")
    parser.add_argument("--actions", nargs="+", choices=ACTIONS, default=ACTIONS, help="actions to run (default: all)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="folder for the clips, which are kept (default: a temporary one)")
    args = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "datasets", "duckdb", "soundfile"))
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, {versions}")
    print(f"clips of {SECONDS:g} s, {args.workers} workers\n")
    columns = ("action", 9), ("clips", 8), ("s", 8), ("CPU s", 8), ("ms a clip", 11), ("CPU ms a clip", 15), ("MiB", 7)
    print("".join(f"{title:>{width}}" for title, width in (*columns, ("KiB a clip", 12))) + "  pairs", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        few = {action: result for action, result, _ in measure(folder, FEW, list(args.actions), args.workers)}
        for clips in args.clips:
            for action, result, pairs in measure(folder, clips, list(args.actions), args.workers):
                more = [(one - start) / (clips - FEW) for one, start in zip(result, few[action], strict=True)]
                print(
                    f"{action:>9}{clips:>8}{result.seconds:>8.1f}{result.cpu_seconds:>8.1f}{1000 * more[0]:>11.2f}"
                    f"{1000 * more[1]:>15.2f}{result.memory / 2**20:>7.0f}{more[2] / 2**10:>12.2f}  {pairs}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
