# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Search: the recordings whose vectors point in nearly the same direction as those of a query."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .files import join_features
from .search_index import SearchIndex, search_graph
from .vector_store import VectorStore, unit_vectors


@dataclass(frozen=True)
class Hit:
    """
    A recording that was found.

    Args:
        file: its name in the features.
        score: the cosine of the angle between its vector and that of the query; of several vectors the highest.
        start, end: the part of the recording with that score, in seconds; `None` where the features do not have it.
        columns: what else the features have of that row.
    """

    file: str
    score: float
    start: float | None = None
    end: float | None = None
    columns: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchResult:
    """
    What was found for a query.

    Args:
        query: the name of a recording in the index or an audio file; `vector N` for vectors.
        is_exact: whether all vectors were compared.
        hits: the recordings, the nearest first, without the query itself.
    """

    query: str
    is_exact: bool
    hits: list[Hit]


def search(
    queries: "str | os.PathLike | np.ndarray | Iterable[str | os.PathLike | np.ndarray]",
    index: str | os.PathLike,
    *,
    top_k: int = 10,
    where: str | None = None,
    exact: bool = False,
    model: str | os.PathLike | None = None,
    device: str | None = None,
) -> list[SearchResult]:
    """
    Find the recordings that are nearest to each query. Each recording is found once, by its nearest vector.

    With a filter, and without an approximate index, the vectors are read block by block and all are compared.

    Args:
        queries: names of recordings in the index, audio files, or vectors `(size,)` or `(vectors, size)`. A name is
            looked for in the index first. An audio file is embedded as the recordings in the index were.
        index: a folder that [`build_index`] wrote.
        top_k: number of recordings to find for each query.
        where: an SQL condition on the columns of the features, such as `"label = 'dog'"`, for DuckDB.
        exact: compare all vectors even if there is an approximate index.
        model: where the model is that computed the features, if it has been moved. It must have the same weights.
        device: for the model; `"cpu"`, `"cuda"` and so on; by default the accelerator if there is one.

    Returns:
        The result of each query, in their order.

    Raises:
        ValueError: a query is neither in the index nor an audio file, a vector has another size, the model has other
            weights, the filter does not work, or the features have changed since the index was built.
        OSError: a file cannot be read.

    Example:

    ```python
    >>> from polyaudio import search

    >>> (result,) = search("bark.wav", "index", top_k=3)  # doctest: +SKIP
    >>> [(hit.file, round(hit.score, 2)) for hit in result.hits]  # doctest: +SKIP
    [('dogs/2.wav', 0.97), ('dogs/7.wav', 0.95), ('wolves/1.wav', 0.91)]
    ```
    """
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}.")
    opened = SearchIndex(index, exact=exact or where is not None)
    store = opened.store
    given = [queries] if isinstance(queries, str | os.PathLike | np.ndarray) else list(queries)
    wanted = _resolve(given, opened, model, device)
    vectors = [query.vectors for query in wanted]
    found = [_Nearest(query.file, top_k) for query in wanted]
    if opened.graph is None:
        _search_exactly(store, vectors, found, None if where is None else store.matching(where))
    else:
        _search_graph(opened.graph, store, vectors, found)
    return [
        SearchResult(query.name, opened.graph is None, hits)
        for query, hits in zip(wanted, _hits(store, found), strict=True)
    ]


@dataclass(frozen=True)
class _Query:
    """A query: its unit vectors `(vectors, size)`, and the recording of the index that it is, if any."""

    name: str
    vectors: np.ndarray
    file: str | None = None


class _Nearest:
    """The nearest recordings so far. `own` is a recording that is left out."""

    def __init__(self, own: str | None, number: int):
        self.own, self.number = own, number
        self.rows: dict[str, tuple[float, int]] = {}  # the highest score and its row, by recording
        self.least = -np.inf

    def add(self, scores: np.ndarray, rows: np.ndarray, files: Sequence[Any]) -> None:
        """Add rows, `files` with the names of their recordings. Of equal scores, earlier ones stay."""
        candidates = np.flatnonzero(scores > self.least)
        for place in candidates[np.argsort(-scores[candidates], kind="stable")].tolist():
            score = float(scores[place])
            if score <= self.least:
                break
            file = str(files[place])
            if file == self.own or (file in self.rows and self.rows[file][0] >= score):
                continue
            self.rows[file] = score, int(rows[place])
            if len(self.rows) > self.number:
                del self.rows[min(self.rows, key=lambda name: self.rows[name][0])]
            if len(self.rows) == self.number:
                self.least = min(score for score, _ in self.rows.values())


def _search_exactly(
    store: VectorStore, queries: list[np.ndarray], found: list[_Nearest], is_match: np.ndarray | None
) -> None:
    starts = np.cumsum([0, *map(len, queries)])[:-1]
    together = np.concatenate(queries)
    for block in store.blocks():
        scores = np.maximum.reduceat(block.scores(together), starts, axis=0)
        rows = np.arange(block.first, block.first + len(block.vectors))
        if is_match is not None:
            scores[:, ~is_match[rows]] = -np.inf
        for own, nearest in zip(scores, found, strict=True):
            nearest.add(own, rows, block.files)


