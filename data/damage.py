# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Reads what can be read of a damaged audio file. libsndfile stops at the damage, or goes on at the wrong time.

FLAC frames and Ogg pages say where in the recording they belong. So each run of whole ones is decoded as a file of its
own, behind the headers of the damaged file. The frames of an MP3 file say nothing; `mp3.repaired` puts silent frames
where some are missing.
"""

import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile

from .containers import opened_source
from .mp3 import count_frames, repaired
from .ogg import Page, runs_of_pages


# How much of a file is looked at at a time
_BLOCK_SIZE = 2**20

# The most bytes of the header of a FLAC frame
_FLAC_HEADER = 16
_FLAC_SYNC = re.compile(rb"\xff[\xf8\xf9]")

# The samples to decode before a place in an MP3 file, which is enough for the lowest bit rates
MP3_PREROLL = 32 * 1152

# Samples at the beginning that the decoder leaves out of files whose header says so, with the delay of LAME
_MP3_DELAY = 1105

# An Opus decoder that starts in the middle of a stream needs so long to be right, in seconds
_OPUS_PREROLL = 0.2

# Header packets of the codecs in Ogg, by the beginning of the first of them, and the samples per second in which pages
# count; `None` for the sampling rate
_OGG_CODECS = {b"\x01vorbis": (3, None), b"OpusHead": (2, 48_000)}


class Part(NamedTuple):
    """Samples `(samples, channels)`, float32, and the place of the first of them in the recording."""

    place: int
    samples: np.ndarray


def readable_parts(
    reader: soundfile.SoundFile, source: str | BinaryIO, start: int, stop: int, size: int
) -> Iterator[Part]:
    """
    Decode what can be decoded from `start` to `stop`, in parts of at most `size` samples and in their order.

    Args:
        reader: the file, opened with soundfile.
        source: its path, or the binary file that the reader reads.
        start, stop: places in the recording, in samples.
        size: the most samples of a part.
    """
    if reader.format == "FLAC":
        parts = _flac_parts(reader, source, start, stop, size)
    elif reader.format == "OGG":
        parts = _ogg_parts(reader, source, start, size)
    elif reader.format == "MP3":
        parts = _mp3_parts(reader, source, start, size)
    else:
        parts = _parts(reader, start, size)
    place = start
    for part in parts:
        # What overlaps with the part before or lies outside is left out
        samples = part.samples[max(0, place - part.place) : max(0, stop - part.place)]
        begin = max(place, part.place)
        if len(samples):
            yield Part(begin, samples)
            place = begin + len(samples)
        if place >= stop:
            return


def _parts(reader: soundfile.SoundFile, place: int, size: int) -> Iterator[Part]:
    """Decode a file up to its end or up to the first damage. The samples just before the damage are not lost."""
    if place >= reader.frames:
        return
    reader.seek(place)
    yield from _parts_from(reader, place, size)


def _parts_from(reader: soundfile.SoundFile, place: int, size: int) -> Iterator[Part]:
    """As [`_parts`], for a reader that stands at a `place` of the recording."""
    # No more memory than the file needs
    size = min(size, max(1, reader.frames))
    while True:
        samples, before = np.empty((size, reader.channels), dtype=np.float32), reader.tell()
        try:
            number = len(reader.read(out=samples))
            is_end = number < size
        except soundfile.LibsndfileError:
            number, is_end = reader.tell() - before, True
        if number > 0:
            yield Part(place, samples[:number])
            place += number
        if is_end:
            return


# FLAC ---------------------------------------------------------------------------------------------


def _flac_parts(
    reader: soundfile.SoundFile, source: str | BinaryIO, start: int, stop: int, size: int
) -> Iterator[Part]:
    place = start
    try:
        reader.seek(start)
        is_sought = True
    except soundfile.LibsndfileError:  # the search comes upon the damage, wherever the start is
        is_sought = False
    if is_sought:
        for part in _parts_from(reader, start, size):
            yield part
            place = part.place + len(part.samples)
            if place >= stop:
                return
    with opened_source(source) as file:
        stream = _FlacStream.of(file)
        offset = stream.first_frame
        while place < stop:
            found = stream.frame_near(file, offset, place, is_sought)
            if found is None:
                return
            offset, begin = found
            for part in stream.parts_from(file, offset, begin, size):
                yield part
                place = max(place, part.place + len(part.samples))
                if place >= stop:
                    return
            offset, is_sought = offset + 1, True


@dataclass(frozen=True)
class _FlacStream:
    """
    What is needed to find and to decode frames.

    Attributes:
        header: the beginning of a FLAC file with the settings of this one.
        first_frame: where its frames begin, or a place before.
        block_size: samples of a frame, if all have the same number.
        samples: samples of the recording.
    """

    header: bytes
    first_frame: int
    block_size: int
    samples: int

    @classmethod
    def of(cls, file: BinaryIO) -> "_FlacStream":
        file.seek(0)
        beginning = file.read(_BLOCK_SIZE)
        start = max(0, beginning.find(b"fLaC"))
        info = beginning[start + 8 : start + 42]
        # STREAMINFO as the only and so the last block
        header = b"fLaC\x80\x00\x00\x22" + info
        samples = int.from_bytes(info[13:18], "big") & (2**36 - 1)
        return cls(header, start + 42, int.from_bytes(info[:2], "big"), samples)

    def frame_near(self, file: BinaryIO, offset: int, place: int, at_least: bool) -> tuple[int, int] | None:
        """
        Find a frame from `offset` on that can be decoded.

        Args:
            place: a place in the recording.
            at_least: whether the frame must begin there or later. If not, it may hold the place.

        Returns:
            Where it begins in the file and in the recording; `None` if there is none.
        """
        candidate = None
        for found in self._frames(file, offset):
            if found[1] >= place:
                if not at_least and candidate is not None and self._is_whole(file, candidate):
                    return candidate
                if self._is_whole(file, found):
                    return found
            else:
                candidate = found
        if not at_least and candidate is not None and self._is_whole(file, candidate):
            return candidate
        return None

    def parts_from(self, file: BinaryIO, offset: int, place: int, size: int) -> Iterator[Part]:
        """Decode from a frame at `offset` of the file and `place` of the recording up to the next damage."""
        reader = _Stream(_Joined(self.header, file, offset))
        is_end = False
        while not is_end:
            frames: list[np.ndarray] = []
            try:
                # One frame at a time, because an error loses what is read
                while not is_end and len(frames) * self.block_size < size:
                    frames.append(reader.read(self.block_size, dtype="float32", always_2d=True))
                    is_end = len(frames[-1]) < self.block_size
            except soundfile.LibsndfileError:
                is_end = True
            if frames:
                samples = np.concatenate(frames)
                yield Part(place, samples)
                place += len(samples)

    def _is_whole(self, file: BinaryIO, found: tuple[int, int]) -> bool:
        return any(len(part.samples) for part in self.parts_from(file, *found, size=1))

    def _frames(self, file: BinaryIO, offset: int) -> Iterator[tuple[int, int]]:
        """What looks like the header of a frame: where it is in the file, and the place of its first sample."""
        file.seek(offset)
        data = b""
        while block := file.read(_BLOCK_SIZE):
            data += block
            for match in _FLAC_SYNC.finditer(data):
                begin = match.start()
                place = self._place_of(data[begin : begin + _FLAC_HEADER])
                is_in_next = begin + _FLAC_HEADER > len(data)
                if place is not None and place < self.samples and not is_in_next:
                    next_read = file.tell()
                    yield offset + begin, place
                    file.seek(next_read)
            kept = min(len(data), _FLAC_HEADER - 1)
            offset += len(data) - kept
            data = data[len(data) - kept :]

    def _place_of(self, header: bytes) -> int | None:
        """The place in the recording that the header of a frame gives; `None` if it is none."""
        if len(header) < _FLAC_HEADER or header[3] & 1 or header[2] >> 4 == 0 or header[2] & 15 == 15:
            return None
        # The number of the frame or of the sample, coded as in UTF-8
        first = header[4]
        more = 0 if first < 0x80 else 8 - (first ^ 0xFF).bit_length() - 1
        if first >= 0x80 and not 1 <= more <= 6:
            return None
        number = first if more == 0 else first & ((1 << (6 - more)) - 1)
        for byte in header[5 : 5 + more]:
            if byte >> 6 != 2:
                return None
            number = number << 6 | byte & 0x3F
        end = 5 + more + {6: 1, 7: 2}.get(header[2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)
        if end >= len(header) or _crc8(header[:end]) != header[end]:
            return None
        return number if header[1] & 1 else number * self.block_size


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 if crc & 0x80 else crc << 1) & 0xFF
    return crc


# Ogg ----------------------------------------------------------------------------------------------


def _ogg_parts(reader: soundfile.SoundFile, source: str | BinaryIO, start: int, size: int) -> Iterator[Part]:
    with opened_source(source) as file:
        file.seek(0)
        beginning = file.read(_BLOCK_SIZE)
        codec = next((value for name, value in _OGG_CODECS.items() if name in beginning[:64]), None)
        runs = list(runs_of_pages(file))
    if codec is None or len(runs) == 1:
        yield from _parts(reader, start, size)
        return
    num_headers, rate = codec
    header_end, first_run = _end_of_headers(runs[0], num_headers)
    header = beginning[:header_end]
    # An Opus file says how many samples of its beginning are left out. libsndfile leaves out as many at the end of a
    # stream that does not begin at 0.
    skipped = int.from_bytes(beginning[beginning.find(b"OpusHead") + 10 :][:2], "little") if rate else 0
    scale = reader.samplerate / (rate or reader.samplerate)
    place = 0
    with opened_source(source) as file:
        for number, run in enumerate([first_run, *runs[1:]]):
            # The place is that of the end of the first page in which a packet ends
            first = next((page for page in run if page.position >= 0), None)
            if first is None:
                continue
            begin, late = 0, 0
            if number > 0:
                samples = _decoded_length(_Joined(header, file, run[0].begin, first.end))
                begin = max(0, round((first.position - 2 * skipped) * scale) - samples)
                late = round(_OPUS_PREROLL * reader.samplerate) if rate else 0
            try:
                joined = soundfile.SoundFile(_Joined(header, file, run[0].begin, run[-1].end))
            except soundfile.LibsndfileError:
                continue
            for part in _parts_from(joined, begin, size):
                right = max(0, begin + late - part.place)
                yield Part(part.place + right, part.samples[right:])
                place = part.place + len(part.samples)
    if 0 < reader.frames - place <= math.ceil(skipped * scale):
        yield Part(place, np.zeros((reader.frames - place, reader.channels), dtype=np.float32))


def _decoded_length(joined: "_Joined") -> int:
    try:
        return sum(len(part.samples) for part in _parts_from(soundfile.SoundFile(joined), 0, 2**16))
    except soundfile.LibsndfileError:
        return 0


def _end_of_headers(run: list[Page], packets: int) -> tuple[int, list[Page]]:
    """Where the pages with the header packets end, and the pages after them."""
    for index, page in enumerate(run):
        packets -= page.packets
        if packets <= 0:
            return page.end, run[index + 1 :]
    return run[-1].end, []


# MP3 ----------------------------------------------------------------------------------------------


def _mp3_parts(reader: soundfile.SoundFile, source: str | BinaryIO, start: int, size: int) -> Iterator[Part]:
    with opened_source(source) as file:
        file.seek(0)
        found = repaired(file.read())
    if found is None:
        # A frame can use bits of earlier ones, so the first frames after a seek are silent or wrong
        yield from _parts(reader, max(0, start - MP3_PREROLL), size)
        return
    data, gaps = found
    frames = count_frames(data)
    assert frames is not None  # `repaired` has found some
    repaired_reader = soundfile.SoundFile(io.BytesIO(data))
    samples_of_frame = frames.samples // frames.count
    delay = min(_MP3_DELAY, max(0, frames.samples - repaired_reader.frames))
    # The frame after a gap is mixed with the lost one before it, and the decoder is late by up to a frame
    silent = [(begin * samples_of_frame - delay, (end + 2) * samples_of_frame) for begin, end in gaps]
    for part in _parts_from(repaired_reader, 0, size):
        place, stop = part.place, part.place + len(part.samples)
        for begin, end in [*silent, (stop, stop)]:
            begin = min(begin, stop)
            if place < begin:
                yield Part(place, part.samples[place - part.place : begin - part.place])
            place = max(place, min(end, stop))


class _Stream(soundfile.SoundFile):
    """A file that is only read forwards. In a FLAC file whose first frame is not number 0, any seek fails."""

    def seekable(self) -> bool:
        return False


class _Joined(io.RawIOBase):
    """A header and a part of a file behind it, as one file to read."""

    def __init__(self, header: bytes, file: BinaryIO, begin: int, end: int | None = None):
        self.header, self.file, self.begin = header, file, begin
        self.size = len(header) + (file.seek(0, io.SEEK_END) if end is None else end) - begin
        self.place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.size}[whence]
        return self.place

    def readinto(self, buffer) -> int:
        number = max(0, min(len(buffer), self.size - self.place))
        data = self.header[self.place : self.place + number]
        if len(data) < number:
            self.file.seek(self.begin + self.place + len(data) - len(self.header))
            data += self.file.read(number - len(data))
        buffer[: len(data)] = data
        self.place += len(data)
        return len(data)
