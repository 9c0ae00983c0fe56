# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The progress bars of a Trainer."""

import contextlib
from collections.abc import Iterator

import datasets
from tqdm.auto import tqdm
from transformers import ProgressCallback, Trainer
from transformers.trainer_utils import has_length


def name_bars(trainer: Trainer) -> None:
    """Let the progress bars of a Trainer say what they are of. It shows none where those of datasets are off."""
    if trainer.pop_callback(ProgressCallback) is not None and not datasets.are_progress_bars_disabled():
        trainer.add_callback(_NamedBars())


@contextlib.contextmanager
def no_bars() -> Iterator[None]:
    """No progress bars of datasets and of Trainers that are made here: for what shows one bar for many of them."""
    were_off = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not were_off:
            datasets.enable_progress_bars()


class _NamedBars(ProgressCallback):
    """One bar at a time: while a training evaluates, its own bar says how far the evaluation is."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.current_step, self.batches_evaluated = 0, 0
        if state.is_world_process_zero:
            self.training_bar = tqdm(total=state.max_steps, desc="Training", unit="step", dynamic_ncols=True)

    def on_prediction_step(self, args, state, control, eval_dataloader=None, **kwargs):
        if not state.is_world_process_zero or not has_length(eval_dataloader):
            return
        if self.training_bar is not None:
            self.batches_evaluated += 1
            self.training_bar.set_postfix_str(f"evaluated {self.batches_evaluated} of {len(eval_dataloader)} batches")
            return
        if self.prediction_bar is None:
            self.prediction_bar = tqdm(total=len(eval_dataloader), desc="Evaluating", unit="batch", dynamic_ncols=True)
        self.prediction_bar.update()

    def on_evaluate(self, args, state, control, **kwargs):
        super().on_evaluate(args, state, control, **kwargs)
        self.batches_evaluated = 0
        if self.training_bar is not None:
            self.training_bar.set_postfix_str("")
