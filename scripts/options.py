# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Arguments that several commands share."""

import argparse
import os
from typing import TYPE_CHECKING

from transformers import HfArgumentParser

from ..training.recipes import _check_names, find_recipe, read_recipe


if TYPE_CHECKING:
    from datasets import DatasetDict

    from ..training.arguments import DataArguments


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


def _positive(kind: type, or_zero: bool = False):
    def convert(text: str):
        value = kind(text)
        if not (0 < value < float("inf") or (or_zero and value == 0)):
            raise ValueError
        return value

    convert.__name__ = f"positive {kind.__name__}"  # for argparse's message
    return convert


def parse_arguments(parser: HfArgumentParser, argv: list[str], default_recipe: str) -> tuple:
    """
    Parse a command line that may name a recipe with `--config`: flags win over the recipe, the recipe over defaults.

    Returns:
        The recipe, an instance of each of the parser's dataclasses, and a namespace of the parser's other arguments.
    """
    parser.add_argument("--config", metavar="RECIPE", default=default_recipe, help="recipe: a YAML file or its name")
    for flag, name, kind in (
        ("--epochs", "num_train_epochs", float),
        ("--batch-size", "per_device_train_batch_size", int),
        ("--lr", "learning_rate", float),
    ):
        parser.add_argument(
            flag, dest=name, type=kind, default=argparse.SUPPRESS, help=f"short for --{name.replace('_', '-')}"
        )
    only_config = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    only_config.add_argument("--config", default=default_recipe)
    path = find_recipe(only_config.parse_known_args(argv)[0].config)
    recipe = read_recipe(path)
    known = {action.dest for action in parser._actions}
    _check_names(path, "setting", recipe.arguments, known)
    parser.set_defaults(**recipe.arguments)
    return recipe, *parser.parse_args_into_dataclasses(args=argv, look_for_args_file=False)
