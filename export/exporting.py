# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Exports a model, and checks the result before it is there."""

import contextlib
import copy
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import datasets
import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor, exporters

from ..data.audio import load_audio
from ..data.folders import restore, whole_folder, write_json
from ..inference.files import find_files
from ..modeling.loading import load_classifier, load_config, load_encoder, load_feature_extractor, name_of_model
from ..modeling.merging import merged
from .checking import Comparison, Reference, compare, compare_scores
from .description import DESCRIPTION, FORMAT_VERSION, describe
from .formats import FORMATS, Format, Precision, check_format, export_graph, quiet
from .graphs import ExportGraph, Task, task_of_model
from .quantization import quantize


if TYPE_CHECKING:
    from transformers.exporters import ExportedModel


Paths = str | os.PathLike | Iterable[str | os.PathLike]

# By how much an export may differ from torch by default, in what is measured
_LARGEST_DIFFERENCE = {"float32": 1e-4, "float16": 0.05}
_LARGEST_SHARE_OF_OTHER_LABELS = 0.01
_LARGEST_LOSS_OF_SCORE = 0.01
_LARGEST_RELATIVE_DIFFERENCE = 0.1

# Clips that ranges of activations are measured on, and their longest length in seconds
_CALIBRATION_CLIPS, _CALIBRATION_SECONDS = 64, 30


@dataclass(frozen=True)
class ExportReport:
    """
    What [`export_model`] wrote.

    Attributes:
        folder: the folder of the exported model.
        format, precision: as asked for.
        input: `"samples"` if the front end is inside, else `"features"`.
        task: `"clips"` or `"frames"`, of which the model gives the labels, or `"encoder"`.
        size: bytes of all files.
        clips: number of clips on which the export was compared with torch.
        worst_difference: the largest difference of a number in an output.
        relative_difference: the largest difference of an output, as a share of its norm.
        agreement: share of the clips, or of their frames, with the same label on top; `None` for encoders and
            regression.
        scores: the score on the dataset in torch and of the export, if there is a dataset.
        measure: what was held against the limit: `"worst_difference"`, `"relative_difference"`, `"other_labels"` (the
            share of clips or frames with another label on top) or `"loss_of_score"`.
        value, limit: its value, and what was allowed.
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
    scores: dict[str, Any] | None
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
    calibration: Paths | None = None,
    files: Paths | None = None,
    dataset: str | os.PathLike | datasets.Dataset | datasets.DatasetDict | None = None,
    split: str | None = None,
    limit: float | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """
    Export a classifier or an encoder for another runtime, with a batch and a time of any size (ExecuTorch: one clip of
    one length, `input_shape` in `polyaudio_export.json`, to which shorter clips are padded and masked).

    The exported model is run by its own runtime and compared with torch. If it differs by more than the limit,
    nothing is written. Adapters become part of the weights.

    Args:
        model: a folder, a Hub name or a model. A model that you pass does not change.
        output: folder to write to: the program, `config.json`, `preprocessor_config.json`, `export.json` (which
            `transformers.exporters.ExportedModel.from_pretrained` reads) and `polyaudio_export.json` (all that a
            runtime has to know, and the result of the comparison).
        feature_extractor: the model's. Needed only for a model that was not loaded from a folder or the Hub.
        what: `"encoder"` for the encoder of a classifier. By default a classifier is exported whole.
        format: `"onnx"`, `"openvino"`, `"executorch"` or `"torch-export"`.
        front_end: whether the program takes samples at the rate of the feature extractor, `(batch_size, samples)` with
            an `attention_mask`, and computes the features itself. Otherwise it takes features.
        precision: `"float32"`; `"float16"`, of the weights; `"int8-dynamic"` or `"int8-static"` of the linear layers,
            for ONNX.
        calibration: audio files or folders. `"int8-static"` takes the ranges of the activations from up to 64 of them.
        files: audio files or folders to compare the export with torch on, by default three synthetic clips: of 0.2 s,
            of exactly one window and of more than one.
        dataset, split: a labelled dataset, on which the score of a classifier of clips may not drop; see `evaluate`.
        limit: how much worse than torch the export may be. With a dataset by the loss of accuracy, or of mean average
            precision (0.01 by default). Otherwise by the largest difference of an output for float32 (1e-4) and
            float16 (0.05), and for int8 by the share of clips, or of frames, with another label on top (0.01), or for
            encoders and regression by the largest difference of an output as a share of its norm (0.1).
        overwrite: whether to replace an exported model in `output`.

    Raises:
        ValueError: the model cannot be exported so, a package is missing, `output` holds something else, or the export
            differs from torch by more than the limit. Nothing has been written.

    Example:

    ```python
    >>> from polyaudio import export_model

    >>> report = export_model("runs/ragas", "exported", front_end=True)  # doctest: +SKIP
    >>> report.worst_difference < 1e-4  # doctest: +SKIP
    True
    ```
    """
    check_format(format, precision)
    if (calibration is not None) != (precision == "int8-static"):
        raise ValueError("Precision 'int8-static' needs calibration, and no other takes it. Name your own audio.")
    output = Path(output)
    check_output(output, overwrite)
    loaded, feature_extractor = _load(model, feature_extractor, what)
    source = merged(loaded).float().cpu().eval()
    reference = Reference(source, feature_extractor, front_end, FORMATS[format].takes_one_clip)
    if dataset is not None and reference.task != "clips":
        raise ValueError("A dataset scores classifiers of clips. Leave it out for other models.")
    clips = reference.example_clips() if files is None else _read(files, reference)

    exported = _export(reference, format, precision, calibration)
    description = _description(reference, format, precision)
    with whole_folder(output) as folder:
        program = _save(exported, folder, format)
        with _errors_of_runtime(format):
            comparison = compare(program, reference, clips)
            scores = None if dataset is None else compare_scores(program, reference, dataset, split)
        check = _check(comparison, scores, precision, limit)
        write_json(folder / "preprocessor_config.json", _without_code(feature_extractor.to_dict()))
        write_json(folder / DESCRIPTION, {**description, "check": check})
        size = sum(path.stat().st_size for path in folder.iterdir())
    return ExportReport(output, format, precision, description["input"], reference.task, size, **check)


def _load(
    model: str | os.PathLike | PreTrainedModel, feature_extractor: SequenceFeatureExtractor | None, what: str | None
) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    source = model if isinstance(model, PreTrainedModel) else os.fspath(model)
    if isinstance(source, str):
        classifies = any(name.endswith("Classification") for name in load_config(source).architectures or ())
    else:
        classifies = task_of_model(source) != "encoder"
    if what == "classifier" and not classifies:
        raise ValueError(f"{name_of_model(source)} is not a classifier. Export it as an encoder.")
    loaded = load_classifier(source) if classifies and what != "encoder" else load_encoder(source)
    if feature_extractor is None:
        feature_extractor = load_feature_extractor(name_of_model(source), loaded.config)
    return loaded, feature_extractor


def _read(files: Paths, reference: Reference, most: int | None = None) -> list[np.ndarray]:
    paths = find_files([files] if isinstance(files, str | os.PathLike) else files)
    longest = reference.longest if most is None else _CALIBRATION_SECONDS * reference.rate
    return [load_audio(path, reference.rate)[:longest][: reference.longest] for path in paths[:most]]


def _export(reference: Reference, format: Format, precision: Precision, calibration: Paths | None) -> "ExportedModel":
    model = reference.model
    if precision == "float16":
        # The front end stays in float32, with the matrices of its Fourier transform
        model = cast(PreTrainedModel, copy.deepcopy(model).half())
    graph = ExportGraph(model, reference.feature_extractor if reference.takes_samples else None).eval()
    exported = export_graph(graph, format, reference.trace_input())
    exported.config = _config_of(reference.model)
    if precision == "int8-dynamic":
        quantize(exported)
    elif calibration is not None:
        clips = _read(calibration, reference, _CALIBRATION_CLIPS)
        quantize(exported, [reference.inputs([clip]) for clip in clips])
    return exported


def _description(reference: Reference, format: Format, precision: Precision) -> dict[str, Any]:
    """What a runtime has to know."""
    description: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "format": format,
        "precision": precision,
        "input": "samples" if reference.takes_samples else "features",
        **describe(reference.model, reference.feature_extractor, reference.task),
    }
    if reference.fixed_length is not None:
        description["input_shape"] = list(reference.trace_input()["input_values"].shape)
    return description


def _save(exported: "ExportedModel", folder: Path, format: Format) -> "ExportedModel":
    """Write an exported model; the program as its runtime reads it from the folder."""
    with _errors_of_runtime(format), quiet():
        exported.save_pretrained(folder)
        return exporters.ExportedModel.from_pretrained(folder, trust_remote_code=True, **FORMATS[format].run_settings)


@contextlib.contextmanager
def _errors_of_runtime(format: Format) -> Iterator[None]:
    """Raise `ValueError` for what a runtime cannot do."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().rstrip(".")
        raise ValueError(
            f"The runtime of the format {format} cannot run the exported model, so nothing was written: {reason}. "
            "Choose another format, or leave out the front end if it is inside."
        ) from error


