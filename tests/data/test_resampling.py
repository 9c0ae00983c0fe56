# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A recording resampled block by block, or in parts, is the recording resampled at once."""

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from polyaudio.data import resampling
from polyaudio.data.audio import load_audio, stream_audio
from polyaudio.data.resampling import resample_blocks, resampled_length


RATES = [(44_100, 16_000), (48_000, 16_000), (8_000, 16_000), (16_000, 16_000), (11_025, 48_000), (96_000, 16_000)]


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


@pytest.fixture(params=["torchaudio", "numpy"])
def resampler(request, monkeypatch) -> None:
    """Resamples as where torchaudio is loaded, and as where there is none."""

    def is_missing(old: int, new: int):
        raise ImportError

    resampling._resampler.cache_clear()
    if request.param == "numpy":
        monkeypatch.setattr(resampling, "_torchaudio_resampler", is_missing)
    yield
    resampling._resampler.cache_clear()


@pytest.mark.usefixtures("resampler")
@pytest.mark.parametrize(("old", "new"), [*RATES, (22_050, 16_000)])
@pytest.mark.parametrize("samples", [1, 37, 441, 5_000, 44_100])
def test_blocks_give_what_torchaudio_gives_at_once(old, new, samples):
    waveform, rng = noise(samples), np.random.default_rng(1)
    expected = torchaudio.functional.resample(torch.from_numpy(waveform), old, new).numpy()
    for lengths in ([samples], rng.integers(1, 700, samples)):
        blocks = [block for block in np.split(waveform, np.cumsum(lengths)) if len(block)]
        found = np.concatenate(list(resample_blocks(blocks, old, new)))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert resampled_length(samples, old, new) == len(expected)


def test_no_blocks_give_none():
    assert list(resample_blocks([], 44_100, 16_000)) == []


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("old", "new"), RATES)
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_part_of_a_file_is_that_part_of_the_whole(tmp_path, old, new, channels, suffix):
    path = tmp_path / f"x{suffix}"
    soundfile.write(path, np.stack([noise(3 * old, seed) for seed in range(channels)], axis=1), old)
    whole, rng = load_audio(path, new), np.random.default_rng(2)
    assert len(whole) == 3 * new
    for _ in range(20):
        first, length = int(rng.integers(0, 3 * new)), int(rng.integers(1, 2 * new))
        part = load_audio(path, new, offset=first / new, duration=length / new)
        np.testing.assert_allclose(part, whole[first : first + length], rtol=0, atol=1e-5)
        streamed = np.concatenate(list(stream_audio(path, new, offset=first / new)))
        np.testing.assert_allclose(streamed, whole[first:], rtol=0, atol=1e-5)


def test_a_stream_says_at_once_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        stream_audio(tmp_path / "x.wav", 16_000)
    soundfile.write(tmp_path / "x.wav", noise(100), 16_000)
    with pytest.raises(ValueError, match="sampling_rate must be an integer"):
        stream_audio(tmp_path / "x.wav", 0)


def test_a_stream_gives_what_comes_before_damage(tmp_path, monkeypatch):
    monkeypatch.setattr("polyaudio.data.audio._BLOCK_SIZE", 1_000)
    soundfile.write(tmp_path / "x.wav", noise(10_000), 16_000, subtype="FLOAT")
    data = bytearray((tmp_path / "x.wav").read_bytes())
    samples = noise(10_000)
    data[-4 * 3_500 : -4 * 3_499] = np.float32(np.nan).tobytes()
    blocks = stream_audio(bytes(data), 16_000)
    found = []
    with pytest.raises(ValueError, match="NaN"):
        found.extend(iter(blocks))
    assert np.array_equal(np.concatenate(found), samples[:6_000])
