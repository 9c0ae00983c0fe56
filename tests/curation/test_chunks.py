# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio dataset build`: its chunks are the samples of the recordings, in a dataset that `datasets` reads."""

import io
import os
import subprocess
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
import torch
import torchaudio
import yaml

from hub_server import WRITE_TOKEN, HubServer
from polyaudio.curation import chunks as building
from polyaudio.curation.chunks import BuildResult, Chunking, build_dataset, cut_recording, level_dbfs
from polyaudio.data.loading import load_clips, load_recordings
from polyaudio.scripts.dataset import main
from prepared_python import python


RATE = 8000


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Parquet files are read through a cache, which must not be that of the user."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def noise(seed: int, seconds: float, rate: int = RATE) -> np.ndarray:
    """Samples that 16 bits hold exactly."""
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate)).clip(-0.9, 0.9)
    return np.round(samples * 2**15) / 2**15


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)
    return samples


def build(source: Path, output: Path, *arguments: object) -> int:
    return main(["build", str(source), "--output", str(output), "--num-workers", "2", *map(str, arguments)])


def read(folder: Path, split: str = "train") -> list[dict]:
    """The rows as `datasets` gives them, with the decoded chunks and their rates."""
    rows = datasets.load_dataset(str(folder), split=split).cast_column("audio", datasets.Audio(decode=False))
    return [
        {**row, "samples": samples, "rate": rate}
        for row in rows
        for samples, rate in [soundfile.read(io.BytesIO(row["audio"]["bytes"]))]
    ]


def test_chunks_are_the_samples_of_the_recordings(tmp_path, capsys):
    source, output = tmp_path / "in", tmp_path / "new" / "out"
    recordings = {
        "a/one": write(source / "a" / "one.wav", noise(0, 10)),
        "a/two": write(source / "a" / "two.flac", noise(1, 4.7)),
        "b/three": write(source / "b" / "three.wav", noise(2, 1.5)),
        "b/four": write(source / "b" / "four.wav", noise(3, 0.5)),
    }
    assert build(source, output, "--chunk", 4, "--overlap", 0.5) == 0
    starts = {"a/one": [0, 2, 4, 6], "a/two": [0, 2], "b/three": [0]}  # of four is too little
    expected = [(name, start) for name in sorted(starts) for start in starts[name]]
    rows = read(output)
    assert sorted((row["recording"], row["start"]) for row in rows) == expected
    for row in rows:
        start = round(row["start"] * RATE)
        np.testing.assert_array_equal(row["samples"], recordings[row["recording"]][start : start + 4 * RATE])
        assert row["rate"] == RATE
        assert row["audio"]["bytes"].startswith(b"fLaC")
        assert "ab"[row["label"]] == row["recording"][0]
    assert len({row["audio"]["path"] for row in rows}) == len(rows)
    out = capsys.readouterr().out
    assert "0 silent and 1 short" in out
    assert "train: 7 clips, 0.007 hours" in out
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
    assert {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()} == {
        "README.md",
        "data/train-00000-of-00001.parquet",
    }


@pytest.mark.parametrize(
    ("seconds", "overlap", "shortest", "starts"),
    [
        (10, 0.0, 1.0, [0, 4, 8]),
        (10, 0.0, 2.5, [0, 4]),
        (12, 0.0, 0.1, [0, 4, 8]),
        (12, 0.75, 4.0, list(range(9))),
        (4, 0.5, 1.0, [0]),
        (4.1, 0.5, 2.0, [0, 2]),
        (0.9, 0.5, 1.0, []),
    ],
)
def test_where_chunks_start(seconds, overlap, shortest, starts, tmp_path):
    write(tmp_path / "a.wav", noise(0, seconds))
    cut = cut_recording(tmp_path / "a.wav", Chunking(4.0, overlap, shortest))
    assert [chunk.start for chunk in cut.chunks] == starts
    assert [chunk.seconds for chunk in cut.chunks] == pytest.approx([min(4, seconds - start) for start in starts])


