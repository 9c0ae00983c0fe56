# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Tracks the predominant melody: the pitch of a voice or an instrument over drone and drums."""

from typing import NamedTuple

import numpy as np
import torch

from .spectrogram import power_spectrogram


# Pitches from C2 to about 1480 Hz, in steps of 20 cents, and the partials that support them
_BINS, _F_MIN, _NUM_PITCHES, _F_MAX = 60, 65.4064, 270, 4500.0
# All numbers from here on were chosen on synthesised recordings, clean, with drums and as in a concert
_PARTIALS, _PARTIAL_WEIGHT = 8, 0.8
# The drone is the power that a band exceeds in 70 % of the frames, of which every fourth is enough. What rings on is a
# part of the power that the band had a moment ago.
_DRONE_QUANTILE, _SEARCH_EVERY = 0.3, 4
_RINGING, _MOMENT_SECONDS, _MOMENT_DELAY = 0.3, 0.24, 0.06
# Bands are compared with the octave around them
_WHITENING, _FLOOR = 0.5, 1e-4
# Power, relative to the mean of the clip, at which the compression turns from linear to logarithmic
_KNEE = 0.03
# Peaks of the salience of a frame between which the melody is chosen
_CANDIDATES = 6
# The salience, in its root mean square over the clip, that a step of 20 cents from a frame to the next must be worth,
# and the most that any step must be worth
_STEP_COST, _LARGEST_COST = 0.15, 8.0
# Paths reach 2**5 frames back and forth
_ROUNDS = 5
# From the worth of paths to the odds of their candidates, and from the salience of a frame to the odds of a melody
_SHARPNESS = 1.0
_VOICING_SLOPE, _VOICING_THRESHOLD = 3.0, 1.7
_SILENT = 1e-6
_NO_PEAK = 10.0


class Melody(NamedTuple):
    """
    Candidates for the pitch of the melody, for each frame.

    Attributes:
        pitch: `(batch_size, frames, candidates)`, in Hz.
        weight: `(batch_size, frames, candidates)`, how well each candidate fits into the course of the melody. The
            weights of a frame add up to 1.
        voicing: `(batch_size, frames)`, from 0, no melody, to 1.
    """

    pitch: torch.Tensor
    weight: torch.Tensor
    voicing: torch.Tensor


