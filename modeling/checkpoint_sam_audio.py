# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Checkpoints of the original SAM-Audio raga classifier (sarayusapa/sam-carnatic) as SAMAudio models."""

import logging
import os
import re
from collections.abc import Mapping
from typing import Any

import torch
import yaml

from ..configuration.configuration_sam_audio import SAMAudioConfig
from ..feature_extraction.feature_extraction_sam_audio import SAMAudioFeatureExtractor
from ..integration.limits import check_sizes
from .checkpoint_io import ConvertedModel, build_converted, section_of, weights_of
from .modeling_sam_audio import SAMAudioForAudioClassification


logger = logging.getLogger(__name__)

# Constants of the original that its training script cannot set
_NUM_ATTENTION_HEADS = 8
_N_FFT, _HOP_LENGTH, _SAMPLING_RATE = 1024, 256, 16000

_MODULES = {
    "segment_predictor.segment_tokens": "sam_audio.segment_tokens",
    "segment_predictor.q_proj.": "sam_audio.layers.0.attention.q_proj.",
    "segment_predictor.k_proj.": "sam_audio.layers.0.attention.k_proj.",
    "segment_predictor.v_proj.": "sam_audio.layers.0.attention.v_proj.",
    "segment_predictor.out_proj.": "sam_audio.layers.0.attention.o_proj.",
    "segment_predictor.layer_norm.": "sam_audio.layers.0.layernorm.",
    "segment_predictor.segment_predictor.0.": "objectives.segment_predictor.fc1.",
    "segment_predictor.segment_predictor.2.": "objectives.segment_predictor.fc2.",
    "contrastive_module.projection_head.0.": "objectives.contrastive_projection.fc1.",
    "contrastive_module.projection_head.2.": "objectives.contrastive_projection.fc2.",
    "raga_classifier.classifier.1.": "classifier.dense.",
    "raga_classifier.classifier.3.": "classifier.layernorm.",
    "raga_classifier.classifier.5.": "classifier.out_proj.",
}
_CONV_LAYER = re.compile(r"audio_encoder\.conv_layers\.(\d+)\.(.+)")
_MEL_BUFFER = "audio_encoder.mel_transform."


