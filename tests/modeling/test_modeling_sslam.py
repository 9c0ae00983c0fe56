# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The SSLAM models as members of transformers: attention, masks, losses, dtypes, saving, compiling."""

import inspect
import math
import operator
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForAudioFrameClassification,
    Trainer,
    TrainingArguments,
)

from polyaudio import (
    SSLAMConfig,
    SSLAMForAudioClassification,
    SSLAMForAudioFrameClassification,
    SSLAMForPreTraining,
    SSLAMModel,
)
from polyaudio.modeling.modeling_sslam import SSLAMDropPath


HEADS = [SSLAMForAudioClassification, SSLAMForAudioFrameClassification]
MODES = ["cls_token", "mean_pooling", "lin_softmax"]


def tiny_config(**changes) -> SSLAMConfig:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    return SSLAMConfig(**{**sizes, "max_time_patches": 16, "num_labels": 3, **changes})


def tiny_model(model_class=SSLAMModel, seed: int = 0, **changes):
    torch.manual_seed(seed)
    model = model_class(tiny_config(**changes)).eval()
    for parameter in model.parameters():  # biases and norms too
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def mel(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, 128, generator=torch.Generator().manual_seed(seed))


def lengths_to_mask(lengths: list[int]) -> torch.Tensor:
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()


def output_of(model, **inputs) -> torch.Tensor:
    with torch.no_grad():
        outputs = model(**inputs)
    return outputs.logits if "logits" in outputs else outputs.last_hidden_state


# Attention ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("implementation", "lengths"), [("sdpa", None), ("sdpa", [100, 37]), ("flex_attention", [100, 37])]
)
def test_attention_implementations_agree(implementation, lengths):
    model = tiny_model()
    inputs = {"input_values": mel(2, 100)}
    if lengths:
        inputs["attention_mask"] = lengths_to_mask(lengths)
    model.set_attn_implementation("eager")
    expected = output_of(model, **inputs)
    model.set_attn_implementation(implementation)
    torch.testing.assert_close(output_of(model, **inputs), expected, atol=1e-5, rtol=0)


def test_outputs_on_request():
    model = tiny_model()
    model.set_attn_implementation("eager")
    outputs = model(mel(2, 100), output_hidden_states=True, output_attentions=True)
    assert outputs.last_hidden_state.shape == (2, 1 + 7 * 8, 32)
    torch.testing.assert_close(outputs.pooler_output, outputs.last_hidden_state[:, 0])
    assert len(outputs.hidden_states) == 3
    torch.testing.assert_close(outputs.hidden_states[-1], outputs.last_hidden_state)
    assert [tuple(weights.shape) for weights in outputs.attentions] == [(2, 4, 57, 57)] * 2
    torch.testing.assert_close(outputs.attentions[0].sum(-1), torch.ones(2, 4, 57))


# Masks and lengths --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model_class", [SSLAMModel, *HEADS])
def test_a_clip_alone_and_in_a_padded_batch_agree(model_class, mode):
    model = tiny_model(model_class, prediction_mode=mode)
    lengths = [1, 15, 16, 17, 90, 100]
    clips = mel(len(lengths), max(lengths))
    batch = output_of(model, input_values=clips, attention_mask=lengths_to_mask(lengths))
    for row, clip, length in zip(batch, clips, lengths, strict=True):
        alone = output_of(model, input_values=clip[None, :length])[0]
        row = row if row.ndim == 1 else row[: len(alone)]
        torch.testing.assert_close(row, alone, atol=1e-5, rtol=0)


def test_a_patch_with_one_real_frame_is_kept():
    mask = lengths_to_mask([16, 17, 1, 40])
    assert tiny_model().get_time_patch_mask(mask).tolist() == [
        [True, False, False],
        [True, True, False],
        [True, False, False],
        [True, True, True],
    ]


def test_padding_counts_as_sound_without_a_mask():
    model, clip = tiny_model(), mel(1, 64)
    padded = torch.nn.functional.pad(clip, (0, 0, 0, 64))
    assert not torch.allclose(output_of(model, input_values=padded)[:, :33], output_of(model, input_values=clip))


