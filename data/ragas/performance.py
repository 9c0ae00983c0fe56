# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Performs a melody: its pitch and its loudness over time."""

from dataclasses import dataclass

import numpy as np

from .composer import Note
from .grammar import Raga


# The rate in Hz at which pitch, loudness and spectrum are computed before they are interpolated to the sampling rate
CONTROL_RATE = 200


@dataclass
class Contour:
    """A performed melody at the control rate; each array has the shape `(frames,)`."""

    cents: np.ndarray  # over Sa
    loudness: np.ndarray  # 0 to about 1
    since_onset: np.ndarray  # seconds since the last attack
    note: np.ndarray  # index of the note


def smooth(values: np.ndarray, seconds: float) -> np.ndarray:
    window = np.hanning(max(3, round(seconds * CONTROL_RATE)) + 2)
    half = len(window) // 2
    padded = np.pad(values, (half, len(window) - 1 - half), mode="edge")
    return np.convolve(padded, window / window.sum(), mode="valid")


def perform(notes: list[Note], raga: Raga, frames: int, rng: np.random.Generator) -> Contour:
    """Perform notes, with the glides (jaru), oscillations (kampita) and loudness of one random performer."""
    shake_rate = rng.uniform(4.0, 6.5)  # oscillations a second
    shake_width = rng.uniform(0.7, 1.2)
    shake_share = rng.uniform(0.65, 0.95)
    jaru_share = rng.uniform(0.1, 0.4)
    slide = rng.uniform(0.03, 0.08)  # seconds from one note to the next without jaru
    vibrato = rng.uniform(0, 12)  # cents
    intonation = rng.uniform(2, 7)  # cents, standard deviation
    legato = rng.uniform(0.3, 0.8)  # share of notes without an attack

    starts = np.round(np.cumsum([0.0] + [note.seconds for note in notes]) * CONTROL_RATE).astype(int)
    total = max(starts[-1], frames)
    cents, loudness, since_onset = np.zeros(total), np.zeros(total), np.zeros(total)
    index = np.zeros(total, dtype=int)
    previous, onset, accent = notes[0].cents, 0, 1.0
    for i, note in enumerate(notes):
        begin, end = starts[i], starts[i + 1]
        time = np.arange(end - begin) / CONTROL_RATE
        target = note.cents + intonation * rng.standard_normal()
        glide = slide
        if abs(target - previous) < 800 and rng.random() < jaru_share:
            glide = min(0.5 * note.seconds, rng.uniform(0.12, 0.4))
        progress = np.clip(time / glide, 0, 1)
        pitch = target + (previous - target) * (0.5 + 0.5 * np.cos(np.pi * progress))
        if note.name in raga.kampita and note.seconds > 0.25 and rng.random() < shake_share:
            low, high = (shake_width * limit for limit in raga.kampita[note.name])
            middle, depth = (low + high) / 2, (high - low) / 2
            rate = shake_rate * rng.uniform(0.9, 1.1)
            swing = middle - depth * np.cos(2 * np.pi * rate * time + np.arccos(middle / depth))
            pitch += swing * np.minimum(time / 0.08, 1)
        else:
            pitch += vibrato * np.sin(2 * np.pi * 5.3 * time) * np.clip(time - 0.3, 0, 1)
        attacked = i == 0 or notes[i - 1].rests or rng.random() > legato
        if attacked:
            onset, accent = begin, rng.uniform(0.6, 1.0)
        level = accent * np.exp(-time / rng.uniform(3, 9))
        if attacked:
            level *= np.minimum((time + 0.01) / rng.uniform(0.02, 0.06), 1)
        if note.rests:  # breath before the next phrase
            breath = rng.uniform(0.15, 0.6)
            level *= np.clip((note.seconds - breath - time) / 0.1, 0, 1)
        cents[begin:end], loudness[begin:end] = pitch, level
        since_onset[begin:end] = (np.arange(begin, end) - onset) / CONTROL_RATE
        index[begin:end] = i
        previous = pitch[-1]
    drift = smooth(rng.standard_normal(total), 0.5)
    cents += rng.uniform(1, 4) * drift / drift.std()  # no performer holds a note perfectly still
    return Contour(cents[:frames], smooth(loudness, 0.02)[:frames], since_onset[:frames], index[:frames])
