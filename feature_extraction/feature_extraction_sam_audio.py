# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Feature extractor of SAMAudio: log-mel frames, tonic-relative pitch or the waveform itself, over whole batches."""

from typing import Any

import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.utils import PaddingStrategy, TensorType

from ..configuration.configuration_sam_audio import FRONTENDS, PADDING_VALUES
from ..integration.limits import check_sizes
from ..integration.saving import PortableFeatureExtractorMixin
from .batch_output import as_batch_feature
from .padding import PaddingMixin, frames_to_hear
from .spectrogram import mel_filters, power_spectrogram
from .tonic_chroma import TonicChroma
from .waveform_input import RawSpeech, as_mono_waveforms, check_length, check_sampling_rate


# Samples of a window, and samples from one window to the next
_FRAMES = {"log_mel": (1024, 256), "tonic_chroma": (4096, 640), "waveform": (1, 1)}

# The original adds it to the mel energies before the logarithm
MEL_FLOOR = 1e-8

# Number of samples that are computed at a time on a CPU, where the spectra fit into the cache
_BLOCK_SAMPLES = 2**18


class SAMAudioFeatureExtractor(PortableFeatureExtractorMixin, PaddingMixin):
    r"""
    Turns mono waveforms into the input of a SAMAudio model.

    Args:
        frontend (`str`, *optional*, defaults to `"log_mel"`):
            - `"log_mel"`: `log(mel + 1e-8)` of the power spectrum on torchaudio's (HTK) mel scale, as in the original.
            - `"tonic_chroma"`: pitch classes relative to the tonic, which is given or estimated from the clip.
            - `"waveform"`: the samples themselves.
        feature_size (`int`, *optional*):
            Number of values in a frame: mel bins (80 by default), pitch classes of an octave (36 by default), or 1 for
            a waveform.
        sampling_rate (`int`, *optional*, defaults to 16000):
            Sampling rate of the audio, in Hz.
        padding_value (`float`, *optional*):
            Value of padding frames. The default is just below silence, so that models recognise padding without an
            `attention_mask`: -18.5 for `"log_mel"` and -1 for `"tonic_chroma"`. For `"waveform"` it is 0.
        n_fft (`int`, *optional*):
            Samples of a window: 1024 by default for `"log_mel"`, 4096 for `"tonic_chroma"`.
        hop_length (`int`, *optional*):
            Samples from one window to the next: 256 by default for `"log_mel"`, 640 for `"tonic_chroma"`.
        return_attention_mask (`bool`, *optional*, defaults to `True`):
            Whether calls return `attention_mask` by default.

    Raises:
        ValueError: `frontend` is unknown, `feature_size` does not fit it, a size is outside `SIZES` in
            `integration/limits.py`, or `padding_side` is not `"right"`.

    Example:

    ```python
    >>> import torch
    >>> from polyaudio import SAMAudioFeatureExtractor

    >>> feature_extractor = SAMAudioFeatureExtractor()
    >>> inputs = feature_extractor(torch.randn(16000), sampling_rate=16000, return_tensors="pt")
    >>> inputs["input_values"].shape
    torch.Size([1, 63, 80])
    ```"""

    model_input_names = ["input_values", "attention_mask"]

    def __init__(
        self,
        frontend: str = "log_mel",
        feature_size: int | None = None,
        sampling_rate: int = 16000,
        padding_value: float | None = None,
        n_fft: int | None = None,
        hop_length: int | None = None,
        return_attention_mask: bool = True,
        **kwargs,
    ):
        if frontend not in _FRAMES:
            raise ValueError(f"`frontend` must be one of {', '.join(map(repr, _FRAMES))}, got {frontend!r}.")
        if feature_size is None:
            feature_size = FRONTENDS[frontend]
        if padding_value is None:
            padding_value = PADDING_VALUES[frontend] or 0.0
        n_fft = _FRAMES[frontend][0] if n_fft is None else n_fft
        hop_length = _FRAMES[frontend][1] if hop_length is None else hop_length
        check_sizes(
            {"feature_size": feature_size, "sampling_rate": sampling_rate, "n_fft": n_fft, "hop_length": hop_length}
            | {"padding_value": padding_value}
        )
        super().__init__(
            feature_size=feature_size,
            sampling_rate=sampling_rate,
            padding_value=padding_value,
            return_attention_mask=return_attention_mask,
            **kwargs,
        )
        if self.padding_side != "right":
            raise ValueError(f"`padding_side` must be 'right', got {self.padding_side!r}.")
        self.frontend = frontend
        self.n_fft = n_fft
        self.hop_length = hop_length
        if frontend == "log_mel":
            self.mel_filters = mel_filters(self.n_fft, feature_size, sampling_rate)
        elif frontend == "tonic_chroma":
            self.tonic_chroma = TonicChroma(
                sampling_rate, n_fft=self.n_fft, hop_length=self.hop_length, bins_per_octave=feature_size
            )
        elif feature_size != 1:
            raise ValueError(f"`frontend='waveform'` has `feature_size=1`, got {feature_size}.")

    def __call__(
        self,
        raw_speech: RawSpeech,
        sampling_rate: int | None = None,
        padding: bool | str | PaddingStrategy = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | TensorType | None = None,
        device: str | torch.device = "cpu",
        tonic=None,
        center: bool = True,
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
            padding (`bool`, `str` or [`~utils.PaddingStrategy`], *optional*, defaults to `True`):
                `"max_length"` pads to `max_length` samples, `True` or `"longest"` to the longest clip of the batch,
                `False` or `"do_not_pad"` not at all.
            max_length (`int`, *optional*):
                Number of samples to pad and cut to.
            truncation (`bool`, *optional*, defaults to `False`):
                Whether to cut clips to `max_length` samples.
            pad_to_multiple_of (`int`, *optional*):
                Round the number of samples to pad to up to a multiple of this.
            return_attention_mask (`bool`, *optional*):
                Whether to return `attention_mask`. The default is `self.return_attention_mask`.
            return_tensors (`str` or [`~utils.TensorType`], *optional*):
                `"pt"` for torch tensors, `"np"` for numpy arrays. By default lists with one numpy array for each clip.
            device (`str` or `torch.device`, *optional*, defaults to `"cpu"`):
                Where the features are computed. Torch tensors stay there.
            tonic (`float` or a sequence of `float`, *optional*):
                Tonic of the clips in Hz, one number or one for each clip, for `frontend="tonic_chroma"` only. Where it
                is not given or NaN, it is estimated.
            center (`bool`, *optional*, defaults to `True`):
                Whether to reflect the clips at both ends, so that a frame is centred on each multiple of
                `hop_length`. With `False`, a clip is a part of a recording with half of `n_fft` samples more at
                either end, and gets the frames of the recording: `1 + (samples - n_fft) // hop_length`. For
                `frontend="tonic_chroma"` only `True`, because all its frames depend on the whole clip.
            kwargs:
                Ignored, as by the extractors of transformers.

        Returns:
            [`BatchFeature`] with
            - `input_values`: float32, `(batch_size, frames, feature_size)`, or `(batch_size, samples)` for a waveform.
              A clip has `1 + samples // hop_length` frames.
            - `attention_mask` (if asked for): int32, `(batch_size, frames)` or `(batch_size, samples)`, 1 for the clip
              and 0 for padding.
            - `tonic` (`frontend="tonic_chroma"` only): float32, `(batch_size,)`, the tonic of each clip in Hz.
            - `tonic_confidence` (`frontend="tonic_chroma"` only): float32, `(batch_size,)`, the confidence of the
              estimate from 0 to 1, or 1 for a given tonic.

        Raises:
            ValueError: an empty batch or clip, NaN or infinity, more than one channel, another sampling rate, a length
                that is not positive, clips of different lengths with `return_tensors` but without padding, or a tonic
                that does not fit.
            TypeError: the input is not audio.
        """
        check_sampling_rate(sampling_rate, self.sampling_rate, self.__class__.__name__)
        check_length("max_length", max_length)
        check_length("pad_to_multiple_of", pad_to_multiple_of)
        if tonic is not None and self.frontend != "tonic_chroma":
            raise ValueError(f"`tonic` belongs only to 'tonic_chroma', this extractor has frontend={self.frontend!r}.")
        if not center and self.frontend == "tonic_chroma":
            raise ValueError("`center=False` does not go with 'tonic_chroma', whose frames depend on the whole clip.")
        if truncation and max_length is None:
            raise ValueError("`truncation=True` needs `max_length`, the number of samples to cut clips to.")
        padding_strategy = self._get_padding_strategies(padding=padding, max_length=max_length)

        clips, _ = as_mono_waveforms(raw_speech)
        if truncation:
            clips = clips[:, :max_length] if isinstance(clips, torch.Tensor) else [clip[:max_length] for clip in clips]
        sizes = [max(len(clip), self.n_fft) for clip in clips]
        longest = max(sizes)
        if padding_strategy == PaddingStrategy.MAX_LENGTH and max_length is not None:
            longest = max(longest, max_length)
        if pad_to_multiple_of is not None:
            longest += -longest % pad_to_multiple_of
        waveforms = _stack(clips, longest).to(device)
        lengths = torch.tensor(sizes, device=device)

        features = self._extract(waveforms, lengths, tonic, center)
        input_values = features["input_values"]
        num_frames = lengths
        if self.frontend != "waveform":
            num_frames = 1 + (lengths if center else lengths - self.n_fft) // self.hop_length
        attention_mask = torch.arange(input_values.shape[1], device=device) < num_frames[:, None]
        if min(sizes) < longest:
            behind_end = ~attention_mask if input_values.ndim == 2 else ~attention_mask[:, :, None]
            input_values.masked_fill_(behind_end, self.padding_value)
        if return_attention_mask if return_attention_mask is not None else self.return_attention_mask:
            features["attention_mask"] = attention_mask.to(torch.int32)

        is_padded = padding_strategy != PaddingStrategy.DO_NOT_PAD
        row_lengths = [input_values.shape[1]] * len(clips) if is_padded else num_frames.tolist()
        return as_batch_feature(features, row_lengths, return_tensors)

    def _extract(self, waveforms: torch.Tensor, lengths: torch.Tensor, tonic, center: bool) -> dict[str, torch.Tensor]:
        if self.frontend == "waveform":
            return {"input_values": waveforms}
        tonic = torch.as_tensor(float("nan") if tonic is None else tonic, dtype=torch.float32, device=waveforms.device)
        if tonic.ndim > 1 or tonic.numel() not in (1, len(waveforms)):
            raise ValueError(
                f"`tonic` must be one number or one for each of the {len(waveforms)} clips, got the shape "
                f"{tuple(tonic.shape)}."
            )
        tonic = tonic.expand(len(waveforms))
        # In blocks a batch takes a third to a half of the time on a CPU
        clips = len(waveforms) if waveforms.device.type != "cpu" else max(1, _BLOCK_SAMPLES // waveforms.shape[1])
        blocks = zip(waveforms.split(clips), lengths.split(clips), tonic.split(clips), strict=True)
        features = [self._extract_block(*block, center) for block in blocks]
        return {name: torch.cat([block[name] for block in features]) for name in features[0]}

    def _extract_block(
        self, waveforms: torch.Tensor, lengths: torch.Tensor, tonic: torch.Tensor, center: bool
    ) -> dict[str, torch.Tensor]:
        if self.frontend == "log_mel":
            power = power_spectrogram(waveforms, lengths, self.n_fft, self.hop_length, center=center)
            mel = power.transpose(1, 2) @ self.mel_filters.to(power)
            return {"input_values": mel.add_(MEL_FLOOR).log_()}
        input_values, tonic, confidence = self.tonic_chroma(waveforms, lengths, tonic)
        return {"input_values": input_values, "tonic": tonic, "tonic_confidence": confidence}

    def infer_attention_mask(self, input_values: torch.Tensor) -> torch.Tensor | None:
        """
        The `attention_mask` of padded features `(batch_size, frames, feature_size)`, bool. `None` for waveforms, in
        which padding and silence are the same.
        """
        return None if self.frontend == "waveform" else frames_to_hear(input_values, self.padding_value)

    def to_dict(self) -> dict[str, Any]:
        """The settings of the extractor, without the filters that `__init__` computes from them."""
        output = super().to_dict()
        output.pop("mel_filters", None)
        output.pop("tonic_chroma", None)
        return output


def _stack(clips: list[torch.Tensor] | torch.Tensor, samples: int) -> torch.Tensor:
    """The clips as one tensor `(batch_size, samples)`, padded with zeros."""
    if not isinstance(clips, torch.Tensor):
        clips = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    return torch.nn.functional.pad(clips, (0, samples - clips.shape[1]))


__all__ = ["SAMAudioFeatureExtractor"]
