# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Dividing a dataset into clips to train on and clips to hold out: once, or once for each fold."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from datasets import Dataset, DatasetDict, concatenate_datasets

from ..curation.leaks import LeakReport, find_leaks
from ..curation.overlaps import infer_recordings
from ..data.labels import SINGLE_LABEL, class_names, classes_of_clips, task_of
from ..data.loading import load_clips, name_of
from ..data.outliers import load_outliers
from ..data.ragas import is_ragas
from ..data.readable import drop_unreadable, report_bad_clips
from ..data.splits import check_clips, cut_from_train, folds_by_recording, groups_of_clips, shared_recordings, unit_of
from .arguments import DataArguments


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Division:
    """
    Clips to train on and clips that are held out.

    Args:
        name: name of the fold; empty without folds.
        splits: `train`, and `validation`, `test` or both. The best epoch is chosen on `validation`. With folds there
            is no `validation`.
        description: one or two sentences for the model card on how the clips were divided.
        leaks: a sentence for the model card on audio that training and held-out clips share.
        outliers: clips of none of the classes, to train on too.
    """

    name: str
    splits: DatasetDict
    description: str
    leaks: str = ""
    outliers: Dataset | None = None

    @property
    def held_out(self) -> str:
        """The split that the scores are computed on."""
        return "test" if "test" in self.splits else "validation"

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """The number of clips and of recordings of each split."""
        return {
            name: {"clips": len(rows), "recordings": len(set(rows["recording"]))} for name, rows in self.splits.items()
        }


def load_divisions(dataset: str | os.PathLike | Dataset | DatasetDict, data: DataArguments) -> list[Division]:
    """
    Load the clips, leave out those that cannot be read, and divide them by recording if the dataset is not divided.

    Args:
        dataset: a Hub name, a folder, `"ragas"`, or a dataset; see `load_clips`.
        data: columns, and how to divide.

    Returns:
        One division, or one for each fold.

    Raises:
        ValueError: the clips cannot be divided in this way, or training and held-out clips share audio and
            `data.allow_leak` is not set.
    """
    name = name_of(dataset)
    clips = load_clips(
        dataset,
        audio_column=data.audio_column,
        label_column=data.label_column,
        label_columns=data.label_columns,
        label_separator=data.label_separator,
        group_column=data.group_column,
        group_by=data.group_by,
        fold_column=data.fold_column,
        data_home=data.data_home,
        given=data.given,
    )
    if "train" not in clips:
        raise ValueError(f"{name} has no split 'train', only {', '.join(clips)}.")
    clips, bad_clips = drop_unreadable(clips)
    report_bad_clips(bad_clips)
    if data.infer_groups:
        if len(clips) > 1:
            raise ValueError(
                f"{name} is divided into {', '.join(clips)}. Leave out infer_groups (--infer-groups), which is for "
                "datasets with one split."
            )
        if data.given == "pitch-only":
            raise ValueError("Recordings are inferred from audio. Leave out infer_groups (--infer-groups).")
        clips = DatasetDict(train=infer_recordings(clips["train"]).clips)
    if data.folds is None and data.fold_column is None:
        divisions = [_divide(clips, data)]
        parts = divisions[0].splits
    else:
        parts = _make_folds(clips, data)
        divisions = _divide_by_folds(parts, data)
    shared: set[str] = set()
    for division in divisions:
        train = division.splits["train"]
        for split, rows in division.splits.items():
            if split != "train":
                check_clips(train, rows, allow_shared_recordings=data.allow_leak)
                shared |= shared_recordings(train, rows)
    if data.outliers is not None:
        divisions = _with_outliers(divisions, data.outliers, data)
    leaks = _check_leaks(parts, divisions[0].outliers, len(shared), data, is_synthetic=is_ragas(name))
    return [replace(division, leaks=leaks) for division in divisions]


def _with_outliers(divisions: Sequence[Division], dataset: str, data: DataArguments) -> list[Division]:
    """The divisions with the clips of another dataset that belong to none of their classes."""
    label = divisions[0].splits["train"].features["label"]
    if task_of(label) != SINGLE_LABEL:
        raise ValueError("Outliers (outliers, --outliers) are for clips with one label. Leave them out.")
    outliers = load_outliers(
        dataset,
        class_names(label),
        audio_column=data.audio_column,
        label_column=data.label_column,
        data_home=data.data_home,
        given=data.given,
    )
    note = (
        f" Training also took {len(outliers)} clips of {len(set(outliers['label']))} other classes from {dataset}, so "
        "that recordings of none of the classes get low scores."
    )
    return [replace(one, outliers=outliers, description=one.description + note) for one in divisions]


def _divide(clips: DatasetDict, data: DataArguments) -> Division:
    """The splits of the dataset. Without a validation split, recordings of its training split become one."""
    if "validation" not in clips and data.test_size <= 0:
        raise ValueError(
            f"test_size must lie between 0 and 1, got {data.test_size}: the best epoch is chosen on clips "
            "that are not trained on, and the dataset has no validation split."
        )
    splits = cut_from_train(clips, {"validation": data.test_size}, data.split_seed)
    validation = splits["validation"]
    splits = DatasetDict({name: splits[name] for name in ("train", "validation", "test") if name in splits})
    if "test" in clips:
        description = "The scores are for the test split of the dataset. The best epoch was chosen on other clips."
    else:
        description = (
            f"The scores are for {validation.num_rows} clips of {len(set(validation['recording']))} recordings, none "
            "of which is in the training set. The best epoch was chosen on these clips, so the scores are slightly "
            "too high."
        )
    description += _grouping(splits["train"], data) + _given(data)
    for name, rows in splits.items():
        logger.info(f"{name}: {rows.num_rows} clips of {len(set(rows['recording']))} recordings")
    return Division("", splits, description)


