# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Probes: how well a small model on frozen features recognises the classes of unseen recordings."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import datasets
import numpy as np

from ..data.labels import MULTI_LABEL, SINGLE_LABEL
from ..data.splits import folds_by_recording, recordings_of_classes
from .few_shot import FewShotPoint
from .measures import f1, mean_average_precision, single_label_measures
from .probe_kinds import C_GRID, FitProbe, fit_linear, strata_of
from .results import Evaluation
from .scores import evaluate_predictions
from .summary import MeanStd


@dataclass(frozen=True)
class ProbeFold:
    """
    The scores of a probe on one fold.

    Args:
        clips: number of clips that the fold holds out.
        recordings: number of recordings that the fold holds out.
        chosen: the settings that were chosen within the training part, such as `C` of a logistic regression.
        scores: on the clips that the fold holds out: `accuracy`, `f1_macro` and `f1_weighted`; for several labels a
            clip `map` and `f1_macro`.
        layer_weights: the share of each layer, where the probe learned it, from the input of the first layer on.
    """

    clips: int
    recordings: int
    chosen: dict[str, float]
    scores: dict[str, float]
    layer_weights: list[float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fold as a dict for JSON."""
        weights = {} if self.layer_weights is None else {"layer_weights": self.layer_weights}
        return {"clips": self.clips, "recordings": self.recordings, **self.chosen, **self.scores, **weights}


@dataclass(frozen=True)
class ProbeScores:
    """
    The scores of a probe.

    Args:
        folds: the scores of each fold.
        means: mean and standard deviation over the folds, of `accuracy` and `f1_macro`; for several labels a clip of
            `map` and `f1_macro`.
        unseen: the classes with a fold that tests them and has no recording of them to train on. All their clips in
            that fold count as wrong.
        held_out: the scores of the predictions of all folds together.
        few_shot: the scores with few recordings of each class.
    """

    folds: list[ProbeFold]
    means: dict[str, MeanStd]
    unseen: list[str]
    held_out: Evaluation
    few_shot: list[FewShotPoint] = field(default_factory=list)

    @property
    def accuracy(self) -> MeanStd:
        """Mean and standard deviation over the folds, for one label a clip."""
        return self.means["accuracy"]

    @property
    def f1_macro(self) -> MeanStd:
        """Mean and standard deviation over the folds."""
        return self.means["f1_macro"]

    @property
    def map(self) -> MeanStd:
        """Mean and standard deviation over the folds of the mean average precision, for several labels a clip."""
        return self.means["map"]

    def to_dict(self) -> dict[str, Any]:
        """The scores as a dict for JSON."""
        return {
            "folds": [fold.to_dict() for fold in self.folds],
            **{name: asdict(score) for name, score in self.means.items()},
            "unseen": self.unseen,
            "held_out": self.held_out.to_dict(),
            **({"few_shot": [asdict(point) for point in self.few_shot]} if self.few_shot else {}),
        }


class ProbeResult(NamedTuple):
    """
    The result of a probe.

    Args:
        scores: the scores on the clips that the folds hold out.
        probabilities: `(clips, classes)`, float64, by the probe that was not trained on the clip; NaN for clips
            that no fold holds out.
        folds: `(clips,)`, int64: the fold that holds out the clip; -1 for clips that no fold holds out.
    """

    scores: ProbeScores
    probabilities: np.ndarray
    folds: np.ndarray


@dataclass(frozen=True)
class ProbeReport:
    """
    A probe of a model, beside the same probe of untrained models.

    Args:
        model: the model's name or folder.
        model_type: the configuration's.
        dataset: name of the dataset.
        clips: number of clips.
        recordings: number of recordings.
        held_out: how the held-out clips were chosen, such as `5 folds by recording`.
        labels: the class names.
        kind: `linear`, `attentive` or `knn`.
        features: the kind of features; `frame` for an attentive probe.
        layer: the layer that they are from; `None` for the last one.
        feature_size: numbers in the features of a clip, or of a frame.
        frozen_parameters: number of parameters of the model.
        trained_parameters: number of parameters of the probe.
        probe: the scores of the model.
        untrained: by seed, the scores of the same architecture with random weights, on the same folds.
        baselines: the scores of baselines without a network, on the same held-out clips, by name; see
            `melody_baselines`.
        settings: further settings, for the record.
        versions: the versions that were used, by package.
    """

    model: str
    model_type: str
    dataset: str
    clips: int
    recordings: int
    held_out: str
    labels: list[str]
    kind: str
    features: str
    layer: int | str | None
    feature_size: int
    frozen_parameters: int
    trained_parameters: int
    probe: ProbeScores
    untrained: dict[int, ProbeScores] = field(default_factory=dict)
    baselines: dict[str, Evaluation] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def difference(self) -> dict[str, MeanStd]:
        """What `compare_probes` gives for the model and the untrained ones; empty without these."""
        return compare_probes(self.probe, list(self.untrained.values())) if self.untrained else {}

    def to_dict(self) -> dict[str, Any]:
        """The report as a dict for JSON: the layout of `probe.json`."""
        content = {
            "model": self.model,
            "model_type": self.model_type,
            "dataset": self.dataset,
            "clips": self.clips,
            "recordings": self.recordings,
            "held_out": self.held_out,
            "labels": self.labels,
            "kind": self.kind,
            "features": self.features,
            "layer": self.layer,
            "feature_size": self.feature_size,
            "parameters": {"frozen": self.frozen_parameters, "trained": self.trained_parameters},
            "probe": self.probe.to_dict(),
        }
        if self.untrained:
            content["untrained"] = [{"seed": seed, **scores.to_dict()} for seed, scores in self.untrained.items()]
            content["difference"] = {name: asdict(score) for name, score in self.difference.items()}
        if self.baselines:
            content["baselines"] = {name: scores.to_dict() for name, scores in self.baselines.items()}
        return {**content, "settings": self.settings, "versions": self.versions}


def linear_probe(
    features: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    groups: Sequence[str] | np.ndarray,
    *,
    id2label: Mapping[int, str],
    recordings: Sequence[str] | np.ndarray | None = None,
    is_test: Sequence[bool] | np.ndarray | None = None,
    num_folds: int = 5,
    seed: int = 0,
    C: Sequence[float] = C_GRID,
) -> ProbeResult:
    """
    Fit and test a logistic regression on standardised features, fold by fold.

    Nothing from the clips that a fold holds out enters its regression: the features are standardised with the mean and
    deviation of the training part, and C is the value with the best accuracy in inner folds of the training part,
    which keep the clips of a recording together as well.

    Args:
        features: `(clips, feature_size)`.
        labels: `(clips,)`, class indices; for several labels a clip `(clips, classes)`, 0 or 1.
        groups: `(clips,)`, what folds keep together: the recording, the concert or the artist of each clip.
        id2label: the name of each class.
        recordings: `(clips,)`, the recording of each clip, for the scores of recordings; by default `groups`.
        is_test: `(clips,)`, the clips to test on, for a dataset with a test split. There is one fold then.
        num_folds: number of folds without `is_test`.
        seed: seed of the division into folds.
        C: inverse regularisation strengths to choose from; of equally good ones the first is taken.

    Raises:
        ValueError: the shapes do not agree, a feature is NaN or infinite, or `make_folds` cannot divide the clips.
    """
    features = check_features(features, np.asarray(labels))
    folds = make_folds(labels, groups, is_test=is_test, num_folds=num_folds, seed=seed)
    fit = functools.partial(fit_linear, C=C)
    return run_probe(features, labels, groups, folds, fit, id2label=id2label, recordings=recordings, seed=seed)


def check_features(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The features `(clips, feature_size)` as float64. Raises `ValueError` as [`linear_probe`]."""
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) != len(labels):
        raise ValueError(
            f"Features must be (clips, feature_size) with a label for each clip, got {features.shape} features and "
            f"{labels.shape} labels."
        )
    if not np.isfinite(features).all():
        raise ValueError("Some features are NaN or infinite: the model is broken.")
    return features


