# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Fine-tuning: one run, or several over folds and seeds."""

import copy
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from transformers import PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor, TrainingArguments, set_seed

from ..augmentation.arguments import AugmentationArguments
from ..data.labels import class_names, classes_of_clips, task_of
from ..data.loading import name_of
from ..data.sampling import clip_weights
from ..evaluation.classifier import DEFAULT_METRICS, METRIC_NAMES, evaluate_clips, metrics_of
from ..evaluation.plots import plot_losses
from ..evaluation.results import Evaluation
from ..evaluation.summary import RunsSummary, summarise_runs
from ..evaluation.writing import read_evaluation, write_evaluation
from ..hub.model_card import RunDescription, environment, write_model_card, write_summary
from ..hub.push import push_run
from .arguments import AudioTrainingArguments, DataArguments, LoraArguments, for_audio
from .divisions import Division, load_divisions
from .inputs import encode, make_inputs, nothing_is_random
from .models import ModelSource, add_adapter, build_classifier, train_head_only
from .runs import StopOnSignal, checkpoint_to_resume
from .trainer import AudioTrainer


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FineTuningResult:
    """
    Attributes:
        model: the trained classifier, with an adapter where LoRA was used.
        feature_extractor: the model's.
        evaluation: the scores of the held-out clips.
        folder: the model folder, with its card, `evaluation.json` and plots.
        history: what was logged, `log_history` of the Trainer's state.
        commit_url: address of the commit on the Hub, with `args.push_to_hub`.
    """

    model: PreTrainedModel
    feature_extractor: SequenceFeatureExtractor
    evaluation: Evaluation
    folder: Path
    history: list[dict[str, Any]]
    commit_url: str | None = None


@dataclass(frozen=True)
class CrossValidationResult:
    """
    Attributes:
        evaluations: the scores of each run, by the name of its folder.
        summary: mean and standard deviation over the runs.
        folder: the folder with the summary, and with a folder for each run.
    """

    evaluations: dict[str, Evaluation]
    summary: RunsSummary
    folder: Path


@dataclass(frozen=True)
class _Run:
    """What the runs of one call have in common."""

    dataset: str
    source: ModelSource
    data: DataArguments
    augmentation: AugmentationArguments
    lora: LoraArguments | None
    freeze_encoder: bool
    resume: bool
    recipe: str | None
    command: str | None

    def __post_init__(self):
        if self.lora is not None and self.freeze_encoder:
            raise ValueError("an adapter trains the encoder: leave out either lora or freeze_encoder")


def fine_tune(
    dataset: str | os.PathLike | Dataset | DatasetDict,
    model: str | os.PathLike | PreTrainedConfig | PreTrainedModel | ModelSource,
    args: TrainingArguments | None = None,
    *,
    data: DataArguments | None = None,
    augmentation: AugmentationArguments | None = None,
    lora: LoraArguments | None = None,
    freeze_encoder: bool = False,
    resume: bool = False,
    recipe: str | None = None,
    command: str | None = None,
) -> FineTuningResult:
    """
    Train a classifier on labelled clips, evaluate it on held-out recordings, and write a complete model folder.

    Args:
        dataset: a Hub name, a folder, `"ragas"`, or a dataset with an audio column and labels; see `load_clips`.
        model: what to train: a folder or Hub name, a configuration for a new model, or a model, which stays as it is.
        args: output folder, epochs, learning rate and so on, by default `AudioTrainingArguments()`.
        data: columns, split, crops. By default a tenth of the recordings is held out.
        augmentation: changes of training clips, by default none.
        lora: train a LoRA adapter and the head instead of all weights.
        freeze_encoder: train the head only.
        resume: go on from the last checkpoint in the output folder.
        recipe: name of the recipe that the settings come from, for the model card.
        command: the command line of the run, for the model card.

    Returns:
        The model, its feature extractor and the scores of the held-out clips.

    Raises:
        ValueError: the data cannot be divided, training and held-out clips share audio, or the settings contradict
            each other or the model.
        InterruptedError: SIGINT or SIGTERM stopped the run, which is saved.

    Example:

    ```python
    >>> from polyaudio import AudioTrainingArguments, SAMAudioConfig, fine_tune

    >>> args = AudioTrainingArguments("runs/mine", num_train_epochs=20)  # doctest: +SKIP
    >>> result = fine_tune("my-recordings/", SAMAudioConfig(), args)  # doctest: +SKIP
    >>> result.evaluation.clips["accuracy"]  # doctest: +SKIP
    ```
    """
    args, data = for_audio(args or AudioTrainingArguments()), data or DataArguments()
    if data.folds is not None or data.fold_column is not None:
        raise ValueError("folds make several runs: call cross_validate")
    run = _Run(
        name_of(dataset),
        ModelSource.of(model),
        data,
        augmentation or AugmentationArguments(),
        lora,
        freeze_encoder,
        resume,
        recipe,
        command,
    )
    (division,) = load_divisions(dataset, data)
    return _train(run, division, args)


