# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Fine-tuning: one run, or several runs over folds and seeds."""

import contextlib
import copy
import logging
import os
from collections.abc import Sequence, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset, DatasetDict
from peft import LoraConfig, PeftModel
from transformers import PreTrainedConfig, PreTrainedModel, SequenceFeatureExtractor, TrainingArguments, set_seed

from ..augmentation.arguments import AugmentationArguments
from ..data.labels import FRAMES, class_names, classes_of_clips, task_of
from ..data.loading import name_of
from ..data.sampling import clip_weights
from ..evaluation.classifier import DEFAULT_METRICS, METRIC_NAMES, evaluate_clips, metrics_of
from ..evaluation.plots import plot_losses
from ..evaluation.results import Evaluation
from ..evaluation.summary import RunsSummary, summarise_runs
from ..evaluation.tables import format_report
from ..evaluation.writing import read_evaluation, write_evaluation
from ..hub.model_card import RunDescription, environment, write_model_card, write_summary
from ..hub.push import push_run
from ..integration.quiet import no_bars_of_weights
from .arguments import AudioTrainingArguments, DataArguments, LoraArguments, for_audio
from .divisions import Division, load_divisions
from .frozen import is_frozen
from .identity import RUN_FILE, RunIdentity, describe_split
from .inputs import Inputs, encode, make_inputs, nothing_is_random
from .models import ModelSource, adapter_config, add_adapter, build_classifier, train_head_only
from .runs import (
    StopOnSignal,
    begin,
    check_folder,
    check_same,
    checkpoint_of,
    clear_run,
    hold_folder,
    newest_checkpoint,
    output_folder,
)
from .trainer import AudioTrainer


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FineTuningResult:
    """
    Attributes:
        model: the trained classifier; with LoRA, a `PeftModel`.
        feature_extractor: the model's.
        evaluation: the scores of the held-out clips.
        folder: the model folder, with its card, `evaluation.json` and plots.
        history: the logged values, `state.log_history` of the Trainer.
        commit_url: URL of the commit on the Hub, with `args.push_to_hub`.
    """

    model: PreTrainedModel | PeftModel
    feature_extractor: SequenceFeatureExtractor
    evaluation: Evaluation
    folder: Path
    history: list[dict[str, Any]]
    commit_url: str | None = None


@dataclass(frozen=True)
class CrossValidationResult:
    """
    Attributes:
        evaluations: the scores of each run, by the name of its folder in `folder`.
        summary: mean and standard deviation over the runs.
        folder: the folder with the summary and a folder for each run.
    """

    evaluations: dict[str, Evaluation]
    summary: RunsSummary
    folder: Path


