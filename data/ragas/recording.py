# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Synthesises recordings of ragas: clean ones, and ones as in a concert."""

from typing import NamedTuple

import numpy as np

from . import concert as conditions
from .composer import Composer
from .concert import CLEAN, Concert
from .eight import RAGAS
from .grammar import Raga
from .instruments import INSTRUMENTS, SAMPLES_PER_FRAME, SAMPLING_RATE, TIMBRES, sum_of_harmonics, tanpura, upsample
from .janyas import JANYAS
from .melakartas import MELAKARTAS
from .performance import CONTROL_RATE, perform
from .room import in_room


_LEVEL = 0.1  # root mean square of a recording: -20 dBFS
_MOST_SILENT = 0.05  # loudness below which the melody has no pitch


class Recording(NamedTuple):
    """
    A synthesised recording, and what was played.

    Attributes:
        samples: `(samples,)`, float32, at `SAMPLING_RATE`.
        pitch: `(frames,)`, of the melody in Hz, `CONTROL_RATE` times a second; 0 where it is silent.
        tonic: in Hz; its mean where it drifts.
    """

    samples: np.ndarray
    pitch: np.ndarray
    tonic: float


def find_raga(name: str) -> Raga:
    """
    The grammar of a raga: one of the eight, a janya or a melakarta.

    Raises:
        ValueError: there is no such raga.
    """
    for ragas in (RAGAS, JANYAS, MELAKARTAS):
        if name in ragas:
            return ragas[name]
    raise ValueError(f"There is no raga {name!r}; choose one of {', '.join([*RAGAS, *JANYAS, *MELAKARTAS])}.")


def synthesize_recording(
    raga: str, *, tonic: float, timbre: str, seconds: float, seed: int, tempo: float = 150.0
) -> np.ndarray:
    """
    Synthesise an improvisation in a raga over a tanpura.

    Args:
        raga: name of a raga, see `find_raga`.
        tonic: frequency of Sa in Hz. It is the pitch of the tanpura's two upper strings; the flute plays an octave
            higher.
        timbre: one of `TIMBRES`.
        seconds: length of the recording in seconds.
        seed: seed of everything else: the phrases, the performer's habits, the tanpura and the room.
        tempo: notes a minute at medium speed.

    Returns:
        `(samples,)`, float32, at `SAMPLING_RATE`, with a level of about -20 dBFS.

    Raises:
        ValueError: the raga or the timbre is unknown.
    """
    return synthesize_concert(raga, tonic=tonic, timbre=timbre, seconds=seconds, seed=seed, tempo=tempo).samples


def synthesize_concert(
    raga: str,
    *,
    tonic: float,
    timbre: str,
    seconds: float,
    seed: int,
    tempo: float = 150.0,
    concert: Concert = CLEAN,
) -> Recording:
    """
    Synthesise an improvisation in a raga under the conditions of a concert, with its true pitch.

    Args:
        concert: the conditions. Without any, the samples are those of `synthesize_recording`. With some, the melody
            stays the same.
        raga, tonic, timbre, seconds, seed, tempo: as for `synthesize_recording`.

    Raises:
        ValueError: the raga or the timbre is unknown.
    """
    grammar = find_raga(raga)
    if timbre not in TIMBRES:
        raise ValueError(f"There is no timbre {timbre!r}; choose one of {', '.join(TIMBRES)}.")
    rng = np.random.default_rng(seed)
    samples = round(seconds * SAMPLING_RATE)
    frames = -(-samples // SAMPLES_PER_FRAME)
    instrument, octave, loudest_noise = INSTRUMENTS[timbre]
    # Each condition has numbers of its own, so that it changes nothing else
    own = {name: np.random.default_rng([seed, place]) for place, name in enumerate(vars(concert))}

    notes = Composer(grammar, rng).melody(seconds, tempo)
    contour = perform(notes, grammar, frames, rng)
    if concert.kampita:
        contour = conditions.shaken(contour, concert.kampita, own["kampita"])
    alone = conditions.solos(frames, concert.strokes, own["strokes"])
    if concert.strokes:
        contour.loudness *= 1 - alone
    pitch = tonic * 2 ** (octave + contour.cents / 1200)
    melody = sum_of_harmonics(pitch, instrument(contour, pitch, rng))[:samples]
    melody /= melody.std()
    noise = rng.standard_normal(samples, dtype=np.float32)
    noise[1:] -= 0.6 * noise[:-1]  # the noise of breath and bow is brighter than white noise
    melody += rng.uniform(0.2, 1) * loudest_noise * noise * upsample(contour.loudness)[:samples]
    if concert.shadow:
        melody += 0.7 * concert.shadow * conditions.shadow(contour, tonic, own["shadow"])[:samples]
    if concert.voices:
        melody += 0.4 * concert.voices * conditions.other_voices(contour, tonic, own["voices"])[:samples]

    drone = tanpura(tonic, samples, rng, has_pa="P" in grammar.swaras)
    drone *= 10 ** (-rng.uniform(6, 24) / 20) / drone.std()
    if concert.drone:
        drone *= conditions.fading_drone(samples, concert.drone, own["drone"])
    sound = melody + drone
    if concert.strokes:
        strokes = conditions.drums(samples, tonic, tempo, alone, own["strokes"])
        sound += concert.strokes * strokes / strokes.std()
    if concert.talk:
        sound += concert.talk * conditions.talk_and_applause(samples, own["talk"])
    if concert.reverb:
        sound = conditions.in_hall(sound, concert.reverb, own["reverb"])
    recording = in_room(sound, rng)

    pitch = np.where(contour.loudness > _MOST_SILENT, pitch, 0.0)
    if concert.drift or concert.old:
        cents = conditions.drifting(frames, concert.drift, own["drift"])
        cents += conditions.speed_error(concert.old, own["old"])
        recording = conditions.replayed(recording, SAMPLING_RATE, cents, order=3)
        pitch = conditions.replayed(pitch, CONTROL_RATE, cents, order=0) * 2 ** (cents / 1200)
        tonic *= 2 ** (float(cents.mean()) / 1200)
    if concert.old:
        recording = conditions.aged(recording, concert.old, own["old"])
    if concert.mp3:
        recording = conditions.through_mp3(recording, concert.mp3)
    recording *= min(_LEVEL / recording.std(), 0.98 / np.abs(recording).max())
    return Recording(recording.astype(np.float32), pitch, tonic)
