"""A frozen encoder: what is trained, and that training on cached features is training the whole model."""

import copy

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.utils.rnn import pad_sequence
from transformers import TrainerCallback

from polyaudio import (
    SAMAudioConfig,
    SAMAudioForAudioClassification,
    SSLAMConfig,
    SSLAMForAudioClassification,
    SSLAMForAudioFrameClassification,
    SSLAMModel,
)
from polyaudio.training.arguments import AudioTrainingArguments
from polyaudio.training.frozen import HeadModel, collate_encoded, encode_clips, freeze_encoder, is_frozen
from polyaudio.training.trainer import AudioTrainer


SSLAM = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_time_patches": 8,
    "num_labels": 3,
    "drop_path_rate": 0.5,
    "hidden_dropout_prob": 0.2,
}
SAM_AUDIO = {
    "frontend": "log_mel",
    "feature_size": 8,
    "conv_dim": [8, 16],
    "conv_kernel": [3, 3],
    "conv_stride": [2, 2],
    "feat_extract_norm": "batch",
    "num_segments": 4,
    "num_attention_heads": 2,
    "projection_dim": 4,
    "num_labels": 3,
    "classifier_dropout": 0.2,
}


def upsampling(name: str) -> int:
    return 4 if name.startswith("frames4") else 1


def make_model(name: str):
    torch.manual_seed(0)
    kind, _, setting = name.partition(":")
    if kind == "sam_audio":
        config = SAMAudioConfig(**SAM_AUDIO, problem_type=setting or None)
        return SAMAudioForAudioClassification(config)
    if kind.startswith("frames"):
        config = SSLAMConfig(**SSLAM, frame_upsampling=upsampling(name), problem_type=setting or None)
        return SSLAMForAudioFrameClassification(config)
    return SSLAMForAudioClassification(
        SSLAMConfig(**SSLAM, prediction_mode=setting, use_fc_norm=setting != "cls_token")
    )


def make_clips(name: str, number: int = 12) -> list[dict]:
    """Clips of two lengths, with labels that can be told from them."""
    generator = torch.Generator().manual_seed(0)
    clips = []
    for index in range(number):
        frames = 64 if index % 3 else 48
        if name.startswith("frames4"):
            frames -= 4  # so that the last time patch has more answers than the clip
        classes = torch.randint(3, (frames * upsampling(name) // 16,), generator=generator)
        if not name.startswith("frames"):
            classes = classes[0]
        bins = 8 if name.startswith("sam_audio") else 128
        values = torch.randn(frames, bins, generator=generator) + classes.float().mean()
        is_multi_label = name.endswith("multi_label_classification")
        labels = torch.nn.functional.one_hot(classes, 3).float() if is_multi_label else classes
        clips.append({"input_values": values, "labels": labels})
    return clips


def collate(clips):
    labels = [clip["labels"] for clip in clips]
    input_values = pad_sequence([clip["input_values"] for clip in clips], batch_first=True)
    frames = torch.tensor([len(clip["input_values"]) for clip in clips])
    return {
        "input_values": input_values,
        "attention_mask": (torch.arange(input_values.shape[1]) < frames[:, None]).long(),
        "labels": pad_sequence(labels, batch_first=True, padding_value=-100)
        if labels[0].ndim
        else torch.stack(labels),
    }


class Modes(TrainerCallback):
    """Keeps what is in training mode at the end of each step."""

    def __init__(self):
        self.seen = set()

    def on_step_end(self, args, state, control, model, **kwargs):
        self.seen.add((model.training, any(module.training for module in model.base_model.modules())))


def make_trainer(folder, model, clips, collator, callbacks=None, **arguments) -> AudioTrainer:
    settings = {"num_train_epochs": 3, "per_device_train_batch_size": 4, "learning_rate": 3e-2}
    settings |= {"eval_strategy": "epoch", "metric_for_best_model": "loss", "load_best_model_at_end": False}
    settings |= {"report_to": "none", "dataloader_num_workers": 0, "disable_tqdm": True, "save_strategy": "no"}
    return AudioTrainer(
        model=model,
        args=AudioTrainingArguments(str(folder), **{**settings, **arguments}),
        train_dataset=clips,
        eval_dataset=clips,
        data_collator=collator,
        callbacks=callbacks,
    )


NAMES = [
    "sslam:cls_token",
    "sslam:mean_pooling",
    "sslam:lin_softmax",
    "frames",
    "frames:multi_label_classification",
    "frames4",
    "frames4:multi_label_classification",
    "sam_audio",
    "sam_audio:multi_label_classification",
]


@pytest.mark.parametrize("name", NAMES)
def test_training_on_cached_features_is_training_the_frozen_model(tmp_path, name):
    """Also with dropout in the classifier, and with drop path and batch norm that the encoder must not use."""
    clips, start, modes = make_clips(name), make_model(name), Modes()
    freeze_encoder(start)
    whole, other = copy.deepcopy(start), copy.deepcopy(start)
    trainer = make_trainer(tmp_path, whole, clips, collate, [modes])
    torch.manual_seed(1)
    trainer.train()
    assert modes.seen == {(True, False)}

    encoded = encode_clips(other, clips, collate, batch_size=5)
    head = HeadModel(other)
    on_features = make_trainer(tmp_path, head, encoded, collate_encoded)
    torch.manual_seed(1)
    on_features.train()

    trained = 0
    for key, expected in whole.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], expected, atol=1e-5, rtol=1e-5, msg=key)
        has_moved = not torch.equal(expected, start.state_dict()[key])
        assert not (has_moved and key.startswith(f"{start.base_model_prefix}.")), key
        trained += has_moved
    assert trained >= 2
    for one, two in zip(trainer.state.log_history, on_features.state.log_history, strict=True):
        if "eval_loss" in one:
            assert two["eval_loss"] == pytest.approx(one["eval_loss"], abs=1e-5)
    predicted, expected = on_features.predict(encoded), trainer.predict(clips)
    assert predicted.predictions.shape == expected.predictions.shape
    for clip, one, two in zip(clips, predicted.predictions, expected.predictions, strict=True):
        own = len(clip["labels"]) if name.startswith("frames") else None  # what is said of padding may differ
        np.testing.assert_allclose(one[:own], two[:own], atol=1e-5, rtol=1e-5)
    assert (predicted.label_ids == expected.label_ids).all()


