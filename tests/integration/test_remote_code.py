"""The code that is saved beside the weights: what it is, and that models load by it where there is no polyaudio."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForPreTraining,
    Trainer,
    TrainingArguments,
    pipeline,
)
from transformers.dynamic_module_utils import get_relative_import_files
from transformers.models.auto import modeling_auto

import polyaudio
from builders import SSLAM as SMALL
from polyaudio.integration.saving import flattened_sources
from prepared_python import WITHOUT_POLYAUDIO, python


SSLAM = {
    **SMALL,
    "decoder_hidden_size": 16,
    "decoder_num_layers": 2,
    "decoder_groups": 4,
    "num_labels": 3,
}
SAM_AUDIO = {
    "conv_dim": [16, 16],
    "conv_kernel": [3, 3],
    "conv_stride": [2, 2],
    "num_attention_heads": 4,
    "num_segments": 4,
    "num_labels": 3,
}
MODELS = {
    "sslam": ["Model", "ForPreTraining", "ForAudioClassification", "ForAudioFrameClassification"],
    "sam_audio": ["Model", "ForPreTraining", "ForAudioClassification"],
}
# What a user of transformers has; the standard library is added below
PIPELINE = "pipeline_sound_event_detection.py"
ALLOWED = {"torch", "torchaudio", "numpy", "transformers", "huggingface_hub", "safetensors"} | sys.stdlib_module_names

STRANGER_LOADS = (
    WITHOUT_POLYAUDIO
    + """
import json, os
import torch, transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification, pipeline

