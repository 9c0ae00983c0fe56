# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Baselines for ragas without a network: pitch histograms and time-delayed melody surfaces, with nearest neighbours.

The surfaces are those of Gulati et al., "Time-delayed melody surfaces for raga recognition", ISMIR 2016.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import datasets
import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from ..configuration.configuration_sam_audio import TONIC_FRONTENDS
from ..data.given import extractor_arguments, waveforms_of
from ..data.windows import AudioClips
from ..feature_extraction.feature_extraction_sam_audio import SAMAudioFeatureExtractor
from ..feature_extraction.tonic_pitch import NUM_EXTRAS
from .probe import run_probe
from .probe_kinds import FittedProbe, inner_splits
from .results import Evaluation


MELODY_BASELINES = ("tdms", "pitch_histogram")

# Cells of 10 cents, the delay in seconds, the power and the width of the smoothing in cells, not tuned on anything
CELLS, DELAY, POWER, SMOOTHING = 120, 0.3, 0.75, 2.0
NEIGHBOURS = (1, 3, 5)
_BATCH_SIZE = 8
_VOICED = 0.5
# A share that stands for 0 in logarithms
_LEAST = 1e-7


def default_baselines(feature_extractor: Any, *, one_label: bool) -> tuple[str, ...]:
    """The baselines that belong into a report: those of the melody for features relative to the tonic."""
    is_of_melody = getattr(feature_extractor, "frontend", None) in TONIC_FRONTENDS
    return MELODY_BASELINES if is_of_melody and one_label else ()


def melody_baselines(
    names: Sequence[str],
    clips: datasets.Dataset,
    labels: np.ndarray,
    groups: np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    id2label: Mapping[int, str],
    seed: int = 0,
    num_workers: int = 0,
) -> dict[str, Evaluation]:
    """
    The scores of baselines on the clips that folds hold out, and on their recordings.

    The melody and the tonic are those of the front end `tonic_pitch`, or what is given with the clips. A recording is
    compared by the melody of all its clips. The number of neighbours is chosen within each training part.

    Args:
        names: of `MELODY_BASELINES`.
        clips: columns `audio`, `label` and `recording`.
        labels: `(clips,)`, class indices.
        groups: `(clips,)`, what folds keep together.
        folds: the training and the test clips of each fold.
        id2label: the name of each class.
        seed: seed of the choice.
        num_workers: number of processes that read clips.
    """
    melodies = list(melody_cells(clips, num_workers=num_workers))
    recordings = np.asarray(clips["recording"][:])
    return {
        name: score_melodies(name, melodies, labels, groups, recordings, folds, id2label=id2label, seed=seed)
        for name in names
    }


def score_melodies(
    name: str,
    melodies: Sequence[np.ndarray],
    labels: np.ndarray,
    groups: np.ndarray,
    recordings: np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    id2label: Mapping[int, str],
    seed: int = 0,
) -> Evaluation:
    """
    The scores of one baseline.

    Args:
        name: one of `MELODY_BASELINES`.
        melodies: of each clip, as [`melody_cells`] yields them.
        recordings: `(clips,)`, the recording of each clip.
        labels, groups, folds, id2label, seed: as for [`melody_baselines`].
    """
    counts = np.stack([_COUNTS[name](cells) for cells in melodies])
    of_clips = _probe(counts, labels, groups, folds, id2label, recordings, seed)
    pairs = [f"{label} {one}" for label, one in zip(labels, recordings, strict=True)]
    _, first, member = np.unique(pairs, return_index=True, return_inverse=True)
    summed = np.zeros((len(first), *counts.shape[1:]), dtype=np.float32)
    np.add.at(summed, member, counts)
    parts = [(np.unique(member[train]), np.unique(member[test])) for train, test in folds]
    whole = _probe(summed, labels[first], groups[first], parts, id2label, recordings[first], seed)
    return replace(of_clips, recordings=whole.clips)


def melody_cells(clips: datasets.Dataset, *, num_workers: int = 0) -> Iterator[np.ndarray]:
    """
    The melody of each clip as cells of 10 cents above the tonic, octaves folded.

    Yields:
        `(frames,)`, int64, every 20 ms; -1 where there is no melody.
    """
    extractor = SAMAudioFeatureExtractor("tonic_pitch", tonic_estimator="multipitch")
    loader = torch.utils.data.DataLoader(
        AudioClips(clips, extractor.sampling_rate),
        batch_size=_BATCH_SIZE,
        collate_fn=functools.partial(_cells_of, extractor),
        num_workers=num_workers,
    )
    for batch in datasets.utils.tqdm(loader, desc="Tracking melodies", unit="batch", disable=None):
        yield from batch


