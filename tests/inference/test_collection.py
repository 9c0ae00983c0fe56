# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`embed_collection`: every recording once, whoever dies, and only what is new or changed."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import datasets
import numpy as np
import pyarrow.dataset
import pytest
import soundfile
import torch
from exports import write_export

from builders import SAM_AUDIO, SSLAM, TONES, write_tones
from polyaudio import (
    DatasetRecordings,
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioModel,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMModel,
    embed,
    embed_collection,
)
from polyaudio.inference import feature_store
from polyaudio.inference.processes import alone_in
from prepared_python import python


PROGRAM = """
import sys
from polyaudio import embed_collection

if __name__ == "__main__":
    embed_collection(sys.argv[1], sys.argv[2], sys.argv[3], processes=2, shard_size=1)
"""

# Files in two shards. Who reads the second one first is killed
DEADLY = """
import functools, json, os, signal, sys
from pathlib import Path
from polyaudio import embed_collection
from polyaudio.data.recordings import Recording

class Recordings:
    def __init__(self, folder):
        self.folder = Path(folder)

    def root(self):
        return str(self.folder)

    def listed(self, root):
        return []

    def shards(self, root):
        return [functools.partial(self.read, 0), functools.partial(self.read, 1)]

    def column_types(self):
        return {}

    def read(self, half):
        for index, file in enumerate(sorted(self.folder.glob("*/*.wav"))[half::2]):
            marker = self.folder.parent / "marker"
            if half == 1 and index == 2 and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield Recording(file.relative_to(self.folder).as_posix(), str(file))

if __name__ == "__main__":
    first = embed_collection(Recordings(sys.argv[1]), sys.argv[2], sys.argv[3], processes=2)
    second = embed_collection(Recordings(sys.argv[1]), sys.argv[2], sys.argv[3])
    print(json.dumps([[report.written, report.skipped, report.unfinished] for report in (first, second)]))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return write_export(tmp_path_factory.mktemp("model"), "encoder")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Six tones and a file that is no audio."""
    write_tones(tmp_path / "tones", TONES, 3)
    (tmp_path / "tones" / "broken.wav").write_bytes(b"no audio")
    return tmp_path / "tones"


def read(output: Path) -> dict[str, dict]:
    """The row of each recording by its name."""
    rows = pyarrow.dataset.dataset(output / "data", format="parquet").to_table().to_pylist()
    assert len({row["file"] for row in rows}) == len(rows)
    return {row["file"]: row for row in rows}


def vectors(output: Path) -> dict[str, np.ndarray]:
    return {name: np.array(row["vector"], np.float32) for name, row in read(output).items()}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, vector in expected.items():
        np.testing.assert_allclose(found[name], vector, atol=1e-5, rtol=1e-5)


def of_embed(folder: Path, model: str, **settings) -> dict[str, np.ndarray]:
    clips = embed(folder, model, **settings)
    return {Path(one.file).relative_to(folder).as_posix(): one.features for one in clips if one.error is None}


# What is written ----------------------------------------------------------------------------------