def run_probe(
    features: Any,
    labels: Sequence[int] | np.ndarray,
    groups: Sequence[str] | np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    fit: FitProbe,
    *,
    id2label: Mapping[int, str],
    recordings: Sequence[str] | np.ndarray | None = None,
    seed: int = 0,
) -> ProbeResult:
    """
    Fit and test a probe, fold by fold. Nothing from the clips that a fold holds out enters its fit.

    Args:
        features: what the probe learns from; indexed with an array of clips, it gives the features of these.
        labels, groups, id2label, recordings, seed: as for [`linear_probe`].
        folds: the training and the test clips of each fold.
        fit: fits a probe to the training part.
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    recordings = groups if recordings is None else np.asarray(recordings)
    task = MULTI_LABEL if labels.ndim == 2 else SINGLE_LABEL
    probabilities = np.full((len(labels), len(id2label)), np.nan)
    fold_of_clip = np.full(len(labels), -1)
    scored: list[ProbeFold] = []
    for number, (train, test) in enumerate(datasets.utils.tqdm(folds, desc="Probing", unit="fold", disable=None)):
        fitted = fit(features[train], labels[train], groups[train], num_classes=len(id2label), seed=seed)
        probabilities[test] = fitted.predict(features[test])
        fold_of_clip[test] = number
        num_recordings = len(set(recordings[test].tolist()))
        scores = _measure(probabilities[test], labels[test])
        scored.append(ProbeFold(len(test), num_recordings, fitted.chosen, scores, fitted.layer_weights))

    held_out = fold_of_clip >= 0
    names = ("map", "f1_macro") if task == MULTI_LABEL else ("accuracy", "f1_macro")
    result = ProbeScores(
        folds=scored,
        means={name: MeanStd.of([fold.scores[name] for fold in scored]) for name in names},
        unseen=[id2label[label] for label in _unseen(labels, folds)],
        held_out=evaluate_predictions(
            _logits(probabilities[held_out], task), labels[held_out], recordings[held_out].tolist(), id2label, task
        ),
    )
    return ProbeResult(result, probabilities, fold_of_clip)


def _measure(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    if labels.ndim == 1:
        return single_label_measures(probabilities, labels)
    return {
        "map": float(mean_average_precision(probabilities, labels)["map"]),
        "f1_macro": f1(probabilities >= 0.5, labels.astype(bool), "macro"),
    }


def _logits(probabilities: np.ndarray, task: str) -> np.ndarray:
    least = np.finfo(np.float64).tiny
    logits = np.log(np.maximum(probabilities, least))
    return logits - np.log(np.maximum(1 - probabilities, least)) if task == MULTI_LABEL else logits


def _unseen(labels: np.ndarray, folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[int]:
    """The classes that a fold tests and that its training part lacks."""

    def classes(part: np.ndarray) -> set[int]:
        own = labels[part]
        return set((np.flatnonzero(own.any(axis=0)) if own.ndim == 2 else own).tolist())

    return sorted({label for train, test in folds for label in classes(test) - classes(train)})


def make_folds(
    labels: Sequence[int] | np.ndarray,
    groups: Sequence[str] | np.ndarray,
    *,
    is_test: Sequence[bool] | np.ndarray | None = None,
    num_folds: int = 5,
    seed: int = 0,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """
    Divide clips into training and test parts that share no recording, with each class spread as evenly as possible.

    Args:
        labels, groups, is_test, num_folds, seed: as for `linear_probe`. A clip with several labels counts as one of
            the rarest of them.

    Returns:
        For each fold, the indices of its training clips and of its test clips.

    Raises:
        ValueError: the lengths do not agree, a part has no clips, `is_test` puts a recording in both parts, no class
            has a recording for each fold, or a training part has fewer than two classes with two recordings, which
            are needed to choose C.
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    if (
        labels.ndim not in (1, 2)
        or labels.shape[:1] != groups.shape
        or (is_test is not None and len(is_test) != len(labels))
    ):
        raise ValueError(
            f"There must be a label and a recording for each clip, got {labels.shape} labels and {groups.shape} "
            "recordings."
        )
    if is_test is None:
        classes = [[label] for label in labels.tolist()]
        if labels.ndim == 2:
            classes = [np.flatnonzero(row).tolist() for row in labels]
        tests = folds_by_recording(classes, groups.tolist(), num_folds, seed)
        folds = [(np.setdiff1d(np.arange(len(labels)), test), test) for test in tests]
    else:
        is_test = np.asarray(is_test, dtype=bool)
        if is_test.all() or not is_test.any():
            raise ValueError("There must be clips to train on and clips to test on.")
        both = sorted(set(groups[is_test].tolist()) & set(groups[~is_test].tolist()))
        if both:
            raise ValueError(
                f"{len(both)} recordings are in both training and test, which would inflate the scores; one is "
                f"{both[0]}. Move each recording to one side. If different recordings have the same name, distinguish "
                "them in a column (`group_column`)."
            )
        folds = [(np.flatnonzero(~is_test), np.flatnonzero(is_test))]
    strata = strata_of(labels)
    for train, _ in folds:
        if sum(number > 1 for number in recordings_of_classes(strata[train], groups[train])) < 2:
            raise ValueError(
                "There are too few recordings: in each training part, two classes must have two recordings or more."
            )
    return folds


def compare_probes(scores: ProbeScores, others: Sequence[ProbeScores]) -> dict[str, MeanStd]:
    """
    Compare a probe with the mean of others on the same folds.

    Args:
        scores: the scores of the probe.
        others: the scores of the others.

    Returns:
        For each of the `means`, mean and standard deviation of the difference over the folds.
    """
    difference = {}
    for name in scores.means:
        own = np.array([fold.scores[name] for fold in scores.folds])
        theirs = np.array([[fold.scores[name] for fold in other.folds] for other in others])
        difference[name] = MeanStd.of(own - theirs.mean(axis=0))
    return difference
