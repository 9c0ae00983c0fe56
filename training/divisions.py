# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The clips that `train` learns from and those that it holds out: one division of them, or one for each fold."""

import sys
from typing import TYPE_CHECKING, NamedTuple

from ..data.readable import report_bad_clips
from ..scripts.options import load_labelled


if TYPE_CHECKING:
    from datasets import DatasetDict

    from .arguments import DataArguments


class Division(NamedTuple):
    """
    Clips to train on and clips that are held out.

    Args:
        name: of the fold; empty where there are none.
        splits: `train`, `validation` (by which the best epoch is chosen, none with folds) and `test`, or one of both.
        description: one sentence or two on how the held-out clips were kept apart.
        leaks: what is known of audio that both have in common.
    """

    name: str
    splits: "DatasetDict"
    description: str
    leaks: str

    @property
    def held_out(self) -> str:
        """The split that the figures are for."""
        return "test" if "test" in self.splits else "validation"

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """The number of clips and of recordings of each split."""
        return {
            name: {"clips": len(rows), "recordings": len(set(rows["recording"]))} for name, rows in self.splits.items()
        }


def load_divisions(data_args: "DataArguments") -> list[Division]:
    """
    Load the clips, leave out what cannot be read, and divide what the data itself does not divide, by recording.

    Raises:
        ValueError: the clips cannot be divided like that, or training and held-out clips have audio in common and
            `allow_leak` is not set.
    """
    from ..data.readable import drop_unreadable
    from ..data.splits import check_clips, shared_recordings

    clips = load_labelled(data_args, data_args.fold_column)
    if "train" not in clips:
        raise ValueError(f"{data_args.dataset} has no split 'train', only {', '.join(clips)}")
    clips, bad_clips = drop_unreadable(clips)
    report_bad_clips(bad_clips)
    if data_args.infer_groups:
        clips = with_inferred_groups(clips, data_args.dataset)
    if data_args.folds is None and data_args.fold_column is None:
        divisions = [divide(clips, data_args)]
        parts = divisions[0].splits
    else:
        parts = make_folds(clips, data_args)
        divisions = divide_by_folds(parts)
    shared: set[str] = set()
    for division in divisions:
        train = division.splits["train"]
        for name, rows in division.splits.items():
            if name != "train":
                check_clips(train, rows, allow_shared_recordings=data_args.allow_leak)
                shared |= shared_recordings(train, rows)
    leaks = check_leaks(parts, len(shared), data_args)
    return [division._replace(leaks=leaks) for division in divisions]


def with_inferred_groups(clips: "DatasetDict", dataset: str) -> "DatasetDict":
    """The clips with the recordings that their audio tells in the column `recording`."""
    from datasets import DatasetDict, Value

    from ..curation.overlaps import find_overlaps, infer_groups

    if len(clips) > 1:
        raise ValueError(f"{dataset} is divided ({', '.join(clips)}), which infer_groups cannot change")
    rows = clips["train"]
    overlaps, _ = find_overlaps(rows)
    groups = [f"group {group}" for group in infer_groups(len(rows), overlaps).tolist()]
    print(f"{len(rows)} clips are of {len(set(groups))} recordings, as their audio tells")
    rows = rows.remove_columns("recording").add_column("recording", groups, feature=Value("string"))
    return DatasetDict(train=rows)


def divide(clips: "DatasetDict", data_args: "DataArguments") -> Division:
    """The splits of the data; where it has no validation split, recordings of its training split make one."""
    from datasets import DatasetDict

    from ..data.splits import split_by_recording

    train, validation = clips["train"], clips.get("validation")
    if validation is None:
        train, validation = split_by_recording(train, data_args.test_size, data_args.split_seed)
    splits = DatasetDict(train=train, validation=validation)
    if "test" in clips:
        splits["test"] = clips["test"]
        description = "The figures are for the data's own test split; the best epoch was chosen on other clips."
    else:
        description = (
            f"The figures are for {validation.num_rows} clips of {len(set(validation['recording']))} recordings, none "
            "of which is in the training set. The best epoch was chosen on these clips, which flatters it a little."
        )
    for name, rows in splits.items():
        print(f"{name}: {rows.num_rows} clips of {len(set(rows['recording']))} recordings")
    return Division("", splits, description, "")


def make_folds(clips: "DatasetDict", data_args: "DataArguments") -> "DatasetDict":
    """The folds of the data's own column, or as many as asked for, by recording; all splits are divided anew."""
    from datasets import DatasetDict, concatenate_datasets

    from ..data.labels import classes_of_clips
    from ..data.splits import folds_by_recording

    if data_args.folds is not None and data_args.fold_column is not None:
        raise ValueError("fold_column has the data's own folds, so leave out folds")
    rows = concatenate_datasets(list(clips.values()))
    if data_args.fold_column is None:
        folds = folds_by_recording(classes_of_clips(rows), rows["recording"], data_args.folds, data_args.split_seed)
        return DatasetDict({f"fold-{number}": rows.select(fold) for number, fold in enumerate(folds)})
    names = rows["fold"][:]
    if len(set(names)) < 2:
        raise ValueError(f"the column {data_args.fold_column!r} has one fold only, which leaves nothing to train on")
    return DatasetDict(
        {
            f"fold-{name}": rows.select([row for row, own in enumerate(names) if own == name])
            for name in sorted(set(names), key=lambda name: (len(name), name))
        }
    )


def divide_by_folds(folds: "DatasetDict") -> list[Division]:
    """For each fold the others to train on. The last epoch is measured: nothing is chosen on held-out clips."""
    from datasets import DatasetDict, concatenate_datasets

    description = (
        f"Cross-validation in {len(folds)} folds, none of which shares a recording with another; each is held out "
        "from a run of its own, and the last epoch is measured, so that nothing was chosen on the held-out clips."
    )
    divisions = []
    for name, rows in folds.items():
        others = concatenate_datasets([fold for other, fold in folds.items() if other != name])
        print(f"{name}: {rows.num_rows} clips of {len(set(rows['recording']))} recordings")
        divisions.append(Division(name, DatasetDict(train=others, test=rows), description, ""))
    return divisions


def check_leaks(parts: "DatasetDict", num_shared: int, data_args: "DataArguments") -> str:
    """
    What the parts of the data have in common, in a sentence for the model card.

    Args:
        parts: the parts, no two of which may share audio.
        num_shared: the number of recordings that stand in training and are held out too, which is allowed.
        data_args: tell whether to look, and whether a leak is allowed.
    """
    from ..curation.leaks import find_leaks

    found = [f"recordings with clips in training and held out too: {num_shared}"] if num_shared else []
    if data_args.dataset == "ragas":
        searched = "None: each recording of the set is synthesised anew, and its splits are by recording."
    elif data_args.skip_leak_check:
        searched = "Not checked: whether training and held-out clips have audio in common is not known."
    else:
        searched = "Checked: training and held-out clips have no audio in common, as far as a search for copies finds."
        report = find_leaks(parts)
        if report.leaks:
            print("\n".join(report.describe("parts")), file=sys.stderr)
            found.append(f"pairs of training and held-out clips with the same audio: {len(report.leaks)}")
    if not found:
        return searched
    if not data_args.allow_leak:
        raise ValueError(
            f"{'; '.join(found)}. That would flatter the scores. Split by recording (group_column), take "
            "recordings from the audio (--infer-groups), or train all the same with --allow-leak, as the card will say"
        )
    return f"LEAK ALLOWED: {'; '.join(found)}. The figures are flattered and say little about other recordings."
