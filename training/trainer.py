# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Trainer and its arguments, as the commands use them."""

from dataclasses import dataclass, field

import torch
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments


@dataclass
class AudioTrainingArguments(TrainingArguments):
    """`TrainingArguments` whose defaults keep the best epoch of a run, and two settings more."""

    output_dir: str = field(default="runs/model", metadata={"help": "Folder for the model and its checkpoints."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: no, steps or epoch."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save: no, steps, epoch or best."})
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log: no, steps or epoch."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints to keep beside the best."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "End with the best checkpoint."})
    metric_for_best_model: str | None = field(default="accuracy", metadata={"help": "Metric that tells the best."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "The collator makes the model's inputs."})
    dataloader_num_workers: int = field(default=2, metadata={"help": "Processes that decode and extract."})
    warmup_epochs: float | None = field(
        default=None,
        metadata={"help": "Epochs of linear warm-up, at most half of all epochs; overrides warmup_steps."},
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Evaluations without a better metric after which training ends."}
    )

    def __post_init__(self):
        if not torch.accelerator.is_available():
            # So that several processes find each other over gloo, and PyTorch does not warn about pinned memory
            self.use_cpu = True
            self.dataloader_pin_memory = False
        super().__post_init__()
        if self.label_smoothing_factor:
            raise ValueError(
                "label_smoothing_factor would replace the model's loss and leave out its other terms. Set the model's "
                "own label_smoothing instead."
            )
        if self.warmup_epochs is not None:
            if self.warmup_epochs < 0:
                raise ValueError(f"warmup_epochs must be at least 0, not {self.warmup_epochs:g}.")
            self.warmup_steps = min(0.5, self.warmup_epochs / self.num_train_epochs)


class AudioTrainer(Trainer):
    """
    `Trainer` that logs every number of a model's output beside the loss, and stops early where its arguments say so.

    Such numbers are the terms of a loss, for instance: all tensors without dimensions. As with `loss`, what is logged
    is the mean since the last time, over all processes.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._numbers: dict[str, list[torch.Tensor]] = {}
        if hasattr(self.train_dataset, "set_epoch"):
            self.add_callback(_SetEpoch(self.train_dataset))
        patience = getattr(self.args, "early_stopping_patience", None)
        if patience is not None:
            self.add_callback(EarlyStoppingCallback(early_stopping_patience=patience))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        if model.training:
            for name, value in outputs.items():
                if name != "loss" and isinstance(value, torch.Tensor) and value.ndim == 0:
                    self._numbers.setdefault(name, []).append(value.detach())
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self._numbers:
            means = torch.stack([torch.stack(values).float().mean() for values in self._numbers.values()])
            means = self.accelerator.reduce(means, reduction="mean").tolist()
            logs = {**logs, **dict(zip(self._numbers, means, strict=True))}
            self._numbers = {}
        super().log(logs, start_time)


class _SetEpoch(TrainerCallback):
    """Tells a dataset the epoch, which accelerate does not do where the sampler takes it."""

    def __init__(self, dataset):
        self.dataset = dataset

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.dataset.set_epoch(int(state.epoch + 1e-6))
