# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Probes a model on a dataset: how well a small model recognises the classes from its frozen features."""

import functools
import importlib.metadata
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets
from transformers import PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor

from ..data.folders import write_json, write_whole
from ..data.given import check_front_end
from ..data.labels import FRAMES, SINGLE_LABEL, class_names, classes_of_clips, task_of
from ..data.loading import load_clips, name_of
from ..data.readable import drop_unreadable, report_bad_clips
from ..data.splits import groups_of_clips, unit_of
from ..inference.clip_reader import ClipReader
from ..inference.features import ProbedLayer, choose_features, extract_features, extract_frames
from ..integration.version import __version__
from ..modeling.loading import choose_device, initialise_like, load_config, load_encoder, load_feature_extractor
from ..modeling.traits import Layer, traits_of
from .attentive_probe import count_parameters, fit_attentive
from .few_shot import few_shot_curve
from .melody_baselines import MELODY_BASELINES, default_baselines, melody_baselines
from .probe import ProbeReport, ProbeResult, check_features, make_folds, run_probe
from .probe_kinds import C_GRID, K_GRID, FitProbe, fit_knn, fit_linear
from .results import Evaluation


Kind = Literal["linear", "attentive", "knn"]

_PACKAGES = ("torch", "transformers", "scikit-learn", "numpy")

# The settings to choose from
_GRIDS: dict[str, dict[str, Any]] = {"linear": {"C": C_GRID}, "knn": {"k": K_GRID}}

# With few recordings there is no validation to choose settings by
_FEW_SHOT: dict[str, FitProbe] = {
    "linear": functools.partial(fit_linear, C=(1.0,)),
    "knn": functools.partial(fit_knn, k=(1,)),
}


