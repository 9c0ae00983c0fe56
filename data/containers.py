# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Finds out whether an audio file is complete. libsndfile reads a file that is cut off as a shorter one."""

import contextlib
import io
import itertools
import os
import re
from collections.abc import Iterator
from typing import BinaryIO

import soundfile

from .mp3 import count_frames, promised_frames, with_length
from .ogg import runs_of_pages


# Containers whose cut off files can be told from whole ones.
_CHECKED = frozenset(
    ("AIFF", "AU", "CAF", "FLAC", "HTK", "MP3", "NIST", "OGG", "RF64", "SVX", "VOC", "W64", "WAV", "WAVEX")
)

# libsndfile's frame count if the header of a stream lacks the length.
_UNKNOWN_LENGTH = 2**63 - 1

# Programs that write to a pipe do not know the size of the audio. They write one of these, or a little less or more.
_STREAMED_SIZES = (0x7F000000, 2**31, 2**32)
_NEARLY = 2**16

# Where libsndfile finds less audio than the header promises, its log has both sizes.
_SIZES = re.compile(r"^ *(?:data|SSND|BODY|Data Size|Riff size|riff) +: (\d+) \(should be (\d+)\)", re.MULTILINE)

# Bytes of a sample of one channel. In other codings they are an average.
_BYTES = {
    "PCM_S8": 1,
    "PCM_U8": 1,
    "ULAW": 1,
    "ALAW": 1,
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
}

# The most samples of a frame of FLAC, and its fewest bytes: of the header, of a channel with one value, and of the sum
_FLAC_SAMPLES, _FLAC_BYTES = 2**16 - 1, 10

# How much of a file is looked at at a time.
_BLOCK_SIZE = 2**20

# The bytes of a header and of 255 segments of 255 bytes.
_LARGEST_OGG_PAGE = 27 + 255 + 255 * 255

# An Ogg page, with its flags, and the start of a FLAC stream: six and eight bytes
_OGG_PAGE = re.compile(rb"OggS\0.", re.DOTALL)
_OGG_FIRST_PAGE = 2
_FLAC_STREAM = re.compile(rb"fLaC[\0\x80]\0\0\x22")

GET_AGAIN = "Copy or download it again, or leave it out."
CUT_OFF = f"is cut off. {GET_AGAIN}"
_NO_LENGTH = "has no length in its header. Encode it again, for instance with `ffmpeg -i FILE NEW.flac`."
_SEVERAL = (
    "holds several recordings one after the other, of which only the first would be read. Take it apart, or encode it "
    "again, for instance with `ffmpeg -i FILE NEW.flac`."
)


def open_soundfile(source: str | BinaryIO) -> tuple[soundfile.SoundFile, str | None]:
    """
    Open a file with soundfile, and look at its header and its end.

    Args:
        source: the path of a file, or a binary file at its start.

    Returns:
        The opened file, and what is wrong with it and what to do, as the end of a sentence; `None` if it is right.

    Raises:
        soundfile.LibsndfileError: it is not audio that libsndfile can read.
    """
    # soundfile itself cannot encode the name of a file that is not UTF-8
    encoded = os.fsencode(source) if isinstance(source, str) and os.name == "posix" else source
    reader = soundfile.SoundFile(encoded)
    if reader.format == "MP3":
        return _mp3_with_length(reader, source)
    return reader, _problem_of(reader, source)


def problem_of_rest(reader: soundfile.SoundFile, source: str | BinaryIO) -> str | None:
    """
    As the problem of [`open_soundfile`], which only the whole file shows: more streams than libsndfile reads, or
    damage that it does not notice.
    """
    with opened_source(source) as file:
        if reader.format == "OGG":
            is_first = (bool(page[5] & _OGG_FIRST_PAGE) for page in _found(_OGG_PAGE, 6, file))
            # The streams of one recording, which play together, begin before the other pages
            if any(itertools.dropwhile(bool, is_first)):
                return _SEVERAL
            return f"is damaged. {GET_AGAIN}" if len(list(runs_of_pages(file))) > 1 else None
        if reader.format == "FLAC":
            return _SEVERAL if len(list(_found(_FLAC_STREAM, 8, file))) > 1 else None
        if reader.format == "MP3":
            frames = count_frames(file.read())
            # Some encoders do not count the last frame
            is_longer = frames is not None and frames.promised is not None and frames.count > frames.promised + 1
            return _SEVERAL if is_longer else None
    return None


def promised_samples(reader: soundfile.SoundFile, source: str | BinaryIO) -> int:
    """The number of samples by the header of a file that is cut off, or those that it has if the header has none."""
    if reader.format == "NIST":
        return _samples_of_nist(source) or reader.frames
    samples = reader.frames
    for sizes in _SIZES.finditer(reader.extra_info):
        promised, found = map(int, sizes.groups())
        size = reader.channels * _BYTES.get(reader.subtype, 0) or found / reader.frames
        samples = max(samples, reader.frames + round((promised - found) / size))
    return samples


