# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`evaluate` from Python: folders and models, datasets in memory, and the command's numbers."""

from pathlib import Path

import pytest
import torch
from datasets import ClassLabel, DatasetDict
from transformers import AutoModelForAudioClassification

from builders import SSLAM, TONES, dataset_in_memory, write_tones
from polyaudio import SSLAMConfig, SSLAMFeatureExtractor, SSLAMForAudioClassification, evaluate
from polyaudio.evaluation.results import Evaluation
from polyaudio.scripts.evaluate import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tones(tmp_path_factory.mktemp("clips") / "tones", TONES, 6)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    torch.manual_seed(0)
    labels = {"id2label": {0: "high", 1: "low"}, "label2id": {"high": 0, "low": 1}}
    folder = tmp_path_factory.mktemp("model")
    SSLAMForAudioClassification(SSLAMConfig(**SSLAM, **labels, initializer_range=0.2)).save_pretrained(folder)
    SSLAMFeatureExtractor(max_length=64).save_pretrained(folder)
    return str(folder)


def test_the_command_gives_the_same_numbers(folder, model, tmp_path, capsys):
    assert main([model, "--dataset", str(folder), "--output", str(tmp_path / "command")]) == 0
    capsys.readouterr()
    from_folder = evaluate(model, str(folder), output=tmp_path / "python")
    loaded = AutoModelForAudioClassification.from_pretrained(model)
    assert capsys.readouterr().out == ""
    assert type(from_folder) is Evaluation
    assert from_folder.clips["count"] == 12
    written = [(tmp_path / one / "evaluation.json").read_bytes() for one in ("command", "python")]
    assert written[0] == written[1]
    from_memory = evaluate(loaded, dataset_in_memory(folder))
    assert from_memory.to_dict() == from_folder.to_dict()


def test_a_model_that_was_never_saved(folder, model):
    loaded = AutoModelForAudioClassification.from_pretrained(model)
    fresh = SSLAMForAudioClassification(loaded.config.__class__(**{**SSLAM, "id2label": loaded.config.id2label}))
    fresh.load_state_dict(loaded.state_dict())
    extractor = SSLAMFeatureExtractor(max_length=64)
    expected = evaluate(model, str(folder)).to_dict()
    assert evaluate(fresh, str(folder), feature_extractor=extractor).to_dict() == expected


def test_the_precision_is_float32_unless_asked(folder, model):
    exact, rounded = (evaluate(model, str(folder), precision=one).to_dict() for one in ("float32", "bfloat16"))
    assert evaluate(model, str(folder)).to_dict() == exact
    assert rounded != exact
    assert rounded["clips"]["count"] == 12
    with pytest.raises(ValueError, match="precision must be"):
        evaluate(model, str(folder), precision="half")


def test_labels_are_numbered_as_the_model_numbers_them(folder, model):
    clips = dataset_in_memory(folder)
    turned = clips.map(lambda row: {"label": 1 - row["label"]}, features=clips.features.copy())
    turned = turned.cast_column("label", ClassLabel(names=["low", "high"]))
    assert evaluate(model, turned).to_dict() == evaluate(model, clips).to_dict()
    with pytest.raises(ValueError, match="does not know the labels medium; it knows high, low"):
        evaluate(model, clips.cast_column("label", ClassLabel(names=["high", "medium"])))


def test_the_split_is_chosen(folder, model):
    clips = dataset_in_memory(folder)
    parts = DatasetDict(train=clips.select(range(9)), validation=clips.select(range(9, 12)))
    assert evaluate(model, parts, split="validation").clips["count"] == 3
    assert evaluate(model, DatasetDict(**parts, test=clips.select([0, 11]))).clips["count"] == 2
    with pytest.raises(ValueError, match="has the splits train, validation"):
        evaluate(model, parts)
    with pytest.raises(ValueError, match="has the splits train, validation"):
        evaluate(model, parts, split="tests")
