# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Runs and their folders: a run knows what it began with, and no other run takes or harms what is there."""

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from datasets import ClassLabel
from safetensors.torch import load_file
from transformers import AutoModelForAudioClassification

from builders import SAM_AUDIO, SSLAM, TONES, dataset_in_memory, write_tones
from polyaudio import (
    AudioTrainingArguments,
    DataArguments,
    LoraArguments,
    PretrainingArguments,
    SAMAudioConfig,
    SSLAMConfig,
    WindowArguments,
    cross_validate,
    fine_tune,
    pretrain,
)
from polyaudio.data.locks import locked
from polyaudio.scripts.train import main as train
from polyaudio.training.identity import RunIdentity
from polyaudio.training.runs import clear_run, holds_run, newest_checkpoint
from prepared_python import python


SHORT = {
    "num_train_epochs": 2,
    "per_device_train_batch_size": 8,
    "dataloader_num_workers": 0,
    "report_to": "none",
    "disable_tqdm": True,
}
DATA = DataArguments(test_size=0.3)
PRETRAINED = {**SSLAM, "decoder_hidden_size": 16, "decoder_num_layers": 2, "decoder_groups": 2, "clone_batch": 2}


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    return write_tones(tmp_path_factory.mktemp("clips") / "tones", TONES, 6)


@pytest.fixture(scope="module")
def trained(tones, tmp_path_factory) -> Path:
    """A finished run, with its checkpoints."""
    folder = tmp_path_factory.mktemp("run") / "model"
    fine_tune(tones, SAMAudioConfig(**SAM_AUDIO), arguments(folder, save_total_limit=9), data=DATA)
    return folder


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def arguments(output: Path, **changes) -> AudioTrainingArguments:
    return AudioTrainingArguments(str(output), **{**SHORT, **changes})


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What a run began with ----------------------------------------------------------------------------


def changed_data(tones: Path, folder: Path) -> Path:
    """A copy whose first file has other samples, and the same name and size."""
    shutil.copytree(tones, folder)
    path = folder / "high" / "0.wav"
    path.write_bytes(path.read_bytes()[:-2] + b"ab")
    return folder


def fewer_clips(tones: Path, folder: Path) -> Path:
    shutil.copytree(tones, folder)
    (folder / "low" / "0.wav").unlink()
    return folder


def renamed_class(tones: Path, folder: Path) -> Path:
    shutil.copytree(tones, folder)
    (folder / "low").rename(folder / "deep")
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [(changed_data, "the audio of (train|validation) has changed"), (fewer_clips, "had . clips and has now .")],
)
def test_other_data_are_refused(tones, run, tmp_path, change, message):
    before, other = content(run), change(tones, tmp_path / "other")
    with pytest.raises(ValueError, match=message) as error:
        fine_tune(other, SAMAudioConfig(**SAM_AUDIO), arguments(run), data=DATA, resume=True)
    assert "overwrite (--overwrite)" in str(error.value)
    assert content(run) == before


def test_the_same_data_elsewhere_are_the_same(tones, run, tmp_path):
    shutil.copytree(tones, tmp_path / "moved")
    model = SAMAudioConfig(**SAM_AUDIO)
    free = arguments(run, logging_steps=1, logging_strategy="steps", save_total_limit=3, report_to="none")
    result = fine_tune(tmp_path / "moved", model, free, data=DATA, resume=True)
    assert result.folder == run


def test_other_labels_are_refused(tones, run, tmp_path):
    other = renamed_class(tones, tmp_path / "other")
    with pytest.raises(ValueError, match="its classes were high, low and are now deep, high, in this order"):
        fine_tune(other, SAMAudioConfig(**SAM_AUDIO), arguments(run), data=DATA, resume=True)


