# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Timing in pairs: the machine's speed drifts, the ratio of two things done in turn does not."""

import platform
import statistics
import time
from collections.abc import Callable

import torch
import torchaudio
import transformers


def machine() -> str:
    """What the figures were taken on."""
    return (
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"torchaudio {torchaudio.__version__}, transformers {transformers.__version__}"
    )


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(runs: dict[str, Callable[[], object]], rounds: int = 7) -> dict[str, float]:
    """Time each in turn, `rounds` times after a warm-up; print medians and ratios to the first; return medians."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(rounds + 1):
        for name, run in runs.items():
            elapsed = seconds(run)
            if i:
                taken[name].append(elapsed)
    first = next(iter(runs))
    for name, times in taken.items():
        ratios = [one / other for one, other in zip(times, taken[first], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"  {name:<44}{statistics.median(times):8.3f} s   x {statistics.median(ratios):5.2f}  ({spread})")
    return {name: statistics.median(times) for name, times in taken.items()}
