# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Mean and standard deviation of a dataset, for the normalisation of a model's input."""

import math
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import torch

from ..data.audio import AudioFileError
from ..data.readable import BadClip, clip_name, report_bad_clips
from ..data.windows import WaveformWindows
from ..feature_extraction.feature_extraction_sslam import SSLAMFeatureExtractor


@dataclass(frozen=True)
class LogMelStatistics:
    """
    Mean and standard deviation of log-mel energies, and the audio that they were measured on.

    Attributes:
        mean, std: over all mel bins of all frames.
        clips: number of clips, without the unreadable ones.
        seconds, frames: length of the measured audio.
        unreadable: the clips that cannot be read.
    """

    mean: float
    std: float
    clips: int
    seconds: float
    frames: int
    unreadable: list[BadClip]

    def to_dict(self) -> dict[str, Any]:
        """The statistics for JSON, with the length in hours."""
        return {
            "clips": self.clips,
            "hours": self.seconds / 3600,
            "frames": self.frames,
            "mean": self.mean,
            "std": self.std,
            "unreadable": [clip._asdict() for clip in self.unreadable],
        }


def measure_log_mel(
    recordings: datasets.Dataset,
    *,
    crop_seconds: float | None = None,
    seed: int = 0,
    num_workers: int = 0,
) -> LogMelStatistics:
    """
    Measure the log-mel energies that SSLAM models read, before normalisation, with a progress bar.

    All mel bins of all frames have the same weight. Padding does not count. Clips that cannot be read are logged and
    left out.

    Args:
        recordings: column `audio` (`Audio(decode=False)`).
        crop_seconds: longer clips are measured in one random window of this length; by default clips are measured
            whole.
        seed: seed of the windows.
        num_workers: processes that read and measure; 0 for the main process.

    Raises:
        ValueError: no clip can be read, all energies are equal, `crop_seconds` is not above 0, or `num_workers` is
            below 0.
    """
    feature_extractor = SSLAMFeatureExtractor(mean=0.0, std=0.5)  # (x - 0) / (2 * 0.5): not normalised
    rate = feature_extractor.sampling_rate
    batches = torch.utils.data.DataLoader(
        _ReadableWindows(WaveformWindows(recordings, rate, crop_seconds=crop_seconds, seed=seed)),
        batch_size=16,
        num_workers=num_workers,
        collate_fn=_Sum(feature_extractor),
    )
    clips, samples, sums, unreadable = 0, 0, torch.zeros(3, dtype=torch.float64), []
    with datasets.utils.tqdm(total=len(recordings), desc="Measuring", unit="clip") as progress:
        for lengths, batch_sums, bad_clips in batches:
            clips += len(lengths)
            samples += sum(lengths)
            sums += batch_sums
            unreadable += bad_clips
            progress.update(len(lengths) + len(bad_clips))
    if clips == 0:
        raise ValueError(f"None of the {len(unreadable)} clips can be read. The first: {unreadable[0].reason}")
    number, total, squares = sums.tolist()
    mean = total / number
    variance = squares / number - mean**2
    if variance < 1e-9:
        raise ValueError("All clips are silent, so they have no standard deviation to normalise by.")
    report_bad_clips(unreadable)
    frames = round(number) // feature_extractor.feature_size
    return LogMelStatistics(mean, math.sqrt(variance), clips, samples / rate, frames, unreadable)


class _ReadableWindows(torch.utils.data.Dataset):
    """Windows as waveforms `(samples,)`, or a `BadClip` for a clip that cannot be read."""

    def __init__(self, windows: WaveformWindows):
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> np.ndarray | BadClip:
        try:
            return self.windows[index]["waveform"]
        except AudioFileError as error:
            return BadClip(clip_name(self.windows.clips[index]["audio"], index), str(error))


class _Sum:
    """For a batch: lengths of the waveforms; number, sum and sum of squares of the energies; unreadable clips."""

    def __init__(self, feature_extractor: SSLAMFeatureExtractor):
        self.feature_extractor = feature_extractor

    def __call__(self, items: list[np.ndarray | BadClip]) -> tuple[list[int], torch.Tensor, list[BadClip]]:
        unreadable = [item for item in items if isinstance(item, BadClip)]
        waveforms = [item for item in items if not isinstance(item, BadClip)]
        if not waveforms:
            return [], torch.zeros(3, dtype=torch.float64), unreadable
        features = self.feature_extractor(
            waveforms,
            sampling_rate=self.feature_extractor.sampling_rate,
            padding=True,
            truncation=False,
            return_attention_mask=True,
            return_tensors="pt",
        )
        energies = features["input_values"][features["attention_mask"].bool()].double()
        sums = torch.stack([torch.tensor(energies.numel()).double(), energies.sum(), energies.square().sum()])
        return list(map(len, waveforms)), sums, unreadable
