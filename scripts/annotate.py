# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio annotate`: find the events in recordings of any length."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

from .command import argument_parser, command
from .options import positive
from .terminal import plain, print_error


DESCRIPTION = """\
Find the events in recordings of any length with a trained classifier, and write them for other programs.

The model hears windows that overlap, and their scores are joined. A classifier of clips gives events in steps of
--hop. A frame classifier gives events in steps of its frames, or of --resolution. The rules that make events of
scores are those in the configuration of the model (see `polyaudio tune-events`), or --threshold.

Each recording gets one file in each format: csv, jsonl (JSON lines), audacity (labels), raven (selections), jams,
webvtt (subtitles), png (a plot), and html (a page that plays the recording along its events). Parts that cannot be
decoded are named and heard as silence. Files that cannot be read at all are listed, and the exit code is then 1. So it
is where --attention finds such parts in a recording, whose attention is then not written."""

EXAMPLES = """\
  polyaudio annotate concert.flac --model runs/ragas --output annotations
  polyaudio annotate recordings/ --model runs/events --output annotations --formats csv audacity html
  polyaudio annotate street.wav --model runs/events --output annotations --resolution 0.04 --threshold 0.3
  polyaudio annotate radio.mp3 --model ta012/SSLAM_AS2M_Finetuned --output annotations --window 5 --hop 1
  polyaudio annotate song.wav --model runs/ragas --output annotations --attention
"""

_PICTURES = ("png", "html")
_DEFAULT_FORMATS = ["csv", "html"]


@command
def main(argv: list[str]) -> int:
    from ..inference.annotation_files import FORMATS

    parser = argument_parser("annotate", DESCRIPTION, EXAMPLES)
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio file, or folder with audio files")
    parser.add_argument("--model", required=True, help="model folder or Hub name, or an export to ONNX")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=(*FORMATS, *_PICTURES),
        metavar="FORMAT",
        help=f"{', '.join((*FORMATS, *_PICTURES))} (default: csv html)",
    )
    parser.add_argument(
        "--window",
        type=positive(float),
        metavar="SECONDS",
        help="length of a window (default: what the model reads at once, but at most 10.24 s)",
    )
    parser.add_argument(
        "--hop",
        type=positive(float),
        metavar="SECONDS",
        help="from the start of one window to the next (default: half of a window)",
    )
    parser.add_argument(
        "--join",
        choices=("fade", "mean", "max"),
        default="fade",
        help="how the scores of windows that overlap are joined: cross-faded (default), the mean, or the highest",
    )
    parser.add_argument(
        "--resolution",
        type=positive(float),
        metavar="SECONDS",
        help="for frame classifiers: a half, a quarter, ... of a frame; the model then reads everything two, four, "
        "... times (default: a frame, for SSLAM models 0.16)",
    )
    parser.add_argument("--threshold", type=float, metavar="P", help="score above which an event begins and ends")
    parser.add_argument(
        "--attention",
        action="store_true",
        help="also write the attention of the segment tokens over time, as NAME.attention.png and .npz; its windows "
        "are adjacent (default: what the model reads at once)",
    )
    parser.add_argument(
        "--batch-size", type=positive(int), default=8, metavar="N", help="number of windows in a batch (default: 8)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps, ... (default: the accelerator if there is one)")
    args = parser.parse_args(argv)

    from ..inference.annotation import Annotator
    from ..inference.annotation_files import output_names, write_annotation
    from ..inference.exported import ExportedTimeline
    from ..inference.files import find_files

    formats = _formats(args.formats)
    files = find_files(args.files)
    annotator = Annotator(
        args.model,
        window=args.window,
        hop=args.hop,
        join=args.join,
        resolution=args.resolution,
        threshold=args.threshold,
        batch_size=args.batch_size,
        device=args.device,
    )
    attentions = None
    if args.attention:
        timeline: Any = annotator.timeline
        if isinstance(timeline, ExportedTimeline):
            raise ValueError(f"{args.model} is an export, which gives no attention. Use the model itself.")
        from ..inference.attention import segment_attention

        attentions = segment_attention(
            files, timeline.model, timeline.feature_extractor, window=args.window, device=args.device
        )
    names, texts = output_names(files), [name for name in formats if name not in _PICTURES]
    failed = events = unattended = 0
    for annotation in annotator.run(files, description="Annotating"):
        output = args.output / names[annotation.file]
        write_annotation(annotation, output, texts, sampling_rate=annotator.sampling_rate)
        attention = None if attentions is None else next(attentions)
        problems = [f"{annotation.file}: {one.start:.3f} to {one.stop:.3f} s: {one.reason}" for one in annotation.gaps]
        if annotation.error is not None:
            failed += 1
            problems.append(annotation.error)
        else:
            events += len(annotation.events)
            _draw(annotation, output, formats)
            if attention is not None and attention.error is not None:  # the recording has gaps
                unattended += 1
                problems.append(f"no attention: {attention.error}")
            elif attention is not None:
                _write_attention(attention, output)
        for problem in problems:
            print_error(f"polyaudio annotate: {problem}")
    print(f"{events} events in {len(files) - failed} recordings, written to {plain(str(args.output))}")
    if failed:
        print(f"polyaudio annotate: {failed} of {len(files)} files could not be read", file=sys.stderr)
    return 1 if failed or unattended else 0


def _formats(asked: list[str] | None) -> list[str]:
    """The formats to write. Where matplotlib is not installed, there are no pictures."""
    if importlib.util.find_spec("matplotlib") is not None:
        return asked or _DEFAULT_FORMATS
    pictures = [name for name in asked or _DEFAULT_FORMATS if name in _PICTURES]
    if asked and pictures:
        raise ValueError(f"The format {pictures[0]} needs matplotlib: `pip install matplotlib`. Or choose others.")
    if pictures:
        print_error(f"polyaudio annotate: no {pictures[0]} is written, because matplotlib is not installed")
    return [name for name in asked or _DEFAULT_FORMATS if name not in _PICTURES]


def _draw(annotation, output: Path, formats: list[str]) -> None:
    if not set(formats) & set(_PICTURES):
        return
    from ..inference.annotation_page import write_page
    from ..inference.annotation_plots import plot_annotation
    from ..inference.pictures import compute_spectrogram

    spectrogram = compute_spectrogram(annotation.file, annotation.duration)  # decodes the recording, so only once
    if "png" in formats:
        plot_annotation(annotation, output.with_name(f"{output.name}.png"), spectrogram=spectrogram)
    if "html" in formats:
        write_page(annotation, output.with_name(f"{output.name}.html"), spectrogram=spectrogram)


def _write_attention(attention, output: Path) -> None:
    from ..inference.attention import save_segment_attention
    from ..inference.attention_plots import plot_segment_attention

    plot_segment_attention(attention, output.with_name(f"{output.name}.attention.png"))
    save_segment_attention(attention, output.with_name(f"{output.name}.attention.npz"))


if __name__ == "__main__":
    sys.exit(main())
