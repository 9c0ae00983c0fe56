# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Building the model of a training run and its feature extractor."""

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig
from transformers import (
    AutoModelForAudioClassification,
    AutoModelForAudioFrameClassification,
    AutoModelForPreTraining,
    PreTrainedConfig,
    PreTrainedModel,
    SequenceFeatureExtractor,
)
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from ..data.labels import FRAMES, MULTI_LABEL
from ..modeling.loading import (
    config_errors,
    load_config,
    load_encoder,
    load_feature_extractor,
    load_model,
    make_config,
    make_feature_extractor,
)
from ..modeling.traits import has_frame_head, traits_of
from .arguments import LoraArguments
from .frozen import freeze_encoder
from .lora import LoraClassifier, add_lora, lora_config


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelSource:
    """
    The source of the model of a training run: a checkpoint, a configuration, a model or a model type.

    Args:
        checkpoint: a folder or a Hub name to start from.
        config: the configuration of a new model.
        model: a model to start from, whose weights are copied.
        model_type: the type of a new model, if none of these three is given.
        encoder: a folder or a Hub name of a pre-trained audio encoder, over which a new SAMAudio model is built.
        settings: fields of the configuration to set.
        extractor_settings: arguments of the feature extractor to set.
    """

    checkpoint: str | None = None
    config: PreTrainedConfig | None = None
    model: PreTrainedModel | None = None
    model_type: str = "sam_audio"
    encoder: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    extractor_settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        others = (self.checkpoint, self.config, self.model)
        if self.encoder is not None and any(other is not None for other in others):
            raise ValueError("An encoder (--encoder) is for a new model. Leave out it or the model to start from.")

    @classmethod
    def of(cls, model: "ModelSource | str | os.PathLike | PreTrainedConfig | PreTrainedModel") -> "ModelSource":
        """
        The source for a folder, a Hub name, a configuration or a model.

        Raises:
            ValueError: it is none of these, or a model with an adapter.
        """
        if isinstance(model, ModelSource):
            return model
        if isinstance(model, PreTrainedModel):
            if model._hf_peft_config_loaded:
                raise ValueError(
                    "The model has an adapter. Merge the adapter into its base first, with "
                    "polyaudio.training.lora.merge_adapter, and train from the merged folder."
                )
            return cls(model=model)
        if isinstance(model, PreTrainedConfig):
            return cls(config=model)
        if isinstance(model, str | os.PathLike):
            return cls(checkpoint=os.fspath(model))
        raise ValueError(
            "The model to train must be a folder, a Hub name, a configuration or a PreTrainedModel, not "
            f"{type(model).__name__}."
        )

    @property
    def name(self) -> str | None:
        """The folder or Hub name that the weights come from; `None` for a new model."""
        if self.model is not None:
            return self.model.config.name_or_path or None
        return self.checkpoint

    def make_config(self, **fields: Any) -> PreTrainedConfig:
        """A new configuration with these fields and the `settings` of the source."""
        given = self.config if self.model is None else self.model.config
        if given is None and self.encoder is not None:
            fields["encoder_config"] = load_config(self.encoder)
        if given is None:
            return make_config(self.model_type, self.checkpoint, {**self.settings, **fields})
        config = copy.deepcopy(given)
        with config_errors("the model"):
            config.update({**self.settings, **fields})
        return config

    def load(self, auto_class: type[_BaseAutoModelClass], config: PreTrainedConfig) -> PreTrainedModel:
        """A model with this configuration. Weights of another shape in the checkpoint, as of a head, are new."""
        config.architectures = None  # a run may train the encoder of a checkpoint for another task
        if self.checkpoint is not None:
            model, info = load_model(auto_class, self.checkpoint, config=config, ignore_mismatched_sizes=True)
            _log_new_weights(self.checkpoint, info)
            return model
        new = auto_class.from_config(config)
        if self.model is not None:
            _copy_weights(self.model, new)
        if self.encoder is not None:
            new.load_encoder(load_encoder(self.encoder))  # type: ignore[operator]  # it has an `encoder_config`
        return new

    def load_feature_extractor(self, config: PreTrainedConfig) -> SequenceFeatureExtractor:
        """
        A feature extractor with the `extractor_settings` of the source.

        Raises:
            ValueError: the feature extractor has no such setting.
        """
        name = self.name or self.encoder
        if name is None:
            feature_extractor = make_feature_extractor(config, {})
        else:
            feature_extractor = load_feature_extractor(name, traits_of(config).input_config(config))
        unknown = [name for name in self.extractor_settings if name not in feature_extractor.to_dict()]
        if unknown:
            raise ValueError(
                f"The feature extractor of a model of type {config.model_type} has no setting {unknown[0]!r}. Correct "
                "or remove it."
            )
        if name is None:
            return make_feature_extractor(config, self.extractor_settings)
        for name, value in self.extractor_settings.items():
            setattr(feature_extractor, name, value)
        return feature_extractor


