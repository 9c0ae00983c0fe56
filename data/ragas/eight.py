# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The eight ragas of the dataset `ragas`."""

from .grammar import Raga


# All eight ragas have Pa, so the drone is Pa and Sa for each of them. (For ragas without Pa, that string is Ma.)
RAGAS = {
    # Melakarta 65 (Mechakalyani).
    "Kalyani": Raga(
        arohana="S R2 G3 M2 P D2 N3",
        avarohana="S' N3 D2 P M2 G3 R2",
        phrases=(".N3 R2 G3 M2 G3", "G3 M2 D2 N3 S'", "P M2 G3 R2 S", "N3 D2 M2 G3 R2", "M2 D2 N3 R2' S'"),
        nyasa="S R2 G3 P D2 N3",
        kampita={"R2": (-20, 120), "M2": (-60, 70), "D2": (-20, 130), "N3": (-40, 100)},
    ),
    # Melakarta 22.
    "Kharaharapriya": Raga(
        arohana="S R2 G2 M1 P D2 N2",
        avarohana="S' N2 D2 P M1 G2 R2",
        phrases=("R2 G2 M1 G2 R2", "P D2 N2 D2 P", "G2 M1 P M1 G2 R2", "D2 N2 S' N2 D2 P", "R2 P M1 G2 R2"),
        nyasa="S R2 P D2",
        kampita={"R2": (-30, 60), "G2": (-90, 110), "M1": (-40, 60), "D2": (-30, 90), "N2": (-110, 110)},
    ),
    # Melakarta 15.
    "Mayamalavagowla": Raga(
        arohana="S R1 G3 M1 P D1 N3",
        avarohana="S' N3 D1 P M1 G3 R1",
        phrases=("S R1 G3 M1 G3", "G3 M1 P M1 G3 R1 S", "M1 P D1 P", "P D1 N3 S'", "S' N3 D1 P M1 G3"),
        nyasa="S G3 M1 P",
        kampita={"R1": (-40, 70), "M1": (-30, 60), "D1": (-40, 80)},
    ),
    # Melakarta 8 (Hanumatodi). Ga, Dha and Ni nearly always oscillate, and many phrases leave out Pa.
    "Todi": Raga(
        arohana="S R1 G2 M1 P D1 N2",
        avarohana="S' N2 D1 P M1 G2 R1",
        phrases=(
            "G2 M1 D1 N2 S'",
            "D1 N2 S' R1' G2'",
            "N2 D1 M1 G2 R1 S",
            ".N2 R1 G2 M1 G2",
            "D1 M1 G2 R1 S",
            "M1 D1 N2 D1",
        ),
        nyasa="S G2 M1 D1",
        kampita={"R1": (-20, 50), "G2": (-160, 130), "M1": (-60, 90), "D1": (-80, 150), "N2": (-130, 120)},
    ),
    # Pentatonic, of melakarta 66 (or 65, which has the same five swaras).
    "Amritavarshini": Raga(
        arohana="S G3 M2 P N3",
        avarohana="S' N3 P M2 G3",
        phrases=("G3 M2 P N3 S'", "S' N3 P M2 G3 S", ".N3 S G3 M2 G3", "M2 P N3 P", "P M2 G3 M2 P", "N3 S' G3' S'"),
        nyasa="S G3 P N3",
        kampita={"M2": (-40, 60), "N3": (-30, 90)},
    ),
    # Pentatonic, of melakarta 60. Books add a shatsruti Dha to the ascent, but it is no longer sung.
    "Hamsanadam": Raga(
        arohana="S R2 M2 P N3",
        avarohana="S' N3 P M2 R2",
        phrases=("S R2 M2 P N3 S'", "P M2 R2 S", "R2 M2 P M2 R2", "M2 P N3 P", "N3 S' R2' S'", ".N3 S R2 S"),
        nyasa="S R2 P N3",
        kampita={"R2": (-30, 60), "M2": (-40, 60), "N3": (-30, 80)},
    ),
    # Of melakarta 39. The ascent is not monotonic (vakra) around Ga and avoids the melakarta's S R1 G1 M2 in a row.
    "Varali": Raga(
        arohana="S G1- R1 G1- M2+ P D1 N3",
        avarohana="S' N3 D1 P M2+ G1- R1",
        phrases=(
            "S G1- R1 G1- M2+ P",
            "M2+ G1- R1 S",
            "P D1 N3 S'",
            "D1 P M2+ G1- R1 G1-",
            ".N3 S G1- R1 S",
            "M2+ P D1 P",
        ),
        nyasa="S G1- P N3",
        kampita={"G1-": (-70, 60), "M2+": (-50, 50), "D1": (-40, 90), "N3": (-40, 70)},
    ),
    # A light raga of Hindustani origin, with chatusruti Ri upwards, suddha Ri downwards and few ornaments. Two customs
    # are left out: foreign swaras that singers add, and madhyama sruti, a drone whose Pa is stronger than its Sa.
    "Sindhubhairavi": Raga(
        arohana="S R2 G2 M1 G2 P D1 N2",
        avarohana="S' N2 D1 P M1 G2 R1",
        phrases=(
            "S R2 G2 M1 P",
            "P D1 P M1 G2 R1 S",
            ".N2 S R2 G2 R1 S",
            "G2 P D1 N2 D1 P",
            "R2 G2 M1 G2 P",
            "M1 G2 R2 G2 R1 S",
        ),
        nyasa="S G2 P D1",
        kampita={"G2": (-30, 50), "D1": (-30, 50), "N2": (-40, 60)},
    ),
}