def test_the_vectors_are_those_of_embed(folder, model, tmp_path, capsys):
    report = embed_collection(folder, model, tmp_path / "out", shard_size=4)
    assert (report.written, report.skipped, report.unfinished) == (6, 0, [])
    assert [one.file for one in report.failed] == ["broken.wav"]
    assert "soundfile" in report.failed[0].reason
    assert_same(vectors(tmp_path / "out"), of_embed(folder, model))
    for name, row in read(tmp_path / "out").items():
        assert row["audio"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert (row["start"], row["end"]) == (0.0, soundfile.info(folder / name).duration)
    (failure,) = map(json.loads, (tmp_path / "out" / "failed.jsonl").read_text().splitlines())
    assert failure == {"file": "broken.wav", "reason": report.failed[0].reason}
    assert len(list((tmp_path / "out" / "data").iterdir())) == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["data", "embed.json", "failed.jsonl"]
    assert capsys.readouterr().out == ""


def test_datasets_opens_the_folder(folder, model, tmp_path):
    embed_collection(folder, model, tmp_path / "out", dtype="float16")
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.features["vector"] == datasets.List(datasets.Value("float16"), length=2)
    assert rows.num_rows == 6
    schema = pyarrow.dataset.dataset(tmp_path / "out" / "data").schema
    settings = json.loads(schema.metadata[b"polyaudio"])
    kept = json.loads((tmp_path / "out" / "embed.json").read_text())
    assert {name: kept[name] for name in settings} == settings
    assert (settings["root"], settings["sampling_rate"], settings["rows"]) == (str(folder), 16000, "recording")
    assert set(rows["model"]) == {settings["weights"]}


@pytest.mark.parametrize("model_class", [SAMAudioModel, SSLAMModel])
def test_a_row_for_each_window(folder, tmp_path, model_class):
    torch.manual_seed(0)
    loaded: torch.nn.Module
    if model_class is SAMAudioModel:
        loaded, extractor = SAMAudioModel(SAMAudioConfig(**SAM_AUDIO)), SAMAudioFeatureExtractor()
    else:
        loaded, extractor = SSLAMModel(SSLAMConfig(**SSLAM)), SSLAMFeatureExtractor(max_length=64)
    loaded.save_pretrained(tmp_path / "model")
    extractor.save_pretrained(tmp_path / "model")
    arguments = {"window": 0.32, "batch_size": 2}
    embed_collection(folder, tmp_path / "model", tmp_path / "windows", rows="window", **arguments)
    embed_collection(folder, tmp_path / "model", tmp_path / "whole", **arguments)
    table = pyarrow.dataset.dataset(tmp_path / "windows" / "data").to_table().to_pylist()
    for name, row in read(tmp_path / "whole").items():
        own = [one for one in table if one["file"] == name]
        seconds = soundfile.info(folder / name).duration
        step = own[0]["end"]
        assert abs(len(own) - seconds / step) < 1
        assert [one["start"] for one in own] == pytest.approx([step * index for index in range(len(own))])
        assert [one["end"] for one in own[:-1]] == [one["start"] for one in own[1:]]
        assert own[-1]["end"] == pytest.approx(seconds, abs=1e-4)
        lengths = np.array([one["end"] - one["start"] for one in own])
        mean = np.average([one["vector"] for one in own], axis=0, weights=lengths)
        np.testing.assert_allclose(mean, row["vector"], atol=0.1)


def test_columns_of_a_dataset(folder, model, tmp_path):
    (folder / "broken.wav").unlink()
    rows = ["file_name,label,level", "high/0.wav,high,0.5", "low/1.wav,low,"]
    (folder / "metadata.csv").write_text("\n".join(rows))
    recordings = DatasetRecordings(folder, keep_columns=["label", "level"])
    embed_collection(recordings, model, tmp_path / "out")
    found = {name: (row["label"], row["level"]) for name, row in read(tmp_path / "out").items()}
    assert found == {"high/0.wav": ("high", 0.5), "low/1.wav": ("low", None)}
    with pytest.raises(ValueError, match="own column 'file'"):
        embed_collection(DatasetRecordings(_with_column(folder, "file"), keep_columns=["file"]), model, tmp_path / "x")


def _with_column(folder: Path, name: str) -> datasets.Dataset:
    audio = {"bytes": (folder / "high" / "0.wav").read_bytes(), "path": None}
    return datasets.Dataset.from_dict({"audio": [audio], name: ["x"]})


def test_a_model_in_memory_in_bfloat16(folder, tmp_path):
    torch.manual_seed(0)
    loaded = SSLAMModel(SSLAMConfig(**SSLAM)).eval()
    SSLAMFeatureExtractor(max_length=64).save_pretrained(tmp_path / "model")
    loaded.save_pretrained(tmp_path / "model")
    loaded = SSLAMModel.from_pretrained(tmp_path / "model")
    embed_collection(folder, loaded, tmp_path / "exact")
    embed_collection(folder, loaded, tmp_path / "bf16", precision="bfloat16")
    exact, half = vectors(tmp_path / "exact"), vectors(tmp_path / "bf16")
    assert_same(exact, of_embed(folder, str(tmp_path / "model")))
    difference = max(np.abs(half[name] - exact[name]).max() for name in exact)
    assert 0 < difference < 0.1
    with pytest.raises(ValueError, match="need the folder or the Hub name"):
        embed_collection(folder, loaded, tmp_path / "out", processes=2)


# Later runs ---------------------------------------------------------------------------------------


def test_a_later_run_does_what_is_new_or_changed(folder, model, tmp_path):
    output = tmp_path / "out"
    embed_collection(folder, model, output, shard_size=4)
    before = read(output)
    assert embed_collection(folder, model, output).skipped == 6
    (folder / "broken.wav").write_bytes((folder / "high" / "0.wav").read_bytes())
    state = (folder / "low" / "1.wav").stat()
    samples, rate = soundfile.read(folder / "low" / "1.wav")
    soundfile.write(folder / "low" / "1.wav", samples / 2, rate)  # of the same size, at the same time
    os.utime(folder / "low" / "1.wav", ns=(state.st_atime_ns, state.st_mtime_ns))
    (folder / "high" / "2.wav").unlink()
    report = embed_collection(folder, model, output, shard_size=1)
    assert (report.written, report.skipped, report.failed) == (2, 4, [])
    assert (output / "failed.jsonl").read_text() == ""
    after = read(output)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"broken.wav", "low/1.wav"}
    assert after["broken.wav"]["vector"] == after["high/0.wav"]["vector"]
    assert_same({name: one for name, one in vectors(output).items() if name != "high/2.wav"}, of_embed(folder, model))
    assert embed_collection(folder, model, output, overwrite=True).written == 6
    assert_same(vectors(output), {name: np.array(row["vector"]) for name, row in after.items()})


