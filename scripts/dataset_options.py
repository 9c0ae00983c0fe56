# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Arguments of the commands that read or write datasets."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .options import default_workers


if TYPE_CHECKING:
    from datasets import DatasetDict


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that name the columns with the labels and the recordings of a dataset."""
    parser.add_argument("--label-column", metavar="NAME", help="column with the class, or with a list of classes")
    parser.add_argument(
        "--label-columns",
        nargs="+",
        metavar="NAME",
        help="columns with 0 or 1 for each clip, one column for each class",
    )
    parser.add_argument(
        "--label-separator", metavar="TEXT", help="text that separates several classes in the label column"
    )
    parser.add_argument("--group-column", metavar="NAME", help="column with the recording that a clip comes from")


def add_grouping(parser: argparse.ArgumentParser) -> None:
    """The argument of a command that divides a dataset."""
    parser.add_argument(
        "--group-by",
        metavar="NAME",
        help="column whose values splits and folds keep together, such as concert or artist (default: recordings)",
    )


def add_data_home(parser: argparse.ArgumentParser) -> None:
    """The argument that says where a dataset is that is named after a loader of mirdata."""
    parser.add_argument(
        "--data-home",
        metavar="DIR",
        help="folder of a dataset whose name begins with `mirdata:` (default: mirdata's own, ~/mir_datasets/NAME)",
    )


def add_given(parser: argparse.ArgumentParser) -> None:
    """The argument that says what features relative to the tonic take from the dataset."""
    parser.add_argument(
        "--given",
        choices=("tonic", "pitch", "pitch-only"),
        help="for features relative to the tonic, what the dataset gives: the tonic; the tonic and the pitch; or "
        "these without audio (default: all is found in the audio)",
    )


def load_labelled(args: argparse.Namespace, fold_column: str | None = None) -> "DatasetDict":
    """Load the labelled clips that the arguments of a command name."""
    from ..data.loading import load_clips

    return load_clips(
        args.dataset,
        audio_column=args.audio_column,
        label_column=args.label_column,
        label_columns=args.label_columns,
        label_separator=args.label_separator,
        group_column=args.group_column,
        group_by=getattr(args, "group_by", None),
        fold_column=fold_column,
        data_home=args.data_home,
    )


def add_action(
    actions, name: str, run: Callable[[argparse.Namespace], int], *, help: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """Add an action to `polyaudio dataset`, with the arguments that name the dataset and its audio column."""
    parser = actions.add_parser(name, help=help, description=description, epilog=f"examples:\n{examples}")
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        help="Hub name, local folder, folder that save_to_disk wrote, ragas, or mirdata:NAME",
    )
    add_data_home(parser)
    parser.add_argument(
        "--audio-column", default="audio", metavar="NAME", help="column with the audio (default: audio)"
    )
    parser.set_defaults(run=run)
    return parser


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write the new dataset to")
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset of polyaudio in that folder")


def add_workers_argument(parser: argparse.ArgumentParser, *names: str) -> None:
    """The number of processes that read clips: `--workers`, and other names of it."""
    parser.add_argument(
        "--workers",
        *names,
        type=int,
        default=default_workers(),
        metavar="N",
        help="number of processes that read clips (default: %(default)s); 0 for none beside the command itself",
    )


def add_cache_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="keep the fingerprints of the clips in this folder, so that a run that was stopped is continued and a "
        "later one is faster (default: a temporary folder, which is removed)",
    )
