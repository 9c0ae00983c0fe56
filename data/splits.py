# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Splits and folds of clips. No recording is in two of them."""

import logging
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

import datasets
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils import check_random_state

from .labels import SINGLE_LABEL, class_names, classes_of_clips, task_of
from .text import listed


logger = logging.getLogger(__name__)


def groups_of_clips(clips: datasets.Dataset) -> list[str]:
    """Return what splits keep together, for each clip: its group (see `group_by` of `load_clips`) or its recording."""
    column = unit_of(clips)
    return clips.select_columns(column)[:][column]


def unit_of(clips: datasets.Dataset) -> Literal["group", "recording"]:
    """Return the name of what splits keep together, which is that of its column as well."""
    return "group" if "group" in clips.column_names else "recording"


def split_by_recording(
    clips: datasets.Dataset, test_size: float = 0.1, seed: int = 42
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """
    Split clips into training and test clips so that no recording is in both, and no group if the clips have groups.

    The classes are split one by one, the rarest first. Recordings in random order go to the test part as long as that
    brings the share of the class's clips there closer to `test_size`. Every class with at least two recordings has one
    in each part, so classes with few recordings can make the test part larger than `test_size`. A class with one
    recording is in the training part only. (Where recordings hold several classes, a class can miss a part if all its
    recordings were placed for rarer classes.) Clips without a class are split as if that were one class. The split
    depends on the seed, the recordings and their clips, not on the order of rows.

    Args:
        clips: columns `label`, `recording` and, on request, `group`, which then takes the place of `recording`.
        test_size: share of the clips of each class, between 0 and 1.
        seed: seed of the random order of recordings.

    Returns:
        The training and the test clips, each in their original order.

    Raises:
        ValueError: `test_size` is not between 0 and 1, or no class has two recordings.
    """
    if not 0 < test_size < 1:
        raise ValueError(f"test_size must lie between 0 and 1, got {test_size}.")
    recording_of_row = groups_of_clips(clips)
    clips_of: dict[int, Counter[str]] = defaultdict(Counter)  # class -> recording -> clips
    for classes, recording in zip(classes_of_clips(clips), recording_of_row, strict=True):
        for label in classes or [-1]:
            clips_of[label][recording] += 1
    shuffled = np.random.default_rng(seed).permutation(sorted(set(recording_of_row))).tolist()
    rank = {recording: place for place, recording in enumerate(shuffled)}
    is_test: dict[str, bool] = {}
    for label in sorted(clips_of, key=lambda label: (len(clips_of[label]), label)):
        counts = clips_of[label]
        free = sorted((recording for recording in counts if recording not in is_test), key=rank.__getitem__)
        placed = [recording for recording in counts if recording in is_test]
        missing = test_size * counts.total() - sum(counts[recording] for recording in placed if is_test[recording])
        chosen = []
        for recording in free:
            if counts[recording] < 2 * missing:  # it brings the class closer to its share
                chosen.append(recording)
                missing -= counts[recording]
        needs_test = len(counts) > 1 and not any(is_test[recording] for recording in placed)
        needs_train = all(is_test[recording] for recording in placed)
        if needs_test and not chosen and free:
            chosen = [min(free, key=counts.__getitem__)]
        if needs_train and len(chosen) == len(free) and chosen:
            chosen.pop()
        is_test.update((recording, recording in chosen) for recording in free)
    if not any(is_test.values()):
        raise ValueError(
            f"The clips cannot be split by {unit_of(clips)}: no class has two {unit_of(clips)}s. Provide the test "
            "clips as a split of their own, or name the column with the recording of each clip (`group_column`)."
        )
    rows = {
        part: [row for row, recording in enumerate(recording_of_row) if is_test[recording] is part]
        for part in (False, True)
    }
    return clips.select(rows[False]), clips.select(rows[True])


def cut_from_train(
    splits: Mapping[str, datasets.Dataset], shares: Mapping[str, float], seed: int = 42
) -> datasets.DatasetDict:
    """
    Cut new splits from the split `train`, by recording. Splits that exist are kept as they are.

    Args:
        splits: columns `label` and `recording`.
        shares: the wanted splits with their share of `train`. Those that exist or have the share 0 are not cut.
        seed: seed of [`split_by_recording`].

    Returns:
        All splits, the new ones last.

    Raises:
        ValueError: there is no split `train`, the shares leave nothing to train on, or as [`split_by_recording`].
    """
    parts = datasets.DatasetDict(splits)
    shares = {part: share for part, share in shares.items() if share and part not in parts}
    if shares and "train" not in parts:
        raise ValueError(f"There is no split 'train' to cut {' and '.join(shares)} from, only {listed(parts)}.")
    if shares and not (min(shares.values()) > 0 and sum(shares.values()) < 1):
        raise ValueError(
            f"The shares of {' and '.join(shares)} must be above 0 and leave some to train on, got "
            f"{listed(map(str, shares.values()))}."
        )
    left = 1.0
    for part, share in shares.items():
        parts["train"], parts[part] = split_by_recording(parts["train"], share / left, seed)
        left -= share
    return parts


def folds_by_recording(
    classes: Sequence[Sequence[int]], recordings: Sequence[str], num_folds: int, seed: int = 42
) -> list[np.ndarray]:
    """
    Divide clips into folds so that no recording is in two of them, with the classes as even as that allows.

    Args:
        classes: the classes of each clip. A clip with several classes counts as one of the rarest of them.
        recordings: the recording of each clip.
        num_folds: at least 2.
        seed: seed of the random order of recordings.

    Returns:
        The indices of the clips of each fold.

    Raises:
        ValueError: no class has a recording for each fold.
    """
    sizes = Counter(label for labels in classes for label in labels)
    rarest = np.array([min(labels, key=lambda label: (sizes[label], label), default=-1) for labels in classes])
    recording_of_clip = np.asarray(recordings)
    most = max(recordings_of_classes(rarest, recording_of_clip), default=0)
    if not 2 <= num_folds <= most:
        raise ValueError(
            f"The recordings cannot be divided into {num_folds} folds. Use at least 2 and at most {most}, the largest "
            "number of recordings of a class."
        )
    return [test for _, test in stratified_splits(rarest, recording_of_clip, num_folds, seed)]


def stratified_splits(
    labels: np.ndarray, recordings: np.ndarray, num_folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """
    Return the training and test indices of each fold, for clips with one label and one recording each.

    Args:
        labels, recordings: `(clips,)`.
        num_folds: number of folds.
        seed: seed of the random order of recordings.
    """
    _, recording_of_clip = np.unique(recordings, return_inverse=True)
    # Shuffled here because scikit-learn up to 1.7 mixes up the classes of groups when it shuffles
    order = check_random_state(seed).permutation(recording_of_clip.max() + 1)
    groups = np.argsort(order)[recording_of_clip]
    with warnings.catch_warnings():
        # scikit-learn warns at each split if a fold has no clip of a rare class
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(StratifiedGroupKFold(num_folds).split(labels, labels, groups))


def recordings_of_classes(labels: np.ndarray, recordings: np.ndarray) -> list[int]:
    """Return the number of recordings of each class, for clips with one label each."""
    pairs = set(zip(labels.tolist(), recordings.tolist(), strict=True))
    return list(Counter(label for label, _ in pairs).values())


def shared_recordings(train: datasets.Dataset, evaluation: datasets.Dataset) -> set[str]:
    """Return the recordings, or the groups if both parts have groups, that have clips in both parts."""
    column = unit_of(train) if unit_of(train) == unit_of(evaluation) else "recording"
    first, second = (set(clips.select_columns(column)[:][column]) for clips in (train, evaluation))
    return first & second


def check_clips(
    train: datasets.Dataset, evaluation: datasets.Dataset, *, allow_shared_recordings: bool = False
) -> None:
    """
    Check that a classifier can be trained on one part and fairly evaluated on the other.

    If each clip has one class, a class without training clips is an error. Otherwise it is logged as a warning.

    Raises:
        ValueError: a part has no clips or no column `label` as `load_clips` returns it; the parts have different kinds
            of labels; training has only one class, or no clip of a class; the evaluation has a class that training
            does not have; or a recording is in both parts and `allow_shared_recordings` is not set.
    """
    names_in = {}
    for part, clips in (("training", train), ("evaluation", evaluation)):
        if "label" not in clips.features:
            raise ValueError(
                f"The {part} clips have no column `label` of classes; their columns are {listed(clips.column_names)}."
            )
        if len(clips) == 0:
            raise ValueError(f"There are no {part} clips.")
        names = class_names(clips.features["label"])
        names_in[part] = {names[index] for classes in classes_of_clips(clips) for index in classes}
    task = task_of(train.features["label"])
    if task_of(evaluation.features["label"]) != task:
        raise ValueError("The training and the evaluation clips have labels of different kinds.")
    known = class_names(train.features["label"])
    without = set(known) - names_in["training"]
    if task == SINGLE_LABEL and len(known) < 2:
        raise ValueError(f"All training clips are of one class ({listed(known)}). A classifier needs two or more.")
    if task == SINGLE_LABEL and without:
        raise ValueError(
            f"No training clip has the classes {listed(without)}. Add recordings of them, or remove the classes."
        )
    if without:
        logger.warning(f"No training clip has the classes {listed(without)}, so they cannot be learned.")
    unknown = names_in["evaluation"] - set(known)
    if unknown:
        raise ValueError(f"The evaluation clips have classes that training does not know: {listed(unknown)}.")
    both, unit = shared_recordings(train, evaluation), unit_of(train)
    if both and not allow_shared_recordings:
        raise ValueError(
            f"Clips of the same {unit} are in training and in evaluation, which would inflate the scores: "
            f"{listed(both)}. Move each {unit} to one part. If these are different {unit}s with the same name, "
            f"give them different names in a column and pass it as `group_{'by' if unit == 'group' else 'column'}`."
        )
