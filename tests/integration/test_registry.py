# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A model type that another package registers works everywhere; no code asks for a type by its name."""

import ast
from pathlib import Path

import numpy as np
import pytest
from tiny_model import TinyConfig, TinyForAudioClassification, TinyModel
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification, pipeline
from transformers.models.auto import configuration_auto, feature_extraction_auto, modeling_auto

from builders import RATE, SAM_AUDIO, SSLAM, TONES, dataset_in_memory, write_tones
from polyaudio import (
    AudioTrainingArguments,
    DataArguments,
    LoraArguments,
    SSLAMFeatureExtractor,
    embed,
    evaluate,
    fine_tune,
    load_audio,
    predict,
    probe,
)
from polyaudio.integration.registration import register_model_type
from polyaudio.integration.registry import MODEL_TYPES, ModelType, load_class
from polyaudio.modeling.traits import ModelTraits, traits_of


TINY = ModelType(
    config="tiny_model:TinyConfig",
    traits="tiny_model:TinyTraits",
    models={
        "AutoModel": "tiny_model:TinyModel",
        "AutoModelForAudioClassification": "tiny_model:TinyForAudioClassification",
    },
    feature_extractor="polyaudio.feature_extraction.feature_extraction_sslam:SSLAMFeatureExtractor",
)


@pytest.fixture(scope="module", autouse=True)
def tiny():
    """The type, for the tests of this file only."""
    register_model_type("tiny", TINY)
    yield
    del MODEL_TYPES["tiny"]
    configuration_auto.CONFIG_MAPPING._extra_content.pop("tiny")
    for mapping in (
        feature_extraction_auto.FEATURE_EXTRACTOR_MAPPING,
        modeling_auto.MODEL_MAPPING,
        modeling_auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING,
    ):
        mapping._extra_content.pop(TinyConfig)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tones(tmp_path_factory.mktemp("clips") / "tones", TONES, 10)


def arguments(output: Path, **changes) -> AudioTrainingArguments:
    settings = {"num_train_epochs": 20, "learning_rate": 0.02, "dataloader_num_workers": 0, "report_to": "none"}
    return AudioTrainingArguments(str(output), disable_tqdm=True, **{**settings, **changes})


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    args = arguments(tmp_path_factory.mktemp("run"))
    return fine_tune(str(folder), TinyConfig(), args, data=DataArguments(test_size=0.3))


def test_the_auto_classes_know_it():
    config = AutoConfig.for_model("tiny", hidden_size=8)
    assert type(config) is TinyConfig
    assert type(AutoModel.from_config(config)) is TinyModel
    assert type(AutoModelForAudioClassification.from_config(config)) is TinyForAudioClassification


def test_it_is_fine_tuned(trained, folder):
    assert type(trained.model) is TinyForAudioClassification
    assert type(trained.feature_extractor) is SSLAMFeatureExtractor
    assert trained.evaluation.labels == ["high", "low"]
    assert trained.evaluation.clips["accuracy"] == 1.0
    clip = {"array": load_audio(folder / "low" / "3.wav", RATE), "sampling_rate": RATE}
    answers = pipeline("audio-classification", model=str(trained.folder))(clip)
    assert answers[0]["label"] == "low"


def test_it_is_evaluated(trained, folder):
    evaluation = evaluate(trained.folder, str(folder))
    assert evaluation.clips["count"] == 20
    assert evaluation.clips["accuracy"] == 1.0
    loaded = AutoModelForAudioClassification.from_pretrained(trained.folder)
    assert evaluate(loaded, dataset_in_memory(folder)).clips["count"] == 20


def test_its_features_are_not_cached_because_it_hears_the_padding(folder, tmp_path):
    data = DataArguments(test_size=0.3, cache_features=True)
    with pytest.raises(ValueError, match="type tiny hears the padding of clips"):
        fine_tune(str(folder), TinyConfig(), arguments(tmp_path), data=data)


def test_it_predicts(trained, folder):
    files = [folder / "low" / "3.wav", folder / "high" / "3.wav"]
    assert [one.labels[0].label for one in predict(files, str(trained.folder))] == ["low", "high"]


def test_lora_adapts_the_modules_of_its_traits(trained, folder, tmp_path):
    lora = LoraArguments(lora_modules=["projections"], lora_rank=2)
    data = DataArguments(test_size=0.3)
    result = fine_tune(
        str(folder), trained.folder, arguments(tmp_path, num_train_epochs=2, learning_rate=1e-3), data=data, lora=lora
    )
    adapted = {name.partition(".lora_A")[0] for name, _ in result.model.named_parameters() if ".lora_A" in name}
    assert {name.rpartition(".")[2] for name in adapted} == {"in_proj", "out_proj"}
    assert result.evaluation.clips["accuracy"] == 1.0
    assert (result.folder / "adapter_model.safetensors").is_file()
    assert evaluate(result.folder, str(folder)).clips["accuracy"] == 1.0
    with pytest.raises(ValueError, match=r"has no modules 'attention'\. Choose from projections"):
        fine_tune(str(folder), TinyConfig(), arguments(tmp_path / "x"), data=data, lora=LoraArguments())


