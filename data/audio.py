# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Reads audio files: wav, flac, ogg and mp3 with soundfile, other formats with torchcodec if it is installed."""

import io
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile

from .containers import CUT_OFF, GET_AGAIN, open_soundfile, problem_of_rest, promised_samples
from .damage import MP3_PREROLL, readable_parts
from .resampling import resample_blocks, resampled_length, samples_needed


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

# The most samples of one part that are kept in memory, 2 GiB: 3.1 hours at 48 kHz. Small files can decode to days.
_MOST_SAMPLES = 2**29

# The usual rate of models. At lower rates the limit is the same, because a model hears the part at its own rate.
_USUAL_RATE = 16_000

# How much shorter than its header says a file may be that torchcodec decodes: delays of encoders, rounded times
_INEXACT_SECONDS = 0.25

# How many samples fewer than its last page says an Ogg file may decode to, which silence then replaces: the longest
# block of Vorbis
_INEXACT_OGG_SAMPLES = 8192

# AAC without a container, whose length is a guess from its size, and an MP4 file, in which times are exact to a sample
_ADTS = (b"\xff\xf1", b"\xff\xf9")
_MP4 = b"ftyp"


class AudioFileError(ValueError):
    """A file is missing, empty, cut off, not audio, or contains NaN or infinity. The message names the file."""


class AudioInfo(NamedTuple):
    """Duration in seconds, sampling rate in Hz and number of channels from the header of an audio file."""

    duration: float
    sampling_rate: int
    channels: int

    def samples_at(self, sampling_rate: int) -> int:
        """The number of samples that [`load_audio`] returns at a sampling rate."""
        return resampled_length(round(self.duration * self.sampling_rate), self.sampling_rate, sampling_rate)


