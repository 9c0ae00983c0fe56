# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Improvises melodies in a raga."""

from dataclasses import dataclass

import numpy as np

from .grammar import Raga, cents_of


@dataclass
class Note:
    name: str  # a key of `SWARAS`
    cents: float  # over Sa
    seconds: float
    rests: bool  # whether it ends a phrase


class Composer:
    """Improvises in a raga: runs along arohana and avarohana, and phrases of the raga. Each ends on a nyasa swara."""

    lowest, highest = -520, 1910  # from the lower Pa to the upper Pa

    def __init__(self, raga: Raga, rng: np.random.Generator):
        self.raga, self.rng = raga, rng
        self.nyasa = raga.nyasa.split()
        # Both scales over the whole range; the first swara of an octave follows the last one of the octave before
        self.up = self._over_compass(raga.arohana, (-1, 0, 1))
        self.down = self._over_compass(raga.avarohana, (1, 0, -1, -2))
        self.phrases = [[(token.strip(".'"), cents_of(token)) for token in phrase.split()] for phrase in raga.phrases]

    def _over_compass(self, scale: str, octaves: tuple[int, ...]) -> list[tuple[str, float]]:
        swaras = [(token.strip("'"), cents_of(token) + 1200 * octave) for octave in octaves for token in scale.split()]
        return [(name, cents) for name, cents in swaras if self.lowest <= cents <= self.highest]

    def _run(self, start: float, rises: bool, steps: int) -> list[tuple[str, float]]:
        """The next swaras of the ascent or the descent after the swara at `start` cents."""
        scale = self.up if rises else self.down
        places = [i for i, (_, cents) in enumerate(scale) if abs(cents - start) < 1]
        if places:
            first = int(self.rng.choice(places)) + 1
        else:  # a swara that only the other direction has
            beyond = [i for i, (_, cents) in enumerate(scale) if (cents > start) == rises]
            first = beyond[0] if beyond else len(scale)
        return scale[first : first + steps]

    def _phrase(self, start: float, centre: float) -> list[tuple[str, float]]:
        rng = self.rng
        swaras = []
        if rng.random() < 0.4:
            phrase = self.phrases[rng.integers(len(self.phrases))]
            octave = 1200 * round((centre - phrase[0][1]) / 1200)
            swaras = [
                (name, cents + octave) for name, cents in phrase if self.lowest <= cents + octave <= self.highest
            ]
        shortest = len(swaras) + rng.integers(0, 9)
        while not swaras or len(swaras) < shortest or swaras[-1][0] not in self.nyasa:
            here = swaras[-1][1] if swaras else start
            rises = rng.random() < 1 / (1 + np.exp((here - centre) / 250))
            steps = int(rng.integers(1, 6)) if len(swaras) < shortest else 1
            swaras += self._run(here, rises, steps)
        return swaras

    def melody(self, seconds: float, tempo: float) -> list[Note]:
        """Notes with a total length of at least `seconds`, with `tempo` notes a minute at medium speed."""
        rng = self.rng
        notes, elapsed, here = [], 0.0, 0.0
        while elapsed < seconds:
            swaras = self._phrase(here, centre=rng.choice([100, 500, 900, 1250], p=[0.2, 0.35, 0.3, 0.15]))
            here = swaras[-1][1]
            # A phrase is slow as in an alapana, at the tempo, or at double speed
            pace = 60 / tempo * rng.choice([1.8, 1.0, 0.5], p=[0.3, 0.45, 0.25])
            for i, (name, cents) in enumerate(swaras):
                ends = i == len(swaras) - 1
                length = pace * rng.choice([1, 2], p=[0.8, 0.2]) * rng.uniform(0.9, 1.1)
                length = rng.uniform(0.8, 2.6) if ends else max(length, 0.09)
                notes.append(Note(name, cents, length, ends))
                elapsed += length
        return notes