def cross_validate(
    dataset: str | os.PathLike | Dataset | DatasetDict,
    model: str | os.PathLike | PreTrainedConfig | PreTrainedModel | ModelSource,
    args: TrainingArguments | None = None,
    *,
    data: DataArguments | None = None,
    seeds: Sequence[int] | None = None,
    augmentation: AugmentationArguments | None = None,
    lora: LoraArguments | None = None,
    freeze_encoder: bool = False,
    resume: bool = False,
    recipe: str | None = None,
    command: str | None = None,
) -> CrossValidationResult:
    """
    Fine-tune once for each fold (`data.folds` or `data.fold_column`) and each seed, and summarise the runs.

    Args:
        seeds: of the runs, by default `args.seed` alone.
        resume: skip the runs that are finished, and go on with the others from their last checkpoints.

    The other arguments and the errors are those of [`fine_tune`]. Each run has a folder of its own in
    `args.output_dir`.

    Returns:
        The scores of each run, and their mean and standard deviation.
    """
    args, data = for_audio(args or AudioTrainingArguments()), data or DataArguments()
    if args.push_to_hub:
        raise ValueError("several runs make several models: leave out push_to_hub, and `polyaudio push` one")
    run = _Run(
        name_of(dataset),
        ModelSource.of(model),
        data,
        augmentation or AugmentationArguments(),
        lora,
        freeze_encoder,
        resume,
        recipe,
        command,
    )
    divisions, seeds = load_divisions(dataset, data), list(seeds or [args.seed])
    model_type = run.source.make_config().model_type
    folder, evaluations = Path(args.output_dir), {}
    for division in divisions:
        for seed in seeds:
            parts = [division.name] if division.name else []
            parts += [f"seed-{seed}"] if len(seeds) > 1 else []
            own = copy.copy(args)
            own.seed, own.output_dir = seed, str(Path(args.output_dir, *parts))
            finished = Path(own.output_dir, "evaluation.json")
            if resume and finished.is_file():
                logger.info(f"{own.output_dir} is finished")
                evaluations["/".join(parts)] = read_evaluation(own.output_dir)
            else:
                starts_anew = not list(Path(own.output_dir).glob("checkpoint-*"))
                evaluations["/".join(parts)] = _train(
                    replace(run, resume=resume and not starts_anew), division, own
                ).evaluation
    summary = summarise_runs(list(evaluations.values()), list(evaluations))
    if args.process_index == 0:
        kinds = ["folds"] if divisions[0].name else []
        kinds += ["seeds"] if len(seeds) > 1 else []
        description = RunDescription(
            model_name=folder.name,
            model_type=model_type,
            dataset=run.dataset,
            split_description=divisions[0].description,
            leak_status=divisions[0].leaks,
            command=command,
            recipe=recipe,
            seeds={"split": data.split_seed},
        )
        title = f"{folder.name}: {len(evaluations)} runs, {' and '.join(kinds)}"
        write_summary(folder, description, summary, title)
    return CrossValidationResult(evaluations, summary, folder)


