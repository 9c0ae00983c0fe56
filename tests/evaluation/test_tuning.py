# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`tune_events` and its command: a folder gets the rules, and `evaluate` and `predict` follow them."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import soundfile
import torch

from builders import RATE, SSLAM, TONES, write_events, write_tones
from polyaudio import (
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioFrameClassification,
    annotate,
    evaluate,
    predict,
    tune_events,
)
from polyaudio.data.event_rules import EventRules
from polyaudio.data.events import Event
from polyaudio.evaluation.event_tuning import event_counts, f1_of_counts
from polyaudio.scripts.__main__ import main


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for seed, (split, number) in enumerate({"train": 8, "validation": 6, "test": 4}.items()):
        write_events(folder / split, number, seed)
    return folder


@pytest.fixture(scope="module")
def trained(clips, tmp_path_factory) -> Path:
    """A linear head on a random encoder, by least squares, whose probabilities are far too low."""
    torch.manual_seed(0)
    labels = {"id2label": {0: "high", 1: "low"}, "label2id": {"high": 0, "low": 1}}
    sizes = {**SSLAM, "max_time_patches": 64}
    config = SSLAMConfig(**sizes, **labels, problem_type="multi_label_classification", use_fc_norm=False)
    model = SSLAMForAudioFrameClassification(config).eval()
    extractor = SSLAMFeatureExtractor(max_length=1024)
    features, targets = [], []
    rows = [line.split(",") for line in (clips / "train" / "metadata.csv").read_text().splitlines()[1:]]
    for index in range(8):
        waveform, _ = soundfile.read(clips / "train" / f"{index}.wav", dtype="float32")
        inputs = extractor(waveform, sampling_rate=RATE, padding=True, return_tensors="pt")["input_values"]
        with torch.no_grad():
            features.append(model.pool(model.sslam(inputs).last_hidden_state)[0])
        middles = (torch.arange(len(features[-1])) + 0.5) * 0.16
        own = [(float(row[1]), float(row[2]), row[3]) for row in rows if row[0] == f"{index}.wav"]
        targets.append(
            torch.stack(
                [sum((middles > on) & (middles < off) for on, off, n in own if n == name) for name in TONES], 1
            )
        )
    inputs, wanted = torch.cat(features), torch.cat(targets).float()
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
    solution = torch.linalg.lstsq(inputs, 8 * wanted - 10).solution
    model.classifier.weight.data, model.classifier.bias.data = solution[:-1].T.contiguous(), solution[-1]
    folder = tmp_path_factory.mktemp("trained")
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "model"))


def settings_of(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def test_the_command_writes_the_rules_into_the_configuration(clips, folder, capsys):
    before, files = settings_of(folder), sorted(folder.iterdir())
    assert main(["tune-events", str(folder), "--dataset", str(clips)]) == 0
    printed = capsys.readouterr().out
    assert f"The rules are in the config.json of {folder}" in printed
    assert sorted(folder.iterdir()) == files
    after = settings_of(folder)
    rules = EventRules(**after["event_rules"])
    assert after | {"event_rules": None} == before
    assert max(rules.of_labels("threshold", 2)) < 0.5

    tuning = tune_events(folder, clips)
    assert tuning.rules == rules
    assert tuning.labels == ["high", "low"]
    assert tuning.before == tuning.after  # the folder had these rules already
    assert tuning.after["event_f1_macro"] > 0.5
    rows = [line.split() for line in printed.splitlines()]
    assert ["event", "macro", "F1", "0.0000", f"{tuning.after['event_f1_macro']:.4f}"] in rows
    for label, scores in tuning.after.per_class.items():
        assert [label, "0.0000", f"{scores['event_f1']:.4f}"] in [row[:3] for row in rows]

    heard = predict(clips / "test", str(folder))
    assert {event.label for one in heard for event in one.events} == set(TONES)
    assert not any(one.events for one in predict(clips / "test", str(folder), threshold=0.5))


def test_a_model_in_memory_gets_the_rules(clips, folder):
    model = SSLAMForAudioFrameClassification.from_pretrained(folder)
    tuning = tune_events(model, clips, split="validation")
    assert model.config.event_rules == tuning.rules.to_dict()
    assert tuning.before["event_f1_macro"] < tuning.after["event_f1_macro"]
    assert settings_of(folder)["event_rules"] is None
    assert tune_events(folder, clips).rules == tuning.rules


@pytest.mark.skipif(
    importlib.util.find_spec("sed_scores_eval") is None,
    reason="sed_scores_eval is not installed, as it needs a C++ compiler: pip install polyaudio[sound-events]",
)
def test_evaluate_follows_the_rules(clips, folder):
    assert evaluate(folder, clips, split="validation").clips["event_f1_macro"] == 0.0
    tuning = tune_events(folder, clips)
    scores = evaluate(folder, clips, split="validation").clips
    for name in ("event_f1_macro", "event_f1_micro", "references", "count"):
        assert scores[name] == pytest.approx(tuning.after[name])
    assert evaluate(folder, clips, split="test").clips["event_f1_macro"] > 0.4


@pytest.mark.parametrize("resolution", [None, 0.04])
def test_the_rules_are_scored_on_the_timeline_of_annotate(clips, folder, resolution):
    tuning = tune_events(folder, clips, resolution=resolution)
    found = list(annotate(clips / "validation", str(folder), resolution=resolution))
    rows = [line.split(",") for line in (clips / "validation" / "metadata.csv").read_text().splitlines()[1:]]
    number = tuning.labels.index
    references = {
        one.file: [Event(float(on), float(off), number(label)) for name, on, off, label in rows if name in one.file]
        for one in found
    }
    events = {one.file: [Event(own.onset, own.offset, number(own.label)) for own in one.events] for one in found}
    f1 = f1_of_counts(event_counts(events, references, len(tuning.labels)))
    assert f1.mean() == pytest.approx(tuning.after["event_f1_macro"])


def test_what_cannot_be_tuned(clips, folder, tmp_path, capsys):
    assert main(["tune-events", "someone/model", "--dataset", str(clips)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("polyaudio tune-events: ")
    assert "hf download" in printed
    with pytest.raises(ValueError, match="has the splits test, train, validation"):
        tune_events(folder, clips, split="dev")
    tones = write_tones(tmp_path / "tones" / "validation", TONES, 2).parent
    with pytest.raises(ValueError, match="has no events"):
        tune_events(folder, tones)
    assert settings_of(folder)["event_rules"] is None
