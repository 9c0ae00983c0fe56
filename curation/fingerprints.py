# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Fingerprints of clips: keys made of spectrogram peaks.

Peaks keep their places when a clip is scaled, resampled or encoded. Three neighbouring peaks make a key. A pitch shift
moves the peaks but keeps the intervals between them, so keys made of intervals find such copies, as in Panako (Six and
Leman, 2014).
"""

import itertools
from array import array
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch


RATE = 8000  # Hz, at which clips are compared
FFT_SIZE, HOP = 1024, 128
BLOCK = 2**19  # samples of a clip that are transformed at a time
_PEAK_BINS, _PEAK_FRAMES = 16, 10  # a peak is the highest value within this distance: 125 Hz and 0.16 s
_SILENCE = 1e-5  # amplitude of a sine, -100 dBFS: softer sounds make no peak
_RANGE = 1e-3  # nor do sounds 60 dB below the clip's loudest peak
_PEAKS = 2**16  # of a clip, of which keys are made at a time
_FAN_OUT = 5  # a peak makes keys with every two of this many peaks that follow it ...
_FAN_FRAMES = 63  # ... within a second
_CONTEXT_SPAN = 2**11  # above the differences of two steps in bins or in semitones

# Keys of intervals
_LOWEST_PEAK = 8  # bin: below it, intervals are too inexact for keys
_STEPS = 60  # per octave, for the intervals in a key
_CONTEXT_SEMITONES = 0.5  # the unit of the first step in a context
_GAP_STEPS = 2  # per octave, for the time gaps in a key: most survive a change of speed by 3 semitones


class Keys(NamedTuple):
    """
    The keys of a clip, each at its first place.

    Attributes:
        keys: `(number,)`, int64, unique.
        frames: `(number,)`, int32, where a key first occurs.
        pitches: `(number,)`, float32, mean pitch of its peaks there in semitones; 0 for keys not made of intervals.
        contexts: `(number,)`, float32, the steps from its last peak to the next one and from there to the one after
            it, in one number. Of many clips that share a key, those with the same audio have nearly the same context.
    """

    keys: np.ndarray
    frames: np.ndarray
    pitches: np.ndarray
    contexts: np.ndarray


class Landmarks(NamedTuple):
    """The keys of a clip, those made of intervals, and its length in seconds."""

    keys: Keys
    interval_keys: Keys
    seconds: float


def find_landmarks(waveforms: Iterable[np.ndarray]) -> Landmarks:
    """The landmarks of a clip that comes in parts of `BLOCK` samples at `RATE`; the last one may be shorter."""
    # Of the peaks: bins, frames, heights, and distances to the bins in bins. Small arrays, some for each block, would
    # lie between the large ones of the next blocks, and the memory of those could not be used again.
    peaks: tuple[array, ...] = array("q"), array("q"), array("f"), array("f")
    samples = 0
    for waveform in waveforms:
        spectrogram = magnitudes(waveform)
        highest = _highest_around(_highest_around(spectrogram, _PEAK_FRAMES).T, _PEAK_BINS).T
        is_peak = (spectrogram == highest) & (spectrogram > _SILENCE * FFT_SIZE / 4)
        frame, bin_ = is_peak.T.nonzero(as_tuple=True)  # transposed, so that they are sorted by time
        # The vertex of a parabola through the logarithms of a peak and its neighbours
        inner = bin_.clamp(1, FFT_SIZE // 2 - 1)
        below, middle, above = (spectrogram[inner + step, frame].clamp(min=1e-9).log() for step in (-1, 0, 1))
        fraction = ((below - above) / (2 * (below - 2 * middle + above))).nan_to_num().clamp(-0.5, 0.5)
        block = bin_, frame + samples // HOP, spectrogram[bin_, frame], fraction
        for all_values, values in zip(peaks, block, strict=True):
            all_values.frombytes(values.numpy().tobytes())
        samples += len(waveform)
    bins, frames, heights, fractions = (np.array(values) for values in peaks)
    is_loud = heights > _RANGE * heights.max(initial=0)
    bins, frames, fractions = bins[is_loud], frames[is_loud], fractions[is_loud]
    is_exact = (bins >= _LOWEST_PEAK) & (bins < FFT_SIZE // 2)
    pitches = 12 * np.log2((bins + fractions)[is_exact])
    keys = _in_parts(_find_keys, bins, frames)
    return Landmarks(keys, _in_parts(_find_interval_keys, pitches, frames[is_exact]), samples / RATE)


def _in_parts(find: Callable[[np.ndarray, np.ndarray], Keys], values: np.ndarray, frames: np.ndarray) -> Keys:
    """The keys that a function finds in the peaks of a clip, which it gets a part at a time."""
    starts = range(0, max(1, len(frames)), _PEAKS)
    parts = [find(values[start : start + _PEAKS + _FAN_OUT], frames[start:][: _PEAKS + _FAN_OUT]) for start in starts]
    if len(parts) == 1:
        return parts[0]
    keys, *columns = map(np.concatenate, zip(*parts, strict=True))
    keys, places = np.unique(keys, return_index=True)  # of each key its first place, because the parts are in order
    return Keys(keys, *(column[places] for column in columns))


def _find_keys(bins: np.ndarray, frames: np.ndarray) -> Keys:
    keys, anchors, contexts = [], [], []
    contexts_of_peaks = _contexts(bins, 1)
    for first, second, third in _triples(len(bins)):
        gaps = frames[second] - frames[first], frames[third] - frames[second]
        key = bins[first]
        for value, bits in ((bins[second], 10), (bins[third], 10), (gaps[0], 6), (gaps[1], 6)):
            key = (key << bits) + value
        is_near = sum(gaps) <= _FAN_FRAMES
        keys.append(key[is_near])
        anchors.append(frames[first][is_near])
        contexts.append(contexts_of_peaks[third][is_near])
    all_keys = np.concatenate(keys)
    return _each_once(all_keys, np.concatenate(anchors), np.zeros(len(all_keys)), np.concatenate(contexts))


def _find_interval_keys(pitches: np.ndarray, frames: np.ndarray) -> Keys:
    """Keys that do not change when all `pitches`, in semitones, are shifted."""
    keys, anchors, means, contexts = [], [], [], []
    contexts_of_peaks = _contexts(pitches, _CONTEXT_SEMITONES)
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
        contexts.append(contexts_of_peaks[third][is_near])
    return _each_once(*map(np.concatenate, (keys, anchors, means, contexts)))


def _contexts(values: np.ndarray, unit: float) -> np.ndarray:
    """
    For each peak the step to the next one, in whole units, and the step from there to the one after it, in one number
    that sorts by the first and then by the second. Steps beyond the last peak are 0.
    """
    steps = np.diff(values, append=values[-1:])
    return np.round(steps / unit) * _CONTEXT_SPAN + np.append(steps[1:], np.zeros(min(1, len(steps))))


def _triples(number: int) -> Iterable[tuple[slice, slice, slice]]:
    """Slices of the peaks that make keys: each peak with two of the next ones."""
    for one, two in itertools.combinations(range(1, _FAN_OUT + 1), 2):
        length = max(0, number - two)
        yield slice(0, length), slice(one, one + length), slice(two, two + length)


def _each_once(keys: np.ndarray, frames: np.ndarray, pitches: np.ndarray, contexts: np.ndarray) -> Keys:
    """Each key at its first place. A held tone, which repeats its keys, would otherwise fill the index."""
    order = np.argsort(frames, kind="stable")
    keys, places = np.unique(keys[order], return_index=True)
    places = order[places]
    frames, pitches, contexts = frames[places], pitches[places], contexts[places]
    return Keys(keys, frames.astype(np.int32), pitches.astype(np.float32), contexts.astype(np.float32))


def magnitudes(waveform: np.ndarray) -> torch.Tensor:
    """Magnitudes `(bins, frames)` of a waveform `(samples,)`."""
    window = torch.hann_window(FFT_SIZE)
    return torch.stft(
        torch.from_numpy(waveform), FFT_SIZE, HOP, window=window, pad_mode="constant", return_complex=True
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
