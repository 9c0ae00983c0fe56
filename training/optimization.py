# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Learning rates by the depth of a layer, and a cosine schedule with a floor for each of them."""

import functools
import math
import re
from collections.abc import Callable

import torch
from peft import PeftModel
from transformers import PreTrainedModel


_BLOCK = re.compile(r"(?:.+\.)?layers\.\d+(?=\.)")


def layer_scales(model: PreTrainedModel, layer_decay: float, counting: str) -> dict[torch.nn.Parameter, float]:
    """
    The share of the learning rate that each parameter gets under layer-wise decay.

    Block i of d, from 0, gets `layer_decay ** (d - i)` and what is outside the encoder (`model.base_model`) the full
    rate. Blocks are all `layers.N` of the encoder, in the order in which it names them: for SAMAudio first the
    convolutions, then the segment layers.

    Args:
        counting: what the encoder's other parameters get: with `"blocks"` the full rate, as in the original; with
            `"all"`, as in BEiT, `layer_decay ** (d + 1)` before the first block, and behind a block the same as it.

    Raises:
        ValueError: the model is wrapped by PEFT, or its encoder has no numbered blocks.
    """
    if isinstance(model, PeftModel):
        raise ValueError("layer_decay is for training all weights, not an adapter: leave out either it or LoRA.")
    encoder = list(model.base_model.named_parameters())
    blocks = list(dict.fromkeys(match[0] for name, _ in encoder if (match := _BLOCK.match(name))))
    if not blocks:
        raise ValueError(
            f"layer_decay needs numbered blocks, parameters named `layers.N`, and {type(model.base_model).__name__} "
            "has none: leave it out."
        )
    scales = dict.fromkeys(model.parameters(), 1.0)
    exponent = len(blocks) + 1
    for name, parameter in encoder:
        match = _BLOCK.match(name)
        if match:
            exponent = len(blocks) - blocks.index(match[0])
        if match or counting == "all":
            scales[parameter] = layer_decay**exponent
    return scales


def scale_learning_rates(optimizer: torch.optim.Optimizer, scales: dict[torch.nn.Parameter, float]) -> None:
    """
    Split the groups of an optimizer that has made no step so that each parameter's rate is scaled by its share.

    The highest rates come first: a Trainer logs the rate of the first group.
    """
    groups = optimizer.param_groups
    optimizer.param_groups = []
    for scale in sorted(set(scales.values()), reverse=True):
        for group in groups:
            parameters = [parameter for parameter in group["params"] if scales[parameter] == scale]
            if parameters:
                optimizer.add_param_group({**group, "params": parameters, "lr": group["lr"] * scale})


def cosine_with_floor(
    optimizer: torch.optim.Optimizer, num_warmup_steps: int, num_training_steps: int, min_learning_rate: float
) -> torch.optim.lr_scheduler.LambdaLR:
    """
    Linear warm-up from `min_learning_rate` to the rate of each group, then half a cosine back to it.

    A group whose rate is not above `min_learning_rate` keeps that rate all the time, as in the original.

    Args:
        min_learning_rate: above 0.
    """
    factors: list[Callable[[int], float]] = [
        functools.partial(
            _cosine_factor,
            num_warmup_steps=num_warmup_steps,
            num_training_steps=num_training_steps,
            floor=min_learning_rate / max(min_learning_rate, group["lr"]),
        )
        for group in optimizer.param_groups
    ]
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factors)


def _cosine_factor(step: int, *, num_warmup_steps: int, num_training_steps: int, floor: float) -> float:
    if step < num_warmup_steps:
        height = step / num_warmup_steps
    else:
        progress = (step - num_warmup_steps) / max(1, num_training_steps - num_warmup_steps)
        height = (1 + math.cos(math.pi * min(1.0, progress))) / 2
    return floor + (1 - floor) * height