def test_blocks_run_on_any_subset_of_tokens():
    model = tiny_model()
    tokens = model.embeddings(mel(2, 64))
    kept = torch.tensor([0, 3, 4, 9, 20])
    assert model.encode(tokens[:, kept]).shape == (2, 5, 32)
    torch.testing.assert_close(model.encode(tokens), model(mel(2, 64)).last_hidden_state)


def test_positions_follow_the_formula():
    table = tiny_model().embeddings.position_embeddings.view(16, 8, 32)
    for time, frequency in ((0, 0), (5, 3), (15, 7)):
        for channel in range(8):
            rate = 10000 ** (-channel / 8)
            expected = [f(i * rate) for i in (frequency, time) for f in (math.sin, math.cos)]
            torch.testing.assert_close(table[time, frequency, channel::8], torch.tensor(expected))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"input_values": mel(100)}, "batch_size, num_frames, 128"),
        ({"input_values": mel(1, 100)[..., :64]}, "batch_size, num_frames, 128"),
        ({"input_values": mel(1, 257)}, "257 frames.*16 patches.*max_time_patches"),
        ({"input_values": mel(2, 64), "attention_mask": torch.ones(2, 65)}, r"\(2, 64\).*\(2, 65\)"),
    ],
)
def test_wrong_inputs_are_named(inputs, message):
    with pytest.raises(ValueError, match=message):
        tiny_model()(**inputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "num_attention_heads"),
        ({"hidden_size": 30, "num_attention_heads": 5}, "multiple of 4"),
        ({"num_mel_bins": 100}, "num_mel_bins"),
        ({"prediction_mode": "max"}, "prediction_mode"),
        ({"problem_type": "ranking"}, "problem_type"),
        ({"pretraining_stage": 3}, "pretraining_stage"),
        ({"frame_upsampling": 3}, "must be 1, 2 or 4 and divide `patch_size`"),
        ({"frame_upsampling": 4, "patch_size": 2}, r"divide `patch_size` \(2 frames\)"),
        ({"event_rules": 0.5}, "event_rules"),
        ({"event_rules": {"thresholds": 0.5}}, "no setting 'thresholds'"),
        ({"event_rules": {"threshold": "0.5"}}, "numbers or lists of numbers, got '0.5' as 'threshold'"),
        ({"event_rules": {"threshold": [0.5, None]}}, "numbers or lists of numbers"),
    ],
)
def test_wrong_configurations_are_named(changes, message):
    with pytest.raises(Exception, match=message):  # the errors of strict dataclasses have no common base
        tiny_config(**changes)


# Heads and losses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem_type", "labels", "loss"),
    [
        ("single_label_classification", torch.tensor([0, 2]), torch.nn.functional.cross_entropy),
        (
            "multi_label_classification",
            torch.tensor([[1.0, 0, 1], [0, 0, 1]]),
            torch.nn.functional.binary_cross_entropy_with_logits,
        ),
        ("regression", torch.randn(2, 3), torch.nn.functional.mse_loss),
    ],
)
def test_classification_losses(problem_type, labels, loss):
    for configured in (problem_type, None) if problem_type != "regression" else (problem_type,):
        model = tiny_model(SSLAMForAudioClassification, problem_type=configured)
        outputs = model(mel(2, 64), labels=labels)
        torch.testing.assert_close(outputs.loss, loss(outputs.logits, labels))


