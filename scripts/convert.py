# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio convert`: a checkpoint of an original implementation becomes a model folder."""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .command import argument_parser, command


if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from ..feature_extraction.feature_extraction_sslam import SSLAMFeatureExtractor


DESCRIPTION = """\
Turn a foreign checkpoint into a folder for from_pretrained.

  sam-carnatic   best_model.pth, final_model.pth
  SSLAM, EAT     a .pt file of fairseq, pre-trained or fine-tuned; fairseq itself is not needed
  SSLAM, EAT     a folder or Hub name in the layout that their authors publish (model type "eat")"""

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
    parser.add_argument("checkpoint", help="file that an original training script wrote, or a published model")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the converted model")
    parser.add_argument("--labels", nargs="+", metavar="NAME", help="class names in the order of the classifier")
    parser.add_argument(
        "--what",
        choices=("encoder", "pretraining", "classifier"),
        help="SSLAM, EAT: what to take of the checkpoint; by default the classifier of a fine-tuned one and the "
        "encoder of a pre-trained one",
    )
    parser.add_argument(
        "--weights",
        choices=("student", "teacher"),
        help="SSLAM, EAT: encoder of a pre-trained .pt file, the trained one (by default, as the original) or its "
        "moving average",
    )
    parser.add_argument(
        "--original-config",
        metavar="YAML",
        help="sam-carnatic: the original's config.yaml, for a file that holds weights alone (final_model.pth)",
    )
    parser.add_argument(
        "--allow-pickle",
        action="store_true",
        help="read a file that holds more than tensors; it may run any code, so only for files you trust",
    )
    args = parser.parse_args(argv)

    if not os.path.isfile(args.checkpoint) and not args.checkpoint.endswith((".pt", ".pth")):
        _refuse(args, "original_config", "weights", "allow_pickle")
        _convert_published_sslam(args)
        return

    from ..modeling.checkpoint_io import read_torch_checkpoint
    from ..modeling.checkpoint_sam_audio import is_sam_carnatic_checkpoint

    checkpoint = read_torch_checkpoint(args.checkpoint, allow_pickle=args.allow_pickle)
    if is_sam_carnatic_checkpoint(checkpoint):
        _refuse(args, "what", "weights")
        _convert_sam_carnatic(checkpoint, args)
    elif {"cfg", "model"} <= checkpoint.keys():
        _refuse(args, "original_config")
        _convert_fairseq_sslam(checkpoint, args)
    else:
        raise ValueError(
            f"{args.checkpoint} is no checkpoint of a model that polyaudio knows; its keys start with "
            f"{', '.join(map(str, list(checkpoint)[:3]))}"
        )


def _refuse(args, *names: str) -> None:
    for name in names:
        if getattr(args, name):
            raise ValueError(f"--{name.replace('_', '-')} is of no use to {args.checkpoint}; leave it out")


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


def _convert_fairseq_sslam(checkpoint: dict[str, Any], args) -> None:
    from ..modeling.checkpoint_sslam import convert_fairseq_checkpoint
    from ..modeling.modeling_sslam import SSLAMForAudioClassification, SSLAMForPreTraining, SSLAMModel

    is_classifier = checkpoint["cfg"]["model"]["_name"] == "mae_image_classification"
    what = args.what or ("classifier" if is_classifier else "encoder")
    weights = args.weights or "student"
    converted = convert_fairseq_checkpoint(checkpoint, what, weights)
    model_class = {
        "encoder": SSLAMModel,
        "classifier": SSLAMForAudioClassification,
        "pretraining": SSLAMForPreTraining,
    }[what]
    _set_labels(converted.config, what, args.labels)
    model = model_class(converted.config)
    model.load_state_dict(converted.state_dict)
    model.save_pretrained(args.output)
    _fairseq_feature_extractor(checkpoint["cfg"]).save_pretrained(args.output)

    report = {"checkpoint": args.checkpoint, "what": what, "weights": weights, "keys": converted.report}
    path = Path(args.output) / "conversion_report.json"
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    words = _labels_in_words(model.config, what)
    print(f"{args.output}: {model_class.__name__}, {model.num_parameters():,} parameters{words}")
    for fate, count in Counter(text.split(" to ")[0] for text in converted.report.values()).most_common():
        print(f"  {count:4} keys {fate}")
    print(f"What became of each key is in {path}.")


def _fairseq_feature_extractor(cfg: dict[str, Any]) -> "SSLAMFeatureExtractor":
    """The extractor that gives what the checkpoint was trained on: clip length and normalisation of its data set."""
    from ..feature_extraction.feature_extraction_sslam import SSLAMFeatureExtractor

    task = cfg.get("task") or {}
    settings = {}
    if task.get("esc50_eval"):  # the original fine-tunes on ESC-50 and Speech Commands with their own statistics
        settings = {"mean": -6.627, "std": 5.359}
    elif task.get("spcv2_eval"):
        settings = {"mean": -6.846, "std": 5.565}
    if task.get("target_length"):
        settings["max_length"] = task["target_length"]
    return SSLAMFeatureExtractor(**settings)


def _convert_published_sslam(args) -> None:
    from safetensors import safe_open
    from transformers import AutoModel, AutoModelForAudioClassification
    from transformers.utils import SAFE_WEIGHTS_NAME, cached_file

    from ..modeling.loading import load_config, load_feature_extractor

    config = load_config(args.checkpoint)
    if config.model_type != "eat":
        raise ValueError(
            f"{args.checkpoint} is a model of type {config.model_type!r}; only those of type 'eat' are converted"
        )
    with safe_open(cached_file(args.checkpoint, SAFE_WEIGHTS_NAME), "pt") as file:
        has_classifier = "model.head.weight" in file.keys()  # noqa: SIM118  not a dict
    what = args.what or ("classifier" if has_classifier else "encoder")
    if what == "pretraining" or (what == "classifier" and not has_classifier):
        raise ValueError(f"{args.checkpoint} has no {'classifier' if what == 'classifier' else 'decoder'}")
    auto_class = AutoModelForAudioClassification if what == "classifier" else AutoModel
    model = auto_class.from_pretrained(args.checkpoint)
    _set_labels(model.config, what, args.labels)
    model.save_pretrained(args.output)
    load_feature_extractor(args.checkpoint, config).save_pretrained(args.output)
    words = _labels_in_words(model.config, what)
    print(f"{args.output}: {type(model).__name__}, {model.num_parameters():,} parameters{words}")


def _set_labels(config: "PreTrainedConfig", what: str, labels: list[str] | None) -> None:
    if labels is None:
        return
    if what != "classifier":
        raise ValueError(f"--labels are of no use to --what {what}; leave them out")
    if len(set(labels)) != config.num_labels:
        raise ValueError(f"the classifier has {config.num_labels} classes, but {len(set(labels))} labels were given")
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}


def _labels_in_words(config: "PreTrainedConfig", what: str) -> str:
    if what != "classifier":
        return ""
    labels = list(config.id2label.values())
    return f", {len(labels)} classes: {', '.join(labels[:5])}{' ...' if len(labels) > 5 else ''}"


if __name__ == "__main__":
    sys.exit(main())
