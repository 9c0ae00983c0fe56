# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Size and start of `polyaudio predict` for an export without torch, beside the model in torch, in one run.

    python benchmarks/lean.py MODEL EXPORT [--rounds 5] [--lean PYTHON]

MODEL is a folder of a classifier, and EXPORT what `polyaudio export MODEL --format onnx --front-end` wrote. The lean
environment is made in a temporary folder, of onnxruntime, numpy, soundfile and polyaudio without its requirements.
Each round starts both commands once, in turn, on the same file of a second. Sizes are those of all installed packages.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from pathlib import Path

import numpy as np
import soundfile


PACKAGES = ("onnxruntime", "numpy", "soundfile")
ROOT = Path(__file__).resolve().parent.parent


def make_environment(folder: Path) -> Path:
    """A lean environment; returns its interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *PACKAGES], check=True)
    hidden = shutil.ignore_patterns(".*", "build", "tests", "*.egg-info")
    source = shutil.copytree(ROOT, folder / "source", ignore=hidden)  # building leaves files where it is done
    subprocess.run([*install, "--no-deps", source], check=True)
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools", "pip"], check=True)
    return python


def size_of_packages(python: Path) -> int:
    """Bytes of the packages of an interpreter."""
    code = "import sysconfig; print(*{sysconfig.get_path('purelib'), sysconfig.get_path('platlib')})"
    folders = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return sum(path.lstat().st_size for folder in folders for path in Path(folder).rglob("*") if path.is_file())


def run(command: list[str | Path]) -> tuple[float, float]:
    """The seconds and the peak memory in MiB of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(map(str, command))}: {errors}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of a classifier")
    parser.add_argument("export", type=Path, help="its export")
    parser.add_argument("--rounds", type=int, default=5, help="that count, after a warm-up (default: %(default)s)")
    parser.add_argument("--lean", type=Path, metavar="PYTHON", help="interpreter of a lean environment that is there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lean = args.lean or make_environment(Path(folder, "lean"))
        clip = Path(folder, "clip.wav")
        soundfile.write(clip, 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
        rivals = {"onnxruntime": (lean, args.export), "torch": (Path(sys.executable), args.model)}
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in rivals}
        for _ in range(args.rounds + 1):
            for name, (python, model) in rivals.items():
                taken[name].append(run([python, "-m", "polyaudio", "predict", clip, "--model", model]))
        print(f"Python {sysconfig.get_python_version()}, {os.cpu_count()} cores, {platform.machine()}\n")
        print("| runtime | packages | model | `predict` of one second, median (range) | peak memory |")
        print("|---|---|---|---|---|")
        for name, (python, model) in rivals.items():
            seconds, memory = zip(*taken[name][1:], strict=True)
            size = sum(path.stat().st_size for path in model.iterdir() if path.is_file())
            print(
                f"| {name} | {size_of_packages(python) / 2**20:.0f} MiB | {size / 2**20:.1f} MiB "
                f"| {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}) "
                f"| {max(memory):.0f} MiB |"
            )
        seconds_of = {name: statistics.median(one for one, _ in runs[1:]) for name, runs in taken.items()}
        print(f"\ntorch takes {seconds_of['torch'] / seconds_of['onnxruntime']:.1f} times as long.")


if __name__ == "__main__":
    main()