@pytest.mark.parametrize("problem_type", ["single_label_classification", "multi_label_classification", None])
@pytest.mark.parametrize("multi_label", [False, True])
def test_frame_losses_leave_padding_out(problem_type, multi_label):
    model = tiny_model(SSLAMForAudioFrameClassification, problem_type=problem_type)
    inputs = {"input_values": mel(2, 64), "attention_mask": lengths_to_mask([64, 20])}
    labels = torch.randint(0, 2, (2, 4, 3)).float() if multi_label else torch.tensor([[0, 1, 2, 0], [1, 2, 0, -100]])
    if problem_type is not None and multi_label != (problem_type == "multi_label_classification"):
        with pytest.raises(ValueError, match="labels"):
            model(**inputs, labels=labels)
        return
    outputs = model(**inputs, labels=labels)
    assert outputs.logits.shape == (2, 4, 3)
    real = torch.tensor([[True] * 4, [True, True, False, False]])
    loss = torch.nn.functional.binary_cross_entropy_with_logits if multi_label else torch.nn.functional.cross_entropy
    torch.testing.assert_close(outputs.loss, loss(outputs.logits[real], labels[real]))


def test_frame_labels_of_another_shape_are_named():
    model = tiny_model(SSLAMForAudioFrameClassification)
    with pytest.raises(ValueError, match=r"\(2, 4\).*\(2, 5\)"):
        model(mel(2, 64), labels=torch.zeros(2, 5, dtype=torch.long))
    with pytest.raises(ValueError, match="regression"):
        tiny_model(SSLAMForAudioFrameClassification, problem_type="regression")


@pytest.mark.parametrize("frame_upsampling", [1, 2, 4])
def test_several_answers_for_each_time_patch(frame_upsampling, tmp_path):
    model = tiny_model(SSLAMForAudioFrameClassification, frame_upsampling=frame_upsampling)
    frames = 16 // frame_upsampling
    assert model.config.inputs_to_logits_ratio == frames
    lengths = [1, 3, 15, 16, 17, 90, 100]
    clips = mel(len(lengths), max(lengths))
    batch = output_of(model, input_values=clips, attention_mask=lengths_to_mask(lengths))
    assert batch.shape == (len(lengths), math.ceil(100 / frames), 3)
    for row, clip, length in zip(batch, clips, lengths, strict=True):
        alone = output_of(model, input_values=clip[None, :length])[0]
        assert len(alone) == math.ceil(length / frames)
        torch.testing.assert_close(row[: len(alone)], alone, atol=1e-5, rtol=0)

    # The answers for a time patch follow each other
    with torch.no_grad():
        pooled = model.fc_norm(model.pool(model.sslam(clips).last_hidden_state))
        answers = [pooled @ weight.T for weight in model.classifier.weight.split(3)]
        bias = model.classifier.bias.unflatten(0, (-1, 3)).repeat(7, 1)
    expected = torch.stack(answers, dim=2).flatten(1, 2) + bias
    torch.testing.assert_close(output_of(model, input_values=clips), expected[:, : batch.shape[1]])

    model.save_pretrained(tmp_path)
    loaded = SSLAMForAudioFrameClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(output_of(loaded, input_values=clips), output_of(model, input_values=clips))


