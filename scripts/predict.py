# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio predict`: label audio files."""

import json
import sys
from typing import TYPE_CHECKING

from ..inference.answers import events_of_file, is_frame_classifier, labels_of_file
from ..modeling.loading import choose_device, load_classifier, load_config, load_feature_extractor
from .command import argument_parser, command
from .options import add_run_arguments


if TYPE_CHECKING:
    import torch


DESCRIPTION = """\
Label audio files of any rate, mono or not.

The scores of a clip that is cut into windows (see --window) are the mean of the windows' scores, in which each window
counts by its length. A frame classifier gives events instead: onset and offset in seconds, and the mean score between
them. Files that cannot be read are named, and the exit code is then 1."""

EXAMPLES = """\
  polyaudio predict concert.flac --model runs/ragas
  polyaudio predict *.wav --model ta012/SSLAM_AS2M_Finetuned --window 5
  polyaudio predict recordings/ --model runs/ragas --top-k 3 --json > labels.json
  polyaudio predict street.wav --model runs/events --threshold 0.3
"""


@command
def main(argv: list[str]) -> int:
    parser = argument_parser("predict", DESCRIPTION, EXAMPLES)
    add_run_arguments(parser)
    parser.add_argument("--top-k", type=int, metavar="K", help="labels to show for a file (5); not for events")
    parser.add_argument(
        "--threshold", type=float, metavar="P", help="score above which a frame belongs to an event (0.5); events only"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)
    if args.top_k is not None and args.top_k < 1:
        parser.error("--top-k must be at least 1")
    if args.threshold is not None and not 0 <= args.threshold < 1:
        parser.error("--threshold must be at least 0 and below 1")

    from tqdm.auto import tqdm

    from ..inference.files import ClipReader, find_files, run_on_files

    files = find_files(args.files)
    device = choose_device(args.device)
    gives_events = is_frame_classifier(load_config(args.model), args)
    model = load_classifier(args.model, of_frames=gives_events).to(device)
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
        scores = list(logits.sigmoid() if is_multi_label else logits.softmax(-1))
        if gives_events and "attention_mask" in inputs:
            is_own = model.get_time_patch_mask(inputs["attention_mask"]).cpu()
            return [window[own] for window, own in zip(scores, is_own, strict=True)]
        return scores

    top_k = 5 if args.top_k is None else args.top_k
    threshold = 0.5 if args.threshold is None else args.threshold
    answers, failed = {}, 0
    for result in run_on_files(model, reader, files, probabilities, num_workers=args.workers, description="Labelling"):
        if result.error is not None:
            failed += 1
            tqdm.write(f"polyaudio predict: {result.error}", file=sys.stderr)  # beside the progress bar
        elif gives_events:
            answers[result.file] = events_of_file(result, reader, config, threshold)
        else:
            answers[result.file] = labels_of_file(result, config, top_k)

    kind = "events" if gives_events else "labels"
    predictions = [{"file": file, kind: answers[file]} for file in files if file in answers]
    if args.json:
        print(json.dumps(predictions, indent=2, ensure_ascii=False))
    else:
        for prediction in predictions:
            print(prediction["file"])
            for answer in prediction[kind]:
                times = f"{answer['onset']:8.2f} {answer['offset']:8.2f}" if gives_events else ""
                print(f"{times}  {answer['score']:7.2%}  {answer['label']}")
    if failed:
        print(f"polyaudio predict: {failed} of {len(files)} files could not be read", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
