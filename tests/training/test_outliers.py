# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Training with outliers: what the model learns from them, and what the run knows and says of them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from builders import RATE, SAM_AUDIO, TONES, write_events, write_tones
from polyaudio import AudioTrainingArguments, DataArguments, SAMAudioConfig, fine_tune, predict
from polyaudio.scripts.train import main as train
from polyaudio.training.divisions import load_divisions


SHORT = {"num_train_epochs": 1, "dataloader_num_workers": 0, "report_to": "none", "learning_rate": 3e-3}
OTHERS = {"low": 300.0, "middle": 1000.0, "top": 6000.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Tones of the classes in `known`, and of two other classes and one of them in `others`."""
    folder = tmp_path_factory.mktemp("clips")
    write_tones(folder / "known", TONES, 8)
    write_tones(folder / "others", OTHERS, 6, seed=1)
    return folder


def run(folder: Path, output: Path, changes: dict | None = None, **settings):
    data = {"test_size": 0.3, "outliers": str(folder / "others"), **settings.pop("data", {})}
    args = AudioTrainingArguments(str(output), **{**SHORT, **(changes or {})})
    return fine_tune(folder / "known", SAMAudioConfig(**SAM_AUDIO), args, data=DataArguments(**data), **settings)


def test_the_model_is_less_sure_of_outliers_than_of_its_classes(folder, tmp_path):
    once = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    changes = {"num_train_epochs": 15, "per_device_train_batch_size": 4, **once}
    result = run(folder, tmp_path, changes, data={"outlier_ratio": 1.0, "cache_features": True})
    assert result.evaluation.clips["accuracy"] == 1
    scores = {
        name: np.mean([one.labels[0].score for one in predict(sorted((folder / part).rglob("*.wav")), tmp_path)])
        for name, part in (("known", "known"), ("middle", "others/middle"), ("top", "others/top"))
    }
    assert max(scores["middle"], scores["top"]) < scores["known"] - 0.1


def test_the_card_and_the_run_know_them(folder, tmp_path):
    """The low tones of the other dataset are of a class of the model."""
    run(folder, tmp_path / "run")
    card = (tmp_path / "run" / "README.md").read_text()
    assert "Training also took 12 clips of 2 other classes from" in card
    for changes, message in (
        ({"outliers": None}, "its splits were"),
        ({"outliers": str(write_tones(tmp_path / "fewer", OTHERS, 2, seed=1))}, "outliers had 12 clips and has now 4"),
        ({"outlier_ratio": 1.0}, "outlier_ratio was 0.5 and is now 1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            run(folder, tmp_path / "run", data=changes, resume=True)


def test_the_command_takes_them_with_balanced_samples(folder, tmp_path, caplog):
    flags = ["--dataset", str(folder / "known"), "--outliers", str(folder / "others"), "--outlier-ratio", "0.25"]
    flags += ["--balanced-samples", "6", "--epochs", "1", "--report-to", "none", "--config", "default"]
    flags += ["--dataloader-num-workers", "0", "--output-dir", str(tmp_path / "run")]
    assert train(flags) == 0
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_a_frozen_encoder_takes_them(folder, tmp_path):
    assert run(folder, tmp_path / "run", freeze_encoder=True).history


def test_outliers_with_the_audio_of_held_out_clips_are_a_leak(folder, tmp_path):
    """Whatever their label is. The audio of training clips is none."""
    rng = np.random.default_rng(0)
    for part, names in (("train", ("high", "low")), ("test", ("high", "low")), ("others", ("top", "middle"))):
        for name in names:
            for number in range(4):
                noise = (0.1 * rng.standard_normal(2 * RATE)).astype(np.float32)
                path = tmp_path / ("others" if part == "others" else f"known/{part}") / name / f"{number}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, noise, RATE)
    others = tmp_path / "others"
    shutil.copy(tmp_path / "known" / "train" / "low" / "1.wav", others / "top" / "of training.wav")
    data = DataArguments(outliers=str(others))
    load_divisions(tmp_path / "known", data)
    shutil.copy(tmp_path / "known" / "test" / "low" / "1.wav", others / "top" / "held out.wav")
    with pytest.raises(ValueError, match="pairs of training and held-out clips with the same audio: 1"):
        load_divisions(tmp_path / "known", data)


def test_labels_of_events_take_none(folder, tmp_path):
    events = write_events(tmp_path / "events", 4, seed=0)
    args = AudioTrainingArguments(str(tmp_path / "run"), **SHORT)
    data = DataArguments(test_size=0.3, outliers=str(folder / "others"))
    with pytest.raises(ValueError, match="are for clips with one label"):
        fine_tune(events, SAMAudioConfig(**SAM_AUDIO), args, data=data)
