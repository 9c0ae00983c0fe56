# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio dataset inspect`: it reports what was put into the data."""

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import soundfile

from polyaudio.curation.inspection import ClassesPerClip, PartSummary, inspect_clips, measure_clip, write_inspection
from polyaudio.data.loading import load_clips
from polyaudio.scripts.dataset import main


RATE = 8000


def noise(seed: int, seconds: float) -> np.ndarray:
    """Samples that 16 bits hold exactly, so that they are the same in every lossless format."""
    return np.round(np.random.default_rng(seed).normal(0, 0.05, round(seconds * RATE)) * 2**15) / 2**15


def write(path: Path, samples: np.ndarray, rate: int = RATE, **format: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **format)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    train, test = folder / "train", folder / "test"
    write(train / "$a_b$" / "one_chunk0.wav", noise(0, 1))
    write(train / "$a_b$" / "one_chunk1.wav", noise(1, 2))
    write(train / "$a_b$" / "two.flac", noise(2, 3))
    write(train / "$a_b$" / "stereo.wav", np.stack([noise(3, 1), noise(4, 1)], 1), 16000)
    write(train / "drum" / "clipped.wav", (20 * noise(5, 1)).clip(-1, 1))
    write(train / "drum" / "silent.wav", 1e-4 * noise(6, 1), subtype="FLOAT")
    write(test / "drum" / "copy.flac", noise(1, 2))
    write(test / "drum" / "own.ogg", noise(7, 2))
    (test / "drum" / "bad.mp3").write_text("no sound")
    return folder


def test_all_is_told(folder, tmp_path, capsys):
    output = tmp_path / "new" / "out"
    assert main(["inspect", str(folder), "--output", str(output), "--examples", "2"]) == 0
    report = json.loads((output / "inspect.json").read_text())
    assert report["dataset"] == str(folder)
    assert report["task"] == "single_label_classification"
    assert (report["clips"], report["recordings"]) == (8, 7)
    durations = [1, 2, 3, 0.5, 1, 1, 2, 2]
    assert report["hours"] == pytest.approx(sum(durations) / 3600)
    assert report["seconds"] == pytest.approx(
        {"min": 0.5, "median": np.median(durations), "mean": np.mean(durations), "max": 3}
    )
    assert report["sampling_rates"] == {"8000": 7, "16000": 1}
    assert report["channels"] == {"1": 7, "2": 1}
    assert report["formats"] == {"WAV PCM_16": 4, "FLAC PCM_16": 2, "WAV FLOAT": 1, "OGG VORBIS": 1}
    assert {name: (part["clips"], part["recordings"]) for name, part in report["splits"].items()} == {
        "train": (6, 5),
        "test": (2, 2),
    }
    assert {name: (part["clips"], part["recordings"]) for name, part in report["classes"].items()} == {
        "$a_b$": (4, 3),
        "drum": (4, 4),
    }
    assert report["classes"]["drum"]["hours"] == pytest.approx(6 / 3600)
    assert report["imbalance"] == 1
    assert [Path(name).name for name in report["silent"]] == ["silent.wav"]
    assert [Path(name).name for name in report["clipped"]] == ["clipped.wav"]
    (copies,) = report["duplicates"]
    assert [Path(name).name for name in copies["names"]] == ["copy.flac", "one_chunk1.wav"]
    assert (copies["splits"], copies["classes"]) == (["test", "train"], [["drum"], ["$a_b$"]])
    (bad,) = report["unreadable"]
    assert bad["name"].endswith("bad.mp3")
    assert bad["split"] == "test"

    out, err = capsys.readouterr()
    assert "8 clips of 7 recordings" in out
    assert "8000 (7), 16000 (1)" in out
    assert "1 clips repeat another exactly; of 1 groups of copies, 1 are in several splits and 1 have several" in out
    assert "1 clips cannot be read" in err
    for name in ("durations.png", "classes.png", "examples.png"):
        assert matplotlib.image.imread(output / name).std() > 0.05
    assert {path.name for path in output.iterdir()} == {"inspect.json", "durations.png", "classes.png", "examples.png"}


def test_without_output_nothing_is_written(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", str(folder)]) == 0
    assert "drum" in capsys.readouterr().out
    assert not any(tmp_path.iterdir())


def test_several_labels(tmp_path, capsys):
    for number in range(4):
        write(tmp_path / "in" / f"{number}.wav", noise(number, 1))
    (tmp_path / "in" / "metadata.csv").write_text(
        "file_name,a,b,c,d\n0.wav,1,1,1,0\n1.wav,1,0,0,0\n2.wav,0,0,0,0\n3.wav,1,0,0,0\n"
    )
    arguments = ["inspect", str(tmp_path / "in"), "--label-columns", "a", "b", "c", "d", "--examples", "0"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "inspect.json").read_text())
    assert report["classes_per_clip"] == {"mean": 1.25, "max": 3, "clips_without": 1}
    assert report["imbalance"] == 3
    assert report["empty_classes"] == ["d"]
    assert not (tmp_path / "out" / "examples.png").exists()
    assert "No clip has the classes d." in capsys.readouterr().out


