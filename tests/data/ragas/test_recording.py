# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
import numpy as np
import pytest

from polyaudio.data.ragas import (
    CONTROL_RATE,
    JANYAS,
    RAGAS,
    SAMPLING_RATE,
    SWARAS,
    TIMBRES,
    Concert,
    synthesize_concert,
    synthesize_recording,
)


TONIC = 146.8
CONDITIONS = list(vars(Concert()))


@pytest.mark.parametrize("raga", RAGAS)
@pytest.mark.parametrize("timbre", TIMBRES)
def test_recording_is_sound_at_its_level(raga, timbre):
    recording = synthesize_recording(raga, tonic=TONIC, timbre=timbre, seconds=3.01, seed=5)
    assert recording.shape == (round(3.01 * SAMPLING_RATE),)
    assert recording.dtype == np.float32
    assert 0.05 < np.sqrt(np.mean(recording**2)) < 0.101
    assert np.abs(recording).max() < 1


def test_recording_follows_from_its_seed():
    def make(seed):
        return synthesize_recording("Todi", tonic=TONIC, timbre="voice", seconds=2.0, seed=seed)

    np.testing.assert_array_equal(make(1), make(1))
    assert np.abs(make(1) - make(2)).max() > 0.05


@pytest.mark.parametrize(("raga", "sung", "avoided"), [("Hamsanadam", "M2", "M1"), ("Sindhubhairavi", "M1", "M2")])
def test_spectrum_has_the_swaras_of_the_raga(raga, sung, avoided):
    recording = synthesize_recording(raga, tonic=TONIC, timbre="flute", seconds=60.0, seed=0)
    power = np.abs(np.fft.rfft(recording)) ** 2
    cents = 1200 * np.log2((np.fft.rfftfreq(len(recording), 1 / SAMPLING_RATE) + 1e-3) / TONIC)
    in_register = (cents > 1100) & (cents < 2500)

    def strength(swara):  # within a quarter tone around
        distance = (cents - 1200 * np.log2(SWARAS[swara]) + 600) % 1200 - 600
        return power[in_register & (np.abs(distance) < 25)].sum()

    assert strength(sung) > 5 * strength(avoided)


@pytest.mark.parametrize("wrong", [{"raga": "Yaman"}, {"timbre": "kazoo"}])
def test_unknown_name_is_refused(wrong):
    arguments = {"raga": "Todi", "tonic": TONIC, "timbre": "flute", "seconds": 1.0, "seed": 0} | wrong
    with pytest.raises(ValueError, match=f"{next(iter(wrong.values()))}.*choose one of"):
        synthesize_recording(**arguments)


def test_a_raga_without_pa_has_a_drone_of_ma():
    assert "P" not in JANYAS["Hindolam"].swaras
    recording = synthesize_recording("Hindolam", tonic=TONIC, timbre="flute", seconds=20.0, seed=0)
    power = np.abs(np.fft.rfft(recording)) ** 2
    hertz = np.fft.rfftfreq(len(recording), 1 / SAMPLING_RATE)

    def strength(frequency):  # of a string below the melody
        return power[np.abs(1200 * np.log2((hertz + 1e-3) / frequency)) < 20].sum()

    assert strength(TONIC * 2 / 3) > 10 * strength(TONIC * 3 / 4)


def concert_of(**strengths):
    return synthesize_concert(
        "Todi", tonic=TONIC, timbre="voice", seconds=12.0, seed=5, tempo=150, concert=Concert(**strengths)
    )


@pytest.fixture(scope="module")
def clean():
    return concert_of()


