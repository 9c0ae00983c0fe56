# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The published checkpoints of SSLAM and EAT: read safely, converted completely, with the original's numbers."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForAudioFrameClassification,
    pipeline,
)

from polyaudio import (
    EATConfig,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
    SSLAMForAudioFrameClassification,
    SSLAMForPreTraining,
    SSLAMModel,
)
from polyaudio.configuration.audioset_labels import AUDIOSET_LABELS
from polyaudio.modeling.checkpoint_io import UnsafeCheckpointError, read_torch_checkpoint
from polyaudio.modeling.checkpoint_sslam import convert_fairseq_checkpoint
from prepared_python import python


LENGTHS = [1024, 512, 200]
MODES = ["cls_token", "mean_pooling", "lin_softmax"]
POSITIONS = "modality_encoders.IMAGE.fixed_positional_encoder.positions"


def assert_near(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


# Safe reading -------------------------------------------------------------------------------------


class RunsACommand:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_checkpoint_is_refused_and_runs_nothing(zipped, tmp_path):
    checkpoint = {"model": {"weight": torch.ones(2)}, "cfg": RunsACommand(tmp_path / "ran")}
    torch.save(checkpoint, tmp_path / "bad.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeCheckpointError, match="mkdir"):
        read_torch_checkpoint(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()
    with pytest.warns(UserWarning, match="without restrictions"):
        read_torch_checkpoint(tmp_path / "bad.pt", allow_pickle=True)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_what_training_checkpoints_hold_is_read(zipped, tmp_path):
    checkpoint = {
        "best": np.float64(0.5),
        "step": np.int64(3),
        "model": {"a.b": torch.arange(3)},
        "cfg": {"x": [None]},
    }
    torch.save(checkpoint, tmp_path / "good.pt", _use_new_zipfile_serialization=zipped)
    read = read_torch_checkpoint(tmp_path / "good.pt")
    assert (read["best"], read["step"], read["cfg"]) == (0.5, 3, {"x": [None]})
    assert torch.equal(read["model"]["a.b"], torch.arange(3))


def test_what_is_no_checkpoint_is_named(tmp_path):
    path = tmp_path / "page.pt"
    path.write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"not written by torch\.save"):
        read_torch_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="a list instead of a dictionary"):
        read_torch_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        read_torch_checkpoint(tmp_path / "missing.pt")


# fairseq checkpoints ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forward(reference) -> dict[str, torch.Tensor]:
    return load_file(reference / "sslam" / "forward.safetensors")


@pytest.fixture(scope="module")
def pretrained(reference) -> dict:
    return read_torch_checkpoint(reference / "sslam" / "pretrained.pt")


@pytest.fixture(scope="module")
def finetuned(reference) -> dict:
    return read_torch_checkpoint(reference / "sslam" / "finetuned.pt")


def build(model_class, converted, **changes):
    for name, value in changes.items():
        setattr(converted.config, name, value)
    model = model_class(converted.config)
    model.load_state_dict(converted.state_dict)
    return model.eval()


def golden(forward, key: str) -> torch.Tensor:
    return forward[key].float()


def clips_of(forward, length: int) -> torch.Tensor:
    """The recorded input, without the last frames where they fill no patch: the original ignores those."""
    return golden(forward, f"t{length}.input_values")[:, 0, : length // 16 * 16]


@pytest.mark.parametrize("length", LENGTHS)
def test_every_block_gives_what_the_original_gives(pretrained, forward, length):
    model = build(SSLAMModel, convert_fairseq_checkpoint(pretrained, "encoder"))
    layer_results = []
    for layer in model.layers:
        layer.register_forward_hook(lambda module, inputs, output: layer_results.append(output[1]))
    with torch.no_grad():
        outputs = model(clips_of(forward, length), output_hidden_states=True)

    name = f"t{length}.pretrained"
    assert_near(outputs.hidden_states[0], golden(forward, f"{name}.context_output"))
    for index in range(3):
        assert_near(outputs.hidden_states[index + 1], golden(forward, f"{name}.block_output.{index}"))
    for index in range(4):
        assert_near(layer_results[index], golden(forward, f"{name}.layer_results.{index}"))
    assert_near(outputs.last_hidden_state, golden(forward, f"{name}.features_all"))
    assert_near(outputs.pooler_output, golden(forward, f"{name}.features_utterance"))
    if length != 1024:
        assert_near(outputs.last_hidden_state[:, 1:], golden(forward, f"{name}.features_frame"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", LENGTHS)
def test_logits_of_the_original(finetuned, forward, length, mode):
    converted = convert_fairseq_checkpoint(finetuned, "classifier")
    model = build(SSLAMForAudioClassification, converted, prediction_mode=mode)
    with torch.no_grad():
        outputs = model(clips_of(forward, length))
    assert_near(outputs.logits, golden(forward, f"t{length}.finetuned.logits.{mode.upper()}"))


@pytest.mark.parametrize("length", LENGTHS)
def test_the_encoder_of_a_classifier_and_its_loss(finetuned, forward, length):
    encoder = build(SSLAMModel, convert_fairseq_checkpoint(finetuned, "encoder"))
    classifier = build(SSLAMForAudioClassification, convert_fairseq_checkpoint(finetuned, "classifier"))
    clips, name = clips_of(forward, length), f"t{length}.finetuned"
    with torch.no_grad():
        assert_near(encoder(clips).last_hidden_state, golden(forward, f"{name}.features_all"))
        loss = classifier(clips, labels=golden(forward, f"{name}.labels")).loss
    assert_near(loss, golden(forward, f"{name}.loss").mean())


def test_a_sound_file_gets_the_original_probabilities(finetuned, forward, reference):
    audio, rate = soundfile.read(reference / "sslam" / "clip.wav", dtype="float32")
    inputs = SSLAMFeatureExtractor(max_length=256)(audio, sampling_rate=rate, return_tensors="pt")
    model = build(SSLAMForAudioClassification, convert_fairseq_checkpoint(finetuned, "classifier"))
    with torch.no_grad():
        assert_near(model(**inputs).logits.sigmoid(), golden(forward, "clip_wav.finetuned.probabilities"))


def test_settings_become_the_configuration(finetuned):
    config = convert_fairseq_checkpoint(finetuned, "classifier").config
    expected = {
        "hidden_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 192,
        "layer_norm_eps": 1e-6,
        "max_time_patches": 768,
        "drop_path_rate": 0.1,
        "num_labels": 7,
        "problem_type": "multi_label_classification",
        "prediction_mode": "cls_token",
        "use_fc_norm": True,
        "fc_norm_eps": 1e-6,
        "average_top_k_layers": 4,
        "clone_batch": 2,
        "mask_ratio": 0.8,
        "mask_length": 5,
        "mask_adjust": 0.07,
        "decoder_hidden_size": 48,
        "decoder_num_layers": 2,
        "decoder_kernel_size": 3,
        "decoder_groups": 4,
        "ema_decay": 0.9998,
        "ema_end_decay": 0.99999,
        "ema_anneal_end_step": 100000,
    }
    assert {name: getattr(config, name) for name in expected} == expected


def fairseq_checkpoint(kind: str, **model_settings) -> dict:
    """A checkpoint as fairseq would write it for a tiny model, with random weights."""

    def block(prefix: str) -> dict[str, torch.Tensor]:
        shapes = {
            "norm1.weight": (8,),
            "norm1.bias": (8,),
            "attn.qkv.weight": (24, 8),
            "attn.qkv.bias": (24,),
            "attn.proj.weight": (8, 8),
            "attn.proj.bias": (8,),
            "norm2.weight": (8,),
            "norm2.bias": (8,),
            "mlp.fc1.weight": (16, 8),
            "mlp.fc1.bias": (16,),
            "mlp.fc2.weight": (8, 16),
            "mlp.fc2.bias": (8,),
        }
        return {prefix + name: torch.randn(shape) for name, shape in shapes.items()}

    def encoder() -> dict[str, torch.Tensor]:
        shapes = {
            "extra_tokens": (1, 1, 8),
            "local_encoder.proj.weight": (8, 1, 16, 16),
            "local_encoder.proj.bias": (8,),
            "fixed_positional_encoder.positions": (1, 32, 8),
            "context_encoder.norm.weight": (8,),
            "context_encoder.norm.bias": (8,),
        }
        weights = {f"modality_encoders.IMAGE.{name}": torch.randn(shape) for name, shape in shapes.items()}
        return weights | block("blocks.0.") | block("blocks.1.")

    decoder = {"decoder_dim": 8, "decoder_layers": 1, "decoder_kernel": 3, "decoder_groups": 2}
    image = {"patch_size": 16, "mask_prob": 0.8, "mask_length": 5, "mask_prob_adjust": 0.07, "mask_noise_std": 0.01}
    image |= {"prenet_depth": 0, "use_alibi_encoder": False, "decoder": decoder}
    dropouts = dict.fromkeys(
        ("dropout_input", "encoder_dropout", "attention_dropout", "activation_dropout", "post_mlp_drop", "layerdrop"),
        0,
    )
    settings = {"_name": "data2vec_multi", "embed_dim": 8, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0}
    settings |= {"norm_eps": 1e-6, "layer_norm_first": False, "average_top_k_layers": 2, "clone_batch": 2}
    settings |= {"ema_decay": 0.9, "ema_end_decay": 0.99, "ema_anneal_end_step": 10, "end_drop_path_rate": 0.0}
    settings |= {"modalities": {"image": image}, **dropouts}
    if kind == "pretrained":
        weights = encoder() | {"_ema": encoder()}
        for name, shape in {"blocks.0.0.weight": (8, 4, 3, 3), "proj.weight": (8, 8)}.items():
            weights[f"modality_encoders.IMAGE.decoder.{name}"] = torch.randn(shape)
            weights[f"modality_encoders.IMAGE.decoder.{name.replace('weight', 'bias')}"] = torch.randn(8)
        return {"cfg": {"model": settings | model_settings}, "model": weights, "last_optimizer_state": {}}

    weights = {f"model.{name}": weight for name, weight in encoder().items()}
    weights |= {"head.weight": torch.randn(527, 8), "head.bias": torch.randn(527)}
    weights |= {"fc_norm.weight": torch.randn(8), "fc_norm.bias": torch.randn(8)}
    classifier = {"_name": "mae_image_classification", "pretrained_model_args": {"model": settings}, **dropouts}
    classifier |= {"num_classes": 527, "drop_path_rate": 0.1, "prediction_mode": "PredictionMode.MEAN_POOLING"}
    classifier |= {"use_fc_norm": True, "esc50_eval": False, "spcv2_eval": False}
    return {"cfg": {"model": classifier | model_settings}, "model": weights, "args": None}


@pytest.mark.parametrize("weights", ["student", "teacher"])
def test_the_encoder_is_the_student_or_its_moving_average(weights):
    checkpoint = fairseq_checkpoint("pretrained")
    source = checkpoint["model"]["_ema"] if weights == "teacher" else checkpoint["model"]
    model = build(SSLAMModel, convert_fairseq_checkpoint(checkpoint, "encoder", weights))
    assert torch.equal(model.embeddings.position_embeddings, source[POSITIONS])
    query, key, value = source["blocks.1.attn.qkv.weight"].chunk(3)
    attention = model.layers[1].attention
    for projection, expected in ((attention.q_proj, query), (attention.k_proj, key), (attention.v_proj, value)):
        assert torch.equal(projection.weight, expected)
    assert torch.equal(model.layers[0].mlp_layernorm.bias, source["blocks.0.norm2.bias"])


def test_a_pretraining_conversion_keeps_student_teacher_and_decoder():
    checkpoint = fairseq_checkpoint("pretrained")
    model = build(SSLAMForPreTraining, convert_fairseq_checkpoint(checkpoint, "pretraining"))
    source = checkpoint["model"]
    assert torch.equal(model.sslam.layers[0].mlp.fc1.bias, source["blocks.0.mlp.fc1.bias"])
    assert torch.equal(model.teacher.layers[0].mlp.fc1.bias, source["_ema"]["blocks.0.mlp.fc1.bias"])
    decoder = "modality_encoders.IMAGE.decoder"
    assert torch.equal(model.decoder.layers[0].conv.weight, source[f"{decoder}.blocks.0.0.weight"])
    assert torch.equal(model.decoder.projection.bias, source[f"{decoder}.proj.bias"])


@pytest.mark.parametrize(
    ("kind", "what"),
    [("pretrained", "encoder"), ("pretrained", "pretraining"), ("finetuned", "encoder"), ("finetuned", "classifier")],
)
def test_the_report_accounts_for_every_key(kind, what):
    checkpoint = fairseq_checkpoint(kind)
    converted = convert_fairseq_checkpoint(checkpoint, what)
    names = {f"model.{name}" for name in checkpoint["model"]} | checkpoint.keys()
    names |= {f"model._ema.{name}" for name in checkpoint["model"].get("_ema", {})}
    assert converted.report.keys() == names - {"model", "model._ema"}
    targets = [name for fate in converted.report.values() if "renamed to" in fate for name in fate[11:].split(", ")]
    targets += [name.removeprefix("model.") for name, fate in converted.report.items() if fate == "used as is"]
    assert sorted(targets) == sorted(converted.state_dict)
    assert all(fate.startswith(("used", "renamed to ", "dropped: ")) for fate in converted.report.values())


def test_a_classifier_of_audioset_gets_its_labels():
    config = convert_fairseq_checkpoint(fairseq_checkpoint("finetuned"), "classifier").config
    assert (config.num_labels, config.id2label[0], config.label2id["Field recording"]) == (527, "Speech", 526)
    assert (config.problem_type, config.prediction_mode) == ("multi_label_classification", "mean_pooling")
    assert convert_fairseq_checkpoint(fairseq_checkpoint("finetuned"), "encoder").config.problem_type is None
    checkpoint = fairseq_checkpoint("finetuned", esc50_eval=True, num_classes=50)
    config = convert_fairseq_checkpoint(checkpoint, "classifier").config
    assert (config.num_labels, config.problem_type) == (50, "single_label_classification")


def without(checkpoint: dict, key: str) -> dict:
    return {**checkpoint, "model": {name: weight for name, weight in checkpoint["model"].items() if name != key}}


@pytest.mark.parametrize(
    ("checkpoint", "arguments", "message"),
    [
        ({"state_dict": {}}, ("encoder",), "lacks cfg and model.*state_dict"),
        (fairseq_checkpoint("pretrained", _name="wav2vec2"), ("encoder",), "'wav2vec2'"),
        (fairseq_checkpoint("pretrained", layer_norm_first=True), ("encoder",), "layer_norm_first"),
        (fairseq_checkpoint("pretrained"), ("classifier",), "no classifier"),
        (fairseq_checkpoint("pretrained"), ("pretraining", "teacher"), "student and teacher"),
        (fairseq_checkpoint("finetuned"), ("pretraining",), "no decoder"),
        (fairseq_checkpoint("finetuned"), ("encoder", "teacher"), "no teacher"),
        (without(fairseq_checkpoint("pretrained"), POSITIONS), ("encoder",), f"lacks {POSITIONS}"),
        (without(fairseq_checkpoint("pretrained"), "blocks.1.mlp.fc2.bias"), ("encoder",), r"lacks 1 keys.*fc2\.bias"),
        (without(fairseq_checkpoint("pretrained"), "_ema"), ("encoder", "teacher"), r"lacks 30 keys.*_ema\.blocks"),
        (without(fairseq_checkpoint("finetuned"), "head.bias"), ("classifier",), r"lacks 1 keys.*head\.bias"),
    ],
)
def test_what_cannot_be_converted_is_named(checkpoint, arguments, message):
    with pytest.raises(ValueError, match=message):
        convert_fairseq_checkpoint(checkpoint, *arguments)


def test_an_unknown_key_is_an_error():
    checkpoint = fairseq_checkpoint("pretrained")
    checkpoint["model"]["alibi_bias"] = torch.ones(1)
    with pytest.raises(ValueError, match="1 keys that SSLAM lacks: alibi_bias"):
        convert_fairseq_checkpoint(checkpoint, "encoder")
    del checkpoint["cfg"]["model"]["embed_dim"]
    with pytest.raises(ValueError, match="embed_dim"):
        convert_fairseq_checkpoint(checkpoint, "encoder")


# The published Hub layout -------------------------------------------------------------------------


HUB_SCRIPT = """
import sys
import polyaudio, torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification

folder = sys.argv[1]
golden = {kind: load_file(f"{folder}/{kind}/golden.safetensors") for kind in ("pretrained", "finetuned")}
for names in ({kind: f"{folder}/{kind}" for kind in golden}, {"pretrained": "them/base", "finetuned": "them/tuned"}):
    for trust in ({}, {"trust_remote_code": True}):
        for kind, name in names.items():
            assert AutoConfig.from_pretrained(name, **trust).hidden_size == 48
            model = AutoModel.from_pretrained(name, **trust)
            with torch.no_grad():
                tokens = model(golden[kind]["input"][:, 0]).last_hidden_state
                assert (tokens - golden[kind]["features"]).abs().max() < 1e-5
                assert torch.equal(model.extract_features(golden[kind]["input"]), tokens)
        model = AutoModelForAudioClassification.from_pretrained(names["finetuned"], **trust)
        with torch.no_grad():
            logits = model(golden["finetuned"]["input"][:, 0]).logits
            assert (logits - golden["finetuned"]["output"]).abs().max() < 1e-5
assert not any("transformers_modules" in name for name in sys.modules), "remote code was imported"
"""


def test_published_repositories_load_by_the_auto_classes(reference, tmp_path):
    """From a folder and by their name on the Hub, with trust in remote code and without."""
    for name, kind in (("base", "pretrained"), ("tuned", "finetuned")):
        cached = tmp_path / f"models--them--{name}"  # as if it had been downloaded
        shutil.copytree(reference / "hub_eat" / kind, cached / "snapshots" / "0123abc")
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text("0123abc")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path)}
    result = subprocess.run([python("torch"), "-c", HUB_SCRIPT, str(reference / "hub_eat")], env=environment)
    assert result.returncode == 0


@pytest.mark.parametrize("auto_class", [AutoModel, AutoModelForAudioClassification])
def test_what_is_saved_again_is_native(reference, auto_class, tmp_path):
    model = auto_class.from_pretrained(reference / "hub_eat" / "finetuned")
    assert type(model) in (SSLAMModel, SSLAMForAudioClassification)
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert (saved["model_type"], saved["architectures"]) == ("sslam", [type(model).__name__])
    assert not any(".blocks." in name for name in load_file(tmp_path / "model.safetensors"))

    loaded = auto_class.from_pretrained(tmp_path)
    assert type(loaded.config) is SSLAMConfig
    clips = load_file(reference / "hub_eat" / "finetuned" / "golden.safetensors")["input"][:, 0]
    with torch.no_grad():
        assert torch.equal(loaded(clips)[0], model(clips)[0])


@pytest.mark.parametrize("kind", ["pretrained", "finetuned"])
def test_a_published_encoder_gets_a_frame_classifier(reference, kind, tmp_path):
    folder = reference / "hub_eat" / kind
    golden = load_file(folder / "golden.safetensors")
    clips = golden["input"][:, 0]
    model = AutoModelForAudioFrameClassification.from_pretrained(folder)
    assert type(model) is SSLAMForAudioFrameClassification
    with torch.no_grad():
        torch.testing.assert_close(model.sslam(clips).last_hidden_state, golden["features"], atol=1e-5, rtol=0)
        logits = model(clips).logits
    num_labels = 9 if kind == "finetuned" else 2
    assert logits.shape == (len(clips), -(-clips.shape[1] // 16), num_labels)
    assert logits.isfinite().all()

    model.save_pretrained(tmp_path)
    loaded = AutoModelForAudioFrameClassification.from_pretrained(tmp_path)
    assert (type(loaded), type(loaded.config)) == (SSLAMForAudioFrameClassification, SSLAMConfig)
    assert torch.equal(loaded(clips).logits, logits)
    fresh = AutoModelForAudioFrameClassification.from_config(AutoConfig.from_pretrained(folder))
    assert type(fresh) is SSLAMForAudioFrameClassification


def test_usual_arguments_of_from_pretrained_work(reference):
    folder = reference / "hub_eat" / "finetuned"
    model, info = AutoModelForAudioClassification.from_pretrained(
        folder,
        num_labels=4,
        ignore_mismatched_sizes=True,
        dtype=torch.bfloat16,
        attn_implementation="eager",
        output_loading_info=True,
    )
    assert (model.config.num_labels, model.dtype, model.config._attn_implementation) == (4, torch.bfloat16, "eager")
    assert {key[0] for key in info["mismatched_keys"]} == {"classifier.weight", "classifier.bias"}
    assert model.name_or_path == str(folder)
    assert type(AutoModel.from_config(AutoConfig.from_pretrained(folder))) is SSLAMModel


def test_published_settings_become_the_configuration(reference):
    config = AutoConfig.from_pretrained(reference / "hub_eat" / "finetuned")
    assert type(config) is EATConfig
    expected = {"hidden_size": 48, "num_hidden_layers": 3, "intermediate_size": 192, "max_time_patches": 32}
    expected |= {"num_labels": 9, "fc_norm_eps": 1e-5, "layer_norm_eps": 1e-6, "prediction_mode": "cls_token"}
    assert {name: getattr(config, name) for name in expected} == expected
    assert AutoConfig.from_pretrained(reference / "hub_eat" / "pretrained").num_labels == 2, "527 without a classifier"


def audioset_folder(reference, folder, **settings):
    """The published classifier of the reference data, as one of 527 classes."""
    shutil.copytree(reference / "hub_eat" / "finetuned", folder)
    config = json.loads((folder / "config.json").read_text()) | {"num_classes": 527} | settings
    (folder / "config.json").chmod(0o644)
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    weights |= {"model.head.weight": torch.randn(527, 48), "model.head.bias": torch.randn(527)}
    (folder / "model.safetensors").unlink()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_pipeline_names_the_classes_of_audioset(reference, tmp_path):
    folder = audioset_folder(reference, tmp_path / "audioset")
    classify = pipeline(
        "audio-classification",
        model=str(folder),
        feature_extractor=SSLAMFeatureExtractor(max_length=256),
    )
    clip = np.random.default_rng(0).standard_normal(16000).astype("float32")
    answers = classify(clip, top_k=527, function_to_apply="sigmoid")
    assert {answer["label"] for answer in answers} == set(AUDIOSET_LABELS)
    assert sum(answer["score"] for answer in answers) > 2, "multi-label scores are sigmoids"


def test_an_unknown_published_architecture_is_named(reference, tmp_path):
    folder = audioset_folder(reference, tmp_path / "odd", layer_norm_first=True)
    with pytest.raises(ValueError, match="layer_norm_first=True"):
        AutoModel.from_pretrained(folder)
