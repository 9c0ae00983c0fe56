# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Keeps text from files, such as labels and file names, from steering the terminal that it is printed to."""

import contextlib
import os
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any, TextIO


# Categories of characters that move the cursor, change colours or the direction of text, or break lines: control,
# format, half of a character (in file names that are not UTF-8), line and paragraph separators.
_STEERING = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))

# Of these, what Indic and Persian words are written with.
_JOINERS = "\u200c\u200d"


def plain(text: object, *, keep: str = "") -> str:
    r"""
    Return a text with each character that can steer a terminal as `\u001b`. JSON stays the same JSON.

    Args:
        text: any object; its `str` is used.
        keep: such characters that are kept.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        character
        if character in keep or character in _JOINERS or unicodedata.category(character) not in _STEERING
        else _escaped(character)
        for character in text
    )


def print_error(text: str) -> None:
    """Print one plain line to standard error, without breaking a progress bar."""
    bars = sys.modules.get("tqdm.auto")  # where it is not loaded, there is no bar
    if bars is None:
        print(plain(text), file=sys.stderr)
    else:
        bars.tqdm.write(plain(text), file=sys.stderr)


@contextlib.contextmanager
def hidden_output(hide: bool) -> Iterator[None]:
    """Print nothing to standard output, if it is to be hidden. The log of the library is printed all the same."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere if hide else sys.stdout):
        yield


@contextlib.contextmanager
def plain_streams(*, with_bars: bool = True) -> Iterator[None]:
    """
    Make all that is printed plain but for line breaks and tabs.

    Progress bars, which go to standard error, also return to the start of the line and, with several bars, move up.

    Args:
        with_bars: without, standard error is no terminal for those who ask, so that it gets no progress bars.
    """
    output = _PlainStream(sys.stdout, "\n\t")
    errors = _PlainStream(sys.stderr, "\n\t\r", "\x1b[A", with_bars=with_bars)
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):  # type: ignore[type-var]
        yield


class _PlainStream:
    """A text stream that writes to another one, and is that one in everything else."""

    def __init__(self, stream: TextIO, keep: str, sequence: str | None = None, *, with_bars: bool = True):
        self._stream, self._keep, self._sequence, self._with_bars = stream, keep, sequence, with_bars

    def isatty(self) -> bool:
        return self._with_bars and self._stream.isatty()

    def write(self, text: str) -> int:
        parts = text.split(self._sequence) if self._sequence else [text]
        self._stream.write((self._sequence or "").join(plain(part, keep=self._keep) for part in parts))
        return len(text)

    def writelines(self, lines: Iterator[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))
