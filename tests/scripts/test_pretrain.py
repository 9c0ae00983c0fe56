"""`polyaudio pretrain` and what the Trainer adds to pre-training."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForPreTraining, TrainingArguments

from polyaudio import SSLAMConfig, SSLAMFeatureExtractor, SSLAMForPreTraining, SSLAMModel
from polyaudio.data.loading import load_recordings
from polyaudio.data.windows import WaveformWindows
from polyaudio.scripts.pretrain import main as pretrain
from polyaudio.training.arguments import PretrainingArguments
from polyaudio.training.pretrainer import PreTrainer, PretrainingCollator
from prepared_python import python


TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "decoder_hidden_size": 16,
    "decoder_num_layers": 2,
    "decoder_groups": 4,
    "max_time_patches": 16,
    "clone_batch": 2,
    "ema_decay": 0.9,
    "ema_end_decay": 0.99,
    "ema_anneal_end_step": 10,
}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Nine recordings of half a second to one and a half, without labels."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for index in range(9):
        samples = 8000 + 2000 * index
        tone = np.sin(2 * np.pi * (200 + 50 * index) * np.arange(samples) / 16000)
        soundfile.write(folder / f"{index}.wav", 0.3 * tone + 0.05 * rng.standard_normal(samples), 16000)
    return folder


def write_recipe(folder: Path, **training) -> Path:
    recipe = folder / "recipe.yaml"
    sections = {
        "model": {"model_type": "sslam", **TINY},
        "data": {"crop_seconds": 0.8},
        "training": {
            "per_device_train_batch_size": 3,
            "learning_rate": 1e-3,
            "dataloader_num_workers": 0,
            "logging_steps": 1,
            "report_to": "none",
            "seed": 3,
            **training,
        },
    }
    recipe.write_text(json.dumps(sections))  # JSON is YAML
    return recipe


def make_trainer(folder: Path, recordings: Path, config: dict | None = None, **arguments) -> PreTrainer:
    torch.manual_seed(0)
    config = SSLAMConfig(**{**TINY, **(config or {})})
    feature_extractor = SSLAMFeatureExtractor(max_length=80, return_attention_mask=True)
    arguments = {"per_device_train_batch_size": 3, "learning_rate": 1e-3, "dataloader_num_workers": 0, **arguments}
    return PreTrainer(
        model=SSLAMForPreTraining(config),
        args=PretrainingArguments(str(folder), report_to="none", save_strategy="no", logging_steps=1, **arguments),
        train_dataset=WaveformWindows(load_recordings(str(recordings)), 16000, crop_seconds=0.8),
        data_collator=PretrainingCollator(feature_extractor, config),
        processing_class=feature_extractor,
    )


def logged(trainer: PreTrainer) -> list[dict]:
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def test_from_recordings_to_an_encoder(recordings, tmp_path, capsys):
    """Stage 1, then stage 2 from it, with everything in the log that tells how it goes."""
    stage1, stage2 = str(tmp_path / "stage1"), str(tmp_path / "stage2")
    common = ["--config", str(write_recipe(tmp_path, max_steps=3)), "--dataset", str(recordings)]
    assert pretrain([*common, "--output-dir", stage1]) == 0
    assert pretrain([*common, "--output-dir", stage2, "--model-name-or-path", stage1]) == 0
    history = json.loads((tmp_path / "stage1" / "trainer_state.json").read_text())["log_history"]
    assert [entry["step"] for entry in history] == [1, 2, 3, 3]
    for name in ("loss", "frame_loss", "utterance_loss", "masked_share", "pred_var", "target_var", "clips_per_second"):
        assert all(entry[name] > 0 for entry in history[:3]), name
    assert history[0]["loss"] == pytest.approx(history[0]["frame_loss"] + history[0]["utterance_loss"])
    assert [entry["ema_decay"] for entry in history[:3]] == pytest.approx([0.909, 0.918, 0.927])
    assert (tmp_path / "stage1" / "losses.png").is_file()

    encoder, whole = AutoModel.from_pretrained(stage1), AutoModelForPreTraining.from_pretrained(stage1)
    assert type(encoder) is SSLAMModel
    assert type(whole) is SSLAMForPreTraining
    student = whole.sslam.state_dict()
    assert all(torch.equal(tensor, student[name]) for name, tensor in encoder.state_dict().items())
    assert not torch.equal(whole.teacher.layers[0].mlp.fc1.weight, student["layers.0.mlp.fc1.weight"])
    assert SSLAMFeatureExtractor.from_pretrained(stage1).max_length == 80


def test_stage_two_mixes_and_leaves_the_teacher_alone_at_first(recordings, tmp_path):
    stage1, stage2 = str(tmp_path / "stage1"), str(tmp_path / "stage2")
    recipe = str(write_recipe(tmp_path, max_steps=1))
    assert pretrain(["--config", recipe, "--dataset", str(recordings), "--output-dir", stage1]) == 0
    content = json.loads(Path(recipe).read_text())
    content["model"] = {"pretraining_stage": 2, "clone_batch": 1}
    Path(recipe).write_text(json.dumps(content))
    common = ["--config", recipe, "--dataset", str(recordings), "--model-name-or-path", stage1]
    assert pretrain([*common, "--output-dir", stage2, "--plot-mixtures", "2"]) == 0
    history = json.loads((tmp_path / "stage2" / "trainer_state.json").read_text())["log_history"]
    assert history[0]["source_retention_loss"] > 0
    assert (tmp_path / "stage2" / "mixtures.png").stat().st_size > 10_000

    def teacher(folder: str) -> dict[str, torch.Tensor]:
        return AutoModelForPreTraining.from_pretrained(folder).teacher.state_dict()

    assert all(torch.equal(tensor, teacher(stage1)[name]) for name, tensor in teacher(stage2).items())
    moved = str(tmp_path / "moved")
    assert pretrain([*common, "--output-dir", moved, "--skip-first-teacher-update", "false"]) == 0
    assert not torch.equal(teacher(moved)["layers.0.mlp.fc1.weight"], teacher(stage1)["layers.0.mlp.fc1.weight"])


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_teacher_is_the_moving_average_of_the_student_after_each_update(recordings, tmp_path, accumulation):
    trainer = make_trainer(tmp_path, recordings, max_steps=4, gradient_accumulation_steps=accumulation)
    model, students = trainer.model, []
    expected = {name: tensor.clone() for name, tensor in model.teacher.state_dict().items()}
    update = model.update_teacher

    def record_and_update(num_updates: int) -> float:
        students.append({name: tensor.clone() for name, tensor in model.sslam.state_dict().items()})
        return update(num_updates)

    model.update_teacher = record_and_update
    trainer.train()
    assert len(students) == 4
    for number, student in enumerate(students, 1):
        decay = 0.9 + 0.09 * number / 10
        for name, tensor in expected.items():
            tensor.mul_(decay).add_(student[name], alpha=1 - decay)
    for name, tensor in model.teacher.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=1e-5)


def test_accumulating_gradients_changes_nothing_but_memory(recordings, tmp_path):
    """Three clips in one batch or one by one: nothing random depends on the batch, but for the decoder's noise."""
    losses = {}
    for batch_size, accumulation in ((3, 1), (1, 3)):
        trainer = make_trainer(
            tmp_path,
            recordings,
            {"mask_noise_std": 0.0, "utterance_loss_reduction": "mean"},
            max_steps=4,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
        )
        # Clips of one length, so that the mean over batches is the mean over clips
        trainer.train_dataset.crop_seconds = 0.4
        trainer.train()
        losses[batch_size] = [entry["loss"] for entry in logged(trainer)]
    assert losses[1] == pytest.approx(losses[3], rel=1e-4)


