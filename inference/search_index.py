# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""An index of vectors for search: which files it was built from, and an approximate index of usearch if you like."""

import importlib.util
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.folders import whole_folder, write_json
from ..integration.limits import read_json
from .progress import progress_bar
from .vector_store import SourceFile, VectorStore, copy_feature_folder, find_parquet, read_settings


_CONTENT = "index.json"
_GRAPH = "vectors.usearch"

# The approximate index looks at more and more vectors, until it finds this share of the nearest ones
_WANTED_RECALL = 0.99
_EXPANSIONS = (64, 128, 256, 512, 1024)
_SAMPLED = 200
_NEIGHBOURS = 10

# Scores that are closer than this are equal: those of copies differ by rounding
_TIE = 1e-5


@dataclass(frozen=True)
class Recall:
    """
    How much of an exact search the approximate index finds.

    Args:
        recall: the share of the 10 nearest rows that it finds, without the row itself; as near ones count as well.
        sampled: the number of its own rows that were searched.
        expansion: how many candidates a search keeps.
    """

    recall: float
    sampled: int
    expansion: int


@dataclass(frozen=True)
class IndexReport:
    """
    What an index holds.

    Args:
        rows: number of vectors.
        size: numbers in a vector.
        bytes: of the files of the index.
        approximate: the recall of the approximate index; `None` without one.
    """

    rows: int
    size: int
    bytes: int
    approximate: Recall | None


def build_index(
    features: str | os.PathLike,
    output: str | os.PathLike,
    *,
    vector_column: str = "vector",
    file_column: str = "file",
    approximate: bool | None = None,
) -> IndexReport:
    """
    Build an index for [`search`] and [`find_duplicates`].

    Without an approximate index, it records the files of the features only, and a search reads them all. An index in
    `output` is replaced when the new one is complete.

    Args:
        features: a folder that `polyaudio embed` wrote, with one vector a recording or a window, or any Parquet file
            or folder of Parquet files.
        output: folder for the index. It refers to the features, which must stay where they are. Those of npy and
            safetensors files are copied into it.
        vector_column: column with the vectors, lists of numbers of one length.
        file_column: column with the recording that a row belongs to.
        approximate: build an approximate index with usearch, in memory; by default if usearch is installed.

    Returns:
        Its size, and the recall of the approximate index on a sample of its own vectors.

    Raises:
        ValueError: the features cannot be read, `output` holds something else, or usearch is not installed.
        OSError: a file cannot be read or written.

    Example:

    ```python
    >>> from polyaudio import build_index

    >>> build_index("features", "index").approximate.recall  # doctest: +SKIP
    1.0
    ```
    """
    features, output = Path(features).absolute(), Path(output)
    if output.exists() and not (output / _CONTENT).is_file() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output} already exists and holds something else than an index. Name another folder.")
    if output.resolve() == features.resolve() or output.resolve() in features.resolve().parents:
        raise ValueError(f"The index cannot replace {features}. Name another folder.")
    if approximate is None:
        approximate = importlib.util.find_spec("usearch") is not None
    with whole_folder(output) as folder:
        content: dict[str, Any] = {"features": str(features), "vector_column": vector_column}
        content |= {"file_column": file_column, "sources": [asdict(one) for one in _sources(features)]}
        if paths := find_parquet(features):
            settings = read_settings(paths)
        else:
            paths = [folder / "vectors.parquet"]
            settings = copy_feature_folder(features, paths[0])
        store = VectorStore(paths, vector_column, file_column)
        recall = None
        if approximate:
            recall = _build_graph(store, folder / _GRAPH)
        else:
            _check_vectors(store)
        content |= {"settings": settings, "rows": store.rows, "size": store.size}
        content["approximate"] = None
        if recall is not None:
            content["approximate"] = {**asdict(recall), "bytes": (folder / _GRAPH).stat().st_size}
        write_json(folder / _CONTENT, content)
        total = sum(path.stat().st_size for path in folder.iterdir())
    return IndexReport(store.rows, store.size, total, recall)


class SearchIndex:
    """
    An index that [`build_index`] wrote.

    Attributes:
        store: its vectors.
        settings: with which `polyaudio embed` computed them; empty for vectors of others.
        graph: the approximate index of usearch, mapped into memory; `None` without one.

    Raises:
        ValueError: the folder is no index, its features have changed since, or usearch is not installed.
    """

    def __init__(self, folder: str | os.PathLike, *, exact: bool = False):
        folder = Path(folder)
        if not (folder / _CONTENT).is_file():
            raise ValueError(f"{folder} is not an index. Build one: `polyaudio index FEATURES --output {folder}`.")
        content = read_json(folder / _CONTENT)
        features = Path(content["features"])
        sources = [SourceFile(**one) for one in content["sources"]]
        _check_sources(features, sources, folder)
        copied = folder / "vectors.parquet"
        root = features.parent if features.is_file() else features
        paths = [copied] if copied.exists() else [root / one.name for one in sources]
        self.store = VectorStore(paths, content["vector_column"], content["file_column"])
        self.settings: dict[str, Any] = content["settings"]
        self.graph = None
        if content["approximate"] is not None and not exact:
            self.graph = _open_graph(folder, content["approximate"])


def root_of_index(folder: str | os.PathLike) -> str | None:
    """The folder that the names of the recordings in an index are relative to; `None` if the features do not say."""
    return read_json(Path(folder, _CONTENT))["settings"].get("root")


def _sources(features: Path) -> list[SourceFile]:
    """The files that the vectors are in, or the list of them."""
    paths = find_parquet(features)
    if not paths:
        paths = [features / "embed.json", features / "index.jsonl"]
        if not all(path.is_file() for path in paths):
            raise ValueError(
                f"{features} has neither Parquet files nor features that `polyaudio embed` wrote. Name a folder with "
                "one of them."
            )
    root = features.parent if features.is_file() else features
    return [SourceFile.of(path, root) for path in paths]