def test_the_order_of_the_classes_counts(tones, tmp_path):
    """The same clips and names of classes, but the outputs of the model stand for others."""
    clips, model = dataset_in_memory(tones), SAMAudioConfig(**SAM_AUDIO)
    fine_tune(clips, model, arguments(tmp_path / "run"), data=DATA)
    names = clips.features["label"].names
    swapped = clips.map(lambda row: {"label": 1 - row["label"]}, features=clips.features)
    swapped = swapped.cast_column("label", ClassLabel(names=names[::-1]))
    with pytest.raises(ValueError, match="its classes were high, low and are now low, high"):
        fine_tune(swapped, model, arguments(tmp_path / "run"), data=DATA, resume=True)
    exchanged = clips.map(lambda row: {"label": 1 - row["label"]}, features=clips.features)
    with pytest.raises(ValueError, match=r"the (audio|labels).* of .* have changed|has changed"):
        fine_tune(exchanged, model, arguments(tmp_path / "run"), data=DATA, resume=True)


@pytest.mark.parametrize(
    ("model", "changes", "settings", "message"),
    [
        ({}, {"learning_rate": 1e-5}, {}, "learning_rate was 5e-05 and is now 1e-05"),
        ({}, {"num_train_epochs": 3}, {}, "num_train_epochs was 2 and is now 3"),
        ({}, {"seed": 1}, {}, "seed was 42 and is now 1"),
        ({}, {"save_strategy": "steps", "eval_strategy": "steps"}, {}, "eval_steps was None and is now 500"),
        ({"temperature": 0.5}, {}, {}, "temperature of the model was"),
        ({}, {}, {"data": DataArguments(test_size=0.3, crop_seconds=0.3)}, "crop_seconds was None and is now 0.3"),
        ({}, {}, {"freeze_encoder": True}, "freeze_encoder was False and is now True"),
        ({}, {}, {"lora": LoraArguments()}, "lora was False and is now True"),
    ],
)
def test_other_settings_are_refused(tones, run, model, changes, settings, message):
    config, settings = SAMAudioConfig(**{**SAM_AUDIO, **model}), {"data": DATA, **settings}
    with pytest.raises(ValueError, match=message):
        fine_tune(tones, config, arguments(run, **changes), resume=True, **settings)


def test_other_weights_to_start_from_are_refused(tones, trained, tmp_path):
    base, output = shutil.copytree(trained, tmp_path / "base"), tmp_path / "run"
    fine_tune(tones, str(base), arguments(output), data=DATA)
    with pytest.raises(ValueError, match="began with the weights of another model"):
        fine_tune(tones, SAMAudioConfig(**SAM_AUDIO), arguments(output), data=DATA, resume=True)
    model = AutoModelForAudioClassification.from_pretrained(base)
    torch.nn.init.zeros_(model.classifier.out_proj.weight)
    model.save_pretrained(base)  # another model of the same name
    with pytest.raises(ValueError, match="began with the weights of another model"):
        fine_tune(tones, str(base), arguments(output), data=DATA, resume=True)


def test_a_run_of_an_earlier_version_goes_on_with_a_warning(tones, run, caplog):
    (run / "_run.json").unlink()
    fine_tune(tones, SAMAudioConfig(**SAM_AUDIO), arguments(run), data=DATA, resume=True)
    assert "does not record what its run began with" in caplog.text
    assert RunIdentity.read(run).labels == ["high", "low"]


def test_a_damaged_identity(tones, run):
    (run / "_run.json").write_text("{")
    with pytest.raises(ValueError, match=r"_run.json is damaged"):
        fine_tune(tones, SAMAudioConfig(**SAM_AUDIO), arguments(run), data=DATA, resume=True)


