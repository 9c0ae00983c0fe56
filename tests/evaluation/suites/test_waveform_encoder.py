# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The vectors of the adapters are those of `embed`, whatever the batch and the length."""

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoModel

from builders import RATE
from polyaudio import SAMAudioFeatureExtractor, SAMAudioModel, embed
from polyaudio.evaluation.suites.waveform_encoder import WaveformEncoder
from polyaudio.inference.torch_models import TorchEncoder


SECONDS = (0.01, 0.1, 0.64, 0.655, 1.0, 1.7, 3.0)


@pytest.fixture(scope="module")
def clips(sound) -> list[np.ndarray]:
    return [sound(seconds, seed) for seed, seconds in enumerate(SECONDS)]


@pytest.fixture(scope="module")
def files(clips, tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("files")
    for index, clip in enumerate(clips):
        soundfile.write(folder / f"{index}.wav", clip, RATE, subtype="FLOAT")
    return [str(folder / f"{index}.wav") for index in range(len(clips))]


def test_the_vectors_of_clips_are_those_of_embed(any_model, clips, files):
    vectors = WaveformEncoder(any_model).utterance_vectors(clips)
    assert vectors.dtype == torch.float32
    assert not vectors.is_inference()
    for vector, file in zip(vectors, embed(files, any_model), strict=True):
        np.testing.assert_allclose(vector, file.features, atol=1e-5, rtol=1e-4)


def test_the_vectors_along_time_are_those_of_embed(model, clips, files):
    encoder = WaveformEncoder(model)
    for clip, file in zip(clips, embed(files, model, granularity="frame"), strict=True):
        (vectors,) = encoder.frame_vectors(torch.from_numpy(clip)[None])
        assert encoder.frame_seconds == file.frame_seconds
        np.testing.assert_allclose(vectors, file.features, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("granularity", ["utterance", "frame", "all"])
def test_waveforms_in_memory_and_files(model, clips, files, granularity):
    encoder = TorchEncoder(
        model, None, granularity=granularity, window=None, padding="longest", batch_size=3, device=None
    )
    for features, file in zip(
        encoder.embed_waveforms(clips), embed(files, model, granularity=granularity), strict=True
    ):
        np.testing.assert_allclose(features, file.features, atol=1e-5, rtol=1e-4)


def test_a_clip_alone_and_in_a_batch(any_model, clips):
    encoder = WaveformEncoder(any_model)
    together = encoder.utterance_vectors(clips)
    for clip, vector in zip(clips, together, strict=True):
        torch.testing.assert_close(encoder.utterance_vectors([clip])[0], vector, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(encoder.utterance_vectors(clips[::-1]).flip(0), together, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(encoder.utterance_vectors(clips), together, atol=0, rtol=0)


def test_a_model_in_training_mode_gives_the_same(any_model, clips):
    encoder = WaveformEncoder(any_model)
    expected = encoder.utterance_vectors(clips)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    torch.testing.assert_close(encoder.train().utterance_vectors(clips), expected, atol=0, rtol=0)


def test_a_long_clip_goes_through_the_model_a_few_windows_at_a_time(model_folders, sound):
    encoder = WaveformEncoder(model_folders["sslam_classifier"])
    long = torch.from_numpy(np.tile(sound(1), 300))[None]
    sizes = []
    forward = encoder.encoder.forward
    encoder.encoder.forward = lambda **inputs: sizes.append(inputs["input_values"].shape) or forward(**inputs)
    vectors = encoder.frame_vectors(long)
    assert vectors.shape[1] == -(-(300 * 100 - 2) // 16)
    assert max(shape[0] for shape in sizes) == 8
    assert max(shape[1] for shape in sizes) == 64


def _changes(encoder: WaveformEncoder, frames: float) -> torch.Tensor:
    """How much a click this many frames after the middle of the first one changes each vector."""
    quiet = 0.01 * torch.randn(round(8 * encoder.frame_seconds * RATE), generator=torch.Generator().manual_seed(0))
    clicked = quiet.clone()
    clicked[round((encoder.first_frame_seconds + frames * encoder.frame_seconds) * RATE)] += 1
    return (encoder.frame_vectors(clicked[None]) - encoder.frame_vectors(quiet[None]))[0].norm(dim=1)


def test_a_click_in_the_middle_of_what_a_vector_hears(model):
    encoder = WaveformEncoder(model)
    for frame in range(1, 7):
        assert _changes(encoder, frame).argmax() == frame


def test_a_click_halfway_between_two_vectors(model_folders):
    changes = _changes(WaveformEncoder(model_folders["published"]), 3.5)
    torch.testing.assert_close(changes[3], changes[4], rtol=0.1, atol=0)
    assert changes[[2, 5]].max() < 0.1 * changes[3]


def test_a_loaded_model(model_folders, clips):
    folder = model_folders["sam_audio_pretraining"]
    expected = WaveformEncoder(folder).utterance_vectors(clips)
    loaded = AutoModel.from_pretrained(folder)
    torch.testing.assert_close(WaveformEncoder(loaded).utterance_vectors(clips), expected, atol=0, rtol=0)
    fresh = SAMAudioModel(loaded.config)
    fresh.config.name_or_path = ""
    fresh.load_state_dict(loaded.state_dict())
    vectors = WaveformEncoder(fresh, SAMAudioFeatureExtractor()).utterance_vectors(clips)
    torch.testing.assert_close(vectors, expected, atol=0, rtol=0)


def test_what_cannot_be_embedded_is_an_error(model_folders):
    encoder = WaveformEncoder(model_folders["sslam_classifier"])
    for shape in ((16000,), (1, 1, 16000), (2, 0)):
        with pytest.raises(ValueError, match=r"audio must have the shape \(waveforms, samples\), got"):
            encoder.frame_vectors(torch.zeros(shape))
    with pytest.raises(ValueError, match="does not know the times of the vectors"):
        WaveformEncoder(model_folders["other_library"]).frame_vectors(torch.zeros(1, 16000))
