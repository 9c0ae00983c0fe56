# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Data sets of clips, labelled or not: where they come from, and which of their clips can be read."""

import logging
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.csv
import pyarrow.json

from .audio import AUDIO_EXTENSIONS
from .events import is_events, merge_events, read_event_lists, read_events
from .labels import find_label_column, listed, read_class_columns, read_classes, read_one_class, values_of
from .readable import clip_paths


logger = logging.getLogger(__name__)


_METADATA_READERS: dict[str, Callable[[Path], pa.Table]] = {
    "metadata.csv": partial(pyarrow.csv.read_csv, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True)),
    "metadata.jsonl": pyarrow.json.read_json,
}

_SPLIT_OF_FOLDER = {word: str(split) for split, words in datasets.data_files.SPLIT_KEYWORDS.items() for word in words}

# Parts of a local data set that is streamed. Processes and workers beyond that number share them.
_STREAM_SHARDS = 256

_CHUNK_SUFFIX = re.compile(r"([-_ .](chunk|part|segment|seg|clip|slice)[-_ ]?\d+)+$", re.IGNORECASE)


def load_clips(
    dataset: str | os.PathLike | datasets.Dataset | datasets.DatasetDict,
    *,
    audio_column: str = "audio",
    label_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    label_separator: str | None = None,
    group_column: str | None = None,
    fold_column: str | None = None,
    seed: int = 42,
) -> datasets.DatasetDict:
    """
    Load a data set of labelled clips. No audio is decoded.

    Args:
        dataset: one of

            - `"ragas"`, the set that this package synthesises;
            - a folder written by `save_to_disk`;
            - a folder with `metadata.csv` or `metadata.jsonl`, whose `file_name` column holds paths relative to it;
            - a folder with parquet files in `data/`, as `polyaudio dataset build` and `push_to_hub` make them;
            - a folder with a folder of audio files for each class;
            - the name of a dataset on the Hugging Face Hub;
            - a loaded dataset with the same columns.

            Folders of audio files and of metadata may be divided into `train`, `validation` and `test` folders.
        audio_column: the column with the audio.
        label_column: the column with the class of each clip, as class index, number or name, or with a list of its
            classes. Where it is not given, the only column with a usual name (`label`, `raga`, `class` ...) is taken,
            or else the only column of classes, or else the only column of text. Data with the columns `onset` and
            `offset` has an event in each row: its class in this column, its times in seconds in the others. The rows
            of a file become one clip; a row with nothing but its file is a clip without events.
        label_columns: instead of `label_column`, columns of 0 and 1, each of which is named like a class.
        label_separator: what stands between several classes in the text of `label_column`.
        group_column: the column that tells which recording a clip comes from. Where it is not given, a column
            `recording` is taken, or else the path of the clip without its extension and a suffix such as `_chunk3`,
            `-part02`, `_seg4`, `_clip7` or `_slice1`.
        fold_column: the column that tells which fold of a cross-validation a clip belongs to.
        seed: seed of the synthesised set.

    Returns:
        The splits, with the columns `audio` (`Audio(decode=False)`), `label`, `recording` (string) and, where
        `fold_column` is given, `fold` (string). The feature of `label`, the same in all splits, is `ClassLabel` for
        one class a clip, `List(ClassLabel)` for any number, and for events a list of `onset`, `offset` (float64,
        seconds) and `label` (`ClassLabel`). Data without splits is `train`.

    Raises:
        ValueError: there is no such data set, a column is missing or cannot be told, or a clip has no label or group.
    """
    if label_columns and (label_column or label_separator):
        raise ValueError("label_columns stand for all labels: leave out label_column and label_separator.")
    clips, dataset = _load(dataset, seed), name_of(dataset)
    features = next(iter(clips.values())).features
    if group_column is None and all("recording" in split.column_names for split in clips.values()):
        group_column = "recording"
    if label_column is None and not label_columns:
        label_column = find_label_column(features, dataset, {audio_column, group_column, fold_column})
    wanted = [("audio_column", audio_column), ("group_column", group_column), ("fold_column", fold_column)]
    wanted += [("label_column", label_column), *(("label_columns", column) for column in label_columns or ())]
    for split, rows in clips.items():
        for argument, column in wanted:
            if column is not None and column not in rows.column_names:
                raise ValueError(
                    f"{dataset} has no column {column!r} in split {split}; its columns are "
                    f"{listed(rows.column_names)}. Pass another `{argument}`."
                )
    if label_columns:
        label, values = read_class_columns(clips, label_columns, dataset)
    elif all({"onset", "offset"} <= set(rows.column_names) for rows in clips.values()):
        clips = datasets.DatasetDict(
            {
                split: merge_events(rows, audio_column, label_column, f"{dataset}, split {split}")
                for split, rows in clips.items()
            }
        )
        label, values = read_events(clips, label_column, dataset)
    elif is_events(features[label_column]):
        label, values = read_event_lists(clips, label_column, dataset)
    elif label_separator is not None or isinstance(features[label_column], datasets.List):
        label, values = read_classes(clips, label_column, dataset, label_separator)
    else:
        label, values = read_one_class(clips, label_column, dataset)

    audio = datasets.DatasetDict({split: _only_audio(rows, audio_column) for split, rows in clips.items()})
    recordings = _recordings_from_paths(audio) if group_column is None else _texts(clips, group_column, dataset)
    folds = None if fold_column is None else _texts(clips, fold_column, dataset)
    for split, rows in audio.items():
        rows = rows.add_column("label", values[split], feature=label)
        rows = rows.add_column("recording", recordings[split], feature=datasets.Value("string"))
        if folds is not None:
            rows = rows.add_column("fold", folds[split], feature=datasets.Value("string"))
        audio[split] = rows
    return audio


