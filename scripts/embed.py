# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio embed`: write the features of audio files."""

import os
import sys
from pathlib import Path

from .command import argument_parser, command
from .options import add_run_arguments
from .terminal import print_error


DESCRIPTION = """\
Compute the features of audio files with a model and write them as float32 arrays. The files may have any sampling rate
and number of channels. H is the hidden size of the model.

granularity   SSLAM, EAT                          SAMAudio         other audio encoders
  utterance   class token (H)                     pooled (H)       mean of the last hidden state (H)
  frame       patches, averaged over the mel      encoder frames   last hidden state
              bins (time patches of 160 ms, H)
  all         class token, patches (1 + n, H)     segments         last hidden state

A clip longer than a window (see --window) is cut into windows. Sequences of features are joined in time. Vectors for
the whole clip (utterance, class token) are averaged, weighted by the length of the windows.

The features of FILE are written to DIR/FILE.npy. The path is relative to the folder that contains all files. With
--single-file they are written to DIR/features.npz or DIR/features.safetensors, under the name FILE. DIR/embed.json
records the model and the settings, and DIR/index.jsonl the SHA-256 of each audio file and of its features. What the
same weights computed from the same audio, and what is complete, is skipped, so you can restart a run that was stopped.
Several processes can write to one folder. Files that cannot be read are listed, and the exit code is then 1."""

EXAMPLES = """\
  polyaudio embed recordings/ --model ta012/SSLAM_pretrain --granularity utterance --output features
  polyaudio embed *.wav --model runs/ragas --granularity frame --output features --format safetensors --single-file
  polyaudio embed *.wav --model ta012/SSLAM_pretrain --granularity all --output features --padding max_length
"""


@command
def main(argv: list[str]) -> int:
    parser = argument_parser("embed", DESCRIPTION, EXAMPLES)
    add_run_arguments(parser, padding="longest")
    parser.add_argument(
        "--granularity",
        required=True,
        choices=("all", "frame", "utterance"),
        help="which features to write, see above",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write the features to")
    parser.add_argument("--format", choices=("npy", "safetensors"), default="npy", help="file format (default: npy)")
    parser.add_argument("--single-file", action="store_true", help="write one file with all features at the end")
    parser.add_argument("--overwrite", action="store_true", help="replace features that exist already")
    args = parser.parse_args(argv)

    from ..inference.embedding import Embedder
    from ..inference.exported import digest_of_export, find_export
    from ..inference.feature_folder import FeatureFolder, FeatureSettings
    from ..inference.files import find_files

    files = find_files(args.files)
    embedder = Embedder(
        args.model,
        granularity=args.granularity,
        window=args.window,
        padding=args.padding,
        batch_size=args.batch_size,
        device=args.device,
    )
    model_name = os.path.abspath(args.model) if os.path.isdir(args.model) else args.model
    export = find_export(args.model)
    if export is None:
        from ..modeling.digests import digest_of_model

        weights = digest_of_model(args.model)
    else:
        weights = digest_of_export(export)
    settings = FeatureSettings(model_name, weights, args.granularity, args.window, args.padding)
    output = FeatureFolder(Path(args.output), settings, files, args.format, args.single_file)
    done = set() if args.overwrite else output.find_done(files)
    failed = 0
    todo = [file for file in files if file not in done]
    for result in embedder.run(todo, num_workers=args.workers, description="Embedding"):
        if result.features is None:
            failed += 1
            print_error(f"polyaudio embed: {result.error}")
        else:
            output.write(result.file, result.features)
    output.finish()

    skipped = f", {len(done)} existed already" if done else ""
    print(f"{output}: features of {len(todo) - failed} files written{skipped}")
    if failed:
        print(f"polyaudio embed: {failed} of {len(files)} files could not be read", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
