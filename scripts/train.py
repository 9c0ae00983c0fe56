# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio train`: train a classifier on a dataset."""

import argparse
import shlex
import sys

from ..training.fine_tuning import Settings, train
from ..training.runs import leave_together
from .command import command


EXAMPLES = """\
examples:
  polyaudio train --config carnatic_ragas --output-dir runs/ragas
  polyaudio train --dataset my-recordings/ --epochs 20 --batch-size 8 --lr 3e-4
  polyaudio train --config sslam_small --model-name-or-path ta012/SSLAM_pretrain --dataset my-recordings/
  polyaudio train --model-name-or-path runs/ragas --dataset my-recordings/ --lora
  polyaudio train --model-name-or-path runs/stage2 --dataset my-recordings/ --freeze-encoder --folds 5 --seeds 1 2 3
  accelerate launch --multi_gpu --num_processes 2 -m polyaudio.scripts.train --config carnatic_ragas
"""


@command
def main(argv: list[str]) -> None:
    from transformers import HfArgumentParser

    from ..augmentation.arguments import AugmentationArguments
    from ..training.arguments import AudioTrainingArguments, ClassifierArguments, DataArguments, LoraArguments
    from .options import parse_arguments

    parser = HfArgumentParser(
        (ClassifierArguments, DataArguments, AugmentationArguments, LoraArguments, AudioTrainingArguments),
        prog="polyaudio train",
        usage="polyaudio train [--config RECIPE] [--dataset DATA] [--output-dir DIR] [FLAG ...]",
        description="Train an audio classifier, from scratch or from a checkpoint.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the output folder")
    recipe, model_args, data_args, augmentation_args, lora_args, training_args, others = parse_arguments(
        parser, argv, "default"
    )
    if data_args.dataset is None:
        raise ValueError("no data: name a folder or a dataset with --dataset")
    if lora_args.lora and model_args.freeze_encoder:
        raise ValueError("an adapter trains the encoder: leave out either --lora or --freeze-encoder")
    command_line = shlex.join(["polyaudio", "train", *argv])
    train(
        Settings(
            recipe, model_args, data_args, augmentation_args, lora_args, training_args, others.resume, command_line
        )
    )
    leave_together()


if __name__ == "__main__":
    sys.exit(main())