def probe(
    model: str | os.PathLike | PreTrainedModel,
    dataset: str | os.PathLike | Dataset | DatasetDict,
    *,
    feature_extractor: SequenceFeatureExtractor | None = None,
    kind: Kind = "linear",
    features: str | None = None,
    layer: ProbedLayer | None = None,
    shots: Sequence[int] = (),
    draws: int = 10,
    untrained: int = 1,
    baselines: Sequence[str] | None = None,
    folds: int = 5,
    seed: int = 0,
    split: str | None = None,
    audio_column: str = "audio",
    label_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    label_separator: str | None = None,
    group_column: str | None = None,
    group_by: str | None = None,
    data_home: str | os.PathLike | None = None,
    given: str | None = None,
    batch_size: int = 8,
    num_workers: int = 0,
    device: str | None = None,
    output: str | os.PathLike | None = None,
) -> ProbeReport:
    """
    Measure how well a small model recognises the classes of a dataset from a model's frozen features.

    The probe learns the classes from the features of some recordings and is tested on others. Of classifiers and
    pre-training checkpoints, the base model is probed. The same architecture with random weights is probed on the same
    folds, for comparison: only the difference of the scores is due to training.

    Args:
        model: a folder, a Hub name or a model.
        dataset: a Hub name, a folder, `"ragas"`, or a dataset with an audio column and one or several labels a clip.
        feature_extractor: the model's. Needed only if `model` is a model that was not loaded from a folder.
        kind: `"linear"` for a logistic regression on one vector a clip, `"knn"` for its nearest neighbours, or
            `"attentive"` for a linear classifier on the vectors along time, which learned attention pools.
        features: the kind of vector, by default the first of the model type: `"both"`, `"cls"` or `"mean"` for
            SSLAM, `"utterance"` for SAMAudio. An attentive probe has no choice.
        layer: the layer that the features are from: the number of layers below it, where negative numbers count from
            the end, or `"mean"` for the mean over the layers. `"weighted"`, for an attentive probe, learns a weight
            for each layer. By default the last layer.
        shots: numbers of recordings of each class, such as `(1, 2, 5, 10)`, for a curve of the scores of probes that
            learn from so few. Not for an attentive probe.
        draws: number of random draws of these recordings.
        untrained: number of untrained models to compare with.
        baselines: baselines of the melody to compare with, `"tdms"` and `"pitch_histogram"`; see `melody_baselines`.
            By default both for a model whose features are relative to the tonic, and clips with one label.
        folds: number of folds for a dataset without a split `test`. If there is one, the probe learns from all other
            splits and is tested on it.
        seed: seed of the folds, of the draws, and of the first untrained model.
        split: the only split to use, in folds; by default all splits are used.
        audio_column, label_column, label_columns, label_separator, group_column: the columns; see `load_clips`.
        group_by: the column whose values folds keep together, for instance `concert`; see `load_clips`.
        data_home: the folder of a collection of mirdata.
        given: what the dataset gives, `"tonic"`, `"pitch"` or `"pitch-only"`; see `load_clips`.
        batch_size: number of windows in one forward pass.
        num_workers: number of processes that read clips.
        device: `"cpu"`, `"cuda"` and so on; by default the accelerator if there is one.
        output: folder for `probe.json` and `features.npz`.

    Raises:
        ValueError: the model cannot be probed, it has no such layer, the clips have events instead of classes, or they
            cannot be divided.

    Example:

    ```python
    >>> from polyaudio import probe

    >>> report = probe("runs/stage2", "labelled-recordings/")  # doctest: +SKIP
    >>> report.probe.accuracy.mean  # doctest: +SKIP
    ```
    """
    name = str(model.config.name_or_path) if isinstance(model, PreTrainedModel) else os.fspath(model)
    config = model.config if isinstance(model, PreTrainedModel) else load_config(name)
    features = _choose_features(config, kind, features, layer)
    _check_shots(kind, shots, draws)
    columns = {
        "audio_column": audio_column,
        "label_column": label_column,
        "label_columns": label_columns,
        "label_separator": label_separator,
        "group_column": group_column,
        "group_by": group_by,
    }
    # Errors of the folds and of the output folder should come before the model runs on all clips
    clips, is_test = _load_clips(dataset, split, data_home=data_home, given=given, **columns)
    data = _divide(clips, is_test, name_of(dataset), folds, seed)
    if output is not None:
        Path(output).mkdir(parents=True, exist_ok=True)
    encoder = load_encoder(model if isinstance(model, PreTrainedModel) else name)
    if feature_extractor is None:
        feature_extractor = load_feature_extractor(name, config)
    check_front_end(clips, feature_extractor)
    baselines = _choose_baselines(baselines, feature_extractor, one_label=data.labels.ndim == 1)
    torch_device = choose_device(device)
    seeds = range(seed, seed + untrained)
    encoders = [one.eval().to(torch_device) for one in (encoder, *(initialise_like(encoder, one) for one in seeds))]
    reader = ClipReader(encoder.config, feature_extractor, batch_size=batch_size, padding="longest")
    probing = _Probing(data, kind, tuple(shots), draws, seed)
    fitted = _probe(probing, encoders, reader, features, layer, num_workers, output)
    report = ProbeReport(
        model=os.path.abspath(name) if os.path.isdir(name) else name,
        model_type=encoder.config.model_type,
        dataset=name_of(dataset),
        clips=len(clips),
        recordings=len(set(data.recordings.tolist())),
        held_out=f"{folds} folds by {group_by or unit_of(clips)}" if is_test is None else "split test",
        labels=data.names,
        kind=kind,
        features=features,
        layer=layer,
        feature_size=fitted.feature_size,
        frozen_parameters=encoder.num_parameters(),
        trained_parameters=fitted.parameters,
        probe=fitted.results[0].scores,
        untrained={one: other.scores for one, other in zip(seeds, fitted.results[1:], strict=True)},
        baselines=data.compare(baselines, seed, num_workers),
        settings={
            **columns,
            "split": split,
            "given": given,
            "folds": folds,
            "seed": seed,
            "batch_size": batch_size,
            "device": str(torch_device),
            **_GRIDS.get(kind, {}),
            "window_seconds": None if reader.grid is None else reader.grid.step / reader.sampling_rate,
        },
        versions={"polyaudio": __version__} | {one: importlib.metadata.version(one) for one in _PACKAGES},
    )
    if output is not None:
        write_json(Path(output, "probe.json"), report.to_dict())
        _write_arrays(Path(output, "features.npz"), data, fitted)
    return report