def _make_folds(clips: DatasetDict, data: DataArguments) -> DatasetDict:
    """The folds of `fold_column`, or new folds by recording. The splits of the dataset are joined first."""
    if data.folds is not None and data.fold_column is not None:
        raise ValueError("Leave out either folds or fold_column: fold_column has the folds of the dataset.")
    rows = concatenate_datasets(list(clips.values()))
    if data.folds is not None:
        folds = folds_by_recording(classes_of_clips(rows), groups_of_clips(rows), data.folds, data.split_seed)
        return DatasetDict({f"fold-{number}": rows.select(fold) for number, fold in enumerate(folds)})
    names: Sequence[str] = rows["fold"][:]
    if len(set(names)) < 2:
        raise ValueError(f"The column {data.fold_column!r} has one fold only. Cross-validation needs at least two.")
    return DatasetDict(
        {
            f"fold-{name}": rows.select([row for row, own in enumerate(names) if own == name])
            for name in sorted(set(names), key=lambda name: (len(name), name))
        }
    )


def _grouping(clips: Dataset, data: DataArguments) -> str:
    """A sentence on what else than recordings the parts of the dataset keep together."""
    if unit_of(clips) == "recording":
        return ""
    return f" The clips were divided by {data.group_by or 'group'}, so none is in two parts."


def _given(data: DataArguments) -> str:
    """A sentence on what the dataset gave, which users of the model must give too."""
    if data.given is None:
        return ""
    what = "tonics" if data.given == "tonic" else "tonics and the pitch of the melody"
    audio = " No audio was read." if data.given == "pitch-only" else ""
    return f" The {what} were given by the dataset, in training and for the scores.{audio}"


def _divide_by_folds(folds: DatasetDict, data: DataArguments) -> list[Division]:
    """A division for each fold, which trains on the other folds. The scores are those of the last epoch."""
    description = (
        f"Cross-validation with {len(folds)} folds. No recording is in two folds, and each fold is held out from one "
        "run. The scores are for the last epoch, so nothing was chosen on the held-out clips."
    )
    description += _grouping(next(iter(folds.values())), data) + _given(data)
    divisions = []
    for name, rows in folds.items():
        others = concatenate_datasets([fold for other, fold in folds.items() if other != name])
        logger.info(f"{name}: {rows.num_rows} clips of {len(set(rows['recording']))} recordings")
        divisions.append(Division(name, DatasetDict(train=others, test=rows), description))
    return divisions


def _check_leaks(
    parts: DatasetDict, outliers: Dataset | None, num_shared: int, data: DataArguments, *, is_synthetic: bool
) -> str:
    """
    A sentence for the model card on audio that the parts of the dataset share.

    Args:
        parts: the splits or folds.
        outliers: further clips to train on.
        num_shared: the number of recordings that have clips both in training and held out.
        data: `skip_leak_check` and `allow_leak`.
        is_synthetic: whether the dataset is one of synthesised ragas.

    Raises:
        ValueError: the parts share audio and `allow_leak` is not set.
    """
    found = [f"recordings with clips both in training and held out: {num_shared}"] if num_shared else []
    if is_synthetic:
        searched = "None: each recording of the dataset is synthesised separately, and the splits are by recording."
    elif data.given == "pitch-only":
        searched = "Not checked: the clips are pitch tracks without audio."
    elif data.skip_leak_check:
        searched = "Not checked: training and held-out clips may share audio."
    else:
        searched = "Checked: a search for copies found no audio that training and held-out clips share."
        report = _find_leaks(parts, outliers)
        if report.leaks:
            logger.warning("\n".join(report.describe("parts")))
            found.append(f"pairs of training and held-out clips with the same audio: {len(report.leaks)}")
    if not found:
        return searched
    if not data.allow_leak:
        raise ValueError(
            f"Training and held-out clips share audio ({'; '.join(found)}), so the scores would be too high. Name the "
            "column with the recordings (group_column, --group-column), infer the recordings from the audio "
            "(infer_groups, --infer-groups), or train anyway (allow_leak, --allow-leak), with a note in the card."
        )
    return f"LEAK ALLOWED: {'; '.join(found)}. The scores are too high and do not hold for other recordings."


def _find_leaks(parts: DatasetDict, outliers: Dataset | None) -> LeakReport:
    """Audio that parts share with each other, and held-out clips with the outliers, on which each fold is trained."""
    if outliers is None:
        return find_leaks(parts)
    report = find_leaks(DatasetDict({**parts, "outliers": outliers}))
    held_out = [leak for leak in report.leaks if {leak.first_split, leak.second_split} != {"train", "outliers"}]
    return replace(report, leaks=held_out)
