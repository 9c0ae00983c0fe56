# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Registers the model types of polyaudio with the Auto classes of transformers, and their LoRA targets with PEFT.

The modules of the Auto classes and of PEFT import torch, which takes seconds. So model types are registered with a
module in `_MODULES` only when the program has imported that module itself, and so is the pipeline.
"""

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from .registry import MODEL_TYPES, ModelType, load_class


logger = logging.getLogger(__name__)

_AUTO_CLASSES = {
    "transformers.models.auto.configuration_auto": ("AutoConfig",),
    "transformers.models.auto.feature_extraction_auto": ("AutoFeatureExtractor",),
    "transformers.models.auto.modeling_auto": (
        "AutoModel",
        "AutoModelForPreTraining",
        "AutoModelForAudioClassification",
        "AutoModelForAudioFrameClassification",
    ),
}

# The module with the modules that PEFT adapts where a configuration names none
_PEFT_DEFAULTS = "peft.utils.constants"
_MODULES = {*_AUTO_CLASSES, _PEFT_DEFAULTS}
# The module with the tasks of `pipeline`, and our task
_PIPELINES = "transformers.pipelines"
_TASK = "sound-event-detection"
_PIPELINE = ".inference.pipeline_sound_event_detection:SoundEventDetectionPipeline"
# The module whose class reads the settings of feature extractors
_EXTRACTORS = "transformers.feature_extraction_utils"

# The arguments of reading the settings of a feature extractor; the first ones are those of downloads
_DOWNLOAD_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")
_READING_ARGUMENTS = (*_DOWNLOAD_ARGUMENTS, "user_agent", "_from_pipeline", "_from_auto")

# This module imports the Auto classes before it defines what our models import from it
_IMPORTS_AUTO_CLASSES = "transformers.modeling_layers"


def register_auto_classes() -> None:
    """Register everything, now or as soon as the program imports transformers' Auto classes, its pipelines or PEFT."""
    waited_for = {*_MODULES, _EXTRACTORS, _PIPELINES}
    missing = {name for name in waited_for if name not in sys.modules}
    if missing:  # before the loop, because our classes import some of them
        sys.meta_path.insert(0, _RegisterAfterImport({*missing, _IMPORTS_AUTO_CLASSES} - sys.modules.keys()))
    for name in waited_for - missing:
        _register_in(sys.modules[name])


def register_model_type(name: str, model_type: ModelType) -> None:
    """
    Add a model type to the registry, to the Auto classes and to PEFT.

    Args:
        name: the `model_type` of the configuration.
        model_type: the classes of the model type.
    """
    MODEL_TYPES[name] = model_type
    for module in _MODULES:
        if module in sys.modules:
            _register_one(sys.modules[module], name, model_type)


def _register_in(module: ModuleType) -> None:
    """Register what belongs to a module, if it is one of those that are waited for."""
    if module.__name__ == _EXTRACTORS:
        _find_default_extractors(module.FeatureExtractionMixin)
    if module.__name__ == _PIPELINES:
        from transformers import AutoModelForAudioClassification, AutoModelForAudioFrameClassification

        models = (AutoModelForAudioClassification, AutoModelForAudioFrameClassification)
        module.PIPELINE_REGISTRY.register_pipeline(_TASK, load_class(_PIPELINE), pt_model=models, type="audio")
    if module.__name__ not in _MODULES:
        return
    for name, model_type in MODEL_TYPES.items():
        _register_one(module, name, model_type)


def _register_one(module: ModuleType, name: str, model_type: ModelType) -> None:
    """Register a type with one of `_MODULES`."""
    if module.__name__ == _PEFT_DEFAULTS:
        module.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING[name] = _LoraTargets(model_type)
        return
    for auto_name in _AUTO_CLASSES[module.__name__]:
        auto_class = getattr(module, auto_name)
        if auto_name == "AutoConfig":
            if name in module.CONFIG_MAPPING_NAMES:
                logger.warning(
                    f"transformers has a model type {name!r} of its own. While polyaudio is imported, the Auto "
                    "classes use polyaudio's classes for it."
                )
            auto_class.register(name, load_class(model_type.config), exist_ok=True)
        elif auto_name in model_type.auto_classes:
            config_class = load_class(model_type.config)
            auto_class.register(config_class, load_class(model_type.auto_classes[auto_name]), exist_ok=True)


class _LoraTargets:
    """The modules that LoRA adapts by default, looked up when PEFT asks for them, because the traits need torch."""

    def __init__(self, model_type: ModelType):
        self.traits = model_type.traits

    def __iter__(self) -> Iterator[str]:
        return iter(load_class(self.traits)().default_lora_modules)


def _find_default_extractors(extractor_class: Any) -> None:
    """
    Let models without a `preprocessor_config.json` have the default feature extractor of their type.

    All Auto classes and pipelines read the settings of a feature extractor with this method.
    """
    read = extractor_class.get_feature_extractor_dict.__func__

    @functools.wraps(read)
    def get_feature_extractor_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        try:
            return read(cls, pretrained_model_name_or_path, **kwargs)
        except OSError:
            settings = _default_settings(pretrained_model_name_or_path, **kwargs)
            if settings is None:
                raise
            _warn_of_default(str(pretrained_model_name_or_path))
            return settings, {key: value for key, value in kwargs.items() if key not in _READING_ARGUMENTS}

    extractor_class.get_feature_extractor_dict = classmethod(get_feature_extractor_dict)


def _default_settings(name: str | os.PathLike, **kwargs: Any) -> dict[str, Any] | None:
    """The default feature extractor of the type of a model; `None` if there is none, or if the model has its own."""
    from transformers import AutoConfig
    from transformers.utils import FEATURE_EXTRACTOR_NAME, cached_file

    download = {key: kwargs[key] for key in _DOWNLOAD_ARGUMENTS if key in kwargs}
    try:
        if cached_file(name, FEATURE_EXTRACTOR_NAME, _raise_exceptions_for_missing_entries=False, **download):
            return None  # it has one, which cannot be read
        config = AutoConfig.from_pretrained(name, trust_remote_code=False, **download)
    except (OSError, ValueError):
        return None
    model_type = MODEL_TYPES.get(config.model_type)
    traits = None if model_type is None else load_class(model_type.traits)().for_config(config)
    extractor = None if traits is None else traits.default_extractor(config)
    return None if extractor is None else extractor.to_dict()


@functools.cache
def _warn_of_default(name: str) -> None:
    logger.warning(f"{name} has no preprocessor_config.json. The settings of the published models are used.")


class _RegisterAfterImport(importlib.abc.MetaPathFinder):
    """
    Finds the given modules through the other finders, and registers the model types with each after its execution.

    If one of the modules imports another, both registrations happen after the execution of the outer one.
    """

    def __init__(self, names: set[str]):
        self.waiting = names
        self.depth = 0
        self.executed: list[ModuleType] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.waiting:
            return None
        self.waiting.remove(fullname)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_then_register(module: ModuleType) -> None:
            self.depth += 1
            try:
                execute(module)
            finally:
                self.depth -= 1
            self.executed.append(module)
            while self.executed and self.depth == 0:
                _register_in(self.executed.pop(0))

        vars(spec.loader)["exec_module"] = execute_then_register  # hides the method, for this loader only
        return spec
