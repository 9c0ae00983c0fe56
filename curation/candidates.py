# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Finds pairs of clips that share several keys at the same distance in time, or in time and pitch.

DuckDB sorts the keys of all clips, and then the places where two clips share a key, on the disk where they do not fit
in memory. In between, only a part of them is in memory. The places are many more than the keys, so each range of pairs
is in a file of its own, and sorted alone.
"""

import contextlib
import logging
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import duckdb
import numpy as np
import pyarrow as pa

from .fingerprint_shards import Fingerprints
from .fingerprints import HOP, RATE


logger = logging.getLogger(__name__)


# A key that occurs in many clips, for example in a jingle, pairs each of them only with this many of the next ones, in
# the order of their contexts
_NEIGHBOURS = 32
_MIN_VOTES = 4  # keys that a pair must share at one distance

# By chance, clips share a note or a chord, and so several keys at one or two moments. In a large collection, these are
# more pairs than could be compared. So a pair is doubtful if it shares keys at fewer moments than this, and no large
# part of its keys. Of the doubtful pairs only those with the most votes are compared.
_MOMENT_FRAMES = 16  # 256 ms
_MIN_MOMENTS = 3
_LARGE_PART = 0.1
_MOST_DOUBTFUL = 2000

# Copies with a pitch shift
_CELLS, _CELL_FRAMES = 4, 4  # keys are counted in cells of a quarter semitone and 64 ms
_MIN_SEMITONES = 0.25  # below it, drones that are slightly out of tune with each other would fill the cells
_VOTES_PER_KEY = 1e-3  # of the clip that has fewer keys, in addition to `_MIN_VOTES`

# Rows of a sorted table that are in memory at a time; fewer of keys, because each can have `_NEIGHBOURS` matches
_KEY_ROWS, _ROWS = 2**16, 2**18
_MEMORY, _THREADS = "500MB", 4  # of DuckDB, which needs memory for each thread

# With two threads and this memory, DuckDB sorted 300 million places, and could not sort 700 million
_MOST_SORTED = 10**8
_MOST_FILES = 500  # that are open at a time

_KEYS = pa.schema({"key": pa.int64(), "clip": pa.int32(), "frame": pa.int32(), "pitch": pa.float32()})
_MATCHES = pa.schema(
    {"pair": pa.int64(), "first_frame": pa.int32(), "second_frame": pa.int32(), "semitones": pa.float32()}
)
_FOUND = np.dtype(
    [("pair", "i8"), ("offset", "f8"), ("semitones", "f8"), ("speed", "f8"), ("votes", "i8"), ("is_doubtful", "?")]
)


class Candidate(NamedTuple):
    """
    Two clips that may have the same audio.

    Attributes:
        first, second: indices of the clips.
        offset: where the second begins in the first, in seconds.
        semitones: how much higher the second is.
        speed: how much faster it is.
    """

    first: int
    second: int
    offset: float
    semitones: float = 0.0
    speed: float = 1.0


@dataclass(frozen=True)
class CandidateSearch:
    """
    Searches the fingerprints of a collection.

    Args:
        fingerprints: those of all clips.
        folder: a folder for the files of DuckDB, which are removed.
        sides: `(clips,)`, int64. Only pairs of clips with different numbers are searched.
        threads: number of threads, at most.
        most_sorted: number of places where clips share a key that are sorted at a time, about.
    """

    fingerprints: Fingerprints
    folder: Path
    sides: np.ndarray
    threads: int = 1
    most_sorted: int = _MOST_SORTED

    def find(self) -> list[Candidate]:
        """Pairs that share keys, each with the two offsets at which they share the most keys; sorted."""
        numbers = self.fingerprints.num_keys
        pairs = self._by_pair("pair, first_frame, second_frame", self._matches(False, 0.0, 0.0), numbers)
        return self._compared(map(_vote, _whole_pairs(pairs)), numbers, 0.0)

    def find_shifted(self, max_semitones: float) -> list[Candidate]:
        """Pairs that share keys of intervals, each with the two shifts at which they share the most; sorted."""
        numbers = self.fingerprints.num_interval_keys
        pairs = self._by_pair("*", self._matches(True, _MIN_SEMITONES, max_semitones + _MIN_SEMITONES), numbers)
        return self._compared(map(_vote_shifted, _whole_pairs(pairs)), numbers, _VOTES_PER_KEY)

    def _matches(self, of_intervals: bool, min_semitones: float, max_semitones: float) -> Iterator[pa.RecordBatch]:
        """Where two clips share a key, in the order of the keys, with a progress bar."""
        query = (
            "SELECT key, clip, frame, pitch FROM read_parquet($files) WHERE of_intervals = $of_intervals "
            "ORDER BY key, context, clip"
        )
        files = list(map(str, self.fingerprints.files))
        numbers = self.fingerprints.num_interval_keys if of_intervals else self.fingerprints.num_keys
        description = "Matching shifted" if of_intervals else "Matching"
        before = _columns(_KEYS.empty_table())
        with datasets.utils.tqdm(total=int(numbers.sum(dtype=np.int64)), desc=description, unit="key") as progress:
            for batch in self._sorted(query, {"files": files, "of_intervals": of_intervals}, rows=_KEY_ROWS):
                rows = _joined(before, _columns(batch))
                yield _match(rows, len(before["key"]), self.sides, min_semitones, max_semitones)
                before = {name: values[-_NEIGHBOURS:] for name, values in rows.items()}
                progress.update(len(batch))

    def _by_pair(
        self, columns: str, matches: Iterator[pa.RecordBatch], num_keys: np.ndarray
    ) -> Iterator[pa.RecordBatch]:
        """These columns of the matches, sorted by pair."""
        most = int(num_keys.sum(dtype=np.int64)) * _NEIGHBOURS
        number = min(_MOST_FILES, 1 + most // self.most_sorted)
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            files = [Path(folder, f"{part}.arrow") for part in range(number)]
            _divide(matches, files, 1 + len(self.sides) ** 2 // number)
            for file in files:
                with pa.OSFile(str(file)) as source, pa.ipc.open_stream(source) as part:
                    yield from self._sorted(f"SELECT {columns} FROM matches ORDER BY pair", matches=part)
                file.unlink()

    def _sorted(
        self,
        query: str,
        parameters: dict[str, Any] | None = None,
        *,
        rows: int = _ROWS,
        matches: pa.RecordBatchReader | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query that sorts, some at a time; `matches` is the table of that name in it."""
        with (
            tempfile.TemporaryDirectory(dir=self.folder) as folder,
            duckdb.connect(
                config={"memory_limit": _MEMORY, "threads": min(self.threads, _THREADS), "temp_directory": folder}
            ) as connection,
        ):
            if matches is not None:
                connection.register("matches", matches)
            try:
                yield from connection.sql(query, params=parameters).to_arrow_reader(rows)
            except duckdb.Error as error:
                raise OSError(
                    f"The fingerprints cannot be sorted in {self.folder}: {str(error).splitlines()[0]}. Make "
                    "room there, or keep them in another folder (`cache`, --cache)."
                ) from error

    def _compared(self, found: Iterable[np.ndarray], num_keys: np.ndarray, votes_per_key: float) -> list[Candidate]:
        """The candidates to compare: those that are not doubtful, and the others with the most votes."""
        kept, number = np.empty(0, _FOUND), 0
        for pairs in found:
            first, second = np.divmod(pairs["pair"], len(self.sides))
            keys = np.minimum(num_keys[first], num_keys[second])
            pairs["is_doubtful"] &= pairs["votes"] < _LARGE_PART * keys
            pairs = pairs[pairs["votes"] >= _MIN_VOTES + votes_per_key * keys]
            number += len(pairs)
            kept = np.concatenate([kept, pairs])
            if np.count_nonzero(kept["is_doubtful"]) > 2 * _MOST_DOUBTFUL:
                kept = _with_fewer_doubtful(kept)
        kept = _with_fewer_doubtful(kept)
        if len(kept) < number:
            logger.info(
                f"{number - len(kept)} alignments of two clips were not compared, because the clips share no more "
                f"than a note or a chord; {_MOST_DOUBTFUL} such alignments were"
            )
        first, second = np.divmod(kept["pair"], len(self.sides))
        columns = first, second, kept["offset"], kept["semitones"], kept["speed"]
        return [Candidate(*one) for one in zip(*(column.tolist() for column in columns), strict=True)]


