# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Probes on one vector a clip: logistic regression and nearest neighbours."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from ..data.splits import recordings_of_classes, stratified_splits
from .measures import mean_average_precision


# Inverse regularisation strengths to choose from
C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)

# Numbers of neighbours to choose from
K_GRID = (1, 3, 5, 10, 20, 50)

# Number of folds of a training part with which settings are chosen
_INNER_FOLDS = 3

_MAX_ITERATIONS = 2000


class FittedProbe(NamedTuple):
    """
    A probe that has learned from the training part of a fold.

    Args:
        predict: takes features of clips, and returns the probabilities `(clips, classes)`.
        chosen: the settings that were chosen within the training part.
        layer_weights: the share of each layer, where the probe learned it.
    """

    predict: Callable[[Any], np.ndarray]
    chosen: dict[str, float]
    layer_weights: list[float] | None = None


class FitProbe(Protocol):
    """Learns from features, labels `(clips,)` or `(clips, classes)`, and the recordings of the clips."""

    def __call__(
        self, features: Any, labels: np.ndarray, groups: np.ndarray, *, num_classes: int, seed: int
    ) -> FittedProbe: ...


def fit_linear(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    num_classes: int,
    seed: int,
    C: Sequence[float] = C_GRID,
) -> FittedProbe:
    """
    A logistic regression on standardised features: multinomial for single labels, one for each class for several.

    Args:
        C: inverse regularisation strengths; of several, the one with the best accuracy in inner folds of the
            recordings is chosen, or with the lowest cross entropy for several labels a clip.
    """
    regression: Any = LogisticRegression(max_iter=_MAX_ITERATIONS)
    name = "logisticregression__C"
    if labels.ndim == 2:
        regression, name = OneVsRestClassifier(regression), "onevsrestclassifier__estimator__C"
    pipeline = make_pipeline(StandardScaler(), regression)
    score = _accuracy_score if labels.ndim == 1 else _likelihood_score
    fitted, chosen = _choose(pipeline, name, C, score, features, labels, labels, groups, seed)

    def predict(features: np.ndarray) -> np.ndarray:
        if labels.ndim == 2:
            return fitted.predict_proba(features)
        probabilities = np.zeros((len(features), num_classes))  # remain 0 for classes that this training part lacks
        probabilities[:, fitted.classes_] = fitted.predict_proba(features)
        return probabilities

    return FittedProbe(predict, {"C": chosen})


def fit_knn(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    num_classes: int,
    seed: int,
    k: Sequence[int] = K_GRID,
) -> FittedProbe:
    """
    The nearest neighbours on standardised features, by the cosine, weighted by the inverse of their distance.

    Args:
        k: numbers of neighbours; of several, the one with the best accuracy or mean average precision in inner folds
            of the recordings is chosen.
    """
    targets = labels if labels.ndim == 2 else np.eye(num_classes)[labels]
    neighbours = make_pipeline(StandardScaler(), KNeighborsRegressor(metric="cosine", weights="distance"))
    name = "kneighborsregressor__n_neighbors"
    # An inner training part has at least half of the clips of each recording but one
    fitting = [one for one in k if one == min(k) or one <= len(labels) // 2]
    score = _accuracy_score if labels.ndim == 1 else _map_score
    fitted, chosen = _choose(neighbours, name, fitting, score, features, targets, labels, groups, seed)
    return FittedProbe(fitted.predict, {"k": chosen})


def strata_of(labels: np.ndarray) -> np.ndarray:
    """For each clip, its label; of several the rarest one, and -1 without any."""
    if labels.ndim == 1:
        return labels
    sizes = np.where(labels > 0, labels.sum(axis=0), np.inf)
    return np.where(labels.any(axis=1), sizes.argmin(axis=1), -1)


def inner_splits(labels: np.ndarray, groups: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and validation clips within a training part, which share no recording."""
    strata = strata_of(labels)
    num_folds = min(_INNER_FOLDS, max(recordings_of_classes(strata, groups)))
    return stratified_splits(strata, groups, num_folds, seed)


def _choose(
    pipeline: Any,
    name: str,
    values: Sequence[float],
    score: Callable[[Any, np.ndarray, np.ndarray], float],
    features: np.ndarray,
    targets: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    seed: int,
) -> tuple[Any, float]:
    """Fit a pipeline with the value of this setting that does best in inner folds; of equally good ones the first."""
    # With products this small, threads mostly wait for each other: ten times as long on a busy machine
    with threadpool_limits(1), warnings.catch_warnings():
        # scikit-learn warns for each class that a training part lacks
        warnings.filterwarnings("ignore", "Label .* is present in all training examples", UserWarning)
        if len(values) == 1:
            return pipeline.set_params(**{name: values[0]}).fit(features, targets), values[0]
        search = GridSearchCV(
            pipeline,
            {name: list(values)},
            cv=inner_splits(labels, groups, seed),
            scoring=score,
            error_score="raise",
        ).fit(features, targets)
    return search.best_estimator_, search.best_params_[name]


def _accuracy_score(estimator: Any, features: np.ndarray, targets: np.ndarray) -> float:
    if targets.ndim == 1:
        return float(np.mean(estimator.predict(features) == targets))
    return float(np.mean(estimator.predict(features).argmax(axis=1) == targets.argmax(axis=1)))


def _likelihood_score(estimator: Any, features: np.ndarray, targets: np.ndarray) -> float:
    probabilities = estimator.predict_proba(features)
    of_targets = np.where(targets, probabilities, 1 - probabilities)
    return float(np.log(np.maximum(of_targets, 1e-9)).mean())


def _map_score(estimator: Any, features: np.ndarray, targets: np.ndarray) -> float:
    return mean_average_precision(estimator.predict(features), targets)["map"] if targets.any() else 0.0
