# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
import itertools

import pytest

from polyaudio.data.ragas import JANYAS, MELAKARTAS, RAGAS, SAME_SWARAS, SWARAS, find_raga


EVERY = {**RAGAS, **JANYAS, **MELAKARTAS}


def swaras(*parts: str) -> set[str]:
    return {token.strip(".'") for part in parts for token in part.split()}


@pytest.mark.parametrize("raga", EVERY.values(), ids=EVERY)
def test_grammar_is_consistent(raga):
    scale = swaras(raga.arohana, raga.avarohana)
    assert scale <= set(SWARAS)
    assert swaras(*raga.phrases, raga.nyasa, *raga.kampita) <= scale
    assert "S" in scale
    assert not {"S", "P"} & set(raga.kampita)  # these two are never shaken
    assert len(raga.phrases) >= 4
    assert all(low <= 0 <= high and low < high for low, high in raga.kampita.values())


def test_the_scheme_of_melakartas():
    assert len(MELAKARTAS) == 72
    assert len({raga.swaras for raga in MELAKARTAS.values()}) == 72
    assert all(len(raga.swaras) == 7 for raga in MELAKARTAS.values())
    # By number, as tables of the scheme have them
    scales = {number: raga.arohana for number, raga in enumerate(MELAKARTAS.values(), 1)}
    assert scales[1] == "S R1 G1 M1 P D1 N1"
    assert scales[15] == RAGAS["Mayamalavagowla"].arohana
    assert scales[29] == "S R2 G3 M1 P D2 N3"
    assert scales[36] == "S R3 G3 M1 P D3 N3"
    assert scales[65] == RAGAS["Kalyani"].arohana
    assert scales[72] == "S R3 G3 M2 P D3 N3"
    assert MELAKARTAS["Kharaharapriya"].arohana == RAGAS["Kharaharapriya"].arohana


def test_forty_ragas_of_which_many_turn():
    assert len({**RAGAS, **JANYAS}) == 40
    is_symmetric = [raga.arohana.split()[1:] == raga.avarohana.split()[:0:-1] for raga in JANYAS.values()]
    assert is_symmetric.count(False) >= 20


@pytest.mark.parametrize(("first", "second"), SAME_SWARAS)
def test_pairs_differ_in_movement_alone(first, second):
    one, other = find_raga(first), find_raga(second)
    assert one.swaras == other.swaras
    assert one.phrases != other.phrases
    assert (one.arohana, one.avarohana, one.nyasa, one.kampita) != (
        other.arohana,
        other.avarohana,
        other.nyasa,
        other.kampita,
    )


def test_pairs_have_twenty_ragas():
    assert len(set(itertools.chain(*SAME_SWARAS))) == 20
