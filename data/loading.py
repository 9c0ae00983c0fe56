# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Loads datasets of clips, with or without labels, from folders, the Hub or memory."""

import logging
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import datasets
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.json

from . import ragas
from .audio import AUDIO_EXTENSIONS
from .borders import Border, border_of_folder, border_of_hub, hub_audio_only
from .events import is_events, merge_events, read_event_lists, read_events
from .given import add_given, check_given
from .labels import (
    class_names,
    find_label_column,
    listed,
    read_class_columns,
    read_classes,
    read_one_class,
    values_of,
    warn_of_similar,
)
from .raga_collections import PREFIX, is_collection, load_collection
from .readable import clip_paths


logger = logging.getLogger(__name__)


_SPLIT_OF_FOLDER = {word: str(split) for split, words in datasets.data_files.SPLIT_KEYWORDS.items() for word in words}

# Number of shards of a local dataset that is streamed. More processes and workers than that share shards.
_STREAM_SHARDS = 256

# Columns that are kept beside the audio, the label and the recording. A pitch track is a file, which only a collection
# may name.
_KEPT = ("tonic", "artist", "concert")
_KEPT_OF_COLLECTIONS = (*_KEPT, "pitch_path")

_CHUNK_SUFFIX = re.compile(r"([-_ .](chunk|part|segment|seg|clip|slice)[-_ ]?\d+)+$", re.IGNORECASE)


def load_clips(
    dataset: str | os.PathLike | datasets.Dataset | datasets.DatasetDict,
    *,
    audio_column: str = "audio",
    label_column: str | None = None,
    label_columns: Sequence[str] | None = None,
    label_separator: str | None = None,
    group_column: str | None = None,
    group_by: str | None = None,
    fold_column: str | None = None,
    data_home: str | os.PathLike | None = None,
    given: str | None = None,
    seed: int = 42,
) -> datasets.DatasetDict:
    """
    Load a dataset of labelled clips. No audio is decoded.

    Args:
        dataset: one of

            - `"ragas"`, the dataset that this package synthesises;
            - `"mirdata:"` and the name of a collection of ragas, see `load_collection`;
            - a folder written by `save_to_disk`;
            - a folder with `metadata.csv` or `metadata.jsonl`, whose column `file_name` has paths, relative to it or
              absolute;
            - a parquet file, or a folder with parquet files, of which those in `data/` can be divided into splits, as
              `polyaudio dataset build` and `push_to_hub` write them;
            - a folder with a folder of audio files for each class;
            - the name of a dataset on the Hugging Face Hub;
            - a loaded dataset with the same columns.

            Folders of audio files and of metadata may be divided into `train`, `validation` and `test` folders. Audio
            outside the folder of a dataset is not read, except below the folders of the environment variable
            `POLYAUDIO_AUDIO_ROOTS`. Audio outside of parquet files and of datasets on the Hub is never read.
        audio_column: the column with the audio.
        label_column: the column with the class of each clip, as class index, number or name, or with a list of its
            classes. The default is the only column with a usual name (`label`, `raga`, `class` ...), or else the only
            column of classes, or else the only column of text. A dataset with the columns `onset` and `offset` has an
            event in each row: its class in this column, its times in seconds in the others. The rows with the same
            file become one clip. A row with only a file is a clip without events.
        label_columns: instead of `label_column`, a column of 0 and 1 for each class, with the name of the class.
        label_separator: the string between several classes in the text of `label_column`.
        group_column: the column with the recording that each clip comes from. The default is the column `recording`,
            or else the path of the clip without its extension and without a suffix such as `_chunk3`, `-part02`,
            `_seg4`, `_clip7` or `_slice1`.
        group_by: the column whose values splits and folds keep together, for instance `concert` or `artist`; with
            `"recording"`, only recordings are kept together. The default is the column `group` if there is one.
        fold_column: the column with the cross-validation fold of each clip.
        data_home: the folder of a collection, for mirdata.
        given: what the model gets from the dataset instead of finding it in the audio: `"tonic"`, from the column
            `tonic` (Hz); `"pitch"`, the tonic and the pitch of the melody, from the files that the column `pitch_path`
            of a collection names; or `"pitch-only"` for these alone, without audio.
        seed: seed of the synthesised dataset.

    Returns:
        The splits, with the columns `audio` (`Audio(decode=False)`), `label`, `recording` (string), with
        `fold_column` `fold` (string), and with `group_by` `group` (string). Columns of the dataset with the names
        `tonic`, `artist` and `concert` are kept, and `pitch_path` of a collection. With `given` there are
        `given_tonic` and `given_pitch`, see `add_given`; without audio, `audio` has the path of the pitch track. The
        feature of `label`, the same in all splits, is `ClassLabel` for one class a clip, `List(ClassLabel)` for any
        number of classes, and for events a list of `onset`, `offset` (float64, seconds) and `label` (`ClassLabel`). A
        dataset without splits becomes the split `train`.

    Raises:
        ValueError: the dataset does not exist or names audio outside its folder, a column is missing or could be one
            of several, a clip has no label or group, or the clips of a recording belong to several groups.
    """
    if label_columns and (label_column or label_separator):
        raise ValueError("Leave out label_column and label_separator if you pass label_columns.")
    check_given(given)
    if given == "pitch-only":
        audio_column = "pitch_path"
    loaded, dataset = _load(dataset, seed, data_home=data_home, given=given), name_of(dataset)
    columns = _choose_columns(
        _Columns(audio_column, label_column, tuple(label_columns or ()), group_column, group_by, fold_column),
        loaded.splits,
        dataset,
    )
    clips, label, values = _read_labels(loaded.splits, columns, label_separator, dataset)
    warn_of_similar(class_names(label), dataset)
    audio = datasets.DatasetDict(
        {split: loaded.audio(rows, audio_column, f"{dataset}, split {split}") for split, rows in clips.items()}
    )
    texts = _read_texts(clips, audio, columns, dataset)
    kept = _KEPT_OF_COLLECTIONS if is_collection(dataset) else _KEPT
    for split, rows in audio.items():
        rows = rows.add_column("label", values[split], feature=label)
        for column, texts_of in texts.items():
            rows = rows.add_column(column, texts_of[split], feature=datasets.Value("string"))
        audio[split] = _with_columns(rows, clips, split, kept)
    return audio if given is None else add_given(audio, clips, given, dataset)


