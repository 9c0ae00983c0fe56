# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The feature extractor of SAMAudio as a module on samples, for each of its front ends."""

import math
from abc import abstractmethod
from collections.abc import Callable

import torch

from .feature_extraction_sam_audio import MEL_FLOOR, SAMAudioFeatureExtractor
from .samples import CentredPower, SampleFrontEnd, at_least


class SAMAudioFrontEnd(SampleFrontEnd):
    """What the front ends of [`SAMAudioFeatureExtractor`] have in common. Padding is masked."""

    def __init__(self, extractor: SAMAudioFeatureExtractor):
        super().__init__()
        self.shortest, self.hop_length = extractor.n_fft, extractor.hop_length
        self.padding_value = extractor.padding_value

    def forward(self, samples: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = attention_mask.sum(1).clamp(min=self.shortest)
        waveforms = at_least(samples * attention_mask.to(samples.dtype), self.shortest)
        num_frames = 1 + lengths // self.hop_length
        features = self.features(waveforms, lengths, num_frames)
        mask = torch.arange(features.shape[1], device=samples.device) < num_frames[:, None]
        return torch.where(mask[..., None], features, self.padding_value), mask.to(attention_mask.dtype)

    @abstractmethod
    def features(self, waveforms: torch.Tensor, lengths: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        """
        Args:
            waveforms: `(batch_size, samples)`, float32, zero after the end of each clip.
            lengths: `(batch_size,)`, int64, samples of each clip.
            num_frames: `(batch_size,)`, int64, frames of each clip.

        Returns:
            `(batch_size, frames, feature_size)`. What is after the frames of a clip has no meaning.
        """


class LogMelFrontEnd(SAMAudioFrontEnd):
    """`frontend="log_mel"`."""

    def __init__(self, extractor: SAMAudioFeatureExtractor):
        super().__init__(extractor)
        self.power = CentredPower(extractor.n_fft, extractor.hop_length, precise=True)
        self.register_buffer("mel_filters", extractor.mel_filters.clone(), persistent=False)

    def features(self, waveforms: torch.Tensor, lengths: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        # log(mel + MEL_FLOOR). The optimiser of ONNX graphs takes a sum with 1e-8 for a sum with 0
        mel = self.power(waveforms, lengths) @ self.mel_filters
        return torch.log1p(mel / MEL_FLOOR) + math.log(MEL_FLOOR)


class TonicChromaFrontEnd(SAMAudioFrontEnd):
    """`frontend="tonic_chroma"`. The tonic is estimated."""

    def __init__(self, extractor: SAMAudioFeatureExtractor):
        super().__init__(extractor)
        self.chroma = extractor.tonic_chroma
        self.power = CentredPower(extractor.n_fft, extractor.hop_length, len(self.chroma.frequencies))

    def features(self, waveforms: torch.Tensor, lengths: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        power = self.power(waveforms, lengths).transpose(1, 2)
        return self.chroma.from_power(power, num_frames)[0]


class TonicPitchFrontEnd(SAMAudioFrontEnd):
    """`frontend="tonic_pitch"`. The tonic is estimated, and the melody tracked."""

    def __init__(self, extractor: SAMAudioFeatureExtractor):
        super().__init__(extractor)
        self.pitch = extractor.tonic_pitch
        melody, chroma = self.pitch.melody, self.pitch.chroma
        self.search_hop_length = chroma.search_hop_length
        self.melody_power = CentredPower(melody.n_fft, melody.hop_length, melody.num_lines)
        self.tonic_power = CentredPower(chroma.n_fft, self.search_hop_length, len(chroma.frequencies))

    def features(self, waveforms: torch.Tensor, lengths: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        return self.features_and_tonic(waveforms, lengths, num_frames)[0]

    def features_and_tonic(
        self, waveforms: torch.Tensor, lengths: torch.Tensor, num_frames: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `features`, and the tonic `(batch_size,)` in Hz."""
        power = self.tonic_power(waveforms, lengths).transpose(1, 2)
        tonic, _ = self.pitch.chroma.find_tonic(power, 1 + lengths // self.search_hop_length)
        melody = self.pitch.melody.from_power(self.melody_power(waveforms, lengths).transpose(1, 2), num_frames)
        return self.pitch.features(melody, num_frames, tonic), tonic


class TonicPitchAndChromaFrontEnd(TonicPitchFrontEnd):
    """`frontend="tonic_pitch+chroma"`."""

    def __init__(self, extractor: SAMAudioFeatureExtractor):
        super().__init__(extractor)
        self.chroma = extractor.tonic_chroma
        self.power = CentredPower(extractor.n_fft, extractor.hop_length, len(self.chroma.frequencies))

    def features(self, waveforms: torch.Tensor, lengths: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        pitch, tonic = self.features_and_tonic(waveforms, lengths, num_frames)
        power = self.power(waveforms, lengths).transpose(1, 2)
        return torch.cat([pitch, self.chroma.features(power, num_frames, tonic)], dim=2)


class WaveformFrontEnd(SampleFrontEnd):
    """`frontend="waveform"`, the samples themselves."""

    def forward(self, samples: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return samples * attention_mask.to(samples.dtype), attention_mask


FRONT_ENDS: dict[str, Callable[[SAMAudioFeatureExtractor], SampleFrontEnd]] = {
    "log_mel": LogMelFrontEnd,
    "tonic_chroma": TonicChromaFrontEnd,
    "tonic_pitch": TonicPitchFrontEnd,
    "tonic_pitch+chroma": TonicPitchAndChromaFrontEnd,
}


def sample_front_end(extractor: SAMAudioFeatureExtractor) -> SampleFrontEnd:
    """The module for the front end of an extractor."""
    return WaveformFrontEnd() if extractor.frontend == "waveform" else FRONT_ENDS[extractor.frontend](extractor)
