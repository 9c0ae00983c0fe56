# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Loads the checkpoints that the authors of SSLAM and EAT publish on the Hub (`model_type: "eat"`) as SSLAM models.

The Auto classes choose these classes by the model type: `AutoModel.from_pretrained("ta012/SSLAM_pretrain")` returns an
[`SSLAMModel`], which is saved like any other. The remote code in those repositories is not run.
"""

import os
from typing import Any

from safetensors.torch import load_file
from transformers.utils import SAFE_WEIGHTS_NAME, cached_file

from ..configuration.configuration_sslam import EATConfig
from .checkpoint_sslam import convert_hub_state_dict
from .modeling_sslam import (
    SSLAMForAudioClassification,
    SSLAMForAudioFrameClassification,
    SSLAMForPreTraining,
    SSLAMModel,
    SSLAMPreTrainedModel,
)


_DOWNLOAD_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


def _load_native(
    native_class: type[SSLAMPreTrainedModel],
    pretrained_model_name_or_path: str | os.PathLike,
    *model_args,
    config: EATConfig | None = None,
    **kwargs,
) -> Any:
    download = {name: kwargs.pop(name) for name in _DOWNLOAD_ARGUMENTS if name in kwargs}
    if config is None:
        config, kwargs = EATConfig.from_pretrained(
            pretrained_model_name_or_path, return_unused_kwargs=True, **download, **kwargs
        )
    weights = load_file(cached_file(pretrained_model_name_or_path, SAFE_WEIGHTS_NAME, **download))
    state_dict = convert_hub_state_dict(weights, config)
    loaded = native_class.from_pretrained(None, *model_args, config=config.to_sslam(), state_dict=state_dict, **kwargs)
    model = loaded[0] if isinstance(loaded, tuple) else loaded  # a tuple with `output_loading_info=True`
    model.name_or_path = model.config.name_or_path = str(pretrained_model_name_or_path)
    return loaded


class EATModel(SSLAMModel):
    """[`SSLAMModel`] as `AutoModel` finds it for a checkpoint of type "eat"."""

    config: EATConfig

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, *model_args, **kwargs) -> SSLAMModel:
        """Load a folder or Hub repository of type "eat" as a [`SSLAMModel`]. It takes the usual arguments."""
        return _load_native(SSLAMModel, pretrained_model_name_or_path, *model_args, **kwargs)

    @classmethod
    def _from_config(cls, config: EATConfig, **kwargs) -> SSLAMModel:
        return SSLAMModel._from_config(config.to_sslam(), **kwargs)


class EATForAudioClassification(SSLAMForAudioClassification):
    """[`SSLAMForAudioClassification`] as `AutoModelForAudioClassification` finds it for a checkpoint of type "eat"."""

    config: EATConfig

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, *model_args, **kwargs
    ) -> SSLAMForAudioClassification:
        """Load a folder or Hub repository of type "eat" as a [`SSLAMForAudioClassification`]."""
        return _load_native(SSLAMForAudioClassification, pretrained_model_name_or_path, *model_args, **kwargs)

    @classmethod
    def _from_config(cls, config: EATConfig, **kwargs) -> SSLAMForAudioClassification:
        return SSLAMForAudioClassification._from_config(config.to_sslam(), **kwargs)


class EATForAudioFrameClassification(SSLAMForAudioFrameClassification):
    """
    [`SSLAMForAudioFrameClassification`] as `AutoModelForAudioFrameClassification` finds it for a checkpoint of type
    "eat". The classifier of a checkpoint that classifies clips becomes the classifier of the time patches.
    """

    config: EATConfig

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, *model_args, **kwargs
    ) -> SSLAMForAudioFrameClassification:
        """Load a folder or Hub repository of type "eat" as a [`SSLAMForAudioFrameClassification`]."""
        return _load_native(SSLAMForAudioFrameClassification, pretrained_model_name_or_path, *model_args, **kwargs)

    @classmethod
    def _from_config(cls, config: EATConfig, **kwargs) -> SSLAMForAudioFrameClassification:
        return SSLAMForAudioFrameClassification._from_config(config.to_sslam(), **kwargs)


class EATForPreTraining(SSLAMForPreTraining):
    """
    [`SSLAMForPreTraining`] as `AutoModelForPreTraining` finds it for a checkpoint of type "eat". Such a checkpoint
    holds an encoder only: the teacher starts as a copy of it, the decoder with fresh weights.
    """

    config: EATConfig

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, *model_args, **kwargs
    ) -> SSLAMForPreTraining:
        """Load a folder or Hub repository of type "eat" as a [`SSLAMForPreTraining`]."""
        return _load_native(SSLAMForPreTraining, pretrained_model_name_or_path, *model_args, **kwargs)

    @classmethod
    def _from_config(cls, config: EATConfig, **kwargs) -> SSLAMForPreTraining:
        return SSLAMForPreTraining._from_config(config.to_sslam(), **kwargs)


__all__ = ["EATForAudioClassification", "EATForAudioFrameClassification", "EATForPreTraining", "EATModel"]
