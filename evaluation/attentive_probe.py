# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Attentive probe: attention pools the frozen vectors along time, of one layer or of several with learned weights."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from ..inference.frame_features import FrameFeatures
from .probe_kinds import FittedProbe, inner_splits


_MOST_HEADS = 8
_MOST_CLIPS = 32
_MOST_NUMBERS = 2**24  # of a batch, with padding
_LEARNING_RATES = (1e-1, 1e-2)
_MOMENTUM = 0.9
_WEIGHT_DECAY = 1e-3
_MOST_EPOCHS = 100
_PATIENCE = 10


class AttentiveProbe(nn.Module):
    """
    A linear classifier on vectors along time, which attention pools.

    The vectors are standardised and, of several layers, added up with the softmax of learned weights, as in SUPERB.
    Each head has a learned query, and pools its part of the vectors with the softmax over time of their products with
    the query. All weights start at 0: with the mean over layers and time.

    Args:
        mean, std: `(layers, size)`, of the vectors.
        num_classes: number of outputs.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: torch.Tensor, std: torch.Tensor, num_classes: int):
        super().__init__()
        layers, size = mean.shape
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.layer_weights = nn.Parameter(torch.zeros(layers))
        self.queries = nn.Linear(size, math.gcd(size, _MOST_HEADS), bias=False)
        self.classifier = nn.Linear(size, num_classes)
        for parameter in (self.queries.weight, self.classifier.weight, self.classifier.bias):
            nn.init.zeros_(parameter)

    def forward(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """
        Args:
            frames: `(clips, frames, layers, size)`.
            mask: `(clips, frames)`, False for padding.

        Returns:
            The logits, `(clips, num_classes)`.
        """
        weights = self.layer_weights.softmax(0)
        frames = torch.einsum("ctls,l->cts", (frames - self.mean) / self.std, weights)
        products = self.queries(frames) / math.sqrt(frames.shape[-1])
        attention = products.masked_fill(~mask[..., None], -torch.inf).softmax(1)
        heads = frames.unflatten(-1, (attention.shape[-1], -1))
        return self.classifier(torch.einsum("cth,cths->chs", attention, heads).flatten(1))


def fit_attentive(
    features: FrameFeatures,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    num_classes: int,
    seed: int,
    device: str | torch.device = "cpu",
) -> FittedProbe:
    """
    Train an [`AttentiveProbe`] by stochastic gradient descent with momentum.

    The learning rate and the number of epochs are those with the lowest loss on a third of the recordings, which the
    probe does not learn from at first. Then it learns from all.

    Args:
        features: of the clips. They are read batch by batch.
        labels: `(clips,)`, class indices, or `(clips, classes)`, 0 or 1.
        groups: `(clips,)`, the recording that each clip comes from.
        num_classes: number of classes.
        seed: seed of the choice of these recordings and of the order of the clips.
        device: where to train.
    """
    train, validation = inner_splits(labels, groups, seed)[0]
    settings: dict[str, Any] = {"num_classes": num_classes, "seed": seed, "device": device}
    tried = []
    for rate in _LEARNING_RATES:
        losses = []
        for probe in _epochs(features, labels, train, rate, **settings):
            losses.append(_validate(probe, features, labels, validation, device))
            best = int(np.argmin(losses))
            if len(losses) - 1 - best >= _PATIENCE or len(losses) == _MOST_EPOCHS:
                break
        tried.append((losses[best], best + 1, rate))
    _, epochs, rate = min(tried)
    everything = np.arange(len(features))
    probe = next(itertools.islice(_epochs(features, labels, everything, rate, **settings), epochs - 1, None))

    def predict(features: FrameFeatures) -> np.ndarray:
        with torch.no_grad():
            logits = [
                probe(*_padded(features, clips, device)) for clips in _batches(features, np.arange(len(features)))
            ]
        scores = torch.cat(logits).cpu().double()
        return (scores.sigmoid() if labels.ndim == 2 else scores.softmax(1)).numpy()

    weights = probe.layer_weights.detach().softmax(0).tolist() if features.layers > 1 else None
    return FittedProbe(predict, {"epochs": epochs, "learning_rate": rate}, weights)


def _epochs(
    features: FrameFeatures,
    labels: np.ndarray,
    clips: np.ndarray,
    learning_rate: float,
    *,
    num_classes: int,
    seed: int,
    device: str | torch.device,
) -> Iterator[AttentiveProbe]:
    """Yield a probe after each epoch on these clips, without end."""
    order = torch.Generator().manual_seed(seed)
    probe = AttentiveProbe(*_statistics(features[clips]), num_classes).to(device)
    # Not Adam, whose first steps are as large for noise as for what separates the classes: few clips then mislead it
    optimizer = torch.optim.SGD(
        probe.parameters(), learning_rate, momentum=_MOMENTUM, nesterov=True, weight_decay=_WEIGHT_DECAY
    )
    while True:
        for batch in _batches(features, clips[torch.randperm(len(clips), generator=order).numpy()]):
            loss = _loss(probe(*_padded(features, batch, device)), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield probe


def _validate(
    probe: AttentiveProbe, features: FrameFeatures, labels: np.ndarray, clips: np.ndarray, device: str | torch.device
) -> float:
    """The loss on these clips."""
    with torch.no_grad():
        losses = [
            _loss(probe(*_padded(features, batch, device)), labels[batch]).item() * len(batch)
            for batch in _batches(features, clips)
        ]
    return sum(losses) / len(clips)


def count_parameters(features: FrameFeatures, num_classes: int) -> int:
    """The number of learned parameters of an attentive probe on these features."""
    zeros = torch.zeros(features.layers, features.size)
    return sum(parameter.numel() for parameter in AttentiveProbe(zeros, zeros, num_classes).parameters())


def _loss(logits: torch.Tensor, labels: np.ndarray) -> torch.Tensor:
    targets = torch.from_numpy(labels).to(logits.device)
    if targets.ndim == 2:
        return nn.functional.binary_cross_entropy_with_logits(logits, targets.float())
    return nn.functional.cross_entropy(logits, targets)


def _statistics(features: FrameFeatures) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the vectors, `(layers, size)`."""
    total = np.zeros((2, features.layers, features.size))
    for index in range(len(features)):
        frames = features.clip(index).astype(np.float64)
        total += frames.sum(axis=0), (frames**2).sum(axis=0)
    mean, square = total / features.lengths.sum()
    std = np.sqrt(np.maximum(square - mean**2, 1e-8))
    return torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)


def _batches(features: FrameFeatures, clips: np.ndarray) -> Iterator[np.ndarray]:
    """The clips in their order, in batches that fit into memory."""
    start, longest = 0, 0
    for end, length in enumerate(features.lengths[clips].tolist()):
        numbers = max(longest, length) * (end + 1 - start) * features.layers * features.size
        if end > start and (end - start == _MOST_CLIPS or numbers > _MOST_NUMBERS):
            yield clips[start:end]
            start, longest = end, 0
        longest = max(longest, length)
    yield clips[start:]


def _padded(
    features: FrameFeatures, clips: np.ndarray, device: str | torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """The vectors of clips, `(clips, frames, layers, size)`, float32, and which are no padding, `(clips, frames)`."""
    lengths = features.lengths[clips]
    frames = np.zeros((len(clips), lengths.max(), features.layers, features.size), np.float32)
    for row, clip in enumerate(clips.tolist()):
        frames[row, : lengths[row]] = features.clip(clip)
    mask = np.arange(lengths.max()) < lengths[:, None]
    return torch.from_numpy(frames).to(device), torch.from_numpy(mask).to(device)
