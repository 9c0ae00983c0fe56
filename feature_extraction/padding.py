# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Finds the padding of features by its value, for clients that drop the attention mask."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.feature_extraction_utils import BatchFeature
from transformers.utils import PaddingStrategy, TensorType


def frames_to_hear(input_values: torch.Tensor, padding_value: float, heard_length: int | None = None) -> torch.Tensor:
    """
    The attention mask of padded features.

    Args:
        input_values: `(batch_size, num_frames, feature_size)`.
        padding_value: the one value of which padding frames consist, and of which no frame of a clip consists.
        heard_length: clips of up to this number of frames are heard with their padding up to it. By default padding is
            not heard.

    Returns:
        `(batch_size, num_frames)`, bool, `False` for padding. A clip of nothing but padding is heard as a whole.
    """
    is_own = (input_values != padding_value).any(dim=-1)
    is_own = is_own | ~is_own.any(dim=1, keepdim=True)
    if heard_length is None:
        return is_own
    is_heard = torch.arange(is_own.shape[1], device=is_own.device) < heard_length
    is_long = (is_own & ~is_heard).any(dim=1, keepdim=True)
    return is_own | (is_heard & ~is_long)


class PaddingMixin(SequenceFeatureExtractor):
    """A feature extractor whose `pad` knows padding by its value."""

    @abstractmethod
    def infer_attention_mask(self, input_values: torch.Tensor) -> torch.Tensor | None:
        """
        The attention mask of features that come without one.

        Args:
            input_values: `(batch_size, num_frames, feature_size)`.

        Returns:
            `(batch_size, num_frames)`, bool, or `None` if padding cannot be told from sound.
        """

    def pad(
        self,
        processed_features: Any,
        padding: bool | str | PaddingStrategy = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | TensorType | None = None,
    ) -> BatchFeature:
        """
        Pad features, as the method of transformers does.

        That method would give features without `attention_mask` a mask that counts the padding which they have already
        as sound. A Trainer calls it on what is left when a client drops the mask of the feature extractor.
        """
        features = processed_features
        if isinstance(features, list | tuple) and features and isinstance(features[0], Mapping):
            features = {name: [one[name] for one in features] for name in features[0]}
        if self.return_attention_mask if return_attention_mask is None else return_attention_mask:
            clips = features.get("input_values", []) if "attention_mask" not in features else []
            inferred = [self.infer_attention_mask(torch.as_tensor(np.asarray(clip))[None]) for clip in clips]
            masks = [mask[0].int().numpy() for mask in inferred if mask is not None]
            if masks:
                features = {**features, "attention_mask": masks}
        return super().pad(
            features, padding, max_length, truncation, pad_to_multiple_of, return_attention_mask, return_tensors
        )
