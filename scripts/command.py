# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What the commands share: the parser of their arguments, their log and their exit codes."""

import contextlib
import errno
import functools
import logging
import os
import select
import sys
from collections.abc import Callable, Iterator
from typing import Protocol, TextIO

from .parser import CommandParser
from .terminal import plain, plain_streams


# What to do about errors of the system
_ADVICE = {
    errno.ENOSPC: ". Make room on the disk, or write to another one, and run the command again.",
    errno.EDQUOT: ". Make room on the disk, or write to another one, and run the command again.",
    errno.EACCES: ". Change the permissions, or choose another file or folder.",
    errno.EPERM: ". Change the permissions, or choose another file or folder.",
    errno.EROFS: ". Choose a folder that can be written to.",
}


class Command(Protocol):
    """The `main` of a command: it takes the arguments, by default those of the process, and returns the exit code."""

    def __call__(self, argv: list[str] | None = None) -> int: ...


def command(run: Callable[[list[str]], int | None]) -> Command:
    """Decorate a function of the command line's arguments: it becomes the `main` of a command, see [`exit_code`]."""

    @functools.wraps(run)
    def main(argv: list[str] | None = None) -> int:
        arguments = sys.argv[1:] if argv is None else argv
        if argv is None:
            hide_bars_of_libraries(arguments)

        def logged() -> int | None:
            with plain_streams(with_bars=not is_quiet(arguments)), printed_log():
                return run(arguments)

        name = run.__module__.rsplit(".", 1)[-1].replace("_", "-")
        return exit_code(f"polyaudio {name}", logged)

    return main


def is_quiet(argv: list[str]) -> bool:
    """Whether a command is not to show its progress. No flag takes this word as its value."""
    return "--quiet" in argv


def hide_bars_of_libraries(argv: list[str]) -> None:
    """
    Hide the progress bars of libraries in a log and with `--quiet`, in this process and those that it starts.

    They all are bars of tqdm, which reads this variable when it is imported. Called from Python, commands leave the
    environment alone.
    """
    if is_quiet(argv) or not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")


def exit_code(name: str, call: Callable[[], int | None]) -> int:
    """
    Call a function and return the exit code of its command.

    The library raises `ValueError` and `OSError` for input that it cannot use. Their message is printed on one line,
    and the exit code is 2. With the environment variable `POLYAUDIO_TRACEBACK=1` the traceback is shown instead. After
    Ctrl-C, and after a signal that stopped a run, the exit code is 130. If the reader of the output has closed it, as
    `head` does, the command ends quietly with 141. A module of another package that is missing, where polyaudio is
    installed without all of its requirements, is named, and the exit code is 2. Any other exception is a bug and ends
    with its traceback.
    """
    try:
        code = call() or 0
        sys.stdout.flush()
        return code
    except (KeyboardInterrupt, InterruptedError) as error:  # the latter says how to resume a run
        if os.environ.get("POLYAUDIO_TRACEBACK"):
            raise
        print(plain(f"{name}: {error if str(error) else 'interrupted'}"), file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _output_is_closed():
            return 141
        if os.environ.get("POLYAUDIO_TRACEBACK"):
            raise
        message = str(error)
        if "Original Traceback" in message:  # an error in a DataLoader worker has its own message in the last line
            message = message.rstrip().rpartition("\n")[2].partition(": ")[2]
        advice = _ADVICE.get(error.errno or 0, "") if isinstance(error, OSError) else ""
        print(plain(f"{name}: {' '.join(f'{message}{advice}'.split())}"), file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if os.environ.get("POLYAUDIO_TRACEBACK") or (error.name or "polyaudio").startswith("polyaudio"):
            raise
        advice = "`pip install polyaudio` installs all that polyaudio needs."
        print(f"{name}: this needs the module {error.name}, which is not installed. {advice}", file=sys.stderr)
        return 2


def _output_is_closed() -> bool:
    """Whether nobody reads the output any more. Python then must not write what is left when it ends."""
    try:
        output = sys.stdout.fileno()
    except OSError:  # not a file
        return False
    poll = select.poll()
    poll.register(output, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True


@contextlib.contextmanager
def printed_log() -> Iterator[None]:
    """Print the log of the library: information to standard output, warnings and errors to standard error."""
    library, printer = logging.getLogger("polyaudio"), _Printer(sys.stdout, sys.stderr)
    if any(isinstance(one, _Printer) for one in library.handlers):  # that of the command which called this one
        yield
        return
    level = library.level
    library.addHandler(printer)
    library.setLevel(logging.INFO)
    try:
        yield
    finally:
        library.removeHandler(printer)
        library.setLevel(level)


class _Printer(logging.Handler):
    def __init__(self, output: TextIO, errors: TextIO):
        super().__init__()
        self.output, self.errors = output, errors

    def emit(self, record: logging.LogRecord) -> None:
        stream = self.errors if record.levelno >= logging.WARNING else self.output
        print(plain(self.format(record), keep="\n"), file=stream)


def argument_parser(name: str, description: str, examples: str) -> CommandParser:
    """An argument parser whose help ends with examples."""
    return CommandParser(prog=f"polyaudio {name}", description=description, epilog=f"examples:\n{examples}")
