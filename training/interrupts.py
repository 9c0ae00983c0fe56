# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Ending a run on a signal without losing what it has learned."""

import signal
import threading

from transformers import TrainerCallback


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
