# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Time of annotating a long recording, beside a plain loop of `pipeline` calls over its windows, in one run.

    python benchmarks/timelines.py [--hours 3] [--sslam-minutes 4]

Random weights, the sizes of the published models, noise as sound. The loop reads a window, calls the pipeline
"audio-classification" with it, and goes on with the next one, for the same windows. It runs on a part of the recording
and is scaled up. The share of the model is the time of its forward passes.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from timing import machine
from transformers import pipeline

import polyaudio


RATE = 16_000


def write_noise(path: Path, seconds: float) -> str:
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for start in range(0, round(seconds), 60):
            file.write((0.1 * rng.standard_normal(round(min(60, seconds - start) * RATE))).astype(np.float32))
    return str(path)


def measure(name: str, model, extractor, seconds: float, part: float, folder: Path) -> None:
    """Print a row of the table: `part` is the share of the recording that the loop reads."""
    recording = write_noise(folder / f"{name}.wav", seconds)
    annotator = polyaudio.Annotator(model, extractor)
    forward, in_model = model.forward, 0.0

    def timed(*args, **kwargs):
        nonlocal in_model
        start = time.perf_counter()
        outputs = forward(*args, **kwargs)
        in_model += time.perf_counter() - start
        return outputs

    model.forward = timed
    start = time.perf_counter()
    (annotation,) = annotator.run([recording])
    whole = time.perf_counter() - start
    model.forward = forward
    assert annotation.error is None

    layout = annotator.timeline.layout
    classify = pipeline("audio-classification", model=model, feature_extractor=extractor)
    windows = range(0, round(part * seconds * RATE) - layout.size, layout.step)
    start = time.perf_counter()
    for first in windows:
        samples, _ = soundfile.read(recording, start=first, frames=layout.size, dtype="float32")
        classify(samples)
    loop = (time.perf_counter() - start) / len(windows) * (seconds * RATE / layout.step)
    share = in_model / whole
    print(
        f"| {name} | {seconds / 60:.0f} min | {layout.length / RATE:.2f} s, {layout.step / RATE:.2f} s "
        f"| {whole:.1f} s | {share:.0%} | {loop:.1f} s | {loop / whole:.2f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=3.0, help="length of the recording for SAMAudio (default: 3)")
    parser.add_argument("--sslam-minutes", type=float, default=4.0, help="the same for SSLAM base (default: 4)")
    args = parser.parse_args()
    print(machine([torch.device("cpu")]))
    print("| model | recording | window, hop | annotate | in the model | loop of pipelines | loop / annotate |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        sam_audio = polyaudio.SAMAudioForAudioClassification(polyaudio.SAMAudioConfig(num_labels=8)).eval()
        extractor = polyaudio.SAMAudioFeatureExtractor()
        measure("SAMAudio", sam_audio, extractor, args.hours * 3600, 0.1, Path(folder))
        sslam = polyaudio.SSLAMForAudioClassification(polyaudio.SSLAMConfig(num_labels=527)).eval()
        measure("SSLAM base", sslam, polyaudio.SSLAMFeatureExtractor(), args.sslam_minutes * 60, 0.5, Path(folder))


if __name__ == "__main__":
    main()
