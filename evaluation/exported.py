# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Measures an exported classifier on a dataset, without torch."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
from datasets import Dataset, DatasetDict

from ..data.audio import audio_info
from ..data.events import Event, events_to_frames, shifted_events
from ..data.labels import FRAMES, MULTI_LABEL, task_of
from ..data.readable import audio_file, drop_unreadable, report_bad_clips
from ..data.recordings import Recording
from ..inference.exported import ExportedClassifier
from ..inference.progress import progress_bar
from .answers import join_logits, make_timelines, score_logits, score_timelines, with_labels_of
from .results import Evaluation
from .sound_events import frame_measures


def evaluate_export(
    export: Path, clips: DatasetDict, *, batch_size: int = 8, folder: Path | None = None
) -> Evaluation:
    """
    Measure an exported classifier as [`evaluate`] does.

    Args:
        export: its folder.
        clips: one split, as `load_split` returns it.
        batch_size: number of windows in one pass.
        folder: where to draw the timelines of the first clips, for a frame classifier.

    Raises:
        ValueError: the export cannot be run, answers another kind of question than the labels do, or does not know the
            labels.
    """
    (split,) = clips.values()
    of_frames = task_of(split.features["label"]) == FRAMES
    classifier = ExportedClassifier(export, batch_size)
    if classifier.labels_frames != of_frames:
        kinds = {True: "events", False: "whole clips"}
        raise ValueError(
            f"{export} labels {kinds[not of_frames]}, but the dataset has labels of {kinds[of_frames]}. Choose a "
            "model or a dataset that fits."
        )
    readable, bad_clips = drop_unreadable(clips, in_parts=classifier.reader.grid is not None)
    report_bad_clips(bad_clips)
    (split,) = readable.values()
    labelled = with_labels_of(classifier.labels, split)
    classifier.load()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    if of_frames:
        return _evaluate_frames(classifier, labelled, folder)
    logits = export_logits(classifier, labelled)
    return score_logits(logits, labelled, classifier.labels, classifier.calibration)


def export_logits(classifier: ExportedClassifier, clips: Dataset) -> np.ndarray:
    """The logits `(clips, classes)` of clips with the columns `audio` and `label`, joined over their windows."""
    rows, logits, samples = zip(*_answers(classifier, clips), strict=True)
    weights = np.array(classifier.reader.weights(samples))
    is_multi_label = task_of(clips.features["label"]) == MULTI_LABEL
    return join_logits(np.stack(logits), np.array(rows), weights, multi_label=is_multi_label)


def _evaluate_frames(classifier: ExportedClassifier, clips: Dataset, folder: Path | None) -> Evaluation:
    reader, frame_seconds = classifier.reader, classifier.answer_seconds
    parts: list[list[np.ndarray]] = [[] for _ in range(len(clips))]
    targets: list[np.ndarray] = []
    events = clips["label"]
    for row, logits, samples in _answers(classifier, clips):
        start = 0 if reader.grid is None else len(parts[row]) * reader.grid.step
        inside = shifted_events(events[row], start / reader.sampling_rate, samples / reader.sampling_rate)
        own = [Event(one["onset"], one["offset"], one["label"]) for one in inside]
        targets.append(events_to_frames(own, len(logits), frame_seconds, len(classifier.labels)))
        parts[row].append(1 / (1 + np.exp(-logits.astype(np.float64))))
    scores = [np.concatenate(one) for one in parts]

    def frame_scores() -> dict[str, float]:
        return frame_measures(np.concatenate(scores), np.concatenate(targets), threshold=0.5)

    timelines = make_timelines(scores, clips, classifier.labels, frame_seconds)
    return score_timelines(timelines, classifier.event_rules, frame_scores, folder)


def _answers(classifier: ExportedClassifier, clips: Dataset) -> Iterator[tuple[int, np.ndarray, int]]:
    """The row of the clip, the logits and the length in samples of each window of the clips."""
    reader = classifier.reader
    waiting: list[tuple[int, np.ndarray, bool]] = []

    def run() -> Iterator[tuple[int, np.ndarray, int]]:
        rows, windows, is_part = zip(*waiting, strict=True)
        waiting.clear()
        yield from zip(rows, classifier.model.logits(windows, is_part), map(len, windows), strict=True)

    with progress_bar(len(clips), "Evaluating", unit="clip") as bar:
        for row, clip in enumerate(clips.select_columns("audio")):
            file = audio_file(clip["audio"])
            recording = Recording(f"row {row}", cast(str | bytes, file))
            for piece in reader.pieces(recording, audio_info(file)):
                windows = reader.read_piece(piece)
                waiting += [(row, window, piece.is_part(windows)) for window in windows]
                if len(waiting) >= classifier.batch_size:
                    yield from run()
            bar.update()
        if waiting:
            yield from run()
