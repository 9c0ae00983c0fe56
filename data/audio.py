# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Reads audio files: wav, flac, ogg and mp3 with soundfile, other formats with torchcodec if it is installed."""

import contextlib
import io
import math
import os
import re
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile


AudioFile = str | os.PathLike | bytes | BinaryIO


# The extensions of audio files in a folder. Formats that soundfile cannot open need torchcodec.
AUDIO_EXTENSIONS = frozenset(
    (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".m4a", ".mp4", ".aac", ".wma", ".webm")
)


# The sampling rates that a header may give. With a damaged header, the resampler could need absurd amounts of memory.
_LOWEST_RATE, _HIGHEST_RATE = 1_000, 1_000_000

# The largest sample, above any PCM sample. Neither a resampler nor a feature extractor turns it into infinity.
_LOUDEST = 1e10

# A file is decoded in blocks of this many values. The memory then depends on the audio and not on the header.
_BLOCK_SIZE = 2**22

# libsndfile's frame count if the header of a stream lacks the length.
_UNKNOWN_LENGTH = 2**63 - 1

# The data size that programs write to the header of a wav if they stream it and do not know its length.
_STREAMED_SIZE = 0x7FFFF000

# Some programs count the header as data, so this many missing bytes do not mean that a file is damaged.
_HEADER_SLACK = 128

# A frame of an mp3 can use bits of earlier frames, so the first frames after a seek are silent or wrong. Decoding
# starts this many samples before the wanted part, which is enough for the lowest bit rates.
_MP3_PREROLL = 32 * 1152

# The bytes of a header and of 255 segments of 255 bytes.
_LARGEST_OGG_PAGE = 27 + 255 + 255 * 255

_GET_AGAIN = "Copy or download it again, or leave it out."


class AudioFileError(ValueError):
    """A file is missing, empty, cut off, not audio, or contains NaN or infinity. The message names the file."""


class AudioInfo(NamedTuple):
    """Duration in seconds, sampling rate in Hz and number of channels from the header of an audio file."""

    duration: float
    sampling_rate: int
    channels: int


def load_audio(
    file: AudioFile, sampling_rate: int, *, offset: float = 0.0, duration: float | None = None
) -> np.ndarray:
    """
    Read an audio file, or a part of it, as mono at a sampling rate.

    Args:
        file: a path, the bytes of a file, or a seekable binary file, which is read from its start.
        sampling_rate: rate of the result in Hz.
        offset: where to start, in seconds.
        duration: length of the part in seconds; by default, or if the file ends earlier, up to the end of the file.
            Only this part is decoded.

    Returns:
        `(samples,)`, float32, the mean of the channels.

    Raises:
        AudioFileError: the part is incomplete, has no samples, or contains NaN or infinity.
        ValueError: `sampling_rate` is not an integer within its range, `offset` is negative, `duration` is not above
            0, or one of these is not finite.
        TypeError: `file` is none of the above.
        ImportError: the file has another rate and torchaudio, which resamples it, is not installed.
    """
    if not isinstance(sampling_rate, (int, np.integer)) or not _LOWEST_RATE <= sampling_rate <= _HIGHEST_RATE:
        raise ValueError(
            f"sampling_rate must be an integer from {_LOWEST_RATE} to {_HIGHEST_RATE} Hz, got {sampling_rate!r}."
        )
    waveform, file_rate = decode_audio(file, offset=offset, duration=duration)
    waveform = _resample(waveform, file_rate, sampling_rate)
    return waveform if duration is None else waveform[: max(1, round(min(duration * sampling_rate, len(waveform))))]


def decode_audio(file: AudioFile, *, offset: float = 0.0, duration: float | None = None) -> tuple[np.ndarray, int]:
    """
    Read an audio file, or a part of it, as mono at its own rate.

    Arguments and errors are those of `load_audio`.

    Returns:
        The waveform, `(samples,)`, float32, and its sampling rate in Hz.
    """
    if not 0 <= offset < math.inf or (duration is not None and not 0 < duration < math.inf):
        raise ValueError(f"offset must be at least 0 and duration above 0 seconds, got {offset} and {duration}.")
    name = _name_of(file)
    reader = _open(file, name)
    if isinstance(reader, _TorchCodecFile):
        waveform, rate = reader.read(offset, duration)
    else:
        with reader:
            waveform, rate = _read_soundfile(reader, name, offset, duration), reader.samplerate
    if not max(waveform.max(), -waveform.min()) <= _LOUDEST:
        raise AudioFileError(
            f"{name} holds NaN or infinite samples, or samples far outside [-1, 1]. Repair or leave out this file."
        )
    return waveform, rate


