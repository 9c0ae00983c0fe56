# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio train`: train a classifier on a dataset."""

import argparse
import functools
import math
import shlex
import sys
from pathlib import Path

from .command import CommandError, command
from .loading import (
    last_checkpoint,
    load_feature_extractor,
    make_config,
    make_feature_extractor,
    report_bad_clips,
)


EXAMPLES = """\
examples:
  polyaudio train --config carnatic_ragas --output-dir runs/ragas
  polyaudio train --dataset my-recordings/ --epochs 20 --batch-size 8 --lr 3e-4
  polyaudio train --model-name-or-path runs/ragas --dataset my-recordings/ --lora
  polyaudio train --config sslam_small --dataset my-recordings/
  polyaudio train --config sslam_small --model-name-or-path ta012/SSLAM_pretrain --dataset my-recordings/
  accelerate launch --multi_gpu --num_processes 2 -m polyaudio.scripts.train --config carnatic_ragas
"""


@command
def main(argv: list[str]) -> None:
    from transformers import HfArgumentParser

    from ..training.trainer import AudioTrainingArguments
    from .recipe import DataArguments, LoraArguments, ModelArguments, parse_arguments

    parser = HfArgumentParser(
        (ModelArguments, DataArguments, LoraArguments, AudioTrainingArguments),
        prog="polyaudio train",
        usage="polyaudio train [--config RECIPE] [--dataset DATA] [--output-dir DIR] [FLAG ...]",
        description="Train an audio classifier, from scratch or from a checkpoint.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the output folder")
    recipe, model_args, data_args, lora_args, training_args, others = parse_arguments(parser, argv, "default")
    if data_args.dataset is None:
        raise CommandError("no data: name a folder or a dataset with --dataset")
    if others.resume:
        training_args.resume_from_checkpoint = last_checkpoint(training_args.output_dir)
    command_line = shlex.join(["polyaudio", "train", *argv])
    train(recipe, model_args, data_args, lora_args, training_args, command_line)


def train(recipe, model_args, data_args, lora_args, training_args, command_line: str) -> None:
    """Load and split the data, train, evaluate on what was held out, and leave a complete model folder."""
    from transformers import set_seed

    from ..training.metrics import classification_metrics
    from ..training.splits import check_clips
    from ..training.trainer import AudioTrainer

    set_seed(training_args.seed)
    splits, split_description = load_splits(data_args)
    check_clips(splits["train"], splits["validation"])
    labels = splits["train"].features["label"].names
    model, feature_extractor = build_model(recipe, model_args, labels)
    if model.config.model_type == "sslam":
        fit_to_crops(feature_extractor, model.config, data_args.crop_seconds)
    if lora_args.lora:
        # The folder holds the untouched model too, so that from_pretrained finds in it all that the adapter needs
        if training_args.process_index == 0:
            model.save_pretrained(training_args.output_dir)
        model = add_lora(model, lora_args, training_args.output_dir)
    datasets, collator = make_datasets(splits, data_args, feature_extractor, training_args.seed)
    trainer = AudioTrainer(
        model=model,
        args=training_args,
        train_dataset=datasets["train"],
        eval_dataset=datasets["validation"],
        data_collator=collator,
        processing_class=feature_extractor,
        compute_metrics=classification_metrics,
    )
    trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)

    held_out = "test" if "test" in splits else "validation"
    result = evaluate_clips(trainer, datasets[held_out], splits[held_out]["recording"])
    trainer.save_model()
    if trainer.is_world_process_zero():
        write_results(
            trainer,
            result,
            model_type=model.config.model_type,
            base_model=model_args.model_name_or_path,
            dataset=data_args.dataset,
            split_description=split_description,
            command=command_line,
        )


def make_datasets(splits, data_args, feature_extractor, seed: int) -> tuple:
    """The splits as the model is to get them, the training split with its augmentation, and the collator."""
    from ..training.augmentation import PitchShift
    from ..training.clips import AudioClips, AudioCollator
    from ..training.features import CachedFeatures, FeatureCollator
    from ..training.labels import Targets

    augmentation = {"crop_seconds": data_args.crop_seconds, "seed": seed}
    if data_args.cache_features:
        if data_args.pitch_shift:
            raise CommandError("pitch_shift changes a clip in each epoch, so its features cannot be cached")
        if getattr(feature_extractor, "max_length", None) is not None:
            raise CommandError("this model's feature extractor cuts clips before they could be cached whole")
        make_dataset = functools.partial(CachedFeatures, feature_extractor=feature_extractor, num_workers=2)
        collator = FeatureCollator(feature_extractor, Targets(splits["train"].features["label"]))
    else:
        rate = feature_extractor.sampling_rate
        if data_args.pitch_shift:
            augmentation["transform"] = PitchShift(data_args.pitch_shift, rate)
        make_dataset = functools.partial(AudioClips, sampling_rate=rate)
        collator = AudioCollator(feature_extractor, Targets(splits["train"].features["label"]))
    datasets = {
        name: make_dataset(clips, **(augmentation if name == "train" else {})) for name, clips in splits.items()
    }
    return datasets, collator


