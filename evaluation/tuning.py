# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Chooses the rules of a frame classifier on a dataset, and saves them with the model."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import Dataset, DatasetDict
from transformers import PreTrainedModel, SequenceFeatureExtractor
from transformers.utils import CONFIG_NAME

from ..data.audio import stream_audio
from ..data.event_rules import EventRules
from ..data.folders import write_json
from ..data.labels import FRAMES, task_of
from ..data.loading import name_of
from ..data.readable import audio_file, drop_unreadable, report_bad_clips
from ..inference.timeline_model import TimelineModel
from ..integration.limits import read_json
from ..modeling.loading import choose_device, load_classifier, load_feature_extractor
from .answers import make_timelines, with_labels_of
from .classifier import label_names
from .evaluate import load_split
from .event_tuning import choose_rules, score_rules
from .results import Scores


@dataclass(frozen=True)
class EventTuning:
    """
    The result of [`tune_events`].

    Args:
        rules: the chosen rules.
        labels: the class names, in the order of the values in `rules`.
        before, after: F1 of events on the same clips by the rules that the model had, and by the chosen ones:
            `event_f1_macro`, `event_f1_micro`, and `event_f1` of each class.
    """

    rules: EventRules
    labels: list[str]
    before: Scores
    after: Scores


def tune_events(
    model: str | os.PathLike | PreTrainedModel,
    dataset: str | os.PathLike | Dataset | DatasetDict,
    *,
    feature_extractor: SequenceFeatureExtractor | None = None,
    split: str = "validation",
    audio_column: str = "audio",
    label_column: str | None = None,
    label_columns: list[str] | None = None,
    label_separator: str | None = None,
    group_column: str | None = None,
    resolution: float | None = None,
    batch_size: int = 8,
) -> EventTuning:
    """
    Choose how a frame classifier gets events from its scores: thresholds, median filter, gaps and least duration.

    The rules of each class are those with the best F1 of events on clips with known events; see [`choose_rules`]. The
    scores are those of [`annotate`]. The rules become `config.event_rules` of the model, and `annotate`, `predict`,
    `evaluate` and the pipeline follow them.

    Args:
        model: a folder, whose `config.json` gets the rules, or a frame classifier, whose configuration gets them.
        dataset: a Hub name, a folder or a dataset with an audio column and events; see `load_clips`.
        feature_extractor: the model's. Needed only if `model` is a classifier that was not loaded from a folder.
        split: the split to choose on. The model must not have been trained on it, and results on it flatter.
        audio_column, label_column, label_columns, label_separator, group_column: the columns; see `load_clips`.
        resolution: length of a frame of the scores in seconds; see [`annotate`]. By default the model's, as in
            `predict` and `evaluate`.
        batch_size: number of windows in one forward pass.

    Returns:
        The rules, and the F1 of events before and after.

    Raises:
        ValueError: the model is not a folder or a trained frame classifier, does not know the labels or has no such
            resolution, the split does not exist, or its labels are not events.
        OSError: `config.json` cannot be written.

    Example:

    ```python
    >>> from polyaudio import tune_events

    >>> tuning = tune_events("runs/events", "street-recordings/", split="validation")  # doctest: +SKIP
    >>> tuning.before["event_f1_macro"], tuning.after["event_f1_macro"]  # doctest: +SKIP
    ```
    """
    settings = None if isinstance(model, PreTrainedModel) else _config_file(model)
    clips = load_split(
        dataset,
        split,
        audio_column=audio_column,
        label_column=label_column,
        label_columns=label_columns,
        label_separator=label_separator,
        group_column=group_column,
    )
    if any(task_of(rows.features["label"]) != FRAMES for rows in clips.values()):
        raise ValueError(
            f"{name_of(dataset)} has no events. It needs columns with the onset and offset of each event."
        )
    source = str(model.config.name_or_path) if isinstance(model, PreTrainedModel) else os.fspath(model)
    classifier = load_classifier(model if isinstance(model, PreTrainedModel) else source, of_frames=True)
    config = classifier.config
    if feature_extractor is None:
        feature_extractor = load_feature_extractor(source, config)
    readable, bad_clips = drop_unreadable(clips, in_parts=True)
    report_bad_clips(bad_clips)
    (rows,) = readable.values()
    timeline = TimelineModel(
        classifier.to(choose_device(None)),  # type: ignore[arg-type]  # transformers' `to` has no type for `self`
        feature_extractor,
        resolution=resolution,
        batch_size=batch_size,
    )
    rows = with_labels_of(label_names(config), rows)
    scores = [_scores(timeline, clip["audio"]) for clip in datasets.utils.tqdm(rows, desc="Scoring", unit="clip")]
    timelines = vars(make_timelines(scores, rows, timeline.labels, timeline.cell_seconds))
    before = score_rules(**timelines, rules=EventRules.from_config(config))
    rules = choose_rules(**timelines)
    config.event_rules = rules.to_dict()
    if settings is not None:
        write_json(settings, read_json(settings) | {"event_rules": config.event_rules})
    return EventTuning(rules, timelines["labels"], before, score_rules(**timelines, rules=rules))


def _scores(timeline: TimelineModel, audio: Mapping[str, Any]) -> np.ndarray:
    """The scores of a clip, `(cells, labels)`, float64."""
    stream = timeline.stream()
    parts = [stream.push(block) for block in stream_audio(audio_file(audio), timeline.sampling_rate)]
    return np.concatenate([*parts, stream.finish()]).astype(np.float64)


def _config_file(folder: str | os.PathLike) -> Path:
    path = Path(folder, CONFIG_NAME)
    if not path.is_file():
        raise ValueError(
            f"There is no {path}, and so no model whose rules could be saved. Download a model of the Hub first: "
            "hf download NAME --local-dir FOLDER"
        )
    return path
