# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
# Copied from polyaudio 0.1.0. The MIT License: https://opensource.org/license/mit
"""Feature extractor class for SAMAudio"""

from typing import Any

import torch
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.utils import PaddingStrategy, TensorType

from .saving import PortableFeatureExtractorMixin
from .spectrogram import mel_filters, power_spectrogram
from .tonic_chroma import TonicChroma
from .waveform_input import as_mono_waveforms, check_length, check_sampling_rate


# Samples of a window and from one window to the next
_FRAMES = {"log_mel": (1024, 256), "tonic_chroma": (4096, 640), "waveform": (1, 1)}

_BLOCK_SAMPLES = 2**20


class SAMAudioFeatureExtractor(PortableFeatureExtractorMixin, SequenceFeatureExtractor):
    r"""
    Turns audio into what a SAMAudio model takes, whole batches at once, on any device.

    Args:
        frontend (`str`, *optional*, defaults to `"log_mel"`):
            - `"log_mel"`: `log(mel + 1e-8)` of the power spectrum on torchaudio's (HTK) mel scale, as the original.
            - `"tonic_chroma"`: pitch classes relative to the tonic, which is estimated from the clip or given.
            - `"waveform"`: the samples themselves.
        feature_size (`int`, *optional*):
            Values in a frame: mel bins (80 by default) or pitch classes an octave (36 by default); 1 for a waveform.
        sampling_rate (`int`, *optional*, defaults to 16000):
            Rate of the audio in hertz.
        padding_value (`float`, *optional*, defaults to 0.0):
            Value of the frames behind the end of a clip.
        n_fft (`int`, *optional*):
            Samples of a window: 1024 by default for `"log_mel"`, 4096 for `"tonic_chroma"`.
        hop_length (`int`, *optional*):
            Samples from one window to the next: 256 by default for `"log_mel"`, 640 for `"tonic_chroma"`.
        return_attention_mask (`bool`, *optional*, defaults to `True`):
            Whether calls return the mask by default.
    """

    model_input_names = ["input_values", "attention_mask"]

    def __init__(
        self,
        frontend: str = "log_mel",
        feature_size: int | None = None,
        sampling_rate: int = 16000,
        padding_value: float = 0.0,
        n_fft: int | None = None,
        hop_length: int | None = None,
        return_attention_mask: bool = True,
        **kwargs,
    ):
        if frontend not in _FRAMES:
            raise ValueError(f"frontend must be one of {', '.join(map(repr, _FRAMES))}, not {frontend!r}.")
        if kwargs.get("padding_side", "right") != "right":
            raise ValueError("A SAMAudio model expects padding behind a clip: padding_side must be 'right'.")
        if feature_size is None:
            feature_size = {"log_mel": 80, "tonic_chroma": 36, "waveform": 1}[frontend]
        super().__init__(
            feature_size=feature_size,
            sampling_rate=sampling_rate,
            padding_value=padding_value,
            return_attention_mask=return_attention_mask,
            **kwargs,
        )
        self.frontend = frontend
        self.n_fft = n_fft or _FRAMES[frontend][0]
        self.hop_length = hop_length or _FRAMES[frontend][1]
        if frontend == "log_mel":
            self.mel_filters = mel_filters(self.n_fft, feature_size, sampling_rate)
        elif frontend == "tonic_chroma":
            self.tonic_chroma = TonicChroma(
                sampling_rate, n_fft=self.n_fft, hop_length=self.hop_length, bins_per_octave=feature_size
            )
        elif feature_size != 1:
            raise ValueError(f"frontend='waveform' has feature_size=1, not {feature_size}.")

    def __call__(
        self,
        raw_speech,
        sampling_rate: int | None = None,
        padding: bool | str | PaddingStrategy = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | TensorType | None = None,
        device: str | torch.device = "cpu",
        tonic=None,
    ) -> BatchFeature:
        r"""
        Args:
            raw_speech (`np.ndarray`, `torch.Tensor`, `list[float]` or a list of those):
                One mono clip of shape `(samples,)`, or a batch of clips of any lengths. Floats in [-1, 1], or 8, 16 or
                32 bit integer PCM. Clips shorter than a window are zero-padded to one window.
            sampling_rate (`int`, *optional*):
                Rate of `raw_speech`; must be the extractor's.
            padding (`bool`, `str` or [`~utils.PaddingStrategy`], *optional*, defaults to `True`):
                `True` or `"longest"`, `"max_length"`, or `False` for a list of clips of their own lengths.
            max_length, pad_to_multiple_of (`int`, *optional*):
                Lengths in samples.
            truncation (`bool`, *optional*, defaults to `False`):
                Cut clips to `max_length`.
            return_attention_mask (`bool`, *optional*):
                Whether to return the mask; by default as the extractor was set up.
            return_tensors (`str` or [`~utils.TensorType`], *optional*):
                `"pt"` or `"np"`; by default lists of numpy arrays.
            device (`str` or `torch.device`, *optional*, defaults to `"cpu"`):
                Where the features are computed.
            tonic (`float` or a sequence of `float`, *optional*):
                Tonic of each clip in hertz, for `frontend="tonic_chroma"`; estimated where it is not given or NaN.

        Returns:
            [`BatchFeature`] with
            - `input_values`: float32, `(batch_size, frames, feature_size)`, or `(batch_size, samples)` for a waveform;
              a clip has `1 + samples // hop_length` frames,
            - `attention_mask`: int64, `(batch_size, frames)` or `(batch_size, samples)`, 1 for the clip's own,
            - `tonic` and `tonic_confidence` (`frontend="tonic_chroma"` only): float32, `(batch_size,)`, the tonic in
              hertz that the clip was related to, and how sure its estimate is, from 0 to 1 (1 where it was given).

        Raises:
            ValueError: for an empty batch or clip, NaN or infinity, more than one channel, another sampling rate,
                lengths that are not positive, or tonics that are not one a clip.
            TypeError: for what is no audio.
        """
        check_sampling_rate(sampling_rate, self.sampling_rate, self.__class__.__name__)
        check_length("max_length", max_length)
        check_length("pad_to_multiple_of", pad_to_multiple_of)
        if tonic is not None and self.frontend != "tonic_chroma":
            raise ValueError(f"A tonic is of no use to frontend={self.frontend!r}, only to 'tonic_chroma'.")
        if truncation and max_length is None:
            raise ValueError("truncation=True needs max_length, the number of samples to cut clips to.")
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

        features: dict[str, Any] = self._extract(waveforms, lengths, tonic)
        input_values = features["input_values"]
        num_frames = lengths if self.frontend == "waveform" else 1 + lengths // self.hop_length
        attention_mask = torch.arange(input_values.shape[1], device=device) < num_frames[:, None]
        if min(sizes) < longest:
            behind_end = ~attention_mask if input_values.ndim == 2 else ~attention_mask[:, :, None]
            input_values.masked_fill_(behind_end, self.padding_value)
        if return_attention_mask if return_attention_mask is not None else self.return_attention_mask:
            features["attention_mask"] = attention_mask.long()

        if padding_strategy == PaddingStrategy.DO_NOT_PAD:
            own_frames = num_frames.tolist()
            for name in features.keys() & {"input_values", "attention_mask"}:
                features[name] = [values[:frames] for values, frames in zip(features[name], own_frames, strict=True)]
        return _as_batch_feature(features, return_tensors)

    def _extract(self, waveforms: torch.Tensor, lengths: torch.Tensor, tonic) -> dict[str, torch.Tensor]:
        if self.frontend == "waveform":
            return {"input_values": waveforms}
        tonic = torch.as_tensor(float("nan") if tonic is None else tonic, dtype=torch.float32, device=waveforms.device)
        if tonic.ndim > 1 or tonic.numel() not in (1, len(waveforms)):
            raise ValueError(f"Pass one tonic, or one a clip ({len(waveforms)}), not {tuple(tonic.shape)}.")
        tonic = tonic.expand(len(waveforms))
        # The spectra of a few clips stay in a CPU's cache: in blocks a batch takes a third to a half of the time.
        clips = len(waveforms) if waveforms.device.type != "cpu" else max(1, _BLOCK_SAMPLES // waveforms.shape[1])
        blocks = zip(waveforms.split(clips), lengths.split(clips), tonic.split(clips), strict=True)
        features = [self._extract_block(*block) for block in blocks]
        return {name: torch.cat([block[name] for block in features]) for name in features[0]}

    def _extract_block(
        self, waveforms: torch.Tensor, lengths: torch.Tensor, tonic: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        if self.frontend == "log_mel":
            power = power_spectrogram(waveforms, lengths, self.n_fft, self.hop_length)
            mel = power.transpose(1, 2) @ self.mel_filters.to(power)
            return {"input_values": mel.add_(1e-8).log_()}
        input_values, tonic, confidence = self.tonic_chroma(waveforms, lengths, tonic)
        return {"input_values": input_values, "tonic": tonic, "tonic_confidence": confidence}

    def to_dict(self) -> dict[str, Any]:
        """What is saved: the arguments of the constructor, without the filters that follow from them."""
        output = super().to_dict()
        output.pop("mel_filters", None)
        output.pop("tonic_chroma", None)
        return output


def _stack(clips: list[torch.Tensor] | torch.Tensor, samples: int) -> torch.Tensor:
    """The clips as `(batch_size, samples)`, zero behind their ends."""
    if not isinstance(clips, torch.Tensor):
        clips = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    return torch.nn.functional.pad(clips, (0, samples - clips.shape[1]))


def _as_batch_feature(features: dict, return_tensors: str | TensorType | None) -> BatchFeature:
    if return_tensors is not None and TensorType(return_tensors) == TensorType.PYTORCH:
        return BatchFeature(features, tensor_type=return_tensors)
    as_lists = {
        name: [value.cpu().numpy() for value in values] if isinstance(values, list) else list(values.cpu().numpy())
        for name, values in features.items()
    }
    return BatchFeature(as_lists, tensor_type=return_tensors)


__all__ = ["SAMAudioFeatureExtractor"]
