# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""SSLAM's pre-training: the original's numbers, the teacher, masks and mixing, padding, precision, saving."""

import json
import math
import os
import subprocess

import pytest
import torch
from packaging import version
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForPreTraining

from polyaudio import SSLAMConfig, SSLAMForAudioClassification, SSLAMForPreTraining, SSLAMModel
from polyaudio.modeling.checkpoint_io import read_torch_checkpoint
from polyaudio.modeling.checkpoint_sslam import ConvertedCheckpoint, convert_fairseq_checkpoint
from polyaudio.modeling.modeling_sslam import draw_mix_starts, draw_view_masks
from prepared_python import python


NUM_MELS = 64


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The models are too small to share between threads, which on a busy machine wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny_config(**changes) -> SSLAMConfig:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    decoder = {"decoder_hidden_size": 32, "decoder_num_layers": 2, "decoder_groups": 4}
    sizes |= {"num_mel_bins": NUM_MELS, "max_time_patches": 16, "clone_batch": 3}
    return SSLAMConfig(**{**sizes, **decoder, **changes})


def tiny_model(seed: int = 0, **changes) -> SSLAMForPreTraining:
    """In training mode, student and teacher different, biases and norms random."""
    torch.manual_seed(seed)
    model = SSLAMForPreTraining(tiny_config(**changes)).train()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def mel(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, NUM_MELS, generator=torch.Generator().manual_seed(seed))


def lengths_to_mask(lengths: list[int], num_frames: int | None = None) -> torch.Tensor:
    return (torch.arange(num_frames or max(lengths)) < torch.tensor(lengths)[:, None]).long()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}


def assert_same(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], atol: float, rtol: float) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, atol=atol, rtol=rtol, msg=lambda m, n=name: f"{n}: {m}")


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(weight, other[name]) for name, weight in one.items())


# The original's numbers ---------------------------------------------------------------------------


CASES = [(1, "main"), (2, "main"), (2, "edge_contiguous"), (2, "edge_start"), (2, "edge_end")]
# Recorded tensor -> field of the output, and which part of it was recorded.
RECORDED = {
    (1, "main"): {
        "teacher_targets": "frame_targets",
        "cls_target": "utterance_targets",
        "student_encoder_cls": "utterance_predictions",
        "decoder_output_row0": "frame_predictions",
    },
    (2, "main"): {
        "mixed_source": "mixed_input_values",
        "y_orig_patch": "frame_targets",
        "y_orig_cls": "utterance_targets",
        "y_mix_patch": "source_retention_targets",
        "student_encoder_cls": "utterance_predictions",
        "decoder_output_row0": "frame_predictions",
    },
    **{
        (2, case): dict.fromkeys(("y_mix_patch_item0", "y_mix_patch_mean_abs"), "source_retention_targets")
        for _, case in CASES[2:]
    },
}


