# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What an export answers in onnxruntime is what its model answers in torch: labels, events, timelines, features.

Programs with their front end inside take seconds to make, so all tests that run one are here, and share them.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

import polyaudio
from builders import SAM_AUDIO, SSLAM, TONES, write_events, write_tones
from polyaudio import annotate, embed, evaluate, predict


pytestmark = pytest.mark.slow

pytest.importorskip("transformers", minversion="5.23", reason="exports need it, and so Python 3.11")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install polyaudio[export]")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install polyaudio[onnx]")

RATE = 16_000
LABELS = {"id2label": {0: "high", 1: "low"}, "label2id": {"high": 0, "low": 1}}
SECONDS = (0.02, 0.3, 0.64, 0.655, 1.0, 1.2951, 5.13, 10.3)


def sslam(ending: str, mask_padding: bool = False, **settings) -> tuple:
    sizes = {**SSLAM, "num_hidden_layers": 1, "window_frames": 64, "initializer_range": 0.2}
    config = polyaudio.SSLAMConfig(**sizes, mask_padding=mask_padding, **settings)
    extractor = polyaudio.SSLAMFeatureExtractor(max_length=64, mask_padding=mask_padding)
    return getattr(polyaudio, f"SSLAM{ending}")(config), extractor


def sam_audio(ending: str, frontend: str = "log_mel", **settings) -> tuple:
    sizes = {"feature_size": 1} if frontend == "waveform" else {}
    config = polyaudio.SAMAudioConfig(**SAM_AUDIO, **sizes, frontend=frontend, initializer_range=0.2, **settings)
    return getattr(polyaudio, f"SAMAudio{ending}")(config), polyaudio.SAMAudioFeatureExtractor(frontend)


MULTI = {"problem_type": "multi_label_classification"}
CLASSIFIERS: dict[str, Callable[[], tuple]] = {
    "sslam": lambda: sslam("ForAudioClassification", **LABELS),
    "sslam that masks padding": lambda: sslam("ForAudioClassification", mask_padding=True, **LABELS, **MULTI),
    "sam_audio": lambda: sam_audio("ForAudioClassification", window_frames=64, **LABELS),
    # The programs of `tonic_pitch` and `tonic_chroma`, side by side
    "tonic_pitch+chroma": lambda: sam_audio("ForAudioClassification", "tonic_pitch+chroma", **LABELS),
}
ENCODERS: dict[str, Callable[[], tuple]] = {
    "encoder": lambda: sslam("Model"),
    "centred encoder": lambda: sam_audio("Model", window_frames=64),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Callable[[str, Callable[[], tuple]], tuple[str, str]]:
    """Saves and exports a model once; returns both folders."""
    folder, done = tmp_path_factory.mktemp("models"), {}

    def both(name: str, make: Callable[[], tuple]) -> tuple[str, str]:
        if name not in done:
            torch.manual_seed(0)
            model, extractor = make()
            source, export = folder / name / "model", folder / name / "export"
            model.save_pretrained(source)
            extractor.save_pretrained(source)
            polyaudio.export_model(str(source), export, front_end=True)
            done[name] = str(source), str(export)
        return done[name]

    return both


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Recordings of notes, of many lengths, two of them at other rates and one in stereo."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for index, seconds in enumerate(SECONDS):
        rate, channels = {4: (44_100, 2), 5: (8_000, 1)}.get(index, (RATE, 1))
        time = np.arange(round(seconds * rate)) / rate
        pitch = 200 + 300 * np.floor(3 * time) % 1700
        notes = 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / rate) * (0.5 + 0.5 * np.sin(7 * time))
        noise = 0.02 * rng.standard_normal((len(time), channels))
        soundfile.write(folder / f"{index}.wav", notes[:, None] + noise, rate)
    return folder


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    noise = 0.05 * np.random.default_rng(seed).standard_normal(len(time))
    return (0.3 * np.sin(2 * np.pi * (300 + 200 * seed) * time) + noise).astype(np.float32)


