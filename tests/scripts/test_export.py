"""`polyaudio export`: what it prints and what it refuses."""

from pathlib import Path

import pytest
import torch

from builders import SAM_AUDIO
from polyaudio import SAMAudioConfig, SAMAudioFeatureExtractor, SAMAudioForAudioClassification
from polyaudio.scripts.export import main as export


pytest.importorskip("transformers", minversion="5.23", reason="exports need it, and so Python 3.11")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    SAMAudioForAudioClassification(SAMAudioConfig(**SAM_AUDIO, num_labels=2)).save_pretrained(folder)
    SAMAudioFeatureExtractor().save_pretrained(folder)
    return folder


def test_a_report_is_printed(model, tmp_path, capsys):
    assert export([str(model), "--output", str(tmp_path / "exported")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("onnx, float32, takes features: 0.")
    assert lines[1].startswith("largest difference from torch on 3 clips: ")
    assert float(lines[1].rpartition(" ")[2]) < 1e-4
    assert lines[2:] == ["same label on top: 100.0%", f"written to {tmp_path / 'exported'}"]
    assert (tmp_path / "exported" / "model.onnx").is_file()


def test_an_encoder_of_a_classifier(model, tmp_path, capsys):
    arguments = [str(model), "--output", str(tmp_path / "exported"), "--encoder", "--limit", "1e-12"]
    assert export(arguments) == 2
    assert "its worst difference is" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