def _with_fewer_doubtful(found: np.ndarray) -> np.ndarray:
    """The candidates without the doubtful ones beyond `_MOST_DOUBTFUL`, those with the fewest votes."""
    doubtful = found["is_doubtful"].nonzero()[0]
    order = np.argsort(-found["votes"][doubtful], kind="stable")
    return np.delete(found, doubtful[order[_MOST_DOUBTFUL:]])


def _columns(batch: pa.RecordBatch | pa.Table) -> dict[str, np.ndarray]:
    return {name: batch[name].to_numpy() for name in batch.schema.names}


def _joined(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([first[name], second[name]]) for name in second}


def _match(
    rows: dict[str, np.ndarray], known: int, sides: np.ndarray, min_semitones: float, max_semitones: float
) -> pa.RecordBatch:
    """
    The places where two clips share a key.

    Args:
        rows: `key`, `clip`, `frame` and `pitch`, sorted by key.
        known: number of rows at the beginning that were matched with each other before.
    """
    keys, clips, pitches = rows["key"], rows["clip"], rows["pitch"]
    side_of_row = sides[clips]
    places = [np.empty((2, 0), np.int64)]
    for distance in range(1, _NEIGHBOURS + 1):
        near = (keys[distance:] == keys[:-distance]).nonzero()[0]
        near = near[near + distance >= known]
        if len(near) == 0:
            break
        semitones = np.abs(pitches[near + distance] - pitches[near])
        is_wanted = (min_semitones <= semitones) & (semitones <= max_semitones)
        near = near[is_wanted & (side_of_row[near] != side_of_row[near + distance])]
        places.append(np.stack([near, near + distance]))
    first, second = np.concatenate(places, axis=1)
    is_in_order = clips[first] < clips[second]
    first, second = np.where(is_in_order, first, second), np.where(is_in_order, second, first)
    pairs = clips[first].astype(np.int64) * len(sides) + clips[second]
    columns = pairs, rows["frame"][first], rows["frame"][second], pitches[second] - pitches[first]
    return pa.record_batch(list(map(pa.array, columns)), schema=_MATCHES)


