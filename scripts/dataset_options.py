# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Arguments that the actions of `polyaudio dataset` share."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path


def add_action(
    actions, name: str, run: Callable[[argparse.Namespace], int], *, help: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """Add an action, with the arguments that name the dataset and its audio."""
    parser = actions.add_parser(
        name,
        help=help,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("dataset", metavar="DATASET", help="Hub name, local folder, folder of save_to_disk, or ragas")
    parser.add_argument("--audio-column", default="audio", metavar="NAME", help="column with the audio (audio)")
    parser.set_defaults(run=run)
    return parser


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the new dataset")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a dataset in that folder that polyaudio wrote"
    )


def default_workers() -> int:
    return min(4, os.cpu_count() or 1)
