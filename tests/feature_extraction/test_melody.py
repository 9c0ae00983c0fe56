# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
import numpy as np
import pytest
import torch

from polyaudio.data.ragas import CONTROL_RATE, Concert, synthesize_concert
from polyaudio.feature_extraction.melody import MelodyTracker


RATE = 16_000
HOP = 320


@pytest.fixture(scope="module")
def tracker():
    return MelodyTracker(RATE)


def tones(frequencies: np.ndarray) -> torch.Tensor:
    """A tone with eight partials that follows frequencies in Hz, one for each sample."""
    turns = np.cumsum(frequencies) / RATE
    return torch.from_numpy(sum(np.sin(2 * np.pi * k * turns) / k for k in range(1, 9)).astype(np.float32) * 0.1)


def pitch_of(melody) -> torch.Tensor:
    return melody.pitch.gather(2, melody.weight.argmax(2, keepdim=True))[..., 0]


def track(tracker, *clips):
    lengths = torch.tensor([len(clip) for clip in clips])
    return tracker(torch.nn.utils.rnn.pad_sequence(list(clips), batch_first=True), lengths)


def test_shapes_and_ranges(tracker):
    melody = track(tracker, 0.1 * torch.randn(10_000), 0.1 * torch.randn(6_001))
    assert melody.pitch.shape == melody.weight.shape == (2, 1 + 10_000 // HOP, melody.pitch.shape[2])
    assert melody.voicing.shape == (2, 1 + 10_000 // HOP)
    torch.testing.assert_close(melody.weight.sum(2), torch.ones_like(melody.voicing))
    assert ((melody.voicing >= 0) & (melody.voicing <= 1)).all()
    assert (melody.pitch > 0).all()


@pytest.mark.parametrize("lowest", [90.0, 180.0, 400.0])
def test_a_glide_and_an_oscillation_are_followed(tracker, lowest):
    time = np.arange(4 * RATE) / RATE
    cents = 200 * time + 60 * np.sin(2 * np.pi * 5 * time)  # kampita over a slow glide
    frequencies = lowest * 2 ** (cents / 1200)
    melody = track(tracker, tones(frequencies))
    error = 1200 * np.log2(pitch_of(melody)[0].numpy() / frequencies[np.minimum(np.arange(201) * HOP, len(time) - 1)])
    assert np.median(np.abs(error[5:-5])) < 4.5  # between the bins, which are 20 cents apart
    assert np.abs(error[5:-5]).max() < 50
    assert melody.voicing[0, 5:-5].min() > 0.5


def test_a_melody_stands_over_a_drone_of_the_same_pitches(tracker):
    """Each of the three strings is half as loud, and sounds all the time, also through the rests."""
    tonic, cents = 140.0, np.array([0, 386, 702, 1200, 906, 702, 498, 204, 0, 204])
    frequencies = tonic * 2 ** (np.repeat(cents, RATE // 2) / 1200)
    rests = np.tile(np.repeat([1.0, 0.0], [RATE * 2 // 5, RATE // 10]), len(cents))
    drone = sum(tones(np.full(len(frequencies), tonic * ratio)) for ratio in (0.5, 0.75, 1))
    melody = track(tracker, tones(frequencies) * torch.from_numpy(rests).float() + 0.5 * drone)
    truth = frequencies[np.minimum(np.arange(len(frequencies) // HOP) * HOP, len(frequencies) - 1)]
    error = 1200 * np.log2(pitch_of(melody)[0, : len(truth)].numpy() / truth)
    place = np.arange(len(truth)) * HOP / RATE % 0.5
    is_note, is_rest = (place > 0.04) & (place < 0.36), (place > 0.435) & (place < 0.465)
    assert (np.abs(error[is_note]) < 30).mean() > 0.97
    voicing = melody.voicing[0, : len(truth)].numpy()
    assert voicing[is_note].mean() > voicing[is_rest].mean() + 0.4


def test_what_comes_after_a_loud_stroke_decides_too(tracker):
    frequencies = 200 * 2 ** (np.repeat([0, 200, 400, 200, 0, 300], RATE // 2) / 1200)
    clip, start, length = tones(frequencies), 18_880, 2240
    clip[start : start + length] += 2.5 * tones(np.full(length, 523.0))
    frames = np.arange(start // HOP + 1, (start + length) // HOP)
    pitch = pitch_of(track(tracker, clip))[0].numpy()[frames]
    assert (np.abs(1200 * np.log2(pitch / frequencies[frames * HOP])) < 50).all()


def test_the_melody_of_a_concert_with_drums_is_found(tracker):
    """Raw chroma accuracy, counted by hand, within 50 cents."""
    right, total = 0, 0
    for seed, (raga, tonic, timbre) in enumerate(
        [("Kalyani", 130.0, "voice"), ("Todi", 165.0, "flute"), ("Bhairavi", 196.0, "bowed string")]
    ):
        recording = synthesize_concert(
            raga, tonic=tonic, timbre=timbre, seconds=8, seed=2000 + seed, concert=Concert(strokes=1)
        )
        pitch = pitch_of(track(tracker, torch.from_numpy(recording.samples)))[0].numpy()
        truth = recording.pitch[
            np.minimum(np.arange(len(pitch)) * HOP * CONTROL_RATE // RATE, len(recording.pitch) - 1)
        ]
        cents = 1200 * np.log2(pitch / np.where(truth > 0, truth, 1))
        right += (np.abs((cents + 600) % 1200 - 600) <= 50)[truth > 0].sum()
        total += (truth > 0).sum()
    assert right / total > 0.92


def test_a_clip_alone_equals_the_clip_in_a_padded_batch(tracker):
    clips = [
        torch.from_numpy(synthesize_concert("Todi", tonic=t, timbre="voice", seconds=s, seed=i).samples)
        for i, (t, s) in enumerate([(130.8, 3.0), (155.6, 4.013), (196.0, 0.3)])
    ]
    together = track(tracker, *clips)
    for row, clip in enumerate(clips):
        alone = track(tracker, clip)
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[row, : other.shape[1]], other[0], atol=1e-3, rtol=1e-3)


def test_loudness_makes_no_difference(tracker):
    clip = torch.from_numpy(synthesize_concert("Todi", tonic=150.0, timbre="voice", seconds=3, seed=1).samples)
    melody, softer = track(tracker, clip), track(tracker, 0.01 * clip)
    torch.testing.assert_close(pitch_of(softer), pitch_of(melody), atol=0.01, rtol=1e-4)
    torch.testing.assert_close(softer.voicing, melody.voicing, atol=1e-3, rtol=0)


@pytest.mark.parametrize("level", [0.0, 1e-30])
def test_silence_has_no_melody(tracker, level):
    melody = track(tracker, torch.full((4096,), level), torch.full((2500,), level))
    assert all(torch.isfinite(values).all() for values in melody)
    assert (melody.voicing == 0).all()


@pytest.mark.parametrize(("rate", "n_fft", "hop_length"), [(8_000, 512, 80), (44_100, 2048, 882)])
def test_other_rates_and_sizes(rate, n_fft, hop_length):
    tracker = MelodyTracker(rate, n_fft, hop_length)
    frequencies = np.repeat([220.0, 330.0, 277.0, 247.0], rate // 2)
    clip = sum(np.sin(2 * np.pi * k * np.cumsum(frequencies) / rate) / k for k in range(1, 6)).astype(np.float32)
    melody = tracker(torch.from_numpy(clip)[None], torch.tensor([len(clip)]))
    frames = np.arange(len(clip) // hop_length) * hop_length
    error = 1200 * np.log2(pitch_of(melody)[0, : len(frames)].numpy() / frequencies[frames])
    assert (np.abs(error) < 20).mean() > 0.9
    assert (melody.voicing > 0.5).float().mean() > 0.9
