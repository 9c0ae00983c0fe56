# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio convert`: a checkpoint of an original implementation becomes a model folder."""

import sys
from collections import Counter

from .command import argument_parser, command


DESCRIPTION = """\
Convert a checkpoint of an original implementation into a folder for from_pretrained.

  sam-carnatic   best_model.pth, final_model.pth
  SSLAM, EAT     a .pt file of fairseq, pre-trained or fine-tuned; fairseq itself is not needed
  SSLAM, EAT     a folder or Hub name in the layout that their authors publish (model type "eat")

No code in the checkpoint is run, unless --allow-pickle is given. The model folder has safetensors only."""

EXAMPLES = """\
  polyaudio convert best_model.pth --output raga-model --labels Kalyani Todi Varali
  polyaudio convert final_model.pth --output raga-model --original-config config.yaml
  polyaudio convert checkpoint_best.pt --output audioset-tagger
  polyaudio convert checkpoint_last.pt --output encoder --what encoder --weights teacher
  polyaudio convert checkpoint_last.pt --output stage1 --what pretraining
  polyaudio convert ta012/SSLAM_AS2M_Finetuned --output audioset-tagger
"""


@command
def main(argv: list[str]) -> None:
    parser = argument_parser("convert", DESCRIPTION, EXAMPLES)
    parser.add_argument("checkpoint", help="checkpoint file of an original training script, or a published model")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the converted model")
    parser.add_argument("--labels", nargs="+", metavar="NAME", help="class names in the order of the classifier")
    parser.add_argument(
        "--what",
        choices=("encoder", "pretraining", "classifier"),
        help="SSLAM, EAT: the part to convert; by default the classifier of a fine-tuned checkpoint and the encoder "
        "of a pre-trained one",
    )
    parser.add_argument(
        "--weights",
        choices=("student", "teacher"),
        help="SSLAM, EAT: the encoder of a pre-trained .pt file: the trained one (the default, as in the original) or "
        "its moving average",
    )
    parser.add_argument(
        "--original-config",
        metavar="YAML",
        help="sam-carnatic: the original's config.yaml, for a file with weights alone (final_model.pth)",
    )
    parser.add_argument(
        "--allow-pickle",
        action="store_true",
        help="read a file that contains more than tensors. It can run any code, so use this only for files you trust",
    )
    args = parser.parse_args(argv)

    from ..modeling.conversion import convert

    conversion = convert(**vars(args))
    print(f"{args.output}: {conversion.model_class}, {conversion.num_parameters:,} parameters", end="")
    if conversion.labels is not None:
        names = ", ".join(conversion.labels[:5]) + (" ..." if len(conversion.labels) > 5 else "")
        print(f", {len(conversion.labels)} classes: {names}", end="")
    print()
    for fate, count in Counter(fate.split(" to ")[0] for fate in conversion.keys.values()).most_common():
        print(f"  {count:4} keys {fate}")
    if conversion.report:
        print(f"{conversion.report} says what became of each key.")


if __name__ == "__main__":
    sys.exit(main())
