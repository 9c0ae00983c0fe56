# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio dataset inspect`: what a data set holds, in a table and in pictures."""

import argparse
from pathlib import Path

from ..data.readable import report_bad_clips
from .dataset_options import add_action
from .options import add_label_arguments, load_labelled


DESCRIPTION = """\
Decode every clip of a data set and tell what it holds: durations, sampling rates, channels, formats, splits, classes
and how even they are, and which clips are unreadable, silent (root mean square below -60 dB of full scale), clipped
(three samples in a row at full scale) or exact copies of each other. Copies that were scaled, resampled or encoded
anew, and chunks that overlap, are found by `polyaudio dataset check`.

With --output, inspect.json names all these clips, and durations.png, classes.png and examples.png show the data."""

EXAMPLES = """\
  polyaudio dataset inspect my-recordings/
  polyaudio dataset inspect my-chunks/ --output inspection/ --examples 5
"""


def add_inspect(actions) -> None:
    parser = add_action(
        actions,
        "inspect",
        run_inspect,
        help="tell what a data set holds, in a table and in pictures",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    add_label_arguments(parser)
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for inspect.json and the pictures")
    parser.add_argument(
        "--examples", type=int, default=3, metavar="N", help="clips of each class in examples.png (3); 0 for none"
    )


def run_inspect(args: argparse.Namespace) -> int:
    from ..curation.inspection import format_inspection, inspect_clips, write_inspection
    from ..data.readable import BadClip

    if not 0 <= args.examples <= 20:
        raise ValueError(f"--examples must lie between 0 and 20, got {args.examples}")
    clips = load_labelled(args)
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
    report, seconds = inspect_clips(clips)
    report_bad_clips([BadClip(**clip) for clip in report["unreadable"]])
    print(format_inspection(report))
    if args.output:
        write_inspection({"dataset": args.dataset, **report}, seconds, clips, args.output, args.examples)
    return 0
