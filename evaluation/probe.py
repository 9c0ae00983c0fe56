# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Linear probe: how well a logistic regression on frozen features recognises the classes of unseen recordings."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import datasets
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from ..data.splits import folds_by_recording, recordings_of_classes, stratified_splits
from .measures import single_label_measures
from .results import Evaluation
from .scores import evaluate_predictions
from .summary import MeanStd


# Inverse regularisation strengths to choose from
C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)

# Number of folds of a training part with which C is chosen
_INNER_FOLDS = 3

_MAX_ITERATIONS = 2000


@dataclass(frozen=True)
class ProbeFold:
    """
    The scores of a probe on one fold.

    Args:
        clips: number of clips that the fold holds out.
        recordings: number of recordings that the fold holds out.
        C: the inverse regularisation strength that was chosen.
        accuracy, f1_macro, f1_weighted: the scores on the clips that the fold holds out.
    """

    clips: int
    recordings: int
    C: float
    accuracy: float
    f1_macro: float
    f1_weighted: float


@dataclass(frozen=True)
class ProbeScores:
    """
    The scores of a linear probe.

    Args:
        folds: the scores of each fold.
        accuracy, f1_macro: mean and standard deviation over the folds.
        unseen: the classes with a fold that tests them and has no recording of them to train on. All their clips in
            that fold count as wrong.
        held_out: the scores of the predictions of all folds together.
    """

    folds: list[ProbeFold]
    accuracy: MeanStd
    f1_macro: MeanStd
    unseen: list[str]
    held_out: Evaluation

    def to_dict(self) -> dict[str, Any]:
        """The scores as a dict for JSON."""
        return {
            "folds": [asdict(fold) for fold in self.folds],
            "accuracy": asdict(self.accuracy),
            "f1_macro": asdict(self.f1_macro),
            "unseen": self.unseen,
            "held_out": self.held_out.to_dict(),
        }


class ProbeResult(NamedTuple):
    """
    The result of a linear probe.

    Args:
        scores: the scores on the clips that the folds hold out.
        probabilities: `(clips, classes)`, float64, by the regression that was not trained on the clip; NaN for clips
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
        features: the kind of features.
        feature_size: numbers in the features of a clip.
        frozen_parameters: number of parameters of the model.
        trained_parameters: number of parameters of the regression.
        probe: the scores of the model.
        untrained: by seed, the scores of the same architecture with random weights, on the same folds.
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
    features: str
    feature_size: int
    frozen_parameters: int
    trained_parameters: int
    probe: ProbeScores
    untrained: dict[int, ProbeScores] = field(default_factory=dict)
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
            "features": self.features,
            "feature_size": self.feature_size,
            "parameters": {"frozen": self.frozen_parameters, "trained": self.trained_parameters},
            "probe": self.probe.to_dict(),
        }
        if self.untrained:
            content["untrained"] = [{"seed": seed, **scores.to_dict()} for seed, scores in self.untrained.items()]
            content["difference"] = {name: asdict(score) for name, score in self.difference.items()}
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
    Fit and test a multinomial logistic regression on standardised features, fold by fold.

    Nothing from the clips that a fold holds out enters its regression: the features are standardised with the mean and
    deviation of the training part, and C is the value with the best accuracy in inner folds of the training part,
    which keep the clips of a recording together as well.

    Args:
        features: `(clips, feature_size)`.
        labels: `(clips,)`, class indices.
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
    features = np.asarray(features, dtype=np.float64)
    labels, groups = np.asarray(labels), np.asarray(groups)
    recordings = groups if recordings is None else np.asarray(recordings)
    if features.ndim != 2 or len(features) != len(labels):
        raise ValueError(
            f"Features must be (clips, feature_size) with a label for each clip, got {features.shape} features and "
            f"{labels.shape} labels."
        )
    if not np.isfinite(features).all():
        raise ValueError("Some features are NaN or infinite: the model is broken.")
    folds = make_folds(labels, groups, is_test=is_test, num_folds=num_folds, seed=seed)

    probabilities = np.full((len(labels), len(id2label)), np.nan)
    fold_of_clip = np.full(len(labels), -1)
    scores: list[ProbeFold] = []
    for number, (train, test) in enumerate(datasets.utils.tqdm(folds, desc="Probing", unit="fold", disable=None)):
        search = _fit(features[train], labels[train], groups[train], C, seed)
        probabilities[test] = 0.0  # remains 0 for classes that this training part lacks
        probabilities[np.ix_(test, search.classes_)] = search.predict_proba(features[test])
        fold_of_clip[test] = number
        scores.append(
            ProbeFold(
                clips=len(test),
                recordings=len(set(recordings[test].tolist())),
                C=search.best_params_["logisticregression__C"],
                **single_label_measures(probabilities[test], labels[test]),
            )
        )

    held_out = fold_of_clip >= 0
    logits = np.log(np.maximum(probabilities[held_out], np.finfo(np.float64).tiny))
    unseen = {label for train, test in folds for label in np.setdiff1d(labels[test], labels[train]).tolist()}
    result = ProbeScores(
        folds=scores,
        accuracy=MeanStd.of([fold.accuracy for fold in scores]),
        f1_macro=MeanStd.of([fold.f1_macro for fold in scores]),
        unseen=[id2label[label] for label in sorted(unseen)],
        held_out=evaluate_predictions(logits, labels[held_out], recordings[held_out].tolist(), id2label),
    )
    return ProbeResult(result, probabilities, fold_of_clip)


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
        labels, groups, is_test, num_folds, seed: as for `linear_probe`.

    Returns:
        For each fold, the indices of its training clips and of its test clips.

    Raises:
        ValueError: the lengths do not agree, a part has no clips, `is_test` puts a recording in both parts, no class
            has a recording for each fold, or a training part has fewer than two classes with two recordings, which
            are needed to choose C.
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    if labels.ndim != 1 or labels.shape != groups.shape or (is_test is not None and len(is_test) != len(labels)):
        raise ValueError(
            f"There must be a label and a recording for each clip, got {labels.shape} labels and {groups.shape} "
            "recordings."
        )
    if is_test is None:
        tests = folds_by_recording(labels[:, None].tolist(), groups.tolist(), num_folds, seed)
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
    for train, _ in folds:
        if sum(number > 1 for number in recordings_of_classes(labels[train], groups[train])) < 2:
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
        For `accuracy` and `f1_macro`, mean and standard deviation of the difference over the folds.
    """
    difference = {}
    for name in ("accuracy", "f1_macro"):
        own = np.array([getattr(fold, name) for fold in scores.folds])
        theirs = np.array([[getattr(fold, name) for fold in other.folds] for other in others])
        difference[name] = MeanStd.of(own - theirs.mean(axis=0))
    return difference


def _fit(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, C: Sequence[float], seed: int) -> GridSearchCV:
    num_folds = min(_INNER_FOLDS, max(recordings_of_classes(labels, groups)))
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=_MAX_ITERATIONS)),
        {"logisticregression__C": list(C)},
        cv=stratified_splits(labels, groups, num_folds, seed),
        error_score="raise",
    )
    # With products this small, threads mostly wait for each other: ten times as long on a busy machine
    with threadpool_limits(1):
        return search.fit(features, labels)