@pytest.mark.parametrize("granularity", ["utterance", "frame", "all"])
def test_it_embeds(trained, folder, granularity):
    """As models do whose traits say nothing else."""
    (clip,) = embed(folder / "low" / "3.wav", str(trained.folder), granularity=granularity)
    assert clip.error is None
    assert clip.features.shape[-1] == trained.model.config.hidden_size
    assert clip.features.ndim == (1 if granularity == "utterance" else 2)
    if granularity != "utterance":
        (utterance,) = embed(folder / "low" / "3.wav", str(trained.folder))
        np.testing.assert_allclose(clip.features.mean(0), utterance.features, atol=1e-5)


def test_it_is_probed(trained, folder):
    report = probe(trained.folder, str(folder), folds=2)
    assert (report.model_type, report.features, report.feature_size) == ("tiny", "mean", 16)
    assert report.probe.accuracy.mean == 1.0
    with pytest.raises(ValueError, match="has no features 'cls'"):
        probe(trained.folder, str(folder), features="cls")


def test_what_it_lacks_is_said(folder, tmp_path):
    """Frames to label, which need a frame classifier, and an encoder to freeze."""
    with pytest.raises(ValueError, match="not a classifier of polyaudio"):
        fine_tune(str(folder), TinyConfig(), arguments(tmp_path), freeze_encoder=True)


def test_every_class_that_the_registry_names_exists():
    for name, model_type in MODEL_TYPES.items():
        config_class = load_class(model_type.config)
        assert config_class.model_type == name
        assert issubclass(load_class(model_type.traits), ModelTraits)
        for path in model_type.auto_classes.values():
            assert isinstance(load_class(path), type)


def test_traits_describe_modules_that_are_there():
    for name, sizes in {"sslam": SSLAM, "sam_audio": SAM_AUDIO, "tiny": {}}.items():
        config = AutoConfig.for_model(name, **sizes)
        modules = {module.rpartition(".")[2] for module, _ in AutoModel.from_config(config).named_modules()}
        traits = traits_of(config)
        for part, targets in traits.lora_modules.items():
            assert set(targets) <= modules, part
        names = [parameter for parameter, _ in AutoModel.from_config(config).named_parameters()]
        for ending in traits.no_weight_decay:
            assert any(parameter.endswith(ending) for parameter in names), ending


def test_an_unknown_type_has_the_default_traits():
    config = AutoConfig.for_model("wav2vec2")
    traits = traits_of(config)
    assert type(traits) is ModelTraits
    assert (traits.lora_modules, traits.probe_features, traits.batches_any_lengths) == ({}, (), False)
    with pytest.raises(ValueError, match="no sequence of hidden states"):
        traits.window_features(AutoModel.from_config(TinyConfig()), {}, {}, "frame")


# The only places that may ask for the type of a model: its own files, and the table
OWN = ("integration/registry.py", "modeling/", "configuration/", "feature_extraction/")
NOT_THE_PACKAGE = ("runs/", "tests/", "hf_tests/", "benchmarks/", "docs/", "build/", "setup.py")


def model_classes() -> set[str]:
    """The names of our configurations and models, and of the classes that these are made of."""
    paths = [path for one in MODEL_TYPES.values() for path in (one.config, *one.models.values())]
    names = {base.__name__ for path in paths for base in load_class(path).__mro__}
    return {name for name in names if name.startswith(("SSLAM", "SAMAudio", "EAT"))}


def type_tests(source: str) -> list[int]:
    """Lines that compare with the name of a model type, or ask whether something is of a class of our models."""
    lines, names, classes = [], set(MODEL_TYPES), model_classes()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare | ast.MatchValue):
            found = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)} & names
        elif isinstance(node, ast.Call) and getattr(node.func, "id", None) in ("isinstance", "issubclass"):
            words = {getattr(one, "id", getattr(one, "attr", None)) for one in ast.walk(node)}
            found = words & classes
        else:
            continue
        if found:
            lines.append(node.lineno if hasattr(node, "lineno") else node.value.lineno)
    return lines


def test_no_code_asks_for_a_model_type_by_its_name(project_root):
    assert type_tests('if config.model_type == "sslam": pass') == [1]
    assert type_tests('if config.model_type in ("eat", "sam_audio"): pass') == [1]
    assert type_tests("isinstance(model, (SSLAMModel, int))") == [1]
    assert type_tests("issubclass(kind, modeling.SAMAudioPreTrainedModel)") == [1]
    assert type_tests('match kind:\n    case "eat":\n        pass') == [2]
    found = {}
    for path in project_root.rglob("*.py"):
        name = path.relative_to(project_root).as_posix()
        if not name.startswith((*OWN, *NOT_THE_PACKAGE, ".")):
            lines = type_tests(path.read_text(encoding="utf-8"))
            if lines:
                found[name] = lines
    assert found == {}