def test_activation_checkpointing_changes_nothing_but_memory(recordings, tmp_path):
    weights = []
    has_name = hasattr(TrainingArguments, "activation_checkpointing")  # since transformers 5.23
    name = "activation_checkpointing" if has_name else "gradient_checkpointing"
    for checkpointing in (False, True):
        trainer = make_trainer(tmp_path, recordings, max_steps=2, **{name: checkpointing})
        trainer.train()
        weights.append(trainer.model.state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, atol=1e-6, rtol=1e-5)


def test_weight_decay_is_the_originals_or_spares_norms_and_biases(reference, recordings, tmp_path):
    original = json.loads((reference / "sslam" / "optimizer.json").read_text())["pretraining_stage2"]["tiny"]
    assert {group["weight_decay"] for group in original["groups"]} == {0.05}
    trainer = make_trainer(tmp_path, recordings)
    groups = trainer.create_optimizer().param_groups
    trained = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    decayed = [parameter for group in groups if group["weight_decay"] == 0.05 for parameter in group["params"]]
    assert len(decayed) == len(trained) == sum(len(group["params"]) for group in groups)
    for group in groups:
        assert (group["betas"], group["eps"]) == ((0.9, 0.95), original["groups"][0]["eps"])

    trainer = make_trainer(tmp_path, recordings, decay_norms_and_biases=False)
    for group in trainer.create_optimizer().param_groups:
        for parameter in group["params"]:
            assert (group["weight_decay"] == 0) == (parameter.ndim == 1)


