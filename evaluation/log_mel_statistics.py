# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The features of the simplest baseline: mean and standard deviation of each log-mel band."""

from typing import Any

import datasets
import numpy as np
import torch
from datasets import Dataset

from ..data.given import waveforms_of
from ..data.windows import AudioClips
from ..feature_extraction.feature_extraction_sam_audio import SAMAudioFeatureExtractor


def log_mel_statistics(clips: Dataset) -> np.ndarray:
    """
    Return `(clips, 160)`, float64: the mean and the standard deviation over time of each log-mel band.

    Args:
        clips: columns `audio` and `label`, as `load_clips` returns them.

    Raises:
        AudioFileError: a clip cannot be read.
    """
    feature_extractor = SAMAudioFeatureExtractor("log_mel")

    def measure(items: list[dict[str, Any]]) -> torch.Tensor:
        features = feature_extractor(
            waveforms_of(items),
            sampling_rate=feature_extractor.sampling_rate,
            return_attention_mask=True,
            return_tensors="pt",
        )
        mask = features["attention_mask"][..., None].bool()
        frames, values = mask.sum(dim=1), features["input_values"]
        means = values.masked_fill(~mask, 0).sum(dim=1) / frames
        deviations = (values - means[:, None]).masked_fill(~mask, 0).square().sum(dim=1) / frames
        return torch.cat([means, deviations.sqrt()], dim=1)

    batches = torch.utils.data.DataLoader(
        AudioClips(clips, feature_extractor.sampling_rate), batch_size=8, collate_fn=measure
    )
    bar = datasets.utils.tqdm(batches, desc="Log-mel statistics", unit="batch")
    return torch.cat(list(bar)).numpy().astype(np.float64)
