# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio dataset split`, and that leaks are found: by it, by `dataset check` and by `find_leaks`."""

import csv
import io
import json
import re
from collections import defaultdict
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile

from polyaudio.curation.leaks import Leak, LeakReport, find_leaks
from polyaudio.curation.splitting import PartSize, SplitSettings, split_dataset
from polyaudio.data.folders import new_folder, write_json
from polyaudio.data.loading import load_clips
from polyaudio.data.ragas import RAGAS, SAMPLING_RATE, TIMBRES, synthesize_recording
from polyaudio.data.splits import cut_from_train
from polyaudio.scripts.dataset import main


RATE = 8000


def noise(seed: int, seconds: float = 1.0) -> np.ndarray:
    """Noise whose level changes all the time."""
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal(round(seconds * RATE))
    levels = rng.uniform(0.01, 0.2, round(5 * seconds) + 2)
    return samples * np.interp(np.arange(len(samples)) * 5 / RATE, np.arange(len(levels)), levels)


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)


def split(source: Path, output: Path, *arguments: object) -> int:
    return main(["split", str(source), "--output", str(output), *map(str, arguments)])


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "splits.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two classes of ten recordings of two clips."""
    folder = tmp_path_factory.mktemp("data") / "in"
    for number in range(20):
        for chunk in range(2):
            write(folder / "ab"[number % 2] / f"{number}_chunk{chunk}.wav", noise(2 * number + chunk))
    return folder


def test_table_and_data_set_agree(folder, tmp_path, capsys):
    output = tmp_path / "new" / "out"
    assert split(folder, output, "--test-size", 0.2, "--validation-size", 0.3) == 0
    out = capsys.readouterr().out
    assert "test: 8 clips of 4 recordings" in out
    assert "No recording is in two splits" in out
    assert "No leak found" in out
    clips = load_clips(str(output))
    assert {part: len(rows) for part, rows in clips.items()} == {"train": 20, "validation": 12, "test": 8}
    rows = table(output)
    assert len(rows) == 40
    for part, own in clips.items():
        listed = [row for row in rows if row["split"] == part]
        original = [Path(row["clip"]).relative_to(folder) for row in listed]
        assert original == [Path(audio["path"]).relative_to(output / "audio") for audio in own["audio"]]
        assert [row["recording"] for row in listed] == own["recording"][:]
        assert [row["label"] for row in listed] == own.features["label"].int2str(own["label"][:])
        assert own["label"][:].count(0) == len(own) / 2
    parts_of = defaultdict(set)
    for row in rows:
        parts_of[row["recording"]].add(row["split"])
    assert all(len(parts) == 1 for parts in parts_of.values())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]

    assert split(folder, tmp_path / "again", "--test-size", 0.2, "--validation-size", 0.3) == 0
    assert table(tmp_path / "again") == rows
    assert split(folder, tmp_path / "other", "--test-size", 0.2, "--validation-size", 0.3, "--split-seed", 1) == 0
    assert table(tmp_path / "other") != rows


def test_groups_stay_together(folder, tmp_path, capsys):
    """Five concerts of four recordings of both classes, in splits, in folds and in what the check says of them."""
    source = tmp_path / "in"
    source.mkdir()
    rows = ["file_name,label,recording,concert"]
    for path in sorted(folder.rglob("*.wav")):
        (source / path.name).hardlink_to(path)
        recording = path.stem.partition("_")[0]
        rows.append(f"{path.name},{path.parent.name},{recording},concert {int(recording) // 4}")
    (source / "metadata.csv").write_text("\n".join(rows))
    for number, arguments in enumerate((["--test-size", 0.2], ["--folds", 5])):
        output = tmp_path / str(number)
        assert split(source, output, "--group-by", "concert", *arguments) == 0
        assert "No concert is in two " in capsys.readouterr().out
        parts = defaultdict(set)
        for row in table(output):
            parts[row["group"]].add(row.get("split") or row["fold"])
        assert len(parts) == 5
        assert all(len(own) == 1 for own in parts.values())
    # What was written remembers its groups
    assert main(["check", str(tmp_path / "0")]) == 0
    assert "No group is in two splits" in capsys.readouterr().out
    by_recording = tmp_path / "by-recording"
    assert split(source, by_recording, "--test-size", 0.2) == 0
    assert main(["check", str(by_recording)]) == 0
    columns = load_clips(str(by_recording))["train"].column_names
    assert "concert" in columns
    capsys.readouterr()
    assert main(["check", str(by_recording), "--group-by", "concert"]) == 1
    assert "concerts are in several splits: concert 0" in capsys.readouterr().out
    assert split(source, tmp_path / "2", "--group-by", "concert", "--infer-groups") == 2
    assert "--infer-groups" in capsys.readouterr().err


