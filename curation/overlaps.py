# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Finds clips with the same audio: copies, and chunks of a recording that overlap. Only the audio is compared.

Spectrogram peaks keep their places when a clip is scaled, resampled or encoded. Three neighbouring peaks make a key.
Clips that share several keys at the same distance in time are candidates, and the correlation of their waveforms
decides.

A pitch shift moves the peaks but keeps the intervals between them. Keys made of intervals find such copies, as in
Panako (Six and Leman, 2014): candidates share several keys at the same distance in pitch and in time. The copy may
also be faster, by the same factor as its pitch is higher. The waveforms of such copies do not correlate. Their
spectrograms over log-frequency do, after sounds that are present all the time, such as a drone, are removed.
"""

import itertools
import logging
import os
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch

from ..data.audio import AudioFileError, load_audio
from ..data.grid import WindowGrid, stream_windows
from ..data.readable import BadClip, audio_file, clip_name


logger = logging.getLogger(__name__)


_RATE = 8000  # Hz, at which clips are compared
_FFT_SIZE, _HOP = 1024, 128
_BLOCK = 2**19  # samples of a clip that are transformed at a time
_PEAK_BINS, _PEAK_FRAMES = 16, 10  # a peak is the highest value within this distance: 125 Hz and 0.16 s
_SILENCE = 1e-5  # amplitude of a sine, -100 dBFS: softer sounds make no peak
_RANGE = 1e-3  # nor do sounds 60 dB below the clip's loudest peak
_PEAKS = 2**16  # of a clip, of which keys are made at a time
_FAN_OUT = 5  # a peak makes keys with every two of this many peaks that follow it ...
_FAN_FRAMES = 63  # ... within a second
# A key that occurs in many clips, for example in a jingle, pairs each of them only with this many of the next ones
_NEIGHBOURS = 32
_MIN_VOTES = 4  # keys that a pair must share at one distance
_SECONDS_COMPARED = 4.0  # at a time, so that clocks may differ a little
_MAX_LAG = 2 * _HOP
_OVERSAMPLING = 4  # of the correlation: an error of half a sample would invert high frequencies
_BANDS = 128
_MAX_OVER_MEDIAN = 3.0

# Copies with a pitch shift
_LOWEST_PEAK = 8  # bin: below it, intervals are too inexact for keys
_STEPS = 60  # per octave, for the intervals in a key
_GAP_STEPS = 2  # per octave, for the time gaps in a key: most survive a change of speed by 3 semitones
_CELLS, _CELL_FRAMES = 4, 4  # keys are counted in cells of a quarter semitone and 64 ms
_MIN_SEMITONES = 0.25  # below it, drones that are slightly out of tune with each other would fill the cells
_VOTES_PER_KEY = 1e-3  # of the clip that has fewer keys, in addition to `_MIN_VOTES`
_MIN_SHIFTED_SECONDS = 2.0  # single notes of one instrument are shifted copies of each other
_MOST_SHIFTED_SECONDS = 60.0  # of a pair that are compared
_MOST_SECONDS = 600.0  # of a pair without a pitch shift that are compared
_LOWEST, _HIGHEST = 150.0, 3500.0  # Hz, the range that is compared ...
_BINS = 36  # ... with this many frequencies per octave
_MAX_FRAMES_OFF = 6
# Measured: shifted copies of recordings have at least 0.67, those of the `ragas` dataset 0.83. Other clips of that
# dataset have at most 0.36.
_MIN_SHIFTED_SIMILARITY = 0.6


class Overlap(NamedTuple):
    """
    Two clips with the same audio.

    Attributes:
        first, second: indices of the clips; `first` is the lower one.
        offset: where the second clip begins in the first, in seconds; negative if it begins earlier.
        seconds: length of the common audio. If the second clip is also faster, `offset` and `seconds` are measured in
            the first.
        similarity: correlation of the common audio, at most 1.
        semitones: how much higher the second clip is; 0 without a pitch shift.
    """

    first: int
    second: int
    offset: float
    seconds: float
    similarity: float
    semitones: float = 0.0


@dataclass(frozen=True)
class InferredRecordings:
    """
    Clips with the recordings that their audio shows.

    Attributes:
        clips: the clips with these recordings, `group_0`, `group_1` and so on, in the column `recording`.
        overlaps: the pairs of clips with the same audio, sorted.
        unreadable: the clips that cannot be read. Each of them counts as a recording.
    """

    clips: datasets.Dataset
    overlaps: list[Overlap]
    unreadable: list[BadClip]


def find_overlaps(
    clips: datasets.Dataset,
    *,
    sides: Sequence[int] | None = None,
    min_similarity: float = 0.85,
    max_semitones: float = 3.0,
) -> tuple[list[Overlap], list[BadClip]]:
    """
    Find the pairs of clips with the same audio, with progress bars.

    These are copies, and chunks that overlap by at least a second or by half of the shorter clip, at any level,
    sampling rate and encoding. Common silence or a common steady tone alone does not count. If more than 32 clips have
    the same audio, some of their pairs are left out, but enough are reported to connect all of them.

    Copies and chunks with a pitch shift of at least a quarter of a semitone are found too if they overlap by two
    seconds. Their speed is the same, or has changed with the pitch as in faster playback.

    Args:
        clips: column `audio` (`Audio(decode=False)`).
        sides: a number for each clip. If given, only pairs of clips with different numbers are searched.
        min_similarity: lowest similarity of a reported pair without a pitch shift. Pairs with a pitch shift have a
            fixed limit, as their similarity is measured on another scale.
        max_semitones: largest pitch shift up or down, at most 6; 0 to search no copies with a pitch shift.

    Returns:
        The pairs, sorted, and the clips that cannot be read.

    Raises:
        ValueError: no clip can be read, `min_similarity` is not between 0 and 1, `max_semitones` is not from 0 to 6,
            or there are not as many `sides` as clips.
    """
    if not 0 < min_similarity < 1:
        raise ValueError(f"min_similarity must lie between 0 and 1, got {min_similarity}.")
    if not 0 <= max_semitones <= 6:
        raise ValueError(f"max_semitones must be from 0 to 6, got {max_semitones}.")
    if sides is not None and len(sides) != len(clips):
        raise ValueError(f"{len(sides)} sides were given for {len(clips)} clips.")
    clips = clips.select_columns("audio")
    landmarks, unreadable = [], []
    for result in _in_threads(partial(_read_landmarks, clips), range(len(clips)), "Reading"):
        if isinstance(result, BadClip):
            unreadable.append(result)
            result = _find_landmarks([])
        landmarks.append(result)
    if len(unreadable) == len(clips):
        reason = f" The first: {unreadable[0].reason}" if unreadable else ""
        raise ValueError(f"None of the {len(clips)} clips can be read.{reason}")

    def compare(candidate: _Candidate) -> Overlap | None:
        first, second, offset, semitones, speed = candidate
        seconds = landmarks[first].seconds, landmarks[second].seconds * speed
        shortest = _MIN_SHIFTED_SECONDS if semitones else min(1.0, min(seconds) / 2)
        if _common_seconds(*seconds, offset) < shortest:
            return None
        audio = clips[first]["audio"], clips[second]["audio"]
        if semitones:
            similarity, lag = _shifted_similarity(*audio, *seconds, offset, semitones, speed)
        else:
            similarity, lag = _similarity(*audio, *seconds, offset)
        if similarity < (_MIN_SHIFTED_SIMILARITY if semitones else min_similarity):
            return None
        common = _common_seconds(*seconds, offset + lag)
        return Overlap(first, second, offset + lag, common, similarity, semitones)

    best: dict[tuple[int, int], Overlap] = {}

    def compare_all(candidates: list[_Candidate], description: str) -> None:
        for overlap in _in_threads(compare, candidates, description):
            if overlap is not None:
                best[overlap[:2]] = max(overlap, best.get(overlap[:2], overlap), key=lambda one: one.similarity)

    compare_all(_find_candidates([one.keys for one in landmarks], sides), "Comparing")
    if max_semitones > 0:
        shifted = _find_shifted_candidates([one.interval_keys for one in landmarks], sides, max_semitones)
        compare_all([one for one in shifted if one[:2] not in best], "Comparing shifted")
    return [best[pair] for pair in sorted(best)], unreadable


def infer_groups(num_clips: int, overlaps: Iterable[Overlap]) -> np.ndarray:
    """
    Group the clips that are connected by overlaps.

    Args:
        num_clips: number of clips.
        overlaps: pairs of clips with the same audio.

    Returns:
        `(num_clips,)`, int64: the group of each clip. Groups are numbered in the order of their first clips.
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


