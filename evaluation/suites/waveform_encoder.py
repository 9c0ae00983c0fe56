# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What the adapters share: an encoder of waveforms in memory, as a module of torch."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, SequenceFeatureExtractor

from ...inference.torch_models import TorchEncoder
from ...modeling.loading import load_config, load_encoder, load_feature_extractor, name_of_model
from ...modeling.traits import traits_of


# Number of windows in one forward pass, as `embed` has it by default
_BATCH_SIZE = 8


class WaveformEncoder(nn.Module):
    """
    The base model of a checkpoint, frozen, with the vectors that [`embed`] gives for files with its defaults.

    Args:
        model: a folder, a Hub name or a model: an encoder, a classifier or a pre-training checkpoint.
        feature_extractor: the model's. Needed only for a model that was not loaded from a folder or the Hub.

    Attributes:
        sampling_rate: of the waveforms, in Hz.
        frame_seconds: from one vector along time to the next; `None` where polyaudio does not know.
        first_frame_seconds: the time in the middle of what the first vector along time hears; `None` likewise.

    Raises:
        ValueError: the model is not an audio encoder.
    """

    def __init__(
        self,
        model: str | os.PathLike | PreTrainedModel,
        feature_extractor: SequenceFeatureExtractor | None = None,
    ):
        super().__init__()
        if not isinstance(model, PreTrainedModel):
            load_config(os.fspath(model))  # says what is wrong where there is no model
        self.encoder = load_encoder(model).eval().requires_grad_(False)
        config = self.encoder.config
        feature_extractor = feature_extractor or load_feature_extractor(name_of_model(model), config)
        self._utterance, self._frame = (
            TorchEncoder(
                self.encoder,
                feature_extractor,
                granularity=granularity,
                window=None,
                padding="longest",
                batch_size=_BATCH_SIZE,
                device=None,
            )
            for granularity in ("utterance", "frame")
        )
        self.sampling_rate: int = feature_extractor.sampling_rate
        self.frame_seconds = self._frame.frame_seconds
        self.first_frame_seconds = traits_of(config).first_frame_seconds(config, feature_extractor)

    def train(self, mode: bool = True) -> "WaveformEncoder":
        """Stay in evaluation mode, whatever a suite asks for."""
        return super().train(False)

    def utterance_vectors(self, waveforms: Sequence[np.ndarray]) -> torch.Tensor:
        """The vector of each waveform `(samples,)`, float32: `(waveforms, hidden_size)`, float32 on the CPU."""
        return torch.from_numpy(np.stack(self._utterance.embed_waveforms(waveforms)))

    def frame_vectors(self, audio: torch.Tensor) -> torch.Tensor:
        """
        The vectors along time of waveforms of one length.

        Args:
            audio: `(waveforms, samples)`, on any device.

        Returns:
            `(waveforms, frames, hidden_size)`, float32, on the device of `audio`.

        Raises:
            ValueError: `audio` has another shape, or polyaudio does not know the times of the vectors.
        """
        if self.frame_seconds is None:
            model_type = self.encoder.config.model_type
            raise ValueError(
                f"polyaudio does not know the times of the vectors of a model of type {model_type}. Use a suite that "
                "takes one vector for each clip."
            )
        frames = self._frame.embed_waveforms(waveforms_of(audio))
        return torch.from_numpy(np.stack(frames)).to(audio.device)

    def sizes(self) -> tuple[int, int]:
        """The size of the vector of an utterance, and of those along time (that of an utterance if they have none)."""
        silence = torch.zeros(1, self.sampling_rate)
        utterance = self.utterance_vectors(waveforms_of(silence)).shape[-1]
        return utterance, utterance if self.frame_seconds is None else self.frame_vectors(silence).shape[-1]


def waveforms_of(audio: torch.Tensor) -> list[np.ndarray]:
    """
    The waveforms `(samples,)`, float32, in a batch of a suite.

    Raises:
        ValueError: `audio` is not `(waveforms, samples)`, or has no samples.
    """
    if audio.ndim != 2 or audio.shape[1] == 0:
        raise ValueError(f"audio must have the shape (waveforms, samples), got {tuple(audio.shape)}.")
    return list(audio.detach().cpu().float().numpy())
