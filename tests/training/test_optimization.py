# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Layer-wise learning rates, their floor and weight decay, against formulas and the original's optimizer."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertForSequenceClassification, HfArgumentParser

from polyaudio import SAMAudioConfig, SAMAudioForAudioClassification, SSLAMConfig, SSLAMForAudioClassification
from polyaudio.modeling.checkpoint_sslam import encoder_key_map, head_key_map
from polyaudio.training.arguments import AudioTrainingArguments
from polyaudio.training.optimization import cosine_with_floor, layer_scales
from polyaudio.training.trainer import AudioTrainer


SSLAM = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_time_patches": 2,
    "use_fc_norm": True,
}
SAM_AUDIO = {
    "frontend": "log_mel",
    "feature_size": 8,
    "conv_dim": [16, 32],
    "conv_kernel": [3, 3],
    "conv_stride": [2, 2],
    "hidden_size": 16,
    "num_segments": 4,
    "num_attention_heads": 4,
}


def sslam(num_hidden_layers: int) -> SSLAMForAudioClassification:
    torch.manual_seed(0)
    return SSLAMForAudioClassification(SSLAMConfig(**SSLAM, num_hidden_layers=num_hidden_layers))


def make_trainer(folder: Path, model, **arguments) -> AudioTrainer:
    generator = torch.Generator().manual_seed(0)
    clips = [{"input_values": torch.randn(32, 128, generator=generator), "labels": n % 2} for n in range(8)]
    settings = {"eval_strategy": "no", "load_best_model_at_end": False, "save_strategy": "no", **arguments}
    args = AudioTrainingArguments(
        str(folder), report_to="none", per_device_train_batch_size=4, dataloader_num_workers=0, **settings
    )
    return AudioTrainer(model=model, args=args, train_dataset=clips)


def scales_by_name(model, layer_decay: float, counting: str) -> dict[str, float]:
    scales = layer_scales(model, layer_decay, counting)
    return {name: scales[parameter] for name, parameter in model.named_parameters()}


@pytest.fixture(scope="module")
def original(reference) -> dict:
    return json.loads((reference / "sslam" / "optimizer.json").read_text())["finetuning"]


def our_names(key: str, depth: int) -> tuple[str, ...]:
    """What the original's parameter is called here: several where it keeps query, key and value in one."""
    keys = {f"model.{name}": ours for name, ours in encoder_key_map(depth, "context_encoder.norm").items()}
    key = key.replace("modality_encoders.IMAGE.", "")
    return tuple(f"sslam.{name}" for name in keys[key]) if key in keys else head_key_map(True)[key]


@pytest.mark.parametrize(("counting", "of_embeddings"), [("blocks", 1.0), ("all", 0.75**13)])
def test_a_block_is_slower_than_the_next(counting, of_embeddings):
    with torch.device("meta"):
        model = SSLAMForAudioClassification(SSLAMConfig(use_fc_norm=True))
    found = scales_by_name(model, 0.75, counting)
    assert len(found) == 5 + 12 * 16 + 4
    for name, scale in found.items():
        if match := re.fullmatch(r"sslam\.layers\.(\d+)\..*", name):
            expected = math.prod([0.75] * (12 - int(match[1])))
        else:
            expected = of_embeddings if name.startswith("sslam.") else 1.0
        assert scale == pytest.approx(expected, rel=1e-12), name


def test_sam_audio_counts_convolutions_and_then_segment_layers():
    with torch.device("meta"):
        model = SAMAudioForAudioClassification(SAMAudioConfig(**SAM_AUDIO, num_hidden_layers=2))
    by_block = {"encoder.layers.0": 4, "encoder.layers.1": 3, "layers.0": 2, "layers.1": 1}
    for counting, others in (
        ("blocks", {"segment_tokens": 0, "encoder.projection": 0}),
        ("all", {"segment_tokens": 5, "encoder.projection": 3}),
    ):
        for name, scale in scales_by_name(model, 0.5, counting).items():
            places = [n for n in {**by_block, **others} if name.startswith(f"sam_audio.{n}")]
            exponent = {**by_block, **others}[places[0]] if places else 0
            assert scale == 0.5**exponent, name


def test_scales_are_the_originals(original):
    recorded = original["tiny"]
    found = scales_by_name(sslam(recorded["depth"]), recorded["layer_decay"], "blocks")
    expected = {}
    for key, override in recorded["requested_overrides_per_parameter"].items():
        for name in our_names(key, recorded["depth"]):
            expected[name] = override.get("optimizer", {}).get("lr_scale", 1.0)
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("depth", ["tiny", "depth12"])
def test_rates_are_the_originals_at_any_update(original, tmp_path, depth):
    """At depth 12 three blocks are below the floor: theirs are constant, from the first update on."""
    recorded = original[depth]
    first = recorded["groups"][0]
    trainer = make_trainer(
        tmp_path,
        sslam(recorded["depth"]),
        learning_rate=recorded["base_lr"],
        layer_decay=recorded["layer_decay"],
        lr_scheduler_type="cosine",
        min_learning_rate=1e-6,
        warmup_steps=recorded["warmup_updates"],
        weight_decay=first["weight_decay"],
        decay_norms_and_biases=True,
        adam_beta2=first["betas"][1],
    )
    trainer.create_optimizer_and_scheduler(recorded["max_update"])
    names = {parameter: name for name, parameter in trainer.model.named_parameters()}
    places = {}
    for index, group in enumerate(trainer.optimizer.param_groups):
        places |= {names[parameter]: index for parameter in group["params"]}
    assert places.keys() == set(names.values())

    compared = set()
    for group in recorded["groups"]:
        for name in (name for key in group["params"] for name in our_names(key, recorded["depth"])):
            ours = trainer.optimizer.param_groups[places[name]]
            assert all(ours[setting] == pytest.approx(group[setting]) for setting in ("weight_decay", "betas", "eps"))
            rate, factor = (getattr(trainer.lr_scheduler, x)[places[name]] for x in ("base_lrs", "lr_lambdas"))
            for update, expected in group["lr"].items():
                if int(update) < recorded["max_update"]:  # the rate after the last update is of no use
                    assert rate * factor(int(update)) == pytest.approx(expected, rel=1e-9), (name, update)
            compared.add(name)
    if depth == "tiny":
        assert compared == places.keys()
    else:  # our copy of the recording has some of the blocks only
        lambdas = trainer.lr_scheduler.lr_lambdas
        constant = {name.split(".")[2] for name, index in places.items() if lambdas[index](0) == 1}
        assert constant == {"0", "1", "2"}


