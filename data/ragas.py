# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Synthesises the embedded dataset `ragas`: eight Carnatic ragas, with numpy.

A raga is a set of intervals over a tonic, with its ornaments and its phrases. The table `RAGAS` has all three. The
other properties of a recording (tonic, instrument, tempo, register, drone, room) are random and do not depend on the
raga. The test split has tonics and an instrument that the training split does not have.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, Value


SAMPLING_RATE = 16_000
# The rate in Hz at which pitch, loudness and spectrum are computed before they are interpolated to the sampling rate
CONTROL_RATE = 200
_SAMPLES_PER_FRAME = SAMPLING_RATE // CONTROL_RATE
_LEVEL = 0.1  # root mean square of a recording: -20 dBFS

# The timbre of the test split
TEST_TIMBRE = "voice"
# Fourteen semitones from B flat (a low man's voice) to B (a high woman's voice). Every second one goes to the test
# split, so the splits also differ in the twelve pitch classes.
_TONICS = 440 * 2 ** ((np.arange(46, 60) - 69) / 12)
_MISTUNING = 30  # largest deviation of a recording from its tonic, in cents
_CLIPS_PER_RECORDING = 4

# Frequency ratios over Sa in just intonation. Two swaras occur in Varali only and have a sign in their names: its Ga,
# slightly lower than the Ri of the same key, and its Ma, close to Pa, known as Varali madhyama.
SWARAS = {
    "S": 1 / 1,
    "R1": 16 / 15,
    "R2": 9 / 8,
    "G1-": 10 / 9,
    "G2": 6 / 5,
    "G3": 5 / 4,
    "M1": 4 / 3,
    "M2": 45 / 32,
    "M2+": 64 / 45,
    "P": 3 / 2,
    "D1": 8 / 5,
    "D2": 5 / 3,
    "N2": 9 / 5,
    "N3": 15 / 8,
}


@dataclass(frozen=True)
class Raga:
    """
    The grammar of a raga.

    Swaras are keys of `SWARAS`, with a dot before the name for the lower octave and a prime after it for the upper.

    Args:
        arohana: the ascent within one octave.
        avarohana: the descent within one octave, from the upper Sa, without the final Sa.
        phrases: phrases that are typical of the raga.
        nyasa: the swaras on which phrases may end.
        kampita: for each swara that oscillates, the lowest and the highest point of the oscillation in cents from it.
    """

    arohana: str
    avarohana: str
    phrases: tuple[str, ...]
    nyasa: str
    kampita: dict[str, tuple[int, int]]


