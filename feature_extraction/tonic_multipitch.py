# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Finds the tonic from all pitches that sound, of clips and of recordings of any length."""

from typing import NamedTuple

import numpy as np
import torch


# Pitches from 45 Hz, in steps of 10 cents, up to two octaves above the highest tonic. Their partials reach to 4186 Hz.
_BINS, _F_MIN, _F_MAX = 120, 45.0, 4186.0
_LOWEST_TONIC, _HIGHEST_TONIC = 90.0, 285.0
_FIRST = int(np.ceil(_BINS * np.log2(_LOWEST_TONIC / _F_MIN)))
_NUM_TONICS = int(_BINS * np.log2(_HIGHEST_TONIC / _F_MIN)) - _FIRST + 1
_NUM_PITCHES = _FIRST + _NUM_TONICS + 2 * _BINS
# What sounds at the same time is in the peaks of the salience of a frame
_PARTIALS, _PARTIAL_WEIGHT, _PEAKS = 10, 0.8, 8
# The drone is the power that a band exceeds in 70 % of the frames
_DRONE_QUANTILE = 0.3
_FLOOR = 1e-3
# Power, relative to the mean, below which a frame is silent
_SILENT = 1e-6
# Half of the width in which a tonic counts as right: 25 cents and half of a step
_HALF_WIDTH = 2
# Steps on either side of a candidate without another one
_APART = 7
# Swaras of an octave in just intonation. A held drone tunes the first ones exactly.
_EXACT, _OTHERS = (1, 4 / 3, 3 / 2), (16 / 15, 9 / 8, 6 / 5, 5 / 4, 45 / 32, 8 / 5, 5 / 3, 9 / 5, 15 / 8)
_EXACT_CENTS, _OTHER_CENTS = 15, 25
_OCTAVES = (-1, 0, 1)
NUM_EVIDENCES = 3
NUM_FEATURES = NUM_EVIDENCES * len(_OCTAVES) * len(_EXACT + _OTHERS)


class TonicEvidence(NamedTuple):
    """
    What clips, or the parts of a recording, say about their tonic.

    Attributes:
        curves: `(batch_size, NUM_EVIDENCES, pitches)`: how loud the drone is at each pitch, how loud the mean of all
            frames is, and the histogram of the pitches that sound together.
        frames: `(batch_size,)`, the number of frames that are not silent.
    """

    curves: torch.Tensor
    frames: torch.Tensor


class TonicCandidate(NamedTuple):
    """A tonic in Hz, and the probability that it is right within 25 cents, in its octave."""

    frequency: float
    probability: float


