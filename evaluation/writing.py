# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Files of an evaluation."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .plots import plot_confusion_matrix, plot_precision_recall
from .tables import parts_of


def write_evaluation(result: Mapping[str, Any], folder: str | os.PathLike) -> None:
    """
    Write what an evaluation found to a folder, which is made where it is missing.

    `evaluation.json` holds the scores. What `evaluate_predictions` gives for plots is in files of its own: for single
    labels `confusion_matrix.json` (the labels and the two confusion matrices) and `confusion_matrix.png` (the one of
    the clips), for several `precision_recall.json` and `precision_recall.png`.

    Args:
        result: what `evaluate_predictions` gives, or another dict of its form: `labels`, and under `clips` (and
            `recordings`) scores by their names, and `per_class`, or what `score_events` gives. Numbers that JSON lacks
            (NaN, infinity) become `null`.
        folder: where to write.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scores = dict(result)
    matrices: dict[str, Any] = {}
    for part in parts_of(result):
        scores[part] = {k: v for k, v in result[part].items() if k not in ("confusion_matrix", "precision_recall")}
        if "confusion_matrix" in result[part]:
            matrices[part] = result[part]["confusion_matrix"]
    write_json(folder / "evaluation.json", scores)
    if matrices:
        write_json(folder / "confusion_matrix.json", {"labels": result["labels"], **matrices}, indent=None)
        plot_confusion_matrix(np.array(matrices["clips"]), result["labels"], folder / "confusion_matrix.png")
    curves = result["clips"].get("precision_recall")
    if curves is not None:
        write_json(folder / "precision_recall.json", curves, indent=None)
        plot_precision_recall(curves, folder / "precision_recall.png")


def write_json(path: str | os.PathLike, content: Any, indent: int | None = 2) -> None:
    """Write a JSON file, with `null` for NaN and infinity, which most readers of JSON refuse."""
    text = json.dumps(finite(content), indent=indent, ensure_ascii=False, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def finite(value: Any) -> Any:
    """The value with `None` for each number in it that is NaN or infinite."""
    if isinstance(value, Mapping):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
