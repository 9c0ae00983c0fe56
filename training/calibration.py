# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Calibrates a trained classifier: its scores become probabilities, and low ones mean "none of these"."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from transformers import PreTrainedModel, SequenceFeatureExtractor

from ..data.calibration import Calibration
from ..data.folders import whole_folder, write_json
from ..data.labels import SINGLE_LABEL, task_of
from ..data.loading import name_of
from ..evaluation.answers import score_logits
from ..evaluation.calibration import LARGEST_TEMPERATURE, choose_threshold, fit_temperature, mean_by_recording, softmax
from ..evaluation.classifier import label_names, logits_of_clips
from ..evaluation.evaluate import load_split
from ..evaluation.prepared import prepared
from ..evaluation.results import Evaluation
from ..hub.model_card import calibrated_card
from ..integration.quiet import no_bars_of_weights


# Clips of several windows are joined within the model, so that a temperature can leave a little to do
_MOST_ROUNDS = 5
_CLOSE_ENOUGH = 0.01
_COPIED = ("*.md", "*.png", "evaluation.json", "confusion_matrix.json")


@dataclass(frozen=True)
class CalibrationResult:
    """
    The result of [`calibrate`].

    Attributes:
        model: the calibrated classifier.
        calibration: the temperature and the threshold.
        before, after: the scores on the same clips before and after, with `calibration_error` and `reliability`.
        folder: the folder of the calibrated model, if one was named.
    """

    model: PreTrainedModel
    calibration: Calibration
    before: Evaluation
    after: Evaluation
    folder: Path | None = None


def calibrate(
    model: str | os.PathLike | PreTrainedModel,
    dataset: str | os.PathLike | Dataset | DatasetDict,
    *,
    output: str | os.PathLike | None = None,
    feature_extractor: SequenceFeatureExtractor | None = None,
    split: str = "validation",
    false_refusals: float = 0.05,
    audio_column: str = "audio",
    label_column: str | None = None,
    group_column: str | None = None,
    data_home: str | os.PathLike | None = None,
    batch_size: int = 8,
) -> CalibrationResult:
    """
    Calibrate a classifier with one label a clip: its scores become probabilities, and low ones mean "none of these".

    A temperature is fitted to the scores of recordings; see `fit_temperature`. The weights and the bias of the last
    layer are divided by it. So every client gives calibrated scores: `pipeline`, `predict`, exports and others. The
    most likely label of a window stays the same. Then the threshold is chosen: at most a share `false_refusals` of the
    recordings has a lower highest score. Both become `config.calibration`.

    Args:
        model: a folder, a Hub name or a classifier, which is changed.
        dataset: a Hub name, a folder or a dataset with an audio column and labels; see `load_clips`.
        output: folder for the calibrated model, its feature extractor, its card and `calibration.json`. A folder that
            holds anything must not be there yet.
        feature_extractor: the model's. Needed only if `model` is a classifier that was not loaded from a folder.
        split: the split to calibrate on. The model must not have been trained on it, and results on it flatter.
        false_refusals: from 0 to below 1.
        audio_column, label_column, group_column: the columns; see `load_clips`.
        data_home: the folder of a collection of mirdata.
        batch_size: number of clips or windows in one forward pass.

    Returns:
        The model, its calibration, and the scores before and after.

    Raises:
        ValueError: the model is not a trained classifier of at least two classes, is an adapter or an export, does not
            know the labels or has no last dense layer, the split does not exist, clips have several labels or events,
            or `output` holds something.
        OSError: `output` cannot be written.

    Example:

    ```python
    >>> from polyaudio import calibrate

    >>> result = calibrate("runs/ragas", "my-recordings/", output="runs/calibrated")  # doctest: +SKIP
    >>> result.before.recordings["calibration_error"], result.after.recordings["calibration_error"]  # doctest: +SKIP
    ```
    """
    if not 0 <= false_refusals < 1:
        raise ValueError(f"false_refusals must be at least 0 and below 1, got {false_refusals:g}.")
    if output is not None and Path(output).exists() and (Path(output).is_file() or any(Path(output).iterdir())):
        raise ValueError(f"{output} already exists and holds something. Name another folder.")
    clips = load_split(
        dataset,
        split,
        audio_column=audio_column,
        label_column=label_column,
        group_column=group_column,
        data_home=data_home,
    )
    if any(task_of(rows.features["label"]) != SINGLE_LABEL for rows in clips.values()):
        raise ValueError(f"{name_of(dataset)} has several labels or events. Only single labels can be calibrated.")
    with prepared(model, clips, feature_extractor, batch_size) as run:
        classifier: PreTrainedModel = run.trainer.model  # type: ignore[assignment]  # it is the one that was loaded
        layer = _last_layer(classifier)
        names, labels, recordings = label_names(classifier.config), run.clips["label"][:], run.clips["recording"][:]
        earlier = Calibration.from_config(classifier.config)
        logits = logits_of_clips(run.trainer, run.dataset)
        before = score_logits(logits, run.clips, names, earlier)
        temperature = 1.0
        for _ in range(_MOST_ROUNDS):
            found = fit_temperature(logits, np.array(labels), recordings)
            temperature *= found
            if temperature > 0.99 * LARGEST_TEMPERATURE:
                raise ValueError(
                    f"On the {split} split of {name_of(dataset)} the model is no better than chance. Such scores "
                    "cannot be calibrated. Name recordings of the kind that it was trained on."
                )
            _divide(layer, found)
            logits = logits_of_clips(run.trainer, run.dataset)
            if abs(np.log(found)) < _CLOSE_ENOUGH:
                break
        scores = mean_by_recording(softmax(logits.astype(np.float64)), np.array(labels), recordings)[0].max(axis=1)
        total = temperature * (1.0 if earlier is None else earlier.temperature)
        calibration = Calibration(total, choose_threshold(scores, false_refusals), false_refusals)
        classifier.config.calibration = calibration.to_dict()
        after = score_logits(logits, run.clips, names, calibration)
        folder = None if output is None else Path(output)
        result = CalibrationResult(classifier, calibration, before, after, folder)
        if folder is not None:
            source = model if isinstance(model, str | os.PathLike) else classifier.config.name_or_path
            _save(result, folder, run.feature_extractor, source, f"{name_of(dataset)}, split {split}")
    return result


