# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio dataset mix`: soundscapes for training on several labels a clip, from recordings of single sounds."""

import argparse
from typing import TYPE_CHECKING

from ..data.readable import report_bad_clips
from .dataset_options import add_action, add_output_arguments, check_output, new_folder, write_json
from .options import add_label_arguments, load_labelled


if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


DESCRIPTION = """\
Make clips in each of which one to --max-sources recordings sound at random times and levels over soft noise, and write
them as folders train, validation and test, which `polyaudio train --dataset` reads. Their metadata.csv has the onset
and offset of each sound (--labels events), or the classes of each clip with semicolons between them (--labels clip; to
train with --label-separator ";").

The recordings, of one class each, are divided first, so that none sounds in two of the folders; splits of the data's
own stay as they are. A sound begins and ends where its recording comes within 40 dB of its highest level. Recordings
that cannot be read or are silent are named and left out. mixtures.json tells what the clips were made of."""

EXAMPLES = """\
  polyaudio dataset mix my-sounds/ --output my-soundscapes/ --clips 2000 --validation-clips 300 --test-clips 300
  polyaudio dataset mix my-sounds/ --output my-tags/ --clips 2000 --labels clip --max-sources 3
"""


def add_mix(actions) -> None:
    parser = add_action(
        actions,
        "mix",
        run_mix,
        help="make soundscapes of recordings of single sounds",
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
        help="number of clips for the validation (a fourth of --clips). With 0, training would choose the best epoch "
        "by clips that are made of the recordings that it trains on",
    )
    parser.add_argument("--test-clips", type=int, default=0, metavar="N", help="number of clips for the test (0)")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="SECONDS", help="length of a clip (10)")
    parser.add_argument(
        "--max-sources", type=int, default=4, metavar="N", help="most recordings that sound in a clip (4)"
    )
    parser.add_argument(
        "--level-range", type=float, default=10.0, metavar="DB", help="most that their levels differ (10)"
    )
    parser.add_argument("--sampling-rate", type=int, default=16000, metavar="HZ", help="rate of the clips (16000)")
    parser.add_argument(
        "--labels", choices=("events", "clip"), default="events", help="what the clips are labelled with (events)"
    )
    parser.add_argument(
        "--test-size",
        type=float,
        default=0.25,
        metavar="SHARE",
        help="part of the recordings for the test, and as much for the validation (0.25)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of everything random (0)")


def run_mix(args: argparse.Namespace) -> int:
    from ..curation.mixtures import LABEL_SEPARATOR, write_mixtures
    from ..data.labels import class_names, listed
    from ..data.loading import load_clips
    from ..data.windows import combined_seed

    num_validation = max(1, args.clips // 4) if args.validation_clips is None else args.validation_clips
    counts = {"train": args.clips, "validation": num_validation, "test": args.test_clips}
    if args.clips < 1 or min(num_validation, args.test_clips, args.seed) < 0:
        raise ValueError("--clips must be at least 1, and --validation-clips, --test-clips and --seed at least 0")
    check_output(args)
    parts = divide(load_labelled(args), args, [part for part, count in counts.items() if count])
    is_events = args.labels == "events"
    bad_clips = []
    with new_folder(args.output) as folder:
        for index, (part, count) in enumerate(counts.items()):
            if not count:
                continue
            bad = write_mixtures(
                parts[part],
                folder / part,
                num_clips=count,
                seconds=args.seconds,
                max_sources=args.max_sources,
                level_range=args.level_range,
                sampling_rate=args.sampling_rate,
                events=is_events,
                seed=combined_seed(args.seed, index),  # the noise of two folders must not be the same
            )
            bad_clips += [clip._replace(split=part) for clip in bad]
        written = load_clips(str(folder), label_separator=None if is_events else LABEL_SEPARATOR)["train"]
        names = class_names(parts["train"].features["label"])
        strange = set(class_names(written.features["label"])) - set(names)
        if strange:
            raise ValueError(
                f"the classes {listed(names)} would be read from metadata.csv as {listed(strange)}; rename them"
            )
        settings = ("seconds", "max_sources", "level_range", "sampling_rate", "labels", "test_size", "seed")
        content = {
            "dataset": args.dataset,
            "clips": counts,
            **{name: getattr(args, name) for name in settings},
            "recordings": {part: sorted(set(rows["recording"][:])) for part, rows in parts.items()},
            "left_out": [clip._asdict() for clip in bad_clips],
        }
        write_json(folder / "mixtures.json", content)
    report_bad_clips(bad_clips)
    for part, rows in parts.items():
        num_used = len(rows) - sum(clip.split == part for clip in bad_clips)
        print(f"{part}: {counts[part]} clips made of {num_used} recordings")
    print(f"The data set is in {args.output}")
    return 0


def divide(splits: "DatasetDict", args: argparse.Namespace, wanted: list[str]) -> "dict[str, Dataset]":
    """
    The recordings of each wanted split: the data's own, or else cut from its training split.

    Raises:
        ValueError: the data does not allow that, or a recording stands in two of the splits.
    """
    from ..data.labels import listed
    from ..data.splits import split_by_recording

    if "train" not in splits:
        raise ValueError(f"{args.dataset} has no split 'train', only {', '.join(splits)}")
    parts = {part: splits[part] for part in wanted if part in splits}
    missing = [part for part in wanted if part not in splits]
    if missing and not 0 < args.test_size * len(missing) < 1:
        raise ValueError(
            f"--test-size {args.test_size:g} of the recordings for each of {' and '.join(missing)} must leave some to "
            "train on"
        )
    for number, part in enumerate(missing):
        share = args.test_size / (1 - number * args.test_size)  # of what is left
        parts["train"], parts[part] = split_by_recording(parts["train"], share, args.seed)
    split_of: dict[str, str] = {}
    for part, rows in parts.items():
        both = [recording for recording in set(rows["recording"][:]) if split_of.setdefault(recording, part) != part]
        if both:
            raise ValueError(
                f"recordings stand in {part} and in another split of {args.dataset}: {listed(both)}. Move each to one "
                "of them; if these are different recordings of the same name, pass --group-column"
            )
    return parts
