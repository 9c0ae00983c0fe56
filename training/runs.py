# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Stopping, resuming and ending a training run."""

import gc
import json
import signal
import threading
from pathlib import Path

import torch
from transformers import TrainerCallback, TrainingArguments


class StopOnSignal(TrainerCallback):
    """
    On SIGINT and SIGTERM lets a Trainer finish its step, save a checkpoint and stop; a second signal ends it at once.

    `received` is the name of the signal, or `None`.
    """

    def __init__(self):
        self.received: str | None = None
        self._handlers: dict[int, object] = {}

    def on_train_begin(self, args, state, control, **kwargs):
        if threading.current_thread() is threading.main_thread():  # others may set no handlers
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
    End the process group of a run of several processes, where there is one.

    One that exits while another still uses the group, or with a model that is still bound to it, can abort.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def last_checkpoint(output_dir: str) -> str:
    """
    The newest complete checkpoint folder of a run: one that was being written when the run was killed does not count.

    Raises:
        ValueError: there is none.
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
        raise ValueError(f"there is no checkpoint in {output_dir} to resume from; leave out resume to start anew")
    return str(folders[str(max(complete))])


def checkpoint_to_resume(args: TrainingArguments) -> str:
    """The checkpoint that a run goes on from: the one that its arguments name, or else the last one."""
    return args.resume_from_checkpoint or last_checkpoint(args.output_dir)
