# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Makes a dataset of short clips: cuts recordings into chunks, leaves out silence, writes parquet files."""

import io
import math
import os
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import soundfile
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard, DatasetCardData

from ..data.audio import AudioFile, AudioFileError, audio_info, decode_audio, load_audio
from ..data.events import shifted_events
from ..data.folders import new_folder
from ..data.labels import FRAMES, class_names, task_of
from ..data.readable import BadClip, audio_file, clip_name, report_bad_clips
from ..data.text import listed


# Lossless formats, written with 16 bits
FORMATS = ("flac", "wav")

# A recording is decoded this many seconds at a time, and this much of its chunks stays in memory
_STRETCH_SECONDS = 60.0

# The least of the end of a recording that is read to find out whether the file is complete
_END_SECONDS = 0.1
_SPOOL_BYTES = 64 * 2**20
_ROW_GROUP_BYTES, _ROW_GROUP_ROWS = 32 * 2**20, 100
_SHARD_BYTES = 500 * 10**6  # the default of `push_to_hub`

_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B")


@dataclass(frozen=True)
class Chunking:
    """
    How recordings are cut.

    Args:
        seconds: length of a chunk.
        overlap: share of a chunk that the next one repeats, at most 0.95.
        min_seconds: the end of a recording after its last whole chunk becomes a chunk if it is at least this long.
        sampling_rate: rate of the chunks in Hz; by default the rate of each recording.
        silence_threshold: chunks with a lower level, as [`level_dbfs`] measures it, are left out.
        format: one of `FORMATS`.

    Raises:
        ValueError: a value is out of its range.
    """

    seconds: float = 20.0
    overlap: float = 0.5
    min_seconds: float = 1.0
    sampling_rate: int | None = None
    silence_threshold: float = -60.0
    format: str = "flac"

    def __post_init__(self):
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"Chunks must be longer than 0 seconds, got {self.seconds:g}.")
        if not 0 <= self.overlap <= 0.95:
            raise ValueError(
                f"The overlap of chunks must lie between 0 and 0.95 of their length, got {self.overlap:g}."
            )
        if not 0 < self.min_seconds <= self.seconds:
            raise ValueError(
                "The shortest chunk must be longer than 0 seconds and no longer than a whole one, "
                f"{self.seconds:g}; got {self.min_seconds:g}."
            )
        if self.sampling_rate is not None and not 1000 <= self.sampling_rate <= 192_000:
            raise ValueError(f"The sampling rate must lie between 1000 and 192000 Hz, got {self.sampling_rate}.")
        if math.isnan(self.silence_threshold):
            raise ValueError("The silence threshold must be a level in dB, got nan.")
        if self.format not in FORMATS:
            raise ValueError(f"Chunks can be written as {listed(FORMATS)}, not as {self.format!r}.")


class Chunk(NamedTuple):
    """
    An encoded chunk: `size` bytes at a `position` of an open file.

    `start` is where it begins in its recording, and `seconds` is its length.
    """

    file: IO[bytes]
    position: int
    size: int
    start: float
    seconds: float

    @property
    def data(self) -> bytes:
        self.file.seek(self.position)
        return self.file.read(self.size)


class CutRecording(NamedTuple):
    """The chunks of a recording, and the numbers of silent and of short chunks that were left out."""

    chunks: list[Chunk]
    silent: int
    short: int


@dataclass(frozen=True)
class BuildResult:
    """
    What [`build_dataset`] wrote.

    Attributes:
        clips, seconds: number and total length of the chunks of each split.
        recordings: number of recordings, with the unreadable ones.
        silent, short: numbers of chunks that were left out.
        unreadable: the recordings that cannot be read.
    """

    clips: dict[str, int]
    seconds: dict[str, float]
    recordings: int
    silent: int
    short: int
    unreadable: list[BadClip]


