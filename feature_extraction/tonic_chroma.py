# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Pitch classes relative to the tonic, so that a raga has the same features in every key."""

import numpy as np
import torch

from .spectrogram import power_spectrogram
from .tonic_multipitch import MultipitchTonic


# The search for the tonic has steps of 20 cents and interpolates between them with a parabola. The strings of the
# tanpura and their first harmonics are in the lowest octaves. In higher octaves the melody covers them.
_SEARCH_BINS = 60
_OCTAVE_WEIGHTS = (0.35, 0.35, 0.2, 0.1)
# The drone is the energy that a bin exceeds in 70 % of the frames. Frames overlap, so every fourth frame is enough.
_DRONE_QUANTILE = 0.3
_SEARCH_EVERY = 4
# Without a drone, the tonic is estimated from the longest notes of the melody, which is right much less often
_MELODY_WEIGHT = 0.5
# Weights from salience, in nepers, to log-odds for Sa and for Pa, which some ragas and their drones leave out. They
# were chosen on synthetic recordings with Sa-Pa drones, Sa-Ma drones, no drone and noise, so that the posterior is
# about calibrated.
_SA_WEIGHT, _PA_WEIGHT = 1.9, 0.65
# Tonics lie between G2, for a low male voice, and C4, for a high female voice. If two octaves are possible, the lower
# one is taken if the salience of a string of the drone at its lower Pa or Ma exceeds this.
_LOWEST_TONIC, _HIGHEST_TONIC = 98.0, 261.63
_STRING_SALIENCE = 0.5
# Power, relative to the mean of the clip, at which the compression of the features turns from linear to logarithmic
_KNEE = 0.01


