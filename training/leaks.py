# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Clips that hold the same audio, found from the audio: copies, and chunks of a recording that overlap.

Peaks of the spectrogram stay where they are when a clip is scaled, resampled or encoded. Three neighbouring peaks make
a key; clips that share several keys at the same distance in time are candidates, and the correlation of their
waveforms decides.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch

from .audio import AudioFileError, load_audio
from .data import BadClip, clip_name


_RATE = 8000  # Hz, at which clips are compared
_FFT_SIZE, _HOP = 1024, 128
_BLOCK = 2**19  # samples of a clip that are transformed at a time
_PEAK_BINS, _PEAK_FRAMES = 16, 10  # a peak is the highest value so far around it: 125 Hz and 0.16 s
_SILENCE = 1e-5  # amplitude of a sine, -100 dBFS: what is softer makes no peak
_RANGE = 1e-3  # nor does what is 60 dB below the clip's loudest peak
_FAN_OUT = 5  # a peak makes keys with two each of so many peaks that follow it ...
_FAN_FRAMES = 63  # ... within a second
# A key that is in many clips, as of a jingle, pairs each of them with so many of the next ones only
_NEIGHBOURS = 32
_MIN_VOTES = 4  # keys that a pair must share at one distance
_SECONDS_COMPARED = 4.0  # at a time, so that clocks may differ a little
_MAX_LAG = 2 * _HOP
_OVERSAMPLING = 4  # of the correlation: half a sample would turn high frequencies around
_BANDS = 128
_MAX_OVER_MEDIAN = 3.0


class Overlap(NamedTuple):
    """
    Two clips that hold the same audio.

    `first` is a lower index than `second`. `offset` is where the second clip begins in the first, in seconds, and
    negative where it begins earlier; `seconds` is how much they have in common, `similarity` the correlation of that,
    at most 1.
    """

    first: int
    second: int
    offset: float
    seconds: float
    similarity: float


class _Landmarks(NamedTuple):
    keys: np.ndarray  # (number,), int64, each once
    frames: np.ndarray  # (number,), int32, where a key first occurs
    seconds: float


def find_overlaps(
    clips: datasets.Dataset, *, sides: Sequence[int] | None = None, min_similarity: float = 0.85
) -> tuple[list[Overlap], list[BadClip]]:
    """
    Find the pairs of clips that hold the same audio, with progress bars.

    These are copies and chunks that overlap by a second at least, or by half of the shorter clip, whatever their
    level, sampling rate and encoding. Silence, and what two recordings have in common by a steady tone alone, does not
    count. Where more than 32 clips hold the same, not all of their pairs are reported, but enough to connect them.

    Args:
        clips: column `audio` (`Audio(decode=False)`).
        sides: a number for each clip; where given, pairs on the same side are left out.
        min_similarity: similarity of what is reported.

    Returns:
        The pairs, sorted, and the clips that cannot be read.

    Raises:
        ValueError: no clip can be read, `min_similarity` is not between 0 and 1, or `sides` has another length.
    """
    if not 0 < min_similarity < 1:
        raise ValueError(f"min_similarity must lie between 0 and 1, got {min_similarity}.")
    if sides is not None and len(sides) != len(clips):
        raise ValueError(f"{len(sides)} sides were given for {len(clips)} clips.")
    clips = clips.select_columns("audio")
    landmarks, unreadable = [], []
    for result in _in_threads(partial(_read_landmarks, clips), range(len(clips)), "Reading"):
        if isinstance(result, BadClip):
            unreadable.append(result)
            result = _Landmarks(np.empty(0, np.int64), np.empty(0, np.int32), 0.0)
        landmarks.append(result)
    if len(unreadable) == len(clips):
        reason = f" The first: {unreadable[0].reason}" if unreadable else ""
        raise ValueError(f"None of the {len(clips)} clips can be read.{reason}")

    def compare(candidate: tuple[int, int, float]) -> Overlap | None:
        first, second, offset = candidate
        seconds = [landmarks[clip].seconds for clip in (first, second)]
        if _common_seconds(*seconds, offset) < min(1.0, min(seconds) / 2):
            return None
        similarity, lag = _similarity(clips[first]["audio"], clips[second]["audio"], *seconds, offset)
        if similarity < min_similarity:
            return None
        return Overlap(first, second, offset + lag, _common_seconds(*seconds, offset + lag), similarity)

    best: dict[tuple[int, int], Overlap] = {}
    for overlap in _in_threads(compare, _find_candidates(landmarks, sides), "Comparing"):
        if overlap is not None:
            best[overlap[:2]] = max(overlap, best.get(overlap[:2], overlap), key=lambda one: one.similarity)
    return list(best.values()), unreadable