def test_paths_stay_paths(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert split(Path("in"), tmp_path / "out") == 0
    monkeypatch.chdir(tmp_path)
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*.arrow")) < 40_000  # of 640 kB of audio
    for rows in load_clips(str(tmp_path / "out")).values():
        for audio in rows["audio"]:
            assert audio["bytes"] is None
            assert Path(audio["path"]).is_file()
    assert main(["check", str(tmp_path / "out")]) == 0


def test_bytes_stay_bytes(tmp_path):
    data = []
    for number in range(4):
        buffer = io.BytesIO()
        soundfile.write(buffer, noise(number), RATE, format="FLAC")
        data.append(buffer.getvalue())
    feature = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    columns = {"audio": [{"bytes": one, "path": None} for one in data], "label": [*"aabb"], "concert": [*"1234"]}
    features = {"audio": feature, "label": datasets.Value("string"), "concert": datasets.Value("string")}
    datasets.Dataset.from_dict(columns, features=datasets.Features(features)).save_to_disk(tmp_path / "in")
    assert split(tmp_path / "in", tmp_path / "out", "--test-size", 0.5, "--group-column", "concert") == 0
    clips = load_clips(str(tmp_path / "out"))
    assert sorted(audio["bytes"] for rows in clips.values() for audio in rows["audio"]) == sorted(data)
    assert {row["clip"]: row["recording"] for row in table(tmp_path / "out")} == {
        f"row {row}": f"{row + 1}" for row in range(4)
    }


def test_folds(folder, tmp_path, capsys):
    assert split(folder, tmp_path / "out", "--folds", 5) == 0
    assert "fold 5: 8 clips of 4 recordings" in capsys.readouterr().out
    clips = load_clips(str(tmp_path / "out"), fold_column="fold")
    assert list(clips) == ["train"]
    rows = clips["train"]
    assert [row["fold"] for row in table(tmp_path / "out")] == rows["fold"][:]
    folds_of = defaultdict(set)
    for recording, fold in zip(rows["recording"], rows["fold"], strict=True):
        folds_of[recording].add(fold)
    assert {fold for folds in folds_of.values() for fold in folds} == set("12345")
    assert all(len(folds) == 1 for folds in folds_of.values())
    for fold in "12345":
        labels = [label for label, own in zip(rows["label"], rows["fold"], strict=True) if own == fold]
        assert labels.count(0) == labels.count(1) == 4

    # read again, the folds are the data's own
    assert split(tmp_path / "out", tmp_path / "again", "--fold-column", "fold") == 0
    assert "No recording is in two folds" in capsys.readouterr().out
    first, again = ([list(row.values())[1:] for row in table(tmp_path / name)] for name in ("out", "again"))
    assert again == first


def test_own_folds_that_part_a_recording(tmp_path, capsys):
    for number in range(6):
        write(tmp_path / "in" / f"{number}.wav", noise(number))
    write(tmp_path / "in" / "6.wav", 0.5 * noise(5))
    lines = [f"{number}.wav,{'ab'[number % 2]},{number % 3},{number // 2}" for number in range(7)]
    (tmp_path / "in" / "metadata.csv").write_text("\n".join(["file_name,label,part,concert", *lines]) + "\n")
    arguments = ("--fold-column", "part", "--group-column", "concert")
    assert split(tmp_path / "in", tmp_path / "out", *arguments) == 1
    out = capsys.readouterr().out
    assert "LEAK: 3 recordings are in several folds: 0, 1, 2" in out
    assert "LEAK: 1 pairs of clips hold the same audio in different folds" in out
    assert re.search(r"2: \S*/5.wav\n  0: \S*/6.wav\n    1.00 s in common", out)
    assert [row["fold"] for row in table(tmp_path / "out")] == [*"0120120"]
    assert load_clips(str(tmp_path / "out"), fold_column="fold")["train"]["fold"][:] == [*"0120120"]


def test_own_splits_stay(tmp_path, capsys):
    for number in range(8):
        write(tmp_path / "in" / "train" / "ab"[number % 2] / f"{number}.wav", noise(number))
    for number in range(8, 10):
        write(tmp_path / "in" / "test" / "ab"[number % 2] / f"{number}.wav", noise(number))
    assert split(tmp_path / "in", tmp_path / "out", "--validation-size", 0.25) == 0
    names = defaultdict(set)
    for row in table(tmp_path / "out"):
        names[row["split"]].add(Path(row["clip"]).stem)
    assert names["test"] == {"8", "9"}
    assert len(names["validation"]) == 2
    assert len(names["train"]) == 6

    assert split(tmp_path / "out", tmp_path / "again", "--validation-size", 0.25) == 2
    assert "has a validation split already" in capsys.readouterr().err
    assert split(tmp_path / "in", tmp_path / "folds", "--folds", 2) == 2
    assert "cannot have folds too" in capsys.readouterr().err
    write(tmp_path / "in" / "test" / "a" / "copy.flac", noise(0))
    assert split(tmp_path / "in", tmp_path / "leaking") == 1
    assert "LEAK: 1 pairs" in capsys.readouterr().out


def test_unreadable_clips_are_told_and_kept(folder, tmp_path, capsys):
    for number in range(6):
        write(tmp_path / "in" / "ab"[number % 2] / f"{number}.wav", noise(number))
    (tmp_path / "in" / "a" / "bad.wav").write_bytes(b"")
    assert split(tmp_path / "in", tmp_path / "out", "--test-size", 0.4) == 0
    assert "bad.wav" in capsys.readouterr().err
    assert "bad.wav" in {Path(row["clip"]).name for row in table(tmp_path / "out")}


def test_several_labels(tmp_path):
    for number in range(8):
        write(tmp_path / "in" / f"{number}.wav", noise(number))
    lines = [f'{number}.wav,"{("a;b", "b", "", "a")[number % 4]}"' for number in range(8)]
    (tmp_path / "in" / "metadata.csv").write_text("\n".join(["file_name,label", *lines]) + "\n")
    assert split(tmp_path / "in", tmp_path / "out", "--label-separator", ";", "--test-size", 0.5) == 0
    assert [row["label"] for row in table(tmp_path / "out")] == ["a;b", "b", "", "a"] * 2
    clips = load_clips(str(tmp_path / "out"))
    assert clips["train"].features["label"].feature.names == ["a", "b"]
    assert sorted(clips["train"]["label"][:] + clips["test"]["label"][:]) == sorted([[0, 1], [1], [], [0]] * 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folds", "1"], "cannot be divided into 1 folds"),
        (["--folds", "11"], "cannot be divided into 11 folds"),
        (["--folds", "2", "--fold-column", "fold"], "pass one of them"),
        (["--folds", "2", "--validation-size", "0.1"], "Leave out `validation_size`"),
        (["--fold-column", "fold"], "no column 'fold'"),
        (["--test-size", "0"], "must be shares that leave some clips"),
        (["--test-size", "0.5", "--validation-size", "0.5"], "must be shares that leave some clips"),
        (["--test-size", "nan"], "must be shares that leave some clips"),
        (["--group-column", "concert"], "no column 'concert'"),
    ],
)
def test_bad_usage_ends_with_one_line(arguments, message, folder, tmp_path, capsys):
    assert split(folder, tmp_path / "out", *arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("polyaudio dataset: ")]
    assert message in line
    assert not any(tmp_path.iterdir())


