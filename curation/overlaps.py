# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Finds clips with the same audio: copies, and chunks of a recording that overlap. Only the audio is compared.

The keys of all clips (`fingerprints`) are written to disk (`fingerprint_shards`). Clips that share several keys at the
same distance in time, or in pitch and time, are candidates (`candidates`). Their audio decides (`comparison`).
"""

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np

from ..data.folders import INCOMPLETE
from ..data.locks import locked
from ..data.readable import BadClip
from .candidates import Candidate, CandidateSearch
from .comparison import Comparison, Overlap
from .fingerprint_shards import write_fingerprints
from .workers import call_for_all


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class InferredRecordings:
    """
    Clips with the recordings that their audio shows.

    Attributes:
        clips: the clips with these recordings, `group_0`, `group_1` and so on, in the column `recording`.
        overlaps: the pairs of clips with the same audio, sorted.
        unreadable: the clips that cannot be read. Each of them counts as a recording.
    """

    clips: datasets.Dataset
    overlaps: list[Overlap]
    unreadable: list[BadClip]


def find_overlaps(
    clips: datasets.Dataset,
    *,
    sides: Sequence[int] | None = None,
    min_similarity: float = 0.85,
    max_semitones: float = 3.0,
    num_workers: int = 0,
    cache: str | os.PathLike | None = None,
) -> tuple[list[Overlap], list[BadClip]]:
    """
    Find the pairs of clips with the same audio, with progress bars.

    These are copies, and chunks that overlap by at least a second or by half of the shorter clip, at any level,
    sampling rate and encoding. Common silence or a common steady tone alone does not count. If more than 32 clips have
    the same audio, some of their pairs are left out, but enough are reported to connect all of them.

    Copies and chunks with a pitch shift of at least a quarter of a semitone are found too if they overlap by two
    seconds. Their speed is the same, or has changed with the pitch as in faster playback.

    The fingerprints of the clips are on disk, so memory does not limit the size of a collection. Many pairs of a large
    collection share a note or a chord by chance. Of these only some are compared, and the number of the others is
    logged.

    Args:
        clips: column `audio` (`Audio(decode=False)`).
        sides: a number for each clip. If given, only pairs of clips with different numbers are searched.
        min_similarity: lowest similarity of a reported pair without a pitch shift. Pairs with a pitch shift have a
            fixed limit, as their similarity is measured on another scale.
        max_semitones: largest pitch shift up or down, at most 6; 0 to search no copies with a pitch shift.
        num_workers: number of processes that read and compare clips; 0 for threads of this process, one for each core.
        cache: a folder for the fingerprints, which is created if it does not exist. A later run on the same clips
            continues with it. By default they are in a temporary folder, which is removed.

    Returns:
        The pairs, sorted, and the clips that cannot be read.

    Raises:
        ValueError: no clip can be read, `min_similarity` is not between 0 and 1, `max_semitones` is not from 0 to 6,
            there are not as many `sides` as clips, or another process uses the cache.
        OSError: there is not enough room on the disk.
    """
    if not 0 < min_similarity < 1:
        raise ValueError(f"min_similarity must lie between 0 and 1, got {min_similarity}.")
    if not 0 <= max_semitones <= 6:
        raise ValueError(f"max_semitones must be from 0 to 6, got {max_semitones}.")
    if sides is not None and len(sides) != len(clips):
        raise ValueError(f"{len(sides)} sides were given for {len(clips)} clips.")
    clips = clips.select_columns("audio")
    with _folder(cache) as folder:
        fingerprints = write_fingerprints(clips, folder, is_cache=cache is not None, num_workers=num_workers)
        unreadable = fingerprints.unreadable
        if len(unreadable) == len(clips):
            reason = f" The first: {unreadable[0].reason}" if unreadable else ""
            raise ValueError(f"None of the {len(clips)} clips can be read.{reason}")

        side_of_clip = np.arange(len(clips)) if sides is None else np.asarray(sides)
        search = CandidateSearch(fingerprints, folder, side_of_clip, threads=max(1, num_workers))
        compare = Comparison(clips, fingerprints.seconds, min_similarity)
        best: dict[tuple[int, int], Overlap] = {}

        def compare_all(candidates: list[Candidate], description: str) -> None:
            for overlap in call_for_all(
                compare, candidates, num_workers=num_workers, description=description, unit="pair"
            ):
                if overlap is not None:
                    best[overlap[:2]] = max(overlap, best.get(overlap[:2], overlap), key=lambda one: one.similarity)

        compare_all(search.find(), "Comparing")
        if max_semitones > 0:
            shifted = search.find_shifted(max_semitones)
            compare_all([one for one in shifted if one[:2] not in best], "Comparing shifted")
    return [best[pair] for pair in sorted(best)], unreadable


def infer_groups(num_clips: int, overlaps: Iterable[Overlap]) -> np.ndarray:
    """
    Group the clips that are connected by overlaps.

    Args:
        num_clips: number of clips.
        overlaps: pairs of clips with the same audio.

    Returns:
        `(num_clips,)`, int64: the group of each clip. Groups are numbered in the order of their first clips.
    """
    parents = list(range(num_clips))

    def root(clip: int) -> int:
        while parents[clip] != clip:
            parents[clip] = parents[parents[clip]]
            clip = parents[clip]
        return clip

    for overlap in overlaps:
        low, high = sorted((root(overlap.first), root(overlap.second)))
        parents[high] = low
    return np.unique([root(clip) for clip in range(num_clips)], return_inverse=True)[1].astype(np.int64)


def infer_recordings(
    clips: datasets.Dataset, *, num_workers: int = 0, cache: str | os.PathLike | None = None
) -> InferredRecordings:
    """
    Find out which clips come from the same recording, with progress bars: those that are connected by common audio.

    Args:
        clips: column `audio` (`Audio(decode=False)`). A column `recording` is replaced.
        num_workers, cache: as for [`find_overlaps`].

    Returns:
        The clips with their recordings. Their number is logged.

    Raises:
        ValueError: no clip can be read, or the clips have groups.
    """
    if "group" in clips.column_names:
        raise ValueError(
            "The clips have groups to split by, which recordings from the audio would cut. Leave out infer_groups "
            "(--infer-groups), or set group_by to `recording` (--group-by recording)."
        )
    overlaps, unreadable = find_overlaps(clips, num_workers=num_workers, cache=cache)
    recordings = [f"group_{group}" for group in infer_groups(len(clips), overlaps).tolist()]
    logger.info(f"{len(set(recordings))} recordings inferred from the audio of {len(clips)} clips")
    if "recording" in clips.column_names:
        clips = clips.remove_columns("recording")
    clips = clips.add_column("recording", recordings, feature=datasets.Value("string"))
    return InferredRecordings(clips, overlaps, unreadable)


@contextlib.contextmanager
def _folder(cache: str | os.PathLike | None) -> Iterator[Path]:
    """The folder of the cache, for this process alone and without what a killed one has left, or a temporary one."""
    if cache is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    path = Path(cache)
    path.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(path / ".lock"))
        except BlockingIOError as error:
            raise ValueError(
                f"Another process uses the cache {cache}. Wait until it has finished, or name another folder."
            ) from error
        for left in path.glob(f".*{INCOMPLETE}"):
            left.unlink()
        for left in path.glob("tmp*"):
            shutil.rmtree(left)
        yield path
