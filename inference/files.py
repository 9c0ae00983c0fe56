# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Runs a model on any number of audio files, which `embed` and `predict` share: files, windows, batches, workers."""

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm.auto import tqdm
from transformers import PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor
from transformers.utils import ModelOutput

from ..data.audio import AudioFileError, audio_info, load_audio
from ..data.windows import window_starts


# Models whose answers do not change with the padding that the attention mask tells. Clips of others are not padded.
_IGNORE_PADDING = ("sam_audio", "sslam")

# What a clip counts in a batch if it is not cut into windows: one for each so many seconds.
_SECONDS_OF_A_WINDOW = 60

Inputs = dict[str, torch.Tensor]


def find_files(paths: list[str]) -> list[str]:
    """The files among `paths`, and of folders all audio files below them. Each once, in the order they came in."""
    from ..data.audio import AUDIO_EXTENSIONS

    files: dict[str, str] = {}
    for path in paths:
        found = [path]
        if os.path.isdir(path):
            below = sorted(Path(path).rglob("*"))
            found = [str(f) for f in below if f.suffix.lower() in AUDIO_EXTENSIONS and not f.name.startswith(".")]
            if not found:
                raise ValueError(f"the folder {path} holds no audio files")
        for file in found:
            files.setdefault(os.path.abspath(file), file)
    return list(files.values())


class ClipReader:
    """
    Reads audio files as a model's input: decodes them, cuts long clips into windows, extracts features in batches.

    Windows of an SSLAM model follow each other frame by frame, so that the patches of all windows are those of the
    whole clip. What is left behind the last window is left out if it is shorter than 25 ms, one frame.

    Args:
        config: the model's.
        feature_extractor: the model's.
        batch_size: windows of one forward pass.
        window: seconds of a window. By default SSLAM models get what their feature extractor is set to, the length
            they were trained on, and others whole clips.
        padding: `"longest"`, hidden by the attention mask, or for SSLAM models `"max_length"`: each window is padded
            to its full length with what the model takes for sound, as the published models were trained.

    Raises:
        ValueError: the model cannot take such windows or padding.
    """

    def __init__(
        self,
        config: PreTrainedConfig,
        feature_extractor: SequenceFeatureExtractor,
        *,
        batch_size: int,
        window: float | None = None,
        padding: str = "longest",
    ):
        if not hasattr(feature_extractor, "sampling_rate"):
            raise ValueError(f"a model of type {config.model_type} does not read audio")
        self.feature_extractor = feature_extractor
        self.sampling_rate = feature_extractor.sampling_rate
        self.pads = config.model_type in _IGNORE_PADDING
        self.batch_size = batch_size
        self.shortest = self.sampling_rate // 40
        if config.model_type == "sslam":
            frames = self._frames_of_window(config, window)
            self.step = frames * feature_extractor.hop_length
            self.size = self.step + feature_extractor.window_length - feature_extractor.hop_length
            with_mask = padding == "longest"
            self.settings = {"padding": padding, "max_length": frames, "return_attention_mask": with_mask}
            return
        if padding != "longest":
            raise ValueError(f"--padding {padding} is for SSLAM models; this one is of type {config.model_type}")
        self.step = self.size = None if window is None else max(self.shortest, round(window * self.sampling_rate))
        self.settings = {"padding": True, "return_attention_mask": True} if self.pads else {}

    def _frames_of_window(self, config: PreTrainedConfig, window: float | None) -> int:
        reach = config.max_time_patches * config.patch_size
        frames_per_second = self.sampling_rate / self.feature_extractor.hop_length
        frames = min(self.feature_extractor.max_length, reach) if window is None else window * frames_per_second
        frames = max(1, math.ceil(round(frames, 3) / config.patch_size)) * config.patch_size
        if frames > reach:
            raise ValueError(f"the model reaches {reach / frames_per_second:g} s; make --window that long at most")
        return frames

    def count(self, seconds: float) -> int:
        """How much of a batch a clip takes up."""
        return max(1, math.ceil(seconds / (self.step / self.sampling_rate if self.step else _SECONDS_OF_A_WINDOW)))

    def cut(self, waveform: torch.Tensor) -> list[torch.Tensor]:
        """The windows of a clip, which is one window itself if it is short enough."""
        if self.step is None:
            return [waveform]
        starts = window_starts(len(waveform), self.step, self.sampling_rate)
        return [waveform[start : start + self.size] for start in starts]

    def read(self, file: str) -> list[torch.Tensor]:
        """The windows of a file. Raises `AudioFileError` where it cannot be read."""
        waveform = torch.from_numpy(load_audio(file, self.sampling_rate))
        if not self.pads and len(waveform) < self.shortest:  # our own extractors do so themselves
            waveform = torch.nn.functional.pad(waveform, (0, self.shortest - len(waveform)))
        return self.cut(waveform)

    def extract(self, windows: list[torch.Tensor]) -> list[Inputs]:
        """The model's input for all windows, in as many batches as it takes."""
        size = self.batch_size if self.pads else 1
        batches = []
        for start in range(0, len(windows), size):
            features = self.feature_extractor(
                [window.numpy() for window in windows[start : start + size]],
                sampling_rate=self.sampling_rate,
                return_tensors="pt",
                **self.settings,
            )
            names = self.feature_extractor.model_input_names
            batches.append({name: value for name, value in features.items() if name in names})
        return batches


