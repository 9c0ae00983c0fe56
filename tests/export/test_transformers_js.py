# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The exported folder in transformers.js: its pipeline gives the scores of the pipeline in Python."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import pipeline

from browser import node_package, skip_or_fail
from builders import RATE, SAM_AUDIO, SSLAM
from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
)
from polyaudio.export.web import export_web


pytest.importorskip("transformers", minversion="5.23", reason="exports need it, and so Python 3.11")

pytestmark = pytest.mark.slow

LABELS = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}, "initializer_range": 0.3}
PROGRAM = """
import { env, pipeline } from "@huggingface/transformers";
import { readFileSync, writeFileSync } from "node:fs";
const { models, model, dtype, clips } = JSON.parse(readFileSync(process.argv[2]));
Object.assign(env, { allowRemoteModels: false, localModelPath: models });
const classify = await pipeline("audio-classification", model, { dtype });
const results = [];
for (const clip of clips) results.push(await classify(Float32Array.from(clip), { top_k: 9 }));
writeFileSync(process.argv[3], JSON.stringify(results));
"""


def sslam():
    config = SSLAMConfig(**SSLAM, **LABELS, window_frames=256)
    return SSLAMForAudioClassification(config), SSLAMFeatureExtractor(max_length=256)


def sam_audio(frontend: str):
    config = SAMAudioConfig(**SAM_AUDIO, **LABELS, frontend=frontend)
    return SAMAudioForAudioClassification(config), SAMAudioFeatureExtractor(frontend)


@pytest.mark.parametrize(("kind", "dtype"), [("sslam", "fp32"), ("waveform", "fp32"), ("log_mel", "q8")])
def test_the_pipelines_give_the_same_scores(tmp_path, kind, dtype):
    packages = node_package("@huggingface/transformers").parents[1]
    node = shutil.which("node")
    if node is None:
        skip_or_fail("Node.js is not installed: apt-get install nodejs")
    torch.manual_seed(0)
    model, feature_extractor = sslam() if kind == "sslam" else sam_audio(kind)
    export_web(
        model.eval(),
        tmp_path / "models" / "mine",
        feature_extractor=feature_extractor,
        precision="float32" if dtype == "fp32" else "int8-dynamic",
        quantized=False,
        limit=None if dtype == "fp32" else 1.0,
        web_runtime=node_package("onnxruntime-web"),
    )
    rng = np.random.default_rng(0)
    clips = [rng.uniform(-0.5, 0.5, samples).astype(np.float32) for samples in (3000, RATE, 60_000)]
    settings = {"models": f"{tmp_path}/models/", "model": "mine", "dtype": dtype}
    found = run_node(node, packages, tmp_path, settings | {"clips": [clip.tolist() for clip in clips]})
    classify = pipeline("audio-classification", model, feature_extractor=feature_extractor)
    for clip, result in zip(clips, found, strict=True):
        expected = {one["label"]: one["score"] for one in classify({"array": clip, "sampling_rate": RATE})}
        tolerance = 1e-3 if dtype == "fp32" else 0.1
        assert {one["label"]: one["score"] for one in result} == pytest.approx(expected, abs=tolerance)


def run_node(node: str, packages: Path, folder: Path, settings: dict) -> list:
    """Run the program where node finds the packages."""
    (folder / "node_modules").symlink_to(packages)
    (folder / "program.mjs").write_text(PROGRAM)
    (folder / "settings.json").write_text(json.dumps(settings))
    command = [node, "program.mjs", "settings.json", "results.json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "results.json").read_text())
