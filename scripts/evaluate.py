# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio evaluate`: measure a trained classifier on a dataset."""

import sys

from .command import argument_parser, command
from .dataset_options import add_data_home, add_given, add_label_arguments
from .options import add_precision


EXAMPLES = """\
  polyaudio evaluate runs/ragas --dataset ragas --split test
  polyaudio evaluate runs/ragas --dataset my-recordings/ --output report
  polyaudio evaluate ta012/SSLAM_AS2M_Finetuned --dataset agkphysics/AudioSet --label-column human_labels
"""


@command
def main(argv: list[str]) -> None:
    parser = argument_parser(
        "evaluate",
        "Evaluate a classifier on the clips of a dataset, and on its recordings if several clips come from one.",
        EXAMPLES,
    )
    parser.add_argument("model", help="model folder or Hub name, or an export to ONNX")
    parser.add_argument(
        "--dataset",
        required=True,
        help="Hub name, local folder, folder that save_to_disk wrote, `ragas`, or `mirdata:NAME`",
    )
    add_data_home(parser)
    add_given(parser)
    parser.add_argument("--split", help="split to evaluate on (default: test, or the only split)")
    parser.add_argument("--audio-column", default="audio", help="column with the audio (default: audio)")
    add_label_arguments(parser)
    parser.add_argument(
        "--unknown-dataset",
        metavar="DATASET",
        help="recordings of classes that the model does not know, to measure how many a calibrated model refuses",
    )
    parser.add_argument("--batch-size", type=int, default=8, help="number of clips in a batch (default: 8)")
    add_precision(parser, "float32, so that the scores of a model do not depend on the machine")
    parser.add_argument("--output", metavar="DIR", help="folder to write evaluation.json and plots to")
    args = parser.parse_args(argv)

    from ..evaluation.evaluate import evaluate
    from ..evaluation.tables import format_report

    evaluation = evaluate(
        args.model,
        args.dataset,
        split=args.split,
        audio_column=args.audio_column,
        label_column=args.label_column,
        label_columns=args.label_columns,
        label_separator=args.label_separator,
        group_column=args.group_column,
        data_home=args.data_home,
        given=args.given,
        unknown=args.unknown_dataset,
        batch_size=args.batch_size,
        precision=args.precision,
        output=args.output,
    )
    print(format_report(evaluation))


if __name__ == "__main__":
    sys.exit(main())
