# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Finds the whole pages of an Ogg file, because libsndfile goes on behind damaged ones as if nothing were missing."""

import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple


# How much of a file is looked at at a time
_BLOCK_SIZE = 2**20

# The bytes of the largest page, rounded up
_LARGEST_PAGE = 2**17

# Each byte with its bits in the other order
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Page(NamedTuple):
    """
    A whole page.

    Attributes:
        begin, end: where it is in the file.
        position: the sample after the last packet that ends in it; -1 if none does.
        stream, number: its stream, and its number there.
        packets: how many packets end in it.
    """

    begin: int
    end: int
    position: int
    stream: int
    number: int
    packets: int


def runs_of_pages(file: BinaryIO) -> Iterator[list[Page]]:
    """
    The pages of the first stream with a right check sum, in runs between which pages are missing.

    In recordings of live streams, the page numbers may jump after the headers. Nothing is missing there.
    """
    run: list[Page] = []
    stream = None
    for page in _pages(file):
        stream = page.stream if stream is None else stream
        if page.stream != stream:
            continue
        if run and page.number != run[-1].number + 1 and run[-1].position > 0:
            yield run
            run = []
        run.append(page)
    if run:
        yield run


def _pages(file: BinaryIO) -> Iterator[Page]:
    """The pages with a right check sum."""
    file.seek(0)
    data, offset = file.read(_BLOCK_SIZE), 0
    while data:
        begin = data.find(b"OggS\0")
        more = file.read(_BLOCK_SIZE) if begin < 0 or len(data) - begin < _LARGEST_PAGE else b""
        if begin < 0:
            data, offset = (data[-4:] + more, offset + max(0, len(data) - 4)) if more else (b"", offset)
            continue
        if more:
            data += more
        number_of_segments = data[begin + 26] if len(data) > begin + 26 else 0
        segments = data[begin + 27 : begin + 27 + number_of_segments]
        end = begin + 27 + number_of_segments + sum(segments)
        page = data[begin:end]
        if end <= len(data) and len(page) >= 27 and _check_sum(page) == int.from_bytes(page[22:26], "little"):
            position = int.from_bytes(page[6:14], "little", signed=True)
            stream, number = int.from_bytes(page[14:18], "little"), int.from_bytes(page[18:22], "little")
            packets = sum(segment < 255 for segment in segments)
            yield Page(offset + begin, offset + end, position, stream, number, packets)
        else:
            end = begin + 5
        data, offset = data[end:], offset + end


def _check_sum(page: bytes) -> int:
    """The check sum of a page: the CRC-32 of zlib, but with the bits in the other order and without inverting."""
    reversed_bits = (page[:22] + bytes(4) + page[26:]).translate(_REVERSED)
    return int(f"{zlib.crc32(reversed_bits, 0xFFFFFFFF) ^ 0xFFFFFFFF:032b}"[::-1], 2)