def test_a_run_logs_the_full_rate_and_goes_on_with_every_rate_where_it_stopped(tmp_path):
    arguments = {
        "max_steps": 6,
        "learning_rate": 1e-2,
        "layer_decay": 0.1,
        "layer_decay_counting": "all",
        "lr_scheduler_type": "cosine",
        "min_learning_rate": 5e-5,
        "warmup_steps": 2,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": 3,
        "save_total_limit": None,
    }
    whole = make_trainer(tmp_path, sslam(2), **arguments)
    embeddings = whole.model.sslam.embeddings.patch_embeddings.weight.detach().clone()
    whole.train()
    # Adam's steps are as large as the rate: the embeddings', 1e-5, is below the floor and so constant
    moved = (whole.model.sslam.embeddings.patch_embeddings.weight - embeddings).abs().max().item()
    assert moved == pytest.approx(6e-5, rel=0.2)
    rates = [entry["learning_rate"] for entry in whole.state.log_history if "learning_rate" in entry]
    heights = [0, 0.5, *((1 + math.cos(math.pi * step / 4)) / 2 for step in range(4))]
    assert rates == pytest.approx([5e-5 + (1e-2 - 5e-5) * height for height in heights])
    assert whole.lr_scheduler.get_last_lr()[0] == pytest.approx(5e-5)

    resumed = make_trainer(tmp_path, sslam(2), **arguments)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert resumed.lr_scheduler.get_last_lr() == whole.lr_scheduler.get_last_lr()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_without_layer_decay_the_floor_is_for_all():
    weights = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(weights.parameters(), lr=1e-3)
    scheduler = cosine_with_floor(optimizer, 0, 10, 1e-4)
    rates = []
    for _ in range(12):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates[0] == pytest.approx(1e-3)
    assert rates[5] == pytest.approx((1e-3 + 1e-4) / 2)
    assert rates[10:] == pytest.approx([1e-4, 1e-4])  # and does not rise again


@pytest.mark.parametrize("model_type", ["sslam", "sam_audio"])
def test_weight_decay_spares_norms_biases_and_tokens(tmp_path, model_type):
    model = sslam(2) if model_type == "sslam" else SAMAudioForAudioClassification(SAMAudioConfig(**SAM_AUDIO))
    decayed = {True: [], False: []}
    for everything, names in decayed.items():
        trainer = make_trainer(tmp_path, model, weight_decay=0.05, decay_norms_and_biases=everything, layer_decay=0.9)
        groups = trainer.create_optimizer().param_groups
        spared = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
        names += [name for name, parameter in model.named_parameters() if id(parameter) not in spared]
        assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert len(decayed[True]) == len(list(model.parameters()))
    tokens = {"sslam.embeddings.cls_token", "sam_audio.segment_tokens"}
    expected = {name for name, parameter in model.named_parameters() if parameter.ndim > 1} - tokens
    assert set(decayed[False]) == expected


def test_models_that_have_no_such_rates_are_refused(tmp_path):
    adapted = get_peft_model(sslam(2), LoraConfig(target_modules=["q_proj"], modules_to_save=["classifier"]))
    with pytest.raises(ValueError, match="LoRA"):
        make_trainer(tmp_path, adapted, layer_decay=0.75).train()
    make_trainer(tmp_path, adapted, min_learning_rate=1e-6, lr_scheduler_type="cosine", max_steps=1).train()
    with torch.device("meta"):
        bert = BertForSequenceClassification(BertConfig(num_hidden_layers=1))
    with pytest.raises(ValueError, match=r"BertModel has none"):
        layer_scales(bert, 0.75, "blocks")


def test_the_command_line_has_them():
    flags = "--layer-decay 0.75 --layer-decay-counting all --min-learning-rate 1e-6 --lr-scheduler-type cosine"
    (args,) = HfArgumentParser(AudioTrainingArguments).parse_args_into_dataclasses(flags.split())
    assert (args.layer_decay, args.layer_decay_counting, args.min_learning_rate) == (0.75, "all", 1e-6)
    assert not args.decay_norms_and_biases


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer_decay": 0.0}, "layer_decay must be above 0"),
        ({"layer_decay": 1.5}, "at most 1"),
        ({"layer_decay_counting": "layers"}, "layer_decay_counting"),
        ({"min_learning_rate": -1e-6}, "at least 0"),
        ({"min_learning_rate": 1e-6}, "lr_scheduler_type='cosine'"),
        (
            {"min_learning_rate": 1e-6, "lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"num_cycles": 1}},
            "lr_scheduler_kwargs",
        ),
    ],
)
def test_settings_that_make_no_sense(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        AudioTrainingArguments(str(tmp_path), **arguments)
