# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What the commands share: how they take their arguments and how they end."""

import argparse
import contextlib
import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator


def command(run: Callable[[list[str]], int | None]) -> Callable[[list[str] | None], int]:
    """
    Make a command of a function of its arguments: errors that a user can mend end it with one line and code 2.

    These are `ValueError` and `OSError`. The library raises them for input that it cannot use, and their messages say
    what to do. `POLYAUDIO_TRACEBACK=1` shows where they come from. Anything else is a bug and ends with its traceback.
    """

    @functools.wraps(run)
    def main(argv: list[str] | None = None) -> int:
        try:
            with printed_log():
                return run(sys.argv[1:] if argv is None else argv) or 0
        except (ValueError, OSError) as error:
            if os.environ.get("POLYAUDIO_TRACEBACK"):
                raise
            name = run.__module__.rsplit(".", 1)[-1]
            message = str(error)
            if "Original Traceback" in message:  # of an error in a DataLoader's worker, whose last line tells it
                message = message.rstrip().rpartition("\n")[2].partition(": ")[2]
            print(f"polyaudio {name}: {' '.join(message.split())}", file=sys.stderr)
            return 2

    return main


@contextlib.contextmanager
def printed_log() -> Iterator[None]:
    """Print what the library logs: news to standard output, warnings and errors to standard error."""
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
        print(self.format(record), file=sys.stderr if record.levelno >= logging.WARNING else sys.stdout)


def argument_parser(name: str, description: str, examples: str) -> argparse.ArgumentParser:
    """An argument parser whose help ends with examples."""
    return argparse.ArgumentParser(
        prog=f"polyaudio {name}",
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