class _FileBatch(NamedTuple):
    """Files with the seconds of each of their windows, the input for all windows, and why others cannot be read."""

    seconds: dict[str, list[float]]
    inputs: list[Inputs]
    errors: dict[str, str]


class _FileBatches(torch.utils.data.Dataset):
    """Batches of files, read when they are asked for: in the workers of a DataLoader where it has some."""

    def __init__(self, batches: list[list[str]], reader: ClipReader):
        self.batches = batches
        self.reader = reader

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> _FileBatch:
        seconds, errors, windows = {}, {}, []
        for file in self.batches[index]:
            try:
                windows_of_file = self.reader.read(file)
            except AudioFileError as error:
                errors[file] = str(error)
                continue
            windows += windows_of_file
            seconds[file] = [len(window) / self.reader.sampling_rate for window in windows_of_file]
        return _FileBatch(seconds, self.reader.extract(windows), errors)


class FileResult(NamedTuple):
    """What a model gave for each window of a file, with the windows' lengths; or why the file cannot be read."""

    file: str
    windows: list[Any]
    seconds: list[float]
    error: str | None = None


def run_on_files(
    model: PreTrainedModel,
    reader: ClipReader,
    files: list[str],
    answer: Callable[[ModelOutput, Inputs], list[Any]],
    *,
    num_workers: int,
    description: str,
) -> Iterator[FileResult]:
    """
    Run a model on audio files, with a progress bar.

    Files come in an order of their own, the longest first: clips of like length make a batch, so that little is
    padded, and a batch that does not fit into memory shows at once.

    Args:
        model: in evaluation mode, on its device.
        reader: reads the files, in as many processes as `num_workers` says.
        answer: from the model's output for a batch of windows, and its input, to something for each window.
        description: for the progress bar.
    """
    batches, errors = _plan(files, reader)
    loader = torch.utils.data.DataLoader(
        _FileBatches(batches, reader),
        batch_size=None,
        collate_fn=_unchanged,
        num_workers=max(0, min(num_workers, len(batches) - 1)),
    )
    with tqdm(total=len(files), desc=description, unit="file", disable=None) as progress:
        progress.update(len(errors))
        yield from (FileResult(file, [], [], error) for file, error in errors.items())
        for batch in loader:
            answers = [one for inputs in batch.inputs for one in _run(model, inputs, answer)]
            for file, seconds in batch.seconds.items():
                yield FileResult(file, answers[: len(seconds)], seconds)
                answers = answers[len(seconds) :]
            yield from (FileResult(file, [], [], error) for file, error in batch.errors.items())
            progress.update(len(batch.seconds) + len(batch.errors))


def _plan(files: list[str], reader: ClipReader) -> tuple[list[list[str]], dict[str, str]]:
    """Batches of files of like length, the longest first, and why others cannot be read, as their headers tell."""
    seconds, errors = {}, {}
    for file in files:
        try:
            seconds[file] = audio_info(file).duration
        except AudioFileError as error:
            errors[file] = str(error)
    batches, room = [], 0
    for file in sorted(seconds, key=seconds.__getitem__, reverse=True):
        if not batches or reader.count(seconds[file]) > room:
            batches.append([])
            room = reader.batch_size
        batches[-1].append(file)
        room -= reader.count(seconds[file])
    return batches, errors


def _unchanged(batch: _FileBatch) -> _FileBatch:
    return batch


def _run(model: PreTrainedModel, inputs: Inputs, answer: Callable[[ModelOutput, Inputs], list[Any]]) -> list[Any]:
    inputs = {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }
    try:
        with torch.inference_mode():
            return answer(model(**inputs), inputs)
    except torch.OutOfMemoryError as error:
        raise ValueError("the device has too little memory; lower --batch-size or --window") from error


def weighted_mean(windows: list[torch.Tensor], seconds: list[float]) -> torch.Tensor:
    """The mean over the windows of a clip, in which each counts by its length."""
    weights = torch.tensor(seconds)
    return torch.stack(windows).mul(weights[:, None]).sum(0) / weights.sum()
