# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Scores of sound event detection: segment-based F1, event-based F1, PSDS and average precision of frames.

The first three come from `sed_scores_eval`, the only maintained library for them. It computes PSDS exactly, while
`psds_eval` samples thresholds, fails with pandas 3 and no longer has a repository. `sed_eval` has no PSDS and no
release since 2018.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..data.event_rules import (
    TIME_PRECISION,
    DetectedEvent,
    EventRules,
    checked_scores,
    detect_events,
    filter_cells,
    median_filtered,
)
from ..data.events import Event, class_indices, event_times, events_to_frames
from .measures import check_logits, mean_average_precision
from .results import Evaluation, Scores


if TYPE_CHECKING:
    from transformers import EvalPrediction

_SEGMENT_SECONDS = 1.0
COLLAR_SECONDS = 0.2
OFFSET_COLLAR_SHARE = 0.2

# The two scenarios of DESED, https://dcase.community/challenge2023/task-sound-event-detection-with-weak-labels-and-synthetic-soundscapes
_PSDS_SCENARIOS: dict[str, dict[str, float | None]] = {
    "psds1": {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "cttc_threshold": None, "alpha_ct": 0.0},
    "psds2": {"dtc_threshold": 0.1, "gtc_threshold": 0.1, "cttc_threshold": 0.3, "alpha_ct": 0.5},
}

_PADDING = -100

# For each clip, onset, offset and class of its events
_Truth = dict[str, list[tuple[float, float, str]]]


def score_events(
    scores: Mapping[str, np.ndarray],
    references: Mapping[str, Sequence[Event]],
    durations: Mapping[str, float],
    labels: Sequence[str],
    frame_seconds: float,
    rules: EventRules | None = None,
) -> Evaluation:
    """
    Score predicted timelines against annotated events.

    Classes without any reference event are left out of every score. References of one class in one clip that touch or
    overlap are merged into one event.

    Args:
        scores: for each clip, `(frames, labels)`. F1 is that of the events by `rules`. PSDS and average precision need
            the scores after the median filter only. Frames beyond the end of a clip are ignored.
        references: the events of the same clips, an empty list for a clip without events. They are cut at the ends of
            the clip.
        durations: the duration of the same clips in seconds.
        labels: the class names.
        frame_seconds: the length of a frame in seconds.
        rules: how events follow from scores; by default every run of scores above 0.5 is an event.

    Returns:
        An evaluation of the task `frame_classification` whose scores of clips are:

        - `count`, `references`: number of clips and of reference events after merging.
        - `references_merged`: number of reference events that were merged into others.
        - `classes_left_out`, `events_left_out`: number of classes without a reference, and of events predicted of
          these.
        - `segment_f1_macro`, `segment_f1_micro`, and `segment_f1` of each class: F1 in segments of 1 s.
        - `event_f1_macro`, `event_f1_micro`, and `event_f1` of each class: F1 of events. An event is right if its
          onset is within 200 ms of the reference's, and its offset within 200 ms or 20 % of the reference's length,
          whichever is more.
        - `psds1`, `psds2`: the polyphonic sound detection scores (https://arxiv.org/abs/1910.08440) of the two
          scenarios of DESED, up to 100 effective false positives an hour.
        - `frame_map`, `frame_map_classes_left_out`: the scores of [`mean_average_precision`] over all frames.

    Raises:
        ValueError: `scores`, `references` and `durations` are not of the same clips, the scores of a clip do not fit
            its duration or are NaN, an event has no length, has an unknown class or lies outside its clip, there are
            no references, or the rules are for another number of classes.
    """
    scores, events = checked_timelines(scores, references, durations, labels, frame_seconds)
    rules = EventRules() if rules is None else rules
    filters = filter_cells(rules, len(labels), frame_seconds)
    smoothed = {clip: median_filtered(clip_scores, filters) for clip, clip_scores in scores.items()}
    found = {clip: events_in(scores[clip], durations[clip], frame_seconds, rules) for clip in scores}
    present = labels_of(events)
    # The library has a column for each class beside "onset" and "offset", so a class of that name would collide.
    truth: _Truth = {
        clip: [(onset, offset, str(label)) for onset, offset, label in clip_events]
        for clip, clip_events in events.items()
    }
    seconds = {clip: float(duration) for clip, duration in durations.items()}
    decisions = {clip: _frames_of(found[clip], one.shape, frame_seconds) for clip, one in smoothed.items()}
    f1, f1_of_class = _f1_scores(_tables(decisions, present, seconds, frame_seconds), truth, seconds, present)
    frames = [
        events_to_frames(events[clip], len(clip_scores), frame_seconds, len(labels))
        for clip, clip_scores in smoothed.items()
    ]
    precision = mean_average_precision(np.concatenate([*smoothed.values()]), np.concatenate(frames))
    count = sum(map(len, events.values()))
    values = {
        "count": len(scores),
        "references": count,
        "references_merged": sum(map(len, references.values())) - count,
        "classes_left_out": len(labels) - len(present),
        "events_left_out": sum(event.label not in present for clip_events in found.values() for event in clip_events),
        **f1,
        **_psds(_tables(smoothed, present, seconds, frame_seconds), truth, seconds, len(present)),
        **{f"frame_{name}": value for name, value in precision.items()},
    }
    per_class = {labels[index]: scores_of for index, scores_of in f1_of_class.items()}
    return Evaluation("frame_classification", list(labels), Scores(values, per_class=per_class))


