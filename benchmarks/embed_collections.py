# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Kills `polyaudio embed --format parquet` at random times, and times it with one and two processes.

    python benchmarks/embed_collections.py [--clips 10000] [--kills 20] [--seed 0] [--models sam_audio sslam_tiny]

It synthesises clips of 1 to 3 s, of which 1 % are no audio or cut off. With each model it embeds them with one process
and with two, one after the other, and prints the seconds, and the clips per second between the first and the last
shard: without the start. Then the command
runs again, with one or two processes, and is killed at random: its first process, one of those below it, or all. After
the last kill it runs to its end. Every readable clip must be there exactly once, with the vector of the run that
nobody killed, and every broken clip must be named. The exit code is 1 otherwise.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pyarrow.dataset
import pyarrow.parquet
import soundfile
import torch

from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioModel,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMModel,
)


RATE = 16000
TINY = {"hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 3, "intermediate_size": 768}
SMALL = {"conv_dim": [16, 32], "conv_kernel": [3, 3], "conv_stride": [4, 4], "num_segments": 4, "projection_dim": 8}
MODELS = {
    "sam_audio_tiny": lambda: (SAMAudioModel(SAMAudioConfig(**SMALL)), SAMAudioFeatureExtractor()),
    "sam_audio": lambda: (SAMAudioModel(SAMAudioConfig()), SAMAudioFeatureExtractor()),
    "sslam_tiny": lambda: (SSLAMModel(SSLAMConfig(**TINY)), SSLAMFeatureExtractor()),
    "sslam_base": lambda: (SSLAMModel(SSLAMConfig()), SSLAMFeatureExtractor()),
}


def write_clips(folder: Path, number: int) -> set[str]:
    """Write clips, and return the names of those that cannot be read."""
    rng = np.random.default_rng(0)
    broken = set()
    for index in range(number):
        path = folder / f"{index // 1000:03}" / f"{index:06}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        time_axis = np.arange(round(rng.uniform(1, 3) * RATE)) / RATE
        tone = 0.2 * np.sin(2 * np.pi * rng.uniform(100, 4000) * time_axis)
        soundfile.write(path, tone + 0.02 * rng.standard_normal(len(tone)), RATE)
        if index % 100 == 50:
            broken.add(path.relative_to(folder).as_posix())
            path.write_bytes(path.read_bytes()[:5000] if index % 200 == 50 else b"no audio")
    return broken


def command(clips: Path, model: Path, output: Path, processes: int, shard_size: int) -> list[str]:
    words = ["-m", "polyaudio", "embed", clips, "--model", model, "--format", "parquet", "--output", output]
    words += ["--workers", 0, "--processes", processes, "--shard-size", shard_size]
    return [sys.executable, *map(str, words)]


def seconds_of(words: list[str]) -> float:
    began = time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr[-3000:])
    return time.monotonic() - began


