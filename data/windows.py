# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Datasets for a DataLoader: clips as waveforms, whole, cropped at random or cut into windows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch

from .audio import AudioFile, audio_info, load_audio, stream_audio
from .events import shifted_events
from .labels import FRAMES, task_of
from .readable import audio_file


class _Part(NamedTuple):
    """A waveform `(samples,)`, float32, and its start in the clip, in seconds."""

    waveform: np.ndarray
    start: float


class CroppedClips:
    """
    The base of `AudioClips`, `WaveformWindows` and `StreamedWindows`, which reads a random part of a clip.

    Raises:
        ValueError: `crop_seconds` is not above 0.
    """

    columns = ["audio"]

    def __init__(
        self,
        clips: datasets.Dataset | datasets.IterableDataset,
        sampling_rate: int,
        *,
        transform: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None,
        crop_seconds: float | None = None,
        seed: int = 0,
    ):
        if crop_seconds is not None and crop_seconds <= 0:
            raise ValueError(f"crop_seconds must be above 0, got {crop_seconds}.")
        self.clips = clips.select_columns(self.columns)
        self.sampling_rate = sampling_rate
        self.transform = transform
        self.crop_seconds = crop_seconds
        self.seed = seed
        # In shared memory, because workers that persist over several epochs have a copy of this object
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, on which all random values depend. `AudioTrainer` calls this before each epoch."""
        self._epoch.fill_(epoch)

    def _read(self, audio: Mapping[str, Any] | None, seed: int) -> _Part:
        """Read the part of a clip that `seed` selects; `AudioFileError` if it cannot be read."""
        file = audio_file(audio)
        generator = torch.Generator()
        generator.manual_seed(seed)
        offset = self._offset(file, generator)
        waveform = load_audio(file, self.sampling_rate, offset=offset, duration=self.crop_seconds)
        if self.transform is not None:
            waveform = self.transform(torch.from_numpy(waveform), generator).numpy()
        return _Part(waveform, offset)

    def _offset(self, file: AudioFile, generator: torch.Generator) -> float:
        if self.crop_seconds is None:
            return 0.0
        to_spare = max(0.0, audio_info(file).duration - self.crop_seconds)
        return to_spare * torch.rand((), generator=generator).item()


class AudioClips(CroppedClips, torch.utils.data.Dataset):
    """
    Labelled clips as waveforms, which are decoded on access.

    The random values of a clip depend only on `seed`, the epoch and the index of the clip. They do not depend on the
    number of workers, nor on whether a run was stopped and resumed.

    Args:
        clips: columns `audio` (`Audio(decode=False)`) and `label`, as `load_clips` returns them.
        sampling_rate: rate of the waveforms in Hz.
        transform: an augmentation: returns a waveform `(samples,)`, float32, for such a waveform and a
            `torch.Generator`, the source of all its random values.
        crop_seconds: longer clips are cropped at random to this length in seconds; by default clips stay whole.
        seed: seed of the crops and of `transform`.
    """

    columns = ["audio", "label"]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """
        Return `{"waveform": (samples,) float32 array, "label": label of the part that is read, "seed": int}`.

        Raises:
            AudioFileError: the clip cannot be read.
        """
        clip = self.clips[index]
        seed = combined_seed(self.seed, int(self._epoch), index)
        waveform, start = self._read(clip["audio"], seed)
        label = clip["label"]
        if task_of(self.clips.features["label"]) == FRAMES:
            label = shifted_events(label, start, len(waveform) / self.sampling_rate)
        return {"waveform": waveform, "label": label, "seed": seed}


class WaveformWindows(CroppedClips, torch.utils.data.Dataset):
    """
    Clips without labels as waveforms, each with a seed for all further random values.

    The arguments are those of `AudioClips`, except that `clips` need no labels. As there, the random values of a clip
    depend only on `seed`, the epoch and the index of the clip.
    """

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """
        Return `{"waveform": (samples,) float32 array, "seed": int}`.

        Raises:
            AudioFileError: the clip cannot be read.
        """
        seed = combined_seed(self.seed, int(self._epoch), index)
        return {"waveform": self._read(self.clips[index]["audio"], seed).waveform, "seed": seed}

    def stream(self, index: int, grid: "WindowGrid") -> Iterator[np.ndarray]:
        """
        Yield the windows of the waveform of a clip, without `transform`; see `stream_windows`.

        Raises:
            AudioFileError: the clip cannot be read.
        """
        file = audio_file(self.clips[index]["audio"])
        generator = torch.Generator()
        generator.manual_seed(combined_seed(self.seed, int(self._epoch), index))
        offset = self._offset(file, generator)
        return stream_windows(file, self.sampling_rate, grid, offset=offset, duration=self.crop_seconds)


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


class ClipWindows(torch.utils.data.Dataset):
    """
    Whole clips as windows that cover them, for a model that takes one window at a time.

    Args:
        clips: columns `audio` (`Audio(decode=False)`) and `label`, as `load_clips` returns them.
        sampling_rate: rate of the waveforms in Hz.
        grid: the windows.
    """

    def __init__(self, clips: datasets.Dataset, sampling_rate: int, grid: WindowGrid):
        self.clips = clips.select_columns(["audio", "label"])
        self.sampling_rate = sampling_rate
        self.grid = grid
        self.windows: list[tuple[int, int]] = []
        self.frames: list[int] = []
        for index, audio in enumerate(self.clips.select_columns("audio")):
            info = audio_info(audio_file(audio["audio"]))
            for start, length in grid.windows(info.samples_at(sampling_rate)):
                self.windows.append((index, start))
                self.frames.append(grid.frames(length))
        self._is_long = {index for index, start in self.windows if start > 0}

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """
        Return `{"waveform": (samples,) float32 array, "label": label of the window, "is_part": bool, "center": bool}`,
        where `is_part` says whether the clip has several windows, and `center` whether the feature extractor has to
        mirror the ends of the waveform.
        """
        row, start = self.windows[index]
        clip = self.clips[row]
        (waveform,) = self.grid.read(audio_file(clip["audio"]), self.sampling_rate, start // self.grid.step, 1)
        label = clip["label"]
        if task_of(self.clips.features["label"]) == FRAMES:
            label = shifted_events(label, start / self.sampling_rate, len(waveform) / self.sampling_rate)
        is_part, center = row in self._is_long, self.grid.margin == 0
        return {"waveform": waveform, "label": label, "is_part": is_part, "center": center}


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


def combined_seed(*numbers: int) -> int:
    """Return one seed for a torch generator from several numbers, none of which may be negative."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)  # torch takes 63 bits
