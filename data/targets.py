# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Makes the target tensor of a model from the labels of a batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .events import Event, events_to_frames
from .labels import FRAMES, MULTI_LABEL, SINGLE_LABEL, class_names, task_of


class Targets:
    """
    Makes a tensor for a model from the labels of a batch of clips.

    Args:
        label: the feature of the column `label`.
        frame_seconds: for events, the time in seconds from one output of the model to the next.
        frames_per_answer: for events, the number of input frames for one output of the model.
        soft: return single labels as one-hot vectors, which can be mixed. The label `None`, of a clip of none of the
            classes, is the same share of each class.
        padding: for events, the target of outputs after the end of a clip.

    Raises:
        ValueError: the labels are events, and `frame_seconds` or `frames_per_answer` is missing.
    """

    def __init__(
        self,
        label: Any,
        *,
        frame_seconds: float = 0.0,
        frames_per_answer: int = 0,
        soft: bool = False,
        padding: float = 0.0,
    ):
        self.task = task_of(label)
        self.num_labels = len(class_names(label))
        if self.task == FRAMES and not (frame_seconds and frames_per_answer):
            raise ValueError("Events need `frame_seconds` and `frames_per_answer`.")
        self.frame_seconds = frame_seconds
        self.frames_per_answer = frames_per_answer
        self.soft = soft
        self.padding = padding

    def __call__(self, labels: Sequence[Any], attention_mask: torch.Tensor) -> torch.Tensor:
        """
        Make the tensor of a batch.

        Args:
            labels: for each clip a class index, a list of them, or a list of events, as `load_clips` returns them.
            attention_mask: `(batch_size, frames)`, 1 for the frames of a clip.

        Returns:
            int64 `(batch_size,)` for single labels that are not soft, otherwise float32: `(batch_size, num_labels)`,
            or `(batch_size, answers, num_labels)` for events.
        """
        if self.task == SINGLE_LABEL:
            return self._shares(labels) if self.soft else torch.tensor(labels)
        if self.task == MULTI_LABEL:
            hot = torch.zeros(len(labels), self.num_labels)
            places = [(clip, index) for clip, classes in enumerate(labels) for index in classes]
            if places:
                hot[tuple(torch.tensor(places).T)] = 1.0
            return hot
        answers = -(-attention_mask.shape[1] // self.frames_per_answer)
        frames = torch.stack([torch.from_numpy(self._frames_of(events, answers)) for events in labels])
        own_answers = -(-attention_mask.sum(1, keepdim=True) // self.frames_per_answer)
        is_padding = torch.arange(answers) >= own_answers
        return frames.masked_fill(is_padding[..., None], self.padding)

    def _shares(self, labels: Sequence[int | None]) -> torch.Tensor:
        shares = torch.full((len(labels), self.num_labels), 1 / self.num_labels)
        rows = [row for row, label in enumerate(labels) if label is not None]
        indices = torch.tensor([label for label in labels if label is not None], dtype=torch.int64)
        shares[rows] = torch.nn.functional.one_hot(indices, self.num_labels).float()
        return shares

    def _frames_of(self, events: Sequence[Mapping[str, Any]], answers: int) -> np.ndarray:
        own = [Event(event["onset"], event["offset"], event["label"]) for event in events]
        return events_to_frames(own, answers, self.frame_seconds, self.num_labels)
