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
    The power spectrum of a window times frames, in float32.

    Args:
        window: `(n_fft,)`.
        num_bins: number of the lowest bins to compute. The default is all `n_fft // 2 + 1` bins.
    """

    window: torch.Tensor
    inner: torch.Tensor
    outer: torch.Tensor

    def __init__(self, window: torch.Tensor, num_bins: int | None = None):
        super().__init__()
        n_fft = len(window)
        self.num_bins = n_fft // 2 + 1 if num_bins is None else num_bins
        # n_fft = rows * columns. The sum over the rows comes first, that over the columns second.
        self.columns = _divisor_near_root(n_fft)
        self.rows = n_fft // self.columns
        for name, values in self._factors(window).items():
            self.register_buffer(name, values.float().contiguous(), persistent=False)  # as ExecuTorch wants constants

    def _factors(self, window: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        The window, and the matrices of both sums: `inner` `(rows, 2 * rows)` and `outer` `(rows, 2 * columns,
        2 * high)`.
        """
        row, column = torch.arange(self.rows), torch.arange(self.columns)
        inner = _turns(row[:, None] * row, self.rows)
        # Bin `low + rows * high`, for each `low`, from the sums of its columns
        high = torch.arange(-(-self.num_bins // self.rows))
        bins = row[:, None] + self.rows * high
        outer = _turns(column[None, :, None] * bins[:, None, :], self.rows * self.columns)
        outer = torch.cat(
            [torch.cat([outer.real, outer.imag], dim=2), torch.cat([-outer.imag, outer.real], dim=2)], dim=1
        )
        return {"window": window, "inner": torch.cat([inner.real, inner.imag], dim=1), "outer": outer}

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """
        Args:
            frames: `(batch_size, frames, n_fft)`, float32.

        Returns:
            float32, `(batch_size, frames, num_bins)`.
        """
        spectrum = self._spectrum(frames.flatten(0, 1)).unflatten(2, (2, -1))
        power = spectrum.square().sum(2)  # (rows, all frames, high)
        return power.permute(1, 2, 0).flatten(1)[:, : self.num_bins].unflatten(0, frames.shape[:2])

    def _spectrum(self, frames: torch.Tensor) -> torch.Tensor:
        """
        The spectrum of frames `(all frames, n_fft)`: the real and then the imaginary parts of the bins,
        `(rows, all frames, 2 * high)`.
        """
        return self._by_row(self._by_column(frames * self.window) @ self.inner) @ self.outer

    def _by_column(self, frames: torch.Tensor) -> torch.Tensor:
        """`(all frames, n_fft)` as `(columns, all frames, rows)`."""
        return frames.unflatten(1, (self.rows, self.columns)).permute(2, 0, 1)

    def _by_row(self, sums: torch.Tensor) -> torch.Tensor:
        """`(columns, all frames, 2 * rows)` as `(rows, all frames, 2 * columns)`."""
        return sums.unflatten(2, (2, self.rows)).permute(3, 1, 2, 0).flatten(2)


class PreciseFourierPower(FourierPower):
    """
    The power spectrum of a window times frames: in float32, with errors far below those of float32.

    Each product of matrices is three, after Ozaki et al., "Error-free transformations of matrix multiplication", 2012.
    Both factors are rounded to 8 bits. The sums of the products of rounded numbers fit into the 24 bits of float32, so
    they have no error. What rounding left is at most 2 ** -8 as large, and so are the errors of its products. This
    holds for samples up to 1; louder ones get the errors of float32.

    Args:
        window: `(n_fft,)`, float64, at most 1.
        num_bins: number of the lowest bins to compute. The default is all `n_fft // 2 + 1` bins.
    """

    inner_rounded: torch.Tensor
    inner_left: torch.Tensor
    outer_rounded: torch.Tensor
    outer_left: torch.Tensor

    def __init__(self, window: torch.Tensor, num_bins: int | None = None):
        super().__init__(window, num_bins)
        # The sums over the rows are at most this, a power of two
        self.largest_sum = 2.0 ** math.ceil(math.log2(self.rows))

    def _factors(self, window: torch.Tensor) -> dict[str, torch.Tensor]:
        factors = super()._factors(window)
        # Times the window: `(columns, rows, 2 * rows)`
        factors["inner"] = self._by_column(factors.pop("window")[None]).transpose(1, 2) * factors["inner"]
        for name in ("inner", "outer"):
            factors[f"{name}_rounded"] = _rounded(factors[name], 1.0)
            factors[f"{name}_left"] = factors[name] - factors[f"{name}_rounded"]
        return factors

    def _spectrum(self, frames: torch.Tensor) -> torch.Tensor:
        grid = self._by_column(frames)
        rounded = _rounded(grid, 1.0)
        sums = self._by_row(rounded @ self.inner_rounded)
        left_of_sums = self._by_row(rounded @ self.inner_left + (grid - rounded) @ self.inner)
        rounded = _rounded(sums, self.largest_sum)
        left = rounded @ self.outer_left + (sums - rounded + left_of_sums) @ self.outer
        return rounded @ self.outer_rounded + left


def _rounded(values: torch.Tensor, largest: float) -> torch.Tensor:
    """Values up to a power of two, rounded to 8 bits."""
    step = largest / 2**8
    return torch.round(values / step) * step


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
        precise: whether the power of bins that are nearly silent beside a loud tone matters.
    """

    def __init__(self, n_fft: int, hop_length: int, num_bins: int | None = None, precise: bool = False):
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        power = PreciseFourierPower if precise else FourierPower
        self.power = power(torch.hann_window(n_fft, dtype=torch.float64), num_bins)

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
        return self.power(frames)


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
