# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
The model types of polyaudio and the classes of each.

This is the only place that lists model types. A new one takes an entry here, and its own files. Classes are named and
not imported, so that a look at the table does not import torch.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelType:
    """
    The classes of one model type, each as `"module:Class"`. A module that begins with a dot is one of polyaudio.

    Args:
        config: the configuration class.
        traits: the subclass of [`ModelTraits`] that holds what polyaudio needs to know beyond transformers.
        models: for each Auto class for models, the model class that it gives.
        feature_extractor: the feature extractor class. Without it `AutoFeatureExtractor` does not know the type.
    """

    config: str
    traits: str
    models: Mapping[str, str] = field(default_factory=dict)
    feature_extractor: str | None = None

    @property
    def auto_classes(self) -> dict[str, str]:
        """For each Auto class but `AutoConfig` the class that it gives."""
        extractor = {} if self.feature_extractor is None else {"AutoFeatureExtractor": self.feature_extractor}
        return {**extractor, **self.models}


MODEL_TYPES: dict[str, ModelType] = {
    "sam_audio": ModelType(
        config=".configuration.configuration_sam_audio:SAMAudioConfig",
        traits=".modeling.traits_sam_audio:SAMAudioTraits",
        models={
            "AutoModel": ".modeling.modeling_sam_audio:SAMAudioModel",
            "AutoModelForPreTraining": ".modeling.modeling_sam_audio:SAMAudioForPreTraining",
            "AutoModelForAudioClassification": ".modeling.modeling_sam_audio:SAMAudioForAudioClassification",
        },
        feature_extractor=".feature_extraction.feature_extraction_sam_audio:SAMAudioFeatureExtractor",
    ),
    "sslam": ModelType(
        config=".configuration.configuration_sslam:SSLAMConfig",
        traits=".modeling.traits_sslam:SSLAMTraits",
        models={
            "AutoModel": ".modeling.modeling_sslam:SSLAMModel",
            "AutoModelForPreTraining": ".modeling.modeling_sslam:SSLAMForPreTraining",
            "AutoModelForAudioClassification": ".modeling.modeling_sslam:SSLAMForAudioClassification",
            "AutoModelForAudioFrameClassification": ".modeling.modeling_sslam:SSLAMForAudioFrameClassification",
        },
        feature_extractor=".feature_extraction.feature_extraction_sslam:SSLAMFeatureExtractor",
    ),
    # The layout that the authors of EAT and SSLAM publish; its classes give SSLAM models
    "eat": ModelType(
        config=".configuration.configuration_sslam:EATConfig",
        traits=".modeling.traits_sslam:SSLAMTraits",
        models={
            "AutoModel": ".modeling.modeling_eat:EATModel",
            "AutoModelForPreTraining": ".modeling.modeling_eat:EATForPreTraining",
            "AutoModelForAudioClassification": ".modeling.modeling_eat:EATForAudioClassification",
            "AutoModelForAudioFrameClassification": ".modeling.modeling_eat:EATForAudioFrameClassification",
        },
        feature_extractor=".feature_extraction.feature_extraction_sslam:SSLAMFeatureExtractor",
    ),
}


def load_class(path: str) -> Any:
    """The class that `"module:Class"` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module, __package__.rpartition(".")[0]), name)
