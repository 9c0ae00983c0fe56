# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`calibrate` and its command: all clients of a model give the calibrated scores, and "none of these"."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForAudioClassification, pipeline

from builders import RATE, SSLAM, TONES, write_tones
from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
    calibrate,
    evaluate,
    export_model,
    load_audio,
    predict,
    predict_collection,
)
from polyaudio.data.calibration import Calibration
from polyaudio.evaluation.calibration import calibration_error, choose_threshold, fit_temperature, reliability, softmax
from polyaudio.scripts.__main__ import main


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    return write_tones(tmp_path_factory.mktemp("clips") / "tones", TONES, 6)


def train(model, extractor, clips: Path) -> None:
    """Least squares for the last layer."""
    layer = [one for one in model.modules() if isinstance(one, torch.nn.Linear)][-1]
    inputs: list[torch.Tensor] = []
    with torch.no_grad(), layer.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0])):
        files = sorted(clips.rglob("*.wav"))
        for file in files:
            model(**extractor(load_audio(file, sampling_rate=RATE), sampling_rate=RATE, return_tensors="pt"))
        features = torch.cat(inputs)
        wanted = torch.tensor([[1.0, -1.0] if file.parent.name == "high" else [-1.0, 1.0] for file in files])
        ridge = features.T @ features + 0.1 * torch.eye(features.shape[1])
        layer.weight.copy_(torch.linalg.solve(ridge, features.T @ wanted).T)
        layer.bias.zero_()


def trained(folder: Path, kind: str, clips: Path) -> Path:
    torch.manual_seed(0)
    labels = {"id2label": {0: "high", 1: "low"}, "label2id": {"high": 0, "low": 1}}
    if kind == "sslam":
        model = SSLAMForAudioClassification(SSLAMConfig(**SSLAM, **labels, initializer_range=0.2))
        extractor = SSLAMFeatureExtractor(max_length=64)
    else:
        sizes = {"conv_dim": [16], "conv_kernel": [3], "conv_stride": [2], "num_segments": 4, "num_attention_heads": 2}
        model, extractor = (
            SAMAudioForAudioClassification(SAMAudioConfig(**sizes, **labels)),
            SAMAudioFeatureExtractor(),
        )
    train(model.eval(), extractor, clips)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    (folder / "README.md").write_text("---\ntags: []\n---\n\n# Tones\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module", params=["sslam", "sam_audio"])
def source(request, clips, tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("model"), request.param, clips)


def test_the_temperature_is_the_one_that_was_lost():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 5)) * 2
    labels = np.array([rng.choice(5, p=row) for row in softmax(logits)])
    recordings = [str(row) for row in range(len(labels))]
    for temperature in (0.4, 1.0, 3.0):
        assert fit_temperature(logits * temperature, labels, recordings) == pytest.approx(temperature, rel=0.05)
    before, after = (calibration_error(reliability(softmax(logits * scale), labels)) for scale in (3.0, 1.0))
    assert after < 0.03 < before


def test_recordings_that_are_all_right_do_not_ask_for_certainty():
    logits = np.eye(3)[[0, 1, 2] * 10] * 4
    temperature = fit_temperature(logits, np.array([0, 1, 2] * 10), [str(row) for row in range(30)])
    assert softmax(logits / temperature).max() == pytest.approx(31 / 32, rel=1e-3)


def test_reliability():
    rows = reliability(np.array([[0.95, 0.05], [0.91, 0.09], [0.4, 0.6]]), np.array([0, 1, 1]))
    assert [(row.low, row.count, row.accuracy) for row in rows] == [(0.5, 1, 1.0), (0.9, 2, 0.5)]
    assert calibration_error(rows) == pytest.approx((0.4 + 2 * 0.43) / 3)


@pytest.mark.parametrize(("share", "refused"), [(0.0, 0), (0.05, 1), (0.1, 2), (0.49, 9)])
def test_the_threshold_refuses_no_larger_share(share, refused):
    scores = np.random.default_rng(0).permutation(20) / 20
    assert (scores < choose_threshold(scores, share)).sum() == refused


def test_all_clients_give_the_calibrated_scores(source, clips, tmp_path):
    result = calibrate(source, clips, split="train", output=tmp_path / "calibrated", false_refusals=0.25)
    expected = evaluate(tmp_path / "calibrated", clips)
    assert expected.to_dict() == result.after.to_dict()
    assert result.after.clips["accuracy"] == result.before.clips["accuracy"]
    assert expected.clips["false_refusals"] == 0.25
    file = next(clips.rglob("*.wav"))
    waveform = load_audio(file, sampling_rate=RATE)
    classify = pipeline("audio-classification", model=str(tmp_path / "calibrated"))
    scores = {one["label"]: one["score"] for one in classify({"array": waveform, "sampling_rate": RATE})}
    (prediction,) = predict(file, tmp_path / "calibrated")
    assert {one.label: one.score for one in prediction.labels} == pytest.approx(scores, rel=1e-4)
    with torch.no_grad():
        before = AutoModelForAudioClassification.from_pretrained(source)
        after = AutoModelForAudioClassification.from_pretrained(tmp_path / "calibrated")
        inputs = {"input_values": torch.randn(2, 64, 128 if before.config.model_type == "sslam" else 80)}
        torch.testing.assert_close(
            after(**inputs).logits * result.calibration.temperature, before(**inputs).logits, rtol=1e-3, atol=1e-5
        )


