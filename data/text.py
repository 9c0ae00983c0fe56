# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Text from files, such as names of classes, in lines of other files, and words that somebody mistyped."""

import difflib
from collections.abc import Iterable


# They do not print, and Indic and Persian words are written with them
_JOINERS = "\u200c\u200d"


def one_line(text: str) -> str:
    """The text with a space for each run of white space, line breaks included, and no unprintable characters."""
    words = " ".join(str(text).split())
    return "".join(character for character in words if character.isprintable() or character in _JOINERS)


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """
    The end of a message about a word that is not known: which of the known ones are close to it, if any.

    Args:
        word: what was written.
        known: what could have been written.
        prefix: what the known words are shown with, such as `--`.

    Example:

    ```python
    >>> did_you_mean("trian", ["train", "pretrain", "probe"])
    ". Did you mean 'train'?"
    ```
    """
    names = sorted(map(str, known))
    close = difflib.get_close_matches(word, names, 1)
    longer = [name for name in names if name.startswith(f"{word}-")]
    with_it = [name for name in names if f"-{word}" in name]
    found = list(dict.fromkeys([*longer, *close] or with_it))[:3]
    return f". Did you mean {' or '.join(repr(prefix + name) for name in found)}?" if found else ""


def listed(names: Iterable[str], most: int = 10) -> str:
    """Join names for a message, sorted; names beyond the first `most` are only counted."""
    names = sorted(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
