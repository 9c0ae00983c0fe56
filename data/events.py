# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Events (classes with onset and offset): reads them from datasets, and converts them to labels of frames."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import datasets
import numpy as np

from .event_rules import TIME_PRECISION


class Event(NamedTuple):
    """A sound from `onset` to `offset`, both in seconds. `label` is the index or the name of its class."""

    onset: float
    offset: float
    label: int | str


def is_events(feature: Any) -> bool:
    """Whether a column with this feature contains events in the form that `load_clips` returns."""
    return (
        isinstance(feature, datasets.List)
        and isinstance(feature.feature, dict)
        and set(feature.feature) == {"onset", "offset", "label"}
        and isinstance(feature.feature["label"], datasets.ClassLabel)
    )


def read_events(
    clips: datasets.DatasetDict, column: str, dataset: str
) -> tuple[Any, dict[str, list[list[dict[str, Any]]]]]:
    """
    Return the feature and the values of a column `label` with the events of each clip, sorted by onset.

    Args:
        clips: lists in the columns `onset`, `offset` (seconds) and `column` (names of classes), as `merge_events`
            returns them.
        column: the column with the classes.
        dataset: name of the dataset, for messages.

    Raises:
        ValueError: there is no event.
    """
    names = sorted({name for rows in clips.values() for classes in rows[column][:] for name in classes})
    if not names:
        raise ValueError(f"{dataset} has no events: all of its {column!r} are empty.")
    index_of = {name: index for index, name in enumerate(names)}
    values = {
        split: [
            [
                {"onset": onset, "offset": offset, "label": index_of[name]}
                for onset, offset, name in sorted(zip(*events, strict=True))
            ]
            for events in zip(rows["onset"][:], rows["offset"][:], rows[column][:], strict=True)
        ]
        for split, rows in clips.items()
    }
    seconds = datasets.Value("float64")
    return datasets.List({"onset": seconds, "offset": seconds, "label": datasets.ClassLabel(names=names)}), values


def read_event_lists(clips: datasets.DatasetDict, column: str, dataset: str) -> tuple[Any, dict[str, list]]:
    """
    Return the feature and the values of a column of events; see `is_events`.

    Raises:
        ValueError: the splits have different classes.
    """
    features = [rows.features[column] for rows in clips.values()]
    if any(feature != features[0] for feature in features):
        raise ValueError(f"{dataset}: {column!r} does not have the same classes in all splits.")
    return features[0], {split: rows[column][:] for split, rows in clips.items()}


def merge_events(rows: datasets.Dataset, audio_column: str, label_column: str, where: str) -> datasets.Dataset:
    """
    Merge rows with one event each into one row for each clip.

    A row with a file and no event stands for a clip without events.

    Args:
        rows: the path of the audio in `audio_column`, the times of the event in seconds in `onset` and `offset`, and
            its class in `label_column`.
        audio_column, label_column: the columns of the audio and of the class.
        where: name of the rows, for messages.

    Returns:
        The clips in the order of their first rows, with lists in `onset`, `offset` and `label_column`. The other
        columns have the values of the first row.

    Raises:
        ValueError: the audio is not given by paths, or an event lacks a part or does not end after its onset.
    """
    if getattr(rows.features[audio_column], "dtype", None) not in ("string", "large_string"):
        raise ValueError(f"{where}: events need the path of an audio file in each row of {audio_column!r}.")
    events: dict[str, tuple[list[float], list[float], list[str]]] = {}
    first_rows = []
    table = rows.select_columns([audio_column, "onset", "offset", label_column])[:]
    for row, (path, onset, offset, name) in enumerate(
        zip(table[audio_column], table["onset"], table["offset"], table[label_column], strict=True)
    ):
        if path not in events:
            events[path] = ([], [], [])
            first_rows.append(row)
        is_missing = [part is None or part == "" or part != part for part in (onset, offset, name)]
        if all(is_missing):
            continue
        if any(is_missing) or not 0 <= float(onset) < float(offset) < math.inf:
            raise ValueError(
                f"{where}: {path} has an event with onset {onset}, offset {offset} and {label_column} {name!r}. It "
                "needs an onset of at least 0 and a later offset, both in seconds, and the name of a class."
            )
        onsets, offsets, names = events[path]
        onsets.append(float(onset))
        offsets.append(float(offset))
        names.append(str(name))
    merged = rows.select(first_rows).remove_columns(["onset", "offset", label_column])
    for index, (column, kind) in enumerate((("onset", "float64"), ("offset", "float64"), (label_column, "string"))):
        lists = [parts[index] for parts in events.values()]
        merged = merged.add_column(column, lists, feature=datasets.List(datasets.Value(kind)))
    return merged


