# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Runs a folder that `polyaudio export` wrote with onnxruntime. Nothing of torch or transformers is needed."""

import importlib.util
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..data.calibration import Calibration
from ..data.digests import digest_of_file, digest_of_values
from ..data.event_rules import EventRules
from ..data.grid import WindowGrid
from ..data.recordings import Recording
from ..integration.hub_access import hub_is_silent
from ..integration.limits import read_json
from .files import BatchAnswers, FileReader, FileResult, Piece, collect_results
from .timeline import Join, Timeline, WindowLayout, WindowLimits, choose_layout


EXPORT_FILE = "polyaudio_export.json"
_MODEL_FILE = "model.onnx"
_FORMAT_VERSION = 1

_MULTI_LABEL = "multi_label_classification"
_REGRESSION = "regression"
# The most samples of a clip that are folded at once, unless a window has more: about two minutes
_LONGEST_PART = 2**21
# The outputs of an encoder, by granularity
_FEATURES = {"utterance": "utterance", "frame": "frames"}


@dataclass(frozen=True)
class ExportedConfig:
    """
    What the JSON file of an export says about its model. Lengths are in samples.

    Args:
        folder: the folder of the export.
        task: `"clips"`, `"frames"` or `"encoder"`.
        model_type: that of the configuration of transformers.
        sampling_rate: in Hz.
        labels: names of the classes.
        problem_type: as in transformers.
        grid: the windows of long clips, or `None` for whole clips. A margin says that the graph has frames that are
            centred on multiples of the hop, for which it mirrors both ends of what it gets. So a window of n hops has
            n + 1 frames. Such a model hears no padding.
        timeline: the layout of timelines by default, or `None`.
        event_rules, calibration: as in the configuration.
        frame_seconds: seconds from one vector of an encoder to the next, or `None` for classifiers.
    """

    folder: Path
    task: str
    model_type: str
    sampling_rate: int
    labels: tuple[str, ...]
    problem_type: str | None
    grid: WindowGrid | None
    timeline: WindowLayout | None
    event_rules: Mapping[str, Any] | None
    calibration: Mapping[str, Any] | None
    frame_seconds: float | None

    @classmethod
    def read(cls, folder: str | os.PathLike) -> "ExportedConfig":
        """
        Read the JSON file of an export.

        Raises:
            ValueError: the folder is no export, or one that this version cannot run, or the file is damaged.
        """
        path = Path(folder, EXPORT_FILE)
        if not path.is_file():
            raise ValueError(f"{folder} has no {EXPORT_FILE}: `polyaudio export` did not write it.")
        content = read_json(path)
        try:
            _check_kind(Path(folder), content)
            window, timeline, embedding = content["window"], content["timeline"], content["embedding"]
            return cls(
                folder=Path(folder),
                task=content["task"],
                model_type=content["model_type"],
                sampling_rate=int(content["sampling_rate"]),
                labels=tuple(map(str, content["labels"])),
                problem_type=content["problem_type"],
                grid=window and _grid(content, **window),
                timeline=timeline and WindowLayout(**timeline),
                event_rules=content["event_rules"],
                calibration=content.get("calibration"),  # exports of version 0.1 have none
                frame_seconds=embedding and float(embedding["seconds_per_frame"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged ({error!r}). Export the model again.") from error

    @property
    def num_labels(self) -> int:
        return len(self.labels)


def _grid(content: Mapping[str, Any], samples: int, step: int, margin: int = 0) -> WindowGrid:
    return WindowGrid(samples, step, content["frame_hop"], content["shortest"], margin)


def _check_kind(folder: Path, content: Mapping[str, Any]) -> None:
    """Raise `ValueError` if this version cannot run an export."""
    if content["format_version"] > _FORMAT_VERSION:
        raise ValueError(
            f"{folder} was exported by a newer polyaudio, in version {content['format_version']} of its format, and "
            f"this one knows version {_FORMAT_VERSION}. Upgrade polyaudio: `pip install --upgrade polyaudio`."
        )
    if content["format"] != "onnx":
        raise ValueError(
            f"{folder} is an export to {content['format']}, which polyaudio does not run. Export the model with "
            "`--format onnx --front-end`."
        )
    if content["input"] != "samples":
        raise ValueError(
            f"{folder} takes features instead of samples. Export the model with its front end: "
            "`polyaudio export MODEL --format onnx --front-end`."
        )


def find_export(model: object) -> Path | None:
    """
    The folder of an export with this name, or `None` if it is another kind of model.

    Args:
        model: a folder, a Hub name, whose files are downloaded if huggingface_hub is installed, or a model.
    """
    if not isinstance(model, str | os.PathLike):
        return None
    folder = Path(model)
    if folder.is_dir():
        return folder if (folder / EXPORT_FILE).is_file() else None
    if not isinstance(model, str) or importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    is_silent = hub_is_silent(model)
    try:
        hf_hub_download(model, EXPORT_FILE, local_files_only=is_silent)
    except (HfHubHTTPError, HFValidationError, OSError):  # what loads other models says what is wrong
        return None
    patterns = [EXPORT_FILE, f"{_MODEL_FILE}*"]
    return Path(snapshot_download(model, allow_patterns=patterns, local_files_only=is_silent))


def refuse_options(folder: Path, device: str | None, **options: object) -> None:
    """Raise `ValueError` for options that an export does not have: another device than the CPU, or any of these."""
    if device not in (None, "cpu"):
        raise ValueError(f"{folder} is an export, which runs on the CPU. Leave out device (--device).")
    for name, value in options.items():
        if value is not None:
            raise ValueError(
                f"{folder} is an export, in which {name} is fixed. Leave it out, or use the model itself."
            )


def digest_of_export(folder: Path) -> str:
    """The SHA-256 of the weights and settings of an export."""
    names = [EXPORT_FILE, *sorted(path.name for path in folder.glob(f"{_MODEL_FILE}*"))]
    return digest_of_values({name: digest_of_file(folder / name) for name in names})


class ExportedModel:
    """
    The graph of an export, in a session of onnxruntime on the CPU.

    Args:
        config: of the export.
        batch_size: number of windows in one pass.

    Raises:
        ValueError: onnxruntime is not installed, or cannot read the graph.
    """

    def __init__(self, config: ExportedConfig, batch_size: int):
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        self.config = config
        self.batch_size = batch_size
        try:
            import onnxruntime
        except ImportError as error:
            raise ValueError(
                f"{config.folder} is an export, which onnxruntime runs: `pip install polyaudio[onnx]`, or "
                "`pip install onnxruntime` where polyaudio is installed without torch."
            ) from error
        path = config.folder / _MODEL_FILE
        try:
            self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:  # the classes of its errors have no base of their own
            raise ValueError(
                f"onnxruntime {onnxruntime.__version__} cannot read {path}: {error}. Export the model again."
            ) from error

    def run(self, windows: Sequence[np.ndarray], is_part: Sequence[bool], output: str) -> list[np.ndarray]:
        """
        One output of the graph for each of several windows.

        Args:
            windows: `(samples,)` each, float32, mono at the rate of the model.
            is_part: for each window, whether it is a part of a clip. A whole clip that is shorter than a window hears
                its padding as in the training of the model, and a part hears none.
            output: the name of the output.

        Raises:
            ValueError: the model returns NaN or infinity.
        """
        answers: list[np.ndarray] = [np.empty(0)] * len(windows)
        for rows, samples in self._batches(windows, is_part):
            values = np.zeros((len(rows), samples), dtype=np.float32)
            mask = np.zeros((len(rows), samples), dtype=np.int64)
            for row, index in enumerate(rows):
                values[row, : len(windows[index])] = windows[index]
                mask[row, : len(windows[index])] = 1
            (found,) = self.session.run([output], {"input_values": values, "attention_mask": mask})
            if not np.isfinite(found).all():
                raise ValueError(f"{self.config.folder} returns NaN or infinite numbers. Export the model again.")
            for row, index in enumerate(rows):
                answers[index] = found[row]
        return answers

    def _batches(self, windows: Sequence[np.ndarray], is_part: Sequence[bool]) -> Iterator[tuple[list[int], int]]:
        """The indices of the windows of each pass, and the number of samples to which they are padded."""
        # Masked padding makes a clip a part, so whole clips are together only with those of their length
        groups: dict[int | None, list[int]] = {}
        hears_padding = self.config.grid is None or self.config.grid.margin == 0
        for index, (window, is_one) in enumerate(zip(windows, is_part, strict=True)):
            groups.setdefault(None if is_one and hears_padding else len(window), []).append(index)
        for length, group in groups.items():
            for start in range(0, len(group), self.batch_size):
                rows = group[start : start + self.batch_size]
                samples = max(len(windows[index]) for index in rows)
                # One masked sample says that the rest of the window is not to be heard either
                is_short = length is None and (self.config.grid is None or samples < self.config.grid.size)
                yield rows, samples + is_short

    def logits(self, windows: Sequence[np.ndarray], is_part: Sequence[bool]) -> list[np.ndarray]:
        """The logits of each window, float32: `(labels,)`, or `(frames, labels)` without those of masked padding."""
        logits = self.run(windows, is_part, "logits")
        if self.config.task != "frames":
            return logits
        return [
            one[: self._answers(len(window))] if masked else one
            for one, window, masked in zip(logits, windows, is_part, strict=True)
        ]

    def probabilities(self, windows: Sequence[np.ndarray], is_part: Sequence[bool]) -> list[np.ndarray]:
        """The probabilities for [`logits`], or the values of a regression."""
        return [_probabilities(one, self.config.problem_type) for one in self.logits(windows, is_part)]

    def _answers(self, samples: int) -> int:
        """The number of answers of a frame classifier for a window without padding."""
        grid, timeline = self.config.grid, self.config.timeline
        assert grid is not None
        assert timeline is not None  # a frame classifier has both
        return -(-grid.frames(samples) * grid.hop // timeline.answer)


class _OnFiles(ABC):
    """Runs a model on files. Subclasses say what it answers for windows."""

    reader: FileReader

    @abstractmethod
    def answers(self, windows: Sequence[np.ndarray], is_part: Sequence[bool]) -> list[Any]:
        """The answer for each window; `is_part` says which of them are parts of a clip."""

    def run(
        self, files: Sequence[str | Recording], *, num_workers: int, description: str | None
    ) -> Iterator[FileResult]:
        """Yield the answers for each file. They are read in this process, whatever `num_workers` is."""
        plan, errors = self.reader.plan(files)
        batches = map(self._answer, plan)
        return collect_results(batches, errors, total=len(files), description=description)

    def _answer(self, batch: list[Piece]) -> BatchAnswers:
        pieces, clips, errors = self.reader.read(batch)
        is_part = [piece.is_part(clip) for piece, clip in zip(pieces, clips, strict=True) for _ in clip]
        samples = [[len(window) for window in clip] for clip in clips]
        windows = [window for clip in clips for window in clip]
        return BatchAnswers(pieces, samples, self.answers(windows, is_part) if windows else [], errors)


class ExportedClassifier(_OnFiles):
    """
    A [`ClipClassifier`] that is an export.

    Args:
        folder: of the export.
        batch_size: number of windows in one pass.

    Raises:
        ValueError: the folder cannot be run, or is no classifier.
    """

    choice = None  # an export computes in the precision that it was made in

    def __init__(self, folder: Path, batch_size: int):
        self.config = config = ExportedConfig.read(folder)
        if config.task == "encoder":
            raise ValueError(f"{folder} is not a trained classifier but an encoder. Export a classifier.")
        self.batch_size = batch_size
        self.labels, self.labels_frames = config.labels, config.task == "frames"
        self.answer_seconds = 0.0
        if self.labels_frames and config.timeline is not None:
            self.answer_seconds = config.timeline.answer / config.sampling_rate
        self.reader = _reader(config, batch_size, folds=True)

    @cached_property
    def event_rules(self) -> EventRules:
        return EventRules.from_config(self.config)

    @cached_property
    def calibration(self) -> Calibration | None:
        return Calibration.from_config(self.config)

    def load(self) -> None:
        self.model = ExportedModel(self.config, self.batch_size)

    def answers(self, windows: Sequence[np.ndarray], is_part: Sequence[bool]) -> list[np.ndarray]:
        return self.model.probabilities(windows, is_part)


class ExportedEncoder(_OnFiles):
    """
    A [`ClipEncoder`] that is an export.

    Args:
        folder: of the export.
        granularity: `"utterance"` or `"frame"`.
        batch_size: number of windows in one pass.

    Raises:
        ValueError: the folder cannot be run, or has no such features.
    """

    def __init__(self, folder: Path, granularity: str, batch_size: int):
        config = ExportedConfig.read(folder)
        if config.task != "encoder":
            raise ValueError(f"{folder} is the export of a classifier, which gives no features. Export its encoder.")
        if granularity not in _FEATURES:
            raise ValueError(
                f"An export has no features of granularity {granularity!r}. Use {' or '.join(_FEATURES)}."
            )
        self.output = _FEATURES[granularity]
        self.frame_seconds = config.frame_seconds if granularity == "frame" else None
        self.reader = _reader(config, batch_size)
        self.model = ExportedModel(config, batch_size)

    def answers(
        self, windows: Sequence[np.ndarray], is_part: Sequence[bool]
    ) -> list[tuple[np.ndarray | None, np.ndarray | None]]:
        # An encoder hears no padding, so a window without masked padding has no other vectors than its own
        found = self.model.run(windows, [False] * len(windows), self.output)
        return [(None, one) if self.output == "frames" else (one, None) for one in found]


class ExportedTimeline(Timeline):
    """
    The [`Timeline`] of an export.

    Args:
        folder: of the export.
        window, hop, join, resolution, batch_size: as for `TimelineModel`.

    Attributes:
        config: of the export.

    Raises:
        ValueError: the folder cannot be run, is not a classifier, or cannot take such windows.
    """

    def __init__(
        self,
        folder: Path,
        *,
        window: float | None = None,
        hop: float | None = None,
        join: Join = "fade",
        resolution: float | None = None,
        batch_size: int = 8,
    ):
        self.config = config = ExportedConfig.read(folder)
        if config.task == "encoder" or config.timeline is None:
            raise ValueError(f"{folder} is not a classifier. A timeline needs one.")
        own = config.timeline
        limits = WindowLimits(
            sampling_rate=config.sampling_rate,
            usual=own.length,
            longest=None if config.grid is None else max(config.grid.step, own.length),
            answer=own.answer if config.task == "frames" else None,
            rest=own.size - own.length,
        )
        layout = choose_layout(limits, window=window, hop=hop, join=join, resolution=resolution)
        super().__init__(layout, config.labels, config.sampling_rate, batch_size)
        self.model = ExportedModel(config, batch_size)

    def score_windows(self, windows: Sequence[np.ndarray], is_whole: bool = False) -> list[np.ndarray]:
        scores = self.model.probabilities(windows, [not is_whole] * len(windows))
        return scores if self.config.task == "frames" else self.answers_for_cells(np.stack(scores))


def _reader(config: ExportedConfig, batch_size: int, *, folds: bool = False) -> FileReader:
    """
    What reads files as windows of an export.

    Args:
        folds: whether the graph itself cuts clips into windows, as classifiers do.
    """
    grid = config.grid
    if grid is None or grid.margin == 0:
        return FileReader(config.sampling_rate, grid, batch_size)
    # The graph mirrors the ends of a window also where they lie within a clip. A graph that folds gets several short
    # windows at once, so that there are few of these ends.
    at_once = max(1, _LONGEST_PART // grid.step) if folds else 1
    step = at_once * grid.step
    return FileReader(config.sampling_rate, WindowGrid(step - 1, step, grid.hop), 1 if folds else batch_size)


def _probabilities(logits: np.ndarray, problem_type: str | None) -> np.ndarray:
    if problem_type == _REGRESSION:
        return logits
    if problem_type == _MULTI_LABEL:
        return np.exp(-np.logaddexp(np.float32(0), -logits))
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)