def infer_recordings(clips: datasets.Dataset) -> InferredRecordings:
    """
    Find out which clips come from the same recording, with progress bars: those that are connected by common audio.

    Args:
        clips: column `audio` (`Audio(decode=False)`). A column `recording` is replaced.

    Returns:
        The clips with their recordings. Their number is logged.

    Raises:
        ValueError: no clip can be read, or the clips have groups.
    """
    if "group" in clips.column_names:
        raise ValueError(
            "The clips have groups to split by, which recordings from the audio would cut. Leave out infer_groups "
            "(--infer-groups), or set group_by to `recording` (--group-by recording)."
        )
    overlaps, unreadable = find_overlaps(clips)
    recordings = [f"group_{group}" for group in infer_groups(len(clips), overlaps).tolist()]
    logger.info(f"{len(set(recordings))} recordings inferred from the audio of {len(clips)} clips")
    if "recording" in clips.column_names:
        clips = clips.remove_columns("recording")
    clips = clips.add_column("recording", recordings, feature=datasets.Value("string"))
    return InferredRecordings(clips, overlaps, unreadable)


class _Keys(NamedTuple):
    keys: np.ndarray  # (number,), int64, unique
    frames: np.ndarray  # (number,), int32, where a key first occurs
    pitches: np.ndarray  # (number,), float32, mean pitch of its peaks there, in semitones


