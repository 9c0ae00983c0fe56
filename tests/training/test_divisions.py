# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""How a dataset is divided into clips to train on and clips to hold out."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from polyaudio import DataArguments
from polyaudio.training.divisions import load_divisions


RATE = 8_000


@pytest.fixture
def folder(tmp_path) -> Path:
    """train/dog/1.wav and test/dog/1.wav: files of the same name in both splits, each a sound of its own."""
    rng = np.random.default_rng(0)
    for split, number in (("train", 4), ("test", 2)):
        for label in ("cat", "dog"):
            (tmp_path / split / label).mkdir(parents=True)
            for index in range(number):
                levels = np.interp(np.arange(2 * RATE), np.linspace(0, 2 * RATE, 12), rng.uniform(0.01, 0.2, 12))
                samples = levels * rng.standard_normal(2 * RATE)
                soundfile.write(tmp_path / split / label / f"{index}.wav", samples, RATE)
    return tmp_path


def test_the_same_names_in_two_splits_are_no_leak(folder, caplog):
    (division,) = load_divisions(folder, DataArguments(test_size=0.25))
    assert division.counts == {
        "train": {"clips": 6, "recordings": 6},
        "validation": {"clips": 2, "recordings": 2},
        "test": {"clips": 4, "recordings": 4},
    }
    assert division.leaks.startswith("Checked")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    folds = load_divisions(folder, DataArguments(folds=3))
    assert sum(len(division.splits["test"]) for division in folds) == 12


def test_the_same_audio_in_two_splits_is_one(folder):
    samples, rate = soundfile.read(folder / "train" / "dog" / "0.wav")
    soundfile.write(folder / "test" / "dog" / "another name.flac", 0.5 * samples, rate)
    with pytest.raises(ValueError, match="pairs of training and held-out clips with the same audio: 1"):
        load_divisions(folder, DataArguments(test_size=0.25))


def test_nothing_held_out_needs_a_validation_split(folder):
    with pytest.raises(ValueError, match="test_size must lie between 0 and 1, got 0"):
        load_divisions(folder, DataArguments(test_size=0))
    (folder / "test").rename(folder / "validation")
    (division,) = load_divisions(folder, DataArguments(test_size=0))
    assert set(division.splits) == {"train", "validation"}


def test_within_a_split_names_group_clips(folder):
    for path in sorted((folder / "train").rglob("*.wav")):
        path.rename(path.with_name(f"take{int(path.stem) // 2}_chunk{path.stem}.wav"))
    (division,) = load_divisions(folder, DataArguments(test_size=0.25))
    assert division.counts["train"] == {"clips": 4, "recordings": 2}
    assert division.counts["validation"] == {"clips": 4, "recordings": 2}
    (folder / "test" / "dog" / "0.wav").rename(folder / "test" / "dog" / "take0_chunk9.wav")
    with pytest.raises(ValueError, match=r"Clips of the same recording are in training and in evaluation.*dog/take0"):
        load_divisions(folder, DataArguments(test_size=0.25))
