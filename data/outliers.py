# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Outliers: clips that belong to none of the classes, which training mixes with the others."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset, DatasetDict

from .labels import SINGLE_LABEL, class_names, task_of
from .loading import load_clips, name_of
from .readable import drop_unreadable, report_bad_clips
from .seeds import combined_seed


logger = logging.getLogger(__name__)


def of_other_classes(clips: Dataset, names: Sequence[str], what: str) -> Dataset:
    """
    The clips whose label is none of these.

    Args:
        clips: column `label`, as `load_clips` returns it.
        names: the classes of a model.
        what: what the clips are for, for messages.

    Raises:
        ValueError: clips have several labels or events, or no clip is left.
    """
    if task_of(clips.features["label"]) != SINGLE_LABEL:
        raise ValueError(f"{what} need clips with one label. Name a dataset with one label a clip.")
    known = [name in names for name in class_names(clips.features["label"])]
    chosen = [row for row, label in enumerate(clips["label"][:]) if not known[label]]
    if not chosen:
        raise ValueError(f"The model knows all labels of the dataset for {what.lower()}. Name one with other labels.")
    return clips if len(chosen) == len(clips) else clips.select(chosen)


def load_outliers(dataset: str | os.PathLike | Dataset | DatasetDict, names: Sequence[str], **columns: Any) -> Dataset:
    """
    Load the clips of a dataset that belong to none of the classes of a model, and report what is left out.

    Args:
        dataset, columns: see `load_clips`. Of a dataset with splits, those of `train` are taken.
        names: the classes of the model. Clips with these labels are left out.

    Returns:
        The clips, with the columns that `load_clips` returns.

    Raises:
        ValueError: the dataset has no split `train`, its clips have several labels or events, or all of its labels are
            known.
    """
    clips = load_clips(dataset, **columns)
    if "train" not in clips:
        raise ValueError(f"{name_of(dataset)} has no split 'train', only {', '.join(clips)}. Outliers come from it.")
    others = of_other_classes(clips["train"], names, "Outliers")
    readable, bad_clips = drop_unreadable(DatasetDict(outliers=others))
    report_bad_clips(bad_clips)
    found = readable["outliers"]
    left_out = len(clips["train"]) - len(others)
    note = f"; {left_out} clips with labels of the model are left out" if left_out else ""
    logger.info(f"outliers: {len(found)} clips of {len(set(found['label']))} other classes{note}")
    return found


class WithOutliers(torch.utils.data.Dataset):
    """
    Training clips, and in each epoch a number of outliers, whose label is `None`.

    The outliers are gone through in a random order, which continues from one epoch to the next. It depends on `seed`
    alone.

    Args:
        clips: the training clips: `AudioClips` or `CachedFeatures`.
        outliers: likewise.
        ratio: the number of outliers for each training clip.
        seed: seed of the order.

    Raises:
        ValueError: `ratio` is not above 0, or so small that there would be no outlier.
    """

    def __init__(self, clips: Any, outliers: Any, *, ratio: float = 0.5, seed: int = 0):
        self.number = round(ratio * len(clips))
        if self.number < 1:
            raise ValueError(f"outlier_ratio must be above 0 and give at least one outlier an epoch, got {ratio:g}.")
        self.clips, self.outliers, self.seed = clips, outliers, seed
        # In shared memory, because workers that persist over several epochs have a copy of this object
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._drawn: tuple[int, list[int]] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, on which the outliers and all crops depend. `AudioTrainer` calls this before each epoch."""
        self._epoch.fill_(epoch)
        self.clips.set_epoch(epoch)
        self.outliers.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.clips) + self.number

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return an item of `clips`, or after the last of these one of `outliers` with `{"label": None}`."""
        if index < len(self.clips):
            return self.clips[index]
        epoch = int(self._epoch)
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = epoch, self._order(epoch)
        return {**self.outliers[self._drawn[1][index - len(self.clips)]], "label": None}

    def _order(self, epoch: int) -> list[int]:
        """The outliers of an epoch."""
        size, start = len(self.outliers), epoch * self.number
        first, last = start // size, (start + self.number - 1) // size
        rounds = [
            torch.randperm(size, generator=torch.Generator().manual_seed(combined_seed(self.seed, number)))
            for number in range(first, last + 1)
        ]
        return torch.cat(rounds)[start - first * size :][: self.number].tolist()
