# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""From the name of a model to its configuration, its feature extractor and its weights."""

import sys

import torch
from transformers import PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor


def load_config(model_name: str) -> "PreTrainedConfig":
    """The configuration of a model folder or Hub name. Raises `ValueError` where there is none."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(model_name)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{model_name} is neither a model folder nor a model that the Hugging Face Hub gives: {error}"
        ) from error


def make_config(model_type: str, checkpoint: str | None, settings: dict) -> "PreTrainedConfig":
    """
    The configuration of a model to train: of a new one of this type, or of a checkpoint, with a recipe's settings.

    Raises:
        ValueError: a model of this type has no such setting.
    """
    from transformers import AutoConfig

    if checkpoint is None:
        config = AutoConfig.for_model(model_type, **settings)
    else:
        config = AutoConfig.from_pretrained(checkpoint, **settings)
    unknown = [name for name in settings if not hasattr(type(config)(), name)]
    if unknown:
        raise ValueError(f"a model of type {config.model_type} has no setting {unknown[0]!r}; correct the recipe")
    return config


def make_feature_extractor(config: "PreTrainedConfig", settings: dict) -> "SequenceFeatureExtractor":
    """A feature extractor for a new model, with a recipe's settings."""
    from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING

    if config.model_type == "sam_audio":
        settings = {**settings, "frontend": config.frontend, "feature_size": config.feature_size}
    return FEATURE_EXTRACTOR_MAPPING[type(config)](**settings)


def load_feature_extractor(model_name: str, config: "PreTrainedConfig") -> "SequenceFeatureExtractor":
    """
    The feature extractor of a model folder or Hub name.

    The repositories that the authors of SSLAM and EAT publish have no preprocessor_config.json. The defaults of
    [`SSLAMFeatureExtractor`] are what those models were trained with.
    """
    from transformers import AutoFeatureExtractor

    try:
        return AutoFeatureExtractor.from_pretrained(model_name)
    except OSError:
        if config.model_type not in ("eat", "sslam"):
            raise
    from ..feature_extraction.feature_extraction_sslam import SSLAMFeatureExtractor

    print(f"{model_name} has no preprocessor_config.json; taking the published models' settings.", file=sys.stderr)
    feature_extractor = SSLAMFeatureExtractor(config.num_mel_bins)
    feature_extractor.max_length = min(feature_extractor.max_length, config.max_time_patches * config.patch_size)
    return feature_extractor


def load_classifier(model_name: str, *, of_frames: bool = False) -> "PreTrainedModel":
    """A classifier that is ready to use. Raises `ValueError` for a model whose classifier has never been trained."""
    from transformers import AutoModelForAudioClassification, AutoModelForAudioFrameClassification

    auto_class = AutoModelForAudioFrameClassification if of_frames else AutoModelForAudioClassification
    model, info = auto_class.from_pretrained(model_name, config=load_config(model_name), output_loading_info=True)
    if info["missing_keys"]:
        raise ValueError(
            f"{model_name} is no trained classifier: it lacks {', '.join(sorted(info['missing_keys'])[:3])}. "
            "Fine-tune it with `polyaudio train --model-name-or-path` first."
        )
    return model.eval()


def choose_device(name: str | None) -> "torch.device":
    """The device of this name, or the accelerator where there is one. Raises `ValueError` for one that is not."""
    import torch

    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name is None:
        return accelerator or torch.device("cpu")
    there = ["cpu"] + ([accelerator.type] if accelerator else [])
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"there is no device {name!r}; here are {' and '.join(there)}") from error
    if device.type not in there or (device.index or 0) >= max(1, torch.accelerator.device_count()):
        raise ValueError(f"this machine has no device {name!r}; here are {' and '.join(there)}")
    return device


def load_encoder(model_name: str) -> "PreTrainedModel":
    """The base model. Raises `ValueError` where weights of it are missing, which would then be random."""
    from transformers import AutoModel

    model, info = AutoModel.from_pretrained(model_name, output_loading_info=True)
    if info["missing_keys"]:
        raise ValueError(f"{model_name} lacks weights of its encoder: {', '.join(sorted(info['missing_keys'])[:3])}")
    return model


def initialise_like(model: "PreTrainedModel", seed: int) -> "PreTrainedModel":
    """A model of the same architecture with random weights."""
    import torch
    from transformers import AutoModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModel.from_config(model.config)
