# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Inference: the forward pass of classifiers."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from models import SAM_AUDIO, SSLAM, Rival, classifiers, clip_seconds, num_frames
from timing import Run, Settings, compare
from transformers import PreTrainedModel


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Our classifiers against others and against their own eager attention, and short clips against padded ones."""
    batch_size = 1 if settings.device.type == "cpu" or settings.quick else 32
    rivals = classifiers(settings, batch_size)
    for name in (SSLAM, SAM_AUDIO):
        model = copy.deepcopy(rivals[name].model)
        model.set_attn_implementation("eager")
        rivals[f"{name}, eager attention"] = Rival(model, rivals[name].batch)

    width = 128 if settings.quick else 2048
    for dtype in (torch.float32, torch.bfloat16):
        runs = {}
        for name, rival in rivals.items():
            model = rival.model if dtype == torch.float32 else copy.deepcopy(rival.model).to(dtype)
            runs[name] = inference(model, rival.batch["input_values"].to(dtype))
        if dtype != torch.float32:
            runs["SSLAM, float32"] = inference(rivals[SSLAM].model, rivals[SSLAM].batch["input_values"])
        matrix = torch.randn(width, width, device=settings.device, dtype=dtype)
        runs[f"for scale, a product of matrices of {width} rows and columns"] = lambda matrix=matrix: matrix @ matrix
        yield compare(
            f"Forward pass of {batch_size} x {clip_seconds(settings)} s, {str(dtype).removeprefix('torch.')}",
            runs,
            settings,
            references=(SSLAM, SAM_AUDIO),
        )

    clips = torch.randn(4, num_frames(settings), 128, device=settings.device)
    sslam = rivals[SSLAM].model
    yield compare(
        "Forward pass of SSLAM over 4 clips of a second",
        {
            "98 frames": inference(sslam, clips[:, :98]),
            f"padded to {num_frames(settings)} frames": inference(sslam, clips),
        },
        settings,
    )


def inference(model: PreTrainedModel, input_values: torch.Tensor) -> Run:
    model.eval().requires_grad_(False)  # parameters that modules are given and need gradients upset the FLOP counter

    def run() -> None:
        with torch.inference_mode():
            model(input_values)

    return run
