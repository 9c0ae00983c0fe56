# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Probes a model on a dataset: how well a linear classifier recognises the classes from its frozen features."""

import importlib.metadata
import os
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets
from transformers import PreTrainedModel, SequenceFeatureExtractor

from ..data.folders import write_json, write_whole
from ..data.labels import SINGLE_LABEL, task_of
from ..data.loading import load_clips, name_of
from ..data.readable import drop_unreadable, report_bad_clips
from ..data.splits import groups_of_clips, unit_of
from ..inference.clip_reader import ClipReader
from ..inference.features import choose_features, extract_features
from ..integration.version import __version__
from ..modeling.loading import choose_device, initialise_like, load_config, load_encoder, load_feature_extractor
from .probe import C_GRID, ProbeReport, linear_probe, make_folds


def probe(
    model: str | os.PathLike | PreTrainedModel,
    dataset: str | os.PathLike | Dataset | DatasetDict,
    *,
    feature_extractor: SequenceFeatureExtractor | None = None,
    features: str | None = None,
    untrained: int = 1,
    folds: int = 5,
    seed: int = 0,
    split: str | None = None,
    audio_column: str = "audio",
    label_column: str | None = None,
    group_column: str | None = None,
    group_by: str | None = None,
    data_home: str | os.PathLike | None = None,
    batch_size: int = 8,
    num_workers: int = 0,
    device: str | None = None,
    output: str | os.PathLike | None = None,
) -> ProbeReport:
    """
    Measure how well a linear classifier recognises the classes of a dataset from a model's frozen features.

    A logistic regression learns the classes from the features of some recordings and is tested on others. Of
    classifiers and pre-training checkpoints, the base model is probed. The same architecture with random weights is
    probed on the same folds, for comparison: only the difference of the scores is due to training.

    Args:
        model: a folder, a Hub name or a model.
        dataset: a Hub name, a folder, `"ragas"`, or a dataset with an audio column and one label a clip.
        feature_extractor: the model's. Needed only if `model` is a model that was not loaded from a folder.
        features: the kind of features, by default the first of the model type: `"both"`, `"cls"` or `"mean"` for
            SSLAM, `"utterance"` for SAMAudio.
        untrained: number of untrained models to compare with.
        folds: number of folds for a dataset without a split `test`. If there is one, the regression learns from all
            other splits and is tested on it.
        seed: seed of the folds, and of the first untrained model.
        split: the only split to use, in folds; by default all splits are used.
        audio_column, label_column, group_column: the columns; see `load_clips`.
        group_by: the column whose values folds keep together, for instance `concert`; see `load_clips`.
        data_home: the folder of a collection of mirdata.
        batch_size: number of windows in one forward pass.
        num_workers: number of processes that read clips.
        device: `"cpu"`, `"cuda"` and so on; by default the accelerator if there is one.
        output: folder for `probe.json` and `features.npz`.

    Raises:
        ValueError: the model cannot be probed, the clips do not have one label each, or they cannot be divided.

    Example:

    ```python
    >>> from polyaudio import probe

    >>> report = probe("runs/stage2", "labelled-recordings/")  # doctest: +SKIP
    >>> report.probe.accuracy.mean  # doctest: +SKIP
    ```
    """
    name = str(model.config.name_or_path) if isinstance(model, PreTrainedModel) else os.fspath(model)
    config = model.config if isinstance(model, PreTrainedModel) else load_config(name)
    features = choose_features(config, features)
    torch_device = choose_device(device)
    clips, is_test = _load_clips(
        dataset,
        split,
        audio_column=audio_column,
        label_column=label_column,
        group_column=group_column,
        group_by=group_by,
        data_home=data_home,
    )
    if task_of(clips.features["label"]) != SINGLE_LABEL:
        raise ValueError(
            f"a probe learns one class a clip, but clips of {name_of(dataset)} have several classes, or events"
        )
    names = clips.features["label"].names
    labels, recordings = np.array(clips["label"][:]), np.array(clips["recording"][:])
    groups = np.array(groups_of_clips(clips))
    # Errors of the folds and of the output folder should come before the model runs on all clips
    make_folds(labels, groups, is_test=is_test, num_folds=folds, seed=seed)
    if output is not None:
        Path(output).mkdir(parents=True, exist_ok=True)

    encoder = load_encoder(model if isinstance(model, PreTrainedModel) else name)
    seeds = range(seed, seed + untrained)
    encoders = [encoder, *(initialise_like(encoder, one) for one in seeds)]
    if feature_extractor is None:
        feature_extractor = load_feature_extractor(name, config)
    reader = ClipReader(encoder.config, feature_extractor, batch_size=batch_size, padding="longest")
    vectors = extract_features(
        [one.eval().to(torch_device) for one in encoders], reader, clips, features, num_workers=num_workers
    )
    trained, *others = (
        linear_probe(
            values,
            labels,
            groups,
            id2label=dict(enumerate(names)),
            recordings=recordings,
            is_test=is_test,
            num_folds=folds,
            seed=seed,
        )
        for values in vectors
    )
    report = ProbeReport(
        model=os.path.abspath(name) if os.path.isdir(name) else name,
        model_type=encoder.config.model_type,
        dataset=name_of(dataset),
        clips=len(clips),
        recordings=len(set(recordings.tolist())),
        held_out=f"{folds} folds by {group_by or unit_of(clips)}" if is_test is None else "split test",
        labels=names,
        features=features,
        feature_size=vectors[0].shape[1],
        frozen_parameters=encoder.num_parameters(),
        trained_parameters=(vectors[0].shape[1] + 1) * len(set(labels.tolist())),
        probe=trained.scores,
        untrained={one: other.scores for one, other in zip(seeds, others, strict=True)},
        settings={
            "audio_column": audio_column,
            "label_column": label_column,
            "group_column": group_column,
            "group_by": group_by,
            "split": split,
            "folds": folds,
            "seed": seed,
            "batch_size": batch_size,
            "device": str(torch_device),
            "C": C_GRID,
            "window_seconds": None if reader.grid is None else reader.grid.step / reader.sampling_rate,
        },
        versions={
            "polyaudio": __version__,
            **{one: importlib.metadata.version(one) for one in ("torch", "transformers", "scikit-learn", "numpy")},
        },
    )
    if output is not None:
        write_json(Path(output, "probe.json"), report.to_dict())

        def save(path: Path) -> None:
            with open(path, "wb") as file:  # np.savez would add an extension to a name
                np.savez(
                    file,
                    features=vectors[0],
                    labels=labels,
                    recordings=recordings,
                    folds=trained.folds,
                    probabilities=trained.probabilities,
                )

        write_whole(Path(output, "features.npz"), save)
    return report


def _load_clips(
    dataset: str | os.PathLike | Dataset | DatasetDict,
    split: str | None,
    **columns: Any,
) -> tuple[Dataset, list[bool] | None]:
    """The readable clips, and which of them are in the split `test`; `None` if that is the only split or missing."""
    clips = load_clips(dataset, **columns)
    if split is not None:
        if split not in clips:
            raise ValueError(f"{name_of(dataset)} has no split {split!r}, only {', '.join(clips)}")
        clips = DatasetDict({split: clips[split]})
    clips, bad_clips = drop_unreadable(clips)
    report_bad_clips(bad_clips)
    is_test = [name == "test" for name, rows in clips.items() for _ in range(len(rows))]
    return concatenate_datasets(list(clips.values())), is_test if len(clips) > 1 and "test" in clips else None
