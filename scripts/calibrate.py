# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio calibrate`: make the scores of a classifier probabilities."""

import sys

from .command import argument_parser, command
from .dataset_options import add_data_home


DESCRIPTION = """\
Make the scores of a classifier with one label a clip into probabilities, on recordings that it was not trained on.

A temperature is fitted to the scores of recordings, and the last layer of the model is divided by it. So every program
that runs the model gives the same calibrated scores. A threshold is chosen, too: `predict` answers "none of these" if
the highest score is below it. Both are in the config.json of the new folder. Measure the result with
`polyaudio evaluate` on a third split."""

EXAMPLES = """\
  polyaudio calibrate runs/ragas --dataset my-ragas/ --split validation --output runs/calibrated
  polyaudio calibrate runs/ragas --dataset my-ragas/ --false-refusals 0.1 --output runs/calibrated
"""


@command
def main(argv: list[str]) -> None:
    parser = argument_parser("calibrate", DESCRIPTION, EXAMPLES)
    parser.add_argument("model", help="model folder or Hub name")
    parser.add_argument("--dataset", required=True, help="as for `polyaudio evaluate`")
    add_data_home(parser)
    parser.add_argument("--split", default="validation", help="split to calibrate on (default: validation)")
    parser.add_argument("--audio-column", default="audio", help="column with the audio (default: audio)")
    parser.add_argument("--label-column", help="column with the label")
    parser.add_argument("--group-column", help="column with the recording that a clip comes from")
    parser.add_argument(
        "--false-refusals",
        type=float,
        default=0.05,
        metavar="P",
        help='largest share of these recordings that are answered with "none of these" (default: 0.05)',
    )
    parser.add_argument("--batch-size", type=int, default=8, help="number of clips in a batch (default: 8)")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the calibrated model")
    args = parser.parse_args(argv)

    from ..evaluation.tables import format_calibration
    from ..training.calibration import calibrate
    from .terminal import plain

    result = calibrate(
        args.model,
        args.dataset,
        output=args.output,
        split=args.split,
        false_refusals=args.false_refusals,
        audio_column=args.audio_column,
        label_column=args.label_column,
        group_column=args.group_column,
        data_home=args.data_home,
        batch_size=args.batch_size,
    )
    print(format_calibration(result.calibration, result.before, result.after))
    print(plain(f"\nThe calibrated model is in {args.output}"))


if __name__ == "__main__":
    sys.exit(main())
