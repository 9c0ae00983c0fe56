# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`probe` from Python: folders and models, datasets in memory, and the command's numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, List
from transformers import AutoModel

from builders import SAM_AUDIO, SSLAM, TONES, dataset_in_memory, write_events, write_tones
from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioModel,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMModel,
    probe,
)
from polyaudio.evaluation.probe import ProbeReport
from polyaudio.evaluation.tables import format_probe
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
    with pytest.raises(ValueError, match=r"kind \(--probe\) must be linear, attentive or knn, got 'svm'"):
        probe(model, str(folder), kind="svm")
    with pytest.raises(ValueError, match=r"Leave out features \(--features\)"):
        probe(model, str(folder), kind="attentive", features="utterance")
    with pytest.raises(ValueError, match="an attentive probe only"):
        probe(model, str(folder), layer="weighted")
    with pytest.raises(ValueError, match=r"layer must be a number from 0 to 1, .* got 2"):
        probe(model, str(folder), layer=2)
    with pytest.raises(ValueError, match="frames of a SAMAudio model are the same for all layers"):
        probe(model, str(folder), kind="attentive", layer="weighted")
    with pytest.raises(ValueError, match="no few-shot curve"):
        probe(model, str(folder), kind="attentive", shots=[1])
    with pytest.raises(ValueError, match="at least 1"):
        probe(model, str(folder), shots=[0])


def test_events_cannot_be_probed(model, tmp_path):
    with pytest.raises(ValueError, match=r"classes of whole clips, but clips of .* have events"):
        probe(model, write_events(tmp_path / "events", 4, seed=0), folds=2)


@pytest.fixture(scope="module")
def tagged(folder) -> Dataset:
    """The clips, each with the class of its tone and every third recording with another one."""
    clips = dataset_in_memory(folder)
    names = [*clips.features["label"].names, "third"]
    tags = [
        [label, 2] if int(recording.rpartition("/")[2]) % 3 == 0 else [label]
        for label, recording in zip(clips["label"][:], clips["recording"][:], strict=True)
    ]
    return clips.remove_columns("label").add_column("label", tags, feature=List(ClassLabel(names=names)))


@pytest.mark.parametrize("kind", ["linear", "knn", "attentive"])
def test_several_labels_a_clip(tagged, model, kind, tmp_path):
    report = probe(model, tagged, kind=kind, folds=2, untrained=1, output=tmp_path)
    assert list(report.probe.means) == list(report.difference) == ["map", "f1_macro"]
    assert report.probe.map.mean == pytest.approx(np.mean([fold.scores["map"] for fold in report.probe.folds]))
    assert report.probe.held_out.task == "multi_label_classification"
    written = json.loads((tmp_path / "probe.json").read_text())
    assert written["probe"]["map"]["mean"] == report.probe.map.mean
    assert "mAP" in format_probe(report)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.npz", "probe.json"]


@pytest.fixture(scope="module")
def sslam(tmp_path_factory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sslam")
    SSLAMModel(SSLAMConfig(**SSLAM)).save_pretrained(folder)
    SSLAMFeatureExtractor().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(("kind", "layer"), [("attentive", "weighted"), ("attentive", -1), ("knn", "mean")])
def test_kinds_and_layers(folder, sslam, kind, layer, tmp_path):
    report = probe(sslam, str(folder), kind=kind, layer=layer, folds=2, untrained=0, output=tmp_path)
    assert (report.kind, report.layer) == (kind, layer)
    assert report.probe.accuracy.mean > 0.6  # tones of 300 and 3,000 Hz, and random weights
    again = probe(sslam, str(folder), kind=kind, layer=layer, folds=2, untrained=0)
    assert again.probe == report.probe
    text = format_probe(report)
    assert f"{kind} probe" in text
    assert f"of layer {layer}" in text
    assert ("Weights of layers 0 to 2: " in text) == (layer == "weighted")


def test_few_shot_curves_from_the_command(folder, sslam, tmp_path, capsys):
    command = [sslam, "--dataset", str(folder), "--folds", "2", "--num-workers", "0", "--output", str(tmp_path)]
    assert main([*command, "--shots", "1", "2", "--draws", "3", "--layer", "1", "--probe", "knn"]) == 0
    printed = capsys.readouterr().out
    assert "Recordings of each class, and accuracy on all held-out clips (95 % interval over 3 draws)" in printed
    report = json.loads((tmp_path / "probe.json").read_text())
    assert [(point["shots"], point["draws"]) for point in report["probe"]["few_shot"]] == [(1, 3), (2, 3)]
    assert len(report["untrained"][0]["few_shot"]) == 2
    assert (report["kind"], report["layer"]) == ("knn", 1)
