# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The commands `index` and `search`."""

import json

import numpy as np
import pytest

from builders import write_clip
from polyaudio.scripts.index import main as index
from polyaudio.scripts.search import main as search
from vector_files import clustered, needs_usearch, write_vectors


@pytest.fixture
def folder(tmp_path, capsys):
    """Features in `features`, their index in `index`, and the recordings."""
    vectors = np.concatenate([clustered(30, 8)] * 2)
    for row in range(3):
        write_clip(tmp_path / "clips" / f"{row}.wav")
    files = [f"{row}.wav" for row in range(60)]
    settings = {"root": str(tmp_path / "clips"), "weights": "digest", "model": "model"}
    labels = ["dog" if row % 2 else "cat" for row in range(60)]
    write_vectors(tmp_path / "features" / "data" / "train-0.parquet", vectors, files, settings, label=labels)
    assert index([str(tmp_path / "features"), "--output", str(tmp_path / "index")]) == 0
    assert "60 vectors of 8 numbers" in capsys.readouterr().out
    return tmp_path


@needs_usearch
def test_the_recall_of_the_approximate_index_is_printed(folder, capsys):
    assert index([str(folder / "features"), "--output", str(folder / "again")]) == 0
    recall = "recall at 10 of 1.000 against exact search, on 60 of its own vectors"
    assert recall in capsys.readouterr().out


def test_hits_are_printed_and_written(folder, capsys):
    command = ["3.wav", "0.wav", "--index", str(folder / "index"), "--top-k", "2", "--where", "label = 'dog'"]
    assert search([*command, "--output", str(folder / "results.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["3.wav (exact search)", "   1  1.0000  33.wav"]
    assert lines[3] == "0.wav (exact search)"
    first, second = json.loads((folder / "results.json").read_text())
    assert [one["query"] for one in (first, second)] == ["3.wav", "0.wav"]
    assert {hit["columns"]["label"] for hit in first["hits"] + second["hits"]} == {"dog"}


def test_the_page_finds_the_recordings_by_the_root_of_the_features(folder, capsys):
    page = folder / "results.html"
    assert search(["30.wav", "--index", str(folder / "index"), "--exact", "--output", str(page)]) == 0
    assert 'src="clips/0.wav"' in page.read_text()


def test_duplicates_are_printed(folder, capsys):
    assert search(["--dedupe", "--threshold", "0.9999", "--index", str(folder / "index")]) == 0
    output = capsys.readouterr().out
    assert "  1.0000  3.wav  (nearest: 33.wav)\n  1.0000  33.wav  (nearest: 3.wav)" in output
    assert output.endswith("groups of near-duplicates: 30, with 60 recordings (cosine at least 0.9999)\n")


def test_without_an_approximate_index(folder, capsys):
    assert index([str(folder / "features"), "--output", str(folder / "index"), "--exact"]) == 0
    assert "exact search: all vectors are compared" in capsys.readouterr().out


def test_wrong_usage_is_an_error_before_the_search(folder, capsys):
    for arguments in ([], ["3.wav", "--dedupe"], ["3.wav", "--top-k", "0"]):
        with pytest.raises(SystemExit):
            search([*arguments, "--index", str(folder / "index")])
    assert search(["3.wav", "--index", str(folder / "index"), "--output", "results.pdf"]) == 2
    assert search(["x.wav", "--index", str(folder / "index")]) == 2
    printed = capsys.readouterr()
    assert "polyaudio search: x.wav is neither" in printed.err
    assert printed.out == ""
