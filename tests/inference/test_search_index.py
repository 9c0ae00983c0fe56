# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`build_index`: its recall, what it refuses, and features that change after it was built."""

import json
import os
from functools import partial

import numpy as np
import pytest

import polyaudio
from polyaudio import build_index, search
from polyaudio.inference.search_index import SearchIndex
from vector_files import clustered, needs_usearch, write_vectors


VECTORS = clustered(200, 12)
FILES = [f"{row}.wav" for row in range(200)]


@pytest.fixture
def features(tmp_path):
    write_vectors(tmp_path / "features" / "data" / "train-0.parquet", VECTORS, FILES)
    return tmp_path / "features"


@needs_usearch
def test_the_approximate_index_finds_the_neighbours(features, tmp_path):
    report = build_index(features, tmp_path / "index")
    assert (report.rows, report.size, report.approximate.sampled) == (200, 12, 200)
    assert report.approximate.recall >= 0.99
    assert report.bytes == sum(path.stat().st_size for path in (tmp_path / "index").iterdir())


@needs_usearch
def test_the_approximate_index_finds_every_vector_and_is_the_same_each_time(tmp_path):
    """Which several threads that build it do not promise."""
    vectors, files = clustered(1000, 16), [f"{row}.wav" for row in range(1000)]
    path = write_vectors(tmp_path / "many.parquet", vectors, files)
    for name in ("index", "again"):
        build_index(path, tmp_path / name)
    (graph,) = (tmp_path / "index").glob("*.usearch")
    assert graph.read_bytes() == (tmp_path / "again" / graph.name).read_bytes()
    assert [result.hits[0].file for result in search(list(vectors), tmp_path / "index", top_k=1)] == files


@needs_usearch
def test_copies_count_as_found_whichever_is_found(tmp_path):
    vectors = np.repeat(clustered(5, 12), 40, axis=0)
    path = write_vectors(tmp_path / "copies.parquet", vectors, FILES)
    assert build_index(path, tmp_path / "index").approximate.recall == 1


def test_without_an_approximate_index(features, tmp_path):
    report = build_index(features, tmp_path / "index", approximate=False)
    assert report.approximate is None
    assert [path.name for path in (tmp_path / "index").iterdir()] == ["index.json"]
    (result,) = search("3.wav", tmp_path / "index", top_k=2)
    assert result.is_exact
    assert len(result.hits) == 2


@needs_usearch
def test_few_rows_and_vectors_of_zeros(tmp_path):
    path = write_vectors(tmp_path / "one.parquet", np.ones((1, 4), np.float32), ["a.wav"])
    assert build_index(path, tmp_path / "index").rows == 1
    (result,) = search("a.wav", tmp_path / "index")
    assert result.hits == []
    vectors = np.zeros((30, 12), np.float32)
    vectors[3:] = clustered(27, 12)
    path = write_vectors(tmp_path / "zeros.parquet", vectors, FILES[:30])
    assert build_index(path, tmp_path / "index").approximate.recall >= 0.99
    (result,) = search("4.wav", tmp_path / "index", top_k=100)
    assert not {"0.wav", "1.wav", "2.wav"} & {hit.file for hit in result.hits}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_other_columns_and_kinds_of_numbers(tmp_path, dtype):
    write_vectors(tmp_path / "clips" / "a" / "x.parquet", VECTORS.astype(dtype), FILES, name="embedding", path=FILES)
    build_index(tmp_path / "clips", tmp_path / "index", vector_column="embedding", file_column="path")
    (result,) = search(VECTORS[7], tmp_path / "index", top_k=1)
    assert (result.hits[0].file, result.hits[0].columns) == ("7.wav", {"file": "7.wav"})


def test_columns_of_others_that_are_no_times_stay_columns(tmp_path):
    write_vectors(tmp_path / "vectors.parquet", VECTORS, FILES, start=["noon"] * 200, end=["night"] * 200)
    build_index(tmp_path / "vectors.parquet", tmp_path / "index")
    hit = search("3.wav", tmp_path / "index", top_k=1)[0].hits[0]
    assert (hit.start, hit.columns) == (None, {"start": "noon", "end": "night"})


@needs_usearch
def test_an_index_is_replaced_and_nothing_else(features, tmp_path):
    build_index(features, tmp_path / "index", approximate=False)
    build_index(features, tmp_path / "index")
    assert SearchIndex(tmp_path / "index").graph is not None
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(ValueError, match="holds something else than an index"):
        build_index(features, tmp_path / "other")
    with pytest.raises(ValueError, match=r"cannot replace|holds something else"):
        build_index(features, features)


