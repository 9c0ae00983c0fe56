"""Exported models answer as in torch, through the runtime of their format."""

import json
import os
import subprocess
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from exports import write_export

from builders import SAM_AUDIO, SSLAM, dataset_in_memory, write_tones
from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    SAMAudioModel,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
    SSLAMForAudioFrameClassification,
    export_model,
)
from prepared_python import python


pytest.importorskip("transformers", minversion="5.23", reason="exports need it, and so Python 3.11")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

RATE = 16000
LABELS = {"id2label": {0: "high", 1: "low", 2: "none"}, "label2id": {"high": 0, "low": 1, "none": 2}}
SMALL = {**SSLAM, "num_hidden_layers": 1, "window_frames": 128, **LABELS}
SEVERAL = {"problem_type": "multi_label_classification"}
ONE = {"problem_type": "single_label_classification"}
EXTRACTOR = SSLAMFeatureExtractor(max_length=128)
SHORT_STRIDES = {**SAM_AUDIO, "conv_stride": [2, 2], **LABELS}


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    noise = 0.05 * np.random.default_rng(seed).standard_normal(len(time))
    return (0.3 * np.sin(2 * np.pi * (300 + 200 * seed) * time) + noise).astype(np.float32)


def decided(model):
    """A model whose answers differ clearly from clip to clip, as those of a trained one do."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module.out_features == 3:
            torch.nn.init.normal_(module.weight, std=2.0)
    return model.eval()


def torch_logits(model, extractor, clips, **call) -> torch.Tensor:
    features = extractor(clips, sampling_rate=RATE, return_tensors="pt", **call)
    with torch.no_grad():
        return model(features["input_values"], attention_mask=features["attention_mask"]).logits


def run_features(folder: Path, extractor, clips: list[np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    features = extractor(clips, sampling_rate=RATE, return_tensors="np")
    mask = features["attention_mask"].astype(np.int64)
    return session.run(["logits"], {"input_values": features["input_values"], "attention_mask": mask})[0]


@pytest.fixture(scope="module")
def clips_model():
    torch.manual_seed(0)
    return decided(SSLAMForAudioClassification(SSLAMConfig(**SMALL, **SEVERAL)))


def test_frames_of_a_frame_classifier(tmp_path):
    torch.manual_seed(0)
    model = decided(SSLAMForAudioFrameClassification(SSLAMConfig(**SMALL, **ONE, frame_upsampling=2)))
    report = export_model(model, tmp_path / "exported", feature_extractor=EXTRACTOR)
    assert report.worst_difference < 1e-5
    assert (report.measure, report.limit, report.agreement, report.clips) == ("worst_difference", 1e-4, 1.0, 3)
    assert report.size == sum(path.stat().st_size for path in (tmp_path / "exported").iterdir())
    for seconds in (0.3, 3.0):
        expected = torch_logits(model, EXTRACTOR, [sound(seconds)])
        logits = run_features(tmp_path / "exported", EXTRACTOR, [sound(seconds)])
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
    description = json.loads((tmp_path / "exported" / "polyaudio_export.json").read_text())
    assert (description["task"], description["timeline"]["answer"]) == ("frames", 1280)


def test_adapters_become_part_of_the_weights(tmp_path):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    model = SAMAudioForAudioClassification(SAMAudioConfig(**SAM_AUDIO, **LABELS, **ONE)).eval()
    adapter = LoraConfig(target_modules=["q_proj", "conv"], modules_to_save=["classifier"], r=2)
    model = get_peft_model(model, adapter).get_base_model()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    extractor = SAMAudioFeatureExtractor()
    export_model(model, tmp_path / "exported", feature_extractor=extractor)
    logits = run_features(tmp_path / "exported", extractor, [sound(1.0)])
    np.testing.assert_allclose(logits, torch_logits(model.eval(), extractor, [sound(1.0)]), rtol=0, atol=1e-4)
    assert any("lora_B" in name for name, _ in model.named_parameters())  # the model itself did not change


@pytest.mark.parametrize("precision", ["float16", "int8-dynamic", "int8-static"])
def test_smaller_precisions(clips_model, tmp_path, precision):
    files = write_tones(tmp_path / "sounds", {"high": 3000.0, "low": 300.0}, 3)
    calibration = {"calibration": files} if precision == "int8-static" else {}
    report = export_model(
        clips_model,
        tmp_path / "exported",
        feature_extractor=EXTRACTOR,
        precision=precision,
        files=files,
        **calibration,
    )
    assert report.clips == 6
    assert 0 < report.worst_difference < 0.3
    assert report.measure == ("worst_difference" if precision == "float16" else "other_labels")
    assert report.agreement == 1.0
    logits = run_features(tmp_path / "exported", EXTRACTOR, [sound(1.0)])
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, torch_logits(clips_model, EXTRACTOR, [sound(1.0)]), rtol=0, atol=0.3)


def test_half_precision_leaves_the_front_end(tmp_path):
    pytest.importorskip("openvino")
    torch.manual_seed(0)
    model = decided(SAMAudioForAudioClassification(SAMAudioConfig(**SHORT_STRIDES, **ONE)))
    tone = np.sin(2 * np.pi * 300 / RATE * np.arange(RATE))  # and silence in the other bands
    soundfile.write(tmp_path / "tone.wav", tone, RATE, subtype="FLOAT")
    arguments = {"feature_extractor": SAMAudioFeatureExtractor(), "format": "openvino", "precision": "float16"}
    report = export_model(
        model, tmp_path / "exported", front_end=True, files=tmp_path / "tone.wav", limit=10.0, **arguments
    )
    assert report.worst_difference < 0.05


def test_static_int8_leaves_products_of_activations(tmp_path):
    model = SAMAudioForAudioClassification(SAMAudioConfig(**SAM_AUDIO, **LABELS)).eval()
    files = write_tones(tmp_path / "sounds", {"high": 3000.0}, 1)
    arguments = {"feature_extractor": SAMAudioFeatureExtractor(), "calibration": files, "files": files, "limit": 1.0}
    export_model(model, tmp_path / "exported", precision="int8-static", **arguments)
    graph = onnx.load(tmp_path / "exported" / "model.onnx").graph
    weights = {initializer.name for initializer in graph.initializer}
    quantized = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    products = [node for node in graph.node if node.op_type == "MatMul" and node.input[0] in quantized]
    assert products
    assert all(quantized[node.input[1]] in weights for node in products)


def test_a_program_without_front_end_takes_features(tmp_path):
    torch.manual_seed(0)
    model = decided(SAMAudioForAudioClassification(SAMAudioConfig(**SAM_AUDIO, **LABELS, problem_type="regression")))
    extractor = SAMAudioFeatureExtractor()
    report = export_model(model, tmp_path / "exported", feature_extractor=extractor)
    assert (report.input, report.agreement) == ("features", None)
    clips = [sound(1.0), sound(0.4)]
    logits = run_features(tmp_path / "exported", extractor, clips)
    np.testing.assert_allclose(logits, torch_logits(model, extractor, clips), rtol=0, atol=1e-4)
    assert json.loads((tmp_path / "exported" / "polyaudio_export.json").read_text())["timeline"] is None


@pytest.mark.parametrize("format", ["torch-export", "openvino", "executorch"])
def test_other_formats(clips_model, tmp_path, format):
    if format != "torch-export":
        pytest.importorskip(format)
    report = export_model(clips_model, tmp_path / "exported", feature_extractor=EXTRACTOR, format=format)
    assert report.worst_difference < 1e-5  # among them a clip of one window and one of more, by the runtime itself
    description = json.loads((tmp_path / "exported" / "polyaudio_export.json").read_text())
    assert (description["format"], description["input"]) == (format, "features")
    assert description.get("input_shape") == ([1, 128, 128] if format == "executorch" else None)


@pytest.mark.parametrize("format", ["openvino", "executorch"])
def test_other_formats_have_no_need_of_float64(tmp_path, format):
    # A loud tone with a smooth beginning leaves other bands nearly silent, where float32 has rounding errors
    pytest.importorskip(format)
    torch.manual_seed(0)
    model = SAMAudioForAudioClassification(SAMAudioConfig(**SAM_AUDIO, **LABELS)).eval()
    times = np.arange(RATE) / RATE
    tone = 0.9 * np.hanning(RATE) * np.sin(2 * np.pi * 440 * times)
    soundfile.write(tmp_path / "tone.wav", tone, RATE, subtype="FLOAT")
    report = export_model(
        model,
        tmp_path / "exported",
        feature_extractor=SAMAudioFeatureExtractor(),
        format=format,
        front_end=True,
        files=[tmp_path / "tone.wav"],
    )
    assert report.worst_difference < 1e-5


def test_openvino_reports_to_nobody(clips_model, tmp_path):
    """In a fresh interpreter, as its converter asks only once whether it may report."""
    pytest.importorskip("openvino_telemetry")
    clips_model.save_pretrained(tmp_path / "model")
    EXTRACTOR.save_pretrained(tmp_path / "model")
    program = (
        "import os\n"
        "from openvino_telemetry.backend.backend_ga4 import GA4Backend\n"
        "GA4Backend.send = lambda self, message: open('reported', 'w').close()\n"
        "from polyaudio import export_model\n"
        "export_model('model', 'exported', format='openvino')\n"
        "print('exported', os.environ.get('CI'))"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    done = subprocess.run(
        [python(), "-c", program],
        cwd=tmp_path,
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1:] == ["exported None"], done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"model", "exported"}


def test_the_gate_leaves_nothing_behind(clips_model, tmp_path):
    with pytest.raises(ValueError, match=r"worst difference is \S+e-0\d, and the limit is 1e-12"):
        export_model(clips_model, tmp_path / "exported", feature_extractor=EXTRACTOR, limit=1e-12)
    assert list(tmp_path.iterdir()) == []


def test_a_score_on_a_dataset_is_held_against_the_limit(clips_model, tmp_path):
    clips = dataset_in_memory(write_tones(tmp_path / "sounds", {"high": 3000.0, "low": 300.0}, 2))
    report = export_model(
        decided(SAMAudioForAudioClassification(SAMAudioConfig(**SAM_AUDIO, **LABELS, **ONE))),
        tmp_path / "exported",
        feature_extractor=SAMAudioFeatureExtractor(),
        format="torch-export",  # the one that takes the shortest time
        dataset=clips,
    )
    assert report.measure == "loss_of_score"
    assert report.scores["score"] == "accuracy"
    assert report.scores["torch"] == report.scores["export"]


def test_what_is_in_the_way_stays(clips_model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else than an exported model"):
        export_model(clips_model, tmp_path, feature_extractor=EXTRACTOR, overwrite=True)
    with pytest.raises(ValueError, match="already holds an exported model"):
        export_model(clips_model, write_export(tmp_path / "exported"), feature_extractor=EXTRACTOR)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "tflite"}, "There is no format 'tflite'"),
        ({"format": "openvino", "precision": "int8-dynamic"}, "has no precision 'int8-dynamic'"),
        ({"precision": "int8-static"}, "needs calibration"),
        ({"what": "classifier"}, "not a classifier"),
    ],
)
def test_what_cannot_be_exported(tmp_path, arguments, message):
    pytest.importorskip("openvino") if arguments.get("format") == "openvino" else None
    model = SAMAudioModel(SAMAudioConfig(**SAM_AUDIO, name_or_path="encoder"))
    with pytest.raises(ValueError, match=message):
        export_model(model, tmp_path / "exported", feature_extractor=SAMAudioFeatureExtractor(), **arguments)


def test_old_exporters_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("polyaudio.export.formats.exporters", types.SimpleNamespace())
    model = SAMAudioModel(SAMAudioConfig(**SAM_AUDIO))
    with pytest.raises(ValueError, match=r"Exports need transformers 5\.23 or newer, which needs Python 3\.11"):
        export_model(model, tmp_path / "exported", feature_extractor=SAMAudioFeatureExtractor())


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    model = SAMAudioModel(SAMAudioConfig(**SAM_AUDIO))
    with pytest.raises(ValueError, match=r"needs onnx and onnxscript and onnxruntime.*polyaudio\[export\]"):
        export_model(model, tmp_path / "exported", feature_extractor=SAMAudioFeatureExtractor())