def test_only_a_data_set_is_overwritten(folder, tmp_path, capsys):
    assert split(folder, tmp_path / "out") == 0
    assert split(folder, tmp_path / "out", "--folds", 2) == 2
    assert "`overwrite`" in capsys.readouterr().err
    assert "split" in table(tmp_path / "out")[0]
    assert split(folder, tmp_path / "out", "--folds", 2, "--overwrite") == 0
    assert "fold" in table(tmp_path / "out")[0]
    assert split(folder, folder, "--overwrite") == 2
    assert "would replace" in capsys.readouterr().err
    assert len(list(folder.rglob("*.wav"))) == 40


def rows_of(folder: Path, names: list[str]) -> datasets.Dataset:
    rows = datasets.Dataset.from_dict({"audio": [str(folder / name) for name in names]})
    return rows.cast_column("audio", datasets.Audio(decode=False))


def test_find_leaks_looks_across_splits_only(tmp_path):
    for name, seed in (("a", 0), ("b", 1), ("b again", 1), ("c", 2), ("d", 3)):
        write(tmp_path / f"{name}.wav", noise(seed, 3))
    write(tmp_path / "late a.flac", 0.5 * noise(0, 3)[RATE:])
    (tmp_path / "bad.wav").write_bytes(b"")
    train = rows_of(tmp_path, ["a.wav", "b.wav", "b again.wav", "bad.wav"])
    validation = rows_of(tmp_path, ["c.wav"])
    test = rows_of(tmp_path, ["d.wav", "late a.flac"])
    report = find_leaks(datasets.DatasetDict(train=train, validation=validation, test=test))
    (leak,) = report.leaks
    assert leak[:4] == (str(tmp_path / "a.wav"), str(tmp_path / "late a.flac"), "train", "test")
    assert leak.offset == pytest.approx(1, abs=0.001)
    assert leak.seconds == pytest.approx(2, abs=0.001)
    assert report.num_clips == 6
    assert [Path(clip.name).name for clip in report.unreadable] == ["bad.wav"]
    text = "\n".join(report.describe())
    assert f"train: {tmp_path / 'a.wav'}" in text
    assert "2.00 s in common, from 1.00 s of the first and 0.00 s of the second" in text
    assert text.endswith("LEAK: 1 pairs of clips hold the same audio in different splits")

    report = find_leaks(datasets.DatasetDict(train=train.select([0, 1]), test=test.select([0])))
    assert report.leaks == []
    assert report.describe() == ["No leak found"]
    many = LeakReport([Leak("a", "b", "train", "test", 0.0, 1.0, 1.0, 0.0)] * 13, 20, [])
    assert "  and 3 more" in many.describe()


