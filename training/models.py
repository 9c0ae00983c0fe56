# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The model of a training run and its feature extractor."""

import copy
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import (
    AutoModelForAudioClassification,
    AutoModelForAudioFrameClassification,
    AutoModelForPreTraining,
    PreTrainedConfig,
    PreTrainedModel,
    SequenceFeatureExtractor,
)

from ..data.labels import FRAMES, MULTI_LABEL
from ..modeling.loading import load_feature_extractor, make_config, make_feature_extractor
from ..modeling.traits import has_frame_head, traits_of
from .arguments import LoraArguments
from .frozen import freeze_encoder
from .lora import add_lora, lora_config


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelSource:
    """
    Where the model of a training run comes from.

    Args:
        checkpoint: a folder or a Hub name to start from.
        config: the configuration of a new model.
        model: a model to start from, whose weights are copied.
        model_type: type of a new model, where none of the three is given.
        settings: fields of the configuration to set.
        extractor_settings: arguments of the feature extractor to set.
    """

    checkpoint: str | None = None
    config: PreTrainedConfig | None = None
    model: PreTrainedModel | None = None
    model_type: str = "sam_audio"
    settings: dict[str, Any] = field(default_factory=dict)
    extractor_settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: "ModelSource | str | os.PathLike | PreTrainedConfig | PreTrainedModel") -> "ModelSource":
        """The source that a user names by a folder, a Hub name, a configuration or a model."""
        if isinstance(model, ModelSource):
            return model
        if isinstance(model, PreTrainedModel):
            return cls(model=model)
        if isinstance(model, PreTrainedConfig):
            return cls(config=model)
        if isinstance(model, str | os.PathLike):
            return cls(checkpoint=os.fspath(model))
        raise ValueError(
            "The model to train must be a folder, a Hub name, a configuration for a new model, or a model, not "
            f"{type(model).__name__}."
        )

    @property
    def name(self) -> str | None:
        """What the model starts from; `None` for a new model."""
        if self.model is not None:
            return self.model.config.name_or_path or None
        return self.checkpoint

    def make_config(self, **fields: Any) -> PreTrainedConfig:
        """The configuration with these fields and the source's own settings."""
        given = self.config if self.model is None else self.model.config
        if given is None:
            return make_config(self.model_type, self.checkpoint, {**self.settings, **fields})
        config = copy.deepcopy(given)
        config.update({**self.settings, **fields})
        return config

    def load(self, auto_class: type, config: PreTrainedConfig) -> PreTrainedModel:
        """The model with this configuration. A head of other labels than the checkpoint's begins at random."""
        if self.checkpoint is not None:
            return auto_class.from_pretrained(self.checkpoint, config=config, ignore_mismatched_sizes=True)
        new = auto_class.from_config(config)
        if self.model is not None:
            _copy_weights(self.model, new)
        return new

    def load_feature_extractor(self, config: PreTrainedConfig) -> SequenceFeatureExtractor:
        """The feature extractor with the source's own settings. Raises `ValueError` for a setting that it lacks."""
        if self.name is None:
            feature_extractor = make_feature_extractor(config, {})
        else:
            feature_extractor = load_feature_extractor(self.name, config)
        unknown = [name for name in self.extractor_settings if name not in feature_extractor.to_dict()]
        if unknown:
            raise ValueError(
                f"the feature extractor of a model of type {config.model_type} has no setting {unknown[0]!r}; correct "
                "the recipe"
            )
        if self.name is None:
            return make_feature_extractor(config, self.extractor_settings)
        for name, value in self.extractor_settings.items():
            setattr(feature_extractor, name, value)
        return feature_extractor


def _copy_weights(source: PreTrainedModel, target: PreTrainedModel) -> None:
    """Copy all weights of a model that another one has too: those of the encoder, and of a head of the same size."""
    prefix = "" if hasattr(source, source.base_model_prefix) else f"{source.base_model_prefix}."
    weights, own = {prefix + name: weight for name, weight in source.state_dict().items()}, target.state_dict()
    fitting = {name: weight for name, weight in weights.items() if name in own and own[name].shape == weight.shape}
    target.load_state_dict(fitting, strict=False)


def build_classifier(
    source: ModelSource, labels: Sequence[str], task: str, crop_seconds: float | None
) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    """
    A classifier with a head for these labels, and its feature extractor.

    Args:
        task: `task_of` the labels.
        crop_seconds: length of the training crops, to which the feature extractor is set; `None` for whole clips.

    Raises:
        ValueError: a model of this type cannot do the task, or the checkpoint is an adapter.
    """
    config = source.make_config(
        id2label=dict(enumerate(labels)),
        label2id={name: index for index, name in enumerate(labels)},
        problem_type=MULTI_LABEL if task == FRAMES else task,
    )
    if task == FRAMES and not has_frame_head(config):
        raise ValueError(f"the data has onsets and offsets, but a model of type {config.model_type} has no frame head")
    auto_class = AutoModelForAudioFrameClassification if task == FRAMES else AutoModelForAudioClassification
    feature_extractor = source.load_feature_extractor(config)
    model = source.load(auto_class, config)
    if model._hf_peft_config_loaded:
        raise ValueError(
            f"{source.name} is an adapter: merge it into its base first, with "
            f"polyaudio.training.lora.merge_adapter({source.name!r}, 'merged')"
        )
    _fit_extractor(source, feature_extractor, model.config, crop_seconds)
    return model, feature_extractor


def build_pretraining_model(
    source: ModelSource, crop_seconds: float
) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    """A model for pre-training on windows of `crop_seconds`, and its feature extractor."""
    config = source.make_config()
    feature_extractor = source.load_feature_extractor(config)
    if source.checkpoint is not None:
        model = AutoModelForPreTraining.from_pretrained(source.checkpoint, config=config)
    else:
        model = source.load(AutoModelForPreTraining, config)
    _fit_extractor(source, feature_extractor, model.config, crop_seconds)
    return model, feature_extractor


def _fit_extractor(
    source: ModelSource,
    feature_extractor: SequenceFeatureExtractor,
    config: PreTrainedConfig,
    crop_seconds: float | None,
) -> None:
    if "max_length" not in source.extractor_settings:
        traits_of(config).fit_extractor(feature_extractor, config, crop_seconds)


def train_head_only(model: PreTrainedModel) -> None:
    """Freeze the encoder of a classifier, in place."""
    freeze_encoder(model)
    trainable, total = model.num_parameters(only_trainable=True), model.num_parameters()
    logger.info(f"trainable params: {trainable:,} of {total:,}")


def add_adapter(
    model: PreTrainedModel, lora: LoraArguments, base: str | None, output_dir: str, is_main_process: bool
) -> PreTrainedModel:
    """
    The model with a LoRA adapter.

    Args:
        base: what the adapter belongs to. Without it, as for a new model, the untouched model is saved in
            `output_dir`, by which the adapter then names its base.
        is_main_process: whether this process writes files.
    """
    if base is None:
        base = output_dir
        if is_main_process:
            model.save_pretrained(base)
    config = lora_config(model, lora.lora_modules, lora.lora_rank, lora.lora_alpha, lora.lora_dropout)
    model = add_lora(model, config, base)
    trainable, total = model.get_nb_trainable_parameters()
    logger.info(
        f"trainable params: {trainable:,} || all params: {total:,} || trainable%: {100 * trainable / total:.4f}"
    )
    return model