# All eight ragas have Pa, so the drone is Pa and Sa for each of them. (For ragas without Pa, that string is Ma.)
RAGAS = {
    # Melakarta 65 (Mechakalyani).
    "Kalyani": Raga(
        arohana="S R2 G3 M2 P D2 N3",
        avarohana="S' N3 D2 P M2 G3 R2",
        phrases=(".N3 R2 G3 M2 G3", "G3 M2 D2 N3 S'", "P M2 G3 R2 S", "N3 D2 M2 G3 R2", "M2 D2 N3 R2' S'"),
        nyasa="S R2 G3 P D2 N3",
        kampita={"R2": (-20, 120), "M2": (-60, 70), "D2": (-20, 130), "N3": (-40, 100)},
    ),
    # Melakarta 22.
    "Kharaharapriya": Raga(
        arohana="S R2 G2 M1 P D2 N2",
        avarohana="S' N2 D2 P M1 G2 R2",
        phrases=("R2 G2 M1 G2 R2", "P D2 N2 D2 P", "G2 M1 P M1 G2 R2", "D2 N2 S' N2 D2 P", "R2 P M1 G2 R2"),
        nyasa="S R2 P D2",
        kampita={"R2": (-30, 60), "G2": (-90, 110), "M1": (-40, 60), "D2": (-30, 90), "N2": (-110, 110)},
    ),
    # Melakarta 15.
    "Mayamalavagowla": Raga(
        arohana="S R1 G3 M1 P D1 N3",
        avarohana="S' N3 D1 P M1 G3 R1",
        phrases=("S R1 G3 M1 G3", "G3 M1 P M1 G3 R1 S", "M1 P D1 P", "P D1 N3 S'", "S' N3 D1 P M1 G3"),
        nyasa="S G3 M1 P",
        kampita={"R1": (-40, 70), "M1": (-30, 60), "D1": (-40, 80)},
    ),
    # Melakarta 8 (Hanumatodi). Ga, Dha and Ni nearly always oscillate, and many phrases leave out Pa.
    "Todi": Raga(
        arohana="S R1 G2 M1 P D1 N2",
        avarohana="S' N2 D1 P M1 G2 R1",
        phrases=(
            "G2 M1 D1 N2 S'",
            "D1 N2 S' R1' G2'",
            "N2 D1 M1 G2 R1 S",
            ".N2 R1 G2 M1 G2",
            "D1 M1 G2 R1 S",
            "M1 D1 N2 D1",
        ),
        nyasa="S G2 M1 D1",
        kampita={"R1": (-20, 50), "G2": (-160, 130), "M1": (-60, 90), "D1": (-80, 150), "N2": (-130, 120)},
    ),
    # Pentatonic, of melakarta 66 (or 65, which has the same five swaras).
    "Amritavarshini": Raga(
        arohana="S G3 M2 P N3",
        avarohana="S' N3 P M2 G3",
        phrases=("G3 M2 P N3 S'", "S' N3 P M2 G3 S", ".N3 S G3 M2 G3", "M2 P N3 P", "P M2 G3 M2 P", "N3 S' G3' S'"),
        nyasa="S G3 P N3",
        kampita={"M2": (-40, 60), "N3": (-30, 90)},
    ),
    # Pentatonic, of melakarta 60. Books add a shatsruti Dha to the ascent, but it is no longer sung.
    "Hamsanadam": Raga(
        arohana="S R2 M2 P N3",
        avarohana="S' N3 P M2 R2",
        phrases=("S R2 M2 P N3 S'", "P M2 R2 S", "R2 M2 P M2 R2", "M2 P N3 P", "N3 S' R2' S'", ".N3 S R2 S"),
        nyasa="S R2 P N3",
        kampita={"R2": (-30, 60), "M2": (-40, 60), "N3": (-30, 80)},
    ),
    # Of melakarta 39. The ascent is not monotonic (vakra) around Ga and avoids the melakarta's S R1 G1 M2 in a row.
    "Varali": Raga(
        arohana="S G1- R1 G1- M2+ P D1 N3",
        avarohana="S' N3 D1 P M2+ G1- R1",
        phrases=(
            "S G1- R1 G1- M2+ P",
            "M2+ G1- R1 S",
            "P D1 N3 S'",
            "D1 P M2+ G1- R1 G1-",
            ".N3 S G1- R1 S",
            "M2+ P D1 P",
        ),
        nyasa="S G1- P N3",
        kampita={"G1-": (-70, 60), "M2+": (-50, 50), "D1": (-40, 90), "N3": (-40, 70)},
    ),
    # A light raga of Hindustani origin, with chatusruti Ri upwards, suddha Ri downwards and few ornaments. Two customs
    # are left out: foreign swaras that singers add, and madhyama sruti, a drone whose Pa is stronger than its Sa.
    "Sindhubhairavi": Raga(
        arohana="S R2 G2 M1 G2 P D1 N2",
        avarohana="S' N2 D1 P M1 G2 R1",
        phrases=(
            "S R2 G2 M1 P",
            "P D1 P M1 G2 R1 S",
            ".N2 S R2 G2 R1 S",
            "G2 P D1 N2 D1 P",
            "R2 G2 M1 G2 P",
            "M1 G2 R2 G2 R1 S",
        ),
        nyasa="S G2 P D1",
        kampita={"G2": (-30, 50), "D1": (-30, 50), "N2": (-40, 60)},
    ),
}