def _problem_of(reader: soundfile.SoundFile, source: str | BinaryIO) -> str | None:
    if reader.format not in _CHECKED:
        return f"is in the container {reader.format}, in which cut off files go unnoticed. Convert it to wav or flac."
    if reader.frames == 0:
        return "has no samples. Leave it out."
    if reader.frames == _UNKNOWN_LENGTH:
        return _NO_LENGTH
    if reader.format == "OGG":
        return _problem_of_ogg(source)
    if reader.format == "FLAC" and reader.frames > _most_samples_of_flac(source):
        return f"has a damaged header: the file is too small for the length in it. {GET_AGAIN}"
    if reader.format == "NIST":
        promised = _samples_of_nist(source)
        return CUT_OFF if promised is not None and promised > reader.frames else None
    length = re.match(r"Length : (\d+)", reader.extra_info)
    for sizes in _SIZES.finditer(reader.extra_info):
        promised, found = map(int, sizes.groups())
        is_streamed = promised >= 2**62 or any(abs(promised - size) <= _NEARLY for size in _STREAMED_SIZES)
        # Some programs count the header of a wav as data, with or without its first 8 bytes
        is_size_of_file = reader.format == "WAV" and length is not None and int(length[1]) - promised in (0, 8)
        if promised > found and not is_streamed and not is_size_of_file:
            return CUT_OFF
    return CUT_OFF if "Seems to be a truncated file" in reader.extra_info else None


def _mp3_with_length(reader: soundfile.SoundFile, source: str | BinaryIO) -> tuple[soundfile.SoundFile, str | None]:
    """An MP3 file without a length in its header gets one. libsndfile guesses it from the size of the first frame."""
    with opened_source(source) as file:
        if promised_frames(file) is not None:
            return reader, None
        file.seek(0)
        data = file.read()
    frames = count_frames(data)
    if frames is None:
        return reader, _NO_LENGTH
    if frames.is_cut_off:
        return reader, CUT_OFF
    if not frames.is_uniform:
        return reader, _SEVERAL
    if reader.subtype != "MPEG_LAYER_III":  # MPEG layers 1 and 2 never store their length
        return reader, None if reader.frames == frames.samples else _NO_LENGTH
    reader.close()
    return soundfile.SoundFile(io.BytesIO(with_length(data, frames))), None


def _problem_of_ogg(source: str | BinaryIO) -> str | None:
    """
    Whether an Ogg file ends within a page, which libsndfile leaves out, or with a page of another stream.

    In a file that is cut off, more bytes follow the last whole page, although that page does not end the stream. A
    file that ends between two pages counts as whole, because live streams end like that.
    """
    with opened_source(source) as file:
        first = file.read(27)
        file.seek(max(0, file.seek(0, io.SEEK_END) - 2 * _LARGEST_OGG_PAGE))
        tail = file.read()
    start = len(tail)
    while (start := tail.rfind(b"OggS\0", 0, start)) >= 0:
        header = tail[start : start + 27]
        if len(header) == 27:
            num_segments = header[26]
            end = start + 27 + num_segments + sum(tail[start + 27 : start + 27 + num_segments])
            if end <= len(tail):
                is_last = header[5] & 4
                if end < len(tail) and not is_last:
                    return CUT_OFF
                return None if header[14:18] == first[14:18] else _SEVERAL
    return None


def _most_samples_of_flac(source: str | BinaryIO) -> int:
    """The most samples that a FLAC file of this size can hold: frames that are as long and as small as they can be."""
    with opened_source(source) as file:
        return file.seek(0, io.SEEK_END) // _FLAC_BYTES * _FLAC_SAMPLES


def _samples_of_nist(source: str | BinaryIO) -> int | None:
    """The number of samples of each channel by the header of a NIST file."""
    with opened_source(source) as file:
        found = re.search(rb"\bsample_count -i (\d+)", file.read(1024))
    return int(found[1]) if found else None


def _found(pattern: re.Pattern[bytes], size: int, file: BinaryIO) -> Iterator[bytes]:
    """What matches a pattern of this size in a file, which is read in blocks."""
    end = b""
    while block := file.read(_BLOCK_SIZE):
        data = end + block
        yield from pattern.findall(data)
        end = data[1 - size :]


@contextlib.contextmanager
def opened_source(source: str | BinaryIO) -> Iterator[BinaryIO]:
    """The file at its start. A file that was open is left where it stands."""
    if isinstance(source, str):
        with open(source, "rb") as file:
            yield file
    else:
        place = source.tell()
        source.seek(0)
        yield source
        source.seek(place)