def load_recordings(
    dataset: str | os.PathLike | datasets.Dataset | datasets.DatasetDict,
    *,
    audio_column: str = "audio",
    split: str = "train",
    streaming: bool = False,
    seed: int = 42,
) -> datasets.Dataset | datasets.IterableDataset:
    """
    Load a data set of clips without labels. No audio is decoded.

    Args:
        dataset: what `load_clips` takes. Labels are neither needed nor looked at: the audio files of a folder may lie
            in it or at any depth below it.
        audio_column: the column with the audio.
        split: the split to load. Data without splits is `train`.
        streaming: give a stream of clips. Those of a set on the Hub are fetched as they are read; those that are here
            come in a random order.
        seed: seed of the synthesised set and of that order.

    Returns:
        The clips, with the one column `audio` (`Audio(decode=False)`).

    Raises:
        ValueError: there is no such data set, split or column, the column holds no audio, or there are no clips.
    """
    splits = _load(dataset, seed, labelled=False, streaming=streaming)
    dataset = name_of(dataset)
    if split not in splits:
        raise ValueError(f"{dataset} has no split {split!r}, only {listed(splits)}. Pass another `split`.")
    rows = splits[split]
    where = f"{dataset}, split {split}"
    if isinstance(rows, datasets.IterableDataset):
        return _only_audio_of_stream(rows, audio_column, where)
    _check_audio_column(rows.features, audio_column, where)
    if len(rows) == 0:
        raise ValueError(f"{where}, has no clips.")
    rows = _only_audio(rows, audio_column)
    return _as_stream(rows, seed) if streaming else rows


def _check_audio_column(features: Mapping[str, Any], column: str, where: str) -> None:
    if column not in features:
        raise ValueError(
            f"{where}, has no column {column!r}; its columns are {listed(features)}. Pass another `audio_column`."
        )
    feature = features[column]
    is_file = getattr(feature, "dtype", None) in ("string", "large_string", "binary", "large_binary")
    if not is_file and not isinstance(feature, datasets.Audio | dict | None):
        raise ValueError(f"{where}: {column!r} holds {feature}, which is no audio. Pass another `audio_column`.")


def _only_audio(rows: datasets.Dataset, audio_column: str) -> datasets.Dataset:
    rows = rows.select_columns(audio_column)
    if audio_column != "audio":
        rows = rows.rename_column(audio_column, "audio")
    return rows.cast_column("audio", datasets.Audio(decode=False))


