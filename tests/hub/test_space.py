# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Spaces: what is in them, how they are pushed, and that they start."""

import importlib.metadata
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from huggingface_hub import RepoCard, SpaceCardData

from builders import RATE, SAM_AUDIO
from hub_server import WRITE_TOKEN
from polyaudio import SAMAudioConfig, SAMAudioFeatureExtractor, SAMAudioForAudioClassification, predict
from polyaudio.hub.space import Space, license_of, space_files
from polyaudio.scripts.push import main as push_here


GRADIO = "Gradio is not installed: pip install polyaudio[app]"
try:
    GRADIO_VERSION = importlib.metadata.version("gradio")
except importlib.metadata.PackageNotFoundError:
    GRADIO_VERSION = ""
needs_gradio = pytest.mark.skipif(not GRADIO_VERSION, reason=GRADIO)

PUSH = """
import sys
from polyaudio.scripts.push import main
code = main(sys.argv[1:])
print("torch" in sys.modules, "gradio" in sys.modules)
sys.exit(code)
"""


@pytest.fixture
def model(classifiers, tmp_path) -> Path:
    """A model with a card."""
    folder = shutil.copytree(classifiers["clips"], tmp_path / "model")
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\ntags:\n- polyaudio\n---\n# A model\n")
    return folder


@pytest.fixture
def sound(tmp_path) -> Path:
    path = tmp_path / "A tone.wav"
    soundfile.write(path, 0.3 * np.sin(np.arange(2 * RATE)), RATE)
    return path


def run_push(hub, *arguments: object) -> subprocess.CompletedProcess:
    online = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": WRITE_TOKEN, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-c", PUSH, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **online},
    )


def card_of(readme: bytes) -> SpaceCardData:
    return SpaceCardData(**RepoCard(readme.decode()).data.to_dict())


@needs_gradio
def test_a_model_and_its_space_are_pushed(hub, model, sound):
    done = run_push(hub, model, "tester/ragas", "--space", "gradio", "--examples", sound)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False False", "to push, neither torch nor Gradio is needed"
    assert f"{hub.endpoint}/spaces/tester/ragas/commit/" in done.stdout
    assert "model.safetensors" in hub.files("tester/ragas")
    files = hub.files("tester/ragas", kind="space")
    outside = {name for name in files if not name.startswith("polyaudio/")}
    assert outside == {".gitattributes", "README.md", "app.py", "requirements.txt", "examples/A tone.wav"}
    assert files["examples/A tone.wav"] == sound.read_bytes()
    card = card_of(files["README.md"])
    assert (card.title, card.sdk, card.sdk_version) == ("ragas", "gradio", GRADIO_VERSION)
    assert (card.app_file, card.license, card.models) == ("app.py", "cc-by-4.0", ["tester/ragas"])
    assert card.python_version == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert card.tags == ["polyaudio", "audio-classification"]
    assert {"emoji", "colorFrom", "colorTo"} <= set(card.to_dict())


@needs_gradio
def test_the_requirements_are_the_versions_here(model, tmp_path):
    (tmp_path / "space").mkdir()
    Space("tester/ragas", "tester/ragas", "gradio", str(model)).write(tmp_path / "space")
    lines = (tmp_path / "space" / "requirements.txt").read_text().splitlines()
    pins = dict(re.fullmatch(r"([\w.-]+)==([\w.]+)", line).groups() for line in lines)
    assert {"transformers", "torch", "torchaudio", "soundfile", "gradio"} <= set(pins)
    for name, version in pins.items():
        assert importlib.metadata.version(name).partition("+")[0] == version


@needs_gradio
def test_a_space_holds_all_of_the_package_and_nothing_else(model, project_root, tmp_path):
    (tmp_path / "space").mkdir()
    Space("tester/ragas", "tester/ragas", "gradio", str(model)).write(tmp_path / "space")
    files = space_files(tmp_path / "space")
    found = {Path(name).relative_to("polyaudio") for name in files if name.startswith("polyaudio/")}
    assert Path("LICENSE") in found
    assert {Path("inference/annotation_page.html"), Path("inference/annotation_page.js")} <= found
    packages = [folder for folder in project_root.rglob("*") if (folder / "__init__.py").is_file()]
    packages = [folder for folder in packages if not any(part.startswith(".") for part in folder.parts)]
    expected = {path.relative_to(project_root) for folder in packages for path in folder.glob("*.py")}
    expected = {path for path in expected if path.parts[0] not in ("build", ".pytest_cache")}
    assert {path for path in found if path.suffix == ".py"} == expected | {Path("__init__.py"), Path("__main__.py")}
    assert not [path for path in found if "__pycache__" in path.parts or path.parts[0] == "tests"]


@needs_gradio
def test_a_second_push_removes_what_is_no_more(hub, model, sound, tmp_path, monkeypatch):
    assert run_push(hub, model, "tester/ragas", "--space", "gradio", "--examples", sound).returncode == 0
    sound = sound.rename(tmp_path / "Another.wav")
    done = run_push(hub, model, "tester/ragas", "--space", "gradio", "--examples", sound)
    assert done.returncode == 0, done.stderr
    examples = {name for name in hub.files("tester/ragas", kind="space") if name.startswith("examples/")}
    assert examples == {"examples/Another.wav"}


