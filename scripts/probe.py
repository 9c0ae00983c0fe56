# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio probe`: measure what a model's frozen features know of the classes of a dataset."""

import importlib.metadata
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.readable import report_bad_clips
from ..evaluation.tables import format_probe
from ..inference.features import choose_features, extract_features
from ..modeling.loading import choose_device, initialise_like, load_config, load_encoder, load_feature_extractor
from .command import argument_parser, command


if TYPE_CHECKING:
    import argparse

    from datasets import Dataset


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


def parse_arguments(argv: list[str]) -> "argparse.Namespace":
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

    import numpy as np

    from .. import __version__
    from ..data.labels import SINGLE_LABEL, task_of
    from ..evaluation.probe import C_GRID, ProbeReport, linear_probe, make_folds
    from ..inference.files import ClipReader

    config = load_config(args.model)
    args.features = choose_features(args.model, config.model_type, args.features)
    device = choose_device(args.device)
    clips, is_test = load_labelled_clips(args)
    if task_of(clips.features["label"]) != SINGLE_LABEL:
        raise ValueError(f"a probe learns one class a clip, but clips of {args.dataset} have several, or events")
    names = clips.features["label"].names
    labels, recordings = np.array(clips["label"][:]), np.array(clips["recording"][:])
    division = {"is_test": is_test, "num_folds": args.folds, "seed": args.seed}
    make_folds(labels, recordings, **division)  # what cannot be divided shows before the model is run on all of it
    if args.output:
        Path(args.output).mkdir(parents=True, exist_ok=True)  # and so does a folder that cannot be written

    model = load_encoder(args.model)
    seeds = range(args.seed, args.seed + args.baseline_seeds) if args.baseline == "untrained" else ()
    models = [model, *(initialise_like(model, seed) for seed in seeds)]
    reader = ClipReader(model.config, load_feature_extractor(args.model, config), batch_size=args.batch_size)
    vectors = extract_features(
        [one.eval().to(device) for one in models], reader, clips, args.features, num_workers=args.num_workers
    )
    probe, *untrained = (
        linear_probe(values, labels, recordings, id2label=dict(enumerate(names)), **division) for values in vectors
    )

    named = {"model", "dataset", "features", "output"}
    report = ProbeReport(
        model=os.path.abspath(args.model) if os.path.isdir(args.model) else args.model,
        model_type=model.config.model_type,
        dataset=args.dataset,
        clips=len(clips),
        recordings=len(set(recordings.tolist())),
        held_out=f"{args.folds} folds by recording" if is_test is None else "split test",
        labels=names,
        features=args.features,
        feature_size=vectors[0].shape[1],
        frozen_parameters=model.num_parameters(),
        trained_parameters=(vectors[0].shape[1] + 1) * len(set(labels.tolist())),
        probe=probe.scores,
        untrained={seed: one.scores for seed, one in zip(seeds, untrained, strict=True)},
        settings={
            **{name: value for name, value in vars(args).items() if name not in named},
            "device": str(device),
            "C": C_GRID,
            "window_seconds": reader.step and reader.step / reader.sampling_rate,
        },
        versions={
            "polyaudio": __version__,
            **{name: importlib.metadata.version(name) for name in ("torch", "transformers", "scikit-learn", "numpy")},
        },
    )
    print(format_probe(report))
    if args.output:
        path = Path(args.output, "probe.json")
        path.write_text(json.dumps(report.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        np.savez(
            Path(args.output, "features.npz"),
            features=vectors[0],
            labels=labels,
            recordings=recordings,
            folds=probe.folds,
            probabilities=probe.probabilities,
        )


def load_labelled_clips(args: "argparse.Namespace") -> tuple["Dataset", list[bool] | None]:
    """The readable clips, and which are of the split `test` where the data has one and others beside it."""
    from datasets import DatasetDict, concatenate_datasets

    from ..data.loading import load_clips
    from ..data.readable import drop_unreadable

    clips = load_clips(
        args.dataset,
        audio_column=args.audio_column,
        label_column=args.label_column,
        group_column=args.group_column,
    )
    if args.split is not None:
        if args.split not in clips:
            raise ValueError(f"{args.dataset} has no split {args.split!r}, only {', '.join(clips)}")
        clips = DatasetDict({args.split: clips[args.split]})
    clips, bad_clips = drop_unreadable(clips)
    report_bad_clips(bad_clips)
    is_test = [name == "test" for name, rows in clips.items() for _ in range(len(rows))]
    return concatenate_datasets(list(clips.values())), is_test if len(clips) > 1 and "test" in clips else None


if __name__ == "__main__":
    sys.exit(main())
