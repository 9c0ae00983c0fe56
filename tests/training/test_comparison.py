# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`compare` and its command: ways to train on the same folds, and what time and models do not allow."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from builders import SAM_AUDIO, SSLAM, TONES, write_events, write_table, write_tones
from command_lines import Parsed, parser_of
from polyaudio import (
    DataArguments,
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMModel,
    compare,
)
from polyaudio.scripts.__main__ import main
from polyaudio.training import recipes


RECIPE = """
model: {{model_type: {model_type}, {sizes}}}
data: {{crop_seconds: 0.6}}
training:
  {{num_train_epochs: {epochs}, per_device_train_batch_size: 8, learning_rate: 1.0e-3, dataloader_num_workers: 0}}
"""


@pytest.fixture(autouse=True)
def small_recipes(tmp_path, monkeypatch):
    """The recipes of the two new models, with models that train in a second."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    for name, model_type, sizes, epochs in (
        ("default", "sam_audio", SAM_AUDIO, 3),
        ("sslam_small", "sslam", SSLAM, 2),
    ):
        sizes = ", ".join(f"{setting}: {value}" for setting, value in sizes.items())
        content = RECIPE.format(model_type=model_type, sizes=sizes, epochs=epochs)
        (folder / f"{name}.yaml").write_text(content)
    monkeypatch.setattr(recipes, "RECIPES", folder)


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    return write_tones(tmp_path_factory.mktemp("comparison") / "tones", TONES, 6)


@pytest.fixture(scope="module")
def sslam(tmp_path_factory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("comparison") / "sslam"
    SSLAMModel(SSLAMConfig(**SSLAM)).save_pretrained(folder)
    SSLAMFeatureExtractor(max_length=64).save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
def test_every_way_is_scored_on_the_same_clips(tones, sslam, monkeypatch):
    comparison = compare(tones, [sslam], minutes=1000, data=DataArguments(folds=2))
    ways = {way.name: way for way in comparison.ways}
    models = {f"{sslam}, {kind}" for kind in ("frozen", "LoRA", "all weights")}
    assert ways.keys() == {"log-mel statistics", "new SAMAudio", "new SSLAM", f"new SAMAudio over {sslam}", *models}
    assert comparison.left_out == {}
    assert (comparison.metric, comparison.folds, comparison.clips, comparison.recordings) == ("accuracy", 2, 12, 12)
    scores = [way.evaluation.clips["accuracy"] for way in comparison.ways]
    assert scores == sorted(scores, reverse=True)
    assert {way.evaluation.clips["count"] for way in comparison.ways} == {12}
    assert ways["log-mel statistics"].evaluation.clips["accuracy"] == 1  # high and low tones
    for way, score in zip(comparison.ways, scores, strict=True):
        assert way.lead == pytest.approx(scores[0] - score)
        assert way.lead_interval[0] <= way.lead <= way.lead_interval[1]
    assert {name: way.epochs for name, way in ways.items()} == {
        **{"log-mel statistics": None, "new SAMAudio": 3, "new SSLAM": 2, f"new SAMAudio over {sslam}": 3},
        **{f"{sslam}, frozen": 100, f"{sslam}, LoRA": 2, f"{sslam}, all weights": 2},
    }
    parse = parser_of(monkeypatch)
    for way in comparison.ways:
        if way.flags is not None:
            with pytest.raises(Parsed):
                parse(["train", "--dataset", str(tones), *way.flags])


def test_what_does_not_fit_into_the_time_is_left_out(tones):
    comparison = compare(tones, [], minutes=1e-6)
    assert [way.name for way in comparison.ways] == ["log-mel statistics"]
    assert comparison.ways[0].flags is None
    assert (comparison.folds, comparison.left_out.keys()) == (3, {"new SAMAudio", "new SSLAM"})
    assert "3 epochs would take about" in comparison.left_out["new SAMAudio"]


@pytest.mark.slow
def test_what_does_not_go_with_a_model_is_left_out(tones, tmp_path):
    """A SAMAudio model cannot be the encoder of another one."""
    labels = {"id2label": {0: "high", 1: "low"}, "label2id": {"high": 0, "low": 1}}
    SAMAudioForAudioClassification(SAMAudioConfig(**SAM_AUDIO, **labels)).save_pretrained(tmp_path / "model")
    SAMAudioFeatureExtractor().save_pretrained(tmp_path / "model")
    comparison = compare(tones, [tmp_path / "model"], minutes=1e-6)
    over = comparison.left_out.pop(f"new SAMAudio over {tmp_path / 'model'}")
    assert "must not be that of a SAMAudio model" in over
    assert len(comparison.left_out) == 5
    assert all("epochs would take about" in reason for reason in comparison.left_out.values())


def test_several_labels_a_clip(tmp_path):
    rng = np.random.default_rng(0)
    folder = write_tones(tmp_path / "clips", TONES, 6)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.wav"))
    labels = [f"{Path(file).parent.name}{' short' * int(rng.integers(2))}" for file in files]
    write_table(folder / "metadata.csv", [{"file_name": a, "label": b} for a, b in zip(files, labels, strict=True)])
    data = DataArguments(folds=2, label_separator=" ")
    comparison = compare(folder, [], minutes=1000, data=data)
    assert comparison.metric == "map"
    assert len(comparison.ways) == 3
    for way in comparison.ways:
        assert way.evaluation.labels == ["high", "low", "short"]
        assert way.lead_interval[0] <= way.lead <= way.lead_interval[1]


def test_events_are_refused(tmp_path):
    folder = write_events(tmp_path / "events", 4, 0)
    with pytest.raises(ValueError, match="labels of whole clips"):
        compare(folder, [], data=DataArguments(folds=2))


def test_the_command(tones, tmp_path, capsys):
    output = tmp_path / "comparison.json"
    arguments = ["--dataset", str(tones), "--minutes", "1000", "--folds", "2", "--output", str(output)]
    assert main(["compare", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("new SAMAudio: 3 epochs in 2 folds took")
    assert f"{tones}: 12 clips of 12 recordings in 2 folds" in lines
    assert any(line.startswith("log-mel statistics") and "1.0000 (1.00 to 1.00)" in line for line in lines)
    content = json.loads(output.read_text())
    assert {way["name"] for way in content["ways"]} == {"log-mel statistics", "new SAMAudio", "new SSLAM"}
    best = content["ways"][0]
    assert best["lead"] == 0
    assert (best["flags"] is not None) == any(line.startswith("Train it: polyaudio train --dataset") for line in lines)
