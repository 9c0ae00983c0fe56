# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio predict`: label audio files."""

import json
import sys

from .command import argument_parser, command


EXAMPLES = """\
  polyaudio predict concert.flac --model runs/ragas
  polyaudio predict *.wav --model runs/ragas --top-k 3 --json > labels.json
"""


@command
def main(argv: list[str]) -> int:
    parser = argument_parser("predict", "Label audio files of any rate, mono or not.", EXAMPLES)
    parser.add_argument("files", nargs="+", metavar="FILE", help="wav, flac, ogg or mp3 file")
    parser.add_argument("--model", required=True, help="model folder or Hub name")
    parser.add_argument("--top-k", type=int, default=5, help="labels to show for a file")
    parser.add_argument("--batch-size", type=int, default=8, help="files at a time")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)
    if args.top_k < 1 or args.batch_size < 1:
        parser.error("--top-k and --batch-size must be at least 1")

    import torch
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    from ..training.audio import AudioFileError, load_audio

    model = AutoModelForAudioClassification.from_pretrained(args.model).eval()
    if torch.accelerator.is_available():
        model.to(torch.accelerator.current_accelerator())
    feature_extractor = AutoFeatureExtractor.from_pretrained(args.model)

    predictions, failed = [], 0
    for start in range(0, len(args.files), args.batch_size):
        waveforms, names = [], []
        for name in args.files[start : start + args.batch_size]:
            try:
                waveforms.append(load_audio(name, feature_extractor.sampling_rate))
                names.append(name)
            except AudioFileError as error:
                failed += 1
                print(f"polyaudio predict: {error}", file=sys.stderr)
        if waveforms:
            labels = label_waveforms(model, feature_extractor, waveforms, args.top_k)
            predictions += [{"file": name, "labels": best} for name, best in zip(names, labels, strict=True)]

    if args.json:
        print(json.dumps(predictions, indent=2, ensure_ascii=False))
    else:
        for prediction in predictions:
            print(prediction["file"])
            for label in prediction["labels"]:
                print(f"  {label['score']:7.2%}  {label['label']}")
    if failed:
        print(f"polyaudio predict: {failed} of {len(args.files)} files could not be read", file=sys.stderr)
    return 1 if failed else 0


def label_waveforms(model, feature_extractor, waveforms: list, top_k: int) -> list[list[dict]]:
    """The best labels of each waveform with their scores, as `pipeline("audio-classification")` gives them."""
    import torch

    inputs = feature_extractor(
        waveforms,
        sampling_rate=feature_extractor.sampling_rate,
        padding=True,
        return_attention_mask=True,
        return_tensors="pt",
    ).to(model.device, model.dtype)
    with torch.inference_mode():
        logits = model(**inputs).logits.float()
    multi_label = model.config.problem_type == "multi_label_classification"
    scores, indices = (logits.sigmoid() if multi_label else logits.softmax(-1)).topk(min(top_k, logits.shape[-1]))
    return [
        [{"score": score, "label": model.config.id2label[index]} for score, index in zip(row, numbers, strict=True)]
        for row, numbers in zip(scores.tolist(), indices.tolist(), strict=True)
    ]


if __name__ == "__main__":
    sys.exit(main())