class _Columns(NamedTuple):
    """The columns of a dataset, by the arguments of `load_clips`."""

    audio_column: str
    label_column: str | None
    label_columns: tuple[str, ...]
    group_column: str | None
    group_by: str | None
    fold_column: str | None

    def check(self, clips: datasets.DatasetDict, dataset: str) -> None:
        """Raises `ValueError` if a column is missing in a split."""
        for split, rows in clips.items():
            for argument, value in self._asdict().items():
                for column in value if argument == "label_columns" else [value]:
                    if column is not None and column not in rows.column_names:
                        raise ValueError(
                            f"{dataset} has no column {column!r} in split {split}; its columns are "
                            f"{listed(rows.column_names)}. Pass another `{argument}`."
                        )


def _choose_columns(columns: _Columns, clips: datasets.DatasetDict, dataset: str) -> _Columns:
    """The columns with the defaults that depend on the dataset. Raises `ValueError` if one is missing."""
    in_all = set.intersection(*(set(rows.column_names) for rows in clips.values()))
    if columns.group_column is None and "recording" in in_all:
        columns = columns._replace(group_column="recording")
    if columns.group_by is None and "group" in in_all:
        columns = columns._replace(group_by="group")
    elif columns.group_by == "recording":
        columns = columns._replace(group_by=None)
    if columns.label_column is None and not columns.label_columns:
        features = next(iter(clips.values())).features
        others = {columns.audio_column, columns.group_column, columns.group_by, columns.fold_column}
        columns = columns._replace(label_column=find_label_column(features, dataset, others))
    columns.check(clips, dataset)
    return columns


def _read_labels(
    clips: datasets.DatasetDict, columns: _Columns, label_separator: str | None, dataset: str
) -> tuple[datasets.DatasetDict, Any, Mapping[str, list[Any]]]:
    """The clips (of events, a row for each clip), the feature of their labels, and the labels of each split."""
    column = columns.label_column
    if column is None:
        return clips, *read_class_columns(clips, columns.label_columns, dataset)
    if all({"onset", "offset"} <= set(rows.column_names) for rows in clips.values()):
        merged = {
            split: merge_events(rows, columns.audio_column, column, f"{dataset}, split {split}")
            for split, rows in clips.items()
        }
        clips = datasets.DatasetDict(merged)
        return clips, *read_events(clips, column, dataset)
    feature = next(iter(clips.values())).features[column]
    if is_events(feature):
        return clips, *read_event_lists(clips, column, dataset)
    if label_separator is not None or isinstance(feature, datasets.List):
        return clips, *read_classes(clips, column, dataset, label_separator)
    return clips, *read_one_class(clips, column, dataset)