def _only_audio_of_stream(rows: datasets.IterableDataset, audio_column: str, where: str) -> datasets.IterableDataset:
    # Some formats tell their columns only by their rows
    _check_audio_column(rows.features or dict.fromkeys(next(iter(rows), ())), audio_column, where)
    rows = rows.select_columns(audio_column)
    if audio_column != "audio":
        rows = rows.rename_column(audio_column, "audio")
    rows = rows.cast(datasets.Features({"audio": datasets.Audio(decode=False)}))
    try:
        is_empty = next(iter(rows), None) is None
    except ImportError as error:  # of loose audio files, for want of torchcodec
        raise ValueError(
            f"{where}, cannot be streamed: {error} Without torchcodec, download its files and pass their folder."
        ) from error
    if is_empty:
        raise ValueError(f"{where}, has no clips.")
    return rows


def _as_stream(rows: datasets.Dataset, seed: int) -> datasets.IterableDataset:
    shards = min(len(rows), _STREAM_SHARDS)
    rows = rows.shuffle(seed=seed, keep_in_memory=True)
    if not rows.cache_files:
        # A shard takes every chunk of the table that it touches along to a worker, so the chunks must not be larger
        rows = rows.flatten_indices(keep_in_memory=True, writer_batch_size=-(-len(rows) // shards))
    return rows.to_iterable_dataset(num_shards=shards)


def name_of(dataset: str | os.PathLike | datasets.Dataset | datasets.DatasetDict) -> str:
    """What a dataset is called in messages and on cards: its path or Hub name, or what is known of a loaded one."""
    if isinstance(dataset, datasets.DatasetDict):
        return name_of(next(iter(dataset.values())))
    if isinstance(dataset, datasets.Dataset):
        return dataset.info.dataset_name or "a loaded dataset"
    return os.fspath(dataset)


def _load(
    dataset: str | os.PathLike | datasets.Dataset | datasets.DatasetDict,
    seed: int,
    *,
    labelled: bool = True,
    streaming: bool = False,
) -> datasets.DatasetDict | datasets.IterableDatasetDict:
    """The splits of a data set; those of a set on the Hub as streams where `streaming` asks for it."""
    if isinstance(dataset, datasets.DatasetDict):
        return dataset
    if isinstance(dataset, datasets.Dataset):
        return datasets.DatasetDict(train=dataset)
    dataset = os.fspath(dataset)
    if dataset == "ragas":
        from .ragas import build_ragas

        return build_ragas(seed)
    folder = Path(dataset)
    if not folder.is_dir():
        try:
            loaded = datasets.load_dataset(dataset, **({"streaming": True} if streaming else {}))
        except (FileNotFoundError, ConnectionError) as error:  # what is not on the Hub is a FileNotFoundError too
            raise ValueError(
                f"{dataset!r} is neither 'ragas' nor a folder, and the Hugging Face Hub does not give it: {error}"
            ) from error
        except datasets.exceptions.DatasetGenerationError as error:  # of loose audio files, for want of torchcodec
            raise ValueError(
                f"The data set {dataset!r} cannot be built: {error.__cause__ or error} Without torchcodec, download "
                f"its files and pass their folder: `hf download {dataset} --repo-type dataset --local-dir FOLDER`."
            ) from error
    elif (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        loaded = datasets.load_from_disk(folder)
    elif any(folder.glob("data/*.parquet")):
        try:
            loaded = datasets.load_dataset(str(folder))
        except datasets.exceptions.DatasetGenerationError as error:
            raise ValueError(
                f"The parquet files of {folder} cannot be read: {error.__cause__ or error}. Build or download them "
                "again."
            ) from error
    else:
        loaded = _load_audio_folder(folder, labelled)
    return loaded if isinstance(loaded, dict) else datasets.DatasetDict(train=loaded)


def _load_audio_folder(folder: Path, labelled: bool) -> datasets.DatasetDict:
    """
    Read a folder as the `audiofolder` builder of `datasets` does.

    That builder itself needs torchcodec, even where nothing is decoded, and takes every file with "train" or "test" in
    its path for a split, so that a class of trains swallows the others. Here only the folders right below `folder` are
    splits, and only if all of them are. Where clips need no label, files beside these folders speak against it too.
    """
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    has_splits = bool(subfolders) and all(path.name.lower() in _SPLIT_OF_FOLDER for path in subfolders)
    if not labelled and any(path.suffix.lower() in AUDIO_EXTENSIONS for path in folder.iterdir()):
        has_splits = False
    metadata = _read_metadata(folder)
    if metadata is not None or not has_splits:
        return datasets.DatasetDict(train=_load_split(folder, metadata, labelled))
    splits = defaultdict(list)
    for path in subfolders:
        splits[_SPLIT_OF_FOLDER[path.name.lower()]].append(path)
    double = [paths for paths in splits.values() if len(paths) > 1]
    if double:
        raise ValueError(f"{listed(map(str, double[0]))} are the same split. Put their files into one folder.")
    return datasets.DatasetDict(
        {split: _load_split(path, _read_metadata(path), labelled) for split, (path,) in splits.items()}
    )


def _load_split(folder: Path, metadata: pa.Table | None, labelled: bool) -> datasets.Dataset:
    """Clips with their paths, as strings, in the column `audio`."""
    if metadata is not None:
        return datasets.Dataset(metadata)
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO_EXTENSIONS
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if files and not labelled:
        return datasets.Dataset.from_dict({"audio": list(map(str, files))})
    loose = [path for path in files if path.parent == folder]
    if not files or loose:
        found = f"{loose[0]} lies outside a class folder" if loose else f"{folder} holds no audio files"
        raise ValueError(
            f"{found}. A data folder needs a folder of audio files for each class, or a metadata.csv or "
            "metadata.jsonl with a `file_name` column."
        )
    labels = [path.relative_to(folder).parts[0] for path in files]
    return datasets.Dataset.from_dict({"audio": list(map(str, files)), "label": labels})


def _read_metadata(folder: Path) -> pa.Table | None:
    """The metadata table of a folder with the paths of the files in the column `audio`; None where there is none."""
    found = [folder / name for name in _METADATA_READERS if (folder / name).is_file()]
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(f"{folder} holds both {found[0].name} and {found[1].name}. Keep one of them.")
    try:
        table = _METADATA_READERS[found[0].name](found[0])
    except pa.ArrowInvalid as error:
        raise ValueError(f"{found[0]} cannot be read: {error}") from error
    names = table["file_name"].to_pylist() if "file_name" in table.column_names else []
    if not names or "audio" in table.column_names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(
            f"{found[0]} needs a path in every row of a column `file_name`, and no column `audio`; its columns are "
            f"{listed(table.column_names)}."
        )
    for name in names:
        # A data set of somebody else must not make this machine read, and publish, a file outside of it.
        if os.path.isabs(name) or os.path.normpath(name).split(os.sep)[0] == ".." or "://" in name:
            raise ValueError(f"{found[0]} names {name!r}. Only relative paths to files inside {folder} are read.")
    return table.drop_columns("file_name").append_column("audio", pa.array([str(folder / name) for name in names]))


def _texts(clips: datasets.DatasetDict, column: str, dataset: str) -> dict[str, list[str]]:
    return {
        split: list(map(str, values_of(rows, column, f"{dataset}, split {split}"))) for split, rows in clips.items()
    }


def _recordings_from_paths(clips: datasets.DatasetDict) -> dict[str, list[str]]:
    """Paths relative to the folder that holds all the files and to the split's folder, without a chunk's suffix."""
    paths = {
        split: [path and PurePosixPath(path.lstrip("/")) for path in clip_paths(rows)] for split, rows in clips.items()
    }
    folders = {path.parent for split in paths.values() for path in split if path}
    root = os.path.commonpath(folders) if folders else ""

    def recording(path: PurePosixPath) -> str:
        parts = path.relative_to(root).with_suffix("").parts
        # Chunks of one recording must be found out where they stand in different splits.
        if len(clips) > 1 and len(parts) > 1 and parts[0].lower() in _SPLIT_OF_FOLDER:
            parts = parts[1:]
        return _CHUNK_SUFFIX.sub("", "/".join(parts))

    unknown = sum(path is None for split in paths.values() for path in split)
    if unknown:
        logger.warning(
            f"{unknown} clips tell neither their recording nor their file, so each is taken for a recording of its "
            "own. If several were cut from one recording, pass the column that tells which (`group_column`)."
        )
    return {
        split: [recording(path) if path else f"{split}/{row}" for row, path in enumerate(split_paths)]
        for split, split_paths in paths.items()
    }
