# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The README.md of a trained model, and that of several runs."""

import math
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from .. import __version__
from ..evaluation.tables import (
    class_table,
    interval_table,
    numbers_of,
    one_line,
    parts_of,
    score_table,
    summary_table,
    title_of,
)
from ..evaluation.writing import write_json
from .markdown import escape, fenced, inline_code, markdown_table
from .usage import CLIPS, DATA_TITLE, FRAMES, PRETRAINING, SEVERAL_LABELS, USAGE_TITLE, usage_sections


if TYPE_CHECKING:
    import torch


# Beyond this many classes a table of them is no longer read.
_MOST_CLASSES = 60

_PLOTS = {
    "confusion_matrix.png": "Confusion matrix",
    "precision_recall.png": "Precision and recall",
    "losses.png": "Losses",
    "mixtures.png": "Mixtures of clips, as the model hears them",
}

_WHAT = {
    "single_label_classification": "audio classifier",
    "multi_label_classification": "audio tagger (several labels for a clip)",
    "frame_classification": "sound event detector (labels for each frame)",
}

_ANSWERS = {
    "single_label_classification": "It gives every clip one of its {count} classes, whatever the clip holds: silence "
    "and sounds of no class as well.",
    "multi_label_classification": "It knows {count} classes and scores each by itself; sounds of other classes, and "
    "silence, can score high too.",
    "frame_classification": "It knows {count} classes and scores each by itself in every frame; sounds of other "
    "classes can score high too. The ends of events are no finer than a frame of the model.",
}


def write_model_card(
    folder: str | Path,
    *,
    model_name: str,
    model_type: str,
    dataset: str,
    split_description: str,
    command: str,
    result: Mapping[str, Any],
    base_model: str | None = None,
    splits: Mapping[str, Mapping[str, int]] | None = None,
    leak_status: str = "not checked",
    recipe: str | None = None,
    seeds: Mapping[str, int] | None = None,
    license: str | None = None,
    adapter: bool = False,
    versions: Mapping[str, str] | None = None,
) -> None:
    """
    Write `README.md`: the report of a run, with the metadata that the Hub reads.

    Names of data sets and base models are in the metadata only where they can be names on the Hub, which refuses
    others. Plots are shown that are in the folder, so write them first.

    Args:
        folder: the model's folder.
        model_name: name under which the figures stand in the metadata.
        model_type: the configuration's.
        dataset: name of the data set.
        split_description: one sentence that says how the evaluated clips were kept apart from the training clips.
        command: the command that trained the model.
        result: what `evaluate_predictions` gives, or another dict of its form with its `task`.
        base_model: what training started from, if not from scratch.
        splits: for each split its number of `clips` and `recordings`.
        leak_status: whether the splits share audio, as far as that was looked for.
        recipe: name of the recipe.
        seeds: the seeds by what they decide.
        license: the licence of the weights, as the Hub names it (`mit`, `cc-by-4.0`).
        adapter: whether the folder holds an adapter of `base_model` rather than all weights.
        versions: what the model was trained with, by default `environment()`.
    """
    folder = Path(folder)
    task = result.get("task", "single_label_classification")
    is_frames = task == "frame_classification"
    hub_dataset = None if dataset == "ragas" else _hub_id(dataset)
    hub_model = _hub_id(base_model)
    kind = FRAMES if is_frames else CLIPS
    data = ModelCardData(
        library_name="peft" if adapter else "transformers",
        license=license,
        pipeline_tag=None if is_frames else kind,  # there is no pipeline for frames
        tags=["polyaudio", model_type, kind, *([SEVERAL_LABELS] if task == "multi_label_classification" else [])],
        datasets=[hub_dataset] if hub_dataset else None,
        base_model=hub_model,
        base_model_relation="adapter" if adapter and hub_model else None,
        model_name=model_name,
        eval_results=[
            EvalResult(
                task_type=kind,
                dataset_type=hub_dataset or one_line(Path(dataset).name),
                dataset_name=one_line(dataset),
                metric_type=metric_type,
                metric_name=name,
                metric_value=round(value, 4),
            )
            for metric_type, name, value in _metrics(result)
        ],
    )
    what = _WHAT.get(task, "audio model")
    introduction = f"A {inline_code(model_type)} {what}, trained with polyaudio on {inline_code(dataset)}"
    introduction += f" from {inline_code(base_model)}." if base_model else "."
    if adapter:
        introduction += " What was trained is an adapter of the base model, made with PEFT."
    sections = [
        f"---\n{data.to_yaml()}\n---",
        f"# {escape(model_name)}",
        introduction,
        USAGE_TITLE,
        *usage_sections(str(folder), data, has_code=any(folder.glob("modeling_*.py"))),
        DATA_TITLE,
    ]
    sections += [*_data(dataset, split_description, leak_status, splits), "## Evaluation"]
    sections += _evaluation(result, folder)
    sections += ["## Training", fenced(command)]
    sections += [_setup(recipe, seeds, environment() if versions is None else versions)]
    answers = [_ANSWERS[task].format(count=len(result["labels"]))] if task in _ANSWERS else []
    limits = [
        *answers,
        f"The figures hold for recordings like those of {inline_code(dataset)}. Other microphones, rooms, sources and "
        "noise were not measured: `polyaudio evaluate` measures them.",
        "Scores are no calibrated probabilities: of the answers with a score of 0.9, not nine in ten need be right.",
        "It was not made for decisions about people, or where an error does harm.",
    ]
    sections += ["## Limits of use", "\n".join(f"- {limit}" for limit in limits)]
    ModelCard("\n\n".join(sections) + "\n").save(folder / "README.md")


