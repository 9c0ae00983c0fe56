# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Metrics against counts by hand, and without network, cache or collisions."""

import math
import os
from concurrent.futures import ThreadPoolExecutor

import evaluate
import numpy as np
import pytest
import sklearn.metrics
from transformers import EvalPrediction

from polyaudio.evaluation.metrics import (
    F1,
    ROCAUC,
    Accuracy,
    DPrime,
    MeanAveragePrecision,
    classification_metrics,
    d_prime,
    multilabel_metrics,
)


# By hand: class 0 has precision 2/3 and recall 2/2, class 1 has 1/1 and 1/2, class 2 has 1/2 and 1/2; class 3 is
# neither there nor predicted.
REFERENCES = [0, 0, 1, 1, 2, 2]
PREDICTIONS = [0, 0, 1, 2, 2, 0]
F1_OF_CLASSES = [0.8, 2 / 3, 0.5]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_broken_logits_have_no_scores(broken):
    logits = np.array([[0.0, 1.0], [broken, 0.0]])
    with pytest.raises(ValueError, match="logits are NaN or infinite"):
        classification_metrics(EvalPrediction(logits, np.array([0, 1])))
    with pytest.raises(ValueError, match="logits are NaN or infinite"):
        multilabel_metrics(EvalPrediction((logits, None), np.array([[0, 1], [1, 0]])))


def test_accuracy():
    assert isinstance(Accuracy(), evaluate.Metric)
    assert Accuracy().compute(predictions=PREDICTIONS, references=REFERENCES) == {"accuracy": pytest.approx(4 / 6)}


def test_f1():
    inputs = {"predictions": PREDICTIONS, "references": REFERENCES}
    assert F1().compute(**inputs) == {"f1_macro": pytest.approx(np.mean(F1_OF_CLASSES))}
    assert F1().compute(**inputs, average="weighted") == {"f1_weighted": pytest.approx(np.mean(F1_OF_CLASSES))}
    uneven = F1().compute(predictions=[0, 0, 0, 0], references=[0, 0, 0, 1], average="weighted")
    assert uneven["f1_weighted"] == pytest.approx(0.75 * 6 / 7)
    with pytest.raises(ValueError, match="average"):
        F1().compute(**inputs, average="micro")


def test_batches_add_up():
    metric = Accuracy()
    metric.add_batch(predictions=PREDICTIONS[:4], references=REFERENCES[:4])
    metric.add_batch(predictions=np.array(PREDICTIONS[4:]), references=np.array(REFERENCES[4:]))
    assert metric.compute()["accuracy"] == pytest.approx(4 / 6)


@pytest.mark.parametrize("as_tuple", [False, True])
def test_classification_metrics(as_tuple):
    logits = np.eye(4, dtype=np.float32)[PREDICTIONS] * 3 - 1
    predictions = (logits, np.zeros(6)) if as_tuple else logits
    result = classification_metrics(EvalPrediction(predictions, np.array(REFERENCES)))
    assert result == {
        "accuracy": pytest.approx(4 / 6),
        "f1_macro": pytest.approx(np.mean(F1_OF_CLASSES)),
        "f1_weighted": pytest.approx(np.mean(F1_OF_CLASSES)),
    }
    assert all(type(value) is float for value in result.values())


