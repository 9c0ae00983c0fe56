# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio evaluate`: measure a trained classifier on a dataset."""

import sys
from pathlib import Path

from ..data.readable import report_bad_clips
from ..modeling.loading import load_classifier, load_feature_extractor
from .command import argument_parser, command
from .options import add_label_arguments, load_labelled


EXAMPLES = """\
  polyaudio evaluate runs/ragas --dataset ragas --split test
  polyaudio evaluate runs/ragas --dataset my-recordings/ --output report
  polyaudio evaluate ta012/SSLAM_AS2M_Finetuned --dataset agkphysics/AudioSet --label-column human_labels
"""


@command
def main(argv: list[str]) -> None:
    parser = argument_parser(
        "evaluate", "Measure a classifier on whole clips, and where it can, on recordings.", EXAMPLES
    )
    parser.add_argument("model", help="model folder or Hub name")
    parser.add_argument("--dataset", required=True, help="Hub name, local folder, folder of save_to_disk, or `ragas`")
    parser.add_argument("--split", help="split to measure on; `test` by default, or the only one there is")
    parser.add_argument("--audio-column", default="audio", help="column with the audio")
    add_label_arguments(parser)
    parser.add_argument("--batch-size", type=int, default=8, help="clips at a time")
    parser.add_argument("--output", metavar="DIR", help="folder for evaluation.json and plots")
    args = parser.parse_args(argv)

    from ..data.collators import AudioCollator
    from ..data.labels import FRAMES, task_of
    from ..data.readable import drop_unreadable
    from ..evaluation.classifier import evaluate_clips, evaluation_clips, make_targets
    from ..evaluation.tables import format_report
    from ..evaluation.writing import write_evaluation
    from ..training.arguments import AudioTrainingArguments
    from ..training.trainer import AudioTrainer

    clips = load_labelled(args)
    split = args.split or ("test" if "test" in clips else next(iter(clips)))
    if split not in clips or (args.split is None and split != "test" and len(clips) > 1):
        raise ValueError(f"{args.dataset} has the splits {', '.join(clips)}; name one with --split")
    readable, bad_clips = drop_unreadable(type(clips)({split: clips[split]}))
    report_bad_clips(bad_clips)
    model = load_classifier(args.model, of_frames=task_of(clips[split].features["label"]) == FRAMES)
    feature_extractor = load_feature_extractor(args.model, model.config)
    labelled = with_labels_of(model, readable[split])
    targets = make_targets(labelled.features["label"], model.config, feature_extractor, padding=-100.0)
    trainer = AudioTrainer(
        model=model,
        args=AudioTrainingArguments(
            output_dir=args.output or args.model,
            per_device_eval_batch_size=args.batch_size,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
        ),
        data_collator=AudioCollator(feature_extractor, targets),
        processing_class=feature_extractor,
    )
    folder = Path(args.output) if args.output else None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    dataset = evaluation_clips(labelled, model.config, feature_extractor)
    evaluation = evaluate_clips(trainer, dataset, labelled, feature_extractor, folder=folder)
    print(format_report(evaluation))
    if folder is not None:
        write_evaluation(evaluation, folder)


def with_labels_of(model, clips):
    """The clips with their labels numbered as the model numbers them."""
    from ..data.labels import class_names, renumbered

    names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    unknown = sorted(set(class_names(clips.features["label"])) - set(names))
    if unknown:
        raise ValueError(
            f"the model does not know the labels {', '.join(unknown[:5])}; it knows {', '.join(names[:5])} ..."
        )
    return renumbered(clips, names)


if __name__ == "__main__":
    sys.exit(main())
