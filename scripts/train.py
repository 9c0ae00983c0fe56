# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio train`: train a classifier on a dataset."""

import argparse
import copy
import json
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..modeling.loading import load_config, load_feature_extractor, make_config, make_feature_extractor
from .command import command
from .loading import last_checkpoint, leave_together


if TYPE_CHECKING:
    from ..augmentation.arguments import AugmentationArguments
    from ..evaluation.results import Evaluation
    from ..training.trainer import AudioTrainingArguments
    from .recipe import ClassifierArguments, DataArguments, LoraArguments, Recipe
    from .training_data import Division


EXAMPLES = """\
examples:
  polyaudio train --config carnatic_ragas --output-dir runs/ragas
  polyaudio train --dataset my-recordings/ --epochs 20 --batch-size 8 --lr 3e-4
  polyaudio train --config sslam_small --model-name-or-path ta012/SSLAM_pretrain --dataset my-recordings/
  polyaudio train --model-name-or-path runs/ragas --dataset my-recordings/ --lora
  polyaudio train --model-name-or-path runs/stage2 --dataset my-recordings/ --freeze-encoder --folds 5 --seeds 1 2 3
  accelerate launch --multi_gpu --num_processes 2 -m polyaudio.scripts.train --config carnatic_ragas
"""


class Settings(NamedTuple):
    """What a training command was asked for."""

    recipe: "Recipe"
    model: "ClassifierArguments"
    data: "DataArguments"
    augmentation: "AugmentationArguments"
    lora: "LoraArguments"
    training: "AudioTrainingArguments"
    resume: bool
    command: str


@command
def main(argv: list[str]) -> None:
    from transformers import HfArgumentParser

    from ..augmentation.arguments import AugmentationArguments
    from ..training.trainer import AudioTrainingArguments
    from .recipe import ClassifierArguments, DataArguments, LoraArguments, parse_arguments

    parser = HfArgumentParser(
        (ClassifierArguments, DataArguments, AugmentationArguments, LoraArguments, AudioTrainingArguments),
        prog="polyaudio train",
        usage="polyaudio train [--config RECIPE] [--dataset DATA] [--output-dir DIR] [FLAG ...]",
        description="Train an audio classifier, from scratch or from a checkpoint.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the output folder")
    recipe, model_args, data_args, augmentation_args, lora_args, training_args, others = parse_arguments(
        parser, argv, "default"
    )
    if data_args.dataset is None:
        raise ValueError("no data: name a folder or a dataset with --dataset")
    if lora_args.lora and model_args.freeze_encoder:
        raise ValueError("an adapter trains the encoder: leave out either --lora or --freeze-encoder")
    command_line = shlex.join(["polyaudio", "train", *argv])
    train(
        Settings(
            recipe, model_args, data_args, augmentation_args, lora_args, training_args, others.resume, command_line
        )
    )
    leave_together()


def train(settings: Settings) -> None:
    """Load and divide the data and train on it: once, or once for each fold and seed, with a summary at the end."""
    from ..evaluation.results import Evaluation
    from .training_data import load_divisions

    divisions = load_divisions(settings.data)
    seeds = settings.model.seeds or [settings.training.seed]
    if settings.training.push_to_hub and len(divisions) * len(seeds) > 1:
        raise ValueError("several runs make several models: leave out --push-to-hub, and `polyaudio push` one")
    if len(divisions) == 1 and len(seeds) == 1:
        settings.training.seed = seeds[0]
        run(settings, divisions[0], settings.training)
        return
    results = {}
    for division in divisions:
        for seed in seeds:
            parts = [division.name] if division.name else []
            parts += [f"seed-{seed}"] if len(seeds) > 1 else []
            training_args = copy.copy(settings.training)
            training_args.seed = seed
            training_args.output_dir = str(Path(settings.training.output_dir, *parts))
            finished = Path(training_args.output_dir, "evaluation.json")
            if settings.resume and finished.is_file():
                print(f"{training_args.output_dir} is finished")
                results["/".join(parts)] = Evaluation.from_dict(json.loads(finished.read_text(encoding="utf-8")))
            else:
                results["/".join(parts)] = run(settings, division, training_args)
    if settings.training.process_index == 0:
        summarise(settings, divisions[0], seeds, results)


