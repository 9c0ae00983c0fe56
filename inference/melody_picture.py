# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The melody of a recording of any length, for a picture with the swaras of its tonic."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from ..data.audio import AudioFile, stream_audio
from ..data.ragas.grammar import SWARAS
from ..feature_extraction.tonic_pitch import TonicPitch


_RATE = 16_000
_HOP = 320
# Melody and tonic are sought in parts of this length, and the last part has up to twice as much
_PART_SECONDS = 30
_LOWEST, _HIGHEST = 60.0, 1600.0  # Hz
_BINS_PER_OCTAVE = 60
_VOICED = 0.5
# A picture has no more columns, since a column of a pixel is too narrow to see
_MOST_COLUMNS = 1000
# Between frames that are at most this number of rows apart, the melody glides. It is drawn at points of a frame
_LONGEST_GLIDE, _POINTS = 15, 5
# Tonics of parts that are less than this apart, in cents, are the same
_SAME_TONIC = 50


@dataclass(frozen=True)
class MelodyPicture:
    """
    The melody of a recording over time.

    Attributes:
        shares: `(pitches, columns)`, float32: how much of the time of a column the melody is at a pitch, from 0 to 1.
            All columns are equally long.
        lowest: the pitch of the first row in Hz. Rows are 20 cents apart.
        tonic: the tonic in Hz.
        confidence: of the tonic, from 0 to 1.
    """

    shares: np.ndarray
    lowest: float
    tonic: float
    confidence: float

    @property
    def cents(self) -> np.ndarray:
        """The pitch of each row above the tonic, in cents."""
        first = 1200 * math.log2(self.lowest / self.tonic)
        return first + np.arange(len(self.shares)) * 1200 / _BINS_PER_OCTAVE


def swara_places() -> dict[str, float]:
    """The names of the 12 swarasthanas, and their cents above the tonic in just intonation: `S`, `R1`, `R2/G1`, ..."""
    names: dict[float, list[str]] = {}
    for name, ratio in SWARAS.items():
        if name.isalnum():  # the others are variants in one raga
            names.setdefault(ratio, []).append(name)
    return {"/".join(names[ratio]): 1200 * math.log2(ratio) for ratio in sorted(names)}


class MelodyPictureStream:
    """
    Tracks the melody of a recording part by part, so the memory does not grow.

    Args:
        duration: the length of the recording in seconds.
    """

    sampling_rate = _RATE

    def __init__(self, duration: float):
        self.frames = max(1, math.ceil(duration * _RATE / _HOP))
        self.columns = min(_MOST_COLUMNS, self.frames)
        rows = round(_BINS_PER_OCTAVE * math.log2(_HIGHEST / _LOWEST))
        self.sums = np.zeros((rows, self.columns), dtype=np.float32)
        self.front_end = TonicPitch(_RATE, hop_length=_HOP)
        self.tonics: list[tuple[float, float]] = []
        self.rest = np.zeros(0, dtype=np.float32)
        self.place = 0

    def push(self, block: np.ndarray) -> None:
        """Add the next mono samples, `(samples,)`, float32."""
        part = _PART_SECONDS * _RATE
        samples = np.concatenate([self.rest, block])
        while len(samples) >= 2 * part:
            self._add(samples[:part])
            samples = samples[part:]
        self.rest = samples.copy()

    def finish(self) -> MelodyPicture:
        """The melody of all that was pushed."""
        if len(self.rest):
            self._add(self.rest)
        each = np.bincount(np.arange(self.frames) * self.columns // self.frames, minlength=self.columns)
        tonic, confidence = _joined_tonic(self.tonics)
        return MelodyPicture(self.sums / each.clip(min=1), _LOWEST, tonic, confidence)

    def _add(self, samples: np.ndarray) -> None:
        frames = -(-len(samples) // _HOP)
        least = self.front_end.chroma.n_fft
        waveform = torch.from_numpy(np.pad(samples, (0, max(0, least - len(samples)))))[None]
        lengths = torch.tensor([waveform.shape[1]])
        with torch.inference_mode():
            melody = self.front_end.melody(waveform, lengths)
            _, tonic, confidence = self.front_end(waveform, lengths, melody=melody)
        self.tonics.append((tonic.item(), confidence.item()))
        best = melody.weight[0].argmax(1, keepdim=True)
        pitch = melody.pitch[0].gather(1, best)[:frames, 0].numpy()
        is_heard = melody.voicing[0, :frames].numpy() > _VOICED
        places = _BINS_PER_OCTAVE * np.log2(pitch / _LOWEST)
        steps = np.diff(places, append=places[-1])
        is_glide = is_heard & np.append(is_heard[1:], False) & (np.abs(steps) <= _LONGEST_GLIDE)
        points = places[:, None] + np.where(is_glide, steps, 0.0)[:, None] * np.arange(_POINTS) / _POINTS
        rows = np.rint(points).astype(int).clip(0, len(self.sums) - 1)
        columns = ((self.place + np.arange(frames)) * self.columns // self.frames).clip(max=self.columns - 1)
        columns = np.broadcast_to(columns[:, None], rows.shape)
        np.add.at(self.sums, (rows[is_heard], columns[is_heard]), 1 / _POINTS)
        self.place += frames


def _joined_tonic(tonics: list[tuple[float, float]]) -> tuple[float, float]:
    """The tonic that most parts agree on, by their confidence, and the share of the confidence that agrees."""
    hertz, weights = (np.array(values) for values in zip(*tonics, strict=True))
    cents = 1200 * np.log2(hertz)
    agrees = np.abs((cents[:, None] - cents + 600) % 1200 - 600) < _SAME_TONIC
    best = int(np.argmax(agrees @ (weights + 1e-9)))
    own = np.flatnonzero(agrees[best])
    # Of octaves, the one of the most confident part
    reference = cents[own[np.argmax(weights[own])]]
    offsets = (cents[own] - reference + 600) % 1200 - 600
    mean = reference + float(np.average(offsets, weights=weights[own] + 1e-9))
    return float(2 ** (mean / 1200)), float(weights[own].sum() / len(tonics))


def compute_melody(file: AudioFile, duration: float) -> MelodyPicture:
    """
    Track the melody of a recording. The memory does not grow with its length.

    Args:
        file: the recording.
        duration: its length in seconds.

    Raises:
        AudioFileError: the recording cannot be read.
    """
    stream = MelodyPictureStream(duration)
    for block in stream_audio(file, _RATE, gaps=[]):
        stream.push(block)
    return stream.finish()
