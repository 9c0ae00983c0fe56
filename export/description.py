# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What a runtime needs to know of an exported model, for `polyaudio_export.json`."""

from dataclasses import asdict
from typing import Any

from transformers import PreTrainedModel, SequenceFeatureExtractor

from ..inference.timeline import choose_layout
from ..inference.timeline_model import window_limits
from ..modeling.loading import class_names_of
from ..modeling.traits import traits_of
from .graphs import Task


DESCRIPTION = "polyaudio_export.json"
FORMAT_VERSION = 1


def describe(model: PreTrainedModel, feature_extractor: SequenceFeatureExtractor, task: Task) -> dict[str, Any]:
    """
    The part of the description that follows from a model, without torch and transformers to read it.

    Returns:
        JSON values: `task`, `model_type`, `sampling_rate`, `labels`, `problem_type`, `window`, `shortest`, `timeline`,
        `frame_hop`, `event_rules`, `calibration` and `embedding`.
    """
    config, rate = model.config, feature_extractor.sampling_rate
    traits = traits_of(config)
    grid = traits.window_grid(config, feature_extractor)
    timeline = embedding = None
    if task == "encoder":
        seconds = traits.frame_seconds(config, feature_extractor)
        embedding = {"size": config.hidden_size, "seconds_per_frame": seconds}
    elif config.problem_type != "regression":
        timeline = asdict(choose_layout(window_limits(config, feature_extractor, task == "frames")))
    return {
        "task": task,
        "model_type": config.model_type,
        "sampling_rate": rate,
        "labels": [] if task == "encoder" else class_names_of(config),
        "problem_type": None if task == "encoder" else config.problem_type,
        "window": None if grid is None else {"samples": grid.size, "step": grid.step, "margin": grid.margin},
        "shortest": rate // 40 if grid is None else grid.shortest,
        "timeline": timeline,
        "frame_hop": getattr(feature_extractor, "hop_length", 1) if grid is None else grid.hop,
        "event_rules": None if task == "encoder" else getattr(config, "event_rules", None),
        "calibration": None if task == "encoder" else getattr(config, "calibration", None),
        "embedding": embedding,
    }
