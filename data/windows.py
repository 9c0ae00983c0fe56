# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Datasets for a DataLoader: clips as waveforms, whole, cropped at random or cut into windows."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch

from .audio import AudioFile, audio_info, load_audio
from .events import shifted_events
from .given import PITCH, TONIC, given_columns, has_audio, part_of_track, read_pitch_track
from .grid import WindowGrid, stream_windows
from .labels import FRAMES, task_of
from .readable import audio_file
from .seeds import combined_seed


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
        clips: columns `audio` (`Audio(decode=False)`) and `label`, as `load_clips` returns them, with what is given.
        sampling_rate: rate of the waveforms in Hz.
        transform: an augmentation: returns a waveform `(samples,)`, float32, for such a waveform and a
            `torch.Generator`, the source of all its random values.
        crop_seconds: longer clips are cropped at random to this length in seconds; by default clips stay whole.
        seed: seed of the crops and of `transform`.
    """

    columns = ["audio", "label"]

    def __init__(self, clips: datasets.Dataset, sampling_rate: int, **settings: Any):
        self.columns = [*self.columns, *given_columns(clips)]
        super().__init__(clips, sampling_rate, **settings)
        self.has_audio = has_audio(clips)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """
        Return `{"waveform": (samples,) float32 array, "label": label of the part that is read, "seed": int}`.

        With what is given, there are also `tonic`, a float in Hz, NaN where it is not known, and `pitch`, a
        `PitchPart` of the part that is read. Clips without audio have the waveform `None`.

        Raises:
            AudioFileError: the clip cannot be read.
            ValueError: its pitch track cannot be read.
        """
        clip, seed = self.clips[index], self.seed_of(index)
        if not self.has_audio:
            return {"waveform": None, "seed": seed, **self._given_alone(clip, seed)}
        waveform, start = self._read(clip["audio"], seed)
        label, seconds = clip["label"], len(waveform) / self.sampling_rate
        if task_of(self.clips.features["label"]) == FRAMES:
            label = shifted_events(label, start, seconds)
        item = {"waveform": waveform, "label": label, "seed": seed}
        if TONIC in self.columns:
            item["tonic"] = _tonic(clip)
        if PITCH in self.columns:
            item["pitch"] = part_of_track(read_pitch_track(clip[PITCH]), start, seconds)
        return item

    def seed_of(self, index: int) -> int:
        """The seed of all random values of a clip in this epoch."""
        return combined_seed(self.seed, int(self._epoch), index)

    def _given_alone(self, clip: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """The tonic, the pitch and the label of a clip without audio, of the part that `seed` selects."""
        track, start = read_pitch_track(clip[PITCH]), 0.0
        if self.crop_seconds is not None:
            to_spare = max(0.0, float(track.times[-1]) - self.crop_seconds)
            start = to_spare * torch.rand((), generator=torch.Generator().manual_seed(seed)).item()
        label = clip["label"]
        if task_of(self.clips.features["label"]) == FRAMES:
            label = shifted_events(label, start, self.crop_seconds or float(track.times[-1]))
        return {"label": label, "tonic": _tonic(clip), "pitch": part_of_track(track, start, self.crop_seconds)}


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

    def stream(self, index: int, grid: WindowGrid) -> Iterator[np.ndarray]:
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


def _tonic(clip: Mapping[str, Any]) -> float:
    return float("nan") if clip[TONIC] is None else clip[TONIC]
