# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
import io
import itertools

import numpy as np
import pytest
import soundfile

from polyaudio.data.ragas import RAGAS, SAMPLING_RATE, SWARAS, TIMBRES, Composer, build_ragas, synthesize_recording


TONIC = 146.8


def swaras(*parts: str) -> set[str]:
    return {token.strip(".'") for part in parts for token in part.split()}


@pytest.fixture(scope="module")
def dataset():
    return build_ragas(seed=3, train_recordings=4, test_recordings=3, seconds=4.0)


@pytest.mark.parametrize("raga", RAGAS.values(), ids=RAGAS)
def test_grammar_is_consistent(raga):
    scale = swaras(raga.arohana, raga.avarohana)
    assert scale <= set(SWARAS)
    assert swaras(*raga.phrases, raga.nyasa, *raga.kampita) <= scale
    assert {"S", "P"} <= scale - set(raga.kampita)  # these two are never shaken
    assert all(low <= 0 <= high for low, high in raga.kampita.values())


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


@pytest.mark.parametrize("raga", RAGAS)
def test_melody_moves_by_arohana_and_avarohana(raga):
    composer = Composer(RAGAS[raga], np.random.default_rng(0))
    notes = composer.melody(200, tempo=150)
    heights = [note.cents for note in notes]
    assert {note.name for note in notes} == swaras(RAGAS[raga].arohana, RAGAS[raga].avarohana)
    assert min(heights) >= -520
    assert max(heights) <= 1910
    assert {note.name for note in notes if note.rests} <= set(RAGAS[raga].nyasa.split())
    if raga == "Sindhubhairavi":  # its two Ris: one on the way up, the other on the way down
        followers = [(a.name, b.cents - a.cents) for a, b in itertools.pairwise(notes) if not a.rests]
        assert np.mean([step > 0 for name, step in followers if name == "R2"]) > 0.6
        assert np.mean([step < 0 for name, step in followers if name == "R1"]) > 0.6


def test_tempo_is_notes_a_minute():
    def notes(tempo):
        return len(Composer(RAGAS["Kalyani"], np.random.default_rng(0)).melody(300, tempo))

    assert notes(200) > 1.4 * notes(100)


@pytest.mark.parametrize("wrong", [{"raga": "Yaman"}, {"timbre": "kazoo"}])
def test_unknown_name_is_refused(wrong):
    arguments = {"raga": "Todi", "tonic": TONIC, "timbre": "flute", "seconds": 1.0, "seed": 0} | wrong
    with pytest.raises(ValueError, match=f"{next(iter(wrong.values()))}.*choose one of"):
        synthesize_recording(**arguments)


def test_dataset_columns(dataset):
    assert set(dataset) == {"train", "test"}
    assert dataset["train"].features["raga"].names == list(RAGAS)
    assert dataset["train"].features["audio"].sampling_rate == SAMPLING_RATE
    assert len(dataset["train"]) == 8 * 4 * 4
    assert len(dataset["test"]) == 8 * 3 * 4
    row = dataset["test"][3]
    samples, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]))
    assert (len(samples), rate) == (SAMPLING_RATE, SAMPLING_RATE)
    assert row["audio"]["path"] == "kalyani_test_00_chunk3.wav"
    assert row["recording"] == "kalyani_test_00"


def test_splits_share_neither_recording_nor_timbre_nor_key(dataset):
    train, test = dataset["train"], dataset["test"]
    assert not set(train["recording"]) & set(test["recording"])
    assert set(train["timbre"]) | set(test["timbre"]) == set(TIMBRES)
    assert not set(train["timbre"]) & set(test["timbre"])
    cents = 1200 * np.log2(np.divide.outer(np.array(train["tonic"]), np.array(test["tonic"])))
    assert np.abs((cents + 600) % 1200 - 600).min() > 35
    assert max(train["tonic"]) > 1.7 * min(train["tonic"])


def test_a_recording_is_one_performance(dataset):
    by_recording = {}
    for row in dataset["train"]:
        by_recording.setdefault(row["recording"], []).append((row["raga"], row["tonic"], row["timbre"]))
    assert all(len(rows) == 4 and len(set(rows)) == 1 for rows in by_recording.values())


def test_dataset_follows_from_its_seed(dataset):
    fewer = build_ragas(seed=3, train_recordings=1, test_recordings=1, seconds=4.0)
    assert fewer["test"][0] == dataset["test"][0]
    other = build_ragas(seed=4, train_recordings=1, test_recordings=1, seconds=4.0)
    assert other["test"][0]["audio"]["bytes"] != fewer["test"][0]["audio"]["bytes"]
