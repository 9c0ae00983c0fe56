# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Annotations in the formats of other programs, read back by these formats' rules or libraries."""

import csv
import html
import json
import re
from pathlib import Path

import jams
import numpy as np
import pytest

from polyaudio.inference.annotation import Annotation, Gap
from polyaudio.inference.annotation_files import FORMATS, output_names, write_annotation, write_annotations
from polyaudio.inference.prediction import ScoredEvent


LABELS = ("dog", "tab\tand\nline", "कल्\u200dयाणी", '"quoted", <b>&amp;', "-->", "\x1b[31m\x00red", "")
# What stays of the labels where a label is one line
PLAIN = ("dog", "tab and line", "कल्\u200dयाणी", '"quoted", <b>&amp;', "-->", "[31mred", "")
GAPS = [Gap(1.5, 2.25, "a --> b\n\nis <damaged>")]


def annotation(file: str = "concerts/a.wav", rate: int = 44_100, **changes) -> Annotation:
    """Two events of each label, which begin and end at random samples and may overlap, and a gap."""
    generator = np.random.default_rng(0)
    samples = np.sort(generator.integers(0, 36_000 * rate, 2 * len(LABELS)))
    lengths = generator.integers(1, 3 * rate, 2 * len(LABELS))
    events = [
        ScoredEvent(start / rate, (start + length) / rate, LABELS[index % len(LABELS)], generator.uniform())
        for index, (start, length) in enumerate(zip(samples.tolist(), lengths.tolist(), strict=True))
    ]
    settings = {"duration": 36_003.0, "labels": LABELS, "events": events, "overview": None, "gaps": GAPS}
    return Annotation(**{"file": file, **settings, **changes})


def written(tmp_path: Path, name: str, **changes) -> str:
    (path,) = write_annotation(annotation(**changes), tmp_path / "out" / "a", [name])
    assert path == tmp_path / "out" / f"a{FORMATS[name].extension}"
    return path.read_text(encoding="utf-8")


def assert_same_samples(found, rate: int = 44_100) -> None:
    """Asserts that onsets and offsets in seconds are those of the events, to the sample."""
    expected = [(event.onset, event.offset) for event in annotation(rate=rate).events]
    assert np.array_equal(np.rint(np.array(found, dtype=float) * rate), np.rint(np.array(expected) * rate))


def plain_labels() -> list[str]:
    return [PLAIN[LABELS.index(event.label)] for event in annotation().events]


def test_json_lines_hold_everything(tmp_path):
    (line,) = written(tmp_path, "jsonl").splitlines()
    content = json.loads(line)
    expected = annotation()
    assert [ScoredEvent(**event) for event in content["events"]] == expected.events
    assert [Gap(**gap) for gap in content["gaps"]] == GAPS
    assert (content["file"], content["duration"], content["error"]) == ("concerts/a.wav", 36_003.0, None)


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines(keepends=True)))


def test_csv(tmp_path):
    text = written(tmp_path, "csv", file='a,"b".wav')
    rows = read_csv(text)
    assert len(text.splitlines()) == 1 + len(rows)
    assert {row["file"] for row in rows} == {'a,"b".wav'}
    assert [row["label"] for row in rows] == plain_labels()
    assert_same_samples([(row["onset"], row["offset"]) for row in rows])
    np.testing.assert_allclose(
        [float(row["score"]) for row in rows], [e.score for e in annotation().events], atol=1e-6
    )


@pytest.mark.parametrize("rate", [16_000, 44_100, 384_000, 1_000_000])
def test_audacity_labels(tmp_path, rate):
    lines = written(tmp_path, "audacity", rate=rate).split("\n")
    assert lines.pop() == ""
    rows = [line.split("\t") for line in lines]
    assert [label for _, _, label in rows] == plain_labels()
    assert all(re.fullmatch(r"\d+\.\d{6}", time) for row in rows for time in row[:2])
    assert_same_samples([row[:2] for row in rows], rate)


