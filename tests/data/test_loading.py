# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Data sets of clips: loading, checking, splitting, batching, streaming."""

import functools
import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import datasets
import fsspec
import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader
from transformers import Wav2Vec2FeatureExtractor

from polyaudio.data import ragas
from polyaudio.data.audio import AudioFileError
from polyaudio.data.collators import AudioCollator
from polyaudio.data.loading import load_clips, load_recordings
from polyaudio.data.readable import drop_unreadable
from polyaudio.data.splits import check_clips, split_by_recording
from polyaudio.data.streams import StreamedWindows
from polyaudio.data.targets import Targets
from polyaudio.data.windows import AudioClips, WaveformWindows, combined_seed


def write_clip(path: Path, seconds: float = 0.1, rate: int = 8_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(len(str(path))).uniform(-0.5, 0.5, round(seconds * rate))
    soundfile.write(path, samples, rate)
    return path


def wav_bytes(path: Path) -> dict:
    return {"bytes": write_clip(path).read_bytes(), "path": None}


def audio_column(values: list) -> datasets.Dataset:
    """A data set of audio only, built as on a machine without torchcodec: through the storage type."""
    storage = [{"bytes": None, "path": value} if isinstance(value, str) else value for value in values]
    features = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    rows = datasets.Dataset.from_dict({"audio": storage}, features=datasets.Features({"audio": features}))
    return rows.cast_column("audio", datasets.Audio(decode=False))


def labelled(recordings: dict[str, list[str]], clips_each: int = 1) -> datasets.Dataset:
    """Clips (without audio) of the given recordings of each class."""
    names = sorted(recordings)
    rows = [
        (names.index(name), recording) for name in names for recording in recordings[name] for _ in range(clips_each)
    ]
    return datasets.Dataset.from_dict(
        {"label": [label for label, _ in rows], "recording": [recording for _, recording in rows]},
        features=datasets.Features({"label": datasets.ClassLabel(names=names), "recording": datasets.Value("string")}),
    )


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    root = tmp_path / "instruments"
    for name in (
        "tabla/hit1.wav",
        "tabla/hit2_chunk1.wav",
        "tabla/hit2_chunk2.flac",
        "guitar/hit1.ogg",
        "train/t.WAV",
    ):
        write_clip(root / name)
    (root / "README.md").write_text("no clip")
    (root / "tabla" / "._hit1.wav").write_bytes(b"what another system leaves behind")
    return root


def test_class_folders(class_folders):
    clips = load_clips(str(class_folders))
    assert list(clips) == ["train"]
    rows = clips["train"]
    assert set(rows.column_names) == {"audio", "label", "recording"}
    assert rows.features["audio"] == datasets.Audio(decode=False)
    assert rows.features["label"].names == ["guitar", "tabla", "train"]  # a class named like a split is a class
    assert rows.features["recording"] == datasets.Value("string")
    found = {row["audio"]["path"]: (rows.features["label"].names[row["label"]], row["recording"]) for row in rows}
    assert found == {
        str(class_folders / "guitar" / "hit1.ogg"): ("guitar", "guitar/hit1"),
        str(class_folders / "tabla" / "hit1.wav"): ("tabla", "tabla/hit1"),
        str(class_folders / "tabla" / "hit2_chunk1.wav"): ("tabla", "tabla/hit2"),
        str(class_folders / "tabla" / "hit2_chunk2.flac"): ("tabla", "tabla/hit2"),
        str(class_folders / "train" / "t.WAV"): ("train", "train/t"),
    }


@pytest.mark.parametrize(
    ("stem", "recording"),
    [
        ("song_chunk3", "song"),
        ("song-part02", "song"),
        ("song_seg4", "song"),
        ("song_segment_4", "song"),
        ("song clip7", "song"),
        ("song.slice1", "song"),
        ("song_Part1_Chunk02", "song"),
        ("tabla_ghe3", "tabla_ghe3"),
        ("clip7", "clip7"),
        ("hit_03", "hit_03"),
        ("counterpart2", "counterpart2"),
    ],
)
def test_recording_is_the_file_before_chunking(tmp_path, stem, recording):
    write_clip(tmp_path / "a" / f"{stem}.wav")
    write_clip(tmp_path / "b" / "other.wav")
    assert load_clips(str(tmp_path))["train"]["recording"][:] == [f"a/{recording}", "b/other"]


def test_split_folders(tmp_path):
    for name in ("training/a/1_chunk1.wav", "training/b/2.wav", "val/a/3.wav", "test/a/1_chunk2.wav", "test/b/4.wav"):
        write_clip(tmp_path / name)
    clips = load_clips(str(tmp_path))
    assert {split: rows["recording"][:] for split, rows in clips.items()} == {
        "train": ["a/1", "b/2"],
        "validation": ["a/3"],
        "test": ["a/1", "b/4"],
    }
    assert all(rows.features["label"].names == ["a", "b"] for rows in clips.values())
    with pytest.raises(ValueError, match=r"same recording.*a/1"):
        check_clips(clips["train"], clips["test"])
    write_clip(tmp_path / "train" / "a" / "5.wav")
    with pytest.raises(ValueError, match="are the same split"):
        load_clips(str(tmp_path))


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_metadata(tmp_path, kind):
    rows = [
        {"file_name": "x/1.wav", "raga": "Todi", "artist": "007", "tuning": 1.5},
        {"file_name": "x/2.wav", "raga": "Varali", "artist": "007", "tuning": 2.5},
        {"file_name": "3.wav", "raga": "NA", "artist": "8", "tuning": 2.5},
    ]
    for row in rows:
        write_clip(tmp_path / row["file_name"])
    if kind == "csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    else:
        lines = map(json.dumps, rows)
    (tmp_path / f"metadata.{kind}").write_text("\n".join(lines) + "\n")
    clips = load_clips(str(tmp_path))["train"]
    assert clips.features["label"].names == ["NA", "Todi", "Varali"]
    assert clips["label"][:] == [1, 2, 0]
    assert clips["recording"][:] == ["x/1", "x/2", "3"]
    assert clips[0]["audio"] == {"bytes": None, "path": str(tmp_path / "x" / "1.wav")}
    grouped = load_clips(str(tmp_path), group_column="artist")["train"]["recording"][:]
    assert grouped[0] == grouped[1] != grouped[2]
    assert load_clips(str(tmp_path), label_column="artist")["train"].features["label"].num_classes == 2


@pytest.mark.parametrize("name", ["../secret.wav", "/etc/secret.wav", "a/../../secret.wav", "file:///secret.wav"])
def test_metadata_cannot_leave_its_folder(tmp_path, name):
    write_clip(tmp_path / "secret.wav")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "metadata.csv").write_text(f"file_name,label\n{name},a\n")
    with pytest.raises(ValueError, match="Only relative paths to files inside"):
        load_clips(str(folder))


