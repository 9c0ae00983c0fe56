# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
The model types of polyaudio and their classes.

This is the only list of model types. A new model type needs an entry here, and its own files. The classes are given by
name, so that the table can be read without importing torch.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelType:
    """
    The classes of one model type, each as `"module:Class"`. A module name that begins with a dot is within polyaudio.

    Args:
        config: the configuration class.
        traits: the subclass of [`ModelTraits`], with the properties that polyaudio needs beside those of transformers.
        models: the model class for each Auto class of models.
        feature_extractor: the feature extractor class. Without it, `AutoFeatureExtractor` does not know the type.
    """

    config: str
    traits: str
    models: Mapping[str, str] = field(default_factory=dict)
    feature_extractor: str | None = None

    @property
    def auto_classes(self) -> dict[str, str]:
        """The class for each Auto class except `AutoConfig`."""
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
    # The format in which the authors of EAT and SSLAM publish models; these classes load them as SSLAM models
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
    """Import the class with the path `"module:Class"`."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module, __package__.rpartition(".")[0]), name)
