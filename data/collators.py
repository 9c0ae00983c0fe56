# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Collators: make a batch for a model from the items of a dataset."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from transformers import BatchFeature, SequenceFeatureExtractor

from .given import extractor_arguments, waveforms_of
from .seeds import combined_seed
from .targets import Targets


class AudioCollator:
    """
    Makes a batch of the items of `AudioClips`: the inputs of a model, and `labels`.

    The feature extractor is called once for all clips of a batch, in the workers of the DataLoader if it has any.

    Clips are padded to the longest of the batch, and the attention mask hides the padding from the model. If the
    feature extractor has `mask_padding=False`, the model hears the padding of whole clips up to `max_length`, as
    published SSLAM models do.

    Args:
        feature_extractor: the model's. Its `sampling_rate` must be that of the clips.
        targets: makes a tensor of the labels.
    """

    def __init__(self, feature_extractor: SequenceFeatureExtractor, targets: Targets):
        self.feature_extractor = feature_extractor
        self.targets = targets
        self.mask_padding = getattr(feature_extractor, "mask_padding", True)
        self.padding = _padding_of(feature_extractor)

    def __call__(self, items: list[dict[str, Any]]) -> BatchFeature:
        """Return the padded inputs that `feature_extractor.model_input_names` lists, and the `labels` of `targets`."""
        padding: dict[str, Any] = {"padding": self.padding}
        if not self.mask_padding:
            padding = {"padding": "max_length", "mask_padding": [item.get("is_part", False) for item in items]}
        if not all(item.get("center", True) for item in items):
            padding["center"] = False
        # transformers declares no `__call__` in its base class of feature extractors
        features = self.feature_extractor(  # type: ignore[operator]
            waveforms_of(items),
            sampling_rate=self.feature_extractor.sampling_rate,
            return_attention_mask=True,
            return_tensors="pt",
            **padding,
            **extractor_arguments(items),
        )
        # ... and no list of its outputs
        names = set(self.feature_extractor.model_input_names)  # type: ignore[attr-defined]
        batch = BatchFeature({name: value for name, value in features.items() if name in names})
        batch["labels"] = self.targets([item["label"] for item in items], features.get("attention_mask"))
        return batch


def _padding_of(feature_extractor: SequenceFeatureExtractor) -> str | bool:
    # Whisper's pads all clips to one length, because its model reads no other
    default = inspect.signature(type(feature_extractor).__call__).parameters.get("padding")
    return "max_length" if default is not None and default.default == "max_length" else True


def hides_padding(feature_extractor: SequenceFeatureExtractor) -> bool:
    """Whether `AudioCollator` gives the same features of a clip in each batch, beside longer clips and alone."""
    return getattr(feature_extractor, "mask_padding", True) and _padding_of(feature_extractor) is True


class AugmentingCollator:
    """
    Changes the batches of another collator at random. The changes of a batch depend only on the `seed`s of its items.

    Args:
        collator: makes a batch of items.
        augmentation: returns the changed batch for a batch and a `torch.Generator`.
    """

    def __init__(
        self,
        collator: Callable[[list[dict[str, Any]]], BatchFeature],
        augmentation: Callable[[BatchFeature, torch.Generator], BatchFeature],
    ):
        self.collator = collator
        self.augmentation = augmentation

    def __call__(self, items: list[dict[str, Any]]) -> BatchFeature:
        generator = torch.Generator().manual_seed(combined_seed(*(item["seed"] for item in items)))
        return self.augmentation(self.collator(items), generator)


class FeatureCollator:
    """
    Makes a batch of the items of `CachedFeatures`: `input_values`, padded, `attention_mask` and `labels`.

    Args:
        feature_extractor: its `padding_value` fills the padding.
        targets: makes a tensor of the labels.
    """

    def __init__(self, feature_extractor: SequenceFeatureExtractor, targets: Targets):
        self.padding_value = feature_extractor.padding_value
        self.targets = targets

    def __call__(self, items: list[dict[str, Any]]) -> BatchFeature:
        features = [item["input_values"] for item in items]
        input_values = torch.nn.utils.rnn.pad_sequence(features, batch_first=True, padding_value=self.padding_value)
        frames = torch.tensor([len(one) for one in features])
        attention_mask = (torch.arange(input_values.shape[1]) < frames[:, None]).to(torch.int32)
        labels = self.targets([item["label"] for item in items], attention_mask)
        return BatchFeature({"input_values": input_values, "attention_mask": attention_mask, "labels": labels})
