# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Checks whether a classifier could be tested on audio that it was trained on."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import datasets

from ..data.readable import BadClip, clip_names, report_bad_clips
from ..data.splits import groups_of_clips, split_by_recording, unit_of
from .overlaps import Overlap, find_overlaps, infer_groups, infer_recordings


# Number of pairs that a description shows
_EXAMPLES = 10
# Columns of collections with what several recordings have in common
_PERFORMERS = ("concert", "artist")


class Leak(NamedTuple):
    """
    Two clips with the same audio in different splits or recordings.

    Attributes:
        first, second: the names of the clips.
        first_split, second_split: their splits.
        offset: where the second clip begins in the first, in seconds; negative if it begins earlier.
        seconds: length of the common audio.
        similarity: correlation of the common audio, at most 1.
        semitones: how much higher the second clip is.
    """

    first: str
    second: str
    first_split: str
    second_split: str
    offset: float
    seconds: float
    similarity: float
    semitones: float


@dataclass(frozen=True)
class LeakReport:
    """The leaks, longest first, the number of clips that were compared, and the clips that cannot be read."""

    leaks: list[Leak]
    num_clips: int
    unreadable: list[BadClip]

    def describe(self, between: str = "splits") -> list[str]:
        """Lines of text with examples and the number of leaks. `between` names the kind of the parts."""
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


@dataclass(frozen=True)
class LeakCheck:
    """
    What [`check_dataset`] found.

    Attributes:
        names, splits, recordings: the name, the split and the recording of each clip, or its group if the clips have
            groups. A dataset without splits gets those that training would make.
        overlaps: all pairs of clips with the same audio, sorted.
        has_splits: whether the dataset has splits of its own.
        unreadable: the clips that cannot be read.
        unit: what `recordings` are.
        shared: for each of the columns `concert` and `artist` that the clips have, its values in several splits,
            sorted. They are no leak, but scores on a new concert or of a new artist can be lower.
    """

    names: list[str]
    splits: list[str]
    recordings: list[str]
    overlaps: list[Overlap]
    has_splits: bool
    unreadable: list[BadClip]
    unit: Literal["group", "recording"] = "recording"
    shared: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def num_clips(self) -> int:
        """The number of clips that were compared."""
        return len(self.names) - len(self.unreadable)

    @property
    def groups(self) -> list[int]:
        """The group of each clip. Clips in one group are connected by common audio."""
        return infer_groups(len(self.names), self.overlaps).tolist()

    @property
    def across_splits(self) -> list[Overlap]:
        return [pair for pair in self.overlaps if self.splits[pair.first] != self.splits[pair.second]]

    @property
    def across_recordings(self) -> list[Overlap]:
        return [pair for pair in self.overlaps if self.recordings[pair.first] != self.recordings[pair.second]]

    @property
    def crossing(self) -> list[str]:
        """The groups that are in several splits, sorted; of clips without groups, none is searched."""
        return _in_several(self.recordings, self.splits) if self.unit == "group" else []

    @property
    def report(self) -> LeakReport:
        """The leaks: pairs across splits, or across recordings in a dataset without splits."""
        leaks = self.across_splits if self.has_splits else self.across_recordings
        return LeakReport(as_leaks(leaks, self.names, self.splits), self.num_clips, self.unreadable)

    @property
    def has_leak(self) -> bool:
        return bool(self.crossing or (self.across_splits if self.has_splits else self.across_recordings))

    def to_dict(self) -> dict[str, Any]:
        """All pairs and clips, for JSON."""
        return {
            "leak": self.has_leak,
            "crossing": self.crossing,
            "shared": dict(self.shared),
            "pairs": [
                {
                    **pair._asdict(),
                    "across_splits": self.splits[pair.first] != self.splits[pair.second],
                    "across_recordings": self.recordings[pair.first] != self.recordings[pair.second],
                }
                for pair in self.overlaps
            ],
            "clips": [
                {"name": name, "split": split, "recording": recording, "group": group}
                for name, split, recording, group in zip(
                    self.names, self.splits, self.recordings, self.groups, strict=True
                )
            ],
            "unreadable": [clip._asdict() for clip in self.unreadable],
        }


def check_dataset(
    splits: datasets.DatasetDict,
    *,
    infer_groups: bool = False,
    test_size: float = 0.1,
    seed: int = 42,
    num_workers: int = 0,
    cache: str | os.PathLike | None = None,
) -> LeakCheck:
    """
    Find clips with the same audio that a classifier could be trained and tested on, with progress bars.

    A dataset with several splits has a leak if a pair is in two of them. A dataset without splits is split by
    recording when a model is trained on it, so it has a leak if a pair comes from two recordings. If the clips have
    groups, these take the place of recordings, and a group in several splits is a leak as well.

    Args:
        splits: what `load_clips` returns.
        infer_groups: take the recordings of a dataset without splits from the audio, as [`infer_recordings`] does.
        test_size, seed: arguments of [`split_by_recording`] for a dataset without splits.
        num_workers, cache: arguments of [`find_overlaps`].

    Returns:
        The pairs, and what is known of each clip. Clips that cannot be read are logged and left out.

    Raises:
        ValueError: the dataset has splits and `infer_groups` is set, it has none and cannot be split by recording, or
            no clip can be read.
    """
    has_splits = len(splits) > 1
    if has_splits and infer_groups:
        raise ValueError(
            f"The dataset is divided into splits ({', '.join(splits)}), which `infer_groups` cannot change."
        )
    clips = datasets.concatenate_datasets(list(splits.values()))
    if not has_splits and not infer_groups:
        split_by_recording(clips, test_size, seed)  # raises its errors before the long search
    if infer_groups:
        inferred = infer_recordings(clips, num_workers=num_workers, cache=cache)
        clips, overlaps, unreadable = inferred.clips, inferred.overlaps, inferred.unreadable
    else:
        overlaps, unreadable = find_overlaps(clips, num_workers=num_workers, cache=cache)
    report_bad_clips(unreadable)
    if has_splits:
        split_of = [name for name, rows in splits.items() for _ in range(len(rows))]
    else:
        rows = clips.remove_columns("audio").add_column("row", list(range(len(clips))))
        held_out = set(split_by_recording(rows, test_size, seed)[1]["row"][:])
        split_of = ["test" if row in held_out else "train" for row in range(len(rows))]
    return LeakCheck(
        clip_names(clips),
        split_of,
        groups_of_clips(clips),
        overlaps,
        has_splits,
        unreadable,
        unit_of(clips),
        {column: _in_several(clips[column][:], split_of) for column in _PERFORMERS if column in clips.column_names},
    )


def _in_several(values: Iterable[str | None], splits: Iterable[str]) -> list[str]:
    """The values of clips in several splits, sorted; clips without a value do not count."""
    splits_of: dict[str, set[str]] = {}
    for value, split in zip(values, splits, strict=True):
        if value is not None:
            splits_of.setdefault(value, set()).add(split)
    return sorted(value for value, own in splits_of.items() if len(own) > 1)


def find_leaks(splits: datasets.DatasetDict) -> LeakReport:
    """
    Find clips with the same audio in different splits, with progress bars. Pairs within a split do not count.

    Args:
        splits: column `audio` (`Audio(decode=False)`).

    Returns:
        The report. A clip without a file is named by its row, counted over all splits.

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
    Add the names and the splits of the clips to overlaps, and sort them, longest first.

    Args:
        overlaps: pairs of clips with the same audio.
        names, split_of: the name and the split of each clip.
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