@dataclass(frozen=True)
class _Data:
    """The clips `(clips,)` that probes learn from and are tested on. `labels` are those of `_labels_of`."""

    clips: Dataset
    names: list[str]
    labels: np.ndarray
    recordings: np.ndarray
    groups: np.ndarray
    parts: list[tuple[np.ndarray, np.ndarray]]

    @property
    def id2label(self) -> dict[int, str]:
        return dict(enumerate(self.names))

    def compare(self, baselines: Sequence[str], seed: int, num_workers: int) -> dict[str, Evaluation]:
        if not baselines:
            return {}
        return melody_baselines(
            baselines,
            self.clips,
            self.labels,
            self.groups,
            self.parts,
            id2label=self.id2label,
            seed=seed,
            num_workers=num_workers,
        )


def _divide(clips: Dataset, is_test: list[bool] | None, dataset: str, folds: int, seed: int) -> _Data:
    names, labels = _labels_of(clips, dataset)
    groups = np.array(groups_of_clips(clips))
    parts = make_folds(labels, groups, is_test=is_test, num_folds=folds, seed=seed)
    return _Data(clips, names, labels, np.array(clips["recording"][:]), groups, parts)


@dataclass(frozen=True)
class _Probing:
    """Fits probes of one kind to features of the clips."""

    data: _Data
    kind: Kind
    shots: tuple[int, ...]
    draws: int
    seed: int

    def run(self, features: Any, fit: FitProbe) -> ProbeResult:
        """Fit and test a probe in each fold, and from few recordings if the curve is wanted."""
        data = self.data
        result = run_probe(
            features,
            data.labels,
            data.groups,
            data.parts,
            fit,
            id2label=data.id2label,
            recordings=data.recordings,
            seed=self.seed,
        )
        if not self.shots:
            return result
        curve = few_shot_curve(
            features,
            data.labels,
            data.recordings,
            data.parts,
            _FEW_SHOT[self.kind],
            num_classes=len(data.names),
            shots=self.shots,
            draws=self.draws,
            seed=self.seed,
        )
        return result._replace(scores=replace(result.scores, few_shot=curve))


@dataclass(frozen=True)
class _Fitted:
    """The probes of the model and of the untrained ones, and the model's vectors `(clips, size)` if clips have one."""

    results: list[ProbeResult]
    feature_size: int
    parameters: int
    vectors: np.ndarray | None = None


def _probe(
    probing: _Probing,
    encoders: list[PreTrainedModel],
    reader: ClipReader,
    features: str,
    layer: ProbedLayer | None,
    num_workers: int,
    output: str | os.PathLike | None,
) -> _Fitted:
    """Compute the features of all clips, and fit the probes."""
    if probing.kind == "attentive":
        return _probe_frames(probing, encoders, reader, layer, num_workers, output)
    own_layer = cast(Layer | None, layer)  # weights of layers are learned by attentive probes only
    clips = probing.data.clips
    vectors = extract_features(encoders, reader, clips, features, layer=own_layer, num_workers=num_workers)
    return _probe_vectors(probing, vectors)


def _probe_vectors(probing: _Probing, vectors: list[np.ndarray]) -> _Fitted:
    labels, size = probing.data.labels, vectors[0].shape[1]
    fit: FitProbe = fit_linear if probing.kind == "linear" else fit_knn
    results = [probing.run(check_features(one, labels), fit) for one in vectors]
    parameters = (size + 1) * _count_classes(labels) if probing.kind == "linear" else 0
    return _Fitted(results, size, parameters, vectors[0])


