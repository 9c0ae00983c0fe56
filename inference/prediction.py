# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Labels and events of audio files."""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel, SequenceFeatureExtractor
from transformers.utils import ModelOutput

from ..data.event_rules import EventRules, detect_events
from ..modeling.loading import (
    choose_device,
    class_names_of,
    labels_frames,
    load_classifier,
    load_config,
    load_feature_extractor,
    name_of_model,
)
from ..modeling.traits import has_frame_head, traits_of
from .files import ClipReader, FileResult, Inputs, find_files, run_on_files, weighted_mean


@dataclass(frozen=True)
class LabelScore:
    """A label and its score, a probability from 0 to 1."""

    label: str
    score: float


@dataclass(frozen=True)
class ScoredEvent:
    """A label from `onset` to `offset`, both in seconds, and the mean of its score between them."""

    onset: float
    offset: float
    label: str
    score: float


@dataclass(frozen=True)
class FilePrediction:
    """
    The prediction of a classifier for a file.

    Attributes:
        file: its path, as it was given.
        labels: the labels with the highest scores, the highest first. `None` for a frame classifier.
        events: the events, sorted by onset. `None` for a classifier of clips.
        error: why the file cannot be read; then there are neither labels nor events.
    """

    file: str
    labels: list[LabelScore] | None = None
    events: list[ScoredEvent] | None = None
    error: str | None = None


def predict(
    files: str | os.PathLike | Iterable[str | os.PathLike],
    model: str | PreTrainedModel,
    *,
    feature_extractor: SequenceFeatureExtractor | None = None,
    top_k: int | None = None,
    threshold: float | None = None,
    window: float | None = None,
    padding: str | None = None,
    batch_size: int = 8,
    num_workers: int = 0,
    device: str | None = None,
) -> list[FilePrediction]:
    """
    Label audio files of any sampling rate and number of channels.

    A clip longer than a window is cut into windows, and its scores are the mean over the windows, weighted by their
    length. A frame classifier predicts events, by the rules in `config.event_rules`. By default they are the runs of
    frames whose score is above 0.5.

    Args:
        files: paths of audio files or folders. Of a folder, all audio files below it are read.
        model: a folder, a Hub name or a classifier. A classifier that you pass is moved to `device` and set to
            evaluation mode.
        feature_extractor: the model's. Needed only for a classifier that was not loaded from a folder or the Hub.
        top_k: number of labels for each file, 5 by default. For classifiers of clips only.
        threshold: from 0 to 1, for all classes, in place of the thresholds of the rules. For frame classifiers only.
        window: length in seconds of the windows that long clips are cut into. By default our models get
            `config.window_frames`, and other models get whole clips. A classifier that you pass keeps the window in
            its configuration.
        padding: `"longest"` pads to the longest window of a batch and masks the padding. `"max_length"`, for SSLAM
            models only, pads each window to its full length, and the model hears the padding of clips of one window,
            as in the original scripts. `None` chooses what the model was trained with, as a `pipeline` does.
        batch_size: number of windows in one forward pass.
        num_workers: number of processes that read files.
        device: `"cpu"`, `"cuda"`, ... By default the accelerator if there is one.

    Returns:
        A prediction for each file, in the order of the files. A file that cannot be read has an `error`.

    Raises:
        ValueError: the model is not a trained classifier, it cannot take these arguments, or `config.event_rules` does
            not fit it.

    Example:

    ```python
    >>> from polyaudio import predict

    >>> for prediction in predict("recordings/", "runs/ragas", top_k=1):  # doctest: +SKIP
    ...     print(prediction.file, prediction.labels[0].label)
    ```
    """
    files = find_files([files] if isinstance(files, str | os.PathLike) else files)
    predictor = Predictor(
        model,
        feature_extractor,
        top_k=top_k,
        threshold=threshold,
        window=window,
        padding=padding,
        batch_size=batch_size,
        device=device,
    )
    predictions = {one.file: one for one in predictor.run(files, num_workers=num_workers)}
    return [predictions[file] for file in files]


