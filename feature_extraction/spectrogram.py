# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Power spectrograms of padded batches in which every clip is treated as if it stood alone."""

import torch


def power_spectrogram(waveforms: torch.Tensor, lengths: torch.Tensor, n_fft: int, hop_length: int) -> torch.Tensor:
    """
    Short-time power spectra, centred, with each clip reflected at its own two ends.

    On clips of one length this is `torchaudio.transforms.Spectrogram(n_fft, hop_length=hop_length, power=2)`. In a
    padded batch a clip's last frames are the same as if it stood alone, which zero padding would change.

    Args:
        waveforms: `(batch_size, samples)`, zero behind the end of each clip; at least `n_fft` samples.
        lengths: `(batch_size,)`, int64, samples of each clip, at least `n_fft // 2 + 1`.
        n_fft: samples of a (Hann) window.
        hop_length: samples from one window to the next.

    Returns:
        `(batch_size, n_fft // 2 + 1, 1 + samples // hop_length)`. The first `1 + length // hop_length` frames of a
        clip are its own; what stands behind them has no meaning.
    """
    half = n_fft // 2
    padded = torch.nn.functional.pad(waveforms, (half, half))
    padded[:, :half] = waveforms[:, 1 : half + 1].flip(1)
    behind_end = lengths[:, None] + torch.arange(half, device=waveforms.device)
    mirrored = 2 * (lengths[:, None] - 1) - behind_end
    padded.scatter_(1, behind_end + half, waveforms.gather(1, mirrored))
    window = torch.hann_window(n_fft, device=waveforms.device)
    spectrum = torch.stft(padded, n_fft, hop_length, window=window, center=False, return_complex=True)
    real_and_imaginary = torch.view_as_real(spectrum)
    return real_and_imaginary.square().sum(-1)
