# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What makes a concert harder than a clean recording, each condition by a strength from 0 to 1."""

import io
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import scipy  # which imports its modules when they are used
import soundfile

from .instruments import INSTRUMENTS, SAMPLES_PER_FRAME, SAMPLING_RATE, sum_of_harmonics
from .performance import CONTROL_RATE, Contour, smooth


_SPEED_ERROR = 0.02  # of an old recording
_DRIFT = 15  # cents
_MP3_RATE = 44_100
# libsndfile takes a share of the way from 320 to 32 kbit/s
_MP3_LEVEL = (320 - 64) / (320 - 32)


@dataclass(frozen=True)
class Concert:
    """
    The conditions of a concert. Each is a strength from 0, a clean recording, to 1.

    Args:
        shadow: a violin follows the melody 0.2 to 1 s later.
        voices: two more voices sing the melody, one of them an octave lower, not quite together and in tune.
        kampita: notes of more than 0.15 s oscillate all through, so that no swara is held.
        strokes: drums that are tuned to the tonic, and solos of them, a quarter of the time.
        drone: the tanpura is soft, begins late or is missing for a part of the time.
        drift: the tonic drifts by up to 15 cents.
        talk: speech and applause.
        reverb: a hall.
        old: narrow band, hiss, and a speed that is off by 2 %.
        mp3: MP3 at 64 kbit/s.

    Raises:
        ValueError: a strength is not from 0 to 1.
    """

    shadow: float = 0.0
    voices: float = 0.0
    kampita: float = 0.0
    strokes: float = 0.0
    drone: float = 0.0
    drift: float = 0.0
    talk: float = 0.0
    reverb: float = 0.0
    old: float = 0.0
    mp3: float = 0.0

    def __post_init__(self) -> None:
        for name, strength in asdict(self).items():
            if not 0 <= strength <= 1:
                raise ValueError(f"The strength of {name} must be from 0 to 1, got {strength:g}.")

    @classmethod
    def of(cls, strength: float) -> "Concert":
        """All conditions with one strength."""
        return cls(**{field.name: strength for field in fields(cls)})


CLEAN = Concert()


def shaken(contour: Contour, strength: float, rng: np.random.Generator) -> Contour:
    """A contour whose notes oscillate where they would be held."""
    rate, width = rng.uniform(4, 6.5), rng.uniform(50, 100)
    starts = np.flatnonzero(np.diff(contour.note, prepend=-1))
    lengths = np.diff(starts, append=len(contour.note)) / CONTROL_RATE
    since = (np.arange(len(contour.note)) - starts[contour.note]) / CONTROL_RATE
    swing = width * np.sin(2 * np.pi * rate * since) * np.minimum(since / 0.08, 1)
    return replace(contour, cents=contour.cents + strength * swing * (lengths > 0.15)[contour.note])