def is_sam_carnatic_checkpoint(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a loaded dictionary is a `best_model.pth` (weights and settings) or a `final_model.pth` (weights)."""
    state_dict = checkpoint.get("model_state_dict", checkpoint)
    return isinstance(state_dict, Mapping) and "segment_predictor.segment_tokens" in state_dict


def load_sam_carnatic_checkpoint(
    checkpoint: Mapping[str, Any], *, original_config: str | os.PathLike | None = None
) -> ConvertedModel:
    """
    Build the model and the feature extractor of an original checkpoint.

    Args:
        checkpoint: what [`read_torch_checkpoint`] returns for a `best_model.pth` or a `final_model.pth`.
        original_config: the original's `config.yaml`, for a `final_model.pth`, which has no settings.

    Raises:
        OSError: `original_config` cannot be read.
        ValueError: `original_config` has no settings, or the checkpoint is not one of the original.
    """
    state_dict = weights_of(checkpoint.get("model_state_dict", checkpoint))
    settings = section_of(checkpoint, "config") if "config" in checkpoint else {}
    if original_config is not None:
        with open(original_config, encoding="utf-8") as file:
            settings = yaml.safe_load(file)
        if not isinstance(settings, dict):
            raise ValueError(f"{original_config} has no settings. Pass the config.yaml of the original training run.")
    if "stride" not in settings:
        logger.warning(
            "The checkpoint does not have the stride of its convolutions, so the original's default of 2 is used. If "
            "it was trained with another stride, pass the `original_config` of that run."
        )
    config = sam_carnatic_config(state_dict, settings)
    model = build_converted(SAMAudioForAudioClassification, config, convert_sam_carnatic_state_dict(state_dict))
    keys = {
        name: "dropped: buffer of the mel transform, which the feature extractor computes"
        if name.startswith(_MEL_BUFFER)
        else f"renamed to {_new_name(name)}"
        for name in state_dict
    }
    return ConvertedModel(
        model, SAMAudioFeatureExtractor(str(config.frontend), config.feature_size), "classifier", keys
    )


def convert_sam_carnatic_state_dict(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    Rename the original's parameters to those of [`SAMAudioForAudioClassification`].

    The buffers of the mel transform are left out, because the feature extractor computes its own.

    Raises:
        ValueError: there is a parameter that the original does not have.
    """
    return {_new_name(name): tensor for name, tensor in state_dict.items() if not name.startswith(_MEL_BUFFER)}


def _new_name(name: str) -> str:
    if match := _CONV_LAYER.fullmatch(name):
        # The original's list has the convolution, norm, activation and dropout of each layer in turn
        layer, part = divmod(int(match[1]), 4)
        if part < 2:
            return f"sam_audio.encoder.layers.{layer}.{'conv' if part == 0 else 'norm'}.{match[2]}"
    for old, new in _MODULES.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    raise ValueError(f"The checkpoint has {name!r}, which the original SAM-Audio model does not have.")


def sam_carnatic_config(state_dict: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> SAMAudioConfig:
    """
    The configuration of an original checkpoint.

    Args:
        state_dict: the original's weights. They determine the sizes.
        settings: the configuration of the training script, which `best_model.pth` has under `config`. It determines
            the strides, the dropout and the weights of the losses; the defaults are those of the script.

    Raises:
        ValueError: the mel transform is not the one that [`SAMAudioFeatureExtractor`] computes, or weights are missing
            or have the wrong number of dimensions.
    """
    numbers = {4 * (int(match[1]) // 4) for name in state_dict if (match := _CONV_LAYER.fullmatch(name))}
    convolutions = [_weight(state_dict, f"audio_encoder.conv_layers.{number}.weight", 3) for number in sorted(numbers)]
    if not convolutions or sorted(numbers) != [4 * index for index in range(len(numbers))]:
        raise ValueError("The checkpoint lacks layers of its encoder: audio_encoder.conv_layers.")
    num_labels, classifier_proj_size = _weight(state_dict, "raga_classifier.classifier.5.weight", 2).shape
    num_segments, hidden_size = _weight(state_dict, "segment_predictor.segment_tokens", 2).shape
    uses_mel = any(name.startswith(_MEL_BUFFER) for name in state_dict)
    if uses_mel:
        _check_mel_transform(state_dict)
    config = SAMAudioConfig(
        frontend="log_mel" if uses_mel else "waveform",
        feature_size=convolutions[0].shape[1],
        conv_dim=[weight.shape[0] for weight in convolutions],
        conv_kernel=[weight.shape[2] for weight in convolutions],
        conv_stride=[_number(settings, "stride", 2)] * len(convolutions),
        feat_extract_norm="batch" if "audio_encoder.conv_layers.1.running_mean" in state_dict else "group",
        feat_extract_dropout=float(_number(settings, "dropout_rate", 0.25)),
        hidden_size=hidden_size,
        num_attention_heads=_NUM_ATTENTION_HEADS,
        num_segments=num_segments,
        projection_dim=_weight(state_dict, "contrastive_module.projection_head.2.weight", 2).shape[0],
        classifier_proj_size=classifier_proj_size,
        mask_ratio=float(_number(settings, "mask_ratio", 0.15)),
        temperature=float(_number(settings, "temperature", 0.07)),
        mask_weight=float(_number(settings, "mask_weight", 0.5)),
        contrastive_weight=float(_number(settings, "contrastive_weight", 0.3)),
    )
    check_sizes({"num_labels": num_labels})
    config.num_labels = num_labels
    return config


def _weight(state_dict: Mapping[str, torch.Tensor], name: str, dimensions: int) -> torch.Tensor:
    if name not in state_dict or state_dict[name].ndim != dimensions:
        raise ValueError(f"The checkpoint lacks {name}, with {dimensions} dimensions.")
    return state_dict[name]


def _number(settings: Mapping[str, Any], name: str, default: float) -> Any:
    value = settings.get(name, default)
    if not isinstance(value, type(default) | int):
        raise ValueError(f"`{name}` in the settings of the original must be a number, got {value!r:.40}.")
    return value


def _check_mel_transform(state_dict: Mapping[str, torch.Tensor]) -> None:
    filters = _weight(state_dict, _MEL_BUFFER + "mel_scale.fb", 2)
    extractor = SAMAudioFeatureExtractor(
        "log_mel", filters.shape[1], sampling_rate=_SAMPLING_RATE, n_fft=_N_FFT, hop_length=_HOP_LENGTH
    )
    if filters.shape != extractor.mel_filters.shape or not torch.allclose(filters, extractor.mel_filters, atol=1e-4):
        raise ValueError(
            "The checkpoint's mel transform differs from the original's at 16 kHz, so the features would be wrong."
        )


__all__ = ["convert_sam_carnatic_state_dict", "is_sam_carnatic_checkpoint", "load_sam_carnatic_checkpoint"]