class Gap(NamedTuple):
    """A part of a recording that cannot be read, from `start` to `stop` in seconds, and the reason."""

    start: float
    stop: float
    reason: str


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
        AudioFileError: the part is incomplete, has no samples, is too long for memory, or contains NaN or infinity.
        ValueError: `sampling_rate` is not an integer within its range, `offset` is negative, `duration` is not above
            0, or one of these is not finite.
        TypeError: `file` is none of the above.
    """
    part = _open_part(file, offset, duration, _valid_rate(sampling_rate))
    return _in_memory(part, _name_of(file))


def stream_audio(
    file: AudioFile,
    sampling_rate: int,
    *,
    offset: float = 0.0,
    duration: float | None = None,
    gaps: list[Gap] | None = None,
) -> Iterator[np.ndarray]:
    """
    Read an audio file, or a part of it, block by block. The memory does not grow with the length of the file.

    Other arguments and errors are those of `load_audio`, but a file may have any length. Damage inside a file is
    reported when the blocks before it have been read.

    Args:
        gaps: a list to which the parts of a damaged file are added that cannot be read, with their times in the file.
            They are silence of the same length, so what comes after them is at its right time: to the sample in FLAC
            and Ogg, to a frame of 24 ms in MP3. Where the end of a file is missing, the audio ends there. The last gap
            then reaches to the end that the header promises, or has no length if it promises none. A file of which
            nothing can be read is an error. By default any damage is an error.

    Returns:
        An iterator of mono blocks `(samples,)`, float32. Without damage they are together what `load_audio` returns.
    """
    return _open_part(file, offset, duration, _valid_rate(sampling_rate), gaps).blocks


def decode_audio(file: AudioFile, *, offset: float = 0.0, duration: float | None = None) -> tuple[np.ndarray, int]:
    """
    Read an audio file, or a part of it, as mono at its own rate.

    Arguments and errors are those of `load_audio`.

    Returns:
        The waveform, `(samples,)`, float32, and its sampling rate in Hz.
    """
    part = _open_part(file, offset, duration)
    return _in_memory(part, _name_of(file)), part.sampling_rate


def check_audio(file: AudioFile, *, in_parts: bool = False) -> None:
    """
    Decode an audio file, and keep nothing of it.

    Args:
        file: as for `load_audio`.
        in_parts: whether only parts of the file will be read, so that it may be of any length.

    Raises:
        AudioFileError: as `load_audio`.
    """
    part = _open_part(file, 0.0, None)
    if not in_parts:
        at_usual_rate = resampled_length(part.samples, part.sampling_rate, _USUAL_RATE)
        _check_length(_name_of(file), at_usual_rate, _USUAL_RATE)
    for _ in part.blocks:
        pass


def audio_info(file: AudioFile) -> AudioInfo:
    """
    Return the duration, the sampling rate and the number of channels of an audio file. Only the header is read.

    Raises:
        AudioFileError: the file is missing or not audio, or its length is unknown or 0.
    """
    return _open(file, _name_of(file)).info()


def _name_of(file: AudioFile) -> str:
    if isinstance(file, (str, os.PathLike)):
        return os.fspath(file)
    if isinstance(file, bytes):
        return f"Audio of {len(file)} bytes"
    return str(getattr(file, "name", "Audio file"))


class _Part(NamedTuple):
    """A part of a file: its rate in Hz, its largest number of samples, and blocks of its mono samples."""

    sampling_rate: int
    samples: int
    blocks: Iterator[np.ndarray]


def _valid_rate(rate: int) -> int:
    if not isinstance(rate, (int, np.integer)) or not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
        raise ValueError(f"sampling_rate must be an integer from {_LOWEST_RATE} to {_HIGHEST_RATE} Hz, got {rate!r}.")
    return int(rate)


def _open_part(
    file: AudioFile,
    offset: float,
    duration: float | None,
    sampling_rate: int | None = None,
    gaps: list[Gap] | None = None,
) -> _Part:
    """Open a part of a file, at a sampling rate or at its own. The samples are those of the whole file there."""
    if not 0 <= offset < math.inf or (duration is not None and not 0 < duration < math.inf):
        raise ValueError(f"offset must be at least 0 and duration above 0 seconds, got {offset} and {duration}.")
    opened = _open(file, _name_of(file), gaps)
    own_rate, length = opened.sampling_rate, opened.samples
    rate = own_rate if sampling_rate is None else sampling_rate
    if round(offset * own_rate, 6) >= length:
        raise AudioFileError(
            f"{opened.name} is {length / own_rate:.3f} s long, so it has no samples at offset {offset} s."
        )
    all_samples = resampled_length(length, own_rate, rate)
    first = min(round(offset * rate), all_samples - 1)
    last = None if duration is None else first + max(1, round(duration * rate))
    start, stop, before = samples_needed(first, last, own_rate, rate)
    blocks = resample_blocks(opened.blocks(start, stop), own_rate, rate)
    samples = all_samples if last is None else min(last, all_samples)
    return _Part(rate, samples - first, _cut(blocks, before, None if last is None else last - first))


def _cut(blocks: Iterable[np.ndarray], before: int, most: int | None) -> Iterator[np.ndarray]:
    """Leave out the samples `before` a part, and those after `most` samples of it."""
    for block in blocks:
        block, before = block[before:], max(0, before - len(block))
        if most is not None:
            block = block[:most]
            most -= len(block)
        if len(block):
            yield block


def _in_memory(part: _Part, name: str) -> np.ndarray:
    """The samples of a part. Raises `AudioFileError` if they are too many."""
    _check_length(name, part.samples, part.sampling_rate)
    waveform, filled = np.empty(part.samples, dtype=np.float32), 0
    for block in part.blocks:
        if filled + len(block) > len(waveform):  # the length was a guess
            _check_length(name, filled + len(block), part.sampling_rate)
            waveform = np.concatenate([waveform, np.empty(max(len(block), len(waveform)), dtype=np.float32)])
        waveform[filled : filled + len(block)] = block
        filled += len(block)
    return waveform[:filled]


def _open(file: AudioFile, name: str, gaps: list[Gap] | None = None) -> "_SoundFile | _TorchCodecFile":
    """Open and check a file with soundfile, or with torchcodec if soundfile cannot. `gaps` as for `stream_audio`."""
    source: str | BinaryIO
    if isinstance(file, (str, os.PathLike)):
        source = os.fspath(file)
        if not os.path.exists(source):
            raise AudioFileError(f"{name} does not exist. Check the path.")
        if not os.path.isfile(source):
            raise AudioFileError(f"{name} is not a file. Pass the path of one audio file.")
        if os.path.getsize(source) == 0:
            raise AudioFileError(f"{name} is empty (0 bytes). {GET_AGAIN}")
        if not os.access(source, os.R_OK):
            raise AudioFileError(f"{name} may not be read by this user. Change its permissions, or leave it out.")
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
        reader, problem = open_soundfile(source)
    except soundfile.LibsndfileError as error:
        return _TorchCodecFile(file, name, error.error_string)
    _check_rate(name, reader.samplerate)
    if problem and (gaps is None or problem != CUT_OFF):
        raise AudioFileError(f"{name} {problem}")
    if gaps is None:
        return _SoundFile(reader, source, name)
    return _DamagedSoundFile(reader, source, name, gaps, is_cut_off=problem is not None)


def _check_rate(name: str, rate: int) -> None:
    """Raise `AudioFileError` if no file can have this sampling rate."""
    if not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
        raise AudioFileError(f"{name} has a damaged header: its sampling rate is {rate} Hz. Leave it out.")


def _check_length(name: str, samples: int, rate: int, channels: int = 1) -> None:
    """Raise `AudioFileError` if a part with this number of channels is too long for the memory."""
    most = _MOST_SAMPLES / max(rate, _USUAL_RATE) / channels
    if samples / rate > most:
        raise AudioFileError(
            f"{name} is too long: {samples / rate / 3600:.1f} hours decode to {4 * samples * channels / 2**30:.1f} "
            f"GiB, and at most {most / 3600:.1f} hours of such a file are read at once. Cut it, for instance with "
            "`ffmpeg -i FILE -f segment -segment_time 1800 PART%03d.flac`, or leave it out."
        )


def _check_samples(name: str, samples: np.ndarray) -> np.ndarray:
    """Return samples unchanged; `AudioFileError` if they are no sound."""
    if len(samples) and not max(samples.max(), -samples.min()) <= _LOUDEST:
        raise AudioFileError(
            f"{name} holds NaN or infinite samples, or samples far outside [-1, 1]. Repair or leave out this file."
        )
    return samples


class _SoundFile:
    """An audio file that soundfile can open."""

    def __init__(self, reader: soundfile.SoundFile, source: str | BinaryIO, name: str):
        self.reader = reader
        self.source = source
        self.name = name
        self.sampling_rate = reader.samplerate
        self.samples = reader.frames

    def info(self) -> AudioInfo:
        with self.reader as reader:
            return AudioInfo(reader.frames / reader.samplerate, reader.samplerate, reader.channels)

    def blocks(self, start: int, stop: int | None) -> Iterator[np.ndarray]:
        """The mono samples from `start` to `stop`, both counted in the file."""
        with self.reader as reader:
            stop = reader.frames if stop is None else min(stop, reader.frames)
            begin = max(0, start - MP3_PREROLL) if reader.format == "MP3" else start
            place = begin
            mean_of_channels = np.full(reader.channels, 1 / reader.channels, dtype=np.float32)
            try:
                if begin:
                    reader.seek(begin)
                while place < stop:
                    size = min(stop - place, max(1, _BLOCK_SIZE // reader.channels))
                    block = reader.read(size, dtype="float32", always_2d=True)
                    if len(block) == 0:
                        break
                    skipped = max(0, start - place)
                    place += len(block)
                    mono = block[:, 0] if reader.channels == 1 else block @ mean_of_channels
                    yield _check_samples(self.name, mono[skipped:])
            except soundfile.LibsndfileError as error:
                reason = error.error_string.rstrip(".")
                raise AudioFileError(f"{self.name} is cut off or damaged ({reason}). {GET_AGAIN}") from error
            if place < stop and not self._is_end(max(place, start)):
                raise AudioFileError(
                    f"{self.name} is cut off: {stop - place} of {stop - begin} samples before "
                    f"{stop / reader.samplerate:.3f} s are missing. {GET_AGAIN}"
                )
            yield from _silence(stop - max(place, start))
            problem = problem_of_rest(reader, self.source) if stop == reader.frames else None
        if problem:
            raise AudioFileError(f"{self.name} {problem}")

    def _is_end(self, place: int) -> bool:
        """Whether it is the end, although the header promises more: some encoders of Ogg count a block too much."""
        return self.reader.format == "OGG" and self.samples - place <= _INEXACT_OGG_SAMPLES


class _DamagedSoundFile(_SoundFile):
    """An audio file that soundfile can open and that may be damaged. What cannot be read is added to `gaps`."""

    def __init__(
        self, reader: soundfile.SoundFile, source: str | BinaryIO, name: str, gaps: list[Gap], *, is_cut_off: bool
    ):
        super().__init__(reader, source, name)
        self.samples = promised_samples(reader, source) if is_cut_off else reader.frames
        self.gaps = gaps
        self.is_cut_off = is_cut_off

    def blocks(self, start: int, stop: int | None) -> Iterator[np.ndarray]:
        stop = self.samples if stop is None else min(stop, self.samples)
        place, size = start, max(1, _BLOCK_SIZE // self.reader.channels)
        with self.reader as reader:
            mean_of_channels = np.full(reader.channels, 1 / reader.channels, dtype=np.float32)
            for part in readable_parts(reader, self.source, start, stop, size):
                if place < part.place:
                    self.gaps.append(Gap(place / self.sampling_rate, part.place / self.sampling_rate, "damaged"))
                    yield from _silence(part.place - place)
                mono = part.samples[:, 0] if reader.channels == 1 else part.samples @ mean_of_channels
                yield self._sound(mono, part.place)
                place = part.place + len(mono)
            if place == start == 0 and stop == self.samples:
                raise AudioFileError(f"{self.name} is cut off or damaged, and nothing of it can be read. {GET_AGAIN}")
            if place < stop and not self.is_cut_off and self._is_end(place):
                yield from _silence(stop - place)
                place = stop
            if place < stop or (self.is_cut_off and stop == self.samples):
                # No silence is added up to the end that the header promises: a damaged header may promise days
                self.gaps.append(Gap(place / self.sampling_rate, stop / self.sampling_rate, "cut off"))
            elif start == 0 and stop == self.samples and not self.gaps:
                problem = problem_of_rest(reader, self.source)
                if problem:
                    self.gaps.append(Gap(stop / self.sampling_rate, stop / self.sampling_rate, problem))

    def _sound(self, samples: np.ndarray, place: int) -> np.ndarray:
        """The samples, with zeros from the first to the last one that is NaN, infinite or far too loud."""
        (wrong,) = np.nonzero(~(np.abs(samples) <= _LOUDEST))
        if len(wrong):
            first, last = wrong[0], wrong[-1] + 1
            self.gaps.append(
                Gap(
                    (place + first) / self.sampling_rate,
                    (place + last) / self.sampling_rate,
                    "NaN or infinite samples",
                )
            )
            samples[first:last] = 0
        return samples


def _silence(samples: int) -> Iterator[np.ndarray]:
    for start in range(0, samples, _BLOCK_SIZE):
        yield np.zeros(min(_BLOCK_SIZE, samples - start), dtype=np.float32)


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
        try:
            beginning = _first_bytes(file, 8)
            self.is_length_guessed = beginning[:2] in _ADTS
            self.has_exact_times = beginning[4:] == _MP4
            self.decoder = AudioDecoder(os.fspath(file) if isinstance(file, os.PathLike) else file)
        except (RuntimeError, ValueError, OSError) as error:
            raise self._unreadable(error) from error

    def info(self) -> AudioInfo:
        metadata = self.decoder.metadata
        if not metadata.duration_seconds:
            raise AudioFileError(f"{self.name} has no samples or an unknown length. Convert it to wav or flac.")
        _check_rate(self.name, metadata.sample_rate)
        return AudioInfo(metadata.duration_seconds, metadata.sample_rate, metadata.num_channels)

    @property
    def sampling_rate(self) -> int:
        return self.info().sampling_rate

    @property
    def samples(self) -> int:
        """The number of samples by the header, which can be a little wrong."""
        info = self.info()
        return max(1, round(info.duration * info.sampling_rate))

    def blocks(self, start: int, stop: int | None) -> Iterator[np.ndarray]:
        """The mono samples from `start` to `stop`, both counted in the file."""
        info = self.info()
        rate, size = info.sampling_rate, max(1, _BLOCK_SIZE // info.channels)
        if not self.has_exact_times:
            # In blocks, samples would be lost or repeated between them. A second more shows that the header is wrong.
            samples = (self.samples if stop is None else min(stop, self.samples)) - start
            _check_length(self.name, samples, rate, info.channels)
            size = _MOST_SAMPLES // info.channels + rate
        place, is_end = start, False
        while not is_end:
            end = place + size if stop is None else min(stop, place + size)
            try:
                # A quarter of a sample earlier, because times are rounded
                first, last = max(0.0, place - 0.25) / rate, (end - 0.25) / rate
                block = self.decoder.get_samples_played_in_range(first, last).data
            except (RuntimeError, ValueError) as error:
                raise self._unreadable(error) from error
            is_end = block.shape[1] < end - place or end == stop
            place += block.shape[1]
            if not self.has_exact_times:
                _check_length(self.name, place - start, rate, info.channels)
            if block.shape[1]:
                yield _check_samples(self.name, block.mean(0).numpy())
        if place == start:
            raise AudioFileError(f"{self.name} has no samples at {start / rate:.3f} s. Leave it out.")
        missing = self.samples / rate - place / rate
        if stop is None and missing > _INEXACT_SECONDS and not self.is_length_guessed:
            raise AudioFileError(
                f"{self.name} is cut off: it is {place / rate:.3f} s long instead of {self.samples / rate:.3f} s. "
                f"{GET_AGAIN}"
            )

    def _unreadable(self, error: Exception) -> AudioFileError:
        return AudioFileError(
            f"{self.name} can be read neither by soundfile nor by torchcodec ({error}). Leave it out."
        )


def _first_bytes(file: AudioFile, number: int) -> bytes:
    if isinstance(file, bytes):
        return file[:number]
    if isinstance(file, (str, os.PathLike)):
        with open(file, "rb") as opened:
            return opened.read(number)
    file.seek(0)
    beginning = file.read(number)
    file.seek(0)
    return beginning
