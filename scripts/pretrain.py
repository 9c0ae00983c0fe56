# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio pretrain`: self-supervised pre-training on recordings without labels."""

import shlex
import sys

from .command import command, is_quiet
from .recipe_options import parse_recipe
from .terminal import hidden_output


EXAMPLES = """\
  polyaudio pretrain --config sslam_tiny_stage1 --dataset my-recordings/ --output-dir runs/stage1
  polyaudio pretrain --config sslam_tiny_stage2 --dataset my-recordings/ --output-dir runs/stage2 \\
      --model-name-or-path runs/stage1
  polyaudio pretrain --config sslam_stage1 --dataset agkphysics/AudioSet --streaming --bf16
  accelerate launch --num_processes 4 -m polyaudio.scripts.pretrain --config sslam_stage1 --dataset audioset/ --bf16
"""


@command
def main(argv: list[str]) -> None:
    from ..training.recipes import PRETRAINING

    recipe, arguments, others = parse_recipe(
        "pretrain",
        PRETRAINING,
        argv,
        "sslam_stage1",
        "Pre-train a model on recordings without labels, from scratch or from a checkpoint.",
        EXAMPLES,
    )

    # After the arguments, so that --help and mistakes in the arguments need not wait for these imports
    from ..training.pretrainer import CollapseError
    from ..training.pretraining import pretrain
    from ..training.runs import leave_together

    try:
        with hidden_output(is_quiet(argv)):
            commit_url = pretrain(
                others.dataset,
                recipe.model_source(arguments["model"], replaces_description=False),
                arguments["training"],
                windows=arguments["data"],
                plot_mixtures_of=others.plot_mixtures,
                resume=others.resume,
                overwrite=others.overwrite,
                recipe=recipe.name,
                command=shlex.join(["polyaudio", "pretrain", *argv]),
            ).commit_url
    except CollapseError as error:
        raise ValueError(str(error)) from error
    if commit_url is not None:
        print(commit_url)
    leave_together()


if __name__ == "__main__":
    sys.exit(main())
