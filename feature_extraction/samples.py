# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The feature extractors as modules on batches of samples, of operators that export to other runtimes.

A runtime without complex numbers computes the Fourier transform as products of matrices. The factors of Cooley and
Tukey keep these small: a transform of 1024 samples takes 135,000 multiplications and not a million, and its rounding
errors are about those of an FFT.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import nn


class FourierPower(nn.Module):
    """
    The power spectrum of frames.

    Args:
        n_fft: samples of a frame.
        num_bins: number of the lowest bins to compute. The default is all `n_fft // 2 + 1` bins.
        dtype: dtype of the transform.
    """

    def __init__(self, n_fft: int, num_bins: int | None = None, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.num_bins = n_fft // 2 + 1 if num_bins is None else num_bins
        # n_fft = rows * columns. The sum over the rows comes first, that over the columns second.
        self.columns = _divisor_near_root(n_fft)
        self.rows = n_fft // self.columns
        row, column = torch.arange(self.rows), torch.arange(self.columns)
        inner = _turns(row[:, None] * row, self.rows)
        self.register_buffer("inner", torch.cat([inner.real, inner.imag], dim=1).to(dtype), persistent=False)
        # Bin `low + rows * high`, for each `low`, from the sums of its columns
        high = torch.arange(-(-self.num_bins // self.rows))
        bins = row[:, None] + self.rows * high
        outer = _turns(column[None, :, None] * bins[:, None, :], n_fft)
        outer = torch.cat(
            [torch.cat([outer.real, outer.imag], dim=2), torch.cat([-outer.imag, outer.real], dim=2)], dim=1
        )
        self.register_buffer("outer", outer.to(dtype), persistent=False)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """
        Args:
            frames: `(batch_size, frames, n_fft)`, of the dtype of the transform.

        Returns:
            float32, `(batch_size, frames, num_bins)`.
        """
        batch_size, num_frames = frames.shape[:2]
        grid = frames.unflatten(2, (self.rows, self.columns)).transpose(2, 3)
        sums = (grid @ self.inner).unflatten(3, (2, self.rows))  # (batch_size, frames, columns, 2, rows)
        sums = sums.permute(4, 0, 1, 3, 2).flatten(3).flatten(1, 2)  # (rows, all frames, 2 * columns)
        spectrum = (sums @ self.outer).unflatten(2, (2, -1))
        power = spectrum.float().square().sum(2)  # (rows, all frames, high)
        return power.permute(1, 2, 0).flatten(1)[:, : self.num_bins].unflatten(0, (batch_size, num_frames))


def _divisor_near_root(number: int) -> int:
    """The largest divisor of a number that is not above its root."""
    return next(one for one in range(math.isqrt(number), 0, -1) if number % one == 0)


def _turns(numerators: torch.Tensor, denominator: int) -> torch.Tensor:
    """`exp(-2 pi i numerators / denominator)`, complex128."""
    angles = (numerators % denominator).double() * (-2 * math.pi / denominator)
    return torch.polar(torch.ones_like(angles), angles)


def cut_frames(waveforms: torch.Tensor, num_frames: int, size: int, hop_length: int) -> torch.Tensor:
    """The first `num_frames` frames of waveforms `(batch_size, samples)`: `(batch_size, num_frames, size)`."""
    device = waveforms.device
    starts = torch.arange(num_frames, device=device) * hop_length
    places = starts[:, None] + torch.arange(size, device=device)
    return waveforms.index_select(1, places.flatten()).unflatten(1, (num_frames, size))


class CentredPower(nn.Module):
    """
    What [`power_spectrogram`] computes: power spectra of Hann windows around each multiple of `hop_length`, where
    each clip is reflected at both of its ends.

    Args:
        n_fft: samples of a window.
        hop_length: samples from one window to the next.
        num_bins: number of the lowest bins to keep. The default is all `n_fft // 2 + 1` bins.
        dtype: dtype of the Fourier transform.
    """

    window: torch.Tensor

    def __init__(self, n_fft: int, hop_length: int, num_bins: int | None = None, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        self.register_buffer("window", torch.hann_window(n_fft, dtype=dtype), persistent=False)
        self.fourier = FourierPower(n_fft, num_bins, dtype)

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """
        Args:
            waveforms: `(batch_size, samples)`, float32, at least `n_fft` samples.
            lengths: `(batch_size,)`, int64, samples of each clip, at least `n_fft // 2 + 1`.

        Returns:
            `(batch_size, 1 + samples // hop_length, num_bins)`.
        """
        samples, half = waveforms.shape[1], self.n_fft // 2
        places = (torch.arange(samples + 2 * half, device=waveforms.device) - half).abs()[None]
        last = lengths[:, None] - 1
        places = torch.where(places > last, 2 * last - places, places).clamp(min=0)
        frames = cut_frames(waveforms.gather(1, places), 1 + samples // self.hop_length, self.n_fft, self.hop_length)
        return self.fourier(frames * self.window)


class SampleFrontEnd(nn.Module, ABC):
    """What a feature extractor computes with its default arguments, as a module on samples."""

    @abstractmethod
    def forward(self, samples: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            samples: `(batch_size, samples)`, float32, mono at the rate of the extractor.
            attention_mask: `(batch_size, samples)`, int64, 1 for a clip and 0 for padding after its end, which is
                masked in the output too.

        Returns:
            `input_values` and `attention_mask` for the model.
        """


def at_least(samples: torch.Tensor, number: int) -> torch.Tensor:
    """Samples `(batch_size, samples)`, padded with zeros to at least `number`."""
    missing = torch.sym_max(number - samples.shape[1], 0)
    return nn.functional.pad(samples, (0, missing))  # type: ignore[arg-type]  # a SymInt in an export
