# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Conversion writes model, feature extractor and report together or not at all."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from polyaudio.modeling.conversion import convert
from polyaudio.scripts.convert import main


FILES = {"config.json", "model.safetensors", "preprocessor_config.json", "conversion_report.json"}
# Converts again and again in children, each of which is killed where it touches the disk for the n-th time
KILLED = """
import json, os, signal, sys
from pathlib import Path
from polyaudio.modeling.conversion import convert

checkpoint, parent = sys.argv[1], Path(sys.argv[2])
output, touched = parent / "model", 0
convert(checkpoint, parent / "warm-up")  # so that children have nothing to import


def kill_at(number):
    def hook(event, arguments):
        global touched
        if event in ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove") and str(parent) in str(arguments[0]):
            touched += 1
            if touched == number:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)


names = lambda: sorted(path.name for path in output.iterdir()) if output.is_dir() else []
for again in (False, True):
    number, killed, found = 0, 1, []
    while killed:
        number += 1
        child = os.fork()
        if child == 0:
            kill_at(number)
            convert(checkpoint, output, overwrite=again)
            os._exit(0)
        killed = os.waitpid(child, 0)[1]
        found.append([names(), (parent / ".model.replaced").exists()])
        if killed and not again and output.exists():  # so that the next one begins where nothing is
            output.rename(parent / f"done-{number}")
    print(json.dumps(found))
"""


@pytest.fixture
def checkpoint(reference) -> str:
    return str(reference / "sam_audio" / "mel" / "best_model.pth")


@pytest.mark.slow
def test_every_kill_leaves_all_or_nothing(checkpoint, tmp_path):
    command = [sys.executable, "-c", KILLED, checkpoint, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "POLYAUDIO_SAVE_CODE": "0"})
    assert done.returncode == 0, done.stderr[-3000:]
    first, again = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")]
    assert len(first) > 10
    for names, put_aside in first:
        assert set(names) in (set(), FILES)
        assert not put_aside
    assert len(again) > 10
    for names, put_aside in again:  # the old model, the new one, or for a moment the old one aside
        assert set(names) == FILES or (names == [] and put_aside)
    assert sum(not names for names, _ in again) <= 2
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()
    AutoModelForAudioClassification.from_pretrained(tmp_path / "model")
    AutoFeatureExtractor.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize("limit", [100, 2_000, 20_000])
def test_a_full_disk_leaves_nothing(checkpoint, tmp_path, capsys, limit):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        code = main([checkpoint, "--output", str(tmp_path / "model")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("polyaudio convert:")]
    assert f"Nothing was written to {tmp_path / 'model'}" in line
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_kept(checkpoint, tmp_path, capsys):
    output = tmp_path / "model"
    convert(checkpoint, output)
    before = (output / "config.json").read_text()
    arguments = [checkpoint, "--output", str(output), "--labels", *"abcdefgh"]
    assert main(arguments) == 2
    assert "already holds a model. Name another folder, or pass overwrite (--overwrite)" in capsys.readouterr().err
    assert (output / "config.json").read_text() == before
    assert main([*arguments, "--overwrite"]) == 0
    assert AutoModelForAudioClassification.from_pretrained(output).config.label2id["h"] == 7
    (output / "notes.txt").write_text("mine")
    assert main([*arguments, "--overwrite"]) == 2
    assert "holds something else than a converted model (notes.txt)" in capsys.readouterr().err
    assert (output / "notes.txt").read_text() == "mine"


def test_labels_that_do_not_fit_write_nothing(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="labels were given"):
        convert(checkpoint, tmp_path / "model", labels=["one"])
    assert not list(Path(tmp_path).iterdir())