folders, report = json.loads(sys.argv[1]), {}
trust = {"trust_remote_code": True}
for folder in folders:
    name = os.path.basename(folder)
    auto_name, model_type = name.split("-")
    auto_class, said = getattr(transformers, auto_name), report.setdefault(name, {})
    clip = torch.load(f"{folder}/../{model_type}.pt")
    try:
        auto_class.from_pretrained(folder)
        said["refused"] = False
    except ValueError as error:
        said["refused"] = "trust_remote_code=True" in str(error)
    model = auto_class.from_pretrained(folder, **trust)
    said["class"] = f"{type(model).__module__.split('.')[0]} {type(model).__name__}"
    weights = load_file(f"{folder}/model.safetensors")
    said["same_weights"] = all(torch.equal(model.state_dict()[key], value) for key, value in weights.items())
    again = f"{folder}-again"
    model.save_pretrained(again)
    torch.manual_seed(0)
    fresh = auto_class.from_config(AutoConfig.from_pretrained(folder, **trust), **trust)
    fresh_weights = load_file(f"{folder}/fresh.safetensors")
    said["same_start"] = all(torch.equal(fresh.state_dict()[key], value) for key, value in fresh_weights.items())
    if auto_name == "AutoModelForAudioClassification":
        try:
            AutoFeatureExtractor.from_pretrained(folder)
            said["extractor_refused"] = False
        except ValueError as error:
            said["extractor_refused"] = "trust_remote_code=True" in str(error)
        extractor = AutoFeatureExtractor.from_pretrained(folder, **trust)
        extractor.save_pretrained(again)
        inputs = extractor(clip, sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            said["logits"] = model(inputs["input_values"]).logits[0].tolist()
            reloaded = AutoModelForAudioClassification.from_pretrained(again, **trust)
            said["logits_again"] = reloaded(inputs["input_values"]).logits[0].tolist()
        classify = pipeline("audio-classification", model=again, **trust)
        said["scores"] = classify({"raw": clip.numpy(), "sampling_rate": 16000})
report["loaded"] = [name for name in sys.modules if name.startswith("polyaudio")]
print("\\n" + json.dumps(report))
"""
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A saved model of every class, the classifiers with their extractors, and the weights of a fresh one."""
    root, folders = tmp_path_factory.mktemp("models"), {}
    for model_type, endings in MODELS.items():
        prefix, settings = ("SSLAM", SSLAM) if model_type == "sslam" else ("SAMAudio", SAM_AUDIO)
        torch.save(torch.randn(8000, generator=torch.Generator().manual_seed(0)), root / f"{model_type}.pt")
        for ending in endings:
            auto_name = "AutoModel" if ending == "Model" else f"AutoModel{ending}"
            folder = folders[f"{auto_name}-{model_type}"] = root / f"{auto_name}-{model_type}"
            model_class = getattr(modeling_auto, auto_name)
            torch.manual_seed(1)
            config = AutoConfig.for_model(model_type, **settings)
            model = model_class.from_config(config)
            assert type(model) is getattr(__import__(type(model).__module__, fromlist=["x"]), prefix + ending)
            model.save_pretrained(folder)
            torch.manual_seed(0)
            model_class.from_config(config).save_pretrained(folder / "fresh")
            (folder / "fresh" / "model.safetensors").rename(folder / "fresh.safetensors")
        extractor = getattr(polyaudio, f"{prefix}FeatureExtractor")(
            **({"max_length": 64} if model_type == "sslam" else {})
        )
        extractor.save_pretrained(folders[f"AutoModelForAudioClassification-{model_type}"])
    return folders


@pytest.fixture(scope="module")
def stranger(folders, tmp_path_factory) -> dict:
    """What somebody without polyaudio sees of these folders."""
    environment = {**os.environ, "HF_HOME": str(tmp_path_factory.mktemp("home"))}
    done = subprocess.run(
        [python("torch"), "-c", STRANGER_LOADS, json.dumps([str(folder) for folder in folders.values()])],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def python_files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.py")}


def relative_imports(source: str) -> set[str]:
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and node.level]
    assert all(node.level == 1 and "." not in node.module for node in nodes)
    return {f"{node.module}.py" for node in nodes}


def code_of(folder: Path, *names: str) -> set[str]:
    """Files of code, and those that they import."""
    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += relative_imports((folder / name).read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(
    "path",
    [
        "modeling/modeling_sslam.py",
        "modeling/modeling_sam_audio.py",
        "feature_extraction/feature_extraction_sslam.py",
        "feature_extraction/feature_extraction_sam_audio.py",
    ],
)
def test_the_copies_need_each_other_and_what_everybody_has(project_root, tmp_path, path):
    sources = flattened_sources(project_root / path)
    for name, source in sources.items():
        assert relative_imports(source) <= set(sources)
        for node in ast.walk(ast.parse(source)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert {module.split(".")[0] for module in modules} <= ALLOWED, name
        (tmp_path / name).write_text(source, encoding="utf-8")
    # transformers copies what it finds itself, which must be the same
    found = get_relative_import_files(tmp_path / Path(path).name)
    assert {Path(file).name for file in found} == set(sources) - {Path(path).name}


def test_copies_carry_licence_and_version(folders):
    for name in python_files(folders["AutoModel-sslam"]):
        lines = (folders["AutoModel-sslam"] / name).read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("# Copyright 2026 The polyaudio authors")
        assert "MIT License" in lines[1]
        assert lines[2].startswith(f"# Copied from polyaudio {polyaudio.__version__}. ")


def test_a_folder_holds_the_files_of_its_model_only(folders):
    sslam = python_files(folders["AutoModelForPreTraining-sslam"])
    assert {"modeling_sslam.py", "configuration_sslam.py", "audioset_labels.py"} <= sslam
    assert not any(word in name for name in sslam for word in ("sam_audio", "eat", "checkpoint", "feature_extraction"))
    sam_audio = python_files(folders["AutoModelForAudioClassification-sam_audio"])
    assert {"modeling_sam_audio.py", "feature_extraction_sam_audio.py", "tonic_chroma.py"} <= sam_audio
    assert not any("sslam" in name or "audioset" in name for name in sam_audio)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, source in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source, encoding="utf-8")


def test_every_form_of_import_is_rewritten_and_nothing_else(tmp_path):
    model = (
        '# Licence\n"""\nfrom ..config.settings import Nothing\n"""\n'
        "import os\n"
        "from ..config.settings import (  # two\n    A,\n    B,\n)\n"
        "from .layer import Layer\n\n\n"
        'def later():\n    from ..config.deep.late import late\n\n    return late, "from ..config.settings import A"\n'
    )
    write(
        tmp_path,
        {
            "modeling/model.py": model,
            "modeling/layer.py": "from ..config.settings import A\n",
            "config/settings.py": "A = B = 1\n",
            "config/deep/late.py": "from ..settings import A as late\n",
        },
    )
    sources = flattened_sources(tmp_path / "modeling" / "model.py")
    assert set(sources) == {"model.py", "layer.py", "settings.py", "late.py"}
    expected = model.replace("from ..config.settings import (", "from .settings import (")
    expected = expected.replace("    from ..config.deep.late", "    from .late")
    stamp = sources["model.py"].splitlines()[1]
    assert stamp.startswith("# Copied from polyaudio ")
    assert sources["model.py"] == expected.replace("# Licence\n", f"# Licence\n{stamp}\n")
    assert sources["late.py"].endswith("from .settings import A as late\n")
    # a copy is copied as it is
    write(tmp_path / "flat", sources)
    assert flattened_sources(tmp_path / "flat" / "model.py") == sources


@pytest.mark.parametrize(
    "statement",
    ["from . import layer", "from .package import thing", "from .missing import thing", "x = 1; from .layer import y"],
)
def test_imports_that_cannot_be_copied_are_refused(tmp_path, statement):
    write(tmp_path, {"model.py": f"\n{statement}\n", "layer.py": "y = 1\n", "package/__init__.py": ""})
    with pytest.raises(ValueError, match=r"model.py, line 2: .* `from .module import name`"):
        flattened_sources(tmp_path / "model.py")


def test_two_files_of_one_name_are_refused(tmp_path):
    write(tmp_path, {"a/model.py": "from .x import y\nfrom ..b.x import z\n", "a/x.py": "y = 1", "b/x.py": "z = 1"})
    with pytest.raises(ValueError, match="the same name"):
        flattened_sources(tmp_path / "a" / "model.py")


def test_auto_map_agrees_with_the_registered_classes(folders):
    for name, folder in folders.items():
        auto_map = json.loads((folder / "config.json").read_text())["auto_map"]
        config = AutoConfig.from_pretrained(folder)
        assert auto_map.pop("AutoConfig") == f"{type(config).__module__.rpartition('.')[2]}.{type(config).__name__}"
        registered = {
            auto_name: getattr(modeling_auto, auto_name)._model_mapping[type(config)]
            for auto_name in ["AutoModel", *(f"AutoModel{end}" for end in MODELS[config.model_type][1:])]
        }
        assert name.split("-")[0] in registered
        assert auto_map == {
            auto_name: f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}" for auto_name, cls in registered.items()
        }
        for reference in auto_map.values():
            assert f"class {reference.split('.')[1]}(" in (folder / f"{reference.split('.')[0]}.py").read_text()


@pytest.mark.parametrize("trust", [None, False, True])
def test_with_polyaudio_no_copy_is_run_and_nobody_is_asked(folders, monkeypatch, trust):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a prompt"))
    folder = folders["AutoModelForAudioClassification-sslam"]
    for loaded in (
        AutoConfig.from_pretrained(folder, trust_remote_code=trust),
        AutoModelForAudioClassification.from_pretrained(folder, trust_remote_code=trust),
        AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=trust),
        pipeline("audio-classification", model=str(folder), trust_remote_code=trust).model,
    ):
        assert type(loaded).__module__.startswith("polyaudio.")


