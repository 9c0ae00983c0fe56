# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The models that are compared, of one size and on the same clips, and a training step."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from timing import Settings
from transformers import (
    ASTConfig,
    ASTForAudioClassification,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2ForSequenceClassification,
)

from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    SSLAMConfig,
    SSLAMForAudioClassification,
)


RATE = 16_000
NUM_LABELS = 527

SSLAM, SAM_AUDIO = "SSLAM", "SAMAudio"
AST = "AST, strides of 16 for as many patches as SSLAM"


class Rival(NamedTuple):
    """A model and the batch that it is given, with `labels`."""

    model: PreTrainedModel
    batch: dict[str, torch.Tensor]


def clip_seconds(settings: Settings) -> int:
    """Length of the clips that all are given."""
    return 1 if settings.quick else 10


def num_frames(settings: Settings) -> int:
    """Frames that SSLAM and AST pad such clips to."""
    return 112 if settings.quick else 1024


def encoder_size(settings: Settings) -> dict[str, int]:
    """The size of all Transformers, in their configurations' names: base, or a tiny one."""
    if settings.quick:
        return {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    return {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}


def sam_audio_size(settings: Settings) -> dict[str, list[int]]:
    """The original's, or a tiny one."""
    return {"conv_dim": [8, 8, 16, 16] if settings.quick else [64, 128, 256, 512]}


def log_mel(waveforms: torch.Tensor, settings: Settings) -> torch.Tensor:
    """What SAMAudio takes of `(batch_size, samples)` waveforms."""
    feature_extractor = SAMAudioFeatureExtractor()
    features = feature_extractor(waveforms, sampling_rate=RATE, return_tensors="pt", device=settings.device)
    return features.input_values


def classifiers(settings: Settings, batch_size: int, names: Collection[str] | None = None) -> dict[str, Rival]:
    """Our classifiers and what they are compared with, on this number of clips; all, or those of these `names`."""
    size, frames = encoder_size(settings), num_frames(settings)
    waveforms = 0.1 * torch.randn(batch_size, clip_seconds(settings) * RATE)
    patches = torch.randn(batch_size, frames, 128)
    labels = torch.randint(0, NUM_LABELS, (batch_size,), device=settings.device)

    def ast(**strides: int) -> ASTForAudioClassification:
        return ASTForAudioClassification(ASTConfig(num_labels=NUM_LABELS, max_length=frames, **strides, **size))

    def sam_audio() -> SAMAudioForAudioClassification:
        return SAMAudioForAudioClassification(SAMAudioConfig(num_labels=NUM_LABELS, **sam_audio_size(settings)))

    def wav2vec2() -> Wav2Vec2ForSequenceClassification:
        tiny = {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
        # No layer is left out in training: it would be another model in each round
        config = Wav2Vec2Config(num_labels=NUM_LABELS, layerdrop=0.0, **size, **(tiny if settings.quick else {}))
        return Wav2Vec2ForSequenceClassification(config)

    makers: dict[str, tuple[Callable[[], PreTrainedModel], Callable[[], torch.Tensor]]] = {
        SSLAM: (lambda: SSLAMForAudioClassification(SSLAMConfig(num_labels=NUM_LABELS, **size)), lambda: patches),
        SAM_AUDIO: (sam_audio, lambda: log_mel(waveforms, settings)),
        "AST, as published": (ast, lambda: patches),
        AST: (lambda: ast(frequency_stride=16, time_stride=16), lambda: patches),
        "Wav2Vec2": (wav2vec2, lambda: waveforms),
    }
    return {
        name: Rival(make_model().to(settings.device), {"input_values": inputs().to(settings.device), "labels": labels})
        for name, (make_model, inputs) in makers.items()
        if names is None or name in names
    }


def training_step(
    model: torch.nn.Module, loss: Callable[[], torch.Tensor], device: torch.device
) -> Callable[..., None]:
    """A whole training step of a model: `loss` (its forward pass), backward, clipping, AdamW."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-5, weight_decay=0.05, fused=True)

    def step(*, bfloat16: bool = False) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
