# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A Hub on this machine, and small classifiers to push to it."""

from pathlib import Path

import pytest
import torch

from builders import SSLAM
from hub_server import HubServer
from polyaudio import (
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
    SSLAMForAudioFrameClassification,
)


LABELS = {"id2label": {0: "high", 1: "low"}, "label2id": {"high": 0, "low": 1}, "initializer_range": 0.3}


@pytest.fixture
def hub():
    with HubServer() as hub:
        yield hub


@pytest.fixture(scope="session")
def classifiers(tmp_path_factory) -> dict[str, Path]:
    """Folders of models of clips with one label, of clips with several labels, and of frames."""
    several = {"problem_type": "multi_label_classification"}
    kinds = {
        "clips": (SSLAMForAudioClassification, {"problem_type": "single_label_classification"}),
        "tags": (SSLAMForAudioClassification, several),
        "frames": (SSLAMForAudioFrameClassification, several),
    }
    folders = {}
    for name, (model_class, settings) in kinds.items():
        folders[name] = tmp_path_factory.mktemp("models") / name
        torch.manual_seed(0)
        model = model_class(SSLAMConfig(**SSLAM, **LABELS, window_frames=64, **settings))
        model.save_pretrained(folders[name])
        SSLAMFeatureExtractor(max_length=64, mask_padding=True).save_pretrained(folders[name])
    return folders
