# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`pipeline("sound-event-detection")`: all kinds of input, and models saved with it, with and without polyaudio."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

import polyaudio  # noqa: F401 (registers the pipeline)
from builders import RATE, SSLAM
from polyaudio import (
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
    SSLAMForAudioFrameClassification,
    annotate,
)
from prepared_python import WITHOUT_POLYAUDIO, python


LABELS = {"id2label": {0: "high", 1: "low"}, "label2id": {"high": 0, "low": 1}, "initializer_range": 0.3}


def save(folder: Path, model_class: type, **settings) -> str:
    torch.manual_seed(0)
    model_class(SSLAMConfig(**SSLAM, **LABELS, **settings)).save_pretrained(folder)
    SSLAMFeatureExtractor(max_length=64, mask_padding=True).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model")
    return save(folder, SSLAMForAudioFrameClassification, window_frames=64, problem_type="multi_label_classification")


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> str:
    rng = np.random.default_rng(0)
    noise = np.repeat(rng.random(180), 800) * rng.standard_normal(180 * 800) * 0.3
    path = tmp_path_factory.mktemp("recording") / "noise.wav"
    soundfile.write(path, noise, RATE, subtype="FLOAT")
    return str(path)


def assert_same(found: list[dict], expected: list[dict]) -> None:
    assert [(one["onset"], one["offset"], one["label"]) for one in found] == [
        (one["onset"], one["offset"], one["label"]) for one in expected
    ]
    assert np.allclose([one["score"] for one in found], [one["score"] for one in expected], atol=1e-4)


def test_the_events_are_those_of_annotate(model, recording):
    detector = pipeline("sound-event-detection", model=model)
    events = detector(recording)
    (annotation,) = annotate(recording, model)
    assert len(events) > 2
    assert_same(events, [vars(event) for event in annotation.events])
    settings = {"chunk_length_s": 0.64, "stride_length_s": (0.1, 0.06), "resolution_s": 0.08, "threshold": 0.6}
    (annotation,) = annotate(recording, model, window=0.64, hop=0.48, resolution=0.08, threshold=0.6)
    assert_same(detector(recording, **settings), [vars(event) for event in annotation.events])
    rules = {"threshold": 0.6, "min_duration": 0.5}
    assert all(one["offset"] - one["onset"] > 0.49 for one in detector(recording, event_rules=rules))


def test_a_recording_may_be_given_in_any_form(model, recording):
    detector = pipeline("sound-event-detection", model=model, batch_size=4)
    samples, _ = soundfile.read(recording, dtype="float32")
    expected = detector(recording)
    forms = [
        Path(recording).read_bytes(),
        samples,
        torch.from_numpy(samples),
        {"array": samples, "sampling_rate": RATE},
        {"raw": samples, "sampling_rate": RATE},
        {"path": recording, "bytes": None},
    ]
    for form in forms:
        assert_same(detector(form), expected)
    for answers in (detector([samples, recording]), list(detector(one for one in (recording, samples)))):
        assert len(answers) == 2
        for answer in answers:
            assert_same(answer, expected)
    rows = [{"audio": recording}, {"audio": recording}]
    for answer in detector(KeyDataset(rows, "audio"), batch_size=2):
        assert_same(answer, expected)
    slower = {"array": np.repeat(samples, 2), "sampling_rate": 2 * RATE}
    assert abs(len(detector(slower)) - len(expected)) < len(expected)


def test_what_cannot_be_heard_is_refused(model, recording):
    detector = pipeline("sound-event-detection", model=model)
    with pytest.raises(ValueError, match="no argument 'top_k'"):
        detector(recording, top_k=3)
    with pytest.raises(ValueError, match="sampling_rate"):
        detector({"array": np.zeros(RATE, np.float32)})
    with pytest.raises(ValueError, match="does not exist"):
        detector("missing.wav")
    with pytest.raises(ValueError, match="mono"):
        detector(np.zeros((2, RATE), np.float32))


def test_a_clip_classifier_has_events_too(recording, tmp_path):
    model = save(tmp_path, SSLAMForAudioClassification, window_frames=64)
    detector = pipeline("sound-event-detection", model=model)
    events = detector(recording, threshold=0.4, stride_length_s=0.2)
    assert events
    (annotation,) = annotate(recording, model, threshold=0.4, hop=0.24)
    assert_same(events, [vars(event) for event in annotation.events])


DETECTS = (
    WITHOUT_POLYAUDIO
    + """
import json
from transformers import pipeline
detector = pipeline("sound-event-detection", model=sys.argv[1], trust_remote_code=True)
events = detector(sys.argv[2])
detector.save_pretrained(sys.argv[3])
again = pipeline("sound-event-detection", model=sys.argv[3], trust_remote_code=True)
print(json.dumps([events, again(sys.argv[2])]))
"""
)


def test_a_saved_model_has_the_pipeline_without_polyaudio(model, recording, tmp_path):
    """As a model from the Hub that is used where polyaudio is not installed; saving the pipeline keeps its code."""
    expected = pipeline("sound-event-detection", model=model)(recording)
    program = [python("torch"), "-c", DETECTS, model, recording, str(tmp_path / "again")]
    result = subprocess.run(program, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for events in json.loads(result.stdout.splitlines()[-1]):
        assert_same(events, expected)


def test_polyaudio_needs_no_trust_for_its_own_pipeline(model, recording, tmp_path):
    """The code beside a model is for those without polyaudio. With it, the pipeline of the package serves."""
    detector = pipeline("sound-event-detection", model=model)
    assert type(detector).__module__ == "polyaudio.inference.pipeline_sound_event_detection"
    detector.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    assert list(settings["custom_pipelines"]) == ["sound-event-detection"]
    assert (tmp_path / "pipeline_sound_event_detection.py").is_file()
    again = pipeline("sound-event-detection", model=str(tmp_path))
    assert_same(again(recording), detector(recording))
    labels = pipeline("audio-classification", model=save(tmp_path / "clips", SSLAMForAudioClassification))
    assert len(labels(soundfile.read(recording, dtype="float32")[0][:RATE])) == 2
