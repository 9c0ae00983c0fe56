# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Labels of frames from events."""

import numpy as np
import pytest

from builders import FRAME
from polyaudio.data.events import Event, events_to_frames


@pytest.mark.parametrize(
    ("onset", "offset", "expected"),
    [
        (2.0, 4.0, [0, 0, 1, 1, 0]),
        (2.4, 4.4, [0, 0, 1, 1, 0]),  # 0.6 of the first frame, 0.4 of the last
        (2.6, 4.6, [0, 0, 0, 1, 1]),
        (2.5, 3.5, [0, 0, 1, 1, 0]),  # half of each
        (2.1, 2.2, [0, 0, 1, 0, 0]),  # shorter than half of a frame
        (2.8, 3.1, [0, 0, 1, 0, 0]),  # most of the event
        (-1.0, 0.1, [1, 0, 0, 0, 0]),
        (4.95, 9.0, [0, 0, 0, 0, 1]),
        (0.0, 99.0, [1, 1, 1, 1, 1]),
        (5.0, 6.0, [0, 0, 0, 0, 0]),
        (-2.0, -1.0, [0, 0, 0, 0, 0]),
    ],
)
def test_event_to_frames(onset, offset, expected):
    frames = events_to_frames([Event(onset, offset, 1)], 5, 1.0, 3)
    assert frames.dtype == np.float32
    np.testing.assert_array_equal(frames[:, 1], expected)
    assert not frames[:, [0, 2]].any()


def test_overlapping_events_and_none():
    frames = events_to_frames([Event(0, 2, 0), Event(1, 3, 0), Event(1, 2, 1)], 4, 1.0, 2)
    np.testing.assert_array_equal(frames, [[1, 0], [1, 1], [1, 0], [0, 0]])
    assert events_to_frames([], 4, 1.0, 2).shape == (4, 2)
    assert events_to_frames([Event(0, 1, 0)], 0, 1.0, 2).shape == (0, 2)


def test_no_event_inside_the_clip_disappears():
    generator = np.random.default_rng(0)
    onsets = generator.uniform(0, 10.0, 1000)
    for length in (1e-4, 0.05, 0.16, 0.17, 0.5):
        counts = [events_to_frames([Event(on, on + length, 0)], 63, FRAME, 1).sum() for on in onsets]
        assert min(counts) >= 1
        assert max(counts) <= np.ceil(length / FRAME) + 1


def test_events_that_cannot_be_labels():
    for event in (Event(2, 2, 0), Event(float("nan"), 1, 0), Event(0, 1, 3), Event(0, 1, "dog")):
        with pytest.raises(ValueError, match=r"no length|no known class"):
            events_to_frames([event], 10, 1.0, 3)
