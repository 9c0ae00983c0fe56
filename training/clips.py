# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""How a DataLoader reads clips: windows of them, streams of them, and batches of what a model takes."""

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import datasets
import fsspec
import numpy as np
import torch
from accelerate.data_loader import prepare_data_loader
from transformers import BatchFeature, SequenceFeatureExtractor

from ..feature_extraction.feature_extraction_sslam import SSLAMFeatureExtractor
from .audio import AudioFileError, audio_info, load_audio
from .data import audio_file, clip_name
from .labels import FRAMES, Targets, shifted_events, task_of


logger = logging.getLogger(__name__)


class _Part(NamedTuple):
    """A waveform `(samples,)`, float32, and where in its clip it begins, in seconds."""

    waveform: np.ndarray
    start: float


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

    def _read(self, audio: Mapping[str, Any] | None, seed: int) -> _Part:
        """The part of a clip that follows from `seed`; `AudioFileError` where it has none."""
        file = audio_file(audio)
        generator = torch.Generator()
        generator.manual_seed(seed)
        offset = 0.0
        if self.crop_seconds is not None:
            to_spare = max(0.0, audio_info(file).duration - self.crop_seconds)
            offset = to_spare * torch.rand((), generator=generator).item()
        waveform = load_audio(file, self.sampling_rate, offset=offset, duration=self.crop_seconds)
        if self.transform is not None:
            waveform = self.transform(torch.from_numpy(waveform), generator).numpy()
        return _Part(waveform, offset)


class AudioClips(_Windows, torch.utils.data.Dataset):
    """
    Labelled clips as waveforms, decoded when they are asked for.

    What is random about a clip follows from `seed`, the epoch and its index alone: neither the number of workers nor a
    run that was stopped and resumed changes it.

    Args:
        clips: columns `audio` (`Audio(decode=False)`) and `label`, as `load_clips` gives them.
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
        """
        `{"waveform": (samples,) float32 array, "label": that of the part that is read, "seed": int}`; `AudioFileError`
        where the clip cannot be read.
        """
        clip = self.clips[index]
        seed = combined_seed(self.seed, int(self._epoch), index)
        waveform, start = self._read(clip["audio"], seed)
        label = clip["label"]
        if task_of(self.clips.features["label"]) == FRAMES:
            label = shifted_events(label, start, len(waveform) / self.sampling_rate)
        return {"waveform": waveform, "label": label, "seed": seed}


class ClipWindows(torch.utils.data.Dataset):
    """
    Whole clips as windows that follow each other, for a model that takes no more than one of them at a time.

    What is left behind the last window is left out if it is shorter than 25 ms, as in [`window_starts`].

    Args:
        clips: columns `audio` (`Audio(decode=False)`) and `label`, as `load_clips` gives them.
        sampling_rate: rate of the waveforms in Hz.
        size: length of a window in samples.
        step: samples from the start of a window to that of the next one.
    """

    def __init__(self, clips: datasets.Dataset, sampling_rate: int, *, size: int, step: int):
        self.clips = clips.select_columns(["audio", "label"])
        self.sampling_rate = sampling_rate
        self.size = size
        self.windows: list[tuple[int, int]] = []
        self.seconds: list[float] = []
        for index, audio in enumerate(self.clips.select_columns("audio")):
            info = audio_info(audio_file(audio["audio"]))
            samples = math.ceil(round(info.duration * info.sampling_rate) * sampling_rate / info.sampling_rate)
            for start in window_starts(samples, step, sampling_rate):
                self.windows.append((index, start))
                self.seconds.append((min(start + size, samples) - start) / sampling_rate)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`{"waveform": (samples,) float32 array, "label": that of the window}`."""
        row, start = self.windows[index]
        clip = self.clips[row]
        waveform = load_audio(audio_file(clip["audio"]), self.sampling_rate)[start : start + self.size]
        label = clip["label"]
        if task_of(self.clips.features["label"]) == FRAMES:
            label = shifted_events(label, start / self.sampling_rate, len(waveform) / self.sampling_rate)
        return {"waveform": waveform, "label": label}


def window_starts(samples: int, step: int, sampling_rate: int) -> range:
    """
    Where windows begin that are to cover a clip of so many samples, the first one at 0.

    Less than 25 ms, one frame, are not worth a window of their own.
    """
    return range(0, max(1, samples - sampling_rate // 40 + 1), step)


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
        return {"waveform": self._read(self.clips[index]["audio"], seed).waveform, "seed": seed}


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


def combined_seed(*numbers: int) -> int:
    """One seed for a torch generator from several numbers, none of which may be negative."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)  # torch takes 63 bits


class AudioCollator:
    """
    Makes a batch of the items of `AudioClips`: what a model takes as input, and `labels`.

    The feature extractor is called once for all clips, in the DataLoader's workers where it has some.

    Clips are padded to the longest, which the attention mask tells. An SSLAM feature extractor that is not set to
    return a mask pads and cuts them to its `max_length` instead, and the model takes the padding for sound, as the
    published ones do.

    Args:
        feature_extractor: its `sampling_rate` must be that of the clips.
        targets: makes the labels a tensor.
    """

    def __init__(self, feature_extractor: SequenceFeatureExtractor, targets: Targets):
        self.feature_extractor = feature_extractor
        self.targets = targets
        self.hides_padding = (
            not isinstance(feature_extractor, SSLAMFeatureExtractor) or feature_extractor.return_attention_mask
        )

    def __call__(self, items: list[dict[str, Any]]) -> BatchFeature:
        """Inputs as `feature_extractor.model_input_names` has them, padded, and `labels` as `targets` makes them."""
        features = self.feature_extractor(
            [item["waveform"] for item in items],
            sampling_rate=self.feature_extractor.sampling_rate,
            padding=True if self.hides_padding else "max_length",
            truncation=not self.hides_padding,
            return_attention_mask=True,
            return_tensors="pt",
        )
        names = set(self.feature_extractor.model_input_names) - (set() if self.hides_padding else {"attention_mask"})
        batch = BatchFeature({name: value for name, value in features.items() if name in names})
        batch["labels"] = self.targets([item["label"] for item in items], features["attention_mask"])
        return batch


class AugmentingCollator:
    """
    Changes the batches of another collator at random.

    What is random about a batch follows from the `seed`s of its items.

    Args:
        collator: makes a batch of the items.
        augmentation: takes the batch and a `torch.Generator`.
    """

    def __init__(
        self,
        collator: Callable[[list[dict[str, Any]]], BatchFeature],
        augmentation: Callable[[BatchFeature, torch.Generator], BatchFeature],
    ):
        self.collator = collator
        self.augmentation = augmentation

    def __call__(self, items: list[dict[str, Any]]) -> BatchFeature:
        generator = torch.Generator().manual_seed(combined_seed(*(item["seed"] for item in items)))
        return self.augmentation(self.collator(items), generator)
