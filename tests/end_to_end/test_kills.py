# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A few of the kills and full disks of benchmarks/kills.py: nothing is half-written, and nothing is lost."""

import os
import subprocess

import pytest

from prepared_python import python


@pytest.mark.slow
@pytest.mark.parametrize(
    "commands",
    [
        ["train", "pretrain"],
        ["convert", "embed, one file", "embed, parquet", "evaluate", "dataset build", "dataset mix"],
    ],
)
def test_kills_and_full_disks(project_root, commands):
    program = project_root / "benchmarks" / "kills.py"
    command = [python(), program, "--kills", "5", "--full-disks", str(len(commands)), "--commands", *commands]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert ", 0 problems" in done.stdout.splitlines()[-1]
