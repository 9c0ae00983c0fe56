# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Scores of a recording over time, from overlapping windows that are joined. Memory does not grow with its length."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np


Join = Literal["fade", "mean", "max"]


@dataclass(frozen=True)
class WindowLayout:
    """
    The windows of a recording and the cells of its timeline. All lengths are in samples.

    Args:
        length: length of a window, as far as the answers for it reach.
        size: number of samples that the model gets: those of a window, and the rest of its last frame.
        step: from the start of one window to the next.
        answer: length of one answer of the model: the time of a frame, or `step` for a classifier of clips.
        cell: length of a cell of the timeline.
        join: how the answers of several windows for the same cell are joined.
    """

    length: int
    size: int
    step: int
    answer: int
    cell: int
    join: Join

    @property
    def passes(self) -> int:
        """Number of passes over the recording. Their windows are shifted against each other by one cell."""
        return self.answer // self.cell

    def first_start(self, number: int) -> int:
        """
        Start of the first window of a pass. It is negative for some, if there are several.

        The middle of the first answer of the pass is then the middle of the cell with this number.
        """
        return (2 * number + 1 - self.passes) * self.cell // 2

    def weights(self) -> np.ndarray:
        """The weight of each answer of a window, `(answers, 1)`, float32. Their middles lie within the window."""
        answers = max(1, -((self.answer - 2 * self.length) // (2 * self.answer)))
        if self.join != "fade":
            return np.ones((answers, 1), dtype=np.float32)
        middles = (np.arange(answers, dtype=np.float32) + 0.5) * self.answer
        return np.minimum(middles, self.length - middles)[:, None] / self.length


@dataclass(frozen=True)
class WindowLimits:
    """
    What the windows of a model have to fit.

    Args:
        sampling_rate: the model's, in Hz.
        usual: length of a window by default, in samples.
        longest: the most samples of a window, or `None` if the model reads windows of any length.
        answer: samples from one answer of a frame classifier to the next; `None` for a classifier of clips.
        rest: number of samples by which the last frame of a window reaches beyond the start of the frame after it.
    """

    sampling_rate: int
    usual: int
    longest: int | None
    answer: int | None
    rest: int = 0


def choose_layout(
    limits: WindowLimits,
    *,
    window: float | None = None,
    hop: float | None = None,
    overlap: float | None = None,
    join: Join = "fade",
    resolution: float | None = None,
) -> WindowLayout:
    """
    Choose the windows of a model.

    Args:
        limits: what the model can hear.
        window, hop, overlap, join, resolution: as for `TimelineModel`.

    Raises:
        ValueError: the model cannot take such windows, or has no such resolution.
    """
    if join not in get_args(Join):
        raise ValueError(f"join must be one of {', '.join(get_args(Join))}, got {join!r}.")
    for name, seconds in {"window": window, "hop": hop, "resolution": resolution}.items():
        if seconds is not None and not 0 < seconds < float("inf"):
            raise ValueError(f"{name} must be above 0 seconds, got {seconds:g}.")
    if overlap is not None and not 0 <= overlap < float("inf"):
        raise ValueError(f"overlap must be at least 0 seconds, got {overlap:g}.")
    rate, longest, answer = limits.sampling_rate, limits.longest, limits.answer or 1
    length = limits.usual if window is None else round(window * rate)
    length = max(1, length // answer) * answer
    if longest is not None and length > longest:
        raise ValueError(f"The model reads {longest / rate:g} s at once. Use a shorter window, or none for its own.")
    if hop is None:
        hop = length / 2 / rate if overlap is None else length / rate - overlap
    step = max(1, round(hop * rate / answer)) * answer
    if step > length:
        raise ValueError(f"A hop of {step / rate:g} s would leave out what is between windows of {length / rate:g} s.")
    if overlap is not None and overlap * rate >= length:
        raise ValueError(f"An overlap of {overlap:g} s is not shorter than the window of {length / rate:g} s.")
    passes = 1
    if limits.answer is None:
        answer = step
        if resolution is not None:
            raise ValueError("The model labels clips. The resolution of its timeline is the hop of the windows.")
    elif resolution is not None:
        passes = round(answer / (resolution * rate))
        if passes < 1 or answer % (2 * passes) or abs(answer / passes / rate - resolution) > 1e-6:
            finest = [answer / passes / rate for passes in (1, 2, 4)]
            raise ValueError(
                f"The model has no resolution of {resolution:g} s. Use {', '.join(f'{one:g}' for one in finest)} ..."
            )
    return WindowLayout(length, length + limits.rest, step, answer, answer // passes, join)


class Timeline(ABC):
    """
    Scores of recordings of any length over time, from a classifier that answers for windows.

    A recording is cut into windows that overlap. A classifier of clips gives each window one answer, and a cell of the
    timeline is as long as the hop. A frame classifier gives answers along the window, and a cell is as long as a
    frame, or shorter with another resolution. Where several windows answer for a cell, their scores are joined.

    A recording shorter than a window is one window. The last window of a longer one ends with it, without padding.

    Args:
        layout: the windows, in samples.
        labels: names of the classes.
        sampling_rate: of the samples, in Hz.
        batch_size: number of windows in one forward pass.

    Attributes:
        cell_seconds: length of a cell in seconds.

    Raises:
        ValueError: `batch_size` is less than 1.
    """

    def __init__(self, layout: WindowLayout, labels: Sequence[str], sampling_rate: int, batch_size: int):
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        self.layout = layout
        self.labels = tuple(labels)
        self.sampling_rate = sampling_rate
        self.batch_size = batch_size
        self.cell_seconds = layout.cell / sampling_rate

    def stream(self, batch_size: int | None = None) -> "TimelineStream":
        """Begin the timeline of a recording, by default with the `batch_size` of this object."""
        return TimelineStream(self, self.batch_size if batch_size is None else batch_size)

    def scores(self, samples: np.ndarray) -> np.ndarray:
        """
        The timeline of a recording in memory.

        Args:
            samples: mono, `(samples,)`, float32, at the model's rate.

        Returns:
            Probabilities `(cells, labels)`, float32.
        """
        stream = self.stream()
        return np.concatenate([stream.push(samples), stream.finish()])

    @abstractmethod
    def score_windows(self, windows: Sequence[np.ndarray], is_whole: bool = False) -> list[np.ndarray]:
        """
        The probabilities of each window, `(answers, labels)`, float32.

        Args:
            windows: `(samples,)` each, all of the same length.
            is_whole: whether they are whole recordings, which are padded as the model was trained.
        """

    def answers_for_cells(self, scores: np.ndarray) -> list[np.ndarray]:
        """The answers of a classifier of clips `(windows, labels)` for each cell of each window."""
        return list(np.repeat(scores[:, None], len(self.layout.weights()), axis=1))


class TimelineStream:
    """
    The timeline of one recording, whose samples come in blocks of any length.

    A cell is final when no window to come reaches it. With a `batch_size` of 1 that takes at most a window.
    """

    def __init__(self, timeline: Timeline, batch_size: int):
        layout = timeline.layout
        self.timeline = timeline
        self.layout = layout
        self.batch_size = batch_size
        # Windows that begin before the recording hear its mirrored beginning
        self.lead = max(0, -layout.first_start(0))
        self.samples = 0
        self._held = np.zeros(0, dtype=np.float32)
        self._held_start = -self.lead
        self._has_lead = False
        self._next = [0] * layout.passes  # the number of the next window of each pass
        self._waiting: list[tuple[int, np.ndarray]] = []
        self._joiners = [_Joiner(layout, len(timeline.labels)) for _ in range(layout.passes)]
        self._cells = 0
        self._last: np.ndarray | None = None

    def push(self, samples: np.ndarray) -> np.ndarray:
        """
        Add samples.

        Args:
            samples: mono, `(samples,)`, float32, at the model's rate.

        Returns:
            The probabilities of the cells that are final now, `(cells, labels)`, float32.
        """
        if samples.ndim != 1:
            raise ValueError(f"The samples must be mono, (samples,), got {samples.shape}.")
        if samples.dtype.kind != "f":
            raise ValueError(f"The samples must be floats from -1 to 1, got {samples.dtype}. Divide integers first.")
        if not np.isfinite(samples).all():
            raise ValueError("The samples contain NaN or infinity. Check the source of the sound.")
        self.samples += len(samples)
        self._held = np.concatenate([self._held, samples.astype(np.float32, copy=False)])
        if self._has_lead or len(self._held) >= self.lead:
            self._add_lead()
            self._cut_windows()
        return self._final_cells()

    def finish(self) -> np.ndarray:
        """
        End the recording.

        Returns:
            The rest of the probabilities, `(cells, labels)`, float32. The last cell may reach beyond the end.

        Raises:
            ValueError: there are no samples.
        """
        if not self.samples:
            raise ValueError("The recording has no samples.")
        self._add_lead()
        self._cut_windows(is_end=True)
        self._run()
        for joiner in self._joiners:
            joiner.finish()
        cells = self._final_cells()
        missing = -(-self.samples // self.layout.cell) - self._cells
        if missing > 0 and self._last is not None:  # an end too short for a window of its own
            cells = np.concatenate([cells, np.repeat(self._last, missing, axis=0)])
        return cells

    def _add_lead(self) -> None:
        if not self._has_lead:
            self._held = np.pad(self._held, (self.lead, 0), mode="symmetric")
            self._has_lead = True

    def _cut_windows(self, is_end: bool = False) -> None:
        layout, end = self.layout, self._held_start + len(self._held)
        shortest = self.timeline.sampling_rate // 40
        while True:
            starts = [layout.first_start(number) + index * layout.step for number, index in enumerate(self._next)]
            number = int(np.argmin(starts))
            start, is_first = starts[number], self._next[number] == 0
            # One sample more than the first window shows that it is not the whole recording
            if start + layout.size + is_first > end:
                # The last window of a pass is shorter. A rest of less than 25 ms, one frame, gets none.
                is_needed = is_first or start - layout.step + layout.length + shortest <= end
                if not is_end or not is_needed:
                    break
            # A recording shorter than a cell ends before the first window of some passes, which then hear all of it
            first = start - self._held_start if start < end else 0
            self._waiting.append((number, self._held[first : first + layout.size]))
            self._next[number] += 1
            if len(self._waiting) == self.batch_size:
                self._run()
        passed = min(start - self._held_start, len(self._held))
        self._held = self._held[passed:].copy()
        self._held_start += passed

    def _run(self) -> None:
        """Run the model on the waiting windows, those of one length together."""
        is_whole = self.samples + self.lead <= self.layout.size
        waiting, self._waiting = self._waiting, []
        while waiting:
            same = [one for one in waiting if len(one[1]) == len(waiting[0][1])]
            waiting = [one for one in waiting if len(one[1]) != len(waiting[0][1])]
            scores = self.timeline.score_windows([window for _, window in same], is_whole)
            for (number, _), answers in zip(same, scores, strict=True):
                self._joiners[number].add(answers)

    def _final_cells(self) -> np.ndarray:
        """The cells for which all passes have a final answer."""
        number = min(joiner.number_final for joiner in self._joiners)
        cells = np.stack([joiner.take(number) for joiner in self._joiners], axis=1)
        cells = cells.reshape(-1, len(self.timeline.labels))
        # Where the model hears padding, there are answers for what is after the end
        cells = cells[: max(0, -(-self.samples // self.layout.cell) - self._cells)]
        self._cells += len(cells)
        self._last = cells[-1:] if len(cells) else self._last
        return cells


class _Joiner:
    """Joins the answers of the windows of one pass, which come in their order."""

    def __init__(self, layout: WindowLayout, num_labels: int):
        self.weights = layout.weights()
        self.step = layout.step // layout.answer
        self.joins_by_max = layout.join == "max"
        self.sums = np.zeros((0, num_labels), dtype=np.float32)
        self.total = np.zeros((0, 1), dtype=np.float32)
        self.number_final = 0  # the next window begins after them

    def add(self, answers: np.ndarray) -> None:
        """Add the answers `(answers, labels)` of the next window."""
        answers = answers[: len(self.weights)]
        weights = self.weights[: len(answers)]
        own = slice(self.number_final, self.number_final + len(answers))
        missing = max(0, own.stop - len(self.sums))
        self.sums = np.pad(self.sums, ((0, missing), (0, 0)))
        self.total = np.pad(self.total, ((0, missing), (0, 0)))
        if self.joins_by_max:
            self.sums[own] = np.maximum(self.sums[own], answers)
            self.total[own] = 1
        else:
            self.sums[own] += weights * answers
            self.total[own] += weights
        self.number_final += self.step

    def finish(self) -> None:
        """Make all answers final."""
        self.number_final = len(self.sums)

    def take(self, number: int) -> np.ndarray:
        """Take out the first final answers, `(number, labels)`."""
        joined = self.sums[:number] / self.total[:number]
        self.sums, self.total = self.sums[number:], self.total[number:]
        self.number_final -= number
        return joined
