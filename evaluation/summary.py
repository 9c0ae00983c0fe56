# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Means and standard deviations over several runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .results import Evaluation


@dataclass(frozen=True)
class MeanStd:
    """
    Mean and standard deviation of a score.

    Args:
        mean: the mean; `None` if a value is missing.
        std: the standard deviation of a sample; `None` for a single value, or if a value is missing.
    """

    mean: float | None
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray) -> "MeanStd":
        """Compute the mean and the standard deviation of these values."""
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)


@dataclass(frozen=True)
class Spread(MeanStd):
    """Mean, standard deviation and extremes of a score over several runs; all `None` if a run lacks the score."""

    min: float | None
    max: float | None


@dataclass(frozen=True)
class RunsSummary:
    """
    The scores of several runs of one task.

    Args:
        names: the name of each run.
        runs: the evaluation of each run.
        clips: each score on clips, over the runs.
        recordings: each score on recordings, over the runs, if all runs have such scores.
    """

    names: list[str]
    runs: list[Evaluation]
    clips: dict[str, Spread]
    recordings: dict[str, Spread] | None = None

    @property
    def parts(self) -> dict[str, dict[str, Spread]]:
        """The scores on `clips` and, if there are any, on `recordings`."""
        parts = {"clips": self.clips, "recordings": self.recordings}
        return {part: scores for part, scores in parts.items() if scores is not None}

    def to_dict(self) -> dict[str, Any]:
        """
        The summary as a dict for JSON.

        It has `task` and `labels` of the runs, `runs` (for each its `name` and the values of its `clips` and
        `recordings`), and `clips` (and `recordings`) with `mean`, `std`, `min` and `max` of each score.
        """
        return {
            "task": self.runs[0].task,
            "labels": self.runs[0].labels,
            "runs": [
                {"name": name, **{part: run.parts[part].values for part in self.parts}}
                for name, run in zip(self.names, self.runs, strict=True)
            ],
            **{part: {name: asdict(spread) for name, spread in scores.items()} for part, scores in self.parts.items()},
        }


def summarise_runs(evaluations: Sequence[Evaluation], names: Sequence[str]) -> RunsSummary:
    """
    Summarise several runs of one task, such as the folds of a cross-validation or the runs of several seeds.

    Args:
        evaluations: the evaluation of each run.
        names: the name of each run.

    Raises:
        ValueError: there is no run, the number of names differs from that of the runs, or the runs differ in their
            task or their labels.
    """
    if not evaluations or len(evaluations) != len(names):
        raise ValueError(
            f"There must be at least one run and a name for each, got {len(evaluations)} runs and {len(names)} names."
        )
    first = evaluations[0]
    for evaluation, name in zip(evaluations, names, strict=True):
        for what in ("task", "labels"):
            if getattr(evaluation, what) != getattr(first, what):
                raise ValueError(f"The runs {names[0]} and {name} differ in their {what} and have no common mean.")
    spreads = {
        part: _spreads([evaluation.parts[part].values for evaluation in evaluations])
        for part in first.parts
        if all(part in evaluation.parts for evaluation in evaluations)
    }
    return RunsSummary(list(names), list(evaluations), **spreads)


def _spreads(runs: Sequence[Mapping[str, float | int | None]]) -> dict[str, Spread]:
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: _spread([run.get(name) for run in runs]) for name in names}


def _spread(values: Sequence[float | int | None]) -> Spread:
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    if len(numbers) < len(values):
        return Spread(None, None, None, None)
    center = MeanStd.of(numbers)
    return Spread(center.mean, center.std, min(numbers), max(numbers))
