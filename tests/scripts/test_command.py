# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""How commands end: errors of the system, Ctrl-C, and readers of the output that go away."""

import errno
import logging
import os
import subprocess
import sys

import pytest

from builders import SSLAM, write_tones
from polyaudio import SSLAMConfig, SSLAMFeatureExtractor, SSLAMForAudioClassification
from polyaudio.scripts.command import command
from prepared_python import python


POLYAUDIO = [sys.executable, "-m", "polyaudio"]


def run_with(error: BaseException | None, monkeypatch) -> int:
    @command
    def main(argv):
        if error is not None:
            raise error

    monkeypatch.delenv("POLYAUDIO_TRACEBACK", raising=False)
    return main([])


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ValueError("Two\nlines."), 2, "Two lines."),
        (OSError(errno.ENOSPC, "No space left on device", "x.json"), 2, "Make room on the disk"),
        (PermissionError(errno.EACCES, "Permission denied", "x.json"), 2, "Change the permissions"),
        (OSError(errno.EROFS, "Read-only file system", "x.json"), 2, "Choose a folder that can be written to"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x.json"), 2, "'x.json'"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (InterruptedError("SIGINT stopped the run at step 5."), 130, "SIGINT stopped the run at step 5."),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 2, "Broken pipe"),  # not that of the output
        (None, 0, ""),
    ],
)
def test_the_end_of_a_command(error, code, message, monkeypatch, capsys):
    assert run_with(error, monkeypatch) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (error is not None)
    assert message in "".join(lines)


def test_a_bug_ends_with_its_traceback(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        run_with(ZeroDivisionError("a bug"), monkeypatch)


def test_a_command_that_calls_another_prints_its_log_once(capsys):
    """As `demo` calls `train`."""

    @command
    def train(argv):
        logging.getLogger("polyaudio.training").info("the report")

    @command
    def demo(argv):
        return train(argv)

    assert demo([]) == 0
    assert capsys.readouterr().out == "the report\n"


@pytest.mark.parametrize("arguments", [["--help"], ["dataset", "stats", "--help"]])
def test_a_reader_that_goes_away(arguments):
    """As `| head` does when it has its lines."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*POLYAUDIO, *arguments], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode in (0, 141)


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    """A model, and enough sounds for a command to take a while."""
    folder = tmp_path_factory.mktemp("tried")
    labels = {"id2label": {0: "high", 1: "low"}, "label2id": {"high": 0, "low": 1}}
    SSLAMForAudioClassification(SSLAMConfig(**SSLAM, **labels)).save_pretrained(folder / "model")
    SSLAMFeatureExtractor(max_length=128).save_pretrained(folder / "model")
    write_tones(folder / "tones", {"high": 3000.0, "low": 300.0}, 200, seconds=(1.0, 1.5))
    return folder


COMMANDS = {
    "predict": ["predict", "tones", "--model", "model", "--workers", "2"],
    "embed": [
        "embed",
        "tones",
        "--model",
        "model",
        "--granularity",
        "frame",
        "--output",
        "features",
        "--workers",
        "2",
    ],
    "evaluate": ["evaluate", "model", "--dataset", "tones"],
    "probe": ["probe", "model", "--dataset", "tones", "--num-workers", "2"],
    "train": [
        *("train", "--dataset", "tones", "--model-name-or-path", "model", "--output-dir", "run", "--epochs", "99"),
        *("--crop-seconds", "0.5", "--skip-leak-check", "true"),
    ],
}
# Interrupts all processes of the command when the workers of a DataLoader are asked for their second batch
INTERRUPTED = """
import itertools, os, signal, sys, torch
from torch.utils.data import dataloader

# As in a terminal: a shell lets what it runs in the background ignore the signal
signal.signal(signal.SIGINT, signal.default_int_handler)
give, count = dataloader._MultiProcessingDataLoaderIter._next_data, itertools.count()

def give_or_interrupt(self):
    if next(count) == 1:
        os.killpg(0, signal.SIGINT)
    return give(self)

dataloader._MultiProcessingDataLoaderIter._next_data = give_or_interrupt
from polyaudio.scripts.__main__ import main
sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c(name, tried):
    """A terminal sends SIGINT to all processes of the command, its workers too."""
    # In one of them the libraries end as they do for a user
    interpreter = sys.executable if name == "predict" else python()
    process = subprocess.Popen(
        [interpreter, "-c", INTERRUPTED, *COMMANDS[name]],
        cwd=tried,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    _, error = process.communicate()
    assert process.returncode == 130, error
    assert "Traceback" not in error, error
    assert "Exception ignored" not in error, error
