# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Feature extractor of SSLAM and EAT: Kaldi's log-mel filter bank over whole batches."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.utils import PaddingStrategy, TensorType

from ..integration.limits import check_sizes
from ..integration.saving import PortableFeatureExtractorMixin
from .batch_output import as_batch_feature
from .padding import PaddingMixin, frames_to_hear
from .waveform_input import RawSpeech, as_mono_waveforms, check_length, check_sampling_rate


# Number of frames that are computed at a time: on a CPU they fit into its cache, elsewhere into memory
_CPU_FRAMES_PER_BLOCK = 1024
_DEVICE_FRAMES_PER_BLOCK = 65536
# Neighbouring filters are applied together, because a group of them covers only a few bins of the spectrum
_FILTERS_PER_GROUP = 16


def kaldi_mel_filters(num_mel_bins: int, n_fft: int, sampling_rate: int, min_frequency: float = 20.0) -> torch.Tensor:
    """
    Kaldi's mel filters from `min_frequency` (Hz) to the Nyquist frequency. They are triangular on the mel scale.

    Returns:
        `(n_fft // 2, num_mel_bins)`, float32. The bin at the Nyquist frequency is left out: no filter reaches it.
    """

    # In float32 as in Kaldi: the rounding at the edges of the filters is not small in the logarithm
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


