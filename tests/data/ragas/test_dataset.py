# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
import io

import numpy as np
import pytest
import soundfile

from polyaudio.data.ragas import (
    MELAKARTAS,
    RAGA_SETS,
    RAGAS,
    SAMPLING_RATE,
    TIMBRES,
    Concert,
    build_ragas,
    is_ragas,
    load_ragas,
)


@pytest.fixture(scope="module")
def dataset():
    return build_ragas(seed=3, train_recordings=4, test_recordings=3, seconds=4.0)


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


def test_larger_sets():
    assert {name: len(set(ragas)) for name, ragas in RAGA_SETS.items()} == {
        "ragas": 8,
        "ragas:40": 40,
        "ragas:72": 72,
        "ragas:pairs": 20,
    }
    ragas = RAGA_SETS["ragas:72"][:2]
    dataset = build_ragas(train_recordings=1, test_recordings=1, seconds=4.0, ragas=ragas)
    assert dataset["train"].features["raga"].names == list(MELAKARTAS)[:2]
    assert len(dataset["test"]) == 8


def test_conditions_change_the_sound_and_not_the_music(dataset):
    hard = build_ragas(seed=3, train_recordings=1, test_recordings=1, seconds=4.0, concert=Concert.of(0.5))["test"]
    easy = dataset["test"].filter(lambda recording: recording.endswith("_00"), input_columns="recording")
    assert hard["recording"][:] == easy["recording"][:]
    assert np.abs(1200 * np.log2(np.array(hard["tonic"][:]) / np.array(easy["tonic"][:]))).max() < 30
    assert hard[0]["audio"]["bytes"] != easy[0]["audio"]["bytes"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ragas:41", "no set of ragas 'ragas:41'; choose one of ragas, ragas:40"),
        ("ragas+rain=1", "no condition 'rain'; choose one of concert, shadow"),
        ("ragas:40+concert", r"needs a number after concert=, such as ragas:40\+concert=0.5"),
        ("ragas+mp3=2", "mp3 must be from 0 to 1"),
        ("ragas+seed=x", r"needs a whole number after seed=, such as ragas\+seed=4"),
    ],
)
def test_a_name_that_is_none(name, message):
    assert is_ragas(name)
    with pytest.raises(ValueError, match=message):
        load_ragas(name)


def test_other_names_are_no_ragas():
    assert not any(map(is_ragas, ["ragas40", "my/ragas", "./ragas:40"]))
