# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
HEAR: `python -m heareval.embeddings.runner polyaudio.evaluation.suites.hear --model MODEL_FOLDER`.

The common API of https://hearbenchmark.com/hear-api.html. The package that computes the scores is not needed here.
"""

import torch

from .waveform_encoder import WaveformEncoder, waveforms_of


class HearModel(WaveformEncoder):
    """
    An encoder with the attributes that HEAR asks for.

    Attributes:
        sample_rate: of the audio, in Hz.
        scene_embedding_size, timestamp_embedding_size: of the vectors.
    """

    def __init__(self, model: str):
        super().__init__(model)
        self.sample_rate = self.sampling_rate
        self.scene_embedding_size, self.timestamp_embedding_size = self.sizes()


def load_model(model_file_path: str = "") -> HearModel:
    """
    Load a model.

    Args:
        model_file_path: a model folder, or a Hub name.

    Raises:
        ValueError: there is no path, no such model, or it is not an audio encoder.
    """
    if not model_file_path:
        raise ValueError("polyaudio has no default model for HEAR. Pass a model folder with --model.")
    return HearModel(model_file_path)


def get_scene_embeddings(audio: torch.Tensor, model: HearModel) -> torch.Tensor:
    """
    One vector for each sound.

    Args:
        audio: `(n_sounds, n_samples)`, at the rate of the model, -1 to 1.
        model: of [`load_model`].

    Returns:
        `(n_sounds, scene_embedding_size)`, float32, on the device of `audio`.
    """
    return model.utterance_vectors(waveforms_of(audio)).to(audio.device)


def get_timestamp_embeddings(audio: torch.Tensor, model: HearModel) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Vectors along time, at regular intervals.

    Args:
        audio: `(n_sounds, n_samples)`, at the rate of the model, -1 to 1.
        model: of [`load_model`].

    Returns:
        The vectors `(n_sounds, n_timestamps, timestamp_embedding_size)`, and the times `(n_sounds, n_timestamps)` in
        milliseconds in the middle of what each of them hears. Both are float32, on the device of `audio`.

    Raises:
        ValueError: polyaudio does not know the times of the vectors of such a model.
    """
    embeddings = model.frame_vectors(audio)
    assert model.frame_seconds is not None  # else there are no vectors
    assert model.first_frame_seconds is not None
    frames = torch.arange(embeddings.shape[1], dtype=torch.float64)
    times = 1000 * (model.first_frame_seconds + frames * model.frame_seconds)
    return embeddings, times.float().expand(len(audio), -1).to(audio.device)
