# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The traits of SAMAudio models."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from ..configuration.configuration_sam_audio import SAMAudioConfig
from ..feature_extraction.feature_extraction_sam_audio import SAMAudioFeatureExtractor
from .modeling_sam_audio import SAMAudioModel
from .traits import ModelTraits, WindowFeatures


class SAMAudioTraits(ModelTraits[SAMAudioConfig, SAMAudioFeatureExtractor]):
    """A SAMAudio model reads clips of any length whole."""

    lora_modules = {"attention": ["q_proj", "k_proj", "v_proj", "o_proj"], "convolutions": ["conv"]}
    probe_features = ("utterance",)
    no_weight_decay = ("segment_tokens",)
    batches_any_lengths = True

    def extractor_settings(self, config: SAMAudioConfig) -> dict[str, Any]:
        return {"frontend": config.frontend, "feature_size": config.feature_size}

    def fit_to_crops(
        self,
        feature_extractor: SAMAudioFeatureExtractor,
        config: SAMAudioConfig,
        crop_seconds: float | None,
        keep_padding: bool,
    ) -> None:
        if config.frontend != "waveform":
            config.padding_value = feature_extractor.padding_value

    def frame_seconds(self, config: SAMAudioConfig, feature_extractor: SAMAudioFeatureExtractor) -> float:
        return config.inputs_to_logits_ratio * feature_extractor.hop_length / feature_extractor.sampling_rate

    def window_features(
        self, model: PreTrainedModel, outputs: ModelOutput, inputs: Mapping[str, torch.Tensor], granularity: str
    ) -> list[WindowFeatures]:
        if granularity == "utterance":
            return [(vector, None) for vector in outputs["pooler_output"]]
        if granularity == "all":
            return [(None, segments) for segments in outputs["last_hidden_state"]]
        mask = cast(SAMAudioModel, model).get_frame_mask(inputs["attention_mask"])
        encoded = outputs["encoder_last_hidden_state"]
        return [(None, frames[own]) for frames, own in zip(encoded, mask, strict=True)]
