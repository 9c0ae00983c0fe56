# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Pitch tracks of others: annotations, and what other trackers found."""

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from .melody import Melody


PitchTrack = np.ndarray | torch.Tensor | list[float] | list[list[float]] | list[np.ndarray] | list[torch.Tensor]

# Values that are further apart in time, in seconds, have a rest between them
LONGEST_GAP = 0.1


def as_pitch_tracks(
    pitch: PitchTrack | None, pitch_times: PitchTrack | None
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """
    Check pitch tracks.

    Args:
        pitch: in Hz, an array of shape `(values,)` for one clip, or a batch: a list of those, or an array of shape
            `(batch_size, values)`. 0, negative numbers and NaN mean that there is no pitch.
        pitch_times: the time of each value in seconds, ascending.

    Returns:
        The pitch, 0 where there is none, and the times of each clip, float64, `(values,)` each.

    Raises:
        ValueError: one of the two is missing, they do not have the same shapes, a track is empty, a pitch is infinite,
            or times are negative, not finite or do not ascend.
        TypeError: they are not numbers.
    """
    if pitch is None or pitch_times is None:
        raise ValueError("A pitch track needs both `pitch` in Hz and `pitch_times` in seconds.")
    tracks, times = _as_list(pitch), _as_list(pitch_times)
    if [one.shape for one in tracks] != [one.shape for one in times] or any(one.ndim != 1 for one in tracks):
        raise ValueError(
            f"`pitch` and `pitch_times` must have one number for each value of each track, got the shapes "
            f"{[tuple(one.shape) for one in tracks][:4]} and {[tuple(one.shape) for one in times][:4]}."
        )
    for track, time in zip(tracks, times, strict=True):
        if not len(time) or not time.isfinite().all() or time[0] < 0 or (time.diff() <= 0).any():
            raise ValueError("The times of a pitch track must be seconds from 0 that ascend, at least one.")
        if track.isinf().any():
            raise ValueError("A pitch track holds infinity. Use 0 where there is no pitch.")
    return [torch.where(track > 0, track, 0.0) for track in tracks], times


def _as_list(values: PitchTrack) -> list[torch.Tensor]:
    """Arrays of float64, one for each clip."""
    try:
        if isinstance(values, np.ndarray | torch.Tensor):
            rows = list(values) if values.ndim == 2 else [values]
        else:
            rows = [values] if not len(values) or np.ndim(values[0]) == 0 else list(values)
        return [torch.as_tensor(np.array(one, dtype=np.float64)) for one in rows]
    except (TypeError, ValueError) as error:
        raise TypeError(f"A pitch track must be a 1-D sequence of numbers: {error}") from error


def melody_of_track(
    tracks: list[torch.Tensor], times: list[torch.Tensor], num_frames: int, frame_seconds: float
) -> Melody:
    """
    The melody of pitch tracks, at the times of frames.

    Between two values of a track with a pitch, not more than 0.1 s apart, the pitch is interpolated. Elsewhere that of
    the nearest value counts, if it is not more than 0.05 s away.

    Args:
        tracks, times: as `as_pitch_tracks` returns them.
        num_frames: number of frames.
        frame_seconds: time from one frame to the next.

    Returns:
        The melody with one candidate, float32, on the CPU.
    """
    padded = pad_sequence(times, batch_first=True, padding_value=torch.inf)
    pitch = pad_sequence(tracks, batch_first=True)
    frame_times = (torch.arange(num_frames, dtype=torch.float64) * frame_seconds).expand(len(times), -1)
    last = torch.tensor([len(time) - 1 for time in times])[:, None]
    after = torch.minimum(torch.searchsorted(padded, frame_times.contiguous()), last)
    before = (after - 1).clamp(min=0)
    (begin, end), (left, right) = ((one.gather(1, before), one.gather(1, after)) for one in (padded, pitch))
    is_between = (begin <= frame_times) & (frame_times <= end) & (end - begin <= LONGEST_GAP)
    is_between &= (left > 0) & (right > 0)
    share = ((frame_times - begin) / (end - begin).clamp(min=1e-9)).clamp(0, 1)
    is_left = (frame_times - begin).abs() < (end - frame_times).abs()
    nearest = torch.where(is_left, left, right)
    distance = torch.where(is_left, frame_times - begin, end - frame_times).abs()
    nearest = torch.where(distance <= LONGEST_GAP / 2, nearest, 0.0)
    interpolated = left.clamp(min=1) ** (1 - share) * right.clamp(min=1) ** share
    found = torch.where(is_between, interpolated, nearest)

    voicing = (found > 0).float()
    found = torch.where(found > 0, found, 1.0).float()
    return Melody(found[..., None], torch.ones_like(found)[..., None], voicing)
