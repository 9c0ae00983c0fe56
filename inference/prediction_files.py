# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Labels and events of collections of any size, by any number of processes, in one file."""

import csv
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.folders import write_whole
from ..data.recordings import Recordings, recordings_of, share_of
from .collection import FailedRecording
from .exported import find_export
from .groups import read_groups
from .precision import Choice, Precision
from .prediction import Predictor
from .processes import (
    Place,
    alone_in,
    device_of,
    launched_place,
    read_answers,
    run_share,
    start_children,
    wait_for_others,
)
from .progress import progress_bar


if TYPE_CHECKING:
    from transformers import PreTrainedModel

PREDICTION_FORMATS = (".parquet", ".csv", ".jsonl")
_GROUP = 512  # recordings in memory
_BATCH = 10_000  # rows that are written at once
_COLUMNS = {"labels": ("label", "score"), "events": ("onset", "offset", "label", "score")}


@dataclass(frozen=True)
class PredictionReport:
    """
    What a run of [`predict_collection`] did, in all its processes.

    Attributes:
        output: the file.
        written: number of recordings in it.
        failed: the recordings that cannot be read.
        is_main_process: whether this is the first of the launched processes, which alone should print.
        choice: what `precision="auto"` has chosen, in the first process that had a choice.
    """

    output: str
    written: int
    failed: list[FailedRecording] = field(default_factory=list)
    is_main_process: bool = True
    choice: Choice | None = None


def predict_collection(
    recordings: "str | os.PathLike | Iterable[str | os.PathLike] | Recordings",
    model: "str | os.PathLike | PreTrainedModel",
    output: str | os.PathLike,
    *,
    top_k: int | None = None,
    threshold: float | None = None,
    window: float | None = None,
    padding: str | None = None,
    batch_size: int = 8,
    num_workers: int = 0,
    processes: int = 1,
    device: str | None = None,
    precision: Precision = "auto",
    torch_compile: bool = False,
    description: str | None = None,
) -> PredictionReport:
    """
    Label the recordings of a collection, and write the answers to one file, whole or not at all.

    Under `accelerate launch` or `torchrun` each process does a share. Memory does not grow with the collection.

    Args:
        recordings: as for `embed_collection`.
        model: as for [`predict`].
        output: a file, which is replaced. `.parquet` and `.csv` have a row for each label (`file`, `label`, `score`)
            or event (`file`, `onset`, `offset`, `label`, `score`), and `.jsonl` a line for each recording. The labels
            of a calibrated model also have `none_of_these`.
        top_k, threshold, window, padding, batch_size, num_workers, device, precision: as for
            [`predict`].
        processes, torch_compile, description: as for `embed_collection`.

    Raises:
        ValueError: `output` has another ending, the model is not a trained classifier, it cannot take these arguments,
            or a process died. Nothing is written then.
        OSError: the file cannot be written.

    Example:

    ```python
    >>> from polyaudio import predict_collection

    >>> report = predict_collection("recordings/", "runs/ragas", "labels.parquet", top_k=1)  # doctest: +SKIP
    >>> report.written, len(report.failed)  # doctest: +SKIP
    (412, 3)
    ```
    """
    output = Path(output)
    if output.suffix not in PREDICTION_FORMATS:
        raise ValueError(f"{output} must end with {', '.join(PREDICTION_FORMATS)}.")
    if processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}.")
    settings = {
        "top_k": top_k,
        "threshold": threshold,
        "window": window,
        "padding": padding,
        "batch_size": batch_size,
        "precision": precision,
        "torch_compile": torch_compile,
    }
    parts = output.absolute().with_name(f".{output.name}.parts")
    name = os.fspath(model) if isinstance(model, os.PathLike) else model
    work = _Work(recordings_of(recordings), name, parts, settings, num_workers, device, description)
    place = launched_place(device)
    if place.world_size > 1 and processes > 1:
        raise ValueError("The processes were launched already. Leave out processes (--processes).")
    if processes > 1 and not isinstance(model, str | os.PathLike):
        raise ValueError("Several processes need the folder or the Hub name of the model, and not the model itself.")
    return _run(work, output, place, processes)


