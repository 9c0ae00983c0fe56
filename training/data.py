# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Data sets of clips, labelled or not: where they come from, how they are split, and how a DataLoader reads them."""

import itertools
import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import datasets
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import torch
from accelerate.data_loader import prepare_data_loader
from transformers import BatchFeature, SequenceFeatureExtractor

from .audio import AudioFile, AudioFileError, audio_info, decode_audio, load_audio


logger = logging.getLogger(__name__)

# What a folder is searched for. What soundfile cannot open of these needs torchcodec.
AUDIO_EXTENSIONS = frozenset(
    (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".m4a", ".mp4", ".aac", ".wma", ".webm")
)

_METADATA_READERS: dict[str, Callable[[Path], pa.Table]] = {
    "metadata.csv": partial(pyarrow.csv.read_csv, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True)),
    "metadata.jsonl": pyarrow.json.read_json,
}

_SPLIT_OF_FOLDER = {word: str(split) for split, words in datasets.data_files.SPLIT_KEYWORDS.items() for word in words}

# Columns that hold the label where nobody says which one does.
_LABEL_NAMES = ("label", "labels", "raga", "class", "category", "target", "genre")

# Parts of a local data set that is streamed. Processes and workers beyond that number share them.
_STREAM_SHARDS = 256

_CHUNK_SUFFIX = re.compile(r"([-_ .](chunk|part|segment|seg|clip|slice)[-_ ]?\d+)+$", re.IGNORECASE)


def load_clips(
    dataset: str,
    *,
    audio_column: str = "audio",
    label_column: str | None = None,
    group_column: str | None = None,
    seed: int = 42,
) -> datasets.DatasetDict:
    """
    Load a data set of labelled clips. No audio is decoded.

    Args:
        dataset: one of

            - `"ragas"`, the set that this package synthesises;
            - a folder written by `save_to_disk`;
            - a folder with `metadata.csv` or `metadata.jsonl`, whose `file_name` column holds paths relative to it;
            - a folder with a folder of audio files for each class;
            - the name of a data set on the Hugging Face Hub.

            The last two kinds of folder may be divided into `train`, `validation` and `test` folders.
        audio_column: the column with the audio.
        label_column: the column with the class of each clip, as class index, number or name. Where it is not given,
            the only column with a usual name (`label`, `raga`, `class` ...) is taken, or else the only column of
            classes, or else the only column of text.
        group_column: the column that tells which recording a clip comes from. Where it is not given, a column
            `recording` is taken, or else the path of the clip without its extension and a suffix such as `_chunk3`,
            `-part02`, `_seg4`, `_clip7` or `_slice1`.
        seed: seed of the synthesised set.

    Returns:
        The splits, with the columns `audio` (`Audio(decode=False)`), `label` (`ClassLabel`, the same in all splits)
        and `recording` (string). Data without splits is `train`.

    Raises:
        ValueError: there is no such data set, a column is missing or cannot be told, or a clip has no label or group.
    """
    clips = _load(dataset, seed)
    if group_column is None and all("recording" in split.column_names for split in clips.values()):
        group_column = "recording"
    if label_column is None:
        label_column = _find_label_column(clips, dataset, {audio_column, group_column})
    wanted = {"audio_column": audio_column, "label_column": label_column, "group_column": group_column}
    for split, rows in clips.items():
        for argument, column in wanted.items():
            if column is not None and column not in rows.column_names:
                raise ValueError(
                    f"{dataset} has no column {column!r} in split {split}; its columns are "
                    f"{_listed(rows.column_names)}. Pass another `{argument}`."
                )
    names = {split: _label_names(rows, label_column, f"{dataset}, split {split}") for split, rows in clips.items()}
    classes = _classes(clips, label_column, names)

    audio = datasets.DatasetDict({split: _only_audio(rows, audio_column) for split, rows in clips.items()})
    if group_column is None:
        recordings = _recordings_from_paths(audio)
    else:
        recordings = {split: _values(rows, group_column, f"{dataset}, split {split}") for split, rows in clips.items()}

    class_label = datasets.ClassLabel(names=classes)
    for split, rows in audio.items():
        rows = rows.add_column("label", class_label.str2int(names[split]), feature=class_label)
        names_of_recordings = list(map(str, recordings[split]))
        audio[split] = rows.add_column("recording", names_of_recordings, feature=datasets.Value("string"))
    return audio


