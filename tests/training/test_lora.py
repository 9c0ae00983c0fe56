"""LoRA: what is trained, what an adapter's folder holds, and how it loads with a base of other labels or layout."""

import errno
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification, pipeline

from builders import SSLAM
from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
    SSLAMForAudioFrameClassification,
    SSLAMModel,
)
from polyaudio.training.arguments import AudioTrainingArguments
from polyaudio.training.lora import LoraClassifier, add_lora, lora_config, merge_adapter
from polyaudio.training.trainer import AudioTrainer


LABELS = ["kalyani", "mohanam", "todi"]
SAM_AUDIO = {
    "feature_size": 12,
    "conv_dim": [16, 32],
    "conv_kernel": [3, 3],
    "conv_stride": [2, 2],
    "num_segments": 6,
    "num_attention_heads": 4,
    "projection_dim": 8,
}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def bases(tmp_path_factory, reference) -> dict[str, Path]:
    """Bases to adapt: classifiers of seven classes, an encoder, the published layout, batch normalisation."""
    torch.manual_seed(5)
    tmp_path = tmp_path_factory.mktemp("bases")
    models = {
        "sslam": SSLAMForAudioClassification(SSLAMConfig(**SSLAM, num_labels=7)),
        "sslam encoder": SSLAMModel(SSLAMConfig(**SSLAM)),
        "sam_audio": SAMAudioForAudioClassification(SAMAudioConfig(**SAM_AUDIO, num_labels=7)),
        "sam_audio batch norm": SAMAudioForAudioClassification(
            SAMAudioConfig(**SAM_AUDIO, num_labels=7, feat_extract_norm="batch")
        ),
    }
    folders = {}
    for name, model in models.items():
        folders[name] = tmp_path / name
        model.save_pretrained(folders[name])
    for name in ("pretrained", "finetuned"):
        folders[f"eat {name}"] = tmp_path / name
        shutil.copytree(reference / "hub_eat" / name, folders[f"eat {name}"])
    return folders


BASES = ["sslam", "sslam encoder", "sam_audio", "sam_audio batch norm", "eat pretrained", "eat finetuned"]


def classifier(base: Path, **settings):
    """A base as a classifier of our three labels."""
    labels = {
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: index for index, label in enumerate(LABELS)},
        "problem_type": "single_label_classification",
    }
    config = AutoConfig.from_pretrained(base, **labels, **settings)
    return AutoModelForAudioClassification.from_pretrained(base, config=config, ignore_mismatched_sizes=True)


def features_for(model, num_clips: int = 4) -> torch.Tensor:
    bins = model.config.num_mel_bins if model.config.model_type == "sslam" else model.config.feature_size
    return torch.randn(num_clips, 64, bins, generator=torch.Generator().manual_seed(1))


def trained(base: Path, modules=("attention",), **settings) -> LoraClassifier:
    """A base whose adapter and head have made two steps."""
    model = classifier(base, **settings)
    adapted = add_lora(model, lora_config(model, modules, rank=4), str(base))
    optimizer = torch.optim.Adam([weight for weight in adapted.parameters() if weight.requires_grad], lr=0.05)
    inputs = {"input_values": features_for(model), "labels": torch.tensor([0, 1, 2, 1])}
    inputs["attention_mask"] = torch.ones(inputs["input_values"].shape[:2], dtype=torch.long)
    for _ in range(2):
        adapted.train()
        adapted(**inputs).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return adapted.eval()


def logits_of(model, **settings) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(features_for(model), **settings).logits


def save(adapted: LoraClassifier, folder: Path) -> Path:
    adapted.save_pretrained(folder)
    is_sslam = adapted.config.model_type == "sslam"
    extractor = SSLAMFeatureExtractor(max_length=64) if is_sslam else SAMAudioFeatureExtractor(feature_size=12)
    extractor.save_pretrained(folder)
    return folder


def rename_base(adapter: Path, base: str) -> Path:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": base}))
    return adapter


