# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The model card (`README.md`) of a trained model, and the report of several runs."""

import math
import os
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..data.calibration import Calibration
from ..data.folders import write_json, write_whole
from ..data.ragas import is_ragas
from ..data.text import one_line
from ..evaluation.results import Evaluation
from ..evaluation.summary import RunsSummary
from ..evaluation.tables import (
    class_table,
    format_number,
    interval_table,
    reliability_table,
    score_table,
    summary_table,
    title_of,
)
from ..integration.version import __version__
from .markdown import escape, fenced, inline_code, markdown_table
from .usage import CLIPS, DATA_TITLE, FRAMES, PRETRAINING, SEVERAL_LABELS, USAGE_TITLE, usage_sections


if TYPE_CHECKING:
    import torch


# A table of more classes is too long to read
_MOST_CLASSES = 60

_PLOTS = {
    "confusion_matrix.png": "Confusion matrix",
    "precision_recall.png": "Precision and recall",
    "losses.png": "Losses",
    "mixtures.png": "Mixtures of clips, as the model hears them",
}

_SECRET = r"(?:token(?!iz|s)|secret|passw(?:or)?d|passphrase|credentials?|api[-_]?key|access[-_]?key|private[-_]?key)"
_SECRET_FLAG = re.compile(rf"--[\w-]*{_SECRET}[\w-]*", re.IGNORECASE)
_SECRETS = [
    # --hub-token=X, TOKEN=X, {"token": "X"}
    (re.compile(rf"(--[\w-]*{_SECRET}[\w-]*=).*", re.IGNORECASE | re.DOTALL), r"\1***"),
    (re.compile(rf"([\w-]*{_SECRET}[\w-]*[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&}}]+", re.IGNORECASE), r"\1***"),
    # https://user:password@host/path?signature=X
    (re.compile(r"(\w+://)[^/\s@'\"]+@"), r"\1***@"),
    (re.compile(r"(\w+://[^\s?'\"]+\?)[^\s'\"#]+"), r"\1***"),
    # Hugging Face, OpenAI and others, GitHub, GitLab, AWS, Slack, JSON web tokens
    (re.compile(r"\b(?:hf_|sk-|gh[oprsu]_|github_pat_|glpat-|AKIA|xox[a-z]-|eyJ)[\w.-]{8,}"), "***"),
]

_CALIBRATION_TITLE = "## Calibration"
# They do not say how good a model is
_NOT_IN_METADATA = ("majority_accuracy", "calibration_error", "false_refusals")

_KINDS = {
    "single_label_classification": "audio classifier",
    "multi_label_classification": "audio tagger (several labels for a clip)",
    "frame_classification": "sound event detector (labels for each frame)",
}

_ANSWERS = {
    "single_label_classification": "It gives every clip one of its {count} classes, even silence and sounds that "
    "belong to none of them.",
    "multi_label_classification": "It knows {count} classes and scores each independently. Other sounds, and silence, "
    "can get high scores too.",
    "frame_classification": "It knows {count} classes and scores each independently in every frame. Other sounds can "
    "get high scores too. Onsets and offsets of events are no more precise than a frame of the model.",
}


_UNCALIBRATED = (
    "Scores are not calibrated probabilities: of the predictions with a score of 0.9, more or fewer than nine in ten "
    "may be right."
)
_CALIBRATED = "Scores are calibrated on recordings like those named under Calibration. On others they are off."


def environment(device: "str | torch.device | None" = None) -> dict[str, str]:
    """
    The versions that affect what a run computes, the platform and the device.

    Args:
        device: where the model runs; by default the accelerator if there is one, or else the CPU.
    """
    import torch

    if device is None:
        device = torch.accelerator.current_accelerator(check_available=True) or "cpu"
    device = torch.device(device)
    cpu = f"CPU ({platform.machine()}, {os.cpu_count()} cores)"
    name = {"cuda": lambda: torch.cuda.get_device_name(device), "cpu": lambda: cpu}
    return {
        "python": platform.python_version(),
        "polyaudio": __version__,
        "torch": str(torch.__version__),  # with its build
        **{package: version(package) for package in ("transformers", "datasets")},
        "platform": platform.platform(),
        "device": name.get(device.type, lambda: device.type)(),
    }