def load_recordings(
    dataset: str,
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
    if split not in splits:
        raise ValueError(f"{dataset} has no split {split!r}, only {_listed(splits)}. Pass another `split`.")
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
            f"{where}, has no column {column!r}; its columns are {_listed(features)}. Pass another `audio_column`."
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


def _load(
    dataset: str, seed: int, *, labelled: bool = True, streaming: bool = False
) -> datasets.DatasetDict | datasets.IterableDatasetDict:
    """The splits of a data set; those of a set on the Hub as streams where `streaming` asks for it."""
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
        raise ValueError(f"{_listed(map(str, double[0]))} are the same split. Put their files into one folder.")
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
            f"{_listed(table.column_names)}."
        )
    for name in names:
        # A data set of somebody else must not make this machine read, and publish, a file outside of it.
        if os.path.isabs(name) or os.path.normpath(name).split(os.sep)[0] == ".." or "://" in name:
            raise ValueError(f"{found[0]} names {name!r}. Only relative paths to files inside {folder} are read.")
    return table.drop_columns("file_name").append_column("audio", pa.array([str(folder / name) for name in names]))


def _find_label_column(clips: datasets.DatasetDict, dataset: str, others: set[str | None]) -> str:
    features = next(iter(clips.values())).features
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
    raise ValueError(f"{found[0].upper()}{found[1:]}. Pass `label_column`, one of {_listed(free)}.")


def _values(rows: datasets.Dataset, column: str, where: str) -> list[Any]:
    values = rows.select_columns(column)[:][column]
    missing = sum(value is None or value == "" or value != value for value in values)  # NaN differs from itself
    if missing:
        raise ValueError(f"{missing} of {len(values)} clips of {where} have no {column!r}. Fill it in or remove them.")
    return values


def _label_names(rows: datasets.Dataset, column: str, where: str) -> list[str]:
    feature = rows.features[column]
    values = _values(rows, column, where)
    if isinstance(feature, datasets.ClassLabel):
        if min(values, default=0) < 0:
            raise ValueError(f"{where}: clips with the label -1 have no label. Remove this split or its labels.")
        return [feature.names[value] for value in values]
    if not isinstance(feature, datasets.Value) or not feature.dtype.startswith(("int", "uint", "string", "large_str")):
        raise ValueError(
            f"{where}: {column!r} holds {feature}, but a label is one name or whole number for each clip."
        )
    return list(map(str, values))


def _classes(clips: datasets.DatasetDict, label_column: str, names: Mapping[str, list[str]]) -> list[str]:
    features = [split.features[label_column] for split in clips.values()]
    if isinstance(features[0], datasets.ClassLabel) and all(feature == features[0] for feature in features):
        return features[0].names
    are_numbers = all(getattr(feature, "dtype", "").startswith(("int", "uint")) for feature in features)
    are_numbers = are_numbers and not any(isinstance(feature, datasets.ClassLabel) for feature in features)
    return sorted(set().union(*names.values()), key=int if are_numbers else None)


