# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A moving average of the weights of a model, which is often better than the weights of a single step."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import get_ema_multi_avg_fn


EMA_WEIGHTS_NAME = "ema.safetensors"


class ModelEMA:
    """
    The exponential moving average of the trained weights of a model.

    It starts with the weights of the model. At step n, the average becomes `d * average + (1 - d) * weights` with
    `d = min(decay, (1 + n) / (10 + n))`. The smaller decay of the first steps lets a short run move away from the
    initial weights, as in timm. Buffers are not averaged.

    Args:
        model: the model, whose weights must be on one device and not sharded.
        decay: decay after the first steps, at least 0 and below 1.
    """

    def __init__(self, model: torch.nn.Module, decay: float):
        self.decay = decay
        self.parameters = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.averages = {name: weight.detach().float().clone() for name, weight in self.parameters.items()}

    def update(self, step: int) -> None:
        """Update the average after a step of the optimizer; the first step is 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = [weight.detach().float() for weight in self.parameters.values()]
        get_ema_multi_avg_fn(decay)(list(self.averages.values()), weights, step)

    @torch.no_grad()
    def copy_to_model(self) -> None:
        """Replace the weights of the model with the averages."""
        for name, weight in self.parameters.items():
            weight.copy_(self.averages[name])

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """A context in which the model has the averaged weights. It gets its own weights back at the end."""
        own = {name: weight.detach().clone() for name, weight in self.parameters.items()}
        self.copy_to_model()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in self.parameters.items():
                    weight.copy_(own[name])

    def save(self, folder: str | Path) -> None:
        """Write the averages, float32, to `ema.safetensors` in the folder of a checkpoint."""
        path = Path(folder, EMA_WEIGHTS_NAME)
        path.touch()
        mode = path.stat().st_mode  # safetensors would give the file to its owner only
        save_file({name: average.contiguous() for name, average in self.averages.items()}, path)
        path.chmod(mode)

    def load(self, folder: str | Path) -> None:
        """
        Load the averages from the folder of a checkpoint.

        Raises:
            ValueError: the folder has no averages, or averages of other weights.
        """
        path = Path(folder, EMA_WEIGHTS_NAME)
        if not path.is_file():
            raise ValueError(
                f"{folder} has no {EMA_WEIGHTS_NAME}, because that run did not average its weights. Resume it without "
                "ema_decay."
            )
        saved = load_file(path)
        if {name: tensor.shape for name, tensor in saved.items()} != {
            name: average.shape for name, average in self.averages.items()
        }:
            raise ValueError(f"{path} has averages of other weights than those that are trained now.")
        for name, average in self.averages.items():
            average.copy_(saved[name])


__all__ = ["EMA_WEIGHTS_NAME", "ModelEMA"]
