# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`predict_collection`: the answers of `predict`, in one file, whole or not at all."""

import csv
import json
import tarfile
from pathlib import Path

import pyarrow.parquet
import pytest
from exports import write_export

from builders import TONES, write_tones
from polyaudio import predict, predict_collection
from polyaudio.scripts.predict import main


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return write_export(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four tones and a file that is no audio."""
    folder = write_tones(tmp_path_factory.mktemp("clips") / "tones", TONES, 2)
    (folder / "broken.wav").write_bytes(b"no audio")
    return folder


def expected(folder: Path, model: str, **settings) -> dict[str, list]:
    answers = predict(folder, model, **settings)
    return {
        Path(one.file).relative_to(folder).as_posix(): one.labels if one.events is None else one.events
        for one in answers
        if one.error is None
    }


def test_labels_in_every_format(folder, model, tmp_path):
    for suffix in ("jsonl", "csv", "parquet"):
        report = predict_collection(folder, model, tmp_path / f"labels.{suffix}", top_k=1)
        assert (report.written, [one.file for one in report.failed]) == (4, ["broken.wav"])
    lines = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    labels = {name: one.label for name, (one,) in expected(folder, model, top_k=1).items()}
    assert {line["file"]: line["labels"][0]["label"] for line in lines} == labels
    with open(tmp_path / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["file"]: row["label"] for row in rows} == labels
    table = pyarrow.parquet.read_table(tmp_path / "labels.parquet").to_pylist()
    assert {row["file"]: row["label"] for row in table} == labels
    for row, line in zip(table, lines, strict=True):
        assert row["score"] == pytest.approx(line["labels"][0]["score"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.csv", "labels.jsonl", "labels.parquet"]


def test_events(folder, tmp_path):
    model = write_export(tmp_path / "model", "frames")
    predict_collection(folder, model, tmp_path / "events.parquet", threshold=0.55)
    table = pyarrow.parquet.read_table(tmp_path / "events.parquet")
    assert table.column_names == ["file", "onset", "offset", "label", "score"]
    events = expected(folder, model, threshold=0.55)
    assert table.num_rows == sum(map(len, events.values())) > 0
    for row in table.to_pylist():
        assert any((row["onset"], row["offset"]) == (one.onset, one.offset) for one in events[row["file"]])


def test_two_processes(folder, model, tmp_path, capsys):
    arguments = [str(folder), "--model", model, "--top-k", "1", "--workers", "0"]
    assert main([*arguments, "--output", str(tmp_path / "one.jsonl")]) == 1
    output = capsys.readouterr()
    assert "answers for 4 recordings written" in output.out
    assert "broken.wav" in output.err
    assert main([*arguments, "--output", str(tmp_path / "two.jsonl"), "--processes", "2"]) == 1
    one, two = (sorted((tmp_path / f"{name}.jsonl").read_text().splitlines()) for name in ("one", "two"))
    assert [json.loads(line)["file"] for line in one] == [json.loads(line)["file"] for line in two]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_command_reads_archives_and_lists(folder, model, tmp_path, capsys):
    with tarfile.open(tmp_path / "clips.tar", "w") as archive:
        archive.add(folder, "clips")
    (tmp_path / "list.txt").write_text("".join(f"{file}\n" for file in sorted(folder.glob("*/*.wav"))))
    arguments = ["--model", model, "--workers", "0", "--json"]
    assert main([str(tmp_path / "clips.tar"), *arguments]) == 1
    from_tar = json.loads(capsys.readouterr().out)
    assert main([f"@{tmp_path}/list.txt", *arguments]) == 0
    from_list = json.loads(capsys.readouterr().out)
    assert sorted(one["file"] for one in from_tar) == [
        f"clips.tar/clips/{name}" for name in sorted(expected(folder, model))
    ]
    labels = {Path(one["file"]).name: one["labels"] for one in from_tar if "high" in one["file"]}
    assert labels == {Path(one["file"]).name: one["labels"] for one in from_list if "high" in one["file"]}
    assert main([f"{tmp_path}/missing.tar", *arguments]) == 1
    assert "missing.tar cannot be read after 0 recordings" in capsys.readouterr().err


def test_arguments(folder, model, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"must end with \.parquet, \.csv, \.jsonl"):
        predict_collection(folder, model, tmp_path / "labels.txt")
    with pytest.raises(ValueError, match="processes must be at least 1"):
        predict_collection(folder, model, tmp_path / "labels.csv", processes=0)
    for arguments, message in (
        (["--dataset", "x", str(folder)], "either files or a --dataset"),
        ([], "name files or a --dataset"),
        ([str(folder), "--streaming"], "--split and --streaming need --dataset"),
        ([str(folder), "--processes", "2"], "--processes needs --output"),
        ([str(folder), "--json", "--output", "x.csv"], "either --json or --output"),
    ):
        with pytest.raises(SystemExit):
            main([*arguments, "--model", model])
        assert message in capsys.readouterr().err
