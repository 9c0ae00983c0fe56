# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The files of an evaluation: scores as JSON, and plots."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .plots import plot_confusion_matrix, plot_precision_recall
from .results import Evaluation, finite


def write_evaluation(evaluation: Evaluation, folder: str | os.PathLike) -> None:
    """
    Write an evaluation to a folder, which is made if it does not exist.

    `evaluation.json` holds all scores but those for plots, which have files of their own: `confusion_matrix.json` (the
    labels, and the confusion matrices of clips and of recordings) and `confusion_matrix.png` (the matrix of clips) for
    single labels, `precision_recall.json` and `precision_recall.png` for several labels. NaN and infinity become
    `null`.

    Args:
        evaluation: the result of `evaluate_predictions`, `score_events` or `evaluate_clips`.
        folder: where to write.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content = evaluation.to_dict()
    for part in evaluation.parts:
        for name in ("confusion_matrix", "precision_recall"):
            content[part].pop(name, None)
    write_json(folder / "evaluation.json", content)
    matrix, curves = evaluation.clips.confusion_matrix, evaluation.clips.precision_recall
    if matrix is not None:
        matrices = {part: scores.confusion_matrix for part, scores in evaluation.parts.items()}
        write_json(folder / "confusion_matrix.json", {"labels": evaluation.labels, **matrices}, indent=None)
        plot_confusion_matrix(np.array(matrix), evaluation.labels, folder / "confusion_matrix.png")
    if curves is not None:
        write_json(folder / "precision_recall.json", asdict(curves), indent=None)
        plot_precision_recall(curves, folder / "precision_recall.png")


def read_evaluation(folder: str | os.PathLike) -> Evaluation:
    """The evaluation that [`write_evaluation`] wrote to a folder, without what only the plots need."""
    return Evaluation.from_dict(json.loads(Path(folder, "evaluation.json").read_text(encoding="utf-8")))


def write_json(path: str | os.PathLike, content: Any, indent: int | None = 2) -> None:
    """Write a JSON file, with `null` for NaN and infinity, which most readers of JSON refuse."""
    text = json.dumps(finite(content), indent=indent, ensure_ascii=False, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")
