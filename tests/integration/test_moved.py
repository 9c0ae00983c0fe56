# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What 0.1 had elsewhere still imports from there, with a warning that says where it is now."""

import importlib
import sys
import warnings
from pathlib import Path

import pytest

from polyaudio.integration.moved import MODULES, NAMES


# The public names of each module of 0.1.0 that is gone. Names that were removed are left out
NAMES_OF_0_1 = {
    "modeling.adapters": "AdapterLoadingMixin",
    "registration": "register_auto_classes",
    "saving": "WEIGHTS flattened_sources is_weights save_whole PortableModelMixin PortableFeatureExtractorMixin",
    "scripts.augmentations": "check_augmentation waveform_augmentation batch_augmentation",
    "scripts.batches": "Inputs find_files ClipReader FileResult run_on_files weighted_mean",
    "scripts.loading": "load_config make_config make_feature_extractor load_feature_extractor load_classifier "
    "choose_device add_run_arguments add_label_arguments load_labelled report_bad_clips leave_together",
    "scripts.recipe": "RECIPES DataArguments AugmentationArguments WindowArguments ModelArguments ClassifierArguments "
    "LoraArguments Recipe find_recipe read_recipe",
    "scripts.scoring": "DEFAULT_METRICS METRIC_NAMES metrics_of make_targets evaluate_clips",
    "scripts.training_data": "Division load_divisions",
    "training.audio": "AudioFile AudioFileError AudioInfo load_audio decode_audio audio_info",
    "training.augmentation": "PitchShift RollAndGain RandomGain AdditiveNoise SpecAugment FeatureNoise Mixup Compose",
    "training.building": "FORMATS Chunking Chunk CutRecording BuildResult level_dbfs cut_recording build_dataset",
    "training.clips": "AudioClips ClipWindows WaveformWindows StreamedWindows stream_loader combined_seed "
    "AudioCollator AugmentingCollator",
    "training.data": "AUDIO_EXTENSIONS load_clips load_recordings clip_paths BadClip drop_unreadable clip_name "
    "audio_file",
    "training.features": "CachedFeatures FeatureCollator",
    "training.inspection": "SILENCE_DBFS ClipFacts measure_clip inspect_clips format_inspection plot_durations "
    "plot_classes plot_examples write_inspection",
    "training.interrupts": "StopOnSignal",
    "training.intervals": "single_label_intervals multi_label_intervals",
    "training.labels": "SINGLE_LABEL MULTI_LABEL FRAMES task_of class_names classes_of_clips renumbered "
    "find_label_column read_one_class read_classes read_class_columns read_events is_events read_event_lists "
    "merge_events Targets shifted_events values_of listed",
    "training.leak_check": "Leak LeakReport find_leaks as_leaks clip_names",
    "training.leaks": "Overlap find_overlaps infer_groups",
    "training.metrics": "Accuracy F1 MeanAveragePrecision ROCAUC DPrime d_prime classification_metrics "
    "multilabel_metrics",
    "training.mixtures": "LABEL_SEPARATOR write_mixtures",
    "training.model_card": "write_model_card write_pretraining_card card_on_hub write_summary environment",
    "training.probe": "C_GRID ProbeResult linear_probe make_folds compare_probes",
    "training.ragas": "SAMPLING_RATE CONTROL_RATE TEST_TIMBRE SWARAS Raga RAGAS Instrument TIMBRES "
    "synthesize_recording build_ragas",
    "training.report": "evaluate_predictions write_evaluation format_report title_of score_table interval_table "
    "class_table format_number summarise_runs format_mean summary_table format_summary plot_losses",
    "training.sampling": "clip_weights BalancedSampler",
    "training.sound_events": "Event events_to_frames score_events frame_metrics plot_timeline",
    "training.splits": "split_by_recording folds_by_recording stratified_splits recordings_of_classes "
    "shared_recordings check_clips",
    "training.statistics": "LogMelStatistics measure_log_mel",
}


@pytest.fixture
def import_anew():
    """Imports a module that is not imported yet."""
    imported = []

    def import_module(name: str):
        sys.modules.pop(name, None)
        imported.append(name)
        return importlib.import_module(name)

    yield import_module
    for name in imported:
        sys.modules.pop(name, None)


def test_the_table_has_the_modules_that_are_gone(project_root):
    assert set(MODULES) == set(NAMES_OF_0_1)
    for old in MODULES:
        assert not Path(project_root, *old.split(".")).with_suffix(".py").exists(), old


@pytest.mark.parametrize("old", MODULES)
def test_a_module_warns_once_and_has_its_names(old, import_anew):
    with pytest.warns(FutureWarning) as caught:
        module = import_anew(f"polyaudio.{old}")
    (message,) = [str(one.message) for one in caught if one.category is FutureWarning]  # not those of matplotlib
    assert message.startswith(f"polyaudio.{old} has moved: ")
    places = [importlib.import_module(f"polyaudio.{place}") for place in MODULES[old]]
    assert all(place.__name__ in message for place in places)
    for name in NAMES_OF_0_1[old].split():
        assert any(getattr(module, name) is getattr(place, name, None) for place in places), name
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert importlib.import_module(f"polyaudio.{old}") is module


@pytest.mark.parametrize(("module", "name"), [(module, name) for module in NAMES for name in NAMES[module]])
def test_a_name_that_left_its_module_warns(module, name):
    place = f"polyaudio.{NAMES[module][name]}"
    with pytest.warns(FutureWarning, match=f"{module}.{name} has moved: import from {place}\\. ") as caught:
        found = getattr(importlib.import_module(f"polyaudio.{module}"), name)
    assert found is getattr(importlib.import_module(place), name)
    assert [one.filename for one in caught] == [__file__]


def test_the_warning_shows_the_line_of_the_user():
    sys.modules.pop("polyaudio.training.leaks", None)
    with pytest.warns(FutureWarning, match=r"import from polyaudio\.curation\.overlaps or ") as caught:
        from polyaudio.training.leaks import find_overlaps
    assert [one.filename for one in caught] == [__file__]
    assert callable(find_overlaps)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_never_was_is_not_there():
    for name in ("polyaudio.training.leeks", "polyaudio.leaks", "polyaudio.training.leaks.more"):
        sys.modules.pop("polyaudio.training.leaks", None)
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)
    trainer = importlib.import_module("polyaudio.training.trainer")
    with pytest.raises(AttributeError, match="has no attribute 'AudioTrainers'"):
        _ = trainer.AudioTrainers
