# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The files of an evaluation: scores as JSON, and plots."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..data.folders import write_json
from .plots import plot_confusion_matrix, plot_precision_recall
from .results import Evaluation


def write_evaluation(evaluation: Evaluation, folder: str | os.PathLike) -> None:
    """
    Write an evaluation to a folder, which is created if it does not exist.

    `evaluation.json` has all scores except for those of the plots, which have their own files. For single labels,
    these are `confusion_matrix.json` (the labels, and the confusion matrices of clips and of recordings) and
    `confusion_matrix.png` (the matrix of clips). For several labels, they are `precision_recall.json` and
    `precision_recall.png`. NaN and infinity become `null`. `evaluation.json` is written last, so where it is, the
    others are.

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
    matrix, curves = evaluation.clips.confusion_matrix, evaluation.clips.precision_recall
    if matrix is not None:
        matrices = {part: scores.confusion_matrix for part, scores in evaluation.parts.items()}
        write_json(folder / "confusion_matrix.json", {"labels": evaluation.labels, **matrices}, indent=None)
        plot_confusion_matrix(np.array(matrix), evaluation.labels, folder / "confusion_matrix.png")
    if curves is not None:
        write_json(folder / "precision_recall.json", asdict(curves), indent=None)
        plot_precision_recall(curves, folder / "precision_recall.png")
    write_json(folder / "evaluation.json", content)


def read_evaluation(folder: str | os.PathLike) -> Evaluation:
    """Read the evaluation that [`write_evaluation`] wrote to a folder, without the data of the plots."""
    return Evaluation.from_dict(json.loads(Path(folder, "evaluation.json").read_text(encoding="utf-8")))
