# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Tonics and pitch tracks that a dataset gives, instead of those that a front end finds in the audio."""

import logging
import os
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .digests import digest_of_file, digest_of_values
from .text import listed


if TYPE_CHECKING:
    import datasets


logger = logging.getLogger(__name__)

# What a dataset may give: the tonic; the tonic and the pitch of the melody; or these alone, and no audio is read
GIVEN = ("tonic", "pitch", "pitch-only")
TONIC, PITCH = "given_tonic", "given_pitch"


class PitchPart(NamedTuple):
    """
    A part of a pitch track.

    Attributes:
        pitch: `(values,)`, float64, in Hz, 0 where there is none.
        times: `(values,)`, float64, in seconds from the start of the part.
    """

    pitch: np.ndarray
    times: np.ndarray


def check_given(given: str | None) -> None:
    """Raise `ValueError` if this is neither `None` nor one of `GIVEN`."""
    if given is not None and given not in GIVEN:
        raise ValueError(f"given (--given) must be one of {listed(GIVEN)}, got {given!r}.")


def add_given(
    clips: "datasets.DatasetDict", sources: "Mapping[str, datasets.Dataset]", given: str, dataset: str
) -> "datasets.DatasetDict":
    """
    Add the given tonics and pitch tracks to clips. Clips without what they need are left out, with a warning.

    Args:
        clips: the splits, as `load_clips` makes them.
        sources: the same rows with the columns `tonic` (Hz) and `pitch_path`.
        given: one of `GIVEN`.
        dataset: name for messages.

    Returns:
        The clips with the columns `given_tonic` (float32, Hz, `None` where it is not known) and, but for `"tonic"`,
        `given_pitch` (string, a path).

    Raises:
        ValueError: a column is missing, a tonic is not above 0, or no clip of a split is left.
    """
    import datasets  # heavy, and running a model needs the rest of this file

    result = datasets.DatasetDict()
    for split, rows in clips.items():
        tonics = _tonics(sources[split], f"{dataset}, split {split}")
        rows = rows.add_column(TONIC, tonics, feature=datasets.Value("float32"))
        if given != "tonic":
            rows = rows.add_column(PITCH, sources[split]["pitch_path"][:], feature=datasets.Value("string"))
        result[split] = _complete(rows, given, f"{dataset}, split {split}")
    return result


def _tonics(rows: "datasets.Dataset", where: str) -> list[float | None]:
    if "tonic" not in rows.column_names:
        raise ValueError(f"{where}, has no column 'tonic' with the tonic in Hz. Leave out given (--given).")
    try:
        tonics = [None if one is None or np.isnan(float(one)) else float(one) for one in rows["tonic"]]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: the column 'tonic' must hold numbers in Hz ({error}).") from error
    if any(one is not None and not 0 < one < np.inf for one in tonics):
        raise ValueError(f"{where}: a tonic in Hz must be above 0. Correct the column 'tonic'.")
    return tonics


def _complete(rows: "datasets.Dataset", given: str, where: str) -> "datasets.Dataset":
    """The clips that have what they need."""
    tonics = rows[TONIC][:]
    paths: list[str | None] = rows[PITCH][:] if given != "tonic" else []
    has_pitch = [path is not None and os.path.isfile(path) for path in paths] or [True] * len(rows)
    needs_tonic = given == "pitch-only"
    kept = [row for row, tonic in enumerate(tonics) if has_pitch[row] and not (needs_tonic and tonic is None)]
    if len(kept) < len(rows):
        logger.warning(
            f"{where}: {len(rows) - len(kept)} of {len(rows)} clips are left out: {has_pitch.count(False)} have no "
            f"pitch track{', the others no tonic' if needs_tonic else ''}."
        )
    if not kept:
        raise ValueError(f"{where}, has no clip with a pitch track and a tonic. Leave out given (--given).")
    unknown = sum(tonics[row] is None for row in kept)
    if unknown:
        logger.warning(f"{where}: {unknown} of {len(kept)} clips have no tonic, which is estimated from their audio.")
    return rows if len(kept) == len(rows) else rows.select(kept)