def assert_relative(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """Every element is near, measured by the largest."""
    torch.testing.assert_close(actual, expected, atol=tolerance * expected.abs().max().item(), rtol=0)


@pytest.fixture(scope="module")
def original(reference) -> ConvertedCheckpoint:
    return convert_fairseq_checkpoint(read_torch_checkpoint(reference / "sslam" / "pretrained.pt"), "pretraining")


def names_in(report: dict[str, str], key: str) -> list[str]:
    """Our names for a parameter of the original, several where the original's is a fused one."""
    return report[key].removeprefix("renamed to ").split(", ")


def build(original: ConvertedCheckpoint, **changes) -> SSLAMForPreTraining:
    model = SSLAMForPreTraining(SSLAMConfig(**{**original.config.to_dict(), **changes}))
    model.load_state_dict(original.state_dict)
    return model.train()


@pytest.fixture(scope="module")
def recorded(reference) -> dict[int, tuple[dict, dict]]:
    """For each stage the numbers and the tensors."""
    folder = reference / "sslam"
    return {
        stage: (
            json.loads((folder / f"stage{stage}_loss.json").read_text()),
            load_file(folder / f"stage{stage}_loss.safetensors"),
        )
        for stage in (1, 2)
    }


@pytest.fixture(scope="module")
def run_of(original, recorded):
    """Runs a recorded case forward and backward, once."""
    runs = {}

    def run(stage: int, case: str):
        if (stage, case) not in runs:
            numbers, tensors = recorded[stage]
            numbers = numbers["cases"][case]
            model = build(original, pretraining_stage=stage, clone_batch=4, mask_noise_std=0.0)
            mixing = {"mix_starts": torch.tensor([numbers["idx_1"], numbers["idx_2"]])} if stage == 2 else {}
            outputs = model(
                tensors["main.source"].squeeze(1).float(),
                bool_masked_pos=tensors["main.precomputed_mask"].bool(),
                output_targets=True,
                **mixing,
            )
            outputs.loss.backward()
            runs[stage, case] = numbers, outputs, gradients(model)
        return runs[stage, case]

    return run


@pytest.mark.parametrize(("stage", "case"), CASES)
def test_losses_of_the_original(run_of, stage, case):
    numbers, outputs, _ = run_of(stage, case)
    losses = [outputs.utterance_loss, outputs.frame_loss, outputs.source_retention_loss][: stage + 1]
    for loss, term in zip(losses, numbers["loss_terms"].values(), strict=True):
        assert loss.item() == pytest.approx(term["sum"] / numbers["sample_size"], rel=1e-4)
    assert outputs.loss.item() == pytest.approx(numbers["total_loss"] / numbers["sample_size"], rel=1e-4)
    logged = numbers["logged"]
    assert outputs.pred_var.item() == pytest.approx(logged["pred_var"], rel=1e-4)
    assert outputs.target_var.item() == pytest.approx(logged["target_var"], rel=1e-4)
    assert outputs.masked_share.item() == pytest.approx(logged["masked_pct"], rel=1e-6)


@pytest.mark.parametrize(("stage", "case"), CASES)
def test_gradients_of_the_original(run_of, original, recorded, stage, case):
    """What reaches the optimizer there: the gradient of the summed loss over the number of masked patches."""
    numbers, _, grads = run_of(stage, case)
    norm = math.sqrt(sum(grad.double().square().sum() for grad in grads.values()))
    assert norm == pytest.approx(numbers["global_grad_norm_of_total_loss_over_sample_size"], rel=1e-3)

    grads = dict(grads)
    recorded_grads = {name: grad for name, grad in recorded[stage][1].items() if name.startswith(f"{case}.grad.")}
    for name, expected in numbers["per_parameter_grad_norm"].items():
        grad = torch.cat([grads.pop(ours) for ours in names_in(original.report, f"model.{name}")])
        assert grad.norm().item() * numbers["sample_size"] == pytest.approx(expected, rel=1e-3), name
        if f"{case}.grad.{name}" in recorded_grads:
            assert_relative(grad * numbers["sample_size"], recorded_grads.pop(f"{case}.grad.{name}"), 1e-3)
    assert not grads, "every trained parameter has one there"
    assert not recorded_grads


@pytest.mark.parametrize(
    ("stage", "case", "name"), [(*key, name) for key, names in RECORDED.items() for name in names]
)
def test_targets_and_outputs_of_the_original(run_of, recorded, stage, case, name):
    tensors = recorded[stage][1]
    actual, expected = run_of(stage, case)[1][RECORDED[stage, case][name]], tensors[f"{case}.{name}"].float()
    if name.endswith(("_row0", "_item0")):
        actual = actual[0]
    elif name.endswith("_mean_abs"):
        actual = actual.abs().mean(dim=-1)
    assert_relative(actual, expected.squeeze(1) if name == "mixed_source" else expected, 1e-4)


# The teacher --------------------------------------------------------------------------------------


def test_the_teacher_moves_as_the_original_does(reference, original):
    numbers = json.loads((reference / "sslam" / "ema.json").read_text())
    tensors = load_file(reference / "sslam" / "ema.safetensors")
    schedule = {name: numbers[name] for name in ("ema_decay", "ema_end_decay", "ema_anneal_end_step")}
    model = build(original, **schedule)

    def named(prefix: str, theirs: str, ours: str):
        """Recorded tensors with the parameters of ours that they belong to."""
        for key, tensor in tensors.items():
            if key.startswith(prefix):
                names = names_in(original.report, theirs + key.removeprefix(prefix))
                assert all(name.startswith(ours) for name in names)
                yield from zip((model.get_parameter(name) for name in names), tensor.chunk(len(names)), strict=True)

    with torch.no_grad():
        for parameter, tensor in named("initial.teacher.", "model._ema.", "teacher."):
            parameter.copy_(tensor)
        for step in numbers["steps"]:
            update = step["num_updates"]
            for parameter, tensor in named(f"update{update}.student.", "model.", "sslam."):
                parameter.copy_(tensor)
            assert model.update_teacher(update) == pytest.approx(step["decay"], abs=1e-12)
            averages = list(named(f"update{update}.teacher.", "model._ema.", "teacher."))
            assert len(averages) == 9
            for parameter, expected in averages:
                torch.testing.assert_close(parameter.data, expected, atol=1e-6, rtol=0)


def test_the_released_schedule(reference):
    numbers = json.loads((reference / "sslam" / "ema.json").read_text())["released_schedule_decay_by_update"]
    model = tiny_model()
    for name in ("ema_decay", "ema_end_decay", "ema_anneal_end_step"):
        assert getattr(model.config, name) == numbers[name]
    for update, decay in numbers["decay"].items():
        assert model.ema_decay(int(update)) == pytest.approx(decay, abs=1e-12)


def test_what_is_not_trained_is_copied_to_the_teacher():
    model = tiny_model(ema_decay=0.5, ema_end_decay=0.5)
    model.sslam.embeddings.requires_grad_(False)
    model.sslam.embeddings.position_embeddings += 1
    before = {name: weight.clone() for name, weight in model.teacher.state_dict().items()}
    assert model.update_teacher(1) == 0.5
    for name, weight in model.teacher.state_dict().items():
        student = model.sslam.state_dict()[name]
        expected = student if name.startswith("embeddings.") else (before[name] + student) / 2
        torch.testing.assert_close(weight, expected, atol=1e-7, rtol=1e-6)


def test_a_teacher_in_half_precision_does_not_move():
    model = tiny_model().bfloat16()
    with pytest.raises(ValueError, match=r"bfloat16.*float32"):
        model.update_teacher(1)


@pytest.mark.parametrize("stage", [1, 2])
def test_the_teacher_is_neither_trained_nor_dropped_out(stage):
    names = ["embedding_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob", "activation_dropout"]
    names += ["post_mlp_dropout", "drop_path_rate", "layerdrop"]
    model = tiny_model(pretraining_stage=stage, **dict.fromkeys(names, 0.5))
    assert model.sslam.training
    assert not any(module.training for module in model.teacher.modules())
    mixing = {"mix_starts": [0, 48]} if stage == 2 else {}
    clips = mel(2, 100).requires_grad_()
    runs = [model(clips, output_targets=True, **mixing) for _ in range(2)]
    runs.append(model.eval()(clips, output_targets=True, **mixing))
    assert not torch.equal(runs[0].utterance_predictions, runs[1].utterance_predictions)
    for name in ("frame_targets", "utterance_targets", "source_retention_targets")[: stage + 1]:
        assert torch.equal(runs[0][name], runs[1][name])
        assert torch.equal(runs[0][name], runs[2][name])
        assert not runs[0][name].requires_grad

    model.train()(mel(2, 100)).loss.backward()
    assert all(parameter.grad is None for parameter in model.teacher.parameters())


# Masks --------------------------------------------------------------------------------------------


MASK_SETTINGS = {
    "main": {"mask_ratio": 0.8, "mask_length": 5, "mask_adjust": 0.07},
    "large_config": {"mask_ratio": 0.75, "mask_length": 5, "mask_adjust": 0.1},
}


@pytest.mark.parametrize("name", MASK_SETTINGS)
def test_masks_are_distributed_as_the_original_ones(reference, name):
    """Within five standard errors of the difference of two samples."""
    numbers = json.loads((reference / "sslam" / "masking.json").read_text())[name]
    size = numbers["num_samples"]
    config = SSLAMConfig(clone_batch=8, **MASK_SETTINGS[name])
    assert [config.mask_ratio, config.mask_adjust] == [numbers["mask_prob"], numbers["mask_prob_adjust"]]
    masks = draw_view_masks(config, torch.ones(size // 8, 1024), seeded())
    assert {str(count): size for count in set(masks.sum(dim=1).tolist())} == numbers["masked_count_per_sample_unique"]

    grid = masks.view(size, *numbers["img_shape"]).float()
    visible = 1 - grid
    statistics = {
        "adjacent_visible_pairs_along_time": (visible[:, 1:] * visible[:, :-1]).sum(dim=(1, 2)),
        "adjacent_visible_pairs_along_mel": (visible[..., 1:] * visible[..., :-1]).sum(dim=(1, 2)),
        "rows_with_no_visible_patch": (visible.sum(dim=2) == 0).sum(dim=1).float(),
    }
    compared = [(values.mean(), numbers[key]["mean"], numbers[key]["std"]) for key, values in statistics.items()]
    for kind, values in (("row", grid.mean(dim=(0, 2))), ("column", grid.mean(dim=(0, 1)))):
        compared.append((values, numbers[f"{kind}_mask_frequency_mean"], numbers[f"{kind}_mask_frequency_std"]))
    positions = torch.tensor(numbers["position_mask_frequency"])
    compared.append((grid.mean(dim=0), positions, (positions * (1 - positions)).sqrt()))
    for actual, expected, deviation in compared:
        errors = (actual - torch.as_tensor(expected)) / (torch.as_tensor(deviation) * math.sqrt(2 / size))
        assert errors.abs().max() < 5


def test_masks_follow_from_the_generator():
    config, frames = SSLAMConfig(clone_batch=4), torch.ones(3, 400)
    masks = draw_view_masks(config, frames, seeded())
    assert masks.shape == (12, 200)
    assert torch.equal(masks, draw_view_masks(config, frames, seeded()))
    assert not torch.equal(masks, draw_view_masks(config, frames, seeded(1)))
    assert len({tuple(mask.tolist()) for mask in masks}) == 12


@pytest.mark.parametrize("mask_ratio", [0.75, 0.8])
def test_padding_is_hidden_and_as_much_is_visible_as_of_the_clip_alone(mask_ratio):
    """Down to one frame."""
    lengths = [*range(1, 200), 640, 1000, 1023]
    config = SSLAMConfig(clone_batch=2, mask_ratio=mask_ratio)
    visible = ~draw_view_masks(config, lengths_to_mask(lengths, 1024), seeded()).unflatten(0, (-1, 2))
    for length, views in zip(lengths, visible, strict=True):
        alone = ~draw_view_masks(config, torch.ones(1, length))
        assert views.sum(dim=1).tolist() == alone.sum(dim=1).tolist()
        assert not views[:, alone.shape[1] :].any()


def test_a_padded_clip_has_blocks_as_the_clip_alone_has():
    """The number of pairs of visible neighbours tells blocks from single patches."""

    def neighbours(num_frames: int) -> torch.Tensor:
        masks = draw_view_masks(SSLAMConfig(clone_batch=1000), lengths_to_mask([512], num_frames), seeded(num_frames))
        visible = (~masks).float().view(1000, -1, 8)
        return (visible[:, 1:] * visible[:, :-1]).sum(dim=(1, 2))

    alone, padded = neighbours(512), neighbours(1024)
    assert abs(padded.mean() - alone.mean()) < 5 * alone.std() * math.sqrt(2 / 1000)


@pytest.mark.parametrize("mask_length", [1, 4, 7])
def test_a_block_is_a_square_of_visible_patches(mask_length):
    """Of odd and even length, anywhere; where it is cut off at a border single patches make up for it."""
    area = mask_length**2
    config = SSLAMConfig(clone_batch=4000, mask_length=mask_length, mask_ratio=1 - area / 512, mask_adjust=0.0)
    visible = ~draw_view_masks(config, torch.ones(1, 1024), seeded()).view(4000, 64, 8)
    assert visible.sum(dim=(1, 2)).tolist() == [area] * 4000
    squares = torch.nn.functional.max_pool2d(-visible.float()[:, None], mask_length, stride=1) == -1
    places = squares.flatten(1).float().mean(dim=0)
    assert (places * 512 - 1).abs().max() < 5 * math.sqrt(512 / 4000), "each place is as likely as a centre is"
    whole = places.numel() / 512
    assert abs(places.sum() - whole) <= 5 * math.sqrt(whole * (1 - whole) / 4000)


# Mixing -------------------------------------------------------------------------------------------


def test_the_unmixed_regions_begin_where_the_original_ones_do(recorded):
    generator = seeded()
    first, second = torch.stack([draw_mix_starts(SSLAMConfig(), 1024, generator) for _ in range(5000)]).unbind(dim=1)
    assert set(first.tolist()) == set(range(0, 497, 16))
    assert set(second.tolist()) == set(range(240, 769, 16))
    assert set((second - first).tolist()) == set(range(240, 769, 16))
    for case in recorded[2][0]["cases"].values():
        assert ((first == case["idx_1"]) & (second == case["idx_2"])).any()
    standard_error = 16 * math.sqrt((32**2 - 1) / 12 / 5000)
    assert abs(first.float().mean() - 248) < 5 * standard_error
    # The second is uniform too, between the end of the first and the last place but one
    place = (second - first - 240) / (784 - 240 - first)
    assert abs((place + 8 / (784 - 240 - first)).mean() - 0.5) < 5 * math.sqrt(1 / 12 / 5000)


@pytest.mark.parametrize(("ratio", "reach"), [(0.234375, 0.5), (0.49, 1.0), (0.0, 0.5)])
def test_the_unmixed_regions_fit_clips_of_any_length(ratio, reach):
    config, generator = SSLAMConfig(unmixed_region_ratio=ratio, unmixed_region_range=reach), seeded()
    for num_frames in range(1, 2001):
        num_patches = math.ceil(num_frames / 16)
        first, second = draw_mix_starts(config, num_frames, generator).tolist()
        region = 16 * int(num_patches * ratio)
        assert first % 16 == second % 16 == 0
        assert 0 <= first <= max(16 * num_patches * reach - 16, 0)
        assert first + region <= second <= 16 * num_patches - max(region, 1)


def test_the_louder_of_two_clips_is_heard_outside_of_the_regions():
    clips = mel(3, 128)
    outputs = tiny_model(pretraining_stage=2, unmixed_region_ratio=0.25)(
        clips, mix_starts=[16, 80], output_targets=True
    )
    mixed, foreign = outputs.mixed_input_values, clips[[2, 0, 1]]
    is_mixed = torch.tensor([1, 0, 0, 1, 1, 0, 0, 1]).bool().repeat_interleave(16)
    assert torch.equal(mixed[:, ~is_mixed], clips[:, ~is_mixed])
    assert torch.equal(mixed[:, is_mixed], torch.maximum(clips, foreign)[:, is_mixed])


def test_nothing_is_mixed_where_either_clip_has_ended():
    lengths = [128, 90, 1, 40]
    clips, real = mel(4, 128), lengths_to_mask(lengths).bool()
    model = tiny_model(pretraining_stage=2, unmixed_region_ratio=0.25, source_retention_loss_weight=1.0)
    outputs = model(clips, attention_mask=real, mix_starts=[16, 80], output_targets=True)
    outputs.loss.backward()
    assert all(grad.isfinite().all() for grad in gradients(model).values())
    for value in outputs.values():
        assert value.isfinite().all()

    is_mixed = torch.tensor([1, 0, 0, 1, 1, 0, 0, 1]).bool()
    both = real & real[[3, 0, 1, 2]] & is_mixed.repeat_interleave(16)
    mixed = outputs.mixed_input_values
    assert torch.equal(mixed[~both & real], clips[~both & real])
    assert torch.equal(mixed[both], torch.maximum(clips, clips[[3, 0, 1, 2]])[both])
    assert not mixed[~real].any()

    # A patch has two sources where the foreign clip has a frame of it
    foreign_patches = (torch.arange(8) < torch.tensor([3, 8, 6, 1])[:, None]) & is_mixed
    clean = outputs.frame_targets[:4].unflatten(1, (8, 4))
    retained = outputs.source_retention_targets.unflatten(1, (8, 4))
    assert torch.equal(retained[~foreign_patches], clean[~foreign_patches])
    assert (retained[foreign_patches] != clean[foreign_patches]).any(dim=-1).all()


# Padding ------------------------------------------------------------------------------------------


def padded_views(masks: list[torch.Tensor], num_patches: int) -> torch.Tensor:
    """The masks of single clips as those of a batch; `True` is what padding gets, but anything would do."""
    pad = torch.nn.functional.pad
    return torch.cat(
        [pad(mask, (0, num_patches - mask.shape[1]), value=index % 2 == 0) for index, mask in enumerate(masks)]
    )


def test_a_clip_alone_and_in_a_padded_batch_agree():
    """Targets, and predictions of views with given masks; noise would be another one."""
    lengths = [100, 1, 17, 90, 64]
    model = tiny_model(mask_noise_std=0.0, mask_ratio=0.75)
    clips = mel(len(lengths), max(lengths))
    masks = [draw_view_masks(model.config, torch.ones(1, length), seeded(length)) for length in lengths]
    batch = {"attention_mask": lengths_to_mask(lengths), "bool_masked_pos": padded_views(masks, 28)}
    together = model(clips, **batch, output_targets=True)
    frame_sum, num_targets = 0.0, 0
    for index, (clip, length, mask) in enumerate(zip(clips, lengths, masks, strict=True)):
        alone = model(clip[None, :length], bool_masked_pos=mask, output_targets=True)
        views, num_patches = slice(3 * index, 3 * index + 3), mask.shape[1]
        for actual, expected in (
            (together.frame_targets[index, :num_patches], alone.frame_targets[0]),
            (together.utterance_targets[index], alone.utterance_targets[0]),
            (together.frame_predictions[views, :num_patches], alone.frame_predictions),
            (together.utterance_predictions[views], alone.utterance_predictions),
        ):
            torch.testing.assert_close(actual, expected, atol=2e-5, rtol=0)
        frame_sum, num_targets = frame_sum + alone.frame_loss * mask.sum(), num_targets + mask.sum()
    torch.testing.assert_close(together.frame_loss, frame_sum / num_targets, atol=0, rtol=1e-5)


@pytest.mark.parametrize("stage", [1, 2])
def test_padding_changes_neither_losses_nor_gradients(stage):
    """Nor does what it holds. The clips of a mixture have padding of the same length, for the same regions."""
    model = tiny_model(pretraining_stage=stage, mask_noise_std=0.0, mask_ratio=0.75, unmixed_region_ratio=0.25)
    clips = mel(3, 128)
    mask = draw_view_masks(model.config, torch.ones(3, 128), seeded())
    mixing = {"mix_starts": [0, 48]} if stage == 2 else {}
    expected = model(clips, bool_masked_pos=mask, **mixing)
    expected.loss.backward()
    expected_gradients = gradients(model)

    model.zero_grad()
    padding = torch.full((3, 48, NUM_MELS), 1e3)  # 11 patches have regions of 2 as 8 have
    actual = model(
        torch.cat([clips, padding], dim=1),
        attention_mask=lengths_to_mask([128] * 3, 176),
        bool_masked_pos=torch.nn.functional.pad(mask, (0, 12), value=True),
        **mixing,
    )
    actual.loss.backward()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, atol=0, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    assert_same(gradients(model), expected_gradients, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("num_mel_bins", [16, 64])
@pytest.mark.parametrize("num_frames", [1, 16, 17, 33])
def test_clips_of_any_length(stage, num_mel_bins, num_frames):
    """Where so little is there that the student sees no patch, every weight has a gradient still."""
    model = tiny_model(pretraining_stage=stage, num_mel_bins=num_mel_bins)
    outputs = model(mel(2, num_frames)[..., :num_mel_bins])
    outputs.loss.backward()
    assert all(value.isfinite().all() for value in outputs.values())
    assert all(grad is not None and grad.isfinite().all() for grad in gradients(model).values())


@pytest.mark.parametrize("stage", [1, 2])
def test_a_clip_without_sound_does_no_harm(stage):
    model = tiny_model(pretraining_stage=stage)
    outputs = model(mel(3, 100), attention_mask=lengths_to_mask([100, 0, 40]))
    outputs.loss.backward()
    assert all(value.isfinite().all() for value in outputs.values())
    assert all(grad.isfinite().all() for grad in gradients(model).values())


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4])
def test_the_reach_of_the_decoder(kernel_size):
    """An even kernel, of which a row and a column too many come out, reaches further back than ahead."""
    decoder = tiny_model(decoder_kernel_size=kernel_size, decoder_num_layers=1).decoder
    grid = torch.zeros(1, 9, 8, 32)
    grid[0, 4, 4] = 1
    changed = (decoder(grid) != decoder(torch.zeros_like(grid))).any(dim=-1).view(9, 8)
    before, behind = (kernel_size - 1) // 2, kernel_size // 2
    expected = torch.zeros(9, 8, dtype=torch.bool)
    expected[4 - before : 5 + behind, 4 - before : 5 + behind] = True
    assert torch.equal(changed, expected)


# What a call takes and gives ----------------------------------------------------------------------


def test_a_mixture_takes_two_clips():
    assert tiny_model()(mel(1, 100)).loss > 0
    with pytest.raises(ValueError, match="at least two clips, got 1"):
        tiny_model(pretraining_stage=2)(mel(1, 100))


@pytest.mark.parametrize("shape", [(6, 24), (2, 28), (6, 7, 4)])
def test_masks_of_another_shape_are_named(shape):
    with pytest.raises(ValueError, match=r"bool_masked_pos.*\(6, 28\)"):
        tiny_model()(mel(2, 100), bool_masked_pos=torch.ones(shape, dtype=torch.bool))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"input_values": mel(100)}, f"batch_size, num_frames, {NUM_MELS}"),
        ({"input_values": mel(2, 100)[..., :32]}, f"batch_size, num_frames, {NUM_MELS}"),
        ({"input_values": mel(2, 257)}, "257 frames.*16 patches.*max_time_patches"),
        (
            {"input_values": mel(2, 100), "attention_mask": torch.ones(2, 101)},
            r"attention_mask.*\(2, 100\).*\(2, 101\)",
        ),
        (
            {"input_values": mel(2, 100), "attention_mask": torch.ones(2, 160)},
            r"attention_mask.*\(2, 100\).*\(2, 160\)",
        ),
    ],
)
def test_wrong_inputs_are_named(inputs, message):
    with pytest.raises(ValueError, match=message):
        tiny_model()(**inputs)


