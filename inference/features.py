# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Feature vectors of the clips of a dataset, from frozen models."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedConfig, PreTrainedModel

from ..data.windows import AudioClips
from ..modeling.traits import traits_of
from .clip_reader import ClipReader, Inputs, run_model
from .files import weighted_mean
from .progress import progress_bar


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
    models: Sequence[PreTrainedModel], reader: ClipReader, clips: Dataset, features: str, *, num_workers: int
) -> list[np.ndarray]:
    """
    Compute one vector for each clip with each of several models. The models take the same input: clips are read once.

    The vector of a clip is the mean over its windows, weighted by their length.

    Args:
        models: base models in evaluation mode, on their device.
        reader: cuts the clips into windows and extracts the input of the models.
        clips: columns `audio` (`Audio(decode=False)`) and `label`.
        features: one of the `probe_features` of the models' type.
        num_workers: number of processes that read clips.

    Returns:
        An array `(clips, feature_size)` for each model, float32.

    Raises:
        ValueError: the device does not have enough memory.
    """
    loader = torch.utils.data.DataLoader(
        AudioClips(clips, reader.sampling_rate),
        batch_size=reader.batch_size,
        collate_fn=_WindowCollator(reader),
        num_workers=num_workers,
    )
    vectors: list[list[np.ndarray]] = [[] for _ in models]
    with progress_bar(len(clips), "Extracting features", unit="clip") as progress:
        for batches, clips in loader:
            for model, own in zip(models, vectors, strict=True):
                windows = [vector for inputs in batches for vector in _vectors(model, inputs, features)]
                for samples in clips:
                    own.append(weighted_mean(windows[: len(samples)], reader.files.weights(samples)))
                    windows = windows[len(samples) :]
            progress.update(len(clips))
    return [np.stack(own) for own in vectors]


class _WindowCollator:
    """Makes the model input of the windows of all clips, and the length of each window in samples."""

    def __init__(self, reader: ClipReader):
        self.reader = reader

    def __call__(self, items: list[dict[str, Any]]) -> tuple[list[Inputs], list[list[int]]]:
        clips = [self.reader.cut(torch.from_numpy(item["waveform"])) for item in items]
        return self.reader.extract(clips), [[len(window) for window in windows] for windows in clips]


def _vectors(model: PreTrainedModel, inputs: Inputs, features: str) -> list[np.ndarray]:
    """The vector of each window of a batch, float32."""
    traits = traits_of(model.config)

    def answer(outputs, inputs):
        return list(traits.probe_vectors(model, outputs, inputs, features).float().cpu().numpy())

    return run_model(model, inputs, answer)
