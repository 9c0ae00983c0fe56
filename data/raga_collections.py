# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Reads collections of ragas where mirdata's loaders expect them: CompMusic's raga and tonic datasets, and Saraga.

mirdata is an extra, `polyaudio[mirdata]`. It names the files and reads their annotations. Nothing is downloaded.
"""

import contextlib
import functools
import json
import logging
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import datasets

from .text import listed


logger = logging.getLogger(__name__)

PREFIX = "mirdata:"

_DOWNLOAD = "`python -c \"import mirdata; mirdata.initialize('{name}', data_home='{home}').download()\"`"


def is_collection(dataset: object) -> bool:
    """Return whether this is the name of a collection: it begins with `mirdata:`."""
    return isinstance(dataset, str) and dataset.startswith(PREFIX)


def load_collection(
    name: str, data_home: str | os.PathLike | None = None, *, needs: Literal["audio", "pitch"] = "audio"
) -> tuple[datasets.Dataset, Path]:
    """
    Read the table of a collection. No audio and no pitch track is read.

    Recordings without a raga, with several ragas or whose files are missing are left out. A warning has their number.

    Args:
        name: `"mirdata:compmusic_raga/carnatic"`, `"mirdata:compmusic_raga/hindustani"`, `"mirdata:saraga_carnatic"`,
            `"mirdata:saraga_hindustani"` or `"mirdata:compmusic_indian_tonic"`.
        data_home: the folder that mirdata's loader calls so, by default mirdata's own, `~/mir_datasets/NAME`. The
            loaders of Saraga and of the tonic dataset need mirdata's index. It is read from this folder if it is
            there, under its own name, or else from where mirdata downloads it to.
        needs: the recordings to return: those with their audio, or those with a pitch track and a tonic, which are
            free where the audio is not.

    Returns:
        The recordings and `data_home`. The columns are `audio` (path; only if `needs` is `"audio"`), `recording`,
        `tonic` (float32, Hz; `None` if it is not known), `artist` and, of all but the tonic dataset, `raga`, `concert`
        (unique, with the artist) and `pitch_path` (a text file of times in seconds and frequencies in Hz, 0 where
        there is no pitch). The tonic dataset has `tradition`, `type` and `gender`.

    Raises:
        ValueError: there is no such collection, mirdata is not installed, or the folder, the index or the files are
            missing.

    Example:

    ```python
    >>> from polyaudio.data.raga_collections import load_collection

    >>> table, _ = load_collection(  # doctest: +SKIP
    ...     "mirdata:compmusic_raga/carnatic", "/data/compmusic", needs="pitch"
    ... )
    >>> table[0]["raga"], table[0]["tonic"], table[0]["pitch_path"]  # doctest: +SKIP
    ```
    """
    collection = _COLLECTIONS.get(name.removeprefix(PREFIX))
    if collection is None:
        raise ValueError(
            f"There is no collection {name!r}. Choose one of {listed(PREFIX + one for one in _COLLECTIONS)}."
        )
    loader = _loader(collection.loader, data_home)
    home = Path(loader.data_home)
    if not (home / collection.folder).is_dir():
        raise ValueError(
            f"{home} has no folder {collection.folder}, so it does not hold {name}. {collection.how(home)}"
        )
    recordings = list(collection.read(loader, home))
    kept, left_out = [], defaultdict(list)
    for recording in recordings:
        reason = _reason_to_leave_out(recording, needs)
        if reason is None:
            kept.append(recording)
        else:
            left_out[reason].append(recording.values["recording"])
    if not kept:
        raise ValueError(_nothing_to_use(name, home, recordings, left_out, needs, collection.how(home)))
    _report(name, kept, left_out, len(recordings))
    columns = {column: [one.values[column] for one in kept] for column in kept[0].values}
    if needs == "pitch":
        del columns["audio"]
    features = {column: datasets.Value("float32" if column == "tonic" else "string") for column in columns}
    return datasets.Dataset.from_dict(columns, datasets.Features(features)), home


class _Recording(NamedTuple):
    """A row of the table, and its problem if the collection itself makes it unusable."""

    values: dict[str, Any]
    problem: str | None = None


class _Collection(NamedTuple):
    """
    A collection.

    Attributes:
        loader: the name of mirdata's loader.
        folder: the folder in `data_home` that the loader reads.
        read: returns the recordings for the loader and `data_home`.
        audio: where the audio comes from if `download` of the loader does not fetch it.
    """

    loader: str
    folder: str
    read: Callable[[Any, Path], Iterator[_Recording]]
    audio: str = ""

    def how(self, home: Path) -> str:
        """How one gets the collection, as sentences."""
        download = _DOWNLOAD.format(name=self.loader, home=home)
        return f"Pass another data_home (--data-home), or download it with {download}." + self.audio


def _loader(name: str, data_home: str | os.PathLike | None) -> Any:
    """mirdata's loader. Raises `ValueError` if mirdata is not installed."""
    with _root_log_kept():
        try:
            import mirdata

            home = None if data_home is None else str(Path(data_home).expanduser())
            loader = mirdata.initialize(name, data_home=home)
        except ImportError as error:
            raise ValueError(
                f"Datasets whose names begin with {PREFIX} need mirdata: `pip install polyaudio[mirdata]` ({error})."
            ) from error
    own_index = Path(loader.data_home, Path(loader.index_path).name)
    if own_index.is_file():
        loader.index_path = str(own_index)
    return loader