class _Landmarks(NamedTuple):
    keys: _Keys
    interval_keys: _Keys
    seconds: float


class _Candidate(NamedTuple):
    first: int
    second: int
    offset: float  # in seconds
    semitones: float = 0.0
    speed: float = 1.0  # of the second


def _in_threads(function: Callable[[Any], Any], items: Sequence[Any], description: str) -> Iterable[Any]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from datasets.utils.tqdm(pool.map(function, items), total=len(items), desc=description)


def _read_landmarks(clips: datasets.Dataset, row: int) -> _Landmarks | BadClip:
    audio = clips[row]["audio"]
    try:
        return _find_landmarks(stream_windows(audio_file(audio), _RATE, WindowGrid(_BLOCK, _BLOCK)))
    except AudioFileError as error:
        return BadClip(clip_name(audio, row), str(error))


def _load(audio: Mapping[str, Any] | None, **part: float) -> np.ndarray:
    return load_audio(audio_file(audio), _RATE, **part)


def _find_landmarks(waveforms: Iterable[np.ndarray]) -> _Landmarks:
    """The landmarks of a clip that comes in parts of `_BLOCK` samples at `_RATE`; the last one may be shorter."""
    # Of the peaks: bins, frames, heights, and distances to the bins in bins. Small arrays, some for each block, would
    # lie between the large ones of the next blocks, and the memory of those could not be used again.
    peaks: tuple[array, ...] = array("q"), array("q"), array("f"), array("f")
    samples = 0
    for waveform in waveforms:
        spectrogram = _spectrogram(waveform)
        highest = _highest_around(_highest_around(spectrogram, _PEAK_FRAMES).T, _PEAK_BINS).T
        is_peak = (spectrogram == highest) & (spectrogram > _SILENCE * _FFT_SIZE / 4)
        frame, bin_ = is_peak.T.nonzero(as_tuple=True)  # transposed, so that they are sorted by time
        # The vertex of a parabola through the logarithms of a peak and its neighbours
        inner = bin_.clamp(1, _FFT_SIZE // 2 - 1)
        below, middle, above = (spectrogram[inner + step, frame].clamp(min=1e-9).log() for step in (-1, 0, 1))
        fraction = ((below - above) / (2 * (below - 2 * middle + above))).nan_to_num().clamp(-0.5, 0.5)
        block = bin_, frame + samples // _HOP, spectrogram[bin_, frame], fraction
        for all_values, values in zip(peaks, block, strict=True):
            all_values.frombytes(values.numpy().tobytes())
        samples += len(waveform)
    bins, frames, heights, fractions = (np.array(values) for values in peaks)
    is_loud = heights > _RANGE * heights.max(initial=0)
    bins, frames, fractions = bins[is_loud], frames[is_loud], fractions[is_loud]
    is_exact = (bins >= _LOWEST_PEAK) & (bins < _FFT_SIZE // 2)
    pitches = 12 * np.log2((bins + fractions)[is_exact])
    keys = _in_parts(_find_keys, bins, frames)
    return _Landmarks(keys, _in_parts(_find_interval_keys, pitches, frames[is_exact]), samples / _RATE)


def _in_parts(find: Callable[[np.ndarray, np.ndarray], _Keys], values: np.ndarray, frames: np.ndarray) -> _Keys:
    """The keys that a function finds in the peaks of a clip, which it gets a part at a time."""
    starts = range(0, max(1, len(frames)), _PEAKS)
    parts = [find(values[start : start + _PEAKS + _FAN_OUT], frames[start:][: _PEAKS + _FAN_OUT]) for start in starts]
    if len(parts) == 1:
        return parts[0]
    keys, frames, pitches = map(np.concatenate, zip(*parts, strict=True))
    keys, places = np.unique(keys, return_index=True)  # of each key its first place, because the parts are in order
    return _Keys(keys, frames[places], pitches[places])


def _find_keys(bins: np.ndarray, frames: np.ndarray) -> _Keys:
    keys, anchors = [], []
    for first, second, third in _triples(len(bins)):
        gaps = frames[second] - frames[first], frames[third] - frames[second]
        key = bins[first]
        for value, bits in ((bins[second], 10), (bins[third], 10), (gaps[0], 6), (gaps[1], 6)):
            key = (key << bits) + value
        is_near = sum(gaps) <= _FAN_FRAMES
        keys.append(key[is_near])
        anchors.append(frames[first][is_near])
    all_keys = np.concatenate(keys)
    return _each_once(all_keys, np.concatenate(anchors), np.zeros(len(all_keys)))


def _find_interval_keys(pitches: np.ndarray, frames: np.ndarray) -> _Keys:
    """Keys that do not change when all `pitches`, in semitones, are shifted."""
    keys, anchors, means = [], [], []
    gap_codes = np.round(_GAP_STEPS * np.log2(1 + np.arange(_FAN_FRAMES + 1))).astype(np.int64)
    for first, second, third in _triples(len(pitches)):
        gaps = frames[second] - frames[first], frames[third] - frames[second]
        # Simultaneous peaks are left out: the harmonics of a drone are the same in every recording
        is_near = (sum(gaps) <= _FAN_FRAMES) & (sum(gaps) > 0)
        one, two, three = (pitches[place][is_near] for place in (first, second, third))
        key = np.zeros(len(one), np.int64)
        for interval in (two - one, three - one):
            key = (key << 10) + np.round(_STEPS / 12 * interval).astype(np.int64) + 512
        for gap in gaps:
            key = (key << 6) + gap_codes[gap[is_near]]
        keys.append(key)
        anchors.append(frames[first][is_near])
        means.append((one + two + three) / 3)
    return _each_once(*map(np.concatenate, (keys, anchors, means)))


def _triples(number: int) -> Iterable[tuple[slice, slice, slice]]:
    """Slices of the peaks that make keys: each peak with two of the next ones."""
    for one, two in itertools.combinations(range(1, _FAN_OUT + 1), 2):
        length = max(0, number - two)
        yield slice(0, length), slice(one, one + length), slice(two, two + length)


def _each_once(keys: np.ndarray, frames: np.ndarray, pitches: np.ndarray) -> _Keys:
    """Each key at its first place. A held tone, which repeats its keys, would otherwise fill the index."""
    order = np.argsort(frames, kind="stable")
    keys, places = np.unique(keys[order], return_index=True)
    places = order[places]
    return _Keys(keys, frames[places].astype(np.int32), pitches[places].astype(np.float32))


def _spectrogram(waveform: np.ndarray) -> torch.Tensor:
    """Magnitudes `(bins, frames)` of a waveform `(samples,)`."""
    window = torch.hann_window(_FFT_SIZE)
    return torch.stft(
        torch.from_numpy(waveform), _FFT_SIZE, _HOP, window=window, pad_mode="constant", return_complex=True
    ).abs()


def _highest_around(values: torch.Tensor, reach: int) -> torch.Tensor:
    """The maximum over `reach` neighbours to either side in rows of positive values. Faster than `max_pool2d`."""
    values = torch.nn.functional.pad(values, (reach, reach))
    width, missing = 1, 2 * reach
    while missing:
        step = min(width, missing)
        values = torch.maximum(values[:, :-step], values[:, step:])
        width, missing = width + step, missing - step
    return values


def _find_candidates(keys: list[_Keys], sides: Sequence[int] | None) -> list[_Candidate]:
    """Pairs of clips that share keys, each with the two offsets at which they share the most keys; sorted."""
    matches = _match(keys, sides, 0.0, 0.0)
    # A pair and its offset in one number: 24 bits cover offsets of a day and a half
    zero = 1 << 23
    pairs = matches.first.astype(np.int64) * len(keys) + matches.second
    cells = (pairs << 24) + matches.first_frames - matches.second_frames + zero
    best, _ = _fullest(*np.unique(cells, return_counts=True), 24)
    first, second = np.divmod(best >> 24, len(keys))
    offsets = ((best & (2 * zero - 1)) - zero) * (_HOP / _RATE)
    return [_Candidate(*one) for one in zip(first.tolist(), second.tolist(), offsets.tolist(), strict=True)]


def _find_shifted_candidates(keys: list[_Keys], sides: Sequence[int] | None, max_semitones: float) -> list[_Candidate]:
    """Pairs of clips that share keys of intervals, each with the two shifts at which they share the most; sorted."""
    matches = _match(keys, sides, _MIN_SEMITONES, max_semitones + _MIN_SEMITONES)
    pairs = matches.first.astype(np.int64) * len(keys) + matches.second
    # Bits of a cell: the pair, 1 for a change of speed, 6 for the shift, 22 for the offset
    zero, zero_shift = 1 << 21, 1 << 5
    cells_of_matches, offsets_of_matches = [], []
    for speed in (0, 1):
        offset = matches.first_frames - matches.second_frames * 2 ** (speed * matches.semitones / 12)
        cell = (((pairs << 1) + speed) << 6) + np.round(_CELLS * matches.semitones).astype(np.int64) + zero_shift
        cells_of_matches.append((cell << 22) + np.round(offset / _CELL_FRAMES).astype(np.int64) + zero)
        offsets_of_matches.append(offset)
    cells, places, counts = np.unique(np.concatenate(cells_of_matches), return_inverse=True, return_counts=True)
    shifts = np.bincount(places, np.tile(matches.semitones, 2), len(cells)) / counts
    offsets = np.bincount(places, np.concatenate(offsets_of_matches), len(cells)) / counts * (_HOP / _RATE)

    best, votes = _fullest(cells, counts, 29)
    places = np.searchsorted(cells, best)
    number = np.array([len(one.keys) for one in keys])
    first, second = np.divmod(best >> 29, len(keys))
    enough = votes >= _MIN_VOTES + _VOTES_PER_KEY * np.minimum(number[first], number[second])
    speeds = np.where((best >> 28) & 1 == 1, 2 ** (shifts[places] / 12), 1.0)
    columns = first, second, offsets[places], shifts[places], speeds
    return [_Candidate(*one) for one in zip(*(column[enough].tolist() for column in columns), strict=True)]


class _Matches(NamedTuple):
    """Where two clips share a key; each array has the shape `(number,)`."""

    first: np.ndarray
    second: np.ndarray
    first_frames: np.ndarray
    second_frames: np.ndarray
    semitones: np.ndarray  # how much higher the second is


def _match(keys: list[_Keys], sides: Sequence[int] | None, min_semitones: float, max_semitones: float) -> _Matches:
    side_of_clip = np.arange(len(keys)) if sides is None else np.asarray(sides)
    clips = np.repeat(np.arange(len(keys), dtype=np.int32), [len(one.keys) for one in keys])
    values, frames, pitches = map(np.concatenate, zip(*keys, strict=True))
    order = np.argsort(values, kind="stable")
    values, frames, pitches, clips = values[order], frames[order], pitches[order], clips[order]
    places = [np.empty((2, 0), np.int64)]
    for distance in range(1, _NEIGHBOURS + 1):
        near = (values[distance:] == values[:-distance]).nonzero()[0]
        if len(near) == 0:
            break
        semitones = np.abs(pitches[near + distance] - pitches[near])
        is_wanted = (min_semitones <= semitones) & (semitones <= max_semitones)
        near = near[is_wanted & (side_of_clip[clips[near]] != side_of_clip[clips[near + distance]])]
        places.append(np.stack([near, near + distance]))
    first, second = np.concatenate(places, axis=1)
    return _Matches(clips[first], clips[second], frames[first], frames[second], pitches[second] - pitches[first])


def _fullest(cells: np.ndarray, counts: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """
    The two cells of each pair with the most votes, and their votes, sorted by pair.

    Args:
        cells: `(cells,)`, int64, sorted; cells that are neighbours in time have consecutive numbers.
        counts: `(cells,)`, int64, votes of the cells.
        bits: number of bits of a cell below those of its pair.
    """
    # A peak can fall into either of two neighbouring frames
    is_next = np.diff(cells) == 1
    votes = counts.copy()
    votes[1:] += np.where(is_next, counts[:-1], 0)
    votes[:-1] += np.where(is_next, counts[1:], 0)
    is_best = votes >= _MIN_VOTES
    is_best[1:] &= ~is_next | (votes[1:] > votes[:-1])
    is_best[:-1] &= ~is_next | (votes[:-1] >= votes[1:])

    cells, votes = cells[is_best], votes[is_best]
    order = np.lexsort((-votes, cells >> bits))
    cells, votes = cells[order], votes[order]
    pairs = cells >> bits
    is_first_or_second = np.concatenate([[True, True], pairs[2:] != pairs[:-2]])[: len(pairs)]
    return cells[is_first_or_second], votes[is_first_or_second]


def _common_seconds(first_seconds: float, second_seconds: float, offset: float) -> float:
    return min(first_seconds, offset + second_seconds) - max(0.0, offset)


def _similarity(
    first: Mapping[str, Any], second: Mapping[str, Any], first_seconds: float, second_seconds: float, offset: float
) -> tuple[float, float]:
    """Correlation of the common audio of two clips near this offset, and the correction of the offset in seconds."""
    duration = _common_seconds(first_seconds, second_seconds, offset)
    begin = max(0.0, offset) + max(0.0, duration - _MOST_SECONDS) / 2
    duration = min(duration, _MOST_SECONDS)
    waveforms = [_load(first, offset=begin, duration=duration)]
    waveforms.append(_load(second, offset=begin - offset, duration=duration))
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
    Remove spectral lines from spectra `(parts, bins)`.

    Two steady tones of the same pitch correlate perfectly, so all recordings over the same drone would look alike.
    """
    sizes = np.abs(spectra)
    medians = np.median(sizes.reshape(len(sizes), _BANDS, -1), axis=2)
    limits = _MAX_OVER_MEDIAN * np.repeat(medians, sizes.shape[1] // _BANDS, axis=1)
    return spectra * np.minimum(1, limits / np.maximum(sizes, np.finfo(np.float32).tiny))


def _shifted_similarity(
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    first_seconds: float,
    second_seconds: float,
    offset: float,
    semitones: float,
    speed: float,
) -> tuple[float, float]:
    """As `_similarity`, for spectrograms; `second_seconds` is measured in the time of the first clip."""
    begin, duration = max(0.0, offset), _common_seconds(first_seconds, second_seconds, offset)
    begin += max(0.0, duration - _MOST_SHIFTED_SECONDS) / 2
    duration = min(duration, _MOST_SHIFTED_SECONDS)
    ratio = 2 ** (semitones / 12)
    lowest, highest = _LOWEST / min(1, ratio), _HIGHEST / max(1, ratio)
    frequencies = lowest * 2 ** (np.arange(int(_BINS * np.log2(highest / lowest))) / _BINS)
    frames = np.arange(int(duration * _RATE / _HOP))
    spectrograms = []
    for audio, start, scale, pace in ((first, begin, 1.0, 1.0), (second, (begin - offset) / speed, ratio, speed)):
        waveform = _load(audio, offset=start, duration=duration / pace)
        bins = frequencies * scale * _FFT_SIZE / _RATE
        loudness = _interpolate(_interpolate(_spectrogram(waveform), bins).T, frames / pace).T.sqrt().numpy()
        spectrograms.append(loudness - np.median(loudness, axis=1, keepdims=True))
    here = spectrograms[0][:, _MAX_FRAMES_OFF : len(frames) - _MAX_FRAMES_OFF]
    similarities = []
    for start in range(2 * _MAX_FRAMES_OFF + 1):
        there = spectrograms[1][:, start : start + here.shape[1]]
        covariance = np.mean(here * there) - here.mean() * there.mean()
        similarities.append(covariance / max(here.std() * there.std(), np.finfo(np.float32).tiny))
    lag = _MAX_FRAMES_OFF - int(np.argmax(similarities))
    return float(max(similarities)), lag * _HOP / _RATE


def _interpolate(values: torch.Tensor, places: np.ndarray) -> torch.Tensor:
    """Rows of `values`, interpolated at fractional `places`; the last row beyond it."""
    fractional = torch.from_numpy(places).float().clamp(max=len(values) - 1)
    rows = fractional.long()
    return values[rows].lerp(values[(rows + 1).clamp(max=len(values) - 1)], (fractional - rows)[:, None])