def audio_info(file: AudioFile) -> AudioInfo:
    """
    Return the duration, the sampling rate and the number of channels of an audio file. Only the header is read.

    Raises:
        AudioFileError: the file is missing or not audio, or its length is unknown or 0.
    """
    reader = _open(file, _name_of(file))
    if isinstance(reader, _TorchCodecFile):
        return reader.info()
    with reader:
        return AudioInfo(reader.frames / reader.samplerate, reader.samplerate, reader.channels)


def _name_of(file: AudioFile) -> str:
    if isinstance(file, (str, os.PathLike)):
        return os.fspath(file)
    if isinstance(file, bytes):
        return f"Audio of {len(file)} bytes"
    return str(getattr(file, "name", "Audio file"))


def _open(file: AudioFile, name: str) -> "soundfile.SoundFile | _TorchCodecFile":
    """Open and check a file with soundfile, or with torchcodec if soundfile cannot open it."""
    source: str | BinaryIO
    if isinstance(file, (str, os.PathLike)):
        source = os.fspath(file)
        if not os.path.exists(source):
            raise AudioFileError(f"{name} does not exist. Check the path.")
        if not os.path.isfile(source):
            raise AudioFileError(f"{name} is not a file. Pass the path of one audio file.")
        if os.path.getsize(source) == 0:
            raise AudioFileError(f"{name} is empty (0 bytes). {_GET_AGAIN}")
    elif isinstance(file, bytes):
        source = io.BytesIO(file)
    elif hasattr(file, "seek") and hasattr(file, "read"):
        source = file
        source.seek(0)
    else:
        raise TypeError(f"Audio must be a path, the bytes of a file or a seekable binary file, got {type(file)}.")
    if Path(name).suffix.lower() == ".raw":
        raise AudioFileError(f"{name} is headerless audio of unknown format. Convert it to wav or flac.")

    try:
        reader = soundfile.SoundFile(source)
    except soundfile.LibsndfileError as error:
        return _TorchCodecFile(file, name, error.error_string)
    problem = _problem_in_header(reader)
    if not problem and reader.format == "OGG" and _is_cut_off_ogg(source):
        problem = f"is cut off. {_GET_AGAIN}"
    if problem:
        reader.close()
        raise AudioFileError(f"{name} {problem}")
    return reader


def _problem_in_header(reader: soundfile.SoundFile) -> str | None:
    """What is wrong with the header of a file, and what to do; `None` if it is right."""
    if not _LOWEST_RATE <= reader.samplerate <= _HIGHEST_RATE:
        return f"has a damaged header: its sampling rate is {reader.samplerate} Hz. Leave it out."
    if reader.frames == 0:
        return "has no samples. Leave it out."
    if reader.frames == _UNKNOWN_LENGTH:
        return "has no length in its header. Encode it again, for instance with `ffmpeg -i FILE NEW.flac`."
    # libsndfile shortens a wav or aiff that ends too early without an error; only its log shows it
    sizes = re.search(r"^ ?(?:data|SSND|  Data Size) +: (\d+) \(should be (\d+)\)", reader.extra_info, re.MULTILINE)
    if sizes:
        promised, found = map(int, sizes.groups())
        if promised < _STREAMED_SIZE and promised - found > _HEADER_SLACK:
            return f"is cut off. {_GET_AGAIN}"
    return None


def _is_cut_off_ogg(source: str | BinaryIO) -> bool:
    """
    Whether an Ogg file ends within a page. libsndfile leaves out such a page without an error.

    In such a file, more bytes follow the last whole page, although that page does not end the stream. A file that ends
    between two pages counts as whole, because live streams end like that.
    """
    with open(source, "rb") if isinstance(source, str) else contextlib.nullcontext(source) as file:
        place = file.tell()
        file.seek(max(0, file.seek(0, io.SEEK_END) - 2 * _LARGEST_OGG_PAGE))
        tail = file.read()
        file.seek(place)
    start = len(tail)
    while (start := tail.rfind(b"OggS\0", 0, start)) >= 0:
        header = tail[start : start + 27]
        if len(header) == 27:
            num_segments = header[26]
            end = start + 27 + num_segments + sum(tail[start + 27 : start + 27 + num_segments])
            if end <= len(tail):
                is_last = header[5] & 4
                return end < len(tail) and not is_last
    return False


