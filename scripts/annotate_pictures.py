# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The pictures and pages of `polyaudio annotate`."""

import importlib.util
from pathlib import Path

from .terminal import print_error


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


def draw(annotation, output: Path, formats: list[str], *, with_melody: bool = False) -> None:
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


def write_attention(attention, output: Path) -> None:
    """Write the attention of a recording as a plot and as arrays."""
    from ..inference.attention import save_segment_attention
    from ..inference.attention_plots import plot_segment_attention

    plot_segment_attention(attention, output.with_name(f"{output.name}.attention.png"))
    save_segment_attention(attention, output.with_name(f"{output.name}.attention.npz"))