@dataclass(frozen=True)
class RunDescription:
    """
    What a model card and a summary say about a training run. Secrets in the command and the names are left out.

    Args:
        model_name: the name of the model in the metadata.
        model_type: the configuration's.
        dataset: name of the dataset.
        split_description: one sentence on how the evaluated clips were kept apart from the training clips.
        splits: for each split its number of `clips` and `recordings`.
        leak_status: whether the splits share audio, or that this was not checked.
        command: the command that trained the model; `None` for a model that was trained from Python.
        recipe: name of the recipe.
        seeds: the seeds, by what they are for.
        base_model: what training started from; `None` for a model that was trained from scratch.
        license: the licence of the weights, as the Hub names it (`mit`, `cc-by-4.0`).
        adapter: whether the folder holds an adapter of `base_model` instead of all weights.
        versions: the versions that the model was trained with; by default those of `environment()`.
    """

    model_name: str
    model_type: str
    dataset: str
    split_description: str = ""
    splits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    leak_status: str = "not checked"
    command: str | None = None
    recipe: str | None = None
    seeds: Mapping[str, int] = field(default_factory=dict)
    base_model: str | None = None
    license: str | None = None
    adapter: bool = False
    versions: Mapping[str, str] = field(default_factory=environment)

    def __post_init__(self) -> None:
        for name in ("command", "dataset", "base_model", "model_name", "recipe"):
            value = getattr(self, name)
            clean = _command_without_secrets if name == "command" else without_secrets
            if value is not None:
                object.__setattr__(self, name, clean(value))  # the dataclass is frozen


def write_model_card(folder: str | Path, run: RunDescription, evaluation: Evaluation) -> None:
    """
    Write `README.md`: the report of a run, with the metadata that the Hub reads.

    The metadata names the dataset and the base model only if they have the form of a Hub name, because the Hub refuses
    other names. The card shows the plots that are in the folder, so write them first.

    Args:
        folder: the model's folder.
        run: how the model was trained.
        evaluation: the scores of the model.
    """
    folder = Path(folder)
    task, is_frames = evaluation.task, evaluation.task == "frame_classification"
    hub_dataset, hub_model = _hub_dataset(run.dataset), _hub_name(run.base_model)
    kind = FRAMES if is_frames else CLIPS
    data = ModelCardData(
        library_name="peft" if run.adapter else "transformers",
        license=run.license,
        pipeline_tag=None if is_frames else kind,  # transformers has no pipeline for frames
        tags=["polyaudio", run.model_type, kind, *([SEVERAL_LABELS] if task == "multi_label_classification" else [])],
        datasets=[hub_dataset] if hub_dataset else None,
        base_model=hub_model,
        base_model_relation="adapter" if run.adapter and hub_model else None,
        model_name=run.model_name,
        eval_results=[
            EvalResult(
                task_type=kind,
                dataset_type=hub_dataset or one_line(Path(run.dataset).name),
                dataset_name=one_line(run.dataset),
                metric_type=metric_type,
                metric_name=name,
                metric_value=round(value, 4),
            )
            for metric_type, name, value in _metrics(evaluation)
        ],
    )
    introduction = f"A {inline_code(run.model_type)} {_KINDS.get(task, 'audio model')}, trained with polyaudio on "
    introduction += inline_code(run.dataset) + (f" from {inline_code(run.base_model)}." if run.base_model else ".")
    if run.adapter:
        introduction += " The weights are those of a PEFT adapter of the base model."
    limits = [
        *([_ANSWERS[task].format(count=len(evaluation.labels))] if task in _ANSWERS else []),
        f"The scores hold for recordings like those of {inline_code(run.dataset)}. They were not measured for other "
        "microphones, rooms, sound sources or noise; use `polyaudio evaluate` to measure them.",
        _UNCALIBRATED,
        "The model is not meant for decisions about people, or for uses in which an error does harm.",
    ]
    sections = [
        *_beginning(folder, run, data, introduction),
        *_data(run),
        "## Evaluation",
        *_evaluation(evaluation, folder),
        *_training(run),
        "## Limits of use",
        "\n".join(f"- {limit}" for limit in limits),
    ]
    write_whole(folder / "README.md", ModelCard("\n\n".join(sections) + "\n").save)


