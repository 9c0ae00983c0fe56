# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Ways to train on small datasets, several seeds each: the evidence for the defaults of `polyaudio train`.

    python benchmarks/small_sets.py --output sets
    python benchmarks/small_data.py sets/* --output small_data.jsonl [--ways default sslam_small] [--seeds 1 2 3]
    python benchmarks/small_data.py --report --output small_data.jsonl

Each cell is a line of `--output`; a later call computes what is missing. A dataset without splits is divided
into three folds by its groups, by the seed of the cell, and nothing is chosen on the fold that is held out. A cell is
the mean over the folds: accuracy, or mAP for mixtures.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import concatenate_datasets

from polyaudio import DataArguments, cross_validate, fine_tune, read_recipe
from polyaudio.data.labels import MULTI_LABEL, class_names, classes_of_clips, task_of
from polyaudio.evaluation.classifier import DEFAULT_METRICS
from polyaudio.evaluation.log_mel_statistics import log_mel_statistics
from polyaudio.evaluation.probe_kinds import fit_linear
from polyaudio.evaluation.scores import evaluate_predictions
from polyaudio.training.divisions import Division, load_divisions


BASELINE = "log-mel statistics"
# The recipe of each way, and what it changes there
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "default": ("default", {}),
    "original's settings": ("carnatic_ragas_original", {"pitch_shift": None, "early_stopping_patience": None}),
    "sslam_small": ("sslam_small", {}),
}
# Nothing is chosen during a training, and only the model at its end is kept
LAST_EPOCH = dict.fromkeys(("eval_strategy", "save_strategy", "logging_strategy"), "no") | {
    "load_best_model_at_end": False,
    "report_to": "none",
    "disable_tqdm": True,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", type=Path, metavar="DATASET", help="folders that small_sets.py wrote")
    parser.add_argument("--ways", nargs="+", default=[BASELINE, *WAYS], help=f"of {BASELINE!r} and {', '.join(WAYS)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--output", type=Path, default=Path("small_data.jsonl"))
    parser.add_argument("--report", action="store_true", help="print the table, compute nothing")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.output.read_text().splitlines()] if args.output.is_file() else []
    for seed in args.seeds if not args.report else []:
        for folder in args.sets:
            for way in args.ways:
                key = {"set": folder.name, "way": way, "seed": seed}
                if not any(key.items() <= row.items() for row in rows):
                    start = time.monotonic()
                    rows.append(key | measure(folder, way, seed) | {"seconds": round(time.monotonic() - start)})
                    with open(args.output, "a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
                    print(json.dumps(rows[-1]), flush=True)
    report(rows)


def measure(folder: Path, way: str, seed: int) -> dict[str, Any]:
    """The metric of a dataset, and a score for each fold, or one for a dataset with a test split."""
    has_splits = (folder / "test").is_dir()
    data = DataArguments(label_separator=";") if has_splits else DataArguments(folds=3, group_column="group")
    data = replace(data, split_seed=seed, skip_leak_check=True)  # groups are given, and drums of a kit are alike
    divisions = load_divisions(folder, data)
    task = task_of(divisions[0].splits["train"].features["label"])
    metric = DEFAULT_METRICS[task]
    if way == BASELINE:
        scores = [baseline(division, task, seed)[metric] for division in divisions]
        return {"metric": metric, "scores": scores}
    recipe, changes = WAYS[way]
    with tempfile.TemporaryDirectory() as scratch:
        settings = read_recipe(recipe).fine_tuning(**changes, **LAST_EPOCH, output_dir=scratch, seed=seed)
        own = vars(settings) | {"data": replace(data, crop_seconds=settings.data.crop_seconds)}
        if has_splits:
            scores = [fine_tune(str(folder), **own).evaluation.clips[metric]]
        else:
            runs = cross_validate(str(folder), **own).evaluations
            scores = [evaluation.clips[metric] for evaluation in runs.values()]
    return {"metric": metric, "scores": scores}


def baseline(division: Division, task: str, seed: int) -> Any:
    """The scores of a logistic regression on log-mel statistics, which learns from validation clips, too."""
    train = concatenate_datasets([part for name, part in division.splits.items() if name != "test"])
    test, names = division.splits["test"], class_names(division.splits["test"].features["label"])
    labels = [targets(clips, len(names), task) for clips in (train, test)]
    groups = np.array(train["recording"][:])
    fitted = fit_linear(log_mel_statistics(train), labels[0], groups, num_classes=len(names), seed=seed)
    chances = fitted.predict(log_mel_statistics(test)).clip(1e-12, 1 - 1e-12)
    logits = np.log(chances) - (np.log1p(-chances) if task == MULTI_LABEL else 0)
    return evaluate_predictions(logits, labels[1], test["recording"][:], dict(enumerate(names)), task).clips


def targets(clips: Any, num_classes: int, task: str) -> np.ndarray:
    rows = np.zeros((len(clips), num_classes), int)
    for row, classes in zip(rows, classes_of_clips(clips), strict=True):
        row[classes] = 1
    return rows if task == MULTI_LABEL else rows.argmax(axis=1)


def report(rows: list[dict[str, Any]]) -> None:
    """A table with the mean and the standard deviation over the seeds."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    print("\n| dataset | metric | " + " | ".join(ways) + " |")
    print("|---" * (2 + len(ways)) + "|")
    for name, metric in dict.fromkeys((row["set"], row["metric"]) for row in rows):
        cells = []
        for way in ways:
            means = [np.mean(row["scores"]) for row in rows if (row["set"], row["way"]) == (name, way)]
            cells.append(f"{np.mean(means):.3f} ± {np.std(means):.3f} ({len(means)})" if means else "")
        print(f"| {name} | {metric} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
