# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Vectors of collections of any size, by any number of processes, to a folder of Parquet files."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.digests import digest_of_file
from ..data.recordings import Recording, Recordings, recordings_of, share_of
from .embedding import Embedder
from .exported import digest_of_export, find_export
from .feature_store import (
    FeatureStore,
    Rows,
    StoredRow,
    StoreSettings,
    VectorDtype,
    file_state,
    remove_unfinished,
    write_failures,
)
from .files import FileResult, join_features
from .groups import read_groups
from .precision import Precision, recorded
from .processes import (
    Place,
    alone_in,
    device_of,
    launched_place,
    read_answers,
    remove_answers,
    run_share,
    start_children,
    wait_for_others,
)
from .progress import progress_bar


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ..modeling.traits import Layer


@dataclass(frozen=True)
class FailedRecording:
    """A recording that has no vector, and the reason."""

    file: str
    reason: str


@dataclass(frozen=True)
class EmbeddingReport:
    """
    What a run of [`embed_collection`] did, in all its processes.

    Attributes:
        output: the folder.
        written: number of recordings whose vectors were computed.
        skipped: number of recordings whose vectors were there already.
        failed: the recordings that cannot be read, which the next run tries again.
        unfinished: a sentence for each process that died. The next run does what is left of its share.
        is_main_process: whether this is the first of the launched processes, which alone should print.
    """

    output: str
    written: int
    skipped: int
    failed: list[FailedRecording] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    is_main_process: bool = True


