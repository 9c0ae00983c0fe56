# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio train`: train a classifier on a dataset."""

import shlex
import sys

from .command import command, is_quiet
from .recipe_options import parse_recipe
from .terminal import hidden_output


EXAMPLES = """\
  polyaudio train --config carnatic_ragas --output-dir runs/ragas
  polyaudio train --dataset my-recordings/ --epochs 20 --batch-size 8 --lr 3e-4
  polyaudio train --config sslam_small --model-name-or-path ta012/SSLAM_pretrain --dataset my-recordings/
  polyaudio train --model-name-or-path runs/ragas --dataset my-recordings/ --lora
  polyaudio train --model-name-or-path runs/stage2 --dataset my-recordings/ --freeze-encoder --folds 5 --seeds 1 2 3
  accelerate launch --multi_gpu --num_processes 2 -m polyaudio.scripts.train --config carnatic_ragas
"""


@command
def main(argv: list[str]) -> None:
    from ..training.recipes import FINE_TUNING

    recipe, arguments, others = parse_recipe(
        "train",
        FINE_TUNING,
        argv,
        "default",
        "Train an audio classifier on a labelled dataset, from scratch or from a checkpoint.",
        EXAMPLES,
    )

    # After the arguments, so that --help and mistakes in the arguments need not wait for these imports
    from ..evaluation.tables import format_summary
    from ..training.fine_tuning import cross_validate, fine_tune
    from ..training.runs import leave_together

    classifier, data, args = arguments["model"], arguments["data"], arguments["training"]
    several_seeds = classifier.seeds is not None and len(classifier.seeds) > 1
    if classifier.seeds is not None and not several_seeds:
        args.seed = classifier.seeds[0]
    settings = {
        "data": data,
        "augmentation": arguments["augmentation"],
        "lora": arguments["lora"] if others.lora else None,
        "freeze_encoder": classifier.freeze_encoder,
        "resume": others.resume,
        "overwrite": others.overwrite,
        "recipe": recipe.name,
        "command": shlex.join(["polyaudio", "train", *argv]),
    }
    source = recipe.model_source(classifier, replaces_description=True)
    if several_seeds or data.folds is not None or data.fold_column is not None:
        seeds = classifier.seeds if several_seeds else None
        with hidden_output(is_quiet(argv)):
            runs = cross_validate(others.dataset, source, args, seeds=seeds, **settings)
        if args.process_index == 0:
            print(format_summary(runs.summary))
            print(f"\nThe summary is in {runs.folder}, and each run has a folder in it")
    else:
        with hidden_output(is_quiet(argv)):
            commit_url = fine_tune(others.dataset, source, args, **settings).commit_url
        if commit_url is not None:
            print(commit_url)
    leave_together()


if __name__ == "__main__":
    sys.exit(main())
