# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What clients get of the model types without a word about polyaudio: LoRA's targets, feature extractors, no code."""

import json
import shutil
import subprocess

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoFeatureExtractor, AutoProcessor, pipeline

from builders import SAM_AUDIO, SSLAM, TONES, write_tones
from polyaudio import (
    AudioTrainingArguments,
    SAMAudioConfig,
    SAMAudioForAudioClassification,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
    embed,
    evaluate,
    fine_tune,
    predict,
)
from polyaudio.modeling.traits import traits_of
from prepared_python import python


# LoRA ---------------------------------------------------------------------------------------------

MODELS = {
    "sam_audio": lambda: SAMAudioForAudioClassification(SAMAudioConfig(**SAM_AUDIO)),
    "sslam": lambda: SSLAMForAudioClassification(SSLAMConfig(**SSLAM)),
}


@pytest.mark.parametrize("model_type", MODELS)
def test_lora_needs_no_target_modules(model_type):
    model = MODELS[model_type]()
    adapted = get_peft_model(model, LoraConfig(r=2))
    names = {name.partition(".lora_A")[0] for name, _ in adapted.named_parameters() if ".lora_A" in name}
    assert {name.rpartition(".")[2] for name in names} == set(traits_of(model.config).lora_modules["attention"])


@pytest.mark.parametrize("order", ["import peft, polyaudio", "import polyaudio, peft"])
def test_peft_finds_the_targets_whichever_is_imported_first(order):
    code = f"""
        {order}
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as targets
        print(*(sorted(targets[name])[0] for name in ("eat", "sam_audio", "sslam")))
    """
    lines = "\n".join(line.strip() for line in code.splitlines())
    run = subprocess.run([python("torch"), "-c", lines], capture_output=True, text=True)
    assert run.stdout.split() == ["k_proj"] * 3, run.stderr


# Published repositories ---------------------------------------------------------------------------


@pytest.fixture
def nobody_asks(monkeypatch):
    """Who asks a question gets an error."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))


@pytest.mark.parametrize("order", ["import polyaudio\nfrom {} import {}", "from {} import {}\nimport polyaudio"])
@pytest.mark.parametrize("imported", ["AutoModelForAudioClassification", "SequenceFeatureExtractor"])
def test_its_feature_extractor_is_found_in_any_order_of_imports(reference, order, imported):
    code = order.format("transformers", imported) + "\nimport transformers, sys\n"
    code += "print(type(transformers.AutoFeatureExtractor.from_pretrained(sys.argv[1])).__name__)"
    command = [python("torch"), "-c", code, reference / "hub_eat" / "finetuned"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.stdout.split() == ["SSLAMFeatureExtractor"], run.stderr


@pytest.mark.parametrize("auto_class", [AutoFeatureExtractor, AutoProcessor])
def test_a_published_repository_has_a_feature_extractor(reference, auto_class, nobody_asks):
    extractor = auto_class.from_pretrained(reference / "hub_eat" / "finetuned")
    assert type(extractor) is SSLAMFeatureExtractor
    assert extractor.max_length == 256  # the `img_size` of its configuration
    assert not extractor.mask_padding  # the published models hear the padding of a clip


def test_a_pipeline_takes_a_published_repository(reference, tmp_path, nobody_asks):
    classify = pipeline("audio-classification", model=str(reference / "hub_eat" / "finetuned"))
    assert len(classify(torch.randn(16000).numpy(), top_k=None)) == 9


def test_a_damaged_preprocessor_config_is_not_replaced_by_the_default(reference, tmp_path):
    shutil.copytree(reference / "hub_eat" / "finetuned", tmp_path, dirs_exist_ok=True)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(OSError, match="preprocessor_config"):
        AutoFeatureExtractor.from_pretrained(tmp_path)


def test_a_model_that_has_to_have_a_feature_extractor_gets_no_default(tmp_path):
    MODELS["sam_audio"]().save_pretrained(tmp_path)
    with pytest.raises(OSError, match="preprocessor_config"):
        AutoFeatureExtractor.from_pretrained(tmp_path)


# Code of checkpoints ------------------------------------------------------------------------------


def test_nothing_runs_the_code_of_a_checkpoint_because_of_a_prompt(tmp_path, monkeypatch):
    model, ran, data = tmp_path / "model", tmp_path / "ran", write_tones(tmp_path / "data", TONES, 2)
    clip = data / "low" / "0.wav"
    model.mkdir()
    code = {"AutoConfig": "code.Config", "AutoModel": "code.Model", "AutoModelForAudioClassification": "code.Model"}
    (model / "config.json").write_text(json.dumps({"model_type": "unheard_of", "auto_map": code}))
    (model / "preprocessor_config.json").write_text(json.dumps({"auto_map": {"AutoFeatureExtractor": "code.Model"}}))
    (model / "code.py").write_text(f"open({str(ran)!r}, 'w')")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    for use in (
        lambda: predict([clip], str(model)),
        lambda: embed([clip], str(model)),
        lambda: evaluate(str(model), str(data)),
        lambda: fine_tune(str(data), str(model), AudioTrainingArguments(str(tmp_path / "run"))),
    ):
        with pytest.raises(ValueError, match="trust_remote_code"):
            use()
    assert not ran.exists()
