# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Progress bars: one a stage in a terminal, none in a log, none with --quiet."""

import fcntl
import itertools
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading

import pytest
from transformers.utils import logging

from builders import SAM_AUDIO, TONES, write_tones
from polyaudio import AudioTrainingArguments, SAMAudioConfig, SAMAudioForAudioClassification
from polyaudio.training.trainer import AudioTrainer
from prepared_python import python


RECIPE = f"""
model: {{model_type: sam_audio, {", ".join(f"{name}: {value}" for name, value in SAM_AUDIO.items())}}}
data: {{test_size: 0.34}}
training: {{num_train_epochs: 2, per_device_train_batch_size: 8, dataloader_num_workers: 0}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with tones and a recipe."""
    folder = tmp_path_factory.mktemp("progress")
    write_tones(folder / "tones", TONES, 3)
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def train(place, output: str, *flags: str, in_terminal: bool) -> tuple[str, str]:
    """What a training prints to standard output and to standard error."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TQDM_")}
    command = ["train", "--config", "recipe.yaml", "--dataset", "tones", "--output-dir", output, *flags]
    reader, writer = pty.openpty() if in_terminal else os.pipe()
    if in_terminal:
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    errors: list[bytes] = []
    thread = threading.Thread(target=lambda: errors.extend(read_all(reader)))
    thread.start()
    # What hides bars has to be set before libraries are imported
    interpreter = python() if in_terminal and "--quiet" not in flags else sys.executable
    command = [interpreter, "-m", "polyaudio", *command]
    done = subprocess.run(command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=writer)
    os.close(writer)
    thread.join()
    os.close(reader)
    assert done.returncode == 0, b"".join(errors)
    return done.stdout.decode(), b"".join(errors).decode()


def read_all(file: int) -> list[bytes]:
    blocks = []
    try:
        while block := os.read(file, 65536):
            blocks.append(block)
    except OSError:  # the end of a terminal
        pass
    return blocks


def left_on_screen(text: str) -> list[str]:
    """The lines that a terminal shows when all is printed."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[A|\r|\n|[^\x1b\r\n]+", text):
        if part == "\x1b[A":
            row = max(0, row - 1)
        elif part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        else:
            before = lines[row].ljust(column)
            lines[row] = before[:column] + part + before[column + len(part) :]
            column += len(part)
    return lines


@pytest.mark.slow
def test_a_terminal_has_a_bar_for_each_stage(place):
    output, errors = train(place, "terminal", in_terminal=True)
    bars = [line.partition(":")[0] for line in left_on_screen(errors) if "%|" in line]
    bars = [name for name, _ in itertools.groupby(bars)]  # a warning of a library stands between two lines of a bar
    checks = ["Checking train", "Reading", "Matching", "Matching shifted"]
    assert bars == [*checks, "Extracting features", "Training", "Evaluating"]
    # After each epoch, in the bar of the training, which is drawn again when the scores are printed
    assert set(re.findall(r"Training: [^\r\n]* (\d/2) [^\r\n]*evaluated 1 of 1 batches", errors)) == {"1/2", "2/2"}
    assert "\x1b[A" not in errors  # what a second bar below it would print
    assert "Writing model shards" not in errors
    assert "Loading weights" not in errors
    assert "'eval_loss'" in output
    assert "accuracy" in output


@pytest.mark.slow
def test_a_log_has_none(place):
    output, errors = train(place, "log", in_terminal=False)
    assert "%|" not in errors
    assert "\r" not in errors
    assert "'eval_loss'" in output


@pytest.mark.slow
def test_quiet_leaves_the_results(place):
    output, errors = train(place, "quiet", "--quiet", in_terminal=True)
    assert "%|" not in errors
    assert "'eval_loss'" not in output
    assert "accuracy" in output
    assert "The model is in quiet" in output


def test_a_trainer_shows_no_bar_for_each_checkpoint(tmp_path, capsys):
    """And changes nothing for others who save."""
    model = SAMAudioForAudioClassification(SAMAudioConfig(**SAM_AUDIO, num_labels=2))
    trainer = AudioTrainer(
        model=model, args=AudioTrainingArguments(str(tmp_path), eval_strategy="no", load_best_model_at_end=False)
    )
    was_on = logging.is_progress_bar_enabled()
    trainer.save_model()
    assert "Writing model shards" not in capsys.readouterr().err
    assert logging.is_progress_bar_enabled() == was_on
    logging.enable_progress_bar()
    try:
        model.save_pretrained(tmp_path / "other")
        assert "Writing model shards" in capsys.readouterr().err
    finally:
        if not was_on:
            logging.disable_progress_bar()