def test_events(tmp_path):
    for number in range(2):
        write(tmp_path / "in" / f"{number}.wav", noise(number, 5))
    (tmp_path / "in" / "metadata.csv").write_text(
        "file_name,onset,offset,label\n0.wav,1.0,3.0,hit\n0.wav,3.5,4.0,hit\n0.wav,0,5,hum\n1.wav,,,\n"
    )
    assert main(["inspect", str(tmp_path / "in"), "--output", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "inspect.json").read_text())
    assert report["task"] == "frame_classification"
    assert report["classes"]["hit"] == {"clips": 1, "recordings": 1, "hours": pytest.approx(2.5 / 3600)}
    assert report["classes_per_clip"]["clips_without"] == 1


def test_what_counts_as_clipped(tmp_path):
    samples = noise(0, 1).clip(-0.5, 0.5)
    for at_full_scale, is_clipped in ((0, False), (1, False), (2, False), (3, True), (50, True)):
        loud = samples.copy()
        loud[100 : 100 + at_full_scale] = -1
        loud[500] = 1
        write(tmp_path / "a.wav", loud)
        assert measure_clip(tmp_path / "a.wav").is_clipped is is_clipped


def test_rate_is_part_of_a_digest(tmp_path):
    for name, rate in (("a.wav", 8000), ("b.flac", 8000), ("c.wav", 16000)):
        write(tmp_path / name, noise(0, 1), rate)
    first, same, other = (measure_clip(tmp_path / name).digest for name in ("a.wav", "b.flac", "c.wav"))
    assert first == same != other


def test_bad_usage(folder, tmp_path, capsys):
    (tmp_path / "bad" / "a").mkdir(parents=True)
    (tmp_path / "bad" / "a" / "1.wav").write_bytes(b"")
    for arguments, message in (
        ([str(tmp_path / "missing")], "neither 'ragas' nor a folder"),
        ([str(tmp_path / "bad")], "None of the 1 clips can be read. The first: "),
        ([str(folder), "--examples=-1"], "examples must lie"),
    ):
        assert main(["inspect", *arguments]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]


def test_inspect_from_python(folder, tmp_path, capsys):
    clips = load_clips(str(folder))
    inspection = inspect_clips(clips)
    assert (inspection.clips, inspection.recordings, inspection.imbalance) == (8, 7, 1)
    assert sorted(inspection.durations) == [0.5, 1, 1, 1, 2, 2, 2, 3]
    assert inspection.splits["test"] == PartSummary(2, 2, pytest.approx(4 / 3600))
    assert inspection.classes_per_clip is None
    assert inspection.duplicates[0].splits == ["test", "train"]
    write_inspection(inspection, clips, tmp_path, examples=0)
    assert json.loads((tmp_path / "inspect.json").read_text()) == inspection.to_dict()
    with pytest.raises(ValueError, match="examples must lie between 0 and 20"):
        write_inspection(inspection, clips, tmp_path, examples=21)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("num_workers", [1, 2])
def test_processes_measure_what_threads_measure(folder, num_workers):
    clips = load_clips(str(folder))
    assert inspect_clips(clips, num_workers=num_workers) == inspect_clips(clips)


def test_groups_of_copies_are_in_the_order_of_their_first_clips(tmp_path):
    for name, seed in (("a", 1), ("b", 0), ("c", 2), ("d", 0), ("e", 1), ("f", 1)):
        write(tmp_path / "x" / f"{name}.wav", noise(seed, 0.1))
    (tmp_path / "x" / "c.wav").write_bytes(b"")
    groups = inspect_clips(load_clips(str(tmp_path))).duplicates
    assert [[Path(name).stem for name in group.names] for group in groups] == [["a", "e", "f"], ["b", "d"]]
    assert groups[0].classes == [["x"], ["x"], ["x"]]


def test_inspect_several_labels_from_python(tmp_path):
    for number in range(2):
        write(tmp_path / f"{number}.wav", noise(number, 1))
    (tmp_path / "metadata.csv").write_text("file_name,a,b\n0.wav,1,1\n1.wav,0,0\n")
    inspection = inspect_clips(load_clips(str(tmp_path), label_columns=["a", "b"]))
    assert inspection.classes_per_clip == ClassesPerClip(mean=1.0, max=2, clips_without=1)
