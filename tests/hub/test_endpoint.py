# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`handler.py` as an Inference Endpoint runs it: from the repository, where polyaudio is not installed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from hub_server import WRITE_TOKEN
from polyaudio import SSLAMConfig, SSLAMModel, annotate, predict
from polyaudio.hub.endpoint import endpoint_files
from polyaudio.hub.push import Upload
from polyaudio.training.lora import add_lora, lora_config
from prepared_python import WITHOUT_POLYAUDIO, python


# What huggingface-inference-toolkit 0.5.6 does with a repository that holds a handler.py
TOOLKIT = (
    WITHOUT_POLYAUDIO
    + """
import base64, importlib.util, json

model_dir, recording = sys.argv[1:]
spec = importlib.util.spec_from_file_location("handler.EndpointHandler", model_dir + "/handler.py")
sys.path.insert(0, model_dir)
handler = importlib.util.module_from_spec(spec)
sys.modules["handler.EndpointHandler"] = handler
spec.loader.exec_module(handler)
custom_pipeline = handler.EndpointHandler(model_dir)

content = open(recording, "rb").read()
report = []
for data in json.load(sys.stdin):
    if data.get("inputs") == "BYTES":
        data["inputs"] = content
    elif data.get("inputs") == "BASE64":
        data["inputs"] = base64.b64encode(content).decode()
    try:
        report.append(custom_pipeline(data))
    except Exception as error:
        report.append([type(error).__name__, str(error)])
print("\\n" + json.dumps(report))
"""
)


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    """Two channels at a rate that is not the model's, longer than one of its windows."""
    rng = np.random.default_rng(0)
    bursts = 0.3 * np.repeat(rng.random(30), 2205)[:, None] * rng.standard_normal((30 * 2205, 2))
    path = tmp_path_factory.mktemp("recording") / "bursts.wav"
    soundfile.write(path, bursts, 22_050)
    return path


