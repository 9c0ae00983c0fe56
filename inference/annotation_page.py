# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Writes a page that plays a recording along its annotation."""

import base64
import hashlib
import html
import io
import json
import os
from pathlib import Path
from string import Template
from typing import Any

import matplotlib.image
import numpy as np

from ..data.folders import write_whole
from ..data.text import one_line
from .annotation import Annotation
from .links import link_to
from .pictures import Spectrogram, compute_spectrogram, event_labels, leading_labels, narrowed


# With more rows, the timeline is higher than a screen
_MOST_SCORES = 15
_MOST_ROWS = 40

# The largest file that is embedded, unless a caller asks for it; larger pages open slowly
_MOST_EMBEDDED = 10_000_000

# What browsers play
_MEDIA_TYPES = {
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".m4a": "audio/mp4",
    ".mp4": "audio/mp4",
    ".aac": "audio/aac",
    ".webm": "audio/webm",
}


def write_page(
    annotation: Annotation,
    path: str | os.PathLike,
    audio: str = "auto",
    file: str | os.PathLike | None = None,
    *,
    spectrogram: Spectrogram | None = None,
) -> None:
    """
    Write one HTML file that plays a recording along its annotation, for any browser and without a network.

    It shows the spectrogram, the scores of the leading labels, the events and the gaps over time. A click seeks, and a
    click on an event plays it. The page needs no other file but a recording that is linked. All text in it is text:
    no label and no file name can run code.

    Args:
        annotation: what to show.
        path: the HTML file to write. Its folder is created.
        audio: `"embed"` puts the recording into the page. `"link"` lets the page play the file where it lies, by a
            path relative to the page. `"auto"` embeds files of at most 10 MB that browsers play, and links others.
        file: the recording; by default `annotation.file`.
        spectrogram: of the recording, which is not decoded then.

    Raises:
        ValueError: the annotation has an error instead of events, `audio` is none of these, or browsers cannot play
            the file that should be embedded.
        AudioFileError: the recording cannot be read.
        OSError: the recording or the page cannot be opened.
    """
    if audio not in ("auto", "embed", "link"):
        raise ValueError(f"audio must be auto, embed or link, got {audio!r}.")
    if annotation.error is not None:
        raise ValueError(f"There is nothing to show: {annotation.error}")
    path, recording = Path(path), Path(annotation.file if file is None else file)
    if spectrogram is None:
        spectrogram = compute_spectrogram(recording, annotation.duration)
    media_type = _MEDIA_TYPES.get(recording.suffix.lower())
    if audio == "embed" and media_type is None:
        raise ValueError(f"Browsers cannot play {recording}. Convert it, for instance to flac, or link it.")
    if audio == "auto":
        audio = "embed" if media_type and recording.stat().st_size <= _MOST_EMBEDDED else "link"
    source = (
        _data_uri(recording.read_bytes(), media_type or "") if audio == "embed" else link_to(recording, path.parent)
    )

    content = _content(annotation) | {"spectrogram": _png(spectrogram.decibels), "linked": audio == "link"}
    script = _read("timeline_view.js") + _read("annotation_page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = Template(_read("annotation_page.html")).substitute(
        # No other script than this one runs, and nothing is loaded but the recording
        policy=(
            f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
            "media-src 'self' data: file:; base-uri 'none'; form-action 'none'"
        ),
        style=_read("timeline_view.css"),
        view=_read("timeline_view.html"),
        title=html.escape(one_line(Path(annotation.file).name)),
        audio=html.escape(source),
        # The only character that can end a script
        data=json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        script=script,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    # In file names that are not UTF-8 there are halves of characters
    write_whole(path, lambda new: new.write_bytes(page.encode(errors="backslashreplace")))


def _content(annotation: Annotation) -> dict[str, Any]:
    """What the script of the page draws. Labels are given by their indices."""
    index_of: dict[str, int] = {}
    for label in (*annotation.labels, *(event.label for event in annotation.events)):
        index_of.setdefault(label, len(index_of))
    rows = event_labels(annotation)
    events = sorted(annotation.events, key=lambda event: event.onset)
    return {
        "duration": annotation.duration,
        "labels": [one_line(label) for label in index_of],
        "events": [
            (round(one.onset, 6), round(one.offset, 6), index_of[one.label], round(one.score, 3)) for one in events
        ],
        "rows": [index_of[label] for label in rows[:_MOST_ROWS]],
        "hidden_labels": len(rows[_MOST_ROWS:]),
        "heat": _heat(annotation, index_of),
        "gaps": [(gap.start, gap.stop, one_line(gap.reason)) for gap in annotation.gaps],
    }


def _heat(annotation: Annotation, index_of: dict[str, int]) -> dict[str, Any]:
    """The scores of the leading labels as bytes, `(labels, columns)`, where 255 is a score of 1."""
    leading = leading_labels(annotation, _MOST_SCORES)
    if annotation.overview is None or not leading:
        return {"labels": [], "columns": 0, "column_seconds": 1.0, "scores": ""}
    overview = narrowed(annotation.overview)
    scores = np.rint(overview.scores[:, leading].T.clip(0, 1) * 255).astype(np.uint8)
    return {
        "labels": [index_of[annotation.labels[index]] for index in leading],
        "columns": scores.shape[1],
        "column_seconds": overview.column_seconds,
        "scores": base64.b64encode(scores.tobytes()).decode(),
    }


def _png(decibels: np.ndarray) -> str:
    file = io.BytesIO()
    matplotlib.image.imsave(file, decibels, cmap="magma", origin="lower", format="png")
    return _data_uri(file.getvalue(), "image/png")


def _data_uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _read(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