def test_bad_metadata(tmp_path):
    metadata = tmp_path / "metadata.csv"
    for text, message in {
        "path,label\n1.wav,a\n": "needs a path in every row of a column `file_name`",
        "file_name,label\n,a\n": "needs a path in every row",
        "file_name,label\n1.wav,\n2.wav,b\n": "1 of 2 clips .* have no 'label'",
        "": "cannot be read",
    }.items():
        metadata.write_text(text)
        with pytest.raises(ValueError, match=message):
            load_clips(str(tmp_path))
    (tmp_path / "metadata.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="holds both"):
        load_clips(str(tmp_path))


def test_folders_that_are_no_data(tmp_path):
    with pytest.raises(ValueError, match="holds no audio files"):
        load_clips(str(tmp_path))
    write_clip(tmp_path / "a" / "1.wav")
    write_clip(tmp_path / "loose.wav")
    with pytest.raises(ValueError, match=r"loose\.wav lies outside a class folder"):
        load_clips(str(tmp_path))
    with pytest.raises(ValueError, match="neither 'ragas' nor a folder"):
        load_clips(str(tmp_path / "missing"))


def test_saved_data_set(tmp_path):
    rows = audio_column([wav_bytes(tmp_path / f"{i}.wav") for i in range(4)])
    rows = rows.add_column("genre", [3, 10, 3, 2]).add_column("singer", [1, 1, 2, 2])
    rows.save_to_disk(tmp_path / "saved")
    clips = load_clips(str(tmp_path / "saved"), group_column="singer")
    assert clips["train"].features["label"].names == ["2", "3", "10"]
    assert clips["train"]["label"][:] == [1, 2, 1, 0]
    assert clips["train"]["recording"][:] == ["1", "1", "2", "2"]
    clips.save_to_disk(tmp_path / "again")
    again = load_clips(str(tmp_path / "again"))
    assert again["train"][:] == clips["train"][:]
    assert again["train"].features == clips["train"].features


def test_data_set_of_the_hub(tmp_path, monkeypatch):
    rows = audio_column([wav_bytes(tmp_path / f"{i}.wav") for i in range(2)]).add_column("raga", ["x", "y"])
    asked = []

    def load_dataset(name: str) -> datasets.DatasetDict:
        asked.append(name)
        return datasets.DatasetDict(train=rows, validation=rows)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    clips = load_clips("someone/ragas")
    assert asked == ["someone/ragas"]
    assert {split: rows["label"][:] for split, rows in clips.items()} == {"train": [0, 1], "validation": [0, 1]}

    def fail(name: str) -> None:
        raise datasets.exceptions.DatasetGenerationError("An error occurred") from ImportError("Install torchcodec.")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(ValueError, match=r"Install torchcodec.*hf download someone/loose-files"):
        load_clips("someone/loose-files")


def test_synthesised_ragas(monkeypatch):
    small = functools.partial(ragas.build_ragas, train_recordings=2, test_recordings=1, seconds=8.0)
    monkeypatch.setattr(ragas, "build_ragas", small)
    clips = load_clips("ragas", seed=3)
    assert list(clips) == ["train", "test"]
    assert clips["train"].features["label"].num_classes == 8
    assert len(set(clips["train"]["recording"])) == 16
    check_clips(clips["train"], clips["test"])
    assert len(AudioClips(clips["test"], 16_000)[0]["waveform"]) == 2 * 16_000


def test_clips_without_path_or_group_are_their_own_recordings(tmp_path, caplog):
    rows = audio_column([wav_bytes(tmp_path / f"{i}.wav") for i in range(2)]).add_column("label", ["a", "b"])
    rows.save_to_disk(tmp_path / "saved")
    assert load_clips(str(tmp_path / "saved"))["train"]["recording"][:] == ["train/0", "train/1"]
    assert "group_column" in caplog.text


def test_classes_are_the_same_in_all_splits(tmp_path):
    splits = {}
    for split, names, labels in (("train", ["b", "a"], [0, 1]), ("test", ["a", "c"], [0, 1])):
        rows = audio_column([wav_bytes(tmp_path / f"{split}{i}.wav") for i in range(2)])
        splits[split] = rows.add_column("label", labels, feature=datasets.ClassLabel(names=names))
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    clips = load_clips(str(tmp_path / "saved"))
    assert [rows.features["label"].names for rows in clips.values()] == [["a", "b", "c"]] * 2
    assert clips["train"]["label"][:] == [1, 0]
    assert clips["test"]["label"][:] == [0, 2]
    with pytest.raises(ValueError, match="No training clip has the classes c"):
        check_clips(clips["train"], clips["test"])


def test_a_column_must_be_in_every_split(tmp_path):
    rows = audio_column([wav_bytes(tmp_path / f"{i}.wav") for i in range(2)])
    splits = datasets.DatasetDict(train=rows.add_column("label", ["a", "b"]), test=rows)
    splits.save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match="has no column 'label' in split test"):
        load_clips(str(tmp_path / "saved"))


