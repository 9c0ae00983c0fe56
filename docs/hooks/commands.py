# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A hook of MkDocs. Each section of the reference of commands ends with the help that the command prints."""

import contextlib
import io
import re
from typing import Any
from unittest import mock

from polyaudio.scripts.__main__ import main


PAGE = "reference/commands.md"
_SECTION = re.compile(r"^## polyaudio ([\w-]+)\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Called by MkDocs with the text of each page."""
    if page.file.src_uri != PAGE:
        return markdown
    return _SECTION.sub(lambda section: section[0] + "".join(map(folded, helps_of(section[1]))), markdown)


def helps_of(command: str) -> list[tuple[str, str]]:
    """The command line and the text of the help of a command and of its actions."""
    text = help_of(command)
    actions = re.search(r"^actions:\n((?: {2,}.*\n)+)", text, re.MULTILINE)
    names = re.findall(r"^ {4}(\w+) ", actions[1], re.MULTILINE) if actions else []
    return [(f"polyaudio {command} --help", text)] + [
        (f"polyaudio {command} {name} --help", help_of(command, name)) for name in names
    ]


def help_of(*command: str) -> str:
    """What a command prints with `--help`, for a terminal of 100 columns."""
    output = io.StringIO()
    environment, exits = mock.patch.dict("os.environ", COLUMNS="100"), contextlib.suppress(SystemExit)
    with environment, exits, contextlib.redirect_stdout(output):  # argparse exits after the help
        main([*command, "--help"])
    return output.getvalue()


def folded(help_text: tuple[str, str]) -> str:
    """A block that the reader opens."""
    title, text = help_text
    lines = "".join(f"    {line}\n" for line in ["```text", *text.rstrip().splitlines(), "```"])
    return f'\n??? info "`{title}`"\n\n{lines}\n'