def test_a_head_saves_and_resumes_alone_and_the_whole_model_is_saved(tmp_path):
    clips, model = make_clips("sslam:mean_pooling"), make_model("sslam:mean_pooling")
    freeze_encoder(model)
    encoded = encode_clips(model, clips, collate)
    arguments = {"save_strategy": "epoch", "load_best_model_at_end": True, "ema_decay": 0.9, "save_total_limit": None}
    head = HeadModel(copy.deepcopy(model))
    trainer = make_trainer(tmp_path, head, encoded, collate_encoded, **arguments)
    trainer.train()
    assert set(head.state_dict()) == {
        f"model.{name}" for name in model.state_dict() if name.startswith(("fc_norm.", "classifier."))
    }

    resumed = HeadModel(model)
    make_trainer(tmp_path, resumed, encoded, collate_encoded, **arguments).train(str(tmp_path / "checkpoint-6"))
    assert all(torch.equal(tensor, resumed.state_dict()[name]) for name, tensor in head.state_dict().items())

    model.save_pretrained(tmp_path / "model")
    loaded = SSLAMForAudioClassification.from_pretrained(tmp_path / "model").eval()
    with torch.no_grad():
        logits = loaded(**collate(clips)).logits
    torch.testing.assert_close(logits, torch.tensor(trainer.predict(encoded).predictions), atol=1e-5, rtol=1e-5)


def test_only_the_head_is_trained_and_no_graph_reaches_into_the_encoder():
    for name in ("sslam:cls_token", "sam_audio"):
        model = make_model(name)
        assert not is_frozen(model.base_model)
        freeze_encoder(model)
        trained = {key for key, weight in model.named_parameters() if weight.requires_grad}
        assert trained == {key for key, _ in model.named_parameters() if key.startswith("classifier.")}
        model.eval()
        assert not model.base_model(collate(make_clips(name))["input_values"]).last_hidden_state.requires_grad


def test_features_are_cached_whole(tmp_path):
    model = make_model("frames")
    clips = make_clips("frames")
    encoded = encode_clips(model, clips, collate, batch_size=5, num_workers=2)
    assert len(encoded) == 12
    assert [len(encoded[n]["features"]) for n in range(3)] == [3, 4, 4]  # 16 frames a patch
    for n, clip in enumerate(clips):
        assert torch.equal(encoded[n]["labels"], clip["labels"])
    assert not encoded[0]["features"].requires_grad
    batch = collate_encoded([encoded[0], encoded[1]])
    assert batch["features"].shape == (2, 4, 16)
    assert batch["features"][0, 3].abs().max() == 0
    assert batch["labels"].tolist() == [[*encoded[0]["labels"], -100], [*encoded[1]["labels"]]]


def test_models_without_a_frozen_encoder_or_without_a_head():
    with pytest.raises(ValueError, match="Call freeze_encoder first"):
        HeadModel(make_model("sam_audio"))
    with pytest.raises(ValueError, match="not a classifier of polyaudio"):
        freeze_encoder(SSLAMModel(SSLAMConfig(**SSLAM)))
    adapted = get_peft_model(make_model("sslam:cls_token"), LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(ValueError, match="Leave out either LoRA"):
        freeze_encoder(adapted)
