# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The traits of audio encoders of transformers that SAMAudio models can be built over."""

from abc import ABC, abstractmethod
from typing import Any

from transformers import PreTrainedConfig

from ..data.grid import WindowGrid
from .traits import ModelTraits, traits_of


class WaveformEncoderTraits(ModelTraits):
    """Wav2Vec2 and its kin: convolutions over samples, then a Transformer."""

    lora_modules = {
        "attention": ["q_proj", "k_proj", "v_proj", "out_proj"],
        "mlp": ["intermediate_dense", "output_dense"],
    }

    def frame_seconds(self, config: Any, feature_extractor: Any) -> float:
        return config.inputs_to_logits_ratio / feature_extractor.sampling_rate


class WavLMTraits(WaveformEncoderTraits):
    """Its attention computes with the weights of its projections and not with the modules, so LoRA adapts the MLPs."""

    lora_modules = {"mlp": ["intermediate_dense", "output_dense"]}


class OneLengthEncoderTraits(ModelTraits, ABC):
    """An encoder that reads clips of one length, to which its feature extractor pads shorter ones."""

    reads_any_length = False

    @abstractmethod
    def samples(self, config: Any, feature_extractor: Any) -> int:
        """The length in samples."""

    def fit_to_crops(
        self, feature_extractor: Any, config: Any, crop_seconds: float | None, keep_padding: bool
    ) -> None:
        longest = self.samples(config, feature_extractor) / feature_extractor.sampling_rate
        if crop_seconds and crop_seconds > longest:
            raise ValueError(
                f"crop_seconds={crop_seconds:g} is longer than the {longest:.2f} s that a model of type "
                f"{config.model_type} reads. Use shorter clips."
            )

    def window_grid(self, config: Any, feature_extractor: Any, seconds: float | None = None) -> WindowGrid:
        longest = self.samples(config, feature_extractor)
        rate = feature_extractor.sampling_rate
        if seconds is None:
            return WindowGrid(longest, longest, shortest=rate // 40)
        if seconds * rate > longest:
            raise ValueError(f"The model reads at most {longest / rate:g} s at once. Use a shorter window.")
        return WindowGrid.of_seconds(seconds, rate)


class ASTTraits(OneLengthEncoderTraits):
    """Frames of Kaldi's front end, 25 ms every 10 ms."""

    lora_modules = {"attention": ["q_proj", "k_proj", "v_proj", "o_proj"]}

    def samples(self, config: Any, feature_extractor: Any) -> int:
        hop = feature_extractor.sampling_rate // 100
        return (config.max_length - 1) * hop + feature_extractor.sampling_rate // 40

    def frame_seconds(self, config: Any, feature_extractor: Any) -> float:
        return config.time_stride / 100


class WhisperTraits(OneLengthEncoderTraits):
    """The encoder of Whisper, whose convolutions halve the frames."""

    lora_modules = {"attention": ["q_proj", "k_proj", "v_proj", "out_proj"], "mlp": ["fc1", "fc2"]}

    def samples(self, config: Any, feature_extractor: Any) -> int:
        return 2 * config.max_source_positions * feature_extractor.hop_length

    def frame_seconds(self, config: Any, feature_extractor: Any) -> float:
        return 2 * feature_extractor.hop_length / feature_extractor.sampling_rate


_WAVEFORM_ENCODERS = ("data2vec-audio", "hubert", "sew", "unispeech", "unispeech-sat", "wav2vec2")
_ENCODERS: dict[str, type[ModelTraits]] = dict.fromkeys(_WAVEFORM_ENCODERS, WaveformEncoderTraits) | {
    "audio-spectrogram-transformer": ASTTraits,
    "wavlm": WavLMTraits,
    "whisper": WhisperTraits,
}


def traits_of_encoder(config: PreTrainedConfig) -> ModelTraits:
    """The traits of the encoder of a SAMAudio model: those of its type, or what transformers' own encoders have."""
    encoder = _ENCODERS.get(config.model_type)
    return traits_of(config) if encoder is None else encoder()