def shifted_events(events: Sequence[Mapping[str, Any]], start: float, seconds: float) -> list[dict[str, Any]]:
    """Return the events in the part of a clip from `start` on, of length `seconds`, with times relative to `start`."""
    parts = (
        {**event, "onset": max(0.0, event["onset"] - start), "offset": min(seconds, event["offset"] - start)}
        for event in events
    )
    return [event for event in parts if event["onset"] < event["offset"]]


def events_to_frames(events: Sequence[Event], num_frames: int, frame_seconds: float, num_labels: int) -> np.ndarray:
    """
    Return the labels of a clip's frames.

    A frame has a class if an event of the class covers at least half of the frame, or if at least half of an event
    that is shorter than a frame lies in it. Thus every event within the clip labels at least one frame.

    Args:
        events: the events, with class indices as labels. They are cut at the ends of the clip.
        num_frames: number of frames.
        frame_seconds: length of a frame in seconds.
        num_labels: number of classes.

    Returns:
        `(num_frames, num_labels)`, float32, 0 or 1.

    Raises:
        ValueError: an event has no length, its times are NaN or infinite, or its label is not a class index.
    """
    labels = class_indices(events, range(num_labels))
    times = event_times(events).clip(0, num_frames * frame_seconds)
    onsets, offsets = times[:, :1], times[:, 1:]
    edges = np.arange(num_frames + 1) * frame_seconds
    heard = np.minimum(offsets, edges[1:]) - np.maximum(onsets, edges[:-1])
    enough = np.minimum(offsets - onsets, frame_seconds) / 2
    event, frame = np.nonzero((heard > 0) & (heard >= enough - TIME_PRECISION))
    frames = np.zeros((num_frames, num_labels), dtype=np.float32)
    frames[frame, labels[event]] = 1
    return frames


def class_indices(events: Sequence[Event], labels: Sequence[int | str]) -> np.ndarray:
    """
    Return the class index of each event, `(events,)`, int64.

    Args:
        events: events whose labels are class indices or names.
        labels: the names or the indices of the classes.

    Raises:
        ValueError: a label is neither an index nor a name of a class.
    """
    index_of: dict[int | str, int] = {index: index for index in range(len(labels))}
    index_of.update({name: index for index, name in enumerate(labels)})
    for event in events:
        if event.label not in index_of:
            raise ValueError(f"{event} has no known class: its label must be from 0 to {len(labels) - 1}, or a name.")
    return np.array([index_of[event.label] for event in events], dtype=np.int64)


def event_times(events: Sequence[Event]) -> np.ndarray:
    """Return the onsets and offsets of events, `(events, 2)`, float64; `ValueError` for an event without length."""
    times = np.array([(event.onset, event.offset) for event in events], dtype=np.float64).reshape(-1, 2)
    is_right = np.isfinite(times).all(axis=1) & (times[:, 0] < times[:, 1])
    if not is_right.all():
        wrong = events[int(np.argmin(is_right))]
        raise ValueError(f"{wrong} has no length: give an onset and a later offset in seconds, or remove it.")
    return times