@pytest.fixture(scope="module")
def takes(tmp_path_factory) -> tuple[Path, dict[str, str], dict[str, str]]:
    """
    Ragas in chunks that overlap by half, each scaled to its own peak, with names and an order that mean nothing.

    The folder, and the recording and the raga of each name.
    """
    folder = tmp_path_factory.mktemp("takes") / "in"
    rng = np.random.default_rng(0)
    names = [f"{value:08x}" for value in rng.permutation(2**20)[:40]]
    recording_of, raga_of = {}, {}
    for label, raga in enumerate(list(RAGAS)[:2]):
        for number in range(4):  # over the same tonic, by the same instruments
            samples = synthesize_recording(
                raga, tonic=146.8, timbre=TIMBRES[number % 2], seconds=12.0, seed=10 * label + number
            )
            for start in range(0, 10, 2):
                chunk = samples[start * SAMPLING_RATE : (start + 4) * SAMPLING_RATE]
                name = names.pop()
                write(folder / raga / f"{name}.wav", 0.95 * chunk / np.abs(chunk).max(), SAMPLING_RATE)
                recording_of[name], raga_of[name] = f"{raga} {number}", raga
    return folder, recording_of, raga_of


def test_recordings_are_inferred_exactly(takes, tmp_path, capsys):
    folder, recording_of, _ = takes
    assert split(folder, tmp_path / "out", "--infer-groups", "--test-size", 0.25) == 0
    out = capsys.readouterr().out
    assert "8 recordings inferred from the audio of 40 clips" in out
    assert "No leak found" in out
    inferred, true = defaultdict(set), defaultdict(set)
    for row in table(tmp_path / "out"):
        name = Path(row["clip"]).stem
        inferred[row["recording"]].add(name)
        true[recording_of[name]].add(name)
    assert sorted(map(sorted, inferred.values())) == sorted(map(sorted, true.values()))
    assert main(["check", str(tmp_path / "out")]) == 0
    assert "No leak found" in capsys.readouterr().out
    clips = load_clips(str(tmp_path / "out"))
    assert {part: len(rows) for part, rows in clips.items()} == {"train": 30, "test": 10}
    assert not set(clips["train"]["recording"]) & set(clips["test"]["recording"])