def build_ragas(
    seed: int = 0, train_recordings: int = 12, test_recordings: int = 4, seconds: float = 72.0
) -> DatasetDict:
    """
    Synthesise the dataset `ragas`.

    No recording is in both splits. The tonics of `test` differ from those of `train` by at least 40 cents in any
    octave. The timbre of `test` is `TEST_TIMBRE`, which `train` does not have.

    Args:
        seed: seed of the whole dataset.
        train_recordings: number of recordings of each raga in `train`.
        test_recordings: number of recordings of each raga in `test`.
        seconds: length of a recording in seconds. Each recording is cut into four clips.

    Returns:
        Splits `train` and `test` of clips, with the columns `audio` (not decoded: 16-bit WAV bytes and a path), `raga`
        (`ClassLabel`), `recording` (its name), `tonic` (of the tanpura's upper Sa, in Hz) and `timbre`.
    """
    features = Features(
        {
            "audio": Audio(sampling_rate=SAMPLING_RATE, decode=False),
            "raga": ClassLabel(names=list(RAGAS)),
            "recording": Value("string"),
            "tonic": Value("float32"),
            "timbre": Value("string"),
        }
    )
    splits = {
        "train": (train_recordings, _TONICS[0::2], [timbre for timbre in TIMBRES if timbre != TEST_TIMBRE]),
        "test": (test_recordings, _TONICS[1::2], [TEST_TIMBRE]),
    }
    dataset = DatasetDict()
    for which, (split, (recordings, tonics, timbres)) in enumerate(splits.items()):
        columns: dict[str, list[Any]] = {name: [] for name in features}
        for label, raga in enumerate(RAGAS):
            for number in range(recordings):
                # Each recording has its own generator, so it does not depend on the number of recordings
                rng = np.random.default_rng([seed, which, label, number])
                recording = f"{raga.lower()}_{split}_{number:02d}"
                tonic = rng.choice(tonics) * 2 ** (rng.uniform(-_MISTUNING, _MISTUNING) / 1200)
                timbre = timbres[number % len(timbres)]
                samples = synthesize_recording(
                    raga,
                    tonic=tonic,
                    timbre=timbre,
                    seconds=seconds,
                    seed=int(rng.integers(2**31)),
                    tempo=rng.uniform(100, 220),
                )
                for chunk, clip in enumerate(np.array_split(samples, _CLIPS_PER_RECORDING)):
                    columns["audio"].append({"bytes": _wav(clip), "path": f"{recording}_chunk{chunk}.wav"})
                    columns["raga"].append(label)
                    columns["recording"].append(recording)
                    columns["tonic"].append(tonic)
                    columns["timbre"].append(timbre)
        # `Dataset.from_dict` would need torchcodec for a column of audio
        dataset[split] = Dataset(pa.Table.from_pydict(columns, schema=features.arrow_schema))
    return dataset