class SSLAMFeatureExtractor(PortableFeatureExtractorMixin, PaddingMixin):
    r"""
    Turns mono waveforms into the normalised log-mel frames that SSLAM and EAT models read.

    The steps are those of Kaldi without dither and energy. The mean of the clip is removed. Frames of 25 ms start
    every 10 ms and end within the clip. Each frame goes through removal of its mean, pre-emphasis of 0.97, a Hann
    window, the power spectrum, the mel filters, the logarithm and normalisation to `(x - mean) / (2 * std)`. A clip
    shorter than a window is padded with zeros to one window. Clips stay whole: the classifiers cut long inputs into
    windows themselves.

    Args:
        feature_size (`int`, *optional*, defaults to 128):
            Number of mel bins.
        sampling_rate (`int`, *optional*, defaults to 16000):
            Sampling rate of the audio, in Hz.
        padding_value (`float`, *optional*):
            Value of padding frames. The default is `-mean / (2 * std)`, a log-mel energy of 0, with which the original
            pads.
        max_length (`int`, *optional*, defaults to 1024):
            Number of frames to which `padding="max_length"` pads shorter clips.
        mean (`float`, *optional*, defaults to -4.268):
            Mean of the log-mel energies of AudioSet.
        std (`float`, *optional*, defaults to 4.569):
            Standard deviation of the log-mel energies of AudioSet.
        mask_padding (`bool`, *optional*, defaults to `False`):
            Whether the model ignores all padding. If not, it hears the padding up to `max_length` as part of the clip:
            the published checkpoints were trained on clips padded to 1024 frames.
        return_attention_mask (`bool`, *optional*, defaults to `True`):
            Whether calls return `attention_mask` by default.

    Raises:
        ValueError: a size, `mean` or `std` is outside `SIZES` in `integration/limits.py`, or `padding_side` is not
            `"right"`.

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
        padding_value: float | None = None,
        max_length: int = 1024,
        mean: float = -4.268,
        std: float = 4.569,
        mask_padding: bool = False,
        return_attention_mask: bool = True,
        **kwargs,
    ):
        check_sizes({"feature_size": feature_size, "sampling_rate": sampling_rate, "max_length": max_length})
        check_sizes({"mean": mean, "std": std, "padding_value": padding_value})
        super().__init__(
            feature_size=feature_size,
            sampling_rate=sampling_rate,
            padding_value=-mean / (2 * std) if padding_value is None else padding_value,
            return_attention_mask=return_attention_mask,
            **kwargs,
        )
        if self.padding_side != "right":
            raise ValueError(f"`padding_side` must be 'right', got {self.padding_side!r}.")
        self.max_length = max_length
        self.mean = mean
        self.std = std
        self.mask_padding = mask_padding
        self.window = torch.hann_window(self.window_length, periodic=False)
        self.mel_filters = kaldi_mel_filters(feature_size, self.n_fft, sampling_rate)
        self.filter_groups = self._group_filters()

    @classmethod
    def from_dict(cls, feature_extractor_dict: dict[str, Any], **kwargs):
        """
        Build an extractor from the content of a `preprocessor_config.json`.

        Files of polyaudio 0.1.0 have no `mask_padding`. There, `return_attention_mask` says whether padding is masked,
        and `padding_value` is the value before normalisation.
        """
        settings = {**feature_extractor_dict}
        check_sizes(settings)
        if "mask_padding" not in settings:
            settings["mask_padding"] = settings.pop("return_attention_mask", False)
            before = settings.pop("padding_value", None) or 0.0
            mean, std = settings.get("mean", -4.268), settings.get("std", 4.569)
            settings["padding_value"] = (before - mean) / (2 * std)
        return super().from_dict(settings, **kwargs)

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
        """For each group of filters: its mel bins, the part of the spectrum that it covers, its weights there."""
        groups = []
        for first in range(0, self.feature_size, _FILTERS_PER_GROUP):
            mel_bins = slice(first, first + _FILTERS_PER_GROUP)
            reached = self.mel_filters[:, mel_bins].any(dim=1).nonzero().flatten()
            low, high = (int(reached[0]), int(reached[-1]) + 1) if len(reached) else (0, 1)
            # The squared real and imaginary parts of a bin are neighbours in the spectrum and get the same weight
            weights = self.mel_filters[low:high, mel_bins].repeat_interleave(2, dim=0)
            groups.append((mel_bins, slice(2 * low, 2 * high), weights))
        return groups

    def to_dict(self) -> dict[str, Any]:
        """The settings of the extractor, without the filters that `__init__` computes from them."""
        output = super().to_dict()
        for name in ("window", "mel_filters", "filter_groups"):
            output.pop(name, None)
        return output

    def _log_mel(self, waveforms: torch.Tensor, log_mel: torch.Tensor) -> None:
        """
        Compute Kaldi's log-mel energies.

        Args:
            waveforms: `(batch_size, samples)`, float32.
            log_mel: `(batch_size, num_frames, feature_size)`, float32; the output is written into it.
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
            # difference are rounded separately as in Kaldi: bands without sound contain nothing but this rounding.
            torch.sub(frames[..., 1:], 0.97 * frames[..., :-1], out=padded[..., 1 : self.window_length])
            padded[..., : self.window_length] *= window
            spectrum = torch.view_as_real(torch.fft.rfft(padded)).flatten(2).square_()
            for mel_bins, bins, weights in filter_groups:
                energies[..., mel_bins] = spectrum[..., bins] @ weights
            energies.clamp_(min=torch.finfo(torch.float32).eps).log_()

    def __call__(
        self,
        raw_speech: RawSpeech,
        sampling_rate: int | None = None,
        padding: bool | str | PaddingStrategy | None = None,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | TensorType | None = None,
        device: str | torch.device = "cpu",
        mask_padding: bool | Sequence[bool] | None = None,
        **kwargs,
    ) -> BatchFeature:
        r"""
        Compute the features of a clip or of a batch of clips.

        Args:
            raw_speech (`np.ndarray`, `torch.Tensor`, `list[float]` or a list of those):
                One mono clip of shape `(samples,)`, or a batch of mono clips: an array of shape
                `(batch_size, samples)` or a list of clips of any lengths. Floats in [-1, 1], or 8, 16 or 32 bit
                integer PCM. A clip shorter than a window is padded with zeros to one window.
            sampling_rate (`int`, *optional*):
                Sampling rate of `raw_speech` in Hz. It must be the rate of the extractor; a warning asks for it.
            padding (`bool`, `str` or [`~utils.PaddingStrategy`], *optional*):
                `"max_length"` pads to `max_length` frames or to the longest clip of the batch if that is longer,
                `True` or `"longest"` to the longest clip of the batch, `False` or `"do_not_pad"` not at all. The
                default is `"longest"` if `self.mask_padding`, and otherwise `"max_length"`.
            max_length (`int`, *optional*):
                Number of frames to pad and cut to. The default is `self.max_length`.
            truncation (`bool`, *optional*, defaults to `False`):
                Whether to cut clips to `max_length` frames.
            pad_to_multiple_of (`int`, *optional*):
                Round the number of frames to pad and cut to up to a multiple of this. 16 fills whole patches.
            return_attention_mask (`bool`, *optional*):
                Whether to return `attention_mask`. The default is `self.return_attention_mask`.
            return_tensors (`str` or [`~utils.TensorType`], *optional*):
                `"pt"` for torch tensors, `"np"` for numpy arrays. By default lists with one numpy array for each clip.
            device (`str` or `torch.device`, *optional*, defaults to `"cpu"`):
                Where the features are computed. Torch tensors stay there.
            mask_padding (`bool` or a sequence of `bool`, *optional*):
                Whether `attention_mask` hides the padding up to `max_length` too, for all clips or for each clip. The
                default is `self.mask_padding`.
            kwargs:
                Ignored, as by the extractors of transformers.

        Returns:
            [`BatchFeature`] with
            - `input_values`: float32, `(batch_size, num_frames, feature_size)`,
            - `attention_mask` (unless switched off): int32, `(batch_size, num_frames)`, 1 for frames that the model is
              to hear: those of the clip and, with `padding="max_length"` and without `mask_padding`, the padding up to
              `max_length`. 0 for other padding.

        Raises:
            ValueError: an empty batch or clip, NaN or infinity, more than one channel, another sampling rate, a length
                that is not positive, clips of different lengths with `return_tensors` but without padding.
            TypeError: the input is not audio.
        """
        check_sampling_rate(sampling_rate, self.sampling_rate, type(self).__name__)
        check_length("max_length", max_length)
        check_length("pad_to_multiple_of", pad_to_multiple_of)
        clips, _ = as_mono_waveforms(raw_speech)
        max_length = self.max_length if max_length is None else max_length
        multiple = pad_to_multiple_of or 1
        max_length = -(-max_length // multiple) * multiple
        if padding is None:
            padding = "longest" if self.mask_padding else "max_length"
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
            lengths = torch.full_like(num_frames, -(-max(longest, max_length) // multiple) * multiple)
        else:
            lengths = num_frames

        waveforms = self._to_batch(clips, num_samples.to(device))
        # The computed frames come first, then padding
        shape = (len(clips), int(lengths.max()), self.feature_size)
        features = torch.full(shape, self.padding_value, dtype=torch.float32, device=device)
        self._log_mel(waveforms, features[:, :longest])
        features[:, :longest].sub_(self.mean).div_(2 * self.std)
        frames = torch.arange(shape[1], device=device)
        if num_frames.min() < longest:
            features.masked_fill_((frames >= num_frames.to(device)[:, None])[..., None], self.padding_value)

        batch = {"input_values": features}
        if return_attention_mask:
            heard = num_frames
            if strategy == PaddingStrategy.MAX_LENGTH:
                is_masked = torch.as_tensor(self.mask_padding if mask_padding is None else mask_padding)
                heard = torch.where(is_masked, num_frames, num_frames.clamp(min=max_length))
            batch["attention_mask"] = (frames < heard.to(device)[:, None]).to(torch.int32)
        return as_batch_feature(batch, lengths.tolist(), return_tensors)

    def infer_attention_mask(self, input_values: torch.Tensor) -> torch.Tensor:
        """The `attention_mask` of padded features `(batch_size, num_frames, feature_size)`, bool."""
        return frames_to_hear(input_values, self.padding_value, None if self.mask_padding else self.max_length)

    def _to_batch(self, clips: torch.Tensor | list[torch.Tensor], num_samples: torch.Tensor) -> torch.Tensor:
        """The clips without their means, on the device of `num_samples`, padded with zeros, at least to one window."""
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
