# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Features of audio files."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .backends import Granularity, open_encoder
from .files import find_files, join_features
from .precision import Precision


if TYPE_CHECKING:
    from transformers import PreTrainedModel, SequenceFeatureExtractor

    from ..modeling.traits import Layer


@dataclass(frozen=True)
class FileFeatures:
    """
    The features of a file.

    Attributes:
        file: its path, as it was given.
        features: float32, `(hidden_size,)` for an utterance, `(n, hidden_size)` otherwise; `None` with an `error`.
        error: why the file cannot be read.
        frame_seconds: for frames, the seconds from one to the next; `None` for models of other libraries.
    """

    file: str
    features: np.ndarray | None = None
    error: str | None = None
    frame_seconds: float | None = None


def embed(
    files: str | os.PathLike | Iterable[str | os.PathLike],
    model: "str | os.PathLike | PreTrainedModel",
    *,
    feature_extractor: "SequenceFeatureExtractor | None" = None,
    granularity: Granularity = "utterance",
    window: float | None = None,
    padding: str = "longest",
    batch_size: int = 8,
    num_workers: int = 0,
    device: str | None = None,
    layer: "Layer | None" = None,
    precision: Precision = "auto",
) -> list[FileFeatures]:
    """
    Compute the features of audio files of any sampling rate and number of channels.

    A clip longer than a window is cut into windows. Sequences of features are joined in time. Vectors for the whole
    clip (utterance, class token) are averaged over the windows, weighted by their length.

    Args:
        files: paths of audio files or folders. Of a folder, all audio files below it are read.
        model: a folder, a Hub name or a model. A model that you pass is moved to `device` and set to evaluation mode.
            A folder that `polyaudio export` wrote is run by onnxruntime, without torch.
        feature_extractor: the model's. Needed only for a model that was not loaded from a folder or the Hub.
        granularity: `"utterance"` for one vector for each file (SSLAM: the class token, SAMAudio: the mean of the
            segments); `"frame"` for vectors along time (SSLAM: time patches of 160 ms, SAMAudio: encoder frames);
            `"all"` for the last hidden state (SSLAM: class token and patches, SAMAudio: segments).
        padding: as for [`predict`], except that the default masks the padding.
        window, batch_size, num_workers, device: as for [`predict`].
        layer: the layer that the features are from: the number of layers below it, where negative numbers count from
            the end, or `"mean"` for the mean over the layers; by default the last layer.
        precision: `"bfloat16"` computes in it where it is precise enough, by autocast. `"auto"` is `"float32"` here.

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
        layer=layer,
        precision=precision,
    )
    features = {one.file: one for one in embedder.run(files, num_workers=num_workers)}
    return [features[file] for file in files]


class Embedder:
    """
    Computes the features of files with a model that is loaded once. The arguments are those of [`embed`], and:

    Args:
        torch_compile: compile the model.
    """

    def __init__(
        self,
        model: "str | os.PathLike | PreTrainedModel",
        feature_extractor: "SequenceFeatureExtractor | None" = None,
        *,
        granularity: Granularity = "utterance",
        window: float | None = None,
        padding: str = "longest",
        batch_size: int = 8,
        device: str | None = None,
        layer: "Layer | None" = None,
        precision: Precision = "auto",
        torch_compile: bool = False,
    ):
        if granularity not in ("utterance", "frame", "all"):
            raise ValueError(f"granularity must be 'utterance', 'frame' or 'all', got {granularity!r}.")
        self.encoder = open_encoder(
            model,
            feature_extractor,
            granularity=granularity,
            window=window,
            padding=padding,
            batch_size=batch_size,
            device=device,
            layer=layer,
            precision=precision,
            torch_compile=torch_compile,
        )

    def run(
        self, files: Sequence[str], *, num_workers: int = 0, description: str | None = None
    ) -> Iterator[FileFeatures]:
        """Yield the features of each file, the longest files first. `description` is the text of a progress bar."""
        encoder = self.encoder
        for result in encoder.run(files, num_workers=num_workers, description=description):
            if result.error is None:
                features = join_features(result.windows, encoder.reader.weights(result.samples))
                yield FileFeatures(result.file, features, frame_seconds=encoder.frame_seconds)
            else:
                yield FileFeatures(result.file, error=result.error)
