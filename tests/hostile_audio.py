# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Files that break readers of audio: a folder of them for the commands to stumble over."""

import io
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile


RATE = 16_000
SECONDS = 0.5

# Container, coding and extension of the files that are cut off, put together and mislabelled.
CODINGS = [
    ("WAV", "PCM_16", "wav"),
    ("WAV", "IMA_ADPCM", "wav"),
    ("RF64", "PCM_16", "wav"),
    ("W64", "FLOAT", "wav"),
    ("NIST", "PCM_16", "wav"),
    ("VOC", "PCM_16", "wav"),
    ("SVX", "PCM_16", "wav"),
    ("IRCAM", "PCM_16", "wav"),
    ("AIFF", "PCM_16", "aiff"),
    ("AU", "PCM_16", "au"),
    ("CAF", "PCM_16", "caf"),
    ("FLAC", "PCM_16", "flac"),
    ("OGG", "VORBIS", "ogg"),
    ("OGG", "OPUS", "opus"),
    ("MP3", "MPEG_LAYER_III", "mp3"),
]


def encode(container: str, subtype: str, samples: np.ndarray, rate: int = RATE) -> bytes:
    """An audio file in memory."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def noise(seed: int, channels: int = 1, seconds: float = SECONDS, rate: int = RATE) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (round(seconds * rate), channels)).astype(np.float32)


def patched(data: bytes, *fields: tuple[int, str, int]) -> bytes:
    """A wav with other numbers at some places."""
    changed = bytearray(data)
    for place, layout, value in fields:
        struct.pack_into(layout, changed, place, value)
    return bytes(changed)


def bad_files() -> Iterator[tuple[str, bytes]]:
    """The name and the bytes of files of which no reader may take a part for the whole."""
    whole = {(container, subtype): encode(container, subtype, noise(0)) for container, subtype, _ in CODINGS}
    for container, subtype, extension in CODINGS:
        data = whole[container, subtype]
        for percent in (10, 50, 90):
            yield f"{container}-{subtype}-{percent}.{extension}", data[: len(data) * percent // 100]
    for container, subtype, extension in CODINGS[-4:]:
        yield f"{container}-{subtype}-twice.{extension}", whole[container, subtype] * 2
        yield f"{container}-{subtype}-damaged.{extension}", damaged(whole[container, subtype], container)

    wav = encode("WAV", "PCM_16", noise(0))
    for value in (np.nan, np.inf, -np.inf, 3e38):
        samples = noise(0)
        samples[100] = value
        yield f"holds {value}.wav", encode("WAV", "FLOAT", samples)
    for rate in (0, 1, 999, 1_000_001, 2**31 - 1, 2**32 - 1):
        yield f"{rate} Hz.wav", patched(wav, (24, "<I", rate))
    yield "0 channels.wav", patched(wav, (22, "<H", 0))
    yield "65535 channels.wav", patched(wav, (22, "<H", 65_535))
    yield "0 bits.wav", patched(wav, (34, "<H", 0))
    yield "unknown coding.wav", patched(wav, (20, "<H", 0xABCD))
    yield "no samples.wav", encode("WAV", "PCM_16", np.zeros(0))
    yield "no samples.flac", encode("FLAC", "PCM_16", np.zeros(0))
    yield "header.wav", wav[:44]
    yield "3 GiB.wav", patched(wav, (4, "<I", 3 * 2**30 + 36), (40, "<I", 3 * 2**30))
    flac = bytearray(encode("FLAC", "PCM_16", np.zeros(RATE)))
    for name, samples in (("unknown length", 0), ("ten hours", 36_000 * RATE), ("50 days", 2**36 - 1)):
        flac[21] = flac[21] & 0xF0 | samples >> 32
        flac[22:26] = struct.pack(">I", samples & 0xFFFFFFFF)
        yield f"{name}.flac", bytes(flac)
    yield "nothing.wav", b""
    yield "one byte.wav", b"R"
    yield "zeros.mp3", bytes(5_000)
    yield "text.ogg", b"This is no sound.\n" * 50
    yield "page.mp3", b"<!doctype html><title>404 Not Found</title>" * 50
    yield "id3 only.mp3", b"ID3\x04\0\0\0\0\x07\x76" + bytes(1014)
    yield "endless tag.mp3", b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(100)
    yield "random.flac", np.random.default_rng(0).bytes(4_000)
    yield "magic.flac", b"fLaC" + bytes(60)
    yield "magic.ogg", b"OggS\0\2" + bytes(60)
    yield "magic.m4a", b"\0\0\0\x20ftypM4A " + bytes(60)
    yield "zip.wav", b"PK\3\4" + bytes(200)


def damaged(data: bytes, container: str) -> bytes:
    """The file with zeros in its middle; of an mp3, with frames left out."""
    middle = len(data) // 2
    if container == "MP3":
        return data[: middle - 400] + data[middle + 400 :]
    return data[: middle - 200] + bytes(400) + data[middle + 200 :]


def odd_files() -> Iterator[tuple[str, bytes, float]]:
    """The name, the bytes and the length in seconds of files that are unusual and can be read."""
    yield "one sample.wav", encode("WAV", "PCM_16", noise(0)[:1]), 1 / RATE
    yield "255 channels.wav", encode("WAV", "PCM_16", noise(0, channels=255, seconds=0.1)), 0.1
    yield "1000 Hz.wav", encode("WAV", "PCM_16", noise(0, rate=1_000), 1_000), SECONDS
    yield "999983 Hz.wav", encode("WAV", "PCM_16", noise(0, rate=999_983, seconds=0.1), 999_983), 0.1
    yield "silence.flac", encode("FLAC", "PCM_16", np.zeros(RATE)), 1.0
    yield "flac in.mp3", encode("FLAC", "PCM_16", noise(0)), SECONDS
    yield "rf64 in.wav", encode("RF64", "PCM_16", noise(0)), SECONDS
    yield "sphere in.wav", encode("NIST", "PCM_16", noise(0)), SECONDS
    wav = encode("WAV", "PCM_16", noise(0))
    yield "streamed.wav", patched(wav, (4, "<I", 2**32 - 1), (40, "<I", 2**32 - 1)), SECONDS
    yield "junk after.wav", wav + b"LIST of things that nobody needs", SECONDS
    yield "tag after.mp3", encode("MP3", "MPEG_LAYER_III", noise(0)) + b"TAG" + bytes(125), SECONDS
    mp3 = encode("MP3", "MPEG_LAYER_III", noise(0, rate=44_100), 44_100)
    yield "no length.mp3", re.sub(b"Xing|Info", bytes(4), mp3, count=1), SECONDS + 0.07


def write_bad(folder: Path) -> list[str]:
    """Write the bad files, and what only looks like a file. Returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for name, data in bad_files():
        (folder / name).write_bytes(data)
        names.append(name)
    (folder / "folder.wav").mkdir()
    (folder / "nowhere.wav").symlink_to(folder / "missing.wav")
    (folder / "circle.wav").symlink_to(folder / "circle.wav")
    names += ["folder.wav", "nowhere.wav", "circle.wav"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.wav")
        names.append("pipe.wav")
    if os.name == "posix":
        (folder / "device.wav").symlink_to("/dev/zero")
        names.append("device.wav")
    return names


def write_odd(folder: Path) -> dict[str, float]:
    """Write the odd files. Returns their names with their lengths in seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    lengths = {}
    for name, data, seconds in odd_files():
        (folder / name).write_bytes(data)
        lengths[name] = seconds
    return lengths
