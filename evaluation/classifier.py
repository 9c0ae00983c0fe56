# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Evaluation of a classifier with a Trainer.

Clips are scored whole. If a model takes windows of a limited length, its outputs for the windows of a clip are joined.
"""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import datasets
import numpy as np
from torch.utils.data import Dataset
from transformers import EvalPrediction, PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor, Trainer
from transformers.trainer_utils import PredictionOutput

from ..data.calibration import Calibration
from ..data.event_rules import EventRules
from ..data.labels import FRAMES, MULTI_LABEL, task_of
from ..data.windows import ClipWindows
from ..modeling.traits import traits_of
from .answers import Timelines, join_logits, make_timelines, score_logits, score_timelines
from .metrics import classification_metrics, multilabel_metrics
from .results import Evaluation
from .sound_events import frame_metrics


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

        def frame_scores() -> dict[str, float]:
            # There are labels, because the clips have labels
            return frame_metrics(EvalPrediction(_logits(prediction), cast(np.ndarray, prediction.label_ids)))

        return score_timelines(timelines, EventRules.from_config(config), frame_scores, folder)
    logits = _joined(_logits(prediction), dataset, task == MULTI_LABEL)
    return score_logits(logits, clips, label_names(config), Calibration.from_config(config))


def logits_of_clips(trainer: Trainer, dataset: Dataset, *, multi_label: bool = False) -> np.ndarray:
    """
    The logits `(clips, classes)` of clips, joined over their windows.

    Args:
        trainer, dataset: as for [`evaluate_clips`].
        multi_label: whether several of the classes can be right for a clip.
    """
    return _joined(_logits(trainer.predict(dataset)), dataset, multi_label)


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
    return EvalPrediction(
        _joined(logits, dataset, config.problem_type == MULTI_LABEL), cast(np.ndarray, windows.label_ids)[first]
    )


def _logits(prediction: PredictionOutput | EvalPrediction) -> np.ndarray:
    logits = prediction.predictions
    return logits[0] if isinstance(logits, tuple) else logits


def _joined(logits: np.ndarray, dataset: Dataset, multi_label: bool) -> np.ndarray:
    """The logits of clips, from those of their windows or of whole clips."""
    if not isinstance(dataset, ClipWindows):
        return logits
    clip_of_window = np.array([clip for clip, _ in dataset.windows])
    return join_logits(logits, clip_of_window, np.array(dataset.frames), multi_label=multi_label)


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
    # In a batch of windows of different lengths, the shorter ones have outputs beyond their end
    scores = [np.concatenate(parts[row]) for row in range(len(clips))]
    return make_timelines(scores, clips, names, frame_seconds)
