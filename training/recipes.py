# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Recipes: YAML files with the settings of a training run."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from ..augmentation.arguments import AugmentationArguments
from ..data.text import did_you_mean
from ..integration.registry import MODEL_TYPES, load_class
from .arguments import (
    AudioTrainingArguments,
    ClassifierArguments,
    DataArguments,
    LoraArguments,
    ModelArguments,
    PretrainingArguments,
    WindowArguments,
)
from .models import ModelSource


RECIPES = Path(__file__).resolve().parent.parent / "recipes"

# The sections that have arguments. `model` can also have settings of the configuration, and `feature_extractor` has
# settings of the feature extractor. The objects check these settings.
FINE_TUNING = {
    "model": ClassifierArguments,
    "data": DataArguments,
    "augmentation": AugmentationArguments,
    "training": AudioTrainingArguments,
    "lora": LoraArguments,
}
PRETRAINING = {"model": ModelArguments, "data": WindowArguments, "training": PretrainingArguments}
_SECTIONS = ("model", "feature_extractor", "data", "augmentation", "training", "lora")


@dataclass(frozen=True)
class FineTuningSettings:
    """The arguments of [`fine_tune`] from a recipe: `fine_tune(dataset, **vars(settings))`."""

    model: ModelSource
    args: AudioTrainingArguments
    data: DataArguments
    augmentation: AugmentationArguments
    lora: LoraArguments | None
    freeze_encoder: bool
    recipe: str


@dataclass(frozen=True)
class PretrainingSettings:
    """The arguments of [`pretrain`] from a recipe: `pretrain(dataset, **vars(settings))`."""

    model: ModelSource
    args: PretrainingArguments
    windows: WindowArguments
    recipe: str


@dataclass(frozen=True)
class Recipe:
    """
    The content of a recipe.

    Args:
        name: name of the file, without its extension.
        path: path of the file.
        sections: the settings of each section.
    """

    name: str
    path: Path
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def flags(self, kinds: Mapping[str, type]) -> dict[str, Any]:
        """
        The settings that are arguments, in one dictionary, with the `dataset` if the recipe names one.

        Args:
            kinds: the dataclass of arguments for each section: `FINE_TUNING` or `PRETRAINING`.

        Raises:
            ValueError: a setting does not exist, or is in the wrong section.
        """
        known = {section: names_of(kind) for section, kind in kinds.items()}
        flags: dict[str, Any] = {}
        for section, settings in self.sections.items():
            own = known.get(section, set())
            for name, value in settings.items():
                if name not in own:
                    if section in ("model", "feature_extractor") and not _is_misplaced(name, known):
                        continue
                    raise ValueError(f"{self.path} has a setting {name!r} in {section}, {_advice(name, known)}")
                flags[name] = value
        return flags

    def model_source(self, arguments: ModelArguments, *, replaces_description: bool) -> ModelSource:
        """
        The model that the recipe describes, or the one that the arguments name.

        Args:
            arguments: a checkpoint, or the type of a new model.
            replaces_description: whether to ignore the model settings of the recipe if `arguments` has a checkpoint
                and the recipe has none. If only `arguments` has an encoder, they are ignored in any case, and so are
                those of the feature extractor, because both are those of the encoder.
        """
        model = self.sections.get("model", {})
        own = names_of(ModelArguments) | {"freeze_encoder"}
        settings = {name: value for name, value in model.items() if name not in own}
        is_other = arguments.model_name_or_path is not None and model.get("model_name_or_path") is None
        extractor_settings, model_type = dict(self.sections.get("feature_extractor", {})), arguments.model_type
        if replaces_description and is_other:
            settings = {}
        if arguments.encoder is not None and model.get("encoder") is None:
            settings, extractor_settings = {}, {}
            if model_type == model.get("model_type"):
                model_type = ModelSource.model_type
        for name in ("drop_path_rate", "label_smoothing", "frame_upsampling"):
            if getattr(arguments, name, None) is not None:
                settings[name] = getattr(arguments, name)
        return ModelSource(
            checkpoint=arguments.model_name_or_path,
            model_type=model_type,
            encoder=arguments.encoder,
            settings=settings,
            extractor_settings=extractor_settings,
        )

    def fine_tuning(self, **changes: Any) -> FineTuningSettings:
        """
        The settings for [`fine_tune`].

        Args:
            changes: arguments of any section, which override the recipe, such as `num_train_epochs=5`.

        Raises:
            ValueError: a setting does not exist or has a wrong value.
        """
        given = {**self.flags(FINE_TUNING), **changes}
        given.pop("dataset", None)
        with_lora = given.pop("lora", False)
        parts = _fill(FINE_TUNING, given, self.path)
        return FineTuningSettings(
            model=self.model_source(parts["model"], replaces_description=True),
            args=parts["training"],
            data=parts["data"],
            augmentation=parts["augmentation"],
            lora=parts["lora"] if with_lora else None,
            freeze_encoder=parts["model"].freeze_encoder,
            recipe=self.name,
        )

    def pretraining(self, **changes: Any) -> PretrainingSettings:
        """The settings for [`pretrain`]; `changes` as for `fine_tuning`."""
        given = {**self.flags(PRETRAINING), **changes}
        given.pop("dataset", None)
        parts = _fill(PRETRAINING, given, self.path)
        source = self.model_source(parts["model"], replaces_description=False)
        return PretrainingSettings(source, parts["training"], parts["data"], self.name)


