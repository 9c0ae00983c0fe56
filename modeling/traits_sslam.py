# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The traits of SSLAM and EAT models."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, PreTrainedModel, SequenceFeatureExtractor
from transformers.utils import ModelOutput

from ..configuration.configuration_sslam import SSLAMConfig
from ..data.windows import WindowGrid, combined_seed
from .modeling_sslam import draw_mix_starts, draw_view_masks
from .traits import ModelTraits, WindowFeatures


class SSLAMTraits(ModelTraits):
    """
    An SSLAM model takes clips up to the length of its position table. Longer ones are cut into windows of the length
    that its feature extractor is set to. The windows follow each other frame by frame, so that the patches of all
    windows are those of the whole clip.
    """

    lora_modules = {"attention": ["q_proj", "k_proj", "v_proj", "o_proj"], "mlp": ["fc1", "fc2"]}
    probe_features = ("both", "cls", "mean")
    no_weight_decay = ("cls_token",)
    batches_any_lengths = True
    has_default_extractor = True

    def extractor_settings(self, config: SSLAMConfig) -> dict[str, Any]:
        return {"feature_size": config.num_mel_bins}

    def fit_extractor(
        self, feature_extractor: SequenceFeatureExtractor, config: SSLAMConfig, crop_seconds: float | None
    ) -> None:
        # So the crops reach the model whole, evaluation cuts longer clips into windows of that length, and a pipeline
        # pads as training does
        feature_extractor.return_attention_mask = True
        if not crop_seconds:
            feature_extractor.max_length = min(feature_extractor.max_length, _reach(config))
            return
        frames = crop_seconds * feature_extractor.sampling_rate / feature_extractor.hop_length
        patches = math.ceil(frames / config.patch_size)
        if patches > config.max_time_patches:
            raise ValueError(
                f"crop_seconds is {crop_seconds:g}, which takes {patches} patches of time, but the model reaches no "
                f"more than {config.max_time_patches}"
            )
        feature_extractor.max_length = patches * config.patch_size

    def window_grid(
        self, config: SSLAMConfig, feature_extractor: SequenceFeatureExtractor, seconds: float | None = None
    ) -> WindowGrid:
        frames_per_second = feature_extractor.sampling_rate / feature_extractor.hop_length
        reach = _reach(config)
        frames = min(feature_extractor.max_length, reach) if seconds is None else seconds * frames_per_second
        frames = max(1, math.ceil(round(frames, 3) / config.patch_size)) * config.patch_size
        if frames > reach:
            raise ValueError(f"the model reaches {reach / frames_per_second:g} s; choose a window of that at most")
        step = frames * feature_extractor.hop_length
        return WindowGrid(step + feature_extractor.window_length - feature_extractor.hop_length, step)

    def extractor_call(
        self, config: SSLAMConfig, feature_extractor: SequenceFeatureExtractor, grid: WindowGrid, padding: str
    ) -> dict[str, Any]:
        return {
            "padding": padding,
            "max_length": grid.step // feature_extractor.hop_length,
            "return_attention_mask": padding == "longest",
        }

    def pretraining_batch(
        self,
        config: SSLAMConfig,
        feature_extractor: SequenceFeatureExtractor,
        waveforms: Sequence[np.ndarray],
        seeds: Sequence[int],
    ) -> BatchFeature:
        """
        Adds the masks of the views and, in stage 2, the place of the mixing.

        The masks follow from the seed of each window and the place from that of the first, so that neither the number
        of workers and processes nor resuming a run changes them.
        """
        features = feature_extractor(
            waveforms,
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
        class_tokens, patches = outputs.last_hidden_state[:, 0], outputs.last_hidden_state[:, 1:]
        if granularity == "utterance":
            return [(token, None) for token in class_tokens]
        time_patches = patches.unflatten(1, (-1, model.config.num_mel_bins // model.config.patch_size))
        lengths = [time_patches.shape[1]] * len(time_patches)
        if "attention_mask" in inputs:
            lengths = model.get_time_patch_mask(inputs["attention_mask"]).sum(1).tolist()
        windows = [window[:length] for window, length in zip(time_patches, lengths, strict=True)]
        if granularity == "frame":
            return [(None, window.mean(1)) for window in windows]
        return [(token, window.flatten(0, 1)) for token, window in zip(class_tokens, windows, strict=True)]

    def probe_vectors(
        self, model: PreTrainedModel, outputs: ModelOutput, inputs: Mapping[str, torch.Tensor], features: str
    ) -> torch.Tensor:
        if features == "cls":
            return outputs.pooler_output
        mask = model.get_time_patch_mask(inputs["attention_mask"])
        patches = outputs.last_hidden_state[:, 1:].unflatten(1, (mask.shape[1], -1)).mean(2)
        mean = (patches * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return mean if features == "mean" else torch.cat([outputs.pooler_output, mean], dim=1)


def _reach(config: SSLAMConfig) -> int:
    """The number of frames that the position table covers."""
    return config.max_time_patches * config.patch_size