def _frames_of(events: Sequence[DetectedEvent], shape: tuple[int, ...], frame_seconds: float) -> np.ndarray:
    """
    Whether each class sounds in each frame, `(frames, classes)`.

    The events of a class are at least a frame apart, so that the runs of these frames are the events.
    """
    frames = np.zeros(shape, dtype=bool)
    for onset, offset, label, _ in events:
        stop = int(np.ceil(offset / frame_seconds - TIME_PRECISION))
        frames[round(onset / frame_seconds) : stop, label] = True
    return frames


def _f1_scores(
    decisions: dict[str, Any], truth: _Truth, durations: Mapping[str, float], present: Sequence[int]
) -> tuple[dict[str, float], dict[int, dict[str, float]]]:
    """F1 of segments and of events: over the classes, and of each class that is present."""
    from sed_scores_eval import collar_based, segment_based

    segment, *_ = segment_based.fscore(decisions, truth, durations, threshold=0.5, segment_length=_SEGMENT_SECONDS)
    event, *_ = collar_based.fscore(
        decisions,
        truth,
        threshold=0.5,
        onset_collar=COLLAR_SECONDS,
        offset_collar=COLLAR_SECONDS,
        offset_collar_rate=OFFSET_COLLAR_SHARE,
    )
    f1 = {"segment_f1": segment, "event_f1": event}
    kinds = ("macro", "micro")
    means = {f"{name}_{kind}": float(one[f"{kind}_average"]) for name, one in f1.items() for kind in kinds}
    return means, {index: {name: float(one[str(index)]) for name, one in f1.items()} for index in present}


def _psds(scores: dict[str, Any], truth: _Truth, durations: Mapping[str, float], num_present: int) -> dict[str, float]:
    from sed_scores_eval import intersection_based

    scenarios = _PSDS_SCENARIOS
    if num_present == 1:  # the library fails on cross triggers of a single class, which cannot have any
        scenarios = {name: {**each, "cttc_threshold": None, "alpha_ct": 0.0} for name, each in scenarios.items()}
    psds = {}
    for name, scenario in scenarios.items():
        score, *_ = intersection_based.psds(
            scores, truth, durations, alpha_st=1.0, unit_of_time="hour", max_efpr=100.0, **scenario
        )
        psds[name] = float(score)
    return psds


def frame_metrics(eval_prediction: "EvalPrediction") -> dict[str, float]:
    """
    The `compute_metrics` of a Trainer for multi-label classification of frames.

    Args:
        eval_prediction: logits `(clips, frames, classes)`, or a tuple that starts with them, and labels of the same
            shape: 0 or 1, or -100 in all classes of a padding frame.

    Returns:
        `frame_map` and `frame_map_classes_left_out`, the scores of [`mean_average_precision`] over all frames, and
        `frame_f1_macro` and `frame_f1_micro` of predicting every class with a probability above 0.5. Classes that no
        frame has are left out of all of them.

    Raises:
        ValueError: the shapes differ, a label is neither 0, 1 nor padding, a logit is NaN or infinite, or no frame
            has a class.
    """
    logits = eval_prediction.predictions
    logits = np.asarray(logits[0] if isinstance(logits, tuple) else logits)
    labels = np.asarray(eval_prediction.label_ids)
    if logits.ndim != 3 or logits.shape != labels.shape:
        raise ValueError(
            "Logits and labels of frames must both be (clips, frames, classes), got "
            f"{logits.shape} logits and {labels.shape} labels."
        )
    is_real = (labels != _PADDING).any(axis=-1)
    logits, labels = logits[is_real], labels[is_real]
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"Labels of a frame must be 0 or 1 for each class, or {_PADDING} for all of them as padding.")
    check_logits(logits)
    return frame_measures(logits, labels, threshold=0.0)


def frame_measures(scores: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, float]:
    """
    What [`frame_metrics`] returns.

    Args:
        scores: `(frames, classes)`.
        labels: `(frames, classes)`, 0 or 1.
        threshold: score above which a class is predicted.

    Raises:
        ValueError: no frame has a class.
    """
    labels = labels.astype(np.int64)
    precision = mean_average_precision(scores, labels)
    is_scored = labels.any(axis=0)
    labels, answers = labels[:, is_scored], scores[:, is_scored] > threshold
    counts = np.array([(labels & answers).sum(axis=0), labels.sum(axis=0) + answers.sum(axis=0)])
    return {
        **{f"frame_{name}": value for name, value in precision.items()},
        "frame_f1_macro": float(np.mean(2 * counts[0] / counts[1])),
        "frame_f1_micro": float(2 * counts[0].sum() / counts[1].sum()),
    }