class Predictor:
    """
    Labels files with a classifier that is loaded once. The arguments are those of [`predict`].

    Attributes:
        gives_events: whether the model labels frames.
    """

    def __init__(
        self,
        model: str | PreTrainedModel,
        feature_extractor: SequenceFeatureExtractor | None = None,
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        window: float | None = None,
        padding: str | None = None,
        batch_size: int = 8,
        device: str | None = None,
    ):
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}.")
        if threshold is not None and not 0 <= threshold < 1:
            raise ValueError(f"threshold must be at least 0 and below 1, got {threshold:g}.")
        torch_device = choose_device(device)
        config = load_config(model) if isinstance(model, str) else model.config
        name = model if isinstance(model, str) else type(model).__name__
        self.gives_events = labels_frames(config)
        if self.gives_events and not has_frame_head(config):
            raise ValueError(
                f"{name} labels frames, but polyaudio has no frame classifier for models of type {config.model_type}."
            )
        if self.gives_events and top_k is not None:
            raise ValueError(f"{name} predicts events. Use threshold (--threshold) instead of top_k (--top-k).")
        if not self.gives_events and threshold is not None:
            raise ValueError(f"{name} labels whole files. Use top_k (--top-k) instead of threshold (--threshold).")
        self.top_k = 5 if top_k is None else top_k
        self.model = load_classifier(model)
        self.model.to(torch_device)  # type: ignore[arg-type]  # transformers' wrapper of `to` has no type for `self`
        config = self.model.config
        if self.gives_events:
            self.rules = EventRules.from_config(config)
            if threshold is not None:
                self.rules = replace(self.rules, threshold=threshold, low_threshold=None)
        if feature_extractor is None:
            feature_extractor = load_feature_extractor(name_of_model(model), config)
        self.reader = ClipReader(config, feature_extractor, batch_size=batch_size, window=window, padding=padding)
        if window is not None and self.reader.grid is not None:
            traits_of(config).set_window(config, self.reader.grid)

    def run(
        self, files: list[str], *, num_workers: int = 0, description: str | None = None
    ) -> Iterator[FilePrediction]:
        """Yield the prediction for each file, the longest files first. `description` is the text of a progress bar."""
        results = run_on_files(
            self.model, self.reader, files, self._scores, num_workers=num_workers, description=description
        )
        for result in results:
            if result.error is not None:
                yield FilePrediction(result.file, error=result.error)
            elif self.gives_events:
                yield FilePrediction(result.file, events=self._events(result))
            else:
                yield FilePrediction(result.file, labels=self._labels(result))

    def _scores(self, outputs: ModelOutput, inputs: Inputs) -> list[torch.Tensor]:
        """The probabilities of each window: `(labels,)`, or `(frames, labels)` without those of padding."""
        logits = outputs["logits"].float().cpu()
        if not torch.isfinite(logits).all():
            raise ValueError("The model returns NaN or infinite numbers. Load it in float32, or check its training.")
        is_multi_label = self.model.config.problem_type == "multi_label_classification"
        scores = list(logits.sigmoid() if is_multi_label else logits.softmax(-1))
        if self.gives_events and "attention_mask" in inputs:
            config = self.model.config
            is_own = traits_of(config).answer_mask(config, inputs["attention_mask"]).cpu()
            return [window[own] for window, own in zip(scores, is_own, strict=True)]
        return scores

    def _labels(self, result: FileResult) -> list[LabelScore]:
        scores = weighted_mean(result.windows, self.reader.weights(result.samples))
        best, indices = scores.topk(min(self.top_k, len(scores)))
        names = class_names_of(self.model.config)
        return [LabelScore(names[index], score) for score, index in zip(best.tolist(), indices.tolist(), strict=True)]

    def _events(self, result: FileResult) -> list[ScoredEvent]:
        config, reader = self.model.config, self.reader
        frame_seconds = traits_of(config).seconds_per_answer(config, reader.feature_extractor)
        last_start = 0 if reader.grid is None else (len(result.windows) - 1) * reader.grid.step
        seconds = (last_start + result.samples[-1]) / reader.sampling_rate
        # Where the model hears padding, there are frames after the end of the file
        num_frames = math.ceil(round(seconds / frame_seconds, 6))
        scores = torch.cat(result.windows)[:num_frames].numpy()
        names = class_names_of(config)
        return [
            ScoredEvent(onset, offset, names[label], score)
            for onset, offset, label, score in detect_events(scores, frame_seconds, self.rules, seconds)
        ]
