# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Metrics against counts by hand, and without network, cache or collisions."""

import os
from concurrent.futures import ThreadPoolExecutor

import evaluate
import numpy as np
import pytest
from transformers import EvalPrediction

from polyaudio.training.metrics import F1, Accuracy, classification_metrics


# By hand: class 0 has precision 2/3 and recall 2/2, class 1 has 1/1 and 1/2, class 2 has 1/2 and 1/2; class 3 is
# neither there nor predicted.
REFERENCES = [0, 0, 1, 1, 2, 2]
PREDICTIONS = [0, 0, 1, 2, 2, 0]
F1_OF_CLASSES = [0.8, 2 / 3, 0.5]


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


def test_parallel_metrics_share_no_file(tmp_path):
    def accuracy_of(right: int) -> float:
        metric = Accuracy(cache_dir=str(tmp_path))
        return metric.compute(predictions=[0] * right + [1] * (10 - right), references=[0] * 10)["accuracy"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(accuracy_of, range(11))) == [right / 10 for right in range(11)]
    assert not [name for _, _, names in os.walk(tmp_path) for name in names]
