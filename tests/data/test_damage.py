# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Of a damaged recording, what can be read is at its right time, and the gaps are named."""

import functools
import io

import numpy as np
import pytest
import soundfile
from hostile_audio import bad_files, odd_files

from polyaudio.data.audio import AudioFileError, Gap, load_audio, stream_audio


RATE = 16_000
SECONDS = 30
# Coding, and how much longer than the damage a gap may be in seconds: frames of FLAC have 0.256 s, pages of Ogg 2 s
CODINGS = [
    ("FLAC", "PCM_16", 0.8),
    ("OGG", "VORBIS", 4.0),
    ("OGG", "OPUS", 4.0),
    ("MP3", "MPEG_LAYER_III", 1.0),
]


@functools.cache
def recording(rate: int = RATE, channels: int = 1, seconds: float = SECONDS) -> np.ndarray:
    """A sweep in noise, no part of which is like another."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal((len(time), channels))
    return (0.3 * np.sin(2 * np.pi * (200 + 20 * time) * time)[:, None] + 0.05 * noise).astype(np.float32)


@functools.cache
def encoded(container: str, subtype: str, rate: int = RATE, channels: int = 1) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, recording(rate, channels), rate, format=container, subtype=subtype)
    return file.getvalue()


def read(data, rate: int = RATE, **part) -> tuple[np.ndarray, list[Gap]]:
    gaps: list[Gap] = []
    return np.concatenate(list(stream_audio(data, rate, gaps=gaps, **part))), gaps


def is_read(samples: np.ndarray, gaps: list[Gap], rate: int = RATE) -> np.ndarray:
    """Which samples lie outside the gaps."""
    time = np.arange(len(samples)) / rate
    return ~np.any([(gap.start - 0.5 / rate <= time) & (time < gap.stop - 0.5 / rate) for gap in gaps], axis=0)


def overwritten(data: bytes, *places: float, size: int = 3000) -> bytes:
    """The file with other bytes at these shares of its length."""
    changed = bytearray(data)
    for place in places:
        start = round(place * len(data))
        changed[start : start + size] = np.random.default_rng(start).bytes(size)
    return bytes(changed)


@pytest.mark.parametrize(("container", "subtype", "slack"), CODINGS)
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 2)])
@pytest.mark.parametrize("places", [(0.5,), (0.3, 0.7)])
def test_damage_in_the_middle(tmp_path, container, subtype, slack, rate, channels, places):
    data = encoded(container, subtype, rate, channels)
    whole = load_audio(data, rate)
    damaged = overwritten(data, *places)
    (tmp_path / "damaged").write_bytes(damaged)
    for file in (damaged, tmp_path / "damaged"):
        waveform, gaps = read(file, rate)
        assert waveform.dtype == np.float32
        assert len(waveform) == len(whole)
        assert [gap.reason for gap in gaps] == ["damaged"] * len(places)
        for gap, place in zip(gaps, places, strict=True):
            bytes_of_a_second = len(data) / SECONDS
            begin = place * SECONDS
            assert begin - slack < gap.start < gap.stop < begin + 3000 / bytes_of_a_second + slack
        own = is_read(waveform, gaps, rate)
        assert not waveform[~own].any()
        error = np.abs(waveform - whole)[own]
        if subtype == "OPUS":  # a decoder that starts in the middle comes near what it would be, and then equals it
            assert np.quantile(error, 0.99) < 1e-3
        else:
            assert error.max() < 1e-4
    with pytest.raises(AudioFileError):
        load_audio(damaged, rate)


@pytest.mark.parametrize(("container", "subtype", "slack"), CODINGS)
def test_a_part_of_a_damaged_file(container, subtype, slack):
    damaged = overwritten(encoded(container, subtype), 0.5)
    waveform, (gap,) = read(damaged)
    for offset, duration in ((5.0, 2.0), (gap.start - 1, gap.stop - gap.start + 2), (gap.stop + 1, None)):
        part, gaps = read(damaged, offset=offset, duration=duration)
        first = round(offset * RATE)
        expected = waveform[first:] if duration is None else waveform[first:][: round(duration * RATE)]
        np.testing.assert_allclose(part, expected, atol=1e-3)
        assert gaps == ([gap] if offset < gap.start < offset + (duration or 0) else [])


def test_the_time_is_right_at_another_rate():
    data = encoded("FLAC", "PCM_16")
    whole = load_audio(data, 8_000)
    waveform, gaps = read(overwritten(data, 0.4), 8_000)
    own = is_read(waveform, [gap._replace(start=gap.start - 0.01, stop=gap.stop + 0.01) for gap in gaps], 8_000)
    assert len(waveform) == len(whole)
    np.testing.assert_allclose(waveform[own], whole[own], atol=1e-5)


def test_bytes_that_are_missing():
    for container, subtype, _ in CODINGS:
        data = encoded(container, subtype)
        whole = load_audio(data, RATE)
        middle = len(data) // 2
        waveform, gaps = read(data[: middle - 1500] + data[middle + 1500 :])
        assert [gap.reason for gap in gaps] == ["damaged"]
        assert len(waveform) == len(whole)
        late = round((gaps[0].stop + 0.5) * RATE)
        # libsndfile leaves out the last samples of an Opus stream that does not begin at 0
        np.testing.assert_allclose(waveform[late:-200], whole[late:-200], atol=1e-3)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("RF64", "PCM_16"), ("AIFF", "PCM_24"), ("AU", "PCM_16"), ("NIST", "PCM_16")]
    + [coding[:2] for coding in CODINGS],
)
def test_files_that_are_cut_off(container, subtype):
    data = encoded(container, subtype)
    whole = load_audio(data, RATE)
    waveform, (gap,) = read(data[: len(data) // 2])
    assert gap.reason == "cut off"
    assert abs(gap.start - SECONDS / 2) < 2.1
    own = round(gap.start * RATE)
    np.testing.assert_allclose(waveform[:own], whole[:own], atol=1e-4)
    assert len(waveform) == own
    if container == "OGG":  # whose header has no length
        assert gap.start == gap.stop
    else:
        assert abs(gap.stop - len(whole) / RATE) <= 1 / RATE


def test_samples_that_are_no_sound(tmp_path):
    samples = recording()[:, 0].copy()
    samples[1000:1010] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, RATE, subtype="FLOAT")
    waveform, gaps = read(tmp_path / "nan.wav")
    assert gaps == [Gap(1000 / RATE, 1010 / RATE, "NaN or infinite samples")]
    np.testing.assert_array_equal(waveform, np.nan_to_num(samples))


@pytest.mark.parametrize(("name", "data", "seconds"), [pytest.param(*row, id=row[0]) for row in odd_files()])
def test_files_without_damage_have_no_gaps(name, data, seconds):
    waveform, gaps = read(data)
    assert gaps == []
    np.testing.assert_allclose(waveform, load_audio(data, RATE), atol=1e-6)


BAD = [pytest.param(*row, id=row[0]) for row in bad_files()]


@pytest.mark.parametrize(("name", "data"), BAD)
def test_no_bad_file_is_read_without_a_gap(name, data):
    try:
        waveform, gaps = read(data)
    except AudioFileError:
        return
    assert gaps
    assert np.isfinite(waveform).all()
