# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Feature extractor of SAMAudio: log-mel frames, tonic-relative pitch or the waveform itself, over whole batches."""

from typing import Any, cast

import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.utils import PaddingStrategy, TensorType

from ..configuration.configuration_sam_audio import FRONTENDS, PADDING_VALUES, TONIC_FRONTENDS
from ..integration.limits import check_sizes
from ..integration.saving import PortableFeatureExtractorMixin
from .batch_output import as_batch_feature
from .melody import Melody
from .padding import PaddingMixin, frames_to_hear
from .pitch_track import PitchTrack, as_pitch_tracks, melody_of_track
from .spectrogram import mel_filters, power_spectrogram
from .tonic_chroma import TonicChroma, check_tonic
from .tonic_pitch import NUM_EXTRAS, TonicPitch
from .waveform_input import RawSpeech, as_mono_waveforms, check_length, check_sampling_rate


_TONIC_ESTIMATORS = ("drone", "multipitch")

# Samples of a window, and samples from one window to the next
_FRAMES = {
    "log_mel": (1024, 256),
    "tonic_chroma": (4096, 640),
    "tonic_pitch": (4096, 320),
    "tonic_pitch+chroma": (4096, 320),
    "waveform": (1, 1),
}

# Values of a frame that are no pitch classes which the caller chooses the number of, and one more
_FEWEST_VALUES = {"tonic_pitch": NUM_EXTRAS + 1, "tonic_pitch+chroma": FRONTENDS["tonic_pitch"] + 1}

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
            - `"tonic_pitch"`: the melody relative to the tonic, with voicing and register. It is found in the clip, or
              given as a pitch track.
            - `"tonic_pitch+chroma"`: both, side by side.
            - `"waveform"`: the samples themselves.
        feature_size (`int`, *optional*):
            Number of values in a frame: mel bins (80 by default); pitch classes of an octave (36 by default); for
            `"tonic_pitch"` pitch classes of an octave and 4 values more, see [`TonicPitch`] (60 + 4 by default); for
            both 64 + 36 by default, of which the 64 are fixed; or 1 for a waveform.
        sampling_rate (`int`, *optional*, defaults to 16000):
            Sampling rate of the audio, in Hz.
        padding_value (`float`, *optional*):
            Value of padding frames. The default is just below silence, so that models recognise padding without an
            `attention_mask`: -18.5 for `"log_mel"`, -1 for features relative to the tonic. For `"waveform"` it is 0.
        n_fft (`int`, *optional*):
            Samples of a window: 1024 by default for `"log_mel"`, 4096 for features relative to the tonic. The windows
            in which the melody is tracked are a quarter of that.
        hop_length (`int`, *optional*):
            Samples from one window to the next: 256 by default for `"log_mel"`, 640 for `"tonic_chroma"`, 320 for
            `"tonic_pitch"`.
        return_attention_mask (`bool`, *optional*, defaults to `True`):
            Whether calls return `attention_mask` by default.
        tonic_estimator (`str`, *optional*, defaults to `"drone"`):
            How features relative to the tonic find it: `"drone"` in what sounds most of the time, as models that were
            saved without this setting do, or `"multipitch"` in all pitches that sound, which is right more often.

    Raises:
        ValueError: `frontend` or `tonic_estimator` is unknown, `feature_size` does not fit the former, a size is
            outside `SIZES` in `integration/limits.py`, or `padding_side` is not `"right"`.

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
        tonic_estimator: str = "drone",
        **kwargs,
    ):
        if frontend not in _FRAMES:
            raise ValueError(f"`frontend` must be one of {', '.join(map(repr, _FRAMES))}, got {frontend!r}.")
        if tonic_estimator not in _TONIC_ESTIMATORS:
            raise ValueError(
                f"`tonic_estimator` must be one of {', '.join(map(repr, _TONIC_ESTIMATORS))}, got {tonic_estimator!r}."
            )
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
        fewest = _FEWEST_VALUES.get(frontend, 1)
        if feature_size < fewest:
            raise ValueError(f"`feature_size` must be at least {fewest} for {frontend!r}, got {feature_size}.")
        self.frontend = frontend
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.tonic_estimator = tonic_estimator
        if frontend == "log_mel":
            self.mel_filters = mel_filters(self.n_fft, feature_size, sampling_rate)
        elif frontend == "tonic_chroma":
            self.tonic_chroma = TonicChroma(
                sampling_rate, self.n_fft, self.hop_length, feature_size, tonic_estimator=tonic_estimator
            )
        elif frontend == "tonic_pitch":
            num_bins = feature_size - NUM_EXTRAS
            self.tonic_pitch = TonicPitch(sampling_rate, self.n_fft, self.hop_length, num_bins, tonic_estimator)
        elif frontend == "tonic_pitch+chroma":
            self.tonic_pitch = TonicPitch(sampling_rate, self.n_fft, self.hop_length, tonic_estimator=tonic_estimator)
            num_chroma = feature_size - FRONTENDS["tonic_pitch"]
            self.tonic_chroma = TonicChroma(sampling_rate, self.n_fft, self.hop_length, num_chroma)
        elif feature_size != 1:
            raise ValueError(f"`frontend='waveform'` has `feature_size=1`, got {feature_size}.")

    def __call__(
        self,
        raw_speech: RawSpeech | None,
        sampling_rate: int | None = None,
        padding: bool | str | PaddingStrategy = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | TensorType | None = None,
        device: str | torch.device = "cpu",
        tonic=None,
        pitch: PitchTrack | None = None,
        pitch_times: PitchTrack | None = None,
        center: bool = True,
        **kwargs,
    ) -> BatchFeature:
        r"""
        Compute the features of a clip or of a batch of clips.

        Args:
            raw_speech (`np.ndarray`, `torch.Tensor`, `list[float]` or a list of those):
                One mono clip of shape `(samples,)`, or a batch of mono clips: an array of shape
                `(batch_size, samples)` or a list of clips of any lengths. Floats in [-1, 1], or 8, 16 or 32 bit
                integer PCM. A clip shorter than a window is padded with zeros to one window. `None` for
                `"tonic_pitch"` from a pitch track and a tonic alone; a clip then ends with its track.
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
                Tonic of the clips in Hz, one number or one for each clip, for features relative to the tonic only.
                Where it is not given or NaN, it is estimated.
            pitch (`np.ndarray`, `torch.Tensor`, `list[float]` or a list of those, *optional*):
                For `"tonic_pitch"` and `"tonic_pitch+chroma"` only, the pitch of the melody in Hz, as annotations and
                other trackers give it: an array of shape `(values,)`, or for a batch a list with one for each clip. 0,
                negative numbers and NaN mean that there is no melody. It replaces the pitch that is found in the clip.
            pitch_times (as `pitch`, *optional*):
                The time of each value of `pitch` in seconds from the beginning of the clip, ascending. Between two
                values up to 0.1 s apart the pitch is interpolated; farther from any value there is no melody.
            center (`bool`, *optional*, defaults to `True`):
                Whether to reflect the clips at both ends, so that a frame is centred on each multiple of
                `hop_length`. With `False`, a clip is a part of a recording with half of `n_fft` samples more at
                either end, and gets the frames of the recording: `1 + (samples - n_fft) // hop_length`. For
                features relative to the tonic only `True`, because all frames depend on the whole clip.
            kwargs:
                Ignored, as by the extractors of transformers.

        Returns:
            [`BatchFeature`] with
            - `input_values`: float32, `(batch_size, frames, feature_size)`, or `(batch_size, samples)` for a waveform.
              A clip has `1 + samples // hop_length` frames.
            - `attention_mask` (if asked for): int32, `(batch_size, frames)` or `(batch_size, samples)`, 1 for the clip
              and 0 for padding.
            - `tonic` (features relative to the tonic only): float32, `(batch_size,)`, the tonic of each clip in Hz.
            - `tonic_confidence` (features relative to the tonic only): float32, `(batch_size,)`, the confidence of the
              estimate from 0 to 1, or 1 for a given tonic.

        Raises:
            ValueError: an empty batch or clip, NaN or infinity, more than one channel, another sampling rate, a length
                that is not positive, clips of different lengths with `return_tensors` but without padding, or a tonic
                or a pitch track that does not fit.
            TypeError: the input is not audio.
        """
        check_sampling_rate(sampling_rate, self.sampling_rate, self.__class__.__name__)
        check_length("max_length", max_length)
        check_length("pad_to_multiple_of", pad_to_multiple_of)
        self._check_front_end(tonic, pitch, center)
        tracks = None if pitch is None and pitch_times is None else as_pitch_tracks(pitch, pitch_times)
        if truncation and max_length is None:
            raise ValueError("`truncation=True` needs `max_length`, the number of samples to cut clips to.")
        padding_strategy = self._get_padding_strategies(padding=padding, max_length=max_length)

        clips = None
        if raw_speech is None and tracks is not None:
            sizes = [1 + int(times[-1] * self.sampling_rate) for times in tracks[1]]
        else:
            clips, _ = as_mono_waveforms(raw_speech)  # type: ignore[arg-type]  # it refuses None
            if truncation:
                clips = [clip[:max_length] for clip in clips]
            sizes = [len(clip) for clip in clips]
        if truncation and max_length is not None:
            sizes = [min(size, max_length) for size in sizes]
        sizes = [max(size, self.n_fft) for size in sizes]
        longest = max(sizes)
        if padding_strategy == PaddingStrategy.MAX_LENGTH and max_length is not None:
            longest = max(longest, max_length)
        if pad_to_multiple_of is not None:
            longest += -longest % pad_to_multiple_of
        lengths = torch.tensor(sizes, device=device)
        tonics = self._as_tonics(tonic, lengths)
        melody = None if tracks is None else self._melody_of(tracks, lengths, longest)
        waveforms = None if clips is None else _stack(clips, longest).to(device)
        features = self._extract(waveforms, lengths, tonics, melody, center)
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
        row_lengths = [input_values.shape[1]] * len(sizes) if is_padded else num_frames.tolist()
        return as_batch_feature(features, row_lengths, return_tensors)

    def _check_front_end(self, tonic, pitch: PitchTrack | None, center: bool) -> None:
        """Raise `ValueError` for arguments that are not of this front end."""
        has_tonic = self.frontend in TONIC_FRONTENDS
        if tonic is not None and not has_tonic:
            raise ValueError(
                f"`tonic` belongs only to {', '.join(map(repr, TONIC_FRONTENDS))}, this extractor has "
                f"frontend={self.frontend!r}."
            )
        if not center and has_tonic:
            raise ValueError(
                f"`center=False` does not go with {self.frontend!r}, whose frames depend on the whole clip."
            )
        if pitch is not None and "tonic_pitch" not in self.frontend:
            raise ValueError(f"`pitch` belongs only to 'tonic_pitch', this extractor has frontend={self.frontend!r}.")

    def _as_tonics(self, tonic, lengths: torch.Tensor) -> torch.Tensor:
        """The tonic of each clip, `(batch_size,)`, NaN where it is not given."""
        tonic = torch.as_tensor(float("nan") if tonic is None else tonic, dtype=torch.float32, device=lengths.device)
        if tonic.ndim > 1 or tonic.numel() not in (1, len(lengths)):
            raise ValueError(
                f"`tonic` must be one number or one for each of the {len(lengths)} clips, got the shape "
                f"{tuple(tonic.shape)}."
            )
        return tonic.expand(len(lengths))

    def _melody_of(
        self, tracks: tuple[list[torch.Tensor], list[torch.Tensor]], lengths: torch.Tensor, samples: int
    ) -> Melody:
        if len(tracks[0]) != len(lengths):
            raise ValueError(f"`pitch` has {len(tracks[0])} tracks for {len(lengths)} clips.")
        melody = melody_of_track(*tracks, 1 + samples // self.hop_length, self.hop_length / self.sampling_rate)
        return Melody(*(values.to(lengths.device) for values in melody))

    def _extract_track(self, melody: Melody, lengths: torch.Tensor, tonic: torch.Tensor) -> dict[str, torch.Tensor]:
        """The features of pitch tracks without audio."""
        if self.frontend != "tonic_pitch" or tonic.isnan().any():
            raise ValueError("Without audio, only 'tonic_pitch' has features, and it needs the `tonic` of each track.")
        check_tonic(tonic)
        input_values = self.tonic_pitch.features(melody, 1 + lengths // self.hop_length, tonic)
        return {"input_values": input_values, "tonic": tonic, "tonic_confidence": torch.ones_like(tonic)}

    def _extract(
        self,
        waveforms: torch.Tensor | None,
        lengths: torch.Tensor,
        tonic: torch.Tensor,
        melody: Melody | None,
        center: bool,
    ) -> dict[str, torch.Tensor]:
        if waveforms is None:
            return self._extract_track(cast(Melody, melody), lengths, tonic)
        if self.frontend == "waveform":
            return {"input_values": waveforms}
        # In blocks a batch takes a third to a half of the time on a CPU
        clips = len(waveforms) if waveforms.device.type != "cpu" else max(1, _BLOCK_SAMPLES // waveforms.shape[1])
        blocks = list(zip(waveforms.split(clips), lengths.split(clips), tonic.split(clips), strict=True))
        melodies: list[Melody | None] = [None] * len(blocks)
        if melody is not None:
            melodies = [Melody(*one) for one in zip(*(values.split(clips) for values in melody), strict=True)]
        features = [self._extract_block(*block, one, center) for block, one in zip(blocks, melodies, strict=True)]
        return {name: torch.cat([block[name] for block in features]) for name in features[0]}

    def _extract_block(
        self,
        waveforms: torch.Tensor,
        lengths: torch.Tensor,
        tonic: torch.Tensor,
        melody: Melody | None,
        center: bool,
    ) -> dict[str, torch.Tensor]:
        if self.frontend == "log_mel":
            # The original's float32 gives other logarithms of near silence on other processors. MPS has no float64
            dtype = torch.float32 if waveforms.device.type == "mps" else torch.float64
            power = power_spectrogram(waveforms, lengths, self.n_fft, self.hop_length, center=center, dtype=dtype)
            mel = power.transpose(1, 2) @ self.mel_filters.to(power)
            return {"input_values": mel.add_(MEL_FLOOR).log_()}
        if self.frontend == "tonic_chroma":
            input_values, tonic, confidence = self.tonic_chroma(waveforms, lengths, tonic)
        else:
            input_values, tonic, confidence = self.tonic_pitch(waveforms, lengths, tonic, melody)
        if self.frontend == "tonic_pitch+chroma":
            num_lines = len(self.tonic_chroma.frequencies)
            power = power_spectrogram(waveforms, lengths, self.n_fft, self.hop_length, num_lines)
            chroma = self.tonic_chroma.features(power, 1 + lengths // self.hop_length, tonic)
            input_values = torch.cat([input_values, chroma], dim=2)
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
        output.pop("tonic_pitch", None)
        if self.frontend not in TONIC_FRONTENDS:
            output.pop("tonic_estimator", None)
        return output


def _stack(clips: list[torch.Tensor] | torch.Tensor, samples: int) -> torch.Tensor:
    """The clips as one tensor `(batch_size, samples)`, padded with zeros."""
    if not isinstance(clips, torch.Tensor):
        clips = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    return torch.nn.functional.pad(clips, (0, samples - clips.shape[1]))


__all__ = ["SAMAudioFeatureExtractor"]