def run(settings: Settings, division: "Division", training_args: "AudioTrainingArguments") -> "Evaluation":
    """Train on one division, evaluate on what it holds out, and leave a complete model folder."""
    from transformers import set_seed

    from ..data.labels import class_names, classes_of_clips, task_of
    from ..data.sampling import clip_weights
    from ..evaluation.classifier import DEFAULT_METRICS, METRIC_NAMES, evaluate_clips, metrics_of
    from ..hub.push import push_run
    from ..training.interrupts import StopOnSignal
    from ..training.trainer import AudioTrainer

    set_seed(training_args.seed)
    train_clips = division.splits["train"]
    label = train_clips.features["label"]
    task, names = task_of(label), class_names(label)
    model, feature_extractor = build_model(settings, names, task)
    model = choose_trained_weights(model, settings, training_args)
    datasets, collator, train_collator = make_datasets(
        settings, division.splits, model.config, feature_extractor, training_args.seed
    )
    if training_args.metric_for_best_model == "auto":
        training_args.metric_for_best_model = DEFAULT_METRICS[task]
    if "validation" not in datasets:
        if training_args.early_stopping_patience is not None:
            raise ValueError("folds leave no clips to stop early by: leave out early_stopping_patience")
        training_args.eval_strategy, training_args.load_best_model_at_end = "no", False

    learner, learned = model, datasets
    if settings.model.freeze_encoder and nothing_is_random(settings):
        if training_args.layer_decay is not None:
            raise ValueError("a frozen encoder has no learning rate: leave out either layer_decay or freeze_encoder")
        learner, learned, collator_of_learner = encode(model, datasets, collator, training_args)
        train_collator = collator_of_learner
    else:
        collator_of_learner = collator
    stop = StopOnSignal()
    weights = None
    if training_args.balanced_samples is not None:
        weights = clip_weights(classes_of_clips(train_clips), len(names))
    trainer = AudioTrainer(
        model=learner,
        args=training_args,
        train_dataset=learned["train"],
        eval_dataset=learned.get("validation"),
        data_collator=collator_of_learner,
        train_collator=train_collator,
        train_weights=weights,
        metric_names=METRIC_NAMES[task],
        processing_class=feature_extractor,
        compute_metrics=metrics_of(task),
        callbacks=[stop],
    )
    trainer.train(resume_from_checkpoint=checkpoint_to_resume(settings, training_args))
    if stop.received is not None:
        raise ValueError(
            f"{stop.received} stopped the run at step {trainer.state.global_step}, which is saved in "
            f"{training_args.output_dir}: the same command with --resume goes on from there"
        )
    trainer.save_state()
    history = trainer.state.log_history
    if learner is not model:
        trainer = AudioTrainer(
            model=model,
            args=training_args,
            eval_dataset=datasets.get("validation"),
            data_collator=collator,
            processing_class=feature_extractor,
        )
    trainer.save_model()
    folder = Path(training_args.output_dir)
    held_out = division.splits[division.held_out]
    result = evaluate_clips(trainer, datasets[division.held_out], held_out, feature_extractor, folder=folder)
    if trainer.is_world_process_zero():
        write_results(settings, division, training_args, model.config.model_type, history, result)
    url = push_run(trainer)
    if url is not None:
        print(url)
    return result


def build_model(settings: Settings, names: list[str], task: str) -> tuple:
    """The model and its feature extractor, from a checkpoint or from scratch."""
    from transformers import AutoModelForAudioClassification, AutoModelForAudioFrameClassification

    from ..data.labels import FRAMES, MULTI_LABEL

    recipe, checkpoint = settings.recipe, settings.model.model_name_or_path
    # A checkpoint that is named on the command line stands in for a model that the recipe describes from scratch
    describes_another = checkpoint is not None and recipe.arguments.get("model_name_or_path") is None
    fields = {
        **({} if describes_another else recipe.model),
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
        "problem_type": MULTI_LABEL if task == FRAMES else task,
    }
    for name in ("drop_path_rate", "label_smoothing"):
        if getattr(settings.model, name) is not None:
            fields[name] = getattr(settings.model, name)
    config = make_config(settings.model.model_type, checkpoint, fields)
    if task == FRAMES and config.model_type not in ("sslam", "eat"):
        raise ValueError(f"the data has onsets and offsets, but a model of type {config.model_type} has no frame head")
    auto_class = AutoModelForAudioFrameClassification if task == FRAMES else AutoModelForAudioClassification
    if checkpoint is None:
        feature_extractor = make_feature_extractor(config, recipe.feature_extractor)
        model = auto_class.from_config(config)
    else:
        feature_extractor = load_feature_extractor(checkpoint, config)
        for name, value in recipe.feature_extractor.items():
            setattr(feature_extractor, name, value)
        model = auto_class.from_pretrained(checkpoint, config=config, ignore_mismatched_sizes=True)
        if model._hf_peft_config_loaded:
            raise ValueError(
                f"{checkpoint} is an adapter: merge it into its base first, with "
                f"polyaudio.training.lora.merge_adapter({checkpoint!r}, 'merged')"
            )
    if model.config.model_type in ("sslam", "eat") and "max_length" not in recipe.feature_extractor:
        fit_to_crops(feature_extractor, model.config, settings.data.crop_seconds)
    return model, feature_extractor


