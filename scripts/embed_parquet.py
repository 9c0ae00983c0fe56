# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio embed --format parquet`: vectors of collections."""

import argparse
import os
import sys

from .options import load_inputs, positive
from .terminal import print_error


PARQUET_ONLY = ("rows", "dtype", "keep_columns", "processes", "shard_size", "push", "private")


def add_parquet_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `--format parquet`."""
    parquet = parser.add_argument_group("for --format parquet")
    parquet.add_argument(
        "--rows", choices=("recording", "window"), default="recording", help="what has a row (default: recording)"
    )
    parquet.add_argument(
        "--dtype", choices=("float32", "float16"), default="float32", help="of the vectors (default: float32)"
    )
    parquet.add_argument(
        "--keep-columns",
        nargs="+",
        default=[],
        metavar="NAME",
        help="columns of a dataset to write beside the vectors",
    )
    parquet.add_argument(
        "--processes",
        type=positive(int),
        default=1,
        metavar="N",
        help="number of processes that compute, on this machine (default: 1)",
    )
    parquet.add_argument(
        "--shard-size",
        type=positive(int),
        default=512,
        metavar="N",
        help="number of recordings in a file; a process that is killed loses at most these (default: 512)",
    )
    parquet.add_argument(
        "--push", metavar="REPO", help="upload the vectors as a dataset to this repository on the Hub"
    )
    parquet.add_argument("--private", action="store_true", help="with --push: create a private repository")


def write_parquet(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """Write the vectors, and return the exit code."""
    if args.granularity not in (None, "utterance"):
        parser.error("--format parquet holds vectors of --granularity utterance; use npy or safetensors for others")
    if args.single_file:
        parser.error("--single-file is for npy and safetensors")
    if args.private and not args.push:
        parser.error("--private needs --push")

    from ..inference.collection import embed_collection

    if args.push:
        from huggingface_hub.utils import validate_repo_id

        validate_repo_id(args.push)
    report = embed_collection(
        load_inputs(parser, args, args.keep_columns),
        args.model,
        args.output,
        rows=args.rows,
        dtype=args.dtype,
        window=args.window,
        padding=args.padding,
        batch_size=args.batch_size,
        num_workers=args.workers,
        processes=args.processes,
        shard_size=args.shard_size,
        device=args.device,
        layer=args.layer,
        precision=args.precision,
        torch_compile=args.torch_compile,
        overwrite=args.overwrite,
        description="Embedding",
    )
    if report.is_main_process:
        for failed in report.failed:
            print_error(f"polyaudio embed: {failed.file}: {failed.reason}")
        for problem in report.unfinished:
            print_error(f"polyaudio embed: {problem}")
        there = f", {report.skipped} were there already" if report.skipped else ""
        print(f"{args.output}: vectors of {report.written} recordings written{there}")
        if report.failed:
            print(f"polyaudio embed: {len(report.failed)} recordings could not be read", file=sys.stderr)
        if args.push and not report.unfinished:
            from ..hub.features import push_features

            print(push_features(args.output, args.push, private=args.private))
    return leave(1 if report.failed or report.unfinished else 0)


def leave(code: int) -> int:
    """
    End the process group of `torchrun` or `accelerate launch`, and return the exit code. It is 0 there, also where
    recordings could not be read, because a launcher would take 1 for a crash.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return code
    from ..training.runs import leave_together

    leave_together()
    return 0
