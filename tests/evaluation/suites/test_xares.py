# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The encoder of X-ARES: its contract, its checker, and its runner on a local task."""

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from builders import RATE
from polyaudio import embed
from polyaudio.evaluation.suites.xares import XaresModel


XARES = pytest.mark.skipif(
    importlib.util.find_spec("xares") is None or importlib.util.find_spec("ignite") is None,
    reason="xares is not installed: pip install xares",
)


def encoder_of(folder: str) -> XaresModel:
    class SmallEncoder(XaresModel):
        model = folder

    return SmallEncoder()


def test_the_contract(model, sound, tmp_path):
    encoder = encoder_of(model)
    assert encoder.sampling_rate == RATE
    batch = torch.from_numpy(np.stack([sound(2.0, seed) for seed in range(3)]))
    vectors = encoder(batch)
    assert vectors.shape[::2] == (3, encoder.output_dim)
    assert vectors.dtype == torch.float32
    assert abs(vectors.shape[1] * encoder.hop_size_in_ms - 2000) <= encoder.hop_size_in_ms
    torch.testing.assert_close(encoder(batch), vectors, atol=0, rtol=0)
    torch.testing.assert_close(encoder(batch[1:2]), vectors[1:2], atol=1e-5, rtol=1e-4)
    soundfile.write(tmp_path / "clip.wav", batch[1].numpy(), RATE, subtype="FLOAT")
    (clip,) = embed(tmp_path / "clip.wav", model, granularity="frame")
    np.testing.assert_allclose(vectors[1], clip.features, atol=1e-5, rtol=1e-4)


def test_errors_say_what_to_do(model_folders):
    with pytest.raises(ValueError, match="Set `model` in the class XaresModel to a model folder or a Hub name"):
        XaresModel()
    with pytest.raises(
        ValueError, match="does not know the times of the vectors of a model of type audio-spectrogram"
    ):
        encoder_of(model_folders["other_library"])


@XARES
def test_the_checker_of_xares(model):
    from xares.audio_encoder_checker import check_audio_encoder

    assert check_audio_encoder(encoder_of(model))


ENCODER = """
from polyaudio.evaluation.suites.xares import XaresModel


class SmallEncoder(XaresModel):
    model = {model!r}
"""
TASK = """
from xares.task import TaskConfig


def tones_config(encoder):
    return TaskConfig(
        name="tones", encoder=encoder, private=True, label_processor=lambda x: x["label"], output_dim=2, epochs=15,
        learning_rate=0.05, eval_weight=8, num_encoder_workers=0,
    )
"""


def write_shard(path: Path, number: int) -> None:
    """Noise with a low or a high tone, in a shard as X-ARES reads them. The clips have unequal lengths."""
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as shard:
        for index in range(number):
            time = np.arange(round(rng.uniform(0.8, 1.2) * RATE)) / RATE
            tone = 0.2 * np.sin(2 * np.pi * (300, 3000)[index % 2] * time) + 0.01 * rng.standard_normal(len(time))
            audio = BytesIO()
            soundfile.write(audio, tone, RATE, format="WAV")
            for name, content in (("wav", audio.getvalue()), ("json", json.dumps({"label": index % 2}).encode())):
                entry = tarfile.TarInfo(f"{index:04}.{name}")
                entry.size = len(content)
                shard.addfile(entry, BytesIO(content))


@XARES
@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("torchcodec") is None, reason="without torchcodec and FFmpeg, X-ARES reads no audio"
)
def test_the_runner_of_xares_on_a_local_task(model_folders, tmp_path):
    (tmp_path / "small_encoder.py").write_text(ENCODER.format(model=model_folders["sslam_classifier"]))
    (tmp_path / "tones_task.py").write_text(TASK)
    folder = tmp_path / "env" / "tones"
    folder.mkdir(parents=True)
    for split in ("train", "valid", "test"):
        write_shard(folder / f"{split}-000.tar", 16)
    (folder / ".audio_tar_ready").touch()
    command = [sys.executable, "-m", "xares.run", "--max-jobs", "0", "small_encoder.py", "tones_task.py"]
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (score,) = (float(line.split()[1]) for line in run.stdout.splitlines() if line.strip().startswith("tones"))
    assert score > 0.9, run.stdout
