# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio dataset mix`: soundscapes with several labels, from recordings of single sounds."""

import argparse

from ..data.folders import check_output
from .options import add_action, add_label_arguments, add_output_arguments, load_labelled


DESCRIPTION = """\
Make clips that mix one to --max-sources recordings at random times and levels over soft noise. They are written to the
folders train, validation and test, which `polyaudio train --dataset` reads. The metadata.csv in each has the onset and
offset of each sound (--labels events), or the classes of each clip with semicolons between them (--labels clip; train
with --label-separator ";").

Each recording must have one class. The recordings are divided first, so no recording is in two of the folders. Splits
of the dataset are kept. A sound lasts from the first to the last moment at which its recording is within 40 dB of its
highest level. Recordings that cannot be read or are silent are listed and left out. mixtures.json lists the recordings
of each folder."""

EXAMPLES = """\
  polyaudio dataset mix my-sounds/ --output my-soundscapes/ --clips 2000 --validation-clips 300 --test-clips 300
  polyaudio dataset mix my-sounds/ --output my-tags/ --clips 2000 --labels clip --max-sources 3
"""


def add_mix(actions) -> None:
    parser = add_action(
        actions,
        "mix",
        run_mix,
        help="make soundscapes from recordings of single sounds",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    add_label_arguments(parser)
    add_output_arguments(parser)
    parser.add_argument("--clips", type=int, required=True, metavar="N", help="number of clips to train on")
    parser.add_argument(
        "--validation-clips",
        type=int,
        metavar="N",
        help="number of validation clips (a fourth of --clips). With 0, training chooses the best epoch on clips that "
        "are made of the recordings that it trains on",
    )
    parser.add_argument("--test-clips", type=int, default=0, metavar="N", help="number of test clips (0)")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="SECONDS", help="length of a clip (10)")
    parser.add_argument(
        "--max-sources", type=int, default=4, metavar="N", help="largest number of recordings in a clip (4)"
    )
    parser.add_argument(
        "--level-range", type=float, default=10.0, metavar="DB", help="largest difference of their levels (10)"
    )
    parser.add_argument("--sampling-rate", type=int, default=16000, metavar="HZ", help="rate of the clips (16000)")
    parser.add_argument("--labels", choices=("events", "clip"), default="events", help="labels of the clips (events)")
    parser.add_argument(
        "--test-size",
        type=float,
        default=0.25,
        metavar="SHARE",
        help="share of the recordings for the test clips, and for the validation clips (0.25)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of everything random (0)")


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