def check_leaks(
    train: datasets.Dataset, evaluation: datasets.Dataset, *, min_similarity: float = 0.85
) -> tuple[list[Overlap], list[BadClip]]:
    """
    Find what two sets of clips have in common, as `find_overlaps` does.

    Args:
        train: column `audio` (`Audio(decode=False)`).
        evaluation: the same.
        min_similarity: similarity of what is reported.

    Returns:
        The pairs, `first` an index in `train` and `second` one in `evaluation`, and the clips that cannot be read.
    """
    clips = datasets.concatenate_datasets([train.select_columns("audio"), evaluation.select_columns("audio")])
    sides = [0] * len(train) + [1] * len(evaluation)
    overlaps, unreadable = find_overlaps(clips, sides=sides, min_similarity=min_similarity)
    return [overlap._replace(second=overlap.second - len(train)) for overlap in overlaps], unreadable


def infer_groups(num_clips: int, overlaps: Iterable[Overlap]) -> np.ndarray:
    """
    Group clips that are connected by overlaps: what can be told of recordings without their names.

    Returns:
        `(num_clips,)`, int64: a group for each clip, numbered in the order of their first clips.
    """
    parents = list(range(num_clips))

    def root(clip: int) -> int:
        while parents[clip] != clip:
            parents[clip] = parents[parents[clip]]
            clip = parents[clip]
        return clip

    for overlap in overlaps:
        low, high = sorted((root(overlap.first), root(overlap.second)))
        parents[high] = low
    return np.unique([root(clip) for clip in range(num_clips)], return_inverse=True)[1].astype(np.int64)


def _in_threads(function: Callable[[Any], Any], items: Sequence[Any], description: str) -> Iterable[Any]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from datasets.utils.tqdm(pool.map(function, items), total=len(items), desc=description)


def _read_landmarks(clips: datasets.Dataset, row: int) -> _Landmarks | BadClip:
    audio = clips[row]["audio"]
    try:
        waveform = _load(audio)
    except AudioFileError as error:
        return BadClip(clip_name(audio, row), str(error))
    return _find_landmarks(waveform)


def _load(audio: Mapping[str, Any] | None, **part: float) -> np.ndarray:
    file = audio and (audio["bytes"] or audio["path"])
    if not file:
        raise AudioFileError("The clip has no audio: neither bytes nor a path. Leave it out.")
    return load_audio(file, _RATE, **part)


