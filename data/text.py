# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Text from files, such as names of classes, in lines of other files."""

# They do not print, and Indic and Persian words are written with them
_JOINERS = "\u200c\u200d"


def one_line(text: str) -> str:
    """The text with a space for each run of white space, line breaks included, and no unprintable characters."""
    words = " ".join(str(text).split())
    return "".join(character for character in words if character.isprintable() or character in _JOINERS)
