# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Clips and windows of clips: what is cut follows from the seed, the epoch and the index alone."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from builders import RAMP_RATE, expected_window, write_clip, write_ramps
from polyaudio.data.audio import AudioFileError
from polyaudio.data.loading import load_clips, load_recordings
from polyaudio.data.seeds import combined_seed
from polyaudio.data.windows import AudioClips, WaveformWindows


def test_audio_clips(class_folders):
    clips = load_clips(str(class_folders))["train"]
    data = AudioClips(clips, 16_000)
    assert len(data) == 5
    for item, row in zip((data[i] for i in range(5)), clips, strict=True):
        assert item["label"] == row["label"]
        assert item["waveform"].dtype == np.float32
        assert item["waveform"].shape == (1600,)
    (class_folders / "train" / "t.WAV").unlink()
    with pytest.raises(AudioFileError, match=r"t\.WAV does not exist"):
        data[4]


def test_what_is_random_follows_from_seed_epoch_and_index_alone(tmp_path):
    for i in range(4):
        write_clip(tmp_path / "a" / f"{i}.wav", seconds=2.0)
    write_clip(tmp_path / "b" / "short.wav", seconds=0.2)
    clips = load_clips(str(tmp_path))["train"]

    def jitter(waveform: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return waveform + torch.randn((), generator=generator) * 0.001

    def epochs(seed: int, workers: int) -> list[list[np.ndarray]]:
        data = AudioClips(clips, 8_000, crop_seconds=0.5, transform=jitter, seed=seed)
        loader = DataLoader(data, batch_size=None, num_workers=workers, persistent_workers=workers > 0)
        drawn = []
        for epoch in range(2):
            data.set_epoch(epoch)
            drawn.append([np.asarray(item["waveform"]) for item in loader])
        return drawn

    first, second = epochs(0, workers=0)
    assert [len(waveform) for waveform in first] == [4000] * 4 + [1600]
    for workers in (0, 2):
        again = epochs(0, workers)
        assert all(np.array_equal(one, two) for one, two in zip(first + second, again[0] + again[1], strict=True))
    for other in (second, epochs(1, workers=0)[0]):
        assert not any(np.array_equal(one, two) for one, two in zip(first, other, strict=True))
    with pytest.raises(ValueError, match="crop_seconds"):
        AudioClips(clips, 8_000, crop_seconds=0.0)


def test_windows(tmp_path):
    ramps = write_ramps(tmp_path, 6)
    (tmp_path / "6.wav").write_bytes(write_clip(tmp_path / "short" / "1.wav", seconds=0.05).read_bytes())
    (tmp_path / "short" / "1.wav").unlink()
    clips = load_recordings(str(tmp_path))
    generators_seen = []

    def transform(waveform: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        generators_seen.append(generator.initial_seed())
        return waveform * 2

    def epoch(number: int, seed: int = 3) -> list[dict]:
        data = WaveformWindows(clips, RAMP_RATE, crop_seconds=0.1, transform=transform, seed=seed)
        data.set_epoch(number)
        return [data[index] for index in range(len(data))]

    first, second = epoch(0), epoch(1)
    for number, items in enumerate((first, second)):
        assert [item["seed"] for item in items] == [combined_seed(3, number, index) for index in range(7)]
        for index, item in enumerate(items[:6]):
            assert item["waveform"].dtype == np.float32
            window = expected_window(ramps[index], item["seed"], 0.1)
            np.testing.assert_array_equal(item["waveform"], 2 * window)
        assert items[6]["waveform"].shape == (400,)
    assert generators_seen == [item["seed"] for item in first + second]
    starts = [[item["waveform"][0] for item in items[:6]] for items in (first, second, epoch(0), epoch(0, seed=4))]
    assert starts[2] == starts[0]
    assert not set(starts[0]) & (set(starts[1]) | set(starts[3]))


def test_windows_are_the_crops_of_labelled_clips(tmp_path):
    write_ramps(tmp_path / "a", 2)
    write_ramps(tmp_path / "b", 2)
    labelled_clips = AudioClips(load_clips(str(tmp_path))["train"], RAMP_RATE, crop_seconds=0.1, seed=5)
    windows = WaveformWindows(load_recordings(str(tmp_path)), RAMP_RATE, crop_seconds=0.1, seed=5)
    assert len(windows) == len(labelled_clips) == 4
    for index in range(4):
        np.testing.assert_array_equal(windows[index]["waveform"], labelled_clips[index]["waveform"])
