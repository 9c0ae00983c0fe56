# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Augmentation of waveforms: pitch, level, noise and rolling in time."""

import math
from fractions import Fraction

import torch
import torchaudio.functional as F


class PitchShift:
    """
    Shifts a waveform by a random interval without changing its duration: phase vocoder, then resampling.

    Args:
        max_semitones: intervals are drawn uniformly from `[-max_semitones, max_semitones]`; above 0, at most 12.
        sampling_rate: rate of the waveforms in Hz; the analysis window spans about 64 ms.

    Raises:
        ValueError: `max_semitones` is out of range.
    """

    def __init__(self, max_semitones: float, sampling_rate: int):
        if not 0 < max_semitones <= 12:
            raise ValueError(f"max_semitones must be above 0 and at most 12, got {max_semitones}.")
        self.max_semitones = max_semitones
        self.n_fft = 2 ** round(math.log2(0.064 * sampling_rate))

    def __call__(self, waveform: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Shift a waveform `(samples,)`, float32, by an interval drawn from `generator`; the shape stays."""
        return self.shift(waveform, self.max_semitones * (2 * torch.rand((), generator=generator).item() - 1))

    def shift(self, waveform: torch.Tensor, semitones: float) -> torch.Tensor:
        """Shift a waveform `(samples,)`, float32, up by `semitones` (down where negative); the shape stays."""
        # The resampling filter has a row for each step of the ratio, so that only small fractions are fast; with
        # denominators up to 64 they lie within a hundredth of a semitone of any interval.
        ratio = Fraction(2 ** (semitones / 12)).limit_denominator(64)
        samples = waveform.shape[-1]
        if ratio == 1 or samples <= self.n_fft // 2:  # a shorter clip cannot be reflected at its ends
            return waveform
        hop_length = self.n_fft // 4
        window = torch.hann_window(self.n_fft)
        spectrum = torch.stft(waveform, self.n_fft, hop_length, window=window, return_complex=True)
        advance = torch.linspace(0, math.pi * hop_length, spectrum.shape[0])[:, None]
        stretched = _lock_phases(F.phase_vocoder(spectrum, float(1 / ratio), advance), spectrum, float(1 / ratio))
        length = math.ceil(samples * ratio)
        stretched = torch.istft(stretched, self.n_fft, hop_length, window=window, length=length)
        return F.resample(stretched, ratio.numerator, ratio.denominator)[:samples]


class RollAndGain:
    """
    Subtracts a waveform's mean, rolls it by a random number of samples and multiplies it by a random gain.

    This is the augmentation that EAT and SSLAM come with. All rolls are equally likely; the gain is
    `0.5 + Beta(10, 10)`, which is 1 on average, with a standard deviation of 0.11.
    """

    def __call__(self, waveform: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Change a waveform `(samples,)`, float32, by what is drawn from `generator`; the shape stays."""
        shift = torch.randint(len(waveform), (), generator=generator)
        # Of 19 uniform numbers the 10th smallest is distributed as Beta(10, 10)
        gain = 0.5 + torch.rand(19, generator=generator).kthvalue(10).values
        return (waveform - waveform.mean()).roll(int(shift)) * gain


class RandomGain:
    """
    Multiplies a waveform by a random gain. What gets louder than full scale is not clipped.

    Args:
        max_decibels: gains are drawn uniformly, in dB, from `[-max_decibels, max_decibels]`; above 0.

    Raises:
        ValueError: `max_decibels` is out of range.
    """

    def __init__(self, max_decibels: float):
        if not 0 < max_decibels < math.inf:
            raise ValueError(f"max_decibels must be a number above 0, got {max_decibels}.")
        self.max_decibels = max_decibels

    def __call__(self, waveform: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Change the level of a waveform `(samples,)`, float32, by a gain drawn from `generator`; the shape stays."""
        decibels = self.max_decibels * (2 * torch.rand((), generator=generator) - 1)
        return waveform * 10 ** (decibels / 20)


class AdditiveNoise:
    """
    Adds white Gaussian noise at a random ratio of the clip's power to that of the noise. Silence stays silence.

    Args:
        min_snr: lowest signal-to-noise ratio in dB; ratios are drawn uniformly from `[min_snr, max_snr]`.
        max_snr: highest signal-to-noise ratio in dB.

    Raises:
        ValueError: the ratios are not finite, or `min_snr` is above `max_snr`.
    """

    def __init__(self, min_snr: float, max_snr: float):
        if not -math.inf < min_snr <= max_snr < math.inf:
            raise ValueError(f"min_snr must be at most max_snr, and both finite, got {min_snr} and {max_snr}.")
        self.min_snr = min_snr
        self.max_snr = max_snr

    def __call__(self, waveform: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Add noise drawn from `generator` to a waveform `(samples,)`, float32; the shape stays."""
        snr = self.min_snr + (self.max_snr - self.min_snr) * torch.rand((), generator=generator)
        return F.add_noise(waveform, torch.randn(waveform.shape, generator=generator), snr)


def _lock_phases(stretched: torch.Tensor, spectrum: torch.Tensor, rate: float) -> torch.Tensor:
    """
    Give the bins around each spectral peak the phases, relative to the peak, that they had before stretching.

    A phase vocoder lets the bins of one partial drift apart at every onset, which costs steady tones up to 13 dB and
    smears the rest; this is the identity phase locking of Laroche and Dolson (1999).

    Args:
        stretched: `(bins, stretched_frames)`, complex, what the phase vocoder made at `rate` of
        spectrum: `(bins, frames)`, complex.
    """
    # As in the phase vocoder; in float32 the last of these steps can round up to the number of frames
    steps = torch.arange(0, spectrum.shape[1], rate).long().clamp(max=spectrum.shape[1] - 1)
    source = spectrum[:, steps]
    magnitude = source.abs()
    highest_around = torch.nn.functional.max_pool1d(magnitude.T, kernel_size=5, stride=1, padding=2).T
    is_peak = magnitude == highest_around
    bins = torch.arange(len(magnitude))[:, None]
    far = 2 * len(magnitude)
    below = torch.where(is_peak, bins, -far).cummax(0).values
    above = torch.where(is_peak, bins, far).flip(0).cummin(0).values.flip(0)
    peak = torch.where(bins - below <= above - bins, below, above)
    rotation = (stretched * source.conj()).gather(0, peak)
    return stretched.abs() * torch.sgn(source * rotation)
