# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Labels of clips: reads one class, any number of classes, or events from the columns of a dataset."""

import logging
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import datasets

from .events import is_events
from .text import listed


logger = logging.getLogger(__name__)


SINGLE_LABEL = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
FRAMES = "frame_classification"

# Columns that hold the label where nobody says which one does.
_LABEL_NAMES = ("label", "labels", "raga", "class", "category", "target", "genre", "event_label")


def task_of(label: Any) -> str:
    """Return the task of a column `label` with this feature; `ValueError` for a feature that is not a label."""
    if isinstance(label, datasets.ClassLabel):
        return SINGLE_LABEL
    if isinstance(label, datasets.List) and isinstance(label.feature, datasets.ClassLabel):
        return MULTI_LABEL
    if is_events(label):
        return FRAMES
    raise ValueError(f"{label} is not a label: it must be a class, a list of classes or a list of events.")


def class_names(label: Any) -> list[str]:
    """Return the class names of a column `label` with this feature."""
    task = task_of(label)
    if task == SINGLE_LABEL:
        return label.names
    return (label.feature if task == MULTI_LABEL else label.feature["label"]).names


def classes_of_clips(clips: datasets.Dataset) -> list[list[int]]:
    """Return the class indices of each clip, sorted and each once, for any kind of label."""
    task = task_of(clips.features["label"])
    labels = clips.select_columns("label")[:]["label"]
    if task == SINGLE_LABEL:
        return [[label] for label in labels]
    if task == MULTI_LABEL:
        return [sorted(set(classes)) for classes in labels]
    return [sorted({event["label"] for event in events}) for events in labels]


def renumbered(clips: datasets.Dataset, names: Sequence[str]) -> datasets.Dataset:
    """
    Convert the labels of clips to the indices of other class names.

    Args:
        clips: column `label`, as `load_clips` returns it.
        names: the new class names. They contain all class names of `clips`.
    """
    label = clips.features["label"]
    index_of = [names.index(name) for name in class_names(label)]
    classes, values = datasets.ClassLabel(names=list(names)), clips["label"][:]
    task = task_of(label)
    if task == SINGLE_LABEL:
        label, values = classes, [index_of[value] for value in values]
    elif task == MULTI_LABEL:
        label, values = datasets.List(classes), [sorted(index_of[value] for value in row) for row in values]
    else:
        label = datasets.List({**label.feature, "label": classes})
        values = [[{**event, "label": index_of[event["label"]]} for event in row] for row in values]
    return clips.remove_columns("label").add_column("label", values, feature=label)


def find_label_column(features: Mapping[str, Any], dataset: str, others: Iterable[str | None]) -> str:
    """
    Find the column with the labels.

    Args:
        features: the feature of each column.
        dataset: name of the dataset, for messages.
        others: columns that are not the label.

    Raises:
        ValueError: no column, or more than one, could be the label.
    """
    free = {name: feature for name, feature in features.items() if name not in others}
    for candidates in (
        [name for name in free if name.lower() in _LABEL_NAMES],
        [name for name, feature in free.items() if isinstance(feature, datasets.ClassLabel)],
        [name for name, feature in free.items() if getattr(feature, "dtype", None) in ("string", "large_string")],
    ):
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            break
    found = f"several columns of {dataset} could be the label" if candidates else f"{dataset} has no label column"
    raise ValueError(f"{found[0].upper()}{found[1:]}. Pass `label_column`, one of {listed(free)}.")


def read_one_class(clips: datasets.DatasetDict, column: str, dataset: str) -> tuple[Any, dict[str, list[int]]]:
    """
    Return the feature and the values of a column `label` with one class for each clip.

    Args:
        clips: the class of each clip in `column`, as class index, number or name.
        column: the column to read.
        dataset: name of the dataset, for messages.

    Raises:
        ValueError: a value is missing or is not a class.
    """
    names = {}
    for split, rows in clips.items():
        where, feature = f"{dataset}, split {split}", rows.features[column]
        values = values_of(rows, column, where)
        names[split] = [_class_name(value, feature, column, where) for value in values]
    label = datasets.ClassLabel(names=_classes([rows.features[column] for rows in clips.values()], names.values()))
    return label, {split: label.str2int(values) for split, values in names.items()}


