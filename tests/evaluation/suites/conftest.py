# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Small models of each kind, in folders, and clips."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

from builders import RATE, SAM_AUDIO, SSLAM
from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForPreTraining,
    SAMAudioModel,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
)


WINDOW = 64  # frames, so that clips of a second have several windows


def _save(kind: str, folder: Path, reference: Path) -> None:
    if kind == "sslam_classifier":
        config = SSLAMConfig(**SSLAM, window_frames=WINDOW, initializer_range=0.2)
        SSLAMForAudioClassification(config).save_pretrained(folder)
        SSLAMFeatureExtractor(max_length=WINDOW).save_pretrained(folder)
    elif kind == "published":  # pre-trained, in the layout of the Hub, without a feature extractor
        shutil.copytree(reference / "hub_eat" / "pretrained", folder, dirs_exist_ok=True)
    elif kind == "sam_audio_pretraining":
        SAMAudioForPreTraining(SAMAudioConfig(**SAM_AUDIO, window_frames=WINDOW)).save_pretrained(folder)
        SAMAudioFeatureExtractor().save_pretrained(folder)
    elif kind == "sam_audio_waveform":
        SAMAudioModel(SAMAudioConfig(**SAM_AUDIO, frontend="waveform")).save_pretrained(folder)
        SAMAudioFeatureExtractor(frontend="waveform").save_pretrained(folder)
    else:
        assert kind == "other_library"
        config = ASTConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_length=WINDOW
        )
        ASTForAudioClassification(config).save_pretrained(folder)
        ASTFeatureExtractor(max_length=WINDOW).save_pretrained(folder)


OURS = ("sslam_classifier", "published", "sam_audio_pretraining", "sam_audio_waveform")


@pytest.fixture(scope="session")
def model_folders(reference, tmp_path_factory) -> dict[str, str]:
    """The folder of each kind of model."""
    folders = {}
    for kind in (*OURS, "other_library"):
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp("models") / kind
        folder.mkdir()
        _save(kind, folder, reference)
        folders[kind] = str(folder)
    return folders


@pytest.fixture(scope="session", params=OURS)
def model(request, model_folders) -> str:
    """A model of polyaudio."""
    return model_folders[request.param]


@pytest.fixture(scope="session", params=(*OURS, "other_library"))
def any_model(request, model_folders) -> str:
    return model_folders[request.param]


@pytest.fixture(scope="session")
def sound():
    """A clip of this length in seconds: a sweep in noise, another one for each seed."""

    def make(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
        rng = np.random.default_rng(seed)
        time = np.arange(round(seconds * rate)) / rate
        sweep = 0.3 * np.sin(2 * np.pi * (rng.uniform(200, 2000) + 200 * time) * time)
        return (sweep + 0.05 * rng.standard_normal(len(time))).astype(np.float32)

    return make