def _find_landmarks(waveform: np.ndarray) -> _Landmarks:
    """The landmarks of a waveform `(samples,)` at `_RATE`."""
    bins, frames, heights = [], [], []
    for start in range(0, len(waveform), _BLOCK):
        block = torch.from_numpy(waveform[start : start + _BLOCK])
        spectrogram = torch.stft(
            block,
            _FFT_SIZE,
            _HOP,
            window=torch.hann_window(_FFT_SIZE),
            pad_mode="constant",
            return_complex=True,
        ).abs()
        highest = _highest_around(_highest_around(spectrogram, _PEAK_FRAMES).T, _PEAK_BINS).T
        is_peak = (spectrogram == highest) & (spectrogram > _SILENCE * _FFT_SIZE / 4)
        frame, bin_ = is_peak.T.nonzero(as_tuple=True)  # transposed, so that they are sorted by time
        bins.append(bin_)
        frames.append(frame + start // _HOP)
        heights.append(spectrogram[bin_, frame])
    bins, frames, heights = (torch.cat(parts).numpy() for parts in (bins, frames, heights))
    is_loud = heights > _RANGE * heights.max(initial=0)
    bins, frames = bins[is_loud], frames[is_loud]

    keys, anchors = [], []
    for one, two in itertools.combinations(range(1, _FAN_OUT + 1), 2):
        number = max(0, len(bins) - two)
        first, second, third = (slice(step, step + number) for step in (0, one, two))
        gaps = frames[second] - frames[first], frames[third] - frames[second]
        key = bins[first]
        for value, bits in ((bins[second], 10), (bins[third], 10), (gaps[0], 6), (gaps[1], 6)):
            key = (key << bits) + value
        is_near = sum(gaps) <= _FAN_FRAMES
        keys.append(key[is_near])
        anchors.append(frames[first][is_near])
    # Once each: a tone that is held would fill the index
    keys, anchors = np.concatenate(keys), np.concatenate(anchors)
    order = np.argsort(anchors, kind="stable")
    keys, places = np.unique(keys[order], return_index=True)
    return _Landmarks(keys, anchors[order][places].astype(np.int32), len(waveform) / _RATE)


def _highest_around(values: torch.Tensor, reach: int) -> torch.Tensor:
    """The highest of so many neighbours to either side in rows of positive values, much faster than `max_pool2d`."""
    values = torch.nn.functional.pad(values, (reach, reach))
    width, missing = 1, 2 * reach
    while missing:
        step = min(width, missing)
        values = torch.maximum(values[:, :-step], values[:, step:])
        width, missing = width + step, missing - step
    return values


def _find_candidates(landmarks: list[_Landmarks], sides: Sequence[int] | None) -> list[tuple[int, int, float]]:
    """Pairs of clips that share keys, each with the two offsets in seconds at which they share most; sorted."""
    clips = np.repeat(np.arange(len(landmarks), dtype=np.int32), [len(one.keys) for one in landmarks])
    keys = np.concatenate([one.keys for one in landmarks])
    frames = np.concatenate([one.frames for one in landmarks])
    order = np.argsort(keys, kind="stable")
    keys, frames, clips = keys[order], frames[order], clips[order]
    sides = np.arange(len(landmarks)) if sides is None else np.asarray(sides)

    # A pair and its offset as one number: 24 bits are an offset of a day and a half
    zero = 1 << 23
    shared = [np.empty(0, np.int64)]
    for distance in range(1, _NEIGHBOURS + 1):
        places = (keys[distance:] == keys[:-distance]).nonzero()[0]
        if len(places) == 0:
            break
        places = places[sides[clips[places]] != sides[clips[places + distance]]]
        first, second = clips[places], clips[places + distance]
        offsets = frames[places] - frames[places + distance]
        shared.append(((first.astype(np.int64) * len(landmarks) + second) << 24) + offsets + zero)
    codes, counts = np.unique(np.concatenate(shared), return_counts=True)
    # A peak can fall into either of two frames
    is_next = np.diff(codes) == 1
    votes = counts.copy()
    votes[1:] += np.where(is_next, counts[:-1], 0)
    votes[:-1] += np.where(is_next, counts[1:], 0)
    is_best = votes >= _MIN_VOTES
    is_best[1:] &= ~is_next | (votes[1:] > votes[:-1])
    is_best[:-1] &= ~is_next | (votes[:-1] >= votes[1:])

    codes, votes = codes[is_best], votes[is_best]
    order = np.lexsort((-votes, codes >> 24))
    codes, pairs = codes[order], codes[order] >> 24
    is_first_or_second = np.concatenate([[True, True], pairs[2:] != pairs[:-2]])[: len(pairs)]
    codes, pairs = codes[is_first_or_second], pairs[is_first_or_second]
    first, second = np.divmod(pairs, len(landmarks))
    offsets = ((codes & (2 * zero - 1)) - zero) * (_HOP / _RATE)
    return list(zip(first.tolist(), second.tolist(), offsets.tolist(), strict=True))


def _common_seconds(first_seconds: float, second_seconds: float, offset: float) -> float:
    return min(first_seconds, offset + second_seconds) - max(0.0, offset)


def _similarity(
    first: Mapping[str, Any], second: Mapping[str, Any], first_seconds: float, second_seconds: float, offset: float
) -> tuple[float, float]:
    """Correlation of what two clips have in common at about this offset, and what is missing to it in seconds."""
    duration = _common_seconds(first_seconds, second_seconds, offset)
    waveforms = [_load(first, offset=max(0.0, offset), duration=duration)]
    waveforms.append(_load(second, offset=max(0.0, -offset), duration=duration))
    samples = min(map(len, waveforms))
    parts = max(1, round(samples / (_RATE * _SECONDS_COMPARED)))
    length = -(-samples // parts)
    fft_size = max(2048, 1 << (length - 1).bit_length())
    window = np.hanning(length + 2)[1:-1].astype(np.float32)
    spectra = []
    for waveform in waveforms:
        padded = np.pad(waveform[:samples], (0, parts * length - samples)).reshape(parts, length)
        spectra.append(_without_tones(np.fft.rfft(padded * window, fft_size)[:, :-1]))
    energy = np.sqrt(np.prod([np.square(np.abs(spectrum)).sum() for spectrum in spectra]))
    if energy == 0:
        return 0.0, 0.0
    correlation = np.fft.irfft(spectra[0].conj() * spectra[1], _OVERSAMPLING * fft_size)
    correlation *= _OVERSAMPLING * fft_size / 2 / energy
    most = _OVERSAMPLING * _MAX_LAG
    near = np.concatenate([correlation[:, -most:], correlation[:, : most + 1]], axis=1)
    lag = most - near.sum(0).argmax()
    return float(near.max(1).sum()), float(lag / (_OVERSAMPLING * _RATE))


def _without_tones(spectra: np.ndarray) -> np.ndarray:
    """
    Cut lines out of spectra `(parts, bins)`.

    Two steady tones of one pitch correlate perfectly, so that all recordings over the same drone would look alike.
    """
    sizes = np.abs(spectra)
    medians = np.median(sizes.reshape(len(sizes), _BANDS, -1), axis=2)
    limits = _MAX_OVER_MEDIAN * np.repeat(medians, sizes.shape[1] // _BANDS, axis=1)
    return spectra * np.minimum(1, limits / np.maximum(sizes, np.finfo(np.float32).tiny))
