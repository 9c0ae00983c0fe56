# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Counts the frames of an MP3 file, because libsndfile guesses its length if the header lacks it."""

import functools
import io
import struct
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple


# Bitrates in kbit/s by MPEG version and layer. Index 0 means "free", and 15 is not allowed.
_RATES_1_1 = (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448)
_RATES_1_2 = (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_RATES_1_3 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_RATES_2_1 = (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256)
_RATES_2_X = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_BITRATES = {
    (1, 1): _RATES_1_1,
    (1, 2): _RATES_1_2,
    (1, 3): _RATES_1_3,
    (2, 1): _RATES_2_1,
    (2, 2): _RATES_2_X,
    (2, 3): _RATES_2_X,
}
_SAMPLING_RATES = {0b11: (44100, 48000, 32000), 0b10: (22050, 24000, 16000), 0b00: (11025, 12000, 8000)}

_XING_FRAMES = 1  # the flag of a header that gives the number of frames

_SEARCHED = 2**16  # bytes after the tags in which the first frame must begin


class _Frame(NamedTuple):
    """What the four bytes at the start of a frame say. `kind` is the same in all frames of one stream."""

    size: int
    samples: int
    side_info: int  # bytes from the start of the frame to a Xing header
    kind: tuple[int, int, int, bool]  # MPEG version, layer, sampling rate, and whether it is mono


@dataclass(frozen=True)
class Mp3Frames:
    """
    The frames of an MP3 file.

    Attributes:
        start: where the first frame begins.
        count: number of frames with audio.
        samples: number of samples of each channel in them.
        promised: number of frames by the header of the file; `None` without one.
        is_uniform: whether all frames have the same MPEG version, layer, sampling rate and number of channels.
        is_cut_off: whether the file ends within a frame.
    """

    start: int
    count: int
    samples: int
    promised: int | None
    is_uniform: bool
    is_cut_off: bool


def promised_frames(file: BinaryIO) -> int | None:
    """Return the number of frames by the header of an MP3 file; `None` without one."""
    file.seek(_end_of_tags(file))
    data = file.read(_SEARCHED)
    start = _next_frame(data, 0)
    return None if start is None else _xing_frames(data, start)


def count_frames(data: bytes) -> Mp3Frames | None:
    """Walk through the frames of an MP3 file; `None` if none is found."""
    start = _next_frame(data, _end_of_tags(io.BytesIO(data)))
    first = None if start is None else _frame(data[start : start + 4])
    if start is None or first is None:
        return None
    promised = _xing_frames(data, start)
    end = _end_of_audio(data)
    place: int | None = start if promised is None else start + first.size
    count, is_uniform, is_cut_off = 0, True, False
    while place is not None and place < end and not is_cut_off:
        frame = _frame(data[place : place + 4])
        if frame is None:
            tag = _size_of_tag(data[place : place + 10])  # in the middle, where files were put together
            place = place + tag if tag else _next_frame(data, place + 1, first.kind)
            continue
        is_cut_off = place + frame.size > end
        count += not is_cut_off
        is_uniform = is_uniform and frame.kind == first.kind
        place += frame.size
    return Mp3Frames(start, count, count * first.samples, promised, is_uniform, is_cut_off)


def with_length(data: bytes, frames: Mp3Frames) -> bytes:
    """Return an MP3 file of layer III with a header that gives its number of frames."""
    header = data[frames.start : frames.start + 4]
    frame = _frame(header)
    assert frame is not None
    header = bytes((header[0], header[1] | 1, header[2] & 0x0F | 0x80, header[3]))  # no check sum, room for the header
    xing = b"Xing" + struct.pack(">II", _XING_FRAMES, frames.count)
    size = _frame(header).size  # type: ignore[union-attr]
    return (header + bytes(frame.side_info - 4) + xing).ljust(size, b"\0") + data[frames.start :]


def repaired(data: bytes) -> tuple[bytes, list[tuple[int, int]]] | None:
    """
    Put silent frames into a damaged MP3 file of layer III where frames are missing. The others then keep their time.

    The number of missing frames follows from the number of damaged bytes and from the header of the file. The first
    frames after the damage, which need bits of lost ones, are silent too.

    Returns:
        The file, and where it is silent: the first frame and the frame after the last one. `None` if no frame is
        missing between two others.
    """
    frames = count_frames(data)
    runs = [] if frames is None else _runs(data, frames)
    if frames is None or len(runs) < 2:
        return None
    total = sum(map(len, runs))
    size = sum(frame.size for run in runs for _, frame in run) / total
    ends = [run[-1][0] + run[-1][1].size for run in runs]
    missing = [max(1, round((run[0][0] - end) / size)) for run, end in zip(runs[1:], ends, strict=False)]
    if frames.promised is not None and ends[-1] + size > _end_of_audio(data):  # nothing is missing at the end
        longest = missing.index(max(missing))
        missing[longest] = max(1, missing[longest] + frames.promised - total - sum(missing))

    parts, gaps, place = [data[: runs[0][0][0]]], [], 0
    for number, run in zip([0, *missing], runs, strict=True):
        begin, (start, frame) = place, run[0]
        silent = bytes((data[start], data[start + 1] | 1, data[start + 2], data[start + 3])).ljust(frame.size, b"\0")
        parts.append(number * silent)
        place += number
        available = 0  # bytes of the frames since the gap
        is_silent = number > 0
        for start, frame in run:
            content = bytearray(data[start : start + frame.size])
            side_info = 4 if content[1] & 1 else 6  # behind the header and a check sum
            main_data = frame.side_info + side_info - 4
            bits = content[side_info] << 1 | content[side_info + 1] >> 7
            needed = bits if frame.kind[0] == 3 else content[side_info]
            if is_silent and needed > available:
                content[side_info:main_data] = bytes(main_data - side_info)
            elif is_silent:
                is_silent = False
                gaps.append((begin, place))
            parts.append(bytes(content))
            available += frame.size - main_data
            place += 1
        if is_silent:
            gaps.append((begin, place))
    parts.append(data[ends[-1] :])
    return b"".join(parts), gaps


def _runs(data: bytes, frames: Mp3Frames) -> list[list[tuple[int, _Frame]]]:
    """The frames of a file of layer III and where they begin, in runs without damage."""
    first = _frame(data[frames.start : frames.start + 4])
    if first is None or first.kind[1] != 3:
        return []
    end = _end_of_audio(data)
    runs: list[list[tuple[int, _Frame]]] = []
    run: list[tuple[int, _Frame]] = []
    place: int | None = frames.start if frames.promised is None else frames.start + first.size
    while place is not None and place < end:
        frame = _frame(data[place : place + 4])
        if frame is not None and frame.kind == first.kind:
            if place + frame.size > end:
                break
            run.append((place, frame))
            place += frame.size
        elif tag := _size_of_tag(data[place : place + 10]):
            place += tag
        else:
            # The frame before is damaged, or bytes of it are missing
            place = _next_frame(data, run.pop()[0] + 4 if run else place + 1, first.kind)
            if run:
                runs.append(run)
                run = []
    return [*runs, run] if run else runs


@functools.lru_cache(maxsize=4096)
def _frame(header: bytes) -> _Frame | None:
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    generation = 1 if version == 3 else 2
    bits_per_second = 1000 * _BITRATES[generation, layer][bitrate - 1]
    sampling_rate = _SAMPLING_RATES[version][rate]
    samples = 384 if layer == 1 else 576 if layer == 3 and generation == 2 else 1152
    padding = header[2] >> 1 & 1
    if layer == 1:
        size = 4 * (12 * bits_per_second // sampling_rate + padding)
    else:
        size = samples // 8 * bits_per_second // sampling_rate + padding
    is_mono = header[3] >> 6 == 3
    side_info = 4 + ((17 if is_mono else 32) if generation == 1 else (9 if is_mono else 17))
    return _Frame(size, samples, side_info, (version, layer, sampling_rate, is_mono))


def _end_of_tags(file: BinaryIO) -> int:
    """Where the tags at the start of a file end."""
    place = 0
    while True:
        file.seek(place)
        size = _size_of_tag(file.read(10))
        if not size:
            return place
        place += size


def _size_of_tag(header: bytes) -> int:
    """The size of the ID3 tag that begins with these ten bytes; 0 if they are none."""
    if len(header) < 10 or header[:3] != b"ID3":
        return 0
    a, b, c, d = header[6:]
    return 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if header[5] & 0x10 else 0)


def _next_frame(data: bytes, start: int, kind: tuple | None = None) -> int | None:
    """
    The first place from `start` on where a frame (of this kind) begins.

    Another frame of the same kind follows it, unless the data ends before. Other bytes can look like a frame.
    """
    place = data.find(b"\xff", start)
    while place >= 0:
        frame = _frame(data[place : place + 4])
        if frame is not None and kind in (None, frame.kind):
            after = data[place + frame.size : place + frame.size + 4]
            following = _frame(after)
            if len(after) < 4 or (following is not None and following.kind == frame.kind):
                return place
        place = data.find(b"\xff", place + 1)
    return None


def _xing_frames(data: bytes, place: int) -> int | None:
    """The number of frames by the Xing header in the frame at `place`; `None` without such a header."""
    frame = _frame(data[place : place + 4])
    if frame is None:
        return None
    xing = data[place + frame.side_info : place + frame.side_info + 12]
    if len(xing) < 12 or xing[:4] not in (b"Xing", b"Info"):
        return None
    flags, frames = struct.unpack(">II", xing[4:])
    return frames if flags & _XING_FRAMES else None


def _end_of_audio(data: bytes) -> int:
    """Where the tags at the end of the file begin."""
    end = len(data)
    if data[end - 128 : end - 125] == b"TAG":
        end -= 128
    footer = data[end - 32 : end]
    if footer[:8] == b"APETAGEX":
        end -= struct.unpack("<I", footer[12:16])[0] + (32 if footer[23] & 0x80 else 0)
    return max(end, 0)