def test_a_second_calibration_changes_nothing(source, clips, tmp_path):
    first = calibrate(source, clips, split="train", output=tmp_path / "first")
    second = calibrate(tmp_path / "first", clips, split="train")
    assert second.calibration.temperature == pytest.approx(first.calibration.temperature, rel=0.01)


def test_the_command_predict_and_the_card(source, clips, tmp_path, capsys):
    model = tmp_path / "calibrated"
    arguments = ["--split", "train", "--false-refusals", "0.5", "--output", str(model)]
    assert main(["calibrate", str(source), "--dataset", str(clips), *arguments]) == 0
    assert "calibration error, recordings" in capsys.readouterr().out
    report = json.loads((model / "calibration.json").read_text())
    calibration = Calibration.from_config(AutoModelForAudioClassification.from_pretrained(model).config)
    assert {name: report[name] for name in calibration.to_dict()} == calibration.to_dict()
    card = (model / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\ntags: []\n---\n\n# Tones\n")
    assert "## Calibration" in card

    predictions = predict(clips, model)
    assert {one.none_of_these for one in predictions} == {True, False}
    for one in predictions:
        assert one.none_of_these == (one.labels[0].score < calibration.threshold)
        assert len(one.labels) == 2
    assert main(["predict", str(clips), "--model", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [one.to_dict() for one in predictions]
    predict_collection(clips, model, tmp_path / "labels.csv", top_k=1)
    with open(tmp_path / "labels.csv", newline="") as file:
        rows = {row["file"]: row["none_of_these"] for row in csv.DictReader(file)}
    assert rows == {str(Path(one.file).relative_to(clips)): str(one.none_of_these) for one in predictions}


def test_an_export_gives_the_calibrated_scores(clips, tmp_path):
    pytest.importorskip("transformers", minversion="5.23", reason="exports need it, and so Python 3.11")
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    source = trained(tmp_path / "model", "sam_audio", clips)
    model, exported = tmp_path / "calibrated", tmp_path / "exported"
    calibration = calibrate(source, clips, split="train", output=model, false_refusals=0.5).calibration
    assert export_model(model, exported, front_end=True, files=clips).worst_difference < 1e-4  # from torch's logits
    assert json.loads((exported / "polyaudio_export.json").read_text())["calibration"] == calibration.to_dict()
    # Not of the clips of the calibration: one of their scores is the threshold
    others = write_tones(tmp_path / "others", {"low": 250, "middle": 900, "high": 3100}, 3)
    expected, found = predict(others, model), predict(others, exported)
    assert {one.none_of_these for one in expected} == {True, False}
    assert [one.none_of_these for one in found] == [one.none_of_these for one in expected]
    scores = [[{label.label: label.score for label in one.labels} for one in rows] for rows in (found, expected)]
    for one, other in zip(*scores, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_the_share_of_unknown_classes_that_is_refused(source, clips, tmp_path):
    model = tmp_path / "calibrated"
    calibrate(source, clips, split="train", output=model, false_refusals=0.25)
    others = write_tones(tmp_path / "others", {"low": 200, "middle": 800}, 3)
    scores = evaluate(model, clips, unknown=others)
    expected = [one.none_of_these for one in predict(others / "middle", model)]
    assert scores.clips["unknown"] == scores.recordings["unknown"] == 3
    assert scores.clips["refused"] == pytest.approx(np.mean(expected))
    with pytest.raises(ValueError, match="knows all labels"):
        evaluate(model, clips, unknown=clips)
    with pytest.raises(ValueError, match="polyaudio calibrate"):
        evaluate(source, clips, unknown=others)


def test_errors(source, clips, tmp_path):
    with pytest.raises(ValueError, match="below 1"):
        calibrate(source, clips, split="train", false_refusals=1.0)
    with pytest.raises(ValueError, match="already exists"):
        calibrate(source, clips, split="train", output=source)
    for settings in ({"temperature": 1.0}, {"temperature": 0, "threshold": 0.1, "false_refusals": 0.1}):
        with pytest.raises(ValueError, match="calibration"):
            Calibration.from_config(SAMAudioConfig(calibration=settings))