def checked_timelines(
    scores: Mapping[str, np.ndarray],
    references: Mapping[str, Sequence[Event]],
    durations: Mapping[str, float],
    labels: Sequence[str],
    frame_seconds: float,
) -> tuple[dict[str, np.ndarray], dict[str, list[Event]]]:
    """
    Return the scores and the reference events within each clip, as [`score_events`] takes them and scores them.

    Raises:
        ValueError: see [`score_events`].
    """
    if len(set(labels)) != len(labels):
        raise ValueError("Some classes have the same name: make the names in `labels` unique.")
    _check_same_clips(scores, references, durations)
    own_scores, events = {}, {}
    for clip, duration in durations.items():
        try:
            events[clip] = _merged_events(references[clip], duration, labels)
            own_scores[clip] = _scores_within(checked_scores(scores[clip], len(labels)), duration, frame_seconds)
        except ValueError as error:
            raise ValueError(f"Clip {clip!r}: {error}") from error
    if not any(events.values()):
        raise ValueError("No clip has any event, so there is nothing to score against.")
    return own_scores, events


def labels_of(events: Mapping[str, Sequence[Event]]) -> list[int]:
    """The indices of the classes that some clip has."""
    return sorted({int(event.label) for clip_events in events.values() for event in clip_events})


def events_in(scores: np.ndarray, duration: float, frame_seconds: float, rules: EventRules) -> list[DetectedEvent]:
    """The events in the scores of a clip. The last frame lasts to the end of the clip."""
    end = len(scores) * frame_seconds - TIME_PRECISION
    return [
        event._replace(offset=duration) if event.offset >= end else event
        for event in detect_events(scores, frame_seconds, rules, duration)
    ]


def _merged_events(events: Sequence[Event], duration: float, labels: Sequence[str]) -> list[Event]:
    """The events within a clip, with class indices as labels; those of one class that touch or overlap are merged."""
    if not 0 < duration < np.inf:
        raise ValueError(f"The duration must be a positive number of seconds, got {duration}.")
    times = event_times(events).clip(0, duration)
    merged: list[Event] = []
    for label, onset, offset in sorted(zip(class_indices(events, labels).tolist(), *times.T.tolist(), strict=True)):
        if onset == offset:
            raise ValueError(f"An event of {labels[label]!r} is outside the clip's {duration} s. Remove it.")
        if merged and merged[-1].label == label and onset <= merged[-1].offset + TIME_PRECISION:
            merged[-1] = merged[-1]._replace(offset=max(offset, merged[-1].offset))
        else:
            merged.append(Event(onset, offset, label))
    return merged


def _scores_within(scores: np.ndarray, duration: float, frame_seconds: float) -> np.ndarray:
    """
    The scores without frames that start after the end of the clip.

    A rest at the end that is too short for a frame belongs to the last frame.
    """
    length = duration / frame_seconds
    if len(scores) < np.floor(length + TIME_PRECISION):
        raise ValueError(
            f"{len(scores)} frames of {frame_seconds} s do not cover its {duration} s. Give scores for the whole clip."
        )
    return scores[: max(1, int(np.ceil(length - TIME_PRECISION)))]


def _check_same_clips(scores: Mapping[str, Any], references: Mapping[str, Any], durations: Mapping[str, Any]) -> None:
    clips = {"scores": scores.keys(), "references": references.keys(), "durations": durations.keys()}
    for name, found in clips.items():
        missing = sorted(set().union(*clips.values()) - found)
        if missing:
            raise ValueError(
                f"{len(missing)} clips are not in `{name}`, such as {missing[0]!r}: give scores, a duration and a "
                "list of references, which may be empty, for each clip."
            )


def _tables(
    scores: Mapping[str, np.ndarray], columns: Sequence[int], durations: Mapping[str, float], frame_seconds: float
) -> dict[str, Any]:
    """Scores as `sed_scores_eval` takes them: for each clip a table with the times of its frames and these classes."""
    tables = {}
    for clip, clip_scores in scores.items():
        # The library writes to the scores, which pandas 3 does not allow; it makes a copy of float32.
        table = pd.DataFrame(clip_scores[:, columns].astype(np.float32), columns=[str(column) for column in columns])
        edges = np.arange(len(clip_scores) + 1) * frame_seconds
        edges[-1] = durations[clip]
        table.insert(0, "onset", edges[:-1])
        table.insert(1, "offset", edges[1:])
        tables[clip] = table
    return tables