def test_the_schedule_is_the_originals(reference, recordings, tmp_path):
    original = json.loads((reference / "sslam" / "optimizer.json").read_text())["pretraining_stage2"]["tiny"]
    trainer = make_trainer(
        tmp_path, recordings, learning_rate=original["base_lr"], warmup_steps=original["warmup_updates"]
    )
    trainer.create_optimizer_and_scheduler(original["max_update"])
    for update, rate in original["groups"][0]["lr"].items():
        if int(update) < original["max_update"]:  # the rate after the last update is of no use
            factor = trainer.lr_scheduler.lr_lambdas[0](int(update))
            assert factor * original["base_lr"] == pytest.approx(rate, rel=1e-6, abs=1e-18)


def test_a_collapse_ends_the_run_and_leaves_its_checkpoints(recordings, tmp_path, capsys):
    recipe = str(write_recipe(tmp_path, max_steps=6, save_steps=1, collapse_watch_start=2, min_target_var=10.0))
    assert pretrain(["--config", recipe, "--dataset", str(recordings), "--output-dir", str(tmp_path / "run")]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "collapsed: at update 3 target_var is" in message
    assert "min_target_var = 10" in message
    assert AutoModelForPreTraining.from_pretrained(tmp_path / "run" / "checkpoint-2").config.hidden_size == 16


def pretrain_process(recipe: Path, recordings: Path, output: Path, *flags: str, launcher=()) -> subprocess.Popen:
    command = [python(), *launcher, "-m", "polyaudio.scripts.pretrain", "--config", str(recipe), *flags]
    return subprocess.Popen(
        [*command, "--dataset", str(recordings), "--output-dir", str(output)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHON_EXEC": python()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_happened(recordings, run_with_signal, tmp_path):
    """Killed in the middle of an epoch; student, teacher and decoder end up the same to the last bit."""
    recipe = write_recipe(tmp_path, max_steps=12, save_steps=5)  # three updates an epoch
    arguments = ["--config", str(recipe), "--dataset", str(recordings), "--output-dir"]
    assert pretrain([*arguments, str(tmp_path / "whole")]) == 0
    killed = run_with_signal(signal.SIGKILL, 7, "polyaudio.scripts.pretrain", *arguments, tmp_path / "killed")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / "killed" / "checkpoint-5").is_dir()
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    # One more that it was writing when it was killed
    (tmp_path / "killed" / "checkpoint-10").mkdir()
    (tmp_path / "killed" / "checkpoint-10" / "trainer_state.json").write_text("{")
    assert pretrain([*arguments, str(tmp_path / "killed"), "--resume"]) == 0

    expected, found = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "killed"))
    assert expected.keys() == found.keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
    histories = [json.loads((tmp_path / run / "trainer_state.json").read_text()) for run in ("whole", "killed")]
    losses = [[entry["loss"] for entry in history["log_history"] if "loss" in entry] for history in histories]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 12


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2])
def test_two_processes_learn_what_one_learns_from_all_their_batches(recordings, tmp_path, stage):
    """In stage 2 the partner of a mixture comes from the own batch, so one process takes the batches in turn."""
    model = {"mask_noise_std": 0.0, "utterance_loss_reduction": "mean", "pretraining_stage": stage}
    recipe = write_recipe(tmp_path, max_steps=4, per_device_train_batch_size=2)
    content = json.loads(recipe.read_text())
    content["model"] |= model
    recipe.write_text(json.dumps(content))
    even = tmp_path / "recordings"  # a number that both divide into the same batches
    shutil.copytree(recordings, even, ignore=shutil.ignore_patterns("8.wav"))
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    two = pretrain_process(recipe, even, tmp_path / "two", launcher=launcher)
    arguments = ["--config", str(recipe), "--dataset", str(even), "--output-dir", str(tmp_path / "one")]
    assert pretrain([*arguments, "--gradient-accumulation-steps", "2"]) == 0
    assert two.wait() == 0

    histories = [json.loads((tmp_path / run / "trainer_state.json").read_text()) for run in ("one", "two")]
    for name in ("loss", "frame_loss", "utterance_loss") + ("source_retention_loss",) * (stage == 2):
        alone, together = ([entry[name] for entry in h["log_history"] if "loss" in entry] for h in histories)
        assert together == pytest.approx(alone, rel=1e-4), name
    expected, found = (load_file(tmp_path / run / "model.safetensors") for run in ("one", "two"))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


