# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio predict`: label audio files."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .command import argument_parser, command
from .embed_parquet import leave
from .options import add_run_arguments, load_inputs, positive
from .terminal import plain, print_error


if TYPE_CHECKING:
    from ..data.recordings import Recordings
    from ..inference.prediction import FilePrediction

_GROUP = 512  # recordings whose answers are printed at once

DESCRIPTION = """\
Label audio files with a trained classifier. The files may have any sampling rate and number of channels.

A clip longer than a window (see --window) is cut into windows, and its scores are the mean over the windows, weighted
by their length. A frame classifier predicts events: onset and offset in seconds, and the mean score between them.
A calibrated model (see `polyaudio calibrate`) says "none of these" where no score is high enough.
Files that cannot be read are listed, and the exit code is then 1.

--output FILE, for collections of any size, writes a table: .parquet and .csv with a row for each label or event,
.jsonl with a line for each recording. Under `accelerate launch -m polyaudio.scripts.predict` or `torchrun -m`, each
process does a share."""

AUTO = (
    "for large classifiers of clips bfloat16, where it is faster on this machine and a batch gets the same labels; "
    "files whose best scores are close are computed again in float32"
)

EXAMPLES = """\
  polyaudio predict concert.flac --model runs/ragas
  polyaudio predict *.wav --model ta012/SSLAM_AS2M_Finetuned --window 5
  polyaudio predict recordings/ --model runs/ragas --top-k 3 --json > labels.json
  polyaudio predict street.wav --model runs/events --threshold 0.3
  polyaudio predict recordings/ --model runs/ragas --top-k 1 --output labels.parquet --processes 2
"""


@command
def main(argv: list[str]) -> int:
    parser = argument_parser("predict", DESCRIPTION, EXAMPLES)
    add_run_arguments(parser, padding=None, auto=AUTO)
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
    parser.add_argument("--output", metavar="FILE", help="write a .parquet, .csv or .jsonl file, and print no answers")
    parser.add_argument(
        "--processes",
        type=positive(int),
        default=1,
        metavar="N",
        help="with --output: number of processes that compute, on this machine (default: 1)",
    )
    args = parser.parse_args(argv)
    if args.top_k is not None and args.top_k < 1:
        parser.error("--top-k must be at least 1")
    if args.threshold is not None and not 0 <= args.threshold < 1:
        parser.error("--threshold must be at least 0 and below 1")
    if args.output is None and args.processes > 1:
        parser.error("--processes needs --output")
    if args.output is not None and args.json:
        parser.error("use either --json or --output")
    recordings = load_inputs(parser, args)
    return _print(args, recordings) if args.output is None else _write(args, recordings)


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    return {
        name: getattr(args, name)
        for name in ("top_k", "threshold", "window", "padding", "batch_size", "device", "precision", "torch_compile")
    }


def _write(args: argparse.Namespace, recordings: "Recordings") -> int:
    from ..inference.prediction_files import predict_collection

    report = predict_collection(
        recordings,
        args.model,
        args.output,
        num_workers=args.workers,
        processes=args.processes,
        description="Labelling",
        **_settings(args),
    )
    if report.is_main_process:
        for failed in report.failed:
            print_error(f"polyaudio predict: {failed.file}: {failed.reason}")
        print(f"{args.output}: answers for {report.written} recordings written")
        if report.choice is not None:
            print(f"polyaudio predict: {report.choice}", file=sys.stderr)
        if report.failed:
            print(f"polyaudio predict: {len(report.failed)} recordings could not be read", file=sys.stderr)
    return leave(1 if report.failed else 0)


def _print(args: argparse.Namespace, recordings: "Recordings") -> int:
    from ..data.recordings import share_of
    from ..inference.files import local_files
    from ..inference.groups import read_groups
    from ..inference.prediction import Predictor

    predictor = Predictor(args.model, **_settings(args))
    files = local_files(recordings)
    unfetched: list[tuple[str, str]] = []
    # Files are read at once, the longest first. Others may be too many for that
    groups: Iterator[Sequence[Any]] = (
        iter([files]) if files else read_groups(share_of(recordings, recordings.root()), _GROUP, unfetched)
    )
    total = failed = 0
    content = []
    for group in groups:
        names = [one if isinstance(one, str) else one.name for one in group]
        predictions = {}
        for prediction in predictor.run(group, num_workers=args.workers, description="Labelling"):
            predictions[prediction.file] = prediction
            if prediction.error is not None:
                print_error(f"polyaudio predict: {prediction.error}")
        readable = [predictions[name] for name in names if predictions[name].error is None]
        total, failed = total + len(names), failed + len(names) - len(readable)
        if args.json:
            content += [one.to_dict() for one in readable]
        else:
            for prediction in readable:
                _print_one(prediction)
    for name, reason in unfetched:
        print_error(f"polyaudio predict: {name}: {reason}")
    if predictor.choice is not None:
        print(f"polyaudio predict: {predictor.choice}", file=sys.stderr)
    if args.json:
        print(json.dumps(content, indent=2, ensure_ascii=False))
    failed += len(unfetched)
    if failed:
        print(f"polyaudio predict: {failed} of {total + len(unfetched)} files could not be read", file=sys.stderr)
    return 1 if failed else 0


def _print_one(prediction: "FilePrediction") -> None:
    print(plain(prediction.file))
    for event in prediction.events or ():
        print(f"{event.onset:8.2f} {event.offset:8.2f}  {event.score:7.2%}  {plain(event.label)}")
    if prediction.none_of_these:
        print("  none of these, but most like")
    for label in prediction.labels or ():
        print(f"  {label.score:7.2%}  {plain(label.label)}")


if __name__ == "__main__":
    sys.exit(main())
