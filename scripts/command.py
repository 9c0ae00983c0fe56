# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What the commands share: the parser of their arguments, their log and their exit codes."""

import argparse
import contextlib
import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Protocol

from .terminal import plain, plain_streams


class Command(Protocol):
    """The `main` of a command: it takes the arguments, by default those of the process, and returns the exit code."""

    def __call__(self, argv: list[str] | None = None) -> int: ...


def command(run: Callable[[list[str]], int | None]) -> Command:
    """
    Decorate a function of the command line's arguments: it becomes the `main` of a command.

    The library raises `ValueError` and `OSError` for input that it cannot use. The command prints their message on
    one line and ends with exit code 2. With the environment variable `POLYAUDIO_TRACEBACK=1` it shows the traceback
    instead. Any other exception is a bug and ends with its traceback.
    """

    @functools.wraps(run)
    def main(argv: list[str] | None = None) -> int:
        try:
            with plain_streams(), printed_log():
                return run(sys.argv[1:] if argv is None else argv) or 0
        except (ValueError, OSError) as error:
            if os.environ.get("POLYAUDIO_TRACEBACK"):
                raise
            name = run.__module__.rsplit(".", 1)[-1]
            message = str(error)
            if "Original Traceback" in message:  # an error in a DataLoader worker has its own message in the last line
                message = message.rstrip().rpartition("\n")[2].partition(": ")[2]
            print(plain(f"polyaudio {name}: {' '.join(message.split())}"), file=sys.stderr)
            return 2

    return main


@contextlib.contextmanager
def printed_log() -> Iterator[None]:
    """Print the log of the library: information to standard output, warnings and errors to standard error."""
    library, printer = logging.getLogger("polyaudio"), _Printer()
    level = library.level
    library.addHandler(printer)
    library.setLevel(logging.INFO)
    try:
        yield
    finally:
        library.removeHandler(printer)
        library.setLevel(level)


class _Printer(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(
            plain(self.format(record), keep="\n"), file=sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        )


def argument_parser(name: str, description: str, examples: str) -> argparse.ArgumentParser:
    """An argument parser whose help ends with examples."""
    parser = argparse.ArgumentParser(
        prog=f"polyaudio {name}",
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.color = False  # type: ignore[attr-defined]  # of Python 3.14; commands print nothing that steers a terminal
    return parser
