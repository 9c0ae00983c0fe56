# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Recipes: YAML files that hold a whole training run, and the command line flags that win over them."""

import argparse
import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser


RECIPES = Path(__file__).resolve().parent.parent / "recipes"

_SECTIONS = ("model", "feature_extractor", "data", "augmentation", "training", "lora")


@dataclass
class DataArguments:
    """Where the clips come from, how they are labelled and how they are split."""

    dataset: str | None = field(
        default=None, metadata={"help": "Hub name, local folder, folder of save_to_disk, or `ragas`."}
    )
    audio_column: str = field(default="audio", metadata={"help": "Column with the audio."})
    label_column: str | None = field(
        default=None, metadata={"help": "Column with the class, or a list of classes; found if it is plain."}
    )
    label_columns: list[str] | None = field(
        default=None, metadata={"help": "Columns of 0 and 1, one for each class, instead of a label column."}
    )
    label_separator: str | None = field(
        default=None, metadata={"help": "What stands between several classes in the text of the label column."}
    )
    group_column: str | None = field(default=None, metadata={"help": "Column with the recording a clip comes from."})
    infer_groups: bool = field(
        default=False, metadata={"help": "Take the recordings from the audio: clips that overlap are of one."}
    )
    test_size: float = field(
        default=0.1, metadata={"help": "Share of the recordings held out, where the data has no such split."}
    )
    split_seed: int = field(default=42, metadata={"help": "Seed of that split, or of the folds."})
    folds: int | None = field(
        default=None, metadata={"help": "Cross-validation in so many folds by recording, a run for each."}
    )
    fold_column: str | None = field(
        default=None, metadata={"help": "Column with the fold of each clip: cross-validation in the data's own folds."}
    )
    allow_leak: bool = field(
        default=False, metadata={"help": "Train though held-out clips share audio with training; the card says so."}
    )
    skip_leak_check: bool = field(
        default=False, metadata={"help": "Do not compare the audio of training and held-out clips; the card says so."}
    )
    crop_seconds: float | None = field(
        default=None, metadata={"help": "Train on random crops of this length, anew each epoch; 0 for whole clips."}
    )
    cache_features: bool = field(
        default=False, metadata={"help": "Extract the features of each clip once and keep them in memory."}
    )


@dataclass
class WindowArguments:
    """Where recordings without labels come from and which windows of them are trained on."""

    dataset: str | None = field(
        default=None, metadata={"help": "Hub name, local folder, folder of save_to_disk, or `ragas`."}
    )
    audio_column: str = field(default="audio", metadata={"help": "Column with the audio."})
    split: str = field(default="train", metadata={"help": "Split of the data to train on."})
    streaming: bool = field(
        default=False,
        metadata={"help": "Read the data as it is needed, for sets that do not fit; takes --max-steps."},
    )
    crop_seconds: float = field(
        default=10.0, metadata={"help": "Train on random windows of this length, anew each epoch."}
    )
    roll_and_gain: bool = field(
        default=False, metadata={"help": "Roll each window in time and change its volume at random."}
    )


@dataclass
class ModelArguments:
    """What is trained."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint to start from: a folder or a Hub name. From scratch without it."}
    )
    model_type: str = field(default="sam_audio", metadata={"help": "Type of the model that is built from scratch."})


@dataclass
class ClassifierArguments(ModelArguments):
    """What is trained, and how much of it."""

    drop_path_rate: float | None = field(
        default=None, metadata={"help": "Leave out branches of SSLAM's blocks at random; rate of the last block."}
    )
    label_smoothing: float | None = field(default=None, metadata={"help": "Label smoothing of the cross entropy."})
    freeze_encoder: bool = field(
        default=False,
        metadata={"help": "Train the head only, on features that are computed once if nothing is random."},
    )
    seeds: list[int] | None = field(default=None, metadata={"help": "Several seeds, a run for each, and a summary."})


@dataclass
class LoraArguments:
    """LoRA instead of training all weights."""

    lora: bool = field(default=False, metadata={"help": "Train a LoRA adapter and the classifier only."})
    lora_rank: int = field(default=8, metadata={"help": "Rank of the adapter."})
    lora_alpha: int = field(default=16, metadata={"help": "Scale of the adapter, times its rank."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before the adapter."})
    lora_modules: list[str] = field(
        default_factory=lambda: ["attention"],
        metadata={"help": "What gets an adapter: attention, mlp (SSLAM), convolutions (SAMAudio)."},
    )


@dataclass
class Recipe:
    """A recipe's settings by section; `model` and `feature_extractor` go to the configuration and the extractor."""

    name: str
    model: dict[str, Any]
    feature_extractor: dict[str, Any]
    arguments: dict[str, Any]


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or the name of one that comes with the package (`carnatic_ragas`)."""
    candidates = [Path(name), RECIPES / Path(name).name, RECIPES / f"{name}.yaml"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    known = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
    raise ValueError(f"there is no recipe {name!r}; give the path of a YAML file or one of: {known}")


def read_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises `ValueError` for a file that is none."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(section, dict) for section in content.values()):
        raise ValueError(f"{path} is no recipe: it must hold the sections {', '.join(_SECTIONS)}")
    _check_names(path, "section", content, _SECTIONS)
    model = dict(content.get("model", {}))
    flags = ("model_type", "model_name_or_path", "freeze_encoder")
    arguments = {name: model.pop(name) for name in flags if name in model}
    for section in ("data", "augmentation", "training", "lora"):
        arguments.update(content.get(section, {}))
    return Recipe(path.stem, model, content.get("feature_extractor", {}), arguments)


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


def _check_names(path: Path, kind: str, given, known) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(str(name), [str(k) for k in known], 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{path} has a {kind} {name!r} that does not exist{hint}")