def _check_sources(features: Path, sources: list[SourceFile], folder: Path) -> None:
    again = f"Build the index again: `polyaudio index {features} --output {folder}`."
    if not features.exists():
        raise ValueError(f"{features}, from which {folder} was built, is gone. Put it back, or build another index.")
    root = features.parent if features.is_file() else features
    known = {one.name for one in sources}
    new = {path.relative_to(root).as_posix() for path in find_parquet(features)} - known
    changed = [one.name for one in sources if not one.is_unchanged(root)]
    if new or changed:
        first = next(iter(sorted(new) + changed))
        what = "is new" if first in new else "has changed or is gone"
        raise ValueError(f"{features} has changed since the index was built: {first} {what}. {again}")


def _build_graph(store: VectorStore, path: Path) -> Recall:
    """Write a graph of all vectors but those of zeros, which have no direction."""
    graph = _usearch().Index(ndim=store.size, metric="cos", dtype="f16", connectivity=16, expansion_add=128)
    with progress_bar(store.rows, "Indexing", unit="row") as bar:
        for first, vectors, _ in store.blocks():
            has_direction = vectors.any(axis=1)
            # Several threads would leave out the links of vectors that are added at once, which no search finds then
            graph.add(first + np.flatnonzero(has_direction), vectors[has_direction], threads=1)
            bar.update(len(vectors))
    recall = _measure_recall(store, graph)
    graph.save(str(path))
    return recall


def _check_vectors(store: VectorStore) -> None:
    """Read all vectors, so that a broken one is an error now and not in each search."""
    with progress_bar(store.rows, "Checking", unit="row") as bar:
        for _, vectors, _ in store.blocks():
            bar.update(len(vectors))


def _open_graph(folder: Path, settings: dict[str, Any]) -> Any:
    """The graph, mapped into memory. A file of another length than it was written with would end the process."""
    path = folder / _GRAPH
    if not path.is_file() or path.stat().st_size != settings["bytes"]:
        raise ValueError(f"{path} is damaged or missing. Build the index again, or search exactly (--exact).")
    graph = _usearch().Index.restore(str(path), view=True)
    graph.expansion_search = settings["expansion"]
    return graph


def _measure_recall(store: VectorStore, graph: Any) -> Recall:
    """Compare the graph with an exact search, with the smallest expansion that finds enough."""
    sample = np.random.default_rng(0).permutation(store.rows)[:_SAMPLED]
    sample.sort()
    queries = store.take_vectors(sample)
    has_direction = queries.any(axis=1)
    sample, queries = sample[has_direction], queries[has_direction]
    number = max(0, min(_NEIGHBOURS, len(graph) - 1))
    found = []
    for expansion in _EXPANSIONS:
        graph.expansion_search = expansion
        found.append(search_graph(graph, queries, number + 1)[0])
    least, scores = _score(store, queries, sample, found, number)
    for expansion, own in zip(_EXPANSIONS, scores, strict=True):
        hits = np.minimum((own >= least[:, None] - _TIE).sum(axis=1), number)
        recall = Recall(float(hits.sum() / max(1, number * len(sample))), len(sample), expansion)
        if recall.recall >= _WANTED_RECALL:
            break
    graph.expansion_search = recall.expansion
    return recall


def _score(
    store: VectorStore, queries: np.ndarray, own: np.ndarray, found: list[np.ndarray], number: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """
    The exact score of the nearest row of this number, `(queries,)`, and those of the rows that were found.

    The row of each query itself, `own`, counts as infinitely far.
    """
    nearest = np.full((len(queries), number), -np.inf, np.float32)
    scores = [np.full(keys.shape, -np.inf, np.float32) for keys in found]
    for block in store.blocks():
        first, end = block.first, block.first + len(block.vectors)
        own_scores = block.scores(queries)
        inside = np.flatnonzero((own >= first) & (own < end))
        own_scores[inside, own[inside] - first] = -np.inf
        for rows, values in zip(found, scores, strict=True):
            query, place = np.nonzero((rows >= first) & (rows < end))
            values[query, place] = own_scores[query, rows[query, place] - first]
        candidates = np.concatenate([nearest, own_scores], axis=1)
        nearest = np.partition(candidates, -number - 1, axis=1)[:, end - first :]
    return nearest.min(axis=1, initial=np.inf), scores


def search_graph(graph: Any, queries: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """
    The nearest rows that an approximate index finds.

    Args:
        queries: unit vectors `(queries, size)`.
        number: how many rows to find.

    Returns:
        The rows, int64, and their scores, float32, both `(queries, number)`; where fewer are found, the rest have the
        row -1 and the score -infinity.
    """
    rows = np.full((len(queries), number), -1)
    scores = np.full((len(queries), number), -np.inf, np.float32)
    if len(queries) and len(graph):
        matches = graph.search(queries, min(number, len(graph)))
        found = np.reshape(matches.keys, (len(queries), -1))
        counts = np.reshape(getattr(matches, "counts", found.shape[1]), (-1, 1))
        is_found = np.arange(found.shape[1]) < counts
        width = found.shape[1]
        rows[:, :width] = np.where(is_found, found.astype(np.int64), -1)
        scores[:, :width] = np.where(is_found, 1 - np.reshape(matches.distances, found.shape), -np.inf)
    return rows, scores


def _usearch() -> Any:
    try:
        import usearch.index
    except ImportError as error:
        raise ValueError(
            "The approximate index needs a package: `pip install polyaudio[search]`. Or search exactly (--exact)."
        ) from error
    return usearch.index