def build_dataset(
    clips: datasets.DatasetDict,
    output: str | os.PathLike,
    chunking: Chunking | None = None,
    *,
    name: str | None = None,
    num_workers: int = 1,
    overwrite: bool = False,
) -> BuildResult:
    """
    Write a dataset of chunks, with progress bars: parquet files in `data/` and a `README.md` for the Hub.

    `load_clips` and `datasets.load_dataset` read it. It has the columns of `clips` but `pitch_path`, with the chunks
    as bytes in `audio` and with the times of events relative to the chunk, and `start`, where the chunk begins in its
    file, in seconds. Recordings that cannot be read are logged and left out. The memory it takes depends on
    `num_workers`, not on the size of the dataset.

    Args:
        clips: what `load_clips` returns.
        output: the folder to write.
        chunking: how to cut.
        name: name of the dataset in the README; by default that of the folder.
        num_workers: threads that decode and encode.
        overwrite: replace a dataset that is in `output`.

    Raises:
        ValueError: no recording of a split can be read, all of its chunks are left out, `num_workers` is below 1, or
            `output` must not be replaced.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers must be at least 1, got {num_workers}.")
    chunking = chunking or Chunking()
    # Paths of files on this machine, which neither fit chunks nor belong into a dataset that can be pushed
    clips = datasets.DatasetDict(
        {
            split: rows.remove_columns([column for column in rows.column_names if column == "pitch_path"])
            for split, rows in clips.items()
        }
    )
    with new_folder(output, overwrite=overwrite) as folder:
        result = _build(clips, folder, chunking, name or Path(output).resolve().name, num_workers)
    report_bad_clips(result.unreadable)
    return result


def cut_recording(file: AudioFile, chunking: Chunking, folder: Path | None = None) -> CutRecording:
    """
    Cut a recording into mono chunks. The last one contains the end of the recording.

    Only a few minutes of the recording are in memory at a time. The chunks are in a temporary file, which stays in
    memory while it is small.

    Args:
        file: the recording.
        chunking: how to cut.
        folder: where the temporary file is made; by default the system's folder for those.

    Raises:
        AudioFileError: as [`load_audio`], wherever in the file the damage is.
    """
    info = audio_info(file)
    rate = chunking.sampling_rate or info.sampling_rate
    total = round(info.duration * rate)
    length = max(1, round(chunking.seconds * rate))
    hop = max(1, round(length * (1 - chunking.overlap)))
    min_length = min(length, max(1, round(chunking.min_seconds * rate)))
    starts = range(0, max(1, total - length + hop), hop)
    long_enough = [start for start in starts if total - start >= min_length]
    chunks, silent, short = [], 0, len(starts) - len(long_enough)
    where = None if folder is None else str(folder)
    spool = tempfile.SpooledTemporaryFile(_SPOOL_BYTES, dir=where)  # noqa: SIM115  the chunks read from it
    per_stretch = max(1, int((_STRETCH_SECONDS * rate - length) // hop + 1))
    for first in range(0, len(long_enough), per_stretch):
        stretch = long_enough[first : first + per_stretch]
        seconds = (stretch[-1] - stretch[0] + length) / rate
        waveform = load_audio(file, rate, offset=stretch[0] / rate, duration=seconds)
        for start in stretch:
            samples = waveform[start - stretch[0] :][:length]
            if len(samples) + 1 < min_length:  # shorter than the header says; resampling can be a sample off
                short += 1
            elif level_dbfs(samples) < chunking.silence_threshold:
                silent += 1
            else:
                data = _encode(samples, rate, chunking.format)
                chunks.append(Chunk(spool, spool.tell(), len(data), start / rate, len(samples) / rate))
                spool.write(data)
    # The end of the recording may not belong to a chunk. It is read anyway, to find files that are cut off.
    end = (long_enough[-1] + length) / rate if long_enough else 0.0
    decode_audio(file, offset=max(0.0, min(end, info.duration - _END_SECONDS)))
    return CutRecording(chunks, silent, short)


def level_dbfs(waveform: np.ndarray) -> float:
    """
    The level of a waveform `(samples,)` in dB: its root mean square, where 1 is 0 dB. Digital silence has `-inf`.
    """
    return power_dbfs(float(np.mean(np.square(waveform, dtype=np.float64))))


def power_dbfs(power: float) -> float:
    """The level in dB of a mean square, where 1 is 0 dB."""
    return 10 * math.log10(power) if power > 0 else -math.inf


def _build(clips: datasets.DatasetDict, folder: Path, chunking: Chunking, name: str, num_workers: int) -> BuildResult:
    features = datasets.Features(
        {
            **next(iter(clips.values())).features,
            "audio": datasets.Audio(sampling_rate=chunking.sampling_rate),
            "start": datasets.Value("float64"),
        }
    )
    counts: dict[str, int] = {}
    seconds: dict[str, float] = {}
    silent, short, bad_clips = 0, 0, []
    infos, download_size = datasets.SplitDict(), 0
    chunks_of: Counter[str] = Counter()  # recording -> its chunks so far; the number is part of a chunk's name
    for split, rows in clips.items():
        shards = _ShardWriter(folder / "data", split, features)
        others = rows.remove_columns("audio")
        seconds[split], unreadable = 0.0, []
        with ThreadPoolExecutor(num_workers) as pool:
            cut = _in_order(pool, partial(_cut_row, rows, chunking, folder), range(len(rows)), num_workers)
            for row, cut_row in enumerate(datasets.utils.tqdm(cut, total=len(rows), desc=split, unit="recording")):
                if isinstance(cut_row, BadClip):
                    unreadable.append(cut_row._replace(split=split if len(clips) > 1 else None))
                    continue
                values = others[row]
                silent += cut_row.silent
                short += cut_row.short
                for chunk in cut_row.chunks:
                    seconds[split] += chunk.seconds
                    number = chunks_of[values["recording"]]
                    chunks_of[values["recording"]] += 1
                    path = f"{values['recording'].replace('/', '-')}_chunk{number}.{chunking.format}"
                    chunk_values = {**values, "audio": {"bytes": chunk.data, "path": path}, "start": chunk.start}
                    if task_of(features["label"]) == FRAMES:
                        chunk_values["label"] = shifted_events(values["label"], chunk.start, chunk.seconds)
                    shards.add(chunk_values)
        bad_clips += unreadable
        if shards.num_rows == 0:
            if len(unreadable) == len(rows):
                reason = f" The first: {unreadable[0].reason}" if unreadable else ""
                raise ValueError(f"None of the {len(rows)} recordings of split {split} can be read.{reason}")
            raise ValueError(
                f"No chunk is left of split {split}: {silent} are below {chunking.silence_threshold:g} dB and "
                f"{short} shorter than {chunking.min_seconds:g} s. Lower these limits."
            )
        download_size += shards.close()
        infos.add(datasets.SplitInfo(split, num_bytes=shards.num_bytes, num_examples=shards.num_rows))
        counts[split] = shards.num_rows
    result = BuildResult(counts, seconds, sum(map(len, clips.values())), silent, short, bad_clips)
    _write_card(folder, name, chunking, result, features, infos, download_size)
    return result


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[int], Any], items: Iterable[int], ahead: int
) -> Iterator[Any]:
    """As `pool.map`, but at most `ahead` results wait to be taken."""
    futures: deque[Future] = deque()
    try:
        for item in items:
            if len(futures) > ahead:
                yield futures.popleft().result()
            futures.append(pool.submit(function, item))
        while futures:
            yield futures.popleft().result()
    finally:
        for future in futures:
            future.cancel()


def _cut_row(rows: datasets.Dataset, chunking: Chunking, folder: Path, row: int) -> CutRecording | BadClip:
    audio = rows[row]["audio"]
    try:
        return cut_recording(audio_file(audio), chunking, folder)
    except AudioFileError as error:
        return BadClip(clip_name(audio, row), str(error))


def _encode(samples: np.ndarray, rate: int, format: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format.upper(), subtype="PCM_16")
    return buffer.getvalue()


class _ShardWriter:
    """Writes the parquet files of a split, a group of rows at a time, with the names that `push_to_hub` uses."""

    def __init__(self, folder: Path, split: str, features: datasets.Features):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.split, self.schema = folder, split, features.arrow_schema
        self.rows: list[dict[str, Any]] = []
        self.paths: list[Path] = []
        self.writer: pyarrow.parquet.ParquetWriter | None = None
        self.waiting_bytes = self.num_rows = self.num_bytes = 0

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        self.num_rows += 1
        self.waiting_bytes += len(row["audio"]["bytes"])
        if self.waiting_bytes >= _ROW_GROUP_BYTES or len(self.rows) == _ROW_GROUP_ROWS:
            self._flush()

    def close(self) -> int:
        """Write the remaining rows and give the files their names. Returns their size in bytes."""
        self._flush()
        self._end_shard()
        size = 0
        for number, path in enumerate(self.paths):
            path = path.rename(self.folder / f"{self.split}-{number:05}-of-{len(self.paths):05}.parquet")
            size += path.stat().st_size
        return size

    def _flush(self) -> None:
        if not self.rows:
            return
        if self.writer is None:
            self.paths.append(self.folder / f"{self.split}-{len(self.paths):05}.incomplete")
            self.writer = pyarrow.parquet.ParquetWriter(self.paths[-1], self.schema)
        table = pa.Table.from_pylist(self.rows, schema=self.schema)
        self.writer.write_table(table)
        self.num_bytes += table.nbytes
        self.rows, self.waiting_bytes = [], 0
        if self.paths[-1].stat().st_size >= _SHARD_BYTES:
            self._end_shard()

    def _end_shard(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None


def _write_card(
    folder: Path,
    name: str,
    chunking: Chunking,
    result: BuildResult,
    features: datasets.Features,
    splits: datasets.SplitDict,
    download_size: int,
) -> None:
    number = sum(result.clips.values())
    data = DatasetCardData(
        license="unknown",
        task_categories=["audio-classification"],
        size_categories=[_SIZES[min(len(str(number)) - 3, len(_SIZES) - 1) if number >= 1000 else 0]],
        tags=["audio", "polyaudio"],
        pretty_name=name,
    )
    info = datasets.DatasetInfo(
        features=features,
        splits=splits,
        download_size=download_size,
        dataset_size=sum(split.num_bytes for split in splits.values()),
    )
    datasets.info.DatasetInfosDict(default=info).to_dataset_card_data(data)
    files = [{"split": split, "path": f"data/{split}-*"} for split in splits]
    MetadataConfigs(default={"data_files": files}).to_dataset_card_data(data)

    classes = class_names(features["label"])
    rate = "the rate of each recording" if chunking.sampling_rate is None else f"{chunking.sampling_rate} Hz"
    table = "\n".join(
        f"| {split} | {result.clips[split]} | {result.seconds[split] / 3600:.3f} |" for split in result.clips
    )
    text = f"""---
{data.to_yaml()}
---

