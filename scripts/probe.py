# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio probe`: measure what a model's frozen features know about the classes of a dataset."""

import argparse
import os
import sys

from .command import argument_parser, command


DESCRIPTION = """\
Measure what a model's frozen features know of the classes of a dataset: a logistic regression learns the classes of
some recordings and is tested on others. Of classifiers and pre-training checkpoints, the base model is probed.

--features    SSLAM, EAT                                            SAMAudio
  both        cls and mean, joined (2 H), the default
  cls         class token (H)
  mean        mean of the patches that hold sound (H)
  utterance                                                         pooled (H), the default

A clip longer than a window, the length that an SSLAM model's feature extractor is set to, is covered by several; its
features are their mean, in which each window counts by its length.

Data with a split `test` is probed once: the regression learns from all other splits and is tested on that one. Other
data is divided into --folds, each class evenly and no recording on both sides; each fold is tested by a regression
that learned from the others. Its regularisation is chosen within the recordings that it learns from.

With --baseline untrained, the default, the same architecture with random weights goes through the same on the same
folds: only what a model has beyond that comes from its training."""

EXAMPLES = """\
  polyaudio probe ta012/SSLAM_pretrain --dataset my-recordings/
  polyaudio probe runs/pretrained --dataset my-recordings/ --features mean --baseline-seeds 5 --output probe
  polyaudio probe runs/ragas --dataset ragas --baseline none
"""


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argument_parser("probe", DESCRIPTION, EXAMPLES)
    parser.add_argument("model", help="model folder or Hub name")
    parser.add_argument("--dataset", required=True, help="Hub name, local folder, folder of save_to_disk, or `ragas`")
    parser.add_argument("--audio-column", default="audio", help="column with the audio")
    parser.add_argument("--label-column", help="column with the class")
    parser.add_argument("--group-column", help="column with the recording a clip comes from")
    parser.add_argument("--split", help="split to probe by itself, in folds; by default all splits are used")
    parser.add_argument("--features", metavar="KIND", help="see above")
    parser.add_argument("--baseline", choices=("untrained", "none"), default="untrained", help="see above")
    parser.add_argument("--baseline-seeds", type=int, default=1, metavar="N", help="baselines to average (1)")
    parser.add_argument("--folds", type=int, default=5, metavar="N", help="folds, without a split `test` (5)")
    parser.add_argument("--seed", type=int, default=0, help="of the folds, and of the first baseline's weights (0)")
    parser.add_argument("--output", metavar="DIR", help="folder for probe.json and features.npz")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="windows at a time (8)")
    parser.add_argument(
        "--num-workers",
        type=int,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="processes that read clips (%(default)s)",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps ...; by default the accelerator where there is one")
    args = parser.parse_args(argv)
    lowest = {"baseline_seeds": 1, "folds": 2, "seed": 0, "batch_size": 1, "num_workers": 0}
    for name, least in lowest.items():
        if getattr(args, name) < least:
            parser.error(f"--{name.replace('_', '-')} must be {least} at least")
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
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        device=args.device,
        output=args.output,
    )
    print(format_probe(report))


if __name__ == "__main__":
    sys.exit(main())