def loudness_at(recording, cents):
    """The mean level of a recording, in nepers, at its pitch and at an interval in cents above it."""
    size, hop = 800, SAMPLING_RATE // CONTROL_RATE
    time = np.arange(size) / SAMPLING_RATE
    levels = []
    for frame in np.flatnonzero(recording.pitch)[10:-10:7]:
        part = recording.samples[frame * hop - size // 2 : frame * hop + size // 2]
        if len(part) == size:
            wave = np.exp(-2j * np.pi * recording.pitch[frame] * 2 ** (cents / 1200) * time)
            levels.append(np.abs(np.sum(part * np.hanning(size) * wave)))
    return np.log(levels).mean()


@pytest.mark.parametrize("raga", ["Todi", "Bilahari"])
def test_without_conditions_a_concert_is_a_clean_recording(raga):
    arguments = {"tonic": TONIC, "timbre": "flute", "seconds": 3.0, "seed": 2}
    np.testing.assert_array_equal(
        synthesize_concert(raga, **arguments).samples, synthesize_recording(raga, **arguments)
    )


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition(clean, condition):
    hard = concert_of(**{condition: 1.0})
    assert hard.samples.shape == clean.samples.shape
    assert hard.samples.dtype == np.float32
    assert hard.pitch.shape == clean.pitch.shape == (12 * CONTROL_RATE,)
    assert np.abs(hard.samples).max() < 1
    assert 0.02 < hard.samples.std() < 0.101
    np.testing.assert_array_equal(concert_of(**{condition: 1.0}).samples, hard.samples)
    assert np.abs(hard.samples - clean.samples).max() > 0.001
    # The pitch is still that of the melody
    assert loudness_at(hard, 0) > max(loudness_at(hard, -150), loudness_at(hard, 150)) + 0.2


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_weak_condition_changes_less(clean, condition):
    def energy_of_change(strength):
        # Of the spectrum over time, which hardly depends on small shifts in time
        spectra = [
            np.abs(np.fft.rfft(one.samples[: 187 * 1024].reshape(-1, 1024) * np.hanning(1024)))
            for one in (clean, concert_of(**{condition: strength}))
        ]
        return np.sum((spectra[0] - spectra[1]) ** 2)

    assert energy_of_change(0.05) < energy_of_change(1.0)


@pytest.mark.parametrize("condition", sorted(set(CONDITIONS) - {"kampita", "strokes", "drift", "old"}))
def test_other_conditions_leave_the_melody(clean, condition):
    hard = concert_of(**{condition: 1.0})
    np.testing.assert_array_equal(hard.pitch, clean.pitch)
    assert hard.tonic == TONIC


def test_mp3_keeps_the_time(clean):
    hard = concert_of(mp3=1.0)
    size = 2 * len(clean.samples)
    product = np.fft.irfft(np.fft.rfft(hard.samples, size) * np.conj(np.fft.rfft(clean.samples, size)))
    assert np.argmax(product) == 0
    assert np.corrcoef(hard.samples, clean.samples)[0, 1] > 0.98


def test_the_tonic_moves_with_drift_and_speed(clean):
    drifted, old = concert_of(drift=1.0), concert_of(old=1.0)
    assert 0 < abs(1200 * np.log2(drifted.tonic / TONIC)) <= 15
    assert 33 < abs(1200 * np.log2(old.tonic / TONIC)) < 36  # 2 %


def test_solos_of_drums_silence_the_melody(clean):
    assert np.mean(concert_of(strokes=1.0).pitch == 0) > np.mean(clean.pitch == 0) + 0.15


def test_no_swara_is_held(clean):
    def held(recording):
        """The share of tenths of a second in which the pitch stays within 20 cents."""
        cents = 1200 * np.log2(np.where(recording.pitch > 0, recording.pitch, np.nan) / TONIC)
        parts = cents[: len(cents) // 20 * 20].reshape(-1, 20)
        return np.mean(np.ptp(parts[~np.isnan(parts).any(axis=1)], axis=1) < 20)

    assert held(concert_of(kampita=1.0)) < 0.5 * held(clean)


@pytest.mark.parametrize("strength", [-0.1, 1.5])
def test_strengths_are_from_0_to_1(strength):
    with pytest.raises(ValueError, match="reverb must be from 0 to 1"):
        Concert(reverb=strength)


def test_all_conditions_together(clean):
    assert vars(Concert.of(0.5)) == dict.fromkeys(CONDITIONS, 0.5)
    hard = concert_of(**vars(Concert.of(1.0)))
    assert np.isfinite(hard.samples).all()
    assert loudness_at(hard, 0) > max(loudness_at(hard, -150), loudness_at(hard, 150))
