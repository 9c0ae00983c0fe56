# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Small folders in the layouts of CompMusic's and Saraga's collections, as mirdata's loaders read them.

The paths are those of the indexes that mirdata 1.0.0 downloads. These have no Hindustani files of the raga dataset,
which stand without a folder of their own and end in their MBID, in folders with `_` where the list has `:` and `&`.
"""

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from polyaudio.data.ragas import SAMPLING_RATE, synthesize_recording


PITCH = "0.0000000\t0.0000000\n0.0044444\t196.0000000\n0.0088889\t197.5000000\n"


class Performance(NamedTuple):
    """A recording: its raga, who performed it at which concert, its title and its tonic in Hz."""

    raga: str
    artist: str
    concert: str
    title: str
    tonic: float = 196.0

    @property
    def mbid(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(self[:4])))


def concert_series(ragas: Sequence[str], artists: int, concerts: int) -> list[Performance]:
    """Each of the artists performs every raga once at each of their concerts."""
    return [
        Performance(raga, f"Artist_{artist}", f"Season_{concert}", f"Song_in_{raga}", 140.0 + 15 * artist)
        for artist in range(artists)
        for concert in range(concerts)
        for raga in ragas
    ]


def write_compmusic_raga(
    home: Path, performances: Sequence[Performance], tradition: str = "Carnatic", *, seconds: float | None = None
) -> Path:
    """The raga dataset: lists, tonics and pitch tracks, and with `seconds` the audio."""
    root = home / "RagaDataset" / tradition
    entries, names = {}, {}
    for seed, one in enumerate(performances):
        ragaid = str(uuid.uuid5(uuid.NAMESPACE_DNS, one.raga))
        names[ragaid] = one.raga
        own = f"{one.title}/{one.title}" if tradition == "Carnatic" else f"{one.title}_{one.mbid}"
        place = f"{ragaid}/{one.artist}/{one.concert}/{own}"
        entries[one.mbid] = {
            "path": f"RagaDataset/{tradition}/audio/{place}",
            "mbid": one.mbid,
            "ragaid": ragaid,
        }
        on_disk = place.replace(":", "_").replace("&", "_")
        features = root / "features" / on_disk
        write_text(features.with_name(f"{features.name}.tonic"), f"{one.tonic + 3}\n")
        write_text(features.with_name(f"{features.name}.tonicFine"), f"{one.tonic:.18e}\n")
        write_text(features.with_name(f"{features.name}.pitch"), PITCH)
        if seconds is not None:
            audio = root / "audio" / on_disk
            write_audio(audio.with_name(f"{audio.name}.mp3"), one, seconds, seed)
    info = root / "_info_"
    write_text(info / "path_mbid_ragaid.json", json.dumps(entries))
    write_text(info / "ragaId_to_ragaName_mapping.json", json.dumps(names))
    return home


def write_saraga(home: Path, tradition: str, performances: Sequence[Performance], *, seconds: float) -> Path:
    """
    Saraga with the index of mirdata. A raga such as `A+B` stands for several, and an empty one for none.

    The first recording has no tonic and no pitch track in the index.
    """
    audio_key = "audio-mix" if tradition == "carnatic" else "audio"
    index: dict[str, Any] = {"version": "1.5", "tracks": {}}
    for number, one in enumerate(performances):
        folder = f"saraga1.5_{tradition}/{one.concert} by {one.artist}/{one.title}"
        paths = {
            audio_key: f"{folder}/{one.title}.mp3.mp3",
            "metadata": f"{folder}/{one.title}.json",
            "ctonic": f"{folder}/{one.title}.ctonic.txt" if number else None,
            "pitch": f"{folder}/{one.title}.pitch.txt" if number else None,
        }
        others = ["tempo", "sama", "sections", "phrases"]
        if tradition == "carnatic":
            others += ["pitch-vocal", *(f"audio-{part}" for part in ("ghatam", "violin", "vocal-s", "vocal"))]
            others += ["audio-mridangam-left", "audio-mridangam-right"]
        index["tracks"][f"{number}_{one.title.replace(' ', '_')}"] = {
            key: [path, path and "0" * 32] for key, path in {**paths, **dict.fromkeys(others)}.items()
        }
        ragas = [{"name": name, "common_name": name.lower()} for name in one.raga.split("+") if name]
        metadata = {
            "mbid": one.mbid,
            "title": one.title,
            "album_artists": [{"name": one.artist}],
            "raaga" if tradition == "carnatic" else "raags": ragas,
        }
        write_text(home / paths["metadata"], json.dumps(metadata))
        if number:
            write_text(home / paths["ctonic"], f"{one.tonic:.6f}")
            write_text(home / paths["pitch"], PITCH)
        write_audio(home / paths[audio_key], one, seconds, number)
    write_text(home / f"saraga_{tradition}_index_1.5.json", json.dumps(index))
    return home


def write_indian_tonic(home: Path, excerpts: Sequence[tuple[str, dict[str, Any]]]) -> Path:
    """The tonic dataset with the index of mirdata: places of files such as `CM/audio/x.mp3`, and their annotations."""
    index: dict[str, Any] = {"version": "1.0", "tracks": {}}
    annotations: dict[str, dict[str, Any]] = {}
    for seed, (place, facts) in enumerate(excerpts):
        path = f"indian_art_music_tonic_1.0/{place}"
        index["tracks"][Path(place).name.replace(".mp3", "")] = {"audio": [path, "0" * 32]}
        unknown = {"mbid": -1, "artist": "NA", "gender": "NA", "type": "NA", "tradition": "NA"}
        place_of_annotation = f"TonicDataset/{place}"
        annotations.setdefault(place.split("/")[0], {})[place_of_annotation] = {
            **unknown,
            "filepath": place_of_annotation,
            **facts,
        }
        write_audio(home / path, Performance("Todi", "", "", "", facts["tonic"]), 0.5, seed)
    for center, own in annotations.items():
        write_text(home / "indian_art_music_tonic_1.0" / center / "annotations" / f"{center}2.json", json.dumps(own))
    write_text(home / "compmusic_indian_tonic_1.0.json", json.dumps(index))
    return home


def write_audio(path: Path, performance: Performance, seconds: float, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Ragas that the package cannot synthesise become noise
    if performance.raga in ("Kalyani", "Todi"):
        waveform = synthesize_recording(
            performance.raga, tonic=performance.tonic, timbre="bowed string", seconds=seconds, seed=seed
        )
    else:
        waveform = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * SAMPLING_RATE))
    soundfile.write(path, waveform, SAMPLING_RATE, format="MP3")


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
