# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Features of a layer: of `embed` and of the clips of a dataset."""

import numpy as np
import pytest
import torch
from datasets import Audio
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from builders import SAM_AUDIO, SSLAM, TONES, dataset_in_memory, write_tones
from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioModel,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMModel,
    load_audio,
)
from polyaudio.inference.backends import open_encoder
from polyaudio.inference.clip_reader import ClipReader
from polyaudio.inference.features import extract_features, extract_frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Clips of less than one window."""
    return write_tones(tmp_path_factory.mktemp("features") / "tones", TONES, 2)


@pytest.fixture(scope="module")
def sslam() -> SSLAMModel:
    torch.manual_seed(0)
    return SSLAMModel(SSLAMConfig(**SSLAM)).eval()


def hidden_states(model, extractor, file) -> list[torch.Tensor]:
    """Those of one clip, after each layer."""
    inputs = extractor(load_audio(file, 16000), sampling_rate=16000, padding="longest", return_tensors="pt")
    with torch.no_grad():
        return [one[0] for one in model(**inputs, output_hidden_states=True).hidden_states]


def embedded(model, extractor, files, **settings) -> list[np.ndarray]:
    encoder = open_encoder(model, extractor, **settings)
    names = [str(file) for file in files]
    windows = {one.file: one.windows for one in encoder.run(names, num_workers=0, description=None)}
    return [next(part for part in windows[name][0] if part is not None) for name in names]


@pytest.mark.parametrize("layer", [0, 1, -1, "mean"])
def test_layers_of_sslam(folder, sslam, layer):
    extractor = SSLAMFeatureExtractor()
    files = sorted(folder.rglob("*.wav"))
    utterances = embedded(sslam, extractor, files, layer=layer)
    frames = embedded(sslam, extractor, files, layer=layer, granularity="frame")
    for file, utterance, own in zip(files, utterances, frames, strict=True):
        states = hidden_states(sslam, extractor, file)
        expected = torch.stack(states[1:]).mean(0) if layer == "mean" else states[layer]
        np.testing.assert_allclose(utterance, expected[0], atol=1e-5)
        patches = expected[1:].unflatten(0, (-1, 8)).mean(1)
        np.testing.assert_allclose(own, patches[: len(own)], atol=1e-5)


def test_layers_of_other_models(folder):
    extractor = SAMAudioFeatureExtractor()
    sam_audio = SAMAudioModel(SAMAudioConfig(**SAM_AUDIO)).eval()
    (file, *_) = sorted(folder.rglob("*.wav"))
    (vector,) = embedded(sam_audio, extractor, [file], layer=0)
    segments = hidden_states(sam_audio, extractor, file)[0].detach()  # the parameters themselves
    np.testing.assert_allclose(vector, segments.mean(0), atol=1e-5)
    (sequence,) = embedded(sam_audio, extractor, [file], layer=0, granularity="all")
    np.testing.assert_allclose(sequence, segments, atol=1e-5)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": [8], "conv_kernel": [400], "conv_stride": [320], "num_feat_extract_layers": 1}
    others = Wav2Vec2Model(Wav2Vec2Config(**sizes, **convolutions, num_conv_pos_embedding_groups=2)).eval()
    (vector,) = embedded(others, Wav2Vec2FeatureExtractor(), [file], layer=1)
    states = hidden_states(others, Wav2Vec2FeatureExtractor(), file)
    np.testing.assert_allclose(vector, states[1].mean(0), atol=1e-5)


def test_layers_that_do_not_exist_are_errors(sslam):
    for layer in (3, -4, "first"):
        with pytest.raises(ValueError, match="layer must be a number from 0 to 2"):
            open_encoder(sslam, SSLAMFeatureExtractor(), layer=layer)
    with pytest.raises(ValueError, match="the same for all layers"):
        open_encoder(
            SAMAudioModel(SAMAudioConfig(**SAM_AUDIO)), SAMAudioFeatureExtractor(), granularity="frame", layer=0
        )


def test_vectors_and_frames_of_clips(folder, sslam, tmp_path):
    extractor, files = SSLAMFeatureExtractor(), sorted(folder.rglob("*.wav"))
    reader = ClipReader(sslam.config, extractor, batch_size=3, padding="longest")
    clips = dataset_in_memory(folder).cast_column("audio", Audio(decode=False))
    (vectors,) = extract_features([sslam], reader, clips, "cls", layer=1, num_workers=0)
    np.testing.assert_allclose(vectors, embedded(sslam, extractor, files, layer=1), atol=1e-5)
    (frames,) = extract_frames([sslam], reader, clips, tmp_path, layer="weighted", num_workers=0)
    assert (len(frames), frames.layers, frames.size) == (4, 3, 32)
    for layer in range(3):
        expected = embedded(sslam, extractor, files, layer=layer, granularity="frame")
        for clip, own in enumerate(expected):
            np.testing.assert_allclose(frames.clip(clip)[:, layer], own, atol=3e-3)  # float16
