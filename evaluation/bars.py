# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The progress bars of a Trainer."""

from tqdm.auto import tqdm
from transformers import ProgressCallback, Trainer
from transformers.trainer_utils import has_length


def name_bars(trainer: Trainer) -> None:
    """Let the progress bars of a Trainer say what they are of, if it shows any."""
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(_NamedBars())


class _NamedBars(ProgressCallback):
    def on_train_begin(self, args, state, control, **kwargs):
        self.current_step = 0
        if state.is_world_process_zero:
            self.training_bar = tqdm(total=state.max_steps, desc="Training", unit="step", dynamic_ncols=True)

    def on_prediction_step(self, args, state, control, eval_dataloader=None, **kwargs):
        if self.prediction_bar is None and state.is_world_process_zero and has_length(eval_dataloader):
            leave = self.training_bar is None  # within training it goes when it is done
            self.prediction_bar = tqdm(
                total=len(eval_dataloader), desc="Evaluating", unit="batch", leave=leave, dynamic_ncols=True
            )
        super().on_prediction_step(args, state, control, eval_dataloader=eval_dataloader, **kwargs)
