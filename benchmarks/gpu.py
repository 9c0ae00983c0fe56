# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Whether polyaudio is right on a GPU, and how near it comes to what the card can do, in one run below eight minutes.

    python benchmarks/gpu.py [--output gpu.json] [--against FILE] [--quick]

First what must be right: what the original implementations computed, in float32, TF32 and bfloat16; kernels of
attention; compiled models; a resumed run; two cards, where there are two. Then feature extraction and loading. Then
clips a second, the share of the card's peak (the rate of a large product of matrices in the same run) and memory: both
stages of pre-training and fine-tuning with the batches of the recipes, and inference. The output names the parts
that did not fit into the time. The exit code is 1 if something is wrong. benchmarks/table.py makes the tables again.
"""

import argparse
import datetime
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import any_transformers  # noqa: F401  before polyaudio
import gpu_checks
import gpu_speed
import torch
from table import document, table
from timing import Settings, machine


class Bench:
    """The results so far, in a file that is complete at any time."""

    def __init__(self, settings: Settings, output: Path, minutes: float):
        self.settings, self.output = settings, output
        self.start = time.perf_counter()
        self.end = self.start + 60 * minutes
        self.content: dict[str, Any] = {
            "machine": machine([torch.device("cpu"), settings.device]),
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "quick": settings.quick,
            "rounds": settings.rounds,
            "seconds": 0.0,
            "results": [],
            "left_out": [],
        }

    def add(self, benchmark: str, result: dict[str, Any]) -> None:
        """Write a result to the file, and print its table."""
        self.content["results"].append({"benchmark": benchmark, "device": self.settings.device.type, **result})
        print(f"\n{table(self.content['results'][-1])}", flush=True)
        self.save()

    def leave_out(self, what: str, why: str) -> None:
        self.content["left_out"].append({"what": what, "why": why})
        print(f"left out: {what}: {why}", flush=True)
        self.save()

    def save(self) -> None:
        self.content["seconds"] = time.perf_counter() - self.start
        self.output.write_text(json.dumps(self.content, indent=2) + "\n", encoding="utf-8")

    def has_time(self, what: str, expected_seconds: float) -> bool:
        """Whether enough time is left for a part. Otherwise, note that it is left out."""
        is_left = self.settings.quick or time.perf_counter() + expected_seconds < self.end
        if not is_left:
            self.leave_out(what, "the time is up")
        return is_left


def check(bench: Bench, cards: list[str]) -> bool:
    """Run all checks; returns whether everything that could be checked is right."""
    checks = list(gpu_checks.check_all(bench.settings, cards))
    bench.add("correctness", {"title": "Correctness", "checks": checks})
    return all(one["passed"] in (True, None) for one in checks)


def measure_steps(bench: Bench) -> None:
    """Clips a second and the share of the peak; a case that does not fit into memory is left out."""
    peak = gpu_speed.peaks(bench.settings)
    for title, cases in gpu_speed.groups(bench.settings):
        rows = []
        for case in cases:
            what = f"{title.partition(',')[0]}: {case.name}"
            if bench.has_time(what, case.expected_seconds):
                try:
                    rows.append(gpu_speed.measure(case, bench.settings, peak))
                except Exception as error:  # out of memory, or a compiler that is not there: the others still run
                    bench.leave_out(what, f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
        bench.add("steps", {"title": title, "peaks": peak, "rows": rows})


def measure_data(bench: Bench) -> None:
    """Feature extraction on the device, and loading beside the fine-tuning step."""

    def extraction() -> Iterator[dict[str, Any]]:
        import extraction

        return extraction.measure(bench.settings)

    def loading() -> Iterator[dict[str, Any]]:
        import data_loading

        return data_loading.measure(bench.settings)

    for name, measure, expected_seconds in (("extraction", extraction, 20), ("loading", loading, 40)):
        if bench.has_time(name, expected_seconds):
            try:
                for result in measure():
                    bench.add(name, result)
            except ImportError as error:
                bench.leave_out(name, str(error))


def visible_cards() -> list[str]:
    """The numbers of the CUDA devices that programs may use."""
    numbers = os.environ.get("CUDA_VISIBLE_DEVICES")
    return list(map(str, range(torch.cuda.device_count()))) if numbers is None else numbers.split(",")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("gpu.json"), help="file to write (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=7.5, help="what it may take (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="that count, after a warm-up (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny models, on the CPU: whether it runs, no figures")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="another implementation of a step, see benchmarks/pretraining.py",
    )
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {args.rounds}.")
    if args.against is not None and not args.against.exists():
        parser.error(f"{args.against} does not exist.")
    if not args.quick and not torch.cuda.is_available():
        parser.error("torch sees no GPU. --quick shows on the CPU that everything runs.")
    cards = [] if args.quick else visible_cards()
    if cards:  # a Trainer would split batches over all it sees. The check that needs two starts other processes
        os.environ["CUDA_VISIBLE_DEVICES"] = cards[0]
    args.output.parent.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler would write lines among the tables

    device, rounds = torch.device("cuda" if cards else "cpu"), 1 if args.quick else args.rounds
    bench = Bench(Settings(device, args.quick, rounds, args.against, None), args.output, args.minutes)
    print(document(bench.content))
    torch.manual_seed(0)
    is_right = check(bench, cards)
    measure_data(bench)
    measure_steps(bench)
    bench.save()
    print(f"\n{bench.content['seconds'] / 60:.1f} minutes; the figures are in {args.output}")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
