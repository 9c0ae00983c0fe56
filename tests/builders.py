"""What several tests are made of: sizes of small models, folders of sounds, datasets in memory."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from datasets import Audio, ClassLabel, Dataset, Features, Value


RATE = 16000
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
) -> Path:
    """
    A folder for each class with tones of about its frequency in noise, of uneven lengths.

    Args:
        tones: frequency in Hz by class.
        number: of files in a class.
        seconds: shortest and longest length.
        chunks: files of one recording that follow each other.
    """
    rng = np.random.default_rng(0)
    for name, frequency in tones.items():
        (folder / name).mkdir(parents=True)
        for index in range(number):
            time = np.arange(round(rng.uniform(*seconds) * RATE)) / RATE
            tone = 0.2 * np.sin(2 * np.pi * rng.uniform(0.9, 1.1) * frequency * time)
            stem = str(index) if chunks == 1 else f"{index // chunks}_chunk{index % chunks}"
            soundfile.write(folder / name / f"{stem}.wav", tone + 0.01 * rng.standard_normal(len(time)), RATE)
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


def wav_bytes(samples: np.ndarray, rate: int = RATE) -> bytes:
    """A WAV file in memory."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV")
    return file.getvalue()
