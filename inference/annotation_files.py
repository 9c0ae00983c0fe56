# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Writes annotations of recordings in the formats of other programs."""

import csv
import functools
import io
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from ..data.folders import finite, write_whole
from ..data.recordings import Recording
from ..data.text import one_line
from ..integration.version import __version__
from .annotation import Annotation
from .groups import read_groups


# The version of the JAMS schema
_JAMS_VERSION = "0.3.5"

# The number of recordings that are saved before they are annotated
_SAVED_AT_ONCE = 16

# The usual sampling rate of models, in Hz
_USUAL_RATE = 16_000


class Format(NamedTuple):
    """
    A format of annotations.

    Attributes:
        extension: what the names of its files end with.
        text: the text for an annotation; its second argument is the sampling rate of the model in Hz.
        header: what stands above the text.
        holds_many: whether the texts of several recordings, one after the other, are a file of this format.
    """

    extension: str
    text: Callable[[Annotation, int], str]
    header: str = ""
    holds_many: bool = False


def write_annotation(
    annotation: Annotation,
    output: str | os.PathLike,
    formats: Sequence[str],
    *,
    sampling_rate: int = _USUAL_RATE,
) -> list[Path]:
    """
    Write the annotation of a recording, one file for each format.

    A file is complete or not there. Times are written to the microsecond at least, which is exact to the sample, but
    WebVTT has milliseconds. Labels stand on one line: in all formats but JSON lines and JAMS, a space replaces each
    run of white space, and characters that do not print are left out. Gaps stand in JSON lines, in JAMS (`sandbox`
    of the annotation) and in WebVTT (as notes). In the other formats they would be taken for events.

    Args:
        annotation: what to write. If it has an error, only JSON lines are written, because files of the other formats
            would say that the recording has no events.
        output: an existing folder, in which the files have the name of the recording, or a path to which the
            extensions of the formats are added; see [`output_names`]. Its folder is created.
        formats: names of formats, keys of `FORMATS`.
        sampling_rate: the rate at which the model hears, in Hz. The selections for Raven reach from 0 to half of it.

    Returns:
        The paths of the files.

    Raises:
        ValueError: a name is not a key of `FORMATS`.
        OSError: a file could not be written.
    """
    chosen = [_format(name) for name in formats]
    base = Path(output)
    if base.is_dir():
        base = base / Path(annotation.file).name
    base.parent.mkdir(parents=True, exist_ok=True)
    if annotation.error is not None:
        chosen = [one for one in chosen if one is FORMATS["jsonl"]]
    paths = [base.with_name(base.name + one.extension) for one in chosen]
    for path, one in zip(paths, chosen, strict=True):
        _write(path, [one.header, one.text(annotation, sampling_rate)])
    return paths


def write_annotations(annotations: Iterable[Annotation], path: str | os.PathLike, format: str) -> None:
    """
    Write the annotations of several recordings to one file. It appears when the last one is written.

    Args:
        annotations: what to write, one at a time.
        path: the file. Its folder is created.
        format: `"jsonl"` or `"csv"`.

    Raises:
        ValueError: files of this format hold one recording.
        OSError: the file could not be written.
    """
    chosen = _format(format)
    if not chosen.holds_many:
        names = " or ".join(name for name, one in FORMATS.items() if one.holds_many)
        raise ValueError(f"A file in the format {format} holds one recording. Choose {names} for several.")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    texts = (chosen.text(annotation, _USUAL_RATE) for annotation in annotations)
    _write(Path(path), itertools.chain([chosen.header], texts))


def output_names(files: Iterable[str]) -> dict[str, str]:
    """
    The path of the output for each recording, below the folder of all outputs and without the extension of a format.

    It is the path of the recording below the folder that contains all recordings, so recordings with the same name in
    different folders do not overwrite each other's output.
    """
    paths = {file: os.path.abspath(file) for file in files}
    if not paths:
        return {}
    root = os.path.commonpath([os.path.dirname(path) for path in paths.values()])
    return {file: Path(os.path.relpath(path, root)).as_posix() for file, path in paths.items()}


def save_recordings(
    recordings: Iterator[Recording], folder: Path, failed: list[tuple[str, str]]
) -> Iterator[dict[str, str]]:
    """
    Save recordings that are not files of their own below the folder of all outputs.

    Args:
        recordings: any number.
        folder: the folder of all outputs.
        failed: a list to which the name and the reason of each recording is added that has no audio.

    Yields:
        Some files at a time, with their names as [`output_names`] gives them.
    """
    used: Counter[str] = Counter()
    for group in read_groups(recordings, _SAVED_AT_ONCE, failed):
        names = {}
        for recording in group:
            # A name from an archive of somebody else must not lead out of the folder
            parts = re.split(r"[/\\]|://", recording.name)
            name = "/".join(part.replace("\0", "") for part in parts if part not in ("", ".", ".."))
            used[name] += 1
            name = name if used[name] == 1 else f"{name}#{used[name]}"
            if isinstance(recording.audio, bytes):
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, functools.partial(Path.write_bytes, data=recording.audio))
                names[str(path)] = name
            else:
                names[recording.audio] = name
        yield names


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise ValueError(f"There is no format {name!r}. Choose from {', '.join(FORMATS)}.")
    return FORMATS[name]


