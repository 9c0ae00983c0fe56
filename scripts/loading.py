# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What the commands need to run a model on data: both, a device, and the arguments that say how."""

import argparse
import gc
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from datasets import DatasetDict

    from .recipe import DataArguments


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of a command that runs a model on audio files."""
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="audio file, or a folder, which stands for all audio files below it"
    )
    parser.add_argument("--model", required=True, help="model folder or Hub name")
    parser.add_argument(
        "--batch-size",
        type=_positive(int),
        default=8,
        metavar="N",
        help="windows at a time (8); those of models of other packages than polyaudio go one by one",
    )
    parser.add_argument(
        "--window",
        type=_positive(float),
        metavar="SECONDS",
        help="cut longer clips into windows of so many seconds; by default SSLAM models get windows of the length "
        "that their feature extractor is set to (10.24 s for the published ones) and others get whole clips",
    )
    parser.add_argument(
        "--padding",
        choices=("longest", "max_length"),
        default="longest",
        help="longest: a clip is taken at its own length, and the model does not see padding; max_length, for SSLAM "
        "models: each clip is padded to a whole window, and the model takes the padding for sound, as the original "
        "scripts do",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps ...; by default the accelerator where there is one")
    parser.add_argument(
        "--workers",
        type=_positive(int, or_zero=True),
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="processes that read files (%(default)s)",
    )


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say how the clips of a dataset are labelled."""
    parser.add_argument("--label-column", metavar="NAME", help="column with the class, or with a list of classes")
    parser.add_argument(
        "--label-columns", nargs="+", metavar="NAME", help="columns of 0 and 1, each of them named like a class"
    )
    parser.add_argument("--label-separator", metavar="TEXT", help="what stands between classes in a label of text")
    parser.add_argument("--group-column", metavar="NAME", help="column with the recording a clip comes from")


def load_labelled(args: "argparse.Namespace | DataArguments", fold_column: str | None = None) -> "DatasetDict":
    """The clips that the arguments of a command name."""
    from ..data.loading import load_clips

    return load_clips(
        args.dataset,
        audio_column=args.audio_column,
        label_column=args.label_column,
        label_columns=args.label_columns,
        label_separator=args.label_separator,
        group_column=args.group_column,
        fold_column=fold_column,
    )


def leave_together() -> None:
    """
    End the process group of a run of several processes, where there is one.

    One that exits while another still uses the group, or with a model that is still bound to it, can abort.
    """
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def last_checkpoint(output_dir: str) -> str:
    """
    The newest complete checkpoint folder of a run: one that was being written when the run was killed does not count.

    Raises:
        ValueError: there is none.
    """

    def is_complete(folder: Path) -> bool:
        try:  # the file that Trainer writes last
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return True

    folders = {folder.name.rpartition("-")[2]: folder for folder in Path(output_dir).glob("checkpoint-*")}
    complete = [int(step) for step, folder in folders.items() if step.isdecimal() and is_complete(folder)]
    if not complete:
        raise ValueError(f"there is no checkpoint in {output_dir} to resume from; leave --resume out to start anew")
    return str(folders[str(max(complete))])


def _positive(kind: type, or_zero: bool = False):
    def convert(text: str):
        value = kind(text)
        if not (0 < value < float("inf") or (or_zero and value == 0)):
            raise ValueError
        return value

    convert.__name__ = f"positive {kind.__name__}"  # for argparse's message
    return convert
