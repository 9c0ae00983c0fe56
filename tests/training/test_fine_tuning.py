# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`fine_tune` and `cross_validate` from Python: what they take, what they return, and the command's numbers."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from datasets import DatasetDict
from safetensors.torch import load_file
from transformers import AutoModelForAudioClassification, TrainingArguments

from builders import SAM_AUDIO, SSLAM, TONES, dataset_in_memory, write_events, write_tones
from polyaudio import (
    AudioTrainingArguments,
    AugmentationArguments,
    DataArguments,
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    SSLAMConfig,
    SSLAMForAudioClassification,
    SSLAMModel,
    cross_validate,
    embed,
    evaluate,
    fine_tune,
    predict,
    read_recipe,
)
from polyaudio.evaluation.results import Evaluation
from polyaudio.evaluation.summary import RunsSummary
from polyaudio.scripts.train import main as train
from polyaudio.training.fine_tuning import CrossValidationResult, FineTuningResult


SHORT = {"num_train_epochs": 2, "dataloader_num_workers": 0, "report_to": "none", "learning_rate": 3e-3}
HALF = DataArguments(test_size=0.3, crop_seconds=0.4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tones(tmp_path_factory.mktemp("clips") / "tones", TONES, 8)


def arguments(output: Path, **changes) -> AudioTrainingArguments:
    return AudioTrainingArguments(str(output), **{**SHORT, **changes})


def own_output(text: str) -> list[str]:
    """What was printed beside the log entries that transformers' Trainer prints."""
    lines = text.replace("\r", "\n").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("{")]


def test_a_new_model_from_a_dataset_in_memory(folder, tmp_path, capsys):
    args = arguments(tmp_path / "run")
    result = fine_tune(dataset_in_memory(folder), SAMAudioConfig(**SAM_AUDIO), args, data=HALF)
    assert own_output(capsys.readouterr().out) == []
    assert type(result) is FineTuningResult
    assert type(result.model) is SAMAudioForAudioClassification
    assert type(result.feature_extractor) is SAMAudioFeatureExtractor
    assert type(result.evaluation) is Evaluation
    assert result.evaluation.labels == ["high", "low"]
    assert result.folder == tmp_path / "run"
    assert result.commit_url is None
    assert sum("eval_loss" in entry for entry in result.history) == 2
    assert json.loads((result.folder / "evaluation.json").read_text())["clips"]["count"] == 4
    loaded = AutoModelForAudioClassification.from_pretrained(result.folder).state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in result.model.state_dict().items())
    assert args == arguments(tmp_path / "run"), "the caller's arguments stay as they are"


def test_the_command_gives_the_same_numbers(folder, tmp_path):
    """From the same settings, with crops and augmentation that follow from the seed."""
    content = {
        "model": {"model_type": "sam_audio", **SAM_AUDIO},
        "data": {"test_size": 0.3, "crop_seconds": 0.4},
        "augmentation": {"roll_and_gain": True},
        "training": SHORT,
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(content))
    output = str(tmp_path / "command")
    flags = ["--config", str(tmp_path / "small.yaml"), "--dataset", str(folder), "--output-dir", output]
    assert train(flags) == 0
    by_hand = fine_tune(
        str(folder),
        SAMAudioConfig(**SAM_AUDIO),
        arguments(tmp_path / "python"),
        data=HALF,
        augmentation=AugmentationArguments(roll_and_gain=True),
    )
    settings = read_recipe(tmp_path / "small.yaml").fine_tuning(output_dir=str(tmp_path / "recipe"))
    by_recipe = fine_tune(str(folder), **vars(settings))
    expected = load_file(tmp_path / "command" / "model.safetensors")
    for result in (by_hand, by_recipe):
        written = [Path(one, "evaluation.json").read_bytes() for one in (output, result.folder)]
        assert written[0] == written[1]
        weights = load_file(result.folder / "model.safetensors")
        assert all(torch.equal(weights[name], weight) for name, weight in expected.items())


def test_a_loaded_model_stays_as_it_is(folder, tmp_path):
    torch.manual_seed(1)
    encoder = SSLAMModel(SSLAMConfig(**SSLAM))
    before = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    data = DataArguments(test_size=0.3)
    result = fine_tune(str(folder), encoder, arguments(tmp_path), data=data, freeze_encoder=True)
    assert type(result.model) is SSLAMForAudioClassification
    assert encoder.config.id2label != result.model.config.id2label
    for name, weight in encoder.state_dict().items():
        assert torch.equal(weight, before[name])
        assert torch.equal(result.model.sslam.state_dict()[name], before[name]), "a frozen encoder does not change"


