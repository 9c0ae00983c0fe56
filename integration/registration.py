# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Makes the model types of polyaudio known to the Auto classes of transformers.

The Auto classes live in modules that import torch, which takes seconds. So nothing is registered before the program
imports them itself: each of the modules in `_AUTO_CLASSES` gets its registrations once it has been executed, or right
away where it already has been.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import sys
from collections.abc import Sequence
from types import ModuleType


logger = logging.getLogger(__name__)

# model type -> (configuration class, and for each Auto class the class of ours that it gives)
_MODELS = {
    "sam_audio": (
        "configuration.configuration_sam_audio:SAMAudioConfig",
        {
            "AutoFeatureExtractor": "feature_extraction.feature_extraction_sam_audio:SAMAudioFeatureExtractor",
            "AutoModel": "modeling.modeling_sam_audio:SAMAudioModel",
            "AutoModelForPreTraining": "modeling.modeling_sam_audio:SAMAudioForPreTraining",
            "AutoModelForAudioClassification": "modeling.modeling_sam_audio:SAMAudioForAudioClassification",
        },
    ),
    "sslam": (
        "configuration.configuration_sslam:SSLAMConfig",
        {
            "AutoFeatureExtractor": "feature_extraction.feature_extraction_sslam:SSLAMFeatureExtractor",
            "AutoModel": "modeling.modeling_sslam:SSLAMModel",
            "AutoModelForPreTraining": "modeling.modeling_sslam:SSLAMForPreTraining",
            "AutoModelForAudioClassification": "modeling.modeling_sslam:SSLAMForAudioClassification",
            "AutoModelForAudioFrameClassification": "modeling.modeling_sslam:SSLAMForAudioFrameClassification",
        },
    ),
    "eat": (
        "configuration.configuration_sslam:EATConfig",
        {
            "AutoModel": "modeling.modeling_eat:EATModel",
            "AutoModelForPreTraining": "modeling.modeling_eat:EATForPreTraining",
            "AutoModelForAudioClassification": "modeling.modeling_eat:EATForAudioClassification",
            "AutoModelForAudioFrameClassification": "modeling.modeling_eat:EATForAudioFrameClassification",
        },
    ),
}

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

# It imports the Auto classes before it has what our models import of it
_IMPORTS_AUTO_CLASSES = "transformers.modeling_layers"


def register_auto_classes() -> None:
    """Register every model type, now or as soon as transformers' Auto classes are imported."""
    missing = {name for name in _AUTO_CLASSES if name not in sys.modules}
    for name in _AUTO_CLASSES.keys() - missing:
        _register_in(sys.modules[name])
    if missing:
        sys.meta_path.insert(0, _RegisterAfterImport({*missing, _IMPORTS_AUTO_CLASSES} - sys.modules.keys()))


def _register_in(module: ModuleType) -> None:
    for auto_name in _AUTO_CLASSES.get(module.__name__, ()):
        auto_class = getattr(module, auto_name)
        for model_type, (config_path, classes) in _MODELS.items():
            if auto_name == "AutoConfig":
                if model_type in module.CONFIG_MAPPING_NAMES:
                    logger.warning(
                        f"transformers has a model type {model_type!r} of its own; while polyaudio is imported, the "
                        "Auto classes take that type for polyaudio's."
                    )
                auto_class.register(model_type, _load(config_path), exist_ok=True)
            elif auto_name in classes:
                auto_class.register(_load(config_path), _load(classes[auto_name]), exist_ok=True)


def _load(path: str) -> type:
    module_name, class_name = path.split(":")
    return getattr(importlib.import_module(f"..{module_name}", __package__), class_name)


class _RegisterAfterImport(importlib.abc.MetaPathFinder):
    """
    Finds the given modules where the other finders find them and registers in each once it has been executed.

    Where one of them imports another, that is when the outer one has been executed.
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

        spec.loader.exec_module = execute_then_register
        return spec