@pytest.mark.parametrize("num_visible", [0, 4, 6])
def test_masks_of_another_share_are_named(num_visible):
    masks = (torch.arange(28) >= num_visible).expand(6, -1)
    with pytest.raises(ValueError, match=r"bool_masked_pos.*visible"):
        tiny_model()(mel(2, 100), bool_masked_pos=masks)
    padded = {"attention_mask": torch.ones(2, 100), "bool_masked_pos": masks}
    if num_visible > 5:
        with pytest.raises(ValueError, match=r"bool_masked_pos.*visible"):
            tiny_model()(mel(2, 100), **padded)
    else:
        assert tiny_model()(mel(2, 100), **padded).loss.isfinite()


@pytest.mark.parametrize("stage", [1, 2])
def test_given_masks_compile_without_graph_breaks(stage):
    torch._dynamo.reset()
    model, clips, real = tiny_model(pretraining_stage=stage, mask_noise_std=0.0), mel(2, 128), torch.ones(2, 128)
    inputs = {"bool_masked_pos": draw_view_masks(model.config, real, seeded())}
    if stage == 2:
        inputs["mix_starts"] = torch.tensor([0, 64])
    # The check of the masks breaks the graph of older versions
    is_traced = version.parse(torch.__version__) >= version.parse("2.13")
    compiled = torch.compile(model, backend="eager", fullgraph=is_traced)
    for mask in ({}, {"attention_mask": real}):
        torch.testing.assert_close(compiled(clips, **inputs, **mask).loss, model(clips, **inputs, **mask).loss)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_teacher_of_a_fresh_half_precision_model_is_in_float32(dtype):
    model = SSLAMForPreTraining._from_config(tiny_config(), dtype=dtype)
    assert (model.sslam.dtype, model.teacher.dtype) == (dtype, torch.float32)
    for name, weight in model.teacher.state_dict().items():
        assert torch.equal(weight, model.sslam.state_dict()[name].float())


