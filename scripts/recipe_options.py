# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The command line of the training commands, whose flags and recipes have the same settings."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .recipe_help import RecipeParser


if TYPE_CHECKING:
    from ..training.recipes import Recipe


def parse_recipe(
    name: str,
    kinds: Mapping[str, type],
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
        examples: the examples at the end of the help text.

    Returns:
        The recipe, an instance of each dataclass by its section, and the other arguments, `dataset` and `resume` among
        them.

    Raises:
        ValueError: the recipe is wrong, a flag does not exist, or no dataset is named.
    """
    from transformers import HfArgumentParser

    from ..training.recipes import read_recipe

    class TrainingParser(RecipeParser, HfArgumentParser):
        """Both, and defined here, because transformers takes a second to import."""

    parser = TrainingParser(
        kinds,
        prog=f"polyaudio {name}",
        usage=f"polyaudio {name} [--config RECIPE] [--dataset DATA] [--output-dir DIR] [FLAG ...]",
        description=description,
        epilog=f"examples:\n{examples}",
    )
    _add_flags(parser, with_lora="lora" in kinds)
    parser.set_defaults(config=default_recipe)
    only_config = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    only_config.add_argument("--config", default=default_recipe)
    recipe = read_recipe(only_config.parse_known_args(argv)[0].config)
    parser.set_defaults(**recipe.flags(kinds))
    message = parser.unknown_flag(argv)
    if message is not None:
        raise ValueError(message)
    *arguments, others = parser.parse_args_into_dataclasses(args=argv, look_for_args_file=False)
    if others.dataset is None:
        raise ValueError("There is no dataset: name a folder or a Hub dataset with --dataset.")
    return recipe, dict(zip(kinds, arguments, strict=True)), others


def _add_flags(parser: argparse.ArgumentParser, *, with_lora: bool) -> None:
    """Add the flags that are no settings of a recipe, and the short names of some that are."""
    parser.add_argument(
        "--dataset",
        metavar="DATA",
        help="Hub name, local folder, folder that save_to_disk wrote, `ragas` or `mirdata:NAME`",
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue from the newest complete checkpoint in the output folder"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a run that is in the output folder; files of your own in it stay",
    )
    parser.add_argument(
        "--config",
        metavar="RECIPE",
        help="settings of the run: a YAML file, or the name of a recipe of polyaudio (default: %(default)s)",
    )
    if with_lora:
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
