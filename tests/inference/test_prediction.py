# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`predict` from Python: folders and models, files of any kind, and the command's numbers."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoModelForAudioClassification

from builders import SSLAM, TONES, write_tones
from polyaudio import (
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
    SSLAMForAudioFrameClassification,
    predict,
)
from polyaudio.inference.prediction import FilePrediction, LabelScore, ScoredEvent
from polyaudio.scripts.predict import main


LABELS = {"id2label": {0: "high", 1: "low"}, "label2id": {"high": 0, "low": 1}, "initializer_range": 0.2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tones(tmp_path_factory.mktemp("clips") / "tones", TONES, 3)


def save(folder: Path, model_class: type, **settings) -> str:
    torch.manual_seed(0)
    model_class(SSLAMConfig(**SSLAM, **LABELS, **settings)).save_pretrained(folder)
    SSLAMFeatureExtractor(max_length=64).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return save(tmp_path_factory.mktemp("model"), SSLAMForAudioClassification)


@pytest.fixture(scope="module")
def events(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("events")
    return save(folder, SSLAMForAudioFrameClassification, problem_type="multi_label_classification")


def test_the_command_gives_the_same_numbers(folder, model, capsys):
    assert main([str(folder), "--model", model, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    predictions = predict(folder, model)
    assert capsys.readouterr().out == ""
    assert {type(one) for one in predictions} == {FilePrediction}
    assert {type(label) for one in predictions for label in one.labels} == {LabelScore}
    assert [{"file": one.file, "labels": [asdict(label) for label in one.labels]} for one in predictions] == printed
    assert len(predictions) == 6
    for one in predictions:
        assert one.events is None
        assert sum(label.score for label in one.labels) == pytest.approx(1)


def test_a_loaded_model_predicts_the_same(folder, model):
    expected = predict(folder, model)
    loaded = AutoModelForAudioClassification.from_pretrained(model)
    assert predict(folder, loaded) == expected
    assert predict(folder, Path(model)) == expected
    fresh = SSLAMForAudioClassification(loaded.config)
    fresh.load_state_dict(loaded.state_dict())
    assert predict(folder, fresh, feature_extractor=SSLAMFeatureExtractor(max_length=64)) == expected


@pytest.mark.parametrize("kind", ["model", "events"])
def test_a_long_file_is_read_in_pieces(kind, request, tmp_path):
    """Each piece holds as many windows as a batch. Damage in one piece is an error of the file, which comes once."""
    name, rng = request.getfixturevalue(kind), np.random.default_rng(0)
    waveform = rng.uniform(-0.3, 0.3, (round(7.5 * 44_100), 2)) * np.linspace(0, 1, round(7.5 * 44_100))[:, None]
    files = [tmp_path / "long.flac", tmp_path / "short.wav", tmp_path / "damaged.wav"]
    soundfile.write(files[0], waveform, 44_100)
    soundfile.write(files[1], waveform[:20_000], 44_100)
    waveform[200_000] = np.nan
    soundfile.write(files[2], waveform, 44_100, subtype="FLOAT")
    settings = {"threshold": 0.0} if kind == "events" else {}
    whole, *others = (predict(files, name, window=0.64, batch_size=size, **settings) for size in (100, 1, 3))
    for pieces in others:
        assert [one.file for one in pieces] == [str(file) for file in files]
        for one, expected in zip(pieces[:2], whole[:2], strict=True):
            assert one.error is None
            for found, known in zip(one.labels or one.events, expected.labels or expected.events, strict=True):
                assert asdict(found) == pytest.approx(asdict(known), abs=1e-5)
        assert "NaN" in pieces[2].error


def test_files_come_in_the_order_that_they_were_given(folder, model, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no audio")
    files = [folder / "low" / "2.wav", broken, folder / "high" / "0.wav"]
    predictions = predict(files, model, top_k=1)
    assert [one.file for one in predictions] == [str(file) for file in files]
    assert [one.error is None for one in predictions] == [True, False, True]
    assert [one.labels and len(one.labels) for one in predictions] == [1, None, 1]
    assert str(broken) in predictions[1].error
    (alone,) = predict(str(files[0]), model, top_k=1)
    assert alone.labels[0].label == predictions[0].labels[0].label
    assert alone.labels[0].score == pytest.approx(predictions[0].labels[0].score, abs=1e-5)


def test_events(folder, events, capsys):
    assert main([str(folder), "--model", events, "--json", "--threshold", "0.4"]) == 0
    printed = json.loads(capsys.readouterr().out)
    predictions = predict(folder, events, threshold=0.4)
    assert [{"file": one.file, "events": [asdict(event) for event in one.events]} for one in predictions] == printed
    found = [event for one in predictions for event in one.events]
    assert {type(event) for event in found} == {ScoredEvent}
    for event in found:
        assert 0 <= event.onset < event.offset
        assert 0.4 < event.score <= 1
        assert event.label in ("high", "low")


def test_events_follow_the_rules_of_the_model(folder, events):
    model = SSLAMForAudioFrameClassification.from_pretrained(events)
    middle = float(np.median([event.score for one in predict(folder, model, threshold=0.0) for event in one.events]))
    expected = predict(folder, model, threshold=middle)
    assert any(one.events for one in expected)
    model.config.event_rules = {"threshold": [middle, 1.0], "low_threshold": 0.0}
    # A threshold replaces both of the rules
    assert predict(folder, model, threshold=middle) == expected
    for one, known in zip(predict(folder, model), expected, strict=True):
        heard = any(event.label == "high" for event in known.events)
        assert [(event.label, event.onset) for event in one.events] == ([("high", 0.0)] if heard else [])
    model.config.event_rules = {"threshold": [0.5, 0.5, 0.5]}
    with pytest.raises(ValueError, match="one for each of 2 classes, got 3"):
        predict(folder, model)


def test_saved_rules_are_read(folder, events, tmp_path):
    model = SSLAMForAudioFrameClassification.from_pretrained(events)
    model.config.event_rules = {"threshold": [1.0, 0.0], "min_duration": 0.3}
    model.save_pretrained(tmp_path)
    SSLAMFeatureExtractor.from_pretrained(events).save_pretrained(tmp_path)
    found = predict(folder, str(tmp_path))
    assert found == predict(folder, model)
    assert {event.label for one in found for event in one.events} == {"low"}
    assert all(event.offset - event.onset >= 0.3 for one in found for event in one.events)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("model", {"threshold": 0.3}, "instead of threshold"),
        ("events", {"top_k": 3}, "instead of top_k"),
        ("model", {"top_k": 0}, "top_k must be at least 1, got 0"),
        ("events", {"threshold": 1.0}, "threshold must be at least 0 and below 1, got 1"),
        ("model", {"window": 60.0}, "at most 2.56 s"),
        ("model", {"device": "abacus"}, "'abacus' is not the name of a device"),
    ],
)
def test_arguments_that_do_not_go_with_a_model(kind, arguments, message, folder, model, events):
    with pytest.raises(ValueError, match=message):
        predict(folder, {"model": model, "events": events}[kind], **arguments)