@contextlib.contextmanager
def _root_log_kept() -> Iterator[None]:
    """Undo the `logging.basicConfig` with which mirdata begins: it would print the log of every library."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def _reason_to_leave_out(recording: _Recording, needs: str) -> str | None:
    values = recording.values
    if recording.problem is not None:
        return recording.problem
    if needs == "audio":
        return None if _is_file(values["audio"]) else "without their audio file"
    if not _is_file(values.get("pitch_path")):
        return "without their pitch track"
    return None if values["tonic"] is not None else "without a tonic"


def _is_file(path: str | None) -> bool:
    return path is not None and os.path.isfile(path)


def _nothing_to_use(
    name: str,
    home: Path,
    recordings: list[_Recording],
    left_out: dict[str, list[str]],
    needs: str,
    how: str,
) -> str:
    counts = "; ".join(f"{len(names)} {reason}" for reason, names in left_out.items()) or "there are none"
    message = f"{home} has no recording of {name} that can be used: {counts}. {how}"
    have_pitch = sum(_reason_to_leave_out(one, "pitch") is None for one in recordings)
    if needs == "audio" and have_pitch:
        message += (
            f" {have_pitch} recordings have a pitch track and a tonic, which a model with the front end 'tonic_pitch' "
            "learns from without audio: set given (--given) to 'pitch-only'. "
            "polyaudio.data.raga_collections.load_collection(..., needs='pitch') returns their table."
        )
    return message


def _report(name: str, kept: list[_Recording], left_out: dict[str, list[str]], number: int) -> None:
    """Log what was left out, and for how many of the others the tonic is not known."""
    if left_out:
        lines = [f"  {len(names)} {reason}: {listed(names, 3)}" for reason, names in left_out.items()]
        logger.warning("\n".join([f"{number - len(kept)} of {number} recordings of {name} are left out:", *lines]))
    unknown = sum(one.values["tonic"] is None for one in kept)
    if unknown:
        logger.warning(f"{unknown} of {len(kept)} recordings of {name} have no tonic.")


def _raga(names: list[str]) -> tuple[str | None, str | None]:
    """The raga of a recording, or the reason why it has none."""
    if len(names) == 1:
        return names[0], None
    return None, "with several ragas" if names else "without a raga"


def _hz(track: Any, name: str = "tonic") -> float | None:
    """The frequency that mirdata reads for a track; `None` if its file is missing or holds none."""
    try:
        value = getattr(track, name)
    except (OSError, ValueError, LookupError, StopIteration):
        return None
    return value if value is not None and 0 < value < math.inf else None


def _read_json(path: Path, how: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is not a dictionary")
        return content
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing. {how}") from error
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}. Download it again.") from error


def _read_compmusic_raga(loader: Any, home: Path, tradition: str) -> Iterator[_Recording]:
    """
    The recordings of one tradition, from the list of the dataset itself.

    mirdata's index (1.0) has 477 of the 480 Carnatic recordings, because it names them by artist and title, and no
    Hindustani one. So only the reading of the files is left to mirdata.
    """
    from mirdata.datasets.compmusic_raga import Track

    collection = _COLLECTIONS[f"compmusic_raga/{tradition.lower()}"]
    info = home / "RagaDataset" / tradition / "_info_"
    entries = _read_json(info / "path_mbid_ragaid.json", collection.how(home))
    names = _read_json(info / "ragaId_to_ragaName_mapping.json", collection.how(home))
    audio = _Files(home, f"RagaDataset/{tradition}/audio", ".mp3")
    features = _Files(home, f"RagaDataset/{tradition}/features", ".tonic")
    for mbid, entry in entries.items():
        try:
            _, place = entry["path"].split(f"{tradition}/audio/", 1)
            _, artist, concert, *_ = place.split("/")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{info}/path_mbid_ragaid.json has no path of artist and concert for {mbid}.") from error
        base = features.base(place, mbid)
        paths = {
            "audio": f"{audio.base(place, mbid)}.mp3",
            "tonic": f"{base}.tonic",
            "tonic_fine_tuned": f"{base}.tonicFine",
            "pitch": f"{base}.pitch",
            "pitch_post_processed": f"{base}.pitchSilIntrpPP",
            "nyas_segments": f"{base}.flatSegNyas",
            "tani_segments": f"{base}.taniSegKNN",
        }
        index = {"tracks": {mbid: {key: [path, None] for key, path in paths.items()}}}
        track = Track(mbid, str(home), loader.name, index, lambda: None)
        name = names.get(str(entry.get("ragaid")))
        raga, problem = _raga([str(name)] if name else [])
        tonic = _hz(track, "tonic_fine_tuned") or _hz(track)
        yield _Recording(
            {
                "audio": track.audio_path,
                "raga": raga,
                "recording": f"{artist}/{concert}/{mbid}",
                "tonic": tonic,
                "artist": artist,
                "concert": f"{artist}/{concert}",
                "pitch_path": track.pitch_path,
            },
            problem,
        )


class _Files:
    """
    Finds the files of CompMusic's raga dataset.

    The list of the dataset has `:` and `&` in the names of folders, which its archive replaced by `_`. The files that
    this concerns, the Hindustani ones, end in the MBID of their recording.

    Args:
        home: `data_home`.
        folder: the folder in it with the files.
        suffix: the end of the name of a file that every recording has.
    """

    def __init__(self, home: Path, folder: str, suffix: str):
        self.home, self.folder, self.suffix = home, folder, suffix

    def base(self, place: str, mbid: str) -> str:
        """The path of a recording's files in `home`, without suffix, for its place in the list."""
        listed_at = f"{self.folder}/{place}"
        name = place.rsplit("/", 1)[-1]
        if not name.endswith(mbid) or (self.home / f"{listed_at}{self.suffix}").is_file():
            return listed_at
        return self._by_name.get(name, listed_at)

    @functools.cached_property
    def _by_name(self) -> dict[str, str]:
        files = (self.home / self.folder).rglob(f"*{self.suffix}")
        paths = [file.relative_to(self.home).as_posix().removesuffix(self.suffix) for file in sorted(files)]
        return {path.rsplit("/", 1)[-1]: path for path in paths}


