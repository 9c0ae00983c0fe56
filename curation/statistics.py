# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Mean and standard deviation of a dataset, for the normalisation of a model's input."""

import math
from dataclasses import dataclass
from typing import Any

import datasets
import torch

from ..data.audio import AudioFileError
from ..data.grid import WindowGrid
from ..data.readable import BadClip, clip_name, report_bad_clips
from ..data.windows import WaveformWindows
from ..feature_extraction.feature_extraction_sslam import SSLAMFeatureExtractor
from .workers import call_for_all


# Number of frames of a clip that are measured at a time
_FRAMES = 6000


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

    All mel bins of all frames have the same weight. Clips that cannot be read are logged and left out. A minute of a
    clip is in memory at a time.

    Args:
        recordings: column `audio` (`Audio(decode=False)`).
        crop_seconds: longer clips are measured in one random window of this length; by default clips are measured
            whole.
        seed: seed of the windows.
        num_workers: number of processes that read and measure; 0 for threads of this one, one for each core.

    Raises:
        ValueError: no clip can be read, all energies are equal, `crop_seconds` is not above 0, or `num_workers` is
            below 0.
    """
    feature_extractor = SSLAMFeatureExtractor(mean=0.0, std=0.5)  # (x - 0) / (2 * 0.5): not normalised
    rate = feature_extractor.sampling_rate
    windows = WaveformWindows(recordings, rate, crop_seconds=crop_seconds, seed=seed)
    measure = _Sums(windows, feature_extractor)
    clips, samples, sums, unreadable = 0, 0, torch.zeros(3, dtype=torch.float64), []
    for one in call_for_all(
        measure, range(len(recordings)), num_workers=num_workers, description="Measuring", unit="clip"
    ):
        if isinstance(one, BadClip):
            unreadable.append(one)
        else:
            clips += 1
            samples += one[0]
            sums += one[1]
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


@dataclass(frozen=True)
class _Sums:
    """
    For each clip its number of samples, and the number, the sum and the sum of squares of its energies; a `BadClip`
    for a clip that cannot be read.
    """

    windows: WaveformWindows
    feature_extractor: SSLAMFeatureExtractor

    def __call__(self, index: int) -> tuple[int, torch.Tensor] | BadClip:
        extractor = self.feature_extractor
        # Neighbours share the samples of the frames that begin in the first and end in the second
        hop, step, frame = extractor.hop_length, _FRAMES * extractor.hop_length, extractor.window_length
        grid = WindowGrid(step + frame - hop, step, hop, shortest=frame)
        samples, sums = 0, torch.zeros(3, dtype=torch.float64)
        try:
            for number, waveform in enumerate(self.windows.stream(index, grid)):
                samples = number * step + len(waveform)
                features = extractor(
                    waveform, sampling_rate=extractor.sampling_rate, padding=False, return_tensors="pt"
                )
                energies = features["input_values"].double()
                sums += torch.stack([torch.tensor(energies.numel()).double(), energies.sum(), energies.square().sum()])
        except AudioFileError as error:
            return BadClip(clip_name(self.windows.clips[index]["audio"], index), str(error))
        return samples, sums
