# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Evaluation of a classifier with a Trainer.

Clips are scored whole. If a model takes windows of a limited length, its outputs for the windows of a clip are joined.
"""

import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import datasets
import numpy as np
from torch.utils.data import Dataset
from transformers import EvalPrediction, PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor, Trainer
from transformers.trainer_utils import PredictionOutput

from ..data.audio import audio_info
from ..data.event_rules import EventRules
from ..data.events import Event
from ..data.labels import FRAMES, MULTI_LABEL, classes_of_clips, task_of
from ..data.readable import audio_file, clip_name
from ..data.windows import ClipWindows
from ..modeling.traits import traits_of
from .metrics import classification_metrics, multilabel_metrics
from .plots import plot_timeline
from .results import Evaluation, Scores
from .scores import evaluate_predictions
from .sound_events import frame_metrics, score_events


logger = logging.getLogger(__name__)

# The metric that chooses the best epoch if `metric_for_best_model` is "auto"
DEFAULT_METRICS = {
    "single_label_classification": "accuracy",
    "multi_label_classification": "map",
    "frame_classification": "frame_map",
}
# The metrics that `metrics_of` may give
METRIC_NAMES = {
    "single_label_classification": ("accuracy", "f1_macro", "f1_weighted"),
    "multi_label_classification": (
        "map",
        "map_classes_left_out",
        "roc_auc",
        "roc_auc_classes_left_out",
        "d_prime",
    ),
    "frame_classification": ("frame_map", "frame_map_classes_left_out", "frame_f1_macro", "frame_f1_micro"),
}

# Number of timelines to draw
_TIMELINES = 8


@dataclass(frozen=True)
class Timelines:
    """
    The answers of a frame classifier for clips, and what the clips have.

    Args:
        scores: for each clip the probabilities `(frames, labels)`, float64.
        references: the events of each clip.
        durations: the duration of each clip in seconds.
        labels: the class names.
        frame_seconds: the length of a frame in seconds.
    """

    scores: dict[str, np.ndarray]
    references: dict[str, list[Event]]
    durations: dict[str, float]
    labels: list[str]
    frame_seconds: float


def metrics_of(task: str) -> Callable[[EvalPrediction], dict[str, float]]:
    """Return the `compute_metrics` of a Trainer for this task."""
    return {
        "single_label_classification": classification_metrics,
        "multi_label_classification": multilabel_metrics,
        "frame_classification": frame_metrics,
    }[task]


def evaluate_clips(
    trainer: Trainer,
    dataset: Dataset,
    clips: datasets.Dataset,
    feature_extractor: SequenceFeatureExtractor,
    *,
    folder: Path | None = None,
) -> Evaluation:
    """
    Predict clips and score the predictions.

    For clips, the scores are those of `evaluate_predictions`; the probabilities of a clip are the mean over its
    windows, weighted by their frames. For frames, the scores are those of `score_events` by the rules of the model, or
    of `frame_metrics` if `sed_scores_eval` is not installed.

    Args:
        trainer: a Trainer with the model.
        dataset: the result of `whole_clips`, or features of whole clips.
        clips: the same clips, with columns `audio`, `label` and `recording`.
        feature_extractor: the model's.
        folder: where to draw the timelines of the first clips, for a frame classifier.
    """
    # A Trainer has a model: a `PreTrainedModel`, or a module with the configuration of one
    config = cast(PreTrainedModel, trainer.model).config
    task = task_of(clips.features["label"])
    prediction = trainer.predict(dataset)
    if task == FRAMES:
        timelines = _timelines(prediction, dataset, clips, config, feature_extractor)
        return _score_timelines(prediction, timelines, config, folder)
    logits = _logits(prediction)
    if isinstance(dataset, ClipWindows):
        logits = _logits_of_clips(logits, dataset, task == MULTI_LABEL)
    return score_clips(logits, clips, config)


def score_clips(logits: np.ndarray, clips: datasets.Dataset, config: PreTrainedConfig) -> Evaluation:
    """
    Score the predictions of a classifier of clips by [`evaluate_predictions`].

    Args:
        logits: `(clips, classes)`.
        clips: the same clips, with columns `label`, class indices of the model, and `recording`.
        config: the model's.
    """
    task = task_of(clips.features["label"])
    labels = clips["label"][:]
    if task == MULTI_LABEL:
        labels = np.zeros((len(clips), logits.shape[1]), dtype=np.int64)
        for row, classes in enumerate(classes_of_clips(clips)):
            labels[row, classes] = 1
    names = dict(enumerate(label_names(config)))
    return evaluate_predictions(logits, labels, clips["recording"][:], names, task=task)


def predict_timelines(
    trainer: Trainer, dataset: Dataset, clips: datasets.Dataset, feature_extractor: SequenceFeatureExtractor
) -> Timelines:
    """Predict clips with a frame classifier. The arguments are those of [`evaluate_clips`]."""
    config = cast(PreTrainedModel, trainer.model).config
    return _timelines(trainer.predict(dataset), dataset, clips, config, feature_extractor)


def label_names(config: PreTrainedConfig) -> list[str]:
    """Return the class names of a classifier, in the order of its logits."""
    name_of = {int(index): name for index, name in (config.id2label or {}).items()}
    return [name_of[index] for index in range(len(name_of))]


def predictions_of_clips(windows: EvalPrediction, dataset: ClipWindows, config: PreTrainedConfig) -> EvalPrediction:
    """
    The predictions of a classifier for clips, from those for their windows.

    The windows of a frame classifier stay as they are, since they hold each frame once.
    """
    logits = _logits(windows)
    if logits.ndim != 2:
        return windows
    first = np.unique([clip for clip, _ in dataset.windows], return_index=True)[1]
    logits = _logits_of_clips(logits, dataset, config.problem_type == MULTI_LABEL)
    return EvalPrediction(logits, cast(np.ndarray, windows.label_ids)[first])


def _logits(prediction: PredictionOutput | EvalPrediction) -> np.ndarray:
    logits = prediction.predictions
    return logits[0] if isinstance(logits, tuple) else logits


def _logits_of_clips(logits: np.ndarray, dataset: ClipWindows, multi_label: bool) -> np.ndarray:
    """
    Logits of clips from logits of windows.

    They are the logits of the mean of the windows' probabilities, weighted by their frames, as the classifier itself
    computes them for a long input.
    """
    clip_of_window, weights = np.array([clip for clip, _ in dataset.windows]), np.array(dataset.frames)
    num_clips = len(dataset.clips)
    if len(clip_of_window) == num_clips:
        return logits
    logits = logits.astype(np.float64)
    if multi_label:
        probabilities = 1 / (1 + np.exp(-logits))
    else:
        probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    means = np.zeros((num_clips, logits.shape[1]))
    np.add.at(means, clip_of_window, probabilities * weights[:, None])
    means /= np.bincount(clip_of_window, weights=weights)[:, None]
    means = means.clip(np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg)
    return np.log(means) - np.log1p(-means) if multi_label else np.log(means)


def _timelines(
    prediction: PredictionOutput,
    dataset: Dataset,
    clips: datasets.Dataset,
    config: PreTrainedConfig,
    feature_extractor: SequenceFeatureExtractor,
) -> Timelines:
    clip_of_window = np.arange(len(clips))
    if isinstance(dataset, ClipWindows):
        clip_of_window = np.array([clip for clip, _ in dataset.windows])
    logits, names = _logits(prediction), label_names(config)
    frame_seconds = traits_of(config).seconds_per_answer(config, feature_extractor)
    is_answer = (logits != -100).any(axis=-1)  # the Trainer pads shorter ones with -100
    parts: dict[int, list[np.ndarray]] = {}
    for clip, window, own in zip(clip_of_window.tolist(), logits, is_answer, strict=True):
        parts.setdefault(clip, []).append(1 / (1 + np.exp(-window[own].astype(np.float64))))
    scores, references, durations = {}, {}, {}
    for row, clip in enumerate(clips):
        name = f"{row}: {clip_name(clip['audio'], row)}"
        durations[name] = audio_info(audio_file(clip["audio"])).duration
        # In a batch of windows of different lengths, the shorter ones have outputs beyond their end
        scores[name] = np.concatenate(parts[row])[: int(np.ceil(durations[name] / frame_seconds))]
        references[name] = [Event(one["onset"], one["offset"], names[one["label"]]) for one in clip["label"]]
    return Timelines(scores, references, durations, names, frame_seconds)


def _score_timelines(
    prediction: PredictionOutput, timelines: Timelines, config: PreTrainedConfig, folder: Path | None
) -> Evaluation:
    if importlib.util.find_spec("sed_scores_eval") is None:
        logger.warning("F1 of events and PSDS are not computed: they need `pip install polyaudio[sound-events]`.")
        labels = cast(np.ndarray, prediction.label_ids)  # there are some, because the clips have labels
        metrics = frame_metrics(EvalPrediction(_logits(prediction), labels))
        values = {"count": len(timelines.scores), **metrics}
        evaluation = Evaluation("frame_classification", timelines.labels, Scores(values))
    else:
        evaluation = score_events(**vars(timelines), rules=EventRules.from_config(config))
    if folder is not None:
        for row, (name, scores) in enumerate(list(timelines.scores.items())[:_TIMELINES]):
            path = folder / f"timeline_{row}.png"
            events = timelines.references[name]
            plot_timeline(scores, events, timelines.labels, timelines.frame_seconds, path, title=name)
    return evaluation
