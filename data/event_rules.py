# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
From scores over time to events, by rules that may differ by class: a median filter, two thresholds, the longest gap
within an event and the least duration.

The scores lie on a regular grid of cells, such as the frames of a frame classifier. They may come block by block: the
events do not depend on the blocks, and memory does not grow with the recording. This file needs NumPy only, as it is
saved with models.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from sys import float_info
from typing import Any, NamedTuple

import numpy as np


# Tolerance of comparisons of times, in seconds
TIME_PRECISION = 1e-6

# Tolerance of times counted in cells
_CELL_PRECISION = 1e-6
# The rules of a model come from a file of a stranger, and the filter has to hold as many scores as it is long
_LONGEST_FILTER = 60.0
# Number of cells of a long timeline that are searched for events at once
_BLOCK_CELLS = 4096
# Number of values that are sorted for medians at once
_MEDIAN_VALUES = 2**22
# Scores are added up in this unit. Such sums are exact for the first 2**23 cells, so that blocks do not change them.
_SCORE_UNIT = 2.0**-30

Number = float | Sequence[float]


@dataclass(frozen=True)
class EventRules:
    """
    How events follow from scores, in this order: median filter, thresholds, joining, dropping. Each value is a number
    for all classes, or a list with one for each class.

    Args:
        threshold: from 0 to 1. An event has at least one score above it.
        low_threshold: from 0 to `threshold`. An event lasts as long as the score is above it. `None` stands for
            `threshold`.
        median_filter: length in seconds, at most 60, of a median filter over time. It is rounded to an odd number of
            cells; 0 changes nothing.
        min_duration: in seconds. Shorter events are dropped.
        max_gap: in seconds. Events of one class that are at most so far apart become one.

    Raises:
        ValueError: a value is not a number or outside its limits, or the lists have different lengths.

    Example:

    ```python
    >>> from polyaudio.data.event_rules import EventRules

    >>> rules = EventRules(threshold=0.6, low_threshold=0.3, max_gap=0.5)
    >>> rules.to_dict()["max_gap"]
    0.5
    ```
    """

    threshold: Number = 0.5
    low_threshold: Number | None = None
    median_filter: Number = 0.0
    min_duration: Number = 0.0
    max_gap: Number = 0.0

    def __post_init__(self):
        counts = set()
        for name, value in vars(self).items():
            if name == "low_threshold" and value is None:
                continue
            number = _checked(name, value)
            object.__setattr__(self, name, number)
            if isinstance(number, tuple):
                counts.add(len(number))
        if len(counts) > 1:
            raise ValueError(
                f"The lists of event rules must have one value for each class, got {sorted(counts)} values."
            )
        if self.low_threshold is not None and (np.array(self.low_threshold) > np.array(self.threshold)).any():
            raise ValueError(
                f"`low_threshold` must not be above `threshold`, got {self.low_threshold} and {self.threshold}."
            )

    @classmethod
    def from_config(cls, config: Any) -> "EventRules":
        """
        The rules in the configuration of a model: `config.event_rules`, a dict as [`EventRules.to_dict`] returns it.
        Without it, the default rules.

        Raises:
            ValueError: the dict has other keys, or values that cannot be rules for the classes of the model.
        """
        settings = getattr(config, "event_rules", None) or {}
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise ValueError(f"`event_rules` has no setting {unknown[0]!r}. Its settings are {', '.join(known)}.")
        rules = cls(**settings)
        for name in known:
            rules.of_labels(name, config.num_labels)
        return rules

    def to_dict(self) -> dict[str, Any]:
        """The rules as a dict for JSON, with lists for the values of classes. A rule that is `None` is left out."""
        rules = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in rules.items()}

    def of_labels(self, name: str, num_labels: int) -> np.ndarray:
        """
        The values of the rule `name` for each label, `(num_labels,)`, float64.

        Raises:
            ValueError: the rules are for another number of labels.
        """
        value = getattr(self, name)
        value = self.threshold if value is None else value
        if isinstance(value, tuple) and len(value) != num_labels:
            raise ValueError(f"`{name}` must be one number or one for each of {num_labels} classes, got {len(value)}.")
        return np.broadcast_to(np.asarray(value, dtype=np.float64), (num_labels,))