def calibrated_card(card: str, calibration: Calibration, before: Evaluation, after: Evaluation, data: str) -> str:
    """
    The card of a model after it was calibrated.

    Args:
        card: the card that it had.
        calibration: what was chosen.
        before, after: the scores on the same clips before and after.
        data: the recordings that it was calibrated on.
    """
    head = card.partition(_CALIBRATION_TITLE)[0].rstrip().replace(_UNCALIBRATED, _CALIBRATED)
    rows = [
        [
            f"calibration error, {part}",
            *(format_number(one.parts[part].values["calibration_error"]) for one in (before, after)),
        ]
        for part in before.parts
    ]
    tables = [reliability_table(part, scores) for part, scores in after.parts.items()]
    sections = [
        head,
        _CALIBRATION_TITLE,
        f"Calibrated on {inline_code(data)}: the last layer was divided by a temperature of "
        f"{calibration.temperature:.4g}. A recording whose highest score is below {calibration.threshold:.4f} belongs "
        f"to none of the classes; this was allowed to be wrong for {calibration.false_refusals:.0%} of them. "
        "The tables are for the recordings that the temperature was fitted to, so they flatter.",
        markdown_table([["", "before", "after"], *rows]),
        *map(markdown_table, tables),
    ]
    return "\n\n".join(sections) + "\n"


def write_pretraining_card(
    folder: str | Path, run: RunDescription, history: Sequence[Mapping[str, float]], data_description: str
) -> None:
    """
    Write `README.md`: the report of a pre-training, with the metadata that the Hub reads.

    Args:
        folder: the model's folder.
        run: how the model was trained.
        history: `trainer.state.log_history`; the card shows the losses that were logged last.
        data_description: one sentence on the audio that the model was trained on, and its amount.
    """
    folder = Path(folder)
    hub_dataset = _hub_dataset(run.dataset)
    data = ModelCardData(
        library_name="transformers",
        tags=["polyaudio", run.model_type, PRETRAINING],
        datasets=[hub_dataset] if hub_dataset else None,
        base_model=_hub_name(run.base_model),
        model_name=run.model_name,
    )
    introduction = f"A {inline_code(run.model_type)} audio encoder, pre-trained without labels by polyaudio on "
    introduction += inline_code(run.dataset) + (f" from {inline_code(run.base_model)}." if run.base_model else ".")
    logged = next((entry for entry in reversed(history) if "loss" in entry), {})
    losses = [[name.replace("_", " "), f"{value:.4g}"] for name, value in logged.items() if "loss" in name]
    sections = [
        *_beginning(folder, run, data, introduction),
        f"Dataset: {inline_code(run.dataset)}.",
        escape(data_description),
        *_training(run),
        *([markdown_table([["losses logged last", f"step {logged['step']}"], *losses])] if losses else []),
        *_plots(folder),
        "## Limits of use",
        "- The losses do not show how good the features are for a task. `polyaudio probe` measures this on labelled "
        "clips and compares the model with the same model untrained.\n"
        f"- The features are less useful for audio that does not resemble {inline_code(run.dataset)}.",
    ]
    write_whole(folder / "README.md", ModelCard("\n\n".join(sections) + "\n").save)


