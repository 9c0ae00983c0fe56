# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
import numpy as np
import pytest
import torch

from polyaudio import SAMAudioFeatureExtractor
from polyaudio.data.ragas import CONTROL_RATE, synthesize_concert
from polyaudio.feature_extraction.tonic_pitch import NUM_EXTRAS


RATE = 16_000
BINS = 60


@pytest.fixture(scope="module")
def extractor():
    return SAMAudioFeatureExtractor("tonic_pitch")


def from_cents(extractor, cents, tonic=200.0, **options):
    """The features of a track, a value every 20 ms; NaN is a rest."""
    pitch = tonic * 2 ** (np.asarray(cents, dtype=float) / 1200)
    options = {"sampling_rate": RATE, "tonic": tonic, "return_tensors": "pt", **options}
    return extractor(None, pitch=pitch, pitch_times=np.arange(len(pitch)) * 0.02, **options)["input_values"]


@pytest.fixture(scope="module")
def recordings():
    return [
        synthesize_concert(raga, tonic=tonic, timbre=timbre, seconds=6, seed=3000 + seed)
        for seed, (raga, tonic, timbre) in enumerate([("Kalyani", 130.0, "voice"), ("Todi", 180.0, "flute")])
    ]


def track_of(recording):
    return recording.pitch, np.arange(len(recording.pitch)) / CONTROL_RATE


def test_pitch_classes_are_soft_places_above_the_tonic(extractor):
    features = from_cents(extractor, [0, 20, 30, 702, 1190, 1200, 2400 + 386] * 8)[0, :7]
    assert features[:, :BINS].argmax(1)[[0, 1, 3, 5, 6]].tolist() == [0, 1, 35, 0, 19]
    torch.testing.assert_close(features[1, :3], torch.exp(torch.tensor([-0.5, 0, -0.5])), atol=1e-4, rtol=0)
    torch.testing.assert_close(features[2, 1], features[2, 2])  # half-way between two bins
    torch.testing.assert_close(features[4, 0], features[4, 59])  # and across the octave
    assert (features[:, BINS] == 1).all()


def test_rests_are_zero(extractor):
    features = from_cents(extractor, [0.0] * 10 + [np.nan] * 10 + [700.0] * 10)[0]
    assert (features[11:19] == 0).all()
    assert (features[:10, BINS] == 1).all()


def test_the_register_is_that_of_the_melody(extractor):
    cents = np.repeat([600, -600, 600, 1800, 600, 1200], 20)
    for shift in (0, 1200, -2400):  # an instrument that plays in another octave than the drone
        extras = from_cents(extractor, cents + shift)[0, ::20, -NUM_EXTRAS:]
        low, middle, high = extras[:6, 1:].T.tolist()
        np.testing.assert_allclose(low, [0, 1, 0, 0, 0, 0], atol=1e-3)
        np.testing.assert_allclose(middle, [1, 0, 1, 0, 1, 0.5], atol=1e-3)
        np.testing.assert_allclose(high, [0, 0, 0, 1, 0, 0.5], atol=1e-3)


def test_another_key_and_another_octave_of_the_tonic_make_no_difference(extractor):
    cents = 300 + 400 * np.sin(np.arange(100) / 7)
    features = from_cents(extractor, cents)
    torch.testing.assert_close(from_cents(extractor, cents, tonic=131.0), features, atol=1e-4, rtol=0)
    pitch, times = 200 * 2 ** (cents / 1200), np.arange(100) * 0.02
    options = {"sampling_rate": RATE, "return_tensors": "pt"}
    octave = extractor(None, pitch=pitch, pitch_times=times, tonic=400.0, **options)["input_values"]
    torch.testing.assert_close(octave, features, atol=1e-4, rtol=0)


def test_audio_and_its_true_pitch_have_near_features(extractor, recordings):
    pitch, times = zip(*map(track_of, recordings), strict=True)
    clips = [recording.samples for recording in recordings]
    options = {"sampling_rate": RATE, "tonic": [one.tonic for one in recordings], "return_tensors": "pt"}
    heard = extractor(clips, **options)["input_values"]
    given = extractor(clips, pitch=list(pitch), pitch_times=list(times), **options)["input_values"]
    assert heard.shape == given.shape
    for row in range(len(clips)):
        voiced = given[row, :, BINS] > 0
        one, other = heard[row, voiced, :BINS], given[row, voiced, :BINS]
        similarity = torch.nn.functional.cosine_similarity(one, other, dim=1)
        assert similarity.mean() > 0.85
        assert (heard[row, voiced, BINS] > 0.5).float().mean() > 0.9
        assert (heard[row, voiced, BINS + 1 :] - given[row, voiced, BINS + 1 :]).abs().mean() < 0.15