class DetectedEvent(NamedTuple):
    """
    A sound from `onset` to `offset`, both in seconds. `label` is the index of its class, and `score` the mean of the
    scores, as they were before the median filter, in the cells from `onset` to `offset`.
    """

    onset: float
    offset: float
    label: int
    score: float


class _Border(NamedTuple):
    """A border between cells: the number of cells before it, of their peaks (above the threshold), and their sum."""

    cell: int
    peaks: int
    sum: float


class EventDetector:
    """
    Finds the events of one recording in scores that come block by block.

    The events are those of [`detect_events`] for all scores at once, however the recording is divided. An event is
    returned as soon as no later score can change it. That takes half of the longest median filter and `max_gap` after
    its end. The detector keeps scores for the length of the longest filter, and for each class at most two events.

    Args:
        rules: the rules.
        num_labels: number of classes.
        cell_seconds: time in seconds from one cell to the next.

    Raises:
        ValueError: the rules are for another number of labels, or `cell_seconds` is not a positive number.
    """

    def __init__(self, rules: EventRules, num_labels: int, cell_seconds: float):
        if not 0 < cell_seconds < np.inf:
            raise ValueError(f"`cell_seconds` must be a positive number of seconds, got {cell_seconds}.")
        self.num_labels = num_labels
        self.cell_seconds = cell_seconds
        self._high = rules.of_labels("threshold", num_labels).astype(np.float32)
        self._low = rules.of_labels("low_threshold", num_labels).astype(np.float32)
        self._min_duration = rules.of_labels("min_duration", num_labels) - TIME_PRECISION
        self._gap_cells = np.floor(rules.of_labels("max_gap", num_labels) / cell_seconds + _CELL_PRECISION)
        self._filters = filter_cells(rules, num_labels, cell_seconds)
        # Scores on each side of a cell that its filters need
        self._reach = int(max(self._filters, default=1)) // 2

        self._num_cells = 0
        # The scores that are still needed. Once there are enough of them, the first `_reach` have been decided, or
        # mirror the start of the recording.
        self._scores = np.zeros((0, num_labels), dtype=np.float32)
        self._has_start = False
        self._has_end = False
        # Before the next cell to decide: the number of cells, and for each label the number of scores above the
        # threshold, the sum of the scores, and whether the last score was above the low threshold
        self._cell = 0
        self._peaks = np.zeros((1, num_labels), dtype=np.int64)
        self._sums = np.zeros((1, num_labels))
        self._was_active = np.zeros((1, num_labels), dtype=bool)
        # By label: where the scores rose above the low threshold if they still are above it, and start and end of the
        # last event while another one can still be joined to it
        self._rise: dict[int, _Border] = {}
        self._last: dict[int, tuple[_Border, _Border]] = {}

    def push(self, scores: np.ndarray) -> list[DetectedEvent]:
        """
        Take the scores of the next cells.

        Args:
            scores: `(cells, num_labels)`, finite numbers, usually probabilities; any number of cells, also none.

        Returns:
            The events that have become final, sorted by onset.

        Raises:
            ValueError: the scores have another shape or are not finite, or the recording has ended.
        """
        self._check_open()
        scores = checked_scores(scores, self.num_labels, allow_empty=True)
        self._num_cells += len(scores)
        self._scores = np.concatenate([self._scores, scores])
        if not self._has_start and len(self._scores) > self._reach:
            self._scores = _mirrored(self._scores, self._reach, 0)
            self._has_start = True
        return sorted(self._decide()) if self._has_start else []

    def finish(self, duration: float | None = None) -> list[DetectedEvent]:
        """
        End the recording.

        Args:
            duration: of the recording in seconds. Offsets are cut there. By default it ends with the last cell.

        Returns:
            The remaining events, sorted by onset.

        Raises:
            ValueError: the last cell begins after `duration`, or the recording has ended before.
        """
        self._check_open()
        end = self._num_cells * self.cell_seconds if duration is None else duration
        if not end >= (self._num_cells - 1) * self.cell_seconds - TIME_PRECISION:
            raise ValueError(
                f"{self._num_cells} cells of {self.cell_seconds} s are too many for a recording of {duration} s. "
                "Leave out the cells after its end."
            )
        self._has_end = True
        if not self._num_cells:
            return []
        self._scores = _mirrored(self._scores, 0 if self._has_start else self._reach, self._reach)
        events = self._decide()
        for label in list(self._rise):
            events += self._fall(label, _Border(self._cell, int(self._peaks[0, label]), float(self._sums[0, label])))
        for label, (onset, offset) in self._last.items():
            events += self._kept(label, onset, offset, end)
        return sorted(events)

    def _check_open(self) -> None:
        if self._has_end:
            raise ValueError("This detector has finished its recording. Use a new one for each recording.")

    def _decide(self) -> list[DetectedEvent]:
        """Decide all cells whose filters reach only scores that are here; return the events that have become final."""
        reach = self._reach
        if len(self._scores) <= 2 * reach:
            return []
        filtered = _medians(self._scores, self._filters, reach)
        scores = self._scores[reach : len(self._scores) - reach]
        self._scores = self._scores[len(filtered) :].copy()
        # Row i is about the i cells that come first
        peaks = np.concatenate([self._peaks, filtered > self._high]).cumsum(axis=0)
        sums = np.concatenate([self._sums, np.round(scores / _SCORE_UNIT) * _SCORE_UNIT]).cumsum(axis=0)
        active = np.concatenate([self._was_active, filtered > self._low])
        events: list[DetectedEvent] = []
        # By label, and then by time
        for label, row in np.argwhere(np.diff(active, axis=0).T).tolist():
            border = _Border(self._cell + row, int(peaks[row, label]), float(sums[row, label]))
            if active[row + 1, label]:
                self._rise[label] = border
            else:
                events += self._fall(label, border)
        self._cell += len(filtered)
        self._peaks, self._sums, self._was_active = peaks[-1:].copy(), sums[-1:].copy(), active[-1:].copy()
        for label, (onset, offset) in list(self._last.items()):
            # The first cell in which an event can start that is not known yet
            next_cell = self._rise[label].cell if label in self._rise else self._cell
            if next_cell - offset.cell > self._gap_cells[label]:
                del self._last[label]
                events += self._kept(label, onset, offset)
        return events

    def _fall(self, label: int, end: _Border) -> list[DetectedEvent]:
        """Take the end of a run of scores above the low threshold; return the event before it if that is final."""
        start, events = self._rise.pop(label), []
        if end.peaks == start.peaks:
            return []
        if label in self._last:
            onset, offset = self._last[label]
            if start.cell - offset.cell <= self._gap_cells[label]:
                start = onset
            else:
                events = self._kept(label, onset, offset)
        self._last[label] = (start, end)
        return events

    def _kept(self, label: int, start: _Border, stop: _Border, end: float = np.inf) -> list[DetectedEvent]:
        """The event between two borders, cut at `end` seconds; none if it is too short."""
        onset, offset = start.cell * self.cell_seconds, min(stop.cell * self.cell_seconds, end)
        if offset <= onset or offset - onset < self._min_duration[label]:
            return []
        return [DetectedEvent(onset, offset, label, (stop.sum - start.sum) / (stop.cell - start.cell))]


