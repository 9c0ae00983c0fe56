# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Synthesised recordings whose tonic is known, in conditions that make it hard to find."""

from collections.abc import Callable

import numpy as np

from polyaudio.data.ragas import (
    JANYAS,
    RAGAS,
    SAMPLING_RATE,
    TIMBRES,
    Composer,
    Concert,
    find_raga,
    synthesize_concert,
)
from polyaudio.data.ragas.instruments import INSTRUMENTS, sum_of_harmonics, tanpura
from polyaudio.data.ragas.performance import CONTROL_RATE, perform
from polyaudio.data.ragas.room import in_room


LOWEST, HIGHEST = 98.0, 260.0
_NAMES = (*RAGAS, *JANYAS)
_WITHOUT_PA = tuple(name for name in _NAMES if "P" not in find_raga(name).swaras)
_WITH_PA = tuple(name for name in _NAMES if name not in _WITHOUT_PA)

Synthesizer = Callable[..., tuple[np.ndarray, float]]


def _concert(ragas: tuple[str, ...] = _NAMES, concert: Concert | None = None) -> Synthesizer:
    def synthesize(rng: np.random.Generator, *, tonic: float, **settings) -> tuple[np.ndarray, float]:
        recording = synthesize_concert(str(rng.choice(ragas)), tonic=tonic, concert=concert or Concert(), **settings)
        return recording.samples, recording.tonic

    return synthesize


def _with_drone(
    drone: Callable[[float, int, np.random.Generator], np.ndarray],
    level: tuple[float, float] = (-24, -6),
    ragas: tuple[str, ...] = _NAMES,
) -> Synthesizer:
    """Recordings with a drone of ours, at a level in dB below the melody that is drawn from `level`."""

    def synthesize(
        rng: np.random.Generator, *, tonic: float, timbre: str, seconds: float, seed: int, tempo: float
    ) -> tuple[np.ndarray, float]:
        own = np.random.default_rng(seed)
        raga, samples = find_raga(str(rng.choice(ragas))), round(seconds * SAMPLING_RATE)
        instrument, octave, _ = INSTRUMENTS[timbre]
        notes = Composer(raga, own).melody(seconds, tempo)
        contour = perform(notes, raga, -(-samples * CONTROL_RATE // SAMPLING_RATE), own)
        pitch = tonic * 2 ** (octave + contour.cents / 1200)
        melody = sum_of_harmonics(pitch, instrument(contour, pitch, own))[:samples]
        sound = drone(tonic, samples, own)
        sound *= melody.std() * 10 ** (own.uniform(*level) / 20) / max(sound.std(), 1e-9)
        recording = in_room(melody + sound, own)
        return (0.1 * recording / recording.std()).astype(np.float32), tonic

    return synthesize


def _ma_tanpura(tonic: float, samples: int, rng: np.random.Generator) -> np.ndarray:
    return tanpura(tonic, samples, rng, has_pa=False)


def _off_tune(tonic: float, samples: int, rng: np.random.Generator) -> np.ndarray:
    """A tanpura that is 10 to 20 cents off the melody."""
    return tanpura(tonic * 2 ** (rng.choice([-1, 1]) * rng.uniform(10, 20) / 1200), samples, rng)


def _sruti_box(tonic: float, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Reeds that sound all the time: Sa, Pa or Ma, and the upper Sa."""
    upper = rng.choice([3 / 2, 4 / 3], p=[0.75, 0.25])
    levels = rng.uniform(0.5, 1, size=(20, 1)) / np.arange(1, 21)[:, None] ** rng.uniform(0.4, 1.0)
    frames = -(-samples * CONTROL_RATE // SAMPLING_RATE)
    reeds = (tonic * ratio * 2 ** (rng.normal(0, 3) / 1200) for ratio in (1, upper, 2))
    return sum(sum_of_harmonics(np.full(frames, reed), np.repeat(levels, frames, 1))[:samples] for reed in reeds)


def _silence(tonic: float, samples: int, rng: np.random.Generator) -> np.ndarray:
    return np.zeros(samples, dtype=np.float32)


CONDITIONS: dict[str, Synthesizer] = {
    "clean": _concert(),
    "no Pa": _concert(_WITHOUT_PA),
    "Ma tanpura": _with_drone(_ma_tanpura, ragas=_WITH_PA),
    "drone off tune": _with_drone(_off_tune),
    "sruti box": _with_drone(_sruti_box),
    "soft drone": _with_drone(tanpura, level=(-36, -30)),
    "no drone": _with_drone(_silence),
    "voices": _concert(concert=Concert(voices=1)),
    "drums": _concert(concert=Concert(strokes=1)),
    "concert=0.5": _concert(concert=Concert.of(0.5)),
    "concert=1": _concert(concert=Concert.of(1.0)),
    "no Pa, concert=0.5": _concert(_WITHOUT_PA, Concert.of(0.5)),
}

# Not in the fit
UNSEEN = ("no Pa, concert=0.5",)


def recording_of(condition: str, seed: int, seconds: float | None = None) -> tuple[np.ndarray, float]:
    """
    A recording, `(samples,)`, float32, at `SAMPLING_RATE`, and its tonic in Hz.

    Args:
        condition: a key of `CONDITIONS`.
        seed: of the raga, the tonic, the timbre, the tempo and the music.
        seconds: its length; by default 12 to 16 s.
    """
    rng = np.random.default_rng([seed, list(CONDITIONS).index(condition)])
    drawn = rng.uniform(12, 16)
    return CONDITIONS[condition](
        rng,
        tonic=float(np.exp(rng.uniform(np.log(LOWEST), np.log(HIGHEST)))),
        timbre=TIMBRES[seed % len(TIMBRES)],
        seconds=drawn if seconds is None else seconds,
        seed=int(rng.integers(2**31)),
        tempo=float(rng.uniform(90, 200)),
    )
