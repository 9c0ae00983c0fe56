# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`find_duplicates`: planted copies are found, and nothing else."""

import numpy as np
import pytest

from polyaudio import Duplicate, build_index, find_duplicates
from polyaudio.inference import vector_store
from vector_files import write_vectors


ROWS, SIZE = 240, 32


@pytest.fixture
def index(tmp_path):
    """Two windows a recording. 0, 50 and 90 have windows in common, in a chain; so have 7 and 8."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((ROWS, SIZE)).astype(np.float32)
    for row, other, noise in ((101, 0, 0.1), (180, 100, 0.2), (14, 17, 0.0), (31, 30, 0.0)):
        vectors[row] = 3 * vectors[other] + noise * rng.standard_normal(SIZE)
    files = [f"{row // 2}.wav" for row in range(ROWS)]
    write_vectors(tmp_path / "vectors.parquet", vectors, files, half=[row % 2 for row in range(ROWS)])
    build_index(tmp_path / "vectors.parquet", tmp_path / "index")
    return tmp_path / "index"


@pytest.mark.parametrize("exact", [True, False])
def test_groups_of_recordings(index, exact, monkeypatch):
    monkeypatch.setattr(vector_store, "BLOCK_ROWS", 64)
    groups = find_duplicates(index, threshold=0.99, exact=exact)
    assert [{one.file for one in group} for group in groups] == [{"0.wav", "50.wav", "90.wav"}, {"7.wav", "8.wav"}]
    nearest = {one.file: one.nearest for group in groups for one in group}
    assert nearest == {"0.wav": "50.wav", "50.wav": "0.wav", "90.wav": "50.wav", "7.wav": "8.wav", "8.wav": "7.wav"}
    assert all(0.99 <= one.score <= 1 for group in groups for one in group)


@pytest.mark.parametrize("exact", [True, False])
def test_a_threshold_of_one_finds_copies(index, exact):
    (group,) = find_duplicates(index, threshold=1, exact=exact)
    assert group == [Duplicate("7.wav", "8.wav", pytest.approx(1)), Duplicate("8.wav", "7.wav", pytest.approx(1))]


@pytest.mark.parametrize("exact", [True, False])
def test_a_filter_leaves_out_rows(index, exact):
    groups = find_duplicates(index, threshold=0.99, where="half = 0", exact=exact)
    assert [{one.file for one in group} for group in groups] == [{"50.wav", "90.wav"}]


@pytest.mark.parametrize("exact", [True, False])
def test_more_copies_than_the_neighbours_that_are_looked_for_first(tmp_path, exact):
    vectors = np.random.default_rng(0).standard_normal((150, SIZE)).astype(np.float32)
    vectors[20:120] = vectors[20]
    write_vectors(tmp_path / "vectors.parquet", vectors, [f"{row}.wav" for row in range(150)])
    build_index(tmp_path / "vectors.parquet", tmp_path / "index")
    (group,) = find_duplicates(tmp_path / "index", exact=exact)
    assert {one.file for one in group} == {f"{row}.wav" for row in range(20, 120)}


def test_thresholds_out_of_range_are_errors(index):
    for threshold in (0, -1, 1.5):
        with pytest.raises(ValueError, match="threshold must be above 0"):
            find_duplicates(index, threshold=threshold)
