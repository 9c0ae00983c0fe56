# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`search` finds what a plain product of matrices finds, by recording, under a filter, and for audio files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from builders import SAM_AUDIO, SSLAM, TONES, write_tones
from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioModel,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMModel,
    build_index,
    embed,
    embed_collection,
    search,
)
from polyaudio.inference.backends import open_encoder
from polyaudio.modeling.digests import digest_of_model
from polyaudio.scripts.embed import main as embed_command
from vector_files import clustered, needs_usearch, write_vectors


ROWS, SIZE = 300, 16
VECTORS = clustered(ROWS, SIZE)
# Each recording has three windows, which do not follow each other
FILES = [f"clips/{row % 100}.wav" for row in range(ROWS)]
STARTS = [float(row // 100) for row in range(ROWS)]
LABELS = [("dog", "cat", "owl")[row % 100 % 3] for row in range(ROWS)]


def expected_hits(query: np.ndarray, number: int, is_match=lambda row: True) -> list[tuple[str, float]]:
    """The nearest recordings and their starts, one by one."""
    units = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    scores = units @ (query / np.linalg.norm(query))
    found: dict[str, float] = {}
    for row in np.argsort(-scores, kind="stable"):
        if is_match(row):
            found.setdefault(FILES[row], STARTS[row])
    return list(found.items())[:number]


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    """The index of two shards with several row groups each."""
    folder = tmp_path_factory.mktemp("search")
    for number, part in enumerate((slice(0, 170), slice(170, ROWS))):
        write_vectors(
            folder / "features" / "data" / f"train-{number}.parquet",
            VECTORS[part],
            FILES[part],
            start=STARTS[part],
            end=[start + 1 for start in STARTS[part]],
            label=LABELS[part],
        )
    build_index(folder / "features", folder / "index")
    return folder / "index"


@pytest.mark.parametrize("exact", [True, pytest.param(False, marks=needs_usearch)])
def test_the_nearest_recordings_are_found(index, exact):
    queries = [VECTORS[5], VECTORS[250] + 0.1]
    results = search(queries, index, top_k=7, exact=exact)
    assert [(result.query, result.is_exact) for result in results] == [("vector 0", exact), ("vector 1", exact)]
    for query, result in zip(queries, results, strict=True):
        assert [(hit.file, hit.start) for hit in result.hits] == expected_hits(query, 7)
        assert result.hits == sorted(result.hits, key=lambda hit: -hit.score)
    nearest = results[0].hits[0]
    assert (nearest.file, nearest.start, nearest.end, nearest.columns) == ("clips/5.wav", 0.0, 1.0, {"label": "owl"})
    assert nearest.score == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("exact", [True, False])
def test_a_recording_is_searched_with_all_its_vectors_and_does_not_find_itself(index, exact):
    (result,) = search("clips/5.wav", index, top_k=4, exact=exact)
    units = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    scores = (units @ units[5::100].T).max(axis=1)
    best = {f"clips/{recording}.wav": scores[recording::100].max() for recording in range(100) if recording != 5}
    assert [hit.file for hit in result.hits] == sorted(best, key=best.get, reverse=True)[:4]
    assert [hit.score for hit in result.hits] == pytest.approx(sorted(best.values(), reverse=True)[:4], abs=1e-3)


def test_more_hits_than_recordings(index):
    for exact in (True, False):
        (result,) = search("clips/5.wav", index, top_k=1000, exact=exact)
        assert len(result.hits) == 99


def test_a_filter_leaves_out_the_other_rows(index):
    (result,) = search(VECTORS[5], index, top_k=5, where="label = 'cat' and \"start\" >= 1")
    assert result.is_exact
    is_match = lambda row: LABELS[row] == "cat" and STARTS[row] >= 1  # noqa: E731
    assert [(hit.file, hit.start) for hit in result.hits] == expected_hits(VECTORS[5], 5, is_match)
    (result,) = search(VECTORS[5], index, where="label = 'cow'")
    assert result.hits == []


@pytest.mark.parametrize(
    "where", ["colour = 'red'", "label =", "label", "1 = 1) union select 1 --", "label in (select * from 'x.csv')"]
)
def test_a_filter_that_does_not_work_is_an_error(index, where):
    with pytest.raises(ValueError, match=r"does not work: .* on file, start, end, label"):
        search(VECTORS[5], index, where=where)


def test_queries_that_cannot_be_searched_are_errors(index, tmp_path):
    with pytest.raises(ValueError, match=r"clips/x\.wav is neither the name of a recording in the index nor an audio"):
        search(["clips/5.wav", "clips/x.wav"], index)
    with pytest.raises(ValueError, match=r"must have 16 finite numbers.*\(15,\)"):
        search(np.ones(15), index)
    with pytest.raises(ValueError, match="16 finite numbers"):
        search(np.full(16, np.nan), index)
    with pytest.raises(ValueError, match="top_k must be at least 1"):
        search(VECTORS[5], index, top_k=0)
    write_tones(tmp_path / "tones", TONES, 1)
    with pytest.raises(ValueError, match="do not say which model"):
        search(tmp_path / "tones" / "low" / "0.wav", index)


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    return write_tones(tmp_path_factory.mktemp("search") / "tones", TONES, 4, seconds=(2.0, 2.5))


def saved(model, extractor, folder: Path) -> str:
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def sam_audio(tmp_path_factory) -> str:
    torch.manual_seed(0)
    model = SAMAudioModel(SAMAudioConfig(**SAM_AUDIO))
    return saved(model, SAMAudioFeatureExtractor(), tmp_path_factory.mktemp("sam_audio"))


@pytest.fixture(scope="module")
def sslam(tmp_path_factory) -> str:
    torch.manual_seed(0)
    return saved(SSLAMModel(SSLAMConfig(**SSLAM)), SSLAMFeatureExtractor(), tmp_path_factory.mktemp("sslam"))


@pytest.mark.parametrize("arguments", [[], ["--format", "safetensors"], ["--single-file"]])
def test_audio_is_embedded_as_the_features_in_a_folder_were(tones, sam_audio, tmp_path, arguments):
    command = [str(tones), "--model", sam_audio, "--granularity", "utterance", "--window", "0.5", "--workers", "0"]
    assert embed_command([*command, "--output", str(tmp_path / "features"), *arguments]) == 0
    build_index(tmp_path / "features", tmp_path / "index")
    query = tones / "high" / "2.wav"
    (result,) = search(query, tmp_path / "index", top_k=3)
    assert result.query == str(query)
    assert result.hits[0].file == "high/2.wav"
    assert result.hits[0].score == pytest.approx(1, abs=1e-4)


def test_audio_is_embedded_window_by_window_and_at_a_layer(tones, sslam, tmp_path):
    files = sorted(str(path) for path in tones.rglob("*.wav"))
    encoder = open_encoder(sslam, window=0.64, layer=1)
    windows = {
        result.file: np.stack([vector for vector, _ in result.windows])
        for result in encoder.run(files, num_workers=0, description=None)
    }
    settings = {"model": sslam, "weights": digest_of_model(sslam), "granularity": "utterance", "padding": "longest"}
    settings |= {"window": 0.64, "layer": 1, "rows": "window"}
    names = [file for file in files for _ in windows[file]]
    path = tmp_path / "features" / "train-0.parquet"
    write_vectors(path, np.concatenate([windows[file] for file in files]), [f"./{name}" for name in names], settings)
    build_index(path, tmp_path / "index")
    (result,) = search(files[3], tmp_path / "index", exact=True)
    assert (result.hits[0].file, result.hits[0].score) == (f"./{files[3]}", pytest.approx(1, abs=1e-5))
    assert len(result.hits) == len(files)


def test_another_model_than_that_of_the_features_is_refused(tones, sam_audio, sslam, tmp_path):
    vectors = embed(sorted(tones.rglob("*.wav")), sam_audio)
    settings = {"model": "moved", "weights": digest_of_model(sam_audio), "granularity": "utterance"}
    rows = np.stack([one.features for one in vectors])
    write_vectors(tmp_path / "vectors.parquet", rows, [Path(one.file).name for one in vectors], settings)
    build_index(tmp_path / "vectors.parquet", tmp_path / "index")
    query = str(tones / "low" / "1.wav")
    with pytest.raises(ValueError, match=f"{sslam} has other weights or settings than the model that computed"):
        search(query, tmp_path / "index", model=sslam)
    (result,) = search(query, tmp_path / "index", model=sam_audio, top_k=1)
    assert result.hits[0].score == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("rows", "dtype", "layer"), [("recording", "float32", 1), ("window", "float16", "mean")])
def test_collections_that_embed_wrote(tones, sslam, tmp_path, rows, dtype, layer):
    embed_collection(tones, sslam, tmp_path / "features", rows=rows, dtype=dtype, window=0.64, layer=layer)
    report = build_index(tmp_path / "features", tmp_path / "index")
    assert report.rows > 8 if rows == "window" else report.rows == 8
    query = tones / "high" / "2.wav"
    (result,) = search(query, tmp_path / "index", top_k=3)
    assert result.hits[0].file == "high/2.wav"
    assert result.hits[0].score == pytest.approx(1, abs=1e-3)
    assert result.hits[0].end > result.hits[0].start


def test_features_of_another_layer_are_not_mixed(tones, sslam, tmp_path):
    embed_collection(tones, sslam, tmp_path / "features", layer=1)
    with pytest.raises(ValueError, match="layer=1 instead of None"):
        embed_collection(tones, sslam, tmp_path / "features")
    command = [str(tones), "--model", sslam, "--granularity", "utterance", "--workers", "0"]
    command += ["--output", str(tmp_path / "arrays")]
    assert embed_command([*command, "--layer", "mean"]) == 0
    assert embed_command([*command, "--layer", "-1"]) == 2
    assert embed_command([*command, "--layer", "mean"]) == 0
