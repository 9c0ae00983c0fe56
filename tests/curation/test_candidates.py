# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Candidates do not depend on how many places of their clips are sorted at a time."""

import datasets
import numpy as np
import soundfile

from polyaudio.curation.candidates import CandidateSearch
from polyaudio.curation.fingerprint_shards import write_fingerprints
from polyaudio.data.ragas import SAMPLING_RATE, synthesize_recording


def test_ranges_of_pairs_give_the_same_candidates(tmp_path):
    files = []
    for index in range(6):  # the last three continue the first ones
        music = synthesize_recording("Kalyani", tonic=150.0, timbre="flute", seconds=12, seed=index % 3)
        files.append(str(tmp_path / f"{index}.wav"))
        soundfile.write(
            files[-1], music[: 8 * SAMPLING_RATE] if index < 3 else music[4 * SAMPLING_RATE :], SAMPLING_RATE
        )
    clips = datasets.Dataset.from_dict({"audio": files}).cast_column("audio", datasets.Audio(decode=False))
    (tmp_path / "fingerprints").mkdir()
    fingerprints = write_fingerprints(clips, tmp_path / "fingerprints")
    whole, in_ranges = (
        CandidateSearch(fingerprints, tmp_path, np.arange(6), **settings) for settings in ({}, {"most_sorted": 2000})
    )
    found = whole.find()
    assert {(0, 3), (1, 4), (2, 5)} <= {(one.first, one.second) for one in found}
    assert in_ranges.find() == found
    assert whole.find_shifted(3.0) == in_ranges.find_shifted(3.0)
