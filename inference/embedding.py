# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Features of audio files."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from transformers import AutoModel, PreTrainedModel, SequenceFeatureExtractor
from transformers.utils import ModelOutput

from ..modeling.loading import choose_device, load_config, load_feature_extractor
from ..modeling.traits import WindowFeatures, traits_of
from .files import ClipReader, Inputs, find_files, run_on_files, weighted_mean


Granularity = Literal["utterance", "frame", "all"]


@dataclass(frozen=True)
class FileFeatures:
    """
    The features of a file.

    Attributes:
        file: its path, as it was given.
        features: float32, `(hidden_size,)` for an utterance, `(n, hidden_size)` otherwise; `None` with an `error`.
        error: why the file cannot be read.
    """

    file: str
    features: np.ndarray | None = None
    error: str | None = None


def embed(
    files: str | os.PathLike | Iterable[str | os.PathLike],
    model: str | PreTrainedModel,
    *,
    feature_extractor: SequenceFeatureExtractor | None = None,
    granularity: Granularity = "utterance",
    window: float | None = None,
    padding: str = "longest",
    batch_size: int = 8,
    num_workers: int = 0,
    device: str | None = None,
) -> list[FileFeatures]:
    """
    The features of audio files of any sampling rate and number of channels.

    A clip longer than a window is cut. The features of its windows are joined in time. What stands for the whole clip
    (the utterance, the class token) is the mean over the windows, in which each window counts by its length.

    Args:
        files: paths of audio files, or of folders, each of which stands for all audio files below it.
        model: a folder, a Hub name or a model.
        feature_extractor: the model's. Needed only where `model` is a model that was not loaded from a folder.
        granularity: `"utterance"` for one vector a file (SSLAM: the class token, SAMAudio: the pooled segments);
            `"frame"` for vectors along time (SSLAM: time patches of 160 ms, SAMAudio: encoder frames); `"all"` for
            what the model gives (SSLAM: class token and patches, SAMAudio: segments).
        window, padding, batch_size, num_workers, device: as for [`predict`].

    Returns:
        The features of each file, in the order of the files. A file that cannot be read has an `error`.

    Raises:
        ValueError: the model is not an audio encoder, or it cannot take these arguments.

    Example:

    ```python
    >>> from polyaudio import embed

    >>> (clip,) = embed("recording.wav", "runs/ragas")  # doctest: +SKIP
    >>> clip.features.shape  # doctest: +SKIP
    (256,)
    ```
    """
    files = find_files([files] if isinstance(files, str | os.PathLike) else files)
    embedder = Embedder(
        model,
        feature_extractor,
        granularity=granularity,
        window=window,
        padding=padding,
        batch_size=batch_size,
        device=device,
    )
    features = {one.file: one for one in embedder.run(files, num_workers=num_workers)}
    return [features[file] for file in files]


class Embedder:
    """An encoder that is ready to give the features of files. The arguments are those of [`embed`]."""

    def __init__(
        self,
        model: str | PreTrainedModel,
        feature_extractor: SequenceFeatureExtractor | None = None,
        *,
        granularity: Granularity = "utterance",
        window: float | None = None,
        padding: str = "longest",
        batch_size: int = 8,
        device: str | None = None,
    ):
        if granularity not in ("utterance", "frame", "all"):
            raise ValueError(f"granularity must be 'utterance', 'frame' or 'all', got {granularity!r}")
        config = load_config(model) if isinstance(model, str) else model.config
        if getattr(config, "is_encoder_decoder", False):
            raise ValueError(f"{model} is of type {config.model_type}, which is not an audio encoder")
        torch_device = choose_device(device)
        encoder = AutoModel.from_pretrained(model) if isinstance(model, str) else model.base_model
        self.model = encoder.eval().to(torch_device)
        self.granularity = granularity
        if feature_extractor is None:
            source = model if isinstance(model, str) else config.name_or_path
            feature_extractor = load_feature_extractor(source, config)
        self.reader = ClipReader(
            self.model.config, feature_extractor, batch_size=batch_size, window=window, padding=padding
        )

    def run(
        self, files: Sequence[str], *, num_workers: int = 0, description: str | None = None
    ) -> Iterator[FileFeatures]:
        """Embed files one by one, in an order of its own; with a `description` there is a progress bar."""
        results = run_on_files(
            self.model, self.reader, files, self._features, num_workers=num_workers, description=description
        )
        for result in results:
            if result.error is None:
                yield FileFeatures(result.file, _join(result.windows, result.seconds).numpy())
            else:
                yield FileFeatures(result.file, error=result.error)

    def _features(self, outputs: ModelOutput, inputs: Inputs) -> list[WindowFeatures]:
        windows = traits_of(self.model.config).window_features(self.model, outputs, inputs, self.granularity)
        return [tuple(None if part is None else part.float().cpu() for part in window) for window in windows]


def _join(windows: Sequence[WindowFeatures], seconds: Sequence[float]) -> torch.Tensor:
    """The features of a clip, `(hidden_size,)` or `(n, hidden_size)`, from those of its windows."""
    vectors, sequences = zip(*windows, strict=True)
    if sequences[0] is None:
        return weighted_mean(vectors, seconds)
    first = [] if vectors[0] is None else [weighted_mean(vectors, seconds)[None]]
    return torch.cat([*first, *sequences])
