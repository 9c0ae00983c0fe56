# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Chooses the rules by which scores over time become events, for the best F1 of the events of each class.

The F1 is that of [`score_events`]. `sed_scores_eval` takes seconds for what has to be computed hundreds of times here.
So this file counts the right events itself.
"""

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence

import datasets
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from ..data.event_rules import DetectedEvent, EventRules
from ..data.events import Event
from .results import Scores
from .sound_events import COLLAR_SECONDS, OFFSET_COLLAR_SHARE, checked_timelines, events_in, labels_of


logger = logging.getLogger(__name__)

# What is tried for each class. The first value of each is that of the default rules. Of values that are equally good
# the one that comes first is taken. The low threshold is given as a share of the threshold.
GRID: dict[str, tuple[float, ...]] = {
    # The logits 0, ±0.5, ... ±6: the scores of rare classes are often low throughout
    "threshold": tuple(round(float(1 / (1 + np.exp(-x / 2))), 4) for x in sorted(range(-12, 13), key=abs)),
    "median_filter": (0.0, 0.2, 0.35, 0.5, 0.8, 1.2, 2.0),
    "low_share": (1.0, 0.8, 0.6, 0.4, 0.2),
    "max_gap": (0.0, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2),
    "min_duration": (0.0, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2),
}
# All values of these are tried together first, because the best threshold depends on the filter
_FIRST_SWEEP = ("median_filter", "threshold")
# Then these are repeated. Two thresholds help only together.
_SWEEPS = (("low_share", "threshold"), ("median_filter",), ("max_gap",), ("min_duration",))
_MOST_ROUNDS = 4
_SAME_F1 = 1e-9

_Values = dict[str, np.ndarray]  # a value of each part of the grid for each class


def choose_rules(
    scores: Mapping[str, np.ndarray],
    references: Mapping[str, Sequence[Event]],
    durations: Mapping[str, float],
    labels: Sequence[str],
    frame_seconds: float,
) -> EventRules:
    """
    Choose the rules of each class that give the best F1 of events on clips that were not trained on.

    The search tries all thresholds with all median filters of `GRID`. Then it tries all values of the two thresholds
    together, and of one rule after the other, until that improves no class any more. It has no random choices. Of
    equally good rules the simpler one is taken. A class without events in these clips keeps the default rules, and a
    warning names it.

    Args:
        scores, references, durations, labels, frame_seconds: timelines, as [`score_events`] takes them.

    Returns:
        The rules.

    Raises:
        ValueError: see [`score_events`].
    """
    scores, events = checked_timelines(scores, references, durations, labels, frame_seconds)
    present = labels_of(events)
    absent = [name for index, name in enumerate(labels) if index not in present]
    if absent:
        logger.warning(f"Without events, these classes keep the default rules: {', '.join(absent)}")
    own_scores = {clip: clip_scores[:, present] for clip, clip_scores in scores.items()}
    own_events = {
        clip: [event._replace(label=present.index(int(event.label))) for event in clip_events]
        for clip, clip_events in events.items()
    }
    defaults = {name: np.full(len(present), grid[0]) for name, grid in GRID.items()}
    with datasets.utils.tqdm(desc="Choosing rules", unit="rules") as bar:

        def f1_of(values: _Values) -> np.ndarray:
            rules = _rules(values)
            found = {clip: events_in(own, durations[clip], frame_seconds, rules) for clip, own in own_scores.items()}
            bar.update()
            return f1_of_counts(event_counts(found, own_events, len(present)))

        best, best_f1 = _sweep(defaults, _FIRST_SWEEP, f1_of)
        for _ in range(_MOST_ROUNDS):
            before = best_f1
            for names in _SWEEPS:
                best, best_f1 = _sweep(best, names, f1_of)
            if not (best_f1 > before + _SAME_F1).any():
                break
    chosen = {name: np.full(len(labels), grid[0]) for name, grid in GRID.items()}
    for name, values in chosen.items():
        values[present] = best[name]
    return _rules(chosen)


def score_rules(
    scores: Mapping[str, np.ndarray],
    references: Mapping[str, Sequence[Event]],
    durations: Mapping[str, float],
    labels: Sequence[str],
    frame_seconds: float,
    rules: EventRules,
) -> Scores:
    """
    The F1 of events by these rules: the values `event_f1_macro`, `event_f1_micro`, and `event_f1` of each class, of
    [`score_events`]. `sed_scores_eval` is not needed.

    Raises:
        ValueError: see [`score_events`].
    """
    scores, events = checked_timelines(scores, references, durations, labels, frame_seconds)
    found = {clip: events_in(own, durations[clip], frame_seconds, rules) for clip, own in scores.items()}
    present = labels_of(events)
    counts = event_counts(found, events, len(labels))[present]
    f1 = f1_of_counts(counts)
    values = {
        "count": len(scores),
        "references": int(counts[:, 2].sum()),
        "event_f1_macro": float(f1.mean()),
        "event_f1_micro": float(f1_of_counts(counts.sum(axis=0))),
    }
    per_class = {labels[index]: {"event_f1": float(value)} for index, value in zip(present, f1, strict=True)}
    return Scores(values, per_class=per_class)


def event_counts(
    found: Mapping[str, Sequence[DetectedEvent]], references: Mapping[str, Sequence[Event]], num_labels: int
) -> np.ndarray:
    """
    Count the events that are right.

    Each found event is matched with at most one reference of its clip and class, such that there are as many matches
    as possible. Onsets may differ by 200 ms, and offsets by 200 ms or 20 % of the reference's length if that is more.

    Args:
        found: the events found in each clip.
        references: the events that each clip has, with class indices as labels.
        num_labels: number of classes.

    Returns:
        For each class the number of matches, of found events and of references, `(num_labels, 3)`, int64.
    """
    place_of = {clip: index * num_labels for index, clip in enumerate(references)}
    ours, theirs = (
        np.array(
            [
                (place_of[clip] + int(event.label), event.onset, event.offset)
                for clip in events
                for event in events[clip]
            ],
            dtype=np.float64,
        ).reshape(-1, 3)
        for events in (found, references)
    )
    theirs = theirs[np.lexsort((theirs[:, 1], theirs[:, 0]))]
    # The references of the same clip and class whose onset is near follow each other
    far = 2 * max(ours[:, 1:].max(initial=1.0), theirs[:, 1:].max(initial=1.0))
    keys, near = theirs[:, 0] * far + theirs[:, 1], COLLAR_SECONDS * 1.1
    first = np.searchsorted(keys, ours[:, 0] * far + ours[:, 1] - near)
    counts = np.searchsorted(keys, ours[:, 0] * far + ours[:, 1] + near) - first
    our = np.repeat(np.arange(len(ours)), counts)
    their = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
    distances = np.abs(ours[our] - theirs[their])
    lengths = theirs[their, 2] - theirs[their, 1]
    collars = np.maximum(COLLAR_SECONDS, OFFSET_COLLAR_SHARE * lengths)
    # Rounded as by `sed_scores_eval`
    is_hit = (distances[:, 0] == 0) & (np.round(distances[:, 1] - COLLAR_SECONDS, 6) <= 0)
    is_hit &= np.round(distances[:, 2] - collars, 6) <= 0
    # scipy 1.13 finds no matching with indices of 64 bits
    our, their = our[is_hit].astype(np.int32), their[is_hit].astype(np.int32)
    hits = csr_array((np.ones(len(our)), (our, their)), shape=(len(ours), len(theirs)))
    matched = np.flatnonzero(maximum_bipartite_matching(hits, perm_type="column") >= 0) if len(our) else our
    return np.stack(
        [np.bincount(part.astype(np.int64) % num_labels, minlength=num_labels)
         for part in (ours[matched, 0], ours[:, 0], theirs[:, 0])],
        axis=1,
    )  # fmt: skip


def f1_of_counts(counts: np.ndarray) -> np.ndarray:
    """The F1 `(...)` of counts `(..., 3)` of matches, found events and references; 0 if there are none of either."""
    return 2 * counts[..., 0] / np.maximum(counts[..., 1] + counts[..., 2], 1)


def _sweep(
    values: _Values, names: Sequence[str], f1_of: Callable[[_Values], np.ndarray]
) -> tuple[_Values, np.ndarray]:
    """Try all combinations of these parts of the grid, and return the best values of each class and their F1."""
    best, best_f1 = values, np.full_like(values[names[0]], -1.0)
    for combination in itertools.product(*(GRID[name] for name in names)):
        trial = values | {
            name: np.full_like(values[name], value) for name, value in zip(names, combination, strict=True)
        }
        f1 = f1_of(trial)
        is_better = f1 > best_f1 + _SAME_F1
        best = {name: np.where(is_better, trial[name], best[name]) for name in GRID}
        best_f1 = np.where(is_better, f1, best_f1)
    return best, best_f1


def _rules(values: _Values) -> EventRules:
    numbers = {name: own.tolist() for name, own in values.items()}
    shares = numbers.pop("low_share")
    low = [round(high * share, 4) for high, share in zip(numbers["threshold"], shares, strict=True)]
    return EventRules(**numbers, low_threshold=None if set(shares) == {1.0} else low)
