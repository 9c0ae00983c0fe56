# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio tonic`: what it prints and writes, recordings that have no tonic, and wrong arguments."""

import csv
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from polyaudio import estimate_tonic
from polyaudio.data.ragas import SAMPLING_RATE, synthesize_recording
from polyaudio.scripts.tonic import main


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for tonic in (110, 196):
        samples = synthesize_recording("Kalyani", tonic=tonic, timbre="flute", seconds=9, seed=tonic)
        soundfile.write(folder / f"{tonic}.wav", samples, SAMPLING_RATE)
    return folder


def test_tonics_are_printed(recordings, capsys):
    assert main([str(recordings), "--top-k", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    best = estimate_tonic(recordings / "110.wav")[0]
    assert [lines[0], lines[3]] == [str(recordings / "110.wav"), str(recordings / "196.wav")]
    assert len(lines) == 6
    assert lines[1].split() == [
        *(f"{best.frequency:.2f}", "Hz", "A2", f"{best.cents:+.0f}", "cents"),
        f"{best.probability:.2%}",
    ]


def test_json_and_files_have_the_same_tonics(recordings, tmp_path, capsys):
    assert main([str(recordings), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [Path(one["file"]).name for one in content] == ["110.wav", "196.wav"]
    assert content[0]["tonics"][0]["note"] == "A2"
    assert main([str(recordings), "--output", str(tmp_path / "tonics.jsonl")]) == 0
    assert [json.loads(line) for line in (tmp_path / "tonics.jsonl").read_text().splitlines()] == content
    assert main([str(recordings), "--output", str(tmp_path / "tonics.csv")]) == 0
    with open(tmp_path / "tonics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "3"] * 2
    assert float(rows[3]["tonic"]) == content[1]["tonics"][0]["tonic"]
    assert "tonics of 2 recordings written" in capsys.readouterr().out


def test_recordings_without_a_tonic_are_named_and_counted(recordings, tmp_path, capsys):
    soundfile.write(tmp_path / "silence.wav", np.zeros(SAMPLING_RATE), SAMPLING_RATE)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    output = tmp_path / "tonics.csv"
    files = [recordings / "110.wav", tmp_path / "silence.wav", tmp_path / "broken.wav"]
    assert main([*map(str, files), "--output", str(output)]) == 1
    errors = capsys.readouterr().err
    assert "silence.wav is silent" in errors
    assert "broken.wav" in errors
    assert "2 of 3 files could not be read" in errors
    assert len(output.read_text().splitlines()) == 4


def test_archives_and_datasets(recordings, tmp_path, capsys):
    with tarfile.open(tmp_path / "clips.tar", "w") as archive:
        archive.add(recordings / "110.wav", "a.wav")
    assert main([str(tmp_path / "clips.tar"), "--top-k", "1", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert one["file"] == "clips.tar/a.wav"
    assert one["tonics"][0]["note"] == "A2"
    assert main(["--dataset", str(recordings), "--top-k", "1", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


@pytest.mark.parametrize("wrong", [["--top-k", "11"], ["--top-k", "0"], ["--json", "--output", "x.csv"]])
def test_wrong_arguments(recordings, wrong):
    with pytest.raises(SystemExit):
        main([str(recordings), *wrong])


def test_wrong_ending(recordings, tmp_path, capsys):
    assert main([str(recordings), "--output", str(tmp_path / "tonics.txt")]) == 2
    assert "must end with .csv or .jsonl" in capsys.readouterr().err
