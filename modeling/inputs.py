# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Datasets and targets for evaluating a model on labelled clips."""

from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedConfig, SequenceFeatureExtractor

from ..data.labels import FRAMES, task_of
from ..data.targets import Targets
from ..data.windows import AudioClips, ClipWindows
from .traits import traits_of


def whole_clips(
    clips: Dataset, config: PreTrainedConfig, feature_extractor: SequenceFeatureExtractor
) -> torch.utils.data.Dataset:
    """
    The clips for evaluation: whole if the model reads clips of any length, otherwise cut into windows that cover them.

    Args:
        clips: columns `audio` (`Audio(decode=False)`) and `label`.
    """
    grid = traits_of(config).window_grid(config, feature_extractor)
    rate = feature_extractor.sampling_rate
    return AudioClips(clips, rate) if grid is None else ClipWindows(clips, rate, grid)


def reads_windows(config: PreTrainedConfig, feature_extractor: SequenceFeatureExtractor) -> bool:
    """Whether [`whole_clips`] cuts long clips into windows, so that they may be of any length."""
    return traits_of(config).window_grid(config, feature_extractor) is not None


def make_targets(
    label: Any, config: PreTrainedConfig, feature_extractor: SequenceFeatureExtractor, **settings: Any
) -> Targets:
    """
    The [`Targets`] that make the labels of a batch a tensor for a model.

    Args:
        label: the feature of the column `label`.
        settings: `soft` and `padding` of [`Targets`].
    """
    if task_of(label) == FRAMES:
        traits = traits_of(config)
        settings["frames_per_answer"] = traits.frames_per_answer(config)
        settings["frame_seconds"] = traits.seconds_per_answer(config, feature_extractor)
    return Targets(label, **settings)
