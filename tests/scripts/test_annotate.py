# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio annotate`: files in all formats, recordings that cannot be read, and wrong arguments."""

import csv
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from builders import RATE, SAM_AUDIO, SSLAM
from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioFrameClassification,
    annotate,
    segment_attention,
)
from polyaudio.scripts.annotate import main


LABELS = {"id2label": {0: "high", 1: "low"}, "label2id": {"high": 0, "low": 1}, "initializer_range": 0.3}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    config = SSLAMConfig(**SSLAM, **LABELS, window_frames=64, problem_type="multi_label_classification")
    SSLAMForAudioFrameClassification(config).save_pretrained(folder)
    SSLAMFeatureExtractor(max_length=64, mask_padding=True).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def sam_audio(tmp_path_factory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sam_audio")
    SAMAudioForAudioClassification(SAMAudioConfig(**SAM_AUDIO, **LABELS)).save_pretrained(folder)
    SAMAudioFeatureExtractor().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    folder, rng = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    for name in ("a/noise.wav", "b/noise.wav"):
        (folder / name).parent.mkdir()
        noise = 0.3 * np.repeat(rng.random(100), 800) * rng.standard_normal(100 * 800)
        soundfile.write(folder / name, noise, RATE)
    return folder


def test_each_recording_gets_a_file_in_each_format(model, recordings, tmp_path, capsys):
    formats = ["csv", "jsonl", "audacity", "raven", "jams", "webvtt", "png", "html"]
    call = [
        str(recordings),
        "--model",
        model,
        "--output",
        str(tmp_path),
        "--resolution",
        "0.08",
        "--formats",
        *formats,
    ]
    assert main(call) == 0
    names = ["csv", "jsonl", "labels.txt", "selections.txt", "jams", "vtt", "png", "html"]
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {f"{folder}/noise.wav.{name}" for folder in "ab" for name in names}
    first, second = annotate(recordings, model, resolution=0.08)
    events = len(first.events) + len(second.events)
    assert capsys.readouterr().out == f"{events} events in 2 recordings, written to {tmp_path}\n"
    with open(tmp_path / "a" / "noise.wav.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["label"], float(row["onset"])) for row in rows] == [
        (event.label, pytest.approx(event.onset)) for event in first.events
    ]
    line = json.loads((tmp_path / "b" / "noise.wav.jsonl").read_text())
    assert [event["offset"] for event in line["events"]] == pytest.approx([event.offset for event in second.events])


def test_recordings_of_an_archive_are_saved_beside_their_annotations(model, recordings, tmp_path, capsys):
    with tarfile.open(tmp_path / "clips.tar", "w") as archive:
        archive.add(recordings / "a" / "noise.wav", "../../outside.wav")
        archive.add(recordings / "b" / "noise.wav", "b.wav")
        archive.add(recordings / "b" / "noise.wav", "outside.wav")
    with tarfile.open(tmp_path / "cut.tar", "w") as archive:
        archive.add(recordings / "a" / "noise.wav", "cut.wav")
    (tmp_path / "cut.tar").write_bytes((tmp_path / "cut.tar").read_bytes()[:2000])
    output = tmp_path / "out"
    call = ["--model", model, "--output", str(output), "--formats", "csv"]
    assert main([*map(str, sorted(tmp_path.glob("*.tar"))), *call]) == 1
    printed = capsys.readouterr()
    assert "in 3 recordings" in printed.out
    assert "1 of 4 files could not be read" in printed.err
    assert {path.relative_to(output).as_posix() for path in output.rglob("*.*") if path.is_file()} == {
        *("clips.tar/outside.wav", "clips.tar/outside.wav.csv"),
        *("clips.tar/b.wav", "clips.tar/b.wav.csv"),
        *("clips.tar/outside.wav#2", "clips.tar/outside.wav#2.csv"),
    }
    assert main([str(recordings), *call[:2], "--output", str(tmp_path / "files"), "--formats", "csv"]) == 0
    for name, other in (("outside.wav", "a/noise.wav"), ("b.wav", "b/noise.wav")):
        found, expected = output / "clips.tar" / f"{name}.csv", tmp_path / "files" / f"{other}.csv"
        rows, expected_rows = (list(csv.reader(path.read_text().splitlines())) for path in (found, expected))
        assert [row[1:] for row in rows] == [row[1:] for row in expected_rows]
        assert len(rows) > 1
        assert (output / "clips.tar" / name).read_bytes() == (recordings / other).read_bytes()
    (tmp_path / "list.txt").write_text(f"{recordings / 'a' / 'noise.wav'}\n")
    assert main([f"@{tmp_path}/list.txt", *call]) == 0
    assert (output / "noise.wav.csv").exists()
    with pytest.raises(SystemExit):
        main([str(tmp_path / "clips.tar"), *call, "--attention"])


def test_files_that_cannot_be_read_are_listed(model, recordings, tmp_path, capsys):
    (tmp_path / "text.wav").write_text("no audio")
    files = [str(tmp_path / "text.wav"), str(recordings / "a" / "noise.wav")]
    assert main([*files, "--model", model, "--output", str(tmp_path / "out"), "--formats", "jsonl"]) == 1
    printed = capsys.readouterr()
    assert "in 1 recordings" in printed.out
    assert "text.wav" in printed.err
    assert "1 of 2 files could not be read" in printed.err
    lines = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").rglob("*.jsonl"))]
    assert sorted(line["error"] is None for line in lines) == [False, True]


def test_attention_stands_beside_the_other_files(sam_audio, recordings, tmp_path, capsys):
    (tmp_path / "text.wav").write_text("no audio")
    files = [str(tmp_path / "text.wav"), str(recordings)]
    call = [*files, "--model", sam_audio, "--output", str(tmp_path / "out"), "--window", "2.56"]
    assert main([*call, "--formats", "csv", "--attention"]) == 1
    assert capsys.readouterr().err.count("text.wav") == 1
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    below = {path.rpartition(f"{recordings.name}/")[2] for path in found}
    assert below == {
        f"{folder}/noise.wav.{name}" for folder in "ab" for name in ("csv", "attention.png", "attention.npz")
    }
    *_, expected = segment_attention(recordings, sam_audio, window=2.56)
    (path,) = (tmp_path / "out").rglob("b/noise.wav.attention.npz")
    with np.load(path) as saved:
        np.testing.assert_allclose(saved["weights"], expected.weights, atol=1e-6)
        assert saved["frame_seconds"] == 0.256
        assert saved["window_frames"].tolist() == [10, 10]


def test_a_damaged_recording_has_events_and_no_attention(sam_audio, tmp_path, capsys):
    file = tmp_path / "noise.flac"
    soundfile.write(file, 0.3 * np.random.default_rng(0).standard_normal(10 * RATE), RATE)
    content = bytearray(file.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = bytes(2000)
    file.write_bytes(content)
    call = [str(file), "--model", sam_audio, "--output", str(tmp_path / "out"), "--formats", "csv"]
    assert main(call) == 0
    assert "noise.flac: 4." in capsys.readouterr().err
    assert main([*call, "--attention"]) == 1
    printed = capsys.readouterr()
    assert "polyaudio annotate: no attention: " in printed.err
    assert "in 1 recordings" in printed.out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["noise.flac.csv"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--resolution", "0.05"], "has no resolution of 0.05 s"),
        (["--window", "30"], "Use a shorter window"),
        (["--threshold", "1.5"], "`threshold` must be a number from 0 to 1"),
        (["--attention"], "has no segment tokens"),
    ],
)
def test_what_the_model_cannot_do_is_an_error_of_one_line(model, recordings, tmp_path, capsys, flags, message):
    assert main([str(recordings), "--model", model, "--output", str(tmp_path / "out"), *flags]) == 2
    *_, error = capsys.readouterr().err.splitlines()  # after the progress of loading the weights
    assert error.startswith("polyaudio annotate: ")
    assert message in error
    assert not (tmp_path / "out").exists()