@pytest.mark.parametrize("mix_starts", [[5, 64], [0, 16], [16, 16], [-16, 48], [0, 112], [0], [0, 16, 32]])
def test_regions_that_do_not_fit_are_named(mix_starts):
    model = tiny_model(pretraining_stage=2, unmixed_region_ratio=0.25)
    with pytest.raises(ValueError, match="mix_starts"):
        model(mel(2, 128), mix_starts=torch.tensor(mix_starts))


@pytest.mark.parametrize(
    "changes",
    [
        {"mask_ratio": 0.0},
        {"mask_ratio": 1},
        {"unmixed_region_ratio": 0.5},
        {"unmixed_region_range": 0},
        {"utterance_loss_reduction": "max"},
        {"clone_batch": 0},
        {"mask_length": 0},
        {"average_top_k_layers": 0},
        {"decoder_num_layers": 0},
    ],
)
def test_wrong_configurations_are_named(changes):
    with pytest.raises(Exception, match=next(iter(changes))):  # the errors of strict dataclasses have no common base
        tiny_config(**changes)


@pytest.mark.parametrize("stage", [1, 2])
def test_all_that_is_random_comes_from_the_generator(stage):
    model, clips = tiny_model(pretraining_stage=stage), mel(3, 100)
    state = torch.get_rng_state()
    loss = model(clips, generator=seeded(7)).loss
    assert torch.equal(model(clips, generator=seeded(7)).loss, loss)
    assert not torch.equal(model(clips, generator=seeded(8)).loss, loss)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(model(clips).loss, model(clips).loss)

    model.eval()
    state = torch.get_rng_state()
    assert torch.equal(model(clips).loss, model(clips).loss)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(model(clips, generator=seeded(7)).loss, model(clips).loss)


