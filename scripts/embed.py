# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio embed`: write the features of recordings."""

import argparse
import os
import sys
from pathlib import Path

from .command import argument_parser, command
from .embed_parquet import PARQUET_ONLY, add_parquet_arguments, leave, write_parquet
from .options import add_run_arguments, layer, load_inputs
from .terminal import print_error


DESCRIPTION = """\
Compute the features of recordings with a model and write them. The recordings may have any sampling rate and number of
channels. H is the hidden size of the model.

granularity   SSLAM, EAT                          SAMAudio         other audio encoders
  utterance   class token (H)                     pooled (H)       mean of the last hidden state (H)
  frame       patches, averaged over the mel      encoder frames   last hidden state
              bins (time patches of 160 ms, H)
  all         class token, patches (1 + n, H)     segments         last hidden state

A recording longer than a window (see --window) is cut into windows. Sequences of features are joined in time. Vectors
for the whole recording (utterance, class token) are averaged, weighted by the length of the windows.

--format npy and safetensors, for audio files only, write the features of FILE as float32 to DIR/FILE.npy. The path is
relative to the folder that contains all files. With --single-file they are written to DIR/features.npz or
DIR/features.safetensors, under the name FILE. DIR/index.jsonl has the SHA-256 of each audio file and of its features.

--format parquet, for vectors of collections of any size, writes DIR/data/*.parquet, with a row for each recording or
window: file, start, end, vector, SHA-256 of the recording and of the weights. datasets, DuckDB and polars open it.
DIR/failed.jsonl names what cannot be read, and why.

DIR/embed.json records the model and the settings. What the same weights computed from the same audio, and what is
complete, is skipped, so you can restart a run that was stopped, also with another number of processes. Under
`accelerate launch -m polyaudio.scripts.embed` or `torchrun -m`, each process does a share. Recordings that cannot be
read are listed, and the exit code is then 1."""

EXAMPLES = """\
  polyaudio embed recordings/ --model ta012/SSLAM_pretrain --granularity utterance --output features
  polyaudio embed *.wav --model runs/ragas --granularity frame --output features --format safetensors --single-file
  polyaudio embed recordings/ --model runs/ragas --format parquet --output features --processes 2
  find /data -name '*.flac' | polyaudio embed - --model runs/ragas --format parquet --output features
  polyaudio embed --dataset me/clips --streaming --model runs/ragas --format parquet --output out --push me/vectors
"""


@command
def main(argv: list[str]) -> int:
    parser = argument_parser("embed", DESCRIPTION, EXAMPLES)
    add_run_arguments(parser, padding="longest", auto="float32")
    parser.add_argument(
        "--granularity",
        choices=("all", "frame", "utterance"),
        help="which features to write, see above; parquet files have utterance",
    )
    parser.add_argument(
        "--layer",
        type=layer,
        metavar="N",
        help="number of layers below the features, from the end if negative, or mean (default: last layer)",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write the features to")
    parser.add_argument(
        "--format", choices=("npy", "safetensors", "parquet"), default="npy", help="file format (default: npy)"
    )
    parser.add_argument("--single-file", action="store_true", help="write one file with all features at the end")
    parser.add_argument("--overwrite", action="store_true", help="replace features that exist already")
    add_parquet_arguments(parser)
    args = parser.parse_args(argv)
    if args.format == "parquet":
        return write_parquet(parser, args)
    return _write_arrays(parser, args)


def _write_arrays(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    if args.granularity is None:
        parser.error("the following arguments are required: --granularity")
    for name in PARQUET_ONLY:
        if getattr(args, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')} needs --format parquet")

    from ..data.recordings import share_of
    from ..inference.collection import digest_of
    from ..inference.embedding import Embedder
    from ..inference.feature_folder import FeatureFolder, FeatureSettings
    from ..inference.files import local_files
    from ..inference.precision import recorded
    from ..inference.processes import device_of, launched_place, wait_for_others

    found = load_inputs(parser, args)
    files = local_files(found)
    if files is None:
        parser.error("datasets, archives and addresses need --format parquet")
    place = launched_place(args.device)
    embedder = Embedder(
        args.model,
        granularity=args.granularity,
        window=args.window,
        padding=args.padding,
        batch_size=args.batch_size,
        device=device_of(place, args.device),
        layer=args.layer,
        precision=args.precision,
        torch_compile=args.torch_compile,
    )
    model_name = os.path.abspath(args.model) if os.path.isdir(args.model) else args.model
    settings = FeatureSettings(
        model_name,
        digest_of(args.model),
        args.granularity,
        args.window,
        args.padding,
        args.layer,
        recorded(args.precision),
    )
    output = FeatureFolder(Path(args.output), settings, files, args.format, args.single_file)
    if place.world_size > 1:
        files = [str(one.audio) for one in share_of(found, found.root(), place.rank, place.world_size)]
    done = set() if args.overwrite else output.find_done(files)
    failed = 0
    todo = [file for file in files if file not in done]
    for result in embedder.run(todo, num_workers=args.workers, description="Embedding"):
        if result.features is None:
            failed += 1
            print_error(f"polyaudio embed: {result.error}")
        else:
            output.write(result.file, result.features)
    if place.world_size > 1:
        wait_for_others()
    if place.rank == 0:
        output.finish()

    skipped = f", {len(done)} existed already" if done else ""
    print(f"{output}: features of {len(todo) - failed} files written{skipped}")
    if failed:
        print(f"polyaudio embed: {failed} of {len(files)} files could not be read", file=sys.stderr)
    return leave(1 if failed else 0)


if __name__ == "__main__":
    sys.exit(main())