def _recordings_from_paths(clips: datasets.DatasetDict) -> dict[str, list[str]]:
    """Paths relative to the folder that holds all the files and to the split's folder, without a chunk's suffix."""
    paths = {
        split: [path and PurePosixPath(path.lstrip("/")) for path in _paths(rows)] for split, rows in clips.items()
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


def _paths(rows: datasets.Dataset) -> list[str | None]:
    # Through Arrow, because rows in Python would copy the bytes of every clip.
    tables = rows.select_columns("audio").with_format("arrow").iter(batch_size=1000)
    return [path for table in tables for path in table["audio"].combine_chunks().field("path").to_pylist()]


def _listed(names: Iterable[str], most: int = 10) -> str:
    names = sorted(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


class BadClip(NamedTuple):
    """A clip that cannot be read: its file (or row), why, and its split where there are splits."""

    name: str
    reason: str
    split: str | None = None


def drop_unreadable(clips: datasets.DatasetDict) -> tuple[datasets.DatasetDict, list[BadClip]]:
    """
    Decode every clip once and leave out those that `load_audio` refuses.

    Args:
        clips: what `load_clips` gives.

    Returns:
        The readable clips, and the others with the reasons.

    Raises:
        ValueError: a split has clips and none of them can be read.
    """
    readable, bad = datasets.DatasetDict(), []
    for split, rows in clips.items():
        reasons = _decode_all(rows.select_columns("audio"), split)
        bad += [
            BadClip(clip_name(rows[row]["audio"], row), reason, split) for row, reason in enumerate(reasons) if reason
        ]
        good = [row for row, reason in enumerate(reasons) if not reason]
        if reasons and not good:
            raise ValueError(f"None of the {len(reasons)} clips of split {split} can be read. The first: {reasons[0]}")
        readable[split] = rows if len(good) == len(rows) else rows.select(good)
    return readable, bad


def _decode_all(rows: datasets.Dataset, split: str) -> list[str | None]:
    """Why each clip cannot be read; None where it can."""

    def reason(row: int) -> str | None:
        try:
            decode_audio(_audio_file(rows[row]["audio"]))
        except AudioFileError as error:
            return str(error)
        return None

    # Threads are enough: soundfile decodes without holding the interpreter lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(
            datasets.utils.tqdm(
                pool.map(reason, range(len(rows))), total=len(rows), desc=f"Checking {split}", unit="clip"
            )
        )


def clip_name(audio: Mapping[str, Any] | None, row: int) -> str:
    """The file of a clip where the data tells it, or else its row."""
    return (audio and audio["path"]) or f"row {row}"


def _audio_file(audio: Mapping[str, Any] | None) -> AudioFile:
    file = audio and (audio["bytes"] or audio["path"])
    if not file:
        raise AudioFileError("The clip has no audio: neither bytes nor a path. Leave it out.")
    return file


def split_by_recording(
    clips: datasets.Dataset, test_size: float = 0.1, seed: int = 42
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """
    Split clips into training and test clips so that no recording stands on both sides.

    Class by class, the rarest first, recordings in random order go to the test part as long as that brings the share
    of the class's clips there closer to `test_size`. Every class with at least two recordings has one on each side, so
    that classes of few recordings can make the test part larger than `test_size`; a class with one recording is in
    training only. (Where recordings hold several classes, a class whose recordings have all been placed for rarer
    classes can miss a side.) The split depends on the seed, the recordings and their clips, not on the order of rows.

    Args:
        clips: columns `label` and `recording`.
        test_size: share of the clips of each class, between 0 and 1.
        seed: decides between recordings.

    Returns:
        The training and the test clips, each in the order they came in.

    Raises:
        ValueError: `test_size` is not between 0 and 1, or no class has two recordings.
    """
    if not 0 < test_size < 1:
        raise ValueError(f"test_size must lie between 0 and 1, got {test_size}.")
    recording_of_row = clips.select_columns("recording")[:]["recording"]
    clips_of: dict[int, Counter[str]] = defaultdict(Counter)  # class -> recording -> clips
    for label, recording in zip(clips.select_columns("label")[:]["label"], recording_of_row, strict=True):
        clips_of[label][recording] += 1
    shuffled = np.random.default_rng(seed).permutation(sorted(set(recording_of_row))).tolist()
    is_test: dict[str, bool] = {}
    for label in sorted(clips_of, key=lambda label: (len(clips_of[label]), label)):
        counts = clips_of[label]
        free = [recording for recording in shuffled if recording in counts and recording not in is_test]
        placed = [recording for recording in counts if recording in is_test]
        missing = test_size * counts.total() - sum(counts[recording] for recording in placed if is_test[recording])
        chosen = []
        for recording in free:
            if counts[recording] < 2 * missing:  # it brings the class closer to its share
                chosen.append(recording)
                missing -= counts[recording]
        needs_test = len(counts) > 1 and not any(is_test[recording] for recording in placed)
        needs_train = all(is_test[recording] for recording in placed)
        if needs_test and not chosen and free:
            chosen = [min(free, key=counts.__getitem__)]
        if needs_train and len(chosen) == len(free) and chosen:
            chosen.pop()
        is_test.update((recording, recording in chosen) for recording in free)
    if not any(is_test.values()):
        raise ValueError(
            "The clips cannot be split by recording: no class has two recordings. Give the test clips as a split of "
            "their own, or name the column that tells the recordings apart (`group_column`)."
        )
    rows = {
        side: [row for row, recording in enumerate(recording_of_row) if is_test[recording] is side]
        for side in (False, True)
    }
    return clips.select(rows[False]), clips.select(rows[True])


def check_clips(train: datasets.Dataset, evaluation: datasets.Dataset) -> None:
    """
    Check that a classifier can be trained on the one and honestly evaluated on the other.

    Raises:
        ValueError: a part has no clips or no `label` column of classes, training has one class only or none of a class
            that it names, the evaluation has a class that training does not know, or a recording is in both parts.
    """
    names_in = {}
    for part, clips in (("training", train), ("evaluation", evaluation)):
        if not isinstance(clips.features.get("label"), datasets.ClassLabel):
            raise ValueError(
                f"The {part} clips have no column `label` of classes; their columns are {_listed(clips.column_names)}."
            )
        if len(clips) == 0:
            raise ValueError(f"There are no {part} clips.")
        names = clips.features["label"].names
        names_in[part] = {names[label] for label in clips.select_columns("label")[:]["label"]}
    known = train.features["label"].names
    if len(known) < 2:
        raise ValueError(f"All training clips are of one class ({_listed(known)}). A classifier needs two or more.")
    without = set(known) - names_in["training"]
    if without:
        raise ValueError(
            f"No training clip is of the classes {_listed(without)}. Add recordings of them, or remove the classes."
        )
    unknown = names_in["evaluation"] - set(known)
    if unknown:
        raise ValueError(f"The evaluation clips have classes that training does not know: {_listed(unknown)}.")
    both = set(train.select_columns("recording")[:]["recording"]) & set(
        evaluation.select_columns("recording")[:]["recording"]
    )
    if both:
        raise ValueError(
            f"Clips of the same recording are in training and in evaluation, which would flatter the scores: "
            f"{_listed(both)}. Move each recording to one side; if these are different recordings of the same name, "
            "tell them apart in a column (`group_column`)."
        )


class _Windows:
    """
    What `AudioClips`, `WaveformWindows` and `StreamedWindows` share: how the random part of a clip is read.

    Raises:
        ValueError: `crop_seconds` is not above 0.
    """

    columns = ["audio"]

    def __init__(
        self,
        clips: datasets.Dataset | datasets.IterableDataset,
        sampling_rate: int,
        *,
        transform: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None,
        crop_seconds: float | None = None,
        seed: int = 0,
    ):
        if crop_seconds is not None and crop_seconds <= 0:
            raise ValueError(f"crop_seconds must be above 0, got {crop_seconds}.")
        self.clips = clips.select_columns(self.columns)
        self.sampling_rate = sampling_rate
        self.transform = transform
        self.crop_seconds = crop_seconds
        self.seed = seed
        # In shared memory, because workers that live through several epochs have a copy of this object
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Draw anew: `AudioTrainer` calls this before each epoch."""
        self._epoch.fill_(epoch)

    def _read(self, audio: Mapping[str, Any] | None, seed: int) -> np.ndarray:
        """The part of a clip that follows from `seed`, `(samples,)`, float32; `AudioFileError` where it has none."""
        file = _audio_file(audio)
        generator = torch.Generator()
        generator.manual_seed(seed)
        offset = 0.0
        if self.crop_seconds is not None:
            to_spare = max(0.0, audio_info(file).duration - self.crop_seconds)
            offset = to_spare * torch.rand((), generator=generator).item()
        waveform = load_audio(file, self.sampling_rate, offset=offset, duration=self.crop_seconds)
        if self.transform is not None:
            waveform = self.transform(torch.from_numpy(waveform), generator).numpy()
        return waveform


class AudioClips(_Windows, torch.utils.data.Dataset):
    """
    Labelled clips as waveforms, decoded when they are asked for.

    What is random about a clip follows from `seed`, the epoch and its index alone: neither the number of workers nor a
    run that was stopped and resumed changes it.

    Args:
        clips: columns `audio` (`Audio(decode=False)`) and `label` (class indices).
        sampling_rate: rate of the waveforms in Hz.
        transform: a change to the training clips: from a waveform `(samples,)` and a `torch.Generator` for whatever is
            random about it to a waveform `(samples,)`, float32.
        crop_seconds: length of the random part that is read of clips that are longer; whole clips where not given.
        seed: seed of the crops and of `transform`.
    """

    columns = ["audio", "label"]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`{"waveform": (samples,) float32 array, "label": int}`; `AudioFileError` where the clip cannot be read."""
        clip = self.clips[index]
        waveform = self._read(clip["audio"], combined_seed(self.seed, int(self._epoch), index))
        return {"waveform": waveform, "label": clip["label"]}


class WaveformWindows(_Windows, torch.utils.data.Dataset):
    """
    Clips without labels as waveforms, each with the seed that everything random about it follows from.

    Arguments are those of `AudioClips`, except that `clips` need no labels. As there, what is random about a clip
    follows from `seed`, the epoch and its index alone.
    """

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`{"waveform": (samples,) float32 array, "seed": int}`; `AudioFileError` where the clip cannot be read."""
        seed = combined_seed(self.seed, int(self._epoch), index)
        return {"waveform": self._read(self.clips[index]["audio"], seed), "seed": seed}


class StreamedWindows(_Windows, torch.utils.data.IterableDataset):
    """
    The items of `WaveformWindows` from a stream, each clip once a pass, shared out among processes and their workers.

    Every worker of every process reads clips of its own: whole shards as long as there are enough for all, other ones
    in each pass. Order and items follow from `seed`, the epoch, the process, the worker and the number of either. What
    cannot be read is left out with a warning that tells its name and why; the end of a pass tells how much it was.

    Each process must get its own `DataLoader`, see `stream_loader`. The stream goes on into the next pass, and so on
    without end, because processes whose clips ran out would leave the others waiting.

    Args:
        clips: column `audio` (`Audio(decode=False)`), as `load_recordings` gives them with `streaming=True`.
        sampling_rate, transform, crop_seconds: as in `AudioClips`.
        seed: seed of the order, the crops and `transform`.
        buffer_size: number of clips, encoded as they came, out of which a worker draws the next.
        process_index: this process's index.
        num_processes: number of processes that train together.
        endless: whether pass follows upon pass; otherwise the stream ends after one.

    Raises:
        ValueError: `crop_seconds` or `buffer_size` is not above 0, or, as soon as it shows, a worker has no clips or
            none that can be read.
    """

    def __init__(
        self,
        clips: datasets.IterableDataset,
        sampling_rate: int,
        *,
        transform: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None,
        crop_seconds: float | None = None,
        seed: int = 0,
        buffer_size: int = 256,
        process_index: int = 0,
        num_processes: int = 1,
        endless: bool = True,
    ):
        super().__init__(clips, sampling_rate, transform=transform, crop_seconds=crop_seconds, seed=seed)
        if buffer_size < 1:
            raise ValueError(f"buffer_size must be at least 1, got {buffer_size}.")
        self.buffer_size = buffer_size
        self.process_index = process_index
        self.num_processes = num_processes
        self.endless = endless

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """`{"waveform": (samples,) float32 array, "seed": int}` of the clips of this process's worker."""
        worker = torch.utils.data.get_worker_info()
        worker_id, num_workers = (worker.id, worker.num_workers) if worker else (0, 1)
        reader, num_readers = self.process_index * num_workers + worker_id, self.num_processes * num_workers
        for epoch in itertools.count(int(self._epoch)):
            yield from self._pass(epoch, reader, num_readers)
            if not self.endless:
                break

    def _pass(self, epoch: int, reader: int, num_readers: int) -> Iterator[dict[str, Any]]:
        who = f"reader {reader + 1} of {num_readers} (processes times their workers)"
        rng = np.random.default_rng([self.seed, epoch])  # the same for all readers, so that they agree on the shards
        shards = rng.permutation(self.clips.num_shards).tolist()
        clips = _shuffled(self._share(shards, reader, num_readers), self.buffer_size, rng)
        number, reasons = 0, []
        for number, audio in enumerate(clips, 1):
            seed = combined_seed(self.seed, epoch, reader, number)
            try:
                waveform = self._read(_fetched(audio), seed)
            except AudioFileError as error:
                logger.warning(f"{clip_name(audio, number)} is left out: {error}")
                reasons.append(str(error))
                continue
            yield {"waveform": waveform, "seed": seed}
        if reasons:
            logger.warning(f"{len(reasons)} of the {number} clips of {who} in pass {epoch} could not be read.")
        if reasons and len(reasons) == number:
            raise ValueError(f"None of the {number} clips of {who} can be read. The first: {reasons[0]}")
        if self.endless and number == 0:
            raise ValueError(f"There are no clips for {who}. Use fewer processes or workers.")

    def _share(self, shards: list[int], reader: int, num_readers: int) -> Iterator[Mapping[str, Any] | None]:
        """The clips of one reader. Where there are more readers than shards, several take turns in a shard."""
        groups = min(len(shards), num_readers)
        group, turn = reader % groups, reader // groups
        turns = len(range(group, num_readers, groups))
        for shard in shards[group::groups]:
            # `iter(...)` would divide the shard among the workers once more
            batches = self.clips.shard(num_shards=len(shards), index=shard).iter(batch_size=16)
            yield from itertools.islice((audio for batch in batches for audio in batch["audio"]), turn, None, turns)


def stream_loader(windows: StreamedWindows, device: torch.device, **settings: Any) -> torch.utils.data.DataLoader:
    """
    A DataLoader for `Trainer` over a stream that is shared out among the processes already.

    `Accelerator.prepare` takes a stream for one that all processes read alike: it would keep one of `num_processes`
    batches that a process reads, or have the first process read for all, and so lose clips.

    Args:
        windows: the clips of this process.
        device: where the batches are to be.
        settings: further arguments of `DataLoader`.
    """
    loader = torch.utils.data.DataLoader(windows, **settings)
    return prepare_data_loader(
        loader, device, num_processes=1, process_index=0, put_on_device=True, dispatch_batches=False
    )


def _shuffled(clips: Iterator[Any], buffer_size: int, rng: np.random.Generator) -> Iterator[Any]:
    """Clips in random order, as far as a buffer of so many allows."""
    buffer = []
    for clip in clips:
        if len(buffer) < buffer_size:
            buffer.append(clip)
            continue
        place = rng.integers(buffer_size)
        yield buffer[place]
        buffer[place] = clip
    rng.shuffle(buffer)
    yield from buffer


def _fetched(audio: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """A clip with its bytes where its path is a URL, as in streams of loose files; `AudioFileError` on failure."""
    if not audio or audio["bytes"] or "://" not in (audio["path"] or ""):
        return audio
    try:
        with fsspec.open(audio["path"], "rb") as file:
            return {**audio, "bytes": file.read()}
    except OSError as error:
        raise AudioFileError(f"{audio['path']} cannot be fetched: {error}") from error


def combined_seed(*numbers: int) -> int:
    """One seed for a torch generator from several numbers, none of which may be negative."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)  # torch takes 63 bits


class AudioCollator:
    """
    Makes a batch of the items of `AudioClips`: what a model takes as input, and `labels`.

    The feature extractor is called once for all clips, in the DataLoader's workers where it has some.

    Args:
        feature_extractor: its `sampling_rate` must be that of the clips.
    """

    def __init__(self, feature_extractor: SequenceFeatureExtractor):
        self.feature_extractor = feature_extractor

    def __call__(self, items: list[dict[str, Any]]) -> BatchFeature:
        """Inputs as `feature_extractor.model_input_names` has them, padded, and `labels` `(batch_size,)`, int64."""
        features = self.feature_extractor(
            [item["waveform"] for item in items],
            sampling_rate=self.feature_extractor.sampling_rate,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        names = self.feature_extractor.model_input_names
        batch = BatchFeature({name: value for name, value in features.items() if name in names})
        batch["labels"] = torch.tensor([item["label"] for item in items])
        return batch
