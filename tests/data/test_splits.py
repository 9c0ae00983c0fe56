# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Splits by recording, and what a split must be."""

from collections import Counter

import numpy as np
import pytest

from builders import labelled
from polyaudio.data.splits import check_clips, split_by_recording


@pytest.mark.parametrize("seed", range(5))
def test_split_keeps_recordings_whole_and_classes_on_both_sides(seed):
    rng = np.random.default_rng(seed)
    recordings = {f"class{i}": [f"{i}/{j}" for j in range(rng.integers(2, 30))] for i in range(8)}
    recordings["single"] = ["only"]
    clips = labelled(recordings, clips_each=3)
    train, test = split_by_recording(clips, test_size=0.2, seed=seed)
    assert len(train) + len(test) == len(clips)
    assert not set(train["recording"]) & set(test["recording"])
    names = clips.features["label"].names
    in_test = Counter(names[label] for label in test["label"])
    assert "single" not in in_test
    for name, items in recordings.items():
        if name != "single":
            assert in_test[name] == 3 * max(1, round(0.2 * len(items)))
    check_clips(train, test)


def test_split_balances_recordings_of_unequal_length():
    clips = labelled({"a": [f"a{i}" for i in range(40)], "b": [f"b{i}" for i in range(40)]})
    long = [row for row in range(len(clips)) for _ in range(1 + (row % 7) * 3)]
    train, test = split_by_recording(clips.select(long), test_size=0.25)
    for label in (0, 1):
        share = test["label"][:].count(label) / (test["label"][:].count(label) + train["label"][:].count(label))
        assert 0.2 < share < 0.3


def test_split_depends_on_the_seed_and_not_on_the_order():
    clips = labelled({"a": [f"a{i}" for i in range(20)], "b": [f"b{i}" for i in range(20)]}, clips_each=2)
    first = set(split_by_recording(clips, seed=1)[1]["recording"])
    assert first == set(split_by_recording(clips.shuffle(seed=3), seed=1)[1]["recording"])
    assert first != set(split_by_recording(clips, seed=2)[1]["recording"])


def test_split_with_recordings_of_several_classes():
    """Each artist plays both classes; every class is still on both sides, and no artist is."""
    clips = labelled({"a": [f"artist{i}" for i in range(10)], "b": [f"artist{i}" for i in range(10)]})
    train, test = split_by_recording(clips, test_size=0.2)
    assert len(test) == 4
    assert not set(train["recording"]) & set(test["recording"])
    check_clips(train, test)


def test_groups_take_the_place_of_recordings():
    """Each concert has recordings of all classes."""
    recordings = {name: [f"{concert}-{name}" for concert in range(10)] for name in "abc"}
    clips = labelled(recordings, clips_each=2)
    clips = clips.add_column("group", [f"concert {recording[0]}" for recording in clips["recording"]])
    train, test = split_by_recording(clips, test_size=0.2)
    assert len(test) == 12
    assert set(test["label"]) == {0, 1, 2}
    assert not set(train["group"]) & set(test["group"])
    check_clips(train, test)
    with pytest.raises(ValueError, match="Clips of the same group are in training and in evaluation"):
        check_clips(train, train)
    with pytest.raises(ValueError, match="cannot be split by group"):
        split_by_recording(clips.filter(lambda row: row["group"] == "concert 1"))


def test_split_that_is_impossible():
    with pytest.raises(ValueError, match="no class has two recordings"):
        split_by_recording(labelled({"a": ["1"], "b": ["2"]}))
    with pytest.raises(ValueError, match="test_size"):
        split_by_recording(labelled({"a": ["1", "2"], "b": ["3"]}), test_size=1.0)


def test_check_clips():
    train, test = labelled({"a": ["1"], "b": ["2"]}), labelled({"a": ["3"], "b": ["4"]})
    check_clips(train, test)
    for bad_train, bad_test, message in (
        (train.remove_columns("label"), test, "training clips have no column `label`"),
        (train, test.remove_columns("label"), "evaluation clips have no column `label`"),
        (labelled({"a": ["1", "2"]}), labelled({"a": ["3"]}), r"of one class \(a\)"),
        (labelled({"a": ["1"], "b": []}), test, "No training clip has the classes b"),
        (train, labelled({"a": ["3"], "c": ["4"]}), "training does not know: c"),
        (train, labelled({"a": ["1"], "b": ["4"]}), "same recording.*: 1"),
        (train, test.select([]), "no evaluation clips"),
    ):
        with pytest.raises(ValueError, match=message):
            check_clips(bad_train, bad_test)
