# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Annotates recordings of any length: scores over time and events, from files or live."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..data.audio import AudioFileError, Gap, audio_info, stream_audio
from ..data.event_rules import DetectedEvent, EventDetector, EventRules
from .backends import open_timeline
from .files import find_files
from .precision import Precision
from .prediction import ScoredEvent
from .progress import progress_bar
from .timeline import Join


if TYPE_CHECKING:
    from transformers import PreTrainedModel, SequenceFeatureExtractor

# An overview has at most twice as many columns as this
_COLUMNS = 1024

# Progress is reported after as many seconds of audio, or more
_SHORTEST_STEP = 10


@dataclass(frozen=True)
class Overview:
    """
    The scores of a recording in a size that fits a picture.

    Attributes:
        scores: the highest score of each label within each column, `(columns, labels)`, float32.
        column_seconds: length of a column in seconds. The last column may be shorter.
    """

    scores: np.ndarray
    column_seconds: float


@dataclass(frozen=True)
class Annotation:
    """
    The events of a recording.

    Attributes:
        file: its path, as it was given.
        duration: of the recording in seconds.
        labels: names of the classes.
        events: sorted by onset.
        overview: the scores over time. `None` if the recording cannot be read.
        gaps: the parts that cannot be read. The model hears silence there.
        error: why the recording cannot be read, or `None`.
    """

    file: str
    duration: float
    labels: tuple[str, ...]
    events: list[ScoredEvent]
    overview: Overview | None
    gaps: list[Gap]
    error: str | None = None


@dataclass(frozen=True)
class Update:
    """
    What has become final since the update before.

    Attributes:
        start: where the scores begin, in seconds.
        scores: probabilities, `(cells, labels)`, float32. A cell is `cell_seconds` of the annotator long.
        events: sorted by onset. An event is final some time after its end, see [`EventRules`].
    """

    start: float
    scores: np.ndarray
    events: list[ScoredEvent]


def annotate(
    files: str | os.PathLike | Iterable[str | os.PathLike],
    model: "str | os.PathLike | PreTrainedModel",
    feature_extractor: "SequenceFeatureExtractor | None" = None,
    *,
    window: float | None = None,
    hop: float | None = None,
    join: Join = "fade",
    resolution: float | None = None,
    rules: EventRules | None = None,
    threshold: float | None = None,
    batch_size: int = 8,
    device: str | None = None,
    precision: Precision = "auto",
) -> Iterator[Annotation]:
    """
    Find the events in recordings of any length. Memory does not grow with their length.

    Args:
        files: audio files and folders with audio files.
        model: a classifier of clips or of frames, or its folder or Hub name. A folder that `polyaudio export` wrote is
            run by onnxruntime, without torch.
        feature_extractor: the model's. By default the one saved with it.
        window: length in seconds of the windows that the model hears. By default the length that the model reads at
            once, but at most 10.24 s.
        hop: seconds from the start of one window to the next, half of the window by default. For a classifier of
            clips it is also the length of the cells in which events begin and end.
        join: how the scores of windows that overlap are joined: `"fade"`, `"mean"` or `"max"`, see `TimelineModel`.
        resolution: length of the cells in seconds for frame classifiers: the length of a frame, which is the default,
            or a half, a quarter, ... of it. The model then reads the recording two, four, ... times.
        rules: how events follow from scores. By default those in the configuration of the model.
        threshold: replaces both thresholds of the rules.
        batch_size: number of windows in one forward pass.
        device: `"cpu"`, `"cuda"`, ... By default the accelerator if there is one.
        precision: `"bfloat16"` computes in it where it is precise enough, by autocast. `"auto"` is `"float32"` here,
            because rounding can move the borders of events.

    Yields:
        The annotation of each file, in the order of the files. A file that cannot be read has an `error`.

    Raises:
        ValueError: the model is not a trained classifier, or it cannot take these arguments.

    Example:

    ```python
    >>> from polyaudio import annotate

    >>> for annotation in annotate("concert.flac", "runs/ragas"):  # doctest: +SKIP
    ...     for event in annotation.events:
    ...         print(event.onset, event.offset, event.label, event.score)
    ```
    """
    annotator = Annotator(
        model,
        feature_extractor,
        window=window,
        hop=hop,
        join=join,
        resolution=resolution,
        rules=rules,
        threshold=threshold,
        batch_size=batch_size,
        device=device,
        precision=precision,
    )
    found = find_files([files] if isinstance(files, str | os.PathLike) else files)
    return annotator.run(found)


