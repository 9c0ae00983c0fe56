# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Self-supervised pre-training on the Trainer: its arguments, its batches, and the teacher's part in it."""

import time
from pathlib import Path
from typing import Any

import torch
from transformers import BatchFeature, PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor, TrainerCallback

from ..data.streams import StreamedWindows, stream_loader
from ..modeling.traits import traits_of
from .trainer import AudioTrainer


class CollapseError(RuntimeError):
    """Targets or predictions have become the same for all patches: such a model has nothing left to learn from."""


class PretrainingCollator:
    """
    Makes a batch of windows: what a model takes as input in pre-training, for SSLAM with its masks.

    What is random about a batch follows from the seeds of its windows.

    Args:
        feature_extractor: its `sampling_rate` must be that of the windows.
        config: configuration of the model.
    """

    def __init__(self, feature_extractor: SequenceFeatureExtractor, config: PreTrainedConfig):
        self.feature_extractor = feature_extractor
        self.config = config

    def __call__(self, items: list[dict[str, Any]]) -> BatchFeature:
        """
        Args:
            items: `{"waveform": (samples,) float32 array, "seed": int}` each.
        """
        waveforms, seeds = ([item[name] for item in items] for name in ("waveform", "seed"))
        return traits_of(self.config).pretraining_batch(self.config, self.feature_extractor, waveforms, seeds)


class PreTrainer(AudioTrainer):
    """
    `AudioTrainer` that moves the teacher after each step of the optimizer, logs the decay of its average and the clips
    per second, and stops a run that collapses.

    Args:
        starts_from_checkpoint: whether the model was pre-trained before, as a stage 2 is. The original then leaves the
            teacher alone at the first update (`args.skip_first_teacher_update`).
    """

    # The original means to spare norms and biases, but not its class token
    spared_names = ()

    def __init__(self, *args, starts_from_checkpoint: bool = False, **kwargs):
        super().__init__(*args, **kwargs)
        self._last_logged: tuple[int, float] | None = None
        if _has_teacher(self.model):
            self.add_callback(_UpdateTeacher(self, starts_from_checkpoint and self.args.skip_first_teacher_update))

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        if not isinstance(self.train_dataset, StreamedWindows):
            return super().get_train_dataloader()
        return stream_loader(
            self.train_dataset,
            self.args.device,
            batch_size=self._train_batch_size,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def training_step(self, *args, **kwargs) -> torch.Tensor:
        if self._last_logged is None:
            self._last_logged = self.state.global_step, time.perf_counter()
        return super().training_step(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self._last_logged is not None:
            step, now = self.state.global_step, time.perf_counter()
            clips = (step - self._last_logged[0]) * self.args.train_batch_size * self.args.gradient_accumulation_steps
            logs["clips_per_second"] = round(clips * self.args.world_size / (now - self._last_logged[1]), 3)
            if _has_teacher(self.model):
                logs["ema_decay"] = self.model.ema_decay(step)
            self._last_logged = step, now
        super().log(logs, start_time)
        if self.state.global_step > self.args.collapse_watch_start:
            self._watch_collapse(self.state.log_history[-1])

    def _watch_collapse(self, logs: dict[str, float]) -> None:
        for name, floor in (("target_var", self.args.min_target_var), ("pred_var", self.args.min_pred_var)):
            if name in logs and logs[name] < floor:
                raise CollapseError(
                    f"the model has collapsed: at update {self.state.global_step} {name} is {logs[name]:.3g}, below "
                    f"min_{name} = {floor:g}. Go on from an earlier checkpoint with a lower learning rate, a longer "
                    "warm-up or a slower teacher (ema_decay closer to 1)."
                )


def _has_teacher(model: torch.nn.Module) -> bool:
    """Whether a model learns from a moving average of itself."""
    return hasattr(model, "update_teacher")


class _UpdateTeacher(TrainerCallback):
    def __init__(self, trainer: PreTrainer, skip_first: bool):
        self.trainer = trainer
        self.skip_first = skip_first

    def on_step_end(self, args, state, control, **kwargs):
        is_skipped = self.skip_first and state.global_step == 1
        # A step that the gradient scaler of fp16 left out has not moved the student
        if not is_skipped and not self.trainer.accelerator.optimizer_step_was_skipped:
            self.trainer.accelerator.unwrap_model(self.trainer.model).update_teacher(state.global_step)


def plot_mixtures(model: PreTrainedModel, batch: BatchFeature, path: Path) -> None:
    """
    Draw the clips of a stage 2 batch, what is mixed into each, and the mixtures.

    Args:
        model: whose `mixed_time_patches` and `mix` say how to mix.
        batch: what [`PretrainingCollator`] gives, on the model's device.
        path: the PNG file to write.
    """
    from matplotlib.figure import Figure

    clips, attention_mask = batch["input_values"], batch.get("attention_mask")
    is_mixed = model.mixed_time_patches(clips, batch["mix_starts"], None)
    mixtures = model.mix(clips, is_mixed, attention_mask)
    columns = {"clip": clips, "mixed into it": clips.roll(1, 0), "mixture": mixtures}
    figure = Figure(figsize=(12, 2 * len(clips)), layout="constrained")
    axes = figure.subplots(len(clips), len(columns), squeeze=False, sharex=True, sharey=True)
    for column, (title, spectrograms) in enumerate(columns.items()):
        axes[0, column].set_title(title)
        axes[-1, column].set_xlabel("frame")
        for row, spectrogram in enumerate(spectrograms):
            axes[row, column].imshow(
                spectrogram.T.float().cpu().numpy(), origin="lower", aspect="auto", vmin=-1, vmax=1
            )
            for start in batch["mix_starts"].tolist():
                length = (~is_mixed).sum().item() // 2 * model.config.patch_size
                axes[row, column].axvspan(start, start + length, alpha=0.25, color="white")
    figure.savefig(path)


__all__ = ["CollapseError", "PreTrainer", "PretrainingCollator", "plot_mixtures"]
