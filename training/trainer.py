# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Trainer and its arguments, as the commands use them."""

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HTTPError
from peft import PeftModel
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import HubStrategy

from .ema import ModelEMA
from .frozen import is_frozen
from .optimization import cosine_with_floor, layer_scales, scale_learning_rates
from .sampling import BalancedSampler


logger = logging.getLogger(__name__)


@dataclass
class AudioTrainingArguments(TrainingArguments):
    """`TrainingArguments` whose defaults keep the best epoch of a run, and a few settings more."""

    output_dir: str = field(default="runs/model", metadata={"help": "Folder for the model and its checkpoints."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: no, steps or epoch."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save: no, steps, epoch or best."})
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log: no, steps or epoch."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints to keep beside the best."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "End with the best checkpoint."})
    metric_for_best_model: str | None = field(
        default="auto", metadata={"help": "Metric that tells the best; `auto` is the usual one of the task."}
    )
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
    balanced_samples: int | None = field(
        default=None, metadata={"help": "Clips to draw for an epoch, rare classes as often as frequent ones."}
    )
    ema_decay: float | None = field(
        default=None,
        metadata={"help": "Share that a step keeps of a moving average of the weights, which is then the model."},
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
        if self.hub_token:
            raise ValueError(
                "hub_token would be written to training_args.bin. Log in with `hf auth login` or set the environment "
                "variable HF_TOKEN instead."
            )
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be at least 0 and below 1, not {self.ema_decay:g}.")


class AudioTrainer(Trainer):
    """
    `Trainer` that logs every number of a model's output beside the loss, and takes early stopping, layer-wise learning
    rates, their floor, what weight decay spares, balanced sampling and averaging of weights from its arguments.

    Such numbers are the terms of a loss, for instance: all tensors without dimensions. As with `loss`, what is logged
    is the mean since the last time, over all processes.

    An encoder (`model.base_model`) none of whose weights is trained stays in evaluation mode in training.

    With `ema_decay`, evaluation and prediction use the averaged weights ([`ModelEMA`]), and `train` ends with those of
    the last or the best step in the model. The weights in a checkpoint are those that training goes on from, and the
    averaged ones are beside them in `ema.safetensors`.

    With `push_to_hub`, checkpoints go up as `hub_strategy` says, but `save_model` pushes nothing: `push_to_hub` does,
    or `polyaudio push` once the report is in the folder.

    Args:
        train_collator: makes the batches of training, `data_collator` only the others then.
        train_weights: `(clips,)`, with which `balanced_samples` clips are drawn for an epoch ([`BalancedSampler`]).
        metric_names: what `compute_metrics` gives, so that a `metric_for_best_model` that it does not give is found
            before training and not after an epoch.
    """

    # Endings of the names of parameters that weight decay spares beside norms and biases
    spared_names: tuple[str, ...] = ("cls_token", "segment_tokens")

    def __init__(
        self,
        *args,
        train_collator: Callable | None = None,
        train_weights: torch.Tensor | None = None,
        metric_names: Collection[str] | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.train_collator = self.data_collator if train_collator is None else train_collator
        self._numbers: dict[str, list[torch.Tensor]] = {}
        self._check_metric_for_best_model(metric_names)
        if hasattr(self.train_dataset, "set_epoch"):
            self.add_callback(_SetEpoch(self.train_dataset))

        self._balanced_sampler = self._make_balanced_sampler(train_weights)
        if self._balanced_sampler is not None:
            # accelerate tells a sampler the epoch, but not in the epoch that several processes resume in
            self.add_callback(_SetEpoch(self._balanced_sampler))

        self.ema: ModelEMA | None = None
        if getattr(self.args, "ema_decay", None) is not None:
            if self.is_fsdp_enabled or self.is_deepspeed_enabled:
                raise ValueError("ema_decay needs whole weights in each process, so neither FSDP nor DeepSpeed.")
            self.add_callback(_UpdateEMA(self))
        patience = getattr(self.args, "early_stopping_patience", None)
        if patience is not None:
            self.add_callback(EarlyStoppingCallback(early_stopping_patience=patience))

    def _check_metric_for_best_model(self, metric_names: Collection[str] | None) -> None:
        name = self.args.metric_for_best_model
        if metric_names is None or name is None or self.args.eval_strategy == "no":
            return
        known = sorted({*metric_names, "loss"})
        if name.removeprefix("eval_") not in known:
            raise ValueError(f"metric_for_best_model is {name!r}, but there is only {', '.join(known)}.")

    def _make_balanced_sampler(self, weights: torch.Tensor | None) -> BalancedSampler | None:
        num_samples = getattr(self.args, "balanced_samples", None)
        if self.train_dataset is None or (num_samples is None and weights is None):
            return None
        if num_samples is None or weights is None:
            raise ValueError("balanced_samples and the weights of the clips (train_weights) go together.")
        if len(weights) != len(self.train_dataset):
            raise ValueError(f"There are {len(self.train_dataset)} clips to train on, but {len(weights)} weights.")
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return BalancedSampler(weights, num_samples, seed)

    def _get_train_sampler(self, train_dataset=None) -> torch.utils.data.Sampler | None:
        if self._balanced_sampler is not None:
            return self._balanced_sampler
        return super()._get_train_sampler(train_dataset)

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        data_collator, self.data_collator = self.data_collator, self.train_collator
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = data_collator

    def _prepare_for_training(self, max_steps, train_dataloader, resume_from_checkpoint):
        prepared = super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        if getattr(self.args, "ema_decay", None) is not None:
            self.ema = ModelEMA(self.model, self.args.ema_decay)
            if resume_from_checkpoint is not None:
                self.ema.load(resume_from_checkpoint)
        return prepared

    def evaluation_loop(self, *args, **kwargs):
        with contextlib.nullcontext() if self.ema is None else self.ema.applied():
            return super().evaluation_loop(*args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        # Trainer would push here, when evaluation and card are still to come
        super().save_model(output_dir, _internal_call=True)
        if self.ema is not None and self.args.should_save:
            self.ema.save(self.args.output_dir if output_dir is None else output_dir)

    def init_hf_repo(self, *args, **kwargs) -> None:
        base = self.model.active_peft_config.base_model_name_or_path if isinstance(self.model, PeftModel) else None
        if base is not None and os.path.isdir(base):
            raise ValueError(
                f"The adapter could be pushed, but not loaded by others: its base is the folder {base}. Push that "
                "first and train from its name on the Hub, or train without push_to_hub."
            )
        try:
            super().init_hf_repo(*args, **kwargs)
            if self.is_world_process_zero() and self.args.hub_revision is not None:
                HfApi().create_branch(self.hub_model_id, branch=self.args.hub_revision, exist_ok=True)
        except HTTPError as error:
            raise OSError(
                f"Nothing was trained, since the Hub gives no repository to push to: {error} Run `hf auth login` for "
                "a token that may write there, or train without push_to_hub and use `polyaudio push` afterwards."
            ) from error

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        # Of an encoder whose features were computed before, a checkpoint holds the head alone
        if not self.is_world_process_zero() or not os.path.isfile(os.path.join(checkpoint_folder, "config.json")):
            return
        # Trainer takes configuration and weights from the checkpoint to the folder that it pushes, but not the code
        for path in Path(checkpoint_folder).glob("*.py"):
            shutil.copy(path, self.args.output_dir)
        super()._push_from_checkpoint(checkpoint_folder)
        for job in [] if self.push_in_progress is None else self.push_in_progress.jobs:
            job.add_done_callback(_warn_of_failed_push)
        if self.args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            self._finish_current_push()  # before Trainer deletes older checkpoints, which may be going up

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self.ema is not None:
            self.ema.load(self.state.best_model_checkpoint)

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
        encoder = getattr(self.model, "base_model", None)
        if model.training and encoder is not None and is_frozen(encoder):
            encoder.eval()
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


def _warn_of_failed_push(job: Future) -> None:
    if job.exception() is not None:
        logger.warning(f"A push during training failed: {job.exception()}")


class _SetEpoch(TrainerCallback):
    """Tells a dataset the epoch, which accelerate does not do where the sampler takes it, or a sampler."""

    def __init__(self, target):
        self.target = target

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.target.set_epoch(int(state.epoch + 1e-6))


class _UpdateEMA(TrainerCallback):
    def __init__(self, trainer: AudioTrainer):
        self.trainer = trainer

    def on_step_end(self, args, state, control, **kwargs):
        # A step that the gradient scaler of fp16 left out has not moved the weights
        if not self.trainer.accelerator.optimizer_step_was_skipped:
            self.trainer.ema.update(state.global_step)

    def on_train_end(self, args, state, control, **kwargs):
        self.trainer.ema.copy_to_model()
        self.trainer.ema = None
