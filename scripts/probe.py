# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio probe`: evaluate the frozen features of a model with a linear probe."""

import argparse
import os
import sys

from .command import argument_parser, command
from .options import add_data_home, add_grouping


DESCRIPTION = """\
Evaluate the frozen features of a model on a labelled dataset. A logistic regression learns to predict the classes from
the features of some recordings and is tested on other recordings. For classifiers and pre-training checkpoints, the
features are those of the base model. H is its hidden size.

--features    SSLAM, EAT                                            SAMAudio
  both        cls and mean, joined (2 H), the default
  cls         class token (H)
  mean        mean of the patches, without padding (H)
  utterance                                                         pooled (H), the default

An SSLAM model reads windows of the length that its feature extractor is set to. The features of a longer clip are the
mean over its windows, weighted by their length.

A dataset with a split `test` is probed once: the regression is trained on all other splits and tested on `test`. Other
datasets are divided into --folds, so that each class is divided evenly and no recording, or with --group-by no concert
or artist, is in two folds. Each fold is
tested with a regression that was trained on the other folds. The strength of the regularisation is chosen by
cross-validation within the training recordings.

With --baseline untrained, the default, a model of the same architecture with random weights is probed in the same way.
The difference between the two scores is the effect of the training."""

EXAMPLES = """\
  polyaudio probe ta012/SSLAM_pretrain --dataset my-recordings/
  polyaudio probe runs/pretrained --dataset my-recordings/ --features mean --baseline-seeds 5 --output probe
  polyaudio probe runs/ragas --dataset ragas --baseline none
"""


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argument_parser("probe", DESCRIPTION, EXAMPLES)
    parser.add_argument("model", help="model folder or Hub name")
    parser.add_argument(
        "--dataset",
        required=True,
        help="Hub name, local folder, folder that save_to_disk wrote, `ragas`, or `mirdata:NAME`",
    )
    add_data_home(parser)
    parser.add_argument("--audio-column", default="audio", help="column with the audio (default: audio)")
    parser.add_argument("--label-column", help="column with the class")
    parser.add_argument("--group-column", help="column with the recording that a clip comes from")
    add_grouping(parser)
    parser.add_argument("--split", help="use this split only, divided into folds (default: all splits)")
    parser.add_argument("--features", metavar="KIND", help="features to probe, see above")
    parser.add_argument(
        "--baseline",
        choices=("untrained", "none"),
        default="untrained",
        help="baseline to compare with, see above (default: untrained)",
    )
    parser.add_argument(
        "--baseline-seeds", type=int, default=1, metavar="N", help="number of baselines to average (default: 1)"
    )
    parser.add_argument(
        "--folds",
        type=int,
        default=5,
        metavar="N",
        help="number of folds for a dataset without a split `test` (default: 5)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of the folds and of the first baseline's weights (default: 0)",
    )
    parser.add_argument("--output", metavar="DIR", help="folder to write probe.json and features.npz to")
    parser.add_argument(
        "--batch-size", type=int, default=8, metavar="N", help="number of windows in a batch (default: 8)"
    )
    parser.add_argument(
        "--num-workers",
        type=int,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="number of processes that read clips (default: %(default)s)",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps, ... (default: the accelerator if there is one)")
    args = parser.parse_args(argv)
    lowest = {"baseline_seeds": 1, "folds": 2, "seed": 0, "batch_size": 1, "num_workers": 0}
    for name, least in lowest.items():
        if getattr(args, name) < least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}")
    return args


@command
def main(argv: list[str]) -> None:
    args = parse_arguments(argv)

    from ..evaluation.probing import probe
    from ..evaluation.tables import format_probe

    report = probe(
        args.model,
        args.dataset,
        features=args.features,
        untrained=args.baseline_seeds if args.baseline == "untrained" else 0,
        folds=args.folds,
        seed=args.seed,
        split=args.split,
        audio_column=args.audio_column,
        label_column=args.label_column,
        group_column=args.group_column,
        group_by=args.group_by,
        data_home=args.data_home,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        device=args.device,
        output=args.output,
    )
    print(format_probe(report))


if __name__ == "__main__":
    sys.exit(main())
