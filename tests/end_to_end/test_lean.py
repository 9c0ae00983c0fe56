# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The commands run exports without torch, and with nothing else than onnxruntime, numpy and soundfile."""

import configparser
import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from exports import RATE, write_export

from builders import TONES, write_events, write_tones
from hub_server import WRITE_TOKEN, HubServer


pytest.importorskip("onnx", reason="the graphs of these tests are made with onnx: pip install polyaudio[test]")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install polyaudio[onnx]")

# What requirements of polyaudio bring with them
BROUGHT_ALONG = ("fsspec", "pandas", "pyarrow", "requests", "safetensors", "tokenizers", "tqdm")
MODULES = {"pyyaml": "yaml", "scikit-learn": "sklearn"}

# Runs a command, and prints which modules are loaded at its end. `None` makes a module one that is not installed.
COMMAND = """
import sys
for name in {missing}:
    sys.modules[name] = None
from polyaudio.scripts.__main__ import main
code = main(sys.argv[1:])
print("loaded:", *sorted(name for name in sys.modules if sys.modules[name] and "." not in name))
sys.exit(code)
"""


def run(*command, missing=()) -> tuple[int, str, str, set[str]]:
    """The exit code, the output and the errors of a command, and the modules that it has loaded."""
    code = COMMAND.replace("{missing}", repr(tuple(missing)))
    done = subprocess.run([sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True)
    output, _, loaded = done.stdout.partition("loaded:")
    return done.returncode, output, done.stderr, set(loaded.split())


@pytest.fixture(scope="module")
def not_lean(project_root) -> list[str]:
    """The modules of the requirements of polyaudio that a lean installation does not have."""
    parser = configparser.ConfigParser()
    parser.read(project_root / "setup.cfg")
    lines = parser["options"]["install_requires"].split()
    names = {re.split(r"[><=]", line)[0] for line in lines} - {"numpy", "soundfile"}
    return [*(MODULES.get(name, name) for name in names), *BROUGHT_ALONG]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Two recordings, one at another rate and in stereo, with a loud part each."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for name, rate, channels in (("a.wav", RATE, 1), ("b.flac", 44_100, 2)):
        samples = 0.01 * rng.standard_normal((round(2.5 * rate), channels))
        samples[rate : 2 * rate] += 0.5 * rng.uniform(-1, 1, (rate, channels))
        soundfile.write(folder / name, samples, rate)
    return folder


def test_predict_and_annotate_with_the_lean_set(recordings, not_lean, tmp_path):
    clips, frames = write_export(tmp_path / "clips"), write_export(tmp_path / "frames", "frames")
    code, output, errors, loaded = run("predict", recordings, "--model", clips, "--json", missing=not_lean)
    assert (code, errors) == (0, "")
    assert [Path(one["file"]).name for one in json.loads(output)] == ["a.wav", "b.flac"]
    assert "onnxruntime" in loaded
    assert not loaded & set(not_lean)

    formats = ("csv", "jsonl", "audacity", "raven", "webvtt", "jams")
    command = ("annotate", recordings, "--model", frames, "--output", tmp_path / "out", "--threshold", "0.6")
    code, output, errors, _ = run(*command, "--formats", *formats, missing=not_lean)
    assert (code, errors) == (0, "")
    with open(tmp_path / "out" / "a.wav.csv", newline="") as file:
        (event,) = [row for row in csv.DictReader(file) if row["label"] == "loud"]
    assert (float(event["onset"]), float(event["offset"])) == (1.0, 2.0)
    assert len(list((tmp_path / "out").iterdir())) == 2 * len(formats)


def test_pictures_are_left_out_with_a_note(recordings, not_lean, tmp_path):
    command = ("annotate", recordings, "--model", write_export(tmp_path / "model"), "--output", tmp_path / "out")
    code, _, errors, _ = run(*command, missing=not_lean)
    assert code == 0
    assert "no html is written, because matplotlib is not installed" in errors
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".csv"}
    code, _, errors, _ = run(*command, "--formats", "png", missing=not_lean)
    assert code == 2
    assert "png needs matplotlib" in errors


def test_embed_with_the_lean_set(recordings, not_lean, tmp_path):
    command = ("embed", recordings, "--model", write_export(tmp_path / "model", "encoder"), "--granularity", "frame")
    code, output, errors, _ = run(*command, "--output", tmp_path / "npy", missing=not_lean)
    assert (code, errors) == (0, "")
    assert "features of 2 files written" in output
    assert np.load(tmp_path / "npy" / "a.wav.npy").shape == (27, 2)
    code, _, errors, _ = run(*command, "--output", tmp_path / "other", "--format", "safetensors", missing=not_lean)
    assert code == 2
    assert "pip install safetensors" in errors


def test_other_models_and_commands_say_what_is_missing(recordings, not_lean, tmp_path):
    code, _, errors, _ = run("predict", recordings, "--model", tmp_path, missing=not_lean)
    assert code == 2
    assert "polyaudio_export.json" in errors
    assert "pip install polyaudio" in errors
    code, _, errors, _ = run("predict", recordings, "--model", "tester/model", missing=not_lean)
    assert code == 2
    assert "tester/model is not a folder" in errors
    model = write_export(tmp_path / "model")
    code, _, errors, _ = run("evaluate", model, "--dataset", tmp_path, missing=not_lean)
    assert code == 2
    assert "needs the module datasets" in errors


@pytest.mark.slow
def test_nothing_of_torch_is_loaded_where_it_is_installed(recordings, tmp_path):
    clips, frames = write_export(tmp_path / "clips"), write_export(tmp_path / "frames", "frames", labels=[*TONES])
    encoder = write_export(tmp_path / "encoder", "encoder")
    single = write_export(tmp_path / "single", problem_type="single_label_classification", labels=[*TONES])
    tones, events = write_tones(tmp_path / "tones", TONES, 3), write_events(tmp_path / "events", 3, 0)
    for command in (
        ("predict", recordings, "--model", clips),
        ("annotate", recordings, "--model", clips, "--output", tmp_path / "out", "--formats", "csv", "html", "png"),
        ("embed", recordings, "--model", encoder, "--output", tmp_path / "features", "--granularity", "utterance"),
        ("evaluate", single, "--dataset", tones, "--output", tmp_path / "report"),
        ("evaluate", frames, "--dataset", events, "--output", tmp_path / "report-of-events"),
    ):
        code, _, errors, loaded = run(*command)
        assert code == 0, errors
        assert not loaded & {"torch", "torchaudio", "transformers", "peft", "accelerate"}, command


def test_an_export_on_the_hub(recordings, tmp_path):
    folder = Path(write_export(tmp_path / "model"))
    with HubServer() as hub:
        environment = {
            **{name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"},
            **{"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": WRITE_TOKEN},
            "HF_HOME": str(tmp_path / "home"),
        }
        code = f"""
import sys
from huggingface_hub import HfApi
HfApi().create_repo("tester/export")
HfApi().upload_folder(repo_id="tester/export", folder_path={str(folder)!r})
from polyaudio import predict
(there,), (here,) = (predict({str(recordings / "a.wav")!r}, name) for name in ("tester/export", {str(folder)!r}))
assert there == here and there.error is None
assert "torch" not in sys.modules
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