def write_summary(folder: str | Path, run: RunDescription, summary: RunsSummary, title: str) -> None:
    """
    Write `summary.json` and `README.md`: the report of several runs, such as those of a cross-validation.

    Args:
        folder: where to write; it is made if it does not exist.
        run: what the runs have in common.
        summary: the scores of the runs.
        title: the title of the report, such as `5-fold cross-validation of sslam_small`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "title": title,
        "dataset": run.dataset,
        "splits": run.splits,
        "split_description": run.split_description,
        "leak_status": run.leak_status,
        "command": run.command,
        "recipe": run.recipe,
        "seeds": run.seeds,
        "environment": run.versions,
    }
    known = {key: value for key, value in about.items() if value}
    write_json(folder / "summary.json", {**known, **summary.to_dict()})
    count = len(summary.runs)
    sections = [
        f"# {escape(title)}",
        f"{count} run{'s' if count > 1 else ''} of {inline_code(run.model_type)} models, trained with polyaudio on "
        f"{inline_code(run.dataset)}.",
        "## Data",
        *_data(run),
        "## Results",
        *(markdown_table(summary_table(summary, part)) for part in summary.parts),
        "`±` is the standard deviation between runs (of a sample), not the error of their mean. All numbers: "
        "`summary.json`.",
        *_training(run),
    ]
    text = "\n\n".join(sections) + "\n"
    write_whole(folder / "README.md", lambda new: new.write_text(text, encoding="utf-8"))


def _beginning(folder: Path, run: RunDescription, data: ModelCardData, introduction: str) -> list[str]:
    """Metadata, title, introduction and usage, up to the title of the data."""
    return [
        f"---\n{data.to_yaml()}\n---",
        f"# {escape(run.model_name)}",
        introduction,
        USAGE_TITLE,
        *usage_sections(str(folder), data, has_code=any(folder.glob("modeling_*.py"))),
        DATA_TITLE,
    ]


def _data(run: RunDescription) -> list[str]:
    rows = [[name, str(sizes["clips"]), str(sizes["recordings"])] for name, sizes in run.splits.items()]
    return [
        f"Dataset: {inline_code(run.dataset)}.",
        *([markdown_table([["split", "clips", "recordings"], *rows])] if rows else []),
        *([escape(run.split_description)] if run.split_description else []),
        f"**Audio shared between the splits:** {escape(run.leak_status)}",
    ]


def _evaluation(evaluation: Evaluation, folder: Path) -> list[str]:
    sections = [markdown_table(score_table(evaluation))]
    intervals = interval_table(evaluation)
    if len(intervals) > 1:
        sections += [
            markdown_table(intervals),
            "The intervals come from a bootstrap over recordings. They show how much the scores depend on which "
            "recordings were evaluated, not on the seeds of the training. With fewer than about 20 recordings they "
            "are too narrow.",
        ]
    tables = [class_table(part, scores) for part, scores in evaluation.parts.items()]
    sections += [markdown_table(table) for table in tables if 1 < len(table) <= _MOST_CLASSES]
    sections += _plots(folder)
    sections += [f"![Timeline of a clip]({path.name})" for path in sorted(folder.glob("timeline_*.png"))]
    if (folder / "evaluation.json").is_file():
        sections.append("All scores: `evaluation.json`.")
    return sections


def _plots(folder: Path) -> list[str]:
    return [f"![{title}]({name})" for name, title in _PLOTS.items() if (folder / name).is_file()]


def without_secrets(text: str) -> str:
    """
    A path, an address or a setting without what gives access to anything: tokens, passwords and keys.

    Left out are the values of settings with such a name, tokens of known forms, and in addresses the user and the
    query.
    """
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _command_without_secrets(command: str) -> str:
    """The same of a command line, where a secret can be the word after a flag."""
    words = [without_secrets(word) for word in shlex.split(command)]
    for index in range(1, len(words)):
        if _SECRET_FLAG.fullmatch(words[index - 1]):
            words[index] = "***"
    return shlex.join(words)


def _training(run: RunDescription) -> list[str]:
    rows = [["recipe", run.recipe]] if run.recipe else []
    rows += [[f"seed ({name})", str(seed)] for name, seed in run.seeds.items()]
    settings = markdown_table([["", ""], *rows, *([name, value] for name, value in run.versions.items())])
    return ["## Training", *([] if run.command is None else [fenced(run.command)]), settings]


def _metrics(evaluation: Evaluation) -> list[tuple[str, str, float]]:
    """Type, name and value of each score for the metadata, except for counts and `_NOT_IN_METADATA`."""
    metrics = []
    for part, scores in evaluation.parts.items():
        for name, value in scores.values.items():
            if isinstance(value, float) and math.isfinite(value) and name not in _NOT_IN_METADATA:
                kind = "f1" if name == "f1_macro" else name  # the Hub's name
                title = title_of(name)
                title = title[0].upper() + title[1:] if title[:2].islower() else title  # not for mAP
                unit = "" if evaluation.task == "frame_classification" else f" per {part.removesuffix('s')}"
                metrics.append((kind if part == "clips" else f"recording_{kind}", title + unit, value))
    return metrics


def _hub_dataset(name: str) -> str | None:
    """The name of a dataset if it can be one on the Hub, which those of synthesised ragas are not."""
    return None if is_ragas(name) else _hub_name(name)


def _hub_name(name: str | None) -> str | None:
    """The name if it can be that of a repository on the Hub."""
    if name is None or Path(name).exists():
        return None
    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return name
