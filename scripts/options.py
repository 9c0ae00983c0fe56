# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Arguments that several commands share."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from collections.abc import Mapping

    from datasets import DatasetDict

    from ..training.recipes import Recipe


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


def load_labelled(args: argparse.Namespace, fold_column: str | None = None) -> "DatasetDict":
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


def parse_recipe(
    name: str,
    kinds: "Mapping[str, type]",
    argv: list[str],
    default_recipe: str,
    description: str,
    examples: str,
) -> "tuple[Recipe, dict[str, Any], argparse.Namespace]":
    """
    Parse the command line of a training run: flags win over the recipe of `--config`, and the recipe over defaults.

    Args:
        name: the command, `train` or `pretrain`.
        kinds: the dataclasses of arguments by section of a recipe, `FINE_TUNING` or `PRETRAINING`.
        default_recipe: the recipe without `--config`.

    Returns:
        The recipe, an instance of each dataclass by its section, and the other arguments, `dataset` and `resume` among
        them.

    Raises:
        ValueError: the recipe is wrong, or no dataset is named.
    """
    from transformers import HfArgumentParser

    from ..training.recipes import read_recipe

    parser = HfArgumentParser(
        tuple(kinds.values()),
        prog=f"polyaudio {name}",
        usage=f"polyaudio {name} [--config RECIPE] [--dataset DATA] [--output-dir DIR] [FLAG ...]",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--dataset", help="Hub name, local folder, folder of save_to_disk, or `ragas`")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the output folder")
    parser.add_argument("--config", metavar="RECIPE", default=default_recipe, help="recipe: a YAML file or its name")
    if "lora" in kinds:
        parser.add_argument("--lora", action="store_true", help="train a LoRA adapter and the classifier only")
    else:
        parser.add_argument(
            "--plot-mixtures", type=int, default=0, metavar="N", help="draw the mixtures of N clips first"
        )
    for flag, long_name, kind in (
        ("--epochs", "num_train_epochs", float),
        ("--batch-size", "per_device_train_batch_size", int),
        ("--lr", "learning_rate", float),
    ):
        parser.add_argument(
            flag,
            dest=long_name,
            type=kind,
            default=argparse.SUPPRESS,
            help=f"short for --{long_name.replace('_', '-')}",
        )
    only_config = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    only_config.add_argument("--config", default=default_recipe)
    recipe = read_recipe(only_config.parse_known_args(argv)[0].config)
    parser.set_defaults(**recipe.flags(kinds))
    *arguments, others = parser.parse_args_into_dataclasses(args=argv, look_for_args_file=False)
    if others.dataset is None:
        raise ValueError("no data: name a folder or a dataset with --dataset")
    return recipe, dict(zip(kinds, arguments, strict=True)), others


def add_action(
    actions, name: str, run: Callable[[argparse.Namespace], int], *, help: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """Add an action, with the arguments that name the dataset and its audio."""
    parser = actions.add_parser(
        name,
        help=help,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("dataset", metavar="DATASET", help="Hub name, local folder, folder of save_to_disk, or ragas")
    parser.add_argument("--audio-column", default="audio", metavar="NAME", help="column with the audio (audio)")
    parser.set_defaults(run=run)
    return parser


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the new dataset")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a dataset in that folder that polyaudio wrote"
    )


def default_workers() -> int:
    return min(4, os.cpu_count() or 1)