@dataclass(frozen=True)
class _Run:
    """The settings that the runs of one call share."""

    dataset: str
    source: ModelSource
    data: DataArguments
    augmentation: AugmentationArguments
    lora: LoraArguments | None
    freeze_encoder: bool
    resume: bool
    overwrite: bool
    recipe: str | None
    command: str | None
    digests: dict[str, str] = field(default_factory=dict)  # of the audio files, which several runs share

    def __post_init__(self):
        if self.lora is not None and self.freeze_encoder:
            raise ValueError(
                "A LoRA adapter trains the encoder. Leave out lora (--lora) or freeze_encoder (--freeze-encoder)."
            )

    @classmethod
    def of(
        cls,
        dataset: str | os.PathLike | Dataset | DatasetDict,
        model: str | os.PathLike | PreTrainedConfig | PreTrainedModel | ModelSource,
        *,
        data: DataArguments | None,
        augmentation: AugmentationArguments | None,
        **others: Any,
    ) -> "_Run":
        """The settings from the arguments of `fine_tune` and `cross_validate`."""
        return cls(
            dataset=name_of(dataset),
            source=ModelSource.of(model),
            data=data or DataArguments(),
            augmentation=augmentation or AugmentationArguments(),
            **others,
        )


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
    overwrite: bool = False,
    recipe: str | None = None,
    command: str | None = None,
) -> FineTuningResult:
    """
    Train a classifier on labelled clips, evaluate it on held-out recordings, and write a complete model folder.

    Args:
        dataset: a Hub name, a folder, `"ragas"`, or a dataset with an audio column and labels; see `load_clips`.
        model: the model to train: a folder or Hub name, a configuration for a new model, or a model, whose weights are
            copied. The head is new if the labels are not those of the model.
        args: output folder, epochs, learning rate and so on, by default `AudioTrainingArguments()`.
        data: columns, division, crops and outliers. By default a tenth of the recordings is held out.
        augmentation: augmentation of training clips, by default none.
        lora: train a LoRA adapter and the head instead of all weights.
        freeze_encoder: train the head only; of a SAMAudio model over another encoder, all but that encoder.
        resume: continue from the newest complete checkpoint in the output folder. Data, labels, model and settings
            must be those that the run began with; workers, device, logging and upload may differ.
        overwrite: replace a run that the output folder holds. Its files are removed, and other files stay.
        recipe: name of the recipe that the settings come from, for the model card.
        command: the command line of the run, for the model card.

    The objects that you pass are not changed.

    Returns:
        The model, its feature extractor and the scores of the held-out clips.

    Raises:
        ValueError: the dataset cannot be divided, training and held-out clips share audio, the settings contradict
            each other or the model, the output folder holds another run, or another run is using it.
        InterruptedError: SIGINT or SIGTERM stopped the run after it saved a checkpoint.

    Example:

    ```python
    >>> from polyaudio import AudioTrainingArguments, SAMAudioConfig, fine_tune

    >>> args = AudioTrainingArguments("runs/mine", num_train_epochs=20)  # doctest: +SKIP
    >>> result = fine_tune("my-recordings/", SAMAudioConfig(), args)  # doctest: +SKIP
    >>> result.evaluation.clips["accuracy"]  # doctest: +SKIP
    ```
    """
    run = _Run.of(
        dataset,
        model,
        data=data,
        augmentation=augmentation,
        lora=lora,
        freeze_encoder=freeze_encoder,
        resume=resume,
        overwrite=overwrite,
        recipe=recipe,
        command=command,
    )
    if run.data.folds is not None or run.data.fold_column is not None:
        raise ValueError("fine_tune makes one run. Call cross_validate to make a run for each fold.")
    args = for_audio(args or AudioTrainingArguments())
    with hold_folder(args) as folder:
        check_folder(folder, run.source, args, resume=resume, overwrite=overwrite)
        (division,) = load_divisions(dataset, run.data)
        return _train(_prepare(run, division, args))


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
    overwrite: bool = False,
    recipe: str | None = None,
    command: str | None = None,
) -> CrossValidationResult:
    """
    Fine-tune once for each fold (`data.folds` or `data.fold_column`) and each seed, and summarise the runs.

    Args:
        seeds: seeds of the runs, by default `args.seed` only.
        resume: skip the runs that are finished, and continue the others from their newest complete checkpoints.

    The other arguments and the errors are those of [`fine_tune`]. Each run has its own folder in `args.output_dir`.

    Returns:
        The scores of each run, and their mean and standard deviation.
    """
    args = for_audio(args or AudioTrainingArguments())
    if args.push_to_hub:
        raise ValueError(
            "Several runs train several models. Leave out push_to_hub (--push-to-hub) and upload one of them with "
            "`polyaudio push`."
        )
    run = _Run.of(
        dataset,
        model,
        data=data,
        augmentation=augmentation,
        lora=lora,
        freeze_encoder=freeze_encoder,
        resume=resume,
        overwrite=overwrite,
        recipe=recipe,
        command=command,
    )
    with hold_folder(args) as folder:
        check_folder(folder, run.source, args, resume=resume, overwrite=overwrite, needs_checkpoint=False)
        return _train_all(run, load_divisions(dataset, run.data), list(seeds or [args.seed]), args)


def _train_all(
    run: _Run, divisions: Sequence[Division], seeds: Sequence[int], args: TrainingArguments
) -> CrossValidationResult:
    """Train once for each division and each seed, and write the summary."""
    folder, is_main_process = output_folder(args), args.process_index == 0
    if is_main_process and not run.resume:
        clear_run(folder)
    evaluations: dict[str, Evaluation] = {}
    for division in divisions:
        for seed in seeds:
            parts = [division.name] if division.name else []
            parts += [f"seed-{seed}"] if len(seeds) > 1 else []
            name, own = "/".join(parts), copy.copy(args)
            own.seed, own.output_dir = seed, str(folder.joinpath(*parts))
            # The lock on the folder of all runs does not keep a run of its own out of one of them
            with hold_folder(own) if parts else contextlib.nullcontext():
                evaluations[name] = _train_or_read(run, division, own)
    summary = summarise_runs(list(evaluations.values()), list(evaluations))
    if is_main_process:
        kinds = ["folds"] if divisions[0].name else []
        kinds += ["seeds"] if len(seeds) > 1 else []
        description = RunDescription(
            model_name=folder.name,
            model_type=run.source.make_config().model_type,
            dataset=run.dataset,
            split_description=divisions[0].description,
            leak_status=divisions[0].leaks,
            command=run.command,
            recipe=run.recipe,
            seeds={"split": run.data.split_seed},
        )
        title = f"{folder.name}: {len(evaluations)} runs, {' and '.join(kinds)}"
        write_summary(folder, description, summary, title)
    return CrossValidationResult(evaluations, summary, folder)