def _divide(matches: Iterable[pa.RecordBatch], files: list[Path], width: int) -> None:
    """Write matches to files, to each those of `width` pairs, in the order in which they come."""
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(pa.OSFile(str(file), "wb")) for file in files]
        writers = [stack.enter_context(pa.ipc.new_stream(output, _MATCHES)) for output in outputs]
        for batch in matches:
            parts = batch["pair"].to_numpy() // width
            order = np.argsort(parts, kind="stable")
            ends = np.searchsorted(parts[order], np.arange(len(files)), side="right").tolist()
            batch = batch.take(pa.array(order))
            for writer, start, end in zip(writers, [0, *ends], ends, strict=False):
                if start < end:
                    writer.write_batch(batch.slice(start, end - start))


def _whole_pairs(batches: Iterable[pa.RecordBatch]) -> Iterator[dict[str, np.ndarray]]:
    """Matches that are sorted by pair, all of a pair at once, without the pairs that share too few keys."""
    rest = None
    for batch in batches:
        matches = _columns(batch) if rest is None else _joined(rest, _columns(batch))
        end = np.searchsorted(matches["pair"], matches["pair"][-1])
        yield _of_frequent_pairs({name: values[:end] for name, values in matches.items()})
        rest = {name: values[end:] for name, values in matches.items()}
    if rest is not None:
        yield _of_frequent_pairs(rest)


