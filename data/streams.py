# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Streams of clips for training on datasets that do not fit on one disk or in memory."""

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
from .windows import CroppedClips, combined_seed


logger = logging.getLogger(__name__)


class StreamedWindows(CroppedClips, torch.utils.data.IterableDataset):
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
    """A clip with its bytes where its path is a URL, as in streams of loose files; `AudioFileError` on failure."""
    if not audio or audio["bytes"] or "://" not in (audio["path"] or ""):
        return audio
    try:
        with fsspec.open(audio["path"], "rb") as file:
            return {**audio, "bytes": file.read()}
    except OSError as error:
        raise AudioFileError(f"{audio['path']} cannot be fetched: {error}") from error
