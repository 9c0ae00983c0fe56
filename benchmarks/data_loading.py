# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Data loading: whether two workers, which decode, resample and extract, keep fine-tuning fed."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import soundfile
import torch
from models import RATE, SAM_AUDIO, SSLAM, clip_seconds, encoder_size, sam_audio_size, training_step
from timing import Settings, seconds, synchronize
from transformers import PreTrainedModel, SequenceFeatureExtractor

from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
)
from polyaudio.data.collators import AudioCollator
from polyaudio.data.targets import Targets
from polyaudio.data.windows import AudioClips


WORKERS, CLASSES, FILE_RATE = 2, 8, 44_100


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Both classifiers, fed with random parts of FLAC files of three times the length, which have to be resampled."""
    on_cpu = settings.device.type == "cpu"
    sslam = SSLAMForAudioClassification(SSLAMConfig(num_labels=CLASSES, **encoder_size(settings)))
    sam_audio = SAMAudioForAudioClassification(SAMAudioConfig(num_labels=CLASSES, **sam_audio_size(settings)))
    for name, model, feature_extractor, batch_size in (
        (SSLAM, sslam, SSLAMFeatureExtractor(), 2 if on_cpu else 16),
        (SAM_AUDIO, sam_audio, SAMAudioFeatureExtractor(), 32),
    ):
        with tempfile.TemporaryDirectory() as folder:
            yield loading(name, model, feature_extractor, 2 if settings.quick else batch_size, Path(folder), settings)


def loading(
    name: str,
    model: PreTrainedModel,
    feature_extractor: SequenceFeatureExtractor,
    batch_size: int,
    folder: Path,
    settings: Settings,
) -> dict[str, Any]:
    """
    Fine-tune for some steps.

    Args:
        folder: where the audio is written.

    Returns:
        `title`, `batches` (those that count, after as many as the workers may hold ready), `waiting` (the share of
        time in which the model waits for data), and medians in seconds: `wait` and `step` of a batch, and `step_alone`
        without workers beside it.
    """
    device = settings.device
    warm_up, counted = 2 * WORKERS, 2 if settings.quick else 8
    # More than the steps take: the workers must not run out of work before the last of them
    clips = rows_of_noise(folder, (warm_up + counted + 2 * WORKERS) * batch_size, 3 * clip_seconds(settings))
    loader = torch.utils.data.DataLoader(
        AudioClips(clips, RATE, crop_seconds=clip_seconds(settings)),
        batch_size=batch_size,
        num_workers=WORKERS,
        pin_memory=device.type != "cpu",
        collate_fn=AudioCollator(feature_extractor, Targets(clips.features["label"])),
    )
    model.to(device).train()
    batch = {}
    step = training_step(model, lambda: model(**batch).loss, device)
    waits, steps = [], []
    batches = iter(loader)
    for _ in range(warm_up + counted):
        start = time.perf_counter()
        batch.update({key: value.to(device, non_blocking=True) for key, value in next(batches).items()})
        fetched = time.perf_counter()
        step()
        synchronize(device)
        waits.append(fetched - start)
        steps.append(time.perf_counter() - fetched)
    del batches  # and with it the workers
    waits, steps = waits[warm_up:], steps[warm_up:]
    alone = [seconds(step, device) for _ in range(settings.rounds)]
    what = f"{batch_size} x {clip_seconds(settings)} s, {WORKERS} workers"
    return {
        "title": f"Data loading while {name} is fine-tuned, {what}",
        "batches": counted,
        "waiting": sum(waits) / (sum(waits) + sum(steps)),
        "wait": statistics.median(waits),
        "step": statistics.median(steps),
        "step_alone": statistics.median(alone),
    }


def rows_of_noise(folder: Path, count: int, length: int) -> datasets.Dataset:
    """So many rows of one file of `length` seconds, which is read and decoded for each."""
    path = folder / "noise.flac"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(length * FILE_RATE), FILE_RATE)
    labels = datasets.ClassLabel(names=[f"class {index}" for index in range(CLASSES)])
    features = datasets.Features({"audio": datasets.Audio(decode=False), "label": labels})
    rows = {
        "audio": [{"bytes": None, "path": str(path)}] * count,
        "label": [index % CLASSES for index in range(count)],
    }
    # Not `Dataset.from_dict`, which asks for torchcodec as soon as there is a column of audio
    return datasets.Dataset(pa.Table.from_pydict(rows, schema=features.arrow_schema))
