# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A hook of MkDocs. It adds pages with the docstrings of all public names, by the rooms that they come from."""

import re
import shutil
from pathlib import Path
from typing import Any

import polyaudio


ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "build" / "site-source" / "polyaudio"
FOLDER = "reference/docstrings"
# Each page: its title, and the rooms whose names it has
PAGES = {
    "use": ("Use a model", ("inference", "export", "data", "app")),
    "train": ("Train and evaluate", ("training", "augmentation", "evaluation")),
    "models": ("Models", ("configuration", "feature_extraction", "modeling")),
}
_HEADING = re.compile(r"^## (\w+)$", re.MULTILINE)


def on_startup(command: str, dirty: bool) -> None:
    """
    Copy the package to where mkdocstrings, which reads it without importing it, finds it as `polyaudio`.

    At `on_config`, mkdocstrings has already left out folders that are not there.
    """
    shutil.rmtree(SOURCE, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    shutil.copy(ROOT / "__init__.py", SOURCE)
    for room in {module_of(name).split(".")[1] for name in public_names()}:
        shutil.copytree(ROOT / room, SOURCE / room, ignore=shutil.ignore_patterns("__pycache__"))


def on_files(files: Any, config: Any) -> Any:
    """Add the pages."""
    from mkdocs.structure.files import File  # here, because the tests need no MkDocs

    for stem, (title, _) in PAGES.items():
        names = [name for name in public_names() if page_of(name) == stem]
        blocks = "".join(f"\n::: {module_of(name)}.{name}\n" for name in names)
        text = f"# {title}\n\nWhat `polyaudio` exports for this, with the docstrings of the code.\n{blocks}"
        files.append(File.generated(config, f"{FOLDER}/{stem}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Link each section of the hand-written reference to its docstring."""
    if page.file.src_uri != "reference/python.md":
        return markdown
    return _HEADING.sub(lambda heading: heading[0] + link_to(heading[1]), markdown)


def link_to(name: str) -> str:
    if name not in public_names():
        return ""
    return f"\n\n[Signature and docstring](docstrings/{page_of(name)}.md#{module_of(name)}.{name})"


def public_names() -> list[str]:
    return [name for name in polyaudio.__all__ if name != "__version__"]


def module_of(name: str) -> str:
    """The module of a public name, which is not imported for that."""
    return f"polyaudio{polyaudio._MODULE_OF[name]}"


def page_of(name: str) -> str:
    room = module_of(name).split(".")[1]
    return next(stem for stem, (_, rooms) in PAGES.items() if room in rooms)
