"""`polyaudio train`: several classes a clip, events, folds, seeds, frozen encoders, leaks and signals."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from transformers import AutoModelForAudioClassification, AutoModelForAudioFrameClassification, pipeline

from builders import write_table
from polyaudio.scripts.evaluate import main as evaluate
from polyaudio.scripts.train import main as train


RATE = 16000
TONES = {"low": 200.0, "middle": 700.0, "high": 2500.0}
RECIPE = """
model:
  model_type: sslam
  hidden_size: 48
  num_hidden_layers: 2
  num_attention_heads: 4
  intermediate_size: 96
  max_time_patches: 32
  prediction_mode: mean_pooling
data:
  test_size: 0.25
training:
  num_train_epochs: 12
  per_device_train_batch_size: 8
  learning_rate: 3.0e-3
  warmup_epochs: 1
  lr_scheduler_type: cosine
  dataloader_num_workers: 0
  disable_tqdm: true
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(RECIPE)
    return path


def burst(name: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return 0.2 * np.sin(2 * np.pi * TONES[name] * rng.uniform(0.95, 1.05) * time + rng.uniform(0, 6))


def soundscape(seed: int) -> tuple[np.ndarray, list[tuple[float, float, str]]]:
    """Two to four seconds with zero to three tones, and when each of them sounds."""
    rng = np.random.default_rng(seed)
    waveform = 0.003 * rng.standard_normal(round(rng.uniform(2, 4) * RATE))
    events = []
    for name in TONES:
        if rng.random() < 0.5:
            seconds = rng.uniform(0.6, 1.5)
            onset = rng.uniform(0, len(waveform) / RATE - seconds)
            sound = burst(name, seconds, rng)
            start = round(onset * RATE)
            waveform[start : start + len(sound)] += sound
            events.append((start / RATE, (start + len(sound)) / RATE, name))
    return waveform, events


@pytest.fixture(scope="module")
def soundscapes(tmp_path_factory) -> dict[str, Path]:
    """The same clips with their labels written in three ways."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in ("separator", "columns", "events")}
    tables = {kind: [] for kind in folders}
    for seed in range(40):
        waveform, events = soundscape(seed)
        file = f"{seed}.wav"
        for folder in folders.values():
            soundfile.write(folder / file, waveform, RATE)
        names = {name for _, _, name in events}
        tables["separator"].append({"file_name": file, "label": "; ".join(sorted(names))})
        tables["columns"].append({"file_name": file, **{name: int(name in names) for name in TONES}})
        tables["events"] += [
            {"file_name": file, "onset": onset, "offset": offset, "label": name} for onset, offset, name in events
        ] or [{"file_name": file, "onset": "", "offset": "", "label": ""}]
    for kind, folder in folders.items():
        write_table(folder / "metadata.csv", tables[kind])
    return folders


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    """Three classes of tones, six recordings each."""
    folder = tmp_path_factory.mktemp("tones")
    for number, name in enumerate(TONES):
        (folder / name).mkdir()
        for seed in range(6):
            rng = np.random.default_rng([number, seed])
            waveform = burst(name, rng.uniform(0.5, 1.0), rng)
            soundfile.write(folder / name / f"{seed}.wav", waveform + 0.01 * rng.standard_normal(len(waveform)), RATE)
    return folder


def run(recipe, folder, output, *flags) -> dict:
    assert train(["--config", str(recipe), "--dataset", str(folder), "--output-dir", str(output), *flags]) == 0
    return json.loads((Path(output) / "evaluation.json").read_text())


def refused(recipe, folder, output, *flags, capsys) -> str:
    capsys.readouterr()
    assert train(["--config", str(recipe), "--dataset", str(folder), "--output-dir", str(output), *flags]) == 2
    return capsys.readouterr().err


@pytest.mark.slow
def test_several_classes_a_clip(recipe, soundscapes, tmp_path):
    result = run(recipe, soundscapes["separator"], tmp_path / "a", "--label-separator", ";")
    assert result["task"] == "multi_label_classification"
    assert result["labels"] == sorted(TONES)
    assert result["clips"]["map"] > 0.8
    low, high = result["clips"]["intervals"]["map"]
    assert low <= result["clips"]["map"] <= high
    model = AutoModelForAudioClassification.from_pretrained(tmp_path / "a")
    assert model.config.problem_type == "multi_label_classification"
    state = json.loads((tmp_path / "a" / "trainer_state.json").read_text())
    assert state["best_metric"] == max(entry["eval_map"] for entry in state["log_history"] if "eval_map" in entry)

    other = run(recipe, soundscapes["columns"], tmp_path / "b", "--label-columns", *sorted(TONES))
    assert other["clips"] == result["clips"]

    assert (tmp_path / "a" / "precision_recall.png").is_file()
    card = (tmp_path / "a" / "README.md").read_text()
    assert "a search for copies found no audio" in card
    waveform, events = soundscape(3)
    heard = {name for _, _, name in events}
    scores = {
        answer["label"]: answer["score"]
        for answer in pipeline("audio-classification", model=str(tmp_path / "a"))(
            {"array": waveform.astype(np.float32), "sampling_rate": RATE}
        )
    }
    assert heard
    assert sorted(scores, key=scores.get, reverse=True)[: len(heard)] == sorted(heard, key=scores.get, reverse=True)

    output = tmp_path / "report"
    flags = ["--dataset", str(soundscapes["separator"]), "--label-separator", ";", "--output", str(output)]
    assert evaluate([str(tmp_path / "a"), *flags]) == 0
    assert json.loads((output / "evaluation.json").read_text())["clips"]["count"] == 40


@pytest.mark.slow
def test_the_mixed_losses_of_the_original(recipe, soundscapes, tmp_path):
    text = recipe.read_text().replace("model:\n", "model:\n  multi_label_reduction: labels\n", 1)
    (tmp_path / "mixed.yaml").write_text(text)
    flags = ["--label-separator", ";", "--mixup", "0.8", "--mixup-probability", "0.9", "--frequency-mask", "0.2"]
    flags += ["--time-mask", "0.2", "--roll-and-gain", "--drop-path-rate", "0.1", "--balanced-samples", "24"]
    result = run(tmp_path / "mixed.yaml", soundscapes["separator"], tmp_path / "a", *flags, "--ema-decay", "0.9")
    assert result["clips"]["map"] > 0.7
    state = json.loads((tmp_path / "a" / "trainer_state.json").read_text())
    assert state["max_steps"] == 12 * 3  # 24 clips an epoch
    assert json.loads((tmp_path / "a" / "config.json").read_text())["drop_path_rate"] == 0.1


@pytest.mark.slow
def test_events(recipe, soundscapes, tmp_path, capsys):
    flags = ["--crop-seconds", "2", "--epochs", "25", "--batch-size", "4"]
    result = run(recipe, soundscapes["events"], tmp_path / "a", *flags)
    assert result["task"] == "frame_classification"
    assert result["clips"]["frame_map"] > 0.6
    model = AutoModelForAudioFrameClassification.from_pretrained(tmp_path / "a").eval()
    assert sorted(model.config.id2label.values()) == sorted(TONES)
    assert (tmp_path / "a" / "timeline_0.png").is_file()

    output = tmp_path / "report"
    assert evaluate([str(tmp_path / "a"), "--dataset", str(soundscapes["events"]), "--output", str(output)]) == 0
    report = json.loads((output / "evaluation.json").read_text())
    assert report["clips"]["count"] == 40
    assert report["clips"]["frame_map"] > 0.6

    assert "moves sounds" in refused(recipe, soundscapes["events"], tmp_path / "b", "--roll-and-gain", capsys=capsys)
    sam_audio = ["--config", "default", "--dataset", str(soundscapes["events"]), "--output-dir", str(tmp_path / "c")]
    assert train(sam_audio) == 2
    assert "no frame classifier" in capsys.readouterr().err


@pytest.mark.slow
def test_folds_and_seeds(recipe, tones, tmp_path, capsys):
    flags = ["--folds", "3", "--seeds", "1", "2", "--epochs", "3", "--max-steps", "4"]
    assert train(["--config", str(recipe), "--dataset", str(tones), "--output-dir", str(tmp_path), *flags]) == 0
    output = capsys.readouterr().out
    summary = json.loads((tmp_path / "summary.json").read_text())
    names = [f"fold-{fold}/seed-{seed}" for fold in range(3) for seed in (1, 2)]
    results = [json.loads((tmp_path / name / "evaluation.json").read_text()) for name in names]
    accuracies = [result["clips"]["accuracy"] for result in results]
    assert summary["clips"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert summary["clips"]["accuracy"]["std"] == pytest.approx(np.std(accuracies, ddof=1))
    assert sum(result["clips"]["count"] for result in results) == 2 * 18  # each recording once a seed
    assert "nothing was chosen on the held-out clips" in (tmp_path / "fold-0/seed-1/README.md").read_text()
    assert "±" in output

    weights = tmp_path / "fold-0" / "seed-1" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    (tmp_path / "fold-2" / "seed-2" / "evaluation.json").unlink()
    assert (
        train([*["--config", str(recipe), "--dataset", str(tones), "--output-dir", str(tmp_path), *flags], "--resume"])
        == 0
    )
    assert weights.stat().st_mtime_ns == before, "what is finished is not trained again"
    assert json.loads((tmp_path / "summary.json").read_text())["clips"] == summary["clips"]


@pytest.mark.slow
def test_folds_of_the_data(recipe, tones, tmp_path, capsys):
    rows = [
        {"file_name": str(path.relative_to(tones)), "label": path.parent.name, "fold": int(path.stem) % 3 + 1}
        for path in sorted(tones.rglob("*.wav"))
    ]
    write_table(tones / "metadata.csv", rows)
    try:
        flags = ["--fold-column", "fold", "--max-steps", "2"]
        assert train(["--config", str(recipe), "--dataset", str(tones), "--output-dir", str(tmp_path), *flags]) == 0
        assert json.loads((tmp_path / "summary.json").read_text())["clips"]["count"]["mean"] == 6
        assert "Leave out either folds" in refused(
            recipe, tones, tmp_path / "b", *flags, "--folds", "2", capsys=capsys
        )
    finally:
        (tones / "metadata.csv").unlink()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["fold-1", "fold-2", "fold-3"]


@pytest.mark.slow
def test_a_frozen_encoder(recipe, tones, tmp_path, capsys):
    run(recipe, tones, tmp_path / "whole", "--max-steps", "10")
    base = ["--model-name-or-path", str(tmp_path / "whole")]
    cached = run(recipe, tones, tmp_path / "cached", *base, "--freeze-encoder", "--lr", "1e-2")
    assert "Trainable parameters" in capsys.readouterr().out
    augmented = run(
        recipe, tones, tmp_path / "augmented", *base, "--freeze-encoder", "--lr", "1e-2", "--random-gain", "3"
    )
    before = load_file(tmp_path / "whole" / "model.safetensors")
    for name, result in (("cached", cached), ("augmented", augmented)):
        after = load_file(tmp_path / name / "model.safetensors")
        assert before.keys() == after.keys()
        changed = {key for key in before if not torch.equal(before[key], after[key])}
        assert changed == {"classifier.weight", "classifier.bias", "fc_norm.weight", "fc_norm.bias"}
        assert result["clips"]["accuracy"] >= 0.5
        assert (tmp_path / name / "preprocessor_config.json").is_file()
    message = refused(recipe, tones, tmp_path / "b", "--freeze-encoder", "--lora", capsys=capsys)
    assert "Leave out lora (--lora) or freeze_encoder" in message


@pytest.mark.slow
def test_a_leak_is_refused_and_can_be_allowed(recipe, tones, tmp_path, capsys):
    folder = tmp_path / "data"
    for number, path in enumerate(sorted(tones.rglob("*.wav"))):
        waveform, rate = soundfile.read(path)
        target = folder / path.parent.name
        target.mkdir(parents=True, exist_ok=True)
        soundfile.write(target / f"{number}.wav", waveform, rate)
        soundfile.write(target / f"{number + 100}.wav", 0.5 * waveform, rate)
    message = refused(recipe, folder, tmp_path / "a", "--max-steps", "2", capsys=capsys)
    assert "share audio" in message
    assert str(folder) in message
    run(recipe, folder, tmp_path / "b", "--max-steps", "2", "--allow-leak")
    assert "LEAK ALLOWED" in (tmp_path / "b" / "README.md").read_text()
    run(recipe, folder, tmp_path / "c", "--max-steps", "2", "--infer-groups")
    assert "a search for copies found no audio" in (tmp_path / "c" / "README.md").read_text()
    assert "18 recordings inferred from the audio of 36 clips" in capsys.readouterr().out
    run(recipe, folder, tmp_path / "d", "--max-steps", "2", "--skip-leak-check")
    assert "Not checked" in (tmp_path / "d" / "README.md").read_text()


def test_what_allow_leak_allows(recipe, tones, tmp_path, capsys):
    """Recordings on both sides, which the card then tells, but no test of a class that training does not know."""
    folder = tmp_path / "data"
    for path in sorted(tones.rglob("*.wav")):
        part = "test" if path.stem == "0" else "train"
        target = folder / part / path.parent.name
        target.mkdir(parents=True, exist_ok=True)
        waveform, rate = soundfile.read(path)
        soundfile.write(target / f"take{int(path.stem) // 2}_chunk{path.stem}.wav", waveform, rate)
    flags = ["--max-steps", "2", "--test-size", "0.4"]
    assert "same recording are in training and in evaluation" in refused(
        recipe, folder, tmp_path / "a", *flags, capsys=capsys
    )
    run(recipe, folder, tmp_path / "b", *flags, "--allow-leak")
    card = (tmp_path / "b" / "README.md").read_text()
    assert "LEAK ALLOWED: recordings with clips both in training and held out: " in card
    (folder / "test" / "low").rename(folder / "test" / "unknown")
    message = refused(recipe, folder, tmp_path / "c", *flags, "--allow-leak", capsys=capsys)
    assert "classes that training does not know: unknown" in message or "No training clip has the classes" in message


SIX_EPOCHS = ["--crop-seconds", "0.4", "--epochs", "6", "--seed", "3"]


@pytest.fixture(scope="module")
def whole_run(recipe, tones, tmp_path_factory):
    """The folder and the evaluation of a run of six epochs that nothing stops."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(recipe, tones, folder, *SIX_EPOCHS)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_loses_nothing(recipe, tones, whole_run, run_with_signal, tmp_path, number):
    """In the middle of the third of six epochs of two steps."""
    whole, expected = whole_run
    stopped = tmp_path / "stopped"
    flags = ["--config", recipe, "--dataset", tones, "--output-dir", stopped, *SIX_EPOCHS]
    process = run_with_signal(number, 5, "polyaudio.scripts.train", *flags)
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 130, process.stderr
        assert f"{number.name} stopped the run at step 5" in process.stderr
        assert "with resume (--resume)" in process.stderr
    assert not (stopped / "evaluation.json").exists()
    result = run(recipe, tones, stopped, *SIX_EPOCHS, "--resume")
    assert result == expected
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, stopped))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert os.path.isfile(stopped / "README.md")