def test_folds_and_seeds_know_themselves(tones, tmp_path):
    model, data = SAMAudioConfig(**SAM_AUDIO), DataArguments(folds=2)
    cross_validate(tones, model, arguments(tmp_path / "cv", num_train_epochs=1), data=data, seeds=[1, 2])
    before = content(tmp_path / "cv")
    other = changed_data(tones, tmp_path / "other")
    args = arguments(tmp_path / "cv", num_train_epochs=1)
    with pytest.raises(ValueError, match=r"the audio of (train|test) has changed"):
        cross_validate(other, model, args, data=data, seeds=[1, 2], resume=True)
    with pytest.raises(ValueError, match="num_train_epochs was 1 and is now 2"):
        cross_validate(tones, model, arguments(tmp_path / "cv"), data=data, seeds=[1, 2], resume=True)
    assert content(tmp_path / "cv") == before
    more = cross_validate(tones, model, args, data=data, seeds=[1, 2, 3], resume=True)
    assert len(more.evaluations) == 6
    with pytest.raises(ValueError, match="holds another run or model"):
        cross_validate(tones, model, args, data=data, seeds=[1, 2])
    (tmp_path / "cv" / "fold-1" / "notes.txt").write_text("mine")
    again = cross_validate(tones, model, args, data=data, seeds=[5], overwrite=True)
    assert sorted(again.evaluations) == ["fold-0", "fold-1"]
    assert not list((tmp_path / "cv").glob("fold-*/seed-*"))
    assert (tmp_path / "cv" / "fold-1" / "notes.txt").read_text() == "mine"


def test_pretraining_knows_itself(tones, tmp_path):
    def args(**changes) -> PretrainingArguments:
        settings = {"max_steps": 2, "save_steps": 1, "per_device_train_batch_size": 4, "report_to": "none", **changes}
        return PretrainingArguments(str(tmp_path / "run"), dataloader_num_workers=0, **settings)

    windows, model = WindowArguments(crop_seconds=0.8), SSLAMConfig(**PRETRAINED)
    pretrain(tones, model, args(), windows=windows)
    before = content(tmp_path / "run")
    with pytest.raises(ValueError, match="holds another run or model"):
        pretrain(tones, model, args(), windows=windows)
    with pytest.raises(ValueError, match="the audio of train has changed"):
        pretrain(changed_data(tones, tmp_path / "other"), model, args(), windows=windows, resume=True)
    with pytest.raises(ValueError, match=r"crop_seconds was 0.8 and is now 0.4"):
        pretrain(tones, model, args(), windows=WindowArguments(crop_seconds=0.4), resume=True)
    with pytest.raises(ValueError, match="learning_rate was"):
        pretrain(tones, model, args(learning_rate=1.0), windows=windows, resume=True)
    with pytest.raises(ValueError, match="it is a run of `polyaudio pretrain`"):
        fine_tune(tones, SSLAMConfig(**SSLAM), arguments(tmp_path / "run"), data=DATA, resume=True)
    assert content(tmp_path / "run") == before
    pretrain(tones, model, args(save_steps=2), windows=windows, resume=True)
    stream = WindowArguments(crop_seconds=0.8, streaming=True)
    with pytest.raises(ValueError, match=r"train had 12 clips|the audio of train has changed"):
        pretrain(tones, model, args(), windows=stream, resume=True)
    pretrain(tones, model, args(), windows=stream, overwrite=True)
    pretrain(tones, model, args(), windows=stream, resume=True)


# Folders that hold something ----------------------------------------------------------------------


