# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What a data set holds: lengths, formats, classes, and clips that are silent, clipped, doubled or unreadable."""

import hashlib
import io
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np

from ..data.audio import AudioFile, AudioFileError, audio_info, decode_audio, load_audio
from ..data.labels import FRAMES, SINGLE_LABEL, class_names, classes_of_clips, listed, task_of
from ..data.readable import BadClip, audio_file, clip_names
from ..feature_extraction.feature_extraction_sslam import SSLAMFeatureExtractor
from .chunks import level_dbfs


# A clip with a lower level than this is silent, in dB of full scale
SILENCE_DBFS = -60.0

# Music that was made as loud as can be has single samples at full scale; three in a row were cut off
_FULL_SCALE, _CLIPPED_SAMPLES = 0.9999, 3

_MOST_DRAWN_CLASSES = 60
_MOST_EXAMPLE_CLASSES = 20
_EXAMPLE_SECONDS = 10.0


class ClipFacts(NamedTuple):
    """What was measured of a clip. `digest` is the same for clips with the same samples at the same rate."""

    seconds: float
    sampling_rate: int
    channels: int
    format: str
    is_silent: bool
    is_clipped: bool
    digest: bytes


def measure_clip(file: AudioFile) -> ClipFacts:
    """Decode a clip, as the mean of its channels, and measure it. Errors are those of `load_audio`."""
    info = audio_info(file)
    waveform, rate = decode_audio(file)
    is_full = np.abs(waveform) >= _FULL_SCALE
    runs = is_full[2:] & is_full[1:-1] & is_full[:-2]
    digest = hashlib.blake2b(np.ascontiguousarray(waveform), digest_size=16, salt=rate.to_bytes(8, "little")).digest()
    is_silent = level_dbfs(waveform) < SILENCE_DBFS
    return ClipFacts(len(waveform) / rate, rate, info.channels, _format(file), is_silent, bool(runs.any()), digest)


def _format(file: AudioFile) -> str:
    import soundfile

    try:
        info = soundfile.info(io.BytesIO(file) if isinstance(file, bytes) else file)
    except soundfile.LibsndfileError:
        return "other"
    return f"{info.format} {info.subtype}"


def inspect_clips(clips: datasets.DatasetDict) -> tuple[dict[str, Any], list[float]]:
    """
    Decode every clip of a data set once and measure it, with a progress bar.

    Args:
        clips: what `load_clips` gives.

    Returns:
        A dict for JSON, and the durations of the readable clips in seconds. In the dict: `task`; `clips`,
        `recordings` and `hours` in all, and under `splits` and `classes` of each of these (the hours of a class of
        events are those of its events); `imbalance`, which is how many times as many clips the largest class has as
        the smallest, and the `empty_classes`, which do not count there; `classes_per_clip` (mean, highest, and the
        number of clips without any; no key for data of one class a clip); `seconds` (min, median, mean, max of a
        clip); `sampling_rates`, `channels` and `formats` with the number of clips of each; the names of the `silent`
        and the `clipped` clips; the `duplicates`, each a dict of names, splits and classes of clips with exactly the
        same samples; and the `unreadable` clips, which count nowhere else.

    Raises:
        ValueError: no clip can be read.
    """
    label = next(iter(clips.values())).features["label"]
    names_of_classes, task = class_names(label), task_of(label)
    rows, measured, unreadable = [], [], []
    for split, part in clips.items():
        classes, recordings, labels = classes_of_clips(part), part["recording"][:], part["label"][:]
        facts = _measure_all(part, split)
        for name, recording, clip_classes, value, clip in zip(
            clip_names(part), recordings, classes, labels, facts, strict=True
        ):
            if isinstance(clip, AudioFileError):
                unreadable.append(BadClip(name, str(clip), split if len(clips) > 1 else None))
            else:
                rows.append((split, name, recording, clip_classes, value))
                measured.append(clip)
    if not measured:
        raise ValueError(f"None of the {len(unreadable)} clips can be read. The first: {unreadable[0].reason}")

    splits, classes, copies = defaultdict(_Part), {name: _Part() for name in names_of_classes}, defaultdict(list)
    for (split, name, recording, clip_classes, value), clip in zip(rows, measured, strict=True):
        splits[split].add(recording, clip.seconds)
        for index in clip_classes:
            seconds = clip.seconds
            if task == FRAMES:
                seconds = sum(event["offset"] - event["onset"] for event in value if event["label"] == index)
            classes[names_of_classes[index]].add(recording, seconds)
        copies[clip.digest].append((name, split, [names_of_classes[index] for index in clip_classes]))
    sizes = [part.clips for part in classes.values() if part.clips]
    seconds = [clip.seconds for clip in measured]
    report = {
        "task": task,
        "clips": len(measured),
        "recordings": len({recording for _, _, recording, _, _ in rows}),
        "hours": sum(seconds) / 3600,
        "seconds": {name: float(getattr(np, name)(seconds)) for name in ("min", "median", "mean", "max")},
        "sampling_rates": _counts(str(clip.sampling_rate) for clip in measured),
        "channels": _counts(str(clip.channels) for clip in measured),
        "formats": _counts(clip.format for clip in measured),
        "splits": {split: part.as_dict() for split, part in splits.items()},
        "classes": {name: part.as_dict() for name, part in classes.items()},
        "imbalance": max(sizes) / min(sizes) if sizes else None,
        "empty_classes": [name for name, part in classes.items() if part.clips == 0],
        "silent": [row[1] for row, clip in zip(rows, measured, strict=True) if clip.is_silent],
        "clipped": [row[1] for row, clip in zip(rows, measured, strict=True) if clip.is_clipped],
        "duplicates": [
            {"names": list(names), "splits": list(of_splits), "classes": list(of_classes)}
            for names, of_splits, of_classes in (
                zip(*group, strict=True) for group in copies.values() if len(group) > 1
            )
        ],
        "unreadable": [clip._asdict() for clip in unreadable],
    }
    if task != SINGLE_LABEL:
        numbers = [len(clip_classes) for _, _, _, clip_classes, _ in rows]
        report["classes_per_clip"] = {
            "mean": float(np.mean(numbers)),
            "max": max(numbers),
            "clips_without": numbers.count(0),
        }
    return report, seconds


