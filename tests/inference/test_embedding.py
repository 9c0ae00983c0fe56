# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`embed` from Python: folders and models, and the command's numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, T5Config, T5Model

from builders import SSLAM, TONES, write_tones
from polyaudio import SSLAMConfig, SSLAMFeatureExtractor, SSLAMForAudioClassification, embed
from polyaudio.inference.backends import open_encoder
from polyaudio.inference.embedding import FileFeatures
from polyaudio.scripts.embed import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tones(tmp_path_factory.mktemp("clips") / "tones", TONES, 3)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    SSLAMForAudioClassification(SSLAMConfig(**SSLAM, initializer_range=0.2)).save_pretrained(folder)
    SSLAMFeatureExtractor(max_length=64).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("granularity", ["utterance", "frame", "all"])
def test_the_command_gives_the_same_numbers(folder, model, tmp_path, capsys, granularity):
    arguments = [str(folder), "--model", model, "--granularity", granularity, "--output", str(tmp_path)]
    assert main([*arguments, "--workers", "0"]) == 0
    capsys.readouterr()
    clips = embed(folder, model, granularity=granularity)
    assert capsys.readouterr().out == ""
    assert len(clips) == 6
    for clip in clips:
        assert type(clip) is FileFeatures
        assert clip.features.dtype == np.float32
        assert clip.features.shape[-1] == SSLAM["hidden_size"]
        name = Path(clip.file).relative_to(folder)
        np.testing.assert_array_equal(clip.features, np.load(tmp_path / f"{name}.npy"))


@pytest.mark.parametrize("granularity", ["utterance", "frame", "all"])
def test_features_do_not_keep_the_outputs_of_the_model(folder, model, granularity):
    encoder = open_encoder(model, granularity=granularity)
    files = sorted(map(str, folder.rglob("*.wav")))
    for result in encoder.run(files, num_workers=0, description=None):
        arrays = [array for window in result.windows for array in window if array is not None]
        assert arrays
        assert all(array.base is None for array in arrays)


def test_a_loaded_model_gives_the_same(folder, model):
    expected = embed(folder, model)
    loaded = AutoModel.from_pretrained(model)
    for clips in (
        embed(folder, Path(model)),
        embed(folder, loaded),
        embed(folder, SSLAMForAudioClassification.from_pretrained(model)),
        embed(folder, loaded, feature_extractor=SSLAMFeatureExtractor(max_length=64)),
    ):
        assert [one.file for one in clips] == [one.file for one in expected]
        for one, other in zip(clips, expected, strict=True):
            np.testing.assert_array_equal(one.features, other.features)


def test_files_come_in_the_order_that_they_were_given(folder, model, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no audio")
    files = [folder / "low" / "2.wav", broken, folder / "high" / "0.wav"]
    clips = embed(files, model)
    assert [one.file for one in clips] == [str(file) for file in files]
    assert [one.features is None for one in clips] == [False, True, False]
    assert str(broken) in clips[1].error


def test_what_is_not_an_audio_encoder(folder, model):
    with pytest.raises(ValueError, match="granularity must be 'utterance', 'frame' or 'all', got 'clip'"):
        embed(folder, model, granularity="clip")
    text = T5Model(T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=9))
    with pytest.raises(ValueError, match="is not an audio encoder"):
        embed(folder, text, feature_extractor=SSLAMFeatureExtractor())