def _train_or_read(run: _Run, division: Division, args: TrainingArguments) -> Evaluation:
    """The evaluation of a run that is finished, if it is to be resumed; otherwise train."""
    folder = output_folder(args)
    has_checkpoint = run.resume and newest_checkpoint(folder) is not None
    prepared = _prepare(replace(run, resume=has_checkpoint), division, args)
    is_finished = run.resume and all((folder / name).is_file() for name in ("evaluation.json", "README.md"))
    if prepared.identity is not None and (is_finished or (run.resume and (folder / RUN_FILE).is_file())):
        check_same(folder, prepared.identity)
    if not is_finished:
        return _train(prepared).evaluation
    logger.info(f"The run in {folder} is finished.")
    return read_evaluation(folder)


@dataclass(frozen=True)
class _Prepared:
    """
    A run that can begin: everything that its arguments and its data can make impossible has been tried.

    Args:
        run, division, args: what it is made from.
        model: the classifier, without an adapter.
        feature_extractor: the model's.
        adapter: the configuration of the adapter to train.
        inputs: datasets and collators.
        identity: what the run is, in the main process.
    """

    run: _Run
    division: Division
    args: TrainingArguments
    model: PreTrainedModel
    feature_extractor: SequenceFeatureExtractor
    adapter: LoraConfig | None
    inputs: Inputs
    identity: RunIdentity | None


def _prepare(run: _Run, division: Division, args: TrainingArguments) -> _Prepared:
    set_seed(args.seed)
    label = division.splits["train"].features["label"]
    task, names = task_of(label), class_names(label)
    model, feature_extractor = build_classifier(run.source, names, task, run.data.crop_seconds)
    if run.freeze_encoder:
        train_head_only(model)
    adapter = None if run.lora is None else adapter_config(model, run.lora)
    inputs = make_inputs(
        division.splits,
        model.config,
        feature_extractor,
        run.data,
        run.augmentation,
        args.seed,
        outliers=division.outliers,
    )
    _set_evaluation(args, task, has_validation="validation" in inputs.datasets)
    identity = None
    if args.process_index == 0:
        others = {} if division.outliers is None else {"outliers": division.outliers}
        trained_on = {**division.splits, **others}
        identity = RunIdentity.of(
            "train",
            run.dataset,
            {name: describe_split(clips, run.dataset, run.digests) for name, clips in trained_on.items()},
            names,
            run.source,
            model.config,
            feature_extractor,
            args,
            task=task,
            fold=division.name,
            # What is cached without being asked to does not change the result
            data=replace(run.data, cache_features=bool(run.data.cache_features)),
            augmentation=run.augmentation,
            lora=run.lora is not None,
            lora_settings=run.lora or LoraArguments(),
            freeze_encoder=run.freeze_encoder,
        )
    return _Prepared(run, division, args, model, feature_extractor, adapter, inputs, identity)


