# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio dataset split`: which clips to train on and which to test on, for everybody the same."""

import argparse
import csv
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.readable import report_bad_clips
from .dataset_options import add_action, add_output_arguments, check_output, new_folder
from .options import add_label_arguments, load_labelled


if TYPE_CHECKING:
    from datasets import Dataset


DESCRIPTION = """\
Divide a data set into training and test clips, or into folds, such that no recording stands on both sides and the
classes are as even as that allows, and write the division: as splits.csv, and as a folder that
`polyaudio train --dataset` reads (folds: with --fold-column fold). Audio files stay where they are and are not copied,
so they must not be moved; audio that is part of the data set goes along.

Splits and folds of the data's own stay as they are: `test` is only cut from `train` where there is none. The group
column or the paths tell the recordings; --infer-groups takes them from the audio. At last the audio of the parts is
compared, as `polyaudio dataset check` does.

Exit codes: 0 no leak, 1 a leak (the division is written all the same), 2 the data cannot be divided."""

EXAMPLES = """\
  polyaudio dataset split my-recordings/ --output my-split/ --test-size 0.1 --validation-size 0.1
  polyaudio dataset split my-chunks/ --output my-folds/ --folds 5 --infer-groups
"""


def add_split(actions) -> None:
    parser = add_action(
        actions,
        "split",
        run_split,
        help="divide a data set by recording and write the division",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    add_label_arguments(parser)
    add_output_arguments(parser)
    parser.add_argument("--infer-groups", action="store_true", help="take the recordings from the audio")
    parser.add_argument("--test-size", type=float, default=0.1, metavar="SHARE", help="part for the test (0.1)")
    parser.add_argument(
        "--validation-size", type=float, default=0.0, metavar="SHARE", help="part for the validation (0)"
    )
    parser.add_argument("--folds", type=int, metavar="K", help="make so many folds instead")
    parser.add_argument("--fold-column", metavar="NAME", help="take the folds of this column instead")
    parser.add_argument("--split-seed", type=int, default=42, metavar="N", help="seed of the division (42)")


def run_split(args: argparse.Namespace) -> int:
    from datasets import DatasetDict, Value, concatenate_datasets

    from ..curation.leaks import LeakReport, as_leaks
    from ..curation.overlaps import find_overlaps, infer_groups
    from ..data.labels import listed
    from ..data.readable import clip_names

    check_arguments(args)
    check_output(args)
    splits = load_labelled(args, args.fold_column)
    split_of = [split for split, rows in splits.items() for _ in range(len(rows))]
    clips = concatenate_datasets([_as_storage(rows) for rows in splits.values()])
    overlaps = None
    if args.infer_groups:
        overlaps, unreadable = find_overlaps(clips)
        groups = [f"group_{group}" for group in infer_groups(len(clips), overlaps).tolist()]
        clips = clips.remove_columns("recording").add_column("recording", groups)
        print(f"{len(set(groups))} recordings inferred from the audio of {len(clips)} clips")

    kind = "fold" if args.folds is not None or args.fold_column else "split"
    part_of = divide(clips, split_of, args)
    parts = sorted(set(part_of)) if kind == "fold" else list(dict.fromkeys(part_of))
    if overlaps is None:
        overlaps, unreadable = find_overlaps(clips, sides=[parts.index(part) for part in part_of])
    report_bad_clips(unreadable)
    names = clip_names(clips)
    across = [pair for pair in overlaps if part_of[pair.first] != part_of[pair.second]]
    report = LeakReport(as_leaks(across, names, part_of), len(clips) - len(unreadable), unreadable)

    rows_of = {part: [row for row, own in enumerate(part_of) if own == part] for part in parts}
    if kind == "fold":
        others = [column for column in clips.column_names if column != "fold"]
        folds = clips.select_columns(others).add_column("fold", part_of, feature=Value("string"))
        divided = DatasetDict(train=folds)
    else:
        divided = DatasetDict({part: clips.select(rows) for part, rows in rows_of.items()})
    with new_folder(args.output) as folder:
        divided.save_to_disk(folder)
        write_table(folder / "splits.csv", kind, names, part_of, clips)

    recordings = clips["recording"][:]
    parts_of_recording = defaultdict(set)
    for recording, part in zip(recordings, part_of, strict=True):
        parts_of_recording[recording].add(part)
    for part, rows in rows_of.items():
        title = f"fold {part}" if kind == "fold" else part
        print(f"{title}: {len(rows)} clips of {len({recordings[row] for row in rows})} recordings")
    crossing = [recording for recording, own in parts_of_recording.items() if len(own) > 1]
    if crossing:
        print(f"LEAK: {len(crossing)} recordings stand in several {kind}s: {listed(crossing)}")
    else:
        print(f"No recording stands in two {kind}s")
    print("\n".join(report.describe(f"{kind}s")))
    print(f"The data set is in {args.output}")
    return int(bool(report.leaks or crossing))


def check_arguments(args: argparse.Namespace) -> None:
    """Raises `ValueError` for arguments that contradict each other."""
    if args.folds is not None and args.fold_column:
        raise ValueError("--folds makes folds, --fold-column takes those that are there; pass one of them")
    if (args.folds is not None or args.fold_column) and args.validation_size:
        raise ValueError("with folds there is no validation part; leave out --validation-size")
    shares = args.test_size, args.validation_size
    if not (min(shares) >= 0 and 0 < sum(shares) < 1):
        raise ValueError(f"--test-size and --validation-size must be shares that leave some, got {shares}")


def divide(clips: "Dataset", split_of: Sequence[str], args: argparse.Namespace) -> list[str]:
    """
    The split or the fold of each clip.

    Args:
        clips: columns `label` and `recording`, and `fold` where the data has folds.
        split_of: the split in which each clip is now.
        args: says what to make.
    """
    from ..data.labels import classes_of_clips
    from ..data.splits import folds_by_recording, split_by_recording

    own = list(dict.fromkeys(split_of))
    if args.folds is not None or args.fold_column:
        if len(own) > 1:
            raise ValueError(f"{args.dataset} is divided ({', '.join(own)}), so it cannot have folds too")
        if args.fold_column:
            return clips["fold"][:]
        part_of = [""] * len(clips)
        folds = folds_by_recording(classes_of_clips(clips), clips["recording"][:], args.folds, args.split_seed)
        for number, rows in enumerate(folds, 1):
            for row in rows:
                part_of[row] = str(number)
        return part_of

    part_of = list(split_of) if len(own) > 1 else ["train"] * len(clips)
    if args.validation_size and "validation" in part_of:
        raise ValueError(f"{args.dataset} has a validation split already; leave out --validation-size")
    left = 1.0  # of what was to be divided
    for part, share in (("test", args.test_size), ("validation", args.validation_size)):
        train = [row for row, name in enumerate(part_of) if name == "train"]
        if part in part_of or not share:
            continue
        if not train:
            raise ValueError(f"{args.dataset} has no split 'train' to cut {part} from, only {', '.join(own)}")
        rows = clips.select_columns(["label", "recording"]).select(train).add_column("row", train)
        for row in split_by_recording(rows, share / left, args.split_seed)[1]["row"][:]:
            part_of[row] = part
        left -= share
    return part_of


def write_table(path: Path, kind: str, names: Sequence[str], part_of: Sequence[str], clips: "Dataset") -> None:
    """Write name, split or fold, classes (separated by `;`) and recording of each clip as CSV."""
    from ..data.labels import class_names, classes_of_clips

    classes = class_names(clips.features["label"])
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["clip", kind, "label", "recording"])
        for name, part, indices, recording in zip(
            names, part_of, classes_of_clips(clips), clips["recording"][:], strict=True
        ):
            writer.writerow([name, part, ";".join(classes[index] for index in indices), recording])


def _as_storage(rows: "Dataset") -> "Dataset":
    """Clips with their audio as plain bytes and absolute paths: of a column of `Audio` the files would be copied."""
    import pyarrow as pa
    from datasets import Dataset, Features, Value

    features = Features({**rows.features, "audio": {"bytes": Value("binary"), "path": Value("string")}})
    table = rows.with_format("arrow")[:]
    chunks = []
    for chunk in table["audio"].chunks:
        has_bytes = chunk.field("bytes").is_valid().to_pylist()
        paths = [
            os.path.abspath(path) if path and not whole and "://" not in path else path
            for path, whole in zip(chunk.field("path").to_pylist(), has_bytes, strict=True)
        ]
        chunks.append(
            pa.StructArray.from_arrays([chunk.field("bytes"), pa.array(paths, pa.string())], ["bytes", "path"])
        )
    column = pa.chunked_array(chunks, features.arrow_schema.field("audio").type)
    table = table.set_column(table.column_names.index("audio"), "audio", column)
    return Dataset(table.replace_schema_metadata(features.arrow_schema.metadata))
