# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Linear probe: how well a logistic regression on frozen features tells the classes of unseen recordings apart."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import datasets
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from transformers import EvalPrediction

from ..data.splits import folds_by_recording, recordings_of_classes, stratified_splits
from .metrics import classification_metrics
from .scores import evaluate_predictions
from .summary import mean_and_std


# Inverse strengths of the regularisation to choose from.
C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)

# Folds of a training part by which C is chosen.
_INNER_FOLDS = 3

_MAX_ITERATIONS = 2000


class ProbeResult(NamedTuple):
    """
    What a linear probe found.

    Args:
        scores: a dict for JSON: `folds` (for each the number of `clips` and `recordings` that it holds out, the `C`
            chosen, `accuracy`, `f1_macro` and `f1_weighted`), `accuracy` and `f1_macro` (their `mean` and `std` over
            the folds), `unseen` (the classes that a fold tests and has no recording of to train on; there they count
            as wrong) and `held_out` (what `evaluate_predictions` finds in the predictions of all folds together).
        probabilities: `(clips, classes)`, float64, by the probe that has not seen the clip; NaN for a clip that is
            in training only.
        folds: `(clips,)`, int64: which fold holds the clip out; -1 for a clip that is in training only.
    """

    scores: dict[str, Any]
    probabilities: np.ndarray
    folds: np.ndarray


def linear_probe(
    features: np.ndarray,
    labels: Sequence[int],
    groups: Sequence[str],
    *,
    id2label: Mapping[int, str],
    is_test: Sequence[bool] | None = None,
    num_folds: int = 5,
    seed: int = 0,
    C: Sequence[float] = C_GRID,
) -> ProbeResult:
    """
    Fit and test a multinomial logistic regression on standardised features, fold by fold.

    Nothing that a fold holds out has a part in what is tested on it: the features are standardised by its training
    part, and C is the one of the best accuracy in folds of its training part, which do not divide recordings either.

    Args:
        features: `(clips, feature_size)`.
        labels: `(clips,)`, class indices.
        groups: `(clips,)`, the recording that each clip comes from.
        id2label: the name of each class.
        is_test: `(clips,)`, which clips to test on, where the data says so. There is one fold then.
        num_folds: number of folds where `is_test` is not given.
        seed: decides between recordings.
        C: inverse strengths of the regularisation to choose from; the first of equally good ones is taken.

    Raises:
        ValueError: the shapes do not agree, a feature is NaN or infinite, or `make_folds` cannot divide the clips.
    """
    features = np.asarray(features, dtype=np.float64)
    labels, groups = np.asarray(labels), np.asarray(groups)
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
    scores = []
    for number, (train, test) in enumerate(datasets.utils.tqdm(folds, desc="Probing", unit="fold", disable=None)):
        search = _fit(features[train], labels[train], groups[train], C, seed)
        probabilities[test] = 0.0  # stays for classes that this training part does not have
        probabilities[np.ix_(test, search.classes_)] = search.predict_proba(features[test])
        fold_of_clip[test] = number
        scores.append(
            {
                "clips": len(test),
                "recordings": len(set(groups[test].tolist())),
                "C": search.best_params_["logisticregression__C"],
                **classification_metrics(EvalPrediction(probabilities[test], labels[test])),
            }
        )

    held_out = fold_of_clip >= 0
    logits = np.log(np.maximum(probabilities[held_out], np.finfo(np.float64).tiny))
    unseen = {label for train, test in folds for label in np.setdiff1d(labels[test], labels[train]).tolist()}
    result = {
        "folds": scores,
        "accuracy": mean_and_std([fold["accuracy"] for fold in scores]),
        "f1_macro": mean_and_std([fold["f1_macro"] for fold in scores]),
        "unseen": [id2label[label] for label in sorted(unseen)],
        "held_out": evaluate_predictions(logits, labels[held_out], groups[held_out].tolist(), id2label),
    }
    return ProbeResult(result, probabilities, fold_of_clip)


def make_folds(
    labels: Sequence[int],
    groups: Sequence[str],
    *,
    is_test: Sequence[bool] | None = None,
    num_folds: int = 5,
    seed: int = 0,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """
    Divide clips into training and test parts, no recording in both, and the classes as evenly as that allows.

    Args:
        labels, groups, is_test, num_folds, seed: as for `linear_probe`.

    Returns:
        For each fold the indices of its training and of its test clips.

    Raises:
        ValueError: the lengths do not agree, a part has no clips, a recording is in both parts that `is_test` makes,
            no class has a recording for each fold, or a training part lacks two classes of two recordings, which it
            takes to choose C.
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    if labels.ndim != 1 or labels.shape != groups.shape or (is_test is not None and len(is_test) != len(labels)):
        raise ValueError(
            f"There must be a label and a recording for each clip, got {labels.shape} labels and {groups.shape} "
            "recordings."
        )
    if is_test is None:
        tests = folds_by_recording(labels[:, None].tolist(), groups, num_folds, seed)
        folds = [(np.setdiff1d(np.arange(len(labels)), test), test) for test in tests]
    else:
        is_test = np.asarray(is_test, dtype=bool)
        if is_test.all() or not is_test.any():
            raise ValueError("There must be clips to train on and clips to test on.")
        both = sorted(set(groups[is_test].tolist()) & set(groups[~is_test].tolist()))
        if both:
            raise ValueError(
                f"{len(both)} recordings are in training and in test, which would flatter the scores; one is "
                f"{both[0]}. Move each recording to one side; if these are different recordings of the same name, "
                "tell them apart in a column (`group_column`)."
            )
        folds = [(np.flatnonzero(~is_test), np.flatnonzero(is_test))]
    for train, _ in folds:
        if sum(number > 1 for number in recordings_of_classes(labels[train], groups[train])) < 2:
            raise ValueError(
                "There are too few recordings: two classes must have two recordings at least in each training part."
            )
    return folds


def compare_probes(
    scores: Mapping[str, Any], others: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, float | None]]:
    """
    How much better a probe is than the mean of others that were tested on the same folds.

    Args:
        scores: `ProbeResult.scores`.
        others: those of the others.

    Returns:
        For `accuracy` and `f1_macro` the `mean` and the `std` over the folds of the difference.
    """
    difference = {}
    for name in ("accuracy", "f1_macro"):
        own = np.array([fold[name] for fold in scores["folds"]])
        theirs = np.array([[fold[name] for fold in other["folds"]] for other in others])
        difference[name] = mean_and_std(own - theirs.mean(axis=0))
    return difference


def _fit(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, C: Sequence[float], seed: int) -> GridSearchCV:
    num_folds = min(_INNER_FOLDS, max(recordings_of_classes(labels, groups)))
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=_MAX_ITERATIONS)),
        {"logisticregression__C": list(C)},
        cv=stratified_splits(labels, groups, num_folds, seed),
        error_score="raise",
    )
    # Threads that share products this small spend their time waiting, ten times as long where others use the cores too
    with threadpool_limits(1):
        return search.fit(features, labels)
