# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Stopping, resuming and ending a training run."""

import contextlib
import gc
import json
import logging
import os
import shutil
import signal
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import TrainerCallback, TrainingArguments

from ..data.locks import locked
from ..integration.saving import STAMP, WEIGHTS
from .identity import RUN_FILE, RunIdentity
from .models import ModelSource


logger = logging.getLogger(__name__)

_LOCK = "_run.lock"
# The files by which a folder holds a model or a summary of runs; a run removes them first
_RESULTS = ("adapter_config.json", "config.json", *WEIGHTS, "adapter_model.safetensors", "summary.json")
# The other files of a run
_REPORTS = (
    *("preprocessor_config.json", "evaluation.json", "trainer_state.json", "training_args.bin", "ema.safetensors"),
    *("confusion_matrix.json", "confusion_matrix.png", "precision_recall.json", "precision_recall.png"),
    *("losses.png", "mixtures.png", "timeline_*.png", RUN_FILE),
)
_NO_CHECKPOINT = (
    "There is no checkpoint in {} to resume from, or none that is complete. Leave out resume (--resume) to start a "
    "new run."
)
# What the front matter of a model card of polyaudio has
_CARD = "\n- polyaudio\n"
# The files of a checkpoint without which a run cannot go on. The last ones are those of FSDP and DeepSpeed.
_WEIGHTS = ("*.safetensors", "pytorch_model*", "global_step*")
_OPTIMIZER = ("optimizer*", "global_step*")


class StopOnSignal(TrainerCallback):
    """
    On SIGINT or SIGTERM, the Trainer finishes its step, saves a checkpoint and stops. A second signal ends it at once.

    Attributes:
        received: the name of the signal, or `None`.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._handlers: dict[int, Any] = {}

    def on_train_begin(self, args, state, control, **kwargs):
        if threading.current_thread() is threading.main_thread():  # other threads may not set handlers
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


def leave_together() -> None:
    """
    End the process group, if the run has several processes.

    A process can abort if it exits while another still uses the group, or while a model in it is bound to the group.
    So delete the model first.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def output_folder(args: TrainingArguments) -> Path:
    """
    The folder of a run.

    Raises:
        ValueError: `output_dir` is `None`.
    """
    if args.output_dir is None:
        raise ValueError("output_dir is None. Set it to the folder for the model.")
    return Path(args.output_dir)


@contextlib.contextmanager
def hold_folder(args: TrainingArguments) -> Iterator[Path]:
    """
    The output folder, which no other run uses meanwhile. The processes of one run share it.

    Raises:
        ValueError: another run is using the folder, or `output_dir` is `None`.
    """
    folder = output_folder(args)
    with contextlib.ExitStack() as stack:
        if args.process_index == 0:
            try:
                stack.enter_context(locked(folder / _LOCK))
            except BlockingIOError as error:
                raise ValueError(
                    f"Another run is using {folder}. Wait until it has finished, or choose another output_dir "
                    "(--output-dir)."
                ) from error
        yield folder


def check_folder(
    folder: Path,
    source: ModelSource,
    args: TrainingArguments,
    *,
    resume: bool,
    overwrite: bool,
    needs_checkpoint: bool = True,
) -> None:
    """
    Check, before any data is read, that a run may begin or continue in a folder. The main process checks for all.

    Args:
        folder: the folder.
        source: where the model comes from.
        args: the arguments of the Trainer.
        resume: whether to continue the run in the folder.
        overwrite: whether to replace it.
        needs_checkpoint: whether a run without a complete checkpoint cannot be continued.

    Raises:
        ValueError: there is nothing to continue; or a new run would replace a run or a model, and `overwrite` is not
            set or it starts from that model; or both `resume` and `overwrite` are set.
    """
    if resume and overwrite:
        raise ValueError(
            "A run is either continued or replaced. Leave out resume (--resume) or overwrite (--overwrite)."
        )
    if args.process_index != 0 or _is_in(args.resume_from_checkpoint, folder):
        return
    if resume:
        if needs_checkpoint and not args.resume_from_checkpoint and newest_checkpoint(folder) is None:
            raise ValueError(_NO_CHECKPOINT.format(folder))
    elif holds_run(folder):
        if _is_in(source.name, folder):
            raise ValueError(
                f"The run starts from {source.name}, which it would replace. Choose another output_dir (--output-dir)."
            )
        if not overwrite:
            raise ValueError(
                f"{folder} holds another run or model. Continue that run with resume (--resume), replace it with "
                "overwrite (--overwrite), or choose another output_dir (--output-dir)."
            )


def checkpoint_of(folder: Path, identity: RunIdentity | None, args: TrainingArguments, *, resume: bool) -> str | None:
    """
    The checkpoint that a run continues from. All processes of the run call this together.

    Args:
        folder: the folder of the run.
        identity: what the run is; needed in the main process only.
        args: the arguments of the Trainer.
        resume: whether to continue the run in the folder.

    Returns:
        The checkpoint; `None` for a new run.

    Raises:
        ValueError: the run that the checkpoint is from is another one, or there is no checkpoint.
    """
    checkpoint = args.resume_from_checkpoint
    if not checkpoint and not resume:
        return None
    with args.main_process_first(local=False):
        if identity is not None:
            check_same(Path(checkpoint).parent if checkpoint else folder, identity)
        checkpoint = checkpoint or newest_checkpoint(folder, remove_newer=args.process_index == 0)
    if checkpoint is None:
        raise ValueError(_NO_CHECKPOINT.format(folder))
    return checkpoint


