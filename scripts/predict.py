# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio predict`: label audio files."""

import json
import sys
from dataclasses import asdict

from .command import argument_parser, command
from .options import add_run_arguments
from .terminal import plain, print_error


DESCRIPTION = """\
Label audio files with a trained classifier. The files may have any sampling rate and number of channels.

A clip longer than a window (see --window) is cut into windows, and its scores are the mean over the windows, weighted
by their length. A frame classifier predicts events: onset and offset in seconds, and the mean score between them.
Files that cannot be read are listed, and the exit code is then 1."""

EXAMPLES = """\
  polyaudio predict concert.flac --model runs/ragas
  polyaudio predict *.wav --model ta012/SSLAM_AS2M_Finetuned --window 5
  polyaudio predict recordings/ --model runs/ragas --top-k 3 --json > labels.json
  polyaudio predict street.wav --model runs/events --threshold 0.3
"""


@command
def main(argv: list[str]) -> int:
    parser = argument_parser("predict", DESCRIPTION, EXAMPLES)
    add_run_arguments(parser, padding=None)
    parser.add_argument(
        "--top-k",
        type=int,
        metavar="K",
        help="number of labels to print for each file (default: 5); not for frame classifiers",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="score above which a frame belongs to an event (default: by the rules of the model, see tune-events, or "
        "0.5); for frame classifiers only",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)
    if args.top_k is not None and args.top_k < 1:
        parser.error("--top-k must be at least 1")
    if args.threshold is not None and not 0 <= args.threshold < 1:
        parser.error("--threshold must be at least 0 and below 1")

    from ..inference.files import find_files
    from ..inference.prediction import Predictor

    files = find_files(args.files)
    predictor = Predictor(
        args.model,
        top_k=args.top_k,
        threshold=args.threshold,
        window=args.window,
        padding=args.padding,
        batch_size=args.batch_size,
        device=args.device,
    )
    predictions = {}
    for prediction in predictor.run(files, num_workers=args.workers, description="Labelling"):
        predictions[prediction.file] = prediction
        if prediction.error is not None:
            print_error(f"polyaudio predict: {prediction.error}")

    readable = [predictions[file] for file in files if predictions[file].error is None]
    if args.json:
        kind = "events" if predictor.gives_events else "labels"
        content = [{"file": one.file, kind: [asdict(answer) for answer in getattr(one, kind)]} for one in readable]
        print(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        for prediction in readable:
            print(plain(prediction.file))
            for event in prediction.events or ():
                print(f"{event.onset:8.2f} {event.offset:8.2f}  {event.score:7.2%}  {plain(event.label)}")
            for label in prediction.labels or ():
                print(f"  {label.score:7.2%}  {plain(label.label)}")
    failed = len(files) - len(readable)
    if failed:
        print(f"polyaudio predict: {failed} of {len(files)} files could not be read", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
