# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Recognises checkpoints of the authors of SSLAM and EAT, and builds the models and feature extractors.

This is not in `checkpoint_sslam`, because `modeling_eat` imports that module while the Auto classes are registered,
and feature extractors cannot be imported then.
"""

from collections.abc import Mapping
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from transformers import AutoModel, AutoModelForAudioClassification, PreTrainedConfig
from transformers.utils import SAFE_WEIGHTS_NAME, cached_file

from ..configuration.configuration_sslam import EATConfig
from ..feature_extraction.feature_extraction_sslam import SSLAMFeatureExtractor
from .checkpoint_io import ConvertedModel, build_converted, section_of
from .checkpoint_sslam import convert_fairseq_checkpoint, is_fine_tuned
from .loading import load_feature_extractor, load_model
from .modeling_sslam import SSLAMForAudioClassification, SSLAMForPreTraining, SSLAMModel


def is_fairseq_checkpoint(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a loaded dictionary is a checkpoint of fairseq."""
    return {"cfg", "model"} <= checkpoint.keys()


def load_fairseq_checkpoint(
    checkpoint: Mapping[str, Any],
    *,
    what: Literal["encoder", "pretraining", "classifier"] | None = None,
    weights: Literal["student", "teacher"] = "student",
) -> ConvertedModel:
    """
    Build the model and the feature extractor of a fairseq checkpoint.

    Args:
        checkpoint: what [`read_torch_checkpoint`] returns for the `.pt` file.
        what, weights: as in [`convert_fairseq_checkpoint`]; by default the classifier of a fine-tuned checkpoint, and
            the encoder of a pre-trained one.

    Raises:
        ValueError: as [`convert_fairseq_checkpoint`].
    """
    what = what or ("classifier" if is_fine_tuned(checkpoint) else "encoder")
    converted = convert_fairseq_checkpoint(checkpoint, what, weights)
    feature_extractor = fairseq_feature_extractor(checkpoint["cfg"])
    if feature_extractor.max_length % converted.config.patch_size == 0:
        converted.config.window_frames = feature_extractor.max_length
    model_class = {
        "encoder": SSLAMModel,
        "classifier": SSLAMForAudioClassification,
        "pretraining": SSLAMForPreTraining,
    }[what]
    model = build_converted(model_class, converted.config, converted.state_dict)
    return ConvertedModel(model, feature_extractor, what, converted.report, weights)


def fairseq_feature_extractor(cfg: Mapping[str, Any]) -> SSLAMFeatureExtractor:
    """The feature extractor for the features that the checkpoint was trained on: their length and normalisation."""
    task = section_of(cfg, "task") if cfg.get("task") else {}
    settings: dict[str, Any] = {}
    if task.get("esc50_eval"):  # the original fine-tunes on ESC-50 and Speech Commands with their own statistics
        settings = {"mean": -6.627, "std": 5.359}
    elif task.get("spcv2_eval"):
        settings = {"mean": -6.846, "std": 5.565}
    if task.get("target_length"):
        settings["max_length"] = task["target_length"]
    return SSLAMFeatureExtractor(**settings)


def is_published_config(config: PreTrainedConfig) -> bool:
    """Whether a model folder or Hub repository has the layout that the authors of SSLAM and EAT publish."""
    return isinstance(config, EATConfig)


def load_published_model(
    name: str, config: PreTrainedConfig, *, what: Literal["encoder", "pretraining", "classifier"] | None = None
) -> ConvertedModel:
    """
    Load the model and the feature extractor of a published folder or Hub repository.

    Args:
        name: folder or Hub name.
        config: its configuration.
        what: the part to take; by default the classifier, and the encoder if there is no classifier.

    Raises:
        OSError: the weights cannot be read.
        ValueError: the folder does not have that part, or other weights than such a model has.
    """
    try:
        with safe_open(cached_file(name, SAFE_WEIGHTS_NAME), "pt") as file:
            has_classifier = "model.head.weight" in file.keys()  # noqa: SIM118  not a dict
    except SafetensorError as error:
        raise ValueError(f"The weights in {name} are damaged ({error}). Copy or download them again.") from error
    what = what or ("classifier" if has_classifier else "encoder")
    if what == "pretraining" or (what == "classifier" and not has_classifier):
        raise ValueError(f"{name} has no {'classifier' if what == 'classifier' else 'decoder'}.")
    auto_class = AutoModelForAudioClassification if what == "classifier" else AutoModel
    return ConvertedModel(load_model(auto_class, name)[0], load_feature_extractor(name, config), what, {})


__all__ = ["is_fairseq_checkpoint", "is_published_config", "load_fairseq_checkpoint", "load_published_model"]
