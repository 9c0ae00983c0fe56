# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Recipes: YAML files that hold the settings of a whole training run."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


RECIPES = Path(__file__).resolve().parent.parent / "recipes"

_SECTIONS = ("model", "feature_extractor", "data", "augmentation", "training", "lora")


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


def _check_names(path: Path, kind: str, given, known) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(str(name), [str(k) for k in known], 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{path} has a {kind} {name!r} that does not exist{hint}")
