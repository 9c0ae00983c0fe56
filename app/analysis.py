# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What the page shows of a recording: labels, a picture, events and files, as the command line would give them."""

import dataclasses
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..data.audio import AudioFileError
from ..data.text import one_line
from ..inference.annotation import Annotation, Annotator
from ..inference.annotation_files import FORMATS, write_annotation
from ..inference.annotation_page import write_page
from ..inference.annotation_plots import plot_annotation
from ..inference.backends import open_classifier
from ..inference.exported import find_export
from ..inference.pictures import compute_spectrogram, leading_labels
from ..inference.prediction import LabelScore, Predictor
from ..modeling.loading import load_classifier


# A table with more rows is slow in a browser
MOST_EVENTS = 1000

_MOST_LABELS = 5

# The shares of the work: annotating, whose windows overlap; labelling, whose windows do not; and the pictures
_ANNOTATED, _LABELLED = 0.6, 0.9

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Analysis:
    """
    What the page shows of a recording.

    Attributes:
        labels: the labels with the highest scores, the highest first. For a classifier of clips they are those of
            `predict`, for a frame classifier each has its highest score in the recording.
        rows: for each of the first `MOST_EVENTS` events its onset and offset in seconds, its label and its score.
        notes: sentences about what is not shown and what could not be read.
        picture: a PNG file with the spectrogram, the scores and the events over time.
        files: the annotation in the formats of other programs, the picture, and the page that plays the recording.
    """

    labels: list[LabelScore]
    rows: list[tuple[float, float, str, float]]
    notes: list[str]
    picture: Path
    files: list[Path]


class Analyst:
    """
    Analyses recordings with one model, which is loaded at the first recording and kept.

    Args:
        model: a classifier of clips or of frames: its folder or Hub name, or a folder that `polyaudio export` wrote.
        device: `"cpu"`, `"cuda"`, ... By default the accelerator if there is one.

    Raises:
        ValueError: there is no such model.
    """

    def __init__(self, model: str, device: str | None = None):
        self.model = model
        self.device = device
        self.labels_frames = open_classifier(model, device=device).labels_frames
        self._annotator: Annotator | None = None
        self._predictor: Predictor | None = None
        self._loading = threading.Lock()

    def _load(self) -> tuple[Annotator, Predictor | None]:
        """The two users of the model, which share its weights."""
        with self._loading:
            if self._annotator is None:
                classifier = self.model if find_export(self.model) else load_classifier(self.model)
                if not self.labels_frames:
                    self._predictor = Predictor(classifier, top_k=_MOST_LABELS, device=self.device)
                self._annotator = Annotator(classifier, device=self.device)
            return self._annotator, self._predictor

    def analyse(self, recording: Path, folder: Path, progress: Progress = lambda share, text: None) -> Analysis:
        """
        Analyse a recording. The memory does not grow with its length.

        Args:
            recording: an audio file. In the files that are written it has its name without its folder.
            folder: an existing folder for these files.
            progress: is called with the share of the work that is done, and what is being done.

        Raises:
            ValueError: the model is not a trained classifier.
            AudioFileError: the recording cannot be read.
        """
        progress(0.0, "Loading the model")
        annotator, predictor = self._load()
        (annotation,) = annotator.run(
            [str(recording)], progress=lambda share: progress(_ANNOTATED * share, "Finding events")
        )
        if annotation.error is not None:
            raise AudioFileError(annotation.error)
        notes = _notes(annotation)
        if predictor is None:
            labels = _highest_scores(annotation)
            notes.insert(0, "The score of a label is its highest score in the recording.")
        else:
            progress(_ANNOTATED, "Labelling")
            (prediction,) = predictor.run([str(recording)])
            labels = prediction.labels or []
            if prediction.none_of_these:
                notes.insert(0, "None of these: no score is high enough for one of the classes of the model.")
            if prediction.error is not None:  # a damaged recording, which has events all the same
                notes.append(f"There are no labels of the whole recording: {prediction.error}")
        progress(_LABELLED, "Drawing")
        picture, files = _write(annotation, recording, folder, annotator.sampling_rate)
        rows = [
            (round(one.onset, 3), round(one.offset, 3), one_line(one.label), round(one.score, 3))
            for one in annotation.events[:MOST_EVENTS]
        ]
        return Analysis(labels, rows, notes, picture, files)


def _highest_scores(annotation: Annotation) -> list[LabelScore]:
    leading = leading_labels(annotation, _MOST_LABELS)
    if annotation.overview is None or not leading:
        return []
    peaks = annotation.overview.scores.max(axis=0)
    return [LabelScore(annotation.labels[index], float(peaks[index])) for index in leading]


def _notes(annotation: Annotation) -> list[str]:
    notes = [
        f"{gap.start:.3f} to {gap.stop:.3f} s cannot be read and count as silence: {gap.reason}"
        for gap in annotation.gaps
    ]
    number = len(annotation.events)
    if number == 0:
        notes.append("There are no events: no score is above the threshold of the model.")
    elif number > MOST_EVENTS:
        notes.append(f"The table shows the first {MOST_EVENTS} of {number} events. The files hold all of them.")
    return notes


def _write(annotation: Annotation, recording: Path, folder: Path, sampling_rate: int) -> tuple[Path, list[Path]]:
    """Write the annotation under the name of the recording; returns the picture, and all files."""
    spectrogram = compute_spectrogram(recording, annotation.duration)
    named = dataclasses.replace(annotation, file=recording.name)
    output = folder / recording.name
    files = write_annotation(named, output, list(FORMATS), sampling_rate=sampling_rate)
    picture, page = (folder / f"{recording.name}.{extension}" for extension in ("png", "html"))
    plot_annotation(named, picture, spectrogram=spectrogram)
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        # The page plays a large recording that lies beside it, under the name that the user knows
        linked = Path(beside) / recording.name
        linked.symlink_to(recording.resolve())
        draft = Path(beside) / page.name
        write_page(named, draft, file=linked, spectrogram=spectrogram)
        draft.rename(page)
    return picture, [*files, picture, page]
