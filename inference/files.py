# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What running a model on any number of audio files needs without the model: finding, dividing and joining them."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.audio import AudioFileError, AudioInfo, audio_info, load_audio
from ..data.grid import WindowGrid
from ..data.recordings import FileRecordings, Recording, Recordings, find_recordings, is_address
from .progress import progress_bar


# In a batch, a whole clip counts as one window for each 60 s
_SECONDS_OF_A_WINDOW = 60

# The features of a window, float32: a vector `(hidden_size,)` for all of it, vectors `(n, hidden_size)` along time, or
# both
Features = tuple[np.ndarray | None, np.ndarray | None]


def find_files(paths: Iterable[str | os.PathLike]) -> list[str]:
    """
    The audio files that `paths` name, in their order and without duplicates. Of a folder, all audio files below it.

    Raises:
        ValueError: a folder has no audio files, or a path is an address or an archive.
    """
    found = find_recordings(paths)
    others = [*found.archives, *filter(is_address, found.files)]
    if others:
        raise ValueError(
            f"{others[0]} is not one audio file on this machine, so it cannot be read here. Use embed_collection or "
            "predict_collection, or on the command line `embed --format parquet` or `predict`."
        )
    return list(found.files)


def local_files(recordings: Recordings) -> list[str] | None:
    """The paths of recordings that are all audio files on this machine, in their order; `None` for others."""
    if not isinstance(recordings, FileRecordings) or recordings.archives or any(map(is_address, recordings.files)):
        return None
    return list(recordings.files)


@dataclass(frozen=True)
class Piece:
    """
    A recording, or windows of a long one that fit into a batch.

    Args:
        recording: its name, and the file or the bytes to read.
        windows: number of windows. A whole clip counts as one for each minute.
        first: number of windows before it.
        is_last: whether it reaches to the end of the recording.
    """

    recording: Recording
    windows: int
    first: int = 0
    is_last: bool = True

    @property
    def file(self) -> str:
        """The name of the recording: for a file that was given as a path, this path."""
        return self.recording.name

    def is_part(self, windows: Sequence[np.ndarray]) -> bool:
        """Whether its clip has several windows; these ones are those of the piece."""
        return len(windows) > 1 or self.first > 0 or not self.is_last


@dataclass(frozen=True)
class FileResult:
    """The answer of a model for each window of a file and the length of each window in samples, or an error."""

    file: str
    windows: list[Any]
    samples: list[int]
    error: str | None = None


@dataclass(frozen=True)
class BatchAnswers:
    """Pieces, the length in samples of each of their windows, the answers for all windows, and the errors of files."""

    pieces: list[Piece]
    samples: list[list[int]]
    answers: list[Any]
    errors: dict[str, str]