def _read_texts(
    clips: datasets.DatasetDict, audio: datasets.DatasetDict, columns: _Columns, dataset: str
) -> dict[str, dict[str, list[str]]]:
    """The recording of each clip, its fold and its group, by column and split."""
    group_column = columns.group_column
    recordings = _recordings_from_paths(audio) if group_column is None else _texts(clips, group_column, dataset)
    texts = {"recording": recordings}
    if columns.fold_column is not None:
        texts["fold"] = _texts(clips, columns.fold_column, dataset)
    if columns.group_by is not None:
        texts["group"] = _texts(clips, columns.group_by, dataset)
        _check_groups(recordings, texts["group"], dataset)
    return texts


def load_recordings(
    dataset: str | os.PathLike | datasets.Dataset | datasets.DatasetDict,
    *,
    audio_column: str = "audio",
    split: str = "train",
    streaming: bool = False,
    keep_columns: Sequence[str] = (),
    data_home: str | os.PathLike | None = None,
    seed: int = 42,
) -> datasets.Dataset | datasets.IterableDataset:
    """
    Load a dataset of clips without labels. No audio is decoded.

    Args:
        dataset: as for `load_clips`. Labels are ignored, so the audio files of a folder may be at any depth below it.
        audio_column: the column with the audio.
        split: the split to load. A dataset without splits has only `train`.
        streaming: return a stream of clips. Clips on the Hub are fetched as they are read. Local clips come in a
            random order.
        keep_columns: other columns to keep.
        data_home: the folder of a collection, for mirdata.
        seed: seed of the synthesised dataset and of that order.

    Returns:
        The clips, with only the column `audio` (`Audio(decode=False)`) and the kept ones.

    Raises:
        ValueError: the dataset, the split or the column does not exist, the column has no audio, there are no clips,
            or the dataset names audio outside its folder.
    """
    loaded = _load(dataset, seed, labelled=False, streaming=streaming, data_home=data_home)
    dataset = name_of(dataset)
    if split not in loaded.splits:
        raise ValueError(f"{dataset} has no split {split!r}, only {listed(loaded.splits)}. Pass another `split`.")
    rows = loaded.splits[split]
    where = f"{dataset}, split {split}"
    if isinstance(rows, datasets.IterableDataset):
        return _only_audio_of_stream(rows, audio_column, where, keep_columns)
    _check_audio_column(rows.features, audio_column, where)
    _check_kept(rows.column_names, keep_columns, where)
    if len(rows) == 0:
        raise ValueError(f"{where}, has no clips.")
    rows = loaded.audio(rows, audio_column, where, keep_columns)
    return _as_stream(rows, seed) if streaming else rows


def name_of(dataset: str | os.PathLike | datasets.Dataset | datasets.DatasetDict) -> str:
    """Return the name of a dataset for messages and cards: its path or Hub name, or the name of a loaded dataset."""
    if isinstance(dataset, datasets.DatasetDict):
        return name_of(next(iter(dataset.values())))
    if isinstance(dataset, datasets.Dataset):
        return dataset.info.dataset_name or "a loaded dataset"
    return os.fspath(dataset)


def _check_audio_column(features: Mapping[str, Any], column: str, where: str) -> None:
    """Raises `ValueError` if a column is missing or cannot hold audio."""
    if column not in features:
        raise ValueError(
            f"{where}, has no column {column!r}; its columns are {listed(features)}. Pass another `audio_column`."
        )
    feature = features[column]
    is_file = getattr(feature, "dtype", None) in ("string", "large_string", "binary", "large_binary")
    if not is_file and not isinstance(feature, datasets.Audio | dict | None):
        raise ValueError(f"{where}: {column!r} holds {feature}, which is not audio. Pass another `audio_column`.")


def _check_kept(columns: Sequence[str], keep_columns: Sequence[str], where: str) -> None:
    missing = [name for name in keep_columns if name not in columns or name == "audio"]
    if missing:
        raise ValueError(
            f"{where}, has no column {missing[0]!r} to keep; its columns are {listed(columns)}. Change `keep_columns`."
        )