class TonicChroma:
    """
    Chroma whose first bin is the tonic (Sa). The tonic is given or estimated.

    The estimate uses the drone: the lower quantile of the spectrum over time, each bin relative to its surroundings,
    folded to one octave and matched with Sa and Pa in every rotation. Or it uses all pitches that sound, see
    [`MultipitchTonic`]. The features are bands of the spectrum around the pitches of a scale that starts at the exact
    tonic, compressed and averaged over the octaves.

    Args:
        sampling_rate: sampling rate of the waveforms, in Hz.
        n_fft: samples of an analysis window.
        hop_length: samples from one window to the next.
        bins_per_octave: features of a frame.
        num_octaves: number of octaves above `f_min` to analyse. The scale of the tonic fits in one octave less.
        f_min: lowest frequency, in Hz; by default the C two octaves below middle C.
        tonic_estimator: how the tonic is found, `"drone"` or `"multipitch"`.
    """

    def __init__(
        self,
        sampling_rate: int,
        n_fft: int = 4096,
        hop_length: int = 640,
        bins_per_octave: int = 36,
        num_octaves: int = 6,
        f_min: float = 65.4064,
        tonic_estimator: str = "drone",
    ):
        self.n_fft, self.hop_length = n_fft, hop_length
        self.bins_per_octave, self.num_octaves, self.f_min = bins_per_octave, num_octaves, f_min
        highest = min(f_min * 2**num_octaves, sampling_rate / 2)
        self.resolution = sampling_rate / n_fft
        self.frequencies = torch.arange(int(highest / self.resolution) + 1) * self.resolution
        self.multipitch = MultipitchTonic(sampling_rate, n_fft) if tonic_estimator == "multipitch" else None

        search = f_min * 2 ** (np.arange(len(_OCTAVE_WEIGHTS) * _SEARCH_BINS) / _SEARCH_BINS)
        self.search_centres = torch.from_numpy(search.astype(np.float32))
        self.search_filters = self._filters(self.search_centres, bins_per_octave=36)
        cents = np.arange(_SEARCH_BINS) * 1200 / _SEARCH_BINS
        peaks = [
            weight * np.exp(-0.5 * (((cents - pitch + 600) % 1200 - 600) / 20) ** 2)
            for pitch, weight in ((0, _SA_WEIGHT), (1200 * np.log2(3 / 2), _PA_WEIGHT))
        ]
        template = np.sum(peaks, axis=0)
        rotations = np.stack([np.roll(template - template.mean(), shift) for shift in range(_SEARCH_BINS)], axis=1)
        self.rotations = torch.from_numpy(rotations.astype(np.float32))

    def __call__(
        self, waveforms: torch.Tensor, lengths: torch.Tensor, tonic: float | torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Args:
            waveforms: `(batch_size, samples)`, float32, zero after the end of each clip; at least `n_fft` samples.
            lengths: `(batch_size,)`, int64, samples of each clip, each at least `n_fft // 2 + 1`.
            tonic: in Hz, one for all clips or `(batch_size,)`; estimated where it is NaN, or for all if not given.

        Returns:
            - features, `(batch_size, 1 + samples // hop_length, bins_per_octave)`. The first
              `1 + length // hop_length` frames of a clip belong to it; the frames after them have no meaning.
            - tonic of each clip in Hz, `(batch_size,)`. An estimate lies between 98 and 262 Hz, or with
              `"multipitch"` between 90 and 285 Hz.
            - confidence, `(batch_size,)`: the posterior probability that the tonic is right within 40 cents, or with
              `"multipitch"` 25, in some octave, scaled such that a blind guess, as for silence, has 0; 1 where the
              tonic was given.

        Raises:
            ValueError: a given tonic is not positive or not finite.
        """
        power = power_spectrogram(waveforms, lengths, self.n_fft, self.hop_length, len(self.frequencies))
        return self.from_power(power, 1 + lengths // self.hop_length, tonic)

    def from_power(
        self, power: torch.Tensor, frames: torch.Tensor, tonic: float | torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        The same from power spectra.

        Args:
            power: `(batch_size, len(self.frequencies), frames)`.
            frames: `(batch_size,)`, int64, the number of frames of each clip.
            tonic: as above.
        """
        searched = 1 + (frames - 1) // _SEARCH_EVERY
        mean = _mean_power(power, frames)
        estimate, confidence = self._find_tonic(power[..., ::_SEARCH_EVERY], mean, searched, tonic)
        return self.features(power, frames, estimate), estimate, confidence

    def features(self, power: torch.Tensor, frames: torch.Tensor, tonic: torch.Tensor) -> torch.Tensor:
        """The features alone, `(batch_size, frames, bins_per_octave)`, for a known tonic, `(batch_size,)`."""
        lowest = self.f_min * 2 ** (torch.log2(tonic / self.f_min) % 1)
        octaves = self.num_octaves - 1
        steps = torch.arange(octaves * self.bins_per_octave, device=power.device) / self.bins_per_octave
        filters = self._filters(lowest[:, None] * 2**steps, self.bins_per_octave)
        bands = torch.log1p(filters @ power / (_KNEE * _mean_power(power, frames)))
        return bands.unflatten(1, (octaves, self.bins_per_octave)).mean(1).transpose(1, 2)

    @property
    def search_hop_length(self) -> int:
        """Samples from one of the frames in which the tonic is sought to the next."""
        return _SEARCH_EVERY * self.hop_length

    def find_tonic(
        self, power: torch.Tensor, frames: torch.Tensor, tonic: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The tonic and its confidence alone, from `power` every `search_hop_length` samples; see `from_power`."""
        return self._find_tonic(power, _mean_power(power, frames), frames, tonic)

    def _find_tonic(
        self, power: torch.Tensor, mean: torch.Tensor, frames: torch.Tensor, tonic: float | torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The tonic, given or estimated, and its confidence from the `frames` that are searched."""
        if self.multipitch is None:
            estimate, confidence = self._estimate(power, mean, frames)
        else:
            estimate, confidence = self.multipitch.find(self.multipitch.evidence(power, frames))
        if tonic is None:
            return estimate, confidence
        given = torch.as_tensor(tonic, dtype=torch.float32, device=power.device).expand(len(power))
        check_tonic(given)
        is_given = ~given.isnan()
        return torch.where(is_given, given, estimate), confidence.masked_fill(is_given, 1.0)

    def _filters(self, centres: torch.Tensor, bins_per_octave: int) -> torch.Tensor:
        """
        Triangles around `centres` (in Hz, any shape) that reach to the next bins, or where these are nearer than the
        lines of the spectrum, to the next line. Each adds up to 1, or above the spectrum to 0.

        Returns:
            `(*centres.shape, len(self.frequencies))`.
        """
        width = (centres * (2 ** (1 / bins_per_octave) - 1)).clamp(min=self.resolution)
        distance = (self.frequencies.to(centres.device) - centres[..., None]).abs()
        filters = (1 - distance / width[..., None]).clamp(min=0)
        return filters / filters.sum(-1, keepdim=True).clamp(min=0.1)

    def _estimate(
        self, power: torch.Tensor, mean: torch.Tensor, frames: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tonic in Hz and confidence, `(batch_size,)` each, from `power`, its `mean` and the clips' own `frames`."""
        bands = self.search_filters.to(power.device) @ power
        bands = torch.log(bands / mean + 1e-3)
        behind_end = torch.arange(bands.shape[-1], device=power.device) >= frames[:, None]
        ranked = bands.masked_fill(behind_end[:, None], torch.inf).sort(-1).values
        rank = (_DRONE_QUANTILE * (frames - 1)).long()
        drone = ranked.gather(2, rank[:, None, None].expand(-1, bands.shape[1], 1))
        melody = _above_surroundings(bands).masked_fill(behind_end[:, None], 0).sum(-1) / frames[:, None]
        salience = _above_surroundings(drone)[..., 0] + _MELODY_WEIGHT * melody

        weights = torch.tensor(_OCTAVE_WEIGHTS, device=power.device)
        folded = weights @ salience.unflatten(1, (len(_OCTAVE_WEIGHTS), _SEARCH_BINS))
        scores = folded @ self.rotations.to(power.device)
        best = scores.argmax(1, keepdim=True)
        around = (best + torch.arange(-2, 3, device=power.device)) % _SEARCH_BINS
        chance = 5 / _SEARCH_BINS
        confidence = ((scores.softmax(1).gather(1, around).sum(1) - chance) / (1 - chance)).clamp(min=0)
        left, middle, right = scores.gather(1, around[:, 1:4]).unbind(1)
        curvature = (left - 2 * middle + right).clamp(max=-1e-6)
        position = (best[:, 0] + 0.5 * (left - right) / curvature) / _SEARCH_BINS
        tonic = _LOWEST_TONIC * 2 ** ((position + np.log2(self.f_min / _LOWEST_TONIC)) % 1)
        ratio = self.search_centres.to(power.device) / tonic[:, None]
        string = salience.masked_fill((ratio < 0.65) | (ratio > 0.77), 0).amax(1)
        is_upper = (2 * tonic < _HIGHEST_TONIC) & (string < _STRING_SALIENCE)
        return torch.where(is_upper, 2 * tonic, tonic), confidence


def check_tonic(tonic: torch.Tensor) -> None:
    """Raise `ValueError` if a tonic that is not NaN is no frequency in Hz."""
    is_wrong = ~tonic.isnan() & ~((tonic >= torch.finfo(torch.float32).tiny) & tonic.isfinite())
    if is_wrong.any():
        raise ValueError(f"A tonic is a frequency in Hz, finite and greater than 0, not {tonic[is_wrong].tolist()}.")


def _mean_power(power: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """The mean of `(batch_size, bins, frames)` over the frames of each clip, `(batch_size, 1, 1)`, above 0."""
    own = torch.arange(power.shape[-1], device=power.device) < frames[:, None]
    mean = (power.mean(1) * own).sum(-1) / frames
    return mean.clamp(min=torch.finfo(torch.float32).tiny)[:, None, None]


def _above_surroundings(bands: torch.Tensor) -> torch.Tensor:
    """By how much each bin of `(batch_size, bins, frames)` exceeds the mean of the half octave around it, or 0."""
    half = _SEARCH_BINS // 4
    padded = torch.nn.functional.pad(bands, (0, 0, half, half), mode="replicate")
    surroundings = torch.nn.functional.avg_pool2d(padded[:, None], (2 * half + 1, 1), stride=1)[:, 0]
    return (bands - surroundings).clamp(min=0)
