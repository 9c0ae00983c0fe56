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

from ..modeling.loading import base_of, choose_device, load_config, load_feature_extractor, load_model, name_of_model
from ..modeling.traits import WindowFeatures, traits_of
from .files import ClipReader, Inputs, find_files, run_model, run_on_files, weighted_mean


Granularity = Literal["utterance", "frame", "all"]


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
    Compute the features of audio files of any sampling rate and number of channels.

    A clip longer than a window is cut into windows. Sequences of features are joined in time. Vectors for the whole
    clip (utterance, class token) are averaged over the windows, weighted by their length.

    Args:
        files: paths of audio files or folders. Of a folder, all audio files below it are read.
        model: a folder, a Hub name or a model. A model that you pass is moved to `device` and set to evaluation mode.
        feature_extractor: the model's. Needed only for a model that was not loaded from a folder or the Hub.
        granularity: `"utterance"` for one vector for each file (SSLAM: the class token, SAMAudio: the mean of the
            segments); `"frame"` for vectors along time (SSLAM: time patches of 160 ms, SAMAudio: encoder frames);
            `"all"` for the last hidden state (SSLAM: class token and patches, SAMAudio: segments).
        padding: as for [`predict`], except that the default masks the padding.
        window, batch_size, num_workers, device: as for [`predict`].

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
    """Computes the features of files with a model that is loaded once. The arguments are those of [`embed`]."""

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
            raise ValueError(f"granularity must be 'utterance', 'frame' or 'all', got {granularity!r}.")
        config = load_config(model) if isinstance(model, str) else model.config
        if getattr(config, "is_encoder_decoder", False):
            raise ValueError(f"A model of type {config.model_type} is not an audio encoder.")
        torch_device = choose_device(device)
        encoder: PreTrainedModel = load_model(AutoModel, model)[0] if isinstance(model, str) else base_of(model)
        self.model = encoder.eval()
        self.model.to(torch_device)  # type: ignore[arg-type]  # transformers' wrapper of `to` has no type for `self`
        self.granularity = granularity
        if feature_extractor is None:
            feature_extractor = load_feature_extractor(name_of_model(model), config)
        config, self.frame_seconds = self.model.config, None
        if granularity == "frame":
            self.frame_seconds = traits_of(config).frame_seconds(config, feature_extractor)
        self.reader = ClipReader(
            self.model.config, feature_extractor, batch_size=batch_size, window=window, padding=padding
        )

    def run(
        self, files: Sequence[str], *, num_workers: int = 0, description: str | None = None
    ) -> Iterator[FileFeatures]:
        """Yield the features of each file, the longest files first. `description` is the text of a progress bar."""
        results = run_on_files(
            self.model, self.reader, files, self._features, num_workers=num_workers, description=description
        )
        for result in results:
            if result.error is None:
                features = _join(result.windows, self.reader.weights(result.samples)).numpy()
                yield FileFeatures(result.file, features, frame_seconds=self.frame_seconds)
            else:
                yield FileFeatures(result.file, error=result.error)

    def embed_waveforms(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """
        The features of waveforms in memory, as [`embed`] computes those of files. At most `batch_size` windows are in
        the model at once, whatever the number and the length of the waveforms.

        Args:
            waveforms: `(samples,)` each, float32, at the rate of the feature extractor.

        Returns:
            float32, `(hidden_size,)` each for an utterance, `(n, hidden_size)` otherwise.
        """
        reader = self.reader
        clips = [reader.cut(torch.from_numpy(waveform)) for waveform in waveforms]
        places = [(clip, index) for clip, windows in enumerate(clips) for index in range(len(windows))]
        places.sort(key=lambda place: len(clips[place[0]][place[1]]), reverse=True)  # a batch has little padding
        features: dict[tuple[int, int], WindowFeatures] = {}
        for start in range(0, len(places), reader.batch_size):
            batch = places[start : start + reader.batch_size]
            windows = [[clips[clip][index]] for clip, index in batch]
            inputs = reader.extract(windows, [len(clips[clip]) > 1 for clip, _ in batch])
            answers = [one for own in inputs for one in run_model(self.model, own, self._features)]
            features.update(zip(batch, answers, strict=True))
        return [
            _join(
                [features[clip, index] for index in range(len(windows))],
                reader.weights([len(window) for window in windows]),
            ).numpy()
            for clip, windows in enumerate(clips)
        ]

    def _features(self, outputs: ModelOutput, inputs: Inputs) -> list[WindowFeatures]:
        windows = traits_of(self.model.config).window_features(self.model, outputs, inputs, self.granularity)
        return [(_on_cpu(vector), _on_cpu(sequence)) for vector, sequence in windows]


def _on_cpu(features: torch.Tensor | None) -> torch.Tensor | None:
    return None if features is None else features.float().cpu()


def _join(windows: Sequence[WindowFeatures], weights: Sequence[int]) -> torch.Tensor:
    """The features of a clip, `(hidden_size,)` or `(n, hidden_size)`, from those of its windows."""
    vectors = [vector for vector, _ in windows if vector is not None]
    sequences = [sequence for _, sequence in windows if sequence is not None]
    if not sequences:
        return weighted_mean(vectors, weights)
    first = [weighted_mean(vectors, weights)[None]] if vectors else []
    return torch.cat([*first, *sequences])
