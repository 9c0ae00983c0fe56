# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Running a model of torch on any number of audio files: reading, cutting and batching them."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor
from transformers.utils import ModelOutput

from ..data.given import extractor_arguments, waveforms_of
from ..data.recordings import Recording
from ..modeling.traits import traits_of
from .files import BatchAnswers, FileReader, FileResult, Piece, collect_results


Inputs = dict[str, torch.Tensor]


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
        self.files = FileReader(self.sampling_rate, self.grid, batch_size)
        self._call_arguments([])  # checks the padding

    def cut(self, waveform: torch.Tensor) -> list[torch.Tensor]:
        """The windows of a clip `(samples,)`."""
        return self._lengthened([waveform.numpy()] if self.grid is None else self.grid.cut(waveform.numpy()))

    def read(self, pieces: Sequence[Piece]) -> tuple[list[Piece], list[list[torch.Tensor]], dict[str, str]]:
        """The pieces that can be read, the windows of each, and the errors of the other files."""
        found, clips, errors = self.files.read(pieces)
        return found, [self._lengthened(windows) for windows in clips], errors

    def _lengthened(self, windows: list[np.ndarray]) -> list[torch.Tensor]:
        """The windows of a clip, a clip of less than 25 ms padded for extractors that take no such clips."""
        shortest = self.sampling_rate // 40
        if not self.batches_any_lengths and len(windows[-1]) < shortest:  # our own extractors pad them
            windows[-1] = np.pad(windows[-1], (0, shortest - len(windows[-1])))
        return [torch.from_numpy(window) for window in windows]

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

    def extract_given(self, items: Sequence[Mapping[str, Any]]) -> list[Inputs]:
        """The model's input for whole clips with given tonics, in batches, from the items of `AudioClips`."""
        batches = []
        for start in range(0, len(items), self.batch_size):
            own = items[start : start + self.batch_size]
            features = self.feature_extractor(  # type: ignore[operator]
                waveforms_of(own),
                sampling_rate=self.sampling_rate,
                return_tensors="pt",
                **self._call_arguments([False] * len(own)),
                **extractor_arguments(own),
            )
            names = self.feature_extractor.model_input_names  # type: ignore[attr-defined]
            batches.append({name: value for name, value in features.items() if name in names})
        return batches


@dataclass(frozen=True)
class _Batch:
    """
    Pieces, the length in samples of each of their windows, the input of all windows, and the errors of files.

    The input is in arrays, which a worker copies to its parent. Tensors would be in shared memory, and torch keeps a
    small block of memory for each of the last ones. The blocks lie among the buffers of the front end, and parts of
    these then stay in use: 50 MB more for each hour of a recording.
    """

    pieces: list[Piece]
    samples: list[list[int]]
    inputs: list[dict[str, np.ndarray]]
    errors: dict[str, str]


class _Batches(torch.utils.data.Dataset):
    """Batches of pieces of files, which the workers of a DataLoader read."""

    def __init__(self, batches: list[list[Piece]], reader: ClipReader):
        self.batches = batches
        self.reader = reader

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> _Batch:
        pieces, clips, errors = self.reader.read(self.batches[index])
        samples = [[len(window) for window in windows] for windows in clips]
        is_piece = [piece.first > 0 or not piece.is_last for piece in pieces]
        inputs = [
            {name: value.numpy() for name, value in batch.items()} for batch in self.reader.extract(clips, is_piece)
        ]
        return _Batch(pieces, samples, inputs, errors)


def run_on_files(
    reader: ClipReader,
    files: Sequence[str | Recording],
    answers: Callable[[Inputs], list[Any]],
    *,
    num_workers: int,
    description: str | None,
) -> Iterator[FileResult]:
    """
    Run a model on audio files.

    The longest files come first. Clips of similar length are in one batch, so that there is little padding. A batch
    that does not fit into memory fails at the start.

    Args:
        reader: reads the files.
        files: paths of files, or recordings.
        answers: runs the model on a batch of windows, see [`run_model`], and returns a list with an answer for each.
        num_workers: number of processes that read files.
        description: text of the progress bar; `None` for no progress bar.

    Yields:
        The answers for each file, or the error why it cannot be read.

    Raises:
        ValueError: the device has too little memory.
    """
    plan, errors = reader.files.plan(files)
    loader = torch.utils.data.DataLoader(
        _Batches(plan, reader),
        batch_size=None,
        collate_fn=_unchanged,
        num_workers=max(0, min(num_workers, len(plan) - 1)),
    )

    def run(inputs: dict[str, np.ndarray]) -> list[Any]:
        return answers({name: torch.from_numpy(value) for name, value in inputs.items()})

    batches = (
        BatchAnswers(
            batch.pieces,
            batch.samples,
            [one for inputs in batch.inputs for one in run(inputs)],
            batch.errors,
        )
        for batch in loader
    )
    yield from collect_results(
        batches,
        errors,
        total=len(files),
        description=description,
    )


def _unchanged(batch: Any) -> Any:
    return batch  # with batch_size=None the collator gets the item of the dataset and not a list


def run_model(
    model: PreTrainedModel,
    inputs: Inputs,
    answer: Callable[[ModelOutput, Inputs], Any],
    options: Mapping[str, Any] | None = None,
    *,
    bf16: bool = False,
) -> Any:
    """
    Run a model on one batch and return `answer` of its output.

    Args:
        inputs: tensors of the batch, on any device.
        answer: takes the output of the model and its input, on the device of the model.
        options: further arguments of the model.
        bf16: whether the model computes in bfloat16 where that is precise enough, by autocast.

    Raises:
        ValueError: the device has too little memory.
    """
    inputs = {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }
    try:
        with torch.inference_mode():
            with torch.autocast(model.device.type, torch.bfloat16) if bf16 else contextlib.nullcontext():
                outputs = model(**inputs, **(options or {}))
            return answer(outputs, inputs)
    except torch.OutOfMemoryError as error:
        raise ValueError(
            "The device does not have enough memory. Lower batch_size (--batch-size) or window (--window)."
        ) from error
