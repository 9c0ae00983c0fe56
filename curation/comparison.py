# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Compares the audio of two clips that share keys.

The correlation of the waveforms decides. The waveforms of copies with a pitch shift do not correlate, but their
spectrograms over log-frequency do, after sounds that are present all the time, such as a drone, are removed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch

from ..data.audio import load_audio
from ..data.readable import audio_file
from .candidates import Candidate
from .fingerprints import FFT_SIZE, HOP, RATE, magnitudes


_SECONDS_COMPARED = 4.0  # at a time, so that clocks may differ a little
_MAX_LAG = 2 * HOP
_OVERSAMPLING = 4  # of the correlation: an error of half a sample would invert high frequencies
_BANDS = 128
_MAX_OVER_MEDIAN = 3.0
_MOST_SECONDS = 600.0  # of a pair that are compared

# Copies with a pitch shift
_MIN_SHIFTED_SECONDS = 2.0  # single notes of one instrument are shifted copies of each other
_MOST_SHIFTED_SECONDS = 60.0  # of a pair that are compared
_LOWEST, _HIGHEST = 150.0, 3500.0  # Hz, the range that is compared ...
_BINS = 36  # ... with this many frequencies per octave
_MAX_FRAMES_OFF = 6
# Measured: shifted copies of recordings have at least 0.67, those of the `ragas` dataset 0.83. Other clips of that
# dataset have at most 0.36.
_MIN_SHIFTED_SIMILARITY = 0.6


class Overlap(NamedTuple):
    """
    Two clips with the same audio.

    Attributes:
        first, second: indices of the clips; `first` is the lower one.
        offset: where the second clip begins in the first, in seconds; negative if it begins earlier.
        seconds: length of the common audio. If the second clip is also faster, `offset` and `seconds` are measured in
            the first.
        similarity: correlation of the common audio, at most 1.
        semitones: how much higher the second clip is; 0 without a pitch shift.
    """

    first: int
    second: int
    offset: float
    seconds: float
    similarity: float
    semitones: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """
    Compares candidates.

    Args:
        clips: column `audio` (`Audio(decode=False)`).
        seconds: `(clips,)`, length of each clip.
        min_similarity: lowest similarity of an overlap without a pitch shift.
    """

    clips: datasets.Dataset
    seconds: np.ndarray
    min_similarity: float

    def __call__(self, candidate: Candidate) -> Overlap | None:
        """The overlap of two clips, or `None` if their audio differs."""
        first, second, offset, semitones, speed = candidate
        seconds = float(self.seconds[first]), float(self.seconds[second]) * speed
        shortest = _MIN_SHIFTED_SECONDS if semitones else min(1.0, min(seconds) / 2)
        if _common_seconds(*seconds, offset) < shortest:
            return None
        audio = self.clips[first]["audio"], self.clips[second]["audio"]
        if semitones:
            similarity, lag = _shifted_similarity(*audio, *seconds, offset, semitones, speed)
        else:
            similarity, lag = _similarity(*audio, *seconds, offset)
        if similarity < (_MIN_SHIFTED_SIMILARITY if semitones else self.min_similarity):
            return None
        common = _common_seconds(*seconds, offset + lag)
        return Overlap(first, second, offset + lag, common, similarity, semitones)


def _load(audio: Mapping[str, Any] | None, **part: float) -> np.ndarray:
    return load_audio(audio_file(audio), RATE, **part)


def _common_seconds(first_seconds: float, second_seconds: float, offset: float) -> float:
    return min(first_seconds, offset + second_seconds) - max(0.0, offset)