def _read_saraga(loader: Any, home: Path, key: str) -> Iterator[_Recording]:
    """The recordings of Saraga. Their ragas are in the list `key` of their metadata."""
    for name, track in _indexed_tracks(loader, home).items():
        try:
            ragas = sorted({one.get("name") or one["common_name"] for one in track.metadata[key]})
            raga, problem = _raga(ragas)
        except (OSError, KeyError, TypeError, AttributeError, ValueError):
            raga, problem = None, "whose metadata cannot be read"
        # release by lead artist/recording/recording.json
        concert = Path(track.metadata_path or track.audio_path or "").parent.parent.name or None
        yield _Recording(
            {
                "audio": track.audio_path,
                "raga": raga,
                "recording": name,
                "tonic": _hz(track),
                "artist": concert and concert.rpartition(" by ")[2],
                "concert": concert,
                "pitch_path": track.pitch_path or getattr(track, "pitch_vocal_path", None),
            },
            problem,
        )


def _read_indian_tonic(loader: Any, home: Path) -> Iterator[_Recording]:
    """The excerpts of the tonic dataset. Those of one recording have its MBID in common."""
    annotations = sorted((home / "indian_art_music_tonic_1.0").glob("*/annotations/*.json"))
    how = _COLLECTIONS["compmusic_indian_tonic"].how(home)
    if not annotations:
        raise ValueError(f"{home} has no annotations of the tonics (indian_art_music_tonic_1.0/*/annotations). {how}")
    # mirdata finds the annotation of an excerpt by the name of its file alone
    used = [path for path in annotations if "IITM1" not in path.name]
    numbers = Counter(Path(file).name.replace(".mp3", "") for path in used for file in _read_json(path, how))
    for name, track in _indexed_tracks(loader, home).items():
        problem = "whose tonic cannot be told from that of a file with the same name" if numbers[name] > 1 else None
        tonic = _hz(track) if numbers[name] else None
        if tonic is None:
            problem = "without a tonic"
        facts = {key: None if tonic is None else getattr(track, key) for key in _TONIC_FACTS}
        known = {key: value if isinstance(value, str) and value != "NA" else None for key, value in facts.items()}
        recording = known.pop("mbid") or name
        yield _Recording({"audio": track.audio_path, "recording": recording, "tonic": tonic, **known}, problem)