def _write(path: Path, texts: Iterable[str]) -> None:
    def write(unfinished: Path) -> None:
        # In file names that are not UTF-8 there are halves of characters, which JSON has as `\udc80`
        with open(unfinished, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.writelines(texts)

    write_whole(path, write)


def _json_line(annotation: Annotation, sampling_rate: int) -> str:
    content = {
        "file": annotation.file,
        "duration": annotation.duration,
        "events": [asdict(event) for event in annotation.events],
        "gaps": [gap._asdict() for gap in annotation.gaps],
        "error": annotation.error,
    }
    return json.dumps(finite(content), ensure_ascii=False, allow_nan=False) + "\n"


def _csv_rows(annotation: Annotation, sampling_rate: int) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for event in annotation.events:
        times = _seconds(event.onset), _seconds(event.offset)
        writer.writerow([annotation.file, *times, one_line(event.label), f"{event.score:.6f}"])
    return text.getvalue()


def _audacity_labels(annotation: Annotation, sampling_rate: int) -> str:
    return "".join(
        f"{_seconds(event.onset)}\t{_seconds(event.offset)}\t{one_line(event.label)}\n" for event in annotation.events
    )


_RAVEN_COLUMNS = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
    *("Annotation", "Score"),
)


def _raven_selections(annotation: Annotation, sampling_rate: int) -> str:
    lines = []
    for number, event in enumerate(annotation.events, 1):
        times = _seconds(event.onset), _seconds(event.offset)
        band = "0.0", f"{sampling_rate / 2:.1f}"
        row = (str(number), "Spectrogram 1", "1", *times, *band, one_line(event.label), f"{event.score:.6f}")
        lines.append("\t".join(row) + "\n")
    return "".join(lines)


def _jams(annotation: Annotation, sampling_rate: int) -> str:
    events = [
        {
            "time": event.onset,
            "duration": event.offset - event.onset,
            "value": event.label,
            "confidence": event.score,
        }
        for event in annotation.events
    ]
    tags = {
        # Of the namespaces for labels of one's own, `segment_open` is for parts that follow each other
        "namespace": "tag_open",
        "annotation_metadata": {"annotation_tools": f"polyaudio {__version__}", "data_source": "program"},
        "data": events,
        "time": 0.0,
        "duration": annotation.duration,
        "sandbox": {"gaps": [gap._asdict() for gap in annotation.gaps]},
    }
    content = {
        "file_metadata": {
            "title": Path(annotation.file).name,
            "artist": "",
            "release": "",
            "duration": annotation.duration,
            "identifiers": {},
            "jams_version": _JAMS_VERSION,
        },
        "annotations": [tags],
        "sandbox": {"file": annotation.file},
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _webvtt(annotation: Annotation, sampling_rate: int) -> str:
    blocks = [
        f"NOTE Gap from {_seconds(gap.start)} to {_seconds(gap.stop)} s: {_cue_text(gap.reason)}"
        for gap in annotation.gaps
    ]
    for event in annotation.events:
        onset = round(event.onset * 1000)
        offset = max(round(event.offset * 1000), onset + 1)  # a cue has a length
        blocks.append(f"{_clock(onset)} --> {_clock(offset)}\n{_cue_text(event.label)}")
    return "\n\n".join(blocks) + "\n" if blocks else ""


def _cue_text(text: str) -> str:
    return one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(milliseconds: int) -> str:
    """A time as WebVTT has it, with two digits for the hours, or more."""
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{milliseconds:03d}"


def _seconds(seconds: float) -> str:
    # At a microsecond, samples are apart up to the highest rate that a file may have
    return f"{seconds:.6f}"


FORMATS: dict[str, Format] = {
    "jsonl": Format(".jsonl", _json_line, holds_many=True),
    "csv": Format(".csv", _csv_rows, header="file,onset,offset,label,score\n", holds_many=True),
    "audacity": Format(".labels.txt", _audacity_labels),
    "raven": Format(".selections.txt", _raven_selections, header="\t".join(_RAVEN_COLUMNS) + "\n"),
    "jams": Format(".jams", _jams),
    "webvtt": Format(".vtt", _webvtt, header="WEBVTT\n\n"),
}
