# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio dataset`: work on datasets of audio."""

import argparse
import json
import os
import sys
from pathlib import Path

from .command import argument_parser, command


EXAMPLES = """\
  polyaudio dataset stats my-recordings/
  polyaudio dataset stats someone/recordings --split train --crop-seconds 5 --output stats.json
"""

STATS_DESCRIPTION = """\
Measure mean and standard deviation of the log-mel energies that SSLAM models read, for their normalisation.

Clips longer than --crop-seconds are measured by one window of that length, drawn at random, which is what a model
sees of them in an epoch. Padding does not count. No labels are needed. Clips that cannot be read are named and left
out."""


@command
def main(argv: list[str]) -> None:
    parser = argument_parser("dataset", "Work on datasets of audio.", EXAMPLES)
    actions = parser.add_subparsers(required=True, metavar="ACTION", title="actions")
    stats = actions.add_parser(
        "stats",
        help="measure what the normalisation of SSLAM models needs to know",
        description=STATS_DESCRIPTION,
        epilog=f"examples:\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    stats.add_argument("dataset", metavar="DATASET", help="Hub name, local folder, folder of save_to_disk, or ragas")
    stats.add_argument("--audio-column", default="audio", metavar="NAME", help="column with the audio (audio)")
    stats.add_argument("--split", default="train", metavar="NAME", help="split to measure (train)")
    stats.add_argument(
        "--crop-seconds", type=float, default=10.0, metavar="SECONDS", help="longest window of a clip to measure (10)"
    )
    stats.add_argument("--output", type=Path, metavar="FILE", help="JSON file for the figures")
    stats.add_argument(
        "--num-workers",
        type=int,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="processes that read and measure (%(default)s)",
    )
    stats.set_defaults(run=run_stats)
    args = parser.parse_args(argv)
    args.run(args)


def run_stats(args: argparse.Namespace) -> None:
    from ..training.data import load_recordings
    from ..training.statistics import measure_log_mel

    recordings = load_recordings(args.dataset, audio_column=args.audio_column, split=args.split)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
    stats = measure_log_mel(recordings, crop_seconds=args.crop_seconds, num_workers=args.num_workers)
    if stats.unreadable:
        print(f"{len(stats.unreadable)} clips cannot be read and are left out:", file=sys.stderr)
    for name, reason in stats.unreadable:
        print(f"  {name}: {reason}", file=sys.stderr)
    print(f"{stats.clips} clips, {stats.seconds / 3600:.3f} hours measured")
    print(f"mean {stats.mean:.4f}, standard deviation {stats.std:.4f}; in a recipe:\n")
    print(f"feature_extractor:\n  mean: {stats.mean:.4f}\n  std: {stats.std:.4f}")
    if args.output:
        content = {
            "dataset": args.dataset,
            "split": args.split,
            "crop_seconds": args.crop_seconds,
            "clips": stats.clips,
            "hours": stats.seconds / 3600,
            "frames": stats.frames,
            "mean": stats.mean,
            "std": stats.std,
            "unreadable": [clip._asdict() for clip in stats.unreadable],
        }
        args.output.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
