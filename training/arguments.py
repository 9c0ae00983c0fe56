# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Arguments of training runs: data, windows, models, LoRA, fine-tuning and pre-training."""

import copy
from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments


@dataclass
class ModelArguments:
    """What is trained."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint to start from: a folder or a Hub name. From scratch without it."}
    )
    model_type: str = field(default="sam_audio", metadata={"help": "Type of the model that is built from scratch."})


@dataclass
class ClassifierArguments(ModelArguments):
    """What is trained, and how much of it."""

    drop_path_rate: float | None = field(
        default=None, metadata={"help": "Leave out branches of SSLAM's blocks at random; rate of the last block."}
    )
    label_smoothing: float | None = field(default=None, metadata={"help": "Label smoothing of the cross entropy."})
    freeze_encoder: bool = field(
        default=False,
        metadata={"help": "Train the head only, on features that are computed once if nothing is random."},
    )
    seeds: list[int] | None = field(default=None, metadata={"help": "Several seeds, a run for each, and a summary."})


@dataclass
class DataArguments:
    """How the clips of a dataset are labelled, split and cut."""

    audio_column: str = field(default="audio", metadata={"help": "Column with the audio."})
    label_column: str | None = field(
        default=None, metadata={"help": "Column with the class, or a list of classes; found if it is plain."}
    )
    label_columns: list[str] | None = field(
        default=None, metadata={"help": "Columns of 0 and 1, one for each class, instead of a label column."}
    )
    label_separator: str | None = field(
        default=None, metadata={"help": "What stands between several classes in the text of the label column."}
    )
    group_column: str | None = field(default=None, metadata={"help": "Column with the recording a clip comes from."})
    infer_groups: bool = field(
        default=False, metadata={"help": "Take the recordings from the audio: clips that overlap are of one."}
    )
    test_size: float = field(
        default=0.1, metadata={"help": "Share of the recordings held out, where the data has no such split."}
    )
    split_seed: int = field(default=42, metadata={"help": "Seed of that split, or of the folds."})
    folds: int | None = field(
        default=None, metadata={"help": "Cross-validation in so many folds by recording, a run for each."}
    )
    fold_column: str | None = field(
        default=None, metadata={"help": "Column with the fold of each clip: cross-validation in the data's own folds."}
    )
    allow_leak: bool = field(
        default=False, metadata={"help": "Train though held-out clips share audio with training; the card says so."}
    )
    skip_leak_check: bool = field(
        default=False, metadata={"help": "Do not compare the audio of training and held-out clips; the card says so."}
    )
    crop_seconds: float | None = field(
        default=None, metadata={"help": "Train on random crops of this length, anew each epoch; 0 for whole clips."}
    )
    cache_features: bool = field(
        default=False, metadata={"help": "Extract the features of each clip once and keep them in memory."}
    )


@dataclass
class WindowArguments:
    """Which windows of the recordings of a dataset are trained on."""

    audio_column: str = field(default="audio", metadata={"help": "Column with the audio."})
    split: str = field(default="train", metadata={"help": "Split of the data to train on."})
    streaming: bool = field(
        default=False,
        metadata={"help": "Read the data as it is needed, for sets that do not fit; takes --max-steps."},
    )
    crop_seconds: float = field(
        default=10.0, metadata={"help": "Train on random windows of this length, anew each epoch."}
    )
    roll_and_gain: bool = field(
        default=False, metadata={"help": "Roll each window in time and change its volume at random."}
    )


@dataclass
class LoraArguments:
    """A LoRA adapter."""

    lora_rank: int = field(default=8, metadata={"help": "Rank of the adapter."})
    lora_alpha: int = field(default=16, metadata={"help": "Scale of the adapter, times its rank."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before the adapter."})
    lora_modules: list[str] = field(
        default_factory=lambda: ["attention"],
        metadata={"help": "What gets an adapter: attention, mlp (SSLAM), convolutions (SAMAudio)."},
    )


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


@dataclass
class PretrainingArguments(AudioTrainingArguments):
    """`AudioTrainingArguments` with the optimiser of SSLAM and no evaluation, and a few settings more."""

    eval_strategy: str = field(default="no", metadata={"help": "Pre-training has nothing to evaluate."})
    save_strategy: str = field(default="steps", metadata={"help": "When to save: no, steps or epoch."})
    logging_strategy: str = field(default="steps", metadata={"help": "When to log: no, steps or epoch."})
    logging_steps: float = field(default=50, metadata={"help": "Updates between two log entries."})
    load_best_model_at_end: bool = field(default=False, metadata={"help": "There is no best: the last one counts."})
    metric_for_best_model: str | None = field(default=None, metadata={"help": "Of no use in pre-training."})
    adam_beta2: float = field(default=0.95, metadata={"help": "Beta2 of AdamW."})
    weight_decay: float = field(default=0.05, metadata={"help": "Weight decay of AdamW."})
    max_grad_norm: float = field(default=4.0, metadata={"help": "Norm at which the gradient is clipped."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Learning rate schedule."})
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Every weight has a gradient, unless layerdrop leaves layers out."}
    )
    decay_norms_and_biases: bool = field(
        default=True,
        metadata={"help": "Decay every weight, as the original does in the end, or spare norms and biases."},
    )
    skip_first_teacher_update: bool = field(
        default=True,
        metadata={"help": "Leave the teacher alone at the first update of a run that starts from a checkpoint."},
    )
    min_target_var: float = field(
        default=0.1, metadata={"help": "Stop when the deviation of the targets falls below this."}
    )
    min_pred_var: float = field(
        default=0.01, metadata={"help": "Stop when the deviation of the predictions falls below this."}
    )
    collapse_watch_start: int = field(default=5000, metadata={"help": "Update after which these two are watched."})

    def __post_init__(self):
        super().__post_init__()
        if self.ema_decay is not None:
            raise ValueError(
                "ema_decay averages the weights of a classifier. The decay of the teacher is a setting of the model: "
                "put it into the section `model` of a recipe."
            )


def for_audio(args: TrainingArguments) -> TrainingArguments:
    """A copy of the arguments for training on audio, where the collator makes the model's inputs from all columns."""
    args = copy.copy(args)
    args.remove_unused_columns = False
    return args