_TONIC_FACTS = ("mbid", "artist", "tradition", "type", "gender")


def _indexed_tracks(loader: Any, home: Path) -> dict[str, Any]:
    """The tracks of mirdata's index. Raises `ValueError` if the index is missing or damaged."""
    try:
        return loader.load_tracks()
    except FileNotFoundError as error:
        download = _DOWNLOAD.format(name=loader.name, home=home).replace("download()", "download(['index'])")
        raise ValueError(
            f"mirdata's index of {loader.name} is missing. Download it with {download}, or put the file "
            f"{Path(loader.index_path).name} into {home}."
        ) from error
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{loader.index_path} is not an index of mirdata: {error}. Download it again.") from error


_COLLECTIONS = {
    f"compmusic_raga/{tradition.lower()}": _Collection(
        "compmusic_raga",
        "RagaDataset",
        functools.partial(_read_compmusic_raga, tradition=tradition),
        " That fetches tonics, pitch tracks and the names of the ragas. The audio must be requested at "
        "https://zenodo.org/record/7278511.",
    )
    for tradition in ("Carnatic", "Hindustani")
} | {
    "saraga_carnatic": _Collection(
        "saraga_carnatic", "saraga1.5_carnatic", functools.partial(_read_saraga, key="raaga")
    ),
    "saraga_hindustani": _Collection(
        "saraga_hindustani", "saraga1.5_hindustani", functools.partial(_read_saraga, key="raags")
    ),
    "compmusic_indian_tonic": _Collection(
        "compmusic_indian_tonic",
        "indian_art_music_tonic_1.0",
        _read_indian_tonic,
        " That fetches the annotations. The audio must be requested at https://zenodo.org/record/7342372; its folders "
        "`audio` go into indian_art_music_tonic_1.0/CM, IISc and IITM.",
    ),
}
