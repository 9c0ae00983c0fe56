# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A dataset on a Hub on this machine: streamed, embedded by two processes, pushed, and loaded back."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.dataset
import pytest
from exports import write_export

from builders import TONES, write_tones
from hub_server import WRITE_TOKEN, HubServer
from polyaudio import embed
from prepared_python import python


PUSH_CLIPS = """
import sys
from datasets import Audio, ClassLabel, Dataset, Features, Value
from pathlib import Path

files = sorted(Path(sys.argv[1]).glob("*/*.wav"))
columns = {
    "audio": [{"bytes": file.read_bytes(), "path": file.name} for file in files],
    "label": [("high", "low").index(file.parent.name) for file in files],
}
columns["audio"][1] = {"bytes": b"no audio", "path": "broken.wav"}
storage = {"bytes": Value("binary"), "path": Value("string")}
rows = Dataset.from_dict(columns, features=Features({"audio": storage, "label": ClassLabel(names=["high", "low"])}))
rows.cast_column("audio", Audio(decode=False)).push_to_hub("tester/clips", num_shards=3)
"""
LOAD_VECTORS = """
import json
from datasets import load_dataset

rows = load_dataset("tester/vectors", split="train")
print(json.dumps([rows.column_names, rows["file"][:], rows["label"][:], rows["vector"][:]]))
"""


@pytest.mark.slow
def test_a_hub_dataset_is_embedded_by_streaming_and_pushed(tmp_path):
    folder = write_tones(tmp_path / "tones", TONES, 5)
    model = write_export(tmp_path / "model", "encoder")
    output = tmp_path / "out"
    with HubServer() as hub:
        environment = {
            **os.environ,
            **{"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": WRITE_TOKEN, "HF_HUB_DISABLE_XET": "1"},
            **{"HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")},
        }

        def run(*arguments: str, code: int = 0) -> str:
            command = [python("torch"), *map(str, arguments)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            assert done.returncode == code, done.stderr[-3000:]
            return done.stdout

        run("-c", PUSH_CLIPS, folder)
        command = ["-m", "polyaudio", "embed", "--dataset", "tester/clips", "--streaming", "--keep-columns", "label"]
        command += ["--model", model, "--format", "parquet", "--output", output, "--workers", "0"]
        text = run(*command, "--processes", "2", "--push", "tester/vectors", code=1)
        assert f"{output}: vectors of 9 recordings written" in text
        assert f"{hub.endpoint}/datasets/tester/vectors/commit/" in text
        names, files, labels, vectors = json.loads(run("-c", LOAD_VECTORS).splitlines()[-1])
        assert "0 recordings written, 9 were there already" in run(*command, code=1)
        pushed = hub.repos["dataset", "tester/vectors"]
        content = pushed.commits[pushed.branches["main"]].files

    assert not list((tmp_path / "home" / "datasets").glob("tester___clips*")), "streaming stores nothing"
    assert names == ["file", "start", "end", "vector", "audio", "model", "label"]
    expected = {
        f"{file.name}/{file.parent.name}": one.features
        for file, one in ((Path(one.file), one) for one in embed(folder, model))
    }
    found = {
        f"{name.rpartition('/')[2]}/{label}": np.array(vector)
        for name, label, vector in zip(files, labels, vectors, strict=True)
    }
    assert len(found) == len(files) == 9
    for name, vector in found.items():
        np.testing.assert_allclose(vector, expected[name], atol=1e-5)
    (failure,) = map(json.loads, (output / "failed.jsonl").read_text().splitlines())
    assert failure["file"] == "train/00000/000001/broken.wav"
    assert len(pyarrow.dataset.dataset(output / "data").to_table()) == 9
    card = content["README.md"].data.decode()
    assert "9 vectors of 2 values (float32) for 9 recordings" in card
    assert "| model | `model` |" in card
    assert [name for name in content if name.endswith(".parquet")] == ["data/train-00000.parquet"]
    for blob in content.values():
        assert str(tmp_path).encode() not in blob.data, "paths of this machine stay here"
