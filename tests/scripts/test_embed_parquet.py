# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio embed --format parquet`: its inputs, its flags, and processes that torchrun starts."""

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.dataset
import pytest
from exports import write_export

from builders import TONES, write_tones
from polyaudio import embed
from polyaudio.hub import features
from polyaudio.scripts.embed import main
from prepared_python import python


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return write_export(tmp_path_factory.mktemp("model"), "encoder")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tones(tmp_path_factory.mktemp("clips") / "tones", TONES, 3)


def run(*arguments: object, code: int = 0) -> None:
    assert main([*map(str, arguments), "--format", "parquet", "--workers", "0"]) == code


def read(output: Path) -> dict[str, np.ndarray]:
    table = pyarrow.dataset.dataset(output / "data").to_table()
    return dict(zip(table["file"].to_pylist(), map(np.array, table["vector"].to_pylist()), strict=True))


def expected(folder: Path, model: str) -> dict[str, np.ndarray]:
    return {Path(one.file).relative_to(folder).as_posix(): one.features for one in embed(folder, model)}


def assert_same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, vector in wanted.items():
        np.testing.assert_allclose(found[name], vector, atol=1e-5)


def test_names_from_standard_input_and_from_a_list(folder, model, tmp_path, monkeypatch, capsys):
    files = sorted(map(str, folder.glob("*/*.wav")))
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(files[:2])))
    (tmp_path / "list.txt").write_text("\n".join(files[2:]))
    run("-", f"@{tmp_path}/list.txt", "--model", model, "--output", tmp_path / "out")
    assert capsys.readouterr().out == f"{tmp_path}/out: vectors of 6 recordings written\n"
    assert_same(read(tmp_path / "out"), expected(folder, model))
    run(folder, "--model", model, "--output", tmp_path / "out")
    assert "vectors of 0 recordings written, 6 were there already" in capsys.readouterr().out


def test_an_archive_and_a_dataset(folder, model, tmp_path, capsys):
    with tarfile.open(tmp_path / "clips.tar", "w") as archive:
        archive.add(folder, "clips")
    run(tmp_path / "clips.tar", "--model", model, "--output", tmp_path / "tar")
    wanted = expected(folder, model)
    assert_same(read(tmp_path / "tar"), {f"clips.tar/clips/{name}": vector for name, vector in wanted.items()})
    run("--dataset", folder, "--model", model, "--output", tmp_path / "folder")
    assert_same(read(tmp_path / "folder"), wanted)
    (tmp_path / "cut.tar").write_bytes((tmp_path / "clips.tar").read_bytes()[:100_000])
    run("--model", model, "--output", tmp_path / "cut", tmp_path / "cut.tar", code=1)
    number = len(read(tmp_path / "cut"))
    assert 0 < number < 6
    assert f"cut.tar cannot be read after {number} recordings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--granularity", "frame"], "use npy or safetensors for others"),
        (["--single-file"], "--single-file is for npy and safetensors"),
        (["--private"], "--private needs --push"),
        (["--dataset", "x"], "either files or a --dataset"),
    ],
)
def test_flags_that_do_not_go_together(folder, model, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit):
        run(folder, "--model", model, "--output", tmp_path / "out", *arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: --granularity"),
        (["--granularity", "frame", "--rows", "window"], "--rows needs --format parquet"),
        (["--granularity", "frame", "--push", "me/x"], "--push needs --format parquet"),
        (["--granularity", "frame", "--dataset", "ragas"], "need --format parquet"),
    ],
)
def test_flags_of_parquet_only(folder, model, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit):
        main(
            [
                *([] if "--dataset" in arguments else [str(folder)]),
                *("--model", model, "--output", str(tmp_path / "out"), *arguments),
            ]
        )
    assert message in capsys.readouterr().err


def test_small_files_become_larger_ones_when_they_are_pushed(folder, model, tmp_path, monkeypatch):
    run(folder, "--model", model, "--output", tmp_path / "out", "--shard-size", "1")
    (tmp_path / "one").mkdir()
    features.write_dataset(tmp_path / "out", tmp_path / "one", "me/vectors")
    assert [path.name for path in (tmp_path / "one" / "data").iterdir()] == ["train-00000.parquet"]
    assert_same(read(tmp_path / "one"), read(tmp_path / "out"))
    schema = pyarrow.dataset.dataset(tmp_path / "one" / "data").schema
    assert str(tmp_path) not in str(json.loads(schema.metadata[b"polyaudio"]))
    monkeypatch.setattr(features, "_LARGEST_FILE", 1)
    (tmp_path / "many").mkdir()
    features.write_dataset(tmp_path / "out", tmp_path / "many", "me/vectors")
    assert len(list((tmp_path / "many" / "data").iterdir())) == 6
    assert_same(read(tmp_path / "many"), read(tmp_path / "out"))
    for path in (tmp_path / "out" / "data").iterdir():
        path.unlink()
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="has no vectors"):
        features.write_dataset(tmp_path / "out", tmp_path / "none", "me/vectors")


# Both formats in one process group, which takes long to set up
LAUNCHED = """
import sys
from polyaudio.scripts import embed

arguments = [sys.argv[1], "--model", sys.argv[2], "--workers", "0", "--output"]
leave, embed.leave = embed.leave, lambda code: code
embed.main([*arguments, sys.argv[3] + "/arrays", "--granularity", "utterance"])
embed.leave = leave
sys.exit(embed.main([*arguments, sys.argv[3] + "/vectors", "--format", "parquet"]))
"""


@pytest.mark.slow
def test_torchrun(folder, model, tmp_path):
    """Each process does a share, in both formats, and of Parquet files the first one tells of all."""
    clips = shutil.copytree(folder, tmp_path / "clips")
    (clips / "broken.wav").write_bytes(b"no audio")
    (tmp_path / "program.py").write_text(LAUNCHED)
    launch = [python(), "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run(
        [*launch, str(tmp_path / "program.py"), str(clips), model, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHON_EXEC": python()},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("broken.wav is not audio") == 2
    # Two processes write at once, so that the ends of their lines can come later than the next line
    first, second = map(int, re.findall(r"features of (\d+)", done.stdout))
    assert first + second == 6
    assert 0 not in (first, second)
    assert done.stdout.count(f"{tmp_path}/vectors: vectors of 6 recordings written") == 1
    arrays = tmp_path / "arrays"
    names = {path: path.relative_to(arrays).as_posix().removesuffix(".npy") for path in arrays.rglob("*.npy")}
    assert_same(read(tmp_path / "vectors"), {name: np.load(path) for path, name in names.items()})
