import copy
import math

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForPreTraining,
    Trainer,
    TrainingArguments,
)
from transformers.utils import logging

from polyaudio import SAMAudioConfig, SAMAudioForAudioClassification, SAMAudioForPreTraining, SAMAudioModel
from polyaudio.modeling.modeling_sam_audio import choose_time_mask, contrastive_segment_loss


def tiny_config(**settings) -> SAMAudioConfig:
    defaults = {
        "feature_size": 12,
        "conv_dim": [16, 32],
        "conv_kernel": [3, 3],
        "conv_stride": [2, 2],
        "num_segments": 6,
        "num_attention_heads": 4,
        "projection_dim": 8,
        "num_labels": 3,
    }
    return SAMAudioConfig(**{**defaults, **settings})


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


NORMS = [("group", 1), ("group", 4), ("layer", 1), ("batch", 1)]


@pytest.mark.parametrize(("norm", "groups"), NORMS)
@pytest.mark.parametrize(
    ("kernels", "strides"), [([3, 3], [2, 2]), ([5, 2], [3, 1]), ([4, 4], [2, 2]), ([1, 7], [1, 4])]
)
@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_a_clip_alone_equals_the_clip_in_a_padded_batch(norm, groups, kernels, strides, attn_implementation):
    config = tiny_config(
        feat_extract_norm=norm,
        num_feat_extract_norm_groups=groups,
        conv_kernel=kernels,
        conv_stride=strides,
        num_hidden_layers=2,
    )
    model = SAMAudioForAudioClassification(config).eval()
    model.set_attn_implementation(attn_implementation)
    lengths = [40, 17, 1, 23]
    clips = [torch.randn(length, 12) for length in lengths]
    batch = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=7.0)
    attention_mask = (torch.arange(40) < torch.tensor(lengths)[:, None]).long()
    with torch.no_grad():
        together = model(batch, attention_mask=attention_mask).logits
        alone = torch.cat([model(clip[None]).logits for clip in clips])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_padding_is_invisible_to_waveform_models_too():
    config = tiny_config(frontend="waveform", feature_size=1, conv_kernel=[10, 3], conv_stride=[5, 2])
    model = SAMAudioForAudioClassification(config).eval()
    clip = torch.randn(1, 1003)
    batch = torch.nn.functional.pad(clip, (0, 500))
    attention_mask = (torch.arange(1503) < 1003)[None].long()
    with torch.no_grad():
        torch.testing.assert_close(
            model(batch, attention_mask=attention_mask).logits, model(clip).logits, atol=1e-5, rtol=1e-5
        )


