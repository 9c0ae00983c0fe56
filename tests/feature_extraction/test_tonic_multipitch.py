# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
import numpy as np
import pytest
import torch

from polyaudio import SAMAudioFeatureExtractor
from polyaudio.data.ragas import Concert, synthesize_concert, synthesize_recording
from polyaudio.feature_extraction.spectrogram import power_spectrogram
from polyaudio.feature_extraction.tonic_multipitch import MultipitchTonic, TonicEvidence, joined


RATE = 16_000
N_FFT, HOP = 4096, 2560


@pytest.fixture(scope="module")
def finder():
    return MultipitchTonic(RATE, N_FFT)


def evidence_of(finder, waveforms, lengths=None):
    lengths = torch.full((len(waveforms),), waveforms.shape[1]) if lengths is None else lengths
    return finder.evidence(power_spectrogram(waveforms, lengths, N_FFT, HOP, finder.num_lines), 1 + lengths // HOP)


def clip(raga, tonic, timbre, seed, seconds=12):
    return torch.from_numpy(synthesize_recording(raga, tonic=tonic, timbre=timbre, seconds=seconds, seed=seed))


# Ragas with and without Pa, men's and women's tonics, all timbres
@pytest.mark.parametrize(
    ("raga", "tonic", "timbre", "seed"),
    [
        ("Kalyani", 98.5, "voice", 1),
        ("Todi", 131.0, "flute", 2),
        ("Hindolam", 164.0, "bowed string", 3),
        ("Sriranjani", 201.7, "plucked string", 4),
        ("Mayamalavagowla", 259.0, "voice", 5),
    ],
)
@pytest.mark.parametrize("strengths", [{}, {"strokes": 1.0}, {"voices": 1.0}, {"drift": 1.0}])
def test_tonic_of_synthesised_ragas(finder, raga, tonic, timbre, seed, strengths):
    concert = Concert(**strengths)
    recording = synthesize_concert(raga, tonic=tonic, timbre=timbre, seconds=12, seed=seed, concert=concert)
    tonic = recording.tonic  # its mean, where it drifts
    found, confidence = finder.find(evidence_of(finder, torch.from_numpy(recording.samples)[None]))
    cents = 1200 * np.log2(found.item() / tonic)
    assert abs((cents + 600) % 1200 - 600) < 25
    assert confidence > 0.3


def test_clip_alone_equals_clip_in_a_padded_batch(finder):
    clips = [clip("Todi", 130.8, "flute", 0, 6.0), clip("Hindolam", 155.6, "voice", 1, 9.013)]
    clips.append(clips[0][:4800])
    lengths = torch.tensor([len(one) for one in clips])
    together = evidence_of(finder, torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), lengths)
    for number, one in enumerate(clips):
        alone = evidence_of(finder, one[None])
        torch.testing.assert_close(together.curves[number], alone.curves[0], atol=1e-3, rtol=0)
        assert together.frames[number] == alone.frames[0]


def test_candidates_are_probabilities_of_different_tonics(finder):
    evidence = evidence_of(finder, clip("Kalyani", 120.0, "voice", 6)[None])
    found = finder.candidates(evidence, 5)
    probabilities = [one.probability for one in found]
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0 < sum(probabilities) <= 1
    pitches = sorted(1200 * np.log2(one.frequency) for one in found)
    assert np.diff(pitches).min() > 40
    tonic, _ = finder.find(evidence)
    assert found[0].frequency == pytest.approx(tonic.item(), rel=1e-5)


def test_loudness_and_silence_around_make_no_difference(finder):
    sound = clip("Kalyani", 150.0, "flute", 7, 8.0)
    loud, soft = evidence_of(finder, sound[None]), evidence_of(finder, 0.01 * sound[None])
    torch.testing.assert_close(soft.curves, loud.curves, atol=1e-3, rtol=0)
    silent_around = torch.nn.functional.pad(sound, (10 * RATE, 10 * RATE))
    tonic, _ = finder.find(evidence_of(finder, silent_around[None]))
    assert abs(1200 * np.log2(tonic.item() / 150.0)) < 25


def test_silence_tells_nothing(finder):
    evidence = evidence_of(finder, torch.zeros(2, RATE))
    assert evidence.frames.tolist() == [0, 0]
    tonic, confidence = finder.find(evidence)
    assert ((tonic >= 89) & (tonic <= 286)).all()
    assert confidence.max() < 1e-3
    heard = evidence_of(finder, clip("Kalyani", 150.0, "flute", 7, 8.0)[None])
    both = joined(TonicEvidence(*map(torch.cat, zip(heard, evidence, strict=True))))
    torch.testing.assert_close(both.curves, heard.curves)


def test_noise_has_a_low_confidence(finder):
    noise = 0.1 * torch.randn(4, 8 * RATE, generator=torch.Generator().manual_seed(0))
    assert finder.find(evidence_of(finder, noise))[1].max() < 0.4


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_other_rates(rate):
    finder = MultipitchTonic(rate, rate // 4)
    time = torch.arange(6 * rate) / rate
    drone = sum(torch.sin(2 * np.pi * k * f * time) / k for f in (72.5, 108.75, 145.0) for k in range(1, 9))[None]
    lengths = torch.tensor([drone.shape[1]])
    power = power_spectrogram(drone, lengths, rate // 4, rate // 6, rate // 8 + 1)
    tonic, _ = finder.find(finder.evidence(power, 1 + lengths // (rate // 6)))
    assert abs(1200 * np.log2(tonic.item() / 145.0)) < 25


@pytest.mark.parametrize("frontend", ["tonic_chroma", "tonic_pitch", "tonic_pitch+chroma"])
def test_the_extractor_uses_it_if_asked_and_keeps_the_choice(frontend, tmp_path):
    sound = clip("Hindolam", 164.0, "bowed string", 3).numpy()
    extractor = SAMAudioFeatureExtractor(frontend, tonic_estimator="multipitch")
    features = extractor(sound, sampling_rate=RATE, return_tensors="pt")
    assert abs(1200 * np.log2(features["tonic"].item() / 164.0)) < 25
    extractor.save_pretrained(tmp_path)
    again = SAMAudioFeatureExtractor.from_pretrained(tmp_path)
    assert again.tonic_estimator == "multipitch"
    assert torch.equal(again(sound, sampling_rate=RATE, return_tensors="pt")["tonic"], features["tonic"])
    given = extractor(sound, sampling_rate=RATE, tonic=123.0, return_tensors="pt")
    assert (given["tonic"].item(), given["tonic_confidence"].item()) == (123.0, 1.0)
    assert SAMAudioFeatureExtractor(frontend).tonic_estimator == "drone"
    with pytest.raises(ValueError, match="'drone', 'multipitch'"):
        SAMAudioFeatureExtractor(frontend, tonic_estimator="guess")