def detect_events(
    scores: np.ndarray, cell_seconds: float, rules: EventRules, duration: float | None = None
) -> list[DetectedEvent]:
    """
    Return the events of a recording.

    Args:
        scores: `(cells, labels)`, finite numbers, usually probabilities.
        cell_seconds: time in seconds from one cell to the next.
        rules: the rules.
        duration: of the recording in seconds. Offsets are cut there. By default it ends with the last cell.

    Returns:
        The events, sorted by onset.

    Raises:
        ValueError: the scores have another shape or are not finite, the rules are for another number of labels, or the
            last cell begins after `duration`.
    """
    scores = checked_scores(scores)
    detector = EventDetector(rules, scores.shape[1], cell_seconds)
    events = []
    for start in range(0, len(scores), _BLOCK_CELLS):
        events += detector.push(scores[start : start + _BLOCK_CELLS])
    return sorted(events + detector.finish(duration))


def filter_cells(rules: EventRules, num_labels: int, cell_seconds: float) -> list[int]:
    """The length of the median filter of each label: the odd number of cells next to `rules.median_filter`."""
    lengths = rules.of_labels("median_filter", num_labels) / cell_seconds
    return [2 * int(length / 2 + _CELL_PRECISION) + 1 for length in lengths]


def median_filtered(scores: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """
    Return scores `(cells, labels)`, at least one cell, after a median filter over time. Beyond its ends a recording
    goes on with its mirror image.

    Args:
        lengths: for each label an odd number of cells, as [`filter_cells`] returns them.
    """
    reach = max(lengths, default=1) // 2
    return _medians(_mirrored(scores, reach, reach), lengths, reach)


def checked_scores(scores: np.ndarray, num_labels: int | None = None, *, allow_empty: bool = False) -> np.ndarray:
    """Return scores `(cells, labels)` as float32; `ValueError` if they have another shape or are not finite."""
    scores = np.asarray(scores, dtype=np.float32)
    is_empty = len(scores) == 0 if scores.ndim else True
    if scores.ndim != 2 or (is_empty and not allow_empty) or num_labels not in (None, scores.shape[1]):
        expected = "labels" if num_labels is None else f"{num_labels} labels"
        raise ValueError(f"The scores must be (frames, {expected}), got {scores.shape}.")
    if not np.isfinite(scores).all():
        raise ValueError("Some scores are NaN or infinite: the model is broken. Look at the losses of its training.")
    return scores


def _checked(name: str, value: Any) -> float | tuple[float, ...]:
    """The value of a rule as a number or a tuple; `ValueError` if it is something else or outside its limits."""
    is_list = isinstance(value, list | tuple | np.ndarray) and np.ndim(value) == 1
    numbers = list(value) if is_list else [value]
    most = {"threshold": 1.0, "low_threshold": 1.0, "median_filter": _LONGEST_FILTER}.get(name, float_info.max)
    is_right = all(
        isinstance(one, int | float | np.number) and not isinstance(one, bool) and 0 <= one <= most for one in numbers
    )
    if not numbers or not is_right:
        limits = f"from 0 to {most:g}" if most < float_info.max else "of at least 0"
        raise ValueError(
            f"`{name}` must be a number {limits}, or a list of them with one for each class, got {value!r}."
        )
    return tuple(map(float, numbers)) if is_list else float(value)


def _mirrored(scores: np.ndarray, before: int, after: int) -> np.ndarray:
    """The scores with their mirror image: `before` cells of it in front and `after` cells behind."""
    return np.pad(scores, ((before, after), (0, 0)), mode="symmetric")


def _medians(scores: np.ndarray, lengths: Sequence[int], reach: int) -> np.ndarray:
    """The medians around all cells but the first and last `reach`, each label with the length of its own filter."""
    filtered = scores[reach : len(scores) - reach].copy()
    for length in sorted(set(lengths) - {1}):
        columns = np.flatnonzero(np.equal(lengths, length))
        skipped = reach - length // 2
        windows = np.lib.stride_tricks.sliding_window_view(
            scores[skipped : len(scores) - skipped, columns], length, axis=0
        )
        rows = max(1, _MEDIAN_VALUES // (len(columns) * length))
        for start in range(0, len(windows), rows):
            part = np.partition(windows[start : start + rows], length // 2, axis=-1)
            filtered[start : start + rows, columns] = part[..., length // 2]
    return filtered
