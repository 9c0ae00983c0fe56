# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A Hub that cannot be reached: what was downloaded is read, and other names end at once in one line."""

import os
import subprocess
from pathlib import Path

import pytest
import torch

from builders import SSLAM, write_clip
from hub_server import WRITE_TOKEN, Blob, HubServer
from polyaudio import SSLAMConfig, SSLAMFeatureExtractor, SSLAMForAudioClassification
from polyaudio.training.lora import add_lora, lora_config
from prepared_python import python


PROGRAM = """
import sys
import huggingface_hub
from polyaudio.scripts.predict import main

clip, *models = sys.argv[1:]
print("while it answers:", main([clip, "--model", "tester/model"]), flush=True)
sys.stdin.readline()  # the Hub goes away
huggingface_hub.close_session()
for model in models:
    print(f"{model}:", main([clip, "--model", model]))
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A model, and an adapter of the same model on the Hub."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    model = SSLAMForAudioClassification(SSLAMConfig(**SSLAM, num_labels=2))
    model.save_pretrained(root / "model")
    add_lora(model, lora_config(model), "tester/model").save_pretrained(root / "adapter")
    for folder in ("model", "adapter"):
        SSLAMFeatureExtractor(max_length=64).save_pretrained(root / folder)
    return {name: root / name for name in ("model", "adapter")}


@pytest.fixture(scope="module")
def answers(folders, tmp_path_factory) -> tuple[dict[str, str], list[str]]:
    """The exit code for each model after the Hub went away, and the lines on standard error."""
    root = tmp_path_factory.mktemp("runs")
    models = ["tester/model", str(folders["adapter"]), "tester/other", "missing-folder", "./missing", "runs/two/three"]
    with HubServer() as hub:
        files = {path.name: Blob(path.read_bytes(), False) for path in folders["model"].iterdir()}
        hub.add_repo("tester/model").add("main", files, "a model")
        online = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": WRITE_TOKEN, "HF_HUB_OFFLINE": "0"}
        online |= {"HF_HUB_DISABLE_XET": "1", "HF_HOME": str(root / "home")}
        process = subprocess.Popen(
            [python("torch"), "-c", PROGRAM, write_clip(root / "clip.wav"), *models],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **online},
            cwd=root,
        )
        lines = iter(process.stdout.readline, "")
        assert any(line == "while it answers: 0\n" for line in lines)
    output, errors = process.communicate("\n")
    codes = dict(line.split(": ") for line in output.splitlines() if line.startswith(tuple(models)) and ": " in line)
    return codes, errors.splitlines()


def test_what_was_downloaded_is_read(folders, answers):
    codes, _ = answers
    assert codes["tester/model"] == "0"
    assert codes[str(folders["adapter"])] == "0"


@pytest.mark.parametrize("model", ["tester/other", "missing-folder"])
def test_what_was_not_downloaded_is_named(answers, model):
    codes, errors = answers
    assert codes[model] == "2"
    (line,) = [line for line in errors if line.startswith(f"polyaudio predict: {model} is neither a model folder")]
    assert "http://127.0.0.1:" in line
    assert f"does not answer, and {model} was not downloaded before. Correct the path" in line


@pytest.mark.parametrize("model", ["./missing", "runs/two/three"])
def test_a_path_is_no_name_on_the_hub(answers, model):
    codes, errors = answers
    assert codes[model] == "2"
    (line,) = [line for line in errors if line.startswith(f"polyaudio predict: {model} is neither a model folder")]
    assert f"there is no folder {model}" in line


def test_the_hub_is_not_asked_again_and_again(answers):
    """huggingface_hub would say so, "Retrying in 1s [Retry 1/5]", and try for 23 seconds for each file."""
    _, errors = answers
    assert [line for line in errors if "Retrying" in line or "thrown while requesting" in line] == []
