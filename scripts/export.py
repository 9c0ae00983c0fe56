# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio export`: export a model for other runtimes than torch."""

import sys
from pathlib import Path

from .command import argument_parser, command
from .terminal import plain


DESCRIPTION = """\
Export a classifier or an encoder for another runtime: ONNX, OpenVINO, ExecuTorch or torch.export.

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
"""


@command
def main(argv: list[str]) -> int:
    parser = argument_parser("export", DESCRIPTION, EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="model folder or Hub name")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--format",
        choices=("onnx", "openvino", "executorch", "torch-export"),
        default="onnx",
        help="format of the exported model (default: onnx)",
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
    args = parser.parse_args(argv)

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
    print(f"{report.format}, {report.precision}, takes {report.input}: {report.size / 1e6:.1f} MB")
    print(f"largest difference from torch on {report.clips} clips: {report.worst_difference:.3g}")
    if report.agreement is not None:
        print(f"same label on top: {report.agreement:.1%}")
    if report.scores is not None:
        scores = report.scores
        print(f"{scores['score']} in torch: {scores['torch']:.4f}, of the export: {scores['export']:.4f}")
    print(f"written to {plain(str(report.folder))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
