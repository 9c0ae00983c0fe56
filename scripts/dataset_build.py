# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio dataset build`: a dataset of short clips from long recordings."""

import argparse

from ..data.folders import check_output
from .dataset_options import add_action, add_label_arguments, add_output_arguments, load_labelled
from .options import default_workers


DESCRIPTION = """\
Cut recordings into chunks of the same length and write a dataset that `polyaudio train --dataset` reads and that can
be pushed to the Hub as it is: parquet files with the chunks as FLAC, and a README.md.

Each chunk keeps the label and the split of its recording. The column `recording` has the name of the recording, and
`start` the start time of the chunk in seconds. The times of events become relative to the chunk. Silent chunks are
left out: those with a root mean square level below --silence-threshold, in dB of full scale. The rest of a recording
after its last whole chunk becomes a shorter chunk if it is at least --min-seconds long. Recordings that cannot be read
are listed and left out."""

EXAMPLES = """\
  polyaudio dataset build my-recordings/ --output my-chunks/ --chunk 20 --overlap 0.5 --sampling-rate 16000
  polyaudio dataset build my-recordings/ --output my-chunks/ --push me/my-chunks --private
"""


def add_build(actions) -> None:
    parser = add_action(
        actions,
        "build",
        run_build,
        help="cut recordings into a dataset of short clips",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    add_label_arguments(parser)
    add_output_arguments(parser)
    parser.add_argument("--chunk", type=float, default=20.0, metavar="SECONDS", help="length of a chunk (default: 20)")
    parser.add_argument(
        "--overlap",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="share of a chunk that the next chunk repeats (default: 0.5)",
    )
    parser.add_argument(
        "--sampling-rate", type=int, metavar="HZ", help="sampling rate of the chunks (default: that of each recording)"
    )
    parser.add_argument(
        "--min-seconds",
        type=float,
        metavar="SECONDS",
        help="length of the shortest chunk to keep, at the end of a recording (default: 1, or --chunk if that is "
        "shorter)",
    )
    parser.add_argument(
        "--silence-threshold",
        type=float,
        default=-60.0,
        metavar="DB",
        help="leave out chunks below this level (default: -60); --silence-threshold=-inf keeps all chunks",
    )
    parser.add_argument(
        "--format", default="flac", help="audio format of the chunks, flac or wav, 16 bits each (default: flac)"
    )
    parser.add_argument(
        "--num-workers",
        type=int,
        default=default_workers(),
        metavar="N",
        help="number of threads, each with a part of a recording in memory (default: %(default)s)",
    )
    parser.add_argument(
        "--push",
        metavar="REPO",
        help="upload the dataset to this repository on the Hub, which is created if it does not exist",
    )
    parser.add_argument("--private", action="store_true", help="with --push: create a private repository")


def run_build(args: argparse.Namespace) -> int:
    from huggingface_hub.utils import validate_repo_id

    from ..curation.chunks import Chunking, build_dataset
    from ..hub.dataset import push_dataset

    min_seconds = min(1.0, args.chunk) if args.min_seconds is None else args.min_seconds
    chunking = Chunking(args.chunk, args.overlap, min_seconds, args.sampling_rate, args.silence_threshold, args.format)
    if args.push:
        validate_repo_id(args.push)
    elif args.private:
        raise ValueError("--private needs --push: name the repository to upload the dataset to.")
    check_output(args.output, source=args.dataset, overwrite=args.overwrite)
    result = build_dataset(
        load_labelled(args),
        args.output,
        chunking,
        name=args.push,
        num_workers=args.num_workers,
        overwrite=args.overwrite,
    )
    print(
        f"{result.recordings - len(result.unreadable)} recordings, "
        f"{result.silent} silent and {result.short} short chunks left out:"
    )
    for split, number in result.clips.items():
        print(f"  {split}: {number} clips, {result.seconds[split] / 3600:.3f} hours")
    print(f"The dataset is in {args.output}")
    if args.push:
        print(push_dataset(args.output, args.push, private=args.private))
    return 0