def solos(frames: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Where the drums play alone: 1 there and 0 elsewhere, with slopes of 0.1 s, `(frames,)`."""
    length = round(0.25 * strength * frames)
    start = rng.integers(0, max(1, frames - length))
    alone = np.zeros(frames)
    alone[start : start + length] = 1
    return smooth(alone, 0.1)[:frames]


def shadow(contour: Contour, tonic: float, rng: np.random.Generator) -> np.ndarray:
    """A violin that plays a melody after the singer, `(samples,)`."""
    delay = round(rng.uniform(0.2, 1.0) * CONTROL_RATE)
    late = _delayed(contour, delay)
    late = replace(late, cents=smooth(late.cents, 0.06)[: len(late.cents)] + rng.normal(0, 6))
    return _rendered("bowed string", late, tonic, rng)


def other_voices(contour: Contour, tonic: float, rng: np.random.Generator) -> np.ndarray:
    """Two voices that sing along, one of them an octave lower, `(samples,)`."""
    total = np.zeros(len(contour.cents) * SAMPLES_PER_FRAME, dtype=np.float32)
    for octave in (0, -1):
        late = _delayed(contour, round(rng.uniform(0.02, 0.12) * CONTROL_RATE))
        unsteady = 8 * smooth(rng.standard_normal(len(late.cents)), 0.4)[: len(late.cents)]
        late = replace(late, cents=late.cents + 1200 * octave + rng.normal(0, 8) + 10 * unsteady)
        total += _rendered("voice", late, tonic, rng)
    return total


def _delayed(contour: Contour, frames: int) -> Contour:
    late = {name: np.concatenate([np.full(frames, one[0]), one])[: len(one)] for name, one in vars(contour).items()}
    late["loudness"][:frames] = 0
    return Contour(**late)


def _rendered(timbre: str, contour: Contour, tonic: float, rng: np.random.Generator) -> np.ndarray:
    instrument, octave, _ = INSTRUMENTS[timbre]
    pitch = tonic * 2 ** (octave + contour.cents / 1200)
    sound = sum_of_harmonics(pitch, instrument(contour, pitch, rng))
    return sound / max(sound.std(), 1e-9)


def drums(samples: int, tonic: float, tempo: float, alone: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """
    A mridangam, whose right head is tuned to the tonic, and a ghatam, `(samples,)`, float32.

    Args:
        tonic: of the melody in Hz.
        tempo: notes a minute.
        alone: where they play a solo, `(frames,)` at the control rate.
    """
    head, pot = tonic * 2, tonic * rng.uniform(2.2, 3.4)
    strokes = [
        _stroke([head * k for k in (1, 2.0, 3.01, 4.02)], [1, 0.5, 0.3, 0.2], 0.35, 0.05, rng),  # ringing
        _stroke([head * k for k in (1, 2.0)], [0.3, 0.2], 0.05, 1.0, rng),  # damped
        _stroke([tonic * 0.55, tonic * 1.1], [1, 0.3], 0.25, 0.05, rng),  # the left head
        _stroke([pot, 2.7 * pot, 4.9 * pot], [1, 0.6, 0.3], 0.12, 0.3, rng),  # the pot
    ]
    weights = rng.dirichlet([2, 2, 2, 1.5])
    output = np.zeros(samples + max(map(len, strokes)), dtype=np.float32)
    step, place = 30 / tempo, 0.0
    while (begin := round(place * SAMPLING_RATE)) < samples:
        is_solo = alone[min(begin // SAMPLES_PER_FRAME, len(alone) - 1)] > 0.5
        if rng.random() < (0.9 if is_solo else 0.55):
            stroke = strokes[rng.choice(len(strokes), p=weights)]
            output[begin : begin + len(stroke)] += rng.uniform(0.3, 1.0) * (1.5 if is_solo else 1) * stroke
        place += step * (0.5 if is_solo else 1) * rng.uniform(0.97, 1.03)
    return output[:samples]


def _stroke(
    frequencies: list[float], strengths: list[float], ring: float, noise: float, rng: np.random.Generator
) -> np.ndarray:
    time = np.arange(round(6 * ring * SAMPLING_RATE)) / SAMPLING_RATE
    partials = (
        strength * np.sin(2 * np.pi * (frequency * time + rng.random())) * np.exp(-time / ring * (1 + place))
        for place, (frequency, strength) in enumerate(zip(frequencies, strengths, strict=True))
        if frequency < 0.47 * SAMPLING_RATE
    )
    click = noise * rng.standard_normal(len(time)) * np.exp(-time / 0.015)
    return ((sum(partials) + click) * np.minimum(time / 0.002, 1)).astype(np.float32)


def fading_drone(samples: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """The gain of a tanpura that is soft, begins late or is missing for a part of the time, `(samples,)`, float32."""
    kind = rng.integers(3)
    gain = np.ones(-(-samples // SAMPLES_PER_FRAME))
    if kind == 0:
        gain *= 10 ** (-30 * strength / 20)
    else:
        length = round(0.7 * strength * len(gain))
        start = 0 if kind == 1 else rng.integers(0, max(1, len(gain) - length))
        gain[start : start + length] = 0
        gain = smooth(gain, 1.0)[: len(gain)]
    return np.repeat(gain, SAMPLES_PER_FRAME)[:samples].astype(np.float32)


def talk_and_applause(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Speech in one part of a recording and applause in another, `(samples,)`, float32."""
    output = np.zeros(samples, dtype=np.float32)
    for sound in (_speech(rng), _applause(rng)):
        start = rng.integers(0, max(1, samples - len(sound)))
        part = sound[: samples - start]
        output[start : start + len(part)] += part / sound.std()
    return output


def _speech(rng: np.random.Generator) -> np.ndarray:
    """Syllables without words: a voice whose pitch falls from phrase to phrase."""
    lengths = rng.uniform(0.1, 0.3, size=round(rng.uniform(15, 30)))
    note = np.repeat(np.arange(len(lengths)), np.round(lengths * CONTROL_RATE).astype(int))
    since = np.concatenate([np.arange(count) for count in np.bincount(note)]) / CONTROL_RATE
    loudness = np.sin(np.pi * np.clip(since / lengths[note], 0, 1)) * (rng.random(len(lengths)) > 0.2)[note]
    cents = smooth((300 - 60 * (np.arange(len(lengths)) % 8) + rng.normal(0, 80, len(lengths)))[note], 0.1)
    return _rendered("voice", Contour(cents[: len(note)], loudness, since, note), rng.uniform(95, 220), rng)


def _applause(rng: np.random.Generator) -> np.ndarray:
    """Many people who clap, a moment louder and then softer."""
    samples = round(rng.uniform(2, 6) * SAMPLING_RATE)
    rise = np.minimum(np.arange(samples) / SAMPLING_RATE / 0.7, 1) * np.linspace(1, 0.1, samples)
    claps = rng.standard_normal(samples) * (rng.random(samples) < 300 / SAMPLING_RATE) * rise
    time = np.arange(round(0.03 * SAMPLING_RATE)) / SAMPLING_RATE
    clap = rng.standard_normal(len(time)) * np.exp(-time / 0.006)
    return scipy.signal.fftconvolve(claps, clap)[:samples].astype(np.float32)


def in_hall(sound: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Add the reverberation of a hall, of up to 3 s."""
    decay = 0.6 + 2.4 * strength  # seconds to fall by 60 dB
    time = np.arange(round(decay * SAMPLING_RATE)) / SAMPLING_RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / decay) * np.minimum(time / 0.02, 1)
    tail *= 0.9 * strength / np.sqrt(np.sum(tail**2))
    return sound + scipy.signal.fftconvolve(sound, tail)[: len(sound)].astype(np.float32)


def drifting(frames: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """How far the tonic is off in cents, `(frames,)` at the control rate: a slow curve from 0 to at most 15."""
    turn = rng.uniform(0.5, 1.5) * np.pi * np.linspace(0, 1, frames)
    return rng.choice([-1, 1]) * _DRIFT * strength * np.sin(turn)


def speed_error(strength: float, rng: np.random.Generator) -> float:
    """How far the pitch of an old recording is off, in cents."""
    return 1200 * float(np.log2(1 + rng.choice([-1, 1]) * _SPEED_ERROR * strength))


def replayed(values: np.ndarray, rate: int, cents: np.ndarray, order: int) -> np.ndarray:
    """
    Values over time, played at another speed. They keep their number: what is missing at the end is mirrored.

    Args:
        values: `(number,)`, at `rate`.
        cents: how much higher the pitch becomes, `(frames,)` at the control rate.
        order: of the spline through the values.
    """
    places = np.arange(len(values)) * (CONTROL_RATE / rate)
    speed = np.interp(places, np.arange(len(cents)), 2 ** (cents / 1200))
    passed = np.concatenate([[0.0], np.cumsum(speed[:-1])])
    return scipy.ndimage.map_coordinates(values, [passed], order=order, mode="mirror").astype(values.dtype)


def aged(sound: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """The band and the hiss of an old recording."""
    spectrum = np.fft.rfft(sound)
    frequency = np.fft.rfftfreq(len(sound), 1 / SAMPLING_RATE)
    low, high = 300 * strength, 8000 * (3400 / 8000) ** strength
    spectrum /= np.sqrt((1 + (low / (frequency + 1)) ** 6) * (1 + (frequency / high) ** 12))
    sound = np.fft.irfft(spectrum, len(sound)).astype(np.float32)
    hiss = rng.standard_normal(len(sound), dtype=np.float32)
    return sound + hiss * sound.std() * 10 ** (-(60 - 38 * strength) / 20)


def through_mp3(sound: np.ndarray, strength: float) -> np.ndarray:
    """Encode and decode a recording."""
    peak = max(np.abs(sound).max(), 1e-9)
    buffer = io.BytesIO()
    soundfile.write(
        buffer,
        scipy.signal.resample_poly(sound / peak * 0.9, 441, 160),
        _MP3_RATE,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        compression_level=_MP3_LEVEL * strength,
    )
    decoded, _ = soundfile.read(io.BytesIO(buffer.getvalue()), dtype="float32")
    decoded = scipy.signal.resample_poly(decoded, 160, 441)[: len(sound)] * (peak / 0.9)
    return np.pad(decoded, (0, len(sound) - len(decoded))).astype(np.float32)
