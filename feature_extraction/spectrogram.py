# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Power spectrograms of padded batches, and mel filters."""

import math

import torch


# Number of samples in the windows that are transformed at a time on a CPU
_BLOCK_VALUES = 2**18


def power_spectrogram(
    waveforms: torch.Tensor,
    lengths: torch.Tensor,
    n_fft: int,
    hop_length: int,
    num_bins: int | None = None,
    center: bool = True,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """
    Centred short-time power spectra, where each clip is reflected at both of its ends.

    For clips of the same length this is `torchaudio.transforms.Spectrogram(n_fft, hop_length=hop_length, power=2)`.
    In a padded batch the last frames of a clip are the same as when the clip is alone.

    Args:
        waveforms: `(batch_size, samples)`, zero after the end of each clip; at least `n_fft` samples.
        lengths: `(batch_size,)`, int64, number of samples of each clip, at least `n_fft // 2 + 1`.
        n_fft: samples of a Hann window.
        hop_length: samples from one window to the next.
        num_bins: number of the lowest bins to keep. The default is all `n_fft // 2 + 1` bins.
        center: whether to reflect the clips. If not, the first window begins and the last one ends within the clip.
        dtype: dtype of the Fourier transform. Where a loud tone leaves other bins nearly silent, their powers are
            rounding errors in float32, which depend on the processor; not so in float64.

    Returns:
        float32, `(batch_size, num_bins, 1 + samples // hop_length)`. The first `1 + length // hop_length` frames of a
        clip belong to it; the frames after them have no meaning. Without `center`, `n_fft` samples fewer count.
    """
    if center:
        half = n_fft // 2
        padded = torch.nn.functional.pad(waveforms, (half, half))
        padded[:, :half] = waveforms[:, 1 : half + 1].flip(1)
        behind_end = lengths[:, None] + torch.arange(half, device=waveforms.device)
        mirrored = 2 * (lengths[:, None] - 1) - behind_end
        padded.scatter_(1, behind_end + half, waveforms.gather(1, mirrored))
        waveforms = padded
    window = torch.hann_window(n_fft, dtype=dtype, device=waveforms.device)
    frames = waveforms.unfold(1, n_fft, hop_length)
    # On a CPU in blocks, whose spectra fit into the cache
    size = frames.shape[1] if waveforms.device.type != "cpu" else max(1, _BLOCK_VALUES // (len(frames) * n_fft))
    power = [_squares(torch.fft.rfft(block * window)[..., :num_bins]) for block in frames.split(size, dim=1)]
    return torch.cat(power, dim=1).transpose(1, 2)


def _squares(spectrum: torch.Tensor) -> torch.Tensor:
    spectrum = spectrum.to(torch.complex64)
    return spectrum.real.square() + spectrum.imag.square()


def mel_filters(n_fft: int, num_mel_bins: int, sampling_rate: int) -> torch.Tensor:
    """
    Triangular filters with peaks of 1, equally spaced from 0 to half the sampling rate on the HTK mel scale,
    `mel = 2595 log10(1 + hertz / 700)`.

    Computed in float32 as `torchaudio.functional.melscale_fbanks` does. `transformers.audio_utils.mel_filter_bank`
    computes in float64: its weights at the edges of the triangles differ by up to 0.07 %, which changes the log-mel of
    pure tones.

    Returns:
        float32, `(n_fft // 2 + 1, num_mel_bins)`.
    """
    frequencies = torch.linspace(0, sampling_rate // 2, n_fft // 2 + 1)
    highest_mel = 2595 * math.log10(1 + sampling_rate / 2 / 700)
    corners = 700 * (10 ** (torch.linspace(0, highest_mel, num_mel_bins + 2) / 2595) - 1)
    distances = corners[None, :] - frequencies[:, None]
    widths = corners[1:] - corners[:-1]
    rising = -distances[:, :-2] / widths[:-1]
    falling = distances[:, 2:] / widths[1:]
    return torch.minimum(rising, falling).clamp(min=0)