def _cells_of(extractor: SAMAudioFeatureExtractor, items: list[dict[str, Any]]) -> list[np.ndarray]:
    features = extractor(
        waveforms_of(items),
        sampling_rate=extractor.sampling_rate,
        return_attention_mask=True,
        return_tensors="pt",
        **extractor_arguments(items),
    )
    values = features["input_values"].double().numpy()
    classes, voicing = values[..., :-NUM_EXTRAS], values[..., -NUM_EXTRAS]
    # The pitch between classes, from the strongest one and its neighbours
    best = classes.argmax(2)
    near = (best[..., None] + np.arange(-1, 2)) % classes.shape[2]
    weights = np.take_along_axis(classes, near, 2).clip(min=1e-9)
    place = best + (weights * np.arange(-1, 2)).sum(2) / weights.sum(2)
    cells = np.round(place * CELLS / classes.shape[2]).astype(np.int64) % CELLS
    cells[voicing < _VOICED] = -1
    frames = features["attention_mask"].sum(1).tolist()
    return [own[:number] for own, number in zip(cells, frames, strict=True)]


def histogram_counts(cells: np.ndarray) -> np.ndarray:
    """How often the melody is in each cell, `(CELLS,)`, float32."""
    return np.bincount(cells[cells >= 0], minlength=CELLS).astype(np.float32)


def surface_counts(cells: np.ndarray, frame_seconds: float = 0.02) -> np.ndarray:
    """How often the melody goes from a cell to another within the delay, `(CELLS, CELLS)`, float32."""
    delay = round(DELAY / frame_seconds)
    before, after = cells[:-delay], cells[delay:]
    both = (before >= 0) & (after >= 0)
    pairs = after[both] * CELLS + before[both]
    return np.bincount(pairs, minlength=CELLS * CELLS).reshape(CELLS, CELLS).astype(np.float32)


_COUNTS = {"tdms": surface_counts, "pitch_histogram": histogram_counts}


def smoothed(counts: np.ndarray) -> np.ndarray:
    """Counts `(items, CELLS)` or `(items, CELLS, CELLS)` as shares `(items, cells)` that add up to 1, float32."""
    if counts.ndim == 3:
        counts = (counts / counts.max(axis=(1, 2), keepdims=True).clip(min=1)) ** POWER
    shares = gaussian_filter(counts, (0, *[SMOOTHING] * (counts.ndim - 1)), mode="wrap")
    shares = shares.reshape(len(counts), -1) + _LEAST
    return shares / shares.sum(axis=1, keepdims=True)


def divergences(shares: np.ndarray) -> np.ndarray:
    """The symmetric Kullback-Leibler divergence of each pair, `(items, items)`."""
    logs = np.log(shares)
    own = (shares * logs).sum(axis=1)
    cross = shares @ logs.T
    return (own[:, None] + own - cross - cross.T).clip(min=0)


def _probe(
    counts: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    folds: Sequence[Any],
    id2label: Mapping[int, str],
    recordings: np.ndarray,
    seed: int,
) -> Evaluation:
    """Nearest neighbours by the divergence. The probe's features are the numbers of the items."""
    fit = functools.partial(_fit_neighbours, divergences(smoothed(counts)))
    items = np.arange(len(counts))
    result = run_probe(items, labels, groups, folds, fit, id2label=id2label, recordings=recordings, seed=seed)
    return result.scores.held_out


def _fit_neighbours(
    distances: np.ndarray, items: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, num_classes: int, seed: int
) -> FittedProbe:
    one_hot = np.eye(num_classes)[labels]

    def votes(train: np.ndarray, others: np.ndarray, k: int) -> np.ndarray:
        nearest = np.argsort(distances[np.ix_(others, items[train])], axis=1, kind="stable")[:, :k]
        shares = np.linspace(1.1, 1.0, nearest.shape[1])  # nearer ones count slightly more, which decides ties
        return (one_hot[train][nearest] * shares[:, None]).sum(1) / shares.sum()

    def accuracy(k: int) -> float:
        splits = inner_splits(labels, groups, seed)
        return float(np.mean([np.mean(votes(own, items[rest], k).argmax(1) == labels[rest]) for own, rest in splits]))

    chosen = max(NEIGHBOURS, key=accuracy)
    return FittedProbe(lambda others: votes(np.arange(len(items)), others, chosen), {"k": chosen})
