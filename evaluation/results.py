# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The result of an evaluation, as a typed object and as the dict in `evaluation.json`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .calibration import ReliabilityBin


# Scores with a macro and a micro average: in JSON each is one dict with its averages and its `per_class`
_AVERAGED = ("segment_f1", "event_f1")


@dataclass(frozen=True)
class PrecisionRecall:
    """
    Precision over recall.

    Args:
        recall: the recalls, from 0.01 to 1.
        macro: the precision at each recall, averaged over the classes that some clip has.
        classes: the precision at each recall, for each of the most frequent classes.
    """

    recall: list[float]
    macro: list[float]
    classes: dict[str, list[float]]


@dataclass(frozen=True)
class Scores:
    """
    The scores of a model on clips or on recordings. `scores["accuracy"]` is short for `scores.values["accuracy"]`.

    Args:
        values: the scores by name, and `count`, the number of clips or recordings. `None` stands for a score that
            could not be computed.
        intervals: 95 % intervals by score, as `[low, high]`; see `intervals.py`.
        per_class: the scores of each class, by class and score.
        confusion_matrix: number of clips for each true label (rows) and each predicted label (columns).
        precision_recall: the curves of a multi-label classifier.
        reliability: with single labels, the accuracy of answers by their score.
    """

    values: Mapping[str, float | int | None]
    intervals: Mapping[str, list[float] | None] = field(default_factory=dict)
    per_class: Mapping[str, Mapping[str, float | int | None]] = field(default_factory=dict)
    confusion_matrix: list[list[int]] | None = None
    precision_recall: PrecisionRecall | None = None
    reliability: list[ReliabilityBin] | None = None

    def __getitem__(self, name: str) -> float | int | None:
        return self.values[name]

    def to_dict(self) -> dict[str, Any]:
        """The scores as a dict for JSON."""
        content: dict[str, Any] = {}
        for name, value in self.values.items():
            score, _, average = name.rpartition("_")
            if score in _AVERAGED:
                content.setdefault(score, {})[average] = value
            else:
                content[name] = value
        per_class = {label: dict(scores) for label, scores in self.per_class.items()}
        for score in _AVERAGED:
            if score in content:
                content[score]["per_class"] = {
                    label: scores.pop(score) for label, scores in per_class.items() if score in scores
                }
        if self.intervals:
            content["intervals"] = self.intervals
        if any(per_class.values()):
            content["per_class"] = per_class
        if self.confusion_matrix is not None:
            content["confusion_matrix"] = self.confusion_matrix
        if self.precision_recall is not None:
            content["precision_recall"] = asdict(self.precision_recall)
        if self.reliability is not None:
            content["reliability"] = [asdict(row) for row in self.reliability]
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Scores":
        """
        Return the scores from the dict of `to_dict`.

        Raises:
            ValueError: a score is not a number.
        """
        rest = dict(content)
        intervals = rest.pop("intervals", {})
        per_class = {label: dict(scores) for label, scores in rest.pop("per_class", {}).items()}
        confusion_matrix, curves = rest.pop("confusion_matrix", None), rest.pop("precision_recall", None)
        reliability = rest.pop("reliability", None)
        values: dict[str, float | int | None] = {}
        for name, value in rest.items():
            if name in _AVERAGED:
                values |= {f"{name}_{average}": value[average] for average in ("macro", "micro")}
                for label, score in value["per_class"].items():
                    per_class.setdefault(label, {})[name] = score
            elif value is None or isinstance(value, (int, float)):
                values[name] = value
            else:
                raise ValueError(f"The score {name!r} must be a number or null, got {value!r}.")
        precision_recall = None if curves is None else PrecisionRecall(**curves)
        rows = None if reliability is None else [ReliabilityBin(**row) for row in reliability]
        return cls(values, intervals, per_class, confusion_matrix, precision_recall, rows)


@dataclass(frozen=True)
class Evaluation:
    """
    The result of an evaluation.

    Args:
        task: `"single_label_classification"`, `"multi_label_classification"` or `"frame_classification"`.
        labels: the class names, in the order of the model's logits.
        clips: the scores on clips.
        recordings: the scores on recordings, if each clip has one label.
    """

    task: str
    labels: list[str]
    clips: Scores
    recordings: Scores | None = None

    @property
    def parts(self) -> dict[str, Scores]:
        """The scores on `clips` and, if there are any, on `recordings`."""
        parts = {"clips": self.clips, "recordings": self.recordings}
        return {part: scores for part, scores in parts.items() if scores is not None}

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as a dict for JSON: `task`, `labels`, `clips` and, if there are any, `recordings`."""
        parts = {part: scores.to_dict() for part, scores in self.parts.items()}
        return {"task": self.task, "labels": self.labels, **parts}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Evaluation":
        """
        Return the evaluation from the dict of `to_dict`, or from the content of `evaluation.json`.

        Raises:
            ValueError: the dict has no `labels` or no `clips`, or a score is not a number.
        """
        missing = [key for key in ("labels", "clips") if key not in content]
        if missing:
            raise ValueError(f"This is not an evaluation: it lacks {' and '.join(missing)}.")
        return cls(
            task=content.get("task", "single_label_classification"),  # files of the first versions have no task
            labels=content["labels"],
            clips=Scores.from_dict(content["clips"]),
            recordings=Scores.from_dict(content["recordings"]) if "recordings" in content else None,
        )