def read_classes(
    clips: datasets.DatasetDict, column: str, dataset: str, separator: str | None = None
) -> tuple[Any, dict[str, list[list[int]]]]:
    """
    Return the feature and the values of a column `label` with any number of classes for each clip.

    Args:
        clips: the classes of each clip in `column`, as a list or as text.
        column: the column to read.
        dataset: name of the dataset, for messages.
        separator: the string between the classes in a text. An empty text has no classes.

    Raises:
        ValueError: a list is missing, a value is not a class, or there is a separator and `column` is not text.
    """
    names, features = {}, []
    for split, rows in clips.items():
        where, feature = f"{dataset}, split {split}", rows.features[column]
        values = rows.select_columns(column)[:][column]
        if separator is not None:
            if getattr(feature, "dtype", None) not in ("string", "large_string"):
                raise ValueError(f"{where}: {column!r} holds {feature}, but `label_separator` needs text.")
            values = [[part.strip() for part in (value or "").split(separator) if part.strip()] for value in values]
            inner = datasets.Value("string")
        else:
            missing = sum(value is None for value in values)
            if missing:
                raise ValueError(
                    f"{missing} of {len(values)} clips of {where} have no {column!r}. Give them an empty list if they "
                    "have none of the classes, or remove them."
                )
            inner = feature.feature
        names[split] = [[_class_name(value, inner, column, where) for value in classes] for classes in values]
        features.append(inner)
    label = datasets.ClassLabel(
        names=_classes(features, [[name for classes in values for name in classes] for values in names.values()])
    )
    index_of = {name: index for index, name in enumerate(label.names)}
    values = {
        split: [sorted({index_of[name] for name in classes}) for classes in rows] for split, rows in names.items()
    }
    return datasets.List(label), values


def read_class_columns(
    clips: datasets.DatasetDict, columns: Sequence[str], dataset: str
) -> tuple[Any, dict[str, list[list[int]]]]:
    """
    Return the feature and the values of a column `label` from a column of 0 and 1 for each class.

    Args:
        clips: these columns, as numbers or bools.
        columns: the columns, in the order of the classes. Their names are the class names.
        dataset: name of the dataset, for messages.

    Raises:
        ValueError: a value is neither 0 nor 1.
    """
    values = {}
    for split, rows in clips.items():
        table = rows.select_columns(list(columns))[:]
        for column in columns:
            strange = sorted({str(value) for value in table[column] if value not in (0, 1)})
            if strange:
                raise ValueError(
                    f"{dataset}, split {split}: the column {column!r} of a class must hold only 0 and 1, but also "
                    f"holds {listed(strange)}."
                )
        hot = zip(*(table[column] for column in columns), strict=True)
        values[split] = [[index for index, value in enumerate(row) if value] for row in hot]
    return datasets.List(datasets.ClassLabel(names=list(columns))), values


def warn_of_similar(names: Iterable[str], dataset: str) -> None:
    """Log a warning with the classes whose names look like spellings of one name: they stay different classes."""
    spellings = defaultdict(list)
    for name in names:
        words = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        spellings[re.sub(r"^0+(?=\d+$)", "", words)].append(repr(name))
    found = [", ".join(alike) for alike in spellings.values() if len(alike) > 1]
    if found:
        logger.warning(
            f"{dataset} has different classes whose names differ only in case, spaces, leading zeros or the code of a "
            f"letter: {'; '.join(found)}. If they are the same class, give them the same name."
        )


def values_of(rows: datasets.Dataset, column: str, where: str) -> list[Any]:
    """Return the values of a column; `ValueError` if some are missing."""
    values = rows.select_columns(column)[:][column]
    missing = sum(value is None or value == "" or value != value for value in values)  # NaN differs from itself
    if missing:
        raise ValueError(f"{missing} of {len(values)} clips of {where} have no {column!r}. Fill it in or remove them.")
    return values


def _class_name(value: Any, feature: Any, column: str, where: str) -> str:
    """The class name for a value of a column; `ValueError` if the value is not a class."""
    if isinstance(feature, datasets.ClassLabel):
        if value < 0:
            raise ValueError(f"{where}: the label -1 means that a clip has no label. Remove this split or its labels.")
        return feature.names[value]
    if not isinstance(feature, datasets.Value) or not feature.dtype.startswith(("int", "uint", "string", "large_str")):
        raise ValueError(
            f"{where}: {column!r} holds {feature}, but a label is one name or whole number for each clip, or a list "
            "of them."
        )
    return str(value)


def _classes(features: Sequence[Any], names: Iterable[Sequence[str]]) -> list[str]:
    """The class names in order: the order of the feature if all splits have the same, or else sorted."""
    if isinstance(features[0], datasets.ClassLabel) and all(feature == features[0] for feature in features):
        return features[0].names
    are_numbers = all(getattr(feature, "dtype", "").startswith(("int", "uint")) for feature in features)
    are_numbers = are_numbers and not any(isinstance(feature, datasets.ClassLabel) for feature in features)
    return sorted(set().union(*names), key=int if are_numbers else None)
