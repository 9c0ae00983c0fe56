# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Registers the model types of polyaudio with the Auto classes of transformers.

The modules of the Auto classes import torch, which takes seconds. So model types are registered with a module in
`_AUTO_CLASSES` only when the program has imported that module itself.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import logging
import sys
from collections.abc import Sequence
from types import ModuleType

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

# This module imports the Auto classes before it defines what our models import from it
_IMPORTS_AUTO_CLASSES = "transformers.modeling_layers"


def register_auto_classes() -> None:
    """Register every model type, now or as soon as the program imports transformers' Auto classes."""
    missing = {name for name in _AUTO_CLASSES if name not in sys.modules}
    for name in _AUTO_CLASSES.keys() - missing:
        _register_in(sys.modules[name])
    if missing:
        sys.meta_path.insert(0, _RegisterAfterImport({*missing, _IMPORTS_AUTO_CLASSES} - sys.modules.keys()))


def register_model_type(name: str, model_type: ModelType) -> None:
    """
    Add a model type to the registry and to the Auto classes.

    Args:
        name: the `model_type` of the configuration.
        model_type: the classes of the model type.
    """
    MODEL_TYPES[name] = model_type
    for module in _AUTO_CLASSES:
        if module in sys.modules:
            _register_one(sys.modules[module], name, model_type)


def _register_in(module: ModuleType) -> None:
    """Register all types with the Auto classes of a module, if it has any."""
    if module.__name__ in _AUTO_CLASSES:
        for name, model_type in MODEL_TYPES.items():
            _register_one(module, name, model_type)


def _register_one(module: ModuleType, name: str, model_type: ModelType) -> None:
    """Register a type with the Auto classes of one of transformers' modules."""
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