def _probe_frames(
    probing: _Probing,
    encoders: list[PreTrainedModel],
    reader: ClipReader,
    layer: ProbedLayer | None,
    num_workers: int,
    output: str | os.PathLike | None,
) -> _Fitted:
    fit = functools.partial(fit_attentive, device=encoders[0].device)
    with tempfile.TemporaryDirectory(dir=output, prefix=".frames-") as scratch:
        clips = probing.data.clips
        frames = extract_frames(encoders, reader, clips, Path(scratch), layer=layer, num_workers=num_workers)
        results = [probing.run(one, fit) for one in frames]
        fitted = _Fitted(results, frames[0].size, count_parameters(frames[0], len(probing.data.names)))
        del frames  # and with it the maps of the files that are removed now
    return fitted


def _choose_baselines(
    wanted: Sequence[str] | None, feature_extractor: SequenceFeatureExtractor, *, one_label: bool
) -> Sequence[str]:
    """The baselines of the melody. Raises `ValueError` for one that does not exist or does not suit the labels."""
    if wanted is None:
        return default_baselines(feature_extractor, one_label=one_label)
    unknown = [name for name in wanted if name not in MELODY_BASELINES]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not a baseline; choose from {', '.join(MELODY_BASELINES)}.")
    if wanted and not one_label:
        raise ValueError(f"{wanted[0]} is for clips with one label. Leave out baselines (--baseline).")
    return wanted


def _choose_features(config: PreTrainedConfig, kind: str, features: str | None, layer: ProbedLayer | None) -> str:
    """The name of the features. Raises `ValueError` for a combination that does not exist."""
    if kind not in get_args(Kind):
        raise ValueError(f"kind (--probe) must be linear, attentive or knn, got {kind!r}.")
    if layer == "weighted" and kind != "attentive":
        raise ValueError("Weights of layers are learned by an attentive probe only. Set kind (--probe) to attentive.")
    if layer is not None:
        traits_of(config).check_layer(config, "mean" if layer == "weighted" else layer, of_frames=kind == "attentive")
    if kind != "attentive":
        return choose_features(config, features)
    if features is not None:
        raise ValueError("An attentive probe reads the vectors along time. Leave out features (--features).")
    choose_features(config, None)
    return "frame"


def _check_shots(kind: str, shots: Sequence[int], draws: int) -> None:
    if shots and kind == "attentive":
        raise ValueError("An attentive probe has no few-shot curve. Set kind (--probe) to linear or knn.")
    if any(number < 1 for number in shots) or draws < 1:
        raise ValueError("shots and draws must be at least 1.")


def _labels_of(clips: Dataset, dataset: str) -> tuple[list[str], np.ndarray]:
    """The names of the classes, and the labels `(clips,)`, or `(clips, classes)` for several labels a clip, int64."""
    task = task_of(clips.features["label"])
    if task == FRAMES:
        raise ValueError(f"A probe learns the classes of whole clips, but clips of {dataset} have events.")
    names = class_names(clips.features["label"])
    if task == SINGLE_LABEL:
        return names, np.array(clips["label"][:])
    labels = np.zeros((len(clips), len(names)), int)
    for row, classes in zip(labels, classes_of_clips(clips), strict=True):
        row[classes] = 1
    return names, labels


def _count_classes(labels: np.ndarray) -> int:
    return int(labels.any(axis=0).sum()) if labels.ndim == 2 else len(set(labels.tolist()))


def _write_arrays(path: Path, data: _Data, fitted: _Fitted) -> None:
    result = fitted.results[0]
    arrays = {
        "labels": data.labels,
        "recordings": data.recordings,
        "folds": result.folds,
        "probabilities": result.probabilities,
    }
    if fitted.vectors is not None:
        arrays["features"] = fitted.vectors

    def save(new: Path) -> None:
        with open(new, "wb") as file:  # np.savez would add an extension to a name
            np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy has types for names that are no arrays

    write_whole(path, save)


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
