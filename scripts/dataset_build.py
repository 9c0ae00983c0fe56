# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio dataset build`: a data set of short clips from long recordings."""

import argparse
import shlex
from pathlib import Path

from ..data.readable import report_bad_clips
from ..hub.push import hub_errors
from .dataset_options import add_action, add_output_arguments, check_output, default_workers, new_folder
from .options import add_label_arguments, load_labelled


DESCRIPTION = """\
Cut recordings into chunks of the same length and write a data set that `polyaudio train --dataset` reads and that can
be pushed to the Hub as it is: parquet files with the chunks as FLAC, and a README.md.

A chunk keeps the label, the split and the name of its recording (column `recording`), and where it starts (`start`,
in seconds). Events get the chunk's own time. Chunks that are silent are left out: their level, the root mean square
of all their samples where full scale is 0 dB, is below --silence-threshold. What is left of a recording behind its
last whole chunk is a chunk too if it is long enough. Recordings that cannot be read are named and left out."""

EXAMPLES = """\
  polyaudio dataset build my-recordings/ --output my-chunks/ --chunk 20 --overlap 0.5 --sampling-rate 16000
  polyaudio dataset build my-recordings/ --output my-chunks/ --push me/my-chunks --private
"""


def add_build(actions) -> None:
    parser = add_action(
        actions,
        "build",
        run_build,
        help="cut recordings into a data set of short clips",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    add_label_arguments(parser)
    add_output_arguments(parser)
    parser.add_argument("--chunk", type=float, default=20.0, metavar="SECONDS", help="length of a chunk (20)")
    parser.add_argument(
        "--overlap", type=float, default=0.5, metavar="SHARE", help="share of a chunk that the next one repeats (0.5)"
    )
    parser.add_argument("--sampling-rate", type=int, metavar="HZ", help="rate of the chunks; by default they keep it")
    parser.add_argument(
        "--min-seconds",
        type=float,
        metavar="SECONDS",
        help="shortest chunk that is kept of a recording's end, or of a recording that is short (1, or a whole chunk)",
    )
    parser.add_argument(
        "--silence-threshold",
        type=float,
        default=-60.0,
        metavar="DB",
        help="level below which a chunk is left out (-60); --silence-threshold=-inf keeps all",
    )
    parser.add_argument("--format", default="flac", help="flac (the default) or wav, both of 16 bits")
    parser.add_argument(
        "--num-workers",
        type=int,
        default=default_workers(),
        metavar="N",
        help="threads that read and write, each with a recording in memory (%(default)s)",
    )
    parser.add_argument(
        "--push", metavar="REPO", help="upload it to this data set on the Hub, made where it is missing"
    )
    parser.add_argument("--private", action="store_true", help="with --push: for nobody else to see")


def run_build(args: argparse.Namespace) -> int:
    from huggingface_hub.utils import validate_repo_id

    from ..curation.chunks import Chunking, build_dataset

    min_seconds = min(1.0, args.chunk) if args.min_seconds is None else args.min_seconds
    chunking = Chunking(args.chunk, args.overlap, min_seconds, args.sampling_rate, args.silence_threshold, args.format)
    if args.push:
        validate_repo_id(args.push)
    elif args.private:
        raise ValueError("--private says how to --push; name a data set on the Hub too")
    check_output(args)
    clips = load_labelled(args)
    with new_folder(args.output) as folder:
        name = args.push or args.output.resolve().name
        result = build_dataset(clips, folder, chunking, name=name, num_workers=args.num_workers)
    report_bad_clips(result.unreadable)
    print(
        f"{result.recordings - len(result.unreadable)} recordings, "
        f"{result.silent} silent and {result.short} short chunks left out:"
    )
    for split, number in result.clips.items():
        print(f"  {split}: {number} clips, {result.seconds[split] / 3600:.3f} hours")
    print(f"The data set is in {args.output}")
    if args.push:
        print(push_dataset(args.output, args.push, args.private))
    return 0


def push_dataset(folder: Path, repo: str, private: bool) -> str:
    """
    Upload a data set and remove what was in its `data/` before.

    Returns:
        The address of the commit.

    Raises:
        ValueError: the Hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    api, outdated = HfApi(library_name="polyaudio"), "data/*.parquet"
    again = ["hf", "upload", repo, str(folder), ".", "--repo-type", "dataset", "--delete", outdated]
    with hub_errors(api.endpoint, repo, folder, shlex.join([*again, *(["--private"] if private else [])])):
        api.create_repo(repo, repo_type="dataset", private=private or None, exist_ok=True)
        if private and not api.repo_info(repo, repo_type="dataset").private:
            raise ValueError(f"{repo} exists and is public, which --private does not change; {folder} stays here")
        return api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=folder,
            delete_patterns=outdated,
            commit_message="Upload dataset",
        ).commit_url
