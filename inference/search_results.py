# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Writes the results of a search as JSON, CSV or a page to listen to."""

import csv
import html
import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from string import Template
from typing import Any

from ..data.folders import finite, write_whole
from ..data.text import one_line
from .duplicates import Duplicate
from .links import link_to
from .search import SearchResult


_FORMATS = (".json", ".csv", ".html")

# Columns of features that say nothing to a reader of the page
_DIGESTS = ("audio", "model")


def write_results(
    results: Sequence[SearchResult] | Sequence[Sequence[Duplicate]],
    path: str | os.PathLike,
    *,
    root: str | os.PathLike | None = None,
) -> None:
    """
    Write what [`search`] or [`find_duplicates`] returned.

    The page plays the recordings where they lie, by paths relative to the page, and needs no network. All text in it
    is text: no file name can run code. In it and in CSV, a space replaces each run of white space.

    Args:
        results: results of queries, or groups of near-duplicates.
        path: the file; its extension is `.json`, `.csv` or `.html`. Its folder is created.
        root: folder that the names of the recordings are relative to; without it, the page has names only.

    Raises:
        ValueError: the extension is none of these.
        OSError: the file cannot be written.
    """
    path = Path(path)
    suffix = check_format(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".json":
        text = json.dumps(finite(_json(results)), indent=2, ensure_ascii=False, default=str) + "\n"
    elif suffix == ".csv":
        text = _csv(_rows(results))
    else:
        text = _page(results, path.parent, None if root is None else Path(root))
    # In file names that are not UTF-8 there are halves of characters
    write_whole(path, lambda new: new.write_bytes(text.encode(errors="backslashreplace")))


def check_format(path: str | os.PathLike) -> str:
    """The extension of a file of results, in lower case. Raises `ValueError` if there is no such format."""
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise ValueError(f"{path} must end with {', '.join(_FORMATS)}.")
    return suffix


def _json(results: Sequence[Any]) -> list[Any]:
    return [asdict(one) if isinstance(one, SearchResult) else [asdict(member) for member in one] for one in results]


def _rows(results: Sequence[Any]) -> list[dict[str, Any]]:
    """A row for each hit, or for each recording in a group."""
    rows = []
    for number, result in enumerate(results, 1):
        if isinstance(result, SearchResult):
            for rank, hit in enumerate(result.hits, 1):
                place = {"file": hit.file, "score": hit.score, "start": hit.start, "end": hit.end}
                rows.append({"query": result.query, "rank": rank, **place, **hit.columns})
        else:
            rows += [{"group": number, **asdict(member)} for member in result]
    return rows


def _csv(rows: list[dict[str, Any]]) -> str:
    output = io.StringIO()
    writer = csv.DictWriter(output, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: one_line(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows
    )
    return output.getvalue()


def _page(results: Sequence[Any], folder: Path, root: Path | None) -> str:
    parts = []
    for number, result in enumerate(results, 1):
        if isinstance(result, SearchResult):
            title = result.query
            query = Path(result.query)
            audio = query if query.is_file() or root is None else root / result.query
            parts.append(f"<h2>{_text(title)}</h2>\n<p>{_player(audio, folder)}</p>")
            rows = [
                {"score": hit.score, "file": hit.file, "start": hit.start, "end": hit.end, **hit.columns}
                for hit in result.hits
            ]
        else:
            parts.append(f"<h2>Group {number}</h2>")
            rows = [asdict(member) for member in result]
        parts.append(_table(rows, folder, root))
    title = "Search" if not results or isinstance(results[0], SearchResult) else "Near-duplicates"
    template = Path(__file__).with_name("search_page.html").read_text(encoding="utf-8")
    return Template(template).substitute(title=title, content="\n".join(parts) or "<p>Nothing was found.</p>")


def _table(rows: list[dict[str, Any]], folder: Path, root: Path | None) -> str:
    if not rows:
        return "<p>Nothing was found.</p>"
    names = [name for name in rows[0] if name not in _DIGESTS and any(row[name] is not None for row in rows)]
    lines = ["<table>", "<tr><th>listen</th>" + "".join(f"<th>{_text(name)}</th>" for name in names) + "</tr>"]
    for row in rows:
        player = "" if root is None else _player(root / row["file"], folder, row.get("start"), row.get("end"))
        lines.append(f"<tr><td>{player}</td>{''.join(_cell(row[name]) for name in names)}</tr>")
    return "\n".join([*lines, "</table>"])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'<td class="number">{value:.4g}</td>'
    return f"<td>{'' if value is None else _text(value)}</td>"


def _text(value: Any) -> str:
    return html.escape(one_line(str(value)))


def _player(audio: Path, folder: Path, start: float | None = None, end: float | None = None) -> str:
    """A player of a recording, or of a part of it; nothing where there is no such file."""
    if not audio.is_file():
        return ""
    part = "" if start is None or end is None else f"#t={start:g},{end:g}"
    source = f"{html.escape(link_to(audio, folder))}{part}"
    return f'<audio controls preload="none" src="{source}" aria-label="{_text(audio.name)}"></audio>'
