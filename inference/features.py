# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Features of the clips of a dataset, from frozen models: a vector for each clip, or vectors along its time."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from ..data.windows import AudioClips
from ..modeling.traits import Layer, traits_of
from .clip_reader import ClipReader, Inputs, run_model
from .files import weighted_mean
from .frame_features import FrameFeatures, FrameWriter
from .progress import progress_bar


# A layer, or all of them, to be weighted by what learns from them
ProbedLayer = Layer | Literal["weighted"]


def choose_features(config: PreTrainedConfig, wanted: str | None) -> str:
    """
    The name of the features to probe.

    Args:
        wanted: the name, by default the first of the `probe_features` of the model type.

    Raises:
        ValueError: the model type has no such features.
    """
    known = traits_of(config).probe_features
    if not known:
        raise ValueError(f"A model of type {config.model_type} has no features to probe.")
    if wanted is not None and wanted not in known:
        raise ValueError(
            f"A model of type {config.model_type} has no features {wanted!r}. Set features (--features) to "
            f"{' or '.join(known)}."
        )
    return wanted or known[0]


def extract_features(
    models: Sequence[PreTrainedModel],
    reader: ClipReader,
    clips: Dataset,
    features: str,
    *,
    layer: Layer | None = None,
    num_workers: int,
) -> list[np.ndarray]:
    """
    Compute one vector for each clip with each of several models. The models take the same input: clips are read once.

    The vector of a clip is the mean over its windows, weighted by their length.

    Args:
        models: base models in evaluation mode, on their device.
        reader: cuts the clips into windows and extracts the input of the models.
        clips: columns `audio` (`Audio(decode=False)`) and `label`.
        features: one of the `probe_features` of the models' type.
        layer: the layer that the features are from; by default the last one.
        num_workers: number of processes that read clips.

    Returns:
        An array `(clips, feature_size)` for each model, float32.

    Raises:
        ValueError: the device does not have enough memory.
    """

    def answer(model: PreTrainedModel, outputs: ModelOutput, inputs: Inputs) -> list[np.ndarray]:
        traits = traits_of(model.config)
        if layer is not None:
            outputs = traits.at_layer(outputs, layer)
        return list(traits.probe_vectors(model, outputs, inputs, features).float().cpu().numpy())

    vectors: list[list[np.ndarray]] = [[] for _ in models]
    for windows, samples in _run(models, reader, clips, answer, layer is not None, num_workers):
        for own, found in zip(vectors, windows, strict=True):
            own.append(weighted_mean(found, reader.files.weights(samples)))
    return [np.stack(own) for own in vectors]


def extract_frames(
    models: Sequence[PreTrainedModel],
    reader: ClipReader,
    clips: Dataset,
    folder: Path,
    *,
    layer: ProbedLayer | None = None,
    num_workers: int,
) -> list[FrameFeatures]:
    """
    Compute the vectors along the time of each clip, those that `embed` calls `frame`, with each of several models.

    They are written to files as float16. So what is in memory does not grow with the number of clips.

    Args:
        models, reader, clips, num_workers: as for [`extract_features`].
        folder: an existing folder for the files, which must stay as long as the features are used.
        layer: the layer that the vectors are from; by default the last one. `"weighted"` for those of all layers.

    Raises:
        ValueError: the device does not have enough memory, or a vector is NaN, infinite or too large for float16.
    """

    def answer(model: PreTrainedModel, outputs: ModelOutput, inputs: Inputs) -> list[np.ndarray]:
        traits = traits_of(model.config)
        layers: Sequence[Layer | None] = [None if layer == "weighted" else layer]
        if layer == "weighted":
            layers = range(len(outputs["hidden_states"]))
        by_layer = [
            traits.window_features(model, outputs if one is None else traits.at_layer(outputs, one), inputs, "frame")
            for one in layers
        ]
        windows = [[frames for _, frames in own if frames is not None] for own in zip(*by_layer, strict=True)]
        return [torch.stack(own, dim=1).float().cpu().numpy() for own in windows]

    writers = [FrameWriter(folder / f"frames-{number}") for number in range(len(models))]
    for windows, _ in _run(models, reader, clips, answer, layer is not None, num_workers):
        for writer, found in zip(writers, windows, strict=True):
            writer.add(np.concatenate(found))
    return [writer.finish() for writer in writers]


def _run(
    models: Sequence[PreTrainedModel],
    reader: ClipReader,
    clips: Dataset,
    answer: Callable[[PreTrainedModel, ModelOutput, Inputs], list[np.ndarray]],
    needs_layers: bool,
    num_workers: int,
) -> Iterator[tuple[list[list[np.ndarray]], list[int]]]:
    """For each clip, the answers of each model for its windows, and the lengths of the windows in samples."""
    loader = torch.utils.data.DataLoader(
        AudioClips(clips, reader.sampling_rate),
        batch_size=reader.batch_size,
        collate_fn=_WindowCollator(reader),
        num_workers=num_workers,
    )
    options: Mapping[str, Any] = {"output_hidden_states": True} if needs_layers else {}
    with progress_bar(len(clips), "Extracting features", unit="clip") as progress:
        for batches, lengths in loader:
            answers = [
                [one for own in batches for one in run_model(model, own, functools.partial(answer, model), options)]
                for model in models
            ]
            first = 0
            for samples in lengths:
                yield [windows[first : first + len(samples)] for windows in answers], samples
                first += len(samples)
            progress.update(len(lengths))


class _WindowCollator:
    """Makes the model input of the windows of all clips, and the length of each window in samples."""

    def __init__(self, reader: ClipReader):
        self.reader = reader

    def __call__(self, items: list[dict[str, Any]]) -> tuple[list[Inputs], list[list[int]]]:
        if "tonic" in items[0]:
            return self.reader.extract_given(items), [
                [1] for _ in items
            ]  # whole clips, so their lengths are no matter
        clips = [self.reader.cut(torch.from_numpy(item["waveform"])) for item in items]
        return self.reader.extract(clips), [[len(window) for window in windows] for windows in clips]