class MelodyTracker:
    """
    The predominant melody of recordings, by harmonic salience.

    The spectrum without the drone, and without what rings on, is whitened and compressed. The salience of a pitch is
    the sum over its partials. Among the peaks of the salience, the best path in each direction of time chooses those
    of the melody. Paths are joined two by two, so that their number of steps doubles in each round.

    Args:
        sampling_rate: sampling rate of the waveforms, in Hz.
        n_fft: samples of an analysis window.
        hop_length: samples from one window to the next.
    """

    def __init__(self, sampling_rate: int, n_fft: int = 1024, hop_length: int = 320):
        self.n_fft, self.hop_length = n_fft, hop_length
        frame_seconds = hop_length / sampling_rate
        self.moment = max(1, round(_MOMENT_SECONDS / frame_seconds))
        self.delay = max(1, round(_MOMENT_DELAY / frame_seconds))
        resolution = sampling_rate / n_fft
        highest = min(_F_MAX, sampling_rate / 2)
        centres = _F_MIN * 2 ** (np.arange(int(_BINS * np.log2(highest / _F_MIN))) / _BINS)
        self.num_lines = min(int(highest / resolution) + 2, n_fft // 2 + 1)
        width = np.maximum(centres * (2 ** (1 / _BINS) - 1), resolution)[:, None]
        filters = np.maximum(1 - np.abs(np.arange(self.num_lines) * resolution - centres[:, None]) / width, 0)
        self.filters = torch.from_numpy((filters / filters.sum(1, keepdims=True)).astype(np.float32))
        self.partials = torch.from_numpy(_partials(len(centres)))

    def __call__(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> Melody:
        """
        Args:
            waveforms: `(batch_size, samples)`, float32, zero after the end of each clip; at least `n_fft` samples.
            lengths: `(batch_size,)`, int64, samples of each clip, each at least `n_fft // 2 + 1`.

        Returns:
            The melody, in `1 + samples // hop_length` frames. The first `1 + length // hop_length` frames of a clip
            belong to it; the frames after them have no meaning.
        """
        power = power_spectrogram(waveforms, lengths, self.n_fft, self.hop_length, self.num_lines)
        return self.from_power(power, 1 + lengths // self.hop_length)

    def from_power(self, power: torch.Tensor, frames: torch.Tensor) -> Melody:
        """
        The same from power spectra.

        Args:
            power: `(batch_size, num_lines, frames)`.
            frames: `(batch_size,)`, int64, the number of frames of each clip.
        """
        own = torch.arange(power.shape[-1], device=power.device) < frames[:, None]
        salience = self._salience(power, own, frames)
        scale = ((salience.square().mean(1) * own).sum(1) / frames).sqrt()
        salience = salience / scale.clamp(min=_SILENT)[:, None, None]
        values, places = _peaks(salience)
        weight = (_SHARPNESS * _worth_of_paths(values, places, own)).softmax(-1)
        voicing = torch.sigmoid(_VOICING_SLOPE * ((weight * values).sum(-1) - _VOICING_THRESHOLD))
        return Melody(_F_MIN * 2 ** (places / _BINS), weight, voicing * (scale > _SILENT)[:, None])

    def _salience(self, power: torch.Tensor, own: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """How well the partials of each pitch are heard, `(batch_size, pitches, frames)`."""
        bands = self.filters.to(power.device) @ power
        mean = (bands.mean(1) * own).sum(-1) / frames
        mean = mean.clamp(min=torch.finfo(torch.float32).tiny)[:, None, None]
        bands = bands / mean

        ranked = bands[..., ::_SEARCH_EVERY].masked_fill(~own[:, None, ::_SEARCH_EVERY], torch.inf).sort(-1).values
        rank = (_DRONE_QUANTILE * ((frames - 1) // _SEARCH_EVERY)).long()
        drone = ranked.gather(2, rank[:, None, None].expand(-1, bands.shape[1], 1))
        before = torch.nn.functional.pad(bands, (self.moment + self.delay, 0))
        ringing = torch.nn.functional.avg_pool1d(before, self.moment, stride=1)[..., : bands.shape[-1]]
        bands = (bands - drone - _RINGING * ringing).clamp(min=0)

        level = (bands * own[:, None]).sum(-1) / frames[:, None]
        around = torch.nn.functional.avg_pool1d(
            level, _BINS + 1, stride=1, padding=_BINS // 2, count_include_pad=False
        )
        bands = torch.log1p(bands * (around[..., None] + _FLOOR) ** -_WHITENING / _KNEE)
        return self.partials.to(power.device) @ bands


def _partials(num_bands: int) -> np.ndarray:
    """The weights of the bands in the salience of each pitch, `(pitches, bands)`, float32."""
    weights = np.zeros((_NUM_PITCHES, num_bands + 1))
    pitches = np.arange(_NUM_PITCHES)
    for number in range(1, _PARTIALS + 1):
        place = pitches + _BINS * np.log2(number)
        band, share = place.astype(int), place % 1
        inside = band < num_bands
        weight = _PARTIAL_WEIGHT ** (number - 1)
        weights[pitches[inside], band[inside]] += weight * (1 - share[inside])
        weights[pitches[inside], band[inside] + 1] += weight * share[inside]
    return weights[:, :num_bands].astype(np.float32) / sum(_PARTIAL_WEIGHT**number for number in range(_PARTIALS))


def _peaks(salience: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The highest peaks of each frame of `(batch_size, pitches, frames)`.

    Returns:
        Their heights, and their places in pitches, between which a parabola interpolates: `(batch_size, frames,
        _CANDIDATES)` each. Where a frame has fewer peaks, the others are far lower than any.
    """
    padded = torch.nn.functional.pad(salience, (0, 0, 1, 1), value=-_NO_PEAK)
    below, above = padded[:, :-2], padded[:, 2:]
    is_peak = (salience >= below) & (salience > above)
    values, places = torch.where(is_peak, salience, salience - _NO_PEAK).topk(_CANDIDATES, dim=1)
    left, middle, right = (one.gather(1, places) for one in (below, salience, above))
    offset = 0.5 * (left - right) / (left - 2 * middle + right).clamp(max=-1e-6)
    return values.transpose(1, 2), (places + offset.clamp(-0.5, 0.5)).transpose(1, 2)


def _worth_of_paths(values: torch.Tensor, places: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """
    What the best path through each candidate is worth: the sum of the values along it, less what its steps cost.

    Args:
        values: `(batch_size, frames, candidates)`, the worth of the candidates.
        places: their places in pitches, of the same shape.
        own: `(batch_size, frames)`, bool, the frames of each clip.

    Returns:
        `(batch_size, frames, candidates)`.
    """
    values = torch.where(own[..., None], values, 0.0)
    until = _worth_until(values, places, own)
    after = _worth_until(values.flip(1), places.flip(1), own.flip(1)).flip(1)
    return until + after - values


def _worth_until(values: torch.Tensor, places: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """What the best path to each candidate is worth; the arguments are those of `_worth_of_paths`."""
    before = torch.nn.functional.pad(places, (0, 0, 1, 0))[:, :-1]
    costs = (_STEP_COST * (places[:, :, None] - before[..., None]).abs()).clamp(max=_LARGEST_COST)
    is_step = own & torch.nn.functional.pad(own, (1, 0))[:, :-1]
    # From each candidate of a frame (dimension 2) to each of the next (dimension 3), then from ever earlier frames
    paths = values[:, :, None] - torch.where(is_step[..., None, None], costs, 0.0)
    time = torch.arange(values.shape[1], device=values.device)
    for number in range(_ROUNDS):
        earlier = paths.index_select(1, (time - 2**number).clamp(min=0))
        joined = (earlier[..., None] + paths[:, :, None]).amax(3)
        paths = torch.where((time >= 2**number)[:, None, None], joined, paths)
    return paths.amax(2)
