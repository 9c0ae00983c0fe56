# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio dataset`: the actions on datasets of audio."""

import sys

from .command import argument_parser, command
from .dataset_build import add_build
from .dataset_check import add_check
from .dataset_inspect import add_inspect
from .dataset_mix import add_mix
from .dataset_split import add_split
from .dataset_stats import add_stats


EXAMPLES = """\
  polyaudio dataset build my-recordings/ --output my-chunks/ --sampling-rate 16000
  polyaudio dataset inspect my-chunks/ --output inspection/
  polyaudio dataset split my-chunks/ --output my-split/ --test-size 0.1 --validation-size 0.1
  polyaudio dataset mix my-sounds/ --output my-soundscapes/ --clips 2000 --test-clips 300
  polyaudio dataset check my-ragas/ --output check.json
  polyaudio dataset stats my-recordings/
"""


@command
def main(argv: list[str]) -> int:
    parser = argument_parser("dataset", "Build, inspect, split, mix and check datasets of audio.", EXAMPLES)
    actions = parser.add_subparsers(required=True, metavar="ACTION", title="actions")
    for add_action in (add_build, add_inspect, add_split, add_mix, add_check, add_stats):
        add_action(actions)
    args = parser.parse_args(argv)
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
