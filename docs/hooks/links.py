# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A hook of MkDocs. Links to files of the repository that are no pages of the site lead to GitHub there.

It also warns of a page that would make a browser ask another host for something. With `--strict` that is an error.
"""

import logging
import re
from pathlib import Path
from typing import Any


ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = "https://github.com/polyaudio/polyaudio/{kind}/main/{path}"
_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_FETCHED = re.compile(r"""<(?:script|img|iframe|source|audio|video)\b[^>]*\bsrc=["']?(?:https?:)?//[^"'\s>]+""")
_STYLE = re.compile(r"""<link\b[^>]*\brel=["']?(?:stylesheet|preconnect|preload|icon)\b[^>]*(?:https?:)?//[^"'\s>]+""")
_LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Called by MkDocs with the text of each page, which has relative links as GitHub needs them."""
    parts = _FENCED.split(markdown)
    parts[::2] = [
        _LINK.sub(lambda link: as_reachable(link, page.file.abs_src_path, config.docs_dir), s) for s in parts[::2]
    ]
    return "".join(parts)


def as_reachable(link: re.Match, page: str | None, docs: str) -> str:
    """The link as it is, or, where its target exists but is not on the site, to the target on GitHub."""
    if page is None:  # a generated page
        return link[0]
    target = (Path(page).parent / link[1]).resolve()
    if not target.exists() or (target.is_relative_to(docs) and target.suffix != ".py"):
        return link[0]
    kind = "tree" if target.is_dir() else "blob"
    return f"]({REPOSITORY.format(kind=kind, path=target.relative_to(ROOT).as_posix())}{link[2] or ''})"


def on_post_page(output: str, page: Any, config: Any) -> None:
    """Called by MkDocs with the HTML of each page."""
    for request in [*_FETCHED.findall(output), *_STYLE.findall(output)]:
        logging.getLogger("mkdocs.hooks").warning(f"{page.file.src_uri} asks another host: {request}")