@needs_gradio
def test_a_dry_run_lists_and_uploads_nothing(hub, model, sound):
    done = run_push(hub, model, "tester/ragas", "--space", "gradio", "--examples", sound, "--dry-run", "--private")
    assert done.returncode == 0, done.stderr
    assert hub.requests == []
    _, _, space = done.stdout.partition("To be pushed to the Space tester/ragas, private:\n")
    names = [line.split(maxsplit=2)[2] for line in space.splitlines()[:6]]
    assert names[:4] == ["README.md", "app.py", "examples/A tone.wav", "requirements.txt"]
    assert re.fullmatch(r"polyaudio/ \(\d+ files\)", names[4])
    assert "secret HF_TOKEN" in space


@needs_gradio
def test_a_private_space(hub, model):
    done = run_push(hub, model, "tester/ragas", "--space", "gradio", "--private")
    assert done.returncode == 0, done.stderr
    assert hub.repo("tester/ragas", "space").private
    assert "secret HF_TOKEN" in done.stdout
    hub.repo("tester/ragas", "space").private = False
    again = run_push(hub, model, "tester/ragas", "--space", "gradio", "--private")
    assert again.returncode == 2
    assert "the Space tester/ragas exists and is public" in again.stderr


@needs_gradio
def test_a_space_for_a_model_on_the_hub(hub, model):
    done = run_push(hub, "tester/ragas", "tester/demo", "--space", "gradio")
    assert done.returncode == 2
    assert "neither a model folder nor a model on the Hugging Face Hub" in done.stderr
    assert run_push(hub, model, "tester/ragas").returncode == 0
    done = run_push(hub, "tester/ragas", "tester/demo", "--space", "gradio")
    assert done.returncode == 0, done.stderr
    assert ("model", "tester/demo") not in hub.repos
    files = hub.files("tester/demo", kind="space")
    assert b'build_app(["tester/ragas"]' in files["app.py"]
    card = card_of(files["README.md"])
    assert (card.title, card.license, card.models) == ("demo", "cc-by-4.0", ["tester/ragas"])


@pytest.mark.slow
def test_a_static_space_is_the_exported_page(tmp_path, monkeypatch):
    pytest.importorskip("transformers", minversion="5.23", reason="exports need it, and so Python 3.11")
    web = pytest.importorskip("polyaudio.export.web")
    for package in ("onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    monkeypatch.setattr(web, "read_web_runtime", lambda source: {"dist/ort.mjs": b"runtime"})
    model = str(tmp_path / "model")  # of waveforms, which are exported in the shortest time
    sizes = {**SAM_AUDIO, "frontend": "waveform", "conv_stride": [16, 16]}
    SAMAudioForAudioClassification(SAMAudioConfig(**sizes, num_labels=2)).save_pretrained(model)
    SAMAudioFeatureExtractor("waveform").save_pretrained(model)
    space = Space("tester/demo", "tester/ragas", "static", model, license="cc-by-4.0")
    space.check()
    folder = tmp_path / "space"
    folder.mkdir()
    space.write(folder)
    assert {"README.md", "index.html", "ort.mjs", "onnx/model.onnx"} <= set(space_files(folder))
    card = card_of((folder / "README.md").read_bytes())
    assert (card.title, card.sdk, card.app_file) == ("demo", "static", "index.html")
    assert (card.license, card.models, card.sdk_version) == ("cc-by-4.0", ["tester/ragas"], None)
    assert card.tags == ["polyaudio", "audio-classification"]


def test_wrong_arguments(model, sound, monkeypatch, capsys):
    assert push_here([str(model), "tester/ragas", "--space", "static", "--examples", str(sound), "--dry-run"]) == 2
    assert "a static Space has no examples" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        push_here(["tester/model", "tester/ragas", "--space", "gradio", "--endpoint"])
    assert "need a model folder" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"kind 'docker'. Choose gradio or static."):
        Space("tester/ragas", "tester/ragas", "docker", str(model)).check()

    def not_there(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", not_there)
    with pytest.raises(ValueError, match=r"pip install 'polyaudio\[app\]'"):
        Space("tester/ragas", "tester/ragas", "gradio", str(model)).check()


def test_the_licence_of_a_model(model, classifiers):
    assert license_of(str(model)) == "cc-by-4.0"
    assert license_of(str(classifiers["clips"])) is None


@needs_gradio
@pytest.mark.slow
def test_a_space_starts_and_answers(hub, model, sound, tmp_path):
    gradio_client = pytest.importorskip("gradio_client")
    assert run_push(hub, model, "tester/ragas", "--space", "gradio", "--examples", sound).returncode == 0
    space = tmp_path / "space"
    for name, content in hub.files("tester/ragas", kind="space").items():
        (space / name).parent.mkdir(parents=True, exist_ok=True)
        (space / name).write_bytes(content)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    environment = {
        **os.environ,
        **{"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path)},
        **{"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(tmp_path / "cache"), "PYTHONUNBUFFERED": "1"},
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=space,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = ""
        while "Running on local URL" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        client = gradio_client.Client(f"http://127.0.0.1:{port}", verbose=False, download_files=False)
        labels, *_ = client.predict(gradio_client.handle_file(str(sound)), "tester/ragas", api_name="/analyse")
    finally:
        process.kill()
        process.communicate()
    (prediction,) = predict(sound, str(model))
    assert labels["label"] == prediction.labels[0].label
    assert labels["confidences"][0]["confidence"] == pytest.approx(prediction.labels[0].score, abs=1e-5)
    assert (space / "polyaudio" / "app" / "__pycache__").is_dir(), "the source in the Space has run"
