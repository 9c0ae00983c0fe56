# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The timelines of a classifier in torch. The pipeline "sound-event-detection" is saved with this file."""

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor

from .timeline import Join, Timeline, WindowLimits, choose_layout


# Longest window by default, in seconds: the one of the published SSLAM models
_USUAL_WINDOW = 10.24


class TimelineModel(Timeline):
    """
    A [`Timeline`] of a classifier of torch.

    Args:
        model: a classifier of clips or of frames, in evaluation mode, on its device.
        feature_extractor: the model's.
        window: length of a window in seconds. By default the length that the model reads at once, but at most 10.24 s.
        hop: seconds from the start of one window to the next, half of the window by default.
        overlap: seconds that a window shares with the next one, another way to give `hop`.
        join: `"fade"` weights a window by the distance from its nearer end, so that no seams show; `"mean"` weights
            all windows alike; `"max"` takes the highest score.
        resolution: length of a cell in seconds, for frame classifiers: the length of a frame, or a half, a quarter,
            ... of it. The model then reads the recording two, four, ... times, shifted by a cell.
        batch_size: number of windows in one forward pass.
        bf16: compute in bfloat16 where it is precise enough, by autocast.

    Raises:
        ValueError: the model is not a classifier of sounds, cannot take such windows, or has no such resolution.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        feature_extractor: SequenceFeatureExtractor,
        *,
        window: float | None = None,
        hop: float | None = None,
        overlap: float | None = None,
        join: Join = "fade",
        resolution: float | None = None,
        batch_size: int = 8,
        bf16: bool = False,
    ):
        config = model.config
        if config.problem_type == "regression":
            raise ValueError("The model predicts values. A timeline needs a classifier.")
        self.model = model
        self.feature_extractor = feature_extractor
        self.bf16 = bf16
        self.labels_frames = type(model).__name__.endswith("ForAudioFrameClassification")
        limits = window_limits(config, feature_extractor, self.labels_frames)
        layout = choose_layout(limits, window=window, hop=hop, overlap=overlap, join=join, resolution=resolution)
        names: dict[Any, str] = dict(config.id2label or {})
        labels = [names[index] for index in range(len(names))]
        super().__init__(layout, labels, limits.sampling_rate, batch_size)

    def score_windows(self, windows: Sequence[np.ndarray], is_whole: bool = False) -> list[np.ndarray]:
        """
        The probabilities of each window, `(answers, labels)`, float32.

        Args:
            windows: `(samples,)` each, all of the same length.
            is_whole: whether they are whole recordings, which are padded as the model was trained.

        Raises:
            ValueError: the model returns NaN or infinity, or the device has too little memory.
        """
        padding = {} if is_whole else {"padding": True}
        features = self.feature_extractor(  # type: ignore[operator]  # transformers declares no call on the base class
            np.stack(windows), sampling_rate=self.sampling_rate, return_tensors="pt", **padding
        )
        model = self.model
        inputs = {
            name: value.to(model.device, model.dtype if value.is_floating_point() else None)
            for name, value in features.items()
            if name in self.feature_extractor.model_input_names  # type: ignore[attr-defined]
        }
        try:
            with torch.inference_mode(), self._autocast():
                logits = model(**inputs).logits.float()
        except torch.OutOfMemoryError as error:
            raise ValueError("The device does not have enough memory. Use a smaller batch size.") from error
        if not torch.isfinite(logits).all():
            raise ValueError("The model returns NaN or infinite numbers. Load it in float32, or check its training.")
        is_multi_label = model.config.problem_type == "multi_label_classification"
        scores = (logits.sigmoid() if is_multi_label else logits.softmax(-1)).cpu().numpy()
        if self.labels_frames:
            return list(scores)
        return self.answers_for_cells(scores)

    def _autocast(self) -> contextlib.AbstractContextManager:
        device = self.model.device.type
        return torch.autocast(device, torch.bfloat16) if self.bf16 else contextlib.nullcontext()


def window_limits(
    config: PreTrainedConfig, feature_extractor: SequenceFeatureExtractor, labels_frames: bool
) -> WindowLimits:
    """
    What the windows of a model have to fit.

    Args:
        labels_frames: whether the model labels frames rather than clips.
    """
    rate = feature_extractor.sampling_rate
    frame_hop = getattr(feature_extractor, "hop_length", 1)
    frames = getattr(config, "frames_of_one_pass", None)
    usual, longest = round(_USUAL_WINDOW * rate), None if frames is None else frames * frame_hop
    return WindowLimits(
        sampling_rate=rate,
        usual=usual if longest is None else min(longest, usual),
        longest=longest,
        answer=config.inputs_to_logits_ratio * frame_hop if labels_frames else None,
        rest=max(0, getattr(feature_extractor, "window_length", frame_hop) - frame_hop),
    )
