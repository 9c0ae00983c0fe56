"""The command line from a dataset to a model that pipeline loads, run as a user runs it."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline

from polyaudio.scripts.evaluate import main as evaluate
from polyaudio.scripts.predict import main as predict
from polyaudio.scripts.train import main as train
from prepared_python import python


RATE = 22050
TONES = {"low": 200.0, "middle": 600.0, "high": 1800.0}
RECIPE = """
model:
  model_type: sam_audio
  conv_dim: [16, 32]
  conv_kernel: [3, 3]
  conv_stride: [4, 4]
  num_segments: 4
  num_attention_heads: 4
  projection_dim: 8
data:
  test_size: 0.25
  crop_seconds: 0.5
augmentation:
  pitch_shift: 0.5
training:
  num_train_epochs: 8
  per_device_train_batch_size: 8
  learning_rate: 5.0e-3
  warmup_epochs: 1
  dataloader_num_workers: 0
  disable_tqdm: true
"""


def tone(name: str, seed: int) -> np.ndarray:
    # Noise of its own for each: clips that share it are found out as copies
    rng = np.random.default_rng([seed, *name.encode()])
    time = np.arange(int(rng.uniform(0.4, 1.2) * RATE)) / RATE
    return 0.2 * np.sin(2 * np.pi * TONES[name] * rng.uniform(0.9, 1.1) * time) + 0.01 * rng.standard_normal(len(time))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three classes of tones, eight recordings each."""
    folder = tmp_path_factory.mktemp("tones")
    for name in TONES:
        (folder / name).mkdir()
        for seed in range(8):
            soundfile.write(folder / name / f"{seed}.wav", tone(name, seed), RATE)
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tones.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def trained(folder, recipe, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("model")
    assert train(["--config", str(recipe), "--dataset", str(folder), "--output-dir", str(output)]) == 0
    return output


def test_training_leaves_a_complete_model_that_learned(trained):
    files = {path.name for path in trained.iterdir()}
    assert files >= {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "README.md",
        "evaluation.json",
        "confusion_matrix.json",
        "confusion_matrix.png",
        "losses.png",
    }
    result = json.loads((trained / "evaluation.json").read_text())
    assert result["labels"] == ["high", "low", "middle"]
    assert result["clips"]["accuracy"] >= 0.8
    card = (trained / "README.md").read_text()
    assert "pipeline_tag: audio-classification" in card
    assert "none of which is in the training set" in card


def test_every_term_of_the_loss_is_logged(trained):
    history = json.loads((trained / "trainer_state.json").read_text())["log_history"]
    steps = [entry for entry in history if "loss" in entry]
    assert len(steps) == 8
    for entry in steps:
        total = entry["classification_loss"] + 0.5 * entry["masked_segment_loss"] + 0.3 * entry["contrastive_loss"]
        assert entry["loss"] == pytest.approx(total, rel=1e-3)
    assert steps[-1]["classification_loss"] < steps[0]["classification_loss"]


@pytest.mark.slow
def test_pipeline_in_a_new_process(trained, folder):
    code = f"""
import soundfile, polyaudio
from transformers import pipeline
classify = pipeline("audio-classification", model={str(trained)!r})
for name in ("low", "high"):
    waveform, rate = soundfile.read({str(folder)!r} + f"/{{name}}/1.wav", dtype="float32")
    print(classify({{"array": waveform, "sampling_rate": rate}})[0]["label"])
"""
    result = subprocess.run([python("torch"), "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["low", "high"]
    assert "not supported" not in result.stderr


def test_pipeline_batches_equal_single_calls(trained, folder):
    classify = pipeline("audio-classification", model=str(trained), top_k=None)
    rate = classify.feature_extractor.sampling_rate
    clips = [np.asarray(tone(name, seed), dtype=np.float32) for name in TONES for seed in range(2)]
    inputs = [{"array": clip, "sampling_rate": rate} for clip in clips]
    batched = classify([dict(one) for one in inputs], batch_size=3)
    for one, expected in zip(inputs, batched, strict=True):
        for alone, together in zip(classify(dict(one)), expected, strict=True):
            assert alone["label"] == together["label"]
            assert alone["score"] == pytest.approx(together["score"], abs=1e-4)


def test_evaluate_gives_what_training_reported(trained, folder, tmp_path, capsys):
    data = tmp_path / "held-out"
    shutil.copytree(folder, data)
    assert evaluate([str(trained), "--dataset", str(data), "--output", str(tmp_path / "report")]) == 0
    assert "accuracy" in capsys.readouterr().out
    report = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert report["clips"]["count"] == 24
    assert report["clips"]["accuracy"] > 0.8
    (data / "unheard").mkdir()
    shutil.copy(folder / "low" / "0.wav", data / "unheard")
    assert evaluate([str(trained), "--dataset", str(data)]) == 2
    assert "does not know the labels unheard" in capsys.readouterr().err


def test_predict(trained, folder, tmp_path, capsys):
    files = [str(folder / "low" / "0.wav"), str(folder / "high" / "1.wav")]
    assert predict([*files, "--model", str(trained), "--json", "--top-k", "2"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert [entry["file"] for entry in output] == files
    assert [entry["labels"][0]["label"] for entry in output] == ["low", "high"]
    assert [len(entry["labels"]) for entry in output] == [2, 2]

    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no audio")
    assert predict([str(broken), *files, "--model", str(trained)]) == 1
    captured = capsys.readouterr()
    assert "high" in captured.out
    assert str(broken) in captured.err
    assert "1 of 3 files could not be read" in captured.err


def test_resumed_training_equals_uninterrupted_training(folder, recipe, tmp_path):
    """From the middle of an epoch, with random crops, pitch shifts, dropout and hidden frames."""
    arguments = ["--config", str(recipe), "--dataset", str(folder), "--epochs", "4"]
    arguments += ["--save-strategy", "steps", "--eval-strategy", "steps", "--save-steps", "4", "--eval-steps", "4"]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert train([*arguments, "--output-dir", str(whole), "--save-total-limit", "9"]) == 0
    assert {path.name for path in whole.glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-8", "checkpoint-12"}
    resumed.mkdir()
    shutil.copytree(whole / "checkpoint-4", resumed / "checkpoint-4")  # in the second of four epochs of 3 steps
    assert train([*arguments, "--output-dir", str(resumed), "--save-total-limit", "9", "--resume"]) == 0
    for name in ("checkpoint-8/model.safetensors", "checkpoint-12/model.safetensors"):
        one, other = load_file(whole / name), load_file(resumed / name)
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_workers_change_nothing(folder, recipe, tmp_path):
    weights = []
    for workers in ("0", "2"):
        output = tmp_path / workers
        arguments = ["--config", str(recipe), "--dataset", str(folder), "--output-dir", str(output), "--epochs", "2"]
        assert train([*arguments, "--dataloader-num-workers", workers]) == 0
        weights.append(load_file(output / "model.safetensors"))
    for name, one in weights[0].items():
        torch.testing.assert_close(one, weights[1][name], atol=1e-4, rtol=1e-3)


def test_lora(trained, folder, recipe, tmp_path):
    output = tmp_path / "adapter"
    arguments = ["--config", str(recipe), "--dataset", str(folder), "--output-dir", str(output), "--epochs", "3"]
    assert train([*arguments, "--model-name-or-path", str(trained), "--lora", "--lora-rank", "4"]) == 0
    assert (output / "adapter_config.json").is_file()
    assert not (output / "model.safetensors").exists(), "the base is named, not copied"

    from peft import PeftModel

    waveform = np.asarray(tone("middle", 3), dtype=np.float32)
    features = AutoFeatureExtractor.from_pretrained(output)(waveform, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        before = AutoModelForAudioClassification.from_pretrained(trained)(**features).logits
        reloaded = AutoModelForAudioClassification.from_pretrained(output).eval()(**features).logits
        adapted = PeftModel.from_pretrained(AutoModelForAudioClassification.from_pretrained(trained), output).eval()
        torch.testing.assert_close(adapted(**features).logits, reloaded, atol=1e-5, rtol=1e-5)
        merged = adapted.merge_and_unload()(**features).logits
    torch.testing.assert_close(merged, reloaded, atol=1e-5, rtol=1e-5)
    assert (before - reloaded).abs().max() > 1e-3
    answers = pipeline("audio-classification", model=str(output))({"array": waveform, "sampling_rate": 16000})
    assert len(answers) == 3


@pytest.mark.slow
def test_two_processes_train_together(folder, recipe, tmp_path):
    command = [python(), "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--mixed_precision", "no", "--num_machines", "1", "--dynamo_backend", "no", "--main_process_port", "0"]
    command += ["-m", "polyaudio.scripts.train", "--config", str(recipe), "--dataset", str(folder)]
    command += ["--output-dir", str(tmp_path), "--batch-size", "4", "--use-cpu"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHON_EXEC": python()}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    assert evaluation["clips"]["count"] == 6
    assert evaluation["clips"]["accuracy"] >= 0.8
    state = json.loads((tmp_path / "trainer_state.json").read_text())
    assert state["max_steps"] == 8 * 3  # 18 clips, 4 a process and step


BAD_RUNS = {
    "no data": ([], "There is no dataset: name a folder"),
    "no such data": (["--dataset", "nowhere/at-all"], "nowhere/at-all"),
    "no such recipe": (["--config", "tabla"], "There is no recipe 'tabla'"),
    "no such flag": (["--dataset", "FOLDER", "--learning-rat", "1"], "--learning-rat"),
    "no checkpoint to resume": (["--dataset", "FOLDER", "--resume"], "no checkpoint"),
    "no such column": (["--dataset", "FOLDER", "--label-column", "genre"], "no column 'genre'"),
    "a negative warm-up": (["--dataset", "FOLDER", "--warmup-epochs", "-1"], "warmup_epochs"),
    "label smoothing in the wrong place": (
        ["--dataset", "FOLDER", "--label-smoothing-factor", "0.1"],
        "label_smoothing",
    ),
}


@pytest.mark.parametrize("name", BAD_RUNS)
def test_runs_that_cannot_start_say_why_in_one_line(name, folder, tmp_path, capsys):
    arguments, message = BAD_RUNS[name]
    arguments = [str(folder) if argument == "FOLDER" else argument for argument in arguments]
    assert train([*arguments, "--output-dir", str(tmp_path)]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("polyaudio train:")]
    assert len(errors) == 1
    assert message in errors[0]


def test_recipes_with_unknown_settings_are_refused(folder, tmp_path, capsys):
    for text, message in (
        ("training: {learning_rat: 1.0}", "Did you mean 'learning_rate'"),
        ("trainig: {learning_rate: 1.0}", "Did you mean 'training'"),
        ("model: {num_segmnts: 3}", "num_segmnts"),
        ("just words", "not a recipe"),
        ("a: [", "not valid YAML"),
    ):
        (tmp_path / "recipe.yaml").write_text(text)
        assert train(["--config", str(tmp_path / "recipe.yaml"), "--dataset", str(folder)]) == 2
        assert message in capsys.readouterr().err


def test_unreadable_clips_are_named_and_left_out(folder, recipe, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    (data / "low" / "cut.wav").write_bytes((data / "low" / "0.wav").read_bytes()[:300])
    (data / "high" / "empty.flac").write_bytes(b"")
    output = tmp_path / "model"
    assert train(["--config", str(recipe), "--dataset", str(data), "--output-dir", str(output), "--epochs", "2"]) == 0
    errors = capsys.readouterr().err
    assert "2 clips cannot be read" in errors
    assert "cut.wav" in errors
    assert "empty.flac" in errors
