# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The attention of segment tokens over time."""

import copy
import functools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, SequenceFeatureExtractor
from transformers.utils import ModelOutput

from ..data.audio import audio_info
from ..data.folders import write_whole
from ..modeling.loading import choose_device, load_config, load_encoder, load_feature_extractor, name_of_model
from ..modeling.traits import traits_of
from .clip_reader import ClipReader, Inputs, run_model, run_on_files
from .files import find_files


@dataclass(frozen=True)
class SegmentAttention:
    """
    The attention of the segment tokens of a model over the time of a recording.

    Attributes:
        file: its path, as it was given.
        duration: of the recording in seconds; 0 with an `error`.
        weights: `(segments, frames)`, float32, the mean over the heads of the last layer. Each row sums to 1 within
            each window, as far as the dtype of the model allows. `None` with an `error`.
        frame_seconds: seconds from one frame to the next. The middle of frame i is at `i * frame_seconds`.
        window_frames: number of frames of each window that the model read at once.
        error: why the recording cannot be read, or `None`.
    """

    file: str
    duration: float
    weights: np.ndarray | None
    frame_seconds: float
    window_frames: tuple[int, ...] = ()
    error: str | None = None


def segment_attention(
    files: str | os.PathLike | Iterable[str | os.PathLike],
    model: str | os.PathLike | PreTrainedModel,
    feature_extractor: SequenceFeatureExtractor | None = None,
    *,
    window: float | None = None,
    batch_size: int = 1,
    device: str | None = None,
) -> Iterator[SegmentAttention]:
    """
    Compute which parts of recordings the segment tokens of a model attend to, for recordings of any length.

    A recording longer than a window is cut into adjacent windows, and each token attends to the frames of one window
    at a time. Only one batch of windows is read at once. The result grows with the recording: with the defaults of
    SAMAudio, by 4 MB an hour.

    Args:
        files: audio files and folders with audio files.
        model: a model with segment tokens, such as SAMAudio, or its folder or Hub name. A model that you pass does not
            change: a copy of it computes, because only eager attention returns its weights.
        feature_extractor: the model's. By default the one saved with it.
        window: length of a window in seconds. By default `config.window_frames`, or the whole recording where the
            model reads whole clips.
        batch_size: number of windows in one forward pass. More than one pays off for short windows.
        device: `"cpu"`, `"cuda"`, ... By default the accelerator if there is one.

    Yields:
        The attention for each file, in the order of the files. A file that cannot be read has an `error`.

    Raises:
        ValueError: the model has no segment tokens, or it cannot take these arguments.

    Example:

    ```python
    >>> from polyaudio import segment_attention

    >>> for attention in segment_attention("concert.flac", "runs/ragas"):  # doctest: +SKIP
    ...     print(attention.weights.shape, attention.frame_seconds)
    ```
    """
    config = model.config if isinstance(model, PreTrainedModel) else load_config(os.fspath(model))
    traits = traits_of(config)
    if not traits.has_segments:
        raise ValueError(
            f"A model of type {config.model_type} has no segment tokens whose attention could be shown. Use a model "
            "that has them, such as SAMAudio."
        )
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    torch_device = choose_device(device)
    if feature_extractor is None:
        feature_extractor = load_feature_extractor(name_of_model(model), config)
    encoder = copy.deepcopy(load_encoder(model)).eval()
    encoder.set_attn_implementation("eager")
    encoder.config.output_attentions = True
    encoder.to(torch_device)  # type: ignore[arg-type]  # transformers' wrapper of `to` has no type for `self`
    reader = ClipReader(encoder.config, feature_extractor, batch_size=batch_size, window=window)
    found = find_files([files] if isinstance(files, str | os.PathLike) else files)
    return (_attention(file, encoder, reader) for file in found)


def _attention(file: str, encoder: PreTrainedModel, reader: ClipReader) -> SegmentAttention:
    def answer(outputs: ModelOutput, inputs: Inputs) -> list[torch.Tensor]:
        return [weights.cpu() for weights in reader.traits.segment_attention(encoder, outputs, inputs)]

    frame_seconds = reader.traits.frame_seconds(encoder.config, reader.feature_extractor)
    assert frame_seconds is not None  # polyaudio knows the frames of the models that have segments
    answers = functools.partial(run_model, encoder, answer=answer)
    (result,) = run_on_files(reader, [file], answers, num_workers=0, description=None)
    if result.error is not None:
        return SegmentAttention(file, 0.0, None, frame_seconds, error=result.error)
    return SegmentAttention(
        file,
        audio_info(file).duration,
        torch.cat(result.windows, dim=1).numpy(),
        frame_seconds,
        tuple(window.shape[1] for window in result.windows),
    )


def save_segment_attention(attention: SegmentAttention, path: str | os.PathLike) -> None:
    """
    Save attention for numpy: `weights`, `frame_seconds`, `window_frames` and `duration`, as in [`SegmentAttention`].

    Args:
        attention: what to save.
        path: the NPZ file to write. It is complete or not there.

    Raises:
        ValueError: the attention has an error instead of weights.
        OSError: the file could not be written.
    """
    if attention.weights is None:
        raise ValueError(f"There is nothing to save: {attention.error}")
    weights = attention.weights

    def write(new: Path) -> None:
        with open(new, "wb") as file:  # numpy would add .npz to the temporary name
            np.savez(
                file,
                weights=weights,
                frame_seconds=attention.frame_seconds,
                window_frames=np.array(attention.window_frames),
                duration=attention.duration,
            )

    write_whole(path, write)
