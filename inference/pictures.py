# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What pictures of a recording show: its spectrogram, and the scores of its leading labels over time."""

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from ..data.audio import AudioFile, stream_audio
from .annotation import Annotation, Overview


# A picture has no more columns than a wide screen
MOST_COLUMNS = 2000

_USUAL_RATE = 16_000
_MEL_BINS = 96
# A frame has about this length; in a recording of a few seconds frames overlap more, so that there are enough columns
_FRAME_SECONDS = 0.064
_SHORTEST_HOP = 1 / 16
# So many frames are transformed at once, 16 MiB at the usual rate
_FRAMES_AT_ONCE = 4096
# What is quieter than the loudest energy by more decibels is shown as silence
_RANGE = 80.0


@dataclass(frozen=True)
class Spectrogram:
    """
    The log-mel spectrogram of a recording, for a picture.

    Attributes:
        decibels: `(bins, columns)`, float32, from -80 to 0, which is the loudest. The first bin is the lowest. All
            columns are equally long; each is the mean energy of a part.
        highest_frequency: of the last bin, in Hz.
    """

    decibels: np.ndarray
    highest_frequency: float


class SpectrogramStream:
    """
    Computes a spectrogram of at most `MOST_COLUMNS` columns block by block, so the memory does not grow.

    Args:
        duration: the length of the recording in seconds.
        sampling_rate: of the blocks, in Hz.
    """

    def __init__(self, duration: float, sampling_rate: int):
        self.sampling_rate = sampling_rate
        self.n_fft = 2 ** round(math.log2(_FRAME_SECONDS * sampling_rate))
        samples = max(1, round(duration * sampling_rate))
        self.hop = min(max(samples // MOST_COLUMNS, round(_SHORTEST_HOP * self.n_fft)), self.n_fft)
        self.frames = samples // self.hop + 1
        self.columns = min(MOST_COLUMNS, self.frames)
        self.window = np.hanning(self.n_fft + 1)[:-1].astype(np.float32)
        self.filters = _mel_filters(self.n_fft, sampling_rate)
        self.sums = np.zeros((self.columns, _MEL_BINS), dtype=np.float32)
        self.counts = np.zeros((self.columns, 1), dtype=np.float32)
        self.place = 0
        # The middle of the first frame is the first sample
        self.rest = np.zeros(self.n_fft // 2, dtype=np.float32)

    def push(self, block: np.ndarray) -> None:
        """Add the next mono samples, `(samples,)`, float32."""
        waveform = np.concatenate([self.rest, block])
        self.rest = waveform
        if len(waveform) < self.n_fft:
            return
        frames = np.lib.stride_tricks.sliding_window_view(waveform, self.n_fft)[:: self.hop]
        for start in range(0, len(frames), _FRAMES_AT_ONCE):
            some = frames[start : start + _FRAMES_AT_ONCE]
            spectrum = np.fft.rfft(some * self.window)
            energies = (spectrum.real**2 + spectrum.imag**2) @ self.filters
            own = (self.place + np.arange(len(some))) * self.columns // self.frames
            columns, firsts, counts = np.unique(own.clip(max=self.columns - 1), return_index=True, return_counts=True)
            self.sums[columns] += np.add.reduceat(energies, firsts, axis=0)
            self.counts[columns, 0] += counts
            self.place += len(some)
        self.rest = waveform[len(frames) * self.hop :].copy()

    def finish(self) -> Spectrogram:
        """The spectrogram of all that was pushed. What is missing up to the end of the recording is silent."""
        self.push(np.zeros(self.n_fft // 2, dtype=np.float32))
        mean = self.sums / self.counts.clip(min=1)
        loudest = max(float(mean.max()), 1e-10)
        decibels = (10 * np.log10((mean / loudest).clip(min=1e-30))).clip(min=-_RANGE)
        return Spectrogram(np.ascontiguousarray(decibels.T), self.sampling_rate / 2)


def _mel_filters(n_fft: int, sampling_rate: int) -> np.ndarray:
    """Triangular filters with peaks of 1 on the HTK mel scale, `(n_fft // 2 + 1, _MEL_BINS)`, float32."""
    frequencies = np.linspace(0, sampling_rate / 2, n_fft // 2 + 1)
    highest_mel = 2595 * math.log10(1 + sampling_rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, highest_mel, _MEL_BINS + 2) / 2595) - 1)
    triangles = [
        np.interp(frequencies, corners[index : index + 3], [0.0, 1.0, 0.0], left=0.0, right=0.0)
        for index in range(_MEL_BINS)
    ]
    return np.stack(triangles, axis=1).astype(np.float32)


def compute_spectrogram(file: AudioFile, duration: float) -> Spectrogram:
    """
    Compute the spectrogram of a recording up to 8 kHz. The memory does not grow with its length.

    Args:
        file: the recording.
        duration: its length in seconds.

    Raises:
        AudioFileError: the recording cannot be read.
    """
    stream = SpectrogramStream(duration, _USUAL_RATE)
    for block in stream_audio(file, _USUAL_RATE, gaps=[]):
        stream.push(block)
    return stream.finish()


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
