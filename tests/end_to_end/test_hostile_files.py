# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Hostile audio files, through every command that reads audio.

Each bad file is counted and named with a reason. It ends no command, and no part of it is taken for the whole. The
others are read as if it were not there.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hostile_audio import bad_files, odd_files, write_bad, write_odd
from transformers import AutoConfig

from builders import RATE, write_tones
from polyaudio import load_audio
from polyaudio.data.audio import AudioFileError, audio_info, check_audio, decode_audio
from polyaudio.scripts.dataset import main as dataset
from polyaudio.scripts.embed import main as embed
from polyaudio.scripts.evaluate import main as evaluate
from polyaudio.scripts.predict import main as predict
from polyaudio.scripts.train import main as train


RECIPE = """
model:
  model_type: sslam
  hidden_size: 16
  num_hidden_layers: 1
  num_attention_heads: 2
  intermediate_size: 16
  max_time_patches: 16
feature_extractor: {max_length: 256}
training: {num_train_epochs: 1, per_device_train_batch_size: 8, use_cpu: true, report_to: none}
"""


@pytest.mark.parametrize(("name", "data"), [pytest.param(name, data, id=name) for name, data in bad_files()])
def test_bad_files_are_refused(name, data, tmp_path):
    (tmp_path / name).write_bytes(data)
    for read in (decode_audio, check_audio, lambda file: load_audio(file, RATE)):
        for file in (tmp_path / name, data):
            with pytest.raises(AudioFileError):
                read(file)


@pytest.mark.parametrize(("name", "data", "seconds"), [pytest.param(*row, id=row[0]) for row in odd_files()])
def test_odd_files_are_read_whole(name, data, seconds, tmp_path):
    (tmp_path / name).write_bytes(data)
    waveform, rate = decode_audio(tmp_path / name)
    assert len(waveform) / rate == pytest.approx(seconds, abs=0.01)
    assert audio_info(data).duration == pytest.approx(len(waveform) / rate)
    assert np.isfinite(load_audio(data, RATE)).all()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="everybody, or root, may read every file")
def test_a_file_that_may_not_be_read(tmp_path):
    soundfile.write(tmp_path / "secret.wav", np.zeros(100), RATE)
    (tmp_path / "secret.wav").chmod(0)
    with pytest.raises(AudioFileError, match=r"secret\.wav may not be read by this user"):
        load_audio(tmp_path / "secret.wav", RATE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two classes of tones, with bad files in one class and odd files in the other."""
    folder = write_tones(tmp_path_factory.mktemp("data") / "in", {"high": 3000.0, "low": 300.0}, 6)
    write_bad(folder / "high")
    write_odd(folder / "low")
    device = folder / "high" / "device.wav"
    if device.is_symlink():
        assert dataset(["inspect", str(folder)]) == 2  # a file outside the dataset
        device.unlink()
    return folder


@pytest.fixture(scope="module")
def bad(folder) -> set[str]:
    good = {f"{number}.wav" for number in range(6)}
    return {path.name for path in (folder / "high").iterdir()} - good


@pytest.fixture(scope="module")
def model(folder, tmp_path_factory) -> Path:
    """A model that was trained on that folder."""
    place = tmp_path_factory.mktemp("run")
    (place / "recipe.yaml").write_text(RECIPE)
    arguments = ["--config", str(place / "recipe.yaml"), "--dataset", str(folder), "--skip-leak-check"]
    assert train([*arguments, "--output-dir", str(place / "model"), "--test-size", "0.3"]) == 0
    return place / "model"


def assert_named(text: str, bad: set[str]) -> None:
    assert not [name for name in bad if name not in text]
    assert "Traceback" not in text


def test_train_and_evaluate(model, folder, bad, tmp_path, capsys):
    assert AutoConfig.from_pretrained(model).num_labels == 2
    assert evaluate([str(model), "--dataset", str(folder), "--output", str(tmp_path)]) == 0
    assert_named(capsys.readouterr().err, bad)
    counts = json.loads((tmp_path / "evaluation.json").read_text())["clips"]
    assert counts["count"] == 6 + 6 + len(list(odd_files()))


def test_predict(model, folder, bad, capsys):
    assert predict([str(folder), "--model", str(model), "--json", "--workers", "0"]) == 1
    out, err = capsys.readouterr()
    names = {Path(one["file"]).name for one in json.loads(out)}
    assert names.isdisjoint(bad)
    assert names == {name for name, *_ in odd_files()} | {f"{number}.wav" for number in range(6)}
    assert_named(err, bad)
    assert f"{len(bad)} of {len(bad) + 12 + len(list(odd_files()))} files could not be read" in err


def test_embed(model, folder, bad, tmp_path, capsys):
    arguments = ["--model", str(model), "--granularity", "utterance", "--output", str(tmp_path), "--workers", "0"]
    assert embed([str(folder / "high"), *arguments]) == 1
    assert_named(capsys.readouterr().err, bad)
    assert sorted(path.name for path in tmp_path.rglob("*.npy")) == [f"{number}.wav.npy" for number in range(6)]


def test_inspect(folder, bad, tmp_path, capsys):
    assert dataset(["inspect", str(folder), "--output", str(tmp_path), "--examples", "0"]) == 0
    assert_named(capsys.readouterr().err, bad)
    report = json.loads((tmp_path / "inspect.json").read_text())
    assert report["clips"] == 12 + len(list(odd_files()))
    assert {Path(clip["name"]).name for clip in report["unreadable"]} == bad


def test_check(folder, bad, tmp_path, capsys):
    assert dataset(["check", str(folder), "--output", str(tmp_path / "check.json")]) == 1  # odd files hold one noise
    assert_named(capsys.readouterr().err, bad)
    report = json.loads((tmp_path / "check.json").read_text())
    assert {Path(clip["name"]).name for clip in report["unreadable"]} == bad


def test_stats(folder, bad, tmp_path, capsys):
    arguments = ["--output", str(tmp_path / "stats.json"), "--num-workers", "0"]
    assert dataset(["stats", str(folder), *arguments]) == 0
    assert_named(capsys.readouterr().err, bad)
    assert json.loads((tmp_path / "stats.json").read_text())["clips"] == 12 + len(list(odd_files()))


def test_build(folder, bad, tmp_path, capsys):
    assert dataset(["build", str(folder), "--output", str(tmp_path / "out"), "--chunk", "0.3"]) == 0
    assert_named(capsys.readouterr().err, bad)
