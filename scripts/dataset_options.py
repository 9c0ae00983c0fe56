# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What the actions of `polyaudio dataset` share: their arguments and how they write folders."""

import argparse
import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path


def add_action(
    actions, name: str, run: Callable[[argparse.Namespace], int], *, help: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """The parser of an action, with the arguments that say where labelled clips come from."""
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
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the new data set")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a data set of this command that is in that folder"
    )


def check_output(args: argparse.Namespace) -> None:
    """Raises `ValueError` for an output folder that must not be written to."""
    output, source = args.output.resolve(), Path(args.dataset).resolve()
    if source.is_dir() and (output == source or output in source.parents):
        raise ValueError(f"--output {args.output} would replace the data that it is made from; name another folder")
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    markers = ("dataset_dict.json", "mixtures.json")  # of `split` and of `mix`
    is_data_set = any(output.glob("data/*.parquet")) or any((output / name).is_file() for name in markers)
    if not is_data_set:
        raise ValueError(f"{args.output} is there already and holds something else; name another folder")
    if not args.overwrite:
        raise ValueError(f"{args.output} holds a data set already; name another folder, or pass --overwrite")


@contextlib.contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """
    A hidden folder beside `output` that takes its place when the block ends; an error removes it.

    What a killed command leaves has a name that says so, and the next one removes it.
    """
    output = output.resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    folder, replaced = (output.with_name(f".{output.name}.{word}") for word in ("incomplete", "replaced"))
    for left in (folder, replaced):
        if left.exists():
            shutil.rmtree(left)
    folder.mkdir()
    try:
        yield folder
        if output.exists():
            output.rename(replaced)
        folder.rename(output)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def default_workers() -> int:
    return min(4, os.cpu_count() or 1)
