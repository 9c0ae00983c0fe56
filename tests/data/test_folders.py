# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Folders and files that are written whole or not at all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from polyaudio.data.folders import check_output, new_folder, write_json, write_whole


# Replaces a dataset, and is killed at the call of the operating system with this number, renames and removals alike
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from polyaudio.data.folders import new_folder

output, number = Path(sys.argv[1]), int(sys.argv[2])
calls = 0

def counted(function):
    def call(*arguments, **settings):
        global calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **settings)
    return call

os.rename, os.fsync, shutil.rmtree = counted(os.rename), counted(os.fsync), counted(shutil.rmtree)
with new_folder(output, overwrite=True) as folder:
    (folder / "mixtures.json").write_text("new")
print("done")
"""


def make_dataset(folder: Path, content: str) -> Path:
    folder.mkdir()
    (folder / "mixtures.json").write_text(content)
    return folder


@pytest.mark.slow
def test_the_only_good_copy_survives_every_kill(tmp_path):
    """Wherever the process is killed, the next one finds the old or the new dataset, also if it then fails itself."""
    for number in range(1, 20):
        output = make_dataset(tmp_path / str(number), "old")
        done = subprocess.run([sys.executable, "-c", KILLED, output, str(number)], capture_output=True, text=True)
        with pytest.raises(ZeroDivisionError), new_folder(output, overwrite=True):
            raise ZeroDivisionError
        assert (output / "mixtures.json").read_text() in ("old", "new")
        assert not list(tmp_path.glob(f".{number}.incomplete*"))
        if done.returncode == 0:
            break
    assert done.stdout == "done\n"
    assert number > 4


def test_a_dataset_that_was_put_aside_is_seen_by_the_check(tmp_path):
    output = make_dataset(tmp_path / "out", "old")
    output.rename(tmp_path / ".out.replaced")
    with pytest.raises(ValueError, match="already holds a dataset"):
        check_output(output)
    assert (output / "mixtures.json").read_text() == "old"


def test_a_rename_that_fails_puts_the_old_one_back(tmp_path, monkeypatch):
    output, rename = make_dataset(tmp_path / "out", "old"), Path.rename

    def refuse(self, target):
        if self.name == ".out.incomplete":
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="no"), new_folder(output, overwrite=True) as folder:
        (folder / "mixtures.json").write_text("new")
    assert (output / "mixtures.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_that_write_one_folder(tmp_path):
    with new_folder(tmp_path / "out") as folder:
        (folder / "mixtures.json").write_text("first")
        with pytest.raises(ValueError, match="Another process is writing"), new_folder(tmp_path / "out"):
            pass
    assert (tmp_path / "out" / "mixtures.json").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": None}

    def fail(unfinished: Path) -> None:
        unfinished.write_text("half")
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        write_whole(path, fail)
    assert json.loads(path.read_text()) == {"a": None}
    assert os.listdir(tmp_path) == ["file.json"]
