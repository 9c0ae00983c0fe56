# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The traits of SAMAudio models."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from ..configuration.configuration_sam_audio import TONIC_FRONTENDS, SAMAudioConfig
from ..data.grid import WindowGrid
from ..feature_extraction.feature_extraction_sam_audio import SAMAudioFeatureExtractor
from ..feature_extraction.samples import SampleFrontEnd
from ..feature_extraction.samples_sam_audio import sample_front_end
from .modeling_sam_audio import SAMAudioModel
from .traits import Layer, ModelTraits, WindowFeatures
from .traits_encoders import traits_of_encoder


class SAMAudioTraits(ModelTraits[SAMAudioConfig, SAMAudioFeatureExtractor]):
    """
    A SAMAudio model reads clips of any length. In evaluation, longer clips are cut into windows of
    `config.window_frames`, which together have the frames of the whole clip. The classifier does the same with the
    frames of long clips.

    Features relative to the tonic follow from the whole clip, so such a clip is read whole unless a window is asked
    for. Each window then has its own tonic.
    """

    lora_modules: Mapping[str, Sequence[str]] = {
        "attention": ["q_proj", "k_proj", "v_proj", "o_proj"],
        "convolutions": ["conv"],
    }
    probe_features = ("utterance",)
    no_weight_decay: tuple[str, ...] = ("segment_tokens",)
    batches_any_lengths = True
    has_segments = True

    def for_config(self, config: SAMAudioConfig) -> ModelTraits:
        return self if config.encoder_config is None else SAMAudioOverEncoderTraits(config)

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
        if crop_seconds and config.window_frames:
            # Windows in evaluation are not shorter than the crops in training
            config.window_frames = max(config.window_frames, self._frames_of(config, feature_extractor, crop_seconds))

    def set_window(self, config: SAMAudioConfig, grid: WindowGrid) -> None:
        is_whole = config.frontend in TONIC_FRONTENDS
        config.window_frames = 0 if is_whole else grid.step // grid.hop

    def window_grid(
        self, config: SAMAudioConfig, feature_extractor: SAMAudioFeatureExtractor, seconds: float | None = None
    ) -> WindowGrid | None:
        if config.frontend in TONIC_FRONTENDS:
            return super().window_grid(config, feature_extractor, seconds)
        frames = config.window_frames if seconds is None else self._frames_of(config, feature_extractor, seconds)
        if not frames:
            return None
        hop, n_fft = feature_extractor.hop_length, feature_extractor.n_fft
        return WindowGrid(frames * hop + n_fft - hop, frames * hop, hop, shortest=n_fft, margin=n_fft // 2)

    def _frames_of(self, config: SAMAudioConfig, feature_extractor: SAMAudioFeatureExtractor, seconds: float) -> int:
        """The frames of a window of at least this length."""
        ratio = config.inputs_to_logits_ratio
        frames = seconds * feature_extractor.sampling_rate / feature_extractor.hop_length
        return max(1, math.ceil(round(frames, 3) / ratio)) * ratio

    def extractor_call(
        self,
        config: SAMAudioConfig,
        feature_extractor: SAMAudioFeatureExtractor,
        grid: WindowGrid | None,
        padding: str | None,
        is_part: Sequence[bool],
    ) -> dict[str, Any]:
        call = super().extractor_call(config, feature_extractor, grid, padding, is_part)
        return call if grid is None or grid.margin == 0 else {**call, "center": False}

    def sample_front_end(
        self, config: SAMAudioConfig, feature_extractor: SAMAudioFeatureExtractor, *, hears_padding: bool
    ) -> SampleFrontEnd:
        return sample_front_end(feature_extractor)

    def clip_and_frame_features(
        self, model: PreTrainedModel, outputs: ModelOutput
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The means of the segments, and the frames of the encoder."""
        return outputs["pooler_output"], outputs["encoder_last_hidden_state"]

    def check_layer(self, config: SAMAudioConfig, layer: Layer, *, of_frames: bool = False) -> None:
        """The segments have layers; the frames are those of the encoder."""
        if of_frames:
            raise ValueError("The frames of a SAMAudio model are the same for all layers. Leave out layer.")
        super().check_layer(config, layer)

    def frame_seconds(self, config: SAMAudioConfig, feature_extractor: SAMAudioFeatureExtractor) -> float | None:
        return config.inputs_to_logits_ratio * feature_extractor.hop_length / feature_extractor.sampling_rate

    def first_frame_seconds(self, config: SAMAudioConfig, feature_extractor: SAMAudioFeatureExtractor) -> float | None:
        """0 for kernels of odd size: the first frame of the input is centred there, and so is each layer's padding."""
        frames, stride = 0.0, 1
        for kernel_size, layer_stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            frames += stride * ((kernel_size - 1) / 2 - kernel_size // 2)
            stride *= layer_stride
        return frames * feature_extractor.hop_length / feature_extractor.sampling_rate

    def window_features(
        self, model: PreTrainedModel, outputs: ModelOutput, inputs: Mapping[str, torch.Tensor], granularity: str
    ) -> list[WindowFeatures]:
        if granularity == "utterance":
            return [(vector, None) for vector in outputs["pooler_output"]]
        if granularity == "all":
            return [(None, segments) for segments in outputs["last_hidden_state"]]
        encoded = outputs["encoder_last_hidden_state"]
        mask = self._frame_mask(model, encoded, inputs)
        return [(None, frames[own]) for frames, own in zip(encoded, mask, strict=True)]

    def segment_attention(
        self, model: PreTrainedModel, outputs: ModelOutput, inputs: Mapping[str, torch.Tensor]
    ) -> list[torch.Tensor]:
        mask = self._frame_mask(model, outputs["encoder_last_hidden_state"], inputs)
        weights = outputs["attentions"][-1].float().mean(1)
        return [segments[:, own] for segments, own in zip(weights, mask, strict=True)]

    def _frame_mask(
        self, model: PreTrainedModel, encoded: torch.Tensor, inputs: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """The encoder frames `encoded` that are not padding, `(windows, frames)`, bool."""
        return cast(SAMAudioModel, model).get_frame_mask(inputs["attention_mask"])


class SAMAudioOverEncoderTraits(SAMAudioTraits):
    """
    The traits of a SAMAudio model over another encoder. What concerns its input is as for the encoder alone.

    Args:
        config: the configuration of the SAMAudio model.
    """

    inner_encoder = "encoder.model"

    def __init__(self, config: SAMAudioConfig):
        self.inner = traits_of_encoder(cast(PreTrainedConfig, config.encoder_config))
        self.lora_modules = self.inner.lora_modules
        self.no_weight_decay = (*SAMAudioTraits.no_weight_decay, *self.inner.no_weight_decay)
        self.reads_any_length = self.inner.reads_any_length
        self.batches_any_lengths = self.inner.batches_any_lengths

    def for_config(self, config: SAMAudioConfig) -> ModelTraits:
        return self

    def input_config(self, config: SAMAudioConfig) -> PreTrainedConfig:
        return cast(PreTrainedConfig, config.encoder_config)

    def default_extractor(self, config: SAMAudioConfig) -> Any:
        return self.inner.default_extractor(self.input_config(config))

    def extractor_settings(self, config: SAMAudioConfig) -> dict[str, Any]:
        return self.inner.extractor_settings(self.input_config(config))

    def fit_to_crops(
        self, feature_extractor: Any, config: SAMAudioConfig, crop_seconds: float | None, keep_padding: bool
    ) -> None:
        self.inner.fit_to_crops(feature_extractor, self.input_config(config), crop_seconds, keep_padding)
        self._take_window(config)

    def set_window(self, config: SAMAudioConfig, grid: WindowGrid) -> None:
        self.inner.set_window(self.input_config(config), grid)
        self._take_window(config)

    def _take_window(self, config: SAMAudioConfig) -> None:
        """Let the classifier cut clips as the encoder does."""
        config.window_frames = getattr(config.encoder_config, "frames_of_one_pass", 0)

    def window_grid(
        self, config: SAMAudioConfig, feature_extractor: Any, seconds: float | None = None
    ) -> WindowGrid | None:
        return self.inner.window_grid(self.input_config(config), feature_extractor, seconds)

    def extractor_call(
        self,
        config: SAMAudioConfig,
        feature_extractor: Any,
        grid: WindowGrid | None,
        padding: str | None,
        is_part: Sequence[bool],
    ) -> dict[str, Any]:
        return self.inner.extractor_call(self.input_config(config), feature_extractor, grid, padding, is_part)

    def sample_front_end(
        self, config: SAMAudioConfig, feature_extractor: Any, *, hears_padding: bool
    ) -> SampleFrontEnd:
        return self.inner.sample_front_end(self.input_config(config), feature_extractor, hears_padding=hears_padding)

    def frame_seconds(self, config: SAMAudioConfig, feature_extractor: Any) -> float | None:
        return self.inner.frame_seconds(self.input_config(config), feature_extractor)

    def first_frame_seconds(self, config: SAMAudioConfig, feature_extractor: Any) -> float | None:
        return self.inner.first_frame_seconds(self.input_config(config), feature_extractor)

    def _frame_mask(
        self, model: PreTrainedModel, encoded: torch.Tensor, inputs: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        if "attention_mask" in inputs and cast(Any, model).encoder.masks_padding:
            return super()._frame_mask(model, encoded, inputs)
        return torch.ones(encoded.shape[:2], dtype=torch.bool, device=encoded.device)