def test_padding_is_invisible_to_the_training_losses():
    """Losses, gradients and batch statistics do not depend on how far a batch is padded."""
    for norm, groups in NORMS:
        config = tiny_config(
            feat_extract_norm=norm,
            num_feat_extract_norm_groups=groups,
            feat_extract_dropout=0.0,
            attention_probs_dropout_prob=0.0,
            classifier_dropout=0.0,
        )
        model = SAMAudioForAudioClassification(config).train()
        longer = copy.deepcopy(model)
        batch, labels = torch.randn(2, 21, 12), torch.tensor([0, 2])
        attention_mask = (torch.arange(21) < torch.tensor([[21], [13]])).long()
        hidden = torch.zeros(2, 6, dtype=torch.bool)
        hidden[:, 1] = True
        outputs = model(batch, attention_mask=attention_mask, mask_time_indices=hidden, labels=labels)
        outputs.loss.backward()
        padded = torch.nn.functional.pad(batch, (0, 0, 0, 20), value=3.0)
        outputs_longer = longer(
            padded,
            attention_mask=torch.nn.functional.pad(attention_mask, (0, 20)),
            mask_time_indices=torch.nn.functional.pad(hidden, (0, 5)),
            labels=labels,
        )
        outputs_longer.loss.backward()
        torch.testing.assert_close(outputs_longer.loss, outputs.loss, atol=1e-5, rtol=1e-5)
        for (name, one), other in zip(model.named_parameters(), longer.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
        for one, other in zip(model.buffers(), longer.buffers(), strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("norm", "groups"), NORMS)
def test_masked_norms_equal_torchs_where_nothing_is_padding(norm, groups):
    config = tiny_config(feat_extract_norm=norm, num_feat_extract_norm_groups=groups, feat_extract_dropout=0.0)
    model = SAMAudioModel(config).train()
    other = copy.deepcopy(model)
    batch = torch.randn(3, 20, 12)
    everything = torch.ones(3, 20, dtype=torch.long)
    torch.testing.assert_close(
        model.encoder(batch.transpose(1, 2), None)[0],
        other.encoder(batch.transpose(1, 2), everything.bool())[0],
        atol=1e-5,
        rtol=1e-5,
    )
    for one, another in zip(model.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(one, another)


def test_eager_and_sdpa_agree_and_eager_gives_attentions():
    model = SAMAudioModel(tiny_config(num_hidden_layers=2)).eval()
    batch = torch.randn(2, 30, 12)
    attention_mask = (torch.arange(30) < torch.tensor([[30], [9]])).long()
    with torch.no_grad():
        model.set_attn_implementation("sdpa")
        sdpa = model(batch, attention_mask=attention_mask).last_hidden_state
        model.set_attn_implementation("eager")
        eager = model(batch, attention_mask=attention_mask, output_attentions=True, output_hidden_states=True)
    torch.testing.assert_close(sdpa, eager.last_hidden_state, atol=1e-5, rtol=1e-5)
    assert [tuple(weights.shape) for weights in eager.attentions] == [(2, 4, 6, 8)] * 2
    assert [tuple(states.shape) for states in eager.hidden_states] == [(2, 6, 32)] * 3
    torch.testing.assert_close(eager.attentions[0].sum(-1), torch.ones(2, 4, 6))
    assert eager.attentions[0][1, :, :, 3:].abs().max() == 0  # 9 frames become 5, then 3
    torch.testing.assert_close(eager.pooler_output, eager.last_hidden_state.mean(1))


def test_attentions_and_hidden_states_are_those_of_the_whole_clip_when_frames_are_hidden():
    model = SAMAudioForPreTraining(tiny_config()).eval()
    model.set_attn_implementation("eager")
    batch = torch.randn(2, 30, 12)
    with torch.no_grad():
        pretraining = model(batch, output_attentions=True, output_hidden_states=True)
        whole = model.sam_audio(batch, output_attentions=True, output_hidden_states=True)
    torch.testing.assert_close(pretraining.attentions[0], whole.attentions[0])
    torch.testing.assert_close(pretraining.hidden_states[-1], whole.last_hidden_state)


def test_hidden_frames_equal_frames_of_zeros():
    """Masked segment prediction hides a frame by zeroing it, though the frames are projected only once."""
    model = SAMAudioModel(tiny_config(num_hidden_layers=2)).eval()
    batch = torch.randn(2, 30, 12)
    hidden = torch.rand(2, 8) < 0.4
    with torch.no_grad():
        outputs = model(batch, mask_time_indices=hidden)
        frames = outputs.encoder_last_hidden_state.masked_fill(hidden[:, :, None], 0.0)
        segments = model.segment_tokens.expand(2, -1, -1)
        for layer in model.layers:
            segments, _ = layer(segments, frames)
    torch.testing.assert_close(outputs.masked_last_hidden_state, segments, atol=1e-6, rtol=1e-5)


def test_time_mask():
    frame_mask = torch.arange(100) < torch.tensor([[100], [40], [5], [1]])
    torch.manual_seed(7)
    hidden = choose_time_mask(frame_mask, 0.15)
    assert hidden.sum(1).tolist() == [15, 6, 0, 0]
    assert not (hidden & ~frame_mask).any()
    torch.manual_seed(7)
    assert torch.equal(hidden, choose_time_mask(frame_mask, 0.15))
    many = torch.stack([choose_time_mask(frame_mask[:2], 0.15) for _ in range(400)]).float().mean(0)
    assert (many[0] - 0.15).abs().max() < 0.1
    assert (many[1, :40] - 0.15).abs().max() < 0.1

    fixed = choose_time_mask(frame_mask, 0.15, at_random=False)
    assert torch.equal(fixed, choose_time_mask(frame_mask, 0.15, at_random=False))
    assert fixed.sum(1).tolist() == [15, 6, 0, 0]
    assert fixed[0].nonzero().flatten().diff().max() <= 10


def naive_contrastive_loss(segments, groups, temperature):
    """The definition, segment by segment, in float64."""
    flat = segments.double().flatten(0, 1)
    groups = groups.repeat_interleave(segments.shape[1])
    losses = []
    for i in range(len(flat)):
        scores = flat @ flat[i] / temperature
        positives = [j for j in range(len(flat)) if groups[j] == groups[i] and j != i]
        losses.append(-(scores[positives] - scores.logsumexp(0)).mean() if positives else scores.sum() * 0)
    return torch.stack(losses).mean()


@pytest.mark.parametrize("groups", [[0, 1, 2, 3], [0, 1, 0, 2], [5, 5, 5, 5]])
def test_contrastive_loss_is_its_definition(groups):
    segments = torch.nn.functional.normalize(torch.randn(4, 3, 8), dim=-1)
    groups = torch.tensor(groups)
    expected = naive_contrastive_loss(segments, groups, 0.07)
    actual = contrastive_segment_loss(segments, groups, segments, groups, 0.07)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-6)


def test_contrastive_loss_without_any_positive_is_zero():
    segments = torch.nn.functional.normalize(torch.randn(4, 1, 8), dim=-1)
    groups = torch.arange(4)
    assert contrastive_segment_loss(segments, groups, segments, groups, 0.07) == 0


def test_label_mode_needs_one_label_a_clip():
    model = SAMAudioForPreTraining(tiny_config(contrastive_mode="label"))
    batch = torch.randn(3, 30, 12)
    assert torch.isfinite(model(batch, labels=torch.tensor([0, 1, 0])).loss)
    with pytest.raises(ValueError, match="contrastive_mode='label'"):
        model(batch)


def test_loss_is_the_weighted_sum_in_training_and_the_classification_loss_in_evaluation():
    config = tiny_config(mask_weight=0.7, contrastive_weight=0.2)
    model = SAMAudioForAudioClassification(config)
    batch, labels = torch.randn(4, 30, 12), torch.tensor([0, 1, 2, 0])
    outputs = model.train()(batch, labels=labels)
    total = outputs.classification_loss + 0.7 * outputs.masked_segment_loss + 0.2 * outputs.contrastive_loss
    torch.testing.assert_close(outputs.loss, total)
    outputs = model.eval()(batch, labels=labels)
    assert outputs.masked_segment_loss is None
    assert outputs.contrastive_loss is None
    expected = torch.nn.functional.cross_entropy(outputs.logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(outputs.loss, expected)


def test_a_weight_of_zero_leaves_the_term_out():
    model = SAMAudioForAudioClassification(tiny_config(mask_weight=0.0, contrastive_weight=0)).train()
    outputs = model(torch.randn(2, 30, 12), labels=torch.tensor([0, 1]))
    assert outputs.masked_segment_loss is None
    assert outputs.contrastive_loss is None
    torch.testing.assert_close(outputs.loss, outputs.classification_loss)


@pytest.mark.parametrize(
    ("problem_type", "labels", "expected"),
    [
        ("multi_label_classification", torch.eye(3), torch.nn.functional.binary_cross_entropy_with_logits),
        ("regression", torch.randn(3, 3), torch.nn.functional.mse_loss),
    ],
)
def test_problem_types(problem_type, labels, expected):
    model = SAMAudioForAudioClassification(tiny_config(problem_type=problem_type))
    outputs = model.eval()(torch.randn(3, 30, 12), labels=labels)
    torch.testing.assert_close(outputs.loss, expected(outputs.logits, labels))
    assert torch.isfinite(model.train()(torch.randn(3, 30, 12), labels=labels).loss)


def test_every_parameter_learns():
    model = SAMAudioForAudioClassification(tiny_config(hidden_size=24)).train()
    model(torch.randn(4, 30, 12), labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not without


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpointing_changes_nothing(use_reentrant, enable_activation_checkpointing):
    config = tiny_config(feat_extract_dropout=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.0)
    model = SAMAudioForAudioClassification(config).train()
    checkpointed = copy.deepcopy(model)
    enable_activation_checkpointing(checkpointed, use_reentrant=use_reentrant)
    batch, labels = torch.randn(2, 30, 12), torch.tensor([0, 1])
    hidden = torch.rand(2, 8) < 0.3
    for one in (model, checkpointed):
        one(batch, labels=labels, mask_time_indices=hidden).loss.backward()
    for one, other in zip(model.parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    assert not batch.requires_grad


def test_reentrant_checkpointing_trains_behind_frozen_layers(enable_activation_checkpointing):
    """Where the first layer is frozen too, transformers' `enable_input_require_grads` does its part."""
    model = SAMAudioForAudioClassification(tiny_config()).train()
    enable_activation_checkpointing(model, use_reentrant=True)
    model.sam_audio.encoder.layers[0].requires_grad_(False)
    model.enable_input_require_grads()
    model(torch.randn(2, 30, 12), labels=torch.tensor([0, 1])).loss.backward()
    assert all((parameter.grad is None) != parameter.requires_grad for parameter in model.parameters())


def test_a_frozen_base_model_leaves_the_classifier_to_be_trained():
    model = SAMAudioForAudioClassification(tiny_config())
    model.freeze_base_model()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {f"classifier.{name}" for name, _ in model.classifier.named_parameters()}


@pytest.mark.parametrize(
    ("auto_class", "model_class"),
    [
        (AutoModel, SAMAudioModel),
        (AutoModelForPreTraining, SAMAudioForPreTraining),
        (AutoModelForAudioClassification, SAMAudioForAudioClassification),
    ],
)
def test_save_and_load_is_exact(auto_class, model_class, tmp_path):
    model = model_class(tiny_config(feat_extract_norm="batch")).train()
    batch = torch.randn(2, 30, 12)
    model(batch)  # moves the running statistics off their initial values
    model.eval().save_pretrained(tmp_path)
    loaded = auto_class.from_pretrained(tmp_path)
    assert type(loaded) is model_class
    assert AutoConfig.from_pretrained(tmp_path).to_dict() == loaded.config.to_dict()
    state, loaded_state = model.state_dict(), loaded.state_dict()
    assert state.keys() == loaded_state.keys()
    assert all(torch.equal(state[name], loaded_state[name]) for name in state)


def test_a_classifier_takes_over_a_pretrained_model(tmp_path):
    pretrained = SAMAudioForPreTraining(tiny_config())
    pretrained.save_pretrained(tmp_path)
    classifier = SAMAudioForAudioClassification.from_pretrained(tmp_path, num_labels=5)
    for part in ("sam_audio", "objectives"):
        expected, actual = (getattr(model, part).state_dict() for model in (pretrained, classifier))
        assert all(torch.equal(expected[name], actual[name]) for name in expected)
    assert classifier(torch.randn(1, 30, 12)).logits.shape == (1, 5)
    assert torch.isfinite(classifier.classifier.out_proj.weight).all()


def test_compile_gives_the_same_without_a_graph_break():
    model = SAMAudioForAudioClassification(tiny_config()).eval()
    batch = torch.randn(2, 30, 12)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(batch).logits, model(batch).logits, atol=1e-5, rtol=1e-5)
    model.train()
    outputs = compiled(batch, labels=torch.tensor([0, 1]))
    outputs.loss.backward()
    assert torch.isfinite(outputs.loss)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_losses_are_finite_even_at_a_low_temperature(dtype):
    model = SAMAudioForAudioClassification(tiny_config(temperature=0.005)).train()
    with torch.autocast("cpu", dtype=dtype):
        outputs = model(torch.randn(4, 30, 12), labels=torch.tensor([0, 1, 2, 0]))
    assert torch.isfinite(outputs.loss)
    assert outputs.contrastive_loss.dtype == torch.float32
    outputs.loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_half_precision_weights_work_with_a_mask():
    model = SAMAudioForAudioClassification(tiny_config()).to(torch.bfloat16).eval()
    attention_mask = (torch.arange(30) < torch.tensor([[30], [9]])).long()
    with torch.no_grad():
        logits = model(torch.randn(2, 30, 12, dtype=torch.bfloat16), attention_mask=attention_mask).logits
    assert logits.dtype == torch.bfloat16
    assert torch.isfinite(logits).all()


def test_fresh_models_start_at_chance():
    logits = SAMAudioForAudioClassification(tiny_config(num_labels=10)).eval()(torch.randn(8, 30, 12)).logits
    loss = torch.nn.functional.cross_entropy(logits, torch.arange(8))
    assert abs(loss.item() - math.log(10)) < 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frontend": "mfcc"}, "'frontend' expected one of"),
        ({"feat_extract_norm": "instance"}, "'feat_extract_norm' expected one of"),
        ({"contrastive_mode": "raga"}, "'contrastive_mode' expected one of"),
        ({"problem_type": "foo"}, "'problem_type' expected one of"),
        ({"conv_kernel": [3]}, "one value for each convolution"),
        ({"num_attention_heads": 5}, "multiple of `num_attention_heads`"),
        ({"num_feat_extract_norm_groups": 5}, "multiple of `num_feat_extract_norm_groups`"),
        ({"frontend": "waveform", "feature_size": 2}, "feature_size=1"),
        ({"mask_ratio": 1.0}, "mask_ratio"),
        ({"temperature": 0.0}, "temperature"),
        ({"window_frames": 30}, "0 or a multiple of 4"),
        ({"window_frames": -4}, "window_frames"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(Exception, match=message):
        tiny_config(**settings)


def test_inputs_that_do_not_fit_are_refused():
    model = SAMAudioForAudioClassification(tiny_config())
    with pytest.raises(ValueError, match=r"\(batch_size, frames, 12\) for.*, got \(2, 12, 30\)"):
        model(torch.randn(2, 12, 30))
    with pytest.raises(ValueError, match=r"`attention_mask` must have the shape \(2, 30\)"):
        model(torch.randn(2, 30, 12), attention_mask=torch.ones(2, 29))
    with pytest.raises(ValueError, match=r"`mask_time_indices` must have the shape \(2, 8\)"):
        model.sam_audio(torch.randn(2, 30, 12), mask_time_indices=torch.zeros(2, 30, dtype=torch.bool))


@pytest.mark.parametrize("frontend", ["log_mel", "waveform"])
@pytest.mark.parametrize("problem_type", ["single_label_classification", "multi_label_classification", "regression"])
def test_long_clips_are_cut_into_windows_in_evaluation(frontend, problem_type):
    """The answer is the mean over the windows, weighted by their own frames, and padding changes nothing."""
    shape = {"feature_size": 1} if frontend == "waveform" else {}
    config = tiny_config(frontend=frontend, problem_type=problem_type, window_frames=40, **shape)
    model = SAMAudioForAudioClassification(config).eval()
    size = () if frontend == "waveform" else (12,)
    clip, short = torch.randn(1, 90, *size), torch.randn(1, 30, *size)

    def values(logits):
        if problem_type == "regression":
            return logits
        return logits.sigmoid() if problem_type == "multi_label_classification" else logits.softmax(-1)

    with torch.no_grad():
        windows = [values(model(window).logits) for window in (clip[:, :40], clip[:, 40:80], clip[:, 80:])]
        expected = (40 * windows[0] + 40 * windows[1] + 10 * windows[2]) / 90
        torch.testing.assert_close(values(model(clip).logits), expected)
        batch = torch.cat([clip, torch.nn.functional.pad(short, (0, 0) * len(size) + (0, 60))])
        mask = torch.arange(90) < torch.tensor([[90], [30]])
        found = values(model(batch, attention_mask=mask).logits)
        torch.testing.assert_close(found, torch.cat([expected, values(model(short).logits)]))

        whole = SAMAudioForAudioClassification(tiny_config(frontend=frontend, window_frames=0, **shape)).eval()
        whole.load_state_dict(model.state_dict())
        hidden_states = whole.sam_audio(clip).last_hidden_state
        torch.testing.assert_close(whole(clip).logits, whole.classify(whole.pool(hidden_states)))
        assert not torch.allclose(values(whole(clip).logits), expected)


def test_windows_are_two_minutes_by_default():
    assert SAMAudioConfig().window_frames == 7680  # of 16 ms
    assert SAMAudioConfig(frontend="waveform").window_frames == 7680 * 256
    assert SAMAudioConfig(frontend="tonic_chroma").window_frames == 0
    assert SAMAudioConfig(frontend="tonic_pitch").window_frames == 0
    assert SAMAudioConfig(window_frames=0).window_frames == 0
    strides = SAMAudioConfig(conv_dim=[8, 8], conv_kernel=[3, 3], conv_stride=[7, 3])
    assert strides.window_frames == 7686  # a multiple of 21
    assert SAMAudioConfig.from_dict(SAMAudioConfig(window_frames=0).to_dict()).window_frames == 0


# Clients of transformers --------------------------------------------------------------------------


@pytest.mark.parametrize("model_class", [SAMAudioModel, SAMAudioForAudioClassification, SAMAudioForPreTraining])
@pytest.mark.parametrize("settings", [{}, {"frontend": "waveform", "feature_size": 1}])
def test_a_half_precision_model_takes_float32_features(model_class, settings):
    model = model_class(tiny_config(**settings)).eval().half()
    batch = torch.randn(2, 400) if settings else torch.randn(2, 40, 12)
    mask = (torch.arange(batch.shape[1]) < torch.tensor([[batch.shape[1]], [23]])).long()
    with torch.no_grad():
        outputs, expected = model(batch, attention_mask=mask), model(batch.half(), attention_mask=mask)
    name = "logits" if "logits" in outputs else "last_hidden_state"
    assert torch.isfinite(outputs[name]).all()
    torch.testing.assert_close(outputs[name], expected[name], atol=1e-2, rtol=1e-2)


def test_freezing():
    model = SAMAudioForAudioClassification(tiny_config())
    model.freeze_feature_encoder()
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if name.startswith("sam_audio.encoder.")}
    model.freeze_base_model()
    trained = {name.partition(".")[0] for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained == {"classifier"}


def test_features_along_time():
    model = SAMAudioModel(tiny_config()).eval()
    batch, mask = torch.randn(2, 40, 12), (torch.arange(40) < torch.tensor([[40], [23]])).long()
    batch[1, 23:] = 7.0
    with torch.no_grad():
        features, frame_mask = model.get_frame_features(batch, mask)
        alone, no_mask = model.get_frame_features(batch[1:, :23])
        expected = model(batch, attention_mask=mask).encoder_last_hidden_state
    torch.testing.assert_close(features, expected)
    assert frame_mask.sum(1).tolist() == [10, alone.shape[1]]
    assert no_mask is None
    torch.testing.assert_close(features[1:, : alone.shape[1]], alone, atol=1e-5, rtol=1e-5)
    assert model.config.inputs_to_logits_ratio == 4


@pytest.mark.slow
@pytest.mark.parametrize("mask_time", [False, True])
def test_flex_attention_agrees(mask_time):
    model = SAMAudioModel(tiny_config(num_hidden_layers=2, attention_probs_dropout_prob=0.0)).eval()
    inputs = {"attention_mask": (torch.arange(40) < torch.tensor([[40], [23]])).long(), "mask_time": mask_time}
    batch, outputs = torch.randn(2, 40, 12), {}
    for name in ("eager", "flex_attention"):
        model.set_attn_implementation(name)
        with torch.no_grad():
            outputs[name] = model(batch, **inputs)
    torch.testing.assert_close(outputs["flex_attention"].to_tuple(), outputs["eager"].to_tuple(), atol=1e-5, rtol=1e-5)


class _OwnLoss(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = torch.nn.functional.cross_entropy(outputs.logits, labels)
        return (loss, outputs) if return_outputs else loss


@pytest.mark.parametrize(
    ("trainer_class", "arguments", "settings", "warnings"),
    [
        (Trainer, {}, {}, 0),
        (Trainer, {"label_smoothing_factor": 0.1}, {}, 1),
        (_OwnLoss, {}, {}, 1),
        (_OwnLoss, {}, {"mask_weight": 0.0, "contrastive_weight": 0.0}, 0),
    ],
)
def test_who_drops_the_objectives_is_told_once(trainer_class, arguments, settings, warnings, tmp_path, caplog):
    logging.get_logger("polyaudio.modeling.modeling_sam_audio").warning_once.cache_clear()
    clips = [{"input_values": torch.randn(30, 12), "labels": label} for label in (0, 1, 2, 0)]
    args = TrainingArguments(
        str(tmp_path), max_steps=3, per_device_train_batch_size=2, report_to="none", disable_tqdm=True, use_cpu=True,
        **arguments,
    )  # fmt: skip
    trainer = trainer_class(SAMAudioForAudioClassification(tiny_config(**settings)), args, train_dataset=clips)
    trainer.train()
    trainer.predict(clips)
    assert sum("lacks the self-supervised objectives" in message for message in caplog.messages) == warnings