def _train(prepared: _Prepared) -> FineTuningResult:
    """Train on one division, evaluate on its held-out clips, and write a complete model folder."""
    run, division, args = prepared.run, prepared.division, prepared.args
    classifier, feature_extractor, inputs = prepared.model, prepared.feature_extractor, prepared.inputs
    folder, config = output_folder(args), classifier.config
    task = task_of(division.splits["train"].features["label"])
    checkpoint = checkpoint_of(folder, prepared.identity, args, resume=run.resume)
    model: PreTrainedModel | PeftModel = classifier
    base = None
    if prepared.adapter is not None:
        if run.source.name is None:  # the adapter needs it, and the run saves it when it begins
            base = copy.deepcopy(classifier)
        model = add_adapter(classifier, prepared.adapter, run.source.name or str(folder))

    learner, learned = _learner_of(model, prepared)
    stop = StopOnSignal()
    trainer = AudioTrainer(
        model=learner,
        args=_without_idle_workers(args, learned),
        train_dataset=learned.datasets["train"],
        eval_dataset=learned.datasets.get("validation"),
        data_collator=learned.collator,
        train_collator=learned.train_collator,
        train_weights=_train_weights(prepared),
        metric_names=METRIC_NAMES[task],
        processing_class=feature_extractor,
        compute_metrics=metrics_of(task),
        callbacks=[stop],
    )
    if prepared.identity is not None:
        begin(folder, prepared.identity, checkpoint)
        if base is not None:
            with no_bars_of_weights():
                base.save_pretrained(folder)
    trainer.train(resume_from_checkpoint=checkpoint)
    if stop.received is not None:
        raise InterruptedError(
            f"{stop.received} stopped the run at step {trainer.state.global_step}. A checkpoint is in {folder}: run "
            "again with resume (--resume) to continue."
        )
    trainer.save_state()
    history = trainer.state.log_history
    if learner is not model:
        trainer = AudioTrainer(
            model=model,
            args=_without_idle_workers(args, inputs),
            eval_dataset=inputs.datasets.get("validation"),
            data_collator=inputs.collator,
            processing_class=feature_extractor,
        )
    trainer.save_model()
    held_out = division.held_out
    evaluation = evaluate_clips(
        trainer, inputs.datasets[held_out], division.splits[held_out], feature_extractor, folder=folder
    )
    if trainer.is_world_process_zero():
        plot_losses(history, folder / "losses.png")
        write_evaluation(evaluation, folder)
        write_model_card(folder, _describe(run, division, args, config.model_type), evaluation)
        logger.info(_report(evaluation, folder))  # before the upload, which can fail
    return FineTuningResult(model, feature_extractor, evaluation, folder, history, push_run(trainer))


def _without_idle_workers(args: TrainingArguments, inputs: Inputs) -> TrainingArguments:
    """The arguments for a Trainer on these inputs: no processes that read what is in memory."""
    if not inputs.in_memory or args.dataloader_persistent_workers or args.dataloader_prefetch_factor is not None:
        return args
    own = copy.copy(args)
    own.dataloader_num_workers = 0
    return own


def _learner_of(model: torch.nn.Module, prepared: _Prepared) -> tuple[torch.nn.Module, Inputs]:
    """
    What is trained, and on what.

    With a frozen encoder and clips that do not change, only the head is trained, on features computed once.
    """
    run, args, inputs = prepared.run, prepared.args, prepared.inputs
    if not is_frozen(prepared.model.base_model) or not nothing_is_random(run.data, run.augmentation):
        return model, inputs
    if getattr(args, "layer_decay", None) is not None:
        raise ValueError("A frozen encoder is not trained. Leave out either layer_decay or freeze_encoder.")
    return encode(prepared.model, inputs.datasets, inputs.collator, args)


def _train_weights(prepared: _Prepared) -> torch.Tensor | None:
    """How often each training clip is drawn, and each outlier, if the classes are to be balanced."""
    if getattr(prepared.args, "balanced_samples", None) is None:
        return None
    clips = prepared.division.splits["train"]
    weights = clip_weights(classes_of_clips(clips), len(class_names(clips.features["label"])))
    num_outliers = len(cast(Sized, prepared.inputs.datasets["train"])) - len(clips)
    return torch.cat([weights, weights.mean().expand(num_outliers)])


def _set_evaluation(args: TrainingArguments, task: str, *, has_validation: bool) -> None:
    """Set, in place, the metric of the best epoch, and turn evaluation off if there is no validation split."""
    if args.metric_for_best_model == "auto":
        args.metric_for_best_model = DEFAULT_METRICS[task]
    if not has_validation:
        if getattr(args, "early_stopping_patience", None) is not None:
            raise ValueError("With folds there are no validation clips. Leave out early_stopping_patience.")
        args.eval_strategy, args.load_best_model_at_end = "no", False


def _report(evaluation: Evaluation, folder: Path) -> str:
    """The scores, and how to load the model."""
    loads = "pipeline('audio-classification', model={!r})"
    if evaluation.task == FRAMES:
        loads = "AutoModelForAudioFrameClassification.from_pretrained({!r})"
    return f"{format_report(evaluation)}\n\nThe model is in {folder}: {loads.format(str(folder))}"


def _describe(run: _Run, division: Division, args: TrainingArguments, model_type: str) -> RunDescription:
    return RunDescription(
        model_name=output_folder(args).name,
        model_type=model_type,
        dataset=run.dataset,
        split_description=division.description,
        splits=division.counts,
        leak_status=division.leaks,
        command=run.command,
        recipe=run.recipe,
        seeds={"training": args.seed, "split": run.data.split_seed},
        base_model=run.source.name or run.source.encoder,
        adapter=run.lora is not None and run.source.name is not None,
        versions=environment(args.device),
    )