class Annotator:
    """
    Annotates recordings with a classifier that is loaded once. The arguments are those of [`annotate`].

    Attributes:
        labels: names of the classes.
        sampling_rate: the model's, in Hz.
        cell_seconds: length of a cell of scores, in seconds.
        delay: the longest time in seconds from a sound to its final score in a live recording.

    Example:

    ```python
    >>> from polyaudio import Annotator

    >>> annotator = Annotator("runs/events", window=2.0)  # doctest: +SKIP
    >>> live = annotator.live()  # doctest: +SKIP
    >>> for samples in microphone:  # doctest: +SKIP
    ...     for event in live.push(samples).events:
    ...         print(event.onset, event.label)
    ```
    """

    def __init__(
        self,
        model: "str | os.PathLike | PreTrainedModel",
        feature_extractor: "SequenceFeatureExtractor | None" = None,
        *,
        window: float | None = None,
        hop: float | None = None,
        join: Join = "fade",
        resolution: float | None = None,
        rules: EventRules | None = None,
        threshold: float | None = None,
        batch_size: int = 8,
        device: str | None = None,
        precision: Precision = "auto",
    ):
        self.timeline, config = open_timeline(
            model,
            feature_extractor,
            window=window,
            hop=hop,
            join=join,
            resolution=resolution,
            batch_size=batch_size,
            device=device,
            precision=precision,
        )
        rules = EventRules.from_config(config) if rules is None else rules
        if threshold is not None:
            rules = dataclasses.replace(rules, threshold=threshold, low_threshold=None)
        self.rules = rules
        self.labels = self.timeline.labels
        self.sampling_rate = self.timeline.sampling_rate
        self.cell_seconds = self.timeline.cell_seconds
        layout = self.timeline.layout
        self.delay = (layout.size + layout.first_start(layout.passes - 1)) / self.sampling_rate
        self.live()  # checks the rules

    def live(self) -> "AnnotationStream":
        """Begin a recording whose samples come as they are recorded. Each window is answered for at once."""
        return AnnotationStream(self, batch_size=1)

    def run(
        self,
        files: Iterable[str],
        *,
        description: str | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Iterator[Annotation]:
        """
        Yield the annotation of each file.

        Args:
            files: paths of audio files.
            description: text of a progress bar over their duration; `None` for no progress bar.
            progress: is called with the share of their duration that has been read, from 0 to 1.
        """
        files = list(files)
        seconds = sum(map(_duration, files)) if description is not None or progress is not None else 0.0
        bar_format = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of audio [{elapsed}<{remaining}]"
        done = 0.0
        with progress_bar(seconds, description, bar_format=bar_format) as bar:

            def advance(more: float) -> None:
                nonlocal done
                done += more
                bar.update(more)
                if progress is not None:
                    progress(min(1.0, done / seconds) if seconds else 0.0)

            for file in files:
                yield self._annotate(file, advance)

    def _annotate(self, file: str, advance: Callable[[float], None]) -> Annotation:
        stream = AnnotationStream(self, self.timeline.batch_size)
        overview = _OverviewBuilder(len(self.labels), self.cell_seconds)
        events: list[ScoredEvent] = []
        gaps: list[Gap] = []
        # A batch, but not so little that it takes longer
        step = max(self.timeline.layout.step * self.timeline.batch_size, _SHORTEST_STEP * self.sampling_rate)
        try:
            for block in stream_audio(file, self.sampling_rate, gaps=gaps):
                for start in range(0, len(block), step):  # a block has minutes, too long to show no progress
                    part = block[start : start + step]
                    update = stream.push(part)
                    overview.add(update.scores)
                    events += update.events
                    advance(len(part) / self.sampling_rate)
            duration = stream.seconds if gaps else self._end(file, stream.seconds)
        except AudioFileError as error:
            return Annotation(file, 0.0, self.labels, [], None, [], str(error))
        update = stream.finish(duration)
        overview.add(update.scores)
        events += update.events
        events.sort(key=lambda event: (event.onset, event.offset, event.label))
        return Annotation(file, duration, self.labels, events, overview.result(), gaps)

    def _end(self, file: str, seconds: float) -> float:
        """The length of a file, after whose end the last sample at the rate of the model may reach a little."""
        exact = audio_info(file).duration
        return exact if 0 < seconds - exact < 1 / self.sampling_rate else seconds


class AnnotationStream:
    """
    The annotation of one recording, whose samples come in blocks of any length.

    The scores and events are those of [`Annotator.run`] for the whole recording. Memory does not grow with its length.
    """

    def __init__(self, annotator: Annotator, batch_size: int):
        self.annotator = annotator
        self._stream = annotator.timeline.stream(batch_size)
        self._detector = EventDetector(annotator.rules, len(annotator.labels), annotator.cell_seconds)
        self._cells = 0

    @property
    def seconds(self) -> float:
        """Length of the recording so far."""
        return self._stream.samples / self.annotator.sampling_rate

    def push(self, samples: np.ndarray) -> Update:
        """
        Add samples.

        Args:
            samples: mono, `(samples,)`, floats from -1 to 1, at the rate of the model.

        Raises:
            ValueError: the samples are not mono, or NaN or infinite.
        """
        scores = self._stream.push(samples)
        return self._update(scores, self._detector.push(scores))

    def finish(self, duration: float | None = None) -> Update:
        """
        End the recording.

        Args:
            duration: its length in seconds, by default that of its samples. Events end there at the latest.
        """
        scores = self._stream.finish()
        events = self._detector.push(scores)
        events += self._detector.finish(self.seconds if duration is None else duration)
        return self._update(scores, sorted(events))

    def _update(self, scores: np.ndarray, events: list[DetectedEvent]) -> Update:
        start = self._cells * self.annotator.cell_seconds
        self._cells += len(scores)
        labels = self.annotator.labels
        named = [ScoredEvent(event.onset, event.offset, labels[event.label], event.score) for event in events]
        return Update(start, scores, named)


class _OverviewBuilder:
    """Collects the scores of a recording of any length in a limited number of columns."""

    def __init__(self, num_labels: int, cell_seconds: float):
        self.cell_seconds = cell_seconds
        self.cells_per_column = 1
        self.columns = np.zeros((0, num_labels), dtype=np.float32)
        self.rest = self.columns  # the cells of the last column while it is incomplete

    def add(self, scores: np.ndarray) -> None:
        for start in range(0, len(scores), _COLUMNS):
            self._add(scores[start : start + _COLUMNS])

    def _add(self, scores: np.ndarray) -> None:
        cells = np.concatenate([self.rest, scores])
        whole = len(cells) // self.cells_per_column * self.cells_per_column
        self.rest = cells[whole:].copy()
        self.columns = np.concatenate([self.columns, _highest(cells[:whole], self.cells_per_column)])
        while len(self.columns) > 2 * _COLUMNS:
            pairs = len(self.columns) // 2 * 2
            odd = np.repeat(self.columns[pairs:], self.cells_per_column, axis=0)
            self.rest = np.concatenate([odd, self.rest])
            self.columns = _highest(self.columns[:pairs], 2)
            self.cells_per_column *= 2

    def result(self) -> Overview:
        last = self.rest.max(axis=0, keepdims=True) if len(self.rest) else self.rest
        return Overview(np.concatenate([self.columns, last]), self.cells_per_column * self.cell_seconds)


def _highest(scores: np.ndarray, number: int) -> np.ndarray:
    """The highest scores of each `number` rows."""
    return scores.reshape(-1, number, scores.shape[1]).max(axis=1)


def _duration(file: str) -> float:
    """Seconds of a file by its header, or 0 if it cannot be read."""
    try:
        return audio_info(file).duration
    except AudioFileError:
        return 0.0
