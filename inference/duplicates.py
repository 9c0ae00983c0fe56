# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Near-duplicates: recordings with vectors in nearly the same direction."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .progress import progress_bar
from .search_index import SearchIndex, search_graph
from .vector_store import BLOCK_ROWS, VectorStore


# How many near rows the approximate index looks for, first and where all of them are near
_FEW, _MANY = 32, 1024

# Pairs that are collected before they are joined to groups
_MOST_PAIRS = 1_000_000

# Rows, their near rows and the scores, `(pairs,)` each
_Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Duplicate:
    """
    A recording in a group of near-duplicates.

    Args:
        file: its name in the features.
        nearest: the recording that is nearest to it.
        score: the cosine of the angle between the two nearest vectors.
    """

    file: str
    nearest: str
    score: float


def find_duplicates(
    index: str | os.PathLike, *, threshold: float = 0.98, where: str | None = None, exact: bool = False
) -> list[list[Duplicate]]:
    """
    Find groups of recordings such that each has a vector near to one of another recording of its group.

    With an approximate index, it looks for the neighbours of each vector, and may miss a few. Otherwise all pairs of
    vectors are compared, block by block: the time grows with the square of their number.

    Args:
        index: a folder that [`build_index`] wrote.
        threshold: the least cosine of near vectors, above 0, at most 1.
        where: an SQL condition on the columns, as for [`search`]: only these rows are compared.
        exact: compare all pairs even if there is an approximate index.

    Returns:
        The groups, the largest first, each with at least two recordings.

    Raises:
        ValueError: the threshold is out of range, the filter does not work, or the features have changed since the
            index was built.

    Example:

    ```python
    >>> from polyaudio import find_duplicates

    >>> for group in find_duplicates("index", threshold=0.99):  # doctest: +SKIP
    ...     print([one.file for one in group])
    ['a.wav', 'copy of a.wav']
    ```
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, got {threshold}.")
    opened = SearchIndex(index, exact=exact)
    store = opened.store
    recordings = _recordings(store)
    is_match = np.ones(store.rows, bool) if where is None else store.matching(where)
    # A cosine of 1 is a little less in float32
    least = threshold - 1e-5
    if opened.graph is None:
        pairs = _all_pairs(store, recordings, is_match, least)
    else:
        pairs = _neighbours(opened.graph, store, recordings, is_match, least)
    groups = _Groups(store.rows)
    with progress_bar(store.rows, "Comparing", unit="row") as bar:
        for done, found in pairs:
            groups.add(*found)
            bar.update(done)
    return _named(store, groups)


class _Groups:
    """Joins rows to groups. For each row it keeps a number of its group and the nearest row of another recording."""

    def __init__(self, rows: int):
        self.groups = np.arange(rows)
        self.scores = np.full(rows, -np.inf, np.float32)
        self.nearest = np.full(rows, -1)
        self._waiting: list[np.ndarray] = []
        self._number = 0

    def add(self, rows: np.ndarray, others: np.ndarray, scores: np.ndarray) -> None:
        for ours, theirs in ((rows, others), (others, rows)):
            order = np.argsort(scores, kind="stable")  # of several scores of a row, the last, highest one stays
            better = order[scores[order] > self.scores[ours[order]]]
            self.scores[ours[better]], self.nearest[ours[better]] = scores[better], theirs[better]
        self._waiting.append(np.stack([rows, others]))
        self._number += len(rows)
        if self._number >= _MOST_PAIRS:
            self.join()

    def join(self) -> None:
        """Give the rows of each group the same number."""
        rows = len(self.groups)
        ours, theirs = np.concatenate([np.stack([np.arange(rows), self.groups]), *self._waiting], axis=1)
        labels = _components(ours, theirs, rows)
        _, first = np.unique(labels, return_index=True)
        self.groups = first[labels]
        self._waiting, self._number = [], 0


def _recordings(store: VectorStore) -> np.ndarray:
    """A number for the recording of each row, `(rows,)`, uint64, from its name."""
    numbers = np.empty(store.rows, np.uint64)
    for first, files in store.file_blocks():
        coded = files.dictionary_encode()
        digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in coded.dictionary.to_pylist()]
        own = np.array([int.from_bytes(digest, "big") for digest in digests], np.uint64)
        numbers[first : first + len(files)] = own[coded.indices.to_numpy()]
    return numbers


def _all_pairs(
    store: VectorStore, recordings: np.ndarray, is_match: np.ndarray, least: float
) -> Iterator[tuple[int, _Pairs]]:
    """For each block of rows, its number of rows, and the near pairs with later rows."""
    for first, vectors, _ in store.blocks():
        for start, others, _ in store.blocks(first):
            scores = vectors @ others.T
            ours, theirs = np.nonzero(scores >= least)
            scores = scores[ours, theirs]
            ours, theirs = ours + first, theirs + start
            is_pair = (ours < theirs) & (recordings[ours] != recordings[theirs]) & is_match[ours] & is_match[theirs]
            yield 0, (ours[is_pair], theirs[is_pair], scores[is_pair])
        yield len(vectors), (np.empty(0, int), np.empty(0, int), np.empty(0, np.float32))


def _neighbours(
    graph: object, store: VectorStore, recordings: np.ndarray, is_match: np.ndarray, least: float
) -> Iterator[tuple[int, _Pairs]]:
    """For each block of rows, its number of rows, and their near rows that the approximate index finds."""
    for first, vectors, _ in store.blocks():
        rows = np.flatnonzero(is_match[first : first + len(vectors)])
        near, scores = search_graph(graph, vectors[rows], _FEW)
        yield len(vectors), _near_pairs(rows + first, near, scores, recordings, is_match, least)
        crowded = np.flatnonzero(scores[:, -1] >= least) if len(rows) else rows
        for start in range(0, len(crowded), BLOCK_ROWS // 8):
            part = rows[crowded[start : start + BLOCK_ROWS // 8]]
            near, scores = search_graph(graph, vectors[part], _MANY)
            yield 0, _near_pairs(part + first, near, scores, recordings, is_match, least)


def _near_pairs(
    rows: np.ndarray, near: np.ndarray, scores: np.ndarray, recordings: np.ndarray, is_match: np.ndarray, least: float
) -> _Pairs:
    ours, place = np.nonzero(scores >= least)
    theirs, scores, ours = near[ours, place], scores[ours, place], rows[ours]
    is_pair = (recordings[ours] != recordings[theirs]) & is_match[theirs]
    return ours[is_pair], theirs[is_pair], scores[is_pair]


def _named(store: VectorStore, groups: _Groups) -> list[list[Duplicate]]:
    """The groups of recordings, from those of rows: groups of rows with a recording in common are one."""
    groups.join()
    rows = np.flatnonzero(groups.nearest >= 0)
    if not len(rows):
        return []
    files = store.take_files(rows)
    nearest = store.take_files(groups.nearest[rows])
    best: dict[str, Duplicate] = {}
    names = {file: number for number, file in enumerate(dict.fromkeys(files))}
    number_of = np.array([names[file] for file in files])
    for file, other, score in zip(files, nearest, groups.scores[rows].tolist(), strict=True):
        if file not in best or score > best[file].score:
            best[file] = Duplicate(file, other, min(score, 1.0))
    _, row_groups = np.unique(groups.groups[rows], return_inverse=True)
    total = len(names) + row_groups.max() + 1
    labels = _components(number_of, row_groups + len(names), total)
    named: dict[int, list[Duplicate]] = {}
    for file, number in names.items():
        named.setdefault(int(labels[number]), []).append(best[file])
    return sorted(named.values(), key=len, reverse=True)


def _components(ours: np.ndarray, theirs: np.ndarray, total: int) -> np.ndarray:
    """The group of each recording, by number. The recordings of a pair are in one group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(ours), bool), (ours, theirs)), shape=(total, total))
    return connected_components(graph, directed=False)[1]