def ask(folder: Path, recording: Path, *requests: dict) -> list:
    """The answers to requests in a process of its own, which has the repository of a model and no polyaudio."""
    done = subprocess.run(
        [python("torch"), "-c", TOOLKIT, str(folder), str(recording)],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def repositories(classifiers, tmp_path_factory) -> dict[str, Path]:
    """What is pushed for each of the classifiers."""
    folders = {}
    for kind, model in classifiers.items():
        folders[kind] = tmp_path_factory.mktemp("repositories") / kind
        folders[kind].mkdir()
        upload = Upload(model, f"tester/{kind}", endpoint=True)
        upload.check()
        for name, path in upload.files().items():
            shutil.copy(path, folders[kind] / name)
        for name, content in upload.generated().items():
            (folders[kind] / name).write_bytes(content)
    return folders


def scores(answer: list[dict]) -> dict[str, float]:
    assert [one["score"] for one in answer] == sorted((one["score"] for one in answer), reverse=True)
    return {one["label"]: one["score"] for one in answer}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clips", "tags"])
def test_labels_are_those_of_predict(repositories, classifiers, recording, kind):
    samples, _ = soundfile.read(recording, dtype="float32")
    array = {"array": samples.mean(1).tolist(), "sampling_rate": 22_050}
    content, text, dictionary, best, query = ask(
        repositories[kind],
        recording,
        {"inputs": "BYTES"},
        {"inputs": "BASE64", "parameters": {}},
        {"inputs": array, "parameters": None},
        {"inputs": "BYTES", "parameters": {"top_k": 1}},
        {"inputs": "BYTES", "parameters": {"events": False, "top_k": "2"}},
    )
    (prediction,) = predict(recording, str(classifiers[kind]))
    expected = {one.label: one.score for one in prediction.labels}
    for answer in (content, text, dictionary, query):
        assert scores(answer) == pytest.approx(expected, abs=1e-4)
    assert scores(best) == pytest.approx({prediction.labels[0].label: prediction.labels[0].score}, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clips", "frames"])
def test_events_are_those_of_annotate(repositories, classifiers, recording, kind):
    asked, lower, plain, refused = ask(
        repositories[kind],
        recording,
        {"inputs": "BYTES", "parameters": {"events": True}},
        {"inputs": "BYTES", "parameters": {"events": True, "threshold": "0.3"}},
        {"inputs": "BYTES"},
        {"inputs": "BYTES", "parameters": {"events": True, "top_k": 3}},
    )
    for answer, settings in ((asked, {}), (lower, {"threshold": 0.3})):
        (annotation,) = annotate(recording, str(classifiers[kind]), **settings)
        assert [(one["onset"], one["offset"], one["label"]) for one in answer] == [
            (pytest.approx(e.onset, abs=1e-4), pytest.approx(e.offset, abs=1e-4), e.label) for e in annotation.events
        ]
        assert [one["score"] for one in answer] == pytest.approx([e.score for e in annotation.events], abs=1e-3)
    assert (plain == asked) == (kind == "frames"), "a frame classifier answers with events in any case"
    assert refused == ["ValueError", "Events have no `top_k`. Use `threshold`."]


@pytest.mark.slow
def test_wrong_requests_are_answered_with_what_to_do(repositories, classifiers, recording):
    requests = [
        ({}, "has no `inputs`"),
        ({"inputs": "not base64!"}, "not an audio file in base64"),
        ({"inputs": "AAAA"}, "is not audio that can be read (Format not recognised). Send wav, flac, ogg or mp3."),
        ({"inputs": []}, "has no samples"),
        ({"inputs": [[0.0, 0.1]]}, "have the shape (1, 2). Send one channel."),
        ({"inputs": ["loud"]}, "not a list of numbers"),
        ({"inputs": [1e999]}, "contains NaN or infinity"),
        ({"inputs": {"array": [0.0]}}, "without `array` or without `sampling_rate`"),
        ({"inputs": {"array": [0.0], "sampling_rate": 0}}, "The `sampling_rate` is 0."),
        ({"inputs": [0.0], "parameters": {"top": 1}}, "no parameter 'top'. There are top_k, events, threshold."),
        ({"inputs": [0.0], "parameters": {"top_k": 0}}, "`top_k` must be at least 1, got 0"),
        ({"inputs": [0.0], "parameters": {"top_k": "many"}}, "`top_k` is 'many'. Send a number."),
        ({"inputs": [0.0], "parameters": {"threshold": 0.5}}, "Labels have no `threshold`"),
        (
            {"inputs": [0.0], "parameters": {"events": True, "threshold": 1}},
            "`threshold` must be at least 0 and below",
        ),
    ]
    answers = ask(repositories["clips"], recording, *(request for request, _ in requests))
    for (_, expected), (kind, message) in zip(requests, answers, strict=True):
        assert kind == "ValueError"
        assert expected in message


@pytest.mark.slow
def test_an_adapter(classifiers, recording, tmp_path):
    base = str(classifiers["clips"])
    labels = {"id2label": {0: "dog", 1: "rain"}, "label2id": {"dog": 0, "rain": 1}}
    model = AutoModelForAudioClassification.from_pretrained(base, **labels, ignore_mismatched_sizes=True)
    adapted = add_lora(model, lora_config(model), base)
    torch.nn.init.normal_(adapted.get_base_model().sslam.layers[0].attention.q_proj.lora_B.default.weight)
    adapted.save_pretrained(tmp_path)
    AutoFeatureExtractor.from_pretrained(base).save_pretrained(tmp_path)
    files = endpoint_files(tmp_path)
    assert "peft" in files["requirements.txt"].decode()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (answer,) = ask(tmp_path, recording, {"inputs": "BYTES"})
    (prediction,) = predict(recording, str(tmp_path))
    assert scores(answer) == pytest.approx({one.label: one.score for one in prediction.labels}, abs=1e-4)


def test_a_push_adds_the_handler(hub, classifiers):
    code = (
        "import sys; from pathlib import Path; from polyaudio.scripts.push import main; code = main(sys.argv[1:]); "
        "print('torch' in sys.modules); sys.exit(code)"
    )
    online = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": WRITE_TOKEN, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    environment = {**os.environ, **online}
    command = [sys.executable, "-c", code, str(classifiers["clips"]), "tester/clips", "--endpoint"]
    listed = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, env=environment)
    assert listed.returncode == 0, listed.stderr
    assert {"handler.py", "requirements.txt"} <= {line.split()[-1] for line in listed.stdout.splitlines()}
    assert hub.requests == []
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False", "to push, torch is not needed"
    files = hub.files("tester/clips")
    assert b"class EndpointHandler" in files["handler.py"]
    lines = files["requirements.txt"].decode().splitlines()
    assert {line.partition(">")[0] for line in lines} == {"transformers", "torch", "torchaudio", "numpy", "soundfile"}
    assert not (classifiers["clips"] / "handler.py").exists()


def test_models_that_an_endpoint_cannot_run(classifiers, tmp_path, monkeypatch):
    SSLAMModel(SSLAMConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4)).save_pretrained(tmp_path / "a")
    with pytest.raises(ValueError, match="holds no classifier"):
        endpoint_files(tmp_path / "a")
    monkeypatch.setenv("POLYAUDIO_SAVE_CODE", "0")
    model = AutoModelForAudioClassification.from_pretrained(classifiers["clips"])
    model.save_pretrained(tmp_path / "b")
    with pytest.raises(ValueError, match="holds no code"):
        endpoint_files(tmp_path / "b")