def torch_logits(model: str, clips: list[np.ndarray], **call) -> torch.Tensor:
    extractor = AutoFeatureExtractor.from_pretrained(model)
    features = extractor(clips, sampling_rate=RATE, return_tensors="pt", **call)
    with torch.no_grad():
        loaded = AutoModelForAudioClassification.from_pretrained(model).eval()
        return loaded(features["input_values"], attention_mask=features["attention_mask"]).logits


def outputs_of(export: str, clips: list[np.ndarray]) -> dict[str, np.ndarray]:
    """What the program answers, by the names of its outputs."""
    session = onnxruntime.InferenceSession(str(Path(export, "model.onnx")))
    longest = max(map(len, clips))
    samples = np.stack([np.pad(clip, (0, longest - len(clip))) for clip in clips])
    mask = np.stack([np.arange(longest) < len(clip) for clip in clips]).astype(np.int64)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input_values": samples, "attention_mask": mask}), strict=True))


@pytest.mark.parametrize("seconds", [0.02, 0.2, 10_480 / RATE, 3.0, 7.7])
def test_a_clip_of_any_length_gets_the_logits_of_torch(exported, seconds):
    model, export = exported("sslam", CLASSIFIERS["sslam"])
    clip = sound(seconds)
    np.testing.assert_allclose(outputs_of(export, [clip])["logits"], torch_logits(model, [clip]), rtol=0, atol=1e-4)


def test_a_batch_gets_the_logits_of_its_clips(exported):
    model, export = exported("sslam", CLASSIFIERS["sslam"])
    clips = [sound(2.0, seed) for seed in range(3)]
    np.testing.assert_allclose(outputs_of(export, clips)["logits"], torch_logits(model, clips), rtol=0, atol=1e-4)


def test_padding_of_a_batch_is_not_heard(exported):
    model, export = exported("sslam", CLASSIFIERS["sslam"])
    short, long = sound(0.5), sound(2.0, seed=1)
    expected = [torch_logits(model, [one], padding="longest") for one in (short, long)]
    np.testing.assert_allclose(outputs_of(export, [short, long])["logits"], torch.cat(expected), rtol=0, atol=1e-4)


