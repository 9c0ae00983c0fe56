# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Arguments of training runs: models, data, windows, LoRA, fine-tuning and pre-training."""

import copy
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from transformers import TrainingArguments

from ..data.text import did_you_mean


@dataclass
class ModelArguments:
    """The model to train."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint to start from, a folder or a Hub name. Default: a new model."}
    )
    model_type: str = field(default="sam_audio", metadata={"help": "Type of a new model: sam_audio or sslam."})
    encoder: str | None = field(
        default=None,
        metadata={
            "help": "Pre-trained audio encoder for a new SAMAudio model, a folder or a Hub name: SSLAM, Wav2Vec2, AST "
            "and others. The settings of model and feature extractor in the recipe are ignored then."
        },
    )


@dataclass
class ClassifierArguments(ModelArguments):
    """The classifier to train."""

    drop_path_rate: float | None = field(
        default=None, metadata={"help": "Drop path rate of the last block of an SSLAM model."}
    )
    label_smoothing: float | None = field(
        default=None, metadata={"help": "Label smoothing of the cross entropy loss."}
    )
    frame_upsampling: int | None = field(
        default=None,
        metadata={
            "help": "Answers of an SSLAM model for each time patch of 160 ms, for labels with events: 1, 2 or 4."
        },
    )
    freeze_encoder: bool = field(
        default=False,
        metadata={
            "help": "Train the classification head only. Without augmentation and crops, features are computed once. "
            "With encoder, the encoder is frozen and the rest is trained."
        },
    )
    seeds: list[int] | None = field(
        default=None,
        metadata={"help": "Seeds of the training. Several seeds make one run each, and a summary of their scores."},
    )


@dataclass
class DataArguments:
    """The labels of a dataset, its division into training and held-out clips, crops of training clips and outliers."""

    audio_column: str = field(default="audio", metadata={"help": "Column with the audio."})
    label_column: str | None = field(
        default=None,
        metadata={"help": "Column with the class or a list of classes. Default: found by its name or type."},
    )
    label_columns: list[str] | None = field(
        default=None,
        metadata={"help": "Columns with 0 or 1 for each clip, one column for each class, instead of label_column."},
    )
    label_separator: str | None = field(
        default=None, metadata={"help": "Text that separates several classes in the label column."}
    )
    group_column: str | None = field(
        default=None, metadata={"help": "Column with the recording that a clip comes from."}
    )
    group_by: str | None = field(
        default=None,
        metadata={
            "help": "Column whose values splits and folds keep together: concert, artist, ... Default: recordings."
        },
    )
    data_home: str | None = field(
        default=None, metadata={"help": "Folder of a dataset whose name begins with mirdata:."}
    )
    given: str | None = field(
        default=None,
        metadata={
            "help": "What features relative to the tonic take from the dataset: `tonic`; `pitch`, the tonic and the "
            "pitch tracks; or `pitch-only` without audio. Default: all is found in the audio."
        },
    )
    infer_groups: bool = field(
        default=False,
        metadata={"help": "Infer the recordings from the audio: clips that overlap belong to the same recording."},
    )
    test_size: float = field(
        default=0.1, metadata={"help": "Share of the recordings to hold out, if the dataset has no validation split."}
    )
    split_seed: int = field(
        default=42, metadata={"help": "Seed of the division into training and held-out clips or folds."}
    )
    folds: int | None = field(
        default=None,
        metadata={"help": "Number of folds for cross-validation, divided by recording. Each fold makes one run."},
    )
    fold_column: str | None = field(
        default=None,
        metadata={"help": "Column with the fold of each clip, for cross-validation with the folds of the dataset."},
    )
    outliers: str | None = field(
        default=None,
        metadata={
            "help": "Dataset with clips of none of the classes, to train on too, so that what the model does not know "
            "gets low scores of all classes. Clips whose label is one of the classes are left out."
        },
    )
    outlier_ratio: float = field(
        default=0.5, metadata={"help": "Number of outliers for each training clip, others in each epoch."}
    )
    allow_leak: bool = field(
        default=False,
        metadata={"help": "Train even if held-out and training clips share audio. The model card reports it."},
    )
    skip_leak_check: bool = field(
        default=False,
        metadata={"help": "Do not compare the audio of training and held-out clips. The model card reports it."},
    )
    crop_seconds: float | None = field(
        default=None,
        metadata={"help": "Length in seconds of random training crops, drawn again in each epoch. 0 for whole clips."},
    )
    cache_features: bool | None = field(
        default=None,
        metadata={
            "help": "Extract the features of each clip only once and keep them in memory. By default those of clips "
            "that are not cropped, if waveforms are not augmented and the features take at most half a gigabyte."
        },
    )


@dataclass
class WindowArguments:
    """The windows of recordings that pre-training uses."""

    audio_column: str = field(default="audio", metadata={"help": "Column with the audio."})
    split: str = field(default="train", metadata={"help": "Split of the dataset to train on."})
    data_home: str | None = field(
        default=None, metadata={"help": "Folder of a dataset whose name begins with mirdata:."}
    )
    streaming: bool = field(
        default=False,
        metadata={"help": "Stream the dataset instead of downloading it first. Needs max_steps."},
    )
    crop_seconds: float = field(
        default=10.0, metadata={"help": "Length in seconds of random windows, drawn again in each epoch."}
    )
    roll_and_gain: bool = field(
        default=False,
        metadata={"help": "Shift each window in time, with wrap-around, and change its volume at random."},
    )


@dataclass
class LoraArguments:
    """The settings of a LoRA adapter."""

    lora_rank: int = field(default=8, metadata={"help": "Rank of the LoRA matrices."})
    lora_alpha: int = field(
        default=16, metadata={"help": "LoRA alpha. The adapter is scaled by lora_alpha / lora_rank."}
    )
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout of the input of the adapter."})
    lora_modules: list[str] = field(
        default_factory=lambda: ["attention"],
        metadata={"help": "Modules to adapt: attention, mlp (SSLAM) or convolutions (SAMAudio)."},
    )


@dataclass
class AudioTrainingArguments(TrainingArguments):
    """`TrainingArguments` with defaults that keep the best epoch of a run, and with additional settings."""

    output_dir: str = field(
        default="runs/model", metadata={"help": "Folder to write the model and its checkpoints to."}
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: no, steps or epoch."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save: no, steps, epoch or best."})
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log: no, steps or epoch."})
    save_total_limit: int | None = field(
        default=1, metadata={"help": "Number of checkpoints to keep in addition to the best."}
    )
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Load the best checkpoint at the end."})
    metric_for_best_model: str | None = field(
        default="auto",
        metadata={"help": "Metric that selects the best checkpoint. `auto` is the usual metric of the task."},
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Must be false: the collator needs all columns."}
    )
    dataloader_num_workers: int = field(
        default=2, metadata={"help": "Number of processes that read audio and extract features."}
    )
    report_to: list[str] | str = field(
        default_factory=lambda: ["none"],
        metadata={"help": "Where to log beside the terminal: wandb, tensorboard, trackio, ... or several of them."},
    )
    warmup_epochs: float | None = field(
        default=None,
        metadata={"help": "Number of epochs of linear warm-up, at most half of all epochs. Overrides warmup_steps."},
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after this number of evaluations without a better metric."}
    )
    layer_decay: float | None = field(
        default=None,
        metadata={"help": "Layer-wise decay: factor on the learning rate from each block to the block before it."},
    )
    layer_decay_counting: str = field(
        default="blocks",
        metadata={
            "help": "Parameters that layer_decay applies to: `blocks`, or `all` of the encoder with its embeddings."
        },
    )
    min_learning_rate: float = field(
        default=0.0,
        metadata={"help": "Learning rate at which a cosine schedule starts and ends. Lower rates stay constant."},
    )
    decay_norms_and_biases: bool = field(
        default=False, metadata={"help": "Apply weight decay to norms, biases and tokens too."}
    )
    balanced_samples: int | None = field(
        default=None,
        metadata={
            "help": "Number of clips to draw for an epoch, so that rare and frequent classes are equally likely."
        },
    )
    ema_decay: float | None = field(
        default=None,
        metadata={"help": "Decay of a moving average of the weights. The trained model has the averaged weights."},
    )

    def __post_init__(self):
        if not torch.accelerator.is_available():
            # Several processes then use the gloo backend, and PyTorch does not warn about pinned memory
            self.use_cpu = True
            self.dataloader_pin_memory = False
        super().__post_init__()
        if self.report_to:
            _check_reports(list(self.report_to))
        if self.label_smoothing_factor:
            raise ValueError(
                "label_smoothing_factor replaces the loss of the model and leaves out its other terms. Set "
                "label_smoothing in the configuration of the model (--label-smoothing) instead."
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
            raise ValueError("min_learning_rate needs lr_scheduler_type='cosine' without lr_scheduler_kwargs.")
        if self.hub_token:
            raise ValueError(
                "hub_token would be saved in training_args.bin. Log in with `hf auth login` or set the environment "
                "variable HF_TOKEN instead."
            )
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be at least 0 and below 1, not {self.ema_decay:g}.")


@dataclass
class PretrainingArguments(AudioTrainingArguments):
    """`AudioTrainingArguments` with the optimizer settings of SSLAM, without evaluation, and with more settings."""

    eval_strategy: str = field(default="no", metadata={"help": "Must be no: pre-training has no evaluation."})
    save_strategy: str = field(default="steps", metadata={"help": "When to save: no, steps or epoch."})
    logging_strategy: str = field(default="steps", metadata={"help": "When to log: no, steps or epoch."})
    logging_steps: float = field(default=50, metadata={"help": "Number of updates between two log entries."})
    load_best_model_at_end: bool = field(
        default=False, metadata={"help": "Must be false: the last checkpoint is the result."}
    )
    metric_for_best_model: str | None = field(default=None, metadata={"help": "Not used in pre-training."})
    adam_beta2: float = field(default=0.95, metadata={"help": "Beta2 of AdamW."})
    weight_decay: float = field(default=0.05, metadata={"help": "Weight decay of AdamW."})
    max_grad_norm: float = field(
        default=4.0, metadata={"help": "Largest norm of the gradient, which is clipped to it."}
    )
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Learning rate schedule."})
    ddp_find_unused_parameters: bool | None = field(
        default=False,
        metadata={"help": "Set this to true if the model has layerdrop, so that some weights get no gradient."},
    )
    decay_norms_and_biases: bool = field(
        default=True,
        metadata={"help": "Apply weight decay to norms and biases too, as the original code does."},
    )
    skip_first_teacher_update: bool = field(
        default=True,
        metadata={"help": "Do not update the teacher at the first update of a run that starts from a checkpoint."},
    )
    min_target_var: float = field(
        default=0.1, metadata={"help": "Stop if the standard deviation of the targets falls below this."}
    )
    min_pred_var: float = field(
        default=0.01, metadata={"help": "Stop if the standard deviation of the predictions falls below this."}
    )
    collapse_watch_start: int = field(
        default=5000, metadata={"help": "Update after which min_target_var and min_pred_var apply."}
    )

    def __post_init__(self):
        super().__post_init__()
        if self.ema_decay is not None:
            raise ValueError(
                "ema_decay averages the weights of a classifier. The decay of the teacher is a setting of the "
                "configuration: put it into the section `model` of a recipe."
            )


def _check_reports(names: list[str]) -> None:
    """Refuse what nothing can be reported to; `Trainer` would find that out after the dataset has been read."""
    from transformers.integrations import integration_utils as integrations

    for name in names:
        if name not in integrations.INTEGRATION_TO_CALLBACK:
            meant = did_you_mean(name, integrations.INTEGRATION_TO_CALLBACK)
            raise ValueError(f"report_to (--report-to) names {name!r}, which transformers does not know{meant or '.'}")
        if name not in {*integrations.get_available_reporting_integrations(), "azure_ml", "flyte"}:
            raise ValueError(f"report_to (--report-to) names {name!r}, which is not installed: `pip install {name}`.")


ArgumentsT = TypeVar("ArgumentsT", bound=TrainingArguments)


def for_audio(args: ArgumentsT) -> ArgumentsT:
    """A copy of the arguments that keeps all columns, because the collator makes the input of the model from them."""
    args = copy.copy(args)
    args.remove_unused_columns = False
    return args