def write_pretraining_card(
    folder: str | Path,
    *,
    model_name: str,
    model_type: str,
    dataset: str,
    data_description: str,
    command: str,
    history: Sequence[Mapping[str, float]],
    base_model: str | None = None,
    recipe: str | None = None,
    seeds: Mapping[str, int] | None = None,
    versions: Mapping[str, str] | None = None,
) -> None:
    """
    Write `README.md`: the report of a pre-training, with the metadata that the Hub reads.

    Args:
        folder: the model's folder.
        data_description: one sentence that says how much of which audio the model was trained on.
        history: of the Trainer's state; the card shows the losses that were logged last.
        model_name, model_type, dataset, command, base_model, recipe, seeds, versions: as for `write_model_card`.
    """
    folder = Path(folder)
    hub_dataset, hub_model = None if dataset == "ragas" else _hub_id(dataset), _hub_id(base_model)
    data = ModelCardData(
        library_name="transformers",
        tags=["polyaudio", model_type, PRETRAINING],
        datasets=[hub_dataset] if hub_dataset else None,
        base_model=hub_model,
        model_name=model_name,
    )
    introduction = (
        f"A {inline_code(model_type)} audio encoder, pre-trained without labels by polyaudio on {inline_code(dataset)}"
    )
    introduction += f" from {inline_code(base_model)}." if base_model else "."
    logged = next((entry for entry in reversed(history) if "loss" in entry), {})
    losses = [[name.replace("_", " "), f"{value:.4g}"] for name, value in logged.items() if "loss" in name]
    sections = [
        f"---\n{data.to_yaml()}\n---",
        f"# {escape(model_name)}",
        introduction,
        USAGE_TITLE,
        *usage_sections(str(folder), data, has_code=any(folder.glob("modeling_*.py"))),
        DATA_TITLE,
        f"Data set: {inline_code(dataset)}.",
        escape(data_description),
        "## Training",
        fenced(command),
        *([markdown_table([["losses logged last", f"step {logged['step']}"], *losses])] if losses else []),
        *_plots(folder),
        _setup(recipe, seeds, environment() if versions is None else versions),
        "## Limits of use",
        "- How good the features are for a task, the losses do not tell: `polyaudio probe` measures it on labelled "
        "clips, beside the same model untrained.\n"
        f"- What does not sound like {inline_code(dataset)} is represented less well.",
    ]
    ModelCard("\n\n".join(sections) + "\n").save(folder / "README.md")