def _only_audio(rows: datasets.Dataset, audio_column: str, keep_columns: Sequence[str] = ()) -> datasets.Dataset:
    # Cast first: after that of selected columns, datasets 5.2 adds no column to rows that were selected from a file
    rows = rows.cast_column(audio_column, datasets.Audio(decode=False)).select_columns([audio_column, *keep_columns])
    return rows if audio_column == "audio" else rows.rename_column(audio_column, "audio")


def _only_audio_of_stream(
    rows: datasets.IterableDataset, audio_column: str, where: str, keep_columns: Sequence[str] = ()
) -> datasets.IterableDataset:
    # With some formats, the columns are only known from the rows
    columns = rows.features or dict.fromkeys(next(iter(rows), ()))
    _check_audio_column(columns, audio_column, where)
    _check_kept(list(columns), keep_columns, where)
    if keep_columns and rows.features is None:
        raise ValueError(f"{where}, does not say what its columns hold. Leave out `keep_columns`, or do not stream.")
    kept = {name: columns[name] for name in keep_columns}
    rows = rows.select_columns([audio_column, *keep_columns])
    if audio_column != "audio":
        rows = rows.rename_column(audio_column, "audio")
    features = datasets.Features({"audio": datasets.Audio(decode=False), **kept})
    rows = rows.cast(features).map(hub_audio_only, features=features)
    try:
        is_empty = next(iter(rows), None) is None
    except ImportError as error:  # audio files without metadata need torchcodec
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
        # With a shard, a worker gets every chunk of the table that overlaps the shard, so chunks must not be larger
        rows = rows.flatten_indices(keep_in_memory=True, writer_batch_size=-(-len(rows) // shards))
    return rows.to_iterable_dataset(num_shards=shards)


class _Loaded(NamedTuple):
    """The splits of a dataset, and where their audio may be: anywhere in a dataset that the caller has loaded."""

    splits: datasets.DatasetDict | datasets.IterableDatasetDict
    border: Border | None = None

    def audio(
        self, rows: datasets.Dataset, audio_column: str, where: str, keep_columns: Sequence[str] = ()
    ) -> datasets.Dataset:
        """The column `audio` of a split, and kept ones. Raises `ValueError` if its audio is outside the border."""
        rows = _only_audio(rows, audio_column, keep_columns)
        if self.border is not None:
            self.border.check(rows, where)
        return rows


def _load(
    dataset: str | os.PathLike | datasets.Dataset | datasets.DatasetDict,
    seed: int,
    *,
    labelled: bool = True,
    streaming: bool = False,
    data_home: str | os.PathLike | None = None,
    given: str | None = None,
) -> _Loaded:
    """The splits of a dataset; with `streaming`, the splits of a dataset on the Hub are streams."""
    _check_pitch(dataset, given)
    if data_home is not None and not is_collection(dataset):
        raise ValueError(
            f"data_home (--data-home) is the folder of a collection whose name begins with {PREFIX}, which "
            f"{name_of(dataset)!r} is not. Leave it out."
        )
    if isinstance(dataset, datasets.DatasetDict):
        return _Loaded(dataset)
    if isinstance(dataset, datasets.Dataset):
        return _Loaded(datasets.DatasetDict(train=dataset))
    dataset = os.fspath(dataset)
    if ragas.is_ragas(dataset):
        return _Loaded(ragas.load_ragas(dataset, seed))
    if is_collection(dataset):
        table, home = load_collection(dataset, data_home, needs="pitch" if given == "pitch-only" else "audio")
        return _Loaded(datasets.DatasetDict(train=table), border_of_folder(home, is_open=True))
    folder = Path(dataset)
    if folder.suffix == ".parquet" and folder.is_file():
        border = border_of_folder(folder.parent, is_open=False)
        loaded = _load_parquet(folder, [folder])
    elif not folder.is_dir():
        border = border_of_hub()
        try:
            loaded = datasets.load_dataset(dataset, **({"streaming": True} if streaming else {}))
        except (FileNotFoundError, ConnectionError) as error:  # FileNotFoundError also if it is not on the Hub
            raise ValueError(
                f"{dataset!r} is neither 'ragas' nor a folder, and cannot be loaded from the Hugging Face Hub: {error}"
            ) from error
        except datasets.exceptions.DatasetGenerationError as error:  # audio files without metadata need torchcodec
            raise ValueError(
                f"The dataset {dataset!r} cannot be built: {error.__cause__ or error} Without torchcodec, download "
                f"its files and pass their folder: `hf download {dataset} --repo-type dataset --local-dir FOLDER`."
            ) from error
    elif (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        border = border_of_folder(folder, is_open=True)
        loaded = datasets.load_from_disk(folder)
    elif any(folder.glob("data/*.parquet")):
        border = border_of_folder(folder, is_open=False)
        loaded = _load_parquet(folder)
    elif any(folder.glob("*.parquet")) and not any(map(_is_of_audio_folder, folder.iterdir())):
        border = border_of_folder(folder, is_open=False)
        loaded = _load_parquet(folder, sorted(folder.glob("*.parquet")))
    else:
        border = border_of_folder(folder, is_open=True)
        loaded = _load_audio_folder(folder, labelled)
    return _Loaded(loaded if isinstance(loaded, dict) else datasets.DatasetDict(train=loaded), border)


def _check_pitch(dataset: str | os.PathLike | datasets.Dataset | datasets.DatasetDict, given: str | None) -> None:
    """Raise `ValueError` if pitch tracks are asked for and a dataset may not name them."""
    if given in (None, "tonic") or is_collection(dataset):
        return
    loaded = dataset if isinstance(dataset, datasets.DatasetDict) else {"train": dataset}
    if not all(isinstance(rows, datasets.Dataset) and "pitch_path" in rows.column_names for rows in loaded.values()):
        raise ValueError(
            f"Only collections whose names begin with {PREFIX}, and datasets in memory with a column 'pitch_path', "
            f"have pitch tracks; {name_of(dataset)!r} has none. Set given (--given) to 'tonic', or leave it out."
        )


def _is_of_audio_folder(path: Path) -> bool:
    """Whether what is in a folder makes it one of audio files, with or without metadata."""
    if path.name.startswith("."):
        return False
    return path.is_dir() or path.stem == "metadata" or path.suffix.lower() in AUDIO_EXTENSIONS


def _load_parquet(folder: Path, files: Sequence[Path] = ()) -> Any:
    """The splits of parquet files: of these, or of a folder as `datasets` finds them."""
    try:
        if files:
            return datasets.load_dataset("parquet", data_files=list(map(str, files)))
        return datasets.load_dataset(str(folder))
    except datasets.exceptions.DatasetGenerationError as error:
        raise ValueError(
            f"The parquet files of {folder} cannot be read: {error.__cause__ or error}. Build or download them again."
        ) from error


def _load_audio_folder(folder: Path, labelled: bool) -> datasets.DatasetDict:
    """
    Read a folder as the `audiofolder` builder of `datasets` does.

    That builder needs torchcodec even if nothing is decoded, and it assigns every file with "train" or "test" in its
    path to a split, so a class named "train" would become the training split. Here the folders directly below
    `folder` are splits only if all of them have the name of a split and, for clips without labels, if there are no
    audio files beside them.
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
    """The clips of a folder, with their paths as strings in the column `audio`."""
    if metadata is not None:
        return datasets.Dataset(metadata)
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO_EXTENSIONS
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    unnamed = [path for path in files if not _is_utf8(str(path))]
    if unnamed:
        raise ValueError(f"The name of {str(unnamed[0])!r} is not UTF-8, which datasets need. Rename it.")
    if files and not labelled:
        return datasets.Dataset.from_dict({"audio": list(map(str, files))})
    loose = [path for path in files if path.parent == folder]
    if not files or loose:
        found = f"{loose[0]} lies outside a class folder" if loose else f"{folder} holds no audio files"
        raise ValueError(
            f"{found}. A dataset folder needs a folder of audio files for each class, or a metadata.csv or "
            "metadata.jsonl with a `file_name` column."
        )
    labels = [path.relative_to(folder).parts[0] for path in files]
    return datasets.Dataset.from_dict({"audio": list(map(str, files)), "label": labels})


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # Python's stand-in for bytes of other encodings
        return False
    return True


def _read_metadata(folder: Path) -> pa.Table | None:
    """The metadata table of a folder, with the paths of the files in the column `audio`; `None` without metadata."""
    readers = {"metadata.csv": _read_csv, "metadata.jsonl": pyarrow.json.read_json}
    found = [folder / name for name in readers if (folder / name).is_file()]
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(f"{folder} holds both {found[0].name} and {found[1].name}. Keep one of them.")
    try:
        table = readers[found[0].name](found[0])
    except pa.ArrowInvalid as error:
        raise ValueError(f"{found[0]} cannot be read: {error}") from error
    names = table["file_name"].to_pylist() if "file_name" in table.column_names else []
    if not names or "audio" in table.column_names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(
            f"{found[0]} needs a path in every row of a column `file_name`, and no column `audio`; its columns are "
            f"{listed(table.column_names)}."
        )
    return table.drop_columns("file_name").append_column(
        "audio", pa.array([os.path.join(folder, name) for name in names])
    )


def _read_csv(path: Path) -> pa.Table:
    """Read a CSV file. Whole numbers that are written in more than one way, such as `1` and `01`, stay text."""
    options = pyarrow.csv.ParseOptions(newlines_in_values=True)
    table = pyarrow.csv.read_csv(path, parse_options=options)
    kinds = {field.name: pa.string() for field in table.schema if pa.types.is_integer(field.type)}
    text = pyarrow.csv.read_csv(
        path, parse_options=options, convert_options=pyarrow.csv.ConvertOptions(column_types=kinds)
    )
    for name in kinds:
        numbers = table[name].cast(pa.string())
        if not pyarrow.compute.all(pyarrow.compute.equal(numbers, text[name])).as_py():  # where there is a number
            table = table.set_column(table.column_names.index(name), name, text[name])
    return table


def _texts(clips: datasets.DatasetDict, column: str, dataset: str) -> dict[str, list[str]]:
    return {
        split: list(map(str, values_of(rows, column, f"{dataset}, split {split}"))) for split, rows in clips.items()
    }


def _check_groups(recordings: dict[str, list[str]], groups: dict[str, list[str]], dataset: str) -> None:
    """Raises `ValueError` if the clips of a recording belong to several groups."""
    groups_of = defaultdict(set)
    for split, names in recordings.items():
        for recording, group in zip(names, groups[split], strict=True):
            groups_of[recording].add(group)
    divided = [recording for recording, own in groups_of.items() if len(own) > 1]
    if divided:
        raise ValueError(
            f"{dataset} has recordings with clips in several groups: {listed(divided)}. Correct the column that "
            "`group_by` names, or the recordings (`group_column`)."
        )


def _with_columns(
    rows: datasets.Dataset, clips: datasets.DatasetDict, split: str, columns: Sequence[str]
) -> datasets.Dataset:
    """The rows with more columns of the split, as far as these are of the same kind in all splits."""
    features = [part.features for part in clips.values()]
    for column in columns:
        kinds = [own.get(column) for own in features]
        if kinds[0] is not None and all(kind == kinds[0] for kind in kinds) and column not in rows.column_names:
            rows = rows.add_column(column, clips[split][column][:], feature=kinds[0])
    return rows


def _recordings_from_paths(clips: datasets.DatasetDict) -> dict[str, list[str]]:
    """
    The recordings of clips: paths within the common and the split folder, without the suffix of a chunk.

    Clips of different splits belong to one recording only if they are different chunks of it. Where a name is in two
    splits, such as `train/dog/1.wav` and `test/dog/1.wav`, each split has counted for itself, and the split becomes a
    part of the recording.
    """
    paths = {
        split: [PurePosixPath(path.lstrip("/")) if path else None for path in clip_paths(rows)]
        for split, rows in clips.items()
    }
    folders = {path.parent for split in paths.values() for path in split if path}
    root = os.path.commonpath(folders) if folders else ""

    def name(path: PurePosixPath) -> str:
        parts = path.relative_to(root).with_suffix("").parts
        if len(clips) > 1 and len(parts) > 1 and parts[0].lower() in _SPLIT_OF_FOLDER:
            parts = parts[1:]
        return "/".join(parts)

    names = {
        split: [None if path is None else name(path) for path in split_paths] for split, split_paths in paths.items()
    }
    unknown = sum(name is None for split in names.values() for name in split)
    if unknown:
        logger.warning(
            f"{unknown} clips have neither a recording nor a path, so each counts as a recording of its own. If "
            "several were cut from one recording, pass the column with their recordings (`group_column`)."
        )
    splits_of = defaultdict(set)
    for split, split_names in names.items():
        for own in filter(None, split_names):
            splits_of[own].add(split)
    is_counted_apart = {_CHUNK_SUFFIX.sub("", own) for own, splits in splits_of.items() if len(splits) > 1}

    def recording(split: str, own: str) -> str:
        stem = _CHUNK_SUFFIX.sub("", own)
        return f"{split}/{stem}" if stem in is_counted_apart else stem

    return {
        split: [f"{split}/{row}" if own is None else recording(split, own) for row, own in enumerate(split_names)]
        for split, split_names in names.items()
    }
