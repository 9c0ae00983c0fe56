# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""In which precision a model computes: as it is, or by autocast in bfloat16, and where bfloat16 is taken by itself."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np


if TYPE_CHECKING:
    import torch


Precision = Literal["float32", "bfloat16", "auto"]

# Models with fewer parameters spend too much of their time outside of matrix products
MIN_PARAMETERS = 20_000_000
# Batches that are computed in float32 before there is a choice, which takes as long as two of them
BATCHES_BEFORE = 4
# How much faster than float32 a linear layer must be in bfloat16
MIN_GAIN = 1.25
# How many times the largest difference of the scores in one batch they may differ in others
SAFETY = 4.0


def check_precision(precision: str) -> None:
    """Raise `ValueError` unless a precision is one of `Precision`."""
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be {', '.join(map(repr, get_args(Precision)))}, got {precision!r}.")


def recorded(precision: Precision) -> str | None:
    """How features record the precision that they are computed in: `None` for float32, as before there were others."""
    return precision if precision == "bfloat16" else None


@functools.cache
def gain_of_bfloat16(device: "torch.device") -> float:
    """How many times as fast as in float32 a linear layer of a large model is by autocast in bfloat16, on a device."""
    import torch

    from ..modeling.onednn_linear import onednn_linear

    layer = onednn_linear(768, 3072).to(device)
    inputs = torch.randn(1024, 768, device=device)

    def seconds(bf16: bool) -> float:
        start = time.perf_counter()
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            layer(inputs)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return time.perf_counter() - start

    pairs = [(seconds(False), seconds(True)) for _ in range(6)][1:]  # the first one prepares the kernels
    return min(exact for exact, _ in pairs) / min(rounded for _, rounded in pairs)


def is_close(scores: np.ndarray, error: float, threshold: float | None) -> bool:
    """
    Whether another label can be the best, or the answer to whether it is one of the classes another, once two scores
    `(labels,)` are both wrong by `error`.
    """
    best = np.sort(scores)[-2:]
    limits = [*best[:-1], *([] if threshold is None else [threshold])]
    return any(abs(best[-1] - limit) <= 2 * error for limit in limits)


@dataclass(frozen=True)
class Choice:
    """
    What was chosen for a model.

    Attributes:
        bf16: whether it computes in bfloat16.
        error: how far its scores may be from those in float32.
        reason: why, for people.
    """

    bf16: bool
    error: float
    reason: str

    def __str__(self) -> str:
        return f"computed in {'bfloat16' if self.bf16 else 'float32'}: {self.reason}"


class AutoPrecision:
    """
    Chooses between float32 and bfloat16 for a classifier of clips, after some batches in float32.

    bfloat16 is chosen where a linear layer is computed faster in it on this device, and a batch of the clips has the
    same best labels in both, and few of its clips have scores so close that they would have to be computed again.

    Args:
        device: of the model.
        threshold: of the best score, below which a clip is of none of the classes.

    Attributes:
        choice: what was chosen; `None` as long as there was no choice.
    """

    def __init__(self, device: "torch.device", threshold: float | None = None):
        self.device, self.threshold = device, threshold
        self.choice: Choice | None = None
        self._batches = 0

    def compute(self, scores: Callable[[bool], list[np.ndarray]]) -> list[np.ndarray]:
        """
        The scores of a batch.

        Args:
            scores: computes them, in bfloat16 or not: `(labels,)` for each window.
        """
        if self.choice is None and self._batches >= BATCHES_BEFORE:
            return self._choose(scores)
        self._batches += 1
        return scores(self.choice is not None and self.choice.bf16)

    def _choose(self, scores: Callable[[bool], list[np.ndarray]]) -> list[np.ndarray]:
        gain, exact = gain_of_bfloat16(self.device), scores(False)
        if gain < MIN_GAIN:
            self.choice = Choice(False, 0.0, f"bfloat16 is {gain:.1f} times as fast here")
            return exact
        rounded = scores(True)
        error = SAFETY * max(float(np.abs(one - other).max()) for one, other in zip(exact, rounded, strict=True))
        agree = all(one.argmax() == other.argmax() for one, other in zip(exact, rounded, strict=True))
        again = sum(is_close(one, error, self.threshold) for one in exact) / len(exact)
        if not agree:
            self.choice = Choice(False, 0.0, "in bfloat16 some clips get other labels")
        elif 1 / gain + again > 1 / MIN_GAIN:
            self.choice = Choice(False, 0.0, "the scores of too many clips are too close for bfloat16")
        else:
            self.choice = Choice(True, error, f"it is {gain:.1f} times as fast here, and the labels agree")
        return exact

    @property
    def error(self) -> float:
        """How far the scores so far may be from those in float32."""
        return 0.0 if self.choice is None else self.choice.error
