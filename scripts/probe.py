# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio probe`: evaluate the frozen features of a model with a probe."""

import argparse
import sys

from .command import argument_parser, command
from .dataset_options import add_data_home, add_given, add_grouping, add_label_arguments
from .options import default_workers, positive


DESCRIPTION = """\
Evaluate the frozen features of a model on a labelled dataset. A probe learns to predict the classes from the features
of some recordings and is tested on other recordings. For classifiers and pre-training checkpoints, the features are
those of the base model. H is its hidden size.

--probe       linear      logistic regression on one vector a clip (default)
              knn         nearest neighbours of this vector, by the cosine
              attentive   linear classifier on the vectors along time, which learned attention pools

--features    SSLAM, EAT                                            SAMAudio
  both        cls and mean, joined (2 H), the default
  cls         class token (H)
  mean        mean of the patches, without padding (H)
  utterance                                                         pooled (H), the default

--layer takes the features of another layer than the last one, or the mean over the layers. With --probe attentive,
`weighted` learns a weight for each layer.

An SSLAM model reads windows of the length that its feature extractor is set to. The features of a longer clip are the
mean over its windows, weighted by their length.

A dataset with a split `test` is probed once: the probe learns from all other splits and is tested on `test`. Other
datasets are divided into --folds, so that each class is divided evenly and no recording, or with --group-by no concert
or artist, is in two folds. Each fold is tested with a probe that learned from the other folds. Settings, such as the
strength of the regularisation, are chosen by cross-validation within the training recordings.

--shots adds a curve: the score of probes that learn from 1, 2, ... random recordings of each class.

With --baseline untrained, the default, a model of the same architecture with random weights is probed in the same way.
The difference between the two scores is the effect of the training. For a model with features relative to the tonic,
time-delayed melody surfaces (tdms) and pitch histograms with nearest neighbours stand beside it."""

EXAMPLES = """\
  polyaudio probe ta012/SSLAM_pretrain --dataset my-recordings/
  polyaudio probe ta012/SSLAM_pretrain --dataset my-recordings/ --probe attentive --layer weighted
  polyaudio probe runs/pretrained --dataset my-recordings/ --features mean --baseline-seeds 5 --output probe
  polyaudio probe runs/pretrained --dataset my-recordings/ --layer 6 --shots 1 2 5 10
  polyaudio probe runs/ragas --dataset ragas --baseline none
"""


def _layer(text: str) -> int | str:
    return text if text in ("mean", "weighted") else int(text)


_layer.__name__ = "layer"  # for argparse's message


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argument_parser("probe", DESCRIPTION, EXAMPLES)
    parser.add_argument("model", help="model folder or Hub name")
    parser.add_argument(
        "--dataset",
        required=True,
        help="Hub name, local folder, folder that save_to_disk wrote, `ragas`, or `mirdata:NAME`",
    )
    add_data_home(parser)
    add_given(parser)
    parser.add_argument("--audio-column", default="audio", help="column with the audio (default: audio)")
    add_label_arguments(parser)
    add_grouping(parser)
    parser.add_argument("--split", help="use this split only, divided into folds (default: all splits)")
    parser.add_argument(
        "--probe", choices=("linear", "attentive", "knn"), default="linear", help="kind of probe, see above"
    )
    parser.add_argument("--features", metavar="KIND", help="features to probe, see above")
    parser.add_argument(
        "--layer",
        type=_layer,
        metavar="N",
        help="number of layers below the features, from the end if negative; mean; or weighted (default: last layer)",
    )
    parser.add_argument(
        "--shots", type=positive(int), nargs="+", default=(), metavar="N", help="numbers of recordings of each class"
    )
    parser.add_argument(
        "--draws", type=positive(int), default=10, metavar="N", help="random draws of these recordings (default: 10)"
    )
    parser.add_argument(
        "--baseline",
        choices=("untrained", "tdms", "pitch_histogram", "none"),
        nargs="+",
        help="baselines to compare with, see above (default: untrained, and for features relative to the tonic all)",
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
        default=default_workers(),
        metavar="N",
        help="number of processes that read clips (default: %(default)s)",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps, ... (default: the accelerator if there is one)")
    args = parser.parse_args(argv)
    lowest = {"baseline_seeds": 1, "folds": 2, "seed": 0, "batch_size": 1, "num_workers": 0}
    if args.baseline is not None and "none" in args.baseline and len(args.baseline) > 1:
        parser.error("--baseline none goes with no other baseline")
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
        kind=args.probe,
        features=args.features,
        layer=args.layer,
        shots=args.shots,
        draws=args.draws,
        untrained=args.baseline_seeds if args.baseline is None or "untrained" in args.baseline else 0,
        baselines=None
        if args.baseline is None
        else [name for name in args.baseline if name in ("tdms", "pitch_histogram")],
        folds=args.folds,
        seed=args.seed,
        split=args.split,
        audio_column=args.audio_column,
        label_column=args.label_column,
        label_columns=args.label_columns,
        label_separator=args.label_separator,
        group_column=args.group_column,
        group_by=args.group_by,
        data_home=args.data_home,
        given=args.given,
        batch_size=args.batch_size,
        num_workers=args.num_workers,
        device=args.device,
        output=args.output,
    )
    print(format_probe(report))


if __name__ == "__main__":
    sys.exit(main())