class _Part:
    """Clips, recordings and seconds of a split or a class."""

    def __init__(self):
        self.clips, self.recordings, self.seconds = 0, set(), 0.0

    def add(self, recording: str, seconds: float) -> None:
        self.clips += 1
        self.recordings.add(recording)
        self.seconds += seconds

    def as_dict(self) -> dict[str, Any]:
        return {"clips": self.clips, "recordings": len(self.recordings), "hours": self.seconds / 3600}


def _measure_all(clips: datasets.Dataset, split: str) -> Iterator[ClipFacts | AudioFileError]:
    clips = clips.select_columns("audio")

    def measure(row: int) -> ClipFacts | AudioFileError:
        try:
            return measure_clip(audio_file(clips[row]["audio"]))
        except AudioFileError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from datasets.utils.tqdm(
            pool.map(measure, range(len(clips))), total=len(clips), desc=f"Measuring {split}", unit="clip"
        )


def _counts(values: Iterator[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def format_inspection(report: Mapping[str, Any]) -> str:
    """What `inspect_clips` found as text for a terminal."""
    seconds = report["seconds"]
    lines = [
        f"{report['clips']} clips of {report['recordings']} recordings, {report['hours']:.3f} hours, {report['task']}",
        f"seconds        {seconds['min']:.2f} to {seconds['max']:.2f}, median {seconds['median']:.2f}, "
        f"mean {seconds['mean']:.2f}",
    ]
    for key in ("sampling_rates", "channels", "formats"):
        counts = ", ".join(f"{value} ({number})" for value, number in report[key].items())
        lines.append(f"{key.replace('_', ' '):<14} {counts}")
    if "classes_per_clip" in report:
        numbers = report["classes_per_clip"]
        lines.append(
            f"classes a clip {numbers['mean']:.2f} on average, {numbers['max']} at most; "
            f"{numbers['clips_without']} clips have none"
        )
    for title, key in (("silent", "silent"), ("clipped", "clipped")):
        lines.append(f"{title:<14} {_clips_in_words(report[key])}")
    copies = report["duplicates"]
    extra = sum(len(group["names"]) - 1 for group in copies)
    across = sum(len(set(group["splits"])) > 1 for group in copies)
    differing = sum(len(set(map(tuple, group["classes"]))) > 1 for group in copies)
    lines.append(
        f"duplicates     {extra} clips repeat another exactly; of {len(copies)} groups of copies, {across} stand in "
        f"several splits and {differing} have several labels"
    )
    lines.append(f"unreadable     {_clips_in_words([clip['name'] for clip in report['unreadable']])}")
    for title, key in (("split", "splits"), ("class", "classes")):
        width = max(len(title), *map(len, report[key]))
        lines += ["", f"{title:{width}}  {'clips':>8}  {'recordings':>10}  {'hours':>8}"]
        for name, part in report[key].items():
            lines.append(f"{name:{width}}  {part['clips']:>8}  {part['recordings']:>10}  {part['hours']:>8.3f}")
    if report["imbalance"] is not None:
        lines += ["", f"The largest class has {report['imbalance']:.3g} times the clips of the smallest."]
    if report["empty_classes"]:
        lines.append(f"No clip has the classes {listed(report['empty_classes'])}.")
    return "\n".join(lines)


def _clips_in_words(names: Sequence[str]) -> str:
    return f"{len(names)}" + (f": {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" if names else "")


def plot_durations(seconds: Sequence[float], path: str | os.PathLike) -> None:
    """Plot a histogram of durations as a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.hist(seconds, bins=min(50, max(10, len(seconds) // 5)))
    axes.set(xlabel="seconds", ylabel="clips", title=f"Durations of {len(seconds)} clips")
    axes.grid(alpha=0.3)
    figure.savefig(path)


def plot_classes(classes: Mapping[str, Mapping[str, Any]], path: str | os.PathLike) -> None:
    """Plot the clips of each class as a PNG file: `classes` of a report. Of very many, the largest are drawn."""
    from matplotlib.figure import Figure

    sizes = {name: part["clips"] for name, part in classes.items()}
    names = sorted(sizes, key=lambda name: -sizes[name])[:_MOST_DRAWN_CLASSES]
    figure = Figure(figsize=(8, max(3, 1 + 0.25 * len(names))), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(range(len(names)), [sizes[name] for name in names])
    # Data set authors choose the names: a `$` in them is a dollar and no formula.
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.invert_yaxis()
    shown = f"the {len(names)} largest of {len(sizes)} classes" if len(names) < len(sizes) else "all classes"
    axes.set(xlabel="clips", title=f"Clips of {shown}")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path)


def plot_examples(clips: datasets.DatasetDict, path: str | os.PathLike, examples: int = 3) -> None:
    """
    Plot log-mel energies of the beginnings of some clips of each class as a PNG file.

    Args:
        clips: what `load_clips` gives. They are taken from `train`, or from the first split where there is none, one
            of each recording while there are enough. Of more than 20 classes, the first are drawn.
        path: the file to write.
        examples: clips of each class.
    """
    from matplotlib.figure import Figure

    rows = clips["train"] if "train" in clips else next(iter(clips.values()))
    classes, recordings = classes_of_clips(rows), rows["recording"][:]
    names = class_names(rows.features["label"])[:_MOST_EXAMPLE_CLASSES]
    extractor = SSLAMFeatureExtractor(mean=0.0, std=0.5)  # (x - 0) / (2 * 0.5): not normalised
    figure = Figure(figsize=(3 * examples + 1, 1.6 * len(names) + 0.5), layout="constrained")
    grid = figure.subplots(len(names), examples, squeeze=False)
    for index, name in enumerate(names):
        candidates = [row for row, clip_classes in enumerate(classes) if index in clip_classes]
        firsts = {recordings[row]: row for row in reversed(candidates)}.values()
        candidates = sorted(firsts) + sorted(set(candidates) - set(firsts))
        waveforms = _readable(rows, candidates, examples, extractor.sampling_rate)
        for axes in grid[index]:
            axes.set_axis_off()
        for axes, waveform in zip(grid[index], waveforms, strict=False):
            features = extractor(waveform, sampling_rate=extractor.sampling_rate, padding=False, truncation=False)[
                "input_values"
            ][0]
            extent = (0, len(waveform) / extractor.sampling_rate, 0, features.shape[1])
            axes.imshow(features.T, origin="lower", aspect="auto", extent=extent, interpolation="nearest")
            axes.set_axis_on()
            axes.tick_params(labelsize=6)
            axes.set_yticks([])
        grid[index, 0].set_title(name, loc="left", fontsize=8, parse_math=False)
    figure.suptitle("Log-mel energies over seconds")
    figure.savefig(path, dpi=80)


def _readable(rows: datasets.Dataset, candidates: Sequence[int], number: int, rate: int) -> list[np.ndarray]:
    waveforms = []
    for row in candidates:
        if len(waveforms) == number:
            break
        try:
            waveforms.append(load_audio(audio_file(rows[row]["audio"]), rate, duration=_EXAMPLE_SECONDS))
        except AudioFileError:  # named in the report
            continue
    return waveforms


def write_inspection(
    report: Mapping[str, Any],
    seconds: Sequence[float],
    clips: datasets.DatasetDict,
    folder: str | os.PathLike,
    examples: int = 3,
) -> None:
    """
    Write what `inspect_clips` found to a folder, which is made where it is missing.

    `inspect.json` holds the report, `durations.png`, `classes.png` and, for `examples` above 0, `examples.png` show
    it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inspect.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    plot_durations(seconds, folder / "durations.png")
    plot_classes(report["classes"], folder / "classes.png")
    if examples > 0:
        plot_examples(clips, folder / "examples.png", examples)
