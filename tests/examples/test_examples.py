# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The notebooks hold the cells of the scripts beside them, and they run.

They run in a kernel, as in Jupyter, where nbclient and ipykernel are installed, and elsewhere as scripts. A notebook
adds a link, and an installation that is left out where polyaudio is installed.
"""

import importlib.util
import itertools
import json
import os
import re
import runpy
import subprocess
from pathlib import Path

import pytest
import soundfile
import torch

from builders import SAM_AUDIO, TONES, write_tones
from command_lines import Parsed, calls_of, parser_of
from hub_server import WRITE_TOKEN, HubServer
from polyaudio import SAMAudioConfig, SAMAudioFeatureExtractor, SAMAudioForAudioClassification
from prepared_python import WITHOUT_POLYAUDIO, python


EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOKS = runpy.run_path(str(EXAMPLES / "notebooks.py"))
SCRIPTS = NOTEBOOKS["scripts"]()
# What each prints, if it does what its text says
SAID = {
    "embed_and_search": [r"32 vectors written", r"^\S+  flute/\d\.wav$", r"^voice/3\.wav = voice/copy\.wav$"],
    "fine_tune_with_honest_splits": [r"share audio", r"^accuracy 0\.\d\d \(95 % interval", r"^\d+%  "],
    "label_and_timeline": [r"accuracy on held-out recordings: [01]\.", r"new_bird\.wav \['bird", r" s  siren$"],
    "pretrain_and_probe": [r"^loss: \[\d", r"^pre-trained: accuracy 0\.\d\d", r"^untrained: +accuracy 0\.\d\d"],
    "ragas": [r"^ +18\d\.\d Hz  F#3", r"accuracy [01]\.\d\d on 12 performances"],
}


def run(*arguments: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [python(), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "MPLBACKEND": "Agg", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_notebooks_are_those_of_the_scripts():
    assert {path.stem for path in SCRIPTS} == set(SAID)
    assert sorted(EXAMPLES.glob("*.ipynb")) == [path.with_suffix(".ipynb") for path in SCRIPTS]
    for path in SCRIPTS:
        text = path.with_suffix(".ipynb").read_text(encoding="utf-8")
        assert text == NOTEBOOKS["written"](path), "run `python examples/notebooks.py`"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_is_complete(path, monkeypatch):
    notebook = json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))
    title, install, *cells = notebook["cells"]
    assert title["source"][0].startswith("# ")
    assert f"examples/{path.stem}.ipynb" in title["source"][-1]
    assert 'find_spec("polyaudio") is None' in "".join(install["source"])
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    kinds = [cell["cell_type"] for cell in [title, *cells]]
    explained = [before == "markdown" for before, kind in itertools.pairwise(kinds) if kind == "code"]
    assert all(explained), "a cell of code follows one of text"
    code = "".join("\n".join(("".join(cell["source"]), "")) for cell in cells if cell["cell_type"] == "code")
    assert [line for line in code.splitlines() if line] == [
        line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")
    ]
    text = "".join("".join((*cell["source"], "\n")) for cell in cells if cell["cell_type"] == "markdown")
    parse = parser_of(monkeypatch)
    commands = "".join(re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    for call in calls_of(commands.replace("\\\n", " ").splitlines()):
        with pytest.raises(Parsed):
            parse(call)


@pytest.fixture
def run_notebook(tmp_path, monkeypatch):
    """Runs all cells of a notebook in a kernel and returns what they print."""
    import nbclient
    import nbformat

    kernel = tmp_path / "jupyter" / "kernels" / "prepared" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    # Without that variable, the kernel does not end because its parent is the server of prepared_python.py
    command = ["env", "-u", "JPY_PARENT_PID", python(), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": command, "display_name": "Python 3", "language": "python"}))
    for name in ("JUPYTER_PATH", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))

    def run(path: Path) -> str:
        place = tmp_path / "place"
        place.mkdir()
        notebook = nbformat.read(path, as_version=4)
        resources = {"metadata": {"path": str(place)}}
        nbclient.NotebookClient(notebook, timeout=None, kernel_name="prepared", resources=resources).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        return "".join(output.text for output in outputs if output.output_type == "stream")

    return run


@pytest.mark.slow
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, request):
    if importlib.util.find_spec("nbclient") and importlib.util.find_spec("ipykernel"):
        said = request.getfixturevalue("run_notebook")(path.with_suffix(".ipynb"))
    else:
        said = run(path, cwd=tmp_path)
    for pattern in SAID[path.stem]:
        assert re.search(pattern, said, re.MULTILINE), said


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A small model of three classes."""
    torch.manual_seed(0)
    names = dict(enumerate(("bell", "drum", "voice")))
    config = SAMAudioConfig(**SAM_AUDIO, id2label=names, label2id={name: number for number, name in names.items()})
    SAMAudioForAudioClassification(config).save_pretrained(tmp_path / "checkpoint")
    SAMAudioFeatureExtractor().save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.mark.slow
def test_plain_transformers(checkpoint, tmp_path):
    write_tones(tmp_path / "tones", TONES, 4)
    script = EXAMPLES / "run_audio_classification.py"
    flags = ["--model_name_or_path", checkpoint, "--dataset", "tones", "--output_dir", "out", "--max_steps", 2]
    said = run(script, *flags, "--report_to", "none", cwd=tmp_path)
    assert "eval_accuracy" in said
    assert set(json.loads((tmp_path / "out" / "config.json").read_text())["label2id"]) == set(TONES)
    assert (tmp_path / "out" / "preprocessor_config.json").is_file()


@pytest.mark.slow
def test_a_model_from_the_hub_without_polyaudio(checkpoint, tmp_path, monkeypatch):
    write_tones(tmp_path / "tones", TONES, 1)
    clip = next((tmp_path / "tones").rglob("*.wav"))
    soundfile.write(tmp_path / "clip.wav", *soundfile.read(clip))
    blocked = (
        WITHOUT_POLYAUDIO
        + """
import runpy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    )
    with HubServer() as hub:
        online = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": WRITE_TOKEN, "HF_HUB_OFFLINE": "0"}
        code = f"""
from pathlib import Path
from polyaudio.hub.push import Upload, push
push(Upload(Path({str(checkpoint)!r}), "tester/tones"))
"""
        run("-c", code, cwd=tmp_path, HF_HUB_DISABLE_XET="1", **online)
        script = EXAMPLES / "classify_without_polyaudio.py"
        said = run("-c", blocked, script, "tester/tones", "clip.wav", "--top-k", 2, cwd=tmp_path, **online)
    assert re.fullmatch(r"( *\d+\.\d\d%  (bell|drum|voice)\n){2}", said)
