# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`pretrain` from Python: what it takes, what it returns, and the command's numbers."""

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModel

from builders import SSLAM, TONES, dataset_in_memory, write_tones
from polyaudio import PretrainingArguments, SSLAMConfig, SSLAMForPreTraining, WindowArguments, pretrain, read_recipe
from polyaudio.scripts.pretrain import main as pretrain_command
from polyaudio.training.pretraining import PretrainingResult


SIZES = {**SSLAM, "decoder_hidden_size": 16, "decoder_num_layers": 2, "decoder_groups": 2, "clone_batch": 2}
SHORT = {"max_steps": 2, "per_device_train_batch_size": 4, "dataloader_num_workers": 0, "report_to": "none"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tones(tmp_path_factory.mktemp("clips") / "tones", TONES, 4)


def arguments(output: Path, **changes) -> PretrainingArguments:
    return PretrainingArguments(str(output), **{**SHORT, **changes})


def test_a_new_model_from_a_dataset_in_memory(folder, tmp_path, capsys):
    args = arguments(tmp_path, logging_steps=1)
    result = pretrain(dataset_in_memory(folder), SSLAMConfig(**SIZES), args, windows=WindowArguments(crop_seconds=0.8))
    lines = capsys.readouterr().out.replace("\r", "\n").splitlines()
    assert [line for line in lines if line.strip() and not line.startswith("{")] == []
    assert type(result) is PretrainingResult
    assert type(result.model) is SSLAMForPreTraining
    assert result.folder == tmp_path
    assert [entry["step"] for entry in result.history if "loss" in entry] == [1, 2]
    encoder, weights = AutoModel.from_pretrained(tmp_path), result.model.sslam.state_dict()
    assert all(torch.equal(weights[name].cpu(), weight) for name, weight in encoder.state_dict().items())


def test_the_command_gives_the_same_numbers(folder, tmp_path):
    content = {
        "model": {"model_type": "sslam", **SIZES},
        "data": {"crop_seconds": 0.8, "roll_and_gain": True},
        "training": SHORT,
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(content))
    flags = ["--config", str(tmp_path / "small.yaml"), "--dataset", str(folder)]
    assert pretrain_command([*flags, "--output-dir", str(tmp_path / "command")]) == 0
    windows = WindowArguments(crop_seconds=0.8, roll_and_gain=True)
    by_hand = pretrain(str(folder), SSLAMConfig(**SIZES), arguments(tmp_path / "python"), windows=windows)
    settings = read_recipe(tmp_path / "small.yaml").pretraining(output_dir=str(tmp_path / "recipe"))
    by_recipe = pretrain(str(folder), **vars(settings))
    expected = load_file(tmp_path / "command" / "model.safetensors")
    for result in (by_hand, by_recipe):
        weights = load_file(result.folder / "model.safetensors")
        assert all(torch.equal(weights[name], weight) for name, weight in expected.items())


def test_a_loaded_model_stays_as_it_is(folder, tmp_path):
    torch.manual_seed(1)
    model = SSLAMForPreTraining(SSLAMConfig(**SIZES))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    result = pretrain(str(folder), model, arguments(tmp_path), windows=WindowArguments(crop_seconds=0.8))
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    name = "sslam.layers.0.attention.q_proj.weight"
    assert not torch.equal(result.model.state_dict()[name], before[name])


def test_what_contradicts_itself_is_refused(folder, tmp_path):
    windows, too_many = WindowArguments(crop_seconds=0.8), arguments(tmp_path, per_device_train_batch_size=9)
    with pytest.raises(ValueError, match="There are 8 recordings, but a batch has 9"):
        pretrain(str(folder), SSLAMConfig(**SIZES, pretraining_stage=2), too_many, windows=windows)
    with pytest.raises(ValueError, match="needs a model in stage 2"):
        pretrain(str(folder), SSLAMConfig(**SIZES), arguments(tmp_path), windows=windows, plot_mixtures_of=2)
    endless, stream = arguments(tmp_path, max_steps=-1), WindowArguments(crop_seconds=0.8, streaming=True)
    with pytest.raises(ValueError, match=r"A stream has no end. Set the number of updates"):
        pretrain(str(folder), SSLAMConfig(**SIZES), endless, windows=stream)
