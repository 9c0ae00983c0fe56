# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Scores, intervals and summaries as tables of text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def format_probe(report: Mapping[str, Any]) -> str:
    """The figures of a probe and of its baselines as text for a terminal."""

    def row(title: str, scores: Mapping[str, Any], sign: str = "") -> str:
        cells = []
        for score in (scores["accuracy"], scores["f1_macro"]):
            cell = f"{score['mean']:{sign}.4f}" + ("" if score["std"] is None else f" ± {score['std']:.4f}")
            cells.append(f"{cell:>17}")
        return f"{title:<18}{'  '.join(cells)}"

    scores = report["probe"]
    held_out = scores["held_out"]
    lines = [
        f"{report['model']}: {report['model_type']}, {report['parameters']['frozen']:,} frozen parameters",
        f"features {report['features']}: {report['feature_size']} numbers a clip",
        f"{report['dataset']}: {report['clips']} clips of {report['recordings']} recordings; "
        f"held out: {report['held_out']}",
        "",
        f"{'':<18}{'accuracy':>17}  {'macro F1':>17}",
        row("this model", scores),
        *(row(f"untrained, seed {one['seed']}", one) for one in report.get("untrained", ())),
        *([row("difference", report["difference"], "+")] if "difference" in report else []),
        f"{'majority class':<18}{held_out['clips']['majority_accuracy']:>17.4f}",
        "",
        "fold   clips  recordings  accuracy  macro F1       C",
    ]
    for number, fold in enumerate(scores["folds"]):
        lines.append(
            f"{number:>4}  {fold['clips']:>6}  {fold['recordings']:>10}  {fold['accuracy']:>8.4f}  "
            f"{fold['f1_macro']:>8.4f}  {fold['C']:>6g}"
        )
    if scores["unseen"]:
        lines += ["", f"Wrong for want of a recording to learn from: {', '.join(scores['unseen'])}"]
    return "\n".join([*lines, "", "All that was held out:", format_report(held_out)])


# What scores are called in tables; of those that are not here, the name is shown.
_TITLES = {
    "count": "number",
    "clips": "number",
    "accuracy": "accuracy",
    "f1": "F1",
    "f1_macro": "macro F1",
    "f1_micro": "micro F1",
    "f1_weighted": "weighted F1",
    "majority_accuracy": "majority",
    "map": "mAP",
    "map_classes_left_out": "classes not in mAP",
    "roc_auc": "ROC AUC",
    "roc_auc_classes_left_out": "classes not in ROC AUC",
    "d_prime": "d-prime",
    "average_precision": "AP",
    "frame_map": "frame mAP",
    "segment_f1": "segment F1",
    "segment_f1_macro": "segment macro F1",
    "segment_f1_micro": "segment micro F1",
    "event_f1": "event F1",
    "event_f1_macro": "event macro F1",
    "event_f1_micro": "event micro F1",
    "psds1": "PSDS1",
    "psds2": "PSDS2",
    "frame_map_classes_left_out": "classes not in frame mAP",
    "references": "events",
    "references_merged": "events merged with others",
    "classes_left_out": "classes without events",
    "events_left_out": "events predicted of these",
}


def format_report(result: Mapping[str, Any]) -> str:
    """The scores, their intervals and the per-class tables of an evaluation, as text for a terminal."""
    tables = [score_table(result), interval_table(result), *(class_table(result, part) for part in parts_of(result))]
    tables = [table for table in tables if len(table) > 1]
    width = max(len(row[0]) for table in tables for row in table)
    return "\n\n".join(_align(table, width) for table in tables)


def parts_of(result: Mapping[str, Any]) -> list[str]:
    """What the scores are of: clips, and recordings where they were scored too."""
    return [part for part in ("clips", "recordings") if part in result]


def numbers_of(scores: Mapping[str, Any]) -> dict[str, float | int | None]:
    """The scores that are one number, or could not be computed; `f1_macro` for the `macro` of a score `f1`."""
    numbers: dict[str, float | int | None] = {}
    for name, value in scores.items():
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            numbers[name] = value
        elif _has_means(value):
            numbers.update({f"{name}_{kind}": mean for kind, mean in value.items() if kind != "per_class"})
    return numbers


