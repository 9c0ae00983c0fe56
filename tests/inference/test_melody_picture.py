# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The melody of a recording for pictures, and the picture of `annotate` that shows it."""

import matplotlib.image
import numpy as np
import pytest
import soundfile
import torch

from polyaudio import SAMAudioConfig, SAMAudioFeatureExtractor, SAMAudioForAudioClassification
from polyaudio.data.ragas import SAMPLING_RATE, synthesize_concert
from polyaudio.inference.melody_picture import MelodyPictureStream, compute_melody, swara_places
from polyaudio.scripts.__main__ import main


TONIC, SECONDS = 160.0, 16


@pytest.fixture(scope="module")
def recording():
    return synthesize_concert("Hamsanadam", tonic=TONIC, timbre="voice", seconds=SECONDS, seed=8)


@pytest.fixture(scope="module")
def file(recording, tmp_path_factory):
    path = tmp_path_factory.mktemp("recording") / "raga.wav"
    soundfile.write(path, recording.samples, SAMPLING_RATE)
    return path


def test_swaras():
    places = swara_places()
    assert list(places) == ["S", "R1", "R2/G1", "R3/G2", "G3", "M1", "M2", "P", "D1", "D2/N1", "D3/N2", "N3"]
    assert np.abs(np.array(list(places.values())) - 100 * np.arange(12)).max() < 20
    assert places["P"] == pytest.approx(701.955)


def test_the_melody_lies_where_it_was_played(recording, file):
    melody = compute_melody(file, SECONDS)
    assert (1200 * np.log2(melody.tonic / TONIC) + 600) % 1200 - 600 == pytest.approx(0, abs=15)
    assert melody.confidence > 0.9
    assert melody.shares.max() <= 1.0 + 1e-6
    pitch = np.array_split(recording.pitch, melody.shares.shape[1])
    hertz = melody.tonic * 2 ** (melody.cents / 1200)
    right = heard = 0.0
    for column, own in enumerate(pitch):
        true = own[own > 0]
        if len(true) and np.ptp(1200 * np.log2(true)) < 30:
            is_near = np.abs(1200 * np.log2(hertz / true[0])) < 50
            right, heard = right + melody.shares[is_near, column].sum(), heard + melody.shares[:, column].sum()
    assert right / heard > 0.9


def test_blocks_and_length_do_not_matter_for_the_size(recording):
    stream = MelodyPictureStream(6 * SECONDS)
    for _ in range(6):
        for block in np.array_split(recording.samples, 3):
            stream.push(block)
            assert len(stream.rest) < 2 * 30 * SAMPLING_RATE
    melody = stream.finish()
    assert melody.shares.shape[1] == 1000
    assert (melody.shares.sum(axis=0) > 0.5).mean() > 0.5
    assert melody.shares.sum(axis=0).max() <= 1.0 + 1e-5


def test_silence_and_a_moment():
    assert compute_of(np.zeros(SAMPLING_RATE, dtype=np.float32)).shares.sum() == 0
    assert np.isfinite(compute_of(np.ones(10, dtype=np.float32)).tonic)


def compute_of(samples):
    stream = MelodyPictureStream(len(samples) / SAMPLING_RATE)
    stream.push(samples)
    return stream.finish()


def test_the_picture_of_a_model_that_hears_the_tonic_is_higher(file, tmp_path):
    heights = []
    for frontend in ("tonic_chroma", "log_mel"):
        torch.manual_seed(0)
        sizes = {"conv_dim": [16], "conv_kernel": [3], "conv_stride": [2], "num_segments": 4}
        config = SAMAudioConfig(frontend=frontend, num_labels=2, num_attention_heads=2, **sizes)
        SAMAudioForAudioClassification(config).save_pretrained(tmp_path / frontend)
        SAMAudioFeatureExtractor(frontend).save_pretrained(tmp_path / frontend)
        output = tmp_path / f"{frontend} pictures"
        arguments = ["--model", str(tmp_path / frontend), "--output", str(output), "--formats", "png"]
        assert main(["annotate", str(file), *arguments]) == 0
        heights.append(matplotlib.image.imread(output / "raga.wav.png").shape[0])
    assert heights[0] > heights[1] + 200
