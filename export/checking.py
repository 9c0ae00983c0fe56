# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Compares an exported model with the model in torch, clip by clip."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import torch
from transformers import PreTrainedModel, SequenceFeatureExtractor

from ..data.audio import load_audio
from ..data.labels import MULTI_LABEL, task_of
from ..data.readable import audio_file
from ..evaluation.answers import score_logits, with_labels_of
from ..evaluation.classifier import label_names
from ..evaluation.evaluate import load_split
from ..modeling.traits import traits_of
from .graphs import task_of_model


if TYPE_CHECKING:
    from transformers.exporters import ExportedModel


# The length in seconds that a program of one length has at most
_LONGEST_FIXED = 10.24

Outputs = dict[str, torch.Tensor]


class Reference:
    """
    What a model answers in torch, and the input of its export.

    Args:
        model: in evaluation mode, in float32.
        feature_extractor: the model's.
        takes_samples: whether the exported model has its front end inside.
        takes_one_clip: whether it takes one clip of one length, to which shorter clips are padded.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        feature_extractor: SequenceFeatureExtractor,
        takes_samples: bool,
        takes_one_clip: bool = False,
    ):
        self.model, self.feature_extractor, self.takes_samples = model, feature_extractor, takes_samples
        self.traits, self.task = traits_of(model.config), task_of_model(model)
        self.rate: int = feature_extractor.sampling_rate
        self.hears_padding = not takes_samples or self.task != "encoder"
        self.fixed_length = min(self.window, round(_LONGEST_FIXED * self.rate)) if takes_one_clip else None

    @property
    def window(self) -> int:
        """Samples of a window, or of 3 s for models without windows."""
        grid = self.traits.window_grid(self.model.config, self.feature_extractor)
        return 3 * self.rate if grid is None else grid.size

    @property
    def longest(self) -> int | None:
        """Samples that the model takes at most; `None` for any number."""
        if self.fixed_length is not None:
            return self.fixed_length
        folds = self.task != "encoder" and getattr(self.model.config, "window_frames", None)
        return None if self.traits.reads_any_length or folds else self.window

    def example_clips(self) -> list[np.ndarray]:
        """Synthetic clips: one of 0.2 s, one of exactly a window, and if the model takes it one of more windows."""
        rng = np.random.default_rng(0)
        window = self.fixed_length or self.window
        lengths = [self.rate // 5, window, round(1.3 * window)]
        return [_notes(length, self.rate, rng) for length in lengths if not self.longest or length <= self.longest]

    def trace_input(self) -> dict[str, torch.Tensor]:
        """The input to trace a program with: the one clip, or two clips, and two of all that grows with them."""
        if self.fixed_length is not None:
            return self.inputs([np.zeros(self.fixed_length, dtype=np.float32)])
        samples = round(1.3 * self.window) if self.longest is None else round(0.6 * self.longest)
        noise = np.random.default_rng(0).standard_normal((2, samples)).astype(np.float32)
        return self.inputs(list(0.1 * noise))

    def inputs(self, clips: Sequence[np.ndarray]) -> dict[str, Any]:
        """
        The input of an exported model for clips: samples that are padded with zeros, or features, and the mask.

        Args:
            clips: `(samples,)` each, float32.
        """
        if not self.takes_samples:
            features = self.features(clips)
            if self.fixed_length is not None:
                frames = self.features([np.zeros(self.fixed_length, dtype=np.float32)])["input_values"].shape[1]
                features = {name: self._padded(one, frames) for name, one in features.items()}
            return {name: one if one.is_floating_point() else one.long() for name, one in features.items()}
        longest = self.fixed_length or max(map(len, clips))
        samples = np.stack([np.pad(clip, (0, longest - len(clip))) for clip in clips]).astype(np.float32)
        mask = np.stack([np.arange(longest) < len(clip) for clip in clips]).astype(np.int64)
        return {"input_values": torch.from_numpy(samples), "attention_mask": torch.from_numpy(mask)}

    def _padded(self, values: torch.Tensor, frames: int) -> torch.Tensor:
        """Features or a mask, padded to a number of frames."""
        value = self.feature_extractor.padding_value if values.is_floating_point() else 0
        missing = (0, 0) * (values.ndim - 2) + (0, frames - values.shape[1])
        return torch.nn.functional.pad(values, missing, value=value)

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
            if self.task != "encoder":
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


def compare(exported: "ExportedModel", reference: Reference, clips: Sequence[np.ndarray]) -> Comparison:
    """
    Compare an exported model with torch: for each clip by itself, and for a clip that is padded in a batch.

    Args:
        clips: `(samples,)` each, float32.
    """
    counts_labels = reference.task != "encoder" and reference.model.config.problem_type != "regression"
    comparison = Comparison(len(clips))
    for clip in clips:
        # Where the caller has to pad, the padding is masked
        is_padded = reference.takes_samples and len(clip) < (reference.fixed_length or 0)
        expected = reference.answer(reference.features([clip], masks_padding=is_padded))
        comparison.add(exported(**reference.inputs([clip])), expected, counts_labels)
    short, long = min(clips, key=len), max(clips, key=len)
    takes_batches = reference.fixed_length is None and reference.traits.batches_any_lengths
    if reference.takes_samples and takes_batches and len(short) < len(long):
        outputs = exported(**reference.inputs([short, long]))
        features = reference.features([short], masks_padding=True)
        comparison.add({name: value[:1] for name, value in outputs.items()}, reference.answer(features), counts_labels)
    return comparison


def compare_scores(
    exported: "ExportedModel",
    reference: Reference,
    dataset: str | os.PathLike | datasets.Dataset | datasets.DatasetDict,
    split: str | None,
) -> dict[str, Any]:
    """
    Score an exported classifier of clips, and the one in torch, on a dataset.

    Args:
        dataset, split: as for `evaluate`.

    Returns:
        `score` (`"accuracy"`, or `"map"` for several labels), and its value in `torch` and of the `export`.
    """
    (clips,) = load_split(dataset, split).values()
    config = reference.model.config
    clips = with_labels_of(label_names(config), clips)
    logits: dict[str, list[np.ndarray]] = {"torch": [], "export": []}
    for audio in clips["audio"]:
        clip = load_audio(audio_file(audio), reference.rate)[: reference.longest]
        logits["torch"].append(reference.answer(reference.features([clip]))["logits"].numpy())
        logits["export"].append(exported(**reference.inputs([clip]))["logits"].numpy())
    score = "map" if task_of(clips.features["label"]) == MULTI_LABEL else "accuracy"
    values = {
        name: score_logits(np.concatenate(rows), clips, label_names(config)).clips.values[score]
        for name, rows in logits.items()
    }
    return {"score": score, **values}


def _notes(length: int, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Notes of a quarter of a second with harmonics, in noise."""
    time = np.arange(length) / sampling_rate
    pitches = rng.uniform(100, sampling_rate / 12, length // (sampling_rate // 4) + 1)
    pitch = pitches[np.arange(length) // (sampling_rate // 4)]
    notes = sum(0.2 / number * np.sin(2 * np.pi * number * pitch * time) for number in (1, 2, 3))
    return (notes + 0.01 * rng.standard_normal(length)).astype(np.float32)
