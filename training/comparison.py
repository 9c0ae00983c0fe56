# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Compares ways to train a classifier on a dataset: on the same folds, within a limit of time."""

import logging
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets
from huggingface_hub import try_to_load_from_cache

from ..data.labels import FRAMES, MULTI_LABEL, class_names, classes_of_clips, task_of
from ..data.loading import name_of
from ..evaluation.bars import no_bars
from ..evaluation.classifier import DEFAULT_METRICS, logits_of_clips
from ..evaluation.intervals import accuracy_difference, map_difference
from ..evaluation.log_mel_statistics import log_mel_statistics
from ..evaluation.prepared import prepared
from ..evaluation.probe_kinds import fit_linear
from ..evaluation.results import Evaluation
from ..evaluation.scores import evaluate_predictions
from ..inference.progress import progress_bar
from ..modeling.loading import load_config
from ..modeling.traits import traits_of
from .arguments import DataArguments
from .divisions import Division, load_divisions
from .fine_tuning import cross_validate, fine_tune
from .recipes import FineTuningSettings, read_recipe


logger = logging.getLogger(__name__)

# The published model that is compared if it was downloaded before
_PUBLISHED = "ta012/SSLAM_pretrain"

_TRIAL_STEPS = 3
# A model that gets fewer epochs says little about its kind
_FEWEST_EPOCHS = 5


@dataclass(frozen=True)
class ComparedWay:
    """
    A way to train, and how well it did.

    Args:
        name: what is trained.
        flags: those of `polyaudio train` that train it on the whole dataset; `None` for the baseline.
        epochs: how many it was trained for; `None` for the baseline.
        seconds: the time of all folds.
        evaluation: the scores of all clips, each by the model that was not trained on it.
        lead: the best score minus this one.
        lead_interval: the 95 % interval of that difference, by a bootstrap over recordings.
    """

    name: str
    flags: list[str] | None
    epochs: int | None
    seconds: float
    evaluation: Evaluation
    lead: float
    lead_interval: list[float]