@pytest.mark.parametrize("frame_upsampling", [1, 2, 4])
def test_the_answers_for_windows_follow_each_other(frame_upsampling):
    model = tiny_model(SSLAMForAudioFrameClassification, frame_upsampling=frame_upsampling, window_frames=64)
    clip = mel(1, 150)
    windows = [output_of(model, input_values=clip[:, start : start + 64]) for start in (0, 64, 128)]
    joined = output_of(model, input_values=clip)
    assert joined.shape[1] == math.ceil(150 * frame_upsampling / 16)
    torch.testing.assert_close(joined, torch.cat(windows, dim=1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_loss_of_several_answers_leaves_padding_out(multi_label):
    model = tiny_model(SSLAMForAudioFrameClassification, frame_upsampling=4)
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (2, 15, 3) if multi_label else (2, 15), generator=generator)
    labels = labels.float() if multi_label else labels
    outputs = model(mel(2, 60), attention_mask=lengths_to_mask([60, 21]), labels=labels)
    real = torch.arange(15) < torch.tensor([15, 6])[:, None]
    loss = torch.nn.functional.binary_cross_entropy_with_logits if multi_label else torch.nn.functional.cross_entropy
    torch.testing.assert_close(outputs.loss, loss(outputs.logits[real], labels[real]))
    outputs.loss.backward()
    assert model.classifier.weight.grad.abs().sum(dim=1).min() > 0
    with pytest.raises(ValueError, match="15 answers"):
        model(mel(2, 60), labels=labels[:, :4])


def test_the_norm_before_the_classifier_is_optional():
    assert "fc_norm.weight" not in tiny_model(SSLAMForAudioClassification, use_fc_norm=False).state_dict()
    assert tiny_model(SSLAMForAudioClassification, fc_norm_eps=1e-5).fc_norm.eps == 1e-5


@pytest.mark.parametrize("model_class", HEADS)
def test_the_trainer_averages_over_accumulated_batches_itself(model_class, tmp_path):
    trainer = Trainer(tiny_model(model_class), TrainingArguments(tmp_path, report_to=[]))
    assert trainer.model_accepts_loss_kwargs is False
    assert "labels" in inspect.signature(model_class.forward).parameters


# Training -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpointing_changes_no_gradient(use_reentrant, enable_activation_checkpointing):
    def gradients(checkpointing: bool) -> list[torch.Tensor]:
        model = tiny_model(SSLAMForAudioClassification).train()
        if checkpointing:
            enable_activation_checkpointing(model, use_reentrant=use_reentrant)
        model(mel(2, 64), labels=torch.tensor([0, 1])).loss.backward()
        return [parameter.grad for parameter in model.parameters()]

    for with_it, without_it in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(with_it, without_it, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("model_class", HEADS)
def test_a_frozen_base_model_leaves_the_head_to_be_trained(model_class):
    model = tiny_model(model_class)
    model.freeze_base_model()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {"fc_norm.weight", "fc_norm.bias", "classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("model_class", HEADS)
@pytest.mark.parametrize("mode", MODES)
def test_the_steps_of_a_head_give_what_forward_gives(model_class, mode):
    model = tiny_model(model_class, prediction_mode=mode)
    mask = lengths_to_mask([64, 20])
    labels = torch.tensor([0, 2]) if model_class is SSLAMForAudioClassification else torch.tensor([[0, 1, 2, 0]] * 2)
    outputs = model(mel(2, 64), attention_mask=mask, labels=labels)
    hidden_states = model.base_model(mel(2, 64), attention_mask=mask).last_hidden_state
    logits = model.classify(model.pool(hidden_states, mask))
    torch.testing.assert_close(logits, outputs.logits)
    torch.testing.assert_close(model.compute_loss(logits, labels, mask), outputs.loss)


@pytest.mark.parametrize(
    "name",
    [
        "embedding_dropout",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "activation_dropout",
        "post_mlp_dropout",
        "drop_path_rate",
        "layerdrop",
    ],
)
def test_each_dropout_acts_in_training_only(name):
    plain, model, clips = tiny_model(), tiny_model(**{name: 0.5}), mel(4, 64)
    torch.testing.assert_close(output_of(model, input_values=clips), output_of(plain, input_values=clips))
    model.train()
    outputs = [output_of(model, input_values=clips) for _ in range(12)]
    assert any(not torch.allclose(outputs[0], other) for other in outputs[1:])


def test_drop_path_drops_whole_clips_and_keeps_the_mean():
    torch.manual_seed(0)
    dropped = SSLAMDropPath(0.25).train()(torch.ones(4000, 2, 3))
    assert sorted(set(dropped[:, 0, 0].tolist())) == pytest.approx([0.0, 4 / 3])
    assert (dropped == dropped[:, :1, :1]).all()
    assert abs(dropped.mean() - 1) < 0.03


def test_drop_path_grows_linearly_over_the_blocks():
    model = SSLAMModel(tiny_config(num_hidden_layers=4, drop_path_rate=0.3))
    assert [layer.drop_path.drop_prob for layer in model.layers] == pytest.approx([0.0, 0.1, 0.2, 0.3])


# Saving, loading, dtypes, compiling ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("auto_class", "model_class"),
    [
        (AutoModel, SSLAMModel),
        (AutoModelForAudioClassification, SSLAMForAudioClassification),
        (AutoModelForAudioFrameClassification, SSLAMForAudioFrameClassification),
    ],
)
def test_saved_models_load_as_they_were(auto_class, model_class, tmp_path):
    model = tiny_model(model_class)
    model.save_pretrained(tmp_path)
    loaded, info = auto_class.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is model_class
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    torch.testing.assert_close(output_of(loaded, input_values=mel(2, 64)), output_of(model, input_values=mel(2, 64)))


def test_a_stored_position_table_is_kept_and_a_missing_one_computed(tmp_path):
    model = tiny_model()
    formula = model.embeddings.position_embeddings.clone()
    model.embeddings.position_embeddings += 1
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(SSLAMModel.from_pretrained(tmp_path).embeddings.position_embeddings, formula + 1)

    longer = SSLAMModel.from_pretrained(tmp_path, max_time_patches=40, ignore_mismatched_sizes=True)
    assert longer(mel(1, 640)).last_hidden_state.shape == (1, 321, 32)
    torch.testing.assert_close(longer.embeddings.position_embeddings[:, : 16 * 8], formula)

    weights = load_file(tmp_path / "model.safetensors")
    del weights["embeddings.position_embeddings"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    torch.testing.assert_close(SSLAMModel.from_pretrained(tmp_path).embeddings.position_embeddings, formula)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mode", MODES)
def test_half_precision(dtype, mode, tmp_path):
    model = tiny_model(SSLAMForAudioClassification, prediction_mode=mode)
    model.save_pretrained(tmp_path)
    half = SSLAMForAudioClassification.from_pretrained(tmp_path, dtype=dtype)
    assert {tensor.dtype for tensor in half.state_dict().values()} == {dtype}
    inputs = {"attention_mask": lengths_to_mask([100, 37])}
    logits = output_of(half, input_values=mel(2, 100).to(dtype), **inputs)
    assert logits.dtype == dtype
    expected = output_of(model, input_values=mel(2, 100), **inputs)
    torch.testing.assert_close(logits.float(), expected, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("model_class", [SSLAMModel, *HEADS, SSLAMForPreTraining])
def test_a_half_precision_model_takes_float32_features(model_class):
    changes = {"decoder_hidden_size": 32, "decoder_num_layers": 2, "decoder_groups": 4, "clone_batch": 2}
    model = tiny_model(model_class, **changes).half()
    inputs = {"input_values": mel(2, 96), "attention_mask": lengths_to_mask([96, 80])}
    with torch.no_grad():
        outputs, expected = model(**inputs), model(**{**inputs, "input_values": mel(2, 96).half()})
    name = "loss" if model_class is SSLAMForPreTraining else "logits" if model_class in HEADS else "last_hidden_state"
    assert torch.isfinite(outputs[name]).all()
    torch.testing.assert_close(outputs[name], expected[name], atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("model_class", HEADS)
def test_freezing(model_class):
    model = tiny_model(model_class)
    model.freeze_feature_encoder()
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if name.startswith("sslam.embeddings.")}
    model.freeze_base_model()
    trained = {name.partition(".")[0] for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained == {"fc_norm", "classifier"}


def test_features_along_time():
    model, inputs = tiny_model(), {"input_values": mel(2, 100), "attention_mask": lengths_to_mask([100, 37])}
    with torch.no_grad():
        features, mask = model.get_frame_features(**inputs)
        joined, _ = model.get_frame_features(**inputs, mel_patches="concatenate")
        alone, no_mask = model.get_frame_features(mel(2, 100)[1:, :37])
    assert features.shape == (2, 7, 32)
    assert mask.tolist() == [[True] * 7, [True] * 3 + [False] * 4]
    assert no_mask is None
    torch.testing.assert_close(features[1:, :3], alone, atol=1e-5, rtol=1e-5)
    assert joined.shape == (2, 7, 8 * 32)
    torch.testing.assert_close(joined.unflatten(2, (8, 32)).mean(2), features)
    assert model.config.inputs_to_logits_ratio == 16
    with pytest.raises(ValueError, match="'mean' or 'concatenate'"):
        model.get_frame_features(**inputs, mel_patches="sum")


@pytest.mark.parametrize(
    ("model_class", "mode"),
    [*((SSLAMForAudioClassification, mode) for mode in MODES), (SSLAMForAudioFrameClassification, MODES[0])],
)
def test_compiles_without_graph_breaks(model_class, mode):
    torch._dynamo.reset()
    model = tiny_model(model_class, prediction_mode=mode)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    labels = torch.tensor([0, 1]) if model_class is SSLAMForAudioClassification else torch.zeros(2, 4).long()
    mask = lengths_to_mask([64, 20])
    for inputs in ({}, {"attention_mask": mask, "labels": labels}):
        inputs["input_values"] = mel(2, 64)
        torch.testing.assert_close(output_of(compiled, **inputs), output_of(model, **inputs), atol=1e-5, rtol=0)
    model.train()
    compiled(input_values=mel(2, 64), labels=labels).loss.backward()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="Inductor needs a compiler of C++")
def test_inductor_compiles_the_backward_for_clips_of_any_length():
    torch._dynamo.reset()
    embeddings = tiny_model().embeddings
    compiled = torch.compile(embeddings, dynamic=True)
    for frames in (64, 100):
        clips = mel(2, frames)
        embeddings(clips).square().mean().backward()
        expected = [weight.grad for weight in embeddings.parameters()]
        embeddings.zero_grad()
        compiled(clips).square().mean().backward()
        torch.testing.assert_close([weight.grad for weight in embeddings.parameters()], expected)
        embeddings.zero_grad()


def test_patches_are_those_of_a_convolution():
    patches = tiny_model().embeddings.patch_embeddings
    clips = mel(2, 1, 64)
    torch.testing.assert_close(patches(clips), torch.nn.Conv2d.forward(patches, clips), atol=1e-5, rtol=1e-5)


class _DividesOnlyPositiveNumbers(torch.fx.Interpreter):
    """Runs a graph, with integer division as ONNX has it: only of numbers of one sign it is the one of Python."""

    def call_function(self, target, args, kwargs):
        if target in (operator.floordiv, operator.mod):
            assert min(args) >= 0
        return super().call_function(target, args, kwargs)


@pytest.mark.parametrize("masked", [False, True])
def test_an_exported_encoder_takes_any_number_of_frames(masked):
    model = tiny_model()
    shape = dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC)

    def inputs(*lengths: int) -> dict[str, torch.Tensor]:
        mask = {"attention_mask": lengths_to_mask(list(lengths))} if masked else {}
        return {"input_values": mel(len(lengths), max(lengths)), **mask}

    example = inputs(96, 50)
    program = torch.export.export(model, (), example, dynamic_shapes=dict.fromkeys(example, shape))
    for lengths in ([37], [100, 64, 20], [256, 7]):
        with torch.no_grad():
            graph = _DividesOnlyPositiveNumbers(program.module(), garbage_collect_values=False)
            tokens = graph.run(*inputs(*lengths).values()).last_hidden_state
        torch.testing.assert_close(tokens, output_of(model, **inputs(*lengths)))


def test_runs_on_the_meta_device():
    with torch.device("meta"):
        model = SSLAMModel(SSLAMConfig())
    assert model(torch.empty(1, 1024, 128, device="meta")).last_hidden_state.shape == (1, 513, 768)


def test_fresh_weights_follow_the_original():
    torch.manual_seed(0)
    model = SSLAMModel(SSLAMConfig(num_hidden_layers=1))
    assert abs(model.embeddings.cls_token.std() - 1) < 0.1
    bound = math.sqrt(6 / (256 + 768))
    assert 0.99 * bound < model.embeddings.patch_embeddings.weight.abs().max() <= bound
    assert abs(model.layers[0].attention.q_proj.weight.std() - 0.02) < 1e-3
