# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`precision`: what "auto" takes and when, with the labels of float32. Speed is injected, not measured."""

import json

import numpy as np
import pytest
import torch

from builders import SSLAM, TONES, write_tones
from polyaudio import SSLAMConfig, SSLAMFeatureExtractor, SSLAMForAudioClassification, annotate, embed, predict
from polyaudio.inference import precision, torch_models
from polyaudio.inference.precision import AutoPrecision
from polyaudio.inference.prediction import Predictor
from polyaudio.scripts.predict import main as predict_command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("clips") / "tones", TONES, 3)


def save(folder, logits_apart: float | None = None) -> str:
    """A classifier; with `logits_apart` its first two labels get nearly the same score, and the third a lower one."""
    torch.manual_seed(0)
    labels = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    model = SSLAMForAudioClassification(SSLAMConfig(**SSLAM, **labels, initializer_range=0.2))
    if logits_apart is not None:
        with torch.no_grad():
            model.classifier.weight[1] = model.classifier.weight[0]
            model.classifier.bias.copy_(torch.tensor([5 + logits_apart, 5.0, 0.0]))
    model.save_pretrained(folder)
    SSLAMFeatureExtractor(max_length=64).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return save(tmp_path_factory.mktemp("model"))


@pytest.fixture
def large_and_fast(monkeypatch):
    """As if all models were large, bfloat16 three times as fast, and the first batch the one to choose at."""
    monkeypatch.setattr(torch_models, "MIN_PARAMETERS", 0)
    monkeypatch.setattr(precision, "BATCHES_BEFORE", 0)
    monkeypatch.setattr(precision, "gain_of_bfloat16", lambda device: 3.0)


def run(model: str, folder, **settings) -> tuple[Predictor, list]:
    predictor = Predictor(model, batch_size=1, **settings)
    return predictor, sorted(predictor.run(sorted(map(str, folder.rglob("*.wav")))), key=lambda one: one.file)


def scores(predictions: list) -> np.ndarray:
    return np.array([[label.score for label in one.labels] for one in predictions])


def test_a_small_model_stays_in_float32(model, folder):
    predictor, predictions = run(model, folder)
    assert predictor.choice is None
    assert predictions == run(model, folder, precision="float32")[1]
    assert predictions != run(model, folder, precision="bfloat16")[1]


def test_bfloat16_is_taken_where_it_is_faster_and_labels_agree(model, folder, large_and_fast):
    predictor, predictions = run(model, folder)
    _, exact = run(model, folder, precision="float32")
    assert predictor.choice.bf16
    assert str(predictor.choice).startswith("computed in bfloat16: it is 3.0 times as fast here")
    assert [one.labels[0].label for one in predictions] == [one.labels[0].label for one in exact]
    difference = np.abs(scores(predictions) - scores(exact)).max()
    assert 0 < difference <= predictor.choice.error


def test_some_batches_come_first(model, folder, large_and_fast, monkeypatch):
    monkeypatch.setattr(precision, "BATCHES_BEFORE", 6)
    predictor, predictions = run(model, folder)  # six files, one in a batch
    assert predictor.choice is None
    assert predictions == run(model, folder, precision="float32")[1]


def test_float32_is_taken_where_bfloat16_is_slow(model, folder, large_and_fast, monkeypatch):
    monkeypatch.setattr(precision, "gain_of_bfloat16", lambda device: 0.5)
    predictor, predictions = run(model, folder)
    assert str(predictor.choice) == "computed in float32: bfloat16 is 0.5 times as fast here"
    assert predictions == run(model, folder, precision="float32")[1]


def test_files_whose_scores_are_close_are_computed_again(folder, tmp_path, large_and_fast, monkeypatch):
    close = save(tmp_path, logits_apart=1e-3)
    exact = run(close, folder, precision="float32")[1]
    predictor, predictions = run(close, folder)
    assert str(predictor.choice) == "computed in float32: the scores of too many clips are too close for bfloat16"
    assert predictions == exact
    monkeypatch.setattr(precision, "MIN_GAIN", 0.1)  # as if it were worth it all the same
    predictor, predictions = run(close, folder)
    assert predictor.choice.bf16
    assert predictions == exact != run(close, folder, precision="bfloat16")[1]


@pytest.mark.parametrize(
    ("scores", "threshold", "is_close"),
    [
        ([0.5, 0.3, 0.2], None, False),
        ([0.45, 0.1, 0.35], None, True),
        ([0.9, 0.05, 0.05], 0.8, True),
        ([0.9, 0.05, 0.05], 0.5, False),
        ([1.0], None, False),
    ],
)
def test_what_is_close(scores, threshold, is_close):
    assert precision.is_close(np.array(scores), 0.06, threshold) == is_close


def test_float32_is_taken_where_labels_differ(monkeypatch):
    monkeypatch.setattr(precision, "gain_of_bfloat16", lambda device: 3.0)
    monkeypatch.setattr(precision, "BATCHES_BEFORE", 1)
    auto = AutoPrecision(torch.device("cpu"))
    exact, rounded = np.array([0.51, 0.49]), np.array([0.49, 0.51])
    answers = [auto.compute(lambda bf16: [rounded if bf16 else exact]) for _ in range(3)]
    assert all(answer[0] is exact for answer in answers)
    assert (auto.choice.bf16, auto.error) == (False, 0.0)


def test_the_command_says_what_was_taken(model, folder, large_and_fast, capsys):
    arguments = [str(folder), "--model", model, "--json", "--batch-size", "1", "--workers", "0"]
    assert predict_command(arguments) == 0
    printed = capsys.readouterr()
    assert "polyaudio predict: computed in bfloat16: it is 3.0 times as fast" in printed.err
    assert len(json.loads(printed.out)) == 6
    assert predict_command([*arguments, "--precision", "float32"]) == 0
    assert "computed in" not in capsys.readouterr().err


def test_the_flag_of_before_is_the_same(model, folder, capsys):
    printed = []
    for flags in (["--bf16"], ["--precision", "bfloat16"], []):
        assert predict_command([str(folder), "--model", model, "--json", *flags]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != printed[2]


def test_features_and_timelines_stay_in_float32(model, folder, large_and_fast):
    file = min(map(str, folder.rglob("*.wav")))

    def vector(**settings) -> np.ndarray:
        return embed(file, model, **settings)[0].features

    def overview(**settings) -> np.ndarray:
        (annotation,) = annotate(file, model, **settings)
        return annotation.overview.scores

    for compute in (vector, overview):
        assert np.array_equal(compute(), compute(precision="float32"))
        rounded = compute(precision="bfloat16")
        assert not np.array_equal(compute(), rounded)
        np.testing.assert_allclose(compute(), rounded, atol=0.1)


def test_an_unknown_precision_is_refused(model, folder):
    for function in (predict, embed, annotate):
        with pytest.raises(ValueError, match=r"precision must be 'float32', 'bfloat16', 'auto', got 'half'"):
            function(folder, model, precision="half")