def test_a_folder_with_another_run_is_refused(tones, run, tmp_path, capsys):
    before = content(run)
    with pytest.raises(ValueError, match=r"holds another run or model. Continue that run with resume"):
        fine_tune(tones, SAMAudioConfig(**SAM_AUDIO), arguments(run), data=DATA)
    assert train(["--dataset", str(tones), "--output-dir", str(run)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    with pytest.raises(ValueError, match="Leave out resume"):
        fine_tune(tones, SAMAudioConfig(**SAM_AUDIO), arguments(run), data=DATA, resume=True, overwrite=True)
    with pytest.raises(ValueError, match="which it would replace"):
        fine_tune(tones, str(run), arguments(run), data=DATA, overwrite=True)
    assert content(run) == before
    with pytest.raises(ValueError, match="neither 'ragas' nor a folder"):
        fine_tune(tmp_path / "nothing", SAMAudioConfig(**SAM_AUDIO), arguments(run), data=DATA, overwrite=True)
    assert content(run) == before, "what cannot begin replaces nothing"


@pytest.mark.parametrize("first", ["whole", "lora"])
def test_whole_models_and_adapters_take_each_others_place(tones, tmp_path, first):
    """Either way the folder holds one model that loads, and nothing of the other."""
    folder = tmp_path / "run"
    for name in ("whole", "lora") if first == "whole" else ("lora", "whole"):
        lora = LoraArguments() if name == "lora" else None
        with pytest.raises(ValueError, match="holds another") if folder.exists() else contextlib.nullcontext():
            fine_tune(tones, SAMAudioConfig(**SAM_AUDIO), arguments(folder), data=DATA, lora=lora)
        result = fine_tune(tones, SAMAudioConfig(**SAM_AUDIO), arguments(folder), data=DATA, lora=lora, overwrite=True)
        loaded = AutoModelForAudioClassification.from_pretrained(folder)
        expected = result.model.get_base_model() if lora else result.model
        inputs = torch.randn(1, 50, SAMAudioConfig().feature_size)
        with torch.no_grad():
            torch.testing.assert_close(loaded.eval()(inputs).logits, expected.eval()(inputs).logits)
        assert (folder / "adapter_config.json").exists() == (name == "lora")


def test_foreign_files_stay(run):
    mine = {"notes.txt": "a", "script.py": "print()", "checkpoint-old/x": "b", "runs/tb": "c", "README.txt": "d"}
    for name, text in mine.items():
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text(text)
    (run / "README.md").write_text("about my experiments with polyaudio")
    clear_run(run)
    assert content(run) == {
        **{name: text.encode() for name, text in mine.items()},
        "README.md": b"about my experiments with polyaudio",
    }
    assert not holds_run(run)


def test_a_run_that_never_came_to_a_checkpoint_begins_again(tones, run, tmp_path):
    identity = (run / "_run.json").read_text()
    folder = tmp_path / "early"
    (folder / "checkpoint-1").mkdir(parents=True)
    (folder / "checkpoint-1" / "trainer_state.json").write_text("{")
    (folder / "_run.json").write_text(identity)
    fine_tune(tones, SAMAudioConfig(**SAM_AUDIO), arguments(folder), data=DATA)
    assert (folder / "evaluation.json").is_file()


def test_two_runs_in_one_folder(tones, tmp_path, capsys):
    folder = tmp_path / "run"
    with locked(folder / "_run.lock"):  # as another run holds it
        with pytest.raises(ValueError, match="Another run is using"):
            fine_tune(tones, SAMAudioConfig(**SAM_AUDIO), arguments(folder), data=DATA, overwrite=True)
        with pytest.raises(ValueError, match="Another run is using"):
            cross_validate(tones, SAMAudioConfig(**SAM_AUDIO), arguments(folder), data=DataArguments(folds=2))
        with pytest.raises(ValueError, match="Another run is using"):
            pretrain(tones, SSLAMConfig(**PRETRAINED), PretrainingArguments(str(folder), max_steps=1))
    assert not folder.exists()


DISTRIBUTED = """
import sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from builders import SAM_AUDIO
from polyaudio import AudioTrainingArguments, DataArguments, SAMAudioConfig, fine_tune
from polyaudio.data.locks import locked
from polyaudio.training.runs import leave_together

tones, output = sys.argv[1:3]
settings = dict(num_train_epochs=1, per_device_train_batch_size=4, dataloader_num_workers=0, report_to="none")
data = DataArguments(test_size=0.3)
for more in ({}, {"resume": True}, {"overwrite": True}):
    args = AudioTrainingArguments(output, **settings)
    fine_tune(tones, SAMAudioConfig(**SAM_AUDIO), args, data=data, **more)
print("done", args.process_index)
leave_together()
"""


@pytest.mark.slow
def test_the_processes_of_one_run_share_its_folder(tones, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(DISTRIBUTED)
    launcher = [python(), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, program, tones, tmp_path / "run", Path(__file__).parents[1]],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHON_EXEC": python()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "done 0" in done.stdout
    assert "done 1" in done.stdout
    assert RunIdentity.read(tmp_path / "run").settings["devices"] == 2


# Checkpoints --------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "model": lambda folder: cut(folder / "model.safetensors"),
    "no model": lambda folder: (folder / "model.safetensors").unlink(),
    "empty model": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "optimizer": lambda folder: cut(folder / "optimizer.pt"),
    "no optimizer": lambda folder: (folder / "optimizer.pt").unlink(),
    "schedule": lambda folder: cut(folder / "scheduler.pt"),
    "random numbers": lambda folder: cut(folder / "rng_state.pth"),
    "state": lambda folder: cut(folder / "trainer_state.json"),
    "no state": lambda folder: (folder / "trainer_state.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_newest_complete_checkpoint_is_taken(run, damage, caplog):
    older, newer = sorted(run.glob("checkpoint-*"))
    assert newest_checkpoint(run) == str(newer)
    DAMAGE[damage](newer)
    assert newest_checkpoint(run) == str(older)
    assert newer.exists()
    assert newest_checkpoint(run, remove_newer=True) == str(older)
    assert not newer.exists(), "the Trainer would take it for the newest, and delete others instead"
    assert "checkpoint-2 is incomplete and was removed" in caplog.text


@pytest.mark.parametrize("damage", ["model", "optimizer", "state"])
def test_a_run_goes_on_from_the_newest_complete_checkpoint(tones, run, damage, caplog):
    expected = load_file(run / "model.safetensors")
    for path in run.glob("*.*"):  # as if the run had been killed while it wrote the last checkpoint
        if path.is_file() and path.name != "_run.json":
            path.unlink()
    DAMAGE[damage](run / "checkpoint-2")
    fine_tune(tones, SAMAudioConfig(**SAM_AUDIO), arguments(run), data=DATA, resume=True)
    assert "is incomplete" in caplog.text
    weights = load_file(run / "model.safetensors")
    assert all(torch.equal(weights[name], weight) for name, weight in expected.items())


def test_a_checkpoint_with_the_model_alone_is_no_prey(tones, run):
    """As `save_only_model` writes it: nothing to resume from, and nothing to delete unasked."""
    for path in run.glob("*.*"):
        if path.is_file():
            path.unlink()
    for path in run.glob("checkpoint-*/optimizer.pt"):
        path.unlink()
    before = content(run)
    with pytest.raises(ValueError, match="There is no checkpoint"):
        fine_tune(tones, SAMAudioConfig(**SAM_AUDIO), arguments(run), data=DATA, resume=True)
    with pytest.raises(ValueError, match="holds another run or model"):
        fine_tune(tones, SAMAudioConfig(**SAM_AUDIO), arguments(run), data=DATA)
    assert content(run) == before


def test_a_full_disk_at_a_checkpoint(tones, tmp_path, monkeypatch):
    """torch.save raises a RuntimeError without the reason. The half-written checkpoint goes."""

    def save(state, path):
        if "checkpoint-2" in str(path):
            Path(path).write_bytes(b"half")
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 1 vs 2")
        torch_save(state, path)

    torch_save = torch.save
    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match=r"checkpoint of step 2 could not be written to .*its disk has room"):
        fine_tune(tones, SAMAudioConfig(**SAM_AUDIO), arguments(tmp_path / "run"), data=DATA)
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-1"]
    monkeypatch.undo()
    fine_tune(tones, SAMAudioConfig(**SAM_AUDIO), arguments(tmp_path / "run"), data=DATA, resume=True)


def test_no_complete_checkpoint(tones, run):
    for folder in run.glob("checkpoint-*"):
        cut(folder / "optimizer.pt")
    with pytest.raises(ValueError, match=r"There is no checkpoint in .* or none that is complete"):
        fine_tune(tones, SAMAudioConfig(**SAM_AUDIO), arguments(run), data=DATA, resume=True)


def test_the_identity_is_small_and_readable(run):
    assert (run / "_run.json").stat().st_size < 20_000
    identity = json.loads((run / "_run.json").read_text())
    assert identity["labels"] == ["high", "low"]
    assert identity["splits"]["train"]["clips"] == 8
    assert identity["settings"]["learning_rate"] == 5e-5
    assert str(run) not in (run / "_run.json").read_text()
