# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio annotate`: find the events in recordings of any length."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .annotate_output import PICTURES, AnnotationWriter, choose_formats
from .command import argument_parser, command
from .options import add_input_arguments, add_precision, load_inputs, positive
from .terminal import plain, print_error


if TYPE_CHECKING:
    from ..inference.annotation import Annotation, Annotator
    from ..inference.attention import SegmentAttention

DESCRIPTION = """\
Find the events in recordings of any length with a trained classifier, and write them for other programs.

The model hears windows that overlap, and their scores are joined. A classifier of clips gives events in steps of
--hop. A frame classifier gives events in steps of its frames, or of --resolution. The rules that make events of
scores are those in the configuration of the model (see `polyaudio tune-events`), or --threshold.

Members of archives, rows of datasets and what is at addresses are saved beside what is written about them.

Each recording gets one file in each format: csv, jsonl (JSON lines), audacity (labels), raven (selections), jams,
webvtt (subtitles), png (a plot), and html (a page that plays the recording along its events). For models that hear
pitch relative to the tonic, the plot shows the melody on its swaras. Parts that cannot be decoded are named and heard
as silence; for a recording with such parts, --attention writes nothing. Files that cannot be read are listed. In both
cases the exit code is 1."""

EXAMPLES = """\
  polyaudio annotate concert.flac --model runs/ragas --output annotations
  polyaudio annotate recordings/ --model runs/events --output annotations --formats csv audacity html
  polyaudio annotate street.wav --model runs/events --output annotations --resolution 0.04 --threshold 0.3
  polyaudio annotate radio.mp3 --model ta012/SSLAM_AS2M_Finetuned --output annotations --window 5 --hop 1
  polyaudio annotate song.wav --model runs/ragas --output annotations --attention
"""


@command
def main(argv: list[str]) -> int:
    parser = argument_parser("annotate", DESCRIPTION, EXAMPLES)
    add_input_arguments(parser)
    _add_arguments(parser)
    args = parser.parse_args(argv)

    from ..data.recordings import share_of
    from ..inference.annotation import Annotator
    from ..inference.annotation_files import output_names, save_recordings
    from ..inference.files import local_files

    formats = choose_formats(args.formats)
    recordings = load_inputs(parser, args)
    files = local_files(recordings)
    if files is None and args.attention:
        parser.error("--attention is for audio files on this machine")
    annotator = Annotator(
        args.model,
        window=args.window,
        hop=args.hop,
        join=args.join,
        resolution=args.resolution,
        threshold=args.threshold,
        batch_size=args.batch_size,
        device=args.device,
        precision=args.precision,
    )
    attentions = _attentions(annotator, files, args) if args.attention and files is not None else None
    unread: list[tuple[str, str]] = []
    if files is None:
        groups = save_recordings(share_of(recordings, recordings.root()), args.output, unread)
    else:
        groups = iter([output_names(files)])
    writer = AnnotationWriter(annotator, args.output, formats, attentions)
    for name, annotation in _annotations(annotator, groups, None if files is None else "Annotating"):
        writer.write(name, annotation)
    print(f"{writer.events} events in {writer.recordings} recordings, written to {plain(str(args.output))}")
    for one, reason in unread:
        print_error(f"polyaudio annotate: {one}: {reason}")
    if failed := writer.failed + len(unread):
        total = writer.recordings + failed
        print(f"polyaudio annotate: {failed} of {total} files could not be read", file=sys.stderr)
    return 1 if failed or writer.without_attention else 0


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    from ..inference.annotation_files import FORMATS

    parser.add_argument("--model", required=True, help="model folder or Hub name, or an export to ONNX")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=(*FORMATS, *PICTURES),
        metavar="FORMAT",
        help=f"{', '.join((*FORMATS, *PICTURES))} (default: csv html)",
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
    add_precision(parser, "float32, because rounding can move the borders of events")


def _attentions(annotator: "Annotator", files: list[str], args: argparse.Namespace) -> Iterator["SegmentAttention"]:
    from ..inference.attention import segment_attention
    from ..inference.exported import ExportedTimeline

    timeline: Any = annotator.timeline
    if isinstance(timeline, ExportedTimeline):
        raise ValueError(f"{args.model} is an export, which gives no attention. Use the model itself.")
    return segment_attention(files, timeline.model, timeline.feature_extractor, window=args.window, device=args.device)


def _annotations(
    annotator: "Annotator", groups: Iterator[dict[str, str]], description: str | None
) -> Iterator[tuple[str, "Annotation"]]:
    """The annotation of each file, with the name of its output."""
    for names in groups:
        for annotation in annotator.run(names, description=description):
            yield names[annotation.file], annotation


if __name__ == "__main__":
    sys.exit(main())
