# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The traits of SSLAM and EAT models."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from transformers import BatchFeature, PreTrainedModel
from transformers.utils import ModelOutput

from ..configuration.configuration_sslam import SSLAMConfig
from ..data.grid import WindowGrid
from ..data.seeds import combined_seed
from ..feature_extraction.feature_extraction_sslam import SSLAMFeatureExtractor
from ..feature_extraction.samples_sslam import SSLAMFrontEnd
from .modeling_sslam import SSLAMModel, draw_mix_starts, draw_view_masks, sounding_time_patches
from .traits import ModelTraits, WindowFeatures


class SSLAMTraits(ModelTraits[SSLAMConfig, SSLAMFeatureExtractor]):
    """
    An SSLAM model reads clips up to the length of its position table. Longer clips are cut into windows of
    `config.window_frames`. Each window starts at the frame after the last one of the window before, so that the
    windows together have the frames of the whole clip. The classifiers do the same with the frames of long clips.
    """

    recipe = "sslam_small"
    lora_modules = {"attention": ["q_proj", "k_proj", "v_proj", "o_proj"], "mlp": ["fc1", "fc2"]}
    probe_features = ("both", "cls", "mean")
    no_weight_decay = ("cls_token",)
    reads_any_length = False
    batches_any_lengths = True

    def default_extractor(self, config: SSLAMConfig) -> SSLAMFeatureExtractor:
        """The one of the published models, whose repositories have none. They were trained with its defaults."""
        return SSLAMFeatureExtractor(**self.extractor_settings(config))

    def extractor_settings(self, config: SSLAMConfig) -> dict[str, Any]:
        return {"feature_size": config.num_mel_bins, "max_length": config.frames_of_one_pass}

    def fit_to_crops(
        self,
        feature_extractor: SSLAMFeatureExtractor,
        config: SSLAMConfig,
        crop_seconds: float | None,
        keep_padding: bool,
    ) -> None:
        frames: float = feature_extractor.max_length
        what = f"max_length={feature_extractor.max_length}"
        if crop_seconds and not keep_padding:
            frames = crop_seconds * feature_extractor.sampling_rate / feature_extractor.hop_length
            what = f"crop_seconds={crop_seconds:g}"
        elif not keep_padding:
            frames = min(frames, config.max_frames)
        patches = math.ceil(frames / config.patch_size)
        if patches > config.max_time_patches:
            raise ValueError(
                f"{what} takes {patches} time patches of {config.patch_size} frames, but the model has positions for "
                f"{config.max_time_patches} only. Use shorter clips."
            )
        # The model then gets whole crops in training, and windows of the length of a crop of longer clips
        config.window_frames = patches * config.patch_size
        if not keep_padding:
            feature_extractor.max_length = config.window_frames
            feature_extractor.mask_padding = feature_extractor.return_attention_mask = True
        config.mask_padding, config.padding_value = feature_extractor.mask_padding, feature_extractor.padding_value

    def set_window(self, config: SSLAMConfig, grid: WindowGrid) -> None:
        config.window_frames = grid.step // grid.hop

    def window_grid(
        self, config: SSLAMConfig, feature_extractor: SSLAMFeatureExtractor, seconds: float | None = None
    ) -> WindowGrid:
        frames_per_second = feature_extractor.sampling_rate / feature_extractor.hop_length
        frames = config.frames_of_one_pass if seconds is None else seconds * frames_per_second
        frames = max(1, math.ceil(round(frames, 3) / config.patch_size)) * config.patch_size
        if frames > config.max_frames:
            raise ValueError(
                f"The model reads at most {config.max_frames / frames_per_second:g} s at once. Use a shorter window."
            )
        hop = feature_extractor.hop_length
        shortest = feature_extractor.window_length  # one frame
        return WindowGrid(frames * hop + shortest - hop, frames * hop, hop, shortest)

    def extractor_call(
        self,
        config: SSLAMConfig,
        feature_extractor: SSLAMFeatureExtractor,
        grid: WindowGrid | None,
        padding: str | None,
        is_part: Sequence[bool],
    ) -> dict[str, Any]:
        if padding == "longest" or (padding is None and feature_extractor.mask_padding):
            return {"padding": "longest", "return_attention_mask": True}
        call: dict[str, Any] = {"padding": "max_length", "mask_padding": is_part, "return_attention_mask": True}
        if padding is not None:
            grid = grid or self.window_grid(config, feature_extractor)
            call["max_length"] = grid.step // grid.hop
        return call

    def sample_front_end(
        self, config: SSLAMConfig, feature_extractor: SSLAMFeatureExtractor, *, hears_padding: bool
    ) -> SSLAMFrontEnd:
        return SSLAMFrontEnd(feature_extractor, hears_padding and not feature_extractor.mask_padding)

    def clip_and_frame_features(
        self, model: PreTrainedModel, outputs: ModelOutput
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The class tokens, and the means over the mel patches of each time patch."""
        hidden_states = outputs["last_hidden_state"]
        return hidden_states[:, 0], cast(SSLAMModel, model).frame_features(hidden_states)

    def pooled(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The class tokens."""
        return hidden_states[:, 0]

    def frame_seconds(self, config: SSLAMConfig, feature_extractor: SSLAMFeatureExtractor) -> float:
        return config.patch_size * feature_extractor.hop_length / feature_extractor.sampling_rate

    def first_frame_seconds(self, config: SSLAMConfig, feature_extractor: SSLAMFeatureExtractor) -> float:
        """The first patch hears from the start of its first frame to the end of its last one."""
        samples = (config.patch_size - 1) * feature_extractor.hop_length + feature_extractor.window_length
        return samples / 2 / feature_extractor.sampling_rate

    def frames_per_answer(self, config: SSLAMConfig) -> int:
        return config.inputs_to_logits_ratio

    def seconds_per_answer(self, config: SSLAMConfig, feature_extractor: SSLAMFeatureExtractor) -> float:
        return config.inputs_to_logits_ratio * feature_extractor.hop_length / feature_extractor.sampling_rate

    def answer_mask(self, config: SSLAMConfig, attention_mask: torch.Tensor) -> torch.Tensor:
        return sounding_time_patches(attention_mask, config.inputs_to_logits_ratio)

    def vector_mask(self, config: SSLAMConfig, attention_mask: torch.Tensor) -> torch.Tensor:
        return sounding_time_patches(attention_mask, config.patch_size)

    def pretraining_batch(
        self,
        config: SSLAMConfig,
        feature_extractor: SSLAMFeatureExtractor,
        waveforms: Sequence[np.ndarray],
        seeds: Sequence[int],
    ) -> BatchFeature:
        """
        Add `bool_masked_pos`, the masks of the views, and in stage 2 `mix_starts`, where the mixed parts begin.

        The masks of a window follow from its seed, and `mix_starts` from the seed of the first window. So they depend
        neither on the number of workers and processes nor on whether a run was resumed.
        """
        features = feature_extractor(
            list(waveforms),
            sampling_rate=feature_extractor.sampling_rate,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        )
        names = {*feature_extractor.model_input_names, "attention_mask"}
        batch = BatchFeature({name: value for name, value in features.items() if name in names})
        generators = [torch.Generator().manual_seed(combined_seed(seed, 1)) for seed in seeds]
        is_real = batch.get("attention_mask", torch.ones_like(batch["input_values"][..., 0]))
        masks = [
            draw_view_masks(config, row[None], generator) for row, generator in zip(is_real, generators, strict=True)
        ]
        batch["bool_masked_pos"] = torch.cat(masks)
        if config.pretraining_stage == 2:
            batch["mix_starts"] = draw_mix_starts(config, is_real.shape[1], generators[0])
        return batch

    def window_features(
        self, model: PreTrainedModel, outputs: ModelOutput, inputs: Mapping[str, torch.Tensor], granularity: str
    ) -> list[WindowFeatures]:
        class_tokens, time_patches = self.clip_and_frame_features(model, outputs)
        if granularity == "utterance":
            return [(token, None) for token in class_tokens]
        lengths = [time_patches.shape[1]] * len(time_patches)
        if "attention_mask" in inputs:
            lengths = sounding_time_patches(inputs["attention_mask"], model.config.patch_size).sum(1).tolist()
        if granularity == "frame":
            return [(None, window[:length]) for window, length in zip(time_patches, lengths, strict=True)]
        patches = outputs["last_hidden_state"][:, 1:].unflatten(1, (time_patches.shape[1], -1))
        windows = [window[:length].flatten(0, 1) for window, length in zip(patches, lengths, strict=True)]
        return list(zip(class_tokens, windows, strict=True))

    def probe_vectors(
        self, model: PreTrainedModel, outputs: ModelOutput, inputs: Mapping[str, torch.Tensor], features: str
    ) -> torch.Tensor:
        if features == "cls":
            return outputs["pooler_output"]
        mask = sounding_time_patches(inputs["attention_mask"], model.config.patch_size)
        patches = outputs["last_hidden_state"][:, 1:].unflatten(1, (mask.shape[1], -1)).mean(2)
        mean = (patches * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return mean if features == "mean" else torch.cat([outputs["pooler_output"], mean], dim=1)
