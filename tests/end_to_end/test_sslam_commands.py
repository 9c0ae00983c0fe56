"""SSLAM and EAT on the command line: convert, train, predict and evaluate, run as a user runs them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForPreTraining,
    pipeline,
)

from builders import TONES, write_tones
from polyaudio import (
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
    SSLAMForPreTraining,
    SSLAMModel,
    load_audio,
)
from polyaudio.configuration.audioset_labels import AUDIOSET_LABELS
from polyaudio.modeling.checkpoint_io import read_torch_checkpoint
from polyaudio.modeling.checkpoint_sslam import convert_fairseq_checkpoint
from polyaudio.modeling.conversion import convert as convert_checkpoint
from polyaudio.scripts.convert import main as convert
from polyaudio.scripts.embed import main as embed
from polyaudio.scripts.evaluate import main as evaluate
from polyaudio.scripts.predict import main as predict
from polyaudio.scripts.train import main as train


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two classes of tones, six recordings each, of uneven lengths."""
    return write_tones(tmp_path_factory.mktemp("tones"), TONES, 6)


def labels_of(capsys) -> dict[str, dict[str, float]]:
    """What `predict --json` printed: for each file its labels with their scores."""
    predictions = json.loads(capsys.readouterr().out)
    return {one["file"]: {label["label"]: label["score"] for label in one["labels"]} for one in predictions}


# convert ------------------------------------------------------------------------------------------


def test_a_finetuned_fairseq_checkpoint(reference, tmp_path, capsys):
    """Converted without fairseq, it gives the probabilities of the original's inference script."""
    checkpoint = str(reference / "sslam" / "finetuned.pt")
    assert convert([checkpoint, "--output", str(tmp_path), "--labels", *"abcdefg"]) == 0
    output = capsys.readouterr().out
    assert "SSLAMForAudioClassification" in output
    assert "7 classes: a, b, c, d, e ..." in output
    report = json.loads((tmp_path / "conversion_report.json").read_text())
    read = read_torch_checkpoint(checkpoint)
    assert report["keys"].keys() == {f"model.{key}" for key in read["model"]} | read.keys() - {"model"}
    assert report["keys"]["model.head.weight"] == "renamed to classifier.weight"
    assert report["keys"]["last_optimizer_state"].startswith("dropped")
    assert (report["what"], report["weights"]) == ("classifier", "student")
    assert type(AutoFeatureExtractor.from_pretrained(tmp_path)) is SSLAMFeatureExtractor

    clip = str(reference / "sslam" / "clip.wav")
    arguments = ["--model", str(tmp_path), "--padding", "max_length", "--window", "2.56", "--top-k", "9", "--json"]
    assert predict([clip, *arguments]) == 0
    scores = labels_of(capsys)[clip]
    expected = load_file(reference / "sslam" / "forward.safetensors")["clip_wav.finetuned.probabilities"]
    assert torch.tensor([scores[label] for label in "abcdefg"]) == pytest.approx(expected.float().flatten(), abs=1e-4)


def test_the_encoder_of_a_finetuned_fairseq_checkpoint(reference, tmp_path, capsys):
    checkpoint = str(reference / "sslam" / "finetuned.pt")
    assert convert([checkpoint, "--output", str(tmp_path), "--what", "encoder"]) == 0
    assert "dropped: not part of the student's encoder" in capsys.readouterr().out
    model = AutoModel.from_pretrained(tmp_path)
    expected = convert_fairseq_checkpoint(read_torch_checkpoint(checkpoint), "encoder").state_dict
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(weight, expected[name]) for name, weight in model.state_dict().items())

    assert predict([str(reference / "sslam" / "clip.wav"), "--model", str(tmp_path)]) == 2
    assert "is not a trained classifier" in capsys.readouterr().err


def test_the_encoder_of_a_pretrained_fairseq_checkpoint(reference, tmp_path):
    checkpoint = reference / "sslam" / "pretrained.pt"
    weights = {}
    for which in ("student", "teacher"):
        assert convert([str(checkpoint), "--output", str(tmp_path / which), "--weights", which]) == 0
        weights[which] = AutoModel.from_pretrained(tmp_path / which).state_dict()
        report = json.loads((tmp_path / which / "conversion_report.json").read_text())["keys"]
        used = {key for key, fate in report.items() if fate.startswith("renamed") and "blocks.0.attn.qkv.bias" in key}
        assert used == {"model._ema.blocks.0.attn.qkv.bias" if which == "teacher" else "model.blocks.0.attn.qkv.bias"}
    assert weights["student"].keys() == weights["teacher"].keys()
    assert not torch.equal(
        weights["student"]["layers.0.mlp.fc1.weight"], weights["teacher"]["layers.0.mlp.fc1.weight"]
    )


