# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Running a model on any number of audio files: finding, reading, cutting and batching them."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor
from transformers.utils import ModelOutput

from ..data.audio import AUDIO_EXTENSIONS, AudioFileError, AudioInfo, audio_info, load_audio
from ..modeling.traits import traits_of


# In a batch, a whole clip counts as one window for each 60 s
_SECONDS_OF_A_WINDOW = 60

Inputs = dict[str, torch.Tensor]


def find_files(paths: Iterable[str | os.PathLike]) -> list[str]:
    """
    The audio files that `paths` name, in their order and without duplicates. Of a folder, all audio files below it.

    Raises:
        ValueError: a folder has no audio files.
    """
    files: dict[str, str] = {}
    for given in paths:
        path = os.fspath(given)
        found = [path]
        if os.path.isdir(path):
            below = sorted(Path(path).rglob("*"))
            found = [str(f) for f in below if f.suffix.lower() in AUDIO_EXTENSIONS and not f.name.startswith(".")]
            if not found:
                raise ValueError(f"There are no audio files in the folder {path}.")
        for file in found:
            files.setdefault(os.path.abspath(file), file)
    return list(files.values())


class ClipReader:
    """
    Reads audio files as the input of a model: decodes them, cuts long clips into windows and extracts their features.

    If less than 25 ms remain after the last window, they are left out.

    Args:
        config: the model's.
        feature_extractor: the model's.
        batch_size: the number of windows in one forward pass.
        window: length of a window in seconds. By default our models get `config.window_frames`, and other models get
            whole clips.
        padding: `"longest"` pads to the longest window of a batch and masks the padding. `"max_length"`, for SSLAM
            models only, pads each window to its full length, and the model hears the padding of clips of one window,
            as in the original scripts. `None` chooses what the model was trained with, as a `pipeline` does.

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
        padding: str | None = None,
    ):
        if not hasattr(feature_extractor, "sampling_rate"):
            raise ValueError(f"A model of type {config.model_type} does not read audio.")
        self.config = config
        self.traits = traits_of(config)
        self.padding = padding
        self.feature_extractor = feature_extractor
        self.sampling_rate = feature_extractor.sampling_rate
        self.batch_size = batch_size
        self.batches_any_lengths = self.traits.batches_any_lengths
        self.grid = self.traits.window_grid(config, feature_extractor, window)
        self._call_arguments([])  # checks the padding

    def pieces(self, file: str, info: AudioInfo) -> list["Piece"]:
        """Divide a file into pieces that fit into a batch."""
        if self.grid is None:
            return [Piece(file, max(1, math.ceil(info.duration / _SECONDS_OF_A_WINDOW)))]
        windows = len(self.grid.windows(info.samples_at(self.sampling_rate)))
        firsts = range(0, windows, self.batch_size)
        return [Piece(file, min(self.batch_size, windows - first), first, first == firsts[-1]) for first in firsts]

    def cut(self, waveform: torch.Tensor) -> list[torch.Tensor]:
        """The windows of a clip `(samples,)`."""
        if self.grid is None:
            return [waveform]
        return [torch.from_numpy(window) for window in self.grid.cut(waveform.numpy())]

    def read(self, piece: "Piece") -> list[torch.Tensor]:
        """The windows of a piece of a file. Raises `AudioFileError` where it cannot be read."""
        if self.grid is None:
            windows = [load_audio(piece.file, self.sampling_rate)]
        else:
            number = None if piece.is_last else piece.windows
            windows = self.grid.read(piece.file, self.sampling_rate, piece.first, number)
        shortest = self.sampling_rate // 40
        if not self.batches_any_lengths and len(windows[-1]) < shortest:  # our own extractors pad them
            windows[-1] = np.pad(windows[-1], (0, shortest - len(windows[-1])))
        return [torch.from_numpy(window) for window in windows]

    def weights(self, samples: Sequence[int]) -> list[int]:
        """The weights of the windows of a clip, which have these lengths in samples, in the answer for the clip."""
        return list(samples) if self.grid is None else [self.grid.frames(length) for length in samples]

    def _call_arguments(self, is_part: Sequence[bool]) -> dict[str, Any]:
        return self.traits.extractor_call(self.config, self.feature_extractor, self.grid, self.padding, is_part)

    def extract(self, clips: Sequence[Sequence[torch.Tensor]], is_piece: Sequence[bool] | None = None) -> list[Inputs]:
        """
        The model's input for the windows of several clips, in batches of at most `batch_size` windows.

        Args:
            clips: the windows of each clip, or of a piece of it.
            is_piece: for each of them whether the clip has other windows. By default they are whole clips.
        """
        windows = [window for clip in clips for window in clip]
        is_piece = is_piece or [False] * len(clips)
        is_part = [len(clip) > 1 or other for clip, other in zip(clips, is_piece, strict=True) for _ in clip]
        size = self.batch_size if self.batches_any_lengths else 1
        batches = []
        for start in range(0, len(windows), size):
            # transformers declares neither of the two on the base class of its extractors, which all have both
            features = self.feature_extractor(  # type: ignore[operator]
                [window.numpy() for window in windows[start : start + size]],
                sampling_rate=self.sampling_rate,
                return_tensors="pt",
                **self._call_arguments(is_part[start : start + size]),
            )
            names = self.feature_extractor.model_input_names  # type: ignore[attr-defined]
            batches.append({name: value for name, value in features.items() if name in names})
        return batches


@dataclass(frozen=True)
class Piece:
    """
    A file, or windows of a long file that fit into a batch.

    Args:
        file: its path.
        windows: number of windows. A whole clip counts as one for each minute.
        first: number of windows before it.
        is_last: whether it reaches to the end of the file.
    """

    file: str
    windows: int
    first: int = 0
    is_last: bool = True


@dataclass(frozen=True)
class FileResult:
    """The answer of a model for each window of a file and the length of each window in samples, or an error."""

    file: str
    windows: list[Any]
    samples: list[int]
    error: str | None = None


@dataclass(frozen=True)
class _Batch:
    """Pieces, the length in samples of each of their windows, the input of all windows, and the errors of files."""

    pieces: list[Piece]
    samples: list[list[int]]
    inputs: list[Inputs]
    errors: dict[str, str]


class _Batches(torch.utils.data.Dataset):
    """Batches of pieces of files, which the workers of a DataLoader read."""

    def __init__(self, batches: list[list[Piece]], reader: ClipReader):
        self.batches = batches
        self.reader = reader

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> _Batch:
        pieces: list[Piece] = []
        clips: list[list[torch.Tensor]] = []
        errors: dict[str, str] = {}
        for piece in self.batches[index]:
            try:
                clips.append(self.reader.read(piece))
                pieces.append(piece)
            except AudioFileError as error:
                errors[piece.file] = str(error)
        samples = [[len(window) for window in windows] for windows in clips]
        is_piece = [piece.first > 0 or not piece.is_last for piece in pieces]
        return _Batch(pieces, samples, self.reader.extract(clips, is_piece), errors)


def run_on_files(
    model: PreTrainedModel,
    reader: ClipReader,
    files: Sequence[str],
    answer: Callable[[ModelOutput, Inputs], list[Any]],
    *,
    num_workers: int,
    description: str | None,
) -> Iterator[FileResult]:
    """
    Run a model on audio files.

    The longest files come first. Clips of similar length are in one batch, so that there is little padding. A batch
    that does not fit into memory fails at the start.

    Args:
        model: in evaluation mode, on its device.
        reader: reads the files.
        files: paths of the files.
        answer: takes the output of the model for a batch of windows, and their input, and returns a list with an
            answer for each window.
        num_workers: number of processes that read files.
        description: text of the progress bar; `None` for no progress bar.

    Yields:
        The answers for each file, or the error why it cannot be read.

    Raises:
        ValueError: the device has too little memory.
    """
    batches, errors = _plan(files, reader)
    loader = torch.utils.data.DataLoader(
        _Batches(batches, reader),
        batch_size=None,
        collate_fn=_unchanged,
        num_workers=max(0, min(num_workers, len(batches) - 1)),
    )
    with tqdm(total=len(files), desc=description, unit="file", disable=True if description is None else None) as bar:
        bar.update(len(errors))
        yield from (FileResult(file, [], [], error) for file, error in errors.items())
        done: dict[str, FileResult] = {}  # the windows of files whose last piece is still to come
        failed: set[str] = set()
        for batch in loader:
            for file, error in batch.errors.items():
                if file not in failed:
                    yield FileResult(file, [], [], error)
                    bar.update()
                failed.add(file)
                done.pop(file, None)
            answers = [one for inputs in batch.inputs for one in run_model(model, inputs, answer)]
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


def _plan(files: Sequence[str], reader: ClipReader) -> tuple[list[list[Piece]], dict[str, str]]:
    """Batches of pieces of files of similar length, the longest first, and the errors of unreadable files."""
    infos: dict[str, AudioInfo] = {}
    errors: dict[str, str] = {}
    for file in files:
        try:
            infos[file] = audio_info(file)
        except AudioFileError as error:
            errors[file] = str(error)
    batches: list[list[Piece]] = []
    room = 0
    for file in sorted(infos, key=lambda file: infos[file].duration, reverse=True):
        for piece in reader.pieces(file, infos[file]):
            if not batches or piece.windows > room:
                batches.append([])
                room = reader.batch_size
            batches[-1].append(piece)
            room -= piece.windows
    return batches, errors


def _unchanged(batch: Any) -> Any:
    return batch  # with batch_size=None the collator gets the item of the dataset and not a list


def run_model(model: PreTrainedModel, inputs: Inputs, answer: Callable[[ModelOutput, Inputs], Any]) -> Any:
    """
    Run a model on one batch and return `answer` of its output.

    Args:
        inputs: tensors of the batch, on any device.
        answer: takes the output of the model and its input, on the device of the model.

    Raises:
        ValueError: the device has too little memory.
    """
    inputs = {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }
    try:
        with torch.inference_mode():
            return answer(model(**inputs), inputs)
    except torch.OutOfMemoryError as error:
        raise ValueError(
            "The device does not have enough memory. Lower batch_size (--batch-size) or window (--window)."
        ) from error


def weighted_mean(windows: Sequence[torch.Tensor], weights: Sequence[int]) -> torch.Tensor:
    """The mean of the vectors of the windows of a clip, with the weights of [`ClipReader.weights`]."""
    shares = torch.tensor(weights, dtype=torch.float32) / sum(weights)
    return torch.stack(list(windows)).mul(shares[:, None]).sum(0)
