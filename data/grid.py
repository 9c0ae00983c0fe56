# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The windows that a long clip is cut into."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .audio import AudioFile, load_audio, stream_audio


@dataclass(frozen=True)
class WindowGrid:
    """
    The windows that cover a clip. The first one begins at 0.

    Args:
        size: length of a window in samples.
        step: distance between the starts of two windows in samples.
        hop: distance between the starts of two frames of the model's input in samples.
        shortest: a rest at the end with fewer samples gets no window of its own.
        margin: number of samples by which the clip is mirrored at either end before it is cut, half a frame where
            frames are centred. A clip of less than `shortest` samples is padded with zeros before.
    """

    size: int
    step: int
    hop: int = 1
    shortest: int = 1
    margin: int = 0

    @classmethod
    def of_seconds(cls, seconds: float, sampling_rate: int) -> "WindowGrid":
        """Return adjacent windows of this length in seconds, or of 25 ms if that is longer."""
        shortest = sampling_rate // 40
        samples = max(shortest, round(seconds * sampling_rate))
        return cls(samples, samples, shortest=shortest)

    def windows(self, samples: int) -> list[tuple[int, int]]:
        """Return the start and the length of each window of a clip with `samples` samples, in the mirrored clip."""
        if self.margin:
            samples = max(samples, self.shortest) + 2 * self.margin
        starts = range(0, max(1, samples - self.shortest + 1), self.step)
        return [(start, min(self.size, samples - start)) for start in starts]

    def cut(self, waveform: np.ndarray) -> list[np.ndarray]:
        """Return the windows of a clip `(samples,)`."""
        windows = self.windows(len(waveform))
        waveform = self._mirrored(waveform, at_start=True, at_end=True)
        return [waveform[start : start + length] for start, length in windows]

    def read(self, file: AudioFile, sampling_rate: int, first: int = 0, number: int | None = None) -> list[np.ndarray]:
        """
        Read some windows of a clip. Nothing else is decoded.

        Args:
            file: as for `load_audio`.
            sampling_rate: rate of the windows in Hz.
            first: number of windows before them.
            number: number of windows; by default all up to the end of the clip.

        Raises:
            AudioFileError: as `load_audio`.
        """
        # Where the clip ends in one of the windows, the end is mirrored from what comes before
        start, samples = max(0, first * self.step - 2 * self.margin), None
        if number is not None:
            samples = (first + number - 1) * self.step + self.size - self.margin - start
            samples = max(samples, self.margin + 1)
        waveform = load_audio(
            file,
            sampling_rate,
            offset=start / sampling_rate,
            duration=None if samples is None else samples / sampling_rate,
        )
        is_end = samples is None or len(waveform) < samples
        waveform = self._mirrored(waveform, at_start=start == 0, at_end=is_end)
        begin = first * self.step - (start + self.margin if start else 0)
        starts = range(begin, max(begin + 1, len(waveform) - self.shortest + 1), self.step)
        return [waveform[start : start + self.size] for start in starts][:number]

    def _mirrored(self, waveform: np.ndarray, *, at_start: bool, at_end: bool) -> np.ndarray:
        if self.margin == 0:
            return waveform
        if at_start and at_end:
            waveform = np.pad(waveform, (0, max(0, self.shortest - len(waveform))))
        return np.pad(waveform, (self.margin * at_start, self.margin * at_end), mode="reflect")

    def frames(self, samples: int) -> int:
        """Return the number of frames in a window of this many samples. The answers for windows are weighted by it."""
        return max(1, (samples - (self.size - self.step)) // self.hop)


def stream_windows(
    file: AudioFile, sampling_rate: int, grid: WindowGrid, *, offset: float = 0.0, duration: float | None = None
) -> Iterator[np.ndarray]:
    """
    Read all windows of a clip one after the other. It is decoded once, and only a few windows are in memory.

    Args:
        file: as for `load_audio`.
        sampling_rate: rate of the windows in Hz.
        grid: the windows; a grid without a margin.
        offset, duration: the part of the file that is the clip, as for `load_audio`.

    Raises:
        AudioFileError: as `stream_audio`.
    """
    pending, is_first = np.empty(0, dtype=np.float32), True
    for block in stream_audio(file, sampling_rate, offset=offset, duration=duration):
        pending = np.concatenate([pending, block])
        # A window is whole once there is something after it. It can be the last one otherwise.
        starts = range(0, len(pending) - grid.size, grid.step)
        for start in starts:
            yield pending[start : start + grid.size]
        pending, is_first = pending[len(starts) * grid.step :], is_first and len(starts) == 0
    for start, length in grid.windows(len(pending)):
        if is_first or length >= grid.shortest:
            yield pending[start : start + length]
