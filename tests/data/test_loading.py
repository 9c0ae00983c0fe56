# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Data sets of clips: loading, checking, splitting, batching, streaming."""

import functools
import json

import datasets
import pytest

from builders import audio_column, wav_bytes, write_clip
from polyaudio.data import ragas
from polyaudio.data.loading import load_clips, load_recordings
from polyaudio.data.splits import check_clips
from polyaudio.data.streams import StreamedWindows
from polyaudio.data.windows import AudioClips


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
