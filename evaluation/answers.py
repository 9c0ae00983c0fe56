# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""From what a classifier answers for clips, or for their windows, to scores."""

import importlib.util
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np

from ..data.audio import audio_info
from ..data.calibration import Calibration
from ..data.event_rules import EventRules
from ..data.events import Event
from ..data.labels import MULTI_LABEL, class_names, classes_of_clips, renumbered, task_of
from ..data.readable import audio_file, clip_name
from .plots import plot_timeline
from .results import Evaluation, Scores
from .scores import evaluate_predictions
from .sound_events import score_events


logger = logging.getLogger(__name__)

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


def with_labels_of(names: Sequence[str], clips: datasets.Dataset) -> datasets.Dataset:
    """
    The clips, with their labels as indices of the classes of a model.

    Raises:
        ValueError: the model does not know a label.
    """
    unknown = sorted(set(class_names(clips.features["label"])) - set(names))
    if unknown:
        raise ValueError(
            f"the model does not know the labels {', '.join(unknown[:5])}; it knows {', '.join(names[:5])} ..."
        )
    return renumbered(clips, names)


def join_logits(
    logits: np.ndarray, clip_of_window: np.ndarray, weights: np.ndarray, *, multi_label: bool
) -> np.ndarray:
    """
    Logits of clips from logits of windows.

    They are the logits of the mean of the windows' probabilities, weighted by their frames, as the classifier itself
    computes them for a long input.

    Args:
        logits: `(windows, classes)`.
        clip_of_window: the index of the clip of each window, `(windows,)`. Each clip has a window.
        weights: the number of frames of each window, `(windows,)`.

    Returns:
        `(clips, classes)`; for clips of one window they are the logits of the window.
    """
    num_clips = int(clip_of_window.max()) + 1
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


def score_logits(
    logits: np.ndarray, clips: datasets.Dataset, names: Sequence[str], calibration: Calibration | None = None
) -> Evaluation:
    """
    The scores of the logits `(clips, classes)` of clips; see [`evaluate_predictions`].

    Args:
        clips: columns `label` and `recording`.
        names: the class names.
        calibration: of the model.
    """
    task = task_of(clips.features["label"])
    labels = clips["label"][:]
    if task == MULTI_LABEL:
        labels = np.zeros((len(clips), logits.shape[1]), dtype=np.int64)
        for row, classes in enumerate(classes_of_clips(clips)):
            labels[row, classes] = 1
    recordings = clips["recording"][:]
    return evaluate_predictions(logits, labels, recordings, dict(enumerate(names)), task, calibration=calibration)


def make_timelines(
    scores: Sequence[np.ndarray], clips: datasets.Dataset, names: Sequence[str], frame_seconds: float
) -> Timelines:
    """
    The timelines of clips, and their events.

    Args:
        scores: for each clip, the probabilities `(frames, labels)`. There may be frames beyond its end.
        clips: columns `audio` and `label`.
        names: the class names.
        frame_seconds: the length of a frame in seconds.
    """
    own_scores, references, durations = {}, {}, {}
    for row, clip in enumerate(clips):
        name = f"{row}: {clip_name(clip['audio'], row)}"
        durations[name] = audio_info(audio_file(clip["audio"])).duration
        own_scores[name] = scores[row][: int(np.ceil(durations[name] / frame_seconds))]
        references[name] = [Event(one["onset"], one["offset"], names[one["label"]]) for one in clip["label"]]
    return Timelines(own_scores, references, durations, list(names), frame_seconds)


def score_timelines(
    timelines: Timelines, rules: EventRules, frame_scores: Callable[[], dict[str, float]], folder: Path | None
) -> Evaluation:
    """
    The scores of timelines: those of `score_events`, or of `frame_metrics` if `sed_scores_eval` is not installed.

    Args:
        rules: how events follow from scores.
        frame_scores: computes the scores of `frame_metrics`.
        folder: where to draw the timelines of the first clips.
    """
    if importlib.util.find_spec("sed_scores_eval") is None:
        logger.warning("F1 of events and PSDS are not computed: they need `pip install polyaudio[sound-events]`.")
        values = {"count": len(timelines.scores), **frame_scores()}
        evaluation = Evaluation("frame_classification", timelines.labels, Scores(values))
    else:
        evaluation = score_events(**vars(timelines), rules=rules)
    if folder is not None:
        for row, (name, scores) in enumerate(list(timelines.scores.items())[:_TIMELINES]):
            path = folder / f"timeline_{row}.png"
            events = timelines.references[name]
            plot_timeline(scores, events, timelines.labels, timelines.frame_seconds, path, title=name)
    return evaluation
