# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What pictures of a recording show: its spectrogram, and the scores of its leading labels over time."""

import math
from collections import defaultdict

import numpy as np
import torch

from ..data.audio import AudioFile, stream_audio
from ..feature_extraction.spectrogram import mel_filters
from .annotation import Annotation, Overview


# A picture has no more columns than a wide screen
MOST_COLUMNS = 2000
# The rate of the sound in pictures, in Hz
SAMPLING_RATE = 16_000

_N_FFT = 1024
_MEL_BINS = 96
# In a recording of a few seconds, frames overlap more, so that there are enough columns
_SHORTEST_HOP = 64
# So many frames are transformed at once, 16 MiB
_FRAMES_AT_ONCE = 4096
# What is quieter than the loudest energy by more decibels is shown as silence
_RANGE = 80.0


def log_mel_picture(file: AudioFile, duration: float) -> np.ndarray:
    """
    Compute the log-mel spectrogram of a recording for a picture. The memory does not grow with its length.

    Args:
        file: the recording.
        duration: its length in seconds.

    Returns:
        `(bins, columns)`, float32, in decibels from -80 to 0, which is the loudest. The first bin is the lowest. Each
        of the at most `MOST_COLUMNS` columns is the mean energy of a part; all parts are equally long.

    Raises:
        AudioFileError: the recording cannot be read.
    """
    samples = max(1, round(duration * SAMPLING_RATE))
    hop = min(max(samples // MOST_COLUMNS, _SHORTEST_HOP), _N_FFT)
    frames = samples // hop + 1
    columns = min(MOST_COLUMNS, frames)
    window, filters = torch.hann_window(_N_FFT), mel_filters(_N_FFT, _MEL_BINS, SAMPLING_RATE)
    sums, counts, place = torch.zeros(columns, _MEL_BINS), torch.zeros(columns, 1), 0

    def add(waveform: torch.Tensor) -> int:
        """Add the frames that begin at each hop of a waveform. Returns the number of samples that are done."""
        nonlocal place
        if len(waveform) < _N_FFT:
            return 0
        windows = waveform.unfold(0, _N_FFT, hop)
        for some in windows.split(_FRAMES_AT_ONCE):
            energies = torch.fft.rfft(some * window).abs().square() @ filters
            own = ((place + torch.arange(len(some))) * columns // frames).clamp(max=columns - 1)
            sums.index_add_(0, own, energies)
            counts.index_add_(0, own, torch.ones(len(some), 1))
            place += len(some)
        return len(windows) * hop

    # The first frame is in the middle of the first sample
    rest = torch.zeros(_N_FFT // 2)
    for block in stream_audio(file, SAMPLING_RATE):
        waveform = torch.cat([rest, torch.from_numpy(block)])
        rest = waveform[add(waveform) :]
    add(torch.cat([rest, torch.zeros(_N_FFT // 2)]))

    # A recording may be a little shorter than its header says
    mean = sums / counts.clamp(min=1)
    decibels = 10 * torch.log10((mean / mean.max().clamp(min=1e-10)).clamp(min=10 ** (-_RANGE / 10)))
    return decibels.T.contiguous().numpy()


def leading_labels(annotation: Annotation, most: int) -> list[int]:
    """The indices of at most `most` labels with the highest scores, the highest first; none without an overview."""
    if annotation.overview is None or len(annotation.overview.scores) == 0:
        return []
    peaks = annotation.overview.scores.max(axis=0)
    return np.argsort(-peaks, kind="stable")[:most].tolist()


def event_labels(annotation: Annotation) -> list[str]:
    """The labels that have events, those with the longest events in sum first."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for event in annotation.events:
        seconds[event.label] += event.offset - event.onset
    return sorted(seconds, key=lambda label: -seconds[label])


def narrowed(overview: Overview) -> Overview:
    """An overview with at most `MOST_COLUMNS` columns, each the highest scores of several."""
    factor = math.ceil(len(overview.scores) / MOST_COLUMNS)
    if factor <= 1:
        return overview
    starts = np.arange(0, len(overview.scores), factor)
    return Overview(np.maximum.reduceat(overview.scores, starts, axis=0), overview.column_seconds * factor)