def test_the_label_column_is_found_or_asked_for(tmp_path):
    rows = audio_column([wav_bytes(tmp_path / f"{i}.wav") for i in range(2)])

    def load(columns: dict, **kwargs) -> datasets.Dataset:
        data = rows
        for name, values in columns.items():
            data = data.add_column(name, values)
        folder = tmp_path / f"saved{len(list(tmp_path.iterdir()))}"
        data.save_to_disk(folder)
        return load_clips(str(folder), **kwargs)["train"]

    assert load({"raga": ["x", "y"], "singer": ["p", "q"]}).features["label"].names == ["x", "y"]
    assert load({"mood": ["x", "y"], "tempo": [1.5, 2.5]}).features["label"].names == ["x", "y"]
    assert load({"mood": ["x", "y"], "singer": ["p", "q"]}, group_column="singer").features["label"].names == [
        "x",
        "y",
    ]
    assert load({"mood": ["x", "y"], "recording": ["p", "q"]})["recording"][:] == ["p", "q"]
    with pytest.raises(ValueError, match=r"Several columns .*Pass `label_column`, one of mood, singer"):
        load({"mood": ["x", "y"], "singer": ["p", "q"]})
    with pytest.raises(ValueError, match=r"Several columns .* one of category, target"):
        load({"category": ["x", "y"], "target": [1, 2]})
    with pytest.raises(ValueError, match="has no label column"):
        load({"tempo": [1.5, 2.5]})
    with pytest.raises(
        ValueError, match=r"no column 'raga' in split train; its columns are audio, mood.*label_column"
    ):
        load({"mood": ["x", "y"]}, label_column="raga")
    with pytest.raises(ValueError, match=r"no column 'singer'.*group_column"):
        load({"mood": ["x", "y"]}, group_column="singer")
    with pytest.raises(ValueError, match=r"no column 'sound'.*audio_column"):
        load({"mood": ["x", "y"]}, audio_column="sound")
    with pytest.raises(ValueError, match="one name or whole number for each clip"):
        load({"label": [1.5, 2.0]})
    with pytest.raises(ValueError, match=r"1 of 2 clips .* have no 'singer'"):
        load({"mood": ["x", "y"], "singer": ["p", None]}, group_column="singer")


