# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Measures a trained classifier on a dataset."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset, DatasetDict

from ..data.loading import load_clips, name_of
from ..inference.exported import find_export, refuse_options
from ..inference.precision import Precision, check_precision
from .results import Evaluation
from .writing import write_evaluation


if TYPE_CHECKING:
    from transformers import PreTrainedModel, SequenceFeatureExtractor


def evaluate(
    model: "str | os.PathLike | PreTrainedModel",
    dataset: str | os.PathLike | Dataset | DatasetDict,
    *,
    feature_extractor: "SequenceFeatureExtractor | None" = None,
    split: str | None = None,
    audio_column: str = "audio",
    label_column: str | None = None,
    label_columns: list[str] | None = None,
    label_separator: str | None = None,
    group_column: str | None = None,
    data_home: str | os.PathLike | None = None,
    given: str | None = None,
    unknown: str | os.PathLike | Dataset | DatasetDict | None = None,
    batch_size: int = 8,
    precision: Precision = "auto",
    output: str | os.PathLike | None = None,
) -> Evaluation:
    """
    Measure a classifier on whole clips and, if each clip has one label, on recordings.

    Args:
        model: a folder, a Hub name or a classifier. A folder that `polyaudio export` wrote is run by onnxruntime,
            without torch.
        dataset: a Hub name, a folder, `"ragas"`, or a dataset with an audio column and labels; see `load_clips`.
        feature_extractor: the model's. Needed only if `model` is a classifier that was not loaded from a folder.
        split: the split to measure on; by default `test`, or the only split.
        audio_column, label_column, label_columns, label_separator, group_column: the columns; see `load_clips`.
        data_home: the folder of a collection of mirdata.
        given: what the dataset gives, `"tonic"`, `"pitch"` or `"pitch-only"`; see `load_clips`.
        unknown: as `dataset`, clips that belong to none of the classes of the model. Rows whose label it knows are
            left out. The scores of a calibrated model then have `refused`: the share of them that it answers with
            "none of these".
        batch_size: number of clips or windows in one forward pass.
        precision: `"bfloat16"` computes in it where it is precise enough, by autocast. `"auto"` is `"float32"` here,
            so that the scores of a model do not depend on the machine.
        output: folder for `evaluation.json` and plots.

    Returns:
        The scores, with 95 % intervals and tables by class.

    Raises:
        ValueError: the model is not a trained classifier or does not know the labels, or the split does not exist.
            Or, with `unknown`: the model is not calibrated, or knows all its labels.

    Example:

    ```python
    >>> from polyaudio import evaluate

    >>> evaluation = evaluate("runs/ragas", "ragas", split="test")  # doctest: +SKIP
    >>> evaluation.clips["accuracy"]  # doctest: +SKIP
    ```
    """
    check_precision(precision)
    columns: dict[str, Any] = {
        "audio_column": audio_column,
        "label_column": label_column,
        "label_columns": label_columns,
        "label_separator": label_separator,
        "group_column": group_column,
        "data_home": data_home,
        "given": given,
    }
    clips = load_split(dataset, split, **columns)
    others = None if unknown is None else load_split(unknown, split, **columns)
    folder = None if output is None else Path(output)
    export = find_export(model)
    if export is None:
        evaluation = _evaluate_in_torch(model, clips, feature_extractor, batch_size, precision, folder)
    else:
        from .exported import evaluate_export

        fixed = None if precision == "auto" else precision
        refuse_options(export, None, feature_extractor=feature_extractor, given=given, precision=fixed)
        evaluation = evaluate_export(export, clips, batch_size=batch_size, folder=folder)
    if others is not None:
        from .refusals import with_refusals

        evaluation = with_refusals(evaluation, model, export, others, feature_extractor, batch_size, precision)
    if folder is not None:
        write_evaluation(evaluation, folder)
    return evaluation


def _evaluate_in_torch(
    model: "str | os.PathLike | PreTrainedModel",
    clips: DatasetDict,
    feature_extractor: "SequenceFeatureExtractor | None",
    batch_size: int,
    precision: Precision,
    folder: Path | None,
) -> Evaluation:
    from .classifier import evaluate_clips
    from .prepared import prepared

    with prepared(model, clips, feature_extractor, batch_size, precision) as run:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        return evaluate_clips(**vars(run), folder=folder)


def load_split(dataset: str | os.PathLike | Dataset | DatasetDict, split: str | None, **columns: Any) -> DatasetDict:
    """
    The clips of one split, under its name.

    Args:
        dataset, columns: see `load_clips`.
        split: by default `test`, or the only split.

    Raises:
        ValueError: the split does not exist.
    """
    clips = load_clips(dataset, **columns)
    chosen = split or ("test" if "test" in clips else next(iter(clips)))
    if chosen not in clips or (split is None and chosen != "test" and len(clips) > 1):
        raise ValueError(f"{name_of(dataset)} has the splits {', '.join(clips)}; name the split to measure on")
    return DatasetDict({chosen: clips[chosen]})
