# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Keeps the features of clips in memory, for training in which extraction would take most of the time."""

from collections.abc import Sequence
from typing import Any

import datasets
import torch
from transformers import BatchFeature, SequenceFeatureExtractor

from .events import shifted_events
from .given import extractor_arguments, waveforms_of
from .labels import FRAMES, task_of
from .seeds import combined_seed
from .windows import AudioClips


# To extract fewer clips takes less time than to start processes for it
_FEWEST_FOR_WORKERS = 32


class CachedFeatures(torch.utils.data.Dataset):
    """
    A dataset of labelled clips as features of frames. The constructor extracts the features and keeps them in memory.

    A crop is cut from the features of the whole clip. An extractor that estimates a property of a clip, such as its
    tonic, thus uses the whole clip. As in `AudioClips`, a crop depends only on `seed`, the epoch and the index.

    Args:
        clips: columns `audio` (`Audio(decode=False)`) and `label`, as `load_clips` returns them, with what is given.
        feature_extractor: returns `input_values` `(batch_size, frames, feature_size)` and `attention_mask`.
        crop_seconds: longer clips are cropped at random to this length in seconds; by default clips stay whole.
        seed: seed of the crops.
        num_workers: number of processes that decode and extract; none for a few clips.
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
            num_workers=num_workers if len(clips) >= _FEWEST_FOR_WORKERS else 0,
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
        """Set the epoch, on which the crops depend. `AudioTrainer` calls this before each epoch."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return `{"input_values": (frames, feature_size) float32, "label": label of these frames, "seed": int}`."""
        features, frames, label = self.features[index], self.crop_frames[index], self.labels[index]
        seed = combined_seed(self.seed, int(self._epoch), index)
        start = int(torch.randint(len(features) - frames + 1, (), generator=torch.Generator().manual_seed(seed)))
        if self.with_events:
            frame_seconds = self.seconds[index] / len(features)
            label = shifted_events(label, start * frame_seconds, frames * frame_seconds)
        return {"input_values": features[start : start + frames], "label": label, "seed": seed}


class ShortClipFeatures(torch.utils.data.Dataset):
    """
    The items of `AudioClips` as features. The features of clips that are not cropped are extracted once and kept in
    memory, those of longer clips on access.

    Args:
        clips: the clips, without an augmentation.
        feature_extractor: returns `input_values` `(batch_size, frames, feature_size)` and `attention_mask`.
        is_short: for each clip, whether it is never cropped.
    """

    def __init__(self, clips: AudioClips, feature_extractor: SequenceFeatureExtractor, is_short: Sequence[bool]):
        self.clips = clips
        self.extract = _Extract(feature_extractor)
        rows = [row for row, short in enumerate(is_short) if short]
        cached = CachedFeatures(clips.clips.select(rows), feature_extractor, num_workers=2)
        self.features = {row: cached[place] for place, row in enumerate(rows)}

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, on which the crops depend. `AudioTrainer` calls this before each epoch."""
        self.clips.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return `{"input_values": (frames, feature_size) float32, "label": label of these frames, "seed": int}`."""
        if index in self.features:
            return {**self.features[index], "seed": self.clips.seed_of(index)}
        item = self.clips[index]
        features, _, _ = self.extract([item])
        return {"input_values": features["input_values"][0], "label": item["label"], "seed": item["seed"]}


class _Extract:
    """Returns the features of a batch, and the label and the length in seconds of each clip."""

    def __init__(self, feature_extractor: SequenceFeatureExtractor):
        self.feature_extractor = feature_extractor

    def __call__(self, items: list[dict[str, Any]]) -> tuple[BatchFeature, list[Any], list[float]]:
        rate = self.feature_extractor.sampling_rate
        waveforms = waveforms_of(items)
        # transformers declares no `__call__` in its base class of feature extractors
        features = self.feature_extractor(  # type: ignore[operator]
            waveforms,
            sampling_rate=rate,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
            **extractor_arguments(items),
        )
        if waveforms is None:
            seconds = [max(float(item["pitch"].times[-1]), 1 / rate) for item in items]
        else:
            seconds = [len(waveform) / rate for waveform in waveforms]
        return features, [item["label"] for item in items], seconds