@pytest.mark.parametrize("ending", ["wav", "mp3"])
def test_a_long_recording_is_read_in_parts(ending, tmp_path, monkeypatch):
    write(tmp_path / f"long.{ending}", noise(0, 60))
    whole = cut_recording(tmp_path / f"long.{ending}", Chunking(3.0, 0.5))
    asked = []
    load = building.load_audio

    def load_audio(file, rate, *, offset, duration):
        asked.append(duration)
        return load(file, rate, offset=offset, duration=duration)

    monkeypatch.setattr(building, "load_audio", load_audio)
    monkeypatch.setattr(building, "_STRETCH_SECONDS", 10.0)
    monkeypatch.setattr(building, "_SPOOL_BYTES", 1000)
    parts = cut_recording(tmp_path / f"long.{ending}", Chunking(3.0, 0.5), tmp_path)
    assert len(asked) > 6
    assert max(asked) <= 10
    assert [chunk.start for chunk in parts.chunks] == [chunk.start for chunk in whole.chunks]
    for chunk, other in zip(parts.chunks, whole.chunks, strict=True):
        samples, others = (soundfile.read(io.BytesIO(one.data))[0] for one in (chunk, other))
        np.testing.assert_allclose(samples, others, atol=2**-14)


def test_rate_and_channels(tmp_path):
    left, right = noise(0, 5, 22050), noise(1, 5, 22050)
    write(tmp_path / "in" / "a" / "1.wav", np.stack([left, right], 1), 22050)
    write(tmp_path / "in" / "b" / "2.wav", noise(2, 5, 16000), 16000)
    assert build(tmp_path / "in", tmp_path / "out", "--chunk", 2, "--overlap", 0, "--sampling-rate", 16000) == 0
    rows = read(tmp_path / "out")
    assert [len(row["samples"]) for row in rows] == [32000, 32000, 16000] * 2
    assert {row["rate"] for row in rows} == {16000}
    feature = datasets.load_dataset(str(tmp_path / "out"))["train"].features["audio"]
    assert feature.sampling_rate == 16000
    mean = torchaudio.functional.resample(torch.from_numpy((left + right) / 2), 22050, 16000).numpy()
    samples = np.concatenate([row["samples"] for row in rows[:3]])
    np.testing.assert_allclose(samples[100:-100], mean[100 : len(samples) - 100], atol=1e-3)


