# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio convert`: convert a checkpoint of an original implementation into a model folder."""

import sys
from collections import Counter

from .command import argument_parser, command


DESCRIPTION = """\
Convert a checkpoint of an original implementation into a folder for from_pretrained.

  sam-carnatic   best_model.pth or final_model.pth
  SSLAM, EAT     a .pt file of fairseq, pre-trained or fine-tuned; you do not need fairseq
  SSLAM, EAT     a folder or Hub name in the layout that the authors published (model type "eat")

The command does not run code that the checkpoint contains, unless you give --allow-pickle. The weights are written as
safetensors."""

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
    parser.add_argument(
        "checkpoint", help="checkpoint file of an original training script, or folder or Hub name of a published model"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write the converted model to")
    parser.add_argument(
        "--labels", nargs="+", metavar="NAME", help="names of the classes, in the order of the classifier's outputs"
    )
    parser.add_argument(
        "--what",
        choices=("encoder", "pretraining", "classifier"),
        help="SSLAM, EAT: part to convert. Default: the classifier of a fine-tuned checkpoint, the encoder of a "
        "pre-trained one",
    )
    parser.add_argument(
        "--weights",
        choices=("student", "teacher"),
        help="SSLAM, EAT: encoder to take from a pre-trained .pt file. student: the trained encoder (default, as in "
        "the original code); teacher: its moving average",
    )
    parser.add_argument(
        "--original-config",
        metavar="YAML",
        help="sam-carnatic: config.yaml of the original training run. Needed for final_model.pth, which has weights "
        "only",
    )
    parser.add_argument(
        "--allow-pickle",
        action="store_true",
        help="also read a file that contains other Python objects than tensors. Such a file can run any code, so use "
        "this only for files that you trust",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a converted model in that folder")
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
        print(f"The details for each key are in {conversion.report}.")


if __name__ == "__main__":
    sys.exit(main())
