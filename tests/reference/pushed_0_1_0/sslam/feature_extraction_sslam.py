# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
# Copied from polyaudio 0.1.0. The MIT License: https://opensource.org/license/mit
"""Feature extractor of SSLAM and EAT: Kaldi's log-mel filter bank, for whole batches at once."""

import math
from typing import Any

import numpy as np
import torch
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.feature_extraction_utils import BatchFeature
from transformers.utils import PaddingStrategy, TensorType

from .saving import PortableFeatureExtractorMixin
from .waveform_input import as_mono_waveforms, check_length, check_sampling_rate


# Frames handled at a time: on a CPU as many as stay in its cache, elsewhere as many as fit well into memory.
_CPU_FRAMES_PER_BLOCK = 1024
_DEVICE_FRAMES_PER_BLOCK = 65536
# The mel filters are applied in groups of so many neighbours, which together reach only a few of the spectrum's bins.
_FILTERS_PER_GROUP = 16


def kaldi_mel_filters(num_mel_bins: int, n_fft: int, sampling_rate: int, min_frequency: float = 20.0) -> torch.Tensor:
    """
    Kaldi's triangular mel filters from `min_frequency` (Hz) to the Nyquist frequency, triangular on the mel scale.

    Returns:
        `(n_fft // 2, num_mel_bins)`, float32. The bin at the Nyquist frequency, which no filter reaches, is left out.
    """

    # In float32, as Kaldi: near a filter's edge the rounding shows, and in the logarithm it is not small.
    def mel(frequency: torch.Tensor) -> torch.Tensor:
        return 1127.0 * torch.log(1.0 + frequency / 700.0)

    bins = mel(torch.arange(n_fft // 2) * (sampling_rate / n_fft))[:, None]
    lowest, highest = (1127.0 * math.log(1.0 + frequency / 700.0) for frequency in (min_frequency, sampling_rate / 2))
    left, center, right = (
        lowest + (torch.arange(num_mel_bins) + shift) * ((highest - lowest) / (num_mel_bins + 1)) for shift in range(3)
    )
    rising = (bins - left) / (center - left)
    falling = (right - bins) / (right - center)
    return torch.minimum(rising, falling).clamp(min=0)


class SSLAMFeatureExtractor(PortableFeatureExtractorMixin, SequenceFeatureExtractor):
    r"""
    Turns mono waveforms into the normalised log-mel frames that SSLAM and EAT models read.

    A clip loses its mean. Then come, as in Kaldi with dither and energy off, frames of 25 ms every 10 ms, none beyond
    the end of the clip; in each the removal of its mean, pre-emphasis of 0.97, a Hann window, the power spectrum, the
    mel filters and the logarithm. The frames are cut or padded with zeros and, zeros included, normalised to
    `(x - mean) / (2 * std)`. A clip shorter than one window is padded with silence to one.

    Args:
        feature_size (`int`, *optional*, defaults to 128):
            Number of mel bins.
        sampling_rate (`int`, *optional*, defaults to 16000):
            Sampling rate of the audio, in Hz.
        padding_value (`float`, *optional*, defaults to 0.0):
            Value of padded frames, before normalisation.
        max_length (`int`, *optional*, defaults to 1024):
            Number of frames that clips are padded and cut to, unless a call asks for something else.
        mean (`float`, *optional*, defaults to -4.268):
            Mean of the log-mel energies of AudioSet.
        std (`float`, *optional*, defaults to 4.569):
            Their standard deviation.
        return_attention_mask (`bool`, *optional*, defaults to `False`):
            Whether to return a mask that tells real frames (1) from padding (0). Published checkpoints were trained
            without one.

    Raises:
        ValueError: for padding on the left: the model counts positions from the start of a clip.

    Example:

    ```python
    >>> import torch
    >>> from polyaudio import SSLAMFeatureExtractor

    >>> feature_extractor = SSLAMFeatureExtractor()
    >>> inputs = feature_extractor(torch.randn(16000), sampling_rate=16000, return_tensors="pt")
    >>> inputs["input_values"].shape
    torch.Size([1, 1024, 128])
    ```"""

    model_input_names = ["input_values", "attention_mask"]

    def __init__(
        self,
        feature_size: int = 128,
        sampling_rate: int = 16000,
        padding_value: float = 0.0,
        max_length: int = 1024,
        mean: float = -4.268,
        std: float = 4.569,
        return_attention_mask: bool = False,
        **kwargs,
    ):
        super().__init__(
            feature_size=feature_size,
            sampling_rate=sampling_rate,
            padding_value=padding_value,
            return_attention_mask=return_attention_mask,
            **kwargs,
        )
        if self.padding_side != "right":
            raise ValueError(f"SSLAM clips are padded on the right, got `padding_side={self.padding_side!r}`.")
        self.max_length = max_length
        self.mean = mean
        self.std = std
        self.window = torch.hann_window(self.window_length, periodic=False)
        self.mel_filters = kaldi_mel_filters(feature_size, self.n_fft, sampling_rate)
        self.filter_groups = self._group_filters()

    @property
    def window_length(self) -> int:
        """Samples of a frame."""
        return self.sampling_rate * 25 // 1000

    @property
    def hop_length(self) -> int:
        """Samples from one frame to the next."""
        return self.sampling_rate * 10 // 1000

    @property
    def n_fft(self) -> int:
        """Samples of a Fourier transform, the window's rounded up to a power of two."""
        return 2 ** (self.window_length - 1).bit_length()

    def _group_filters(self) -> list[tuple[slice, slice, torch.Tensor]]:
        """For each group of filters: its mel bins, the part of the spectrum it reaches, its weights for that part."""
        groups = []
        for first in range(0, self.feature_size, _FILTERS_PER_GROUP):
            mel_bins = slice(first, first + _FILTERS_PER_GROUP)
            reached = self.mel_filters[:, mel_bins].any(dim=1).nonzero().flatten()
            low, high = (int(reached[0]), int(reached[-1]) + 1) if len(reached) else (0, 1)
            # Squared real and imaginary parts stand next to each other in the spectrum, and both get the same weight.
            weights = self.mel_filters[low:high, mel_bins].repeat_interleave(2, dim=0)
            groups.append((mel_bins, slice(2 * low, 2 * high), weights))
        return groups

    def to_dict(self) -> dict[str, Any]:
        """The arguments of this extractor, without what `__init__` computes from them."""
        output = super().to_dict()
        for name in ("window", "mel_filters", "filter_groups"):
            output.pop(name, None)
        return output

    def _log_mel(self, waveforms: torch.Tensor, log_mel: torch.Tensor) -> None:
        """
        Compute Kaldi's log-mel energies.

        Args:
            waveforms: `(batch_size, samples)`, float32.
            log_mel: `(batch_size, num_frames, feature_size)`, float32, where they are written.
        """
        window = self.window.to(waveforms.device)
        filter_groups = [(mel, bins, weights.to(waveforms.device)) for mel, bins, weights in self.filter_groups]
        all_frames = waveforms.unfold(1, self.window_length, self.hop_length)[:, : log_mel.shape[1]]

        block = _CPU_FRAMES_PER_BLOCK if waveforms.device.type == "cpu" else _DEVICE_FRAMES_PER_BLOCK
        block = max(1, block // waveforms.shape[0])
        buffer = waveforms.new_zeros(waveforms.shape[0], min(block, log_mel.shape[1]), self.n_fft)
        for frames, energies in zip(all_frames.split(block, dim=1), log_mel.split(block, dim=1), strict=True):
            frames = frames - frames.mean(dim=-1, keepdim=True)
            padded = buffer[:, : frames.shape[1]]
            # Pre-emphasis. The first sample of a frame does not matter, because the window is zero there. Product and
            # difference are rounded one by one as in Kaldi: in bands without sound this rounding is all there is.
            torch.sub(frames[..., 1:], 0.97 * frames[..., :-1], out=padded[..., 1 : self.window_length])
            padded[..., : self.window_length] *= window
            spectrum = torch.view_as_real(torch.fft.rfft(padded)).flatten(2).square_()
            for mel_bins, bins, weights in filter_groups:
                energies[..., mel_bins] = spectrum[..., bins] @ weights
            energies.clamp_(min=torch.finfo(torch.float32).eps).log_()

    def __call__(
        self,
        raw_speech: np.ndarray
        | torch.Tensor
        | list[float]
        | list[np.ndarray]
        | list[torch.Tensor]
        | list[list[float]],
        sampling_rate: int | None = None,
        padding: bool | str | PaddingStrategy = "max_length",
        truncation: bool = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | TensorType | None = None,
        device: str | torch.device = "cpu",
    ) -> BatchFeature:
        """
        Compute the features of one clip or of a batch of clips.

        Args:
            raw_speech: one clip (1-D) or several (2-D, or a list of 1-D clips of any lengths), mono; floats in [-1, 1]
                or integer PCM.
            sampling_rate: rate of the audio, in Hz; leave it out only if you are sure of it.
            padding: `"max_length"` to pad to `max_length` frames, `True` or `"longest"` to pad to the longest clip of
                the batch, `False` or `"do_not_pad"` not to pad.
            truncation: cut clips at `max_length` frames.
            max_length: number of frames, `self.max_length` if not given.
            pad_to_multiple_of: round the length to pad (and cut) to up to a multiple of this; 16 fills whole patches.
            return_attention_mask: whether to return `attention_mask`, `self.return_attention_mask` if not given.
            return_tensors: `"pt"` for torch tensors, `"np"` (and the default) for numpy arrays.
            device: where to compute; torch tensors are left there.

        Returns:
            [`BatchFeature`] with `input_values` of shape `(batch_size, num_frames, feature_size)`, float32, and on
            request `attention_mask` of shape `(batch_size, num_frames)`, int32. Without padding, clips of different
            lengths come as lists.

        Raises:
            ValueError: for audio at another rate, empty clips, more than one channel, NaN or infinity, lengths that
                are not positive, or clips of different lengths that are asked for as one tensor without padding.
            TypeError: for what is no audio.
        """
        check_sampling_rate(sampling_rate, self.sampling_rate, type(self).__name__)
        check_length("max_length", max_length)
        check_length("pad_to_multiple_of", pad_to_multiple_of)
        clips, _ = as_mono_waveforms(raw_speech)
        max_length = self.max_length if max_length is None else max_length
        multiple = pad_to_multiple_of or 1
        max_length = -(-max_length // multiple) * multiple
        strategy = self._get_padding_strategies(padding=padding, max_length=max_length)
        if return_attention_mask is None:
            return_attention_mask = self.return_attention_mask

        num_samples = torch.tensor([len(clip) for clip in clips])
        num_frames = 1 + (num_samples.clamp(min=self.window_length) - self.window_length) // self.hop_length
        if truncation:
            num_frames = num_frames.clamp(max=max_length)
        longest = int(num_frames.max())
        if strategy == PaddingStrategy.LONGEST:
            lengths = torch.full_like(num_frames, -(-longest // multiple) * multiple)
        elif strategy == PaddingStrategy.MAX_LENGTH:
            lengths = num_frames.clamp(min=max_length)
        else:
            lengths = num_frames

        waveforms = self._to_batch(clips, num_samples.to(device))
        # Behind the frames that are computed here stands padding, or what is not asked for.
        shape = (len(clips), int(lengths.max()), self.feature_size)
        features = torch.full(shape, self.padding_value, dtype=torch.float32, device=device)
        self._log_mel(waveforms, features[:, :longest])
        mask = torch.arange(shape[1], device=device) < num_frames.to(device)[:, None]
        if num_frames.min() < longest:
            features.masked_fill_(~mask[..., None], self.padding_value)
        features.sub_(self.mean).div_(2 * self.std)

        data: dict[str, Any] = {"input_values": features}
        if return_attention_mask:
            data["attention_mask"] = mask.to(torch.int32)
        if lengths.min() < lengths.max():
            data = {name: [row[:n] for row, n in zip(rows, lengths, strict=True)] for name, rows in data.items()}
            if return_tensors is not None:
                raise ValueError(
                    f"Clips of {', '.join(map(str, lengths.tolist()))} frames do not fit into one tensor. Pad them "
                    "(`padding=True`), cut them (`truncation=True`), or leave `return_tensors` out."
                )
            return BatchFeature({name: [row.cpu().numpy() for row in rows] for name, rows in data.items()})
        if return_tensors != TensorType.PYTORCH:
            data = {name: rows.cpu().numpy() for name, rows in data.items()}
        return BatchFeature(data, tensor_type=return_tensors)

    def _to_batch(self, clips: torch.Tensor | list[torch.Tensor], num_samples: torch.Tensor) -> torch.Tensor:
        """Clips without their means, on the device of `num_samples`, zero-padded to the longest or to one window."""
        if isinstance(clips, list):
            clips = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
        waveforms = clips.to(num_samples.device)
        waveforms = waveforms - (waveforms.sum(dim=1) / num_samples)[:, None]
        if waveforms.shape[1] < self.window_length:
            waveforms = torch.nn.functional.pad(waveforms, (0, self.window_length - waveforms.shape[1]))
        behind_end = torch.arange(self.window_length, device=waveforms.device) >= num_samples[:, None]
        waveforms[:, : self.window_length].masked_fill_(behind_end, 0.0)
        return waveforms


__all__ = ["SSLAMFeatureExtractor"]
