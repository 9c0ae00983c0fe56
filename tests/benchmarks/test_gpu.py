"""`make bench-gpu`: a quick run on the CPU goes through everything, and what is wrong is seen."""

import json
import os
import subprocess

import pytest

from prepared_python import python


OTHER_IMPLEMENTATION = """
import torch

def make_step(batch_size, clone_batch, stage, frames):
    matrix = torch.ones(batch_size * clone_batch * frames, 8)
    return lambda: matrix.T @ matrix
"""


@pytest.fixture(scope="module")
def quick_run(project_root, tmp_path_factory):
    """The file and the output of a quick run."""
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "other.py").write_text(OTHER_IMPLEMENTATION)
    command = [project_root / "benchmarks" / "gpu.py", "--quick", "--against", folder / "other.py"]
    command = [python(), *map(str, [*command, "--output", folder / "gpu.json"])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return json.loads((folder / "gpu.json").read_text()), folder / "gpu.json", done.stdout


@pytest.mark.slow
def test_a_quick_run_checks_and_measures_everything(quick_run):
    bench, _, _ = quick_run
    assert (bench["quick"], bench["left_out"]) == (True, [])
    assert {"date", "machine", "seconds"} <= bench.keys()
    by_name = {}
    for result in bench["results"]:
        by_name.setdefault(result["benchmark"], []).append(result)
    assert by_name.keys() == {"correctness", "extraction", "loading", "steps"}

    (correctness,) = by_name["correctness"]
    passed = {(check["title"], check["precision"]): check["passed"] for check in correctness["checks"]}
    assert {passed for (_, precision), passed in passed.items() if precision == "TF32"} == {None}
    others = {key for key, value in passed.items() if value is None and key[1] != "TF32"}
    assert {title.rpartition(", ")[2] for title, _ in others} == {"flash_attention_2 beside eager"}
    assert ("losses of a resumed run", "float32") in passed
    assert ("gradients of two processes", "float32") in passed

    titles = [result["title"].split(",")[:2] for result in by_name["steps"]]
    assert [" ".join(title) for title in titles][:2] == ["Pre-training  stage 1", "Pre-training  stage 2"]
    assert [title[0] for title in titles] == ["Pre-training", "Pre-training", "Fine-tuning", "Inference"]
    for result in by_name["steps"]:
        names = [row["name"] for row in result["rows"]]
        assert any(name.endswith(", compiled") for name in names)
        assert ("other.py, float32" in names) == (result["title"].startswith("Pre-training"))
        for row in result["rows"]:
            assert row["clips_per_second"] == pytest.approx(2 / row["seconds"]["median"])
            peak = result["peaks"][row["precision"]]
            assert row["share"] == pytest.approx(row["gflop"] / row["seconds"]["median"] / peak)


@pytest.mark.slow
def test_the_tables_are_made_again_from_the_file(quick_run, project_root):
    _, file, printed = quick_run
    command = [python(), str(project_root / "benchmarks" / "table.py"), str(file)]
    tables = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for block in tables.strip().split("\n\n"):
        assert block in printed


@pytest.mark.slow
def test_without_a_gpu_it_says_what_to_do(project_root):
    command = [python(), str(project_root / "benchmarks" / "gpu.py")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 2
    assert "torch sees no GPU. --quick shows on the CPU that everything runs." in done.stderr
