# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Tonics and pitch tracks that a dataset gives: crops get the pitch of their seconds, and nothing stale is silent."""

from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
import torch

from polyaudio import SAMAudioFeatureExtractor
from polyaudio.data.cached_features import CachedFeatures
from polyaudio.data.collators import AudioCollator, FeatureCollator
from polyaudio.data.given import read_pitch_track
from polyaudio.data.loading import load_clips
from polyaudio.data.readable import drop_unreadable
from polyaudio.data.targets import Targets
from polyaudio.data.windows import AudioClips


RATE = 16000
STEP = 0.01


def dataset(folder: Path, tonics: list[float | None], *, seconds: float = 4.0) -> datasets.Dataset:
    """Silent clips whose pitch in Hz is 100 plus ten times the time in seconds."""
    rows = []
    for number, tonic in enumerate(tonics):
        audio, track = folder / f"{number}.wav", folder / f"{number}.pitch"
        soundfile.write(audio, np.zeros(int(seconds * RATE)), RATE)
        times = np.arange(0, seconds, STEP)
        np.savetxt(track, np.stack([times, 100 + 10 * times], 1), delimiter="\t", fmt="%.7f")
        rows.append({"audio": str(audio), "raga": "ab"[number % 2], "tonic": tonic, "pitch_path": str(track)})
    return datasets.Dataset.from_list(rows)


@pytest.mark.parametrize("given", ["pitch", "pitch-only"])
def test_a_crop_gets_the_tonic_and_the_pitch_of_its_seconds(tmp_path, given):
    clips = load_clips(dataset(tmp_path, [150.0, 160.0]), given=given)["train"]
    cropped = AudioClips(clips, RATE, crop_seconds=1.0, seed=3)
    starts = set()
    for epoch in (0, 1):
        cropped.set_epoch(epoch)
        item = cropped[1]
        assert item["tonic"] == 160.0
        start = (item["pitch"].pitch[0] - 100) / 10 - item["pitch"].times[0]
        np.testing.assert_allclose(item["pitch"].pitch, 100 + 10 * (start + item["pitch"].times), atol=1e-6)
        assert 0 <= item["pitch"].times[0] <= STEP
        assert len(item["pitch"].times) in (100, 101)
        starts.add(round(start, 3))
    assert len(starts) == 2
    assert (item["waveform"] is None) == (given == "pitch-only")


@pytest.mark.parametrize("given", ["tonic", "pitch", "pitch-only"])
def test_features_are_those_of_the_extractor_with_the_same_arguments(tmp_path, given):
    clips = load_clips(dataset(tmp_path, [150.0, 160.0]), given=given)["train"]
    feature_extractor, targets = SAMAudioFeatureExtractor("tonic_pitch"), Targets(clips.features["label"])
    whole, cached = AudioClips(clips, RATE), CachedFeatures(clips, feature_extractor)
    batch = AudioCollator(feature_extractor, targets)([whole[0], whole[1]])
    from_cache = FeatureCollator(feature_extractor, targets)([cached[0], cached[1]])
    arguments = {"tonic": [150.0, 160.0]}
    if given != "tonic":
        tracks = [read_pitch_track(path) for path in clips["given_pitch"]]
        arguments |= {"pitch": [one.pitch for one in tracks], "pitch_times": [one.times for one in tracks]}
    waveforms = None if given == "pitch-only" else [np.zeros(4 * RATE, np.float32)] * 2
    expected = feature_extractor(waveforms, sampling_rate=RATE, return_tensors="pt", **arguments)
    torch.testing.assert_close(batch["input_values"], expected["input_values"])
    torch.testing.assert_close(from_cache["input_values"], expected["input_values"])
    assert batch["labels"].tolist() == [0, 1]


def test_what_is_missing_is_counted_and_left_out(tmp_path, caplog):
    rows = dataset(tmp_path, [150.0, None, 150.0, 150.0])
    (tmp_path / "2.pitch").unlink()
    (tmp_path / "3.pitch").write_text("0 100\n0 100\n")
    clips = load_clips(rows, given="pitch")
    assert "1 of 4 clips are left out" in caplog.text
    assert "1 of 3 clips have no tonic" in caplog.text
    assert np.isnan(AudioClips(clips["train"], RATE)[1]["tonic"])
    readable, bad = drop_unreadable(clips)
    assert len(readable["train"]) == 2
    assert "times do not ascend" in bad[0].reason
    assert len(load_clips(rows, given="pitch-only")["train"]) == 2


def test_wrong_requests(tmp_path):
    rows = dataset(tmp_path, [150.0, 160.0])
    with pytest.raises(ValueError, match=r"--given\) must be one of pitch, pitch-only, tonic"):
        load_clips(rows, given="raga")
    with pytest.raises(ValueError, match="no column 'tonic'"):
        load_clips(rows.remove_columns("tonic"), given="tonic")
    with pytest.raises(ValueError, match="have pitch tracks"):
        load_clips(rows.remove_columns("pitch_path"), given="pitch")
    with pytest.raises(ValueError, match="have pitch tracks"):
        load_clips("ragas", given="pitch")
    with pytest.raises(ValueError, match="above 0"):
        load_clips(dataset(tmp_path, [0.0, 160.0]), given="tonic")


@pytest.mark.parametrize("text", ["", "0.0\n", "0 a\n", "-1 100\n", "0 inf\n", "nan 100\n"])
def test_files_that_are_no_pitch_tracks(tmp_path, text):
    (tmp_path / "track.txt").write_text(text)
    with pytest.raises(ValueError, match="is not a pitch track"):
        read_pitch_track(tmp_path / "track.txt")


@pytest.mark.parametrize("separator", [" ", "\t", ", "])
def test_separators_of_pitch_tracks(tmp_path, separator):
    (tmp_path / "track.txt").write_text(
        "".join(f"{separator.join(row)}\n" for row in (("0", "-1", "9"), ("1", "99", "9")))
    )
    track = read_pitch_track(tmp_path / "track.txt")
    assert (track.times.tolist(), track.pitch.tolist()) == ([0.0, 1.0], [0.0, 99.0])
