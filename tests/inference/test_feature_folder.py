# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The folder that `polyaudio embed` writes to: several processes lose nothing, and a cut-off index does no harm."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from polyaudio.inference.feature_folder import FeatureFolder, FeatureSettings


SETTINGS = FeatureSettings("model", "0" * 64, "utterance", None, "longest")
# Writes features of every file, slowly enough to meet another process, and packs them several times
WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from polyaudio.inference.feature_folder import FeatureFolder, FeatureSettings

folder, number, parts, format, single = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]
files = sorted(str(path) for path in (folder / "in").rglob("*.wav"))
settings = FeatureSettings("model", "0" * 64, "utterance", None, "longest")
for _ in range(3):
    output = FeatureFolder(folder / "out", settings, files, format, single == "single")
    for index, file in enumerate(files):
        if index % parts == number:
            output.write(file, np.full(4, index, np.float32))
    output.finish()
"""


@pytest.fixture
def files(tmp_path) -> list[str]:
    for number in range(20):
        path = tmp_path / "in" / f"{number % 3}" / f"{number:02}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * 100)
    return sorted(map(str, (tmp_path / "in").rglob("*.wav")))


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(("format", "single"), [("npy", "many"), ("npy", "single"), ("safetensors", "single")])
def test_two_processes_lose_nothing(files, tmp_path, parts, format, single):
    """Of all files each, or of one half each."""
    arguments = [str(parts), format, single]
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    processes = [subprocess.Popen([*command, str(number % parts), *arguments]) for number in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    output = FeatureFolder(tmp_path / "out", SETTINGS, files, format, single == "single")
    assert output.find_done(files) == set(files)
    lines = [json.loads(line) for line in (tmp_path / "out" / "index.jsonl").read_text().split("\n") if line]
    assert {line["file"] for line in lines} == {str(Path(file).relative_to(tmp_path / "in")) for file in files}
    if single == "single":
        path = tmp_path / "out" / ("features.npz" if format == "npy" else "features.safetensors")
        features = dict(np.load(path)) if format == "npy" else load_file(path)
        assert sorted(float(values[0]) for values in features.values()) == list(range(20))
        assert not (tmp_path / "out" / "parts").exists()


def test_an_index_that_was_cut_off(files, tmp_path):
    output = FeatureFolder(tmp_path / "out", SETTINGS, files, "npy", False)
    for file in files[:2]:
        output.write(file, np.zeros(3, np.float32))
    index = tmp_path / "out" / "index.jsonl"
    index.write_text(index.read_text()[:-20])
    assert output.find_done(files) == {files[0]}
    output.write(files[2], np.zeros(3, np.float32))
    assert output.find_done(files) == {files[0], files[2]}
    output.write(files[1], np.zeros(3, np.float32))
    assert output.find_done(files) == set(files[:3])


def test_a_file_that_changed_meanwhile_is_not_done(files, tmp_path):
    output = FeatureFolder(tmp_path / "out", SETTINGS, files, "npy", False)
    Path(files[0]).write_bytes(b"longer than before" * 10)
    output.write(files[0], np.zeros(3, np.float32))
    assert output.find_done(files) == set()


def test_a_damaged_description(files, tmp_path):
    FeatureFolder(tmp_path / "out", SETTINGS, files, "npy", False)
    (tmp_path / "out" / "embed.json").write_text("{")
    with pytest.raises(ValueError, match=r"embed.json is damaged"):
        FeatureFolder(tmp_path / "out", SETTINGS, files, "npy", False)
