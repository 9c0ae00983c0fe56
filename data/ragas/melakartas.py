# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
The 72 melakarta ragas, by the rule of the scheme.

Their names and scales are theory: each has Sa and Pa, one of two Mas, one of six pairs of Ri and Ga, and one of six
pairs of Dha and Ni. Their phrases, resting notes and ornaments are invention, the same for all of them: they follow
from the scale alone.
"""

import itertools

from .grammar import Raga, cents_of


# In the order of the scheme: 1 to 36 with M1, 37 to 72 with M2
NAMES = [
    "Kanakangi",
    "Ratnangi",
    "Ganamurti",
    "Vanaspati",
    "Manavati",
    "Tanarupi",
    "Senavati",
    "Hanumatodi",
    "Dhenuka",
    "Natakapriya",
    "Kokilapriya",
    "Rupavati",
    "Gayakapriya",
    "Vakulabharanam",
    "Mayamalavagowla",
    "Chakravakam",
    "Suryakantam",
    "Hatakambari",
    "Jhankaradhvani",
    "Natabhairavi",
    "Keeravani",
    "Kharaharapriya",
    "Gourimanohari",
    "Varunapriya",
    "Mararanjani",
    "Charukesi",
    "Sarasangi",
    "Harikambhoji",
    "Dheerasankarabharanam",
    "Naganandini",
    "Yagapriya",
    "Ragavardhini",
    "Gangeyabhushani",
    "Vagadheeswari",
    "Shulini",
    "Chalanata",
    "Salagam",
    "Jalarnavam",
    "Jhalavarali",
    "Navaneetam",
    "Pavani",
    "Raghupriya",
    "Gavambhodi",
    "Bhavapriya",
    "Shubhapantuvarali",
    "Shadvidamargini",
    "Suvarnangi",
    "Divyamani",
    "Dhavalambari",
    "Namanarayani",
    "Kamavardhini",
    "Ramapriya",
    "Gamanashrama",
    "Vishwambari",
    "Shamalangi",
    "Shanmukhapriya",
    "Simhendramadhyamam",
    "Hemavati",
    "Dharmavati",
    "Neetimati",
    "Kantamani",
    "Rishabhapriya",
    "Latangi",
    "Vachaspati",
    "Mechakalyani",
    "Chitrambari",
    "Sucharitra",
    "Jyotiswarupini",
    "Dhatuvardhani",
    "Nasikabhushani",
    "Kosalam",
    "Rasikapriya",
]

_LOWER_PAIRS = ("R1 G1", "R1 G2", "R1 G3", "R2 G2", "R2 G3", "R3 G3")
_UPPER_PAIRS = ("D1 N1", "D1 N2", "D1 N3", "D2 N2", "D2 N3", "D3 N3")
# An oscillation reaches this share of the way to the swara below and above, at most this many cents
_SHARE_DOWN, _SHARE_UP, _WIDEST = 0.3, 0.5, 120


def _melakarta(ma: str, lower: str, upper: str) -> Raga:
    scale = ["S", *lower.split(), ma, "P", *upper.split()]
    sa, ri, ga, ma, pa, dha, ni = scale
    heights = [cents_of(swara) for swara in scale] + [1200.0]
    kampita = {}
    for place in (1, 2, 3, 5, 6):
        below, above = (heights[place] - heights[place - 1], heights[place + 1] - heights[place])
        low, high = min(_WIDEST, _SHARE_DOWN * below), min(_WIDEST, _SHARE_UP * above)
        kampita[scale[place]] = (-round(low), round(high))
    return Raga(
        arohana=" ".join(scale),
        avarohana=" ".join(["S'", *scale[:0:-1]]),
        phrases=(
            f"{sa} {ri} {ga} {ma} {ga}",
            f"{ga} {ma} {pa} {dha} {pa}",
            f"{pa} {dha} {ni} {sa}'",
            f"{sa}' {ni} {dha} {pa} {ma} {ga}",
            f"{ma} {ga} {ri} {sa}",
            f".{ni} {sa} {ri} {ga} {ri} {sa}",
        ),
        nyasa=f"{sa} {ga} {pa} {ni}",
        kampita=kampita,
    )


MELAKARTAS = {
    name: _melakarta(*parts)
    for name, parts in zip(NAMES, itertools.product(("M1", "M2"), _LOWER_PAIRS, _UPPER_PAIRS), strict=True)
}
