# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio dataset split`: the same training and test clips for everybody."""

import argparse

from ..data.folders import check_output
from .dataset_options import (
    add_action,
    add_cache_argument,
    add_grouping,
    add_label_arguments,
    add_output_arguments,
    add_workers_argument,
    load_labelled,
)


DESCRIPTION = """\
Divide a dataset into training and test clips, or into folds. No recording is in two parts, and each class is divided
as evenly as that allows. With --group-by, no concert or artist is in two parts either. The division is written as
splits.csv and as a folder that `polyaudio train --dataset` reads. For folds, train with --fold-column fold. The folder
holds hard links to the audio files, or copies where the file system has no hard links. Audio that is stored in the
dataset itself is copied.

Splits and folds that the dataset has are kept: a `test` split is cut from `train` only if it is missing. The
recordings come from --group-column or from the paths of the files. With --infer-groups they come from the audio. At
the end the audio of the parts is compared as in `polyaudio dataset check`.

Exit codes: 0 no leak, 1 a leak (the division is written anyway), 2 the dataset cannot be divided."""

EXAMPLES = """\
  polyaudio dataset split my-recordings/ --output my-split/ --test-size 0.1 --validation-size 0.1
  polyaudio dataset split my-chunks/ --output my-folds/ --folds 5 --infer-groups
  polyaudio dataset split mirdata:saraga_hindustani --data-home saraga/ --group-by artist --output by-artist/
"""


def add_split(actions) -> None:
    parser = add_action(
        actions,
        "split",
        run_split,
        help="divide a dataset by recording and write the division",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    add_label_arguments(parser)
    add_grouping(parser)
    add_output_arguments(parser)
    parser.add_argument(
        "--infer-groups", action="store_true", help="infer which clips belong to the same recording from their audio"
    )
    parser.add_argument(
        "--test-size",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="share of the recordings for the test split (default: 0.1)",
    )
    parser.add_argument(
        "--validation-size",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the recordings for the validation split (default: 0)",
    )
    parser.add_argument("--folds", type=int, metavar="K", help="divide into K folds instead of splits")
    parser.add_argument("--fold-column", metavar="NAME", help="use the folds in this column instead")
    parser.add_argument("--split-seed", type=int, default=42, metavar="N", help="seed of the division (default: 42)")
    add_workers_argument(parser)
    add_cache_argument(parser)


def run_split(args: argparse.Namespace) -> int:
    from ..curation.splitting import SplitSettings, split_dataset
    from ..data.text import listed

    settings = SplitSettings(
        args.test_size, args.validation_size, args.folds, args.fold_column is not None, args.split_seed
    )
    check_output(args.output, source=args.dataset, overwrite=args.overwrite)
    result = split_dataset(
        load_labelled(args, args.fold_column),
        args.output,
        settings,
        infer_groups=args.infer_groups,
        overwrite=args.overwrite,
        num_workers=args.workers,
        cache=args.cache,
    )
    for part, size in result.parts.items():
        title = f"fold {part}" if result.kind == "fold" else part
        print(f"{title}: {size.clips} clips of {size.recordings} recordings")
    unit = args.group_by or result.unit
    if result.crossing:
        print(f"LEAK: {len(result.crossing)} {unit}s are in several {result.kind}s: {listed(result.crossing)}")
    else:
        print(f"No {unit} is in two {result.kind}s")
    print("\n".join(result.leaks.describe(f"{result.kind}s")))
    print(f"The dataset is in {args.output}")
    return int(result.has_leak)
