# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Reading audio files, sound and broken ones."""

import io
import math
import re
import struct
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import polyaudio
from polyaudio.data import audio
from polyaudio.data.audio import AudioFileError, audio_info, check_audio, decode_audio, load_audio, stream_audio


FORMATS = [
    ("u8.wav", "PCM_U8", 0.01),
    ("s16.wav", "PCM_16", 1e-4),
    ("s24.wav", "PCM_24", 1e-6),
    ("f32.wav", "FLOAT", 1e-7),
    ("s16.flac", "PCM_16", 1e-4),
    ("vorbis.ogg", "VORBIS", 0.05),
    ("layer3.mp3", "MPEG_LAYER_III", 0.05),
]


def check_sum(page: bytes) -> int:
    """The check sum of an Ogg page, in which its own four bytes are 0."""
    rest = 0
    for byte in page:
        rest ^= byte << 24
        for _ in range(8):
            rest = (rest << 1 ^ 0x04C11DB7 if rest >> 31 else rest << 1) & 0xFFFFFFFF
    return rest


def tone(seconds: float = 1.0, rate: int = 44_100, frequency: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "tone.wav", tone(), 44_100)
    return tmp_path / "tone.wav"


@pytest.mark.parametrize(("name", "subtype", "tolerance"), FORMATS)
def test_reads_every_format(tmp_path, name, subtype, tolerance):
    path = tmp_path / name
    soundfile.write(path, tone(), 44_100, subtype=subtype)
    waveform = load_audio(path, 44_100)
    assert waveform.dtype == np.float32
    assert waveform.shape == (44_100,)
    np.testing.assert_allclose(waveform[2000:-2000], tone()[2000:-2000], atol=tolerance)
    np.testing.assert_array_equal(load_audio(path.read_bytes(), 44_100), waveform)
    with open(path, "rb") as file:
        np.testing.assert_array_equal(load_audio(file, 44_100), waveform)
        np.testing.assert_array_equal(load_audio(file, 44_100), waveform)  # wherever the file stands
    assert audio_info(path) == (1.0, 44_100, 1)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000, 44_101])
def test_resamples_any_rate(tmp_path, rate):
    soundfile.write(tmp_path / "tone.wav", tone(rate=rate), rate, subtype="FLOAT")
    waveform = polyaudio.load_audio(str(tmp_path / "tone.wav"), 16_000)
    assert abs(len(waveform) - 16_000) <= 1
    np.testing.assert_allclose(waveform[500:15_000], tone(rate=16_000)[500:15_000], atol=5e-3)


def test_channels_are_averaged(tmp_path):
    left, right = tone(frequency=440), tone(frequency=1000)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), 44_100, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "stereo.wav", 44_100), (left + right) / 2, atol=1e-6)
    assert audio_info(tmp_path / "stereo.wav").channels == 2


@pytest.mark.parametrize(("name", "subtype"), [(name, subtype) for name, subtype, _ in FORMATS])
def test_a_part_is_the_part_of_the_whole(tmp_path, name, subtype):
    path = tmp_path / name
    soundfile.write(path, tone(3.0) + 0.1 * tone(3.0, frequency=77), 44_100, subtype=subtype)
    whole = load_audio(path, 44_100)
    np.testing.assert_array_equal(load_audio(path, 44_100, offset=1.5, duration=0.5), whole[66_150:88_200])
    np.testing.assert_array_equal(load_audio(path, 44_100, offset=2.5), whole[110_250:])
    np.testing.assert_array_equal(load_audio(path, 44_100, offset=2.5, duration=9.0), whole[110_250:])


def test_a_part_has_the_length_asked_for(wav):
    for duration in (0.1, 0.12345, 0.5001, 1e-6):
        assert len(load_audio(wav, 16_000, offset=0.3, duration=duration)) == max(1, round(duration * 16_000))