def test_a_frame_classifier_with_several_answers_for_a_patch(tmp_path):
    clips = write_events(tmp_path / "clips", 6, seed=0)
    config = SSLAMConfig(**SSLAM, frame_upsampling=4)
    args = arguments(tmp_path / "run", num_train_epochs=1)
    result = fine_tune(clips, config, args, data=DataArguments(test_size=0.5, crop_seconds=1.0))
    assert result.model.config.frame_upsampling == 4
    assert result.model.classifier.out_features == 4 * 2
    assert 0 <= result.evaluation.clips["frame_map"] <= 1
    again = evaluate(result.folder, clips)
    assert again.clips["count"] == 6
    whole = [event for one in predict(clips, str(result.folder), threshold=0.0) for event in one.events]
    assert len(whole) == 6 * 2
    middle = sorted(event.score for event in whole)[6]
    onsets = [e.onset / 0.04 for one in predict(clips, str(result.folder), threshold=middle) for e in one.events]
    assert onsets == pytest.approx([round(onset) for onset in onsets])
    assert any(round(onset) % 4 for onset in onsets)
    # The encoder's features keep their 160 ms
    (features, *_) = embed(clips, str(result.folder), granularity="frame")
    assert features.frame_seconds == 0.16


@pytest.mark.parametrize("augmentation", [None, AugmentationArguments(mixup=0.5, time_mask=0.2)])
def test_features_in_memory_change_nothing(folder, tmp_path, augmentation):
    histories = []
    for cache_features in (None, False):
        result = fine_tune(
            dataset_in_memory(folder),
            SAMAudioConfig(**SAM_AUDIO),
            arguments(tmp_path / str(cache_features), logging_steps=1),
            data=DataArguments(test_size=0.3, crop_seconds=0.9, cache_features=cache_features),  # some are longer
            augmentation=augmentation,
        )
        histories.append([entry[name] for entry in result.history for name in ("loss", "eval_loss") if name in entry])
    assert histories[0] == pytest.approx(histories[1], rel=1e-4)


def test_plain_training_arguments_and_splits(folder, tmp_path):
    """Arguments of transformers have no settings of ours; the splits of a `DatasetDict` are taken as they are."""
    clips = dataset_in_memory(folder)
    test = [index for index, name in enumerate(clips["recording"]) if name[-1] in "67"]
    train_rows = [index for index in range(len(clips)) if index not in test]
    splits = DatasetDict(train=clips.select(train_rows), test=clips.select(test))
    plain = TrainingArguments(str(tmp_path), num_train_epochs=1, report_to="none", use_cpu=True, save_strategy="no")
    result = fine_tune(splits, SAMAudioConfig(**SAM_AUDIO), plain)
    assert result.evaluation.clips["count"] == len(test) == 4
    assert plain.remove_unused_columns, "the caller's arguments stay as they are"


def test_cross_validation(folder, tmp_path, capsys):
    result = cross_validate(
        dataset_in_memory(folder),
        SAMAudioConfig(**SAM_AUDIO),
        arguments(tmp_path, num_train_epochs=1),
        data=DataArguments(folds=2),
        seeds=[1, 2],
    )
    assert own_output(capsys.readouterr().out) == []
    assert type(result) is CrossValidationResult
    assert type(result.summary) is RunsSummary
    assert sorted(result.evaluations) == [f"fold-{fold}/seed-{seed}" for fold in (0, 1) for seed in (1, 2)]
    counts = [evaluation.clips["count"] for evaluation in result.evaluations.values()]
    assert counts == [8, 8, 8, 8]
    mean = sum(one.clips["accuracy"] for one in result.evaluations.values()) / 4
    assert result.summary.clips["accuracy"].mean == pytest.approx(mean)
    assert (result.folder / "summary.json").is_file()


def test_what_contradicts_itself_is_refused_before_anything_is_read(tmp_path):
    args, config = arguments(tmp_path / "run"), SAMAudioConfig(**SAM_AUDIO)
    with pytest.raises(ValueError, match="Call cross_validate"):
        fine_tune("nowhere", config, args, data=DataArguments(folds=2))
    with pytest.raises(ValueError, match="must be a folder, a Hub name, a configuration or a PreTrainedModel"):
        fine_tune("nowhere", 3, args)
    with pytest.raises(ValueError, match="Leave out push_to_hub"):
        cross_validate("nowhere", config, arguments(tmp_path / "run", push_to_hub=True), data=DataArguments(folds=2))
    assert not (tmp_path / "run").exists()