def clips_per_second(output: Path) -> float:
    """From the first to the last shard."""
    shards = sorted((output / "data").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    seconds = (shards[-1].stat().st_mtime_ns - shards[0].stat().st_mtime_ns) / 1e9
    return sum(pyarrow.parquet.read_metadata(shard).num_rows for shard in shards[1:]) / seconds


def read(output: Path) -> tuple[dict[str, np.ndarray], Counter[str]]:
    """The vector of each recording, and how often each is there."""
    table = pyarrow.dataset.dataset(output / "data").to_table(columns=["file", "vector"])
    vectors = np.stack(table["vector"].combine_chunks().to_numpy(zero_copy_only=False))
    names = table["file"].to_pylist()
    return dict(zip(names, vectors, strict=True)), Counter(names)


def kill_at_random(words: list[str], after: float, rng: random.Random) -> str:
    """Run a command, kill it after a number of seconds, and return what was killed; `"nothing"` if it had ended."""
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        time.sleep(after)
        if process.poll() is not None:
            return "nothing"
        children = psutil.Process(process.pid).children(recursive=True)
        what = rng.choice(["the first process", "all", "one below it"])
        if what == "one below it" and children:
            children[-1].kill()
        elif what == "all":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            what = "the first process"
            process.kill()
    return what


@dataclass
class Check:
    """What went wrong."""

    problems: list[str] = field(default_factory=list)

    def expect(self, is_right: bool, problem: str) -> None:
        if not is_right:
            self.problems.append(problem)


def check_result(output: Path, expected: dict[str, np.ndarray], broken: set[str], check: Check) -> float:
    """Compare a folder with that of a clean run, and return the largest difference of two vectors."""
    vectors, counts = read(output)
    failed = [json.loads(line)["file"] for line in (output / "failed.jsonl").read_text().splitlines()]
    double = [name for name, number in counts.items() if number > 1]
    check.expect(not double, f"{output.name}: {len(double)} clips more than once, such as {double[:1]}")
    missing, more = expected.keys() - vectors.keys(), vectors.keys() - expected.keys()
    check.expect(not missing and not more, f"{output.name}: {len(missing)} clips missing, {len(more)} too many")
    check.expect(
        sorted(failed) == sorted(broken), f"{output.name}: {len(failed)} broken clips instead of {len(broken)}"
    )
    left = [path.name for path in output.rglob(".*")]
    check.expect(not left, f"{output.name}: {left} are left")
    difference = max(float(np.abs(vectors[name] - expected[name]).max()) for name in vectors.keys() & expected.keys())
    check.expect(difference < 1e-4, f"{output.name}: vectors differ by {difference:.1e}")
    return difference


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shard-size", type=int, default=128)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["sam_audio", "sslam_tiny"])
    args = parser.parse_args()
    rng, check = random.Random(args.seed), Check()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        broken = write_clips(work / "clips", args.clips)
        print(f"{args.clips} clips, {len(broken)} of them broken, {cores} cores, torch {torch.__version__}")
        print("| model | processes | seconds | clips per second without the start | ratio |")
        print("|---|---|---|---|---|")
        for kind in args.models:
            torch.manual_seed(0)
            model, extractor = MODELS[kind]()
            model.save_pretrained(work / kind)
            extractor.save_pretrained(work / kind)
            rates = []
            for processes in (1, 2):
                output = work / f"{kind}-{processes}"
                total = seconds_of(command(work / "clips", work / kind, output, processes, args.shard_size))
                rates.append(clips_per_second(output))
                print(
                    f"| {kind} | {processes} | {total:.1f} | {rates[-1]:.1f} | {rates[-1] / rates[0]:.2f} |",
                    flush=True,
                )
                if processes == 1:
                    expected, work_seconds = read(output)[0], args.clips / rates[0]
                    start = max(0.0, total - work_seconds)
                check_result(output, expected, broken, check)
            killed: Counter[str] = Counter()
            output = work / f"{kind}-killed"
            while killed.total() - killed["nothing"] < args.kills:
                words = command(work / "clips", work / kind, output, rng.choice((1, 2)), args.shard_size)
                what = kill_at_random(
                    words, 0.5 * start + rng.uniform(0, 2 * work_seconds / args.kills + 0.5 * start), rng
                )
                killed[what] += 1
                if what == "nothing":  # there is nothing left to do
                    shutil.rmtree(output)
                elif (output / "data").exists() and any((output / "data").glob("*.parquet")):
                    counts = read(output)[1]
                    check.expect(max(counts.values()) == 1, f"after a kill of {what}: clips more than once")
            seconds_of(command(work / "clips", work / kind, output, 2, args.shard_size))
            difference = check_result(output, expected, broken, check)
            kinds = ", ".join(f"{what} {number} times" for what, number in sorted(killed.items()))
            print(f"\n{kind}: killed {kinds}; largest difference of two vectors {difference:.1e}\n", flush=True)
    for problem in check.problems:
        print(problem)
    print(f"{len(check.problems)} problems")
    return 1 if check.problems else 0


if __name__ == "__main__":
    sys.exit(main())
