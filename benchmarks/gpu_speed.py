# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Clips a second, share of the device's peak, and memory, at base size with the batches of the recipes."""

import functools
import gc
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from fine_tuning import fine_tuning_step
from forward import inference
from models import AST, SAM_AUDIO, SSLAM, Rival, classifiers, num_frames
from pretraining import other_step, sslam_model, steps_of_variants, with_teacher
from timing import SECONDS_OF_A_ROUND, Run, Settings, computing, count_work, seconds, summary, without_compiling

from polyaudio.modeling.modeling_sslam import draw_mix_starts, draw_view_masks


RECIPES = Path(__file__).resolve().parent.parent / "recipes"
INFERENCE_BATCH = 64

# What a case may take in seconds, to see whether there is time for it. Compiling takes most of it
SECONDS, SECONDS_OF_COMPILING = 15, 75


@dataclass(frozen=True)
class Case:
    """
    Args:
        name: of the row.
        precision: as for `computing`; its product of matrices is the peak.
        clips: number of clips in a call.
        make: returns a model, to be compiled in place, or `None`, and what is called.
        compiled: whether to compile it.
    """

    name: str
    precision: str
    clips: int
    make: Callable[[], tuple[torch.nn.Module | None, Run]]
    compiled: bool = False

    @property
    def expected_seconds(self) -> int:
        return SECONDS_OF_COMPILING if self.compiled else SECONDS


def peaks(settings: Settings) -> dict[str, float]:
    """The rate of a large product of two matrices in each precision, in billions of operations a second."""
    width = 128 if settings.quick else 8192
    found = {}
    for precision in ("float32", *(("TF32",) if settings.device.type == "cuda" else ()), "bfloat16"):
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        matrix = torch.randn(width, width, device=settings.device, dtype=dtype)
        product = functools.partial(torch.mm, matrix, matrix)
        with computing(precision, settings.device):
            taken = timed(product, settings)
        found[precision] = 2 * width**3 / 1e9 / taken["median"]
    return found


def timed(run: Run, settings: Settings) -> dict[str, float]:
    """Median, lowest and highest seconds of a call, over the rounds."""
    calls = 1 if settings.quick else math.ceil(SECONDS_OF_A_ROUND / seconds(run, settings.device))
    return summary([seconds(run, settings.device, calls) for _ in range(settings.rounds)])


def measure(case: Case, settings: Settings, peak: dict[str, float]) -> dict[str, Any]:
    """
    A row: `name`, `clips_per_second`, `seconds` (median, lowest and highest of the rounds), `gflop` of a call, `share`
    of the peak, `peak_memory` in GiB that torch allocates (None on a CPU), and `first_call`, the seconds of the first
    call, with compiling.
    """
    device, on_cpu = settings.device, settings.device.type == "cpu"
    gc.collect()  # what the case before has held
    torch.compiler.reset()
    # Steps have an autocast of their own
    with computing(case.precision, device), torch.autocast(device.type, enabled=False), without_compiling(settings):
        model, run = case.make()
        _, gflop = count_work(run, device)
        if case.compiled and model is not None:
            model.compile()
        first_call = seconds(run, device)
        if not on_cpu:
            torch.accelerator.empty_cache()
            torch.accelerator.reset_peak_memory_stats(device)
        taken = timed(run, settings)
    memory = None if on_cpu else torch.accelerator.max_memory_allocated(device) / 2**30
    return {
        "name": case.name,
        "precision": case.precision,
        "clips_per_second": case.clips / taken["median"],
        "seconds": taken,
        "gflop": gflop,
        "share": gflop / taken["median"] / peak[case.precision],
        "peak_memory": memory,
        "first_call": first_call,
    }


