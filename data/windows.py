# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""How a DataLoader reads clips: windows of them, streams of them, and batches of what a model takes."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch

from .audio import audio_info, load_audio
from .events import shifted_events
from .labels import FRAMES, task_of
from .readable import audio_file


class _Part(NamedTuple):
    """A waveform `(samples,)`, float32, and where in its clip it begins, in seconds."""

    waveform: np.ndarray
    start: float


class CroppedClips:
    """
    What `AudioClips`, `WaveformWindows` and `StreamedWindows` share: how the random part of a clip is read.

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
        # In shared memory, because workers that live through several epochs have a copy of this object
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Draw anew: `AudioTrainer` calls this before each epoch."""
        self._epoch.fill_(epoch)

    def _read(self, audio: Mapping[str, Any] | None, seed: int) -> _Part:
        """The part of a clip that follows from `seed`; `AudioFileError` where it has none."""
        file = audio_file(audio)
        generator = torch.Generator()
        generator.manual_seed(seed)
        offset = 0.0
        if self.crop_seconds is not None:
            to_spare = max(0.0, audio_info(file).duration - self.crop_seconds)
            offset = to_spare * torch.rand((), generator=generator).item()
        waveform = load_audio(file, self.sampling_rate, offset=offset, duration=self.crop_seconds)
        if self.transform is not None:
            waveform = self.transform(torch.from_numpy(waveform), generator).numpy()
        return _Part(waveform, offset)


class AudioClips(CroppedClips, torch.utils.data.Dataset):
    """
    Labelled clips as waveforms, decoded when they are asked for.

    What is random about a clip follows from `seed`, the epoch and its index alone: neither the number of workers nor a
    run that was stopped and resumed changes it.

    Args:
        clips: columns `audio` (`Audio(decode=False)`) and `label`, as `load_clips` gives them.
        sampling_rate: rate of the waveforms in Hz.
        transform: a change to the training clips: from a waveform `(samples,)` and a `torch.Generator` for whatever is
            random about it to a waveform `(samples,)`, float32.
        crop_seconds: length of the random part that is read of clips that are longer; whole clips where not given.
        seed: seed of the crops and of `transform`.
    """

    columns = ["audio", "label"]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """
        `{"waveform": (samples,) float32 array, "label": that of the part that is read, "seed": int}`; `AudioFileError`
        where the clip cannot be read.
        """
        clip = self.clips[index]
        seed = combined_seed(self.seed, int(self._epoch), index)
        waveform, start = self._read(clip["audio"], seed)
        label = clip["label"]
        if task_of(self.clips.features["label"]) == FRAMES:
            label = shifted_events(label, start, len(waveform) / self.sampling_rate)
        return {"waveform": waveform, "label": label, "seed": seed}


@dataclass(frozen=True)
class WindowGrid:
    """
    The windows that cover a clip, the first of which begins at 0.

    Args:
        size: length of a window in samples.
        step: samples from the start of one window to that of the next.
    """

    size: int
    step: int

    @classmethod
    def of_seconds(cls, seconds: float, sampling_rate: int) -> "WindowGrid":
        """Windows of this length, at least 25 ms, that follow each other."""
        samples = max(_shortest(sampling_rate), round(seconds * sampling_rate))
        return cls(samples, samples)

    def starts(self, samples: int, sampling_rate: int) -> range:
        """
        Where the windows of a clip of `samples` samples begin.

        A rest of less than 25 ms, one frame, gets no window of its own.
        """
        return range(0, max(1, samples - _shortest(sampling_rate) + 1), self.step)


def _shortest(sampling_rate: int) -> int:
    """The samples of 25 ms, one frame."""
    return sampling_rate // 40


class ClipWindows(torch.utils.data.Dataset):
    """
    Whole clips as windows that cover them, for a model that takes no more than one window at a time.

    Args:
        clips: columns `audio` (`Audio(decode=False)`) and `label`, as `load_clips` gives them.
        sampling_rate: rate of the waveforms in Hz.
        grid: the windows.
    """

    def __init__(self, clips: datasets.Dataset, sampling_rate: int, grid: WindowGrid):
        self.clips = clips.select_columns(["audio", "label"])
        self.sampling_rate = sampling_rate
        self.grid = grid
        self.windows: list[tuple[int, int]] = []
        self.seconds: list[float] = []
        for index, audio in enumerate(self.clips.select_columns("audio")):
            info = audio_info(audio_file(audio["audio"]))
            samples = math.ceil(round(info.duration * info.sampling_rate) * sampling_rate / info.sampling_rate)
            for start in grid.starts(samples, sampling_rate):
                self.windows.append((index, start))
                self.seconds.append((min(start + grid.size, samples) - start) / sampling_rate)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`{"waveform": (samples,) float32 array, "label": that of the window}`."""
        row, start = self.windows[index]
        clip = self.clips[row]
        waveform = load_audio(audio_file(clip["audio"]), self.sampling_rate)[start : start + self.grid.size]
        label = clip["label"]
        if task_of(self.clips.features["label"]) == FRAMES:
            label = shifted_events(label, start / self.sampling_rate, len(waveform) / self.sampling_rate)
        return {"waveform": waveform, "label": label}


class WaveformWindows(CroppedClips, torch.utils.data.Dataset):
    """
    Clips without labels as waveforms, each with the seed that everything random about it follows from.

    Arguments are those of `AudioClips`, except that `clips` need no labels. As there, what is random about a clip
    follows from `seed`, the epoch and its index alone.
    """

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`{"waveform": (samples,) float32 array, "seed": int}`; `AudioFileError` where the clip cannot be read."""
        seed = combined_seed(self.seed, int(self._epoch), index)
        return {"waveform": self._read(self.clips[index]["audio"], seed).waveform, "seed": seed}


def combined_seed(*numbers: int) -> int:
    """One seed for a torch generator from several numbers, none of which may be negative."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)  # torch takes 63 bits