def _run(work: "_Work", output: Path, place: Place, processes: int) -> PredictionReport:
    """Let all processes do their shares, and join their parts."""
    parts, is_launched = work.parts, place.world_size > 1
    number = max(processes, place.world_size)
    with ExitStack() as stack:
        if place.rank == 0:
            stack.enter_context(alone_in(parts))
            stack.callback(shutil.rmtree, parts, ignore_errors=True)
            for path in (*parts.glob("*.jsonl"), *parts.glob(".share-*")):
                path.unlink()
        if is_launched:
            wait_for_others()
        dead = start_children(parts, processes, work) if processes > 1 else run_share(parts, place, work)
        if is_launched:
            wait_for_others()
        answers = read_answers(parts, number)
        if dead:
            raise ValueError(f"{' '.join(dead)} Nothing was written to {output}.")
        if is_launched:
            wait_for_others()
        done = [answer for answer in answers if answer is not None]
        if place.rank == 0:
            lines = _lines(parts, number)
            write_whole(output, lambda new: _write(new, output.suffix, lines, done[0]))
    failed = sorted((name, reason) for answer in done for name, reason in answer["failed"])
    return PredictionReport(
        os.fspath(output),
        sum(answer["written"] for answer in done),
        [FailedRecording(*one) for one in failed],
        place.rank == 0,
        next((Choice(**answer["choice"]) for answer in done if answer["choice"]), None),
    )


@dataclass(frozen=True)
class _Work:
    """The share of one process: it reads, computes and writes a part."""

    recordings: Recordings
    model: "str | PreTrainedModel"
    parts: Path
    settings: dict[str, Any]
    num_workers: int
    device: str | None
    description: str | None

    def __call__(self, place: Place) -> dict[str, Any]:
        device = self.device if find_export(self.model) else device_of(place, self.device)
        predictor = Predictor(self.model, device=device, **self.settings)
        kind = "events" if predictor.gives_events else "labels"
        share = share_of(self.recordings, self.recordings.root(), place.rank, place.world_size)
        failed: list[tuple[str, str]] = []
        written = 0
        description = self.description if place.rank == 0 else None
        with (
            open(_part(self.parts, place.rank), "w", encoding="utf-8") as file,
            progress_bar(None, description, unit="file") as bar,
        ):
            for group in read_groups(share, _GROUP, failed):
                for prediction in predictor.run(group, num_workers=self.num_workers):
                    bar.update()
                    if prediction.error is not None:
                        failed.append((prediction.file, prediction.error))
                        continue
                    file.write(json.dumps(prediction.to_dict(), ensure_ascii=False) + "\n")
                    written += 1
        is_calibrated = predictor.classifier.calibration is not None
        choice = None if predictor.choice is None else asdict(predictor.choice)
        return {
            "written": written,
            "failed": failed,
            "kind": kind,
            "is_calibrated": is_calibrated,
            "choice": choice,
        }


def _part(folder: Path, rank: int) -> Path:
    return folder / f"{rank}.jsonl"


def _lines(folder: Path, number: int) -> Iterator[str]:
    for rank in range(number):
        with open(_part(folder, rank), encoding="utf-8") as file:
            yield from file


def _write(path: Path, suffix: str, lines: Iterator[str], answer: dict[str, Any]) -> None:
    """Write the lines of all parts in a format; `answer` is that of a process."""
    if suffix == ".jsonl":
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(lines)
        return
    kind = answer["kind"]
    of_files = ["file", "none_of_these"] if kind == "labels" and answer["is_calibrated"] else ["file"]
    columns = (*of_files, *_COLUMNS[kind])
    rows = (
        [*(line[name] for name in of_files), *(one[name] for name in _COLUMNS[kind])]
        for line in map(json.loads, lines)
        for one in line[kind]
    )
    if suffix == ".csv":
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(rows)
    else:
        _write_parquet(path, columns, rows)


def _write_parquet(path: Path, columns: Sequence[str], rows: Iterator[list[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    types = {"file": pa.string(), "label": pa.string(), "none_of_these": pa.bool_()}
    schema = pa.schema([(name, types.get(name, pa.float64())) for name in columns])
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(islice(rows, _BATCH)):
            table = pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in some], schema)
            writer.write_table(table)
