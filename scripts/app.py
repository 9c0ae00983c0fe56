# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio app`: a page on which people try models."""

import sys

from .command import argument_parser, command
from .options import positive


DESCRIPTION = """\
Start a page on which people try trained classifiers without programming: they upload or record a sound, and see its
labels, its events over time, and files for other programs. The page runs until Ctrl-C. Only this machine can open it,
unless --share asks Gradio for a public address, or GRADIO_SERVER_NAME=0.0.0.0 is set. It needs polyaudio[app]."""

EXAMPLES = """\
  polyaudio app --model runs/ragas
  polyaudio app --model runs/ragas --model runs/events --examples todi.flac kalyani.flac --port 7860
"""


@command
def main(argv: list[str]) -> None:
    parser = argument_parser("app", DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="MODEL",
        help="model folder or Hub name; give it several times for people to choose",
    )
    parser.add_argument("--examples", nargs="+", default=[], metavar="FILE", help="audio files to try")
    parser.add_argument(
        "--port", type=positive(int), metavar="N", help="port of the page (default: the first free one from 7860)"
    )
    parser.add_argument(
        "--share", action="store_true", help="also make a public address that leads here through Gradio's servers"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps, ... (default: the accelerator if there is one)")
    args = parser.parse_args(argv)

    from ..app.page import build_app

    build_app(args.model, examples=args.examples, device=args.device).launch(server_port=args.port, share=args.share)


if __name__ == "__main__":
    sys.exit(main())