def _similarity(
    first: Mapping[str, Any], second: Mapping[str, Any], first_seconds: float, second_seconds: float, offset: float
) -> tuple[float, float]:
    """Correlation of the common audio of two clips near this offset, and the correction of the offset in seconds."""
    duration = _common_seconds(first_seconds, second_seconds, offset)
    begin = max(0.0, offset) + max(0.0, duration - _MOST_SECONDS) / 2
    duration = min(duration, _MOST_SECONDS)
    waveforms = [_load(first, offset=begin, duration=duration)]
    waveforms.append(_load(second, offset=begin - offset, duration=duration))
    samples = min(map(len, waveforms))
    parts = max(1, round(samples / (RATE * _SECONDS_COMPARED)))
    length = -(-samples // parts)
    fft_size = max(2048, 1 << (length - 1).bit_length())
    window = np.hanning(length + 2)[1:-1].astype(np.float32)
    spectra = []
    for waveform in waveforms:
        padded = np.pad(waveform[:samples], (0, parts * length - samples)).reshape(parts, length)
        spectra.append(_without_tones(np.fft.rfft(padded * window, fft_size)[:, :-1]))
    energy = np.sqrt(np.prod([np.square(np.abs(spectrum)).sum() for spectrum in spectra]))
    if energy == 0:
        return 0.0, 0.0
    correlation = np.fft.irfft(spectra[0].conj() * spectra[1], _OVERSAMPLING * fft_size)
    correlation *= _OVERSAMPLING * fft_size / 2 / energy
    most = _OVERSAMPLING * _MAX_LAG
    near = np.concatenate([correlation[:, -most:], correlation[:, : most + 1]], axis=1)
    lag = most - near.sum(0).argmax()
    return float(near.max(1).sum()), float(lag / (_OVERSAMPLING * RATE))


def _without_tones(spectra: np.ndarray) -> np.ndarray:
    """
    Remove spectral lines from spectra `(parts, bins)`.

    Two steady tones of the same pitch correlate perfectly, so all recordings over the same drone would look alike.
    """
    sizes = np.abs(spectra)
    medians = np.median(sizes.reshape(len(sizes), _BANDS, -1), axis=2)
    limits = _MAX_OVER_MEDIAN * np.repeat(medians, sizes.shape[1] // _BANDS, axis=1)
    return spectra * np.minimum(1, limits / np.maximum(sizes, np.finfo(np.float32).tiny))


def _shifted_similarity(
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    first_seconds: float,
    second_seconds: float,
    offset: float,
    semitones: float,
    speed: float,
) -> tuple[float, float]:
    """As `_similarity`, for spectrograms; `second_seconds` is measured in the time of the first clip."""
    begin, duration = max(0.0, offset), _common_seconds(first_seconds, second_seconds, offset)
    begin += max(0.0, duration - _MOST_SHIFTED_SECONDS) / 2
    duration = min(duration, _MOST_SHIFTED_SECONDS)
    ratio = 2 ** (semitones / 12)
    lowest, highest = _LOWEST / min(1, ratio), _HIGHEST / max(1, ratio)
    frequencies = lowest * 2 ** (np.arange(int(_BINS * np.log2(highest / lowest))) / _BINS)
    frames = np.arange(int(duration * RATE / HOP))
    spectrograms = []
    for audio, start, scale, pace in ((first, begin, 1.0, 1.0), (second, (begin - offset) / speed, ratio, speed)):
        waveform = _load(audio, offset=start, duration=duration / pace)
        bins = frequencies * scale * FFT_SIZE / RATE
        loudness = _interpolate(_interpolate(magnitudes(waveform), bins).T, frames / pace).T.sqrt().numpy()
        spectrograms.append(loudness - np.median(loudness, axis=1, keepdims=True))
    here = spectrograms[0][:, _MAX_FRAMES_OFF : len(frames) - _MAX_FRAMES_OFF]
    similarities = []
    for start in range(2 * _MAX_FRAMES_OFF + 1):
        there = spectrograms[1][:, start : start + here.shape[1]]
        covariance = np.mean(here * there) - here.mean() * there.mean()
        similarities.append(covariance / max(here.std() * there.std(), np.finfo(np.float32).tiny))
    lag = _MAX_FRAMES_OFF - int(np.argmax(similarities))
    return float(max(similarities)), lag * HOP / RATE


def _interpolate(values: torch.Tensor, places: np.ndarray) -> torch.Tensor:
    """Rows of `values`, interpolated at fractional `places`; the last row beyond it."""
    fractional = torch.from_numpy(places).float().clamp(max=len(values) - 1)
    rows = fractional.long()
    return values[rows].lerp(values[(rows + 1).clamp(max=len(values) - 1)], (fractional - rows)[:, None])