def test_unchanged_files_are_not_read_again(folder, model, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "_CLOCK_TICK_NS", -(10**18))  # as if the files were old
    embed_collection(folder, model, tmp_path / "out")

    def fail(path):
        raise AssertionError(f"{path} is read")

    monkeypatch.setattr(feature_store, "digest_of_file", fail)
    assert embed_collection(folder, model, tmp_path / "out").skipped == 6
    index = tmp_path / "out" / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-30])  # cut off by a kill
    with pytest.raises(AssertionError, match="is read"):
        embed_collection(folder, model, tmp_path / "out")


def test_other_settings_need_another_folder(folder, model, tmp_path):
    embed_collection(folder, model, tmp_path / "out")
    for settings in ({"rows": "window"}, {"dtype": "float16"}):
        with pytest.raises(ValueError, match=f"features with {next(iter(settings))}="):
            embed_collection(folder, model, tmp_path / "out", **settings)
    other = write_export(tmp_path / "other", "encoder", frame_hop=80)
    with pytest.raises(ValueError, match="features of other weights"):
        embed_collection(folder, other, tmp_path / "out")
    elsewhere = write_tones(tmp_path / "elsewhere", TONES, 1)
    with pytest.raises(ValueError, match="is not below"):
        embed_collection(elsewhere, model, tmp_path / "out")
    (tmp_path / "out" / "embed.json").unlink()
    with pytest.raises(ValueError, match="parquet files of something else"):
        embed_collection(folder, model, tmp_path / "out")


def test_a_damaged_shard_is_computed_again(folder, model, tmp_path, caplog):
    embed_collection(folder, model, tmp_path / "out", shard_size=2)
    expected = read(tmp_path / "out")
    shard = min((tmp_path / "out" / "data").iterdir())
    shard.write_bytes(shard.read_bytes()[:100])
    assert embed_collection(folder, model, tmp_path / "out").written == 2
    assert f"{shard} is damaged" in caplog.text
    assert {
        name: row
        for path in (tmp_path / "out" / "data").glob("train-*.parquet")
        for name, row in ((one["file"], one) for one in pyarrow.dataset.dataset(path).to_table().to_pylist())
    } == expected


def test_arguments(folder, model, tmp_path):
    for settings, message in (
        ({"rows": "clip"}, "rows must be"),
        ({"dtype": "int8"}, "dtype must be"),
        ({"shard_size": 0}, "shard_size must be at least 1"),
        ({"processes": 0}, "processes must be at least 1"),
        ({"precision": "bfloat16"}, "precision is fixed"),
    ):
        with pytest.raises(ValueError, match=message):
            embed_collection(folder, model, tmp_path / "out", **settings)


# Several processes --------------------------------------------------------------------------------


def test_another_run_in_the_same_folder(folder, model, tmp_path):
    with alone_in(tmp_path / "out"), pytest.raises(ValueError, match="Another run is writing"):
        embed_collection(folder, model, tmp_path / "out")


def test_two_processes(folder, model, tmp_path):
    report = embed_collection(folder, model, tmp_path / "out", processes=2, shard_size=1)
    assert (report.written, [one.file for one in report.failed], report.unfinished) == (6, ["broken.wav"], [])
    assert_same(vectors(tmp_path / "out"), of_embed(folder, model))
    with pytest.raises(ValueError, match="with rows=recording instead of window"):
        embed_collection(folder, model, tmp_path / "out", processes=2, rows="window")


def test_a_process_that_dies_leaves_its_share_to_a_later_run(folder, model, tmp_path):
    (tmp_path / "program.py").write_text(DEADLY)
    command = [python(), tmp_path / "program.py", folder, model, tmp_path / "out"]
    done = subprocess.run([str(one) for one in command], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [
        [3, 0, ["Process 2 of 2 was killed by SIGKILL before its share was done. Run the command again."]],
        [3, 3, []],
    ]
    assert_same(vectors(tmp_path / "out"), of_embed(folder, model))


def test_when_the_first_process_is_killed(folder, model, tmp_path):
    """The others end too, and then the next run goes on."""
    output = tmp_path / "out"
    write_tones(tmp_path / "tones" / "more", TONES, 100)
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, tmp_path / "program.py", folder, model, output]
    with subprocess.Popen([str(one) for one in command], stdout=subprocess.DEVNULL) as process:
        while not any(output.glob("data/train-*.parquet")) and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    report = embed_collection(folder, model, output)
    assert report.written + report.skipped == 206
    assert report.skipped > 0
    assert read(output).keys() == of_embed(folder, model).keys()
