"""Averaged weights against a loop in numpy, and where a Trainer uses them: evaluation, the model, resuming."""

import copy
import os
import shutil
import socket
import subprocess

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import TrainerCallback

from polyaudio import SSLAMConfig, SSLAMForAudioClassification
from polyaudio.training.arguments import AudioTrainingArguments
from polyaudio.training.ema import ModelEMA
from polyaudio.training.trainer import AudioTrainer
from prepared_python import python


CONFIG = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_time_patches": 2,
    "num_labels": 3,
}


def make_model() -> SSLAMForAudioClassification:
    torch.manual_seed(0)
    return SSLAMForAudioClassification(SSLAMConfig(**CONFIG))


def make_clips(number: int) -> list[dict]:
    generator = torch.Generator().manual_seed(number)
    labels = torch.randint(3, (number,), generator=generator)
    noise = torch.randn(number, 32, 128, generator=generator)
    return [{"input_values": noise[n] + 0.3 * labels[n], "labels": labels[n]} for n in range(number)]


def accuracy_and_sum(prediction) -> dict[str, float]:
    accuracy = (prediction.predictions.argmax(1) == prediction.label_ids).mean()
    return {"accuracy": accuracy, "sum": float(prediction.predictions.sum(dtype=np.float64))}


class Recorder(TrainerCallback):
    """Keeps the weights after each step."""

    def __init__(self):
        self.weights = []

    def on_step_end(self, args, state, control, model, **kwargs):
        self.weights.append({name: weight.detach().clone() for name, weight in model.named_parameters()})


def make_trainer(folder, model=None, **arguments) -> AudioTrainer:
    settings = {"num_train_epochs": 2, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "ema_decay": 0.9}
    settings |= {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    settings |= {"save_total_limit": None, "metric_for_best_model": "sum", "lr_scheduler_type": "constant"}
    settings |= {"report_to": "none", "dataloader_num_workers": 0, "disable_tqdm": True, **arguments}
    return AudioTrainer(
        model=make_model() if model is None else model,
        args=AudioTrainingArguments(str(folder), **settings),
        train_dataset=make_clips(12),
        eval_dataset=make_clips(6),
        compute_metrics=accuracy_and_sum,
        callbacks=[Recorder()],
    )


def recorded(trainer) -> list[dict[str, torch.Tensor]]:
    return next(c for c in trainer.callback_handler.callbacks if isinstance(c, Recorder)).weights


def expected_averages(start, weights, decay) -> list[dict[str, np.ndarray]]:
    """The average after each step, float64."""
    average = {name: weight.detach().double().numpy().copy() for name, weight in start.items()}
    averages = []
    for step, current in enumerate(weights, start=1):
        kept = min(decay, (1 + step) / (10 + step))
        average = {name: kept * old + (1 - kept) * current[name].double().numpy() for name, old in average.items()}
        averages.append(average)
    return averages


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize("accumulation", [1, 2])
def test_averages_are_of_the_weights_after_each_step(tmp_path, accumulation):
    start = dict(make_model().named_parameters())
    trainer = make_trainer(tmp_path, load_best_model_at_end=False, gradient_accumulation_steps=accumulation)
    trainer.train()
    weights = recorded(trainer)
    assert len(weights) == {1: 6, 2: 4}[accumulation]
    expected = expected_averages(start, weights, 0.9)
    for step, (raw, averages) in enumerate(zip(weights, expected, strict=True), start=1):
        saved = load_file(tmp_path / f"checkpoint-{step}" / "ema.safetensors")
        assert saved.keys() == averages.keys()
        for name, average in saved.items():
            np.testing.assert_allclose(average, averages[name], atol=1e-6, err_msg=name)
        in_checkpoint = load_file(tmp_path / f"checkpoint-{step}" / "model.safetensors")
        assert all(torch.equal(in_checkpoint[name], raw[name]) for name in raw)  # what training goes on from
    final = dict(trainer.model.named_parameters())
    assert_same(final, saved)
    assert not torch.equal(final["classifier.weight"], weights[-1]["classifier.weight"])
    trainer.save_model()
    written = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(written[name], saved[name]) for name in saved)
    assert not (tmp_path / "ema.safetensors").exists()