def test_a_pretrained_fairseq_checkpoint_goes_on_where_the_original_left_off(reference, tmp_path, capsys):
    """Student, teacher and decoder, which together give the loss of the original."""
    checkpoint = reference / "sslam" / "pretrained.pt"
    assert convert([str(checkpoint), "--output", str(tmp_path), "--what", "pretraining"]) == 0
    assert "SSLAMForPreTraining" in capsys.readouterr().out
    report = json.loads((tmp_path / "conversion_report.json").read_text())["keys"]
    assert report["model._ema.blocks.0.mlp.fc1.bias"] == "renamed to teacher.layers.0.mlp.fc1.bias"
    assert not any(fate.startswith("dropped: not part") for fate in report.values())

    model = AutoModelForPreTraining.from_pretrained(tmp_path, clone_batch=4, mask_noise_std=0.0)
    assert type(model) is SSLAMForPreTraining
    recorded = load_file(reference / "sslam" / "stage1_loss.safetensors")
    masks = recorded["main.precomputed_mask"].bool()
    with torch.no_grad():
        loss = model(recorded["main.source"].squeeze(1).float(), bool_masked_pos=masks).loss
    expected = json.loads((reference / "sslam" / "stage1_loss.json").read_text())["cases"]["main"]
    assert loss.item() == pytest.approx(expected["total_loss"] / expected["sample_size"], rel=1e-4)
    assert type(AutoFeatureExtractor.from_pretrained(tmp_path)) is SSLAMFeatureExtractor


def test_a_checkpoint_keeps_the_features_it_was_trained_on(reference, tmp_path):
    """The original fine-tunes on ESC-50 with other statistics and another clip length."""
    checkpoint = torch.load(reference / "sslam" / "finetuned.pt", weights_only=False)
    checkpoint["cfg"]["task"] |= {"esc50_eval": True, "target_length": 512}
    checkpoint["cfg"]["model"] |= {"esc50_eval": True}
    torch.save(checkpoint, tmp_path / "esc50.pt")
    assert convert([str(tmp_path / "esc50.pt"), "--output", str(tmp_path / "model")]) == 0
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "model")
    assert (extractor.mean, extractor.std, extractor.max_length) == (-6.627, 5.359, 512)
    assert AutoConfig.from_pretrained(tmp_path / "model").window_frames == 512
    assert AutoConfig.from_pretrained(tmp_path / "model").problem_type == "single_label_classification"