def test_only_the_part_is_decoded(tmp_path):
    """A flac that is cut off after two seconds: the first second can be had, the whole cannot."""
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "noise.flac", rng.uniform(-0.5, 0.5, 4 * 16_000), 16_000)
    data = (tmp_path / "noise.flac").read_bytes()
    assert len(load_audio(data[: len(data) // 2], 16_000, duration=1.0)) == 16_000
    with pytest.raises(AudioFileError, match="cut off"):
        load_audio(data[: len(data) // 2], 16_000)


def test_long_files_are_read_in_blocks(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 2**22 + 12_345).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", samples, 48_000, subtype="FLOAT")
    np.testing.assert_array_equal(load_audio(tmp_path / "long.wav", 48_000), samples)


@pytest.mark.parametrize(
    ("name", "subtype"),
    [*((name, subtype) for name, subtype, _ in FORMATS), ("s16.aiff", "PCM_16"), ("s16.au", "PCM_16")],
)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_truncated_file(tmp_path, name, subtype, share):
    path = tmp_path / name
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 5 * 44_100)
    soundfile.write(path, samples, 44_100, subtype=subtype)
    data = path.read_bytes()
    path.write_bytes(data[: round(share * len(data))])
    with pytest.raises(AudioFileError, match=f"{name} is cut off"):
        load_audio(path, 16_000)


CONTAINERS = sorted(set(soundfile.available_formats()) - {"RAW", "SD2"})  # neither is one file with a header


@pytest.mark.parametrize("container", CONTAINERS)
def test_no_truncated_container_is_read_as_a_shorter_clip(container):
    """Every container and coding of libsndfile: whole or refused, wherever the file ends."""
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (4_000, 2))
    written = []
    for subtype in soundfile.available_subtypes(container):
        for channels in (1, 2):
            file = io.BytesIO()
            try:
                soundfile.write(file, samples[:, :channels], 8_000, format=container, subtype=subtype)
            except (soundfile.LibsndfileError, ValueError):
                continue  # this coding needs another rate or number of channels
            written.append(subtype)
            data = file.getvalue()
            for percent in (*range(10, 100, 10), 99):
                with pytest.raises(AudioFileError):
                    load_audio(data[: len(data) * percent // 100], 8_000)
    assert written


@pytest.mark.parametrize("container", ["RF64", "W64", "NIST", "VOC", "SVX", "AIFF", "AU", "CAF", "WAVEX"])
def test_containers_that_are_read(container):
    file = io.BytesIO()
    soundfile.write(file, tone(rate=16_000), 16_000, format=container, subtype="PCM_16")
    np.testing.assert_allclose(load_audio(file, 16_000), tone(rate=16_000), atol=1e-4)


def test_containers_that_cannot_be_checked(tmp_path):
    soundfile.write(tmp_path / "clip.wav", tone(), 44_100, format="IRCAM", subtype="PCM_16")
    with pytest.raises(AudioFileError, match=r"clip\.wav is in the container IRCAM.*Convert it to wav or flac"):
        load_audio(tmp_path / "clip.wav", 16_000)


@pytest.mark.parametrize(
    ("container", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("FLAC", "PCM_16")]
)
@pytest.mark.parametrize("second", ["itself", "another", "another rate"])
def test_recordings_in_one_file(container, subtype, second):
    """`cat a.ogg b.ogg > both.ogg`: libsndfile reads the first."""

    def encoded(seed: int, rate: int) -> bytes:
        file = io.BytesIO()
        samples = np.random.default_rng(seed).uniform(-0.5, 0.5, 2 * rate)
        soundfile.write(file, samples, rate, format=container, subtype=subtype)
        return file.getvalue()

    first = encoded(0, 16_000)
    both = first + {"itself": first, "another": encoded(1, 16_000), "another rate": encoded(1, 24_000)}[second]
    for read in (lambda data: load_audio(data, 16_000), check_audio):
        with pytest.raises(AudioFileError, match="several recordings one after the other"):
            read(both)
    tag = b"TAG" + bytes(125)
    assert len(load_audio(first + tag, 16_000)) == 32_000
    if container != "OGG":
        assert len(load_audio(b"ID3\4\0\0\0\0\1\0" + bytes(128) + first, 16_000)) == 32_000


def mp3_without_length(samples: np.ndarray, rate: int) -> bytes:
    """An mp3 as encoders write it to a pipe, without the length in its first frame."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="VARIABLE")
    return re.sub(b"Xing|Info", bytes(4), file.getvalue(), count=1)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100])
@pytest.mark.parametrize("silent", [slice(0, 1), slice(1, 2)], ids=["silence first", "silence last"])
def test_mp3_without_a_length(rate, silent):
    """libsndfile guesses the length of such a file from its first frame. It read a third of this, or refused it."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 4 * rate)).astype(np.float32)
    noise[silent] = 0
    data = mp3_without_length(noise.ravel(), rate)
    waveform = load_audio(data, rate)
    assert 0 <= len(waveform) - 8 * rate <= 4 * 1152  # the padding of the encoder
    assert audio_info(data).duration == len(waveform) / rate
    first, second = waveform[rate : 3 * rate].std(), waveform[5 * rate : 7 * rate].std()
    assert min(first, second) < 0.01 < 0.1 < max(first, second)
    part = load_audio(data, rate, offset=2.0, duration=1.0)
    np.testing.assert_allclose(part, waveform[2 * rate : 3 * rate], atol=1e-6)
    for cut in (len(data) // 3, len(data) // 2, len(data) - 5):
        with pytest.raises(AudioFileError, match="cut off"):
            load_audio(data[:cut], rate)


def test_mp3_of_two_without_a_length():
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 32_000)
    one, other = mp3_without_length(noise, 16_000), mp3_without_length(noise, 24_000)
    twice = load_audio(one + b"ID3\4\0\0\0\0\0\x05title" + one, 16_000)
    assert abs(len(twice) - 2 * len(load_audio(one, 16_000))) < 2 * 1152
    with pytest.raises(AudioFileError, match="several recordings"):
        load_audio(one + other, 16_000)


def test_damaged_flac(tmp_path):
    path = tmp_path / "damaged.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 44_100), 44_100)
    data = bytearray(path.read_bytes())
    data[20_000:22_000] = bytes(2000)
    path.write_bytes(data)
    with pytest.raises(AudioFileError, match=r"damaged\.flac is cut off or damaged"):
        load_audio(path, 44_100)


def test_ogg_that_claims_a_part_of_a_block_too_much():
    """As some encoders write, here and there. Players say nothing of it."""
    file = io.BytesIO()
    soundfile.write(file, tone(3), 44_100, format="OGG", subtype="VORBIS")

    def ends_at(number: int) -> bytes:
        data = file.getvalue()
        last = data.rfind(b"OggS")
        page = data[last : last + 6] + struct.pack("<q", number) + data[last + 14 : last + 22] + bytes(4)
        page += data[last + 26 :]
        return data[:last] + page[:22] + struct.pack("<I", check_sum(page)) + page[26:]

    samples, _ = soundfile.read(io.BytesIO(ends_at(200_000)), dtype="float32")  # all that the packets give
    for more in (10, 5_000):
        gaps, data = [], ends_at(len(samples) + more)
        expected = np.concatenate([samples, np.zeros(more, np.float32)])
        np.testing.assert_array_equal(load_audio(data, 44_100), expected)
        np.testing.assert_array_equal(np.concatenate(list(stream_audio(data, 44_100, gaps=gaps))), expected)
        assert gaps == []
        assert len(load_audio(data, 44_100, offset=(len(samples) + 2) / 44_100)) == more - 2
    data = ends_at(len(samples) + 10_000)
    np.testing.assert_array_equal(np.concatenate(list(stream_audio(data, 44_100, gaps=gaps))), samples)
    assert [gap.reason for gap in gaps] == ["cut off"]
    with pytest.raises(AudioFileError, match="is cut off: 10000 of"):
        load_audio(data, 44_100)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])
def test_streamed_wav_without_a_length(wav, size):
    data = bytearray(wav.read_bytes())
    data[40:44] = struct.pack("<I", size)
    assert len(load_audio(bytes(data), 44_100)) == 44_100


def test_wav_that_counts_its_header_into_the_data(wav):
    data = bytearray(wav.read_bytes())
    data[40:44] = struct.pack("<I", len(data))
    assert len(load_audio(bytes(data), 44_100)) == 44_100


def claiming(flac: bytes, samples: int) -> bytes:
    """A flac whose header gives another number of samples."""
    data = bytearray(flac)
    data[21] = data[21] & 0xF0 | samples >> 32
    data[22:26] = struct.pack(">I", samples & 0xFFFFFFFF)
    return bytes(data)


def test_flac_that_claims_a_wrong_length(tmp_path):
    soundfile.write(tmp_path / "claim.flac", tone(), 44_100)
    data = (tmp_path / "claim.flac").read_bytes()
    with pytest.raises(AudioFileError, match="has no length in its header"):
        load_audio(claiming(data, 0), 16_000)
    with pytest.raises(AudioFileError, match="cut off or damaged"):
        load_audio(claiming(data, 2**24), 16_000)
    for read in (audio_info, decode_audio):
        with pytest.raises(AudioFileError, match="damaged header: the file is too small for the length in it"):
            read(claiming(data, 2**36 - 1))


def test_files_that_decode_to_hours(tmp_path):
    """Some hundred kilobytes can claim, and hold, hours of silence. Parts of such a file can be read."""
    soundfile.write(tmp_path / "claim.flac", tone(), 44_100)
    data = claiming((tmp_path / "claim.flac").read_bytes(), 10 * 3600 * 44_100) + bytes(2**18)
    with pytest.raises(AudioFileError, match=r"too long: 10\.0 hours decode to 5\.9 GiB, and at most 3\.4 hours"):
        decode_audio(data)
    for read in (lambda data: load_audio(data, 16_000), check_audio):
        with pytest.raises(AudioFileError, match=r"too long: 10\.0 hours decode to 2\.1 GiB, and at most 9\.3 hours"):
            read(data)
    assert len(load_audio(data, 16_000, duration=0.5)) == 8_000
    assert audio_info(data).duration == 36_000
    soundfile.write(tmp_path / "claim8.flac", tone(), 8_000)
    data = claiming((tmp_path / "claim8.flac").read_bytes(), 10 * 3600 * 8_000) + bytes(2**18)
    with pytest.raises(AudioFileError, match=r"10\.0 hours decode to 1\.1 GiB, and at most 9\.3 hours"):
        decode_audio(data)


@pytest.mark.parametrize("rate", [1, 2_000_000_000])
def test_absurd_sampling_rate(wav, rate):
    data = bytearray(wav.read_bytes())
    data[24:28] = struct.pack("<I", rate)
    with pytest.raises(AudioFileError, match="sampling rate"):
        load_audio(bytes(data), 16_000)


def test_what_is_no_audio(tmp_path, wav):
    (tmp_path / "zero.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("This is no sound.\n" * 20)
    (tmp_path / "data.raw").write_bytes(bytes(1000))
    (tmp_path / "folder.wav").mkdir()
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), 16_000)
    (tmp_path / "header.wav").write_bytes(wav.read_bytes()[:44])
    for name, message in {
        "missing.wav": "does not exist",
        "zero.wav": "is empty",
        "text.wav": "not audio that soundfile can read.*torchcodec",
        "data.raw": "headerless",
        "folder.wav": "is not a file",
        "nothing.wav": "no samples",
        "header.wav": "no samples|cut off",
    }.items():
        with pytest.raises(AudioFileError, match=f"{name} .*({message})"):
            load_audio(tmp_path / name, 16_000)
        with pytest.raises(AudioFileError, match=name):
            audio_info(tmp_path / name)
    with pytest.raises(AudioFileError, match="Audio of 0 bytes"):
        load_audio(b"", 16_000)
    with pytest.raises(AudioFileError, match="not audio"):
        load_audio(io.BytesIO(b"no sound"), 16_000)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity(tmp_path, bad):
    samples = tone()
    samples[30_000] = bad
    soundfile.write(tmp_path / "bad.wav", samples, 44_100, subtype="FLOAT")
    with pytest.raises(AudioFileError, match=r"bad\.wav holds NaN or infinite"):
        load_audio(tmp_path / "bad.wav", 16_000)
    assert np.isfinite(load_audio(tmp_path / "bad.wav", 16_000, duration=0.5)).all()


def test_offset_behind_the_end(wav):
    with pytest.raises(AudioFileError, match="no samples at offset"):
        load_audio(wav, 16_000, offset=1.0)
    with pytest.raises(ValueError, match="offset must be"):
        load_audio(wav, 16_000, offset=-1.0)
    with pytest.raises(ValueError, match="duration above 0"):
        load_audio(wav, 16_000, duration=0.0)


def test_other_formats_go_to_torchcodec(tmp_path, monkeypatch):
    """What soundfile cannot open is handed to torchcodec; a stand-in with its interface takes its place here."""
    seen = []

    class AudioDecoder:
        metadata = types.SimpleNamespace(duration_seconds=2.0, sample_rate=16_000, num_channels=2)

        def __init__(self, source):
            seen.append(source)
            if Path(source).read_bytes() != b"some codec":
                raise RuntimeError("Invalid data found")

        def get_samples_played_in_range(self, start, stop):
            first, last = (math.ceil(min(time, 2.0) * 16_000) for time in (start, stop))
            data = torch.tensor([[0.5], [1.0]]).expand(2, last - first)
            return types.SimpleNamespace(data=data, sample_rate=16_000)

    decoders = types.ModuleType("torchcodec.decoders")
    decoders.AudioDecoder = AudioDecoder
    monkeypatch.setitem(sys.modules, "torchcodec", types.ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)
    path = tmp_path / "clip.m4a"
    path.write_bytes(b"some codec")
    waveform, rate = decode_audio(path, offset=0.5, duration=1.0)
    assert rate == 16_000
    np.testing.assert_array_equal(waveform, np.full(16_000, 0.75, dtype=np.float32))
    assert len(load_audio(path, 8_000)) == 16_000
    assert audio_info(path) == (2.0, 16_000, 2)
    assert set(seen) == {str(path)}
    AudioDecoder.metadata = types.SimpleNamespace(duration_seconds=3.0, sample_rate=16_000, num_channels=2)
    with pytest.raises(AudioFileError, match=r"clip\.m4a is cut off: it is 2\.000 s long instead of 3\.000 s"):
        load_audio(path, 8_000)
    assert len(load_audio(path, 8_000, duration=1.0)) == 8_000
    monkeypatch.setattr(audio, "_MOST_SAMPLES", 3 * 16_000)  # of both channels: 1.5 s
    for seconds in (3.0, 1.0):  # by the header, and by what comes
        AudioDecoder.metadata = types.SimpleNamespace(duration_seconds=seconds, sample_rate=16_000, num_channels=2)
        with pytest.raises(AudioFileError, match=r"clip\.m4a is too long"):
            load_audio(path, 8_000)
    path.write_bytes(b"garbage")
    with pytest.raises(AudioFileError, match=r"clip\.m4a can be read neither .*Invalid data"):
        load_audio(path, 16_000)


def test_the_module_imports_nothing_heavy():
    code = (
        "import sys, polyaudio; polyaudio.load_audio; "
        "print({'torch', 'torchaudio', 'datasets', 'pandas', 'matplotlib', 'sklearn'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
