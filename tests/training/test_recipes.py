# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`read_recipe`: settings by section, errors that name the right one, and changes that win over a recipe."""

from pathlib import Path

import pytest

from builders import SAM_AUDIO, TONES, write_tones
from polyaudio import AudioTrainingArguments, AugmentationArguments, SSLAMConfig, fine_tune, read_recipe
from polyaudio.training.models import ModelSource
from polyaudio.training.recipes import FINE_TUNING, PRETRAINING, Recipe


def recipe(folder: Path, text: str) -> Recipe:
    (folder / "mine.yaml").write_text(text)
    return read_recipe(folder / "mine.yaml")


def test_a_recipe_of_the_package_by_name():
    found = read_recipe("sslam_small")
    assert (found.name, found.path.name) == ("sslam_small", "sslam_small.yaml")
    settings = found.fine_tuning(output_dir="runs/mine", num_train_epochs=5)
    assert type(settings.args) is AudioTrainingArguments
    assert (settings.args.output_dir, settings.args.num_train_epochs) == ("runs/mine", 5)
    assert settings.args.learning_rate == 5e-4
    assert type(settings.model) is ModelSource
    assert type(settings.model.make_config()) is SSLAMConfig
    assert (settings.recipe, settings.lora) == ("sslam_small", None)


def test_settings_of_the_head_are_changes_too(tmp_path):
    settings = read_recipe("sslam_small").fine_tuning(frame_upsampling=4, drop_path_rate=0.3)
    config = settings.model.make_config()
    assert (config.frame_upsampling, config.drop_path_rate) == (4, 0.3)
    settings = recipe(tmp_path, "model: {model_type: sslam, frame_upsampling: 2}").fine_tuning()
    assert settings.model.make_config().frame_upsampling == 2


def test_every_recipe_of_the_package_is_for_one_of_the_two():
    for name in ("sslam_stage1", "sslam_tiny_stage2"):
        assert read_recipe(name).pretraining().args.save_strategy == "steps"
    for name in ("default", "carnatic_ragas", "esc50"):
        assert read_recipe(name).fine_tuning().args.eval_strategy == "epoch"


@pytest.mark.parametrize(
    ("text", "setting", "section", "right"),
    [
        ("data: {pitch_shift: 0.5}", "pitch_shift", "data", "augmentation"),
        ("training: {mixup: 0.2}", "mixup", "training", "augmentation"),
        ("model: {learning_rate: 1}", "learning_rate", "model", "training"),
        ("feature_extractor: {learning_rate: 1}", "learning_rate", "feature_extractor", "training"),
        ("feature_extractor: {crop_seconds: 5}", "crop_seconds", "feature_extractor", "data"),
        ("augmentation: {lora_rank: 4}", "lora_rank", "augmentation", "lora"),
        ("lora: {freeze_encoder: true}", "freeze_encoder", "lora", "model"),
    ],
)
def test_a_setting_in_the_wrong_section_is_an_error_that_names_the_right_one(text, setting, section, right, tmp_path):
    message = f"has a setting '{setting}' in {section}, but it belongs in {right}. Move it there."
    with pytest.raises(ValueError, match=message):
        recipe(tmp_path, text).fine_tuning()


def test_what_a_model_and_a_run_both_have_belongs_to_both(tmp_path):
    """`ema_decay` is that of the teacher in `model`, and that of a classifier's average in `training`."""
    settings = recipe(tmp_path, "model: {model_type: sslam, ema_decay: 0.5}").pretraining()
    assert settings.model.make_config().ema_decay == 0.5
    assert recipe(tmp_path, "training: {ema_decay: 0.9}").fine_tuning().args.ema_decay == 0.9
    with pytest.raises(ValueError, match="section `model` of a recipe"):
        recipe(tmp_path, "training: {ema_decay: 0.9}").pretraining()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {learning_rat: 1.0}", "which does not exist. Did you mean 'learning_rate'"),
        ("trainig: {learning_rate: 1.0}", "section 'trainig', which does not exist. Did you mean 'training'"),
        ("just words", "A recipe has the sections"),
        ("training: 3", "A recipe has the sections"),
        ("a: [", "not valid YAML"),
    ],
)
def test_what_is_no_recipe(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        recipe(tmp_path, text).fine_tuning()


def test_settings_that_a_model_or_its_feature_extractor_does_not_have(tmp_path):
    with pytest.raises(ValueError, match="type sam_audio has no setting 'num_segmnts'"):
        recipe(tmp_path, "model: {num_segmnts: 3}").fine_tuning().model.make_config()
    source = recipe(tmp_path, "feature_extractor: {hop_lenth: 3}").fine_tuning().model
    with pytest.raises(ValueError, match="feature extractor of a model of type sam_audio has no setting 'hop_lenth'"):
        source.load_feature_extractor(source.make_config())
    source = recipe(tmp_path, "feature_extractor: {hop_length: 128}").fine_tuning().model
    assert source.load_feature_extractor(source.make_config()).hop_length == 128


def test_changes_win_over_the_recipe_and_must_exist(tmp_path):
    mine = recipe(tmp_path, "training: {learning_rate: 1.0}\naugmentation: {mixup: 0.2}\nlora: {lora_rank: 4}")
    settings = mine.fine_tuning(learning_rate=0.5, lora=True, freeze_encoder=True, pitch_shift=1.0)
    assert settings.args.learning_rate == 0.5
    assert settings.augmentation == AugmentationArguments(mixup=0.2, pitch_shift=1.0)
    assert settings.lora.lora_rank == 4
    assert settings.freeze_encoder
    with pytest.raises(ValueError, match="mine has no setting 'learning_rat' to change"):
        mine.fine_tuning(learning_rat=0.5)


def test_flags_are_the_settings_that_are_arguments(tmp_path):
    text = "model: {model_type: sslam, hidden_size: 8}\ndata: {dataset: ragas, crop_seconds: 1}"
    mine = recipe(tmp_path, text)
    assert mine.flags(FINE_TUNING) == {"model_type": "sslam", "dataset": "ragas", "crop_seconds": 1}
    assert mine.flags(PRETRAINING) == {"model_type": "sslam", "dataset": "ragas", "crop_seconds": 1}


def test_a_checkpoint_stands_in_for_the_model_that_a_recipe_describes(tmp_path):
    """The settings of a recipe describe the model that it names or builds, not one that is named later."""
    (tmp_path / "data").mkdir()
    folder = write_tones(tmp_path / "data" / "tones", TONES, 4)
    mine = recipe(tmp_path, f"model: {{{', '.join(f'{name}: {value}' for name, value in SAM_AUDIO.items())}}}")
    short = {"num_train_epochs": 1, "dataloader_num_workers": 0, "report_to": "none"}
    first = fine_tune(str(folder), **vars(mine.fine_tuning(output_dir=str(tmp_path / "one"), **short)))
    assert first.model.config.num_segments == 4
    other = recipe(tmp_path, "model: {num_segments: 8}")
    settings = other.fine_tuning(output_dir=str(tmp_path / "two"), model_name_or_path=str(first.folder), **short)
    assert fine_tune(str(folder), **vars(settings)).model.config.num_segments == 4
