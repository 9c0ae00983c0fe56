# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Synthesises recordings of Carnatic ragas, with numpy: the embedded dataset `ragas`, and larger and harder ones.

A raga is a set of intervals over a tonic, with its ornaments and its phrases. The other properties of a recording
(tonic, instrument, tempo, register, drone, room, the conditions of a concert) are random and do not depend on the
raga. The test split has tonics and an instrument that the training split does not have.
"""

from .composer import Composer
from .concert import Concert
from .dataset import RAGA_SETS, TEST_TIMBRE, build_ragas, is_ragas, load_ragas
from .eight import RAGAS
from .grammar import SWARAS, Raga
from .instruments import SAMPLING_RATE, TIMBRES
from .janyas import JANYAS, SAME_SWARAS
from .melakartas import MELAKARTAS
from .performance import CONTROL_RATE
from .recording import Recording, find_raga, synthesize_concert, synthesize_recording


__all__ = [
    "CONTROL_RATE",
    "JANYAS",
    "MELAKARTAS",
    "RAGAS",
    "RAGA_SETS",
    "SAME_SWARAS",
    "SAMPLING_RATE",
    "SWARAS",
    "TEST_TIMBRE",
    "TIMBRES",
    "Composer",
    "Concert",
    "Raga",
    "Recording",
    "build_ragas",
    "find_raga",
    "is_ragas",
    "load_ragas",
    "synthesize_concert",
    "synthesize_recording",
]
