# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The Trainer for self-supervised pre-training, its collator, and a plot of the mixtures of stage 2."""

import time
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from transformers import BatchFeature, PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor, TrainerCallback

from ..data.folders import write_whole
from ..data.streams import StreamedWindows, stream_loader
from ..modeling.traits import traits_of
from .arguments import PretrainingArguments
from .trainer import AudioTrainer


class CollapseError(RuntimeError):
    """The targets or the predictions have become almost the same for all patches, so the model learns nothing more."""


class PretrainingCollator:
    """
    Makes a batch of windows for pre-training, for SSLAM with masks. All random choices follow from the seeds of the
    windows.

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
            items: a dictionary for each window: `waveform`, `(samples,)`, float32, and `seed`, an integer.

        Returns:
            The arguments of the model; see `ModelTraits.pretraining_batch`.
        """
        waveforms, seeds = ([item[name] for item in items] for name in ("waveform", "seed"))
        return traits_of(self.config).pretraining_batch(self.config, self.feature_extractor, waveforms, seeds)


class PreTrainer(AudioTrainer):
    """
    `AudioTrainer` that updates the teacher after each step of the optimizer, logs the decay of the teacher and the
    clips per second, and stops a run that collapses.

    Args:
        starts_from_checkpoint: whether the model was pre-trained before, as for stage 2. The teacher is then not
            updated at the first update, as in the original code (`args.skip_first_teacher_update`).

    Raises:
        CollapseError: in training, if the standard deviation of targets or predictions falls below
            `args.min_target_var` or `args.min_pred_var`.
    """

    args: PretrainingArguments

    @property
    def spared_names(self) -> tuple[str, ...]:
        return ()  # the original code applies weight decay to the class token

    def __init__(self, *args, starts_from_checkpoint: bool = False, **kwargs):
        super().__init__(*args, **kwargs)
        self._last_logged: tuple[int, float] | None = None
        if isinstance(self.model, _HasTeacher):
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
            if isinstance(self.model, _HasTeacher):
                logs["ema_decay"] = self.model.ema_decay(step)
            self._last_logged = step, now
        super().log(logs, start_time)
        if self.state.global_step > self.args.collapse_watch_start:
            self._watch_collapse(self.state.log_history[-1])

    def _watch_collapse(self, logs: dict[str, float]) -> None:
        for name, floor in (("target_var", self.args.min_target_var), ("pred_var", self.args.min_pred_var)):
            if name in logs and logs[name] < floor:
                raise CollapseError(
                    f"The model has collapsed: at update {self.state.global_step} {name} is {logs[name]:.3g}, below "
                    f"min_{name} = {floor:g}. Continue from an earlier checkpoint with a lower learning rate, a "
                    "longer warm-up or a slower teacher (ema_decay closer to 1)."
                )


@runtime_checkable
class _HasTeacher(Protocol):
    """A model that learns from a moving average of itself."""

    def ema_decay(self, num_updates: int) -> float: ...

    def update_teacher(self, num_updates: int) -> float: ...


class _UpdateTeacher(TrainerCallback):
    def __init__(self, trainer: PreTrainer, skip_first: bool):
        self.trainer = trainer
        self.skip_first = skip_first

    def on_step_end(self, args, state, control, **kwargs):
        is_skipped = self.skip_first and state.global_step == 1
        # The gradient scaler of fp16 skips some steps, which do not change the student
        if not is_skipped and not self.trainer.accelerator.optimizer_step_was_skipped:
            self.trainer.accelerator.unwrap_model(self.trainer.model).update_teacher(state.global_step)


@runtime_checkable
class _MixesClips(Protocol):
    """A model that learns from mixtures of clips."""

    config: Any

    def mixed_time_patches(
        self, input_values: torch.Tensor, mix_starts: torch.Tensor | None, generator: torch.Generator | None
    ) -> torch.Tensor: ...

    def mix(
        self, input_values: torch.Tensor, is_mixed: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> torch.Tensor: ...


def plot_mixtures(model: PreTrainedModel, batch: BatchFeature, path: Path) -> None:
    """
    Plot the spectrograms of the clips of a stage 2 batch, of the clips mixed into them, and of the mixtures.

    Args:
        model: a model in stage 2.
        batch: the batch of a [`PretrainingCollator`], on the device of the model.
        path: the PNG file to write.

    Raises:
        ValueError: the model does not mix clips.
    """
    from matplotlib.figure import Figure

    if not isinstance(model, _MixesClips):
        raise ValueError(f"{type(model).__name__} does not mix clips.")
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
    write_whole(path, partial(figure.savefig, format="png"))


__all__ = ["CollapseError", "PreTrainer", "PretrainingCollator", "plot_mixtures"]
