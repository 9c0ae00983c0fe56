# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Augmentation of waveforms: pitch, level, noise and rolling in time."""

import math
from fractions import Fraction

import torch
import torchaudio.functional as F


class PitchShift:
    """
    Shifts the pitch of a waveform by a random interval and keeps its duration: phase vocoder, then resampling.

    Args:
        max_semitones: intervals are uniform in `[-max_semitones, max_semitones]`; above 0, at most 12.
        sampling_rate: rate of the waveforms in Hz. The analysis window is about 64 ms long.

    Raises:
        ValueError: `max_semitones` is out of range.
    """

    def __init__(self, max_semitones: float, sampling_rate: int):
        if not 0 < max_semitones <= 12:
            raise ValueError(f"max_semitones must be above 0 and at most 12, got {max_semitones}.")
        self.max_semitones = max_semitones
        self.n_fft = 2 ** round(math.log2(0.064 * sampling_rate))

    def __call__(self, waveform: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Shift a waveform `(samples,)`, float32, by an interval drawn from `generator`. The shape does not change."""
        return self.shift(waveform, self.max_semitones * (2 * torch.rand((), generator=generator).item() - 1))

    def shift(self, waveform: torch.Tensor, semitones: float) -> torch.Tensor:
        """Shift a waveform `(samples,)`, float32, by `semitones`; down if negative. The shape does not change."""
        # The resampling filter has a row for each step of the ratio, so only fractions with small terms are fast.
        # Denominators up to 64 approximate any interval to a hundredth of a semitone.
        ratio = Fraction(2 ** (semitones / 12)).limit_denominator(64)
        samples = waveform.shape[-1]
        if ratio == 1 or samples <= self.n_fft // 2:  # the STFT cannot reflect a shorter clip at its ends
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

    This is the augmentation of EAT and SSLAM. The rolls are uniform. The gain is `0.5 + Beta(10, 10)`, with the mean 1
    and the standard deviation 0.11.
    """

    def __call__(self, waveform: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Roll and scale a waveform `(samples,)`, float32, by values from `generator`. The shape does not change."""
        shift = torch.randint(len(waveform), (), generator=generator)
        # The 10th smallest of 19 uniform numbers has the distribution Beta(10, 10)
        gain = 0.5 + torch.rand(19, generator=generator).kthvalue(10).values
        return (waveform - waveform.mean()).roll(int(shift)) * gain


class RandomGain:
    """
    Multiplies a waveform by a random gain. Samples beyond full scale are not clipped.

    Args:
        max_decibels: gains in dB are uniform in `[-max_decibels, max_decibels]`; above 0.

    Raises:
        ValueError: `max_decibels` is out of range.
    """

    def __init__(self, max_decibels: float):
        if not 0 < max_decibels < math.inf:
            raise ValueError(f"max_decibels must be a number above 0, got {max_decibels}.")
        self.max_decibels = max_decibels

    def __call__(self, waveform: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Scale a waveform `(samples,)`, float32, by a gain drawn from `generator`. The shape does not change."""
        decibels = self.max_decibels * (2 * torch.rand((), generator=generator) - 1)
        return waveform * 10 ** (decibels / 20)


class AdditiveNoise:
    """
    Adds white Gaussian noise at a random signal-to-noise ratio. A silent clip does not change.

    Args:
        min_snr: lowest signal-to-noise ratio in dB; ratios are uniform in `[min_snr, max_snr]`.
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
        """Add noise drawn from `generator` to a waveform `(samples,)`, float32. The shape does not change."""
        snr = self.min_snr + (self.max_snr - self.min_snr) * torch.rand((), generator=generator)
        return F.add_noise(waveform, torch.randn(waveform.shape, generator=generator), snr)


def _lock_phases(stretched: torch.Tensor, spectrum: torch.Tensor, rate: float) -> torch.Tensor:
    """
    Restore the phases of the bins around each spectral peak, relative to the peak, to those before stretching.

    In a phase vocoder, the phases of the bins of one partial drift apart at every onset. Steady tones lose up to 13
    dB, and other sounds are smeared. This is the identity phase locking of Laroche and Dolson (1999).

    Args:
        stretched: `(bins, stretched_frames)`, complex: the output of the phase vocoder at `rate`.
        spectrum: `(bins, frames)`, complex: its input.
        rate: speed of the phase vocoder.
    """
    # As in the phase vocoder; in float32 the last of these steps can be rounded to the number of frames
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
