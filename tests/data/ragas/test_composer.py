# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
import itertools

import numpy as np
import pytest

from polyaudio.data.ragas import JANYAS, MELAKARTAS, RAGAS, Composer


EVERY = {**RAGAS, **JANYAS, **MELAKARTAS}


@pytest.mark.parametrize("raga", EVERY)
def test_melody_moves_by_arohana_and_avarohana(raga):
    composer = Composer(EVERY[raga], np.random.default_rng(0))
    notes = composer.melody(200, tempo=150)
    heights = [note.cents for note in notes]
    assert {note.name for note in notes} == EVERY[raga].swaras
    assert min(heights) >= -520
    assert max(heights) <= 1910
    assert {note.name for note in notes if note.rests} <= set(EVERY[raga].nyasa.split())
    if raga == "Sindhubhairavi":  # its two Ris: one on the way up, the other on the way down
        followers = [(a.name, b.cents - a.cents) for a, b in itertools.pairwise(notes) if not a.rests]
        assert np.mean([step > 0 for name, step in followers if name == "R2"]) > 0.6
        assert np.mean([step < 0 for name, step in followers if name == "R1"]) > 0.6


def test_tempo_is_notes_a_minute():
    def notes(tempo):
        return len(Composer(RAGAS["Kalyani"], np.random.default_rng(0)).melody(300, tempo))

    assert notes(200) > 1.4 * notes(100)
