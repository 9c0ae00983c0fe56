# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio tonic`: estimate the tonic of recordings."""

import json
import sys
from typing import TYPE_CHECKING, Any

from .command import argument_parser, command
from .options import add_input_arguments, load_inputs, positive
from .terminal import plain, print_error


if TYPE_CHECKING:
    from ..inference.tonic_files import RecordingTonics

DESCRIPTION = """\
Estimate the tonic (Sa) of recordings of Indian art music, each over its whole length. No model is needed.

Printed are the candidates of each recording: the tonic in Hz, the nearest note with its distance in cents, and the
probability that it is right within 25 cents, in this octave. Probabilities are those of synthesised recordings, on
which the estimator was fitted. Files that cannot be read, and silent ones, are listed, and the exit code is then 1.

--output FILE writes a table: .csv with a row for each candidate, .jsonl with a line for each recording."""

EXAMPLES = """\
  polyaudio tonic concert.flac
  polyaudio tonic recordings/ --top-k 1 --output tonics.csv
  polyaudio tonic *.mp3 --json > tonics.json
  polyaudio tonic --dataset ragas --split test --top-k 1
"""


@command
def main(argv: list[str]) -> int:
    parser = argument_parser("tonic", DESCRIPTION, EXAMPLES)
    add_input_arguments(parser)
    parser.add_argument(
        "--top-k",
        type=positive(int),
        default=3,
        metavar="K",
        help="number of candidates for each recording, at most 10 (default: 3)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--output", metavar="FILE", help="write a .csv or .jsonl file, and print no tonics")
    args = parser.parse_args(argv)
    if args.top_k > 10:
        parser.error("--top-k must be at most 10")
    if args.output is not None and args.json:
        parser.error("use either --json or --output")

    from ..inference.tonic_files import as_record, check_tonic_format, recording_tonics, write_tonics

    if args.output is not None:
        check_tonic_format(args.output)
    recordings = load_inputs(parser, args)
    failed: list[Any] = []
    found = recording_tonics(recordings, number=args.top_k, failed=failed, description="Finding tonics")
    if args.output is not None:
        written = write_tonics(found, args.output)
        print(f"{args.output}: tonics of {written} recordings written")
    elif args.json:
        done = [as_record(one) for one in found]
        written = len(done)
        print(json.dumps(done, indent=2, ensure_ascii=False))
    else:
        written = 0
        for one in found:
            _print_one(one)
            written += 1
    for one in failed:
        print_error(f"polyaudio tonic: {one.file}: {one.error}")
    if failed:
        print(f"polyaudio tonic: {len(failed)} of {written + len(failed)} files could not be read", file=sys.stderr)
    return 1 if failed else 0


def _print_one(one: "RecordingTonics") -> None:
    print(plain(one.file))
    for tonic in one.tonics:
        print(f"  {tonic.frequency:7.2f} Hz  {tonic.note:<3} {tonic.cents:+5.0f} cents  {tonic.probability:7.2%}")


if __name__ == "__main__":
    sys.exit(main())