def _check(
    comparison: Comparison, scores: dict[str, Any] | None, precision: Precision, limit: float | None
) -> dict[str, Any]:
    """What was measured, for the report. Raises `ValueError` if it is worse than the limit."""
    if scores is not None:
        measure, value, default = "loss_of_score", scores["torch"] - scores["export"], _LARGEST_LOSS_OF_SCORE
    elif precision in _LARGEST_DIFFERENCE:
        measure, value, default = "worst_difference", comparison.worst_difference, _LARGEST_DIFFERENCE[precision]
    elif comparison.agreement is not None:
        measure, value, default = "other_labels", 1 - comparison.agreement, _LARGEST_SHARE_OF_OTHER_LABELS
    else:
        measure, value = "relative_difference", comparison.relative_difference
        default = _LARGEST_RELATIVE_DIFFERENCE
    limit = default if limit is None else limit
    if not value <= limit or not np.isfinite(comparison.worst_difference):
        raise ValueError(
            f"The exported model differs too much from torch: its {measure.replace('_', ' ')} is {value:.3g}, and the "
            f"limit is {limit:g}. (The largest difference of an output is {comparison.worst_difference:.3g}.) Nothing "
            "was written. Choose another precision, or a higher limit (--limit) if you can accept that."
        )
    return {
        "clips": comparison.clips,
        "worst_difference": comparison.worst_difference,
        "relative_difference": comparison.relative_difference,
        "agreement": comparison.agreement,
        "scores": scores,
        "measure": measure,
        "value": value,
        "limit": limit,
    }


def _config_of(model: PreTrainedModel) -> PreTrainedConfig:
    config = type(model.config).from_dict(_without_code(model.config.to_dict()))
    config.architectures = [type(model).__name__]
    config.dtype = torch.float32
    return config


def _without_code(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without those that name the code of a model, which is not in the folder of an export."""
    return {name: value for name, value in settings.items() if name not in ("auto_map", "custom_pipelines")}


def check_output(output: Path, overwrite: bool) -> None:
    """Raises `ValueError` for a folder that must not be replaced."""
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


__all__ = ["ExportReport", "check_output", "export_model"]
