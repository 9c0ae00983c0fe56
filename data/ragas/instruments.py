# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Instruments: from a performed melody to sound."""

from collections.abc import Callable

import numpy as np

from .performance import CONTROL_RATE, Contour, smooth


SAMPLING_RATE = 16_000
SAMPLES_PER_FRAME = SAMPLING_RATE // CONTROL_RATE

# Returns the amplitudes of the harmonics, `(harmonics, frames)`, for a contour and its pitch `(frames,)` in Hz
Instrument = Callable[[Contour, np.ndarray, np.random.Generator], np.ndarray]


def resonances_at(
    frequency: np.ndarray, centres: np.ndarray, widths: np.ndarray | np.floating, gains: np.ndarray | np.floating
) -> np.ndarray:
    """Sum of resonance curves at `frequency`; the other arguments have the resonances as their first axis."""
    return (gains / np.sqrt(1 + ((frequency - centres) / (widths / 2)) ** 2)).sum(0)


def _plucked_string(contour: Contour, pitch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Like a veena: plucked near its end. Higher harmonics decay faster, and a note rings on through a breath."""
    k = np.arange(1, 25)[:, None]
    shape = np.abs(np.sin(np.pi * k * rng.uniform(0.08, 0.2))) / k ** rng.uniform(0.7, 1.1)
    ring = rng.uniform(1.5, 3.0) / (1 + rng.uniform(0.1, 0.3) * k)
    return shape * np.exp(-contour.since_onset / ring) * (0.3 + 0.7 * contour.loudness)


def _bowed_string(contour: Contour, pitch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Like a violin: a sawtooth through the resonances of a wooden body."""
    k = np.arange(1, 25)[:, None]
    centres = np.array([280, 460, 700, 1150, 2600]) * rng.uniform(0.9, 1.1, size=5)
    body = 0.15 + resonances_at(
        k * pitch, *(x[:, None, None] for x in (centres, centres * 0.2, rng.uniform(0.4, 1.2, 5)))
    )
    return body / k ** rng.uniform(0.8, 1.2) * contour.loudness


def _flute(contour: Contour, pitch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Like a bamboo flute: few harmonics, and more of them if it is louder."""
    k = np.arange(1, 9)[:, None]
    shape = np.concatenate([[1, rng.uniform(0.2, 0.6), rng.uniform(0.1, 0.4)], rng.uniform(0.02, 0.1, size=5)])[
        :, None
    ]
    return shape * (contour.loudness + 1e-6) ** (0.8 + 0.25 * k)


# The first three formants, in Hz, of an adult man's vowels a, e, i, o and u (Peterson and Barney, 1952)
_FORMANTS = np.array([[730, 1090, 2440], [530, 1840, 2480], [270, 2290, 3010], [570, 840, 2410], [300, 870, 2240]])


def _voice(contour: Contour, pitch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Like a singer: a glottal pulse through the formants of a vowel that changes at random. Most vowels are a."""
    k = np.arange(1, 25)[:, None]
    tract = rng.uniform(1.0, 1.2)  # women's formants are up to 20 % higher
    syllable = np.cumsum(rng.random(contour.note[-1] + 1) < 0.2)
    vowels = rng.choice(5, size=syllable[-1] + 1, p=[0.5, 0.15, 0.1, 0.15, 0.1])[syllable[contour.note]]
    centres = [tract * smooth(_FORMANTS[vowels, i].astype(float), 0.08) for i in range(3)]
    resonances = [
        resonances_at(k * pitch, centre, np.float32(width), np.float32(gain))
        for centre, width, gain in zip(
            [c[None, None] for c in centres],
            (90, 130, 220),
            (1.0, rng.uniform(0.3, 0.7), rng.uniform(0.1, 0.3)),
            strict=True,
        )
    ]
    return sum(resonances) / k ** rng.uniform(0.5, 0.9) * contour.loudness


# For each timbre the instrument, its octaves above the drone, and the highest level of its breath or bow noise
INSTRUMENTS: dict[str, tuple[Instrument, int, float]] = {
    "plucked string": (_plucked_string, 0, 0.002),
    "bowed string": (_bowed_string, 0, 0.02),
    "flute": (_flute, 1, 0.06),
    "voice": (_voice, 0, 0.04),
}
TIMBRES = tuple(INSTRUMENTS)


def upsample(values: np.ndarray) -> np.ndarray:
    """Interpolate `(frames,)` values at the control rate to `(frames * SAMPLES_PER_FRAME,)` samples."""
    steps = np.diff(values, append=values[-1:])
    ramp = np.arange(SAMPLES_PER_FRAME, dtype=np.float32) / SAMPLES_PER_FRAME
    return (values[:, None] + steps[:, None] * ramp).ravel()


def sum_of_harmonics(pitch: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    """
    The sum of sine waves at the multiples of a pitch.

    Args:
        pitch: `(frames,)`, in Hz, at the control rate.
        amplitudes: `(harmonics, frames)`.

    Returns:
        `(frames * SAMPLES_PER_FRAME,)`, float32.
    """
    harmonics, frames = amplitudes.shape
    multiples = np.arange(1, harmonics + 1)[:, None] * pitch
    amplitudes = np.where(multiples < 0.47 * SAMPLING_RATE, amplitudes, 0).astype(np.float32)
    slopes = np.diff(amplitudes, axis=1, append=amplitudes[:, -1:]) / SAMPLES_PER_FRAME
    turns = np.cumsum(upsample(pitch) / SAMPLING_RATE)
    angle = (2 * np.pi * (turns - np.floor(turns))).astype(np.float32).reshape(frames, SAMPLES_PER_FRAME)
    ramp = np.arange(SAMPLES_PER_FRAME, dtype=np.float32)
    output = np.empty_like(angle)
    for begin in range(0, frames, 400):  # pieces that fit into the processor's cache
        piece = slice(begin, begin + 400)
        # sin(k x) = 2 cos(x) sin((k - 1) x) - sin((k - 2) x), so the harmonics need no further sines
        current, twice_cosine = np.sin(angle[piece]), 2 * np.cos(angle[piece])
        previous = np.zeros_like(current)
        level, slope = np.zeros_like(current), np.zeros_like(current)
        for amplitude, change in zip(amplitudes[:, piece, None], slopes[:, piece, None], strict=True):
            level += amplitude * current
            slope += change * current
            current, previous = twice_cosine * current - previous, current
        output[piece] = level + slope * ramp
    return output.ravel()


def tanpura(tonic: float, samples: int, rng: np.random.Generator, has_pa: bool = True) -> np.ndarray:
    """
    Four strings, Pa Sa' Sa' Sa below the tonic's octave, plucked one after the other again and again. For ragas
    without Pa, the first string is Ma.
    """
    ring = 6 * CONTROL_RATE
    time = np.arange(ring) / CONTROL_RATE
    k = np.arange(1, 31)[:, None]
    tilt, cycle = rng.uniform(0.3, 0.8), rng.uniform(3.2, 6.0)
    # The curved bridge (jivari) moves the energy of a string to higher harmonics, which reach their maximum later
    bloom = 1 - np.exp(-(time + 0.02) / (0.01 + rng.uniform(0.005, 0.02) * k))
    envelope = bloom * np.exp(-time * (0.45 + 0.03 * k)) / k**tilt * np.minimum((6 - time) / 0.5, 1)
    plucks = []
    for interval in (3 / 4 if has_pa else 2 / 3, 1, 1, 1 / 2):
        detuned = tonic * interval * 2 ** (rng.normal(0, 3) / 1200)
        strengths = envelope * rng.uniform(0.5, 1.0, size=(30, 1))
        plucks.append(sum_of_harmonics(np.full(ring, detuned), strengths))
    output = np.zeros(samples + len(plucks[0]), dtype=np.float32)
    start = -rng.uniform(0, cycle)  # the tanpura plays already when the recording begins
    begin = 0
    while start < samples / SAMPLING_RATE:
        for string, pluck in enumerate(plucks):
            begin = round((start + cycle * (0.24 * string + rng.normal(0, 0.008))) * SAMPLING_RATE)
            head = max(0, -begin)
            if begin < samples and head < len(pluck):
                tail = pluck[head:]
                output[begin + head : begin + head + len(tail)] += rng.uniform(0.7, 1.0) * tail
        start += cycle * rng.uniform(0.97, 1.03)
    return output[:samples]
