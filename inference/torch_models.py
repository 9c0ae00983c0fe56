# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Classifiers and encoders of torch that score files."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor
from transformers.utils import ModelOutput

from ..data.calibration import Calibration
from ..data.event_rules import EventRules
from ..data.recordings import Recording
from ..modeling.loading import (
    base_of,
    choose_device,
    class_names_of,
    labels_frames,
    load_classifier,
    load_config,
    load_feature_extractor,
    load_model,
    name_of_model,
)
from ..modeling.traits import Layer, has_frame_head, traits_of
from .clip_reader import ClipReader, Inputs, run_model, run_on_files
from .files import Features, FileReader, FileResult, join_features, weighted_mean
from .precision import MIN_PARAMETERS, AutoPrecision, Choice, Precision, is_close
from .timeline_model import TimelineModel


class TorchClassifier:
    """A [`ClipClassifier`]. The arguments are those of [`predict`]."""

    def __init__(
        self,
        model: str | PreTrainedModel,
        feature_extractor: SequenceFeatureExtractor | None,
        *,
        window: float | None,
        padding: str | None,
        batch_size: int,
        device: str | None,
        precision: Precision,
        torch_compile: bool,
    ):
        self.precision, self.torch_compile = precision, torch_compile
        self.device = choose_device(device)
        self.source, self.feature_extractor = model, feature_extractor
        self.settings: dict[str, Any] = {"window": window, "padding": padding, "batch_size": batch_size}
        config = load_config(model) if isinstance(model, str) else model.config
        self.labels_frames = labels_frames(config)
        if self.labels_frames and not has_frame_head(config):
            name = model if isinstance(model, str) else type(model).__name__
            raise ValueError(
                f"{name} labels frames, but polyaudio has no frame classifier for models of type {config.model_type}."
            )

    def load(self) -> None:
        self.model = load_classifier(self.source)
        self.model.to(self.device)  # type: ignore[arg-type]  # transformers' wrapper of `to` has no type for `self`
        if self.torch_compile:
            self.model.compile()
        config = self.model.config
        if self.labels_frames:
            self.event_rules = EventRules.from_config(config)
        self.calibration = Calibration.from_config(config)
        self.labels = tuple(class_names_of(config))
        extractor = self.feature_extractor or load_feature_extractor(name_of_model(self.source), config)
        self.clip_reader = ClipReader(config, extractor, **self.settings)
        self.reader: FileReader = self.clip_reader.files
        if self.settings["window"] is not None and self.reader.grid is not None:
            traits_of(config).set_window(config, self.reader.grid)
        self.answer_seconds = traits_of(config).seconds_per_answer(config, extractor) if self.labels_frames else 0.0
        # Events follow from thresholds, which no difference of the scores is too small to cross
        can_choose = not self.labels_frames and self.model.num_parameters() >= MIN_PARAMETERS
        threshold = None if self.calibration is None else self.calibration.threshold
        self._auto = AutoPrecision(self.device, threshold) if self.precision == "auto" and can_choose else None

    def run(
        self, files: Sequence[str | Recording], *, num_workers: int, description: str | None
    ) -> Iterator[FileResult]:
        if self._auto is None:
            answers = functools.partial(self._run_model, bf16=self.precision == "bfloat16")
            yield from run_on_files(self.clip_reader, files, answers, num_workers=num_workers, description=description)
            return
        close = set()
        for result in run_on_files(
            self.clip_reader, files, self._choose, num_workers=num_workers, description=description
        ):
            if result.error is None and self._may_differ(result):
                close.add(result.file)
            else:
                yield result
        again = [file for file in files if (file if isinstance(file, str) else file.name) in close]
        yield from run_on_files(self.clip_reader, again, self._run_model, num_workers=num_workers, description=None)

    @property
    def choice(self) -> Choice | None:
        """What `precision="auto"` has chosen, where there was a choice."""
        return None if self._auto is None else self._auto.choice

    def _choose(self, inputs: Inputs) -> list[np.ndarray]:
        assert self._auto is not None
        return self._auto.compute(functools.partial(self._run_model, inputs))

    def _may_differ(self, result: FileResult) -> bool:
        """Whether a file may get another answer in float32."""
        assert self._auto is not None
        if self._auto.error == 0:
            return False
        scores = weighted_mean(result.windows, self.reader.weights(result.samples))
        return is_close(scores, self._auto.error, self._auto.threshold)

    def _run_model(self, inputs: Inputs, bf16: bool = False) -> list[np.ndarray]:
        return run_model(self.model, inputs, self._scores, bf16=bf16)

    def _scores(self, outputs: ModelOutput, inputs: Inputs) -> list[np.ndarray]:
        """The probabilities of each window: `(labels,)`, or `(frames, labels)` without those of padding."""
        logits = outputs["logits"].float().cpu()
        if not torch.isfinite(logits).all():
            raise ValueError("The model returns NaN or infinite numbers. Load it in float32, or check its training.")
        is_multi_label = self.model.config.problem_type == "multi_label_classification"
        scores = list((logits.sigmoid() if is_multi_label else logits.softmax(-1)).numpy())
        if self.labels_frames and "attention_mask" in inputs:
            config = self.model.config
            is_own = traits_of(config).answer_mask(config, inputs["attention_mask"]).cpu().numpy()
            return [window[own] for window, own in zip(scores, is_own, strict=True)]
        return scores


