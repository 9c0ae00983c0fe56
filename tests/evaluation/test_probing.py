# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`probe` from Python: folders and models, datasets in memory, and the command's numbers."""

import json
from pathlib import Path

import pytest
import torch
from datasets import List
from transformers import AutoModel

from builders import SAM_AUDIO, TONES, dataset_in_memory, write_tones
from polyaudio import SAMAudioConfig, SAMAudioFeatureExtractor, SAMAudioModel, probe
from polyaudio.evaluation.probe import ProbeReport
from polyaudio.scripts.probe import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tones(tmp_path_factory.mktemp("clips") / "tones", TONES, 8, chunks=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    SAMAudioModel(SAMAudioConfig(**SAM_AUDIO)).save_pretrained(folder)
    SAMAudioFeatureExtractor().save_pretrained(folder)
    return str(folder)


def test_the_command_gives_the_same_numbers(folder, model, tmp_path, capsys):
    assert main([model, "--dataset", str(folder), "--folds", "2", "--output", str(tmp_path)]) == 0
    capsys.readouterr()
    report = probe(model, str(folder), folds=2)
    assert capsys.readouterr().out == ""
    assert type(report) is ProbeReport
    assert (report.clips, report.recordings, report.labels) == (16, 8, ["high", "low"])
    assert list(report.untrained) == [0]
    written = json.loads((tmp_path / "probe.json").read_text())
    assert json.loads(json.dumps(report.to_dict())) == written


def test_a_loaded_model_and_a_dataset_in_memory(folder, model):
    expected = probe(model, str(folder), folds=2, untrained=0)
    loaded = AutoModel.from_pretrained(model)
    report = probe(loaded, dataset_in_memory(folder), folds=2, untrained=0)
    assert report.probe == expected.probe
    assert report.untrained == {}
    fresh = SAMAudioModel(SAMAudioConfig(**SAM_AUDIO))
    fresh.load_state_dict(loaded.state_dict())
    extractor = SAMAudioFeatureExtractor()
    report = probe(fresh, dataset_in_memory(folder), feature_extractor=extractor, folds=2, untrained=0)
    assert report.probe == expected.probe


def test_what_cannot_be_probed_is_an_error(folder, model):
    with pytest.raises(ValueError, match="has no features 'cls'"):
        probe(model, str(folder), features="cls")
    with pytest.raises(ValueError, match="has no split 'test', only train"):
        probe(model, str(folder), split="test")
    with pytest.raises(ValueError, match="cannot be divided into 5 folds"):
        probe(model, str(folder))
    clips = dataset_in_memory(folder)
    several = List(clips.features["label"])
    tags = clips.remove_columns("label").add_column("label", [[0, 1]] * len(clips), feature=several)
    with pytest.raises(ValueError, match="one class a clip"):
        probe(model, tags, folds=2)