def test_silence_is_below_a_level(tmp_path, capsys):
    time = np.arange(2 * RATE) / RATE
    sine = np.sin(2 * np.pi * 440 * time)
    assert level_dbfs(sine) == pytest.approx(10 * np.log10(0.5), abs=1e-3)
    assert level_dbfs(0.01 * sine) == pytest.approx(10 * np.log10(0.5) - 40, abs=1e-3)
    assert level_dbfs(np.zeros(10)) == -np.inf
    for index, class_ in enumerate("ab"):
        parts = [0.1 * sine, np.zeros(2 * RATE), 0.003 * sine, 0.5 * sine]  # -23, none, -53.5 and -9 dB
        write(tmp_path / "in" / class_ / f"{index}.wav", np.concatenate(parts))

    def starts(output: str, *arguments: object) -> list[float]:
        assert build(tmp_path / "in", tmp_path / output, "--chunk", 2, "--overlap", 0, *arguments) == 0
        return [row["start"] for row in read(tmp_path / output) if row["label"] == 0]

    assert starts("usual") == [0, 4, 6]
    assert "2 silent" in capsys.readouterr().out
    assert starts("strict", "--silence-threshold", -40) == [0, 6]
    assert starts("all", "--silence-threshold=-inf") == [0, 2, 4, 6]
    assert build(tmp_path / "in", tmp_path / "none", "--chunk", 2, "--silence-threshold", 0) == 2
    assert "No chunk is left of split train" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_splits_and_the_card(tmp_path):
    for split, seeds in (("train", range(3)), ("test", range(3, 5))):
        for seed in seeds:
            write(tmp_path / "in" / split / "ab"[seed % 2] / f"{seed}.wav", noise(seed, 5))
    output = tmp_path / "chunks"
    assert build(tmp_path / "in", output, "--chunk", 2, "--format", "wav") == 0
    loaded = datasets.load_dataset(str(output))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 12, "test": 8}
    assert isinstance(loaded["train"].features["audio"], datasets.Audio)
    clips = load_clips(str(output))
    assert clips["train"].features["label"].names == ["a", "b"]
    assert set(clips["test"]["recording"]) == {"b/3", "a/4"}
    assert load_recordings(str(output), split="test").num_rows == 8
    with pytest.raises(ValueError, match="no split 'dev'"):
        load_recordings(str(output), split="dev")

    card = (output / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["license"] == "unknown"
    assert metadata["task_categories"] == ["audio-classification"]
    assert metadata["size_categories"] == ["n<1K"]
    assert metadata["configs"][0]["data_files"] == [
        {"split": "test", "path": "data/test-*"},
        {"split": "train", "path": "data/train-*"},
    ]
    info = metadata["dataset_info"]
    assert [column["name"] for column in info["features"]] == ["audio", "label", "recording", "start"]
    assert [split["num_examples"] for split in info["splits"]] == [8, 12]
    assert info["download_size"] == sum(path.stat().st_size for path in output.glob("data/*"))
    assert "mono WAV" in card


def test_several_labels_and_events(tmp_path):
    for number in range(2):
        write(tmp_path / "tags" / f"{number}.wav", noise(number, 5))
        write(tmp_path / "events" / f"{number}.wav", noise(number, 5))
    (tmp_path / "tags" / "metadata.csv").write_text('file_name,label\n0.wav,"a;b"\n1.wav,c\n')
    assert build(tmp_path / "tags", tmp_path / "tag chunks", "--chunk", 4, "--label-separator", ";") == 0
    clips = load_clips(str(tmp_path / "tag chunks"))["train"]
    assert clips.features["label"].feature.names == ["a", "b", "c"]
    assert clips["label"][:] == [[0, 1], [0, 1], [2], [2]]

    (tmp_path / "events" / "metadata.csv").write_text(
        "file_name,onset,offset,label\n0.wav,1.0,3.0,hit\n0.wav,4.5,4.9,ring\n1.wav,0.5,1.0,ring\n"
    )
    assert build(tmp_path / "events", tmp_path / "event chunks", "--chunk", 4) == 0
    hit, ring = 0, 1
    expected = {
        ("0", 0.0): [(1.0, 3.0, hit)],
        ("0", 2.0): [(0.0, 1.0, hit), (2.5, 2.9, ring)],
        ("1", 0.0): [(0.5, 1.0, ring)],
        ("1", 2.0): [],
    }
    rows = read(tmp_path / "event chunks")
    for row in rows:
        events = [(event["onset"], event["offset"], event["label"]) for event in row["label"]]
        assert events == [pytest.approx(event) for event in expected.pop((row["recording"], row["start"]))]
    assert not expected


def test_recordings_that_cannot_be_read(tmp_path, capsys):
    source = tmp_path / "in"
    for number in range(3):
        write(source / "ab"[number % 2] / f"{number}.flac", noise(number, 8))
    data = (source / "a" / "2.flac").read_bytes()
    (source / "a" / "2.flac").write_bytes(data[: len(data) * 3 // 4])  # its beginning is whole
    (source / "b" / "empty.wav").write_bytes(b"")
    assert build(source, tmp_path / "out", "--chunk", 2, "--overlap", 0) == 0
    out, err = capsys.readouterr()
    assert "2 clips cannot be read" in err
    assert "2.flac" in err
    assert "empty.wav" in err
    assert "2 recordings" in out
    assert {row["recording"] for row in read(tmp_path / "out")} == {"a/0", "b/1"}

    for path in source.rglob("*.flac"):
        path.write_bytes(b"")
    assert build(source, tmp_path / "none") == 2
    assert "None of the 4 recordings of split train can be read. The first: " in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_files_are_the_same_with_any_number_of_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "_ROW_GROUP_ROWS", 3)
    monkeypatch.setattr(building, "_SHARD_BYTES", 30_000)
    for number in range(5):
        write(tmp_path / "in" / "ab"[number % 2] / f"{number}.wav", noise(number, 3 - number / 3))
    for workers in (1, 4):
        assert build(tmp_path / "in", tmp_path / f"{workers}", "--chunk", 1, "--num-workers", workers) == 0
    files = [
        {path.name: path.read_bytes() for path in sorted((tmp_path / f"{workers}" / "data").iterdir())}
        for workers in (1, 4)
    ]
    assert files[0] == files[1]
    assert len(files[0]) > 2
    assert list(files[0]) == [f"train-{number:05}-of-{len(files[0]):05}.parquet" for number in range(len(files[0]))]
    rows = read(tmp_path / "1")
    assert [row["recording"] for row in rows] == sorted(row["recording"] for row in rows)


def test_what_is_there_is_kept(tmp_path, capsys):
    source, output = tmp_path / "in", tmp_path / "out"
    for number in range(2):
        write(source / "ab"[number] / f"{number}.wav", noise(number, 3))
    output.mkdir()
    assert build(source, output, "--chunk", 1) == 0
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    assert len(read(output)) == 10
    assert build(source, output, "--chunk", 3) == 2
    assert "`overwrite`" in capsys.readouterr().err
    assert build(source, output, "--chunk", 3, "--overwrite", "--silence-threshold", 0) == 2  # fails in the middle
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]
    assert build(source, output, "--chunk", 3, "--overwrite") == 0
    assert len(read(output)) == 2

    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("three years")
    assert build(source, tmp_path / "home", "--overwrite") == 2
    assert "holds something else" in capsys.readouterr().err
    for folder in (output, tmp_path):
        assert build(output, folder, "--overwrite") == 2
        assert "would replace the dataset that it is made from" in capsys.readouterr().err
    assert len(read(output)) == 2


def test_a_killed_build_leaves_nothing_that_looks_complete(tmp_path):
    for number in range(2):
        write(tmp_path / "in" / "ab"[number] / f"{number}.wav", noise(number, 3))
    script = """
import os, sys
from huggingface_hub import DatasetCard
from polyaudio.scripts.dataset import main
DatasetCard.save = lambda *_: os._exit(9)
main(sys.argv[1:])
"""
    arguments = ["build", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--chunk", "1"]
    assert subprocess.run([python(), "-c", script, *arguments], capture_output=True).returncode == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.incomplete", ".out.lock", "in"]
    assert main(arguments) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_a_damaged_file_is_told(tmp_path):
    for number in range(2):
        write(tmp_path / "in" / "ab"[number] / f"{number}.wav", noise(number, 3))
    assert build(tmp_path / "in", tmp_path / "out", "--chunk", 1) == 0
    (path,) = (tmp_path / "out" / "data").iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"parquet files of .* cannot be read"):
        load_clips(str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--chunk", "0"], "longer than 0 seconds, got 0"),
        (["--chunk", "nan"], "longer than 0 seconds, got nan"),
        (["--overlap", "1"], "between 0 and 0.95"),
        (["--overlap=-0.5"], "between 0 and 0.95"),
        (["--min-seconds", "30"], "no longer than a whole one, 20"),
        (["--sampling-rate", "0"], "between 1000 and 192000 Hz"),
        (["--silence-threshold", "nan"], "a level in dB"),
        (["--format", "mp3"], "flac, wav"),
        (["--num-workers", "0"], "num_workers must be at least 1"),
        (["--private"], "--private needs --push"),
        (["--push", "a b"], "a b"),
        (["--label-column", "raga"], "no column 'raga'"),
    ],
)
def test_bad_usage_ends_with_one_line(arguments, message, tmp_path, capsys):
    for number in range(2):
        write(tmp_path / "in" / "ab"[number] / f"{number}.wav", noise(number, 1))
    assert build(tmp_path / "in", tmp_path / "out", *arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("polyaudio dataset: ")]
    assert message in line
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_push(tmp_path):
    for number in range(2):
        write(tmp_path / "in" / "ab"[number] / f"{number}.wav", noise(number, 3))
    script = """
import sys, time
time.sleep = lambda seconds: None
from polyaudio.scripts.dataset import main
codes = [main([*sys.argv[1:], *more]) for more in ([], ["--overwrite", "--chunk", "1"], ["--overwrite", "--private"])]
print("codes", codes)
"""
    with HubServer() as hub:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment |= {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
        environment |= {"HF_TOKEN": WRITE_TOKEN}
        arguments = ["build", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--push", "tester/chunks"]
        done = subprocess.run(
            [python("torch"), "-c", script, *arguments], env=environment, capture_output=True, text=True
        )
        assert "codes [0, 0, 2]" in done.stdout, done.stderr
        files = hub.repos["dataset", "tester/chunks"]
        files = {name: blob.data for name, blob in files.commits[files.branches["main"]].files.items()}
    assert "exists and is public" in done.stderr
    assert hub.endpoint in done.stdout
    assert set(files) - {".gitattributes"} == {"README.md", "data/train-00000-of-00001.parquet"}
    assert b'load_dataset("tester/chunks")' in files["README.md"]
    assert b"num_examples: 10" in files["README.md"]


def test_build_dataset_from_python(tmp_path, capsys):
    for number in range(2):
        write(tmp_path / "in" / "ab"[number] / f"{number}.wav", noise(number, 3))
    (tmp_path / "in" / "a" / "bad.wav").write_bytes(b"")
    clips, output = load_clips(str(tmp_path / "in")), tmp_path / "out"
    result = build_dataset(clips, output, Chunking(seconds=1.0, overlap=0.0), name="Some chunks")
    bad = result.unreadable
    assert result == BuildResult({"train": 6}, {"train": 6.0}, recordings=3, silent=0, short=0, unreadable=bad)
    assert [Path(clip.name).name for clip in bad] == ["bad.wav"]
    assert "# Some chunks\n" in (output / "README.md").read_text()
    with pytest.raises(ValueError, match="already holds a dataset"):
        build_dataset(clips, output)
    build_dataset(clips, output, Chunking(seconds=3.0), overwrite=True)
    assert len(read(output)) == 2
    assert capsys.readouterr().out == ""
