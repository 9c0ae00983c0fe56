# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The datasets `ragas`, `ragas:40`, `ragas:72` and `ragas:pairs`, clean or under the conditions of a concert."""

import io
from dataclasses import fields

import numpy as np
import pyarrow as pa
import soundfile
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, Value

from .concert import CLEAN, Concert
from .eight import RAGAS
from .instruments import SAMPLING_RATE, TIMBRES
from .janyas import JANYAS, SAME_SWARAS
from .melakartas import MELAKARTAS
from .recording import synthesize_concert


# The timbre of the test split
TEST_TIMBRE = "voice"
# Fourteen semitones from B flat (a low man's voice) to B (a high woman's voice). Every second one goes to the test
# split, so the splits also differ in the twelve pitch classes.
_TONICS = 440 * 2 ** ((np.arange(46, 60) - 69) / 12)
_MISTUNING = 30  # largest deviation of a recording from its tonic, in cents
_CLIPS_PER_RECORDING = 4

# The ragas of each dataset
RAGA_SETS: dict[str, tuple[str, ...]] = {
    "ragas": tuple(RAGAS),
    "ragas:40": (*RAGAS, *JANYAS),
    "ragas:72": tuple(MELAKARTAS),
    "ragas:pairs": tuple(raga for pair in SAME_SWARAS for raga in pair),
}


def is_ragas(name: str) -> bool:
    """Whether a dataset is one of synthesised ragas: `ragas`, or a name that begins with `ragas:` or `ragas+`."""
    return name == "ragas" or name.startswith(("ragas:", "ragas+"))


def load_ragas(name: str, seed: int = 0) -> DatasetDict:
    """
    Synthesise a dataset by its name: a key of `RAGA_SETS`, and conditions of a concert with their strengths.

    `ragas:40+concert=0.5` is the set of 40 ragas with all conditions at a strength of 0.5, and `ragas+reverb=1+mp3=1`
    that of eight ragas with two conditions; see `Concert`. `+seed=4` draws other recordings.

    Args:
        name: the name.
        seed: seed of the whole dataset, if the name has none.

    Raises:
        ValueError: the set or a condition is unknown, a strength is not from 0 to 1, or the seed is not an integer.
    """
    which, *parts = name.split("+")
    if which not in RAGA_SETS:
        raise ValueError(f"There is no set of ragas {which!r}; choose one of {', '.join(RAGA_SETS)}.")
    known = [field.name for field in fields(Concert)]
    strengths: dict[str, float] = {}
    for part in parts:
        condition, _, text = part.partition("=")
        if condition == "seed":
            if not text.isdecimal():
                raise ValueError(f"{name!r} needs a whole number after seed=, such as {which}+seed=4.")
            seed = int(text)
            continue
        try:
            strength = float(text)
        except ValueError as error:
            raise ValueError(
                f"{name!r} needs a number after {condition}=, such as {which}+{condition}=0.5."
            ) from error
        if condition == "concert":
            strengths |= vars(Concert.of(strength))
        elif condition in known:
            strengths[condition] = strength
        else:
            raise ValueError(f"There is no condition {condition!r}; choose one of concert, {', '.join(known)}.")
    return build_ragas(seed, ragas=RAGA_SETS[which], concert=Concert(**strengths))


def build_ragas(
    seed: int = 0,
    train_recordings: int = 12,
    test_recordings: int = 4,
    seconds: float = 72.0,
    *,
    ragas: tuple[str, ...] = tuple(RAGAS),
    concert: Concert = CLEAN,
) -> DatasetDict:
    """
    Synthesise a dataset of ragas.

    No recording is in both splits. The tonics of `test` differ from those of `train` by at least 40 cents in any
    octave, and by less only where a concert shifts them. The timbre of `test` is `TEST_TIMBRE`, which `train` does not
    have.

    Args:
        seed: seed of the whole dataset.
        train_recordings: number of recordings of each raga in `train`.
        test_recordings: number of recordings of each raga in `test`.
        seconds: length of a recording in seconds. Each recording is cut into four clips.
        ragas: names of the ragas.
        concert: the conditions of all recordings.

    Returns:
        Splits `train` and `test` of clips, with the columns `audio` (not decoded: 16-bit WAV bytes and a path), `raga`
        (`ClassLabel`), `recording` (its name), `tonic` (of the tanpura's upper Sa, in Hz) and `timbre`.
    """
    features = Features(
        {
            "audio": Audio(sampling_rate=SAMPLING_RATE, decode=False),
            "raga": ClassLabel(names=list(ragas)),
            "recording": Value("string"),
            "tonic": Value("float32"),
            "timbre": Value("string"),
        }
    )
    splits = {
        "train": (train_recordings, _TONICS[0::2], [timbre for timbre in TIMBRES if timbre != TEST_TIMBRE]),
        "test": (test_recordings, _TONICS[1::2], [TEST_TIMBRE]),
    }
    dataset = DatasetDict()
    for which, (split, (recordings, tonics, timbres)) in enumerate(splits.items()):
        tables: list[pa.Table] = []
        for label, raga in enumerate(ragas):
            for number in range(recordings):
                # Each recording has its own generator, so it does not depend on the number of recordings
                rng = np.random.default_rng([seed, which, label, number])
                tonic = rng.choice(tonics) * 2 ** (rng.uniform(-_MISTUNING, _MISTUNING) / 1200)
                timbre = timbres[number % len(timbres)]
                played = synthesize_concert(
                    raga,
                    tonic=tonic,
                    timbre=timbre,
                    seconds=seconds,
                    seed=int(rng.integers(2**31)),
                    tempo=rng.uniform(100, 220),
                    concert=concert,
                )
                recording = f"{raga.lower()}_{split}_{number:02d}"
                facts = {"raga": label, "recording": recording, "tonic": played.tonic, "timbre": timbre}
                clips = [
                    {"audio": {"bytes": _wav(clip), "path": f"{recording}_chunk{chunk}.wav"}, **facts}
                    for chunk, clip in enumerate(np.array_split(played.samples, _CLIPS_PER_RECORDING))
                ]
                # `Dataset.from_list` would need torchcodec for a column of audio
                tables.append(pa.Table.from_pylist(clips, schema=features.arrow_schema))
        dataset[split] = Dataset(pa.concat_tables(tables).combine_chunks())
    return dataset


def _wav(samples: np.ndarray) -> bytes:
    """The bytes of a 16-bit WAV file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLING_RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
