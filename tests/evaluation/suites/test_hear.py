# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""HEAR's common API, its validator, and its runner on a local task."""

import importlib.util
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from builders import RATE
from polyaudio import embed
from polyaudio.evaluation.suites import hear
from prepared_python import python


MODULE = "polyaudio.evaluation.suites.hear"
# HEAR's programs import tensorflow to recognise its models, and the real one does not go with transformers
TENSORFLOW = """
class Module: ...
class test: is_gpu_available = staticmethod(lambda **_: True)
"""
# As PYTHONPATH does, of which docs/guides/benchmarks.md speaks
WITH_STAND_IN = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def run_hear(tmp_path_factory) -> Callable[..., subprocess.CompletedProcess]:
    """Runs one of HEAR's programs."""
    folder = tmp_path_factory.mktemp("stand_in")
    (folder / "tensorflow.py").write_text(TENSORFLOW)

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [python(), "-c", WITH_STAND_IN, str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)

    return run


@pytest.fixture(scope="module")
def audio(sound) -> torch.Tensor:
    return torch.from_numpy(np.stack([sound(2.0, seed) for seed in range(3)]))


def test_the_common_api(any_model, audio):
    loaded = hear.load_model(any_model)
    assert isinstance(loaded, torch.nn.Module)
    assert (
        type(loaded.sample_rate) is type(loaded.scene_embedding_size) is type(loaded.timestamp_embedding_size) is int
    )
    assert loaded.sample_rate == RATE
    scenes = hear.get_scene_embeddings(audio, loaded)
    assert scenes.shape == (3, loaded.scene_embedding_size)
    assert scenes.dtype == torch.float32
    torch.testing.assert_close(hear.get_scene_embeddings(audio, loaded), scenes, atol=0, rtol=0)
    torch.testing.assert_close(hear.get_scene_embeddings(audio[1:2], loaded), scenes[1:2], atol=1e-5, rtol=1e-4)


def test_timestamps(model, audio):
    loaded = hear.load_model(model)
    embeddings, timestamps = hear.get_timestamp_embeddings(audio, loaded)
    assert embeddings.dtype == timestamps.dtype == torch.float32
    assert embeddings.shape == (*timestamps.shape, loaded.timestamp_embedding_size)
    assert len(timestamps) == 3
    step = timestamps.diff()
    torch.testing.assert_close(step, torch.full_like(step, 1000 * loaded.frame_seconds), atol=1e-3, rtol=0)
    assert 0 <= timestamps[0, 0] < 1000 * loaded.frame_seconds
    assert abs(timestamps[0, -1] - 2000) <= 1000 * loaded.frame_seconds
    alone, _ = hear.get_timestamp_embeddings(audio[1:2], loaded)
    torch.testing.assert_close(alone, embeddings[1:2], atol=1e-5, rtol=1e-4)


def test_an_event_stands_at_the_times_of_its_vectors(model_folders):
    """What is louder from 1 s to 1.5 s changes the vectors there most."""
    loaded = hear.load_model(model_folders["published"])
    quiet = 0.01 * torch.randn(1, 3 * RATE, generator=torch.Generator().manual_seed(0))
    loud = quiet.clone()
    loud[:, RATE : 3 * RATE // 2] *= 30
    before, times = hear.get_timestamp_embeddings(quiet, loaded)
    after, _ = hear.get_timestamp_embeddings(loud, loaded)
    change = (after - before)[0].norm(dim=1)
    is_inside = (times[0] > 1000) & (times[0] < 1500)
    assert change[is_inside].min() > change[(times[0] < 900) | (times[0] > 1600)].max()


def test_a_model_must_be_named(tmp_path):
    with pytest.raises(ValueError, match="Pass a model folder with --model"):
        hear.load_model()
    with pytest.raises(ValueError, match="is neither a model folder nor a model on the Hugging Face Hub"):
        hear.load_model(str(tmp_path))


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("hearvalidator") is None,
    reason="hearvalidator is not installed: pip install --no-deps hearvalidator",
)
@pytest.mark.parametrize("name", ["sslam_classifier", "sam_audio_pretraining"])
def test_the_validator_of_hear(name, model_folders, run_hear):
    run = run_hear("hearvalidator.validate", MODULE, "--model", model_folders[name], "--device", "cpu")
    assert run.stdout.endswith("Looks good!\n"), run.stdout + run.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("heareval", "intervaltree", "slugify")),
    reason="heareval is not installed: pip install --no-deps heareval intervaltree sortedcontainers python-slugify",
)
@pytest.mark.parametrize("kind", ["scene", "event"])
def test_the_runner_of_hear_on_a_local_task(kind, model_folders, run_hear, sound, tmp_path):
    task = tmp_path / "tasks" / f"local-{kind}"
    events = [{"label": "tone", "start": 200.0, "end": 900.0}]
    metadata = {"embedding_type": kind, "prediction_type": "multilabel", "sample_duration": 1.5}
    splits = ["train", "valid", "test"]
    for split in splits:
        folder = task / str(RATE) / split
        folder.mkdir(parents=True)
        for index in range(3):
            soundfile.write(folder / f"{index}.wav", sound(1.5, index), RATE, subtype="FLOAT")
        labels = ["tone"] if kind == "scene" else events
        (task / f"{split}.json").write_text(json.dumps({f"{index}.wav": labels for index in range(3)}))
    (task / "task_metadata.json").write_text(
        json.dumps({**metadata, "split_mode": "trainvaltest", "splits": splits, "mode": "small"})
    )
    (task / "labelvocabulary.csv").write_text("idx,label\n0,tone\n")
    model = model_folders["sslam_classifier"]
    arguments = ["--model", model, "--tasks-dir", str(tmp_path / "tasks"), "--embeddings-dir", str(tmp_path / "out")]
    run = run_hear("heareval.embeddings.runner", MODULE, *arguments)
    assert run.returncode == 0, run.stdout + run.stderr
    results = tmp_path / "out" / MODULE / task.name / "test"
    granularity = "utterance" if kind == "scene" else "frame"
    (clip,) = embed(Path(task / str(RATE) / "test" / "1.wav"), model, granularity=granularity)
    np.testing.assert_allclose(np.load(results / "1.wav.embedding.npy"), clip.features, atol=1e-5, rtol=1e-4)
    if kind == "event":
        times = json.loads((results / "1.wav.timestamps.json").read_text())
        labels = json.loads((results / "1.wav.target-labels.json").read_text())
        assert labels == [["tone"] if 200 <= time <= 900 else [] for time in times]
