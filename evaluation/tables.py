# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Evaluations, summaries and probes as tables.

A table is a list of rows of strings. Its first row is the header, its first column holds the names.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..data.text import one_line
from .results import Evaluation, Scores
from .summary import MeanStd, RunsSummary


if TYPE_CHECKING:
    from ..data.calibration import Calibration
    from .probe import ProbeReport
    from .tuning import EventTuning


# Titles of scores in tables; other scores are shown by their names
_TITLES = {
    "count": "number",
    "accuracy": "accuracy",
    "f1": "F1",
    "f1_macro": "macro F1",
    "f1_micro": "micro F1",
    "f1_weighted": "weighted F1",
    "majority_accuracy": "majority",
    "calibration_error": "calibration error",
    "false_refusals": "false refusals",
    "unknown": "unknown",
    "refused": "refused of unknown",
    "map": "mAP",
    "map_classes_left_out": "classes not in mAP",
    "roc_auc": "ROC AUC",
    "roc_auc_classes_left_out": "classes not in ROC AUC",
    "d_prime": "d-prime",
    "average_precision": "AP",
    "learning_rate": "rate",
    "frame_map": "frame mAP",
    "frame_map_classes_left_out": "classes not in frame mAP",
    "segment_f1": "segment F1",
    "segment_f1_macro": "segment macro F1",
    "segment_f1_micro": "segment micro F1",
    "event_f1": "event F1",
    "event_f1_macro": "event macro F1",
    "event_f1_micro": "event micro F1",
    "psds1": "PSDS1",
    "psds2": "PSDS2",
    "references": "events",
    "references_merged": "events merged with others",
    "classes_left_out": "classes without events",
    "events_left_out": "events predicted of these",
}


def format_report(evaluation: Evaluation) -> str:
    """The scores of an evaluation, their intervals and the scores of each class, as text for a terminal."""
    tables = [score_table(evaluation), interval_table(evaluation)]
    tables += [class_table(part, scores) for part, scores in evaluation.parts.items()]
    tables += [reliability_table(part, scores) for part, scores in evaluation.parts.items()]
    tables = [table for table in tables if len(table) > 1]
    width = max(len(row[0]) for table in tables for row in table)
    return "\n\n".join(_align(table, width) for table in tables)


def format_summary(summary: RunsSummary) -> str:
    """The scores of several runs, as text for a terminal."""
    return "\n\n".join(_align(summary_table(summary, part)) for part in summary.parts)


def format_probe(report: "ProbeReport") -> str:
    """The scores of a probe and of its baselines, as text for a terminal."""

    def row(title: str, scores: Mapping[str, MeanStd], sign: str = "") -> str:
        cells = []
        for score in scores.values():
            cell = f"{score.mean:{sign}.4f}" + ("" if score.std is None else f" ± {score.std:.4f}")
            cells.append(f"{cell:>17}")
        return f"{title:<18}{'  '.join(cells)}"

    scores = report.probe
    layer = "" if report.layer is None else f" of layer {report.layer}"
    size = f"{report.feature_size} numbers a {'frame' if report.features == 'frame' else 'clip'}"
    lines = [
        f"{report.model}: {report.model_type}, {report.frozen_parameters:,} frozen parameters",
        f"{report.kind} probe, features {report.features}{layer}: {size}",
        f"{report.dataset}: {report.clips} clips of {report.recordings} recordings; held out: {report.held_out}",
        "",
        f"{'':<18}{'  '.join(f'{title_of(name):>17}' for name in scores.means)}",
        row("this model", scores.means),
        *(row(f"untrained, seed {seed}", one.means) for seed, one in report.untrained.items()),
        *([row("difference", report.difference, sign="+")] if report.difference else []),
    ]
    majority = scores.held_out.clips.values.get("majority_accuracy")
    if majority is not None:
        lines.append(f"{'majority class':<18}{majority:>17.4f}")
    chosen = list(scores.folds[0].chosen)
    titles = "".join(f"  {title_of(name):>8}" for name in scores.means) + "".join(
        f"  {title_of(name):>6}" for name in chosen
    )
    lines += ["", f"fold   clips  recordings{titles}"]
    for number, fold in enumerate(scores.folds):
        cells = "".join(f"  {fold.scores[name]:>8.4f}" for name in scores.means)
        cells += "".join(f"  {fold.chosen[name]:>6g}" for name in chosen)
        lines.append(f"{number:>4}  {fold.clips:>6}  {fold.recordings:>10}{cells}")
    weights = [fold.layer_weights for fold in scores.folds if fold.layer_weights is not None]
    if weights:
        shares = [sum(own) / len(weights) for own in zip(*weights, strict=True)]
        lines += ["", f"Weights of layers 0 to {len(shares) - 1}: {' '.join(f'{share:.3f}' for share in shares)}"]
    if scores.unseen:
        lines += ["", f"Counted as wrong, as no recording was left to train on: {', '.join(scores.unseen)}"]
    if scores.few_shot:
        lines += ["", *_few_shot_lines(report)]
    if report.baselines:
        lines += ["", *_baseline_lines(report)]
    return "\n".join([*lines, "", "All held-out clips:", format_report(scores.held_out)])


