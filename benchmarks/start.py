# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""How long `polyaudio predict` takes to start, beside the import of the libraries that it runs on.

    python benchmarks/start.py [--rounds 5]

Each round starts every program once, in turn: `polyaudio predict` of a second of noise with a tiny classifier, the
import of torch and transformers, whose modules are lazy, and the import of what every model of transformers is derived
from. The times are those of the processor, which other programs move less than those of the clock.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from polyaudio import SSLAMConfig, SSLAMFeatureExtractor, SSLAMForAudioClassification


RATE = 16_000
LIBRARIES = "import transformers, torch"


def processor_seconds(command: list[str]) -> float:
    """The seconds of the processor that a program takes, in user and system mode."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}")
    return usage.ru_utime + usage.ru_stime


def programs(folder: Path) -> dict[str, list[str]]:
    """The arguments of each program, whose files are written to a folder."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    SSLAMForAudioClassification(SSLAMConfig(num_labels=3, **sizes)).save_pretrained(folder / "model")
    SSLAMFeatureExtractor().save_pretrained(folder / "model")
    soundfile.write(folder / "clip.wav", 0.1 * np.random.default_rng(0).standard_normal(RATE), RATE)
    command = ["-m", "polyaudio", "predict", str(folder / "clip.wav"), "--model", str(folder / "model")]
    return {
        LIBRARIES: [sys.executable, "-c", LIBRARIES],
        "from transformers import PreTrainedModel": [sys.executable, "-c", "from transformers import PreTrainedModel"],
        "polyaudio predict": [sys.executable, *command],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="that count, after a warm-up (default: %(default)s)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        commands = programs(Path(folder))
        taken = [{name: processor_seconds(command) for name, command in commands.items()} for _ in range(rounds + 1)]
    print("| | s of the processor, median (range) | ratio, median of the rounds |\n|---|---|---|")
    for name in commands:
        seconds = [one[name] for one in taken[1:]]
        ratio = statistics.median(one[name] / one[LIBRARIES] for one in taken[1:])
        span = f"{min(seconds):.2f} to {max(seconds):.2f}"
        print(f"| `{name}` | {statistics.median(seconds):.2f} ({span}) | {ratio:.2f} |")


if __name__ == "__main__":
    main()
