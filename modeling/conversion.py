# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Converts a checkpoint of another project into a model folder.

A checkpoint file is untrusted input. It is read without running any code in it, and files that contain more than
tensors, containers and numbers are refused, unless `allow_pickle` is set. A published repository is read as JSON and
safetensors; its Python files are never run. The output has safetensors only, and is written whole or not at all.
"""

import fnmatch
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedConfig

from ..data.folders import restore, whole_folder, write_json
from ..integration.quiet import no_bars_of_weights
from ..integration.saving import STAMP, WEIGHTS
from .checkpoint_io import ConvertedModel, read_torch_checkpoint
from .checkpoint_sam_audio import is_sam_carnatic_checkpoint, load_sam_carnatic_checkpoint
from .conversion_sslam import (
    is_fairseq_checkpoint,
    is_published_config,
    load_fairseq_checkpoint,
    load_published_model,
)
from .loading import class_names_of, config_errors, load_config


@dataclass(frozen=True)
class CheckpointFormat:
    """
    A format of checkpoints.

    Attributes:
        description: the format in words.
        recognise: whether a file (the dictionary in it) or a published model (its configuration) has this format.
        load: builds the model from the same, with the options.
        options: the options of [`convert`] that `load` takes.
    """

    description: str
    recognise: Callable[[Any], bool]
    load: Callable[..., ConvertedModel]
    options: frozenset[str]


FILE_FORMATS = (
    CheckpointFormat(
        "best_model.pth or final_model.pth of sam-carnatic",
        is_sam_carnatic_checkpoint,
        load_sam_carnatic_checkpoint,
        frozenset({"original_config"}),
    ),
    CheckpointFormat(
        "a .pt file of SSLAM or EAT from fairseq",
        is_fairseq_checkpoint,
        load_fairseq_checkpoint,
        frozenset({"what", "weights"}),
    ),
)
PUBLISHED_FORMATS = (
    CheckpointFormat(
        'a model of type "eat", as the authors of SSLAM and EAT publish',
        is_published_config,
        load_published_model,
        frozenset({"what"}),
    ),
)


_REPORT = "conversion_report.json"
# What a folder that is overwritten may hold, beside code
_OWN_FILES = ("config.json", "preprocessor_config.json", *WEIGHTS, _REPORT)


@dataclass(frozen=True)
class Conversion:
    """
    What [`convert`] wrote.

    Attributes:
        folder: the model folder.
        model_class: name of the class of the model.
        num_parameters: number of parameters of the model.
        labels: the class names of a classifier; `None` for other models.
        keys: what became of each key of a checkpoint file: "used as is", "renamed to ..." or "dropped: ...". Empty for
            a published model.
        report: the JSON file with `keys`; `None` for a published model.
    """

    folder: Path
    model_class: str
    num_parameters: int
    labels: list[str] | None
    keys: dict[str, str]
    report: Path | None


def convert(
    checkpoint: str | os.PathLike,
    output: str | os.PathLike,
    *,
    what: Literal["encoder", "pretraining", "classifier"] | None = None,
    weights: Literal["student", "teacher"] | None = None,
    labels: list[str] | None = None,
    original_config: str | os.PathLike | None = None,
    allow_pickle: bool = False,
    overwrite: bool = False,
) -> Conversion:
    """
    Convert a checkpoint of another project into a folder for `from_pretrained`.

    Args:
        checkpoint: a file in one of `FILE_FORMATS`, or a folder or Hub name in one of `PUBLISHED_FORMATS`.
        output: the folder for the model, its feature extractor and, for a file, `conversion_report.json`.
        what: SSLAM and EAT: the part to convert; by default the classifier of a fine-tuned checkpoint, and the encoder
            of a pre-trained one.
        weights: SSLAM and EAT from fairseq: the encoder of a pre-trained checkpoint, trained (`"student"`, the
            default) or its moving average (`"teacher"`).
        labels: class names in the order of the classifier.
        original_config: sam-carnatic: the original's `config.yaml`, for a `final_model.pth`.
        allow_pickle: read a file that contains more than tensors. This can run any code, so set it only for a file
            that you trust.
        overwrite: replace a converted model that is in `output`.

    Model, feature extractor and report are written together or not at all.

    Raises:
        OSError: a file cannot be read, or the disk is full.
        UnsafeCheckpointError: a `ValueError`: the file contains more than tensors, and `allow_pickle` is not set.
        ValueError: the checkpoint has none of the formats or lacks the part, an option does not apply to it, `labels`
            are not as many as the classes, or `output` must not be replaced. Nothing has been written.
    """
    name = os.fspath(checkpoint)
    options = {"what": what, "weights": weights, "original_config": original_config}
    options = {option: value for option, value in options.items() if value is not None}
    if os.path.isfile(name) or name.endswith((".pt", ".pth")):
        content = read_torch_checkpoint(name, allow_pickle=allow_pickle)
        converted = _load(FILE_FORMATS, name, content, (content,), options)
    else:
        if allow_pickle:
            raise ValueError(f"`allow_pickle` does not apply to {name}, which is not a file. Leave it out.")
        config = load_config(name)
        converted = _load(PUBLISHED_FORMATS, name, config, (name, config), options)
    return _save(converted, name, Path(output), labels, overwrite)


def _load(
    formats: tuple[CheckpointFormat, ...],
    name: str,
    content: Mapping[str, Any] | PreTrainedConfig,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> ConvertedModel:
    for checkpoint_format in formats:
        if checkpoint_format.recognise(content):
            for option in options:
                if option not in checkpoint_format.options:
                    raise ValueError(
                        f"`{option}` does not apply to {name}, {checkpoint_format.description}. Leave it out."
                    )
            with config_errors(name):
                return checkpoint_format.load(*arguments, **options)
    if isinstance(content, PreTrainedConfig):
        found = f"a model of type {content.model_type!r}"
    else:
        found = f"a file whose keys begin with {', '.join(map(str, list(content)[:3]))}"
    known = "; ".join(checkpoint_format.description for checkpoint_format in formats)
    raise ValueError(f"{name} cannot be converted: it is {found}. It must be {known}.")


def _check_output(output: Path, overwrite: bool) -> None:
    """Raises `ValueError` for a folder that must not be replaced."""
    restore(output)
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    foreign = [path.name for path in output.iterdir() if not _is_own(path)] if output.is_dir() else [output.name]
    if foreign:
        raise ValueError(
            f"{output} already exists and holds something else than a converted model ({sorted(foreign)[0]}). Name "
            "another folder."
        )
    if not overwrite:
        raise ValueError(f"{output} already holds a model. Name another folder, or pass overwrite (--overwrite).")


def _is_own(path: Path) -> bool:
    if path.suffix == ".py":
        return STAMP in path.read_text(encoding="utf-8", errors="replace")
    return any(fnmatch.fnmatch(path.name, name) for name in _OWN_FILES)


def _save(converted: ConvertedModel, name: str, output: Path, labels: list[str] | None, overwrite: bool) -> Conversion:
    model = converted.model
    if labels is not None:
        if converted.what != "classifier":
            raise ValueError(f"`labels` does not apply to the {converted.what} of {name}. Leave it out.")
        if len(set(labels)) != model.config.num_labels or len(labels) != model.config.num_labels:
            raise ValueError(
                f"The classifier has {model.config.num_labels} classes, but {len(set(labels))} labels were given."
            )
        model.config.id2label = dict(enumerate(labels))
        model.config.label2id = {label: index for index, label in enumerate(labels)}
    _check_output(output, overwrite)
    report = {"checkpoint": name, "what": converted.what, "weights": converted.weights, "keys": converted.keys}
    try:
        with whole_folder(output) as folder, no_bars_of_weights():
            model.save_pretrained(folder)
            converted.feature_extractor.save_pretrained(folder)
            if converted.keys:
                write_json(folder / _REPORT, report)
    except OSError as error:
        raise OSError(
            f"Nothing was written to {output}: {error.__cause__ or error}. Check that the folder can be written to "
            "and that its disk has room, then convert again."
        ) from error
    return Conversion(
        output,
        type(model).__name__,
        model.num_parameters(),
        class_names_of(model.config) if converted.what == "classifier" else None,
        converted.keys,
        output / _REPORT if converted.keys else None,
    )


__all__ = ["Conversion", "convert"]
