# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The folder of a page: what is in it, for which models, and how it is described."""

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import metadata_load

from builders import SAM_AUDIO, SSLAM
from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioFrameClassification,
)
from polyaudio.export import web
from polyaudio.export.web import export_web
from polyaudio.scripts.export import main


pytest.importorskip("transformers", minversion="5.23", reason="exports need it, and so Python 3.11")

HOSTILE = "</script><b>\n&"


@pytest.fixture(autouse=True)
def runtime(monkeypatch):
    monkeypatch.setattr(web, "read_web_runtime", lambda source: {"dist/ort.mjs": b"runtime"})


def save(folder: Path, **settings) -> Path:
    """A classifier of waveforms, which are exported in the shortest time."""
    torch.manual_seed(0)
    labels = {"id2label": {0: "a", 1: HOSTILE}, "label2id": {"a": 0, HOSTILE: 1}}
    sizes = {**SAM_AUDIO, "frontend": "waveform", "conv_stride": [16, 16]}
    SAMAudioForAudioClassification(SAMAudioConfig(**sizes, **labels, **settings)).save_pretrained(folder)
    SAMAudioFeatureExtractor("waveform").save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_page_of_a_classifier_of_clips(tmp_path):
    model = save(tmp_path / "my <model>")
    (model / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    report = export_web(model, tmp_path / "page", window=2, hop=0.5, join="max", threshold=0.25, quantized=False)
    files = {path.relative_to(tmp_path / "page").as_posix(): path for path in (tmp_path / "page").rglob("*.*")}
    assert report.size == sum(path.stat().st_size for path in files.values())
    assert report.graphs[0].worst_difference < 1e-4
    assert {"index.html", "page.js", "timeline_view.css", "ort.mjs", "onnx/model.onnx", "README.md"} <= set(files)
    settings = json.loads(files["polyaudio_export.json"].read_text(encoding="utf-8"))
    assert (settings["graph"], settings["labels"]) == ("onnx/model.onnx", ["a", "</script><b> &"])
    assert settings["timeline"] | {"length": 32000, "step": 8000, "cell": 8000, "join": "max"} == settings["timeline"]
    assert settings["event_rules"]["threshold"] == 0.25
    page = files["index.html"].read_text(encoding="utf-8")
    assert page.count("my &lt;model&gt;") == 2
    assert "<model>" not in page
    card = metadata_load(files["README.md"])
    assert (card["title"], card["sdk"], card["license"]) == ("my <model>", "static", "cc0-1.0")
    assert card["custom_headers"]["cross-origin-opener-policy"] == "same-origin"
    config = json.loads(files["config.json"].read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "a", "1": "</script><b> &"}
    with pytest.raises(ValueError, match="already holds"):
        export_web(model, tmp_path / "page")


@pytest.mark.slow
def test_a_classifier_of_frames_is_not_described_for_transformers_js(tmp_path):
    torch.manual_seed(0)
    model = SSLAMForAudioFrameClassification(SSLAMConfig(**SSLAM, num_labels=2)).eval()
    extractor = SSLAMFeatureExtractor(max_length=256)
    export_web(model, tmp_path / "page", feature_extractor=extractor, resolution=0.04, quantized=False)
    settings = json.loads((tmp_path / "page" / "polyaudio_export.json").read_text(encoding="utf-8"))
    assert (settings["task"], settings["timeline"]["answer"], settings["timeline"]["cell"]) == ("frames", 2560, 640)
    assert not (tmp_path / "page" / "config.json").exists()


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    model = save(tmp_path / "model")
    arguments = [str(model), "--output", str(tmp_path / "a page")]
    settings = ["--format", "web", "--precision", "int8-dynamic", "--title", "Mine", "--window", "2", "--limit", "1"]
    assert main([*arguments, *settings]) == 0
    printed = capsys.readouterr().out
    assert "onnx, int8-dynamic, takes samples" in printed
    assert f"python -m http.server --directory '{tmp_path}/a page'" in printed
    settings = json.loads((tmp_path / "a page" / "polyaudio_export.json").read_text(encoding="utf-8"))
    assert (settings["graph"], settings["timeline"]["length"]) == ("onnx/model_quantized.onnx", 32000)
    assert "<title>Mine</title>" in (tmp_path / "a page" / "index.html").read_text(encoding="utf-8")
    for wrong, message in (
        (["--title", "Mine"], "--title is for --format web"),
        (["--format", "web", "--encoder"], "a page needs a classifier"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *wrong])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


def test_what_cannot_be_a_page_is_refused(tmp_path):
    model = save(tmp_path / "model")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ValueError, match="holds something else"):
        export_web(model, tmp_path / "full", overwrite=True)
    with pytest.raises(ValueError, match="would leave out what is between windows"):
        export_web(model, tmp_path / "page", window=1, hop=2)
    regression = save(tmp_path / "regression", problem_type="regression")
    with pytest.raises(ValueError, match="predicts values"):
        export_web(regression, tmp_path / "page")
    assert not (tmp_path / "page").exists()
