# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio predict`: label audio files."""

import argparse
import json
import math
import sys
from typing import TYPE_CHECKING, Any

from .command import argument_parser, command
from .loading import add_run_arguments, choose_device, load_classifier, load_config, load_feature_extractor


if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

    from .batches import ClipReader, FileResult


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

    from .batches import ClipReader, find_files, run_on_files

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


def is_frame_classifier(config: "PreTrainedConfig", args: argparse.Namespace) -> bool:
    """Whether a model labels frames. Raises `ValueError` where its type or the arguments do not go with that."""
    is_one = any(name.endswith("ForAudioFrameClassification") for name in config.architectures or ())
    if is_one and config.model_type != "sslam":
        raise ValueError(
            f"{args.model} labels frames and is of type {config.model_type}: of those only SSLAM models can be run"
        )
    if is_one and args.top_k is not None:
        raise ValueError(f"{args.model} gives events: leave out --top-k, and choose them by --threshold")
    if not is_one and args.threshold is not None:
        raise ValueError(f"{args.model} labels whole files: leave out --threshold, and choose labels by --top-k")
    return is_one


def labels_of_file(result: "FileResult", config: "PreTrainedConfig", top_k: int) -> list[dict[str, Any]]:
    """The best labels with their scores, as `pipeline("audio-classification")` gives them."""
    from .batches import weighted_mean

    scores = weighted_mean(result.windows, result.seconds)
    best, indices = scores.topk(min(top_k, len(scores)))
    return [
        {"score": score, "label": config.id2label[index]}
        for score, index in zip(best.tolist(), indices.tolist(), strict=True)
    ]


def events_of_file(
    result: "FileResult", reader: "ClipReader", config: "PreTrainedConfig", threshold: float
) -> list[dict[str, Any]]:
    """The events with onset and offset in seconds and their mean score, sorted by onset."""
    import torch

    from ..data.events import frames_to_events
    from .scoring import seconds_of_answer

    frame_seconds = seconds_of_answer(config, reader.feature_extractor)
    samples = (len(result.windows) - 1) * reader.step + round(result.seconds[-1] * reader.sampling_rate)
    seconds = samples / reader.sampling_rate
    # What is padded without a mask has answers behind the end of the file
    num_frames = math.ceil(round(seconds / frame_seconds, 6))
    scores = torch.cat(result.windows)[:num_frames].double().numpy()
    events = []
    for onset, offset, label in frames_to_events(scores, frame_seconds, threshold=threshold):
        own = slice(round(onset / frame_seconds), round(offset / frame_seconds))
        events.append(
            {
                "onset": onset,
                "offset": min(offset, seconds),
                "score": float(scores[own, label].mean()),
                "label": config.id2label[label],
            }
        )
    return events


if __name__ == "__main__":
    sys.exit(main())