def test_a_stream_is_trained_on_too(recordings, tmp_path, capsys):
    recipe = str(write_recipe(tmp_path, num_train_epochs=1))
    arguments = [
        "--config",
        recipe,
        "--dataset",
        str(recordings),
        "--output-dir",
        str(tmp_path / "run"),
        "--streaming",
    ]
    assert pretrain(arguments) == 2
    assert "max_steps" in capsys.readouterr().err
    assert pretrain([*arguments, "--max-steps", "5"]) == 0  # more than a pass: nine clips in batches of three
    history = json.loads((tmp_path / "run" / "trainer_state.json").read_text())["log_history"]
    assert [entry["step"] for entry in history if "loss" in entry] == [1, 2, 3, 4, 5]


def test_what_a_worker_finds_wrong_is_told_in_one_line(tmp_path, capfd):
    for number in range(3):
        (tmp_path / f"{number}.wav").write_text("<html>")
    recipe = str(write_recipe(tmp_path, max_steps=1, dataloader_num_workers=1))
    arguments = ["--config", recipe, "--dataset", str(tmp_path), "--output-dir", str(tmp_path / "run"), "--streaming"]
    assert pretrain(arguments) == 2
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert "polyaudio pretrain: None of the 3 clips" in last
    assert "Traceback" not in last


def test_sam_audio_is_pretrained_by_the_same_command(recordings, tmp_path):
    content = json.loads(write_recipe(tmp_path, max_steps=2).read_text())
    content["model"] = {
        "model_type": "sam_audio",
        "frontend": "log_mel",
        "feature_size": 32,
        "conv_dim": [16, 32],
        "conv_kernel": [3, 3],
        "conv_stride": [2, 2],
        "num_segments": 4,
        "num_attention_heads": 4,
    }
    recipe = tmp_path / "sam.yaml"
    recipe.write_text(json.dumps(content))
    output = tmp_path / "run"
    assert pretrain(["--config", str(recipe), "--dataset", str(recordings), "--output-dir", str(output)]) == 0
    assert AutoModel.from_pretrained(output).config.model_type == "sam_audio"


def test_stage_two_needs_a_whole_batch(recordings, tmp_path, capsys):
    content = json.loads(write_recipe(tmp_path, max_steps=1, per_device_train_batch_size=10).read_text())
    content["model"]["pretraining_stage"] = 2
    recipe = tmp_path / "stage2.yaml"
    recipe.write_text(json.dumps(content))
    assert pretrain(["--config", str(recipe), "--dataset", str(recordings), "--output-dir", str(tmp_path)]) == 2
    assert "There are 9 recordings, but a batch has 10" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--dataset"),
        (["--dataset", "RECORDINGS", "--resume"], "no checkpoint"),
        (["--dataset", "RECORDINGS", "--crop-seconds", "60"], "has positions for 16 only"),
        (["--dataset", "RECORDINGS", "--plot-mixtures", "2"], "stage 1 does not mix clips"),
        (["--dataset", "no-such-folder"], "no-such-folder"),
        (["--dataset", "RECORDINGS", "--split", "test"], "no split 'test'"),
    ],
)
def test_bad_usage_ends_with_one_line(recordings, tmp_path, capsys, flags, message):
    recipe = str(write_recipe(tmp_path, max_steps=1))
    flags = [str(recordings) if flag == "RECORDINGS" else flag for flag in flags]
    assert pretrain(["--config", recipe, "--output-dir", str(tmp_path / "run"), *flags]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert message in lines[-1]
    assert lines[-1].startswith("polyaudio pretrain: ")