def synthesize_recording(
    raga: str, *, tonic: float, timbre: str, seconds: float, seed: int, tempo: float = 150.0
) -> np.ndarray:
    """
    Synthesise an improvisation in a raga over a tanpura.

    Args:
        raga: a key of `RAGAS`.
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
    if raga not in RAGAS:
        raise ValueError(f"There is no raga {raga!r}; choose one of {', '.join(RAGAS)}.")
    if timbre not in TIMBRES:
        raise ValueError(f"There is no timbre {timbre!r}; choose one of {', '.join(TIMBRES)}.")
    rng = np.random.default_rng(seed)
    samples = round(seconds * SAMPLING_RATE)
    frames = -(-samples // _SAMPLES_PER_FRAME)
    instrument, octave, loudest_noise = _INSTRUMENTS[timbre]

    notes = Composer(RAGAS[raga], rng).melody(seconds, tempo)
    contour = _perform(notes, RAGAS[raga], frames, rng)
    pitch = tonic * 2 ** (octave + contour.cents / 1200)
    melody = _sum_of_harmonics(pitch, instrument(contour, pitch, rng))[:samples]
    melody /= melody.std()
    noise = rng.standard_normal(samples, dtype=np.float32)
    noise[1:] -= 0.6 * noise[:-1]  # the noise of breath and bow is brighter than white noise
    melody += rng.uniform(0.2, 1) * loudest_noise * noise * _upsample(contour.loudness)[:samples]

    drone = _tanpura(tonic, samples, rng)
    drone *= 10 ** (-rng.uniform(6, 24) / 20) / drone.std()
    recording = _record(melody + drone, rng)
    recording *= min(_LEVEL / recording.std(), 0.98 / np.abs(recording).max())
    return recording.astype(np.float32)


def _cents(token: str) -> float:
    """The interval from Sa, in cents, of a swara as `Raga` writes it."""
    octave = token.count("'") - token.count(".")
    return 1200 * (np.log2(SWARAS[token.strip(".'")]) + octave)


@dataclass
class _Note:
    name: str  # a key of `SWARAS`
    cents: float  # over Sa
    seconds: float
    rests: bool  # whether it ends a phrase


class Composer:
    """Improvises in a raga: runs along arohana and avarohana, and phrases of the raga. Each ends on a nyasa swara."""

    lowest, highest = -520, 1910  # from the lower Pa to the upper Pa

    def __init__(self, raga: Raga, rng: np.random.Generator):
        self.raga, self.rng = raga, rng
        self.nyasa = raga.nyasa.split()
        # Both scales over the whole range; the first swara of an octave follows the last one of the octave before
        self.up = self._over_compass(raga.arohana, (-1, 0, 1))
        self.down = self._over_compass(raga.avarohana, (1, 0, -1, -2))
        self.phrases = [[(token.strip(".'"), _cents(token)) for token in phrase.split()] for phrase in raga.phrases]

    def _over_compass(self, scale: str, octaves: tuple[int, ...]) -> list[tuple[str, float]]:
        swaras = [(token.strip("'"), _cents(token) + 1200 * octave) for octave in octaves for token in scale.split()]
        return [(name, cents) for name, cents in swaras if self.lowest <= cents <= self.highest]

    def _run(self, start: float, rises: bool, steps: int) -> list[tuple[str, float]]:
        """The next swaras of the ascent or the descent after the swara at `start` cents."""
        scale = self.up if rises else self.down
        places = [i for i, (_, cents) in enumerate(scale) if abs(cents - start) < 1]
        if places:
            first = int(self.rng.choice(places)) + 1
        else:  # a swara that only the other direction has
            beyond = [i for i, (_, cents) in enumerate(scale) if (cents > start) == rises]
            first = beyond[0] if beyond else len(scale)
        return scale[first : first + steps]

    def _phrase(self, start: float, centre: float) -> list[tuple[str, float]]:
        rng = self.rng
        swaras = []
        if rng.random() < 0.4:
            phrase = self.phrases[rng.integers(len(self.phrases))]
            octave = 1200 * round((centre - phrase[0][1]) / 1200)
            swaras = [
                (name, cents + octave) for name, cents in phrase if self.lowest <= cents + octave <= self.highest
            ]
        shortest = len(swaras) + rng.integers(0, 9)
        while not swaras or len(swaras) < shortest or swaras[-1][0] not in self.nyasa:
            here = swaras[-1][1] if swaras else start
            rises = rng.random() < 1 / (1 + np.exp((here - centre) / 250))
            steps = int(rng.integers(1, 6)) if len(swaras) < shortest else 1
            swaras += self._run(here, rises, steps)
        return swaras

    def melody(self, seconds: float, tempo: float) -> list[_Note]:
        """Notes with a total length of at least `seconds`, with `tempo` notes a minute at medium speed."""
        rng = self.rng
        notes, elapsed, here = [], 0.0, 0.0
        while elapsed < seconds:
            swaras = self._phrase(here, centre=rng.choice([100, 500, 900, 1250], p=[0.2, 0.35, 0.3, 0.15]))
            here = swaras[-1][1]
            # A phrase is slow as in an alapana, at the tempo, or at double speed
            pace = 60 / tempo * rng.choice([1.8, 1.0, 0.5], p=[0.3, 0.45, 0.25])
            for i, (name, cents) in enumerate(swaras):
                ends = i == len(swaras) - 1
                length = pace * rng.choice([1, 2], p=[0.8, 0.2]) * rng.uniform(0.9, 1.1)
                length = rng.uniform(0.8, 2.6) if ends else max(length, 0.09)
                notes.append(_Note(name, cents, length, ends))
                elapsed += length
        return notes


@dataclass
class _Contour:
    """A performed melody at the control rate; each array has the shape `(frames,)`."""

    cents: np.ndarray  # over Sa
    loudness: np.ndarray  # 0 to about 1
    since_onset: np.ndarray  # seconds since the last attack
    note: np.ndarray  # index of the note


def _smooth(values: np.ndarray, seconds: float) -> np.ndarray:
    window = np.hanning(max(3, round(seconds * CONTROL_RATE)) + 2)
    half = len(window) // 2
    padded = np.pad(values, (half, len(window) - 1 - half), mode="edge")
    return np.convolve(padded, window / window.sum(), mode="valid")


def _perform(notes: list[_Note], raga: Raga, frames: int, rng: np.random.Generator) -> _Contour:
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
    drift = _smooth(rng.standard_normal(total), 0.5)
    cents += rng.uniform(1, 4) * drift / drift.std()  # no performer holds a note perfectly still
    return _Contour(cents[:frames], _smooth(loudness, 0.02)[:frames], since_onset[:frames], index[:frames])


# Returns the amplitudes of the harmonics, `(harmonics, frames)`, for a contour and its pitch `(frames,)` in Hz
Instrument = Callable[[_Contour, np.ndarray, np.random.Generator], np.ndarray]


def _resonances(
    frequency: np.ndarray, centres: np.ndarray, widths: np.ndarray | np.floating, gains: np.ndarray | np.floating
) -> np.ndarray:
    """Sum of resonance curves at `frequency`; the other arguments have the resonances as their first axis."""
    return (gains / np.sqrt(1 + ((frequency - centres) / (widths / 2)) ** 2)).sum(0)


def _plucked_string(contour: _Contour, pitch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Like a veena: plucked near its end. Higher harmonics decay faster, and a note rings on through a breath."""
    k = np.arange(1, 25)[:, None]
    shape = np.abs(np.sin(np.pi * k * rng.uniform(0.08, 0.2))) / k ** rng.uniform(0.7, 1.1)
    ring = rng.uniform(1.5, 3.0) / (1 + rng.uniform(0.1, 0.3) * k)
    return shape * np.exp(-contour.since_onset / ring) * (0.3 + 0.7 * contour.loudness)