@dataclass(frozen=True)
class FileReader:
    """
    Reads audio files as windows of a model.

    Args:
        sampling_rate: of the windows, in Hz.
        grid: the windows of a long clip, or `None` for whole clips.
        batch_size: the number of windows in one forward pass.
    """

    sampling_rate: int
    grid: WindowGrid | None
    batch_size: int

    def plan(self, files: Sequence[str | Recording]) -> tuple[list[list[Piece]], dict[str, str]]:
        """Batches of pieces of files of similar length, the longest first, and the errors of unreadable files."""
        infos: dict[str, tuple[Recording, AudioInfo]] = {}
        errors: dict[str, str] = {}
        for file in files:
            recording = Recording(file, file) if isinstance(file, str) else file
            try:
                infos[recording.name] = recording, audio_info(recording.audio)
            except AudioFileError as error:
                errors[recording.name] = str(error)
        batches: list[list[Piece]] = []
        room = 0
        for recording, info in sorted(infos.values(), key=lambda known: known[1].duration, reverse=True):
            for piece in self.pieces(recording, info):
                if not batches or piece.windows > room:
                    batches.append([])
                    room = self.batch_size
                batches[-1].append(piece)
                room -= piece.windows
        return batches, errors

    def pieces(self, recording: Recording, info: AudioInfo) -> list[Piece]:
        """Divide a recording into pieces that fit into a batch."""
        if self.grid is None:
            return [Piece(recording, max(1, math.ceil(info.duration / _SECONDS_OF_A_WINDOW)))]
        windows = len(self.grid.windows(info.samples_at(self.sampling_rate)))
        firsts = range(0, windows, self.batch_size)
        return [
            Piece(recording, min(self.batch_size, windows - first), first, first == firsts[-1]) for first in firsts
        ]

    def read(self, pieces: Sequence[Piece]) -> tuple[list[Piece], list[list[np.ndarray]], dict[str, str]]:
        """The pieces that can be read, the windows `(samples,)` of each, and the errors of the other files."""
        found: list[Piece] = []
        clips: list[list[np.ndarray]] = []
        errors: dict[str, str] = {}
        for piece in pieces:
            try:
                clips.append(self.read_piece(piece))
                found.append(piece)
            except AudioFileError as error:
                errors[piece.file] = str(error)
        return found, clips, errors

    def read_piece(self, piece: Piece) -> list[np.ndarray]:
        """The windows of a piece. Raises `AudioFileError` where it cannot be read."""
        if self.grid is None:
            return [load_audio(piece.recording.audio, self.sampling_rate)]
        number = None if piece.is_last else piece.windows
        return self.grid.read(piece.recording.audio, self.sampling_rate, piece.first, number)

    def weights(self, samples: Sequence[int]) -> list[int]:
        """The weights of the windows of a clip, which have these lengths in samples, in the answer for the clip."""
        return list(samples) if self.grid is None else [self.grid.frames(length) for length in samples]

    def seconds(self, samples: Sequence[int]) -> float:
        """The length of a clip whose windows have these lengths in samples."""
        last_start = 0 if self.grid is None else (len(samples) - 1) * self.grid.step
        return (last_start + samples[-1]) / self.sampling_rate


def collect_results(
    batches: Iterable[BatchAnswers],
    unreadable: Mapping[str, str],
    *,
    total: int,
    description: str | None,
) -> Iterator[FileResult]:
    """
    Put the answers for the windows of each file together.

    Args:
        batches: in the order of [`FileReader.plan`].
        unreadable: the errors of files that are in no batch.
        total: number of files.
        description: text of the progress bar; `None` for no progress bar.

    Yields:
        The answers for each file, or the error why it cannot be read.
    """
    with progress_bar(total, description, unit="file") as bar:
        bar.update(len(unreadable))
        yield from (FileResult(file, [], [], error) for file, error in unreadable.items())
        done: dict[str, FileResult] = {}  # the windows of files whose last piece is still to come
        failed: set[str] = set()
        for batch in batches:
            for file, error in batch.errors.items():
                if file not in failed:
                    yield FileResult(file, [], [], error)
                    bar.update()
                failed.add(file)
                done.pop(file, None)
            answers = batch.answers
            for piece, samples in zip(batch.pieces, batch.samples, strict=True):
                own, answers = answers[: len(samples)], answers[len(samples) :]
                if piece.file in failed:
                    continue
                result = done.setdefault(piece.file, FileResult(piece.file, [], []))
                result.windows.extend(own)
                result.samples.extend(samples)
                if piece.is_last:
                    yield done.pop(piece.file)
                    bar.update()


def join_features(windows: Sequence[Features], weights: Sequence[int]) -> np.ndarray:
    """The features of a clip, `(hidden_size,)` or `(n, hidden_size)`, from those of its windows."""
    vectors = [vector for vector, _ in windows if vector is not None]
    sequences = [sequence for _, sequence in windows if sequence is not None]
    if not sequences:
        return weighted_mean(vectors, weights)
    first = [weighted_mean(vectors, weights)[None]] if vectors else []
    return np.concatenate([*first, *sequences])


def weighted_mean(windows: Sequence[np.ndarray], weights: Sequence[int]) -> np.ndarray:
    """The mean of the vectors of the windows of a clip, float32, with the weights of [`FileReader.weights`]."""
    shares = np.array(weights, dtype=np.float32) / np.float32(sum(weights))
    return (np.stack(windows) * shares[:, None]).sum(axis=0)