@pytest.fixture
def reports():
    """What transformers and polyaudio warn of while loading."""

    class Keep(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())

    messages, handler = [], Keep(logging.WARNING)
    loggers = [logging.getLogger(name) for name in ("transformers", "polyaudio")]
    for logger in loggers:
        logger.addHandler(handler)
    yield messages
    for logger in loggers:
        logger.removeHandler(handler)


# Training ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "modules", "targets", "whole"),
    [
        ("sslam", ["attention"], ATTENTION, ["classifier", "fc_norm"]),
        ("sslam", ["mlp"], ["fc1", "fc2"], ["classifier", "fc_norm"]),
        ("sslam", ["attention", "mlp"], [*ATTENTION, "fc1", "fc2"], ["classifier", "fc_norm"]),
        ("eat pretrained", ["attention"], ATTENTION, ["classifier", "fc_norm"]),
        ("sam_audio", ["attention"], ATTENTION, ["classifier"]),
        ("sam_audio", ["attention", "convolutions"], [*ATTENTION, "conv"], ["classifier"]),
        ("sam_audio batch norm", ["convolutions"], ["conv"], ["classifier", "norm"]),
    ],
)
def test_adapter_and_head_alone_are_trained(bases, base, modules, targets, whole):
    model = classifier(bases[base])
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    encoder = [name for name, _ in model.base_model.named_modules()]
    adapted = add_lora(model, lora_config(model, modules, rank=4), str(bases[base]))

    places = {name for name in encoder if name.rpartition(".")[2] in targets}
    names = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    prefix = f"base_model.model.{model.base_model_prefix}."
    lora = {name.partition(".lora_")[0].removeprefix(prefix) for name in names if ".lora_" in name}
    assert lora == places
    others = {name.partition(".modules_to_save")[0].rpartition(".")[2] for name in names if ".lora_" not in name}
    assert others == set(whole)

    # Rank 4 of a matrix of m x n takes 4 (m + n) weights, a convolution's kernel belongs to the input
    expected = 0
    for name, weight in before.items():
        module, _, kind = name.rpartition(".")
        if kind == "weight" and module.removeprefix(f"{model.base_model_prefix}.") in places:
            expected += 4 * (weight.shape[0] + weight[0].numel())
        elif name.startswith(("classifier.", "fc_norm.")) or (".norm." in name and "norm" in whole):
            expected += weight.numel() if kind in ("weight", "bias") else 0
    trainable, total = adapted.get_nb_trainable_parameters()
    assert trainable == expected
    assert trainable < total


def test_the_base_stays_as_it_was(bases):
    base = load_file(bases["sslam"] / "model.safetensors")
    state = trained(bases["sslam"], ["attention", "mlp"]).get_base_model().state_dict()
    for name, weight in base.items():
        if name.startswith("sslam."):
            wrapped = ".base_layer.".join(name.rsplit(".", 1))
            assert torch.equal(state[wrapped if wrapped in state else name], weight)


def test_a_model_without_norm_before_the_classifier(bases, tmp_path):
    adapted = trained(bases["sslam encoder"], use_fc_norm=False, prediction_mode="mean_pooling")
    assert adapted.peft_config["default"].modules_to_save == ["classifier"]
    reloaded = AutoModelForAudioClassification.from_pretrained(save(adapted, tmp_path / "adapter"))
    assert reloaded.config.prediction_mode == "mean_pooling"
    torch.testing.assert_close(logits_of(reloaded), logits_of(adapted), atol=1e-6, rtol=0)