@pytest.fixture
def tags() -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of 60 clips; class 2 is in none of them, class 4 in all."""
    rng = np.random.default_rng(0)
    labels = (rng.random((60, 6)) < 0.3).astype(np.float32)
    labels[:, 2], labels[:, 4] = 0, 1
    scores = np.round(rng.standard_normal((60, 6)) + labels, 1).astype(np.float32)  # rounded, so that there are ties
    return scores, labels


def test_mean_average_precision():
    # By hand: class 0 finds its clips in the first and third place, class 1 in the second; class 2 has none
    labels = [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]]
    scores = [[0.9, 0.2, 0.5], [0.8, 0.3, 0.5], [0.7, 0.4, 0.5], [0.1, 0.1, 0.5]]
    result = MeanAveragePrecision().compute(predictions=scores, references=labels)
    assert result == {"map": pytest.approx(((1 / 1 + 2 / 3) / 2 + 1 / 2) / 2), "map_classes_left_out": 1}
    with pytest.raises(ValueError, match="No clip has any class"):
        MeanAveragePrecision().compute(predictions=scores, references=np.zeros((4, 3)))


def test_area_under_the_roc_curve():
    # By hand: of the four pairs of a clip with class 0 and one without three are in order; all clips have class 1
    labels = [[1, 1], [0, 1], [1, 1], [0, 1]]
    scores = [[0.9, 0.2], [0.8, 0.3], [0.7, 0.4], [0.1, 0.1]]
    result = ROCAUC().compute(predictions=scores, references=labels)
    assert result == {"roc_auc": 0.75, "roc_auc_classes_left_out": 1}
    assert DPrime().compute(predictions=scores, references=labels) == {"d_prime": d_prime(0.75)}
    for constant in (np.zeros((4, 2)), np.ones((4, 2))):
        with pytest.raises(ValueError, match="no ROC curve"):
            ROCAUC().compute(predictions=scores, references=constant)


def test_d_prime():
    """Of two normal distributions so far apart the AUC is the chance that a draw of one is above one of the other."""
    for distance in (-1.0, 0.0, 0.5, 1.0, 2.5):
        area = (1 + math.erf(distance / 2)) / 2
        assert d_prime(area) == pytest.approx(distance, abs=1e-9)
    assert d_prime(0.9) == pytest.approx(1.8123876, abs=1e-6)  # sqrt(2) * 1.2815516
    assert (d_prime(1.0), d_prime(0.0)) == (math.inf, -math.inf)


@pytest.mark.parametrize("as_tuple", [False, True])
def test_multilabel_metrics(tags, as_tuple):
    scores, labels = tags
    result = multilabel_metrics(EvalPrediction((scores, np.zeros(60)) if as_tuple else scores, labels))
    there, both = [0, 1, 3, 4, 5], [0, 1, 3, 5]
    area = sklearn.metrics.roc_auc_score(labels[:, both], scores[:, both], average="macro")
    assert result == {
        "map": pytest.approx(sklearn.metrics.average_precision_score(labels[:, there], scores[:, there])),
        "map_classes_left_out": 1,
        "roc_auc": pytest.approx(area),
        "roc_auc_classes_left_out": 2,
        "d_prime": pytest.approx(d_prime(area)),
    }
    assert all(type(value) in (float, int) for value in result.values())
    only_ranks_count = multilabel_metrics(EvalPrediction(1 / (1 + np.exp(-scores.astype(float))), labels))
    assert only_ranks_count == pytest.approx(result)


def test_multilabel_batches_add_up(tags):
    scores, labels = tags
    for metric in (MeanAveragePrecision(), ROCAUC(), DPrime()):
        assert isinstance(metric, evaluate.Metric)
        for part in (slice(0, 25), slice(25, 60)):
            metric.add_batch(predictions=scores[part], references=labels[part])
        for name, value in metric.compute().items():
            assert value == pytest.approx(multilabel_metrics(EvalPrediction(scores, labels))[name])


def test_parallel_metrics_share_no_file(tmp_path):
    def accuracy_of(right: int) -> float:
        metric = Accuracy(cache_dir=str(tmp_path))
        return metric.compute(predictions=[0] * right + [1] * (10 - right), references=[0] * 10)["accuracy"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(accuracy_of, range(11))) == [right / 10 for right in range(11)]
    assert not [name for _, _, names in os.walk(tmp_path) for name in names]


def test_multilabel_metrics_without_a_roc_curve():
    """One clip has precisions, but there is nothing to tell it from."""
    result = multilabel_metrics(EvalPrediction(np.array([[2.0, -1.0]]), np.array([[1, 0]])))
    assert result == {"map": 1.0, "map_classes_left_out": 1}
