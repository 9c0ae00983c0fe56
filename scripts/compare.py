# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio compare`: find out which way to train is best for a dataset."""

import argparse
import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .command import argument_parser, command
from .dataset_options import add_data_home, add_grouping, add_label_arguments
from .options import positive
from .terminal import hidden_output, plain


if TYPE_CHECKING:
    from ..training.comparison import Comparison


DESCRIPTION = """\
Find out which way to train gives the best classifier for a dataset, on the same folds by recording, within a limit of
time.

baseline        logistic regression on the mean and the deviation of each log-mel band
without models  a new SAMAudio (recipe default) and a new SSLAM (recipe sslam_small)
for each model  its frozen encoder with a new head, a LoRA adapter, all of its weights, and a new SAMAudio over it

Each way gets an equal share of the time that is left, and as many epochs as fit into it. A way for which 5 epochs do
not fit is left out, and the table says so. The intervals are those of 95 %, by a bootstrap over recordings. The last
column is the best score minus this one: where its interval includes 0, the difference may be chance."""

EXAMPLES = """\
  polyaudio compare --dataset my-recordings/ --infer-groups --minutes 10
  polyaudio compare --dataset my-recordings/ --models ta012/SSLAM_pretrain runs/stage2 --output comparison.json
"""


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argument_parser("compare", DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "--dataset", required=True, help="Hub name, local folder, folder that save_to_disk wrote, or `ragas`"
    )
    add_data_home(parser)
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="MODEL",
        help="model folders or Hub names to start from (default: ta012/SSLAM_pretrain, if it was downloaded before)",
    )
    parser.add_argument(
        "--minutes", type=positive(float), default=20.0, help="limit of time, by estimates (default: 20)"
    )
    parser.add_argument("--folds", type=positive(int), default=3, metavar="N", help="number of folds (default: 3)")
    parser.add_argument("--audio-column", default="audio", help="column with the audio (default: audio)")
    add_label_arguments(parser)
    add_grouping(parser)
    parser.add_argument(
        "--infer-groups",
        action="store_true",
        help="infer the recordings from the audio: clips that overlap belong to the same recording",
    )
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="seed of the trainings (default: 42)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file for all scores")
    return parser.parse_args(argv)


@command
def main(argv: list[str]) -> None:
    args = parse_arguments(argv)

    from ..data.folders import write_json
    from ..training.arguments import DataArguments
    from ..training.comparison import compare

    data = DataArguments(
        folds=args.folds,
        audio_column=args.audio_column,
        label_column=args.label_column,
        label_columns=args.label_columns,
        label_separator=args.label_separator,
        group_column=args.group_column,
        group_by=args.group_by,
        data_home=args.data_home,
        infer_groups=args.infer_groups,
    )
    # Not the reports of every fold
    logging.getLogger("polyaudio").setLevel(logging.WARNING)
    logging.getLogger(compare.__module__).setLevel(logging.INFO)
    with hidden_output(True):
        comparison = compare(args.dataset, args.models, minutes=args.minutes, data=data, seed=args.seed)
    print(plain(format_comparison(comparison), keep="\n"))
    best = comparison.ways[0]
    if best.flags is not None:
        flags = ["--dataset", args.dataset, *best.flags, *_data_flags(args)]
        print(f"\nTrain it: {shlex.join(['polyaudio', 'train', *flags])}")
    if args.output is not None:
        write_json(args.output, comparison.to_dict())


def _data_flags(args: argparse.Namespace) -> list[str]:
    """The flags of labels and recordings that were given, for `polyaudio train`."""
    flags = ["--infer-groups"] if args.infer_groups else []
    if args.audio_column != "audio":
        flags += ["--audio-column", args.audio_column]
    for name in ("label_column", "label_separator", "group_column", "group_by", "data_home"):
        if getattr(args, name) is not None:
            flags += [f"--{name.replace('_', '-')}", getattr(args, name)]
    return [*flags, "--label-columns", *args.label_columns] if args.label_columns else flags


def format_comparison(comparison: "Comparison") -> str:
    """The ways to train as a table, the best first."""
    from ..evaluation.tables import format_number, title_of

    what = f"{comparison.clips} clips of {comparison.recordings} recordings in {comparison.folds} folds"
    width = max(len(way.name) for way in comparison.ways)
    title = f"{title_of(comparison.metric)} (interval)"
    lines = [
        f"{comparison.dataset}: {what}",
        "",
        f"{'':<{width}}  {title:>24}  epochs  {'s':>6}  the best one's lead",
    ]
    for way in comparison.ways:
        scores = way.evaluation.clips
        low, high = scores.intervals[comparison.metric] or (scores[comparison.metric],) * 2
        score = f"{format_number(scores[comparison.metric])} ({low:.2f} to {high:.2f})"
        lead = f"{way.lead:.4f} ({way.lead_interval[0]:.2f} to {way.lead_interval[1]:.2f})" if way.lead else ""
        lines.append(f"{way.name:<{width}}  {score:>24}  {way.epochs or '':>6}  {way.seconds:>6.0f}  {lead}")
    lines += [f"\nLeft out: {name}, because {reason}" for name, reason in comparison.left_out.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
