# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Layer-wise learning rates, and a cosine schedule with a minimum."""

import functools
import math
import re
from collections.abc import Callable

import torch
from peft import PeftModel
from transformers import PreTrainedModel


_BLOCK = re.compile(r"(?:.+\.)?layers\.\d+(?=\.)")


def layer_scales(
    model: PreTrainedModel | PeftModel, layer_decay: float, counting: str
) -> dict[torch.nn.Parameter, float]:
    """
    The factor on the learning rate of each parameter under layer-wise decay.

    Block i of d blocks, counted from 0, has the factor `layer_decay ** (d - i)`. Parameters outside the encoder
    (`model.base_model`) have the factor 1. Blocks are the modules `layers.N` of the encoder in the order of its
    parameters: for SAMAudio first the convolutions, then the segment layers.

    Args:
        model: a model with an encoder.
        layer_decay: the factor from each block to the block before it.
        counting: the factor of the other parameters of the encoder. `"blocks"`: 1, as in the original code. `"all"`:
            `layer_decay ** (d + 1)` before the first block, and that of the block before them otherwise, as in BEiT.

    Raises:
        ValueError: the model is wrapped by PEFT, or its encoder has no numbered blocks.
    """
    if isinstance(model, PeftModel):
        raise ValueError("layer_decay needs the training of all weights. Leave out either layer_decay or LoRA.")
    encoder = list(model.base_model.named_parameters())
    blocks = list(dict.fromkeys(match[0] for name, _ in encoder if (match := _BLOCK.match(name))))
    if not blocks:
        raise ValueError(
            f"layer_decay needs blocks with parameters named `layers.N`, but {type(model.base_model).__name__} has "
            "none. Leave out layer_decay."
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
    Multiply the learning rate of each parameter by its factor. The parameter groups are split for that, in place.

    The highest rates come first, because a Trainer logs the rate of the first group.

    Args:
        optimizer: an optimizer that has made no step.
        scales: the result of [`layer_scales`].
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
    A schedule with linear warm-up from `min_learning_rate` to the rate of each group, then half a cosine back to it.

    A group whose rate is not above `min_learning_rate` keeps its rate, as in the original code.

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
