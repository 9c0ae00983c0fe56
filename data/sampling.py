# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Balanced sampling: draws clips for training with rare classes as often as frequent ones."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from .seeds import combined_seed


# The most clips that `torch.multinomial` draws from
_MAX_CLIPS = 2**24


def clip_weights(classes_of_clips: Sequence[Sequence[int]], num_classes: int) -> torch.Tensor:
    """
    Return weights for drawing clips with which all classes are drawn about equally often.

    AST (https://arxiv.org/abs/2104.01778) and its successors sample AudioSet like this: the weight of a class is
    1000 / (its number of clips + 0.01), and the weight of a clip is the sum of the weights of its classes. The weight
    of a clip without classes is 0.

    Args:
        classes_of_clips: the class indices of each clip; an index that a clip has twice counts once.
        num_classes: number of classes.

    Returns:
        `(clips,)`, float64.

    Raises:
        ValueError: a class index is not from 0 to `num_classes` - 1.
    """
    lengths = np.fromiter(map(len, classes_of_clips), dtype=np.int64, count=len(classes_of_clips))
    classes = np.fromiter(itertools.chain.from_iterable(classes_of_clips), dtype=np.int64, count=lengths.sum())
    is_outside = (classes < 0) | (classes >= num_classes)
    if is_outside.any():
        raise ValueError(
            f"Indices of {num_classes} classes must be from 0 to {num_classes - 1}, but a clip has the class "
            f"{classes[is_outside][0]}."
        )
    clips = np.repeat(np.arange(len(lengths)), lengths)
    clips, classes = np.divmod(np.unique(clips * num_classes + classes), num_classes)
    class_weights = 1000 / (np.bincount(classes, minlength=num_classes) + 0.01)
    weights = np.bincount(clips, weights=class_weights[classes], minlength=len(lengths))
    return torch.from_numpy(weights.astype(np.float64))


class BalancedSampler(torch.utils.data.Sampler[int]):
    """
    Draws clips by their weights, differently in each epoch and equally in all processes.

    Clips are drawn without replacement if at least `num_samples` clips have a weight above 0, otherwise with
    replacement. The result depends only on `seed` and the epoch.

    Args:
        weights: `(clips,)`, what [`clip_weights`] returns; clips with the weight 0 are never drawn.
        num_samples: number of clips to draw for an epoch.
        seed: seed of the draws.

    Raises:
        ValueError: a weight is negative or not finite, no clip or more than 2**24 clips have a weight above 0, or
            `num_samples` is below 1.
    """

    def __init__(self, weights: torch.Tensor, num_samples: int, seed: int = 0):
        weights = torch.as_tensor(weights, dtype=torch.float64)
        if not (weights.isfinite() & (weights >= 0)).all():
            raise ValueError("Weights of clips must be finite and at least 0.")
        # Without replacement, `torch.multinomial` returns clips with the weight 0 if too few others are left
        self.clips = weights.nonzero().squeeze(1)
        if not 0 < len(self.clips) <= _MAX_CLIPS:
            raise ValueError(
                f"Balanced sampling draws from 1 to {_MAX_CLIPS} clips with a weight above 0, but there are "
                f"{len(self.clips)}. Clips without classes have the weight 0."
            )
        if num_samples < 1:
            raise ValueError(f"The number of clips to draw for an epoch must be at least 1, not {num_samples}.")
        self.weights = weights[self.clips]
        self.num_samples = num_samples
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, on which the draws depend. `AudioTrainer` calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(combined_seed(self.seed, self.epoch))
        is_short = self.num_samples > len(self.clips)
        drawn = torch.multinomial(self.weights, self.num_samples, replacement=is_short, generator=generator)
        # Without replacement, the clips with the highest weights come first
        order = torch.randperm(self.num_samples, generator=generator)
        yield from self.clips[drawn[order]].tolist()