# {name}

Chunks of {chunking.seconds:g} seconds from {result.recordings - len(result.unreadable)} recordings. Each chunk
overlaps the one before it by {chunking.overlap:.0%}. The audio is mono {chunking.format.upper()}, 16 bits, {rate}.
{result.silent} chunks with a level (root mean square) below {chunking.silence_threshold:g} dB of full scale and
{result.short} chunks shorter than {chunking.min_seconds:g} seconds were left out, as were {len(result.unreadable)}
recordings that could not be read.

| split | clips | hours |
|---|---|---|
{table}

## Columns

- `audio`: the chunk
- `label`: {_label_in_words(features["label"])}; there are {len(classes)} classes
- `recording`: the recording that the chunk was cut from. Split by this column: chunks of a recording overlap, so a
  random split would test a model on audio that it was trained on.
- `start`: where the chunk begins in its file, in seconds

## How to use

```python
from datasets import load_dataset

dataset = load_dataset("{name}")
```

`polyaudio train --dataset DIR` trains a classifier on it and keeps all chunks of a recording in the same split.

Made with `polyaudio dataset build`.
"""
    DatasetCard(text).save(folder / "README.md")


def _label_in_words(label: Any) -> str:
    if isinstance(label, datasets.ClassLabel):
        return "its class"
    return "its events (onset and offset in seconds, and class)" if task_of(label) == FRAMES else "its classes"
