# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What several runs found: means and deviations."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .tables import numbers_of, parts_of, united_keys


def summarise_runs(results: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """
    What several runs of one task found, such as the folds of a cross-validation or runs of several seeds.

    Args:
        results: what `evaluate_predictions` gives for each run, or what it has written.
        names: the name of each run.

    Returns:
        A dict for JSON: `task` and `labels` of the runs, `runs` (for each its `name` and the numbers in its `clips`
        and `recordings`), and under `clips` (and `recordings`) for each number its `mean`, `std` (of a sample; `None`
        for one run), `min` and `max`, all `None` where a run lacks it.

    Raises:
        ValueError: there is no run, or not a name for each, or the runs have other tasks or labels.
    """
    if not results or len(results) != len(names):
        raise ValueError(
            f"There must be a run at least and a name for each, got {len(results)} and {len(names)} names."
        )
    first = results[0]
    for result, name in zip(results, names, strict=True):
        for key in ("task", "labels"):
            if result.get(key) != first.get(key):
                raise ValueError(f"The runs {names[0]} and {name} differ in their {key}, so they have no common mean.")
    parts = [part for part in parts_of(first) if all(part in result for result in results)]
    runs = [
        {"name": name, **{part: numbers_of(result[part]) for part in parts}}
        for name, result in zip(names, results, strict=True)
    ]
    summary: dict[str, Any] = {"task": first.get("task"), "labels": first["labels"], "runs": runs}
    for part in parts:
        keys = united_keys([run[part] for run in runs])
        summary[part] = {key: _spread([run[part].get(key) for run in runs]) for key in keys}
    return summary


def _spread(values: Sequence[float | None]) -> dict[str, float | None]:
    if any(value is None or not math.isfinite(value) for value in values):
        return dict.fromkeys(("mean", "std", "min", "max"))
    return {**mean_and_std(values), "min": min(values), "max": max(values)}


def mean_and_std(values: Sequence[float]) -> dict[str, float | None]:
    """`std` is that of a sample, and `None` where there is one value."""
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else None}
