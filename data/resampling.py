# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Changes the sampling rate of audio, block by block."""

import functools
import itertools
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import numpy as np


# The filter of `torchaudio.functional.resample`, with which the originals resample
_FILTER_WIDTH = 6
_ROLLOFF = 0.99

# NumPy resamples parts of this many values at once, 16 MiB
_VALUES_AT_ONCE = 2**22


def resampled_length(samples: int, from_rate: int, to_rate: int) -> int:
    """The number of samples that a recording of `samples` samples has after [`resample_blocks`]."""
    return math.ceil(samples * _ratio(from_rate, to_rate))


def samples_needed(first: int, stop: int | None, from_rate: int, to_rate: int) -> tuple[int, int | None, int]:
    """
    The samples of a recording that [`resample_blocks`] needs for a part of its result.

    Args:
        first: first sample of the part, counted in the result.
        stop: the sample after the part, or `None` for the end.

    Returns:
        The first sample to read, the sample after the last one, and how many samples of the result come before the
        part if one starts there.
    """
    if from_rate == to_rate:
        return first, stop, 0
    ratio = _ratio(from_rate, to_rate)
    old, new = ratio.denominator, ratio.numerator
    step = max(0, first // new - _margin(old, new))
    return step * old, None if stop is None else (stop // new + 1 + _margin(old, new)) * old, first - step * new


def resample_blocks(blocks: Iterable[np.ndarray], from_rate: int, to_rate: int) -> Iterator[np.ndarray]:
    """
    Resample a recording that comes in blocks.

    Args:
        blocks: mono samples `(samples,)`, float32, of any lengths.
        from_rate: sampling rate of the blocks in Hz.
        to_rate: sampling rate of the result in Hz.

    Yields:
        Mono samples, float32. Together they are what `torchaudio.functional.resample` makes of the whole recording.
    """
    if from_rate == to_rate:
        yield from blocks
        return
    ratio = _ratio(from_rate, to_rate)
    old, new = ratio.denominator, ratio.numerator
    resample = _resampler(old, new)
    margin = _margin(old, new)
    silence = np.zeros((margin + 1) * old, dtype=np.float32)
    pending = silence[old:]
    read = written = 0
    for block in itertools.chain(blocks, [None]):
        rest = None
        if block is None:
            block, rest = silence, resampled_length(read, from_rate, to_rate) - written
        else:
            read += len(block)
        pending = np.concatenate([pending, block])
        steps = len(pending) // old - 2 * margin
        if steps <= 0:
            continue
        resampled = resample(pending[: (steps + 2 * margin) * old])[margin * new : (margin + steps) * new][:rest]
        pending = pending[steps * old :]
        written += len(resampled)
        if len(resampled):
            yield resampled


@functools.lru_cache(maxsize=16)
def _resampler(old: int, new: int) -> Callable[[np.ndarray], np.ndarray]:
    """torchaudio's resampler from `old` to `new` samples where torch is loaded, and otherwise the same in NumPy."""
    if "torch" in sys.modules:  # in a worker that reads data, torch keeps to one thread, and NumPy does not
        try:
            return _torchaudio_resampler(old, new)
        except ImportError:
            pass
    return _numpy_resampler(old, new)


def _torchaudio_resampler(old: int, new: int) -> Callable[[np.ndarray], np.ndarray]:
    import torch
    import torchaudio

    settings = {"lowpass_filter_width": _FILTER_WIDTH, "rolloff": _ROLLOFF, "dtype": torch.float32}
    resample = torchaudio.transforms.Resample(old, new, **settings)
    return lambda samples: resample(torch.from_numpy(samples)).numpy()


def _numpy_resampler(old: int, new: int) -> Callable[[np.ndarray], np.ndarray]:
    cutoff = np.float32(min(old, new) * _ROLLOFF)
    reach = math.ceil(_FILTER_WIDTH * old / (min(old, new) * _ROLLOFF))
    # A sinc under a Hann window, as torchaudio computes it: in float32, with a column for each of the `new` samples
    places = np.arange(-reach, reach + old, dtype=np.float32)[:, None] / np.float32(old)
    places = (places + np.arange(0, -new, -1, dtype=np.float32) / np.float32(new)) * cutoff
    places = places.clip(-_FILTER_WIDTH, _FILTER_WIDTH)
    window = np.cos(places * np.float32(math.pi / _FILTER_WIDTH / 2)) ** 2
    filters = np.sinc(places) * window * (cutoff / np.float32(old))
    rows = max(1, _VALUES_AT_ONCE // len(filters))

    def resample(samples: np.ndarray) -> np.ndarray:
        padded = np.pad(samples, (reach, reach + old))
        parts = np.lib.stride_tricks.sliding_window_view(padded, len(filters))[::old]
        resampled = [parts[start : start + rows] @ filters for start in range(0, len(parts), rows)]
        return np.concatenate(resampled).reshape(-1)[: -(-len(samples) * new // old)]

    return resample


def _margin(old: int, new: int) -> int:
    """The filter reaches less than this number of steps of `old` samples to either side."""
    return math.ceil(_FILTER_WIDTH / (min(old, new) * _ROLLOFF)) + 1


def _ratio(from_rate: int, to_rate: int) -> Fraction:
    # The filter has a row for each step of the reduced ratio, so 44,101 to 16,000 Hz would take gigabytes. The ratios
    # of the usual rates are exact. With others, the pitch changes by less than a thousandth of a semitone.
    return Fraction(to_rate, from_rate).limit_denominator(1000)