def write_summary(
    folder: str | Path,
    summary: Mapping[str, Any],
    *,
    title: str,
    dataset: str,
    split_description: str,
    command: str,
    splits: Mapping[str, Mapping[str, int]] | None = None,
    leak_status: str = "not checked",
    recipe: str | None = None,
    seeds: Mapping[str, int] | None = None,
    versions: Mapping[str, str] | None = None,
) -> None:
    """
    Write `summary.json` and `README.md`: the report of several runs, as of a cross-validation.

    Args:
        folder: where to write; made where it is missing.
        summary: what `summarise_runs` gives.
        title: what the runs are, as in `5-fold cross-validation of sslam_small`.
        dataset, split_description, command, splits, leak_status, recipe, seeds, versions: as for `write_model_card`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    versions = environment() if versions is None else versions
    about = {
        "title": title,
        "dataset": dataset,
        "splits": splits,
        "split_description": split_description,
        "leak_status": leak_status,
        "command": command,
        "recipe": recipe,
        "seeds": seeds,
        "environment": versions,
    }
    write_json(folder / "summary.json", {**{key: value for key, value in about.items() if value}, **summary})
    count = len(summary["runs"])
    sections = [
        f"# {escape(title)}",
        f"{count} run{'s' if count > 1 else ''} of polyaudio on {inline_code(dataset)}.",
        "## Data",
        *_data(dataset, split_description, leak_status, splits),
        "## Results",
        *(markdown_table(summary_table(summary, part)) for part in parts_of(summary)),
        "`±` is the standard deviation between the runs (of a sample), not the error of their mean. All numbers: "
        "`summary.json`.",
        "## Training",
        fenced(command),
        _setup(recipe, seeds, versions),
    ]
    (folder / "README.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def environment(device: "str | torch.device | None" = None) -> dict[str, str]:
    """
    The versions that decide what a run computes, the platform and the device.

    Args:
        device: where the model runs; by default the accelerator that there is, or else the CPU.
    """
    import torch

    if device is None:
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
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


def _metrics(result: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    """Type, name and value of each score for the metadata; the majority's accuracy says nothing of the model."""
    metrics = []
    for part in parts_of(result):
        for name, value in numbers_of(result[part]).items():
            if isinstance(value, float) and math.isfinite(value) and name != "majority_accuracy":
                kind = "f1" if name == "f1_macro" else name  # the Hub's name
                title = title_of(name)
                title = title[0].upper() + title[1:] if title[:2].islower() else title  # but mAP
                unit = "" if result.get("task") == "frame_classification" else f" per {part.removesuffix('s')}"
                metrics.append((kind if part == "clips" else f"recording_{kind}", title + unit, value))
    return metrics


def _data(
    dataset: str, split_description: str, leak_status: str, splits: Mapping[str, Mapping[str, int]] | None
) -> list[str]:
    rows = [[name, str(sizes["clips"]), str(sizes["recordings"])] for name, sizes in (splits or {}).items()]
    return [
        f"Data set: {inline_code(dataset)}.",
        *([markdown_table([["split", "clips", "recordings"], *rows])] if rows else []),
        escape(split_description),
        f"**Audio in common between the splits:** {escape(leak_status)}",
    ]


def _evaluation(result: Mapping[str, Any], folder: Path) -> list[str]:
    sections = [markdown_table(score_table(result))]
    intervals = interval_table(result)
    if len(intervals) > 1:
        sections += [
            markdown_table(intervals),
            "The intervals are of a bootstrap over recordings, and too narrow for less than 20 or so. They tell how "
            "the figures depend on which recordings were evaluated, not on the seeds of the training.",
        ]
    tables = [table for table in (class_table(result, part) for part in parts_of(result)) if len(table) > 1]
    sections += [markdown_table(table) for table in tables if len(table) <= _MOST_CLASSES]
    sections += _plots(folder)
    sections += [f"![Timeline of a clip]({path.name})" for path in sorted(folder.glob("timeline_*.png"))]
    if (folder / "evaluation.json").is_file():
        sections.append("All figures: `evaluation.json`.")
    return sections


def _plots(folder: Path) -> list[str]:
    return [f"![{title}]({name})" for name, title in _PLOTS.items() if (folder / name).is_file()]


def _setup(recipe: str | None, seeds: Mapping[str, int] | None, versions: Mapping[str, str]) -> str:
    rows = [["recipe", recipe]] if recipe else []
    rows += [[f"seed ({name})", str(seed)] for name, seed in (seeds or {}).items()]
    return markdown_table([["", ""], *rows, *([name, value] for name, value in versions.items())])


def _hub_id(name: str | None) -> str | None:
    """The name where it can be that of a repository on the Hub."""
    if name is None or Path(name).exists():
        return None
    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return name
