# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Two classifiers with random weights, which tell a tone from noise, recordings for them, and a page with both."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from builders import RATE, SSLAM
from polyaudio import (
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
    SSLAMForAudioFrameClassification,
    build_app,
)


LABELS = {"id2label": {0: "high", 1: "low"}, "label2id": {"high": 0, "low": 1}, "initializer_range": 0.3}


def _save(folder: Path, model_class: type, **settings) -> str:
    torch.manual_seed(0)
    model_class(SSLAMConfig(**SSLAM, **LABELS, window_frames=64, **settings)).save_pretrained(folder)
    SSLAMFeatureExtractor(max_length=64, mask_padding=True).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> str:
    return _save(tmp_path_factory.mktemp("models") / "clips", SSLAMForAudioClassification)


@pytest.fixture(scope="session")
def frames(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("models") / "frames"
    return _save(folder, SSLAMForAudioFrameClassification, problem_type="multi_label_classification")


@pytest.fixture(scope="session")
def recordings(tmp_path_factory) -> Path:
    folder, rng = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    time = np.arange(4 * RATE) / RATE
    soundfile.write(folder / "tone.wav", 0.3 * np.sin(2 * np.pi * 3000 * time), RATE)
    soundfile.write(folder / "noise.wav", 0.3 * rng.standard_normal(len(time)), RATE)
    bursts = 0.3 * np.repeat(rng.random(100), 800) * rng.standard_normal(100 * 800)
    soundfile.write(folder / "bursts.flac", bursts, RATE)
    (folder / "text.wav").write_text("this is not audio")
    return folder


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Finds a free port. Gradio itself tries one after the other, as other tests do at the same time."""

    def find() -> int:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            return one.getsockname()[1]

    return find


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Iterator[Path]:
    """The folder of the files of a page."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def address(clips, frames, recordings, cache, free_port) -> Iterator[str]:
    """The address of a page with both models and an example."""
    app = build_app([clips, frames], examples=[recordings / "noise.wav"])
    _, url, _ = app.launch(server_name="127.0.0.1", server_port=free_port(), prevent_thread_lock=True, quiet=True)
    yield url
    app.close()