def test_drop_unreadable(class_folders):
    (class_folders / "tabla" / "text.wav").write_text("no sound")
    (class_folders / "tabla" / "zero.wav").write_bytes(b"")
    data = (class_folders / "tabla" / "hit2_chunk2.flac").read_bytes()
    (class_folders / "tabla" / "hit2_chunk2.flac").write_bytes(data[: len(data) // 2])
    clips, bad = drop_unreadable(load_clips(str(class_folders)))
    assert len(clips["train"]) == 4
    assert {(clip.split, Path(clip.name).name) for clip in bad} == {
        ("train", "text.wav"),
        ("train", "zero.wav"),
        ("train", "hit2_chunk2.flac"),
    }
    assert any("is empty" in clip.reason for clip in bad)
    for path in class_folders.rglob("*.*"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="None of the 7 clips of split train can be read"):
        drop_unreadable(load_clips(str(class_folders)))


def test_drop_unreadable_without_paths(tmp_path):
    rows = audio_column([wav_bytes(tmp_path / "1.wav"), {"bytes": b"no sound", "path": None}, None])
    clips, bad = drop_unreadable(datasets.DatasetDict(test=rows))
    assert len(clips["test"]) == 1
    assert [(clip.split, clip.name) for clip in bad] == [("test", "row 1"), ("test", "row 2")]


@pytest.mark.parametrize("seed", range(5))
def test_split_keeps_recordings_whole_and_classes_on_both_sides(seed):
    rng = np.random.default_rng(seed)
    recordings = {f"class{i}": [f"{i}/{j}" for j in range(rng.integers(2, 30))] for i in range(8)}
    recordings["single"] = ["only"]
    clips = labelled(recordings, clips_each=3)
    train, test = split_by_recording(clips, test_size=0.2, seed=seed)
    assert len(train) + len(test) == len(clips)
    assert not set(train["recording"]) & set(test["recording"])
    names = clips.features["label"].names
    in_test = Counter(names[label] for label in test["label"])
    assert "single" not in in_test
    for name, items in recordings.items():
        if name != "single":
            assert in_test[name] == 3 * max(1, round(0.2 * len(items)))
    check_clips(train, test)


def test_split_balances_recordings_of_unequal_length():
    clips = labelled({"a": [f"a{i}" for i in range(40)], "b": [f"b{i}" for i in range(40)]})
    long = [row for row in range(len(clips)) for _ in range(1 + (row % 7) * 3)]
    train, test = split_by_recording(clips.select(long), test_size=0.25)
    for label in (0, 1):
        share = test["label"][:].count(label) / (test["label"][:].count(label) + train["label"][:].count(label))
        assert 0.2 < share < 0.3


def test_split_depends_on_the_seed_and_not_on_the_order():
    clips = labelled({"a": [f"a{i}" for i in range(20)], "b": [f"b{i}" for i in range(20)]}, clips_each=2)
    first = set(split_by_recording(clips, seed=1)[1]["recording"])
    assert first == set(split_by_recording(clips.shuffle(seed=3), seed=1)[1]["recording"])
    assert first != set(split_by_recording(clips, seed=2)[1]["recording"])


def test_split_with_recordings_of_several_classes():
    """Each artist plays both classes; every class is still on both sides, and no artist is."""
    clips = labelled({"a": [f"artist{i}" for i in range(10)], "b": [f"artist{i}" for i in range(10)]})
    train, test = split_by_recording(clips, test_size=0.2)
    assert len(test) == 4
    assert not set(train["recording"]) & set(test["recording"])
    check_clips(train, test)


def test_split_that_is_impossible():
    with pytest.raises(ValueError, match="no class has two recordings"):
        split_by_recording(labelled({"a": ["1"], "b": ["2"]}))
    with pytest.raises(ValueError, match="test_size"):
        split_by_recording(labelled({"a": ["1", "2"], "b": ["3"]}), test_size=1.0)


def test_check_clips():
    train, test = labelled({"a": ["1"], "b": ["2"]}), labelled({"a": ["3"], "b": ["4"]})
    check_clips(train, test)
    for bad_train, bad_test, message in (
        (train.remove_columns("label"), test, "training clips have no column `label`"),
        (train, test.remove_columns("label"), "evaluation clips have no column `label`"),
        (labelled({"a": ["1", "2"]}), labelled({"a": ["3"]}), r"of one class \(a\)"),
        (labelled({"a": ["1"], "b": []}), test, "No training clip has the classes b"),
        (train, labelled({"a": ["3"], "c": ["4"]}), "training does not know: c"),
        (train, labelled({"a": ["1"], "b": ["4"]}), "same recording.*: 1"),
        (train, test.select([]), "no evaluation clips"),
    ):
        with pytest.raises(ValueError, match=message):
            check_clips(bad_train, bad_test)


def test_audio_clips(class_folders):
    clips = load_clips(str(class_folders))["train"]
    data = AudioClips(clips, 16_000)
    assert len(data) == 5
    for item, row in zip((data[i] for i in range(5)), clips, strict=True):
        assert item["label"] == row["label"]
        assert item["waveform"].dtype == np.float32
        assert item["waveform"].shape == (1600,)
    (class_folders / "train" / "t.WAV").unlink()
    with pytest.raises(AudioFileError, match=r"t\.WAV does not exist"):
        data[4]


def test_what_is_random_follows_from_seed_epoch_and_index_alone(tmp_path):
    for i in range(4):
        write_clip(tmp_path / "a" / f"{i}.wav", seconds=2.0)
    write_clip(tmp_path / "b" / "short.wav", seconds=0.2)
    clips = load_clips(str(tmp_path))["train"]

    def jitter(waveform: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return waveform + torch.randn((), generator=generator) * 0.001

    def epochs(seed: int, workers: int) -> list[list[np.ndarray]]:
        data = AudioClips(clips, 8_000, crop_seconds=0.5, transform=jitter, seed=seed)
        loader = DataLoader(data, batch_size=None, num_workers=workers, persistent_workers=workers > 0)
        drawn = []
        for epoch in range(2):
            data.set_epoch(epoch)
            drawn.append([np.asarray(item["waveform"]) for item in loader])
        return drawn

    first, second = epochs(0, workers=0)
    assert [len(waveform) for waveform in first] == [4000] * 4 + [1600]
    for workers in (0, 2):
        again = epochs(0, workers)
        assert all(np.array_equal(one, two) for one, two in zip(first + second, again[0] + again[1], strict=True))
    for other in (second, epochs(1, workers=0)[0]):
        assert not any(np.array_equal(one, two) for one, two in zip(first, other, strict=True))
    with pytest.raises(ValueError, match="crop_seconds"):
        AudioClips(clips, 8_000, crop_seconds=0.0)


def test_collator(tmp_path):
    write_clip(tmp_path / "a" / "1.wav", seconds=0.5, rate=16_000)
    write_clip(tmp_path / "b" / "2.wav", seconds=0.25, rate=16_000)
    clips = load_clips(str(tmp_path))["train"]
    data, targets = AudioClips(clips, 16_000), Targets(clips.features["label"])
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True, do_normalize=False)
    batch = next(iter(DataLoader(data, batch_size=2, collate_fn=AudioCollator(extractor, targets), num_workers=1)))
    assert set(batch) == {"input_values", "attention_mask", "labels"}
    assert batch["input_values"].shape == (2, 8000)
    assert batch["attention_mask"].sum(1).tolist() == [8000, 4000]
    assert batch["labels"].dtype == torch.int64
    assert batch["labels"].tolist() == [0, 1]
    np.testing.assert_array_equal(batch["input_values"][1, :4000], data[1]["waveform"])
    extractor.model_input_names = ["input_values"]
    assert set(AudioCollator(extractor, targets)([data[0]])) == {"input_values", "labels"}


RAMP_RATE = 8_000


def write_ramps(folder: Path, number: int, seconds: float = 0.5) -> dict[int, np.ndarray]:
    """Clips whose samples tell which clip they are of and where they stand in it; the samples by the clip's number."""
    folder.mkdir(parents=True, exist_ok=True)
    ramps = {}
    for clip in range(number):
        ramps[clip] = (clip / 64 + np.arange(round(seconds * RAMP_RATE)) / 2**20).astype(np.float32)
        soundfile.write(folder / f"{clip}.wav", ramps[clip], RAMP_RATE, subtype="FLOAT")
    return ramps


def clip_of(item: dict) -> int:
    return int(item["waveform"][0] * 64)


def expected_window(ramp: np.ndarray, seed: int, seconds: float) -> np.ndarray:
    """The window that follows from the first number of a generator with this seed."""
    to_spare = len(ramp) / RAMP_RATE - seconds
    start = round(to_spare * torch.rand((), generator=torch.Generator().manual_seed(seed)).item() * RAMP_RATE)
    return ramp[start : start + round(seconds * RAMP_RATE)]


@pytest.mark.parametrize("streaming", [False, True])
def test_recordings_need_no_labels(tmp_path, streaming):
    names = {"loose.wav", "a/only.wav", "a/b/deep.flac", "test/1.wav"}
    for name in names:
        write_clip(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no clip")
    (tmp_path / "a" / "._only.wav").write_bytes(b"what another system leaves behind")
    clips = load_recordings(str(tmp_path), streaming=streaming)
    assert isinstance(clips, datasets.IterableDataset if streaming else datasets.Dataset)
    assert clips.features == datasets.Features({"audio": datasets.Audio(decode=False)})
    paths = [clip["audio"]["path"] for clip in clips]
    assert sorted(paths) == sorted(str(tmp_path / name) for name in names)


def test_recordings_of_every_kind_of_data(tmp_path, monkeypatch):
    for name in (
        "folders/train/1.wav",
        "folders/validation/2.wav",
        "beside/1.wav",
        "beside/test/2.wav",
        "table/x/1.wav",
    ):
        write_clip(tmp_path / name)
    (tmp_path / "table" / "metadata.csv").write_text("file_name,mood\nx/1.wav,\n")
    rows = audio_column([wav_bytes(tmp_path / f"{i}.wav") for i in range(3)]).rename_column("audio", "sound")
    datasets.DatasetDict(dev=rows).save_to_disk(tmp_path / "saved")
    small = functools.partial(ragas.build_ragas, train_recordings=1, test_recordings=1, seconds=8.0)
    monkeypatch.setattr(ragas, "build_ragas", small)

    def names(dataset: str, **kwargs) -> list[list[str]]:
        return [
            sorted(clip["audio"]["path"] or str(len(clip["audio"]["bytes"])) for clip in clips)
            for clips in (load_recordings(dataset, streaming=streaming, **kwargs) for streaming in (False, True))
        ]

    folders, beside, table, saved = (str(tmp_path / name) for name in ("folders", "beside", "table", "saved"))
    assert names(folders) == [[f"{folders}/train/1.wav"]] * 2
    assert names(folders, split="validation") == [[f"{folders}/validation/2.wav"]] * 2
    assert names(beside) == [[f"{beside}/1.wav", f"{beside}/test/2.wav"]] * 2
    assert names(table) == [[f"{table}/x/1.wav"]] * 2
    assert names(saved, split="dev", audio_column="sound") == [["1644"] * 3] * 2
    of_ragas = names("ragas", split="test")
    assert of_ragas[0] == of_ragas[1]
    assert len(of_ragas[0]) == len(load_recordings("ragas")) == 8 * 4

    for dataset, kwargs, message in (
        (folders, {"split": "test"}, "no split 'test', only train, validation. Pass another `split`"),
        (table, {"audio_column": "sound"}, "split train, has no column 'sound'; its columns are audio, mood"),
        (str(tmp_path / "missing"), {}, "neither 'ragas' nor a folder"),
    ):
        for streaming in (False, True):
            with pytest.raises(ValueError, match=message):
                load_recordings(dataset, streaming=streaming, **kwargs)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no audio files"):
        load_recordings(str(tmp_path / "empty"))
    rows.add_column("tempo", [60, 70, 80]).save_to_disk(tmp_path / "tempo")
    with pytest.raises(ValueError, match=r"'tempo' holds Value\('int64'\), which is not audio"):
        load_recordings(str(tmp_path / "tempo"), audio_column="tempo")
    monkeypatch.setattr(datasets, "load_dataset", lambda name: datasets.DatasetDict(train=rows.select([])))
    with pytest.raises(ValueError, match="someone/nothing, split train, has no clips"):
        load_recordings("someone/nothing", audio_column="sound")


def test_recordings_of_the_hub_are_streamed(tmp_path, monkeypatch):
    for shard in range(3):
        rows = audio_column([wav_bytes(tmp_path / f"{shard}{i}.wav") for i in range(2)])
        rows.add_column("raga", ["x", "y"]).to_parquet(tmp_path / f"{shard}.parquet")
    load_dataset, asked = datasets.load_dataset, []

    def stream(name: str, streaming: bool = False) -> datasets.IterableDatasetDict:
        asked.append((name, streaming))
        return load_dataset("parquet", data_files=str(tmp_path / "*.parquet"), streaming=True)

    monkeypatch.setattr(datasets, "load_dataset", stream)
    clips = load_recordings("someone/ragas", streaming=True)
    assert asked == [("someone/ragas", True)]
    assert clips.num_shards == 3
    assert [set(clip) for clip in clips] == [{"audio"}] * 6
    windows = StreamedWindows(clips, 8_000, endless=False)
    assert [item["waveform"].shape for item in windows] == [(800,)] * 6
    with pytest.raises(ValueError, match=r"has no column 'sound'; its columns are audio, raga"):
        load_recordings("someone/ragas", streaming=True, audio_column="sound")
    with pytest.raises(ValueError, match="no split 'test', only train"):
        load_recordings("someone/ragas", streaming=True, split="test")

    def fail():
        raise ImportError("Install torchcodec.")
        yield {}

    def stream_of_files(name: str, streaming: bool) -> datasets.IterableDatasetDict:
        return datasets.IterableDatasetDict(
            train=datasets.IterableDataset.from_generator(
                fail, features=datasets.Features({"audio": datasets.Audio(decode=False)})
            )
        )

    monkeypatch.setattr(datasets, "load_dataset", stream_of_files)
    with pytest.raises(ValueError, match=r"cannot be streamed: Install torchcodec.*download its files"):
        load_recordings("someone/loose-files", streaming=True)


def test_streamed_files_are_fetched():
    memory = fsspec.filesystem("memory")
    samples = np.linspace(-0.5, 0.5, 800, dtype=np.float32)
    with memory.open("/fetched.wav", "wb") as file:
        soundfile.write(file, samples, 8_000, format="WAV", subtype="FLOAT")
    clips = audio_column(["memory://fetched.wav", "memory://missing.wav"]).to_iterable_dataset()
    (item,) = StreamedWindows(clips, 8_000, endless=False)
    np.testing.assert_array_equal(item["waveform"], samples)


def test_windows(tmp_path):
    ramps = write_ramps(tmp_path, 6)
    (tmp_path / "6.wav").write_bytes(write_clip(tmp_path / "short" / "1.wav", seconds=0.05).read_bytes())
    (tmp_path / "short" / "1.wav").unlink()
    clips = load_recordings(str(tmp_path))
    generators_seen = []

    def transform(waveform: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        generators_seen.append(generator.initial_seed())
        return waveform * 2

    def epoch(number: int, seed: int = 3) -> list[dict]:
        data = WaveformWindows(clips, RAMP_RATE, crop_seconds=0.1, transform=transform, seed=seed)
        data.set_epoch(number)
        return [data[index] for index in range(len(data))]

    first, second = epoch(0), epoch(1)
    for number, items in enumerate((first, second)):
        assert [item["seed"] for item in items] == [combined_seed(3, number, index) for index in range(7)]
        for index, item in enumerate(items[:6]):
            assert item["waveform"].dtype == np.float32
            window = expected_window(ramps[index], item["seed"], 0.1)
            np.testing.assert_array_equal(item["waveform"], 2 * window)
        assert items[6]["waveform"].shape == (400,)
    assert generators_seen == [item["seed"] for item in first + second]
    starts = [[item["waveform"][0] for item in items[:6]] for items in (first, second, epoch(0), epoch(0, seed=4))]
    assert starts[2] == starts[0]
    assert not set(starts[0]) & (set(starts[1]) | set(starts[3]))


def test_windows_are_the_crops_of_labelled_clips(tmp_path):
    write_ramps(tmp_path / "a", 2)
    write_ramps(tmp_path / "b", 2)
    labelled_clips = AudioClips(load_clips(str(tmp_path))["train"], RAMP_RATE, crop_seconds=0.1, seed=5)
    windows = WaveformWindows(load_recordings(str(tmp_path)), RAMP_RATE, crop_seconds=0.1, seed=5)
    assert len(windows) == len(labelled_clips) == 4
    for index in range(4):
        np.testing.assert_array_equal(windows[index]["waveform"], labelled_clips[index]["waveform"])


def items_of(items: list[dict]) -> list[tuple[int, int]]:
    """A collator of clips and seeds."""
    return [(clip_of(item), item["seed"]) for item in items]


def read_stream(clips, *, epoch: int = 0, processes: int = 1, workers: int = 0, **kwargs) -> list[list[tuple]]:
    """Clips and seeds that each process reads in one pass."""
    read = []
    for process in range(processes):
        data = StreamedWindows(
            clips, RAMP_RATE, endless=False, process_index=process, num_processes=processes, **kwargs
        )
        data.set_epoch(epoch)
        loader = DataLoader(data, batch_size=2, num_workers=workers, collate_fn=items_of)
        read.append([item for batch in loader for item in batch])
    return read


@pytest.mark.parametrize("shards", [1, 3, 20])
def test_processes_and_workers_share_a_stream(tmp_path, shards):
    """Two processes of two workers read each clip once, whether there are shards enough for all four or not."""
    write_ramps(tmp_path, 23)
    clips = load_recordings(str(tmp_path)).to_iterable_dataset(num_shards=shards)
    passes = [read_stream(clips, epoch=epoch, processes=2, workers=2) for epoch in (0, 1)]
    for read in passes:
        assert sorted(clip for process in read for clip, _ in process) == list(range(23))
        assert len({seed for process in read for _, seed in process}) == 23
        assert min(map(len, read)) >= 10
    assert passes[0] != passes[1]
    assert read_stream(clips, processes=2, workers=2) == passes[0]
    assert read_stream(clips, processes=2, workers=1) != passes[0]


def test_stream_follows_from_seed_and_epoch(tmp_path):
    ramps = write_ramps(tmp_path, 12)
    clips = load_recordings(str(tmp_path), streaming=True)
    data = StreamedWindows(clips, RAMP_RATE, crop_seconds=0.1, seed=3, buffer_size=4, endless=False)

    def epoch(number: int) -> list[dict]:
        data.set_epoch(number)
        return list(data)

    first, second = epoch(0), epoch(1)
    for item in first + second:
        window = expected_window(ramps[clip_of(item)], item["seed"], 0.1)
        np.testing.assert_array_equal(item["waveform"], window)
    assert items_of(epoch(0)) == items_of(first)
    assert sorted(map(clip_of, first)) == sorted(map(clip_of, second)) == list(range(12))
    assert [clip_of(item) for item in first] != [clip_of(item) for item in second]
    assert not {item["seed"] for item in first} & {item["seed"] for item in second}
    (other,) = read_stream(clips, crop_seconds=0.1, seed=4, buffer_size=4)
    assert [clip for clip, _ in other] != [clip_of(item) for item in first]
    with pytest.raises(ValueError, match="crop_seconds"):
        StreamedWindows(clips, RAMP_RATE, crop_seconds=-1.0)
    with pytest.raises(ValueError, match="buffer_size"):
        StreamedWindows(clips, RAMP_RATE, buffer_size=0)


def test_a_stream_goes_on_with_the_next_pass(tmp_path):
    write_ramps(tmp_path, 7)
    clips = load_recordings(str(tmp_path), streaming=True)
    data = StreamedWindows(clips, RAMP_RATE)
    read = items_of(list(itertools.islice(data, 21)))
    for epoch in range(3):
        assert [read[7 * epoch : 7 * epoch + 7]] == read_stream(clips, epoch=epoch)
    data.set_epoch(1)
    assert items_of(list(itertools.islice(data, 14))) == read[7:]


def test_a_buffer_mixes_clips_of_one_shard(tmp_path):
    write_ramps(tmp_path, 30)
    clips = load_recordings(str(tmp_path)).to_iterable_dataset()
    orders = {size: [clip for clip, _ in read_stream(clips, buffer_size=size)[0]] for size in (1, 5, 100)}
    in_order = [clip["audio"]["path"] for clip in clips]
    assert [str(tmp_path / f"{clip}.wav") for clip in orders[1]] == in_order
    for size in (5, 100):
        assert sorted(orders[size]) == list(range(30))
        assert orders[size] != orders[1]
    assert all(orders[5].index(clip) >= place - 4 for place, clip in enumerate(orders[1]))


def test_a_stream_leaves_out_what_it_cannot_read(tmp_path, caplog):
    write_ramps(tmp_path, 6)
    (tmp_path / "2.wav").write_bytes(b"")
    (tmp_path / "4.wav").write_text("no sound")
    clips = load_recordings(str(tmp_path), streaming=True)
    (read,) = read_stream(clips)
    assert sorted(clip for clip, _ in read) == [0, 1, 3, 5]
    named = [message for message in caplog.messages if "is left out" in message]
    assert len(named) == 2
    assert any(re.search(r"2\.wav is left out: .*is empty", message) for message in named)
    assert any(re.search(r"4\.wav is left out: .*is not audio", message) for message in named)
    assert caplog.messages[-1].startswith("2 of the 6 clips of reader 1 of 1")
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    for endless in (False, True):
        with pytest.raises(ValueError, match=r"None of the 6 clips of reader 1 of 1 .*The first: .*is empty"):
            list(StreamedWindows(clips, RAMP_RATE, endless=endless))


def test_a_stream_of_fewer_clips_than_readers(tmp_path):
    write_ramps(tmp_path, 2)
    clips = load_recordings(str(tmp_path), streaming=True)
    assert sorted(map(len, read_stream(clips, processes=3))) == [0, 1, 1]
    with pytest.raises(ValueError, match="no clips for reader 3 of 3"):
        next(iter(StreamedWindows(clips, RAMP_RATE, process_index=2, num_processes=3)))


STREAM_TRAINING = """
import json, sys, torch
from polyaudio.data.streams import StreamedWindows
from polyaudio.data.loading import load_recordings
from polyaudio.training.arguments import PretrainingArguments
from polyaudio.training.pretrainer import PreTrainer

class Recorder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(())), []

    def forward(self, clip, seed):
        self.seen += zip(clip.tolist(), seed.tolist())
        return {"loss": (self.weight - clip.float().mean()).square()}

def collate(items):
    return {
        "clip": torch.tensor([int(item["waveform"][0] * 64) for item in items]),
        "seed": torch.tensor([item["seed"] for item in items]),
    }

def train(resume_from_checkpoint=None):
    args = PretrainingArguments(
        output_dir=output, max_steps=8, per_device_train_batch_size=2, save_steps=3, save_total_limit=None,
        dataloader_num_workers=1, report_to="none", disable_tqdm=True,
    )
    data = StreamedWindows(
        load_recordings(folder, streaming=True), 8000, process_index=args.process_index, num_processes=args.world_size
    )
    trainer = PreTrainer(model=Recorder(), args=args, train_dataset=data, data_collator=collate)
    trainer.train(resume_from_checkpoint=resume_from_checkpoint)
    return args.process_index, trainer.model.seen

folder, output = sys.argv[1:]
process, seen = train()
_, resumed = train(output + "/checkpoint-3")
with open(f"{output}/{process}.json", "w") as file:
    json.dump([seen, resumed], file)
"""


@pytest.mark.slow
def test_two_processes_train_on_a_stream(tmp_path):
    """Each trains on clips of its own, though one has more of them, and after a resumption goes on where it was."""
    write_ramps(tmp_path / "clips", 11)
    (tmp_path / "program.py").write_text(STREAM_TRAINING)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--mixed_precision", "no", "--num_machines", "1", "--dynamo_backend", "no", "--main_process_port", "0"]
    command += [str(tmp_path / "program.py"), str(tmp_path / "clips"), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    runs = [json.loads((tmp_path / f"{process}.json").read_text()) for process in range(2)]
    for seen, resumed in runs:
        assert len(seen) == 8 * 2
        assert resumed == seen[3 * 2 :]
    (first, _), (second, _) = runs
    for one_pass in (first[:6] + second[:5], first[6:12] + second[5:10]):
        assert sorted(clip for clip, _ in one_pass) == list(range(11))
