# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Reads streams of clips, for training on datasets that do not fit on one disk or in memory."""

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import datasets
import fsspec
import numpy as np
import torch
from accelerate.data_loader import prepare_data_loader

from .audio import AudioFileError
from .readable import clip_name
from .seeds import combined_seed
from .windows import CroppedClips


logger = logging.getLogger(__name__)


class StreamedWindows(CroppedClips, torch.utils.data.IterableDataset):
    """
    The items of `WaveformWindows` from a stream, divided among processes and their workers, each clip once per pass.

    Every worker of every process reads its own clips: whole shards, different ones in each pass, if there are enough
    shards. Order and items depend only on `seed`, the epoch, the process, the worker and the numbers of processes and
    workers. A clip that cannot be read is left out, with a warning. At the end of a pass, the number of these clips is
    logged.

    Each process needs its own `DataLoader`; see `stream_loader`. The stream continues with the next pass, without end,
    because a process without clips would make the others wait.

    Args:
        clips: column `audio` (`Audio(decode=False)`), as `load_recordings` returns them with `streaming=True`.
        sampling_rate, transform, crop_seconds: as for `AudioClips`.
        seed: seed of the order, the crops and `transform`.
        buffer_size: number of encoded clips from which a worker draws the next one.
        process_index: index of this process.
        num_processes: number of processes that train together.
        endless: whether to continue after a pass; otherwise the stream ends.

    Raises:
        ValueError: `crop_seconds` or `buffer_size` is not above 0. During iteration: a worker has no clips, or none
            that can be read.
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
        """Yield `{"waveform": (samples,) float32 array, "seed": int}` for the clips of this worker."""
        worker = torch.utils.data.get_worker_info()
        worker_id, num_workers = (worker.id, worker.num_workers) if worker else (0, 1)
        reader, num_readers = self.process_index * num_workers + worker_id, self.num_processes * num_workers
        for epoch in itertools.count(int(self._epoch)):
            yield from self._pass(epoch, reader, num_readers)
            if not self.endless:
                break

    def _pass(self, epoch: int, reader: int, num_readers: int) -> Iterator[dict[str, Any]]:
        who = f"reader {reader + 1} of {num_readers} (processes times their workers)"
        rng = np.random.default_rng([self.seed, epoch])  # the same for all readers, which thus agree on the shards
        shards = rng.permutation(self.clips.num_shards).tolist()
        clips = _shuffled(self._share(shards, reader, num_readers), self.buffer_size, rng)
        number, reasons = 0, []
        for number, audio in enumerate(clips, 1):
            seed = combined_seed(self.seed, epoch, reader, number)
            try:
                waveform = self._read(_fetched(audio), seed).waveform
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
        """The clips of one reader. If there are more readers than shards, several readers take turns in a shard."""
        groups = min(len(shards), num_readers)
        group, turn = reader % groups, reader // groups
        turns = len(range(group, num_readers, groups))
        for shard in shards[group::groups]:
            # The iterator of a dataset would divide the shard among the workers once more
            batches = self.clips.shard(num_shards=len(shards), index=shard).iter(batch_size=16)
            yield from itertools.islice((audio for batch in batches for audio in batch["audio"]), turn, None, turns)


def stream_loader(windows: StreamedWindows, device: torch.device, **settings: Any) -> torch.utils.data.DataLoader:
    """
    Return a DataLoader for `Trainer` over a stream that is already divided among the processes.

    `Accelerator.prepare` assumes that all processes read the same stream. It would lose clips: each process would use
    only one of `num_processes` batches that it reads, or the first process would read for all.

    Args:
        windows: the clips of this process.
        device: the device of the batches.
        settings: further arguments of `DataLoader`.
    """
    loader = torch.utils.data.DataLoader(windows, **settings)
    return prepare_data_loader(
        loader, device, num_processes=1, process_index=0, put_on_device=True, dispatch_batches=False
    )


def _shuffled(clips: Iterator[Any], buffer_size: int, rng: np.random.Generator) -> Iterator[Any]:
    """Shuffle clips with a buffer of `buffer_size` clips."""
    buffer: list[Any] = []
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
    """Fetch the bytes of a clip whose path is a URL, as in streams of single files; `AudioFileError` on failure."""
    if not audio or audio["bytes"] or "://" not in (audio["path"] or ""):
        return audio
    try:
        with fsspec.open(audio["path"], "rb") as file:
            return {**audio, "bytes": file.read()}
    except OSError as error:
        raise AudioFileError(f"{audio['path']} cannot be fetched: {error}") from error
