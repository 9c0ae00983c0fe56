# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A small CompMusic folder through split, check, train, evaluate and probe, by concert and by artist."""

import importlib.util
import json
from pathlib import Path

import datasets
import pytest

from polyaudio.scripts.dataset import main as dataset
from polyaudio.scripts.evaluate import main as evaluate
from polyaudio.scripts.probe import main as probe
from polyaudio.scripts.train import main as train
from raga_folders import concert_series, write_compmusic_raga


pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mirdata") is None, reason="mirdata, of the extra polyaudio[mirdata], is not installed"
)

CARNATIC = "mirdata:compmusic_raga/carnatic"
RECIPE = """
model:
  model_type: sam_audio
  frontend: tonic_chroma
  conv_dim: [16, 32]
  conv_kernel: [3, 3]
  conv_stride: [2, 2]
  num_segments: 4
  num_attention_heads: 4
  projection_dim: 8
data:
  cache_features: true
  crop_seconds: 2
training:
  num_train_epochs: 1
  per_device_train_batch_size: 8
  dataloader_num_workers: 0
  disable_tqdm: true
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Four artists give two concerts each, with two ragas in each concert."""
    performances = concert_series(["Kalyani", "Todi"], artists=4, concerts=2)
    return write_compmusic_raga(tmp_path_factory.mktemp("compmusic"), performances, seconds=4.0)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def divided(home, tmp_path_factory) -> dict[str, Path]:
    """The collection, divided by concert and by artist."""
    folders = {}
    for unit in ("concert", "artist"):
        folders[unit] = tmp_path_factory.mktemp(unit) / "split"
        arguments = ["--group-by", unit, "--test-size", "0.25", "--validation-size", "0.25"]
        assert dataset(["split", CARNATIC, "--data-home", str(home), "--output", str(folders[unit]), *arguments]) == 0
    return folders


@pytest.mark.parametrize("unit", ["concert", "artist"])
def test_the_check_confirms_splits_by_concert_and_by_artist(divided, home, unit, capsys):
    splits = datasets.load_from_disk(divided[unit])
    of_split = [set(rows[unit]) for rows in splits.values()]
    assert set(splits) == {"train", "validation", "test"}
    assert all(of_split)
    assert sum(map(len, of_split)) == len(set.union(*of_split)) == {"concert": 8, "artist": 4}[unit]
    assert dataset(["check", str(divided[unit]), "--group-by", unit]) == 0
    output = capsys.readouterr().out
    assert f"No {unit} is in two splits" in output
    assert "No leak found" in output
    # The division that training would make of the collection itself
    assert dataset(["check", CARNATIC, "--data-home", str(home), "--group-by", unit, "--test-size", "0.25"]) == 0
    assert f"No {unit} is in two splits" in capsys.readouterr().out


def test_a_split_by_concert_is_no_split_by_artist(divided, capsys):
    assert dataset(["check", str(divided["concert"]), "--group-by", "artist"]) == 1
    assert "artists are in several splits" in capsys.readouterr().out


def test_a_split_by_recording_divides_concerts_and_artists(home, tmp_path, capsys):
    arguments = ["--data-home", str(home), "--group-by", "recording", "--test-size", "0.25"]
    assert dataset(["split", CARNATIC, "--output", str(tmp_path / "split"), *arguments]) == 0
    for checked in ([str(tmp_path / "split")], [CARNATIC, *arguments]):
        capsys.readouterr()
        assert dataset(["check", *checked, "--output", str(tmp_path / "check.json")]) == 0
        output = capsys.readouterr().out
        found = json.loads((tmp_path / "check.json").read_text())["shared"]
        assert found["concert"]
        assert found["artist"]
        for column in ("concert", "artist"):
            assert f"{len(found[column])} {column}s are in several splits" in output


@pytest.fixture(scope="module")
def trained(divided, recipe, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "by-concert"
    arguments = ["--dataset", str(divided["concert"]), "--output-dir", str(output)]
    assert train(["--config", str(recipe), *arguments]) == 0
    return output


def test_train_and_evaluate_on_the_division(trained, divided, tmp_path, capsys):
    card = (trained / "README.md").read_text()
    assert "divided by group" in card
    report = tmp_path / "report"
    assert evaluate([str(trained), "--dataset", str(divided["concert"]), "--output", str(report)]) == 0
    evaluation = json.loads((report / "evaluation.json").read_text())
    assert evaluation["clips"]["count"] == evaluation["recordings"]["count"] == 4


def test_evaluate_on_the_collection_itself(trained, home, capsys):
    assert evaluate([str(trained), "--dataset", CARNATIC, "--data-home", str(home)]) == 0
    assert "16" in capsys.readouterr().out


def test_train_on_the_collection_holds_out_artists(recipe, home, tmp_path):
    output = tmp_path / "by-artist"
    arguments = ["--dataset", CARNATIC, "--data-home", str(home), "--group-by", "artist", "--test-size", "0.25"]
    assert train(["--config", str(recipe), *arguments, "--output-dir", str(output)]) == 0
    card = (output / "README.md").read_text()
    assert "divided by artist" in card
    assert "4 clips of 4 recordings" in card


def test_probe_in_folds_by_artist(trained, home, tmp_path):
    output = tmp_path / "probe"
    arguments = ["--dataset", CARNATIC, "--data-home", str(home), "--group-by", "artist", "--folds", "4"]
    assert probe([str(trained), *arguments, "--num-workers", "0", "--output", str(output)]) == 0
    report = json.loads((output / "probe.json").read_text())
    assert report["held_out"] == "4 folds by artist"
    assert report["recordings"] == 16
    assert [fold["recordings"] for fold in report["probe"]["folds"]] == [4, 4, 4, 4]
    assert report["settings"]["group_by"] == "artist"


def test_chunks_keep_their_concert_and_no_path_of_this_machine(home, tmp_path):
    output = tmp_path / "chunks"
    arguments = ["--output", str(output), "--chunk", "2", "--overlap", "0"]
    assert dataset(["build", CARNATIC, "--data-home", str(home), *arguments]) == 0
    columns = datasets.load_dataset(str(output))["train"].column_names
    assert {"tonic", "artist", "concert", "recording", "start"} <= set(columns)
    assert "pitch_path" not in columns
    assert dataset(["check", str(output), "--group-by", "artist"]) == 0