def test_the_noise_of_the_decoder():
    masks = draw_view_masks(tiny_config(), torch.ones(2, 100), seeded())
    losses = {
        std: [tiny_model(mask_noise_std=std)(mel(2, 100), bool_masked_pos=masks).frame_loss for _ in range(2)]
        for std in (0.0, 1.0)
    }
    assert torch.equal(losses[0.0][0], losses[0.0][1])
    assert not torch.equal(losses[0.0][0], losses[1.0][0])


def test_losses_are_weighted_by_either_name():
    names = ("frame_loss", "utterance_loss", "source_retention_loss")
    clips, arguments = mel(2, 100), {"pretraining_stage": 2, "source_retention_loss_weight": 1.0}
    plain = tiny_model(**arguments).eval()(clips)
    assert torch.equal(plain.loss, plain.frame_loss + plain.utterance_loss + plain.source_retention_loss)
    for changes, factors in (
        ({"frame_loss_weight": 0.5, "utterance_loss_weight": 3.0}, (0.5, 3, 1)),
        ({"d2v_loss": 0.5, "cls_loss": 3.0}, (0.5, 3, 1)),
        ({"source_retention_loss_weight": 0}, (1, 1, 0)),
        ({"utterance_loss_reduction": "mean"}, (1, 1 / 12, 1)),
    ):
        weighted = tiny_model(**{**arguments, **changes}).eval()(clips)
        for name, factor in zip(names, factors, strict=True):
            torch.testing.assert_close(weighted[name], plain[name] * factor)
        torch.testing.assert_close(weighted.loss, sum(weighted[name] for name in names))
    config = SSLAMConfig(cls_loss=3.0)
    assert config.utterance_loss_weight == config.to_dict()["utterance_loss_weight"] == 3.0


