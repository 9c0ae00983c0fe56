# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Stopping, resuming and ending a training run."""

import gc
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments


class StopOnSignal(TrainerCallback):
    """
    On SIGINT or SIGTERM, the Trainer finishes its step, saves a checkpoint and stops. A second signal ends it at once.

    Attributes:
        received: the name of the signal, or `None`.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._handlers: dict[int, Any] = {}

    def on_train_begin(self, args, state, control, **kwargs):
        if threading.current_thread() is threading.main_thread():  # other threads may not set handlers
            self._handlers = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_step_end(self, args, state, control, **kwargs):
        if self.received is not None:
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args, state, control, **kwargs):
        self._restore()

    def _stop(self, number, frame):
        self.received = signal.Signals(number).name
        self._restore()

    def _restore(self):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


def leave_together() -> None:
    """
    End the process group, if the run has several processes.

    A process can abort if it exits while another still uses the group, or while a model in it is bound to the group.
    So delete the model first.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def output_folder(args: TrainingArguments) -> Path:
    """
    The folder of a run.

    Raises:
        ValueError: `output_dir` is `None`.
    """
    if args.output_dir is None:
        raise ValueError("output_dir is None. Set it to the folder for the model.")
    return Path(args.output_dir)


def last_checkpoint(output_dir: str | os.PathLike) -> str:
    """
    The newest complete checkpoint folder of a run. A checkpoint that was not written to its end is skipped.

    Raises:
        ValueError: there is no complete checkpoint.
    """

    def is_complete(folder: Path) -> bool:
        try:  # the file that Trainer writes last
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return True

    folders = {folder.name.rpartition("-")[2]: folder for folder in Path(output_dir).glob("checkpoint-*")}
    complete = [int(step) for step, folder in folders.items() if step.isdecimal() and is_complete(folder)]
    if not complete:
        raise ValueError(
            f"There is no checkpoint in {output_dir} to resume from. Leave out resume (--resume) to start a new run."
        )
    return str(folders[str(max(complete))])


def checkpoint_to_resume(args: TrainingArguments) -> str:
    """The checkpoint to resume a run from: `resume_from_checkpoint` if it is set, otherwise the last checkpoint."""
    return args.resume_from_checkpoint or last_checkpoint(output_folder(args))
