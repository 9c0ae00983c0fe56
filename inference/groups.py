# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Groups of recordings, so that a collection of any size needs the memory of one group."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ..data.recordings import Recording, fetch


# Bytes of encoded audio that may wait in memory for the model
_MOST_BYTES = 2**28
_DOWNLOADS = 8  # at once


def read_groups(
    recordings: Iterator[Recording], size: int, failed: list[tuple[str, str]]
) -> Iterator[list[Recording]]:
    """
    Groups of recordings, with the content of those at addresses.

    Args:
        recordings: any number.
        size: the most recordings in a group. One with many bytes ends earlier.
        failed: a list to which the name and the reason of each recording is added that cannot be fetched, or of which
            its source has said that it cannot be read.
    """
    group: list[Recording] = []
    in_memory = 0
    for recording in _fetched(recordings):
        if recording.error is not None:
            failed.append((recording.name, recording.error))
            continue
        group.append(recording)
        in_memory += len(recording.audio) if isinstance(recording.audio, bytes) else 0
        if len(group) == size or in_memory >= _MOST_BYTES:
            yield group
            group, in_memory = [], 0
    if group:
        yield group


def _fetched(recordings: Iterator[Recording]) -> Iterator[Recording]:
    with ThreadPoolExecutor(_DOWNLOADS) as pool:
        while some := list(itertools.islice(recordings, _DOWNLOADS)):
            yield from pool.map(_with_content, some) if any(one.is_remote for one in some) else some


def _with_content(recording: Recording) -> Recording:
    if not recording.is_remote or recording.error is not None:
        return recording
    try:
        return replace(recording, audio=fetch(str(recording.audio)))
    except OSError as error:
        return replace(recording, error=str(error))