def _last_layer(model: PreTrainedModel) -> torch.nn.Linear:
    """The dense layer that gives the logits. Raises `ValueError` if there is none, or no softmax follows."""
    config = model.config
    if model._hf_peft_config_loaded:
        raise ValueError(
            "The model is an adapter. Merge it into its base first, with "
            "polyaudio.training.lora.merge_adapter(ADAPTER, 'merged')."
        )
    if (config.num_labels or 0) < 2 or config.problem_type not in (None, SINGLE_LABEL):
        raise ValueError("Only classifiers with one label a clip, of two classes or more, can be calibrated.")
    layers = [one for one in model.modules() if isinstance(one, torch.nn.Linear)]
    if not layers or layers[-1].out_features != config.num_labels:
        raise ValueError(f"A model of type {config.model_type} does not end with a dense layer of its classes.")
    return layers[-1]


def _divide(layer: torch.nn.Linear, temperature: float) -> None:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.div_(temperature)


def _save(
    result: CalibrationResult,
    output: Path,
    feature_extractor: SequenceFeatureExtractor,
    source: str | os.PathLike | None,
    data: str,
) -> None:
    """Write the model with its card, and the plots and scores that the card shows, from the folder that it is from."""
    copied = [path for pattern in _COPIED for path in Path(source).glob(pattern)] if source else []
    report = {
        "data": data,
        **result.calibration.to_dict(),
        "before": result.before.to_dict(),
        "after": result.after.to_dict(),
    }
    with whole_folder(output) as folder, no_bars_of_weights():
        for path in copied:
            (folder / path.name).write_bytes(path.read_bytes())
        result.model.save_pretrained(folder)
        feature_extractor.save_pretrained(folder)
        card = folder / "README.md"
        if card.is_file():
            text = calibrated_card(
                card.read_text(encoding="utf-8"), result.calibration, result.before, result.after, data
            )
            card.write_text(text, encoding="utf-8")
        write_json(folder / "calibration.json", report)