@dataclass(frozen=True)
class Comparison:
    """
    Ways to train a classifier on one dataset.

    Args:
        dataset: name of the dataset.
        metric: the score that they are compared by.
        folds: number of folds.
        clips, recordings: how many there are.
        ways: the best first.
        left_out: why other ways were left out, by their names.
    """

    dataset: str
    metric: str
    folds: int
    clips: int
    recordings: int
    ways: list[ComparedWay]
    left_out: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The comparison as a dict for JSON."""
        ways = [{**vars(way), "evaluation": way.evaluation.to_dict()} for way in self.ways]
        return {**vars(self), "ways": ways}


def compare(
    dataset: str | os.PathLike | Dataset | DatasetDict,
    models: Sequence[str | os.PathLike] | None = None,
    *,
    minutes: float = 20.0,
    data: DataArguments | None = None,
    seed: int = 42,
) -> Comparison:
    """
    Find out which way to train gives the best classifier for a dataset: on the same folds, within a limit of time.

    Compared are a logistic regression on log-mel statistics as the baseline, a new SAMAudio and a new SSLAM. For each
    of the `models`, four ways more: its frozen encoder with a new head, a LoRA adapter, all of its weights, and a new
    SAMAudio over its frozen encoder. Each way gets an equal share of the time that is left, and as many epochs as fit
    into it, at most those of its recipe. A way for which 5 epochs do not fit is left out.

    Args:
        dataset: a Hub name, a folder, `"ragas"`, or a dataset with labels of clips; see `load_clips`.
        models: folders or Hub names of models to start from. By default the published SSLAM, if it was downloaded
            before.
        minutes: limit of time. It is checked by estimates, so a run can take somewhat longer.
        data: columns, and how the folds are made; by default 3 folds by recording. Crops are those of the recipes.
        seed: seed of the trainings.

    Returns:
        The ways, the best first, each with its scores and the lead of the best one.

    Raises:
        ValueError: the dataset cannot be divided into folds, folds share audio, or clips have events.

    Example:

    ```python
    >>> from polyaudio import compare

    >>> comparison = compare("my-recordings/", minutes=10)  # doctest: +SKIP
    >>> best = comparison.ways[0]  # doctest: +SKIP
    >>> best.name, best.evaluation.clips["accuracy"], best.flags  # doctest: +SKIP
    ```
    """
    data = data or DataArguments()
    if data.folds is None and data.fold_column is None:
        data = replace(data, folds=3)
    if models is None:
        models = [_PUBLISHED] if isinstance(try_to_load_from_cache(_PUBLISHED, "config.json"), str) else []
    end = time.monotonic() + 60 * minutes
    folds = _Folds.of(load_divisions(dataset, data))
    contenders = list(_contenders([os.fspath(model) for model in models]))
    results, left_out = [_baseline(folds)], {}
    with no_bars(), progress_bar(len(contenders), "Comparing", unit="way") as bar:
        for number, contender in enumerate(contenders):
            share = (end - time.monotonic()) / (len(contenders) - number)
            with tempfile.TemporaryDirectory(prefix="polyaudio-compare-") as scratch:
                try:
                    results.append(_train(contender, folds, share, seed, Path(scratch)))
                except _DoesNotFit as reason:
                    left_out[contender.name] = str(reason)
            bar.update()
    return Comparison(
        dataset=name_of(dataset),
        metric=DEFAULT_METRICS[folds.task],
        folds=len(folds.divisions),
        clips=len(folds.clips),
        recordings=len(set(folds.recordings)),
        ways=_rank(results, folds),
        left_out=left_out,
    )


class _DoesNotFit(Exception):
    """A way to train that does not fit into its time, or does not go with a model or with the dataset."""


@dataclass(frozen=True)
class _Contender:
    """A way to train: the changes of a recipe, and the same as flags of `polyaudio train`."""

    name: str
    recipe: str
    changes: dict[str, Any]
    flags: list[str]

    def settings(self, **changes: Any) -> FineTuningSettings:
        """Nothing is chosen during the training, and only the model at its end is kept."""
        own: dict[str, Any] = dict.fromkeys(("eval_strategy", "save_strategy", "logging_strategy"), "no")
        own |= {"report_to": "none", "load_best_model_at_end": False}
        return read_recipe(self.recipe).fine_tuning(**{**self.changes, **own, **changes})


def _contenders(models: Sequence[str]) -> Iterator[_Contender]:
    yield _Contender("new SAMAudio", "default", {}, [])
    yield _Contender("new SSLAM", "sslam_small", {}, ["--config", "sslam_small"])
    for model in models:
        recipe = traits_of(load_config(model)).recipe
        start, flags = {"model_name_or_path": model}, ["--config", recipe, "--model-name-or-path", model]
        # Without crops the features are computed once, so that many epochs take no time
        frozen = {"freeze_encoder": True, "crop_seconds": 0, "num_train_epochs": 100, "learning_rate": 1e-2}
        frozen_flags = ["--freeze-encoder", "--crop-seconds", "0", "--epochs", "100", "--lr", "1e-2"]
        yield _Contender(f"{model}, frozen", recipe, {**start, **frozen}, [*flags, *frozen_flags])
        yield _Contender(f"{model}, LoRA", recipe, {**start, "lora": True}, [*flags, "--lora"])
        yield _Contender(f"{model}, all weights", recipe, start, flags)
        over = {"encoder": model, "freeze_encoder": True}
        yield _Contender(f"new SAMAudio over {model}", "default", over, ["--encoder", model, "--freeze-encoder"])


@dataclass(frozen=True)
class _Folds:
    """The divisions, and all clips in the order in which they are held out."""

    divisions: Sequence[Division]
    clips: Dataset
    names: list[str]
    task: str
    labels: np.ndarray
    recordings: list[str]

    @classmethod
    def of(cls, divisions: Sequence[Division]) -> "_Folds":
        parts = [division.splits["test"] for division in divisions]
        label = parts[0].features["label"]
        task, names = task_of(label), class_names(label)
        if task == FRAMES:
            raise ValueError("The clips have events. Ways to train are compared for labels of whole clips.")
        numbers = [str(number) for number, part in enumerate(parts) for _ in range(len(part))]
        clips = concatenate_datasets(parts).remove_columns("fold" if "fold" in parts[0].column_names else [])
        clips = clips.add_column("fold", numbers)
        labels = np.zeros((len(clips), len(names)), int)
        for row, classes in zip(labels, classes_of_clips(clips), strict=True):
            row[classes] = 1
        if task != MULTI_LABEL:
            labels = labels.argmax(axis=1)
        return cls(divisions, clips, names, task, labels, clips["recording"][:])

    def parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The rows of `clips` to train on and to test on, fold by fold."""
        rows, first = np.arange(len(self.clips)), 0
        for division in self.divisions:
            test = rows[first : first + len(division.splits["test"])]
            first += len(test)
            yield np.setdiff1d(rows, test), test

    def evaluate(self, logits: np.ndarray) -> Evaluation:
        return evaluate_predictions(logits, self.labels, self.recordings, dict(enumerate(self.names)), self.task)

    def difference(self, best: np.ndarray, logits: np.ndarray) -> list[float]:
        """The interval of the score of the best logits minus that of others."""
        if self.task == MULTI_LABEL:
            return map_difference(self.labels, best, logits, self.recordings)
        return accuracy_difference(self.labels, best.argmax(axis=1), logits.argmax(axis=1), self.recordings)


