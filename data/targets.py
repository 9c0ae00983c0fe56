# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The labels of a batch as the tensor that a model takes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .labels import FRAMES, MULTI_LABEL, SINGLE_LABEL, class_names, task_of


class Targets:
    """
    Makes the labels of a batch of clips a tensor that a model takes.

    Args:
        label: the feature of the column `label`.
        frame_seconds: for events, the time from one answer of the model to the next.
        frames_per_answer: for events, how many of a model's input frames make one answer.
        soft: give single labels as one-hot vectors, so that they can be mixed.
        padding: for events, the target of answers behind the end of a clip.
    """

    def __init__(
        self,
        label: Any,
        *,
        frame_seconds: float | None = None,
        frames_per_answer: int | None = None,
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
        Args:
            labels: of each clip: a class index, a list of them, or a list of events as `load_clips` gives them.
            attention_mask: `(batch_size, frames)`, 1 for the frames of a clip.

        Returns:
            int64 `(batch_size,)` for single labels that are not soft, otherwise float32: `(batch_size, num_labels)`,
            or `(batch_size, answers, num_labels)` for events.
        """
        if self.task == SINGLE_LABEL:
            indices = torch.tensor(labels)
            return torch.nn.functional.one_hot(indices, self.num_labels).float() if self.soft else indices
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

    def _frames_of(self, events: Sequence[Mapping[str, Any]], answers: int):
        from .events import Event, events_to_frames

        events = [Event(event["onset"], event["offset"], event["label"]) for event in events]
        return events_to_frames(events, answers, self.frame_seconds, self.num_labels)
