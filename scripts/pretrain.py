# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio pretrain`: self-supervised pre-training on recordings without labels."""

import argparse
import shlex
import sys

from ..training.pretraining import pretrain
from ..training.runs import last_checkpoint, leave_together
from .command import command


EXAMPLES = """\
examples:
  polyaudio pretrain --config sslam_tiny_stage1 --dataset my-recordings/ --output-dir runs/stage1
  polyaudio pretrain --config sslam_tiny_stage2 --dataset my-recordings/ --output-dir runs/stage2 \\
      --model-name-or-path runs/stage1
  polyaudio pretrain --config sslam_stage1 --dataset agkphysics/AudioSet --streaming --bf16
  accelerate launch --num_processes 4 -m polyaudio.scripts.pretrain --config sslam_stage1 --dataset audioset/ --bf16
"""


@command
def main(argv: list[str]) -> None:
    from transformers import HfArgumentParser

    from ..training.arguments import ModelArguments, PretrainingArguments, WindowArguments
    from ..training.pretrainer import CollapseError
    from .options import parse_arguments

    parser = HfArgumentParser(
        (ModelArguments, WindowArguments, PretrainingArguments),
        prog="polyaudio pretrain",
        usage="polyaudio pretrain [--config RECIPE] [--dataset DATA] [--output-dir DIR] [FLAG ...]",
        description="Pre-train a model on recordings without labels, from scratch or from a checkpoint.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the output folder")
    parser.add_argument("--plot-mixtures", type=int, default=0, metavar="N", help="draw the mixtures of N clips first")
    recipe, model_args, window_args, training_args, others = parse_arguments(parser, argv, "sslam_stage1")
    if window_args.dataset is None:
        raise ValueError("no data: name a folder or a dataset with --dataset")
    if training_args.n_gpu > 1:
        raise ValueError("start one process for each GPU: accelerate launch -m polyaudio.scripts.pretrain ...")
    command_line = shlex.join(["polyaudio", "pretrain", *argv])
    if others.resume:
        training_args.resume_from_checkpoint = last_checkpoint(training_args.output_dir)
    try:
        pretrain(recipe, model_args, window_args, training_args, command_line, others.plot_mixtures)
    except CollapseError as error:
        raise ValueError(str(error)) from error
    leave_together()


if __name__ == "__main__":
    sys.exit(main())
