# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Clips as features that are extracted once and kept, for training that would spend its time on extraction."""

from typing import Any

import datasets
import torch
from transformers import BatchFeature, SequenceFeatureExtractor

from .clips import AudioClips, combined_seed
from .labels import FRAMES, Targets, shifted_events, task_of


class CachedFeatures(torch.utils.data.Dataset):
    """
    Labelled clips as features of frames, which are extracted when this is made and kept in memory.

    A crop is cut from the features of the whole clip, so that what an extractor finds out about a clip, such as its
    tonic, it finds out from all of it. As in `AudioClips`, a crop follows from `seed`, the epoch and the index alone.

    Args:
        clips: columns `audio` (`Audio(decode=False)`) and `label`, as `load_clips` gives them.
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
        self.seed = seed
        self.with_events = task_of(clips.features["label"]) == FRAMES
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        batches = torch.utils.data.DataLoader(
            AudioClips(clips, feature_extractor.sampling_rate),
            batch_size=8,
            collate_fn=_Extract(feature_extractor),
            num_workers=num_workers,
        )
        self.features: list[torch.Tensor] = []
        self.labels: list[Any] = []
        self.seconds: list[float] = []
        self.crop_frames: list[int] = []
        for batch, labels, seconds in datasets.utils.tqdm(batches, desc="Extracting features", unit="batch"):
            own_frames = batch["attention_mask"].sum(1).tolist()
            for features, frames, length in zip(batch["input_values"], own_frames, seconds, strict=True):
                self.features.append(features[:frames].clone())
                share = 1.0 if crop_seconds is None else min(1.0, crop_seconds / length)
                self.crop_frames.append(max(1, round(frames * share)))
            self.labels += labels
            self.seconds += seconds

    def set_epoch(self, epoch: int) -> None:
        """Draw anew: `AudioTrainer` calls this before each epoch."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`{"input_values": (frames, feature_size) float32, "label": that of these frames, "seed": int}`."""
        features, frames, label = self.features[index], self.crop_frames[index], self.labels[index]
        seed = combined_seed(self.seed, int(self._epoch), index)
        start = int(torch.randint(len(features) - frames + 1, (), generator=torch.Generator().manual_seed(seed)))
        if self.with_events:
            frame_seconds = self.seconds[index] / len(features)
            label = shifted_events(label, start * frame_seconds, frames * frame_seconds)
        return {"input_values": features[start : start + frames], "label": label, "seed": seed}


class FeatureCollator:
    """
    Makes a batch of the items of `CachedFeatures`: `input_values`, padded, `attention_mask` and `labels`.

    Args:
        feature_extractor: tells what to pad with.
        targets: makes the labels a tensor.
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


class _Extract:
    """The features of a batch, the label of each clip, and its length in seconds."""

    def __init__(self, feature_extractor: SequenceFeatureExtractor):
        self.feature_extractor = feature_extractor

    def __call__(self, items: list[dict[str, Any]]) -> tuple[BatchFeature, list[Any], list[float]]:
        rate = self.feature_extractor.sampling_rate
        waveforms = [item["waveform"] for item in items]
        features = self.feature_extractor(
            waveforms, sampling_rate=rate, padding=True, return_attention_mask=True, return_tensors="pt"
        )
        return features, [item["label"] for item in items], [len(waveform) / rate for waveform in waveforms]