def test_what_cannot_be_adapted_is_refused(bases, tmp_path):
    sslam, sam_audio = classifier(bases["sslam"]), classifier(bases["sam_audio"])
    with pytest.raises(ValueError, match=r"sslam has no modules 'convolutions'\. Choose from attention and mlp"):
        lora_config(sslam, ["attention", "convolutions"])
    with pytest.raises(ValueError, match=r"sam_audio has no modules 'mlp'\. Choose from attention and convolutions"):
        lora_config(sam_audio, ["mlp"])
    with pytest.raises(ValueError, match="needs modules to adapt"):
        lora_config(sslam, [])
    with pytest.raises(ValueError, match="positive"):
        add_lora(sslam, lora_config(sslam, rank=0), str(bases["sslam"]))
    sslam.config.model_type = "wav2vec2"
    with pytest.raises(ValueError, match="does not know which modules of a model of type wav2vec2"):
        lora_config(sslam)
    adapter = save(trained(bases["sslam"]), tmp_path / "adapter")
    reloaded = AutoModelForAudioClassification.from_pretrained(adapter)
    with pytest.raises(ValueError, match="is an adapter itself"):
        add_lora(reloaded, lora_config(reloaded), str(adapter))


# Loading ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", BASES)
def test_a_saved_adapter_equals_the_trained_model(bases, base, tmp_path, reports):
    modules = ["attention", "convolutions"] if base.startswith("sam_audio") else ["attention", "mlp"]
    adapted = trained(bases[base], modules)
    adapter = save(adapted, tmp_path / "adapter")
    assert {path.name for path in adapter.iterdir() if path.suffix in (".safetensors", ".bin", ".pt")} == {
        "adapter_model.safetensors"
    }
    assert {"adapter_config.json", "config.json", "preprocessor_config.json"} <= {p.name for p in adapter.iterdir()}
    saved = json.loads((adapter / "adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == str(bases[base])
    assert (saved["r"], saved["lora_alpha"], saved["lora_dropout"]) == (4, 16, 0.0)

    reports.clear()
    reloaded, info = AutoModelForAudioClassification.from_pretrained(adapter, output_loading_info=True)
    assert reports == []
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert not reloaded.training
    assert reloaded.config.id2label == dict(enumerate(LABELS))
    assert reloaded.config.label2id == {label: index for index, label in enumerate(LABELS)}
    assert reloaded.config.problem_type == "single_label_classification"
    torch.testing.assert_close(logits_of(reloaded), logits_of(adapted), atol=1e-6, rtol=0)
    assert (logits_of(reloaded) - logits_of(classifier(bases[base]))).abs().max() > 0.01

    whole = PeftModel.from_pretrained(classifier(bases[base]), adapter).merge_and_unload()
    torch.testing.assert_close(logits_of(whole), logits_of(adapted), atol=1e-5, rtol=0)
    whole.save_pretrained(tmp_path / "whole")
    merge_adapter(adapter, tmp_path / "merged")
    assert (tmp_path / "merged" / "preprocessor_config.json").is_file()
    for folder in ("whole", "merged"):
        complete, info = AutoModelForAudioClassification.from_pretrained(tmp_path / folder, output_loading_info=True)
        assert not any(info.values())
        torch.testing.assert_close(logits_of(complete), logits_of(whole), atol=1e-5, rtol=0)
        assert complete.config.id2label == dict(enumerate(LABELS))
    with pytest.raises(ValueError, match="is not an adapter"):
        merge_adapter(tmp_path / "merged", tmp_path / "again")


@pytest.mark.parametrize("base", ["sslam", "sam_audio", "eat pretrained"])
def test_a_pipeline_takes_an_adapter(bases, base, tmp_path, reports):
    adapter = save(trained(bases[base]), tmp_path / "adapter")
    reports.clear()
    classify = pipeline("audio-classification", model=str(adapter), device="cpu")
    assert not [message for message in reports if "LOAD REPORT" in message]
    waveform = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    answers = classify(waveform.copy(), top_k=None)
    rate = classify.feature_extractor.sampling_rate
    features = classify.feature_extractor(waveform, sampling_rate=rate, return_tensors="pt")
    with torch.no_grad():
        expected = AutoModelForAudioClassification.from_pretrained(adapter)(**features).logits.softmax(-1)[0]
    assert {answer["label"] for answer in answers} == set(LABELS)
    for answer in answers:
        assert answer["score"] == pytest.approx(expected[LABELS.index(answer["label"])].item(), abs=1e-6)


@pytest.mark.parametrize("load", [AutoModelForAudioClassification, SSLAMForAudioClassification])
@pytest.mark.parametrize("base", ["sslam", "eat finetuned"])
def test_arguments_of_from_pretrained(bases, base, load, tmp_path):
    adapted = trained(bases[base])
    adapter = save(adapted, tmp_path / "adapter")
    model = load.from_pretrained(adapter, attn_implementation="eager", hidden_dropout_prob=0.25)
    assert model.config._attn_implementation == "eager"
    assert model.config.hidden_dropout_prob == 0.25
    torch.testing.assert_close(logits_of(model), logits_of(adapted), atol=1e-5, rtol=0)
    model = load.from_pretrained(str(adapter), dtype=torch.bfloat16)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    half = model(features_for(model).bfloat16()).logits
    torch.testing.assert_close(half.float(), logits_of(adapted), atol=0.2, rtol=0.1)
    assert load.from_pretrained(adapter, dtype="auto").dtype == torch.float32
    config = AutoConfig.from_pretrained(adapter, id2label={0: "x", 1: "y", 2: "z"}, label2id={"x": 0, "y": 1, "z": 2})
    assert load.from_pretrained(adapter, config=config).config.id2label[2] == "z"


@pytest.mark.parametrize("base", ["sslam", "sam_audio batch norm", "eat pretrained"])
def test_an_adapter_can_be_saved_again_and_again(bases, base, tmp_path):
    adapted = trained(bases[base])
    first = save(adapted, tmp_path / "1")
    for number in (2, 3):
        model = AutoModelForAudioClassification.from_pretrained(tmp_path / str(number - 1))
        assert model.active_adapters() == ["default"]
        model.save_pretrained(tmp_path / str(number))
    again = tmp_path / "3"
    assert not (again / "model.safetensors").exists()
    weights, expected = (load_file(folder / "adapter_model.safetensors") for folder in (again, first))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    reloaded = AutoModelForAudioClassification.from_pretrained(again)
    assert reloaded.config.id2label == dict(enumerate(LABELS))
    torch.testing.assert_close(logits_of(reloaded), logits_of(adapted), atol=1e-6, rtol=0)


def test_the_adapter_is_asked_of_a_model_without_one(bases):
    model = classifier(bases["sslam"])
    for ask in (model.active_adapters, model.get_adapter_state_dict):
        with pytest.raises(ValueError, match="has no adapter"):
            ask()


def test_a_frame_classifier_can_be_adapted_too(bases, tmp_path):
    model = SSLAMForAudioFrameClassification.from_pretrained(bases["sslam encoder"], num_labels=3)
    adapted = add_lora(model, lora_config(model), str(bases["sslam encoder"]))
    torch.nn.init.normal_(adapted.get_base_model().sslam.layers[0].attention.q_proj.lora_B.default.weight)
    adapted.save_pretrained(tmp_path / "adapter")
    reloaded = SSLAMForAudioFrameClassification.from_pretrained(tmp_path / "adapter")
    torch.testing.assert_close(logits_of(reloaded), logits_of(adapted), atol=1e-6, rtol=0)


def test_a_complete_model_with_an_adapter_in_it(bases, tmp_path):
    """What training from scratch leaves: the untouched base in the adapter's own folder."""
    base = bases["sslam"]
    model = classifier(base)
    model.save_pretrained(tmp_path / "run")
    adapted = add_lora(model, lora_config(model), str(tmp_path / "run"))
    torch.nn.init.normal_(adapted.get_base_model().sslam.layers[0].attention.q_proj.lora_B.default.weight)
    adapted.save_pretrained(tmp_path / "run")
    shutil.move(tmp_path / "run", tmp_path / "moved")
    reloaded = AutoModelForAudioClassification.from_pretrained(tmp_path / "moved")
    torch.testing.assert_close(logits_of(reloaded), logits_of(adapted), atol=1e-6, rtol=0)
    SSLAMFeatureExtractor(max_length=64).save_pretrained(tmp_path / "moved")
    merge_adapter(tmp_path / "moved", tmp_path / "merged")
    merged = AutoModelForAudioClassification.from_pretrained(tmp_path / "merged")
    assert not merged._hf_peft_config_loaded
    torch.testing.assert_close(logits_of(merged), logits_of(adapted), atol=1e-5, rtol=0)


def test_a_base_that_is_not_there_is_named(bases, tmp_path):
    base = Path(shutil.copytree(bases["sslam"], tmp_path / "base"))
    adapter = save(trained(base), tmp_path / "adapter")
    shutil.rmtree(base)
    for load in (AutoModelForAudioClassification, SSLAMForAudioClassification):
        with pytest.raises(OSError, match="is an adapter for the model") as error:
            load.from_pretrained(adapter)
        assert str(base) in str(error.value)
        assert "base_model_name_or_path" in str(error.value)
    with pytest.raises(ValueError, match="is an adapter for the model"):
        pipeline("audio-classification", model=str(adapter))


def test_a_base_that_is_another_model_is_refused(bases, tmp_path):
    adapter = save(trained(bases["sslam"]), tmp_path / "adapter")
    for changes in ({"intermediate_size": 32}, {"num_hidden_layers": 1}):
        SSLAMModel(SSLAMConfig(**{**SSLAM, **changes})).save_pretrained(tmp_path / "other")
        rename_base(adapter, str(tmp_path / "other"))
        with pytest.raises(ValueError, match="is not the model that the adapter was trained on"):
            AutoModelForAudioClassification.from_pretrained(adapter)


def test_weights_that_nobody_has_are_reported(bases, tmp_path, reports):
    model = classifier(bases["sslam encoder"])
    config = lora_config(model)
    config.modules_to_save = ["fc_norm"]
    adapted = add_lora(model, config, str(bases["sslam encoder"]))
    adapted.save_pretrained(tmp_path / "adapter")
    reports.clear()
    _, info = AutoModelForAudioClassification.from_pretrained(tmp_path / "adapter", output_loading_info=True)
    assert info["missing_keys"] == {"classifier.weight", "classifier.bias"}
    assert "classifier.weight" in reports[-1]


def hub(cache: Path, name: str, folder: Path) -> None:
    """Put a folder into a cache of the Hub, as a download does."""
    repository = cache / f"models--{name.replace('/', '--')}"
    commit = "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(folder, repository / "snapshots" / commit)


@pytest.mark.parametrize("base", ["sslam", "eat pretrained", "eat finetuned"])
def test_an_adapter_on_the_hub(bases, base, tmp_path, monkeypatch, reports):
    model = classifier(bases[base])
    adapted = add_lora(model, lora_config(model), "somebody/base")
    torch.nn.init.normal_(adapted.get_base_model().sslam.layers[0].attention.q_proj.lora_B.default.weight)
    adapter = save(adapted, tmp_path / "adapter")
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == "somebody/base"
    hub(tmp_path / "cache", "me/adapter", adapter)
    hub(tmp_path / "cache", "somebody/base", bases[base])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    reports.clear()
    models = [
        AutoModelForAudioClassification.from_pretrained("me/adapter", attn_implementation="eager"),
        SSLAMForAudioClassification.from_pretrained("me/adapter"),
        AutoModelForAudioClassification.from_pretrained(adapter),
        pipeline("audio-classification", model="me/adapter", config="me/adapter", device="cpu").model,
        pipeline("audio-classification", model="me/adapter", feature_extractor="me/adapter", device="cpu").model,
    ]
    assert not [message for message in reports if "LOAD REPORT" in message]
    assert models[0].config._attn_implementation == "eager"
    for loaded in models:
        assert loaded.config.id2label == dict(enumerate(LABELS))
        torch.testing.assert_close(logits_of(loaded), logits_of(adapted), atol=1e-5, rtol=0)
    with pytest.raises(OSError, match="somebody/gone"):
        SSLAMForAudioClassification.from_pretrained(rename_base(adapter, "somebody/gone"))


def test_a_save_that_fails_leaves_the_adapter_before(bases, tmp_path, monkeypatch):
    adapted = trained(bases["sslam"])
    adapter = save(adapted, tmp_path / "adapter")
    (adapter / "README.md").write_text("My card")
    before = {path.name: path.read_bytes() for path in adapter.iterdir()}

    def save_half(tensors, path, metadata=None):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("peft.peft_model.safe_save_file", save_half)
        with pytest.raises(OSError, match=r"did not change: .*No space left"):
            adapted.save_pretrained(adapter)
    assert {path.name: path.read_bytes() for path in adapter.iterdir()} == before
    adapted.save_pretrained(adapter)
    assert {path.name: path.read_bytes() for path in adapter.iterdir()} == before


# Trainer ----------------------------------------------------------------------------------------------


def trainer_for(base: Path, output: Path, **settings) -> AudioTrainer:
    """A run of four epochs of four steps each on clips of noise, three quarters of them for training."""
    torch.manual_seed(3)
    model = classifier(base)
    adapted = add_lora(model, lora_config(model, rank=4), str(base))
    clips = torch.randn(16, 64, 12, generator=torch.Generator().manual_seed(4))
    rows = [{"input_values": clip, "labels": index % 3} for index, clip in enumerate(clips)]
    arguments = AudioTrainingArguments(
        output_dir=str(output),
        num_train_epochs=4,
        per_device_train_batch_size=3,
        learning_rate=0.02,
        save_total_limit=9,
        metric_for_best_model="loss",
        greater_is_better=False,
        dataloader_num_workers=0,
        disable_tqdm=True,
        report_to="none",
        use_cpu=True,
        **settings,
    )
    return AudioTrainer(model=adapted, args=arguments, train_dataset=rows[:12], eval_dataset=rows[12:])


def test_checkpoints_resume_and_the_best_of_them_is_kept(bases, tmp_path):
    base = bases["sam_audio"]
    whole = trainer_for(base, tmp_path / "whole")
    whole.train()
    checkpoint = tmp_path / "whole" / "checkpoint-8"
    names = {path.name for path in checkpoint.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "config.json", "optimizer.pt"} <= names
    assert "model.safetensors" not in names

    resumed = trainer_for(base, tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=str(checkpoint))
    last = "checkpoint-16/adapter_model.safetensors"
    one, other = load_file(tmp_path / "whole" / last), load_file(tmp_path / "resumed" / last)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)

    losses = {entry["step"]: entry["eval_loss"] for entry in whole.state.log_history if "eval_loss" in entry}
    best = min(losses, key=losses.get)
    assert Path(whole.state.best_model_checkpoint).name == f"checkpoint-{best}"
    whole.save_model(tmp_path / "final")
    final = load_file(tmp_path / "final" / "adapter_model.safetensors")
    kept = load_file(tmp_path / "whole" / f"checkpoint-{best}" / "adapter_model.safetensors")
    assert all(torch.equal(final[name], kept[name]) for name in final)

    expected = logits_of(whole.model)
    for folder in (tmp_path / "final", tmp_path / "whole" / f"checkpoint-{best}"):
        assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
        reloaded = AutoModelForAudioClassification.from_pretrained(folder)
        assert reloaded.config.id2label == dict(enumerate(LABELS))
        torch.testing.assert_close(logits_of(reloaded), expected, atol=1e-6, rtol=0)


def test_an_encoder_is_not_taken_for_an_adapter(bases):
    assert not AutoModel.from_pretrained(bases["sslam"])._hf_peft_config_loaded
