# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The tonic of recordings of any length."""

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..data.audio import AudioFile, AudioFileError, stream_audio
from ..data.resampling import resample_blocks
from ..feature_extraction.spectrogram import power_spectrogram
from ..feature_extraction.tonic_multipitch import MultipitchTonic, TonicEvidence, joined


_RATE, _N_FFT, _HOP = 16_000, 4096, 2560
_PART = 16 * _RATE
_NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@dataclass(frozen=True)
class Tonic:
    """
    A possible tonic of a recording.

    Attributes:
        frequency: in Hz.
        probability: that the tonic is right within 25 cents, in its octave, as far as the recording is like those
            that the estimator was fitted on.
    """

    frequency: float
    probability: float

    @property
    def note(self) -> str:
        """The nearest note of equal temperament with A4 at 440 Hz, such as `"C#3"`."""
        number = self._number
        return f"{_NOTES[number % 12]}{number // 12 - 1}"

    @property
    def cents(self) -> float:
        """How far the tonic is above its `note`, from -50 to 50."""
        return 100 * (69 + 12 * math.log2(self.frequency / 440) - self._number)

    @property
    def _number(self) -> int:
        return round(69 + 12 * math.log2(self.frequency / 440))


def estimate_tonic(
    recording: AudioFile | np.ndarray, sampling_rate: int | None = None, *, number: int = 3
) -> list[Tonic]:
    """
    Estimate the tonic (Sa) of a recording of Indian art music. Memory does not grow with the length of a file.

    The estimate is by multipitch analysis over the whole recording, see [`MultipitchTonic`]. It was fitted on
    synthesised recordings. Tonics are sought from 90 to 285 Hz.

    Args:
        recording: a path, the bytes of a file, a seekable binary file, or mono samples `(samples,)`, floats from -1
            to 1.
        sampling_rate: of the samples, in Hz. Files have their own.
        number: of candidates to return, at most 10.

    Returns:
        The candidates, the most probable first, at least 40 cents apart. Their probabilities sum to at most 1. A tonic
        in two octaves is two candidates.

    Raises:
        AudioFileError: the file cannot be read, or it is silent.
        ValueError: samples have no sampling rate, are silent or not finite, or `number` is not from 1 to 10.

    Example:

    ```python
    >>> from polyaudio import estimate_tonic
    >>> from polyaudio.data.ragas import SAMPLING_RATE, synthesize_recording

    >>> samples = synthesize_recording("Todi", tonic=160.0, timbre="voice", seconds=12, seed=7)
    >>> best, *others = estimate_tonic(samples, SAMPLING_RATE)
    >>> round(best.frequency), best.note
    (160, 'D#3')
    ```
    """
    if not 1 <= number <= 10:
        raise ValueError(f"number must be from 1 to 10, got {number}.")
    blocks, name = _blocks(recording, sampling_rate)
    finder = _finder()
    evidence = recording_evidence(blocks, finder)
    if not evidence.frames.item():
        raise AudioFileError(f"{name} is silent, so it has no tonic. Leave it out.")
    return [Tonic(*one) for one in finder.candidates(evidence, number)]


@functools.cache
def _finder() -> MultipitchTonic:
    return MultipitchTonic(_RATE, _N_FFT)


def recording_evidence(blocks: Iterable[np.ndarray], finder: MultipitchTonic) -> TonicEvidence:
    """The evidence of a recording for its tonic, from its samples at 16 kHz in blocks of any length."""
    total: TonicEvidence | None = None
    for part in _parts(blocks):
        waveforms = torch.from_numpy(np.pad(part, (0, max(0, _N_FFT - len(part)))))[None]
        lengths = torch.tensor([waveforms.shape[1]])
        power = power_spectrogram(waveforms, lengths, _N_FFT, _HOP, finder.num_lines)
        evidence = finder.evidence(power, 1 + lengths // _HOP)
        total = (
            evidence if total is None else joined(TonicEvidence(*map(torch.cat, zip(total, evidence, strict=True))))
        )
    if total is None:
        raise ValueError("A recording without samples has no tonic. Pass at least one sample.")
    return total


def _parts(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The samples of blocks in parts of 16 s, the last one of 8 to 24 s if the recording is long enough."""
    rest = np.zeros(0, dtype=np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        start = 0
        while len(rest) - start >= 1.5 * _PART:
            yield rest[start : start + _PART]
            start += _PART
        rest = rest[start:]
    if len(rest):
        yield rest


def _blocks(recording: AudioFile | np.ndarray, sampling_rate: int | None) -> tuple[Iterable[np.ndarray], str]:
    """The samples of a recording at 16 kHz, in blocks, and its name."""
    if not isinstance(recording, np.ndarray):
        if sampling_rate is not None:
            raise ValueError("A file has its own sampling rate. Leave out sampling_rate.")
        name = "The recording" if isinstance(recording, bytes) else str(getattr(recording, "name", recording))
        return stream_audio(recording, _RATE), name
    if sampling_rate is None:
        raise ValueError("Samples need their sampling_rate in Hz.")
    if recording.ndim != 1 or not np.isfinite(recording).all():
        raise ValueError(f"Samples must be mono and finite, (samples,), got the shape {recording.shape}.")
    if len(recording) == 0:
        raise ValueError("A recording without samples has no tonic. Pass at least one sample.")
    samples = recording.astype(np.float32)
    return resample_blocks([samples], sampling_rate, _RATE), "The recording"
