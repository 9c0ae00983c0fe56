# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Clips that cannot be read are found and left out."""

from pathlib import Path

import datasets
import pytest

from builders import audio_column, wav_bytes, write_clip
from polyaudio.data import audio
from polyaudio.data.loading import load_clips
from polyaudio.data.readable import drop_unreadable


def test_drop_unreadable(class_folders):
    (class_folders / "tabla" / "text.wav").write_text("no sound")
    (class_folders / "tabla" / "zero.wav").write_bytes(b"")
    data = (class_folders / "tabla" / "hit2_chunk2.flac").read_bytes()
    (class_folders / "tabla" / "hit2_chunk2.flac").write_bytes(data[: len(data) // 2])
    clips, bad = drop_unreadable(load_clips(str(class_folders)))
    assert len(clips["train"]) == 4
    assert {(clip.split, Path(clip.name).name) for clip in bad} == {
        ("train", "text.wav"),
        ("train", "zero.wav"),
        ("train", "hit2_chunk2.flac"),
    }
    assert any("is empty" in clip.reason for clip in bad)
    for path in class_folders.rglob("*.*"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="None of the 7 clips of split train can be read"):
        drop_unreadable(load_clips(str(class_folders)))


def test_long_clips_are_left_out_unless_parts_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "_MOST_SAMPLES", 10 * 16_000)
    long = write_clip(tmp_path / "long.wav", seconds=11)
    clips = datasets.DatasetDict(train=audio_column([wav_bytes(tmp_path / "1.wav"), str(long)]))
    readable, bad = drop_unreadable(clips)
    assert len(readable["train"]) == 1
    assert "long.wav is too long" in bad[0].reason
    readable, bad = drop_unreadable(clips, in_parts=True)
    assert len(readable["train"]) == 2
    assert not bad


def test_drop_unreadable_without_paths(tmp_path):
    rows = audio_column([wav_bytes(tmp_path / "1.wav"), {"bytes": b"no sound", "path": None}, None])
    clips, bad = drop_unreadable(datasets.DatasetDict(test=rows))
    assert len(clips["test"]) == 1
    assert [(clip.split, clip.name) for clip in bad] == [("test", "row 1"), ("test", "row 2")]
