# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A moving average of a model's weights, which often does better than the weights of any one step."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import get_ema_multi_avg_fn


EMA_WEIGHTS_NAME = "ema.safetensors"


class ModelEMA:
    """
    The exponential moving average of the weights of a model that are trained.

    It starts from the model's weights. After step n it moves by 1 - min(`decay`, (1 + n) / (10 + n)) of the way to the
    weights of that step, so that a short run does not end with what it started from; timm warms up in the same way.
    Buffers are not averaged: a model with averaged weights keeps its own.

    Args:
        model: its weights must be on one device, whole in each process.
        decay: share of the average that a step keeps after the warm-up, from 0 to below 1.
    """

    def __init__(self, model: torch.nn.Module, decay: float):
        self.decay = decay
        self.parameters = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.averages = {name: weight.detach().float().clone() for name, weight in self.parameters.items()}

    def update(self, step: int) -> None:
        """Take in the weights after a step of the optimizer; the first step is 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = [weight.detach().float() for weight in self.parameters.values()]
        get_ema_multi_avg_fn(decay)(list(self.averages.values()), weights, step)

    @torch.no_grad()
    def copy_to_model(self) -> None:
        """Give the model the averaged weights."""
        for name, weight in self.parameters.items():
            weight.copy_(self.averages[name])

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within this context the model has the averaged weights, and then its own again."""
        own = {name: weight.detach().clone() for name, weight in self.parameters.items()}
        self.copy_to_model()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in self.parameters.items():
                    weight.copy_(own[name])

    def save(self, folder: str | Path) -> None:
        """Write `ema.safetensors` into the folder of a checkpoint: the averages, float32."""
        save_file(
            {name: average.contiguous() for name, average in self.averages.items()}, Path(folder, EMA_WEIGHTS_NAME)
        )

    def load(self, folder: str | Path) -> None:
        """
        Go on from the averages in the folder of a checkpoint.

        Raises:
            ValueError: it holds none, or those of other weights.
        """
        path = Path(folder, EMA_WEIGHTS_NAME)
        if not path.is_file():
            raise ValueError(
                f"{folder} holds no {EMA_WEIGHTS_NAME}, so that run did not average its weights: resume it without "
                "ema_decay."
            )
        saved = load_file(path)
        if {name: tensor.shape for name, tensor in saved.items()} != {
            name: average.shape for name, average in self.averages.items()
        }:
            raise ValueError(f"{path} holds the averages of other weights than those that are trained here.")
        for name, average in self.averages.items():
            average.copy_(saved[name])


__all__ = ["EMA_WEIGHTS_NAME", "ModelEMA"]
