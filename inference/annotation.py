# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The annotation of a recording."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .prediction import ScoredEvent as ScoredEvent


class Gap(NamedTuple):
    """A part of a recording that cannot be decoded, in seconds, and why."""

    start: float
    stop: float
    reason: str


@dataclass(frozen=True)
class Overview:
    """`scores`: `(columns, labels)`, float32, the highest score of each label within each column."""

    scores: np.ndarray
    column_seconds: float


@dataclass(frozen=True)
class Annotation:
    """Events and scores of a recording over time."""

    file: str
    duration: float
    labels: tuple[str, ...]
    events: list[ScoredEvent]
    overview: Overview | None
    gaps: list[Gap]
    error: str | None = None