def given_columns(clips: "datasets.Dataset") -> list[str]:
    """The columns of clips with what is given."""
    return [name for name in (TONIC, PITCH) if name in (clips.column_names or ())]


def has_audio(clips: "datasets.Dataset") -> bool:
    """Whether clips have audio. Those of `"pitch-only"` have the path of their pitch track in its place."""
    if PITCH not in clips.column_names or not len(clips):
        return True
    first = clips[0]
    return first["audio"]["path"] != first[PITCH]


def check_front_end(clips: "datasets.Dataset", feature_extractor: Any) -> None:
    """Raise `ValueError` if a feature extractor cannot take what is given with the clips."""
    from ..configuration.configuration_sam_audio import TONIC_FRONTENDS  # not needed to load clips

    columns, frontend = given_columns(clips), getattr(feature_extractor, "frontend", "log_mel")
    usable = TONIC_FRONTENDS if PITCH not in columns else [one for one in TONIC_FRONTENDS if "tonic_pitch" in one]
    if not has_audio(clips):
        usable = ["tonic_pitch"]
    if columns and frontend not in usable:
        raise ValueError(
            f"The front end {frontend!r} cannot take what is given. Leave out given (--given), or take a model with "
            f"the front end {listed(usable)}."
        )


def digest_of_given(clips: "datasets.Dataset", known: MutableMapping[str, str]) -> str:
    """
    The SHA-256 of given tonics and of the files with the pitch.

    Args:
        known: the digests of files that were computed before, by path. New ones are added.
    """
    paths = clips[PITCH][:] if PITCH in clips.column_names else []
    for path in paths:
        if path not in known:
            known[path] = digest_of_file(path)
    return digest_of_values([clips[TONIC][:], [known[path] for path in paths]])


def read_pitch_track(path: str | os.PathLike) -> PitchPart:
    """
    Read a text file with a time in seconds and a frequency in Hz in each line, as CompMusic and Saraga have them.

    Numbers are separated by spaces, tabs or commas; further columns are ignored.

    Raises:
        ValueError: the file cannot be read, or its times do not ascend from 0 on.
    """
    try:
        with open(path, encoding="utf-8") as file:
            first = file.readline()
        if not first:
            raise ValueError("it is empty")
        delimiter = "," if "," in first else None
        times, pitch = np.loadtxt(path, delimiter=delimiter, usecols=(0, 1), ndmin=2, encoding="utf-8").T
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a pitch track of times and frequencies ({error}). Leave it out.") from error
    if not len(times) or not np.isfinite(times).all() or times[0] < 0 or (np.diff(times) <= 0).any():
        raise ValueError(f"{path} is not a pitch track: its times do not ascend from 0 on. Leave it out.")
    if np.isinf(pitch).any():
        raise ValueError(f"{path} is not a pitch track: it has an infinite frequency. Leave it out.")
    return PitchPart(np.where(pitch > 0, pitch, 0.0), times)


def part_of_track(track: PitchPart, start: float, seconds: float | None) -> PitchPart:
    """The values of a track from `start` on, for `seconds`. A part without values gets one, 0 Hz."""
    first, stop = np.searchsorted(track.times, (start, np.inf if seconds is None else start + seconds))
    if first == stop:
        return PitchPart(np.zeros(1), np.zeros(1))
    return PitchPart(track.pitch[first:stop], track.times[first:stop] - start)


def extractor_arguments(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The arguments of a feature extractor for the items of `AudioClips`: the given tonics and pitch tracks."""
    arguments: dict[str, Any] = {}
    if items and items[0].get("tonic") is not None:
        arguments["tonic"] = [item["tonic"] for item in items]
    if items and items[0].get("pitch") is not None:
        arguments["pitch"] = [item["pitch"].pitch for item in items]
        arguments["pitch_times"] = [item["pitch"].times for item in items]
    return arguments


def waveforms_of(items: Sequence[Mapping[str, Any]]) -> list[np.ndarray] | None:
    """The waveforms of the items of `AudioClips`; `None` without audio."""
    waveforms = [item["waveform"] for item in items]
    return None if waveforms[0] is None else waveforms
