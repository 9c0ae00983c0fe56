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
        "files",
        nargs="+",
        metavar="FILE",
        help="audio file, or folder; of a folder, all audio files below it are read",
    )
    parser.add_argument("--model", required=True, help="model folder or Hub name")
    parser.add_argument(
        "--batch-size",
        type=_positive(int),
        default=8,
        metavar="N",
        help="number of windows in a batch (default: 8); models that are not from polyaudio get one window at a time",
    )
    parser.add_argument(
        "--window",
        type=_positive(float),
        metavar="SECONDS",
        help="cut longer clips into windows of this length. Default: for SSLAM models the length that their feature "
        "extractor is set to (10.24 s for the published ones), for other models the whole clip",
    )
    parser.add_argument(
        "--padding",
        choices=("longest", "max_length"),
        default="longest",
        help="longest: clips are padded to the longest of the batch, and the model ignores the padding (default). "
        "max_length: for SSLAM models, each clip is padded to a whole window, and the model treats the padding as "
        "sound, as the original scripts do",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps, ... (default: the accelerator if there is one)")
    parser.add_argument(
        "--workers",
        type=_positive(int, or_zero=True),
        default=default_workers(),
        metavar="N",
        help="number of processes that read files (default: %(default)s)",
    )


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
    Parse the command line of a training run. Flags override the recipe of `--config`, which overrides the defaults.

    Args:
        name: the command, `train` or `pretrain`.
        kinds: the dataclass of arguments for each section of a recipe, `FINE_TUNING` or `PRETRAINING`.
        argv: the arguments of the command line.
        default_recipe: the recipe to use without `--config`.
        description: the first lines of the help text.
        examples: the last lines of the help text.

    Returns:
        The recipe, an instance of each dataclass by its section, and the other arguments, `dataset` and `resume` among
        them.

    Raises:
        ValueError: the recipe is wrong, or no dataset is named.
    """
    from transformers.hf_argparser import DataClassType, HfArgumentParser

    from ..training.recipes import read_recipe

    parser = HfArgumentParser(
        [DataClassType(kind) for kind in kinds.values()],
        prog=f"polyaudio {name}",
        usage=f"polyaudio {name} [--config RECIPE] [--dataset DATA] [--output-dir DIR] [FLAG ...]",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--dataset", help="Hub name, local folder, folder that save_to_disk wrote, or `ragas`")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint in the output folder")
    parser.add_argument(
        "--config",
        metavar="RECIPE",
        default=default_recipe,
        help="settings of the run: a YAML file, or the name of a recipe of polyaudio (default: %(default)s)",
    )
    if "lora" in kinds:
        parser.add_argument(
            "--lora",
            action="store_true",
            help="train a LoRA adapter and the classification head instead of all weights",
        )
    else:
        parser.add_argument(
            "--plot-mixtures",
            type=int,
            default=0,
            metavar="N",
            help="stage 2 of SSLAM: plot the mixtures of N clips before training",
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
        raise ValueError("There is no dataset: name a folder or a Hub dataset with --dataset.")
    return recipe, dict(zip(kinds, arguments, strict=True)), others


def add_action(
    actions, name: str, run: Callable[[argparse.Namespace], int], *, help: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """Add an action to `polyaudio dataset`, with the arguments that name the dataset and its audio column."""
    parser = actions.add_parser(
        name,
        help=help,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "dataset", metavar="DATASET", help="Hub name, local folder, folder that save_to_disk wrote, or ragas"
    )
    parser.add_argument(
        "--audio-column", default="audio", metavar="NAME", help="column with the audio (default: audio)"
    )
    parser.set_defaults(run=run)
    return parser


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write the new dataset to")
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset of polyaudio in that folder")


def default_workers() -> int:
    return min(4, os.cpu_count() or 1)
