# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A small CompMusic folder through `train`, `evaluate` and `probe`, with audio and without."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from builders import SAM_AUDIO
from polyaudio import (
    AudioTrainingArguments,
    AugmentationArguments,
    DataArguments,
    SAMAudioConfig,
    evaluate,
    fine_tune,
)
from polyaudio.data.loading import load_clips
from polyaudio.scripts.evaluate import main as evaluate_main
from polyaudio.scripts.probe import main as probe_main
from raga_folders import concert_series, write_compmusic_raga


pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mirdata") is None, reason="mirdata, of the extra polyaudio[mirdata], is not installed"
)

CARNATIC = "mirdata:compmusic_raga/carnatic"
# Semitones above the tonic
MELODIES = {"Kalyani": (0, 4, 6, 7, 11), "Todi": (0, 1, 3, 6, 8)}


def write_collection(home: Path, *, seconds: float | None) -> Path:
    """Two ragas by four artists at two concerts each, whose pitch tracks hold their swaras for 0.2 s each."""
    write_compmusic_raga(home, concert_series(list(MELODIES), artists=4, concerts=2), seconds=seconds)
    times = np.arange(0, 6, 0.01)
    for path in home.rglob("*.pitch"):
        raga, tonic = path.stem.rpartition("_")[2], float(path.with_suffix(".tonicFine").read_text())
        notes = np.random.default_rng(len(str(path))).choice(MELODIES[raga], 30)
        pitch = tonic * 2 ** (np.repeat(notes, 20) / 12)
        np.savetxt(path, np.stack([times, pitch], 1), delimiter="\t", fmt="%.7f")
    return home


@pytest.fixture(scope="module")
def tracks(tmp_path_factory) -> Path:
    return write_collection(tmp_path_factory.mktemp("tracks"), seconds=None)


@pytest.fixture(scope="module")
def trained(tracks, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "pitch"
    args = AudioTrainingArguments(
        str(folder), num_train_epochs=8, learning_rate=5e-3, per_device_train_batch_size=4, report_to="none", seed=1
    )
    data = DataArguments(
        data_home=str(tracks),
        given="pitch-only",
        group_by="concert",
        test_size=0.25,
        crop_seconds=4,
        cache_features=True,
    )
    fine_tune(CARNATIC, SAMAudioConfig(frontend="tonic_pitch", feature_size=64, **SAM_AUDIO), args, data=data)
    return folder


def test_training_from_pitch_tracks_alone(trained, tracks, capsys):
    card = (trained / "README.md").read_text()
    assert "The tonics and the pitch of the melody were given by the dataset" in card
    assert "No audio was read." in card
    assert "divided by concert" in card
    assert "Not checked: the clips are pitch tracks" in card
    arguments = ["--dataset", CARNATIC, "--data-home", str(tracks)]
    assert evaluate_main([str(trained), *arguments, "--given", "pitch-only"]) == 0
    assert "accuracy" in capsys.readouterr().out
    evaluation = evaluate(trained, CARNATIC, data_home=tracks, given="pitch-only")
    assert evaluation.clips["count"] == 16
    assert evaluation.clips["accuracy"] >= 0.75
    assert evaluate_main([str(trained), *arguments]) != 0  # there is no audio
    assert "--given" in capsys.readouterr().err


def test_probe_by_artist(trained, tracks, tmp_path, capsys):
    arguments = ["--dataset", CARNATIC, "--data-home", str(tracks), "--given", "pitch-only", "--group-by", "artist"]
    assert probe_main([str(trained), *arguments, "--folds", "2", "--output", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "probe.json").read_text())
    assert report["held_out"] == "2 folds by artist"
    assert report["settings"]["given"] == "pitch-only"
    text = capsys.readouterr().out
    for name in ("tdms", "pitch_histogram"):
        assert report["baselines"][name]["recordings"]["accuracy"] == 1.0  # the sets of swaras differ
        assert "accuracy" in report["baselines"][name]["recordings"]["intervals"]
        assert name in text


def test_with_audio_the_given_tonic_and_pitch_go_through(tmp_path):
    home = write_collection(tmp_path / "home", seconds=1.0)
    args = AudioTrainingArguments(str(tmp_path / "run"), max_steps=1, report_to="none")
    config = SAMAudioConfig(frontend="tonic_pitch", feature_size=64, **SAM_AUDIO)
    data = DataArguments(data_home=str(home), given="pitch", group_by="artist", test_size=0.25, skip_leak_check=True)
    result = fine_tune(CARNATIC, config, args, data=data)
    assert "were given by the dataset" in (result.folder / "README.md").read_text()

    clips = load_clips(CARNATIC, data_home=home, given="tonic")
    assert clips["train"]["given_tonic"][:3] == [140.0] * 3
    with pytest.raises(ValueError, match="pitch_shift would make given tonics wrong"):
        fine_tune(CARNATIC, config, args, data=data, augmentation=AugmentationArguments(pitch_shift=2), overwrite=True)
    mel = SAMAudioConfig(**SAM_AUDIO)
    with pytest.raises(ValueError, match="front end 'log_mel' cannot take what is given"):
        fine_tune(CARNATIC, mel, args, data=data, overwrite=True)
    result = evaluate(result.folder, CARNATIC, data_home=home, given="pitch")
    assert result.clips["count"] == 16