def test_evaluation_is_of_the_averages_and_training_does_not_notice(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.train()
    plain = make_trainer(tmp_path / "plain", ema_decay=None)
    plain.train()
    for one, other in zip(recorded(trainer), recorded(plain), strict=True):
        assert_same(one, other)

    entries = [entry for entry in trainer.state.log_history if "eval_sum" in entry]
    assert len(entries) == 6
    model = make_model().eval()
    clips = torch.stack([clip["input_values"] for clip in make_clips(6)])
    sums = []
    for step in range(1, 7):
        model.load_state_dict(load_file(tmp_path / f"checkpoint-{step}" / "ema.safetensors"), strict=False)
        with torch.no_grad():
            sums.append(model(clips).logits.double().sum().item())
    assert [entry["eval_sum"] for entry in entries] == pytest.approx(sums, abs=1e-4)

    best = 1 + int(np.argmax(sums))
    assert trainer.state.best_global_step == best
    assert_same(dict(trainer.model.named_parameters()), load_file(tmp_path / f"checkpoint-{best}" / "ema.safetensors"))
    assert trainer.evaluate()["eval_sum"] == trainer.state.best_metric
    assert trainer.predict(make_clips(6)).metrics["test_sum"] == trainer.state.best_metric


def test_the_best_step_need_not_be_the_last(tmp_path):
    trainer = make_trainer(tmp_path, greater_is_better=False)
    trainer.train()
    other = make_trainer(tmp_path / "other", greater_is_better=True)
    other.train()
    assert trainer.state.best_global_step != other.state.best_global_step
    for one in (trainer, other):
        assert one.evaluate()["eval_sum"] == one.state.best_metric


def test_a_resumed_run_has_the_same_averages(tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    make_trainer(whole).train()
    shutil.copytree(whole / "checkpoint-2", resumed / "checkpoint-2")  # in the first epoch of 3 steps
    make_trainer(resumed).train(resume_from_checkpoint=str(resumed / "checkpoint-2"))
    for step in range(3, 7):
        for name in ("ema.safetensors", "model.safetensors"):
            assert_same(
                load_file(whole / f"checkpoint-{step}" / name), load_file(resumed / f"checkpoint-{step}" / name)
            )


def test_only_what_an_adapter_trains_is_averaged(tmp_path):
    def adapted():
        return get_peft_model(make_model(), LoraConfig(target_modules=["q_proj"], modules_to_save=["classifier"]))

    model = adapted()
    trainer = make_trainer(tmp_path, model)
    trainer.train()
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    averages = load_file(tmp_path / f"checkpoint-{trainer.state.best_global_step}" / "ema.safetensors")
    assert averages.keys() == trained
    assert len(trained) == 4
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            assert torch.equal(weight, averages[name]), name
    assert trainer.evaluate()["eval_sum"] == trainer.state.best_metric
    trainer.save_model()
    written = load_file(tmp_path / "adapter_model.safetensors")
    assert torch.equal(written["base_model.model.classifier.weight"], model.get_base_model().classifier.weight)


def test_a_second_run_starts_its_average_anew(tmp_path):
    trainer = make_trainer(tmp_path, load_best_model_at_end=False)
    trainer.train()
    start = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    recorded(trainer).clear()
    trainer.train()
    expected = expected_averages(start, recorded(trainer), 0.9)[-1]
    for name, weight in trainer.model.named_parameters():
        np.testing.assert_allclose(weight.detach(), expected[name], atol=1e-6, err_msg=name)


def test_half_precision_weights_are_averaged_in_float32():
    model = torch.nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    torch.nn.init.zeros_(model.weight)
    ema = ModelEMA(model, decay=0.999)
    torch.nn.init.ones_(model.weight)
    for _ in range(3):
        ema.update(10**6)  # long after the warm-up
    assert ema.averages["weight"].item() == pytest.approx(1 - 0.999**3, rel=1e-4)
    with ema.applied():
        assert model.weight.item() == pytest.approx(1 - 0.999**3, rel=1e-2)
    assert model.weight.item() == 1
    with pytest.raises(RuntimeError, match="stop"), ema.applied():
        raise RuntimeError("stop")
    assert model.weight.item() == 1


def test_checkpoints_without_these_averages_are_refused(tmp_path):
    make_trainer(tmp_path, ema_decay=None, max_steps=2).train()
    with pytest.raises(ValueError, match=r"checkpoint-2 has no ema\.safetensors.*Resume it without ema_decay"):
        make_trainer(tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    ModelEMA(torch.nn.Linear(2, 2), 0.9).save(tmp_path / "checkpoint-2")
    with pytest.raises(ValueError, match="other weights"):
        make_trainer(tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decays_that_make_no_sense(tmp_path, decay):
    with pytest.raises(ValueError, match="ema_decay must be at least 0 and below 1"):
        AudioTrainingArguments(str(tmp_path), ema_decay=decay)


def test_buffers_are_those_of_the_step(tmp_path):
    class Normalised(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(32)
            self.linear = torch.nn.Linear(128, 3)

        def forward(self, input_values, labels=None):
            logits = self.linear(self.norm(input_values).mean(1))
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    torch.manual_seed(0)
    model = Normalised()
    trainer = make_trainer(tmp_path, copy.deepcopy(model), greater_is_better=False)
    trainer.train()
    best = tmp_path / f"checkpoint-{trainer.state.best_global_step}"
    expected = {**load_file(best / "model.safetensors"), **load_file(best / "ema.safetensors")}
    assert_same(trainer.model.state_dict(), expected)
    assert trainer.evaluate()["eval_sum"] == trainer.state.best_metric


PROGRAM = """
import os, shutil, sys
import torch
from safetensors.torch import save_file
sys.path[:0] = [sys.argv[1], os.path.dirname(sys.argv[1])]
import test_ema
from polyaudio.training.arguments import AudioTrainingArguments
from polyaudio.training.trainer import AudioTrainer

whole, resumed = sys.argv[2:]
for folder, checkpoint in ((whole, None), (resumed, resumed + "/checkpoint-4")):
    args = AudioTrainingArguments(
        folder, ema_decay=0.9, balanced_samples=10, num_train_epochs=3, per_device_train_batch_size=2,
        learning_rate=1e-2, eval_strategy="steps", eval_steps=2, save_strategy="steps", save_steps=2,
        save_total_limit=None, metric_for_best_model="sum", report_to="none", dataloader_num_workers=0,
        disable_tqdm=True, use_cpu=True,
    )
    trainer = AudioTrainer(
        model=test_ema.make_model(), args=args, train_dataset=test_ema.make_clips(12),
        eval_dataset=test_ema.make_clips(6), train_weights=torch.linspace(0.1, 1, 12),
        compute_metrics=test_ema.accuracy_and_sum,
    )
    if checkpoint is not None:
        if args.process_index == 0:
            shutil.copytree(whole + "/checkpoint-4", checkpoint)
        torch.distributed.barrier()
    trainer.train(resume_from_checkpoint=checkpoint)
    save_file(trainer.model.state_dict(), f"{folder}/rank{args.process_index}.safetensors")
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_have_the_same_averages_and_resume_exactly(tmp_path):
    """From the second step of an epoch of three, whose clips are drawn anew."""
    folders = [tmp_path / "whole", tmp_path / "resumed"]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "WORLD_SIZE": "2"}
    environment |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [python(), "-c", PROGRAM, os.path.dirname(__file__), *map(str, folders)],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    for folder in folders:
        assert_same(load_file(folder / "rank0.safetensors"), load_file(folder / "rank1.safetensors"))
    for step in (6, 8):
        for name in ("ema.safetensors", "model.safetensors"):
            assert_same(*(load_file(folder / f"checkpoint-{step}" / name) for folder in folders))
