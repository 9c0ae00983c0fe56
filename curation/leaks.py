# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Whether a classifier could learn from the very audio that it is tested on."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import datasets

from ..data.readable import BadClip, clip_names
from .overlaps import Overlap, find_overlaps


# Pairs that a description tells
_EXAMPLES = 10


class Leak(NamedTuple):
    """
    Two clips that hold the same audio where they must not.

    `offset` is where the second clip begins in the first, in seconds, and negative where it begins earlier; `seconds`
    is how much they have in common, `similarity` the correlation of that, at most 1, and `semitones` how much higher
    the second one is.
    """

    first: str
    second: str
    first_split: str
    second_split: str
    offset: float
    seconds: float
    similarity: float
    semitones: float


class LeakReport(NamedTuple):
    """The leaks, longest first, the number of clips that were compared, and those that cannot be read."""

    leaks: list[Leak]
    num_clips: int
    unreadable: list[BadClip]

    def describe(self, between: str = "splits") -> list[str]:
        """Lines of text that say whether there is a leak `between` what, with examples."""
        if not self.leaks:
            return ["No leak found"]
        lines = []
        for leak in self.leaks[:_EXAMPLES]:
            lines += [
                f"  {leak.first_split}: {leak.first}",
                f"  {leak.second_split}: {leak.second}",
                f"    {leak.seconds:.2f} s in common, from {max(0.0, leak.offset):.2f} s of the first and "
                f"{max(0.0, -leak.offset):.2f} s of the second (similarity {leak.similarity:.3f}"
                + (f", shifted by {leak.semitones:+.1f} semitones)" if leak.semitones else ")"),
                "",
            ]
        if len(self.leaks) > _EXAMPLES:
            lines += [f"  and {len(self.leaks) - _EXAMPLES} more", ""]
        return [*lines, f"LEAK: {len(self.leaks)} pairs of clips hold the same audio in different {between}"]


def find_leaks(splits: datasets.DatasetDict) -> LeakReport:
    """
    Find clips that hold the same audio in different splits, with progress bars. Pairs within a split do not count.

    Args:
        splits: column `audio` (`Audio(decode=False)`).

    Returns:
        The report. A clip without a file is named by its row, counted through all splits.

    Raises:
        ValueError: no clip can be read.
    """
    clips = datasets.concatenate_datasets([rows.select_columns("audio") for rows in splits.values()])
    split_of = [split for split, rows in splits.items() for _ in range(len(rows))]
    names = list(splits)
    overlaps, unreadable = find_overlaps(clips, sides=[names.index(split) for split in split_of])
    return LeakReport(as_leaks(overlaps, clip_names(clips), split_of), len(clips) - len(unreadable), unreadable)


def as_leaks(overlaps: Iterable[Overlap], names: Sequence[str], split_of: Sequence[str]) -> list[Leak]:
    """
    Overlaps with the names and the splits of their clips, longest first.

    Args:
        overlaps: pairs of indices of clips.
        names, split_of: of each clip.
    """
    return [
        Leak(
            names[pair.first],
            names[pair.second],
            split_of[pair.first],
            split_of[pair.second],
            pair.offset,
            pair.seconds,
            pair.similarity,
            pair.semitones,
        )
        for pair in sorted(overlaps, key=lambda pair: -pair.seconds)
    ]
