# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
import numpy as np
import pytest
import torch

from polyaudio.feature_extraction.pitch_track import as_pitch_tracks, melody_of_track


def at_frames(pitch, times, num_frames=5, frame_seconds=0.02):
    """Pitch at the frames, 0 where there is none."""
    melody = melody_of_track(*as_pitch_tracks(pitch, times), num_frames, frame_seconds)
    assert melody.pitch.dtype == melody.voicing.dtype == torch.float32
    assert (melody.weight == 1).all()
    return melody.pitch[..., 0] * melody.voicing


def test_frames_between_values_are_interpolated_in_cents():
    found = at_frames([100.0, 400.0], [0.0, 0.08])
    torch.testing.assert_close(found, torch.tensor([[100, 100 * 2**0.5, 200, 200 * 2**0.5, 400]]))


def test_what_has_no_pitch_is_a_rest():
    found = at_frames([200, 0, -200, float("nan"), 300], [0.0, 0.02, 0.04, 0.06, 0.08])
    torch.testing.assert_close(found, torch.tensor([[200.0, 0, 0, 0, 300]]))


def test_the_nearest_value_counts_beside_a_rest():
    found = at_frames([200.0, 0.0], [0.0, 0.06])
    torch.testing.assert_close(found, torch.tensor([[200.0, 200, 0, 0, 0]]))


def test_far_from_any_value_is_a_rest():
    """Some annotations leave rests out."""
    found = at_frames([200.0, 300.0], [0.1, 0.5], num_frames=31)
    assert (found[0] > 0).nonzero().flatten().tolist() == [*range(3, 8), *range(23, 28)]
    assert (at_frames([200.0], [0.0], num_frames=4) > 0).tolist() == [[True, True, True, False]]


def test_a_batch_of_tracks_of_other_lengths():
    pitch, times = [[200.0] * 5, [300.0, 300.0]], [np.arange(5) * 0.02, np.arange(2) * 0.02]
    found = at_frames(pitch, times)
    torch.testing.assert_close(found[:1], at_frames(pitch[0], times[0]))
    torch.testing.assert_close(found[1:], at_frames(pitch[1], times[1]))
    as_array = at_frames(np.full((2, 5), 200.0), np.tile(np.arange(5) * 0.02, (2, 1)))
    torch.testing.assert_close(as_array, found[:1].expand(2, -1))


def test_long_recordings_keep_their_times():
    times = 10_000 + np.arange(20) * 0.01
    found = at_frames(np.linspace(200, 390, 20), times, num_frames=500_006, frame_seconds=0.02)
    torch.testing.assert_close(found[0, 500_000:500_003], torch.tensor([200.0, 220, 240]))


@pytest.mark.parametrize(
    ("pitch", "times", "message"),
    [
        ([200.0], None, "both"),
        (None, [0.0], "both"),
        ([200.0, 210.0], [0.0], "one number for each value"),
        ([[200.0], [210.0]], [0.0], "one number for each value"),
        ([[[200.0]]], [[[0.0]]], "one number for each value"),
        ([], [], "at least one"),
        ([200.0, 210.0], [0.0, 0.0], "ascend"),
        ([200.0, 210.0], [-0.1, 0.0], "ascend"),
        ([200.0, 210.0], [0.0, float("nan")], "ascend"),
        ([200.0, float("inf")], [0.0, 0.1], "infinity"),
    ],
)
def test_tracks_that_do_not_fit_are_refused(pitch, times, message):
    with pytest.raises(ValueError, match=message):
        as_pitch_tracks(pitch, times)


@pytest.mark.parametrize("pitch", [["a"], 3.0, [[200.0, [1.0]]]])
def test_what_is_no_track_is_refused(pitch):
    with pytest.raises(TypeError, match="1-D sequence of numbers"):
        as_pitch_tracks(pitch, [0.0])
