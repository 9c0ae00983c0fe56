# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Writes the notebooks: `python examples/notebooks.py`.

The scripts beside this one are the source. `# %% [markdown]` begins a cell of text in them, and `# %%` one of code, as
in editors that run a script cell by cell. A notebook begins with a link to Colab and a cell that installs polyaudio.
"""

import json
import re
from pathlib import Path
from typing import Any


HERE = Path(__file__).resolve().parent
COLAB = "https://colab.research.google.com"
INSTALL = """\
import importlib.util

if importlib.util.find_spec("polyaudio") is None:
    %pip install --quiet git+https://github.com/polyaudio/polyaudio"""


def scripts() -> list[Path]:
    """The scripts that are notebooks."""
    return [path for path in sorted(HERE.glob("*.py")) if "\n# %% [markdown]\n" in path.read_text(encoding="utf-8")]


def cells_of(script: str) -> list[tuple[str, str]]:
    """The kind of each cell, `markdown` or `code`, and its text."""
    parts = re.split(r"^# %%(.*)\n", script, flags=re.MULTILINE)[1:]
    cells = []
    for mark, text in zip(parts[::2], parts[1::2], strict=True):
        kind = "markdown" if mark.strip() == "[markdown]" else "code"
        if kind == "markdown":
            text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
        cells.append((kind, text.strip("\n")))
    return cells


def notebook_of(script: str, name: str) -> dict[str, Any]:
    """The notebook of a script, without outputs; `name` is that of its file."""
    (kind, title), *others = cells_of(script)
    badge = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({COLAB}/github/polyaudio/polyaudio/blob/main/{name})"
    cells = [(kind, f"{title}\n\n{badge}"), ("code", INSTALL), *others]
    return {
        "cells": [_cell(number, kind, text) for number, (kind, text) in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cell(number: int, kind: str, text: str) -> dict[str, Any]:
    outputs: dict[str, Any] = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {
        "cell_type": kind,
        "id": f"cell-{number}",
        "metadata": {},
        **outputs,
        "source": text.splitlines(keepends=True),
    }


def written(path: Path) -> str:
    """The content of the notebook of a script."""
    notebook = notebook_of(path.read_text(encoding="utf-8"), f"examples/{path.stem}.ipynb")
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path in scripts():
        path.with_suffix(".ipynb").write_text(written(path), encoding="utf-8")
        print(path.with_suffix(".ipynb").name)
