# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What runs a model: onnxruntime for a folder that `polyaudio export` wrote, and otherwise torch, imported then."""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ..data.calibration import Calibration
from ..data.event_rules import EventRules
from ..data.recordings import Recording
from .exported import ExportedClassifier, ExportedEncoder, ExportedTimeline, find_export, refuse_options
from .files import FileReader, FileResult
from .precision import Choice, Precision, check_precision
from .timeline import Join, Timeline


if TYPE_CHECKING:
    from transformers import PreTrainedModel, SequenceFeatureExtractor

    from ..modeling.traits import Layer


Granularity = Literal["utterance", "frame", "all"]


class ClipClassifier(Protocol):
    """
    A classifier of clips or of frames that scores files.

    Attributes:
        labels: names of the classes.
        labels_frames: whether it labels frames.
        answer_seconds: for frames, the seconds from one answer to the next; otherwise 0.
        reader: reads and divides files.
    """

    labels: tuple[str, ...]
    labels_frames: bool
    answer_seconds: float
    reader: FileReader

    @property
    def event_rules(self) -> EventRules:
        """How events follow from scores, for frames."""

    @property
    def calibration(self) -> Calibration | None:
        """Of the scores, or `None` if they were not calibrated."""

    @property
    def choice(self) -> Choice | None:
        """What `precision="auto"` has chosen so far, where there was a choice."""

    def load(self) -> None:
        """Load the weights. Before, there are `labels_frames` only."""

    def run(
        self, files: Sequence[str | Recording], *, num_workers: int, description: str | None
    ) -> Iterator[FileResult]:
        """Yield for each file the probabilities of its windows: `(labels,)` or `(frames, labels)`, float32."""


class ClipEncoder(Protocol):
    """
    An encoder that computes features of files.

    Attributes:
        frame_seconds: for frames, the seconds from one to the next; `None` where polyaudio does not know.
        reader: reads and divides files.
    """

    frame_seconds: float | None
    reader: FileReader

    def run(
        self, files: Sequence[str | Recording], *, num_workers: int, description: str | None
    ) -> Iterator[FileResult]:
        """
        Yield for each file the features of its windows: a vector `(hidden_size,)` for the whole window or `None`, and
        vectors along its time `(n, hidden_size)` or `None`, float32.
        """


def open_classifier(
    model: "str | os.PathLike | PreTrainedModel",
    feature_extractor: "SequenceFeatureExtractor | None" = None,
    *,
    window: float | None = None,
    padding: str | None = None,
    batch_size: int = 8,
    device: str | None = None,
    precision: Precision = "auto",
    torch_compile: bool = False,
) -> ClipClassifier:
    """The classifier of a model, a folder or a Hub name. The arguments are those of [`Predictor`]."""
    check_precision(precision)
    model = _name_or_model(model)
    folder = find_export(model)
    if folder is None:
        return _torch_models(model).TorchClassifier(
            model,
            feature_extractor,
            window=window,
            padding=padding,
            batch_size=batch_size,
            device=device,
            precision=precision,
            torch_compile=torch_compile,
        )
    computing = {"precision": _fixed_in_export(precision), "torch_compile": torch_compile or None}
    refuse_options(folder, device, feature_extractor=feature_extractor, window=window, padding=padding, **computing)
    return ExportedClassifier(folder, batch_size)


def open_encoder(
    model: "str | os.PathLike | PreTrainedModel",
    feature_extractor: "SequenceFeatureExtractor | None" = None,
    *,
    granularity: Granularity = "utterance",
    window: float | None = None,
    padding: str = "longest",
    batch_size: int = 8,
    device: str | None = None,
    layer: "Layer | None" = None,
    precision: Precision = "auto",
    torch_compile: bool = False,
) -> ClipEncoder:
    """The encoder of a model, a folder or a Hub name. The arguments are those of [`Embedder`]."""
    check_precision(precision)
    model = _name_or_model(model)
    folder = find_export(model)
    if folder is None:
        return _torch_models(model).TorchEncoder(
            model,
            feature_extractor,
            granularity=granularity,
            window=window,
            padding=padding,
            batch_size=batch_size,
            device=device,
            layer=layer,
            precision=precision,
            torch_compile=torch_compile,
        )
    own_padding = None if padding == "longest" else padding
    computing = {"layer": layer, "precision": _fixed_in_export(precision), "torch_compile": torch_compile or None}
    refuse_options(
        folder, device, feature_extractor=feature_extractor, window=window, padding=own_padding, **computing
    )
    return ExportedEncoder(folder, granularity, batch_size)


def open_timeline(
    model: "str | os.PathLike | PreTrainedModel",
    feature_extractor: "SequenceFeatureExtractor | None" = None,
    *,
    window: float | None = None,
    hop: float | None = None,
    join: Join = "fade",
    resolution: float | None = None,
    batch_size: int = 8,
    device: str | None = None,
    precision: Precision = "auto",
) -> tuple[Timeline, Any]:
    """
    The timeline of a classifier, a folder or a Hub name, and its configuration, from which `EventRules.from_config`
    reads rules. The arguments are those of [`annotate`].
    """
    settings: dict[str, Any] = {
        "window": window,
        "hop": hop,
        "join": join,
        "resolution": resolution,
        "batch_size": batch_size,
    }
    check_precision(precision)
    model = _name_or_model(model)
    folder = find_export(model)
    if folder is None:
        return _torch_models(model).load_timeline(
            model, feature_extractor, device=device, precision=precision, **settings
        )
    refuse_options(folder, device, feature_extractor=feature_extractor, precision=_fixed_in_export(precision))
    timeline = ExportedTimeline(folder, **settings)
    return timeline, timeline.config


def _fixed_in_export(precision: Precision) -> Precision | None:
    """What an export cannot do of this: it computes in the precision that it was made in."""
    return None if precision == "auto" else precision


def _name_or_model(model: "str | os.PathLike | PreTrainedModel") -> "str | PreTrainedModel":
    return os.fspath(model) if isinstance(model, os.PathLike) else model


def _torch_models(model: "str | PreTrainedModel") -> Any:
    """The module that runs models of torch. Raises `ValueError` where torch or transformers is not installed."""
    try:
        from . import torch_models
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "transformers"):
            raise
        what = "is not a folder" if isinstance(model, str) and not os.path.isdir(model) else "is not an export"
        raise ValueError(
            f"{model} {what} with a polyaudio_export.json, and a model of another kind needs {error.name}: "
            "`pip install polyaudio`. Without it, pass a folder that `polyaudio export` wrote."
        ) from error
    return torch_models
