# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio dataset inspect`: what a dataset contains, as a table and as plots."""

import argparse
from pathlib import Path

from .dataset_options import add_action, add_label_arguments, add_workers_argument, load_labelled


DESCRIPTION = """\
Decode every clip of a dataset and report durations, sampling rates, channels, formats, splits, classes and their
balance. The report lists clips that are unreadable, silent (root mean square below -60 dB of full scale), clipped
(three samples in a row at full scale) or exact copies of each other. Use `polyaudio dataset check` to find copies that
were scaled, resampled or encoded again, and chunks that overlap.

With --output, inspect.json lists all these clips, and durations.png, classes.png and examples.png show the dataset."""

EXAMPLES = """\
  polyaudio dataset inspect my-recordings/
  polyaudio dataset inspect my-chunks/ --output inspection/ --examples 5
"""


def add_inspect(actions) -> None:
    parser = add_action(
        actions,
        "inspect",
        run_inspect,
        help="report what a dataset contains, as a table and as plots",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    add_label_arguments(parser)
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write inspect.json and the plots to")
    parser.add_argument(
        "--examples",
        type=int,
        default=3,
        metavar="N",
        help="number of clips of each class in examples.png (default: 3); 0 leaves the plot out",
    )
    add_workers_argument(parser)


def run_inspect(args: argparse.Namespace) -> int:
    from ..curation.inspection import check_examples, format_inspection, inspect_clips, write_inspection

    check_examples(args.examples)
    clips = load_labelled(args)
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
    inspection = inspect_clips(clips, num_workers=args.workers)
    print(format_inspection(inspection))
    if args.output:
        write_inspection(inspection, clips, args.output, name=args.dataset, examples=args.examples)
    return 0