def choose_trained_weights(model, settings: Settings, training_args: "AudioTrainingArguments"):
    """The model with LoRA, with a frozen encoder, or as it is."""
    if settings.model.freeze_encoder:
        from ..training.frozen import freeze_encoder

        freeze_encoder(model)
        if training_args.process_index == 0:
            print(f"trainable params: {model.num_parameters(only_trainable=True):,} of {model.num_parameters():,}")
    if not settings.lora.lora:
        return model
    from ..training.lora import add_lora, lora_config

    lora, base = settings.lora, settings.model.model_name_or_path
    if base is None:
        # There is no checkpoint that the adapter could name, so the folder holds the untouched model too
        base = training_args.output_dir
        if training_args.process_index == 0:
            model.save_pretrained(base)
    config = lora_config(model, lora.lora_modules, lora.lora_rank, lora.lora_alpha, lora.lora_dropout)
    model = add_lora(model, config, base)
    if training_args.process_index == 0:
        model.print_trainable_parameters()
    return model


def make_datasets(settings: Settings, splits, config, feature_extractor, seed: int) -> tuple:
    """The splits as the model is to get them, the training split with its augmentation, and the two collators."""
    from ..augmentation.arguments import batch_augmentation, check_augmentation, waveform_augmentation
    from ..data.cached_features import CachedFeatures
    from ..data.collators import AudioCollator, AugmentingCollator, FeatureCollator
    from ..data.windows import AudioClips
    from ..evaluation.classifier import evaluation_clips, make_targets

    data = settings.data
    label = splits["train"].features["label"]
    check_augmentation(settings.augmentation, label, cached=data.cache_features)
    augmentation = batch_augmentation(settings.augmentation)
    targets = make_targets(label, config, feature_extractor, padding=-100.0)
    train_targets = make_targets(label, config, feature_extractor, soft=settings.augmentation.mixes)
    rate = feature_extractor.sampling_rate
    if data.cache_features:
        if getattr(feature_extractor, "max_length", None) is not None:
            raise ValueError("this model's feature extractor cuts clips before they could be cached whole")
        datasets = {
            name: CachedFeatures(
                clips,
                feature_extractor,
                crop_seconds=(data.crop_seconds or None) if name == "train" else None,
                seed=seed,
                num_workers=2,
            )
            for name, clips in splits.items()
        }
        collator, train_collator = (FeatureCollator(feature_extractor, one) for one in (targets, train_targets))
    else:
        datasets = {name: evaluation_clips(clips, config, feature_extractor) for name, clips in splits.items()}
        datasets["train"] = AudioClips(
            splits["train"],
            rate,
            transform=waveform_augmentation(settings.augmentation, rate),
            crop_seconds=data.crop_seconds or longest_window(config, feature_extractor),
            seed=seed,
        )
        collator, train_collator = (AudioCollator(feature_extractor, one) for one in (targets, train_targets))
    if augmentation is not None:
        train_collator = AugmentingCollator(train_collator, augmentation)
    return datasets, collator, train_collator


def longest_window(config, feature_extractor) -> float | None:
    """Seconds of the longest window that an SSLAM model is to get; None for models that take any length."""
    if config.model_type not in ("sslam", "eat"):
        return None
    return feature_extractor.max_length * feature_extractor.hop_length / feature_extractor.sampling_rate


def nothing_is_random(settings: Settings) -> bool:
    """Whether a training clip is the same in each epoch."""
    from ..augmentation.arguments import AugmentationArguments

    return not settings.data.crop_seconds and settings.augmentation == AugmentationArguments()