def test_features_that_changed_are_an_error(features, tmp_path):
    build_index(features, tmp_path / "index")
    shard = features / "data" / "train-0.parquet"
    os.utime(shard, (0, 0))  # the same content at another time is no change
    search("3.wav", tmp_path / "index")
    other = write_vectors(features / "data" / "train-1.parquet", VECTORS[::-1], FILES)
    with pytest.raises(ValueError, match=r"data/train-1\.parquet is new\. Build the index again: `polyaudio index"):
        search("3.wav", tmp_path / "index")
    other.rename(shard)
    with pytest.raises(ValueError, match="has changed since the index was built"):
        search("3.wav", tmp_path / "index")
    shard.unlink()
    with pytest.raises(ValueError, match=r"data/train-0\.parquet has changed or is gone"):
        search("3.wav", tmp_path / "index")
    build_index(write_vectors(shard, VECTORS[:20], FILES[:20]), tmp_path / "index")
    assert len(search("3.wav", tmp_path / "index", top_k=100)[0].hits) == 19


@needs_usearch
def test_a_damaged_index_is_an_error(features, tmp_path):
    build_index(features, tmp_path / "index")
    graph = tmp_path / "index" / "vectors.usearch"
    whole = graph.read_bytes()
    for damage in (whole[:-100], whole + b"0", b""):
        graph.write_bytes(damage)
        with pytest.raises(ValueError, match=r"vectors\.usearch is damaged or missing"):
            search("3.wav", tmp_path / "index")
    assert search("3.wav", tmp_path / "index", exact=True)[0].is_exact
    (tmp_path / "index" / "index.json").write_text("{")
    with pytest.raises(ValueError, match=r"index\.json is not valid JSON"):
        search("3.wav", tmp_path / "index")


@pytest.mark.parametrize("approximate", [pytest.param(True, marks=needs_usearch), False])
def test_what_cannot_be_indexed_is_an_error(features, tmp_path, approximate):
    build_index, output = partial(polyaudio.build_index, approximate=approximate), tmp_path / "index"
    with pytest.raises(ValueError, match="neither Parquet files nor features"):
        build_index(tmp_path / "nothing", output)
    with pytest.raises(ValueError, match=r"has no column 'embedding', only file, vector\. Name the column \(--vector"):
        build_index(features, output, vector_column="embedding")
    with pytest.raises(ValueError, match="has string instead of lists of numbers"):
        build_index(features, output, vector_column="file")
    broken = VECTORS.copy()
    broken[150, 3] = np.nan
    with pytest.raises(ValueError, match="vector of row 150 has NaN"):
        build_index(write_vectors(tmp_path / "nan.parquet", broken, FILES), output)
    with pytest.raises(ValueError, match="have no rows"):
        build_index(write_vectors(tmp_path / "none.parquet", VECTORS[:0], []), output)
    with pytest.raises(ValueError, match="A row has no 'file'"):
        build_index(write_vectors(tmp_path / "null.parquet", VECTORS, [None, *FILES[1:]]), output)
    shards = tmp_path / "two"
    write_vectors(shards / "a.parquet", VECTORS, FILES, {"weights": "a"})
    write_vectors(shards / "b.parquet", VECTORS, FILES, {"weights": "b"})
    with pytest.raises(ValueError, match="vectors of another model"):
        build_index(shards, output)
    write_vectors(shards / "b.parquet", VECTORS[:, :5], FILES, {"weights": "a"})
    with pytest.raises(ValueError, match="must all have the same number of numbers"):
        build_index(shards, output)
    (tmp_path / "cut.parquet").write_bytes((features / "data" / "train-0.parquet").read_bytes()[:-20])
    with pytest.raises(ValueError, match="not a whole Parquet file"):
        build_index(tmp_path / "cut.parquet", output)
    assert not output.exists()


def test_features_along_time_cannot_be_indexed(tmp_path):
    (tmp_path / "embed.json").write_text(json.dumps({"granularity": "frame"}))
    (tmp_path / "index.jsonl").touch()
    with pytest.raises(ValueError, match=r"granularity 'frame'.*--granularity utterance"):
        build_index(tmp_path, tmp_path.parent / "index")


def test_a_folder_that_is_no_index(tmp_path):
    with pytest.raises(ValueError, match=r"is not an index\. Build one"):
        search("a.wav", tmp_path)