@pytest.mark.parametrize("kind", ["pretrained", "finetuned"])
def test_the_published_layout(reference, tmp_path, kind, capsys):
    published = reference / "hub_eat" / kind
    assert convert([str(published), "--output", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "sslam"
    assert AutoFeatureExtractor.from_pretrained(tmp_path).max_length == 256, "the length of the clips in training"
    golden = load_file(published / "golden.safetensors")
    auto_class = AutoModel if kind == "pretrained" else AutoModelForAudioClassification
    with torch.no_grad():
        answer = auto_class.from_pretrained(tmp_path)(golden["input"][:, 0])[0]
    torch.testing.assert_close(answer, golden["output"], atol=1e-5, rtol=0)


def audioset_folder(reference, folder: Path) -> Path:
    """The published classifier of the reference data, as one of 527 classes."""
    shutil.copytree(reference / "hub_eat" / "finetuned", folder)
    config = json.loads((folder / "config.json").read_text()) | {"num_classes": 527}
    weights = load_file(folder / "model.safetensors")
    weights |= {"model.head.weight": torch.randn(527, 48), "model.head.bias": torch.randn(527)}
    for name in ("config.json", "model.safetensors"):
        (folder / name).unlink()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_classifier_of_audioset_knows_its_class_names(reference, tmp_path, capsys):
    published = audioset_folder(reference, tmp_path / "published")
    assert convert([str(published), "--output", str(tmp_path / "native")]) == 0
    assert "527 classes: Speech, Male speech, man speaking," in capsys.readouterr().out
    config = AutoConfig.from_pretrained(tmp_path / "native")
    assert list(config.id2label.values()) == AUDIOSET_LABELS
    assert config.problem_type == "multi_label_classification"


def test_convert_from_python(reference, tmp_path, capsys):
    conversion = convert_checkpoint(reference / "sslam" / "pretrained.pt", tmp_path / "model", weights="teacher")
    assert (conversion.model_class, conversion.labels) == ("SSLAMModel", None)
    assert conversion.keys["model._ema.blocks.0.mlp.fc1.bias"] == "renamed to layers.0.mlp.fc1.bias"
    assert json.loads(conversion.report.read_text())["weights"] == "teacher"
    conversion = convert_checkpoint(reference / "hub_eat" / "finetuned", tmp_path / "published", labels=[*"abcdefghi"])
    assert (conversion.model_class, conversion.labels) == ("SSLAMForAudioClassification", [*"abcdefghi"])
    assert (conversion.keys, conversion.report) == ({}, None)
    assert AutoConfig.from_pretrained(tmp_path / "published").label2id["g"] == 6
    assert capsys.readouterr().out == ""


BAD_CONVERSIONS = {
    "labels of another number": (["FINETUNED", "--labels", "a", "b"], "7 classes, but 2 labels"),
    "labels of an encoder": (["FINETUNED", "--what", "encoder", "--labels", "a"], "`labels` does not apply"),
    "teacher of a classifier": (["FINETUNED", "--weights", "teacher"], "has no teacher"),
    "pre-training of a classifier": (["FINETUNED", "--what", "pretraining"], "has no decoder and no teacher"),
    "classifier of an encoder": (["HUB", "--what", "classifier"], "has no classifier"),
    "pre-training of an encoder": (["HUB", "--what", "pretraining"], "has no decoder"),
    "pre-training with the teacher": (
        ["PRETRAINED", "--what", "pretraining", "--weights", "teacher"],
        "takes student",
    ),
    "settings of another original": (["FINETUNED", "--original-config", "x.yaml"], "`original_config` does not apply"),
    "encoder of sam-carnatic": (["CARNATIC", "--what", "encoder"], "`what` does not apply"),
    "no such model": (["nowhere/at-all"], "nowhere/at-all is neither a model folder"),
    "no such file": (["nowhere/at-all.pt"], "nowhere/at-all.pt"),
    "a native model": (["NATIVE"], "a model of type 'sslam'. It must be"),
}


@pytest.mark.parametrize("name", BAD_CONVERSIONS)
def test_what_cannot_be_converted_says_why_in_one_line(reference, tmp_path, capsys, name):
    arguments, message = BAD_CONVERSIONS[name]
    SSLAMConfig().save_pretrained(tmp_path / "native")
    places = {
        "FINETUNED": reference / "sslam" / "finetuned.pt",
        "PRETRAINED": reference / "sslam" / "pretrained.pt",
        "HUB": reference / "hub_eat" / "pretrained",
        "CARNATIC": reference / "sam_audio" / "mel" / "best_model.pth",
        "NATIVE": tmp_path / "native",
    }
    arguments = [str(places.get(argument, argument)) for argument in arguments]
    assert convert([*arguments, "--output", str(tmp_path / "model")]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("polyaudio convert:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "model").exists()


class MakesAFolder:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.mkdir, (self.path,)


def test_a_malicious_checkpoint_is_refused(reference, tmp_path, capsys):
    checkpoint = torch.load(reference / "sslam" / "finetuned.pt", weights_only=False)
    torch.save(checkpoint | {"extra_state": MakesAFolder(tmp_path / "ran")}, tmp_path / "bad.pt")
    arguments = [str(tmp_path / "bad.pt"), "--output", str(tmp_path / "model")]
    assert convert(arguments) == 2
    assert "was refused" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
    with pytest.warns(UserWarning, match="any code in this file runs"):
        assert convert([*arguments, "--allow-pickle"]) == 0
    assert (tmp_path / "ran").exists(), "the user said so"


# predict ------------------------------------------------------------------------------------------


def test_predict_on_the_published_layout(reference, folder, tmp_path, capsys):
    """Multi-label, without a preprocessor_config.json, files of any length, batches as single files."""
    published = audioset_folder(reference, tmp_path / "published")
    long = tmp_path / "long.wav"
    soundfile.write(long, np.random.default_rng(0).standard_normal((11 * 44100, 2)) / 9, 44100)
    tick = tmp_path / "tick.wav"
    soundfile.write(tick, np.random.default_rng(1).standard_normal(838) / 9, 44100)
    arguments = [str(folder), str(long), str(tick), "--model", str(published), "--top-k", "527", "--json"]
    answers = []
    for batch_size in ("1", "5"):
        assert predict([*arguments, "--batch-size", batch_size]) == 0
        answers.append(labels_of(capsys))
    assert len(answers[0]) == 14
    assert list(answers[0])[-2:] == [str(long), str(tick)], "files come in the order they were named in"
    for file, scores in answers[0].items():
        assert answers[1][file] == pytest.approx(scores, abs=1e-4)

    model, extractor = AutoModelForAudioClassification.from_pretrained(published), SSLAMFeatureExtractor()
    waveform = load_audio(long, 16000)
    mean = torch.zeros(527)
    for start, stop in ((0, 512 * 160 + 240), (512 * 160, 1024 * 160 + 240), (1024 * 160, len(waveform))):
        inputs = extractor(waveform[start:stop], sampling_rate=16000, padding="longest", return_tensors="pt")
        with torch.no_grad():
            probabilities = model(**inputs).logits[0].sigmoid()
        mean += probabilities * (min(stop, len(waveform)) - start) / (len(waveform) + 2 * 240)
    assert [answers[0][str(long)][label] for label in AUDIOSET_LABELS] == pytest.approx(mean.tolist(), abs=1e-4)

    assert predict([str(long), "--model", str(published), "--window", "6"]) == 2
    assert "reads at most 5.12 s" in capsys.readouterr().err


# train --------------------------------------------------------------------------------------------


RECIPE = """
model:
  model_type: sslam
  hidden_size: 32
  num_hidden_layers: 2
  num_attention_heads: 2
  intermediate_size: 64
  max_time_patches: 16
data: {test_size: 0.3, crop_seconds: 0.8}
training: {num_train_epochs: 2, per_device_train_batch_size: 4, learning_rate: 1.0e-3, disable_tqdm: true}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def trained(folder, recipe, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("model")
    assert train(["--config", str(recipe), "--dataset", str(folder), "--output-dir", str(output)]) == 0
    return output


def test_training_from_scratch(trained, folder, capsys, tmp_path):
    model = AutoModelForAudioClassification.from_pretrained(trained)
    assert type(model) is SSLAMForAudioClassification
    assert list(model.config.id2label.values()) == ["high", "low"]
    extractor = AutoFeatureExtractor.from_pretrained(trained)
    assert extractor.max_length == 80, "the length of the crops"
    assert extractor.return_attention_mask

    assert evaluate([str(trained), "--dataset", str(folder), "--output", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "evaluation.json").read_text())["clips"]["count"] == 12
    assert embed([str(folder), "--model", str(trained), "--granularity", "frame", "--output", str(tmp_path)]) == 0
    capsys.readouterr()
    assert predict([str(folder), "--model", str(trained), "--json"]) == 0
    scores = labels_of(capsys)
    assert len(scores) == 12
    classify = pipeline("audio-classification", model=str(trained))
    files = [file for file in scores if soundfile.info(file).duration < 0.8]
    assert len(files) > 2
    for file in files:
        answers = classify({"array": load_audio(file, 16000), "sampling_rate": 16000})
        assert {one["label"]: one["score"] for one in answers} == pytest.approx(scores[file], abs=1e-4)


@pytest.mark.parametrize("kind", ["native", "published", "encoder"])
def test_training_from_a_checkpoint(reference, trained, folder, recipe, tmp_path, kind):
    """The checkpoint, not the recipe, says what the model is; its classifier is replaced, its encoder kept."""
    if kind == "native":
        start, width = trained, 32
    elif kind == "published":
        start, width = audioset_folder(reference, tmp_path / "published"), 48
    else:
        start, width = tmp_path / "encoder", 64
        SSLAMModel(
            SSLAMConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
        ).save_pretrained(start)
    arguments = ["--config", str(recipe), "--dataset", str(folder), "--output-dir", str(tmp_path / "model")]
    # Steps of no length, so that the weights show where they come from
    arguments += ["--model-name-or-path", str(start), "--epochs", "1", "--lr", "0"]
    assert train(arguments) == 0
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "model")
    assert (model.config.hidden_size, model.config.num_labels) == (width, 2)
    assert model.config.problem_type == "single_label_classification"
    expected = AutoModel.from_pretrained(start).state_dict()
    assert all(torch.equal(weight, expected[name]) for name, weight in model.sslam.state_dict().items())
    assert AutoFeatureExtractor.from_pretrained(tmp_path / "model").max_length == 80


def test_lora(trained, folder, recipe, tmp_path):
    arguments = ["--config", str(recipe), "--dataset", str(folder), "--output-dir", str(tmp_path), "--epochs", "1"]
    assert train([*arguments, "--model-name-or-path", str(trained), "--lora"]) == 0
    assert predict([str(folder / "low" / "0.wav"), "--model", str(tmp_path)]) == 0


def test_crops_beyond_the_position_table_are_refused(folder, recipe, tmp_path, capsys):
    arguments = ["--config", str(recipe), "--dataset", str(folder), "--output-dir", str(tmp_path)]
    assert train([*arguments, "--crop-seconds", "3"]) == 2
    assert "19 time patches of 16 frames, but the model has positions for 16 only" in capsys.readouterr().err


def test_the_recipe_of_a_small_sslam(folder, tmp_path):
    arguments = [
        "--config",
        "sslam_small",
        "--dataset",
        str(folder),
        "--output-dir",
        str(tmp_path),
        "--max-steps",
        "1",
    ]
    assert (
        train([*arguments, "--warmup-epochs", "0", "--save-strategy", "no", "--load-best-model-at-end", "false"]) == 0
    )
    assert AutoConfig.from_pretrained(tmp_path).hidden_size == 192
    assert AutoFeatureExtractor.from_pretrained(tmp_path).max_length == 512
