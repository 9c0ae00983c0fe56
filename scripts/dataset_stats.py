# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio dataset stats`: mean and standard deviation for the normalisation of SSLAM models."""

import argparse
from pathlib import Path

from ..data.folders import write_json
from .dataset_options import add_action, add_workers_argument


DESCRIPTION = """\
Measure the mean and the standard deviation of the log-mel energies of a dataset. SSLAM models use them to normalise
their input.

Of clips longer than --crop-seconds, one random window of that length is measured, as a model sees in one epoch.
Padding does not count. No labels are needed. Clips that cannot be read are listed and left out."""

EXAMPLES = """\
  polyaudio dataset stats my-recordings/
  polyaudio dataset stats someone/recordings --split train --crop-seconds 5 --output stats.json
"""


def add_stats(actions) -> None:
    parser = add_action(
        actions,
        "stats",
        run_stats,
        help="measure the mean and standard deviation that SSLAM models normalise with",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    parser.add_argument("--split", default="train", metavar="NAME", help="split to measure (default: train)")
    parser.add_argument(
        "--crop-seconds",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="length of the longest window to measure (default: 10)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file to write the results to")
    add_workers_argument(parser, "--num-workers")


def run_stats(args: argparse.Namespace) -> int:
    from ..curation.statistics import measure_log_mel
    from ..data.loading import load_recordings

    recordings = load_recordings(
        args.dataset, audio_column=args.audio_column, split=args.split, data_home=args.data_home
    )
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
    stats = measure_log_mel(recordings, crop_seconds=args.crop_seconds, num_workers=args.workers)
    print(f"{stats.clips} clips, {stats.seconds / 3600:.3f} hours measured")
    print(f"mean {stats.mean:.4f}, standard deviation {stats.std:.4f}; in a recipe:\n")
    print(f"feature_extractor:\n  mean: {stats.mean:.4f}\n  std: {stats.std:.4f}")
    if args.output:
        about = {"dataset": args.dataset, "split": args.split, "crop_seconds": args.crop_seconds}
        write_json(args.output, {**about, **stats.to_dict()})
    return 0
