# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What several tests are made of: sizes of small models, folders of sounds, datasets in memory."""

import csv
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from datasets import Audio, ClassLabel, Dataset, Features, Value
from scipy import stats


RATE = 16000
RAMP_RATE = 8_000
FRAME = 0.16  # seconds of a frame with events
TONES = {"high": 3000.0, "low": 300.0}
SSLAM = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_time_patches": 16,
}
SAM_AUDIO = {
    "conv_dim": [16, 32],
    "conv_kernel": [3, 3],
    "conv_stride": [4, 4],
    "num_segments": 4,
    "num_attention_heads": 4,
    "projection_dim": 8,
}


def write_tones(
    folder: Path,
    tones: Mapping[str, float],
    number: int,
    *,
    seconds: tuple[float, float] = (0.4, 1.2),
    chunks: int = 1,
    seed: int = 0,
) -> Path:
    """
    A folder for each class with tones of about its frequency in noise, of uneven lengths.

    Args:
        tones: frequency in Hz by class.
        number: of files in a class.
        seconds: shortest and longest length.
        chunks: files of one recording that follow each other.
        seed: of lengths, tones and noise. Two folders with the same seed share the noise, which is a leak.
    """
    rng = np.random.default_rng(seed)
    for name, frequency in tones.items():
        (folder / name).mkdir(parents=True)
        for index in range(number):
            time = np.arange(round(rng.uniform(*seconds) * RATE)) / RATE
            tone = 0.2 * np.sin(2 * np.pi * rng.uniform(0.9, 1.1) * frequency * time)
            stem = str(index) if chunks == 1 else f"{index // chunks}_chunk{index % chunks}"
            soundfile.write(folder / name / f"{stem}.wav", tone + 0.01 * rng.standard_normal(len(time)), RATE)
    return folder


def write_events(folder: Path, number: int, seed: int) -> Path:
    """Clips of a few seconds of noise with tones, and a table of their events."""
    folder.mkdir(parents=True)
    rng, rows = np.random.default_rng(seed), []
    for index in range(number):
        waveform = 0.01 * rng.standard_normal(round(rng.uniform(3.0, 5.0) * RATE))
        for start, (name, frequency) in zip((0.3, 1.5), TONES.items(), strict=True):
            onset, seconds = start + rng.uniform(0, 0.4), rng.uniform(0.3, 0.8)
            time = np.arange(round(seconds * RATE)) / RATE
            first = round(onset * RATE)
            waveform[first : first + len(time)] += 0.2 * np.sin(2 * np.pi * frequency * time)
            rows.append({"file_name": f"{index}.wav", "onset": onset, "offset": onset + seconds, "label": name})
        soundfile.write(folder / f"{index}.wav", waveform, RATE)
    write_table(folder / "metadata.csv", rows)
    return folder


def dataset_in_memory(folder: Path) -> Dataset:
    """The clips of a folder with a folder for each class, as columns `audio` (bytes), `label` and `recording`."""
    files = sorted(folder.glob("*/*.wav"))
    names = sorted({file.parent.name for file in files})
    columns: dict[str, list[Any]] = {
        "audio": [{"bytes": file.read_bytes(), "path": None} for file in files],
        "label": [names.index(file.parent.name) for file in files],
        "recording": [f"{file.parent.name}/{file.stem.partition('_')[0]}" for file in files],
    }
    file = {"bytes": Value("binary"), "path": Value("string")}
    features = {"audio": file, "label": ClassLabel(names=names), "recording": Value("string")}
    return Dataset.from_dict(columns, features=Features(features)).cast_column("audio", Audio())


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A CSV file with the columns of the first row."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_clip(path: Path, seconds: float = 0.1, rate: int = 8_000) -> Path:
    """A file of noise that follows from the length of its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(len(str(path))).uniform(-0.5, 0.5, round(seconds * rate))
    soundfile.write(path, samples, rate)
    return path


def wav_bytes(path: Path) -> dict:
    """An audio file in memory, as a row of a dataset holds it."""
    return {"bytes": write_clip(path).read_bytes(), "path": None}


def audio_column(values: list) -> Dataset:
    """A dataset of audio only, built as on a machine without torchcodec: through the storage type."""
    storage = [{"bytes": None, "path": value} if isinstance(value, str) else value for value in values]
    features = {"bytes": Value("binary"), "path": Value("string")}
    rows = Dataset.from_dict({"audio": storage}, features=Features({"audio": features}))
    return rows.cast_column("audio", Audio(decode=False))


def labelled(recordings: dict[str, list[str]], clips_each: int = 1) -> Dataset:
    """Clips (without audio) of the given recordings of each class."""
    names = sorted(recordings)
    rows = [
        (names.index(name), recording) for name in names for recording in recordings[name] for _ in range(clips_each)
    ]
    return Dataset.from_dict(
        {"label": [label for label, _ in rows], "recording": [recording for _, recording in rows]},
        features=Features({"label": ClassLabel(names=names), "recording": Value("string")}),
    )


def write_ramps(folder: Path, number: int, seconds: float = 0.5) -> dict[int, np.ndarray]:
    """Clips whose samples tell which clip they are of and where they stand in it; the samples by the clip's number."""
    folder.mkdir(parents=True, exist_ok=True)
    ramps = {}
    for clip in range(number):
        ramps[clip] = (clip / 64 + np.arange(round(seconds * RAMP_RATE)) / 2**20).astype(np.float32)
        soundfile.write(folder / f"{clip}.wav", ramps[clip], RAMP_RATE, subtype="FLOAT")
    return ramps


def expected_window(ramp: np.ndarray, seed: int, seconds: float) -> np.ndarray:
    """The window that follows from the first number of a generator with this seed."""
    to_spare = len(ramp) / RAMP_RATE - seconds
    start = round(to_spare * torch.rand((), generator=torch.Generator().manual_seed(seed)).item() * RAMP_RATE)
    return ramp[start : start + round(seconds * RAMP_RATE)]


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of torch with this seed."""
    return torch.Generator().manual_seed(seed)


def assert_distributed(values, distribution, *parameters: float) -> None:
    """Asserts that values are from a distribution of scipy, by a Kolmogorov-Smirnov test."""
    assert stats.kstest(np.asarray(values), distribution, args=parameters).pvalue > 0.01


def global_states() -> list:
    """The states of the random generators that a process shares."""
    return [random.getstate(), torch.get_rng_state().tolist(), str(np.random.get_state())]  # noqa: NPY002
