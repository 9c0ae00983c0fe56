# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Fine-tuning: a whole training step of classifiers."""

import functools
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from models import RATE, SAM_AUDIO, SSLAM, Rival, classifiers, clip_seconds, log_mel, sam_audio_size, training_step
from timing import Settings, compare

from polyaudio import SAMAudioConfig, SAMAudioForAudioClassification


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Our classifiers against others, and with `--sam-carnatic` SAMAudio against the original."""
    batch_size = 2 if settings.device.type == "cpu" or settings.quick else 16
    rivals = classifiers(settings, batch_size)
    steps = {name: fine_tuning_step(rival, settings.device) for name, rival in rivals.items()}
    for precision in ("float32", "bfloat16 by autocast"):
        use_bfloat16 = precision != "float32"
        yield compare(
            f"Training step on {batch_size} x {clip_seconds(settings)} s, {precision}",
            {name: functools.partial(step, bfloat16=use_bfloat16) for name, step in steps.items()},
            settings,
            references=(SSLAM, SAM_AUDIO),
        )
    if settings.sam_carnatic is not None:
        yield against_original(settings)


def fine_tuning_step(rival: Rival, device: torch.device) -> Callable[..., None]:
    model = rival.model.train()
    return training_step(model, lambda: model(**rival.batch).loss, device)


def against_original(settings: Settings) -> dict[str, Any]:
    """A training step of SAMAudio beside the original's, with the settings of its config.yaml."""
    batch_size, seconds, num_labels = 2 if settings.quick else 32, 16, 8
    waveforms = 0.1 * torch.randn(batch_size, seconds * RATE)
    labels = torch.randint(0, num_labels, (batch_size,), device=settings.device)
    config = SAMAudioConfig(num_labels=num_labels, **sam_audio_size(settings))
    ours = Rival(
        SAMAudioForAudioClassification(config).to(settings.device),
        {"input_values": log_mel(waveforms, settings), "labels": labels},
    )
    encoder = {"hidden_dims": config.conv_dim, "kernel_size": 3, "stride": 2, "dropout_rate": 0.25}
    original = load_original(settings.sam_carnatic).SAMAudioModel(encoder, num_classes=num_labels)
    original.to(settings.device).train()
    waveforms = waveforms.to(settings.device)

    def loss() -> torch.Tensor:
        out = original(waveforms, labels=labels)
        return out["classification_loss"] + 0.5 * out["masked_lm_loss"] + 0.3 * out["contrastive_loss"]

    return compare(
        f"Training step of SAMAudio on {batch_size} x {seconds} s, float32",
        {
            "SAMAudio, from given log-mels": fine_tuning_step(ours, settings.device),
            "the original, mel inside the forward": training_step(original, loss, settings.device),
        },
        settings,
    )


def load_original(checkout: Path) -> types.ModuleType:
    sys.modules.setdefault("wandb", types.ModuleType("wandb"))  # it is imported, but a step does not use it
    spec = importlib.util.spec_from_file_location("sam_carnatic_train", checkout / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