def encode(model, datasets: dict, collator, training_args: "AudioTrainingArguments") -> tuple:
    """The head alone, what the frozen encoder makes of the clips, and the collator for it."""
    from ..training.frozen import HeadModel, collate_encoded, encode_clips

    encoded = {
        name: encode_clips(
            model,
            datasets[name],
            collator,
            batch_size=training_args.per_device_eval_batch_size,
            num_workers=training_args.dataloader_num_workers,
            device=training_args.device,
        )
        for name in ("train", "validation")
        if name in datasets
    }
    return HeadModel(model), encoded, collate_encoded


def checkpoint_to_resume(settings: Settings, training_args: "AudioTrainingArguments") -> str | None:
    """The checkpoint to go on from. One of several runs may have none yet."""
    if not settings.resume:
        return training_args.resume_from_checkpoint
    is_one_of_several = training_args.output_dir != settings.training.output_dir
    if is_one_of_several and not list(Path(training_args.output_dir).glob("checkpoint-*")):
        return None
    return last_checkpoint(training_args.output_dir)


def fit_to_crops(feature_extractor, config, crop_seconds: float | None) -> None:
    """
    Set an SSLAM feature extractor to what the model is trained on: crops of this length, or of the one that it is set
    to as far as the model reaches, and padding hidden by a mask.

    So the crops reach the model whole, longer clips are cut into windows of that length in evaluation and by
    `polyaudio predict`, and a pipeline pads as training does.
    """
    feature_extractor.return_attention_mask = True
    if not crop_seconds:
        reach = config.max_time_patches * config.patch_size
        feature_extractor.max_length = min(feature_extractor.max_length, reach)
        return
    frames = crop_seconds * feature_extractor.sampling_rate / feature_extractor.hop_length
    patches = math.ceil(frames / config.patch_size)
    if patches > config.max_time_patches:
        raise ValueError(
            f"crop_seconds is {crop_seconds:g}, which takes {patches} patches of time, but the model reaches no more "
            f"than {config.max_time_patches}"
        )
    feature_extractor.max_length = patches * config.patch_size


def write_results(
    settings: Settings,
    division: "Division",
    training_args: "AudioTrainingArguments",
    model_type: str,
    history: list[dict[str, Any]],
    evaluation: "Evaluation",
) -> None:
    """Write report, plots and model card beside the model and print the report."""
    from ..evaluation.plots import plot_losses
    from ..evaluation.tables import format_report
    from ..evaluation.writing import write_evaluation
    from ..hub.model_card import RunDescription, environment, write_model_card

    folder = Path(training_args.output_dir)
    plot_losses(history, folder / "losses.png")
    write_evaluation(evaluation, folder)
    run = RunDescription(
        model_name=folder.name,
        model_type=model_type,
        dataset=settings.data.dataset,
        split_description=division.description,
        splits=division.counts,
        leak_status=division.leaks,
        command=settings.command,
        recipe=settings.recipe.name,
        seeds={"training": training_args.seed, "split": settings.data.split_seed},
        base_model=settings.model.model_name_or_path,
        versions=environment(training_args.device),
        adapter=settings.lora.lora and settings.model.model_name_or_path is not None,
    )
    write_model_card(folder, run, evaluation)
    print(format_report(evaluation))
    loads = "pipeline('audio-classification', model={!r})"
    if evaluation.task == "frame_classification":
        loads = "AutoModelForAudioFrameClassification.from_pretrained({!r})"
    print(f"\nThe model is in {folder}: {loads.format(str(folder))}")


def summarise(settings: Settings, division: "Division", seeds: list[int], results: "dict[str, Evaluation]") -> None:
    """Write and print mean and deviation of several runs."""
    from ..evaluation.summary import summarise_runs
    from ..evaluation.tables import format_summary
    from ..hub.model_card import RunDescription, write_summary

    folder = Path(settings.training.output_dir)
    summary = summarise_runs(list(results.values()), list(results))
    kinds = ["folds"] if division.name else []
    kinds += ["seeds"] if len(seeds) > 1 else []
    run = RunDescription(
        model_name=folder.name,
        model_type=load_config(str(folder / next(iter(results)))).model_type,
        dataset=settings.data.dataset,
        split_description=division.description,
        leak_status=division.leaks,
        command=settings.command,
        recipe=settings.recipe.name,
        seeds={"split": settings.data.split_seed},
    )
    write_summary(folder, run, summary, title=f"{folder.name}: {len(results)} runs, {' and '.join(kinds)}")
    print(format_summary(summary))
    print(f"\nThe summary is in {folder}, each run in a folder of it")


if __name__ == "__main__":
    sys.exit(main())
