# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Checkpoints of a run that are damaged, or that a stranger has sent, when the run is to continue from them."""

import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from builders import write_tones
from polyaudio.modeling.checkpoint_io import read_torch_checkpoint
from polyaudio.scripts.train import main as train
from polyaudio.training.checkpoints import check_checkpoint


RECIPE = """
model:
  model_type: sam_audio
  conv_dim: [16, 16]
  conv_kernel: [3, 3]
  conv_stride: [4, 4]
  num_segments: 4
  num_attention_heads: 4
training:
  max_steps: 2
  save_strategy: steps
  save_steps: 1
  eval_strategy: "no"
  load_best_model_at_end: false
  save_total_limit: 2
  per_device_train_batch_size: 2
  dataloader_num_workers: 0
  ema_decay: 0.9
data:
  skip_leak_check: true
"""


class Payload:
    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The output folder of a run, beside its recipe and its sounds."""
    folder = tmp_path_factory.mktemp("run")
    write_tones(folder / "tones", {"high": 3000.0, "low": 300.0}, 4, seconds=(0.3, 0.5))
    (folder / "recipe.yaml").write_text(RECIPE)
    assert train(arguments(folder / "output")) == 0
    return folder / "output"


def arguments(output: Path) -> list[str]:
    source = output.parent
    return ["--config", str(source / "recipe.yaml"), "--dataset", str(source / "tones"), "--output-dir", str(output)]


def truncate(path: Path, canary: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path, canary: Path) -> None:
    path.write_bytes(b"")


def noise(path: Path, canary: Path) -> None:
    path.write_bytes(bytes(range(256)) * 9)


def payload(path: Path, canary: Path) -> None:
    torch.save({"state": Payload(canary)}, path)


def compress(path: Path, canary: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


PICKLES = ("optimizer.pt", "scheduler.pt", "rng_state.pth")
CASES = [(name, damage) for name in PICKLES for damage in (truncate, empty, noise, payload, compress)]
CASES += [(name, damage) for name in ("model.safetensors", "ema.safetensors") for damage in (truncate, empty, noise)]


@pytest.fixture
def stopped(run, tmp_path) -> Path:
    """The run before its last step."""
    shutil.copytree(run.parent, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "output" / "checkpoint-2")
    return tmp_path / "copy" / "output"


@pytest.mark.parametrize(("name", "damage"), CASES)
def test_a_damaged_checkpoint_is_named(name, damage, stopped, tmp_path, capsys):
    damage(stopped / "checkpoint-1" / name, tmp_path / "canary")
    assert train([*arguments(stopped), "--resume"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("polyaudio train:")]
    if "There is no checkpoint" not in line:  # what is only damaged is skipped
        assert damage in (noise, payload, compress)
        assert f"{name} is damaged or unsafe" in line
        assert "Remove this folder" in line
    assert not (tmp_path / "canary").exists()


def test_a_good_checkpoint_is_read(stopped):
    states = read_torch_checkpoint(stopped / "checkpoint-1" / "rng_state.pth", arrays=True)
    assert states["numpy"][1].dtype == np.uint32
    check_checkpoint(stopped / "checkpoint-1")


def test_the_pickled_arguments_are_not_read(stopped, tmp_path):
    payload(stopped / "checkpoint-1" / "training_args.bin", tmp_path / "canary")
    assert train([*arguments(stopped), "--resume"]) == 0
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("optimizer.pt", "[enforce fail at inline_container.cc:668] . PytorchStreamWriter failed writing file."),
        ("scheduler.pt", "basic_ios::clear: iostream error"),
    ],
)
def test_a_disk_that_is_full(run, tmp_path, monkeypatch, capsys, name, message):
    """torch then raises a RuntimeError while it writes the state of the optimizer or of the schedule."""
    shutil.copytree(run.parent, tmp_path / "copy", ignore=shutil.ignore_patterns("output"))
    save = torch.save

    def full(content, path, *args, **kwargs):
        if str(path).endswith(name):
            raise RuntimeError(message)
        save(content, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", full)
    assert train(arguments(tmp_path / "copy" / "output")) == 2
    assert "Check that its disk has room" in capsys.readouterr().err
