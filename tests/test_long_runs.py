"""Small versions of what benchmarks/long_runs.py measures, and two runs of one seed side by side."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

import polyaudio


# Runs a command so that every warning and every message of ours at that level can be told from what others print.
LOUD = """
import logging, runpy, sys, warnings

warnings.simplefilter("always")
handler = logging.StreamHandler(sys.stderr)
handler.setFormatter(logging.Formatter("LOGGED %(name)s %(message)s"))
handler.setLevel(logging.WARNING)
logging.getLogger("polyaudio").addHandler(handler)
sys.argv = ["polyaudio", *sys.argv[1:]]
runpy.run_module("polyaudio", run_name="__main__", alter_sys=True)
"""
PACKAGE = str(Path(polyaudio.__file__).resolve().parent) + os.sep


def own_warnings(text: str) -> list[str]:
    """Lines that tell of a warning in our files or from our loggers."""
    return [
        line
        for line in text.splitlines()
        if line.startswith("LOGGED")
        or (line.startswith(PACKAGE) and "site-packages" not in line and "Warning:" in line)
    ]


@pytest.fixture(scope="module")
def long_runs(project_root) -> ModuleType:
    spec = importlib.util.spec_from_file_location("long_runs", project_root / "benchmarks" / "long_runs.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["long_runs"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def clips(long_runs, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    long_runs.write_clips(folder, 240, seconds=0.6)
    return folder


@pytest.fixture(scope="module")
def trained(long_runs, clips, tmp_path_factory):
    """A training run of 300 steps, 7 epochs, and what was seen of it from outside."""
    output = tmp_path_factory.mktemp("trained")
    command = long_runs.train_command(clips, output, 300)
    return output, long_runs.watch(command, output, "checkpoint-*", every=0.02)


def test_training_holds_on_to_nothing(trained):
    _, samples = trained
    training = np.array([sample for sample in samples if sample.workers])  # the plots at the end take memory, too
    early, late = np.array_split(training, 2)
    assert late[:, 3].max() <= 4  # those of an epoch, and those of its evaluation
    # Workers that start or end have files open, or closed, for a moment. One an epoch would be three or four more.
    assert np.median(late[:, 2]) <= np.median(early[:, 2]) + 1
    # The graphs of 150 steps would be more.
    assert late[:, 1].max() - early[:, 1].max() < 10 * 2**20


def test_a_seed_decides_and_our_code_warns_of_nothing(trained, long_runs, clips, tmp_path):
    command = long_runs.train_command(clips, tmp_path, 300)
    command = [sys.executable, "-c", LOUD, *command[command.index("train") :]]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert own_warnings(result.stderr) == []
    weights, again = load_file(trained[0] / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert weights.keys() == again.keys()
    for name, value in weights.items():
        assert torch.equal(value, again[name]), name


def test_own_warnings_are_found(tmp_path):
    code = "import warnings; from polyaudio.data import audio; warnings.warn_explicit('x', UserWarning, {}, 1)"
    code = code.format("audio.__file__")
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    assert len(own_warnings(text)) == 1
    call = [sys.executable, "-c", LOUD.replace("runpy.run_module", "logging.getLogger('polyaudio.x').warning('y') #")]
    assert own_warnings(subprocess.run(call, capture_output=True, text=True, check=True).stderr) == [
        "LOGGED polyaudio.x y"
    ]


EMBED_TWICE = """
import gc, resource, sys
import psutil
from polyaudio.scripts.embed import main

process = psutil.Process()
few, many, model, output, workers = sys.argv[1:]
seen = []
for number, folder in enumerate((few, few, many)):
    target = f"{output}/{number}"
    flags = ["--granularity", "utterance", "--batch-size", "4", "--workers", workers]
    assert main([folder, "--model", model, "--output", target, *flags]) == 0
    gc.collect()
    seen.append((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, process.num_fds(), len(process.children())))
for peak, open_files, workers in seen:
    print(peak, open_files, workers)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="reads the peak of memory as Unix tells it")
@pytest.mark.parametrize("workers", ["0", "2"])
def test_embedding_holds_on_to_nothing(workers, trained, long_runs, tmp_path):
    """The peak of memory for 200 files is that for 20: their sound alone is 50 MB."""
    few, many = tmp_path / "few", tmp_path / "many"
    long_runs.write_clips(few, 20, seconds=4.0)
    long_runs.write_clips(many, 200, seconds=4.0)
    command = [sys.executable, "-c", EMBED_TWICE, few, many, trained[0], tmp_path / "features", workers]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    rows = [list(map(int, line.split())) for line in result.stdout.splitlines() if line[:1].isdigit()]
    (_, _, _), (peak, open_files, _), (last_peak, last_open_files, last_workers) = rows
    unit = 1024 if sys.platform != "darwin" else 1
    assert (last_peak - peak) * unit < 25 * 2**20
    assert last_open_files <= open_files
    assert last_workers == 0


def test_no_process_is_left_behind(trained, long_runs):
    """Workers end with the command that started them."""
    output, _ = trained
    left = [process for process in psutil.process_iter(["cmdline"]) if str(output) in (process.info["cmdline"] or [])]
    assert left == []