def groups(settings: Settings) -> Iterator[tuple[str, list[Case]]]:
    """The title and the cases of each table."""
    frames = f"of {num_frames(settings)} frames"
    for stage in (1, 2):
        own = recipe(f"sslam_stage{stage}")
        batch = clips_of(settings, own["training"]["per_device_train_batch_size"])
        views = clips_of(settings, own["model"]["clone_batch"])
        title = f"Pre-training, stage {stage}, {batch} clips {frames}, {views} views of each, as in sslam_stage{stage}"
        yield title, pretrainings(settings, stage, batch, views)
    batch = clips_of(settings, recipe("audioset_20k")["training"]["per_device_train_batch_size"])
    yield f"Fine-tuning, {batch} clips {frames}, as in audioset_20k", classifications(settings, batch, fine_tune)
    batch = clips_of(settings, INFERENCE_BATCH)
    yield f"Inference, {batch} clips {frames}", classifications(settings, batch, infer)


def recipe(name: str) -> dict[str, Any]:
    # Not `read_recipe`, which needs all requirements of training
    return yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))


def clips_of(settings: Settings, number: int) -> int:
    return 2 if settings.quick else number


def precisions(settings: Settings) -> tuple[str, ...]:
    return ("float32", "TF32", "bfloat16") if settings.device.type == "cuda" else ("float32", "bfloat16")


def classifications(settings: Settings, size: int, what: Callable[..., Run]) -> list[Case]:
    """`fine_tune` or `infer` of SSLAM, of AST with the same size and as many patches, and of SAMAudio."""

    def make(name: str, precision: str) -> tuple[torch.nn.Module, Run]:
        rival = classifiers(settings, size, [name])[name]
        return rival.model, what(rival, precision == "bfloat16", settings)

    def case(name: str, precision: str, compiled: bool = False) -> Case:
        title = f"{name}, {precision}{', compiled' if compiled else ''}"
        return Case(title, precision, size, functools.partial(make, name, precision), compiled)

    cases = [case(SSLAM, precision) for precision in precisions(settings)]
    cases += [case(AST, "bfloat16"), case(SAM_AUDIO, "bfloat16")]
    return [*cases, case(SSLAM, "bfloat16", True), case(AST, "bfloat16", True)]


def fine_tune(rival: Rival, bfloat16: bool, settings: Settings) -> Run:
    return functools.partial(fine_tuning_step(rival, settings.device), bfloat16=bfloat16)


def infer(rival: Rival, bfloat16: bool, settings: Settings) -> Run:
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    return inference(rival.model.to(dtype), rival.batch["input_values"].to(dtype))


def pretrainings(settings: Settings, stage: int, size: int, views: int) -> list[Case]:
    """Steps of SSLAM, and of the implementation that `--against` names."""
    bfloat16 = {"bfloat16": True, "teacher_in_float32": False}
    checkpointing = {**bfloat16, "checkpointing": True}

    def make(variant: dict[str, bool]) -> tuple[torch.nn.Module, Run]:
        model = sslam_model(settings, stage, views)
        clips = torch.randn(size, num_frames(settings), model.config.num_mel_bins)
        masks = draw_view_masks(model.config, torch.ones_like(clips[..., 0]))
        batch = {"input_values": clips, "bool_masked_pos": masks}
        if stage == 2:
            batch["mix_starts"] = draw_mix_starts(model.config, clips.shape[1])
        batch = {name: value.to(settings.device) for name, value in batch.items()}
        step = steps_of_variants(model, batch, settings.device, {"own": variant})["own"]
        return model, functools.partial(with_teacher, model, step)

    def case(name: str, precision: str, variant: dict[str, bool], compiled: bool = False) -> Case:
        return Case(f"SSLAM, {name}", precision, size, functools.partial(make, variant), compiled)

    in_float32 = precisions(settings)[-2]
    cases = [
        case(in_float32, in_float32, {}),
        case("bfloat16, teacher in float32", "bfloat16", {"bfloat16": True}),
        case("bfloat16, the teacher too", "bfloat16", bfloat16),
        case("bfloat16, the teacher too, activation checkpointing", "bfloat16", checkpointing),
        case("bfloat16, the teacher too, compiled", "bfloat16", bfloat16, True),
    ]
    if settings.against is not None:
        name, other = f"{settings.against.name}, {in_float32}", functools.partial(other_step, settings, stage)
        cases.insert(1, Case(name, in_float32, size, lambda: (None, other(size, views))))
    return cases