class TorchEncoder:
    """A [`ClipEncoder`]. The arguments are those of [`embed`]."""

    def __init__(
        self,
        model: str | PreTrainedModel,
        feature_extractor: SequenceFeatureExtractor | None,
        *,
        granularity: str,
        window: float | None,
        padding: str,
        batch_size: int,
        device: str | None,
        layer: Layer | None = None,
        precision: Precision = "float32",
        torch_compile: bool = False,
    ):
        self.bf16 = precision == "bfloat16"
        config = load_config(model) if isinstance(model, str) else model.config
        if getattr(config, "is_encoder_decoder", False):
            raise ValueError(f"A model of type {config.model_type} is not an audio encoder.")
        if layer is not None:
            traits_of(config).check_layer(config, layer, of_frames=granularity == "frame")
        torch_device = choose_device(device)
        encoder: PreTrainedModel = load_model(AutoModel, model)[0] if isinstance(model, str) else base_of(model)
        self.model = encoder.eval()
        self.model.to(torch_device)  # type: ignore[arg-type]  # transformers' wrapper of `to` has no type for `self`
        if torch_compile:
            self.model.compile()
        self.granularity, self.layer = granularity, layer
        self.options = {} if layer is None else {"output_hidden_states": True}
        if feature_extractor is None:
            feature_extractor = load_feature_extractor(name_of_model(model), config)
        config, self.frame_seconds = self.model.config, None
        if granularity == "frame":
            self.frame_seconds = traits_of(config).frame_seconds(config, feature_extractor)
        self.clip_reader = ClipReader(config, feature_extractor, batch_size=batch_size, window=window, padding=padding)
        self.reader: FileReader = self.clip_reader.files

    def run(
        self, files: Sequence[str | Recording], *, num_workers: int, description: str | None
    ) -> Iterator[FileResult]:
        return run_on_files(self.clip_reader, files, self._run_model, num_workers=num_workers, description=description)

    def embed_waveforms(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """
        The features of waveforms in memory, as [`embed`] computes those of files. At most `batch_size` windows are in
        the model at once, whatever the number and the length of the waveforms.

        Args:
            waveforms: `(samples,)` each, float32, at the rate of the feature extractor.

        Returns:
            float32, `(hidden_size,)` each for an utterance, `(n, hidden_size)` otherwise.
        """
        reader = self.clip_reader
        clips = [reader.cut(torch.from_numpy(waveform)) for waveform in waveforms]
        places = [(clip, index) for clip, windows in enumerate(clips) for index in range(len(windows))]
        places.sort(key=lambda place: len(clips[place[0]][place[1]]), reverse=True)  # a batch has little padding
        features: dict[tuple[int, int], Features] = {}
        for start in range(0, len(places), reader.batch_size):
            batch = places[start : start + reader.batch_size]
            windows = [[clips[clip][index]] for clip, index in batch]
            inputs = reader.extract(windows, [len(clips[clip]) > 1 for clip, _ in batch])
            answers = [one for own in inputs for one in self._run_model(own)]
            features.update(zip(batch, answers, strict=True))
        return [
            join_features(
                [features[clip, index] for index in range(len(windows))],
                self.reader.weights([len(window) for window in windows]),
            )
            for clip, windows in enumerate(clips)
        ]

    def _run_model(self, inputs: Inputs) -> list[Features]:
        return run_model(self.model, inputs, self._features, self.options, bf16=self.bf16)

    def _features(self, outputs: ModelOutput, inputs: Inputs) -> list[Features]:
        traits = traits_of(self.model.config)
        if self.layer is not None:
            outputs = traits.at_layer(outputs, self.layer)
        windows = traits.window_features(self.model, outputs, inputs, self.granularity)
        return [(_array(vector), _array(sequence)) for vector, sequence in windows]


def load_timeline(
    model: str | PreTrainedModel,
    feature_extractor: SequenceFeatureExtractor | None,
    *,
    device: str | None,
    precision: Precision,
    **settings: Any,
) -> tuple[TimelineModel, PreTrainedConfig]:
    """
    The timeline of a classifier, and its configuration.

    Args:
        model, feature_extractor, device, precision: as for [`annotate`].
        settings: further arguments of [`TimelineModel`].
    """
    torch_device = choose_device(device)
    loaded = load_classifier(model)
    loaded.to(torch_device)  # type: ignore[arg-type]  # transformers' wrapper of `to` has no type for `self`
    if feature_extractor is None:
        feature_extractor = load_feature_extractor(name_of_model(model), loaded.config)
    return TimelineModel(loaded, feature_extractor, bf16=precision == "bfloat16", **settings), loaded.config


def _array(features: torch.Tensor | None) -> np.ndarray | None:
    # A copy: views, such as class tokens, would keep the outputs of the whole batch in memory
    return None if features is None else features.detach().float().cpu().numpy().copy()
