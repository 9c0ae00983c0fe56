# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Trainer and its arguments, as the commands use them."""

from dataclasses import dataclass, field

import torch
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments

from .optimization import cosine_with_floor, layer_scales, scale_learning_rates


@dataclass
class AudioTrainingArguments(TrainingArguments):
    """`TrainingArguments` whose defaults keep the best epoch of a run, and a few settings more."""

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
    layer_decay: float | None = field(
        default=None, metadata={"help": "Factor on the learning rate from each block to the one before it."}
    )
    layer_decay_counting: str = field(
        default="blocks",
        metadata={"help": "What layer_decay slows down: `blocks` only, or `all` of the encoder, embeddings most."},
    )
    min_learning_rate: float = field(
        default=0.0,
        metadata={"help": "Rate at which a cosine schedule starts and ends; lower rates stay constant."},
    )
    decay_norms_and_biases: bool = field(
        default=False, metadata={"help": "Apply weight decay to every weight, or spare norms, biases and tokens."}
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
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay must be above 0 and at most 1, not {self.layer_decay:g}.")
        if self.layer_decay_counting not in ("blocks", "all"):
            raise ValueError(f'layer_decay_counting must be "blocks" or "all", not {self.layer_decay_counting!r}.')
        if self.min_learning_rate < 0:
            raise ValueError(f"min_learning_rate must be at least 0, not {self.min_learning_rate:g}.")
        if self.min_learning_rate and (self.lr_scheduler_type != "cosine" or self.lr_scheduler_kwargs):
            raise ValueError("min_learning_rate is for lr_scheduler_type 'cosine' without lr_scheduler_kwargs only.")


class AudioTrainer(Trainer):
    """
    `Trainer` that logs every number of a model's output beside the loss, and takes early stopping, layer-wise learning
    rates, their floor and what weight decay spares from its arguments.

    Such numbers are the terms of a loss, for instance: all tensors without dimensions. As with `loss`, what is logged
    is the mean since the last time, over all processes.
    """

    # Endings of the names of parameters that weight decay spares beside norms and biases
    spared_names: tuple[str, ...] = ("cls_token", "segment_tokens")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._numbers: dict[str, list[torch.Tensor]] = {}
        if hasattr(self.train_dataset, "set_epoch"):
            self.add_callback(_SetEpoch(self.train_dataset))
        patience = getattr(self.args, "early_stopping_patience", None)
        if patience is not None:
            self.add_callback(EarlyStoppingCallback(early_stopping_patience=patience))

    def get_decay_parameter_names(self, model: torch.nn.Module) -> list[str]:
        if getattr(self.args, "decay_norms_and_biases", False):
            return [name for name, _ in model.named_parameters()]
        return [name for name in super().get_decay_parameter_names(model) if not name.endswith(self.spared_names)]

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        layer_decay = getattr(self.args, "layer_decay", None)
        if self.optimizer is not None or layer_decay is None:
            return super().create_optimizer(model)
        scales = layer_scales(self.model, layer_decay, self.args.layer_decay_counting)
        scale_learning_rates(super().create_optimizer(model), scales)
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        floor = getattr(self.args, "min_learning_rate", 0.0)
        if self.lr_scheduler is None and floor:
            warmup_steps = self.args.get_warmup_steps(num_training_steps)
            self.lr_scheduler = cosine_with_floor(
                self.optimizer if optimizer is None else optimizer, warmup_steps, num_training_steps, floor
            )
            self._created_lr_scheduler = True  # so that a second `train()` makes a new one
        return super().create_scheduler(num_training_steps, optimizer)

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