def test_a_random_split_of_them_is_refused(takes, tmp_path, capsys, monkeypatch):
    folder, recording_of, raga_of = takes
    monkeypatch.setenv("POLYAUDIO_AUDIO_ROOTS", str(folder))  # the dataset below holds links
    rng = np.random.default_rng(1)
    side_of = {name: "test" if rng.random() < 0.25 else "train" for name in sorted(recording_of)}
    for name, side in side_of.items():
        path = tmp_path / "in" / side / raga_of[name] / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(folder / raga_of[name] / f"{name}.wav")
    assert main(["check", str(tmp_path / "in")]) == 1
    out = capsys.readouterr().out
    assert "in different splits" in out
    pairs = re.findall(r"  (train|test): \S*/(\w+)\.wav\n  (train|test): \S*/(\w+)\.wav\n    2\.00 s in common", out)
    assert len(pairs) >= 5
    for first_side, first, second_side, second in pairs:
        assert recording_of[first] == recording_of[second]
        assert (side_of[first], side_of[second]) == (first_side, second_side)
        assert first_side != second_side
    # without the audio, each file is taken for a recording of its own, and a leak is found too
    assert main(["check", str(folder)]) == 1
    assert "in different recordings" in capsys.readouterr().out
    assert split(folder, tmp_path / "out", "--test-size", 0.25) == 1
    assert "LEAK" in capsys.readouterr().out


def test_split_dataset_from_python(folder, tmp_path, capsys):
    clips = load_clips(str(folder))
    result = split_dataset(clips, tmp_path / "out", SplitSettings(test_size=0.2, validation_size=0.3))
    sizes = {"train": PartSize(20, 10), "validation": PartSize(12, 6), "test": PartSize(8, 4)}
    assert result.parts == sizes
    assert (result.kind, result.crossing, result.has_leak) == ("split", [], False)
    assert result.leaks.num_clips == 40
    with pytest.raises(ValueError, match="already holds a dataset"):
        split_dataset(clips, tmp_path / "out")
    result = split_dataset(clips, tmp_path / "out", SplitSettings(num_folds=2), overwrite=True)
    assert result.kind == "fold"
    assert result.parts == {"1": PartSize(20, 10), "2": PartSize(20, 10)}
    with pytest.raises(ValueError, match="no column `fold`"):
        split_dataset(clips, tmp_path / "other", SplitSettings(own_folds=True))
    assert capsys.readouterr().out == ""


def test_parts_are_cut_from_train_only(folder):
    clips = load_clips(str(folder))
    parts = cut_from_train(clips, {"test": 0.2, "validation": 0.3, "dev": 0.0})
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 20, "test": 8, "validation": 12}
    again = cut_from_train(parts, {"test": 0.2, "validation": 0.3})
    assert {name: rows["recording"][:] for name, rows in again.items()} == {
        name: rows["recording"][:] for name, rows in parts.items()
    }
    with pytest.raises(ValueError, match="no split 'train' to cut validation from, only test"):
        cut_from_train({"test": clips["train"]}, {"validation": 0.1})
    with pytest.raises(ValueError, match="leave some to train on"):
        cut_from_train(clips, {"test": 0.5, "validation": 0.5})


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "out") as folder:
        write_json(folder / "missing" / "mixtures.json", {})
    assert not any(tmp_path.iterdir())
    with new_folder(tmp_path / "out") as folder:
        write_json(folder / "mixtures.json", {"mean": float("nan"), "values": [1, (float("inf"), "ä")]})
    text = (tmp_path / "out" / "mixtures.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"mean": None, "values": [1, [None, "ä"]]}
    assert "ä" in text
