# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio convert`: a checkpoint of an original implementation becomes a model folder."""

import sys

from .command import CommandError, argument_parser, command


EXAMPLES = """\
  polyaudio convert best_model.pth --output raga-model --labels Kalyani Todi Varali
  polyaudio convert final_model.pth --output raga-model --original-config config.yaml
"""


@command
def main(argv: list[str]) -> None:
    parser = argument_parser("convert", "Turn a foreign checkpoint into a folder for from_pretrained.", EXAMPLES)
    parser.add_argument("checkpoint", help="file that an original training script wrote with torch.save")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the converted model")
    parser.add_argument("--labels", nargs="+", metavar="NAME", help="class names in the order of the classifier")
    parser.add_argument(
        "--original-config",
        metavar="YAML",
        help="the original's config.yaml, for a file that holds weights alone (final_model.pth)",
    )
    parser.add_argument(
        "--allow-pickle",
        action="store_true",
        help="read a file that holds more than tensors; it may run any code, so only for files you trust",
    )
    args = parser.parse_args(argv)

    from ..modeling.checkpoint_io import read_torch_checkpoint
    from ..modeling.checkpoint_sam_audio import is_sam_carnatic_checkpoint

    checkpoint = read_torch_checkpoint(args.checkpoint, allow_pickle=args.allow_pickle)
    if not is_sam_carnatic_checkpoint(checkpoint):
        raise CommandError(
            f"{args.checkpoint} is no checkpoint of a model that polyaudio knows; its keys start with "
            f"{', '.join(map(str, list(checkpoint)[:3]))}"
        )
    _convert_sam_carnatic(checkpoint, args)


def _convert_sam_carnatic(checkpoint: dict, args) -> None:
    from ..feature_extraction.feature_extraction_sam_audio import SAMAudioFeatureExtractor
    from ..modeling.checkpoint_sam_audio import convert_sam_carnatic_state_dict, sam_carnatic_config
    from ..modeling.modeling_sam_audio import SAMAudioForAudioClassification

    state_dict = checkpoint.get("model_state_dict", checkpoint)
    settings = checkpoint.get("config", {})
    if args.original_config:
        import yaml

        with open(args.original_config, encoding="utf-8") as file:
            settings = yaml.safe_load(file)
    if "stride" not in settings:
        print(
            "The checkpoint does not tell the stride of its convolutions; taking the original's default of 2. If it "
            "was trained with another, pass its --original-config.",
            file=sys.stderr,
        )
    config = sam_carnatic_config(state_dict, settings, args.labels)
    model = SAMAudioForAudioClassification(config)
    converted = convert_sam_carnatic_state_dict(state_dict)
    model.load_state_dict(converted)
    model.save_pretrained(args.output)
    SAMAudioFeatureExtractor(config.frontend, config.feature_size).save_pretrained(args.output)
    left_out = len(state_dict) - len(converted)
    print(
        f"{args.output}: {len(converted)} tensors renamed, {left_out} buffers of the mel transform left out (the "
        f"feature extractor builds its own); {config.num_labels} classes: {', '.join(config.id2label.values())}"
    )


if __name__ == "__main__":
    sys.exit(main())
