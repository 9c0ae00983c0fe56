# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Pre-training: a whole step of SSLAM's two stages and of SAMAudio, and the memory that the second stage takes.

Another implementation of SSLAM can be timed beside ours: `--against FILE` names Python code with a function
`make_step(batch_size, clone_batch, stage, frames)` that builds its model and returns a function without arguments
that does one whole step in float32: forward, backward, clipping, AdamW, and the teacher's update. On a GPU, where
`gpu.py` times it, it gets `device` too.
"""

import functools
import importlib.util
from collections.abc import Iterator
from typing import Any

import torch
from models import RATE, encoder_size, log_mel, num_frames, sam_audio_size, training_step
from timing import Run, Settings, compare, peak_memory
from transformers import PreTrainedModel

from polyaudio import SAMAudioConfig, SAMAudioForPreTraining, SSLAMConfig, SSLAMForPreTraining


CHECKPOINTING, BFLOAT16 = {"checkpointing": True}, {"bfloat16": True}
VARIANTS = {
    "float32": {},
    "float32, activation checkpointing": CHECKPOINTING,
    "bfloat16 by autocast": BFLOAT16,
    "bfloat16 by autocast, activation checkpointing": {**BFLOAT16, **CHECKPOINTING},
}
TEACHER_VARIANTS = {"bfloat16 by autocast, the teacher too": {**BFLOAT16, "teacher_in_float32": False}}

BATCH_SIZE, CLONE_BATCH = 2, 4


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Both models with and without activation checkpointing and bfloat16."""
    for stage in (1, 2):
        yield measure_sslam(settings, stage)
    batch_size, seconds = (2, 1) if settings.quick else (32, 16)
    yield compare(
        f"Pre-training step of SAMAudio on {batch_size} x {seconds} s",
        sam_audio_steps(settings, 0.1 * torch.randn(batch_size, seconds * RATE)),
        settings,
    )


def measure_sslam(settings: Settings, stage: int) -> dict[str, Any]:
    """A step of one stage in all variants, and of the other implementation; the memory of stage 2."""
    names = [*VARIANTS, *TEACHER_VARIANTS]
    makers = {name: functools.partial(sslam_step, settings, stage, name) for name in names}
    if settings.against is not None and settings.device.type == "cpu":
        makers[settings.against.name] = functools.partial(other_step, settings, stage)
    memory = {}
    if stage == 2:
        measured = names[:1] if settings.quick else makers
        memory = {name: peak_memory(makers[name], settings.device) for name in measured}
    steps = sslam_steps(settings, stage)  # of one model: as many as there are variants would fill the memory
    return compare(
        f"Pre-training step of SSLAM, stage {stage}, {BATCH_SIZE} clips of {num_frames(settings)} frames, "
        f"{CLONE_BATCH} views of each",
        {name: steps[name] if name in steps else make() for name, make in makers.items()},
        settings,
        peak_memory=memory,
    )


def sslam_model(settings: Settings, stage: int, clone_batch: int) -> SSLAMForPreTraining:
    """SSLAM in one stage, of base size, with random weights."""
    torch.manual_seed(0)
    size = encoder_size(settings)
    config = SSLAMConfig(
        pretraining_stage=stage,
        clone_batch=clone_batch,
        average_top_k_layers=size["num_hidden_layers"],
        decoder_hidden_size=size["hidden_size"],
        decoder_num_layers=1 if settings.quick else 6,
        **size,
    )
    return SSLAMForPreTraining(config).to(settings.device)


def sslam_steps(settings: Settings, stage: int) -> dict[str, Run]:
    """A step of one SSLAM in each variant."""
    model = sslam_model(settings, stage, CLONE_BATCH)
    clips = torch.randn(BATCH_SIZE, num_frames(settings), model.config.num_mel_bins, device=settings.device)
    steps = steps_of_variants(model, {"input_values": clips}, settings.device, {**VARIANTS, **TEACHER_VARIANTS})
    return {name: functools.partial(with_teacher, model, step) for name, step in steps.items()}


def with_teacher(model: SSLAMForPreTraining, step: Run) -> None:
    step()
    model.update_teacher(1)


def sslam_step(settings: Settings, stage: int, name: str) -> Run:
    return sslam_steps(settings, stage)[name]


def sam_audio_steps(settings: Settings, waveforms: torch.Tensor) -> dict[str, Run]:
    """A step of one SAMAudio in each variant."""
    model = SAMAudioForPreTraining(SAMAudioConfig(**sam_audio_size(settings))).to(settings.device)
    return steps_of_variants(model, {"input_values": log_mel(waveforms, settings)}, settings.device, VARIANTS)


def steps_of_variants(
    model: PreTrainedModel,
    batch: dict[str, torch.Tensor],
    device: torch.device,
    variants: dict[str, dict[str, bool]],
) -> dict[str, Run]:
    model.train()
    step = training_step(model, lambda: model(**batch).loss, device)
    kind = (
        "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    )  # transformers before 5.23

    def variant(checkpointing: bool = False, bfloat16: bool = False, teacher_in_float32: bool = True) -> None:
        switch = "enable" if checkpointing else "disable"
        getattr(model, f"{kind}_checkpointing_{switch}")()
        model.config.teacher_in_float32 = teacher_in_float32
        step(bfloat16=bfloat16)

    return {name: functools.partial(variant, **settings) for name, settings in variants.items()}


def other_step(settings: Settings, stage: int, batch_size: int = BATCH_SIZE, clone_batch: int = CLONE_BATCH) -> Run:
    """The step of the implementation that `--against` names."""
    spec = importlib.util.spec_from_file_location("other_implementation", settings.against)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    on = {} if settings.device.type == "cpu" else {"device": settings.device}
    return module.make_step(
        batch_size=batch_size, clone_batch=clone_batch, stage=stage, frames=num_frames(settings), **on
    )
