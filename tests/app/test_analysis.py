# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What the page shows is what the command line gives."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hostile_audio import damaged

from builders import SAM_AUDIO
from polyaudio import (
    EventRules,
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    annotate,
    export_model,
    predict,
)
from polyaudio.app import analysis
from polyaudio.app.analysis import Analyst
from polyaudio.data.audio import AudioFileError
from polyaudio.inference import annotation_page
from polyaudio.inference.annotation_files import FORMATS


LABELS = {"id2label": {0: "high", 1: "low"}, "label2id": {"high": 0, "low": 1}, "initializer_range": 0.3}


def test_a_classifier_of_clips_gives_the_labels_of_predict_and_the_events_of_annotate(clips, recordings, tmp_path):
    file = recordings / "bursts.flac"
    found = Analyst(clips).analyse(file, tmp_path)
    (prediction,), (annotation,) = predict(file, clips), annotate(file, clips)
    assert found.labels == prediction.labels
    assert len(annotation.events) >= 1
    assert found.rows == [
        (round(e.onset, 3), round(e.offset, 3), e.label, round(e.score, 3)) for e in annotation.events
    ]
    assert found.notes == []


def test_a_frame_classifier_gives_the_highest_score_of_each_label(frames, recordings, tmp_path):
    file = recordings / "bursts.flac"
    found = Analyst(frames).analyse(file, tmp_path)
    (annotation,) = annotate(file, frames)
    peaks = dict(zip(annotation.labels, annotation.overview.scores.max(0).tolist(), strict=True))
    assert {one.label: one.score for one in found.labels} == pytest.approx(peaks)
    assert [one.score for one in found.labels] == sorted(peaks.values(), reverse=True)
    assert len(found.rows) == len(annotation.events) > 1
    assert found.notes == ["The score of a label is its highest score in the recording."]


def test_an_export_gives_what_its_model_gives(recordings, tmp_path):
    """By a classifier of waveforms, which is exported in the shortest time."""
    pytest.importorskip("transformers", minversion="5.23", reason="exports need it, and so Python 3.11")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install polyaudio[export]")
    torch.manual_seed(0)
    config = SAMAudioConfig(**{**SAM_AUDIO, "frontend": "waveform", "conv_stride": [16, 16]}, **LABELS)
    SAMAudioForAudioClassification(config).save_pretrained(tmp_path / "model")
    SAMAudioFeatureExtractor("waveform").save_pretrained(tmp_path / "model")
    export_model(tmp_path / "model", tmp_path / "exported", front_end=True)
    found, expected = (
        Analyst(str(model)).analyse(recordings / "bursts.flac", Path(tempfile.mkdtemp(dir=tmp_path)))
        for model in (tmp_path / "exported", tmp_path / "model")
    )
    assert [one.label for one in found.labels] == [one.label for one in expected.labels]
    assert [one.score for one in found.labels] == pytest.approx([one.score for one in expected.labels], abs=1e-4)
    assert [row[:3] for row in found.rows] == [row[:3] for row in expected.rows]


def test_the_files_name_the_recording_without_its_folder(frames, recordings, tmp_path):
    found = Analyst(frames).analyse(recordings / "bursts.flac", tmp_path)
    endings = [*(one.extension for one in FORMATS.values()), ".png", ".html"]
    assert [file.name for file in found.files] == [f"bursts.flac{ending}" for ending in endings]
    assert set(found.files) == set(tmp_path.iterdir()), "nothing else is left"
    assert found.picture.read_bytes().startswith(b"\x89PNG")
    line = json.loads((tmp_path / "bursts.flac.jsonl").read_text())
    assert line["file"] == "bursts.flac"
    assert len(line["events"]) == len(found.rows)
    for file in found.files:
        assert str(recordings).encode() not in file.read_bytes()


def test_the_page_plays_a_large_recording_that_lies_beside_it(clips, recordings, tmp_path, monkeypatch):
    Analyst(clips).analyse(recordings / "bursts.flac", tmp_path)
    assert "data:audio/flac;base64" in (tmp_path / "bursts.flac.html").read_text()
    monkeypatch.setattr(annotation_page, "_MOST_EMBEDDED", 100)
    Analyst(clips).analyse(recordings / "bursts.flac", tmp_path)
    assert 'src="bursts.flac"' in (tmp_path / "bursts.flac.html").read_text()


def test_of_many_events_the_table_shows_the_first(frames, recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(analysis, "MOST_EVENTS", 1)
    found = Analyst(frames).analyse(recordings / "bursts.flac", tmp_path)
    number = len(json.loads((tmp_path / "bursts.flac.jsonl").read_text())["events"])
    assert len(found.rows) == 1 < number
    assert found.notes[1:] == [f"The table shows the first 1 of {number} events. The files hold all of them."]


def test_a_damaged_recording_is_shown_with_its_gaps(clips, recordings, tmp_path):
    file = tmp_path / "damaged.flac"
    file.write_bytes(damaged((recordings / "bursts.flac").read_bytes(), "FLAC"))
    (tmp_path / "out").mkdir()
    found = Analyst(clips).analyse(file, tmp_path / "out")
    assert found.labels == []
    assert "cannot be read and count as silence" in found.notes[0]
    assert "There are no labels of the whole recording" in found.notes[-1]
    assert len(found.files) == len(FORMATS) + 2


def test_no_events_are_a_note(frames, recordings, tmp_path):
    model, output = shutil.copytree(frames, tmp_path / "model"), tmp_path / "out"
    config = json.loads((model / "config.json").read_text())
    config["event_rules"] = EventRules(threshold=0.9999).to_dict()
    (model / "config.json").write_text(json.dumps(config))
    output.mkdir()
    found = Analyst(str(model)).analyse(recordings / "tone.wav", output)
    assert found.rows == []
    assert found.notes[1:] == ["There are no events: no score is above the threshold of the model."]


def test_errors(clips, recordings, tmp_path):
    with pytest.raises(AudioFileError, match=r"text.wav is not audio"):
        Analyst(clips).analyse(recordings / "text.wav", tmp_path)
    with pytest.raises(AudioFileError, match=r"gone.wav does not exist"):
        Analyst(clips).analyse(recordings / "gone.wav", tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="neither a model folder nor a model"):
        Analyst(str(tmp_path / "nowhere"))


def test_the_model_is_loaded_once_and_only_when_it_is_needed(clips, recordings, tmp_path, monkeypatch):
    loaded = []
    load = analysis.load_classifier
    monkeypatch.setattr(analysis, "load_classifier", lambda model: loaded.append(model) or load(model))
    analyst = Analyst(clips)
    assert loaded == []
    for name in ("tone.wav", "noise.wav"):
        analyst.analyse(recordings / name, tmp_path)
    assert loaded == [clips]


@pytest.mark.parametrize("model", ["clips", "frames"])
def test_progress_grows_to_the_end(model, recordings, tmp_path, request):
    shares: list[float] = []
    texts: list[str] = []

    def progress(share: float, text: str) -> None:
        shares.append(share)
        texts.append(text)

    Analyst(request.getfixturevalue(model)).analyse(Path(recordings / "bursts.flac"), tmp_path, progress)
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == pytest.approx(0.9)
    labelling = ["Labelling"] if model == "clips" else []
    assert list(dict.fromkeys(texts)) == ["Loading the model", "Finding events", *labelling, "Drawing"]