def _train(run: _Run, division: Division, args: TrainingArguments) -> FineTuningResult:
    """Train on one division, evaluate on what it holds out, and leave a complete model folder."""
    set_seed(args.seed)
    train_clips = division.splits["train"]
    label = train_clips.features["label"]
    task, names = task_of(label), class_names(label)
    model, feature_extractor = build_classifier(run.source, names, task, run.data.crop_seconds)
    if run.freeze_encoder:
        train_head_only(model)
    if run.lora is not None:
        model = add_adapter(model, run.lora, run.source.name, args.output_dir, args.process_index == 0)
    inputs = make_inputs(division.splits, model.config, feature_extractor, run.data, run.augmentation, args.seed)
    _settle_evaluation(args, task, has_validation="validation" in inputs.datasets)

    learner, learned = model, inputs
    if run.freeze_encoder and nothing_is_random(run.data, run.augmentation):
        if getattr(args, "layer_decay", None) is not None:
            raise ValueError("a frozen encoder has no learning rate: leave out either layer_decay or freeze_encoder")
        learner, learned = encode(model, inputs.datasets, inputs.collator, args)
    weights = None
    if getattr(args, "balanced_samples", None) is not None:
        weights = clip_weights(classes_of_clips(train_clips), len(names))
    stop = StopOnSignal()
    trainer = AudioTrainer(
        model=learner,
        args=args,
        train_dataset=learned.datasets["train"],
        eval_dataset=learned.datasets.get("validation"),
        data_collator=learned.collator,
        train_collator=learned.train_collator,
        train_weights=weights,
        metric_names=METRIC_NAMES[task],
        processing_class=feature_extractor,
        compute_metrics=metrics_of(task),
        callbacks=[stop],
    )
    trainer.train(resume_from_checkpoint=checkpoint_to_resume(args) if run.resume else args.resume_from_checkpoint)
    if stop.received is not None:
        raise InterruptedError(
            f"{stop.received} stopped the run at step {trainer.state.global_step}, which is saved in "
            f"{args.output_dir}: resume the run to go on from there"
        )
    trainer.save_state()
    history = trainer.state.log_history
    if learner is not model:
        trainer = AudioTrainer(
            model=model,
            args=args,
            eval_dataset=inputs.datasets.get("validation"),
            data_collator=inputs.collator,
            processing_class=feature_extractor,
        )
    trainer.save_model()
    folder, held_out = Path(args.output_dir), division.held_out
    evaluation = evaluate_clips(
        trainer, inputs.datasets[held_out], division.splits[held_out], feature_extractor, folder=folder
    )
    if trainer.is_world_process_zero():
        plot_losses(history, folder / "losses.png")
        write_evaluation(evaluation, folder)
        write_model_card(folder, _describe(run, division, args, model.config.model_type), evaluation)
    return FineTuningResult(model, feature_extractor, evaluation, folder, history, push_run(trainer))


def _settle_evaluation(args: TrainingArguments, task: str, *, has_validation: bool) -> None:
    """Choose the metric of the best epoch, and turn evaluation off where there are no clips for it, in place."""
    if args.metric_for_best_model == "auto":
        args.metric_for_best_model = DEFAULT_METRICS[task]
    if not has_validation:
        if getattr(args, "early_stopping_patience", None) is not None:
            raise ValueError("folds leave no clips to stop early by: leave out early_stopping_patience")
        args.eval_strategy, args.load_best_model_at_end = "no", False


def _describe(run: _Run, division: Division, args: TrainingArguments, model_type: str) -> RunDescription:
    return RunDescription(
        model_name=Path(args.output_dir).name,
        model_type=model_type,
        dataset=run.dataset,
        split_description=division.description,
        splits=division.counts,
        leak_status=division.leaks,
        command=run.command,
        recipe=run.recipe,
        seeds={"training": args.seed, "split": run.data.split_seed},
        base_model=run.source.name,
        adapter=run.lora is not None and run.source.name is not None,
        versions=environment(args.device),
    )
