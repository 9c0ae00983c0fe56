# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Clips as features that are extracted once and kept, for training that would spend its time on extraction."""

from typing import Any

import datasets
import torch
from transformers import BatchFeature, SequenceFeatureExtractor

from .data import AudioClips, AudioCollator, combined_seed


class CachedFeatures(torch.utils.data.Dataset):
    """
    Labelled clips as features of frames, which are extracted when this is made and kept in memory.

    A crop is cut from the features of the whole clip, so that what an extractor finds out about a clip, such as its
    tonic, it finds out from all of it. As in `AudioClips`, a crop follows from `seed`, the epoch and the index alone.

    Args:
        clips: columns `audio` (`Audio(decode=False)`) and `label` (class indices).
        feature_extractor: gives `input_values` of shape `(batch_size, frames, feature_size)` and `attention_mask`.
        crop_seconds: length of the random part that is taken of clips that are longer; whole clips where not given.
        seed: seed of the crops.
        num_workers: processes that decode and extract.
    """

    def __init__(
        self,
        clips: datasets.Dataset,
        feature_extractor: SequenceFeatureExtractor,
        *,
        crop_seconds: float | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ):
        rate = feature_extractor.sampling_rate
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        batches = torch.utils.data.DataLoader(
            AudioClips(clips, rate),
            batch_size=8,
            collate_fn=_ExtractAndMeasure(feature_extractor),
            num_workers=num_workers,
        )
        self.features: list[torch.Tensor] = []
        self.labels: list[int] = []
        self.crop_frames: list[int] = []
        for batch, seconds in datasets.utils.tqdm(batches, desc="Extracting features", unit="batch"):
            own_frames = batch["attention_mask"].sum(1).tolist()
            for features, frames, length in zip(batch["input_values"], own_frames, seconds, strict=True):
                self.features.append(features[:frames].clone())
                share = 1.0 if crop_seconds is None else min(1.0, crop_seconds / length)
                self.crop_frames.append(max(1, round(frames * share)))
            self.labels += batch["labels"].tolist()

    def set_epoch(self, epoch: int) -> None:
        """Draw anew: `AudioTrainer` calls this before each epoch."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`{"input_values": (frames, feature_size) float32, "label": int}`."""
        features, frames = self.features[index], self.crop_frames[index]
        generator = torch.Generator().manual_seed(combined_seed(self.seed, int(self._epoch), index))
        start = torch.randint(len(features) - frames + 1, (), generator=generator)
        return {"input_values": features[start : start + frames], "label": self.labels[index]}


class FeatureCollator:
    """Makes a batch of the items of `CachedFeatures`: `input_values`, padded, `attention_mask` and `labels`."""

    def __init__(self, feature_extractor: SequenceFeatureExtractor):
        self.padding_value = feature_extractor.padding_value

    def __call__(self, items: list[dict[str, Any]]) -> BatchFeature:
        features = [item["input_values"] for item in items]
        input_values = torch.nn.utils.rnn.pad_sequence(features, batch_first=True, padding_value=self.padding_value)
        frames = torch.tensor([len(one) for one in features])
        return BatchFeature(
            {
                "input_values": input_values,
                "attention_mask": (torch.arange(input_values.shape[1]) < frames[:, None]).long(),
                "labels": torch.tensor([item["label"] for item in items]),
            }
        )


class _ExtractAndMeasure:
    """The batch of `AudioCollator`, and the length of each clip in seconds."""

    def __init__(self, feature_extractor: SequenceFeatureExtractor):
        self.collator = AudioCollator(feature_extractor)

    def __call__(self, items: list[dict[str, Any]]) -> tuple[BatchFeature, list[float]]:
        rate = self.collator.feature_extractor.sampling_rate
        return self.collator(items), [len(item["waveform"]) / rate for item in items]
