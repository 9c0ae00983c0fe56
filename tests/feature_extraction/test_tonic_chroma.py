# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
import numpy as np
import pytest
import torch

from polyaudio.data.ragas import synthesize_recording
from polyaudio.feature_extraction.tonic_chroma import TonicChroma


RATE = 16_000
SAMPLES = 8 * RATE


@pytest.fixture(scope="module")
def chroma():
    return TonicChroma(RATE)


def lengths_of(waveforms):
    return torch.full((len(waveforms),), waveforms.shape[1])


def tone(*frequencies, samples=SAMPLES):
    """A steady chord of tones with eight harmonics each."""
    time = torch.arange(samples, dtype=torch.float64) / RATE
    tones = [torch.sin(2 * np.pi * k * f * time) / k for f in frequencies for k in range(1, 9)]
    return (0.05 * sum(tones)).float()


def melody_over_drone(tonic, cents, drone=(0.5, 0.75, 1.0)):
    """Notes of half a second at `cents` over the tonic, an octave up, over a softer steady drone."""
    notes = torch.cat([tone(2 * tonic * 2 ** (c / 1200), samples=RATE // 2) for c in cents])
    return notes + 0.3 * tone(*(tonic * ratio for ratio in drone), samples=len(notes))


def cents_apart(estimate, tonic):
    cents = 1200 * torch.log2(estimate / torch.as_tensor(tonic))
    return ((cents + 600) % 1200 - 600).abs()


def test_shapes_and_types(chroma):
    waveforms = 0.1 * torch.randn(3, 20_001)
    features, tonic, confidence = chroma(waveforms, lengths_of(waveforms))
    assert features.shape == (3, 1 + 20_001 // 640, 36)
    assert tonic.shape == confidence.shape == (3,)
    assert features.dtype == tonic.dtype == confidence.dtype == torch.float32
    assert ((confidence >= 0) & (confidence <= 1)).all()


def test_clip_alone_equals_clip_in_a_padded_batch(chroma):
    clips = [
        torch.from_numpy(synthesize_recording("Todi", tonic=t, timbre="flute", seconds=s, seed=i))
        for i, (t, s) in enumerate([(130.8, 6.0), (155.6, 9.013), (196.0, 0.3)])
    ]
    lengths = torch.tensor([len(clip) for clip in clips])
    batch = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    together, tonic, confidence = chroma(batch, lengths)
    for i, clip in enumerate(clips):
        alone, own_tonic, own_confidence = chroma(clip[None], lengths[i : i + 1])
        torch.testing.assert_close(together[i, : alone.shape[1]], alone[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(tonic[i], own_tonic[0])
        torch.testing.assert_close(confidence[i], own_confidence[0], atol=1e-4, rtol=0)


# Tonics on and between the keys of a piano
@pytest.mark.parametrize("tonic", [110.0, 134.6, 164.8, 201.7])
def test_tonic_and_features_follow_the_key(chroma, tonic):
    scale = [0, 204, 386, 702, 906, 1200, 906, 702, 498, 386, 204, 0]
    reference, _, _ = chroma(melody_over_drone(120.0, scale)[None], torch.tensor([len(scale) * RATE // 2]))
    features, estimate, confidence = chroma(melody_over_drone(tonic, scale)[None], torch.tensor([6 * RATE]))
    assert cents_apart(estimate, tonic) < 5
    assert confidence > 0.9
    similarity = torch.corrcoef(torch.stack([features.flatten(), reference.flatten()]))[0, 1]
    assert similarity > 0.9


def test_first_bin_is_the_tonic_and_the_others_lie_above(chroma):
    features, _, _ = chroma(tone(330.0)[None], torch.tensor([SAMPLES]), tonic=220.0)
    assert features[0].mean(0).argmax() == 21  # a fifth is 7 semitones of three bins
    features, _, _ = chroma(tone(440.0)[None], torch.tensor([SAMPLES]), tonic=220.0)
    assert features[0].mean(0).argmax() == 0


@pytest.mark.parametrize("timbre", ["plucked string", "bowed string", "flute", "voice"])
def test_tonic_of_synthesised_ragas(chroma, timbre):
    ragas = ["Kalyani", "Todi", "Varali"]
    tonics = torch.tensor([112.0, 160.3, 238.0])
    clips = [
        synthesize_recording(raga, tonic=tonic, timbre=timbre, seconds=12, seed=i)
        for i, (raga, tonic) in enumerate(zip(ragas, tonics.tolist(), strict=True))
    ]
    waveforms = torch.from_numpy(np.stack(clips))
    _, estimate, confidence = chroma(waveforms, lengths_of(waveforms))
    torch.testing.assert_close(estimate, tonics, rtol=0.01, atol=0)  # 17 cents, and the right octave
    assert (confidence > 0.6).all()


def test_drone_of_a_sruti_box(chroma):
    clip = melody_over_drone(165.0, [0, 204, 498, 702, 906, 702, 498, 204], drone=(1.0, 1.5, 2.0))
    _, estimate, _ = chroma(clip[None], torch.tensor([len(clip)]))
    assert cents_apart(estimate, 165.0) < 10


def test_drone_of_a_raga_without_pa(chroma):
    hindolam = [0, 316, 498, 814, 1018, 1200, 1018, 814, 498, 316]
    clip = melody_over_drone(130.0, hindolam, drone=(1.0, 0.5, 2 / 3))
    _, estimate, _ = chroma(clip[None], torch.tensor([len(clip)]))
    assert cents_apart(estimate, 130.0) < 10


def test_confidence_tells_a_drone_from_none(chroma):
    noise = 0.1 * torch.randn(4, SAMPLES, generator=torch.Generator().manual_seed(0))
    drone = melody_over_drone(150.0, [0, 386, 702, 386] * 4)[None]
    assert chroma(noise, lengths_of(noise))[2].max() < 0.4
    assert chroma(drone, lengths_of(drone))[2] > 0.9


def test_given_tonic_is_used(chroma):
    clips = torch.stack([melody_over_drone(150.0, [0, 386, 702, 386])] * 3)
    estimated = chroma(clips, lengths_of(clips))
    features, tonic, confidence = chroma(clips, lengths_of(clips), tonic=torch.tensor([torch.nan, 160.0, 320.0]))
    torch.testing.assert_close(features[0], estimated[0][0])
    assert tonic.tolist() == [estimated[1][0].item(), 160.0, 320.0]
    assert confidence[1:].tolist() == [1.0, 1.0]
    torch.testing.assert_close(features[1], features[2])  # the octave of the tonic makes no difference
    assert (features[1] - features[0]).abs().max() > 0.1
    assert chroma(clips, lengths_of(clips), tonic=160.0)[1].tolist() == [160.0] * 3
    with pytest.raises(ValueError, match="greater than 0"):
        chroma(clips, lengths_of(clips), tonic=0.0)


def test_loudness_makes_no_difference(chroma):
    clip = melody_over_drone(150.0, [0, 386, 702, 386])[None]
    features, tonic, _ = chroma(clip, lengths_of(clip))
    softer, same, _ = chroma(0.01 * clip, lengths_of(clip))
    torch.testing.assert_close(softer, features, atol=1e-3, rtol=0)
    torch.testing.assert_close(tonic, same)


@pytest.mark.parametrize("level", [0.0, 1e-30, 0.5])
def test_silence_and_a_constant_are_harmless(chroma, level):
    features, tonic, confidence = chroma(torch.full((2, 4096), level), torch.tensor([4096, 2500]))
    assert torch.isfinite(features).all()
    assert ((tonic >= 98) & (tonic < 262)).all()
    if level < 0.5:
        assert features.abs().max() == 0
        assert confidence.max() < 1e-6


@pytest.mark.parametrize(("rate", "n_fft", "hop_length", "bins"), [(8_000, 2048, 320, 12), (44_100, 8192, 1764, 60)])
def test_other_rates_and_sizes(rate, n_fft, hop_length, bins):
    chroma = TonicChroma(rate, n_fft=n_fft, hop_length=hop_length, bins_per_octave=bins)
    time = torch.arange(4 * rate) / rate
    clip = sum(torch.sin(2 * np.pi * f * time) for f in (145.0, 290.0, 435.0, 217.5))[None]
    features, tonic, _ = chroma(clip, torch.tensor([clip.shape[1]]))
    assert features.shape == (1, 1 + clip.shape[1] // hop_length, bins)
    assert torch.isfinite(features).all()
    assert cents_apart(tonic, 145.0) < 20
