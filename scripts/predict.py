# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio predict`: label audio files."""

import json
import sys
from typing import TYPE_CHECKING, Any

from .command import argument_parser, command
from .loading import add_run_arguments, choose_device, load_classifier, load_feature_extractor


if TYPE_CHECKING:
    import torch


DESCRIPTION = """\
Label audio files of any rate, mono or not.

The scores of a clip that is cut into windows (see --window) are the mean of the windows' scores, in which each window
counts by its length. Files that cannot be read are named, and the exit code is then 1."""

EXAMPLES = """\
  polyaudio predict concert.flac --model runs/ragas
  polyaudio predict *.wav --model ta012/SSLAM_AS2M_Finetuned --window 5
  polyaudio predict recordings/ --model runs/ragas --top-k 3 --json > labels.json
"""


@command
def main(argv: list[str]) -> int:
    parser = argument_parser("predict", DESCRIPTION, EXAMPLES)
    add_run_arguments(parser)
    parser.add_argument("--top-k", type=int, default=5, metavar="K", help="labels to show for a file (5)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)
    if args.top_k < 1:
        parser.error("--top-k must be at least 1")

    from tqdm.auto import tqdm

    from .batches import ClipReader, find_files, run_on_files, weighted_mean

    files = find_files(args.files)
    device = choose_device(args.device)
    model = load_classifier(args.model).to(device)
    config = model.config
    reader = ClipReader(
        config,
        load_feature_extractor(args.model, config),
        batch_size=args.batch_size,
        window=args.window,
        padding=args.padding,
    )

    def probabilities(outputs, inputs) -> list["torch.Tensor"]:
        logits = outputs.logits.float().cpu()
        is_multi_label = config.problem_type == "multi_label_classification"
        return list(logits.sigmoid() if is_multi_label else logits.softmax(-1))

    labels, failed = {}, 0
    for result in run_on_files(model, reader, files, probabilities, num_workers=args.workers, description="Labelling"):
        if result.error is None:
            scores = weighted_mean(result.windows, result.seconds)
            labels[result.file] = best_labels(scores, config.id2label, args.top_k)
        else:
            failed += 1
            tqdm.write(f"polyaudio predict: {result.error}", file=sys.stderr)  # beside the progress bar

    predictions = [{"file": file, "labels": labels[file]} for file in files if file in labels]
    if args.json:
        print(json.dumps(predictions, indent=2, ensure_ascii=False))
    else:
        for prediction in predictions:
            print(prediction["file"])
            for label in prediction["labels"]:
                print(f"  {label['score']:7.2%}  {label['label']}")
    if failed:
        print(f"polyaudio predict: {failed} of {len(files)} files could not be read", file=sys.stderr)
    return 1 if failed else 0


def best_labels(scores: "torch.Tensor", id2label: dict[int, str], top_k: int) -> list[dict[str, Any]]:
    """The best labels with their scores, as `pipeline("audio-classification")` gives them."""
    best, indices = scores.topk(min(top_k, len(scores)))
    return [
        {"score": score, "label": id2label[index]}
        for score, index in zip(best.tolist(), indices.tolist(), strict=True)
    ]


if __name__ == "__main__":
    sys.exit(main())