def test_raven_selections(tmp_path):
    header, *lines = written(tmp_path, "raven").removesuffix("\n").split("\n")
    rows = [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
    assert [row["Selection"] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
    assert {(row["View"], row["Channel"]) for row in rows} == {("Spectrogram 1", "1")}
    assert {(row["Low Freq (Hz)"], row["High Freq (Hz)"]) for row in rows} == {("0.0", "8000.0")}
    assert [row["Annotation"] for row in rows] == plain_labels()
    assert_same_samples([(row["Begin Time (s)"], row["End Time (s)"]) for row in rows])


def test_raven_selections_reach_as_high_as_the_model_hears(tmp_path):
    (path,) = write_annotation(annotation(), tmp_path, ["raven"], sampling_rate=32_000)
    assert path.read_text().splitlines()[1].split("\t")[6] == "16000.0"


def test_jams_reads_its_format(tmp_path):
    text = written(tmp_path, "jams")
    loaded = jams.load(str(tmp_path / "out" / "a.jams"), validate=True, strict=True)
    assert loaded.validate(strict=True)
    (tags,) = loaded.search(namespace="tag_open")
    events = sorted(annotation().events, key=lambda event: (event.onset, event.offset))
    observations = sorted(tags.data, key=lambda one: (one.time, one.duration))
    assert [one.value for one in observations] == [event.label for event in events]
    assert [one.confidence for one in observations] == [event.score for event in events]
    assert_same_samples([(one.time, one.time + one.duration) for one in observations])
    assert (loaded.file_metadata.duration, loaded.file_metadata.title) == (36_003.0, "a.wav")
    assert json.loads(text)["annotations"][0]["sandbox"]["gaps"] == [gap._asdict() for gap in GAPS]


CUE = re.compile(r"(\d{2,}):([0-5]\d):([0-5]\d\.\d{3}) --> (\d{2,}):([0-5]\d):([0-5]\d\.\d{3})\n(.*)", re.DOTALL)


def read_webvtt(text: str) -> tuple[list[tuple[float, float, str]], list[str]]:
    """Cues and notes, as the standard divides a file: by empty lines."""
    signature, *blocks = re.split(r"\n{2,}", text.rstrip("\n"))
    assert signature == "WEBVTT"
    notes = [block for block in blocks if block.startswith("NOTE ")]
    parts = [CUE.fullmatch(block if "\n" in block else f"{block}\n") for block in blocks if block not in notes]
    times = [[int(h) * 3600 + int(m) * 60 + float(s) for h, m, s in (p.groups()[:3], p.groups()[3:6])] for p in parts]
    return [(*time, part[7]) for time, part in zip(times, parts, strict=True)], notes


def test_webvtt(tmp_path):
    cues, notes = read_webvtt(written(tmp_path, "webvtt"))
    assert [html.unescape(text) for _, _, text in cues] == plain_labels()
    assert not any(re.search("[<>\n]", text) for _, _, text in cues)
    expected = np.array([(event.onset, event.offset) for event in annotation().events])
    np.testing.assert_allclose([cue[:2] for cue in cues], expected, atol=5.1e-4)
    assert notes == ["NOTE Gap from 1.500000 to 2.250000 s: a --&gt; b is &lt;damaged&gt;"]


def test_a_cue_has_a_length(tmp_path):
    short = ScoredEvent(359_999.9996, 359_999.9997, "click", 1.0)
    cues, _ = read_webvtt(written(tmp_path, "webvtt", events=[short]))
    assert cues == [(360_000.0, 360_000.001, "click")]


@pytest.mark.parametrize("name", FORMATS)
def test_no_events(tmp_path, name):
    text = written(tmp_path, name, events=[], gaps=[])
    if name == "jsonl":
        assert json.loads(text)["events"] == []
    elif name == "jams":
        assert jams.load(str(tmp_path / "out" / "a.jams"), strict=True).annotations[0].data == []
    else:
        assert text == FORMATS[name].header


def test_of_a_recording_with_an_error_only_json_lines_are_written(tmp_path):
    broken = annotation(events=[], duration=float("nan"), error="a.wav is empty.")
    (path,) = write_annotation(broken, tmp_path, list(FORMATS))
    assert [path] == list(tmp_path.iterdir())
    content = json.loads(path.read_text())
    assert (content["error"], content["duration"]) == ("a.wav is empty.", None)


def test_a_folder_gets_files_with_the_name_of_the_recording(tmp_path):
    paths = write_annotation(annotation(), tmp_path, ["audacity", "raven"])
    assert [path.name for path in paths] == ["a.wav.labels.txt", "a.wav.selections.txt"]
    assert sorted(paths) == sorted(tmp_path.iterdir())


def test_many_recordings_in_one_file(tmp_path):
    recordings = [
        annotation("x/a.wav"),
        annotation("y/a.wav", events=[]),
        annotation("z.wav", events=[], error="gone"),
    ]
    write_annotations(iter(recordings), tmp_path / "new" / "all.jsonl", "jsonl")
    lines = (tmp_path / "new" / "all.jsonl").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line)["file"] for line in lines[:-1]] == ["x/a.wav", "y/a.wav", "z.wav"]
    write_annotations(iter([*recordings, annotation("b.wav")]), tmp_path / "all.csv", "csv")
    files = [row["file"] for row in read_csv((tmp_path / "all.csv").read_text(encoding="utf-8"))]
    assert files == ["x/a.wav"] * 14 + ["b.wav"] * 14
    with pytest.raises(ValueError, match=r"format raven holds one recording. Choose jsonl or csv"):
        write_annotations(recordings, tmp_path / "all.txt", "raven")


def test_an_unfinished_file_does_not_appear(tmp_path):
    def one_and_an_error():
        yield annotation()
        raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        write_annotations(one_and_an_error(), tmp_path / "all.csv", "csv")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"no format 'elan'. Choose from jsonl, csv, audacity, raven, jams, webvtt"):
        write_annotation(annotation(), tmp_path, ["csv", "elan"])
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_not_utf8(tmp_path):
    file = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    assert json.loads(written(tmp_path, "jsonl", file=file))["file"] == file
    assert {row["file"] for row in read_csv(written(tmp_path, "csv", file=file))} == {"caf\\udce9.wav"}


def test_recordings_with_the_same_name_have_different_outputs(tmp_path):
    files = [str(tmp_path / "x" / "a.wav"), str(tmp_path / "x" / "a.mp3"), str(tmp_path / "y" / "z" / "a.wav")]
    assert list(output_names(files).values()) == ["x/a.wav", "x/a.mp3", "y/z/a.wav"]
    assert output_names(files[:1]) == {files[0]: "a.wav"}
    assert output_names([]) == {}