def find_recipe(name: str) -> Path:
    """The file of a recipe, from its path or the name of a recipe of polyaudio; `ValueError` if it is missing."""
    candidates = [Path(name), RECIPES / Path(name).name, RECIPES / f"{name}.yaml"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    known = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    raise ValueError(
        f"There is no recipe {name!r}{_meant(name, known)} Give the path of a YAML file or one of: {', '.join(known)}."
    )


def read_recipe(name: str | Path) -> Recipe:
    """
    Read a recipe.

    Args:
        name: the path of a YAML file, or the name of a recipe of polyaudio, such as `carnatic_ragas`.

    Raises:
        ValueError: there is no such recipe, or the file is not a recipe.

    Example:

    ```python
    >>> from polyaudio import fine_tune, read_recipe

    >>> settings = read_recipe("sslam_small").fine_tuning(output_dir="runs/small", num_train_epochs=5)
    >>> settings.args.learning_rate
    0.0005
    >>> result = fine_tune("my-recordings/", **vars(settings))  # doctest: +SKIP
    ```
    """
    path = find_recipe(str(name))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(section, dict) for section in content.values()):
        raise ValueError(f"{path} is not a recipe. A recipe has the sections {', '.join(_SECTIONS)}.")
    for section in content:
        if section not in _SECTIONS:
            raise ValueError(f"{path} has a section {section!r}, which does not exist{_meant(section, _SECTIONS)}")
    return Recipe(path.stem, path, content)


def names_of(kind: type) -> set[str]:
    """The names of the settings in the section of a dataclass of arguments."""
    extra = {DataArguments: {"dataset"}, WindowArguments: {"dataset"}, LoraArguments: {"lora"}}
    return {one.name for one in fields(kind) if one.init} | extra.get(kind, set())


def _fill(kinds: Mapping[str, type], given: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """An instance of each dataclass, with those of the given arguments that it has."""
    unknown = [name for name in given if not any(name in names_of(kind) for kind in kinds.values())]
    if unknown:
        known = set().union(*(names_of(kind) for kind in kinds.values()))
        raise ValueError(f"{path.stem} has no setting {unknown[0]!r} to change{_meant(unknown[0], known)}")
    return {
        section: kind(**{one.name: given[one.name] for one in fields(kind) if one.init and one.name in given})
        for section, kind in kinds.items()
    }


def _is_misplaced(name: str, known: Mapping[str, Collection[str]]) -> bool:
    """Whether a setting in `model` or `feature_extractor` is an argument of a run and not of a configuration."""
    if not any(name in names for names in known.values()):
        return False
    return not any(name in load_class(model_type.config)().to_dict() for model_type in MODEL_TYPES.values())


def _advice(name: str, known: Mapping[str, Collection[str]]) -> str:
    """The end of the message about a setting that its section does not have."""
    right = [section for section, names in known.items() if name in names]
    if right:
        return f"but it belongs in {right[0]}. Move it there."
    return f"which does not exist{_meant(name, set().union(*known.values()))}"


def _meant(name: str, known: Collection[str]) -> str:
    return did_you_mean(str(name), known) or "."
