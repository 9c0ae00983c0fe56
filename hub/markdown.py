# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Text and tables as Markdown, whatever characters they contain."""

import re

from ..data.text import one_line


def markdown_table(table: list[list[str]]) -> str:
    """A table of strings as Markdown; the first row is the header."""
    header, *rows = [" | ".join(map(escape, row)) for row in table]
    lines = [header, " | ".join(["---"] + ["---:"] * (len(table[0]) - 1)), *rows]
    return "\n".join(f"| {line} |" for line in lines)


def escape(text: str) -> str:
    """The text on one line, with all characters escaped that have a meaning in Markdown."""
    return re.sub(r"([\\`*_\[\]<>|~$&#!])", r"\\\1", one_line(text))


def inline_code(text: str) -> str:
    """The text on one line as inline code."""
    text = one_line(text)
    ticks = "`" * (_longest_ticks(text) + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def fenced(text: str, language: str = "") -> str:
    """The text as a code block."""
    ticks = "`" * max(3, _longest_ticks(text) + 1)
    return f"{ticks}{language}\n{text}\n{ticks}"


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