@pytest.mark.parametrize("stage", [1, 2])
def test_targets_on_request(stage):
    model = tiny_model(pretraining_stage=stage).eval()
    clips = mel(2, 100)
    plain, full = model(clips), model(clips, output_targets=True)
    numbers = {"loss", "frame_loss", "utterance_loss", "masked_share", "pred_var", "target_var"}
    tensors = {
        "bool_masked_pos": (6 * stage, 28),
        "frame_targets": (2 * stage, 28, 32),
        "utterance_targets": (2 * stage, 32),
        "frame_predictions": (6 * stage, 28, 32),
        "utterance_predictions": (6 * stage, 32),
    }
    if stage == 2:
        numbers.add("source_retention_loss")
        tensors |= {"mixed_input_values": (2, 100, NUM_MELS), "source_retention_targets": (2, 28, 32)}
    assert plain.keys() == numbers
    assert full.keys() == numbers | tensors.keys()
    assert {name: tuple(full[name].shape) for name in tensors} == tensors
    assert torch.equal(full.loss, plain.loss)
    assert torch.equal(full.bool_masked_pos[:6], full.bool_masked_pos[-6:])
    assert full.bool_masked_pos.float().mean() == full.masked_share


def test_hidden_states_and_attentions_are_the_students():
    model = tiny_model(pretraining_stage=2).eval()
    model.set_attn_implementation("eager")
    outputs = model(mel(2, 100), output_hidden_states=True, output_attentions=True, output_targets=True)
    assert [tuple(states.shape) for states in outputs.hidden_states] == [(12, 6, 32)] * 3
    assert torch.equal(outputs.hidden_states[-1][:, 0], outputs.utterance_predictions)
    assert [tuple(weights.shape) for weights in outputs.attentions] == [(12, 4, 6, 6)] * 2
    plain = model(mel(2, 100), attention_mask=lengths_to_mask([100, 37]), output_attentions=True)
    hidden = plain.attentions[0][3:6, 0, 0, :]  # of 12 patches there are 2 to see
    assert (hidden[:, :3] > 0).all()
    assert not hidden[:, 3:].any()
    torch.testing.assert_close(hidden.sum(dim=1), torch.ones(3))


