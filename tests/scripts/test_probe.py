# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio probe`: honest folds, the features it says it probes, and figures that can be had again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from builders import write_tones
from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForPreTraining,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
    SSLAMModel,
    load_audio,
)
from polyaudio.scripts.embed import main as embed
from polyaudio.scripts.probe import main


TONES = {"high": 3000.0, "low": 300.0, "middle": 1000.0}


WINDOW_FRAMES = 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three classes of tones, five recordings of two chunks each, from less than one window to several."""
    return write_tones(tmp_path_factory.mktemp("tones"), TONES, 10, seconds=(0.2, 1.2), chunks=2)


@pytest.fixture(scope="module")
def sslam(tmp_path_factory) -> Path:
    """Random weights, those that `--seed 7` draws for the baseline, in a classifier."""
    folder = tmp_path_factory.mktemp("sslam")
    torch.manual_seed(7)
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
    config = SSLAMConfig(**sizes, window_frames=WINDOW_FRAMES)
    model = SSLAMForAudioClassification(config)
    torch.manual_seed(7)
    model.sslam = SSLAMModel(config)
    model.save_pretrained(folder)
    SSLAMFeatureExtractor(max_length=WINDOW_FRAMES).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sam_audio(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sam_audio")
    torch.manual_seed(0)
    config = SAMAudioConfig(conv_dim=[16, 32], conv_kernel=[3, 3], conv_stride=[4, 4], num_segments=4)
    SAMAudioForPreTraining(config).save_pretrained(folder)
    SAMAudioFeatureExtractor().save_pretrained(folder)
    return folder


def probe(model: Path, dataset: Path, output: Path, *arguments: str, code: int = 0) -> None:
    arguments = ("--output", str(output), "--num-workers", "0", "--folds", "3", *arguments)
    assert main([str(model), "--dataset", str(dataset), *arguments]) == code


def report_in(output: Path) -> dict:
    return json.loads((output / "probe.json").read_text())


# The features -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cls", "mean", "both"])
def test_features_of_sslam(folder, sslam, tmp_path, kind):
    """Of each window alone, without padding, weighted by its frames; whatever the batches and the workers."""
    probe(sslam, folder, tmp_path, "--features", kind, "--batch-size", "4", "--num-workers", "2", "--baseline", "none")
    features = np.load(tmp_path / "features.npz")
    model, extractor = SSLAMModel.from_pretrained(sslam).eval(), SSLAMFeatureExtractor()
    files = sorted(folder.rglob("*.wav"))
    assert features["recordings"].tolist() == [f"{file.parent.name}/{file.name[0]}" for file in files]
    num_windows = set()
    for file, own in zip(files, features["features"], strict=True):
        waveform, step = load_audio(file, 16000), WINDOW_FRAMES * 160
        windows = [waveform[start : start + step + 240] for start in range(0, len(waveform) - 399, step)]
        vectors = []
        for window in windows:
            inputs = extractor(window, sampling_rate=16000, padding="longest", return_tensors="pt")
            with torch.no_grad():
                tokens = model(**inputs).last_hidden_state[0]
            vectors.append({"cls": [tokens[0]], "mean": [tokens[1:].mean(0)], "both": [tokens[0], tokens[1:].mean(0)]})
        frames = [(len(window) - 240) // 160 for window in windows]
        expected = np.average([torch.cat(vector[kind]) for vector in vectors], axis=0, weights=frames)
        np.testing.assert_allclose(own, expected, atol=1e-5)
        num_windows.add(len(windows))
    assert num_windows >= {1, 2, 3}


def test_features_of_sam_audio_are_those_that_embed_calls_utterance(folder, sam_audio, tmp_path):
    probe(sam_audio, folder, tmp_path)
    features = np.load(tmp_path / "features.npz")["features"]
    arguments = ["--model", str(sam_audio), "--granularity", "utterance", "--output", str(tmp_path / "embed")]
    assert embed([str(folder), *arguments, "--workers", "0"]) == 0
    embedded = [np.load(path) for path in sorted((tmp_path / "embed").rglob("*.npy"))]
    np.testing.assert_allclose(features, embedded, atol=1e-5)
    assert report_in(tmp_path)["features"] == "utterance"


def test_a_model_in_the_published_layout(reference, folder, tmp_path):
    probe(reference / "hub_eat" / "pretrained", folder, tmp_path)
    report = report_in(tmp_path)
    assert (report["model_type"], report["features"], report["feature_size"]) == ("sslam", "both", 96)


# The command --------------------------------------------------------------------------------------


def test_the_report(folder, sslam, tmp_path, capsys):
    probe(sslam, folder, tmp_path, "--baseline-seeds", "2", "--features", "mean")
    report = report_in(tmp_path)
    assert (report["clips"], report["recordings"], report["labels"]) == (30, 15, sorted(TONES))
    assert report["model_type"] == "sslam"
    assert report["feature_size"] == 48
    frozen = sum(weight.numel() for weight in SSLAMModel.from_pretrained(sslam).parameters())
    assert report["parameters"] == {"frozen": frozen, "trained": 49 * 3}
    scores = report["probe"]
    assert sum(fold["clips"] for fold in scores["folds"]) == 30
    assert scores["accuracy"]["mean"] == np.mean([fold["accuracy"] for fold in scores["folds"]]) > 0.9
    assert scores["held_out"]["clips"]["per_class"].keys() == TONES.keys()
    assert scores["held_out"]["recordings"]["count"] == 15
    assert [one["seed"] for one in report["untrained"]] == [0, 1]
    mean = np.mean([one["accuracy"]["mean"] for one in report["untrained"]])
    assert report["difference"]["accuracy"]["mean"] == pytest.approx(scores["accuracy"]["mean"] - mean)
    assert report["settings"].items() >= {"folds": 3, "seed": 0, "window_seconds": 0.48, "batch_size": 8}.items()
    assert report["versions"].keys() >= {"polyaudio", "torch", "scikit-learn"}

    arrays = np.load(tmp_path / "features.npz")
    assert arrays["features"].shape == (30, 48)
    correct = arrays["probabilities"].argmax(axis=1) == arrays["labels"]
    assert correct.mean() == scores["held_out"]["clips"]["accuracy"]
    output = " ".join(capsys.readouterr().out.split())
    for shown in (
        "30 clips of 15 recordings; held out: 3 folds",
        "untrained, seed 1",
        "difference",
        "majority class 0.33",
    ):
        assert shown in output


def test_the_same_seed_gives_the_same_figures_and_its_own_baseline_no_difference(folder, sslam, tmp_path):
    for name, seed in (("one", "7"), ("two", "7"), ("three", "8")):
        probe(sslam, folder, tmp_path / name, "--seed", seed)
    assert report_in(tmp_path / "one") == report_in(tmp_path / "two")
    assert report_in(tmp_path / "one")["difference"]["accuracy"] == {"mean": 0.0, "std": 0.0}
    folds = [np.load(tmp_path / name / "features.npz")["folds"].tolist() for name in ("one", "three")]
    assert folds[0] != folds[1]


def test_a_test_split_is_what_is_tested_on(folder, sslam, tmp_path):
    for number, split in enumerate(("train", "validation", "test", "train", "test")):
        for name in TONES:
            (tmp_path / split / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / name / f"{number}_chunk0.wav", tmp_path / split / name)
    probe(sslam, tmp_path, tmp_path / "out", "--baseline", "none")
    report = report_in(tmp_path / "out")
    assert report["labels"] == sorted(TONES)
    assert [fold["clips"] for fold in report["probe"]["folds"]] == [6]
    assert report["probe"]["accuracy"]["std"] is None
    assert "untrained" not in report
    assert report["held_out"] == "split test"
    tested = np.load(tmp_path / "out" / "features.npz")
    assert {recording[-1] for recording in tested["recordings"][tested["folds"] == 0]} == {"2", "4"}


def test_a_split_is_probed_by_itself(folder, sslam, tmp_path):
    shutil.copytree(folder, tmp_path / "data" / "train")
    shutil.copytree(folder / "low", tmp_path / "data" / "test" / "low")
    probe(sslam, tmp_path / "data", tmp_path / "out", "--baseline", "none", "--split", "train")
    report = report_in(tmp_path / "out")
    assert (report["clips"], report["held_out"]) == (30, "3 folds by recording")


def test_files_that_cannot_be_read_are_named_and_left_out(folder, sslam, tmp_path, capsys):
    data = shutil.copytree(folder, tmp_path / "data")
    (data / "low" / "page.wav").write_text("<html>")
    probe(sslam, data, tmp_path / "out", "--baseline", "none")
    assert "page.wav" in capsys.readouterr().err
    assert report_in(tmp_path / "out")["clips"] == 30


@pytest.fixture
def wav2vec2(tmp_path) -> Path:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = Wav2Vec2Config(**small, conv_dim=[8] * 7, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2)
    Wav2Vec2Model(config).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def lacking_a_layer(sslam, tmp_path) -> Path:
    model = shutil.copytree(sslam, tmp_path / "model")
    config = json.loads((model / "config.json").read_text()) | {"num_hidden_layers": 3}
    (model / "config.json").write_text(json.dumps(config))
    return model


BAD_USAGE = {
    "features of another type": ("sslam", ["--features", "utterance"], "to both or cls or mean."),
    "SSLAM's features of SAMAudio": ("sam_audio", ["--features", "cls"], "to utterance."),
    "more folds than recordings": ("sslam", ["--folds", "6"], "at most 5"),
    "no such split": ("sslam", ["--split", "test"], "no split 'test', only train"),
    "no such device": ("sslam", ["--device", "abacus"], "'abacus' is not the name of a device"),
    "no such data": ("sslam", ["--dataset", "nowhere/at-all"], "'nowhere/at-all' is neither"),
    "another type of model": ("wav2vec2", [], "of type wav2vec2 has no features to probe."),
    "weights are missing": ("lacking_a_layer", [], "lacks weights of its encoder: layers.2."),
}


@pytest.mark.parametrize("name", BAD_USAGE)
def test_bad_usage_says_why_in_one_line(folder, request, tmp_path, capsys, name):
    model, arguments, message = BAD_USAGE[name]
    probe(request.getfixturevalue(model), folder, tmp_path / "out", *arguments, code=2)
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("polyaudio probe:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("arguments", [["--batch-size", "0"], ["--folds", "1"], ["--baseline-seeds", "0"]])
def test_impossible_numbers_are_refused(folder, sslam, tmp_path, arguments):
    with pytest.raises(SystemExit, match="2"):
        probe(sslam, folder, tmp_path, *arguments)
