# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What a raga is here: swaras, the two lines of the scale, phrases, resting notes and ornaments."""

from dataclasses import dataclass

import numpy as np


# Frequency ratios over Sa in just intonation. Four places have two names: R2 and G1, R3 and G2, D2 and N1, D3 and N2.
# Two swaras occur in Varali only and have a sign in their names: its Ga, slightly lower than the Ri of the same key,
# and its Ma, close to Pa, known as Varali madhyama.
SWARAS = {
    "S": 1 / 1,
    "R1": 16 / 15,
    "R2": 9 / 8,
    "R3": 6 / 5,
    "G1": 9 / 8,
    "G1-": 10 / 9,
    "G2": 6 / 5,
    "G3": 5 / 4,
    "M1": 4 / 3,
    "M2": 45 / 32,
    "M2+": 64 / 45,
    "P": 3 / 2,
    "D1": 8 / 5,
    "D2": 5 / 3,
    "D3": 9 / 5,
    "N1": 5 / 3,
    "N2": 9 / 5,
    "N3": 15 / 8,
}


@dataclass(frozen=True)
class Raga:
    """
    The grammar of a raga.

    Swaras are keys of `SWARAS`, with a dot before the name for the lower octave and a prime after it for the upper.

    Args:
        arohana: the ascent within one octave.
        avarohana: the descent within one octave, from the upper Sa, without the final Sa.
        phrases: phrases that are typical of the raga.
        nyasa: the swaras on which phrases may end.
        kampita: for each swara that oscillates, the lowest and the highest point of the oscillation in cents from it.
    """

    arohana: str
    avarohana: str
    phrases: tuple[str, ...]
    nyasa: str
    kampita: dict[str, tuple[int, int]]

    @property
    def swaras(self) -> frozenset[str]:
        """The swaras of both lines."""
        return frozenset(token.strip(".'") for token in (self.arohana + " " + self.avarohana).split())


def cents_of(token: str) -> float:
    """The interval from Sa, in cents, of a swara as `Raga` writes it."""
    octave = token.count("'") - token.count(".")
    return 1200 * (np.log2(SWARAS[token.strip(".'")]) + octave)
