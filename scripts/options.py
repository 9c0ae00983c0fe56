# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Arguments of the commands that run a model on recordings."""

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from ..data.recordings import Recordings


def add_run_arguments(parser: argparse.ArgumentParser, padding: str | None, auto: str) -> None:
    """
    The arguments of a command that runs a model on audio files.

    Args:
        padding: the default of `--padding`.
        auto: what `--precision auto` does.
    """
    add_input_arguments(parser)
    parser.add_argument("--model", required=True, help="model folder or Hub name, or an export to ONNX")
    parser.add_argument(
        "--batch-size",
        type=positive(int),
        default=8,
        metavar="N",
        help="number of windows in a batch (default: 8); models that are not from polyaudio get one window at a time",
    )
    parser.add_argument(
        "--window",
        type=positive(float),
        metavar="SECONDS",
        help="cut longer clips into windows of this length. Default: for SSLAM models the length that they were "
        "trained with (10.24 s for the published ones), for other models the whole clip",
    )
    parser.add_argument(
        "--padding",
        choices=("longest", "max_length"),
        default=padding,
        help="longest: clips are padded to the longest of the batch, and the model ignores the padding. max_length: "
        "for SSLAM models, clips of one window are padded to the whole window, and the model hears the padding, as in "
        f"the original scripts. Default: {padding or 'as in the training of the model'}",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps, ... (default: the accelerator if there is one)")
    parser.add_argument(
        "--workers",
        type=positive(int, or_zero=True),
        default=default_workers(),
        metavar="N",
        help="number of processes that read files (default: %(default)s)",
    )
    add_precision(parser, auto)
    parser.add_argument("--torch-compile", action="store_true", help="compile the model")


def add_precision(parser: argparse.ArgumentParser, auto: str) -> None:
    """`--precision`, and `--bf16`, which was there before; `auto` says what `--precision auto` does."""
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help=f"what the model computes in; bfloat16 only where it is precise enough. auto (default): {auto}",
    )
    parser.add_argument(
        "--bf16", action="store_const", const="bfloat16", dest="precision", help="the same as --precision bfloat16"
    )


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that name recordings: files, lists of them, or a dataset."""
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="audio file; folder, of which all audio files below it are read; .tar or .parquet file with audio; "
        "address such as https://... or hf://...; - for names from standard input and @LIST for those in the file "
        "LIST, one a line",
    )
    parser.add_argument(
        "--dataset", metavar="NAME", help="instead of files: Hub name, local folder, folder of save_to_disk, or ragas"
    )
    parser.add_argument("--split", default="train", help="split of the dataset (default: train)")
    parser.add_argument(
        "--streaming", action="store_true", help="fetch the clips of a dataset on the Hub as they are read"
    )
    parser.add_argument(
        "--audio-column", default="audio", metavar="NAME", help="column with the audio (default: audio)"
    )


def load_inputs(
    parser: argparse.ArgumentParser, args: argparse.Namespace, keep_columns: Sequence[str] = ()
) -> "Recordings":
    """The recordings that the arguments of a command name."""
    from ..data.recordings import DatasetRecordings, find_recordings, read_names

    if args.dataset is None:
        if args.streaming or args.split != "train":
            parser.error("--split and --streaming need --dataset")
        if not args.files:
            parser.error("name files or a --dataset")
        return find_recordings(read_names(args.files), audio_column=args.audio_column, keep_columns=keep_columns)
    if args.files:
        parser.error("name either files or a --dataset")
    return DatasetRecordings(args.dataset, args.split, args.streaming, args.audio_column, tuple(keep_columns))


def layer(text: str) -> int | str:
    """A type of arguments: the number of a layer, or `mean`."""
    return text if text == "mean" else int(text)


def positive(kind: type, or_zero: bool = False):
    """A type of arguments: a finite number above 0, or also 0."""

    def convert(text: str):
        value = kind(text)
        if not (0 < value < float("inf") or (or_zero and value == 0)):
            raise ValueError
        return value

    convert.__name__ = f"positive {kind.__name__}"  # for argparse's message
    return convert


def default_workers() -> int:
    """As many processes as this one has cores, at most four."""
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