@pytest.mark.slow
def test_a_stranger_is_asked_for_trust_and_gets_the_model(folders, stranger):
    assert stranger.pop("loaded") == []
    assert set(stranger) == set(folders)
    for name, said in stranger.items():
        assert said["refused"], name
        auto_class = getattr(modeling_auto, name.split("-")[0])
        expected = type(auto_class.from_pretrained(folders[name]))
        assert said["class"] == f"transformers_modules {expected.__name__}"
        assert said["same_weights"]


def test_a_model_that_a_stranger_initialises_starts_from_the_same_weights(stranger):
    assert all(said["same_start"] for said in stranger.values() if isinstance(said, dict))


@pytest.mark.parametrize("model_type", ["sslam", "sam_audio"])
def test_a_stranger_gets_the_same_logits_and_scores(folders, stranger, model_type):
    folder = folders[f"AutoModelForAudioClassification-{model_type}"]
    said = stranger[folder.name]
    assert said["extractor_refused"]
    clip = torch.load(folder.parent / f"{model_type}.pt")
    inputs = AutoFeatureExtractor.from_pretrained(folder)(clip, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        logits = AutoModelForAudioClassification.from_pretrained(folder)(inputs["input_values"]).logits[0].tolist()
    assert said["logits"] == pytest.approx(logits, abs=1e-6)
    assert said["logits_again"] == pytest.approx(logits, abs=1e-6)
    expected = pipeline("audio-classification", model=str(folder))({"raw": clip.numpy(), "sampling_rate": 16000})
    assert [score["label"] for score in said["scores"]] == [score["label"] for score in expected]
    for score, wanted in zip(said["scores"], expected, strict=True):
        assert score["score"] == pytest.approx(wanted["score"], abs=1e-6)


def test_what_a_stranger_saves_is_what_was_loaded(folders, stranger):
    """All but the code of the pipeline, which is not loaded with a model."""
    for name, folder in folders.items():
        again = folder.with_name(f"{name}-again")
        kept = {path.name for path in folder.iterdir() if path.is_file()} - {"fresh.safetensors"}
        settings = json.loads((folder / "config.json").read_text())
        if settings.pop("custom_pipelines", None):
            files = {f"{one.partition('.')[0]}.py" for one in settings["auto_map"].values()}
            kept -= code_of(folder, PIPELINE) - code_of(folder, *files)
        assert {path.name for path in again.iterdir()} == kept
        assert json.loads((again / "config.json").read_text()) == settings
        for file in kept - {"config.json"}:
            assert (again / file).read_bytes() == (folder / file).read_bytes(), file


def test_code_can_be_left_out(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("POLYAUDIO_SAVE_CODE", "0")
    folder = folders["AutoModelForAudioClassification-sslam"]
    AutoModelForAudioClassification.from_pretrained(folder).save_pretrained(tmp_path)
    AutoFeatureExtractor.from_pretrained(folder).save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    }
    assert not any("auto_map" in path.read_text() for path in tmp_path.glob("*.json"))
    assert AutoModelForAudioClassification.from_pretrained(tmp_path).config.num_labels == 3
    assert type(AutoFeatureExtractor.from_pretrained(tmp_path)) is polyaudio.SSLAMFeatureExtractor


def test_a_subclass_of_a_user_is_saved_with_the_code_of_its_base(tmp_path):
    class Mine(polyaudio.SAMAudioForAudioClassification):
        pass

    Mine(polyaudio.SAMAudioConfig(**SAM_AUDIO)).save_pretrained(tmp_path)
    auto_map = json.loads((tmp_path / "config.json").read_text())["auto_map"]
    assert auto_map["AutoModelForAudioClassification"] == "modeling_sam_audio.SAMAudioForAudioClassification"
    assert "class SAMAudioForAudioClassification" in (tmp_path / "modeling_sam_audio.py").read_text()


def test_checkpoints_of_the_trainer_hold_the_code(tmp_path):
    model = polyaudio.SAMAudioForAudioClassification(polyaudio.SAMAudioConfig(**SAM_AUDIO))
    arguments = TrainingArguments(
        tmp_path, max_steps=1, per_device_train_batch_size=2, save_strategy="steps", save_steps=1, report_to="none"
    )
    clips = [{"input_values": torch.randn(32, 80), "labels": label} for label in (0, 1)]
    trainer = Trainer(model, arguments, train_dataset=clips, processing_class=polyaudio.SAMAudioFeatureExtractor())
    trainer.train()
    trainer.save_model()
    for folder in (tmp_path / "checkpoint-1", tmp_path):
        assert {"modeling_sam_audio.py", "saving.py", "tonic_chroma.py"} <= python_files(folder)
        assert not (folder / "_saving").exists()
        assert "AutoModelForPreTraining" in json.loads((folder / "config.json").read_text())["auto_map"]


def test_an_encoder_of_the_saved_code_is_the_pretrained_one(folders):
    """The whole auto_map stands in each folder: a pre-training checkpoint gives encoders and classifiers too."""
    folder = folders["AutoModelForPreTraining-sslam"]
    pretrained = AutoModelForPreTraining.from_pretrained(folder)
    encoder = AutoModel.from_pretrained(folder)
    assert torch.equal(encoder.layers[0].mlp.fc1.weight, pretrained.sslam.layers[0].mlp.fc1.weight)
