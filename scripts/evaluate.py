# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio evaluate`: measure a trained classifier on a dataset."""

import sys

from .command import CommandError, argument_parser, command
from .loading import load_classifier, load_feature_extractor, report_bad_clips


EXAMPLES = """\
  polyaudio evaluate runs/ragas --dataset ragas --split test
  polyaudio evaluate runs/ragas --dataset my-recordings/ --output report
"""


@command
def main(argv: list[str]) -> None:
    parser = argument_parser("evaluate", "Measure a classifier, per clip and per recording.", EXAMPLES)
    parser.add_argument("model", help="model folder or Hub name")
    parser.add_argument("--dataset", required=True, help="Hub name, local folder, folder of save_to_disk, or `ragas`")
    parser.add_argument("--split", help="split to measure on; `test` by default, or the only one there is")
    parser.add_argument("--audio-column", default="audio", help="column with the audio")
    parser.add_argument("--label-column", help="column with the class")
    parser.add_argument("--group-column", help="column with the recording a clip comes from")
    parser.add_argument("--batch-size", type=int, default=8, help="clips at a time")
    parser.add_argument("--output", metavar="DIR", help="folder for evaluation.json and the confusion matrix")
    args = parser.parse_args(argv)

    from ..training.clips import AudioClips, AudioCollator
    from ..training.data import drop_unreadable, load_clips
    from ..training.labels import Targets
    from ..training.report import format_report, write_evaluation
    from ..training.trainer import AudioTrainer, AudioTrainingArguments
    from .train import evaluate_clips

    clips = load_clips(
        args.dataset,
        audio_column=args.audio_column,
        label_column=args.label_column,
        group_column=args.group_column,
    )
    split = args.split or ("test" if "test" in clips else next(iter(clips)))
    if split not in clips or (args.split is None and split != "test" and len(clips) > 1):
        raise CommandError(f"{args.dataset} has the splits {', '.join(clips)}; name one with --split")
    readable, bad_clips = drop_unreadable(type(clips)({split: clips[split]}))
    report_bad_clips(bad_clips)
    model = load_classifier(args.model)
    feature_extractor = load_feature_extractor(args.model, model.config)
    labelled = with_labels_of(model, readable[split])
    trainer = AudioTrainer(
        model=model,
        args=AudioTrainingArguments(
            output_dir=args.output or args.model,
            per_device_eval_batch_size=args.batch_size,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
        ),
        data_collator=AudioCollator(feature_extractor, Targets(labelled.features["label"])),
        processing_class=feature_extractor,
    )
    result = evaluate_clips(trainer, AudioClips(labelled, feature_extractor.sampling_rate), labelled["recording"])
    print(format_report(result))
    if args.output:
        write_evaluation(result, args.output)


def with_labels_of(model, clips):
    """The clips with their labels numbered as the model numbers them."""
    names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    unknown = sorted(set(clips.features["label"].names) - set(names))
    if unknown:
        raise CommandError(
            f"the model does not know the labels {', '.join(unknown[:5])}; it knows {', '.join(names[:5])} ..."
        )
    return clips.align_labels_with_mapping(model.config.label2id, "label")


if __name__ == "__main__":
    sys.exit(main())