def _has_means(value: Any) -> bool:
    """Whether it is one score of all classes with its means, as `score_events` gives them."""
    return isinstance(value, Mapping) and "per_class" in value


def title_of(name: str) -> str:
    """What a score is called in tables."""
    return _TITLES.get(name, name)


def score_table(result: Mapping[str, Any]) -> list[list[str]]:
    """The scores by their titles, per clip and per recording: a table of strings whose first row is the header."""
    parts = parts_of(result)
    numbers = [numbers_of(result[part]) for part in parts]
    return [["", *parts]] + [
        [title_of(name), *(format_number(one.get(name)) for one in numbers)] for name in united_keys(numbers)
    ]


def interval_table(result: Mapping[str, Any]) -> list[list[str]]:
    """As `score_table`, of the 95 % intervals; only the header where there are none."""
    parts = parts_of(result)
    intervals = [result[part].get("intervals") or {} for part in parts]
    return [["95 % intervals", *parts]] + [
        [title_of(name), *(_format_interval(one.get(name)) for one in intervals)]
        for name in united_keys(intervals)
        if any(one.get(name) for one in intervals)
    ]


def class_table(result: Mapping[str, Any], part: str) -> list[list[str]]:
    """As `score_table`, of the classes in `clips` or `recordings`; only the header where there are none."""
    classes = {name: dict(scores) for name, scores in result[part].get("per_class", {}).items()}
    for score, value in result[part].items():
        if _has_means(value):
            for name, one in value["per_class"].items():
                classes.setdefault(name, {})[score] = one
    columns = united_keys(list(classes.values()))
    return [[part, *(title_of(column) for column in columns)]] + [
        [one_line(name), *(format_number(scores.get(column)) for column in columns)]
        for name, scores in classes.items()
    ]


def format_number(value: float | int | None) -> str:
    """Counts as they are, scores with four decimals (one from 10 on), and `-` for what could not be scored."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


def one_line(text: str) -> str:
    """The text with a space for each stretch of white space, line breaks among them, and nothing unprintable."""
    return "".join(character for character in " ".join(str(text).split()) if character.isprintable())


def _format_interval(interval: Sequence[float] | None) -> str:
    return "-" if interval is None else " to ".join(map(format_number, interval))


def united_keys(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys of all rows, in the order in which they come."""
    return list(dict.fromkeys(key for row in rows for key in row))


def _align(table: list[list[str]], width: int = 0) -> str:
    """A table as text, its first column (of this width at least) to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    first, *others = widths
    return "\n".join(
        "  ".join(
            [row[0].ljust(max(first, width))] + [c.rjust(max(w, 9)) for c, w in zip(row[1:], others, strict=True)]
        )
        for row in table
    )


def format_mean(score: Mapping[str, float | None]) -> str:
    """`0.8125 ± 0.0312` for a `mean` and a `std`; the mean alone where there is no deviation."""
    return format_number(score["mean"]) + ("" if score["std"] is None else f" ± {format_number(score['std'])}")


def summary_table(summary: Mapping[str, Any], part: str) -> list[list[str]]:
    """As `score_table`: a row for each run, then the means with their deviations and the extremes."""
    scores = summary[part]
    rows = [
        [one_line(run["name"]), *(format_number(run[part].get(name)) for name in scores)] for run in summary["runs"]
    ]
    return [
        [part, *(title_of(name) for name in scores)],
        *rows,
        ["mean ± deviation", *map(format_mean, scores.values())],
        *([which, *(format_number(one[which]) for one in scores.values())] for which in ("min", "max")),
    ]


def format_summary(summary: Mapping[str, Any]) -> str:
    """What `summarise_runs` found, as text for a terminal."""
    return "\n\n".join(_align(summary_table(summary, part)) for part in parts_of(summary))