def embed_collection(
    recordings: "str | os.PathLike | Iterable[str | os.PathLike] | Recordings",
    model: "str | os.PathLike | PreTrainedModel",
    output: str | os.PathLike,
    *,
    rows: Rows = "recording",
    dtype: VectorDtype = "float32",
    window: float | None = None,
    padding: str = "longest",
    batch_size: int = 8,
    num_workers: int = 0,
    processes: int = 1,
    shard_size: int = 512,
    device: str | None = None,
    layer: "Layer | None" = None,
    precision: Precision = "auto",
    torch_compile: bool = False,
    overwrite: bool = False,
    description: str | None = None,
) -> EmbeddingReport:
    """
    Compute one vector for each recording of a collection, or for each window, and write them to Parquet files.

    `datasets.load_dataset(output)`, DuckDB and polars open the result. Its columns are `file`, `start` and `end` in
    seconds, `vector`, `audio` (SHA-256 of the recording), `model` (SHA-256 of the weights), and the kept columns of
    the collection.

    The run can be killed at any time. The next one, with any number of processes, does what is missing, and what has
    changed. Under `accelerate launch` or `torchrun` each process does a share. Memory grows with `shard_size` and with
    the list of names, not with the audio.

    Args:
        recordings: paths or addresses, see `find_recordings`, or a `FileRecordings` or `DatasetRecordings`.
        model: a folder, a Hub name or a model. A folder that `polyaudio export` wrote is run by onnxruntime.
        output: folder to write to.
        rows: `"recording"` for one vector for each recording, `"window"` for one for each window.
        dtype: of the vectors, `"float32"` or `"float16"`.
        window, padding, batch_size, device, layer, precision: as for [`embed`].
        num_workers: number of processes that read files, for each process that computes.
        processes: number of processes on this machine. They are started with `spawn`, so a script that calls this
            function with more than one needs `if __name__ == "__main__":`.
        shard_size: number of recordings in a Parquet file. A process that is killed loses at most these.
        torch_compile: compile the model.
        overwrite: compute again what is there already.
        description: text of a progress bar; `None` for no progress bar.

    Raises:
        ValueError: the model is not an audio encoder, or the folder has vectors of other settings or other recordings,
            or another run is writing to it.
        OSError: the folder cannot be written to.

    Example:

    ```python
    >>> from polyaudio import embed_collection

    >>> report = embed_collection("recordings/", "runs/ragas", "features")  # doctest: +SKIP
    >>> report.written, len(report.failed)  # doctest: +SKIP
    (412, 3)
    ```
    """
    if rows not in ("recording", "window"):
        raise ValueError(f"rows must be 'recording' or 'window', got {rows!r}.")
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype must be 'float32' or 'float16', got {dtype!r}.")
    for name, value in (("shard_size", shard_size), ("processes", processes)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    work = _Work(
        recordings_of(recordings),
        os.fspath(model) if isinstance(model, os.PathLike) else model,
        Path(output),
        {
            "window": window,
            "padding": padding,
            "batch_size": batch_size,
            "layer": layer,
            "precision": precision,
            "torch_compile": torch_compile,
        },
        rows,
        dtype,
        num_workers,
        shard_size,
        device,
        overwrite,
        description,
    )
    place = launched_place(device)
    if place.world_size > 1 and processes > 1:
        raise ValueError("The processes were launched already. Leave out processes (--processes).")
    if processes > 1 and not isinstance(model, str | os.PathLike):
        raise ValueError("Several processes need the folder or the Hub name of the model, and not the model itself.")
    return _run(work, place, processes)


def _run(work: "_Work", place: Place, processes: int) -> EmbeddingReport:
    """Let all processes do their shares, and put their answers together."""
    folder, is_launched = work.output, place.world_size > 1
    with ExitStack() as stack:
        if place.rank == 0:
            stack.enter_context(alone_in(folder))
            remove_unfinished(folder)
            remove_answers(folder)
        if is_launched:
            wait_for_others()
        dead = start_children(folder, processes, work) if processes > 1 else run_share(folder, place, work)
        if is_launched:
            wait_for_others()
        answers = read_answers(folder, max(processes, place.world_size))
        if is_launched:
            wait_for_others()
        done = [answer for answer in answers if answer is not None]
        failed = sorted((name, reason) for answer in done for name, reason in answer["failed"])
        if place.rank == 0:
            write_failures(folder, failed)
            remove_answers(folder)
    return EmbeddingReport(
        os.fspath(folder),
        sum(answer["written"] for answer in done),
        sum(answer["skipped"] for answer in done),
        [FailedRecording(*one) for one in failed],
        dead,
        place.rank == 0,
    )


@dataclass(frozen=True)
class _Work:
    """The share of one process: it reads, computes and writes."""

    recordings: Recordings
    model: "str | PreTrainedModel"
    output: Path
    settings: dict[str, Any]
    rows: Rows
    dtype: VectorDtype
    num_workers: int
    shard_size: int
    device: str | None
    overwrite: bool
    description: str | None

    def __call__(self, place: Place) -> dict[str, Any]:
        device = self.device if find_export(self.model) else device_of(place, self.device)
        embedder = Embedder(self.model, device=device, **self.settings)
        store = FeatureStore(
            self.output, self._store_settings(embedder), self.recordings.root(), self.recordings.column_types()
        )
        written = skipped = 0
        failed: list[tuple[str, str]] = []
        share = share_of(self.recordings, store.root, place.rank, place.world_size)
        description = self.description if place.rank == 0 else None
        with progress_bar(None, description, unit="file") as bar:

            def todo() -> Iterator[Recording]:
                nonlocal skipped
                for recording in share:
                    if not self.overwrite and store.is_current(recording):
                        skipped += 1
                        bar.update()
                    else:
                        yield recording

            for group in read_groups(todo(), self.shard_size, failed):
                problems = self._write_shard(embedder, store, group)
                failed += problems
                written += len(group) - len(problems)
                bar.update(len(group))
        return {"written": written, "skipped": skipped, "failed": failed}

    def _write_shard(
        self, embedder: Embedder, store: FeatureStore, group: Sequence[Recording]
    ) -> list[tuple[str, str]]:
        """Compute and write the vectors of some recordings, and return the names of the others with the reasons."""
        recordings = {recording.name: recording for recording in group}
        states = {
            name: None if isinstance(one.audio, bytes) else file_state(one.audio) for name, one in recordings.items()
        }
        rows: list[StoredRow] = []
        failed: list[tuple[str, str]] = []
        for result in embedder.encoder.run(group, num_workers=self.num_workers, description=None):
            recording = recordings[result.file]
            try:
                if result.error is not None:
                    raise ValueError(result.error)
                rows += self._rows_of(embedder, recording, result)
                if not isinstance(recording.audio, bytes) and file_state(recording.audio) != states[recording.name]:
                    raise ValueError(f"{recording.audio} was written to while it was read. Run the command again.")
            except (ValueError, OSError) as error:
                rows = [row for row in rows if row.file != recording.name]
                failed.append((recording.name, str(error)))
        store.write(rows, states)
        return failed

    def _rows_of(self, embedder: Embedder, recording: Recording, result: FileResult) -> list[StoredRow]:
        reader = embedder.encoder.reader
        mirrored = 0 if reader.grid is None else 2 * reader.grid.margin
        seconds = reader.seconds(result.samples) - mirrored / reader.sampling_rate
        if self.rows == "recording":
            vectors = [join_features(result.windows, reader.weights(result.samples))]
            times = [0.0]
        else:
            vectors = [join_features([one], [1]) for one in result.windows]
            step = 0 if reader.grid is None else reader.grid.step
            times = [index * step / reader.sampling_rate for index in range(len(vectors))]
        if not all(np.isfinite(vector).all() for vector in vectors):
            raise ValueError(f"The model returns NaN or infinity for {recording.name}.")
        audio = recording.audio
        digest = hashlib.sha256(audio).hexdigest() if isinstance(audio, bytes) else digest_of_file(audio)
        return [
            StoredRow(recording.name, start, end, vector, digest, recording.columns)
            for start, end, vector in zip(times, [*times[1:], seconds], vectors, strict=True)
        ]

    def _store_settings(self, embedder: Embedder) -> StoreSettings:
        if isinstance(self.model, str):
            name = os.path.abspath(self.model) if os.path.isdir(self.model) else self.model
        else:
            name = str(self.model.config.name_or_path)
        return StoreSettings(
            name,
            digest_of(self.model),
            self.settings["window"],
            self.settings["padding"],
            embedder.encoder.reader.sampling_rate,
            self.rows,
            self.dtype,
            layer=self.settings["layer"],
            precision=recorded(self.settings["precision"]),
        )


def digest_of(model: "str | os.PathLike | PreTrainedModel") -> str:
    """The digest of the weights of a model or of an export."""
    export = find_export(model)
    if export is not None:
        return digest_of_export(export)
    from ..modeling.digests import digest_of_model

    return digest_of_model(model)  # type: ignore[arg-type]  # a path is a folder
