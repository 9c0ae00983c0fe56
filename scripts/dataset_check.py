# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio dataset check`: the same audio in training and test clips."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.folders import write_json
from .dataset_options import (
    add_action,
    add_cache_argument,
    add_grouping,
    add_label_arguments,
    add_workers_argument,
    load_labelled,
)


if TYPE_CHECKING:
    from ..curation.leaks import LeakCheck


DESCRIPTION = """\
Find pairs of clips with the same audio: copies, and chunks of a recording that overlap. If one clip of a pair is used
for training and the other for testing, the scores are too high: the dataset has a leak. The search compares the audio
itself, so it also finds copies with another level, sampling rate or encoding.

A dataset with several splits has a leak if the clips of a pair are in different splits. A dataset without splits is
divided by recording before training, so it has a leak if the clips of a pair belong to different recordings. The
recordings come from --group-column or from the paths of the files. With --infer-groups they come from the audio.

With --group-by, concerts or artists take the place of recordings, and one that is in two splits is a leak as well.
Without it they are counted, if the dataset has columns with these names.

Exit codes: 0 no leak, 1 a leak, 2 the dataset cannot be checked."""

EXAMPLES = """\
  polyaudio dataset check my-chunks/
  polyaudio dataset check my-ragas/ --infer-groups --output check.json
  polyaudio dataset check mirdata:saraga_hindustani --data-home saraga/ --group-by concert
"""


def add_check(actions) -> None:
    parser = add_action(
        actions,
        "check",
        run_check,
        help="find audio that training and test clips share",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    add_label_arguments(parser)
    add_grouping(parser)
    parser.add_argument(
        "--infer-groups",
        action="store_true",
        help="infer which clips belong to the same recording from their audio, in a dataset without splits",
    )
    parser.add_argument(
        "--test-size",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="share of the recordings that training would hold out (default: 0.1)",
    )
    parser.add_argument("--split-seed", type=int, default=42, metavar="N", help="seed of that split (default: 42)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file to write all pairs and groups to")
    add_workers_argument(parser)
    add_cache_argument(parser)


def run_check(args: argparse.Namespace) -> int:
    from ..curation.leaks import check_dataset

    splits = load_labelled(args)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
    result = check_dataset(
        splits,
        infer_groups=args.infer_groups,
        test_size=args.test_size,
        seed=args.split_seed,
        num_workers=args.workers,
        cache=args.cache,
    )
    unit = args.group_by or result.unit
    print_check(result, unit, f"a split by {unit} (test {args.test_size:g}, seed {args.split_seed})")
    if args.output:
        write_json(args.output, {"dataset": args.dataset, **result.to_dict()})
    return int(result.has_leak)


def print_check(result: "LeakCheck", unit: str, own_split: str) -> None:
    from ..data.text import listed

    print(f"{result.num_clips} clips, {len(result.overlaps)} pairs of them have the same audio:")
    print(f"  {len(result.across_recordings)} pairs come from different {unit}s")
    print(f"  {len(result.across_splits)} pairs cross {'the splits' if result.has_splits else own_split}")
    num_groups = len(set(result.groups))
    print(f"{num_groups} groups: {len(result.groups) - num_groups} clips share audio with a clip before them")
    between = "splits" if result.has_splits else f"{unit}s, which a split by {unit} can separate"
    if result.crossing:
        print(f"LEAK: {len(result.crossing)} {unit}s are in several splits: {listed(result.crossing)}")
    elif result.unit == "group":
        print(f"No {unit} is in two splits")
    for column, values in result.shared.items():
        if column != unit and values:
            print(f"{len(values)} {column}s are in several splits: {listed(values)}")
        elif column != unit:
            print(f"No {column} is in two splits")
    if result.report.leaks or not result.crossing:
        print("\n" + "\n".join(result.report.describe(between)))
