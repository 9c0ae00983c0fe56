# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The clips that a run trains on and those that it holds out: one division of them, or one for each fold."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from datasets import Dataset, DatasetDict, concatenate_datasets

from ..curation.leaks import find_leaks
from ..curation.overlaps import infer_recordings
from ..data.labels import classes_of_clips
from ..data.loading import load_clips, name_of
from ..data.readable import drop_unreadable, report_bad_clips
from ..data.splits import check_clips, cut_from_train, folds_by_recording, shared_recordings
from .arguments import DataArguments


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Division:
    """
    Clips to train on and clips that are held out.

    Args:
        name: of the fold; empty where there are none.
        splits: `train`, `validation` (which chooses the best epoch; there is none with folds) and `test`, or one of
            these two.
        description: one or two sentences on how the held-out clips were kept apart.
        leaks: what is known of audio that training and held-out clips share.
    """

    name: str
    splits: DatasetDict
    description: str
    leaks: str = ""

    @property
    def held_out(self) -> str:
        """The split that the scores are for."""
        return "test" if "test" in self.splits else "validation"

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """The number of clips and of recordings of each split."""
        return {
            name: {"clips": len(rows), "recordings": len(set(rows["recording"]))} for name, rows in self.splits.items()
        }


def load_divisions(dataset: str | os.PathLike | Dataset | DatasetDict, data: DataArguments) -> list[Division]:
    """
    Load the clips, leave out those that cannot be read, and divide them by recording where the dataset is not divided.

    Raises:
        ValueError: the clips cannot be divided like that, or training and held-out clips share audio and `allow_leak`
            is not set.
    """
    name = name_of(dataset)
    clips = load_clips(
        dataset,
        audio_column=data.audio_column,
        label_column=data.label_column,
        label_columns=data.label_columns,
        label_separator=data.label_separator,
        group_column=data.group_column,
        fold_column=data.fold_column,
    )
    if "train" not in clips:
        raise ValueError(f"{name} has no split 'train', only {', '.join(clips)}")
    clips, bad_clips = drop_unreadable(clips)
    report_bad_clips(bad_clips)
    if data.infer_groups:
        if len(clips) > 1:
            raise ValueError(f"{name} is divided ({', '.join(clips)}), which infer_groups cannot change")
        clips = DatasetDict(train=infer_recordings(clips["train"]).clips)
    if data.folds is None and data.fold_column is None:
        divisions = [_divide(clips, data)]
        parts = divisions[0].splits
    else:
        parts = _make_folds(clips, data)
        divisions = _divide_by_folds(parts)
    shared: set[str] = set()
    for division in divisions:
        train = division.splits["train"]
        for split, rows in division.splits.items():
            if split != "train":
                check_clips(train, rows, allow_shared_recordings=data.allow_leak)
                shared |= shared_recordings(train, rows)
    leaks = _check_leaks(parts, len(shared), data, is_synthetic=name == "ragas")
    return [replace(division, leaks=leaks) for division in divisions]


def _divide(clips: DatasetDict, data: DataArguments) -> Division:
    """The splits of the dataset. Without a validation split, recordings of its training split become one."""
    splits = cut_from_train(clips, {"validation": data.test_size}, data.split_seed)
    validation = splits["validation"]
    splits = DatasetDict({name: splits[name] for name in ("train", "validation", "test") if name in splits})
    if "test" in clips:
        description = "The figures are for the data's own test split; the best epoch was chosen on other clips."
    else:
        description = (
            f"The figures are for {validation.num_rows} clips of {len(set(validation['recording']))} recordings, none "
            "of which is in the training set. The best epoch was chosen on these clips, which flatters it a little."
        )
    for name, rows in splits.items():
        logger.info(f"{name}: {rows.num_rows} clips of {len(set(rows['recording']))} recordings")
    return Division("", splits, description)


def _make_folds(clips: DatasetDict, data: DataArguments) -> DatasetDict:
    """The folds of the dataset's own column, or new ones by recording. All splits are divided anew."""
    if data.folds is not None and data.fold_column is not None:
        raise ValueError("fold_column has the data's own folds, so leave out folds")
    rows = concatenate_datasets(list(clips.values()))
    if data.fold_column is None:
        folds = folds_by_recording(classes_of_clips(rows), rows["recording"], data.folds, data.split_seed)
        return DatasetDict({f"fold-{number}": rows.select(fold) for number, fold in enumerate(folds)})
    names: Sequence[str] = rows["fold"][:]
    if len(set(names)) < 2:
        raise ValueError(f"the column {data.fold_column!r} has one fold only, which leaves nothing to train on")
    return DatasetDict(
        {
            f"fold-{name}": rows.select([row for row, own in enumerate(names) if own == name])
            for name in sorted(set(names), key=lambda name: (len(name), name))
        }
    )


def _divide_by_folds(folds: DatasetDict) -> list[Division]:
    """For each fold the others to train on. The scores are those of the last epoch, which no held-out clip chose."""
    description = (
        f"Cross-validation in {len(folds)} folds, none of which shares a recording with another; each is held out "
        "from a run of its own, and the last epoch is measured, so that nothing was chosen on the held-out clips."
    )
    divisions = []
    for name, rows in folds.items():
        others = concatenate_datasets([fold for other, fold in folds.items() if other != name])
        logger.info(f"{name}: {rows.num_rows} clips of {len(set(rows['recording']))} recordings")
        divisions.append(Division(name, DatasetDict(train=others, test=rows), description))
    return divisions


def _check_leaks(parts: DatasetDict, num_shared: int, data: DataArguments, *, is_synthetic: bool) -> str:
    """
    What the parts of the dataset have in common, in a sentence for the model card.

    Args:
        parts: the parts, no two of which may share audio.
        num_shared: the number of recordings that are in training and held out too, which is allowed.
        data: whether to look, and whether a leak is allowed.
        is_synthetic: whether the clips are those of `ragas`.
    """
    found = [f"recordings with clips in training and held out too: {num_shared}"] if num_shared else []
    if is_synthetic:
        searched = "None: each recording of the set is synthesised anew, and its splits are by recording."
    elif data.skip_leak_check:
        searched = "Not checked: whether training and held-out clips have audio in common is not known."
    else:
        searched = "Checked: training and held-out clips have no audio in common, as far as a search for copies finds."
        report = find_leaks(parts)
        if report.leaks:
            logger.warning("\n".join(report.describe("parts")))
            found.append(f"pairs of training and held-out clips with the same audio: {len(report.leaks)}")
    if not found:
        return searched
    if not data.allow_leak:
        raise ValueError(
            f"{'; '.join(found)}. That would flatter the scores. Split by recording (group_column), take "
            "recordings from the audio (infer_groups), or train all the same with allow_leak, as the card will say"
        )
    return f"LEAK ALLOWED: {'; '.join(found)}. The figures are flattered and say little about other recordings."