def _baseline_lines(report: "ProbeReport") -> list[str]:
    """The accuracy of a model and of the baselines of the melody, with 95 % intervals."""
    lines = [f"Accuracy (95 % interval)  {'clips':>23}  {'recordings':>23}"]
    for name, evaluation in {"this model": report.probe.held_out, **report.baselines}.items():
        cells = []
        for scores in (evaluation.clips, evaluation.recordings):
            interval = None if scores is None else scores.intervals.get("accuracy")
            value = "" if scores is None else f"{scores['accuracy']:.4f}"
            cells.append(value + (f" ({interval[0]:.4f}-{interval[1]:.4f})" if interval else ""))
        lines.append(f"{name:<24}{''.join(f'  {cell:>23}' for cell in cells)}")
    return lines


def _few_shot_lines(report: "ProbeReport") -> list[str]:
    """The few-shot curves of a model and of the untrained ones."""
    curves = {"this model": report.probe.few_shot}
    curves |= {f"untrained, seed {seed}": one.few_shot for seed, one in report.untrained.items()}
    name = title_of(next(iter(report.probe.means)))
    draws = report.probe.few_shot[0].draws
    lines = [
        f"Recordings of each class, and {name} on all held-out clips (95 % interval over {draws} draws):",
        f"{'shots':>5}" + "".join(f"  {title:>25}" for title in curves),
    ]
    for points in zip(*curves.values(), strict=True):
        cells = []
        for point in points:
            interval = "" if point.interval is None else f" ({point.interval[0]:.4f}-{point.interval[1]:.4f})"
            cells.append(f"  {f'{point.mean:.4f}{interval}':>25}")
        short = f"  classes with fewer: {points[0].short}" if points[0].short else ""
        lines.append(f"{points[0].shots:>5}{''.join(cells)}{short}")
    return lines


def format_tuning(tuning: "EventTuning") -> str:
    """The F1 of events before and after tuning, and the rules of each class, as text for a terminal."""
    names = list(tuning.rules.to_dict())
    rules = {name: tuning.rules.of_labels(name, len(tuning.labels)) for name in names}
    averages = [
        [title_of(name), format_number(tuning.before[name]), format_number(tuning.after[name])]
        for name in ("event_f1_macro", "event_f1_micro")
    ]
    classes = [
        [
            one_line(label),
            *(
                format_number(scores.per_class.get(label, {}).get("event_f1"))
                for scores in (tuning.before, tuning.after)
            ),
            *(f"{rules[name][index]:g}" for name in names),
        ]
        for index, label in enumerate(tuning.labels)
    ]
    header = [["", "before", "after"], [title_of("event_f1"), "before", "after", *names]]
    width = max(len(row[0]) for row in [*averages, *classes])
    return "\n\n".join(_align([first, *rows], width) for first, rows in zip(header, (averages, classes), strict=True))