def begin(folder: Path, identity: RunIdentity, checkpoint: str | None) -> None:
    """
    Write the identity of a run to its folder. What an earlier run left there is removed; files of others stay.

    Args:
        folder: the folder of the run.
        identity: what the run is.
        checkpoint: the checkpoint that it continues from. With one in the folder, nothing is removed.
    """
    if not _is_in(checkpoint, folder):
        clear_run(folder)
    folder.mkdir(parents=True, exist_ok=True)
    identity.write(folder)


def check_same(folder: Path, identity: RunIdentity) -> None:
    """
    Check that the run in a folder is the one with this identity.

    Raises:
        ValueError: it is another one.
    """
    began = RunIdentity.read(folder)
    if began is None:
        logger.warning(
            f"{folder} does not record what its run began with, so its data and settings were not compared with these."
        )
        return
    difference = identity.difference(began)
    if difference is not None:
        raise ValueError(
            f"The run in {folder} is another one: {difference}. Resume it as it began, or start a new run with "
            "overwrite (--overwrite) or in another output_dir (--output-dir)."
        )


def holds_run(folder: Path) -> bool:
    """Whether a folder holds a model, a checkpoint, or the runs of a cross-validation."""
    return (
        any(True for pattern in _RESULTS for _ in folder.glob(pattern))
        or any(damage_of_checkpoint(path, only_model=True) is None for path in _checkpoints(folder).values())
        or any(map(holds_run, _runs_below(folder)))
    )


def clear_run(folder: Path) -> None:
    """Remove what a run, or several runs of a cross-validation, wrote to a folder. Other files stay."""
    for own in _runs_below(folder):
        clear_run(own)
        with contextlib.suppress(OSError):  # it holds files of others
            own.rmdir()
    for path in [path for pattern in (*_RESULTS, *_REPORTS) for path in folder.glob(pattern)]:
        path.unlink()
    for path in [*folder.glob("*.py"), *folder.glob("README.md")]:
        mark = STAMP if path.suffix == ".py" else _CARD
        if mark in path.read_text(encoding="utf-8", errors="replace"):
            path.unlink()
    for path in _checkpoints(folder).values():
        shutil.rmtree(path)


def newest_checkpoint(folder: Path, *, remove_newer: bool = False) -> str | None:
    """
    The newest checkpoint of a run that it can continue from, or `None`.

    Args:
        folder: the folder of the run.
        remove_newer: remove newer ones, which are incomplete, with a warning. The Trainer would take them for the
            newest, and delete older ones instead.
    """
    incomplete: dict[Path, str] = {}
    for _, path in sorted(_checkpoints(folder).items(), reverse=True):
        damage = damage_of_checkpoint(path)
        if damage is not None:
            incomplete[path] = damage
            continue
        for newer, reason in incomplete.items() if remove_newer else ():
            logger.warning(f"{newer} is incomplete and was removed: {reason}. The run continues from {path.name}.")
            shutil.rmtree(newer)
        return str(path)
    return None


def damage_of_checkpoint(checkpoint: Path, *, only_model: bool = False) -> str | None:
    """
    Why a run cannot continue from a checkpoint; `None` if it is complete.

    Args:
        checkpoint: its folder.
        only_model: whether the model in it is enough, as `save_only_model` saves it.
    """
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))  # the Trainer writes it last
        for path in checkpoint.glob("*.safetensors"):
            with safe_open(path, "pt"):  # compares the size of the file with its header
                pass
        for path in [*checkpoint.glob("*.pt"), *checkpoint.glob("*.pth")]:
            with zipfile.ZipFile(path):  # whose directory is at its end
                pass
        for index in checkpoint.glob("*.safetensors.index.json"):
            for name in set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()):
                os.stat(checkpoint / name)
    except (OSError, ValueError, KeyError, SafetensorError, zipfile.BadZipFile) as error:
        return str(error) or type(error).__name__
    for what, patterns in {"weights": _WEIGHTS, "state of the optimizer": () if only_model else _OPTIMIZER}.items():
        if patterns and not any(True for pattern in patterns for _ in checkpoint.glob(pattern)):
            return f"it has no {what}"
    return None


def _checkpoints(folder: Path) -> dict[int, Path]:
    """The folders of checkpoints, by their step."""
    folders = {path: path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*") if path.is_dir()}
    return {int(step): path for path, step in folders.items() if step.isdecimal()}


def _runs_below(folder: Path) -> list[Path]:
    """The folders of the runs of a cross-validation."""
    return [path for pattern in ("fold-*", "seed-*") for path in sorted(folder.glob(pattern)) if path.is_dir()]


def _is_in(path: str | None, folder: Path) -> bool:
    return path is not None and Path(path).resolve().is_relative_to(folder.resolve())