@pytest.mark.parametrize("stage", [1, 2])
def test_attention_implementations_agree(stage):
    model = tiny_model(pretraining_stage=stage).eval()
    inputs = {"input_values": mel(2, 100), "attention_mask": lengths_to_mask([100, 37])}
    losses = []
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        losses.append(model(**inputs).loss)
    torch.testing.assert_close(*losses, atol=0, rtol=1e-5)


# Training -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [1, 2])
def test_activation_checkpointing_changes_no_gradient(stage, enable_activation_checkpointing):
    def run(checkpointing: bool) -> dict[str, torch.Tensor]:
        model = tiny_model(pretraining_stage=stage)
        if checkpointing:
            enable_activation_checkpointing(model)
        model(mel(2, 100), attention_mask=lengths_to_mask([100, 37]), generator=seeded()).loss.backward()
        return gradients(model)

    assert_same(run(True), run(False), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_accumulated_gradients(reduction):
    """The mean over two halves is the gradient of the whole, but for an utterance loss that is a sum over a batch."""
    clips, generator = mel(4, 100), seeded()
    masks = draw_view_masks(tiny_config(), torch.ones(4, 100), generator)
    whole = tiny_model(utterance_loss_reduction=reduction, mask_noise_std=0.0)
    whole.config.utterance_loss_weight = 0.5 if reduction == "sum" else 1.0
    whole(clips, bool_masked_pos=masks).loss.backward()
    halves = tiny_model(utterance_loss_reduction=reduction, mask_noise_std=0.0)
    for own in (slice(0, 2), slice(2, 4)):
        (halves(clips[own], bool_masked_pos=masks.unflatten(0, (4, 3))[own].flatten(0, 1)).loss / 2).backward()
    assert_same(gradients(halves), gradients(whole), atol=1e-5, rtol=1e-4)
    assert SSLAMForPreTraining.accepts_loss_kwargs is False, "so the Trainer takes the mean over accumulated batches"


PROGRAM = """
import sys, torch
from polyaudio import SSLAMForPreTraining

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
model = SSLAMForPreTraining.from_pretrained(f"{folder}/model").train()
parallel = torch.nn.parallel.DistributedDataParallel(model)
batches = torch.load(f"{folder}/batches.pt")
for batch in batches:
    model.zero_grad()
    parallel(**{name: values.chunk(2)[rank] for name, values in batch.items()}).loss.backward()
    model.update_teacher(1)
if rank == 0:
    torch.save({name: weight.grad for name, weight in model.named_parameters()}, f"{folder}/gradients.pt")
del parallel  # one that outlives the group can abort the process
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def test_two_processes_learn_what_one_learns_from_the_whole_batch(tmp_path):
    """In a second step too, for which every process must have seen gradients of all that it trains."""
    model = tiny_model(utterance_loss_reduction="mean", mask_noise_std=0.0)
    model.save_pretrained(tmp_path / "model")
    batches = [
        {"input_values": mel(4, 100, seed=seed), "bool_masked_pos": draw_view_masks(model.config, torch.ones(4, 100))}
        for seed in range(2)
    ]
    torch.save(batches, tmp_path / "batches.pt")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    processes = [
        subprocess.Popen([python(), "-c", PROGRAM, str(rank), str(tmp_path)], env=environment) for rank in (0, 1)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    together = torch.load(tmp_path / "gradients.pt")
    assert all(grad is None for name, grad in together.items() if name.startswith("teacher."))

    model.update_teacher(1)
    model(**batches[1]).loss.backward()
    alone = gradients(model)
    assert_same({name: together[name] for name in alone}, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_leaves_the_targets_alone(stage, dtype):
    inputs = {"input_values": mel(2, 100), "attention_mask": lengths_to_mask([100, 70]), "output_targets": True}
    names = ("frame_targets", "utterance_targets", "source_retention_targets")[: stage + 1]
    exact = tiny_model(pretraining_stage=stage)(**inputs, generator=seeded())
    for in_float32 in (True, False):
        model = tiny_model(pretraining_stage=stage, teacher_in_float32=in_float32)
        with torch.autocast("cpu", dtype):
            outputs = model(**inputs, generator=seeded())
        assert all(outputs[name].dtype == torch.float32 for name in names)
        assert all(torch.equal(outputs[name], exact[name]) == in_float32 for name in names)
        torch.testing.assert_close(outputs.frame_targets, exact.frame_targets, atol=0.2, rtol=0)
        assert not torch.equal(outputs.utterance_predictions, exact.utterance_predictions)
        torch.testing.assert_close(outputs.loss, exact.loss, atol=0, rtol=0.01)
        outputs.loss.backward()
        assert all(grad.isfinite().all() for grad in gradients(model).values())


def test_compiles_without_graph_breaks():
    """And again for batches of another size."""
    torch._dynamo.reset()
    model = tiny_model(pretraining_stage=2, num_hidden_layers=1)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for lengths in ([100, 37], [100, 1, 90]):
        inputs = {"input_values": mel(len(lengths), max(lengths)), "attention_mask": lengths_to_mask(lengths)}
        losses = []
        for function in (model, compiled):
            torch.manual_seed(0)
            model.zero_grad()
            loss = function(**inputs).loss
            loss.backward()
            losses.append((loss, gradients(model)))
        torch.testing.assert_close(losses[1][0], losses[0][0])
        assert_same(losses[1][1], losses[0][1], atol=1e-5, rtol=1e-4)


def test_a_student_learns():
    torch.manual_seed(0)
    model = SSLAMForPreTraining(tiny_config(pretraining_stage=2, utterance_loss_reduction="mean")).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    clips = mel(4, 96).cumsum(dim=1) / 4
    losses = []
    for update in range(1, 31):
        loss = model(clips, generator=seeded()).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.update_teacher(update)
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


# Saving and loading -------------------------------------------------------------------------------


def load(auto_class, folder, **arguments):
    model, info = auto_class.from_pretrained(folder, output_loading_info=True, **arguments)
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    return model, info["missing_keys"]


def assert_trainable(model: SSLAMForPreTraining) -> None:
    assert not any(parameter.requires_grad for parameter in model.teacher.parameters())
    assert all(parameter.requires_grad for part in (model.sslam, model.decoder) for parameter in part.parameters())


@pytest.mark.parametrize("stage", [1, 2])
def test_a_saved_model_loads_as_it_was(tmp_path, stage):
    model = tiny_model(pretraining_stage=stage)
    assert not same_weights(model.teacher, model.sslam)
    model.save_pretrained(tmp_path)
    loaded, missing = load(AutoModelForPreTraining, tmp_path)
    assert type(loaded) is SSLAMForPreTraining
    assert not missing
    assert same_weights(loaded, model)
    assert_trainable(loaded)
    assert torch.equal(loaded(mel(2, 100)).loss, model.eval()(mel(2, 100)).loss)


def test_a_fresh_teacher_is_a_copy_of_the_student():
    model = SSLAMForPreTraining(tiny_config())
    assert same_weights(model.teacher, model.sslam)
    assert_trainable(model)
    assert not any(
        one is other for one, other in zip(model.teacher.parameters(), model.sslam.parameters(), strict=True)
    )


def test_the_student_of_a_pretrained_model_is_an_encoder(tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    encoder, missing = load(SSLAMModel, tmp_path)
    assert not missing
    assert same_weights(encoder, model.sslam)
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    classifier, missing = load(SSLAMForAudioClassification, tmp_path, num_labels=5)
    assert missing == {"classifier.weight", "classifier.bias", "fc_norm.weight", "fc_norm.bias"}
    assert same_weights(classifier.sslam, model.sslam)


def test_pretraining_from_an_encoder_begins_with_teacher_and_student_alike(tmp_path, reference):
    encoder = tiny_model().sslam
    encoder.save_pretrained(tmp_path)
    model, missing = load(SSLAMForPreTraining, tmp_path)
    assert {name.split(".")[0] for name in missing} == {"decoder"}
    assert same_weights(model.sslam, encoder)
    assert same_weights(model.teacher, encoder)
    assert_trainable(model)

    published = reference / "hub_eat" / "pretrained"
    model, _ = load(AutoModelForPreTraining, published)
    assert type(model) is SSLAMForPreTraining
    assert same_weights(model.teacher, model.sslam)
    assert_trainable(model)
    golden = load_file(published / "golden.safetensors")
    with torch.no_grad():
        tokens = model.sslam.eval()(golden["input"][:, 0]).last_hidden_state
    torch.testing.assert_close(tokens, golden["features"], atol=1e-5, rtol=0)
    assert type(AutoModelForPreTraining.from_config(AutoConfig.from_pretrained(published))) is SSLAMForPreTraining


def test_a_model_in_half_precision_keeps_its_teacher_in_float32(tmp_path):
    tiny_model().save_pretrained(tmp_path / "float32")
    model, _ = load(SSLAMForPreTraining, tmp_path / "float32", dtype=torch.bfloat16)
    assert {name.split(".")[0]: weight.dtype for name, weight in model.state_dict().items()} == {
        "sslam": torch.bfloat16,
        "decoder": torch.bfloat16,
        "teacher": torch.float32,
    }
    assert_trainable(model)
    model.train()(mel(2, 100).bfloat16()).loss.backward()
    before = model.teacher.layers[0].mlp.fc1.weight.clone()
    model.update_teacher(1)
    assert not torch.equal(model.teacher.layers[0].mlp.fc1.weight, before)
    model.save_pretrained(tmp_path / "half")
    assert same_weights(load(SSLAMForPreTraining, tmp_path / "half")[0], model)


def test_fresh_weights_of_the_decoder_follow_the_original(tmp_path):
    """They are what torch gives to a convolution and a linear layer, whether there is an encoder already or not."""
    torch.manual_seed(0)
    model = SSLAMForPreTraining(tiny_config(hidden_size=128, decoder_hidden_size=128))
    model.sslam.save_pretrained(tmp_path)
    for decoder in (model.decoder, SSLAMForPreTraining.from_pretrained(tmp_path).decoder):
        for layer in (decoder.layers[0].conv, decoder.layers[1].conv, decoder.projection):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for weight in layer.parameters():
                assert 0.9 * bound < weight.abs().max() <= bound
                assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.15)
