# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio export`: export a model for other runtimes than torch."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .command import argument_parser, command
from .options import positive
from .terminal import plain


if TYPE_CHECKING:
    from ..export.exporting import ExportReport


DESCRIPTION = """\
Export a classifier or an encoder for another runtime: ONNX, OpenVINO, ExecuTorch or torch.export; or a classifier as a
page that labels recordings and the sound of a microphone in a browser (--format web).

With --front-end the exported model takes samples, and computes the features itself. Adapters become part of the
weights. The exported model is run by its own runtime and compared with torch. If it differs by more than --limit,
nothing is written.

The folder holds the program, its configuration, and polyaudio_export.json, which says all that a runtime needs to
know."""

EXAMPLES = """\
  polyaudio export runs/ragas --output exported --front-end
  polyaudio export runs/ragas --output exported-int8 --front-end --precision int8-dynamic --check recordings/
  polyaudio export runs/events --output exported --precision int8-static --calibration recordings/ --limit 0.02
  polyaudio export ta012/SSLAM_pretrain --output encoder --format openvino --precision float16
  polyaudio export runs/ragas --output exported --precision int8-dynamic --dataset ragas --split test
  polyaudio export runs/ragas --output page --format web --window 8 --hop 2
"""

_PAGE = ("title", "window", "hop", "join", "resolution", "threshold", "web_runtime")


@command
def main(argv: list[str]) -> int:
    parser = argument_parser("export", DESCRIPTION, EXAMPLES)
    _add_arguments(parser)
    _add_page_arguments(parser)
    args = parser.parse_args(argv)
    if args.format == "web":
        if args.encoder:
            parser.error("--encoder: a page needs a classifier")
        return _export_page(args)
    for name in _PAGE:
        if getattr(args, name) is not None:
            parser.error(f"--{name.replace('_', '-')} is for --format web")

    from ..export.exporting import export_model

    report = export_model(
        args.model,
        args.output,
        what="encoder" if args.encoder else None,
        format=args.format,
        front_end=args.front_end,
        precision=args.precision,
        calibration=args.calibration,
        files=args.check,
        dataset=args.dataset,
        split=args.split,
        limit=args.limit,
        overwrite=args.overwrite,
    )
    _print_report(report)
    print(f"written to {plain(str(report.folder))}")
    return 0


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="model folder or Hub name")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--format",
        choices=("onnx", "openvino", "executorch", "torch-export", "web"),
        default="onnx",
        help="format of the exported model (default: onnx), or web for a page",
    )
    parser.add_argument("--front-end", action="store_true", help="take samples instead of features")
    parser.add_argument("--encoder", action="store_true", help="export the encoder of a classifier")
    parser.add_argument(
        "--precision",
        choices=("float32", "float16", "int8-dynamic", "int8-static"),
        default="float32",
        help="of the weights, and for int8 of the linear layers (default: float32); int8 is for ONNX",
    )
    parser.add_argument(
        "--calibration",
        nargs="+",
        metavar="FILE",
        help="audio files or folders from which int8-static takes the ranges of the activations",
    )
    parser.add_argument(
        "--check",
        nargs="+",
        metavar="FILE",
        help="audio files or folders to compare the export with torch on (default: three synthetic clips)",
    )
    parser.add_argument(
        "--dataset", metavar="DATASET", help="labelled dataset on which a classifier of clips may not get worse"
    )
    parser.add_argument("--split", metavar="NAME", help="split of the dataset (default: test, or the only split)")
    parser.add_argument(
        "--limit",
        type=float,
        metavar="X",
        help="how much worse than torch the export may be: the largest difference of an output (default: 0.0001, for "
        "float16 0.05), for int8 the share of clips or frames with another label on top (0.01; for encoders and "
        "regression the difference as a share of the output, 0.1), with --dataset the loss of accuracy or mAP (0.01)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an exported model in that folder")


def _add_page_arguments(parser: argparse.ArgumentParser) -> None:
    page = parser.add_argument_group("arguments of --format web")
    page.add_argument("--title", help="title of the page (default: the name of the model)")
    page.add_argument(
        "--window",
        type=positive(float),
        metavar="SECONDS",
        help="length of the windows that the model hears (default: as for `polyaudio annotate`)",
    )
    page.add_argument(
        "--hop", type=positive(float), metavar="SECONDS", help="from one window to the next (default: half a window)"
    )
    page.add_argument(
        "--join", choices=("fade", "mean", "max"), help="how windows that overlap are joined (default: fade)"
    )
    page.add_argument(
        "--resolution", type=positive(float), metavar="SECONDS", help="a finer one, for frame classifiers"
    )
    page.add_argument("--threshold", type=float, metavar="P", help="score above which an event begins and ends")
    page.add_argument(
        "--web-runtime",
        metavar="PATH",
        help="the npm package onnxruntime-web, a .tgz file or unpacked (default: npm fetches it once)",
    )


def _export_page(args: argparse.Namespace) -> int:
    from ..export.web import export_web

    report = export_web(
        args.model,
        args.output,
        precision=args.precision,
        calibration=args.calibration,
        files=args.check,
        dataset=args.dataset,
        split=args.split,
        limit=args.limit,
        overwrite=args.overwrite,
        **{name: getattr(args, name) for name in _PAGE if getattr(args, name) is not None},
    )
    for graph in report.graphs:
        _print_report(graph)
    if report.without is not None:
        print(plain(f"without a graph in int8 for transformers.js: {report.without}"))
    print(f"a page of {report.size / 1e6:.1f} MB, written to {plain(str(report.folder))}. To see it, run")
    print(plain(f"  python -m http.server --directory {shlex.quote(str(report.folder))}"))
    print("and open http://localhost:8000")
    return 0


def _print_report(report: "ExportReport") -> None:
    print(f"{report.format}, {report.precision}, takes {report.input}: {report.size / 1e6:.1f} MB")
    print(f"largest difference from torch on {report.clips} clips: {report.worst_difference:.3g}")
    if report.agreement is not None:
        print(f"same label on top: {report.agreement:.1%}")
    if report.scores is not None:
        scores = report.scores
        print(f"{scores['score']} in torch: {scores['torch']:.4f}, of the export: {scores['export']:.4f}")


if __name__ == "__main__":
    sys.exit(main())