def _copy_weights(source: PreTrainedModel, target: PreTrainedModel) -> None:
    """Copy all weights that both models have: those of the encoder, and of a head of the same size."""
    prefix = "" if hasattr(source, source.base_model_prefix) else f"{source.base_model_prefix}."
    weights, own = {prefix + name: weight for name, weight in source.state_dict().items()}, target.state_dict()
    fitting = {name: weight for name, weight in weights.items() if name in own and own[name].shape == weight.shape}
    target.load_state_dict(fitting, strict=False)
    teacher = getattr(target, "teacher", None)
    if isinstance(teacher, torch.nn.Module) and not any(name.startswith("teacher.") for name in fitting):
        # The teacher begins as a copy of the encoder, as when the encoder is loaded from a folder
        student = target.base_model.state_dict()
        teacher.load_state_dict({name: student[name] for name in teacher.state_dict()})


def build_classifier(
    source: ModelSource, labels: Sequence[str], task: str, crop_seconds: float | None
) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    """
    Build a classifier with a head for these labels, and its feature extractor.

    Args:
        source: the source of the model.
        labels: the names of the classes.
        task: the result of `task_of` for the labels.
        crop_seconds: length of the training crops, to which the feature extractor is set; `None` for whole clips.

    Raises:
        ValueError: polyaudio has no model of this type for the task, or the checkpoint is an adapter.
    """
    config = source.make_config(
        id2label=dict(enumerate(labels)),
        label2id={name: index for index, name in enumerate(labels)},
        problem_type=MULTI_LABEL if task == FRAMES else task,
    )
    if getattr(config, "event_rules", None) and "event_rules" not in source.settings:
        config.event_rules = None  # they were chosen for the scores of other weights
    if getattr(config, "calibration", None) and "calibration" not in source.settings:
        config.calibration = None
    if task == FRAMES and not has_frame_head(config):
        raise ValueError(
            f"The labels have onsets and offsets, but polyaudio has no frame classifier of type {config.model_type}."
        )
    auto_class = AutoModelForAudioFrameClassification if task == FRAMES else AutoModelForAudioClassification
    feature_extractor = source.load_feature_extractor(config)
    model = source.load(auto_class, config)
    if model._hf_peft_config_loaded:
        raise ValueError(
            f"{source.name} is an adapter. Merge it into its base first, with "
            f"polyaudio.training.lora.merge_adapter({source.name!r}, 'merged')."
        )
    _fit_to_crops(source, feature_extractor, model.config, crop_seconds)
    return model, feature_extractor


def _log_new_weights(checkpoint: str, info: Mapping[str, Any]) -> None:
    """Say which parts of a model do not come from its checkpoint."""
    names = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
    if names:
        parts = sorted({name.partition(".")[0] for name in names})
        logger.info(f"New, because {checkpoint} does not have it: {', '.join(parts)} ({len(names)} weights)")


def build_pretraining_model(
    source: ModelSource, crop_seconds: float
) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    """Build a model for pre-training on windows of `crop_seconds`, and its feature extractor."""
    config = source.make_config()
    feature_extractor = source.load_feature_extractor(config)
    if source.checkpoint is not None:
        model, info = load_model(AutoModelForPreTraining, source.checkpoint, config=config)
        _log_new_weights(source.checkpoint, info)
    else:
        model = source.load(AutoModelForPreTraining, config)
    _fit_to_crops(source, feature_extractor, model.config, crop_seconds)
    return model, feature_extractor


def _fit_to_crops(
    source: ModelSource,
    feature_extractor: SequenceFeatureExtractor,
    config: PreTrainedConfig,
    crop_seconds: float | None,
) -> None:
    keep_padding = "max_length" in source.extractor_settings
    traits_of(config).fit_to_crops(feature_extractor, config, crop_seconds, keep_padding)


def train_head_only(model: PreTrainedModel) -> None:
    """Freeze the encoder of a classifier in place with `freeze_encoder`, and log the number of trained parameters."""
    freeze_encoder(model)
    trainable, total = model.num_parameters(only_trainable=True), model.num_parameters()
    logger.info(f"Trainable parameters: {trainable:,} of {total:,}")


def adapter_config(model: PreTrainedModel, lora: LoraArguments) -> LoraConfig:
    """The configuration of a LoRA adapter for a classifier. Raises `ValueError` for wrong settings."""
    return lora_config(model, lora.lora_modules, lora.lora_rank, lora.lora_alpha, lora.lora_dropout)


def add_adapter(model: PreTrainedModel, config: LoraConfig, base: str) -> LoraClassifier:
    """
    Add a LoRA adapter to a classifier, in place, and log the number of trained parameters.

    Args:
        model: the classifier.
        config: the result of [`adapter_config`].
        base: folder or Hub name of the base model.
    """
    adapted = add_lora(model, config, base)
    trainable, total = adapted.get_nb_trainable_parameters()
    logger.info(f"Trainable parameters: {trainable:,} of {total:,} ({100 * trainable / total:.4f} %)")
    return adapted