class MultipitchTonic:
    """
    The tonic by multipitch analysis, after Salamon, Gulati and Serra (2012).

    The salience of a pitch is the sum over its partials. The peaks of the salience of a frame are the pitches that
    sound together, and are counted in a histogram. Beside it stand the mean spectrum, and the drone: what sounds most
    of the time. Each possible tonic is judged by what the three hold at the swaras above and below it, with weights of
    a logistic regression over all possible tonics, which were fitted on synthesised recordings. So drones with Pa, Ma
    or neither count as far as they did there.

    Args:
        sampling_rate: of the waveforms, in Hz.
        n_fft: samples of an analysis window, about 0.25 s.
        weights: `(NUM_FEATURES,)`, by default those that were fitted.
    """

    def __init__(self, sampling_rate: int, n_fft: int, weights: torch.Tensor | None = None):
        resolution = sampling_rate / n_fft
        highest = min(_F_MAX, sampling_rate / 2)
        self.num_lines = int(highest / resolution) + 1
        self.num_bands = int(_BINS * np.log2(highest / _F_MIN))
        centres = _F_MIN * 2 ** (np.arange(self.num_bands) / _BINS)
        width = np.maximum(centres * (2 ** (1 / _BINS) - 1), resolution)[:, None]
        filters = np.maximum(1 - np.abs(np.arange(self.num_lines) * resolution - centres[:, None]) / width, 0)
        self.filters = torch.from_numpy((filters / np.maximum(filters.sum(1, keepdims=True), 0.1)).astype(np.float32))
        self.partials = torch.from_numpy(_partials(self.num_bands))
        self.kernels = torch.from_numpy(_kernels())
        self.weights = torch.tensor(_WEIGHTS).flatten() if weights is None else weights

    def evidence(self, power: torch.Tensor, frames: torch.Tensor) -> TonicEvidence:
        """
        Args:
            power: `(batch_size, num_lines, frames)` or with more lines, power spectra about every 0.16 s.
            frames: `(batch_size,)`, int64, the number of frames of each clip.
        """
        power = power[:, : self.num_lines]
        own = torch.arange(power.shape[-1], device=power.device) < frames[:, None]
        level = power.mean(1)
        mean = ((level * own).sum(1) / frames).clamp(min=torch.finfo(torch.float32).tiny)
        own = own & (level > _SILENT * mean[:, None])
        frames = own.sum(1)
        at_least_one = frames.clamp(min=1)
        bands = torch.log(self.filters.to(power.device) @ power / mean[:, None, None] + _FLOOR)
        ranked = bands.masked_fill(~own[:, None], torch.inf).sort(-1).values
        rank = (_DRONE_QUANTILE * (at_least_one - 1)).long()[:, None, None].expand(-1, self.num_bands, 1)
        drone = ranked.gather(2, rank).masked_fill((frames == 0)[:, None, None], 0)
        bands = _above_surroundings(bands).masked_fill(~own[:, None], 0)
        curves = (
            _above_surroundings(drone)[:, :, 0],
            bands.sum(-1) / at_least_one[:, None],
            self._histogram(bands) / at_least_one[:, None],
        )
        pitches = [torch.nn.functional.pad(one, (0, max(0, _NUM_PITCHES - one.shape[1]))) for one in curves]
        return TonicEvidence(torch.stack([one[:, :_NUM_PITCHES] for one in pitches], 1), frames)

    def _histogram(self, bands: torch.Tensor) -> torch.Tensor:
        """How much the peaks of the salience of all frames are at each pitch, `(batch_size, pitches)`."""
        salience = self.partials.to(bands.device) @ bands
        scale = salience.square().mean(1).sum(1) / (bands.amax(1) > 0).sum(1).clamp(min=1)
        salience = salience / scale.sqrt().clamp(min=1e-6)[:, None, None]
        around = torch.nn.functional.pad(salience, (0, 0, 2, 2))
        around = torch.nn.functional.max_pool2d(around[:, None], (5, 1), stride=1)[:, 0]
        peaks = torch.where(salience >= around, salience, 0.0)
        lowest = peaks.topk(_PEAKS, dim=1).values[:, -1:]
        return torch.where(peaks >= lowest, peaks, 0.0).sum(-1)

    def features(self, curves: torch.Tensor) -> torch.Tensor:
        """What speaks for each possible tonic, `(batch_size, NUM_FEATURES, tonics)`."""
        heard = torch.nn.functional.conv1d(curves.flatten(0, 1)[:, None], self.kernels.to(curves.device)[:, None])
        return heard.unflatten(0, curves.shape[:2]).flatten(1, 2)

    def scores(self, curves: torch.Tensor) -> torch.Tensor:
        """The log-odds of the possible tonics, `(batch_size, tonics)`."""
        return torch.einsum("bft,f->bt", self.features(curves), self.weights.to(curves.device))

    def find(self, evidence: TonicEvidence) -> tuple[torch.Tensor, torch.Tensor]:
        """
        The most probable tonic.

        Returns:
            - tonic in Hz, from 90 to 285, `(batch_size,)`.
            - confidence, `(batch_size,)`: the probability that it is right within 25 cents in some octave, scaled such
              that a blind guess, as for silence, has 0.
        """
        probability = self.scores(evidence.curves).softmax(1)
        mass = _around(probability)
        best = mass.argmax(1, keepdim=True)
        place = torch.arange(probability.shape[1], device=probability.device)
        octaves = (place[:, None] + torch.tensor([-_BINS, 0, _BINS], device=place.device))[best[:, 0]]
        inside = (octaves >= 0) & (octaves < len(place))
        total = torch.where(inside, mass.gather(1, octaves.clamp(0, len(place) - 1)), 0.0).sum(1)
        chance = inside.sum(1) * (2 * _HALF_WIDTH + 1) / len(place)
        confidence = ((total - chance) / (1 - chance)).clamp(0, 1)
        near = torch.where((place - best).abs() <= _HALF_WIDTH, probability, 0.0)
        mean = (near * place).sum(1) / near.sum(1)
        return _F_MIN * 2 ** ((_FIRST + mean) / _BINS), confidence

    def candidates(self, evidence: TonicEvidence, number: int) -> list[TonicCandidate]:
        """
        The most probable tonics of one recording, at most `number`. They are the peaks of the probability, at least 40
        cents apart. Their probabilities sum to at most 1.
        """
        probability = self.scores(evidence.curves)[0].double().softmax(0)
        mass = _around(probability[None])
        around = torch.nn.functional.max_pool1d(mass, 2 * _APART + 1, stride=1, padding=_APART)
        peaks = torch.where(mass >= around, mass, 0.0)[0]
        best = peaks.argsort(descending=True)[: min(number, int((peaks > 0).sum()))]
        place = torch.arange(len(probability))
        near = torch.where((place - best[:, None]).abs() <= _HALF_WIDTH, probability, 0.0)
        total = near.sum(1)
        frequency = _F_MIN * 2 ** ((_FIRST + near @ place.double() / total) / _BINS)
        return [TonicCandidate(*one) for one in zip(frequency.tolist(), total.tolist(), strict=True)]


