# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio tune-events`: choose how a frame classifier gets events from its scores."""

import sys

from .command import argument_parser, command
from .dataset_options import add_label_arguments


DESCRIPTION = """\
Choose how a frame classifier gets events from its scores: for each class the thresholds, a median filter, the least
duration and the longest gap with the best F1 of events on a validation split. The rules are written to the config.json
of the model, and `annotate`, `predict` and `evaluate` follow them. Do not choose them on the split that you report
results on."""

EXAMPLES = """\
  polyaudio tune-events runs/events --dataset street-recordings/
  polyaudio tune-events runs/events --dataset street-recordings/ --split dev --resolution 0.04
"""


@command
def main(argv: list[str]) -> None:
    parser = argument_parser("tune-events", DESCRIPTION, EXAMPLES)
    parser.add_argument("model", help="model folder, whose config.json is changed")
    parser.add_argument("--dataset", required=True, help="Hub name, local folder, or folder that save_to_disk wrote")
    parser.add_argument("--split", default="validation", help="split to choose on (default: validation)")
    parser.add_argument("--audio-column", default="audio", help="column with the audio (default: audio)")
    add_label_arguments(parser)
    parser.add_argument(
        "--resolution",
        type=float,
        metavar="SECONDS",
        help="length of a frame, as in `annotate` (default: the model's)",
    )
    parser.add_argument("--batch-size", type=int, default=8, help="number of windows in a batch (default: 8)")
    args = parser.parse_args(argv)

    from ..evaluation.tables import format_tuning
    from ..evaluation.tuning import tune_events
    from .terminal import plain

    tuning = tune_events(
        args.model,
        args.dataset,
        split=args.split,
        audio_column=args.audio_column,
        label_column=args.label_column,
        label_columns=args.label_columns,
        label_separator=args.label_separator,
        group_column=args.group_column,
        resolution=args.resolution,
        batch_size=args.batch_size,
    )
    print(format_tuning(tuning))
    print(plain(f"\nThe rules are in the config.json of {args.model}"))


if __name__ == "__main__":
    sys.exit(main())
