# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Vectors along the time of many clips, in a file."""

from pathlib import Path

import numpy as np


class FrameFeatures:
    """
    The vectors along the time of clips, float16, in a file that is mapped into memory.

    Args:
        frames: `(frames, layers, size)` of all clips one after the other.
        starts, lengths: the first frame and the number of frames of each clip.
    """

    def __init__(self, frames: np.ndarray, starts: np.ndarray, lengths: np.ndarray):
        self._frames, self._starts, self.lengths = frames, starts, lengths
        self.layers, self.size = frames.shape[1:]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, clips: np.ndarray) -> "FrameFeatures":
        """These clips, in the same file."""
        return FrameFeatures(self._frames, self._starts[clips], self.lengths[clips])

    def clip(self, index: int) -> np.ndarray:
        """The vectors of a clip, `(frames, layers, size)`, float16."""
        start = self._starts[index]
        return self._frames[start : start + self.lengths[index]]


class FrameWriter:
    """Writes the vectors of one clip after the other to a file."""

    def __init__(self, path: Path):
        self._path = path
        self._file = open(path, "wb")  # noqa: SIM115  `finish` closes it
        self._lengths: list[int] = []
        self._shape: tuple[int, ...] = ()

    def add(self, frames: np.ndarray) -> None:
        """
        Add the vectors of a clip, `(frames, layers, size)`.

        Raises:
            ValueError: a number is NaN, infinite or too large for float16.
        """
        with np.errstate(over="ignore"):
            frames = frames.astype(np.float16)
        if not np.isfinite(frames).all():
            raise ValueError("Some features are NaN, infinite or above 65,504: the model is broken.")
        self._file.write(np.ascontiguousarray(frames).data)
        self._lengths.append(len(frames))
        self._shape = frames.shape[1:]

    def finish(self) -> FrameFeatures:
        """Close the file, and map it into memory."""
        self._file.close()
        lengths = np.array(self._lengths)
        frames = np.memmap(self._path, np.float16, "r", shape=(int(lengths.sum()), *self._shape))
        return FrameFeatures(frames, np.cumsum(lengths) - lengths, lengths)
