"""`make bench`: it runs, its file holds what the tables are made of. What it measures is no matter of a test."""

import json
import subprocess

import pytest

from prepared_python import python
from vector_files import needs_usearch


pytestmark = pytest.mark.slow

OTHER_IMPLEMENTATION = """
import torch

def make_step(batch_size, clone_batch, stage, frames):
    matrix = torch.ones(batch_size * clone_batch * frames, 8)
    return lambda: matrix.T @ matrix
"""
RIVALS = {
    "extraction": {
        "SSLAMFeatureExtractor",
        "ASTFeatureExtractor",
        "SAMAudioFeatureExtractor, tonic_chroma",
        "SAMAudioFeatureExtractor, tonic_pitch",
    },
    "forward": {"SSLAM", "SSLAM, eager attention", "SAMAudio", "SAMAudio, eager attention", "Wav2Vec2"},
    "training": {"SSLAM", "SAMAudio", "AST, as published", "Wav2Vec2"},
    "pretraining": {"float32", "float32, activation checkpointing", "bfloat16 by autocast", "other.py"},
}


def run(*command) -> str:
    done = subprocess.run([python(), *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def quick_run(project_root, tmp_path_factory):
    """The file and the output of a quick run of all benchmarks on the CPU."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "other.py").write_text(OTHER_IMPLEMENTATION)
    command = [project_root / "benchmarks" / "run.py", "--quick", "--devices", "cpu", "--threads", "1"]
    printed = run(*command, "--against", folder / "other.py", "--output", folder / "bench.json")
    return folder / "bench.json", printed


def test_a_quick_run_measures_everything(quick_run):
    bench = json.loads(quick_run[0].read_text())
    assert bench["quick"] is True
    assert bench["machine"]["threads"] == 1
    assert {"devices", "cores", "python", "torch", "torchaudio", "transformers"} <= bench["machine"].keys()
    names = {}
    for result in bench["results"]:
        assert result["device"] == "cpu"
        if result["benchmark"] == "loading":
            assert 0 < result["waiting"] < 1
            assert min(result["wait"], result["step"], result["step_alone"]) > 0
            names.setdefault("loading", set()).add(result["title"].split()[3])
            continue
        names.setdefault(result["benchmark"], set()).update(rival["name"] for rival in result["rivals"])
        for rival in result["rivals"]:
            assert 0 < rival["seconds"]["min"] <= rival["seconds"]["median"] <= rival["seconds"]["max"]
            assert 0 <= rival["products"] <= 1
            for reference, ratio in rival["ratios"].items():
                [other] = [other for other in result["rivals"] if other["name"] == reference]
                assert ratio["median"] == rival["seconds"]["median"] / other["seconds"]["median"]  # of one round
    assert names.pop("loading") == {"SSLAM", "SAMAudio"}
    assert names.keys() == RIVALS.keys()
    for benchmark, rivals in RIVALS.items():
        assert rivals <= names[benchmark]


def test_work_is_counted_with_attention(quick_run):
    """A fused kernel for attention does the work of eager attention, and a product of matrices is known exactly."""
    forwards = [one for one in json.loads(quick_run[0].read_text())["results"] if one["benchmark"] == "forward"]
    gflop = {rival["name"]: rival["gflop"] for rival in forwards[0]["rivals"]}
    assert gflop["SSLAM"] == gflop["SSLAM, eager attention"] > 0
    assert gflop["SAMAudio"] == gflop["SAMAudio, eager attention"] > 0
    [scale] = [value for name, value in gflop.items() if name.startswith("for scale")]
    assert scale == 2 * 128**3 / 1e9


def test_memory_is_that_of_a_process_with_torch_in_it(quick_run):
    """Measured in a process of its own: more than 100 MiB, less than a model of base size in training takes."""
    results = json.loads(quick_run[0].read_text())["results"]
    peaks = [rival["peak_memory"] for one in results for rival in one.get("rivals", ()) if rival["peak_memory"]]
    assert len(peaks) == 1
    assert 0.1 < peaks[0] < 2.5


def test_the_tables_are_made_again_from_the_file(quick_run, project_root):
    file, printed = quick_run
    tables = run(project_root / "benchmarks" / "table.py", file)
    bench = json.loads(file.read_text())
    blocks = tables.strip().split("\n\n")
    assert "1 threads" in blocks[0]
    assert f"torch {bench['machine']['torch']}" in blocks[0]
    titles, bodies = blocks[1::2], blocks[2::2]
    assert titles == [f"**{result['title']}** (cpu)" for result in bench["results"]]
    for result, body in zip(bench["results"], bodies, strict=True):
        assert body in printed
        header, rule, *rows = body.splitlines()
        assert {line.count("|") for line in (header, rule, *rows)} == {header.count("|")}
        assert [row.split(" | ")[0] for row in rows] == [f"| {one['name']}" for one in result.get("rivals", ())] or (
            result["benchmark"] == "loading" and len(rows) == 1
        )


@needs_usearch
def test_both_kinds_of_search_are_measured(project_root):
    printed = run(
        project_root / "benchmarks" / "search.py", "--rows", "1000", "--size", "16", "--queries", "5", "--dedupe"
    )
    for name in ("exact", "approximate", "duplicates:", "duplicates-exact:"):
        assert f"\n{name}" in printed