def joined(parts: TonicEvidence) -> TonicEvidence:
    """The evidence of a recording from that of its parts: their mean, weighted with their frames."""
    frames = parts.frames.sum(0, keepdim=True)
    weights = parts.frames / frames.clamp(min=1)
    return TonicEvidence((weights[:, None, None] * parts.curves).sum(0, keepdim=True), frames)


def tonic_target(tonics: torch.Tensor, width: float) -> torch.Tensor:
    """The distribution over the possible tonics, `(n, tonics)`, for true ones in Hz: a curve of `width` cents."""
    places = _BINS * torch.log2(tonics.double() / _F_MIN) - _FIRST
    distance = (torch.arange(_NUM_TONICS) - places[:, None]) * 1200 / _BINS / width
    return torch.softmax(-0.5 * distance.square(), 1).float()


def _around(probability: torch.Tensor) -> torch.Tensor:
    """The probability of all tonics near each one."""
    size = 2 * _HALF_WIDTH + 1
    return size * torch.nn.functional.avg_pool1d(probability[:, None], size, stride=1, padding=_HALF_WIDTH)[:, 0]


def _above_surroundings(bands: torch.Tensor) -> torch.Tensor:
    """By how much each bin of `(batch_size, bins, frames)` exceeds the mean of the half octave around it, or 0."""
    half = _BINS // 4
    padded = torch.nn.functional.pad(bands, (0, 0, half, half), mode="replicate")
    surroundings = torch.nn.functional.avg_pool2d(padded[:, None], (2 * half + 1, 1), stride=1)[:, 0]
    return (bands - surroundings).clamp(min=0)


def _partials(num_bands: int) -> np.ndarray:
    """The weights of the bands in the salience of each pitch, `(pitches, bands)`, float32."""
    weights = np.zeros((min(_NUM_PITCHES, num_bands), num_bands), dtype=np.float32)
    pitches = np.arange(len(weights))
    for number in range(1, _PARTIALS + 1):
        bands = np.round(pitches + _BINS * np.log2(number)).astype(int)
        inside = bands < num_bands
        weights[pitches[inside], bands[inside]] += _PARTIAL_WEIGHT ** (number - 1)
    return weights


def _kernels() -> np.ndarray:
    """For each octave and swara a curve around its place above the tonic, `(features, pitches)`, float32."""
    places = np.arange(-_FIRST, 2 * _BINS + 1)
    kernels = []
    for swaras, cents in ((_EXACT, _EXACT_CENTS), (_OTHERS, _OTHER_CENTS)):
        for octave in _OCTAVES:
            for ratio in swaras:
                distance = (places - _BINS * (octave + np.log2(ratio))) * 1200 / _BINS
                curve = np.exp(-0.5 * (distance / cents) ** 2)
                kernels.append(curve / curve.sum())
    return np.array(kernels, dtype=np.float32)


# For each evidence a row of the exact swaras in all octaves, and for each octave a row of the others.
# `python benchmarks/fit_tonic.py` fits them.
_WEIGHTS = (
    (0.51, 0.35, -0.02, 1.65, -0.08, -0.20, 1.35, -0.87, -0.45),
    (-0.04, 0.95, 0.12, 0.89, 0.34, 0.26, -0.52, 0.18, 0.91),
    (0.84, 0.34, -0.05, -0.68, -0.20, -0.35, -1.16, -0.39, -1.17),
    (-0.10, -0.77, -0.11, 0.01, 0.21, -0.08, -1.08, -0.85, -0.36),
    (0.67, -1.10, 0.23, 0.04, 0.05, 0.60, -0.08, 0.72, 0.34),
    (1.03, 1.69, -1.55, -0.70, -0.20, -0.44, -0.89, -0.55, -0.09),
    (-0.21, 0.14, -0.32, -0.11, -0.11, -0.48, -0.19, -0.16, -0.19),
    (-1.18, 0.18, 0.79, -0.32, 0.06, -0.19, 1.65, 0.97, -0.21),
    (-0.45, 1.77, -0.87, -3.76, 0.88, -1.82, 7.07, 1.73, 8.24),
    (-8.31, -4.83, -8.42, 2.32, -11.16, 0.83, 5.71, -3.03, -2.18),
    (3.50, -2.41, 3.53, 6.71, 2.07, 0.48, 7.51, 4.53, 4.42),
    (-1.82, 11.30, -1.20, 0.96, -5.12, 0.96, -12.52, -8.52, 3.45),
)