@dataclass(frozen=True)
class _Result:
    """The logits `(clips, classes)` that a way to train gives the clips of all folds."""

    name: str
    flags: list[str] | None
    epochs: int | None
    seconds: float
    logits: np.ndarray


def _baseline(folds: _Folds) -> _Result:
    start = time.monotonic()
    features = log_mel_statistics(folds.clips)
    probabilities = np.zeros((len(folds.clips), len(folds.names)))
    groups = np.array(folds.recordings)
    for train, test in folds.parts():
        fitted = fit_linear(features[train], folds.labels[train], groups[train], num_classes=len(folds.names), seed=0)
        probabilities[test] = fitted.predict(features[test])
    probabilities = probabilities.clip(1e-12, 1 - 1e-12)
    logits = np.log(probabilities)
    if folds.task == MULTI_LABEL:
        logits -= np.log1p(-probabilities)
    return _Result("log-mel statistics", None, None, time.monotonic() - start, logits)


def _train(contender: _Contender, folds: _Folds, share: float, seed: int, scratch: Path) -> _Result:
    """Train on each division for as many epochs as fit into `share` seconds, and score what is held out."""
    start = time.monotonic()
    try:
        epochs = _epochs_that_fit(contender, folds, share, scratch / "trial")
        settings = contender.settings(output_dir=str(scratch / "runs"), num_train_epochs=epochs, seed=seed)
        whole = DatasetDict(train=folds.clips)
        cross_validate(whole, **{**vars(settings), "data": _columns(settings.data, fold_column="fold")})
    except ValueError as error:  # for instance, a SAMAudio over a SAMAudio does not exist
        raise _DoesNotFit(str(error)) from error
    logits = np.zeros((len(folds.clips), len(folds.names)), np.float32)
    for number, (_, test) in enumerate(folds.parts()):
        clips = DatasetDict(test=folds.clips.select(test))
        with prepared(scratch / "runs" / f"fold-{number}", clips, None, batch_size=8) as run:
            logits[test] = logits_of_clips(run.trainer, run.dataset, multi_label=folds.task == MULTI_LABEL)
    seconds = time.monotonic() - start
    logger.info(f"{contender.name}: {epochs} epochs in {len(folds.divisions)} folds took {seconds:.0f} s")
    return _Result(contender.name, contender.flags, epochs, seconds, logits)


def _epochs_that_fit(contender: _Contender, folds: _Folds, share: float, folder: Path) -> int:
    """
    The number of epochs in each fold, from the time of a few steps.

    Raises:
        _DoesNotFit: there is time for too few.
    """
    start = time.monotonic()
    settings = contender.settings(output_dir=str(folder), max_steps=_TRIAL_STEPS, dataloader_num_workers=0)
    splits = folds.divisions[0].splits
    result = fine_tune(DatasetDict(splits), **{**vars(settings), "data": _columns(settings.data)})
    total = time.monotonic() - start
    in_steps = result.history[-1]["train_runtime"]
    wanted = contender.settings().args.num_train_epochs
    batches = math.ceil(len(splits["train"]) / settings.args.per_device_train_batch_size)
    epoch = in_steps / _TRIAL_STEPS * batches
    left = (share - total) / len(folds.divisions) - (total - in_steps)
    epochs = min(int(wanted), int(left / epoch))
    if epochs < min(wanted, _FEWEST_EPOCHS):
        needed = (wanted * epoch + total - in_steps) * len(folds.divisions) / 60
        raise _DoesNotFit(
            f"all its {wanted:.0f} epochs would take about {needed:.0f} minutes; there were {share / 60:.1f}."
        )
    return epochs


def _columns(data: DataArguments, **changes: Any) -> DataArguments:
    """The crops of a recipe, and the columns of loaded clips, which were searched for leaks before."""
    return replace(data, label_column="label", group_column="recording", skip_leak_check=True, **changes)


def _rank(results: list[_Result], folds: _Folds) -> list[ComparedWay]:
    metric = DEFAULT_METRICS[folds.task]
    evaluations = [folds.evaluate(result.logits) for result in results]
    scores = [float(evaluation.clips[metric] or 0) for evaluation in evaluations]
    order = np.argsort(-np.array(scores), kind="stable")
    best = results[order[0]]
    return [
        ComparedWay(
            name=results[place].name,
            flags=results[place].flags,
            epochs=results[place].epochs,
            seconds=results[place].seconds,
            evaluation=evaluations[place],
            lead=scores[order[0]] - scores[place],
            lead_interval=folds.difference(best.logits, results[place].logits),
        )
        for place in order
    ]
