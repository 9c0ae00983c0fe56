# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The tonic of files and samples, over their whole length."""

import io

import numpy as np
import pytest
import soundfile

from polyaudio import Tonic, estimate_tonic
from polyaudio.data.audio import AudioFileError
from polyaudio.data.ragas import SAMPLING_RATE, synthesize_recording


@pytest.fixture(scope="module")
def recording() -> np.ndarray:
    return synthesize_recording("Hindolam", tonic=141.0, timbre="voice", seconds=50, seed=3)


def test_samples_files_and_bytes_have_the_same_tonic(recording, tmp_path):
    soundfile.write(tmp_path / "clip.wav", recording, SAMPLING_RATE, subtype="FLOAT")
    found = estimate_tonic(recording, SAMPLING_RATE)
    assert abs(1200 * np.log2(found[0].frequency / 141.0)) < 25
    assert found[0].probability > 0.5
    assert len(found) == 3
    assert sum(one.probability for one in found) <= 1
    assert estimate_tonic(tmp_path / "clip.wav") == found
    assert estimate_tonic((tmp_path / "clip.wav").read_bytes()) == found
    assert estimate_tonic(io.BytesIO((tmp_path / "clip.wav").read_bytes())) == found


def test_other_rates_and_channels(recording, tmp_path):
    higher = np.interp(np.arange(len(recording) * 3 // 2) / 1.5, np.arange(len(recording)), recording)
    soundfile.write(tmp_path / "clip.flac", np.stack([higher, higher], 1), 24_000)
    expected = estimate_tonic(recording, SAMPLING_RATE, number=1)[0].frequency
    assert estimate_tonic(tmp_path / "clip.flac", number=1)[0].frequency == pytest.approx(expected, rel=0.003)
    assert estimate_tonic(higher, 24_000, number=1)[0].frequency == pytest.approx(expected, rel=0.003)


def test_parts_without_a_drone_and_silence_do_not_hide_it(recording):
    noise = 0.01 * np.random.default_rng(0).standard_normal(20 * SAMPLING_RATE).astype(np.float32)
    together = np.concatenate([np.zeros(40 * SAMPLING_RATE, np.float32), recording, noise])
    assert abs(1200 * np.log2(estimate_tonic(together, SAMPLING_RATE)[0].frequency / 141.0)) < 25


@pytest.mark.parametrize(
    ("frequency", "note", "cents"), [(440.0, "A4", 0.0), (138.6, "C#3", 0.1), (97.0, "G2", -17.7), (261.0, "C4", -4.1)]
)
def test_notes(frequency, note, cents):
    tonic = Tonic(frequency, 0.5)
    assert (tonic.note, pytest.approx(tonic.cents, abs=0.1)) == (note, cents)


def test_wrong_input(tmp_path, recording):
    soundfile.write(tmp_path / "silence.wav", np.zeros(SAMPLING_RATE), SAMPLING_RATE)
    (tmp_path / "text.wav").write_text("no audio")
    for name, message in (("silence.wav", "is silent"), ("text.wav", "text.wav"), ("none.wav", "does not exist")):
        with pytest.raises(AudioFileError, match=message):
            estimate_tonic(tmp_path / name)
    for call, message in (
        ((recording,), "sampling_rate"),
        ((tmp_path / "silence.wav", 16_000), "Leave out sampling_rate"),
        ((recording[None], 16_000), "mono"),
        ((np.full(100, np.nan, np.float32), 16_000), "finite"),
        ((recording[:0], 16_000), "at least one sample"),
    ):
        with pytest.raises(ValueError, match=message):
            estimate_tonic(*call)
    with pytest.raises(ValueError, match="from 1 to 10"):
        estimate_tonic(recording, SAMPLING_RATE, number=0)


def test_one_sample_is_enough():
    assert estimate_tonic(np.ones(1, np.float32), SAMPLING_RATE, number=1)[0].probability < 0.5
