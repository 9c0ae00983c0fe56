# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Exports a model and checks the result before it is there."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import PreTrainedModel, SequenceFeatureExtractor
from transformers.exporters import ExportedModel

from ..data.audio import load_audio
from ..data.folders import restore, whole_folder, write_json
from ..inference.files import find_files
from ..modeling.loading import (
    load_classifier,
    load_config,
    load_encoder,
    load_feature_extractor,
    name_of_model,
)
from ..modeling.merging import merged
from ..modeling.traits import traits_of
from .checking import Comparison, Reference, as_input, compare, example_clips, samples_input
from .description import DESCRIPTION, FORMAT_VERSION, describe
from .formats import Format, Precision, check_format, export_graph, quiet
from .graphs import ExportGraph, Task, task_of_model


@dataclass(frozen=True)
class ExportReport:
    """
    What [`export_model`] wrote.

    Attributes:
        folder: the folder of the exported model.
        format, precision: as asked for.
        input: `"samples"` if the front end is inside, else `"features"`.
        task: `"clips"`, `"frames"` or `"encoder"`.
        size: bytes of all files.
        clips: number of clips that the export was compared with torch on.
        worst_difference: the largest difference of a number in an output.
        relative_difference: the largest difference of an output as a share of its norm.
        agreement: share of the clips, or of their frames, with the same label on top; `None` for models without labels.
        measure, value, limit: what was held against the limit, its value, and the limit.
    """

    folder: Path
    format: Format
    precision: Precision
    input: Literal["samples", "features"]
    task: Task
    size: int
    clips: int
    worst_difference: float
    relative_difference: float
    agreement: float | None
    measure: str
    value: float
    limit: float


def export_model(
    model: str | os.PathLike | PreTrainedModel,
    output: str | os.PathLike,
    *,
    feature_extractor: SequenceFeatureExtractor | None = None,
    what: Literal["classifier", "encoder"] | None = None,
    format: Format = "onnx",
    front_end: bool = False,
    precision: Precision = "float32",
    files: str | os.PathLike | Iterable[str | os.PathLike] | None = None,
    limit: float | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """
    Export a model.
    """
    check_format(format, precision)
    output = Path(output)
    _check_output(output, overwrite)
    loaded, feature_extractor = _load(model, feature_extractor, what)
    source = merged(loaded).float().cpu().eval()
    reference = Reference(source, feature_extractor, front_end)
    task = task_of_model(source)
    clips = _clips(files, reference, task)
    graph = ExportGraph(source, feature_extractor if front_end else None).eval()
    exported = export_graph(graph, format, _trace_inputs(reference, task))
    description = {
        "format_version": FORMAT_VERSION,
        "format": format,
        "precision": precision,
        "input": "samples" if front_end else "features",
        **describe(source, feature_extractor, task),
    }
    with whole_folder(output) as folder:
        with quiet():
            exported.config = _without_code(source)
            exported.save_pretrained(folder)
            comparison = compare(ExportedModel.from_pretrained(folder, trust_remote_code=True), reference, clips)
        measure, value, limit = _gate(comparison, precision, limit)
        settings = {name: value for name, value in feature_extractor.to_dict().items() if name != "auto_map"}
        write_json(folder / "preprocessor_config.json", settings)
        check = {
            "clips": comparison.clips,
            "worst_difference": comparison.worst_difference,
            "relative_difference": comparison.relative_difference,
            "agreement": comparison.agreement,
            "measure": measure,
            "limit": limit,
        }
        write_json(folder / DESCRIPTION, {**description, "check": check})
    return ExportReport(
        output,
        format,
        precision,
        description["input"],
        task,
        sum(path.stat().st_size for path in output.iterdir()),
        comparison.clips,
        comparison.worst_difference,
        comparison.relative_difference,
        comparison.agreement,
        measure,
        value,
        limit,
    )


def _load(model, feature_extractor, what):
    if isinstance(model, os.PathLike):
        model = os.fspath(model)
    if isinstance(model, str):
        names = load_config(model).architectures or []
        is_classifier = any(name.endswith(("Classification",)) for name in names)
        loaded = load_classifier(model) if what != "encoder" and is_classifier else load_encoder(model)
    else:
        loaded = load_encoder(model) if what == "encoder" or task_of_model(model) == "encoder" else model
    if feature_extractor is None:
        feature_extractor = load_feature_extractor(name_of_model(model), loaded.config)
    return loaded, feature_extractor


def _longest(reference: Reference, task: Task) -> int | None:
    config = reference.model.config
    grid = reference.traits.window_grid(config, reference.feature_extractor)
    folds = task != "encoder" and getattr(config, "window_frames", None)
    return None if reference.traits.reads_any_length or folds else grid.size


def _clips(files, reference, task):
    longest = _longest(reference, task)
    if files is None:
        grid = reference.traits.window_grid(reference.model.config, reference.feature_extractor)
        return example_clips(grid, reference.rate, longest)
    paths = find_files([files] if isinstance(files, str | os.PathLike) else files)
    return [load_audio(path, reference.rate)[:longest] for path in paths]


def _trace_inputs(reference, task):
    longest = _longest(reference, task)
    grid = reference.traits.window_grid(reference.model.config, reference.feature_extractor)
    samples = round(2.4 * (3 * reference.rate if grid is None else grid.size))
    if longest is not None:
        samples = round(0.6 * longest)
    noise = np.random.default_rng(0).standard_normal((2, samples)).astype(np.float32) * 0.1
    return samples_input(list(noise)) if reference.takes_samples else as_input(reference.features(list(noise)))


def _gate(comparison: Comparison, precision: Precision, limit: float | None) -> tuple[str, float, float]:
    limit = 1e-4 if limit is None else limit
    if comparison.worst_difference > limit:
        raise ValueError(f"differs by {comparison.worst_difference:.3g}, limit {limit:g}")
    return "worst_difference", comparison.worst_difference, limit


def _without_code(model):
    config = type(model.config).from_dict(model.config.to_dict())
    config.architectures = [type(model).__name__]
    vars(config).pop("auto_map", None)
    vars(config).pop("custom_pipelines", None)
    return config


def _check_output(output: Path, overwrite: bool) -> None:
    restore(output)
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / DESCRIPTION).is_file():
        raise ValueError(
            f"{output} already exists and holds something else than an exported model. Name another folder."
        )
    if not overwrite:
        raise ValueError(
            f"{output} already holds an exported model. Name another folder, or pass overwrite (--overwrite)."
        )