def test_a_track_needs_no_audio(extractor, recordings):
    pitch, times = zip(*map(track_of, recordings), strict=True)
    options = {"tonic": [one.tonic for one in recordings], "sampling_rate": RATE, "return_tensors": "pt"}
    with_audio = extractor([one.samples for one in recordings], pitch=pitch, pitch_times=times, **options)
    alone = extractor(None, pitch=pitch, pitch_times=times, **options)
    frames = alone["input_values"].shape[1]
    assert frames == 1 + int(times[0][-1] / 0.02)
    torch.testing.assert_close(alone["input_values"], with_audio["input_values"][:, :frames], atol=1e-6, rtol=0)
    assert alone["tonic_confidence"].tolist() == [1, 1]
    assert alone["attention_mask"].all()


def test_tracks_of_other_lengths_are_padded_and_cut(extractor):
    pitch, times = [np.full(200, 200.0), np.full(100, 300.0)], [np.arange(200) * 0.02, np.arange(100) * 0.02]
    options = {"tonic": 200.0, "sampling_rate": RATE, "return_tensors": "pt"}
    batch = extractor(None, pitch=pitch, pitch_times=times, **options)
    assert batch["attention_mask"].sum(1).tolist() == [200, 100]
    assert (batch["input_values"][1, 100:] == -1).all()
    cut = extractor(None, pitch=pitch, pitch_times=times, max_length=RATE, truncation=True, **options)
    torch.testing.assert_close(cut["input_values"], batch["input_values"][:, :51])


def test_the_tonic_is_found_beside_a_track(extractor, recordings):
    pitch, times = track_of(recordings[0])
    features = extractor(
        recordings[0].samples, pitch=pitch, pitch_times=times, sampling_rate=RATE, return_tensors="pt"
    )
    assert features["tonic"].item() == pytest.approx(recordings[0].tonic, rel=0.01)
    assert 0 < features["tonic_confidence"].item() < 1


def test_both_front_ends_side_by_side(extractor, recordings):
    clips = [one.samples for one in recordings]
    options = {"sampling_rate": RATE, "tonic": [one.tonic for one in recordings], "return_tensors": "pt"}
    both = SAMAudioFeatureExtractor("tonic_pitch+chroma")(clips, **options)["input_values"]
    torch.testing.assert_close(both[..., :64], extractor(clips, **options)["input_values"])
    chroma = SAMAudioFeatureExtractor("tonic_chroma", hop_length=320)(clips, **options)["input_values"]
    torch.testing.assert_close(both[..., 64:], chroma)


def test_a_pitch_track_goes_with_its_front_end_only(extractor):
    clip, track = np.ones(RATE), {"pitch": [200.0], "pitch_times": [0.0]}
    for frontend in ("log_mel", "tonic_chroma", "waveform"):
        with pytest.raises(ValueError, match="belongs only to 'tonic_pitch'"):
            SAMAudioFeatureExtractor(frontend)(clip, sampling_rate=RATE, **track)
    with pytest.raises(ValueError, match="1 tracks for 2 clips"):
        extractor([clip, clip], sampling_rate=RATE, **track)
    with pytest.raises(ValueError, match="Without audio"):
        extractor(None, sampling_rate=RATE, **track)
    with pytest.raises(ValueError, match="Without audio"):
        SAMAudioFeatureExtractor("tonic_pitch+chroma")(None, sampling_rate=RATE, tonic=200.0, **track)
    with pytest.raises(ValueError, match="greater than 0"):
        extractor(None, sampling_rate=RATE, tonic=-1.0, **track)
    with pytest.raises(TypeError, match="Audio must be"):
        extractor(None, sampling_rate=RATE)


@pytest.mark.parametrize(("frontend", "size"), [("tonic_pitch", 4), ("tonic_pitch+chroma", 64)])
def test_a_frame_needs_pitch_classes(frontend, size):
    with pytest.raises(ValueError, match="`feature_size` must be at least"):
        SAMAudioFeatureExtractor(frontend, feature_size=size)
    assert SAMAudioFeatureExtractor(frontend, feature_size=size + 12).feature_size == size + 12
