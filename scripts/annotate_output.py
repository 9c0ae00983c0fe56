# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What `polyaudio annotate` writes."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .terminal import print_error


if TYPE_CHECKING:
    from ..inference.annotation import Annotation, Annotator
    from ..inference.attention import SegmentAttention


PICTURES = ("png", "html")
_DEFAULT_FORMATS = ["csv", "html"]


def choose_formats(asked: list[str] | None) -> list[str]:
    """The formats to write. Where matplotlib is not installed, there are no pictures."""
    if importlib.util.find_spec("matplotlib") is not None:
        return asked or _DEFAULT_FORMATS
    pictures = [name for name in asked or _DEFAULT_FORMATS if name in PICTURES]
    if asked and pictures:
        raise ValueError(f"The format {pictures[0]} needs matplotlib: `pip install matplotlib`. Or choose others.")
    if pictures:
        print_error(f"polyaudio annotate: no {pictures[0]} is written, because matplotlib is not installed")
    return [name for name in asked or _DEFAULT_FORMATS if name not in PICTURES]


class AnnotationWriter:
    """Writes annotations, prints what is wrong with their recordings, and counts them."""

    def __init__(
        self,
        annotator: "Annotator",
        output: Path,
        formats: list[str],
        attentions: Iterator["SegmentAttention"] | None,
    ):
        extractor = getattr(annotator.timeline, "feature_extractor", None)  # an export has none
        self.with_melody = "tonic" in getattr(extractor, "frontend", "")
        self.sampling_rate = annotator.sampling_rate
        self.output, self.formats, self.attentions = output, formats, attentions
        self.recordings = self.events = self.failed = self.without_attention = 0

    def write(self, name: str, annotation: "Annotation") -> None:
        from ..inference.annotation_files import write_annotation

        output = self.output / name
        texts = [one for one in self.formats if one not in PICTURES]
        write_annotation(annotation, output, texts, sampling_rate=self.sampling_rate)
        attention = None if self.attentions is None else next(self.attentions)
        for gap in annotation.gaps:
            self._print(f"{annotation.file}: {gap.start:.3f} to {gap.stop:.3f} s: {gap.reason}")
        if annotation.error is not None:
            self.failed += 1
            self._print(annotation.error)
            return
        self.recordings += 1
        self.events += len(annotation.events)
        _draw(annotation, output, self.formats, with_melody=self.with_melody)
        if attention is not None and attention.error is not None:  # the recording has gaps
            self.without_attention += 1
            self._print(f"no attention: {attention.error}")
        elif attention is not None:
            _write_attention(attention, output)

    def _print(self, problem: str) -> None:
        print_error(f"polyaudio annotate: {problem}")


def _draw(annotation: "Annotation", output: Path, formats: list[str], *, with_melody: bool = False) -> None:
    """Write those formats that are pictures. The PNG can show the melody on the swaras of its tonic."""
    if not set(formats) & set(PICTURES):
        return
    from ..inference.annotation_page import write_page
    from ..inference.annotation_plots import plot_annotation
    from ..inference.pictures import compute_spectrogram

    spectrogram = compute_spectrogram(annotation.file, annotation.duration)  # decodes the recording, so only once
    if "png" in formats:
        melody = None
        if with_melody:
            from ..inference.melody_picture import compute_melody

            melody = compute_melody(annotation.file, annotation.duration)
        plot_annotation(annotation, output.with_name(f"{output.name}.png"), spectrogram=spectrogram, melody=melody)
    if "html" in formats:
        write_page(annotation, output.with_name(f"{output.name}.html"), spectrogram=spectrogram)


def _write_attention(attention: "SegmentAttention", output: Path) -> None:
    """Write the attention of a recording as a plot and as arrays."""
    from ..inference.attention import save_segment_attention
    from ..inference.attention_plots import plot_segment_attention

    plot_segment_attention(attention, output.with_name(f"{output.name}.attention.png"))
    save_segment_attention(attention, output.with_name(f"{output.name}.attention.npz"))
