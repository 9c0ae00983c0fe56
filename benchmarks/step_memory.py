# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What a pre-training step of SSLAM holds in memory, and when.

    python benchmarks/step_memory.py [--stage 2] [--bf16] [--quick]

Counted are weights, gradients, the state of AdamW, and the tensors that the forward pass keeps for the backward pass,
each memory once, by the part of the model that keeps it. These are sizes of tensors, not measured memory of a process.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from models import num_frames
from pretraining import BATCH_SIZE, CLONE_BATCH, sslam_model
from timing import Settings
from torch import nn


MIB = 2**20


def kept_by_part(model: nn.Module, batch: torch.Tensor, bf16: bool) -> tuple[torch.Tensor, dict[str, int]]:
    """The loss of a step, and the bytes that its forward pass keeps for the backward pass, by part of the model."""
    parts, kept = ["losses and masks"], defaultdict(int)
    seen = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    held = []  # a storage that is freed could come again with the same address

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            held.append(storage)
            kept[parts[-1]] += storage.nbytes()
        return tensor

    def enter(name: str) -> Any:
        return lambda *_: parts.append(name)

    handles = []
    for name, module in model.named_modules():
        if name and not name.startswith("teacher") and (part := part_of(name, module)):
            handles.append(module.register_forward_pre_hook(enter(part)))
            handles.append(module.register_forward_hook(lambda *_: parts.pop() and None))
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
    ):
        loss = model(batch).loss
    for handle in handles:
        handle.remove()
    return loss, dict(kept)


def part_of(name: str, module: nn.Module) -> str | None:
    """The row of a module, or `None` for those that belong to a larger one."""
    kinds = {"SSLAMAttention": "attention", "SSLAMMLP": "MLPs", "LayerNorm": "norms", "SSLAMEmbeddings": "patches"}
    if name.startswith("decoder"):
        return "decoder"
    kind = kinds.get(type(module).__name__)
    return None if kind is None else f"student, {kind}"


def size(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", type=int, choices=(1, 2), default=2)
    parser.add_argument("--bf16", action="store_true", help="in bfloat16 by autocast")
    parser.add_argument("--quick", action="store_true", help="a tiny model")
    args = parser.parse_args()
    settings = Settings(torch.device("cpu"), args.quick, 1, None, None)
    model = sslam_model(settings, args.stage, CLONE_BATCH).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    loss, kept = kept_by_part(model, torch.randn(BATCH_SIZE, num_frames(settings), 128), args.bf16)
    loss.backward()
    weights, gradients = size(trained), size(parameter.grad for parameter in trained if parameter.grad is not None)
    rows = [("weights of student and decoder", weights, weights, weights)]
    rows += [("weights of the teacher", *[size(model.teacher.parameters())] * 3)]
    rows += [("state of AdamW", *[2 * weights] * 3), ("gradients", 0, gradients, gradients)]
    rows += [(f"kept for the backward pass: {part}", count, 0, 0) for part, count in sorted(kept.items())]
    total = [sum(row[column] for row in rows) for column in (1, 2, 3)]
    print("| MiB | after the forward pass | after the backward pass | in the optimizer's step |\n|---|---|---|---|")
    for name, *counts in [*rows, ("together", *total)]:
        print(f"| {name} | {' | '.join(f'{count / MIB:.0f}' for count in counts)} |")


if __name__ == "__main__":
    main()