def _search_graph(graph: Any, store: VectorStore, queries: list[np.ndarray], found: list[_Nearest]) -> None:
    """Look for more and more rows, until they are of enough recordings."""
    waiting = list(zip(queries, found, strict=True))
    number = found[0].number + 1 if found else 0
    while waiting:
        starts = np.cumsum([0, *(len(own) for own, _ in waiting)])
        rows, scores = search_graph(graph, np.concatenate([own for own, _ in waiting]), number)
        names = _take_names(store, rows)
        for (_, nearest), start, end in zip(waiting, starts, starts[1:], strict=False):
            is_found = rows[start:end] >= 0
            own_rows = rows[start:end][is_found]
            nearest.add(scores[start:end][is_found], own_rows, [names[row] for row in own_rows.tolist()])
        waiting = [(own, nearest) for own, nearest in waiting if len(nearest.rows) < nearest.number]
        if number >= len(graph):
            return
        number *= 4


def _take_names(store: VectorStore, rows: np.ndarray) -> dict[int, str]:
    """The recording of each row."""
    unique = np.unique(rows[rows >= 0])
    return dict(zip(unique.tolist(), store.take_files(unique), strict=True)) if len(unique) else {}


def _hits(store: VectorStore, found: list[_Nearest]) -> list[list[Hit]]:
    """The hits of each query, the nearest first."""
    rows = np.unique([row for nearest in found for _, row in nearest.rows.values()]).astype(int)
    columns = dict(zip(rows.tolist(), store.take_columns(rows), strict=True)) if len(rows) else {}
    return [
        [
            _hit(file, score, columns[row], store.file_column)
            for file, (score, row) in sorted(nearest.rows.items(), key=lambda one: (-one[1][0], one[1][1]))
        ]
        for nearest in found
    ]


def _hit(file: str, score: float, values: dict[str, Any], file_column: str) -> Hit:
    others = {name: value for name, value in values.items() if name != file_column}
    start, end = others.get("start"), others.get("end")
    if not isinstance(start, int | float) or not isinstance(end, int | float):  # files of others may mean other things
        return Hit(file, min(score, 1.0), columns=others)
    del others["start"], others["end"]
    return Hit(file, min(score, 1.0), float(start), float(end), others)


def _resolve(
    queries: Sequence[Any], index: SearchIndex, model: str | os.PathLike | None, device: str | None
) -> list[_Query]:
    """The vectors of the queries."""
    names = [os.fspath(query) for query in queries if not isinstance(query, np.ndarray)]
    rows = index.store.rows_of(names) if names else {}
    audio = [name for name in dict.fromkeys(names) if name not in rows]
    missing = [name for name in audio if not Path(name).is_file()]
    if missing:
        raise ValueError(f"{missing[0]} is neither the name of a recording in the index nor an audio file.")
    embedded = _embed(audio, index, model, device) if audio else {}
    resolved: list[_Query] = []
    for number, query in enumerate(queries):
        if isinstance(query, np.ndarray):
            vectors = np.atleast_2d(query)
            if vectors.ndim != 2 or vectors.shape[1] != index.store.size or not np.isfinite(vectors).all():
                raise ValueError(
                    f"A query must have {index.store.size} finite numbers, as the vectors of the index, got the shape "
                    f"{query.shape}."
                )
            resolved.append(_Query(f"vector {number}", unit_vectors(vectors)))
        elif (name := os.fspath(query)) in rows:
            resolved.append(_Query(name, index.store.take_vectors(np.array(rows[name])), name))
        else:
            resolved.append(_Query(name, unit_vectors(embedded[name])))
    return resolved


def _embed(
    files: list[str], index: SearchIndex, model: str | os.PathLike | None, device: str | None
) -> dict[str, np.ndarray]:
    """The vectors of audio files, `(vectors, size)` each, computed as those of the index were."""
    from .backends import open_encoder
    from .collection import digest_of

    settings = index.settings
    if "weights" not in settings:
        raise ValueError(
            f"{files[0]} cannot be embedded, because the features do not say which model computed them. Name a "
            "recording in the index."
        )
    model = os.fspath(model or settings["model"])
    encoder = open_encoder(
        model,
        granularity="utterance",
        window=settings.get("window"),
        padding=settings.get("padding", "longest"),
        layer=settings.get("layer"),
        precision=settings.get("precision") or "auto",
        device=device,
    )
    if digest_of(model) != settings["weights"]:  # not earlier, because it is that of the files that are there by now
        raise ValueError(
            f"{model} has other weights or settings than the model that computed the features, {settings['model']}. "
            "Name a folder with that one (--model)."
        )
    vectors = {}
    for result in encoder.run(files, num_workers=0, description=None):
        if result.error is not None:
            raise ValueError(result.error)
        if settings.get("rows") == "window":
            vectors[result.file] = np.stack([vector for vector, _ in result.windows])
        else:
            vectors[result.file] = join_features(result.windows, encoder.reader.weights(result.samples))[None]
        if vectors[result.file].shape[1] != index.store.size:
            raise ValueError(f"{model} gives vectors of another size than those of the index. Build the index again.")
    return vectors
