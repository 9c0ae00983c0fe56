# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Repositories that an earlier version pushed still load: with polyaudio, and by the code beside their weights."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

import polyaudio
from prepared_python import WITHOUT_POLYAUDIO, python


ANSWERS = (
    WITHOUT_POLYAUDIO
    + """
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

folder, golden, output = sys.argv[1:]
model = AutoModelForAudioClassification.from_pretrained(folder, trust_remote_code=True).eval()
extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
inputs = extractor(load_file(golden)["waveform"].numpy(), sampling_rate=16000, return_tensors="pt")
with torch.inference_mode():
    save_file({"logits": model(**inputs).logits}, output)
"""
)


@pytest.fixture
def pushed(reference, tmp_path) -> Path:
    """The folders, with adapters that name their base by where it is now."""
    folder = shutil.copytree(reference / "pushed_0_1_0", tmp_path / "pushed")
    for path in folder.glob("*_lora/adapter_config.json"):
        config = json.loads(path.read_text())
        config["base_model_name_or_path"] = str(folder / config["base_model_name_or_path"])
        path.write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("name", ["sslam", "sam_audio", "sslam_lora", "sam_audio_lora"])
def test_with_polyaudio(pushed, name):
    golden = load_file(pushed / "golden.safetensors")
    model = AutoModelForAudioClassification.from_pretrained(pushed / name).eval()
    extractor = AutoFeatureExtractor.from_pretrained(pushed / name)
    assert type(model).__module__.startswith("polyaudio.")
    assert isinstance(extractor, (polyaudio.SSLAMFeatureExtractor, polyaudio.SAMAudioFeatureExtractor))
    inputs = extractor(golden["waveform"].numpy(), sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        torch.testing.assert_close(model(**inputs).logits, golden[name], rtol=1e-4, atol=1e-5)
    assert list(model.config.id2label.values()) == ["bell", "drum", "voice"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sslam", "sam_audio"])
def test_by_their_own_code(pushed, tmp_path, name):
    output = tmp_path / "logits.safetensors"
    command = [python("torch"), "-c", ANSWERS, pushed / name, pushed / "golden.safetensors", output]
    subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    expected = load_file(pushed / "golden.safetensors")[name]
    torch.testing.assert_close(load_file(output)["logits"], expected, rtol=1e-4, atol=1e-5)