def _of_frequent_pairs(matches: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The matches of pairs with at least `_MIN_VOTES` of them."""
    pairs = matches["pair"]
    starts = np.diff(pairs, prepend=-1).nonzero()[0]
    numbers = np.diff(starts, append=len(pairs))
    is_frequent = np.repeat(numbers >= _MIN_VOTES, numbers)
    return {name: values[is_frequent] for name, values in matches.items()}


def _vote(matches: dict[str, np.ndarray]) -> np.ndarray:
    """Of each pair the two offsets with the most votes, dtype `_FOUND`, sorted by pair."""
    pairs, numbers = np.unique(matches["pair"], return_inverse=True)
    # A pair and its offset in one number: 24 bits cover offsets of a day and a half
    zero = 1 << 23
    cells = (numbers << 24) + matches["first_frame"] - matches["second_frame"] + zero
    best, votes = _fullest(*np.unique(cells, return_counts=True), 24)
    offsets = ((best & (2 * zero - 1)) - zero) * (HOP / RATE)
    is_doubtful = _count_moments(cells, matches["first_frame"], best) < _MIN_MOMENTS
    return _found(pairs[best >> 24], offsets, np.zeros(len(best)), np.ones(len(best)), votes, is_doubtful)


def _vote_shifted(matches: dict[str, np.ndarray]) -> np.ndarray:
    """Of each pair the two shifts with the most votes, dtype `_FOUND`, sorted by pair."""
    pairs, numbers = np.unique(matches["pair"], return_inverse=True)
    semitones = matches["semitones"]
    # Bits of a cell: the pair, 1 for a change of speed, 6 for the shift, 22 for the offset
    zero, zero_shift = 1 << 21, 1 << 5
    cells_of_matches, offsets_of_matches = [], []
    for speed in (0, 1):
        offset = matches["first_frame"] - matches["second_frame"] * 2 ** (speed * semitones / 12)
        cell = (((numbers << 1) + speed) << 6) + np.round(_CELLS * semitones).astype(np.int64) + zero_shift
        cells_of_matches.append((cell << 22) + np.round(offset / _CELL_FRAMES).astype(np.int64) + zero)
        offsets_of_matches.append(offset)
    all_cells = np.concatenate(cells_of_matches)
    cells, places, counts = np.unique(all_cells, return_inverse=True, return_counts=True)
    shifts = np.bincount(places, np.tile(semitones, 2), len(cells)) / counts
    offsets = np.bincount(places, np.concatenate(offsets_of_matches), len(cells)) / counts * (HOP / RATE)

    best, votes = _fullest(cells, counts, 29)
    places = np.searchsorted(cells, best)
    speeds = np.where((best >> 28) & 1 == 1, 2 ** (shifts[places] / 12), 1.0)
    is_doubtful = _count_moments(all_cells, np.tile(matches["first_frame"], 2), best) < _MIN_MOMENTS
    return _found(pairs[best >> 29], offsets[places], shifts[places], speeds, votes, is_doubtful)


def _found(*columns: np.ndarray) -> np.ndarray:
    found = np.empty(len(columns[0]), _FOUND)
    for name, values in zip(_FOUND.names or (), columns, strict=True):
        found[name] = values
    return found


def _fullest(cells: np.ndarray, counts: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """
    The two cells of each pair with the most votes, and their votes, sorted by pair.

    Args:
        cells: `(cells,)`, int64, sorted; cells that are neighbours in time have consecutive numbers.
        counts: `(cells,)`, int64, votes of the cells.
        bits: number of bits of a cell below those of its pair.
    """
    # A peak can fall into either of two neighbouring frames
    is_next = np.diff(cells) == 1
    votes = counts.copy()
    votes[1:] += np.where(is_next, counts[:-1], 0)
    votes[:-1] += np.where(is_next, counts[1:], 0)
    is_best = votes >= _MIN_VOTES
    is_best[1:] &= ~is_next | (votes[1:] > votes[:-1])
    is_best[:-1] &= ~is_next | (votes[:-1] >= votes[1:])

    cells, votes = cells[is_best], votes[is_best]
    order = np.lexsort((-votes, cells >> bits))
    cells, votes = cells[order], votes[order]
    pairs = cells >> bits
    is_first_or_second = np.concatenate([[True, True], pairs[2:] != pairs[:-2]])[: len(pairs)]
    return cells[is_first_or_second], votes[is_first_or_second]


def _count_moments(cells: np.ndarray, frames: np.ndarray, best: np.ndarray) -> np.ndarray:
    """
    The number of moments at which votes fall into the best cells or next to them.

    Args:
        cells, frames: `(votes,)`, the cell and the time of each vote.
        best: `(cells,)`, what `_fullest` returned.
    """
    if len(best) == 0:
        return np.empty(0, np.int64)
    order = np.argsort(best)
    places = np.searchsorted(best[order], cells - 1).clip(max=len(best) - 1)
    is_near = np.abs(best[order][places] - cells) <= 1
    moments = np.unique((places[is_near] << 32) + frames[is_near] // _MOMENT_FRAMES)
    counts = np.empty(len(best), np.int64)
    counts[order] = np.bincount(moments >> 32, minlength=len(best))
    return counts
