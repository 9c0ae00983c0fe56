# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Changes of waveforms: pitch, roll, gain and noise."""

import math
import pickle

import numpy as np
import pytest
import torch

from builders import assert_distributed, global_states, seeded
from polyaudio.augmentation.batches import Compose
from polyaudio.augmentation.waveforms import AdditiveNoise, PitchShift, RandomGain, RollAndGain


def tone(frequency: float, rate: int, seconds: float = 2.0) -> torch.Tensor:
    return 0.5 * torch.sin(2 * math.pi * frequency * torch.arange(round(seconds * rate)) / rate)


def frequency_of(waveform: torch.Tensor, rate: int) -> float:
    middle = waveform[rate // 4 : -rate // 4]
    spectrum = torch.fft.rfft(middle * torch.hann_window(len(middle)), n=16 * len(middle)).abs()
    return spectrum.argmax().item() * rate / (16 * len(middle))


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("semitones", [-4, -2.37, -0.5, 0.3, 1, 4])
def test_pitch_moves_by_the_interval_and_nothing_else(rate, semitones):
    shifted = PitchShift(4, rate).shift(tone(440, rate), semitones)
    assert shifted.shape == (2 * rate,)
    assert shifted.dtype == torch.float32
    moved = 12 * math.log2(frequency_of(shifted, rate) / 440)
    assert moved == pytest.approx(semitones, abs=0.02)
    level = shifted[rate // 4 : -rate // 4].square().mean().sqrt()
    assert level == pytest.approx(0.5 / math.sqrt(2), rel=0.02)


def test_onsets_stay_where_they_are():
    rate = 16_000
    waveform = torch.cat([torch.zeros(rate), tone(440, rate, 1.0)])
    for semitones in (-4, 4):
        loud = PitchShift(4, rate).shift(waveform, semitones).abs() > 0.2
        assert loud.nonzero()[0].item() == pytest.approx(rate, abs=0.04 * rate)


def test_intervals_are_drawn_from_the_whole_range():
    rate = 8_000
    shift = PitchShift(4, rate)
    generator = torch.Generator().manual_seed(0)
    drawn = [12 * math.log2(frequency_of(shift(tone(440, rate), generator), rate) / 440) for _ in range(40)]
    assert -4.02 < min(drawn) < -3
    assert 3 < max(drawn) < 4.02
    assert abs(sum(drawn) / len(drawn)) < 1.5


def test_the_generator_decides():
    waveform = torch.randn(8_000)
    shift = PitchShift(4, 16_000)
    generator = torch.Generator().manual_seed(0)
    first, second = shift(waveform, generator), shift(waveform, generator)
    assert torch.equal(shift(waveform, torch.Generator().manual_seed(0)), first)
    assert not torch.equal(first, second)


def test_a_last_frame_that_rounds_up_to_the_end():
    """1001 frames at the ratio nearest to -1.38 semitones: in float32 a step lands on frame 1001."""
    waveform = torch.randn(256_000)
    assert PitchShift(4, 16_000).shift(waveform, -1.38).shape == waveform.shape


@pytest.mark.parametrize("samples", [1, 300, 512, 513, 5_000])
def test_clips_of_any_length(samples):
    for waveform in (torch.zeros(samples), torch.randn(samples)):
        for semitones in (-4, 0.01, 3.3):
            shifted = PitchShift(4, 16_000).shift(waveform, semitones)
            assert shifted.shape == waveform.shape
            assert shifted.isfinite().all()
    assert torch.equal(PitchShift(4, 16_000).shift(torch.zeros(5_000), 3.0), torch.zeros(5_000))


@pytest.mark.parametrize("max_semitones", [0, -1, 13])
def test_range_is_checked(max_semitones):
    with pytest.raises(ValueError, match="max_semitones"):
        PitchShift(max_semitones, 16_000)


def test_roll_and_gain_keep_the_waveform_but_for_place_and_level():
    waveform = torch.randn(1_000, generator=torch.Generator().manual_seed(1)) + 3
    generator = torch.Generator().manual_seed(0)
    centered = waveform - waveform.mean()
    shifts, gains = [], []
    for _ in range(400):
        changed = RollAndGain()(waveform, generator)
        assert changed.shape == waveform.shape
        assert changed.dtype == torch.float32
        gains.append((changed.norm() / centered.norm()).item())
        correlation = torch.fft.irfft(torch.fft.rfft(changed) * torch.fft.rfft(centered).conj())
        shifts.append(correlation.argmax().item())
        torch.testing.assert_close(changed, centered.roll(shifts[-1]) * gains[-1], atol=1e-4, rtol=1e-4)
    # Beta(10, 10) has the mean 1/2 and the variance 1/84
    assert sum(gains) / 400 == pytest.approx(1, abs=0.02)
    assert torch.tensor(gains).var().item() == pytest.approx(1 / 84, rel=0.2)
    assert min(gains) > 0.5
    assert max(gains) < 1.5
    counts = torch.histc(torch.tensor(shifts).float(), bins=10, min=0, max=1_000)
    assert counts.min() > 20


def test_gains_are_distributed_as_beta():
    generator = torch.Generator().manual_seed(0)
    waveform = torch.tensor([1.0, -1.0])
    gains = torch.stack([RollAndGain()(waveform, generator).abs()[0] for _ in range(4_000)]).sort().values
    # The distribution function of Beta(10, 10) at x is the chance of at least 10 successes in 19 trials
    successes = torch.distributions.Binomial(19, gains - 0.5)
    expected = sum(successes.log_prob(torch.tensor(float(count))).exp() for count in range(10, 20))
    found = (torch.arange(4_000) + 0.5) / 4_000
    assert (found - expected).abs().max() < 1.63 / math.sqrt(4_000)  # Kolmogorov and Smirnov, at 1 percent


@pytest.mark.parametrize("samples", [1, 2, 4_000])
def test_augmentations_follow_from_the_generator(samples):
    waveform = torch.randn(samples)
    shift, roll = PitchShift(4, 8_000), RollAndGain()
    both = Compose(shift, roll)
    generator = torch.Generator().manual_seed(5)
    changed = both(waveform, generator)
    assert changed.shape == waveform.shape
    assert torch.equal(both(waveform, torch.Generator().manual_seed(5)), changed)
    assert torch.equal(Compose()(waveform, generator), waveform)
    step_by_step = torch.Generator().manual_seed(5)
    assert torch.equal(roll(shift(waveform, step_by_step), step_by_step), changed)
    if samples > 1:
        assert not torch.equal(both(waveform, generator), changed)


@pytest.mark.parametrize(
    "augmentation",
    [PitchShift(4, 8_000), RollAndGain(), RandomGain(6), AdditiveNoise(0, 20), Compose(RandomGain(6), RollAndGain())],
    ids=lambda augmentation: type(augmentation).__name__,
)
def test_changes_of_waveforms_follow_from_the_generator_alone(augmentation):
    waveform = torch.randn(4_000, generator=seeded(1))
    original, states = waveform.clone(), global_states()
    generator = seeded(5)
    first, second = augmentation(waveform, generator), augmentation(waveform, generator)
    assert first.shape == waveform.shape
    assert first.dtype == torch.float32
    assert not torch.equal(first, second)
    torch.manual_seed(123)
    assert torch.equal(pickle.loads(pickle.dumps(augmentation))(waveform, seeded(5)), first)
    torch.random.set_rng_state(torch.tensor(states[1], dtype=torch.uint8))
    assert global_states() == states
    assert torch.equal(waveform, original)


def test_gains_are_uniform_in_decibels():
    waveform = torch.randn(50, generator=seeded(1))
    generator = seeded()
    decibels = []
    for _ in range(1_000):
        changed = RandomGain(6)(waveform, generator)
        decibels.append(20 * math.log10(changed.norm() / waveform.norm()))
        np.testing.assert_allclose(changed, waveform * 10 ** (decibels[-1] / 20), rtol=1e-5)
    assert_distributed(decibels, "uniform", -6, 12)


def test_noise_has_the_ratio_that_was_asked_for():
    waveform = 0.3 + tone(440, 8_000, 0.2)
    generator = seeded()
    ratios, noises = [], []
    for _ in range(1_000):
        noise = AdditiveNoise(5, 25)(waveform, generator) - waveform
        ratios.append(10 * math.log10(waveform.square().mean() / noise.square().mean()))
        noises.append(noise / noise.square().mean().sqrt())
    assert_distributed(ratios, "uniform", 5, 20)
    noise = AdditiveNoise(10, 10)(waveform, generator) - waveform
    assert noise.norm().item() == pytest.approx(waveform.norm().item() / math.sqrt(10), rel=1e-3)
    noises = torch.stack(noises)
    assert_distributed(noises[:, 0], "norm")
    assert_distributed(noises[0], "norm")
    spectrum = torch.fft.rfft(noises).abs().square().mean(dim=0)[1:-1] / noises.shape[1]
    np.testing.assert_allclose(spectrum, 1, atol=0.2)  # each the mean of 1000 draws of mean 1 and deviation 1


@pytest.mark.parametrize("samples", [0, 1, 3_000])
def test_silence_stays_silence(samples):
    silence = torch.zeros(samples)
    assert torch.equal(AdditiveNoise(-10, 10)(silence, seeded()), silence)
    assert torch.equal(RandomGain(12)(silence, seeded()), silence)


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
def test_range_of_gains_is_checked(value):
    with pytest.raises(ValueError, match="max_decibels"):
        RandomGain(value)


@pytest.mark.parametrize("ratios", [(10, 5), (math.nan, 5), (0, math.nan), (-math.inf, 0), (0, math.inf)])
def test_range_of_noise_is_checked(ratios):
    with pytest.raises(ValueError, match="min_snr"):
        AdditiveNoise(*ratios)
