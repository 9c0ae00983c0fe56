# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Results of searches as JSON, CSV and a page."""

import csv
import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from builders import write_clip
from polyaudio import Duplicate, Hit, SearchResult
from polyaudio.inference.search_results import write_results


HOSTILE = '<script>alert("1")</script> & \'.wav'


@pytest.fixture
def results() -> list[SearchResult]:
    hits = [Hit("a b#1.wav", 0.98765, 1.5, 2.5, {"label": "dog"}), Hit(HOSTILE, 0.5, None, None, {"label": None})]
    return [SearchResult("query.wav", True, hits), SearchResult("none.wav", False, [])]


@pytest.fixture
def groups() -> list[list[Duplicate]]:
    return [[Duplicate("a b#1.wav", HOSTILE, 0.99), Duplicate(HOSTILE, "a b#1.wav", 0.99)]]


def test_json(results, groups, tmp_path):
    write_results(results, tmp_path / "new" / "results.json")
    first, second = json.loads((tmp_path / "new" / "results.json").read_text())
    hit = {"file": "a b#1.wav", "score": 0.98765, "start": 1.5, "end": 2.5, "columns": {"label": "dog"}}
    assert (first["query"], first["is_exact"], first["hits"][0]) == ("query.wav", True, hit)
    assert second == {"query": "none.wav", "is_exact": False, "hits": []}
    write_results(groups, tmp_path / "groups.json")
    assert json.loads((tmp_path / "groups.json").read_text())[0][0]["nearest"] == HOSTILE


def test_csv(results, groups, tmp_path):
    write_results(results, tmp_path / "results.csv")
    with open(tmp_path / "results.csv", newline="") as file:
        first, second = csv.DictReader(file)
    expected = {"query": "query.wav", "rank": "1", "file": "a b#1.wav", "score": "0.98765"}
    assert first == expected | {"start": "1.5", "end": "2.5", "label": "dog"}
    assert (second["file"], second["start"]) == (HOSTILE, "")
    write_results(groups, tmp_path / "groups.csv")
    with open(tmp_path / "groups.csv", newline="") as file:
        assert [(row["group"], row["file"]) for row in csv.DictReader(file)] == [("1", "a b#1.wav"), ("1", HOSTILE)]


class Page(HTMLParser):
    """The names of the elements of a page, the sources of its players, and its text."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags, self.sources, self.text = [], [], ""
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "audio":
            self.sources.append(dict(attrs)["src"])

    def handle_data(self, data):
        self.text += data


def test_the_page_plays_what_is_there_and_runs_nothing(results, groups, tmp_path):
    recordings = tmp_path / "recordings"
    for name in ("a b#1.wav", "query.wav"):
        write_clip(recordings / name)
    write_results(results, tmp_path / "pages" / "results.html", root=recordings)
    page = Page(tmp_path / "pages" / "results.html")
    assert [unquote(source) for source in page.sources] == [
        "../recordings/query.wav",
        "../recordings/a b#1.wav#t=1.5,2.5",
    ]
    assert "a%20b%231.wav" in page.sources[1]
    assert "script" not in page.tags
    assert HOSTILE in page.text
    assert "Nothing was found." in page.text
    write_results(groups, tmp_path / "groups.html")
    page = Page(tmp_path / "groups.html")
    assert page.sources == []
    assert "Group 1" in page.text


def test_an_unknown_extension_is_an_error(results, tmp_path):
    with pytest.raises(ValueError, match=r"must end with \.json, \.csv, \.html"):
        write_results(results, tmp_path / "results.xlsx")
