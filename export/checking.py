# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Compares an exported model with the model in torch, clip by clip."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel, SequenceFeatureExtractor
from transformers.exporters import ExportedModel

from ..data.windows import WindowGrid
from ..modeling.traits import traits_of
from .graphs import task_of_model


Outputs = dict[str, torch.Tensor]


def example_clips(grid: WindowGrid | None, sampling_rate: int, longest: int | None) -> list[np.ndarray]:
    """
    Synthetic clips: one of 0.2 s, one of exactly a window (or 3 s), and one of 2.4 windows.

    Args:
        longest: samples that the model takes at most; `None` for any number.
    """
    window = 3 * sampling_rate if grid is None else grid.size
    lengths = [sampling_rate // 5, window, round(2.4 * window)]
    rng = np.random.default_rng(0)
    return [_notes(length, sampling_rate, rng) for length in lengths if longest is None or length <= longest]


def _notes(length: int, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Notes of a quarter of a second with harmonics, in noise."""
    time = np.arange(length) / sampling_rate
    pitches = rng.uniform(100, sampling_rate / 12, length // (sampling_rate // 4) + 1)
    pitch = pitches[np.arange(length) // (sampling_rate // 4)]
    notes = sum(0.2 / number * np.sin(2 * np.pi * number * pitch * time) for number in (1, 2, 3))
    return (notes + 0.01 * rng.standard_normal(length)).astype(np.float32)


class Reference:
    """
    What a model answers in torch.

    Args:
        model: in evaluation mode, in float32.
        feature_extractor: the model's.
        takes_samples: whether the exported model has its front end inside.
    """

    def __init__(self, model: PreTrainedModel, feature_extractor: SequenceFeatureExtractor, takes_samples: bool):
        self.feature_extractor, self.takes_samples = feature_extractor, takes_samples
        self.rate: int = feature_extractor.sampling_rate
        self.model, self.traits = model, traits_of(model.config)
        self.hears_padding = not takes_samples or task_of_model(model) != "encoder"

    def features(self, clips: Sequence[np.ndarray], masks_padding: bool = False) -> dict[str, torch.Tensor]:
        """The features of clips, as the feature extractor gives them by default, or with their padding masked."""
        call = {}
        if masks_padding or not self.hears_padding:
            call = self.traits.extractor_call(self.model.config, self.feature_extractor, None, "longest", [False])
        features = self.feature_extractor(  # type: ignore[operator]  # declared on no base class of transformers
            list(clips), sampling_rate=self.rate, return_tensors="pt", **call
        )
        names = self.feature_extractor.model_input_names  # type: ignore[attr-defined]
        return {name: value for name, value in features.items() if name in names}

    def answer(self, features: dict[str, torch.Tensor]) -> Outputs:
        """The outputs of the model for features, with the names of the exported model."""
        with torch.inference_mode():
            outputs = self.model(**features)
            if task_of_model(self.model) != "encoder":
                return {"logits": outputs.logits}
            if self.takes_samples:
                return dict(
                    zip(("utterance", "frames"), self.traits.clip_and_frame_features(self.model, outputs), strict=True)
                )
            return {name: value for name, value in outputs.items() if isinstance(value, torch.Tensor)}


@dataclass
class Comparison:
    """
    How far an exported model is from torch.

    Attributes:
        clips: number of clips.
        worst_difference: the largest difference of a number in an output; infinite where one is not finite.
        relative_difference: the largest difference of an output as a share of its norm.
        agreement: share of the clips, or of their frames, with the same label on top; `None` for other models.
    """

    clips: int = 0
    worst_difference: float = 0.0
    relative_difference: float = 0.0
    agreement: float | None = None
    _answers: int = 0
    _same: int = 0

    def add(self, outputs: Outputs, expected: Outputs, counts_labels: bool) -> None:
        """Add the outputs for one clip. Frames after those of the expected outputs are padding."""
        for name, reference in expected.items():
            output = outputs[name][:, : reference.shape[1]].float()
            difference = (output - reference).abs().max().item()
            norm = (output - reference).norm().item() / max(reference.norm().item(), 1e-12)
            self.worst_difference = max(self.worst_difference, difference if math.isfinite(difference) else math.inf)
            self.relative_difference = max(self.relative_difference, norm if math.isfinite(norm) else math.inf)
            if counts_labels and name == "logits" and reference.shape[-1] > 1:
                is_same = output.argmax(-1) == reference.argmax(-1)
                self._answers += is_same.numel()
                self._same += int(is_same.sum())
                self.agreement = self._same / self._answers


def compare(exported: ExportedModel, reference: Reference, clips: Sequence[np.ndarray]) -> Comparison:
    """
    Compare an exported model with torch: for each clip by itself, and for a clip that is padded in a batch.

    Args:
        clips: `(samples,)` each, float32.
    """
    config = reference.model.config
    counts_labels = task_of_model(reference.model) != "encoder" and config.problem_type != "regression"
    comparison = Comparison(len(clips))
    for clip in clips:
        features = reference.features([clip])
        inputs = samples_input([clip]) if reference.takes_samples else as_input(features)
        comparison.add(exported(**inputs), reference.answer(features), counts_labels)
    short, long = min(clips, key=len), max(clips, key=len)
    if reference.takes_samples and reference.traits.batches_any_lengths and len(short) < len(long):
        outputs = exported(**samples_input([short, long]))
        features = reference.features([short], masks_padding=True)
        comparison.add({name: value[:1] for name, value in outputs.items()}, reference.answer(features), counts_labels)
    return comparison


def samples_input(clips: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
    """Clips as the input of an exported model that takes samples, padded with zeros."""
    longest = max(map(len, clips))
    samples = np.stack([np.pad(clip, (0, longest - len(clip))) for clip in clips]).astype(np.float32)
    mask = np.stack([np.arange(longest) < len(clip) for clip in clips]).astype(np.int64)
    return {"input_values": torch.from_numpy(samples), "attention_mask": torch.from_numpy(mask)}


def as_input(features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Features as the input of an exported model, whose masks are int64."""
    return {name: value if value.is_floating_point() else value.long() for name, value in features.items()}
