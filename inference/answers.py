# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Labels and events of a file, from the scores of its windows."""

import argparse
import math
from typing import Any

from transformers import PreTrainedConfig

from .files import ClipReader, FileResult


def is_frame_classifier(config: "PreTrainedConfig", args: argparse.Namespace) -> bool:
    """Whether a model labels frames. Raises `ValueError` where its type or the arguments do not go with that."""
    is_one = any(name.endswith("ForAudioFrameClassification") for name in config.architectures or ())
    if is_one and config.model_type != "sslam":
        raise ValueError(
            f"{args.model} labels frames and is of type {config.model_type}: of those only SSLAM models can be run"
        )
    if is_one and args.top_k is not None:
        raise ValueError(f"{args.model} gives events: leave out --top-k, and choose them by --threshold")
    if not is_one and args.threshold is not None:
        raise ValueError(f"{args.model} labels whole files: leave out --threshold, and choose labels by --top-k")
    return is_one


def labels_of_file(result: "FileResult", config: "PreTrainedConfig", top_k: int) -> list[dict[str, Any]]:
    """The best labels with their scores, as `pipeline("audio-classification")` gives them."""
    from .files import weighted_mean

    scores = weighted_mean(result.windows, result.seconds)
    best, indices = scores.topk(min(top_k, len(scores)))
    return [
        {"score": score, "label": config.id2label[index]}
        for score, index in zip(best.tolist(), indices.tolist(), strict=True)
    ]


def events_of_file(
    result: "FileResult", reader: "ClipReader", config: "PreTrainedConfig", threshold: float
) -> list[dict[str, Any]]:
    """The events with onset and offset in seconds and their mean score, sorted by onset."""
    import torch

    from ..data.events import frames_to_events
    from ..evaluation.classifier import seconds_of_answer

    frame_seconds = seconds_of_answer(config, reader.feature_extractor)
    samples = (len(result.windows) - 1) * reader.step + round(result.seconds[-1] * reader.sampling_rate)
    seconds = samples / reader.sampling_rate
    # What is padded without a mask has answers behind the end of the file
    num_frames = math.ceil(round(seconds / frame_seconds, 6))
    scores = torch.cat(result.windows)[:num_frames].double().numpy()
    events = []
    for onset, offset, label in frames_to_events(scores, frame_seconds, threshold=threshold):
        own = slice(round(onset / frame_seconds), round(offset / frame_seconds))
        events.append(
            {
                "onset": onset,
                "offset": min(offset, seconds),
                "score": float(scores[own, label].mean()),
                "label": config.id2label[label],
            }
        )
    return events