def format_calibration(calibration: "Calibration", before: Evaluation, after: Evaluation) -> str:
    """A temperature and a threshold, and the scores before and after, as text for a terminal."""
    names = ("accuracy", "calibration_error", "false_refusals")
    table = [["", "before", "after"]] + [
        [f"{title_of(name)}, {part}", *(format_number(one.parts[part].values.get(name)) for one in (before, after))]
        for part in before.parts
        for name in names
    ]
    tables = [
        reliability_table(f"recordings {when}", one.parts["recordings"])
        for when, one in (("before", before), ("after", after))
    ]
    lines = [
        f"temperature {calibration.temperature:.4g}",
        f"none of these below a score of {calibration.threshold:.4f}",
    ]
    width = max(len(row[0]) for rows in (table, *tables) for row in rows)
    return "\n\n".join(["\n".join(lines), *(_align(rows, width) for rows in (table, *tables))])


def score_table(evaluation: Evaluation) -> list[list[str]]:
    """A row for each score, with a column for clips and one for recordings."""
    parts = evaluation.parts
    return [["", *parts]] + [
        [title_of(name), *(format_number(scores.values.get(name)) for scores in parts.values())]
        for name in _united_keys([scores.values for scores in parts.values()])
    ]


def interval_table(evaluation: Evaluation) -> list[list[str]]:
    """As `score_table`, with the 95 % intervals; only the header if there are none."""
    intervals = {part: scores.intervals for part, scores in evaluation.parts.items()}
    return [["95 % intervals", *intervals]] + [
        [title_of(name), *(_format_interval(one.get(name)) for one in intervals.values())]
        for name in _united_keys(list(intervals.values()))
        if any(one.get(name) for one in intervals.values())
    ]


def class_table(title: str, scores: Scores) -> list[list[str]]:
    """A row for each class, with a column for each of its scores; only the header if there are none."""
    columns = _united_keys(list(scores.per_class.values()))
    return [[title, *(title_of(column) for column in columns)]] + [
        [one_line(name), *(format_number(row.get(column)) for column in columns)]
        for name, row in scores.per_class.items()
    ]


def reliability_table(title: str, scores: Scores) -> list[list[str]]:
    """A row for each range of the highest score: how many answers have it, and how many of them are right."""
    return [[f"score of {title}", "number", "mean score", "accuracy"]] + [
        [f"{row.low:.1f} to {row.high:.1f}", *map(format_number, (row.count, row.score, row.accuracy))]
        for row in scores.reliability or ()
    ]


def summary_table(summary: RunsSummary, part: str) -> list[list[str]]:
    """A row for each run, then the means with their deviations and the extremes; a column for each score."""
    spreads = summary.parts[part]
    runs = [
        [one_line(name), *(format_number(run.parts[part].values.get(score)) for score in spreads)]
        for name, run in zip(summary.names, summary.runs, strict=True)
    ]
    return [
        [part, *map(title_of, spreads)],
        *runs,
        ["mean ± deviation", *map(format_mean, spreads.values())],
        ["min", *(format_number(spread.min) for spread in spreads.values())],
        ["max", *(format_number(spread.max) for spread in spreads.values())],
    ]


def title_of(name: str) -> str:
    """The title of a score in tables."""
    return _TITLES.get(name, name)


def format_number(value: float | int | None) -> str:
    """Counts as they are, scores with four decimals (one from 10 on), and `-` for missing or infinite scores."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


def format_mean(score: MeanStd) -> str:
    """`0.8125 ± 0.0312`, or the mean alone if there is no deviation."""
    return format_number(score.mean) + ("" if score.std is None else f" ± {format_number(score.std)}")


def _format_interval(interval: Sequence[float] | None) -> str:
    return "-" if interval is None else " to ".join(map(format_number, interval))


def _united_keys(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys of all rows, in the order in which they first come."""
    return list(dict.fromkeys(key for row in rows for key in row))


def _align(table: list[list[str]], width: int = 0) -> str:
    """A table as text: its first column, at least this wide, is aligned to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    first, *others = widths
    return "\n".join(
        "  ".join(
            [row[0].ljust(max(first, width))] + [c.rjust(max(w, 9)) for c, w in zip(row[1:], others, strict=True)]
        )
        for row in table
    )
