# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Clips of none of the classes: which are taken, their order over the epochs, and their targets."""

import itertools
import logging
from collections import Counter

import pytest
import torch

from builders import TONES, write_clip, write_tones
from polyaudio.data.loading import load_clips
from polyaudio.data.outliers import WithOutliers, load_outliers
from polyaudio.data.targets import Targets
from polyaudio.data.windows import AudioClips


RATE = 8_000


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = write_tones(tmp_path_factory.mktemp("clips") / "known", TONES, 5)
    others = write_tones(folder.parent / "others", {"low": 300.0, "middle": 1000.0, "top": 6000.0}, 3)
    return load_clips(folder)["train"], others


def test_clips_with_labels_of_the_model_and_unreadable_ones_are_left_out_and_counted(clips, tmp_path, caplog):
    _, others = clips
    for name in ("low", "middle"):
        write_clip(tmp_path / name / "0.wav")
    (tmp_path / "middle" / "1.wav").write_bytes(b"no sound")
    with caplog.at_level(logging.INFO, logger="polyaudio"):
        outliers = load_outliers(tmp_path, ["high", "low"])
    assert len(outliers) == 1
    assert "1 clips cannot be read" in caplog.text
    assert "outliers: 1 clips of 1 other classes; 1 clips with labels of the model are left out" in caplog.text
    assert len(load_outliers(others, ["high", "low"])) == 6
    with pytest.raises(ValueError, match="knows all labels"):
        load_outliers(others, ["low", "middle", "top"])


def test_each_outlier_is_drawn_before_any_is_drawn_again(clips):
    known, others = clips
    outliers = AudioClips(load_outliers(others, ["high", "low"]), RATE)
    name_of = {len(outliers[index]["waveform"]): index for index in range(6)}
    assert len(name_of) == 6

    def drawn(epoch: int, seed: int = 0) -> list[int]:
        data = WithOutliers(AudioClips(known, RATE), outliers, ratio=0.4, seed=seed)
        data.set_epoch(epoch)
        assert len(data) == 14
        assert [data[index]["label"] for index in range(10)] == known["label"][:]
        items = [data[index] for index in range(10, 14)]
        assert all(item["label"] is None for item in items)
        return [name_of[len(item["waveform"])] for item in items]

    epochs = [drawn(epoch) for epoch in range(3)]
    assert Counter(itertools.chain(*epochs)) == dict.fromkeys(range(6), 2)
    assert sorted(epochs[0] + epochs[1][:2]) == list(range(6))
    assert drawn(1) == epochs[1]
    assert drawn(1, seed=1) != epochs[1]


def test_an_epoch_can_take_outliers_more_than_once(clips):
    known, others = clips
    data = WithOutliers(AudioClips(known, RATE), AudioClips(load_outliers(others, ["high", "low"]), RATE), ratio=1.5)
    lengths = Counter(len(data[index]["waveform"]) for index in range(10, 25))
    assert sorted(lengths.values()) == [2, 2, 2, 3, 3, 3]


def test_a_ratio_without_outliers_is_refused(clips):
    known = AudioClips(clips[0], RATE)
    for ratio in (0.0, 0.01, -1.0):
        with pytest.raises(ValueError, match="outlier_ratio must be above 0"):
            WithOutliers(known, known, ratio=ratio)


def test_the_target_of_an_outlier_is_the_same_for_all_classes(clips):
    targets = Targets(clips[0].features["label"], soft=True)
    shares = targets([1, None, 0], torch.ones(3, 4))
    assert torch.equal(shares, torch.tensor([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]))
