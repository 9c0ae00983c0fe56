# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio dataset mix`: soundscapes with several labels, from recordings of single sounds."""

import argparse

from ..data.folders import check_output
from .dataset_options import add_action, add_label_arguments, add_output_arguments, load_labelled


DESCRIPTION = """\
Make clips that mix 1 to --max-sources recordings at random times and levels over soft noise. The clips are written to
the folders train, validation and test, which `polyaudio train --dataset` reads. A metadata.csv in each folder has the
labels. With --labels events, these are the onset and offset of each sound. With --labels clip, these are the classes
of each clip, separated by semicolons; train with --label-separator ";".

Each recording must have exactly one class. The recordings are divided before they are mixed, so no recording is in two
folders. Splits of the dataset are kept. A sound lasts from the first to the last moment at which its recording is
within 40 dB of its highest level. Recordings that are silent or cannot be read are listed and left out. mixtures.json
lists the recordings of each folder."""

EXAMPLES = """\
  polyaudio dataset mix my-sounds/ --output my-soundscapes/ --clips 2000 --validation-clips 300 --test-clips 300
  polyaudio dataset mix my-sounds/ --output my-tags/ --clips 2000 --labels clip --max-sources 3
"""


def add_mix(actions) -> None:
    parser = add_action(
        actions,
        "mix",
        run_mix,
        help="mix recordings of single sounds into labelled soundscapes",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    add_label_arguments(parser)
    add_output_arguments(parser)
    parser.add_argument("--clips", type=int, required=True, metavar="N", help="number of training clips")
    parser.add_argument(
        "--validation-clips",
        type=int,
        metavar="N",
        help="number of validation clips (default: a fourth of --clips). With 0, training chooses the best epoch on "
        "clips made of recordings that are in training clips too",
    )
    parser.add_argument("--test-clips", type=int, default=0, metavar="N", help="number of test clips (default: 0)")
    parser.add_argument(
        "--seconds", type=float, default=10.0, metavar="SECONDS", help="length of a clip (default: 10)"
    )
    parser.add_argument(
        "--max-sources", type=int, default=4, metavar="N", help="largest number of recordings in a clip (default: 4)"
    )
    parser.add_argument(
        "--level-range",
        type=float,
        default=10.0,
        metavar="DB",
        help="largest difference between their levels (default: 10)",
    )
    parser.add_argument(
        "--sampling-rate", type=int, default=16000, metavar="HZ", help="sampling rate of the clips (default: 16000)"
    )
    parser.add_argument(
        "--labels", choices=("events", "clip"), default="events", help="kind of labels to write (default: events)"
    )
    parser.add_argument(
        "--test-size",
        type=float,
        default=0.25,
        metavar="SHARE",
        help="share of the recordings used for test clips, and also for validation clips (default: 0.25)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all random choices (default: 0)")


def run_mix(args: argparse.Namespace) -> int:
    from ..curation.mixtures import mix_dataset

    check_output(args.output, source=args.dataset, overwrite=args.overwrite)
    result = mix_dataset(
        load_labelled(args),
        args.output,
        num_clips=args.clips,
        num_validation_clips=args.validation_clips,
        num_test_clips=args.test_clips,
        seconds=args.seconds,
        max_sources=args.max_sources,
        level_range=args.level_range,
        sampling_rate=args.sampling_rate,
        events=args.labels == "events",
        test_size=args.test_size,
        seed=args.seed,
        name=args.dataset,
        overwrite=args.overwrite,
    )
    for part, number in result.clips.items():
        print(f"{part}: {number} clips made of {result.num_used[part]} recordings")
    print(f"The dataset is in {args.output}")
    return 0