def _read_soundfile(reader: soundfile.SoundFile, name: str, offset: float, duration: float | None) -> np.ndarray:
    start = round(min(offset * reader.samplerate, reader.frames))
    if start >= reader.frames:
        raise AudioFileError(
            f"{name} is {reader.frames / reader.samplerate:.3f} s long, so it has no samples at offset {offset} s."
        )
    stop = reader.frames
    if duration is not None:
        stop = start + max(1, math.ceil(min(duration * reader.samplerate, stop - start)))
    begin = max(0, start - _MP3_PREROLL) if reader.format == "MP3" else start
    blocks, missing = [], stop - begin
    mean_of_channels = np.full(reader.channels, 1 / reader.channels, dtype=np.float32)
    try:
        if begin:
            reader.seek(begin)
        while missing:
            block = reader.read(min(missing, _BLOCK_SIZE // reader.channels), dtype="float32", always_2d=True)
            if len(block) == 0:
                break
            blocks.append(block[:, 0] if reader.channels == 1 else block @ mean_of_channels)
            missing -= len(block)
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        raise AudioFileError(f"{name} is cut off or damaged ({reason}). {_GET_AGAIN}") from error
    if missing:
        raise AudioFileError(
            f"{name} is cut off: {missing} of {stop - begin} samples before {stop / reader.samplerate:.3f} s are "
            f"missing. {_GET_AGAIN}"
        )
    waveform = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return waveform[start - begin :]


class _TorchCodecFile:
    """An audio file that torchcodec (FFmpeg) can open and soundfile cannot."""

    def __init__(self, file: AudioFile, name: str, soundfile_error: str):
        try:
            from torchcodec.decoders import AudioDecoder
        except (ImportError, RuntimeError) as error:  # RuntimeError: FFmpeg's libraries are missing
            raise AudioFileError(
                f"{name} is not audio that soundfile can read ({soundfile_error.rstrip('.')}). If it is audio in "
                "another format, convert it to wav or flac, or install torchcodec and FFmpeg; otherwise leave it out."
            ) from error
        self.name = name
        if not isinstance(file, (str, os.PathLike, bytes)):
            file.seek(0)
        try:
            self.decoder = AudioDecoder(os.fspath(file) if isinstance(file, os.PathLike) else file)
        except (RuntimeError, ValueError) as error:
            raise self._unreadable(error) from error

    def info(self) -> AudioInfo:
        metadata = self.decoder.metadata
        if not metadata.duration_seconds:
            raise AudioFileError(f"{self.name} has no samples or an unknown length. Convert it to wav or flac.")
        return AudioInfo(metadata.duration_seconds, metadata.sample_rate, metadata.num_channels)

    def read(self, offset: float, duration: float | None) -> tuple[np.ndarray, int]:
        try:
            samples = self.decoder.get_samples_played_in_range(offset, None if duration is None else offset + duration)
        except (RuntimeError, ValueError) as error:
            raise self._unreadable(error) from error
        if samples.data.shape[1] == 0:
            raise AudioFileError(f"{self.name} has no samples at offset {offset} s. Leave it out.")
        return samples.data.mean(0).numpy(), samples.sample_rate

    def _unreadable(self, error: Exception) -> AudioFileError:
        return AudioFileError(
            f"{self.name} can be read neither by soundfile nor by torchcodec ({error}). Leave it out."
        )


def _resample(waveform: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    if from_rate == to_rate:
        return waveform
    try:
        import torch
        import torchaudio
    except ImportError as error:
        raise ImportError(
            f"Resampling the audio from {from_rate} to {to_rate} Hz needs torchaudio: `pip install torchaudio`."
        ) from error
    # The filter has a row for each step of the reduced ratio, so 44,101 to 16,000 Hz would take gigabytes. The ratios
    # of the usual rates are exact. With others, the pitch changes by less than a thousandth of a semitone.
    ratio = Fraction(to_rate, from_rate).limit_denominator(1000)
    return torchaudio.functional.resample(torch.from_numpy(waveform), ratio.denominator, ratio.numerator).numpy()