def _bowed_string(contour: _Contour, pitch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Like a violin: a sawtooth through the resonances of a wooden body."""
    k = np.arange(1, 25)[:, None]
    centres = np.array([280, 460, 700, 1150, 2600]) * rng.uniform(0.9, 1.1, size=5)
    body = 0.15 + _resonances(
        k * pitch, *(x[:, None, None] for x in (centres, centres * 0.2, rng.uniform(0.4, 1.2, 5)))
    )
    return body / k ** rng.uniform(0.8, 1.2) * contour.loudness


def _flute(contour: _Contour, pitch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Like a bamboo flute: few harmonics, and more of them if it is louder."""
    k = np.arange(1, 9)[:, None]
    shape = np.concatenate([[1, rng.uniform(0.2, 0.6), rng.uniform(0.1, 0.4)], rng.uniform(0.02, 0.1, size=5)])[
        :, None
    ]
    return shape * (contour.loudness + 1e-6) ** (0.8 + 0.25 * k)


# The first three formants, in Hz, of an adult man's vowels a, e, i, o and u (Peterson and Barney, 1952)
_FORMANTS = np.array([[730, 1090, 2440], [530, 1840, 2480], [270, 2290, 3010], [570, 840, 2410], [300, 870, 2240]])


def _voice(contour: _Contour, pitch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Like a singer: a glottal pulse through the formants of a vowel that changes at random. Most vowels are a."""
    k = np.arange(1, 25)[:, None]
    tract = rng.uniform(1.0, 1.2)  # women's formants are up to 20 % higher
    syllable = np.cumsum(rng.random(contour.note[-1] + 1) < 0.2)
    vowels = rng.choice(5, size=syllable[-1] + 1, p=[0.5, 0.15, 0.1, 0.15, 0.1])[syllable[contour.note]]
    centres = [tract * _smooth(_FORMANTS[vowels, i].astype(float), 0.08) for i in range(3)]
    resonances = [
        _resonances(k * pitch, centre, np.float32(width), np.float32(gain))
        for centre, width, gain in zip(
            [c[None, None] for c in centres],
            (90, 130, 220),
            (1.0, rng.uniform(0.3, 0.7), rng.uniform(0.1, 0.3)),
            strict=True,
        )
    ]
    return sum(resonances) / k ** rng.uniform(0.5, 0.9) * contour.loudness


# For each timbre the instrument, its octaves above the drone, and the highest level of its breath or bow noise
_INSTRUMENTS: dict[str, tuple[Instrument, int, float]] = {
    "plucked string": (_plucked_string, 0, 0.002),
    "bowed string": (_bowed_string, 0, 0.02),
    "flute": (_flute, 1, 0.06),
    "voice": (_voice, 0, 0.04),
}
TIMBRES = tuple(_INSTRUMENTS)


def _upsample(values: np.ndarray) -> np.ndarray:
    """Interpolate `(frames,)` values at the control rate to `(frames * _SAMPLES_PER_FRAME,)` samples."""
    steps = np.diff(values, append=values[-1:])
    ramp = np.arange(_SAMPLES_PER_FRAME, dtype=np.float32) / _SAMPLES_PER_FRAME
    return (values[:, None] + steps[:, None] * ramp).ravel()


def _sum_of_harmonics(pitch: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    """
    The sum of sine waves at the multiples of a pitch.

    Args:
        pitch: `(frames,)`, in Hz, at the control rate.
        amplitudes: `(harmonics, frames)`.

    Returns:
        `(frames * _SAMPLES_PER_FRAME,)`, float32.
    """
    harmonics, frames = amplitudes.shape
    multiples = np.arange(1, harmonics + 1)[:, None] * pitch
    amplitudes = np.where(multiples < 0.47 * SAMPLING_RATE, amplitudes, 0).astype(np.float32)
    slopes = np.diff(amplitudes, axis=1, append=amplitudes[:, -1:]) / _SAMPLES_PER_FRAME
    turns = np.cumsum(_upsample(pitch) / SAMPLING_RATE)
    angle = (2 * np.pi * (turns - np.floor(turns))).astype(np.float32).reshape(frames, _SAMPLES_PER_FRAME)
    ramp = np.arange(_SAMPLES_PER_FRAME, dtype=np.float32)
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


def _tanpura(tonic: float, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Four strings, Pa Sa' Sa' Sa below the tonic's octave, plucked one after the other again and again."""
    ring = 6 * CONTROL_RATE
    time = np.arange(ring) / CONTROL_RATE
    k = np.arange(1, 31)[:, None]
    tilt, cycle = rng.uniform(0.3, 0.8), rng.uniform(3.2, 6.0)
    # The curved bridge (jivari) moves the energy of a string to higher harmonics, which reach their maximum later
    bloom = 1 - np.exp(-(time + 0.02) / (0.01 + rng.uniform(0.005, 0.02) * k))
    envelope = bloom * np.exp(-time * (0.45 + 0.03 * k)) / k**tilt * np.minimum((6 - time) / 0.5, 1)
    plucks = []
    for interval in (3 / 4, 1, 1, 1 / 2):
        detuned = tonic * interval * 2 ** (rng.normal(0, 3) / 1200)
        strengths = envelope * rng.uniform(0.5, 1.0, size=(30, 1))
        plucks.append(_sum_of_harmonics(np.full(ring, detuned), strengths))
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


def _record(performance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add the effects of a room and a microphone: reverberation, a spectral slope and background noise."""
    samples = len(performance)
    decay = rng.uniform(0.15, 0.6)  # seconds to fall by 60 dB
    time = np.arange(int(decay * SAMPLING_RATE)) / SAMPLING_RATE
    room = rng.standard_normal(len(time), dtype=np.float32) * 10 ** (-3 * time / decay)
    room *= rng.uniform(0.1, 0.5) / np.sqrt(np.sum(room**2))
    room[0] += 1
    size = -(-(samples + len(room)) // 2**14) * 2**14  # a length for which the FFT is fast
    frequency = np.fft.rfftfreq(size, 1 / SAMPLING_RATE)
    microphone = ((frequency + 50) / 1000) ** rng.uniform(-0.3, 0.2) * (frequency > 30)
    response = np.fft.rfft(room.astype(np.float32), size) * microphone
    sound = np.fft.irfft(np.fft.rfft(performance.astype(np.float32), size) * response, size)[:samples]
    # Pink noise, 30 to 55 dB below the sound
    noise = rng.standard_normal((2, len(frequency)), dtype=np.float32) / np.sqrt(frequency + 20)
    noise = np.fft.irfft(noise[0] + 1j * noise[1], size)[:samples]
    return sound + noise * (sound.std() / noise.std() * 10 ** (-rng.uniform(30, 55) / 20))


def _wav(samples: np.ndarray) -> bytes:
    """The bytes of a 16-bit WAV file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLING_RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
