# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Pitch histograms and time-delayed melody surfaces of clips whose melody is known."""

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from builders import SAM_AUDIO
from polyaudio import SAMAudioConfig, SAMAudioFeatureExtractor, SAMAudioModel, probe
from polyaudio.data.loading import load_clips
from polyaudio.evaluation.melody_baselines import CELLS, melody_baselines, melody_cells
from polyaudio.evaluation.tables import format_probe


TONIC = 150.0


def tracks(folder: Path, melodies: dict[str, tuple[int, ...]], recordings: int) -> Dataset:
    """Two clips of each recording: notes of 0.4 s in semitones above a tonic of its own, in any octave."""
    rows, rng = [], np.random.default_rng(0)
    times = np.arange(24 * 40) / 100
    for raga, notes in melodies.items():
        for number in range(recordings):
            tonic = TONIC * 2 ** rng.uniform(0, 1)
            for part in range(2):
                path = folder / f"{raga}-{number}-{part}.txt"
                start = rng.integers(len(notes))
                pitch = tonic * 2 ** (np.repeat(np.resize(np.roll(notes, start), 24), 40) / 12 + rng.integers(2))
                np.savetxt(path, np.stack([times, pitch], 1))
                rows.append({"pitch_path": str(path), "raga": raga, "recording": f"{raga}{number}", "tonic": tonic})
    return Dataset.from_list(rows)


def scores_of(folder: Path, melodies: dict[str, tuple[int, ...]]) -> dict:
    clips = load_clips(tracks(folder, melodies, 6), given="pitch-only")["train"]
    labels, recordings = np.array(clips["label"]), np.array(clips["recording"])
    is_test = np.array([name[-1] in "45" for name in recordings])
    folds = [(np.flatnonzero(~is_test), np.flatnonzero(is_test))]
    names = ("tdms", "pitch_histogram")
    return melody_baselines(names, clips, labels, recordings, folds, id2label=dict(enumerate(melodies)))


def test_the_cells_of_a_known_melody(tmp_path):
    clips = load_clips(tracks(tmp_path, {"a": (0, 1, 7, 11), "b": (0,)}, 1), given="pitch-only")["train"]
    cells, constant = (next(iter(melody_cells(clips.select([row])))) for row in (0, 2))
    assert set(constant.tolist()) == {0}
    # 10 cents a cell, and a few cells between notes
    assert {cell for cell, count in zip(*np.unique(cells, return_counts=True), strict=True) if count > 20} == {
        0,
        CELLS // 12,
        7 * CELLS // 12,
        11 * CELLS // 12,
    }


def test_swaras_tell_ragas_apart(tmp_path):
    scores = scores_of(tmp_path, {"a": (0, 4, 7, 11), "b": (0, 3, 7, 10)})
    for evaluation in scores.values():
        assert evaluation.clips["accuracy"] == evaluation.recordings["accuracy"] == 1.0
        assert (evaluation.clips["count"], evaluation.recordings["count"]) == (8, 4)


def test_surfaces_hear_the_order_of_swaras(tmp_path):
    scores = scores_of(tmp_path, {"up": (0, 2, 4, 7, 9), "down": (9, 7, 4, 2, 0)})
    assert scores["tdms"].clips["accuracy"] == 1.0
    assert scores["pitch_histogram"].clips["accuracy"] < 1.0


def test_beside_a_probe_as_asked_for(tmp_path):
    rows = tracks(tmp_path, {"a": (0, 4, 7, 11), "b": (0, 3, 7, 10)}, 4)
    model = SAMAudioModel(SAMAudioConfig(frontend="tonic_pitch", feature_size=64, **SAM_AUDIO))
    settings = {"feature_extractor": SAMAudioFeatureExtractor("tonic_pitch"), "folds": 2, "untrained": 0}
    report = probe(model, rows, given="pitch-only", baselines=["tdms"], **settings)
    assert list(report.baselines) == ["tdms"]
    assert report.baselines["tdms"].recordings["count"] == report.recordings == 8
    text = format_probe(report)
    assert "this model" in text
    assert "tdms" in text
    assert "pitch_histogram" not in text
    assert not probe(model, rows, given="pitch-only", baselines=[], **settings).baselines
    with pytest.raises(ValueError, match="'mfcc' is not a baseline; choose from tdms, pitch_histogram"):
        probe(model, rows, given="pitch-only", baselines=["mfcc"], **settings)
