# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Makes the model types of polyaudio known to the Auto classes of transformers.

The Auto classes live in modules that import torch, which takes seconds. So nothing is registered before the program
imports them itself: each of the modules in `_AUTO_CLASSES` gets its registrations right after it has been executed, or
at once where it already has been.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import sys
from collections.abc import Callable, Sequence
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


def register_auto_classes() -> None:
    """Register every model type, now or as soon as transformers' Auto classes are imported."""
    waiting = {}
    for name in _AUTO_CLASSES:
        if name in sys.modules:
            _register_in(sys.modules[name])
        else:
            waiting[name] = _register_in
    if waiting:
        sys.meta_path.insert(0, _AfterImport(waiting))


def _register_in(module: ModuleType) -> None:
    for auto_name in _AUTO_CLASSES[module.__name__]:
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
    return getattr(importlib.import_module(f".{module_name}", __package__), class_name)


class _AfterImport(importlib.abc.MetaPathFinder):
    """Finds the given modules where the other finders find them and calls a function once each has been executed."""

    def __init__(self, callbacks: dict[str, Callable[[ModuleType], None]]):
        self.callbacks = callbacks

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        callback = self.callbacks.pop(fullname, None)
        if callback is None:
            return None
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_then_call(module: ModuleType) -> None:
            execute(module)
            callback(module)

        spec.loader.exec_module = execute_then_call
        return spec
