# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Labels and events of audio files."""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.event_rules import detect_events
from ..data.recordings import Recording
from .backends import ClipClassifier, open_classifier
from .files import FileResult, find_files, weighted_mean
from .precision import Choice, Precision


if TYPE_CHECKING:
    from transformers import PreTrainedModel, SequenceFeatureExtractor


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
        none_of_these: whether the recording seems to belong to none of the classes, because its highest score is below
            the threshold that `polyaudio calibrate` chose. The labels are there all the same. `None` for a model
            without such a threshold.
    """

    file: str
    labels: list[LabelScore] | None = None
    events: list[ScoredEvent] | None = None
    error: str | None = None
    none_of_these: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """What is known of the file, for JSON: `file`, and those of the other attributes that are not `None`."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def predict(
    files: str | os.PathLike | Iterable[str | os.PathLike],
    model: "str | os.PathLike | PreTrainedModel",
    *,
    feature_extractor: "SequenceFeatureExtractor | None" = None,
    top_k: int | None = None,
    threshold: float | None = None,
    window: float | None = None,
    padding: str | None = None,
    batch_size: int = 8,
    num_workers: int = 0,
    device: str | None = None,
    precision: Precision = "auto",
) -> list[FilePrediction]:
    """
    Label audio files of any sampling rate and number of channels.

    A clip longer than a window is cut into windows, and its scores are the mean over the windows, weighted by their
    length. A frame classifier predicts events, by the rules in `config.event_rules`. By default they are the runs of
    frames whose score is above 0.5.

    Args:
        files: paths of audio files or folders. Of a folder, all audio files below it are read.
        model: a folder, a Hub name or a classifier. A classifier that you pass is moved to `device` and set to
            evaluation mode. A folder that `polyaudio export` wrote is run by onnxruntime, without torch.
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
        precision: `"float32"` computes in the precision of the weights, `"bfloat16"` in bfloat16 where it is precise
            enough, by autocast. `"auto"` takes bfloat16 for large classifiers of clips, after some batches, where it
            is faster on this device and gives a batch the same labels. Files whose best scores are close are then
            computed again, so that all files get the labels of float32; scores differ in the third digit. Elsewhere
            it is `"float32"`.

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
        precision=precision,
    )
    predictions = {one.file: one for one in predictor.run(files, num_workers=num_workers)}
    return [predictions[file] for file in files]


class Predictor:
    """
    Labels files with a classifier that is loaded once. The arguments are those of [`predict`], and:

    Args:
        torch_compile: compile the model.

    Attributes:
        gives_events: whether the model labels frames.
    """

    def __init__(
        self,
        model: "str | os.PathLike | PreTrainedModel",
        feature_extractor: "SequenceFeatureExtractor | None" = None,
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        window: float | None = None,
        padding: str | None = None,
        batch_size: int = 8,
        device: str | None = None,
        precision: Precision = "auto",
        torch_compile: bool = False,
    ):
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}.")
        if threshold is not None and not 0 <= threshold < 1:
            raise ValueError(f"threshold must be at least 0 and below 1, got {threshold:g}.")
        self.classifier: ClipClassifier = open_classifier(
            model,
            feature_extractor,
            window=window,
            padding=padding,
            batch_size=batch_size,
            device=device,
            precision=precision,
            torch_compile=torch_compile,
        )
        name = model if isinstance(model, str) else type(model).__name__
        self.gives_events = self.classifier.labels_frames
        if self.gives_events and top_k is not None:
            raise ValueError(f"{name} predicts events. Use threshold (--threshold) instead of top_k (--top-k).")
        if not self.gives_events and threshold is not None:
            raise ValueError(f"{name} labels whole files. Use top_k (--top-k) instead of threshold (--threshold).")
        self.top_k = 5 if top_k is None else top_k
        self.classifier.load()
        if self.gives_events:
            self.rules = self.classifier.event_rules
            if threshold is not None:
                self.rules = replace(self.rules, threshold=threshold, low_threshold=None)

    def run(
        self, files: Sequence[str | Recording], *, num_workers: int = 0, description: str | None = None
    ) -> Iterator[FilePrediction]:
        """Yield the prediction for each file, the longest files first. `description` is the text of a progress bar."""
        for result in self.classifier.run(files, num_workers=num_workers, description=description):
            if result.error is not None:
                yield FilePrediction(result.file, error=result.error)
            elif self.gives_events:
                yield FilePrediction(result.file, events=self._events(result))
            else:
                yield self._labelled(result)

    @property
    def choice(self) -> Choice | None:
        """What `precision="auto"` has chosen so far, where there was a choice."""
        return self.classifier.choice

    def _labelled(self, result: FileResult) -> FilePrediction:
        scores = weighted_mean(result.windows, self.classifier.reader.weights(result.samples))
        best = np.argsort(-scores, kind="stable")[: self.top_k]
        labels = [LabelScore(self.classifier.labels[index], float(scores[index])) for index in best]
        calibration = self.classifier.calibration
        is_none = None if calibration is None else calibration.refuses(labels[0].score)
        return FilePrediction(result.file, labels=labels, none_of_these=is_none)

    def _events(self, result: FileResult) -> list[ScoredEvent]:
        seconds = self.classifier.reader.seconds(result.samples)
        frame_seconds = self.classifier.answer_seconds
        # Where the model hears padding, there are frames after the end of the file
        num_frames = math.ceil(round(seconds / frame_seconds, 6))
        scores = np.concatenate(result.windows)[:num_frames]
        names = self.classifier.labels
        return [
            ScoredEvent(onset, offset, names[label], score)
            for onset, offset, label, score in detect_events(scores, frame_seconds, self.rules, seconds)
        ]