def test_the_tonic_and_the_melody_are_found_in_the_program(exported):
    model, export = exported("tonic_pitch+chroma", CLASSIFIERS["tonic_pitch+chroma"])
    for seed, seconds in enumerate((0.2, 1.0, 4.0)):
        clip = sound(seconds, seed)
        expected = torch_logits(model, [clip])
        np.testing.assert_allclose(outputs_of(export, [clip])["logits"], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_gives_what_embed_writes(exported, tmp_path, name):
    model, export = exported(name, ENCODERS[name])
    soundfile.write(tmp_path / "clip.wav", sound(0.6), RATE, subtype="FLOAT")
    outputs = outputs_of(export, [sound(0.6)])
    for output, granularity in (("utterance", "utterance"), ("frames", "frame")):
        (clip,) = embed(tmp_path / "clip.wav", model, granularity=granularity)
        np.testing.assert_allclose(outputs[output][0], clip.features, rtol=0, atol=1e-4)
    embedding = json.loads(Path(export, "polyaudio_export.json").read_text())["embedding"]
    assert embedding == {"size": 32, "seconds_per_frame": clip.frame_seconds}


def test_the_folder_says_what_a_runtime_needs(exported):
    folder = Path(exported("sslam that masks padding", CLASSIFIERS["sslam that masks padding"])[1])
    description = json.loads((folder / "polyaudio_export.json").read_text())
    assert description.pop("check")["worst_difference"] < 1e-5
    assert description == {
        "format_version": 1,
        "format": "onnx",
        "precision": "float32",
        "input": "samples",
        "task": "clips",
        "model_type": "sslam",
        "sampling_rate": RATE,
        "labels": ["high", "low"],
        "problem_type": "multi_label_classification",
        "window": {"samples": 10_480, "step": 10_240, "margin": 0},
        "shortest": 400,
        "timeline": {
            "length": 10_240,
            "size": 10_480,
            "step": 5_120,
            "answer": 5_120,
            "cell": 5_120,
            "join": "fade",
        },
        "frame_hop": 160,
        "event_rules": None,
        "calibration": None,
        "embedding": None,
    }
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["SSLAMForAudioClassification"]
    assert json.loads((folder / "preprocessor_config.json").read_text())["max_length"] == 64
    assert b".py" not in (folder / "model.onnx").read_bytes()  # no names of files of this machine


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_predict(exported, recordings, name):
    model, export = exported(name, CLASSIFIERS[name])
    for expected, found in zip(predict(recordings, model), predict(recordings, export), strict=True):
        scores = {one.label: one.score for one in expected.labels}
        assert {one.label: one.score for one in found.labels} == pytest.approx(scores, abs=2e-5)


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize(
    "settings", [{}, {"window": 0.5, "hop": 0.2, "join": "max"}], ids=["default", "short windows"]
)
def test_annotate(exported, recordings, name, settings):
    model, export = exported(name, CLASSIFIERS[name])
    both = zip(annotate(recordings, model, **settings), annotate(recordings, export, **settings), strict=True)
    for expected, found in both:
        np.testing.assert_allclose(found.overview.scores, expected.overview.scores, atol=3e-5)
        assert found.labels == expected.labels


def frames() -> tuple:
    return sslam("ForAudioFrameClassification", **LABELS, **MULTI)


@pytest.mark.parametrize("settings", [{}, {"window": 0.5}, {"resolution": 0.08}], ids=str)
def test_events_of_a_frame_classifier(exported, recordings, settings):
    model, export = exported("frames", frames)

    def times(answer) -> list[tuple]:
        return [(one.onset, one.offset, one.label) for one in answer.events]

    if not settings:
        for expected, found in zip(predict(recordings, model), predict(recordings, export), strict=True):
            assert times(found) == times(expected)
    both = zip(annotate(recordings, model, **settings), annotate(recordings, export, **settings), strict=True)
    for expected, found in both:
        np.testing.assert_allclose(found.overview.scores, expected.overview.scores, atol=3e-5)
        assert times(found) == times(expected)


@pytest.mark.parametrize("granularity", ["utterance", "frame"])
def test_embed(exported, recordings, granularity):
    model, export = exported("encoder", ENCODERS["encoder"])
    both = (embed(recordings, name, granularity=granularity) for name in (model, export))
    for expected, found in zip(*both, strict=True):
        np.testing.assert_allclose(found.features, expected.features, atol=5e-5)
        assert found.frame_seconds == expected.frame_seconds


def test_embed_with_centred_frames_up_to_a_window(exported, recordings):
    model, export = exported("centred encoder", ENCODERS["centred encoder"])
    short = [recordings / f"{index}.wav" for index in range(5)]  # at most 1 s, and a window is 1.024 s
    for granularity in ("utterance", "frame"):
        both = (embed(short, name, granularity=granularity) for name in (model, export))
        for expected, found in zip(*both, strict=True):
            np.testing.assert_allclose(found.features, expected.features, atol=5e-5)


@pytest.mark.parametrize("name", ["sslam", "sam_audio"])
def test_evaluate_clips(exported, tmp_path, name):
    clips = str(write_tones(tmp_path / "tones", TONES, 4, seconds=(0.3, 2.5)))
    model, export = exported(name, CLASSIFIERS[name])
    expected, found = evaluate(model, clips), evaluate(export, clips)
    assert found.labels == expected.labels
    for part in ("clips", "recordings"):
        own, other = getattr(found, part), getattr(expected, part)
        assert own.values == pytest.approx(other.values, abs=1e-4)
        assert own.intervals == other.intervals


def test_evaluate_events(exported, tmp_path):
    clips = str(write_events(tmp_path / "events", 4, 0))
    model, export = exported("frames", frames)
    expected, found = evaluate(model, clips), evaluate(export, clips)
    assert found.labels == expected.labels
    assert found.clips.values == pytest.approx(expected.clips.values, abs=1e-3)
