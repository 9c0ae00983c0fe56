# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Windows of a recording have the frames of the whole recording."""

import numpy as np
import pytest
import soundfile
import torch

from polyaudio import SAMAudioConfig, SAMAudioFeatureExtractor, load_audio
from polyaudio.modeling.traits import traits_of


RATE = 16_000


@pytest.mark.parametrize("frontend", ["log_mel", "waveform"])
@pytest.mark.parametrize("file_rate", [8_000, 16_000, 44_100])
def test_windows_have_the_frames_of_the_whole_clip(tmp_path, frontend, file_rate):
    rng = np.random.default_rng(0)
    extractor = SAMAudioFeatureExtractor(frontend)
    for number in range(20):
        frames = 4 * int(rng.integers(1, 10)) * (1 if frontend == "log_mel" else 256)
        config = SAMAudioConfig(
            frontend=frontend, conv_dim=[8, 8], conv_kernel=[3, 3], conv_stride=[2, 2], window_frames=frames
        )
        traits = traits_of(config)
        grid = traits.window_grid(config, extractor)
        # Every other clip ends near the end of a window, where the mirrored end is part of two windows
        seconds = rng.uniform(0, 2) if number % 2 else 2 * grid.step / RATE + rng.uniform(-0.05, 0.05)
        samples = 0.1 * rng.standard_normal(max(1, round(seconds * file_rate)))
        soundfile.write(tmp_path / "clip.wav", samples, file_rate, subtype="FLOAT")
        waveform = load_audio(tmp_path / "clip.wav", RATE)

        whole = extractor(waveform, sampling_rate=RATE, return_tensors="pt")["input_values"][0]
        windows = grid.cut(waveform)
        call = traits.extractor_call(config, extractor, grid, None, [])
        inputs = extractor(windows, sampling_rate=RATE, return_tensors="pt", **call)
        parts = inputs["input_values"][inputs["attention_mask"].bool()]
        torch.testing.assert_close(parts.exp(), whole.exp(), rtol=1e-3, atol=1e-5)

        lengths = [frames] * (len(windows) - 1)
        assert [grid.frames(len(window)) for window in windows] == [*lengths, len(whole) - sum(lengths)]
        assert [length for _, length in grid.windows(len(waveform))] == [len(window) for window in windows]
        first = int(rng.integers(0, len(windows)))
        read = grid.read(tmp_path / "clip.wav", RATE, 0, first) if first else []
        read += grid.read(tmp_path / "clip.wav", RATE, first)
        for one, other in zip(read, windows, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_windows_of_a_length_in_seconds():
    config, extractor = SAMAudioConfig(), SAMAudioFeatureExtractor()
    traits = traits_of(config)
    assert traits.window_grid(config, extractor).step == 7680 * 256
    grid = traits.window_grid(config, extractor, 10.0)
    assert grid.step == 640 * 256  # 40 encoder frames of 0.256 s
    traits.set_window(config, grid)
    assert config.window_frames == 640
    config.window_frames = 0
    assert traits.window_grid(config, extractor) is None


def test_crops_in_training_lengthen_the_window():
    config, extractor = SAMAudioConfig(), SAMAudioFeatureExtractor()
    traits = traits_of(config)
    traits.fit_to_crops(extractor, config, 20.0, False)
    assert config.window_frames == 7680
    traits.fit_to_crops(extractor, config, 256.0, False)
    assert config.window_frames == 16_000


@pytest.mark.parametrize("frontend", ["tonic_chroma", "tonic_pitch", "tonic_pitch+chroma"])
def test_a_recording_has_one_tonic(frontend):
    config, extractor = SAMAudioConfig(frontend=frontend), SAMAudioFeatureExtractor(frontend)
    traits = traits_of(config)
    assert traits.window_grid(config, extractor) is None
    grid = traits.window_grid(config, extractor, 10.0)
    assert grid.step == 10 * RATE
    traits.set_window(config, grid)
    assert config.window_frames == 0
    with pytest.raises(ValueError, match="depend on the whole clip"):
        extractor(np.zeros(RATE), sampling_rate=RATE, center=False)
