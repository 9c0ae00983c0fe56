# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Fine-tuning: one run, or several over folds and seeds."""

import copy
import json
from pathlib import Path
from typing import Any, NamedTuple

from ..augmentation.arguments import AugmentationArguments
from .arguments import AudioTrainingArguments, ClassifierArguments, DataArguments, LoraArguments
from .divisions import Division
from .inputs import encode, make_datasets, nothing_is_random
from .models import build_model, choose_trained_weights
from .recipes import Recipe
from .runs import last_checkpoint


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


def train(settings: Settings) -> None:
    """Load and divide the data and train on it: once, or once for each fold and seed, with a summary at the end."""
    from .divisions import load_divisions

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
                results["/".join(parts)] = json.loads(finished.read_text(encoding="utf-8"))
            else:
                results["/".join(parts)] = run(settings, division, training_args)
    if settings.training.process_index == 0:
        summarise(settings, divisions[0], seeds, results)


def run(settings: Settings, division: "Division", training_args: "AudioTrainingArguments") -> dict[str, Any]:
    """Train on one division, evaluate on what it holds out, and leave a complete model folder."""
    from transformers import set_seed

    from ..data.labels import class_names, classes_of_clips, task_of
    from ..data.sampling import clip_weights
    from ..evaluation.classifier import DEFAULT_METRICS, METRIC_NAMES, evaluate_clips, metrics_of
    from ..hub.push import push_run
    from .runs import StopOnSignal
    from .trainer import AudioTrainer

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
    push_run(trainer)
    return result


def checkpoint_to_resume(settings: Settings, training_args: "AudioTrainingArguments") -> str | None:
    """The checkpoint to go on from. One of several runs may have none yet."""
    if not settings.resume:
        return training_args.resume_from_checkpoint
    is_one_of_several = training_args.output_dir != settings.training.output_dir
    if is_one_of_several and not list(Path(training_args.output_dir).glob("checkpoint-*")):
        return None
    return last_checkpoint(training_args.output_dir)


def write_results(
    settings: Settings,
    division: "Division",
    training_args: "AudioTrainingArguments",
    model_type: str,
    history: list[dict[str, Any]],
    result: dict[str, Any],
) -> None:
    """Write report, plots and model card beside the model and print the report."""
    from ..evaluation.plots import plot_losses
    from ..evaluation.tables import format_report
    from ..evaluation.writing import write_evaluation
    from ..hub.model_card import environment, write_model_card

    folder = Path(training_args.output_dir)
    plot_losses(history, folder / "losses.png")
    write_evaluation(result, folder)
    write_model_card(
        folder,
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
        result=result,
    )
    print(format_report(result))
    loads = "pipeline('audio-classification', model={!r})"
    if result["task"] == "frame_classification":
        loads = "AutoModelForAudioFrameClassification.from_pretrained({!r})"
    print(f"\nThe model is in {folder}: {loads.format(str(folder))}")


def summarise(settings: Settings, division: "Division", seeds: list[int], results: dict[str, dict[str, Any]]) -> None:
    """Write and print mean and deviation of several runs."""
    from ..evaluation.summary import summarise_runs
    from ..evaluation.tables import format_summary
    from ..hub.model_card import write_summary

    folder = Path(settings.training.output_dir)
    summary = summarise_runs(list(results.values()), list(results))
    kinds = ["folds"] if division.name else []
    kinds += ["seeds"] if len(seeds) > 1 else []
    write_summary(
        folder,
        summary,
        title=f"{folder.name}: {len(results)} runs, {' and '.join(kinds)}",
        dataset=settings.data.dataset,
        split_description=division.description,
        leak_status=division.leaks,
        command=settings.command,
        recipe=settings.recipe.name,
        seeds={"split": settings.data.split_seed},
    )
    print(format_summary(summary))
    print(f"\nThe summary is in {folder}, each run in a folder of it")