def load_splits(data_args) -> tuple:
    """
    The readable clips by split, and one sentence on how they were split.

    The splits are `train` and `validation`, and `test` where the data has one of its own. What the data does not
    divide is divided here, by recording.
    """
    from datasets import DatasetDict

    from ..training.data import drop_unreadable, load_clips
    from ..training.splits import split_by_recording

    clips = load_clips(
        data_args.dataset,
        audio_column=data_args.audio_column,
        label_column=data_args.label_column,
        group_column=data_args.group_column,
    )
    if "train" not in clips:
        raise CommandError(f"{data_args.dataset} has no split 'train', only {', '.join(clips)}")
    clips, bad_clips = drop_unreadable(clips)
    report_bad_clips(bad_clips)

    train, validation = clips["train"], clips.get("validation")
    if validation is None:
        train, validation = split_by_recording(train, data_args.test_size, data_args.split_seed)
    splits = DatasetDict(train=train, validation=validation)
    if "test" in clips:
        splits["test"] = clips["test"]
        description = "The figures are for the data's own test split; the best epoch was chosen on other clips."
    else:
        description = (
            f"The figures are for {validation.num_rows} clips of {len(set(validation['recording']))} recordings, none "
            "of which is in the training set. The best epoch was chosen on these clips, which flatters it a little."
        )
    for name, rows in splits.items():
        print(f"{name}: {rows.num_rows} clips of {len(set(rows['recording']))} recordings")
    return splits, description


def build_model(recipe, model_args, labels: list[str]) -> tuple:
    """The model and its feature extractor, from a checkpoint or from scratch."""
    from transformers import AutoModelForAudioClassification

    checkpoint = model_args.model_name_or_path
    # A checkpoint that is named on the command line stands in for the model that the recipe describes
    is_from_recipe = checkpoint == recipe.arguments.get("model_name_or_path")
    settings = {
        **(recipe.model if is_from_recipe else {}),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": "single_label_classification",
    }
    config = make_config(model_args.model_type, checkpoint, settings)
    if checkpoint is not None:
        model = AutoModelForAudioClassification.from_pretrained(
            checkpoint, config=config, ignore_mismatched_sizes=True
        )
        return model, load_feature_extractor(checkpoint, config)
    feature_extractor = make_feature_extractor(config, recipe.feature_extractor)
    return AutoModelForAudioClassification.from_config(config), feature_extractor


def fit_to_crops(feature_extractor, config, crop_seconds: float | None) -> None:
    """
    Set an SSLAM feature extractor to what the model is trained on: crops of this length, padding hidden by a mask.

    So the crops reach the model whole, longer clips are cut to that length in evaluation, and into windows of that
    length by `polyaudio predict`, and a pipeline pads as training does.
    """
    feature_extractor.return_attention_mask = True
    if crop_seconds is None:
        return
    frames = crop_seconds * feature_extractor.sampling_rate / feature_extractor.hop_length
    patches = math.ceil(frames / config.patch_size)
    if patches > config.max_time_patches:
        raise CommandError(
            f"crop_seconds is {crop_seconds:g}, which takes {patches} patches of time, but the model reaches no more "
            f"than {config.max_time_patches}"
        )
    feature_extractor.max_length = patches * config.patch_size


def add_lora(model, lora_args, base_model: str):
    """Freeze the model, which is saved in the folder `base_model`, but for its classifier and a LoRA adapter."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora_args.lora_rank,
        lora_alpha=lora_args.lora_alpha,
        lora_dropout=lora_args.lora_dropout,
        target_modules=lora_args.lora_target_modules,
        modules_to_save=["classifier"],
    )
    model.name_or_path = base_model
    model = get_peft_model(model, config)
    model.print_trainable_parameters()
    return model


def evaluate_clips(trainer, dataset, recordings: list[str]) -> dict:
    """Predict the clips of a dataset and score the predictions, per clip and per recording."""
    from ..training.report import evaluate_predictions

    prediction = trainer.predict(dataset)
    return evaluate_predictions(
        prediction.predictions, prediction.label_ids, recordings, trainer.model.config.id2label
    )


def write_results(trainer, result: dict, *, model_type: str, **card) -> None:
    """Write report, plots and model card beside the model and print the report."""
    from ..training.model_card import write_model_card
    from ..training.report import format_report, plot_losses, write_evaluation

    folder = Path(trainer.args.output_dir)
    trainer.save_state()
    write_evaluation(result, folder)
    plot_losses(trainer.state.log_history, folder / "losses.png")
    write_model_card(folder, model_name=folder.name, model_type=model_type, result=result, **card)
    print(format_report(result))
    print(f"\nThe model is in {folder}: pipeline('audio-classification', model={str(folder)!r})")


if __name__ == "__main__":
    sys.exit(main())
