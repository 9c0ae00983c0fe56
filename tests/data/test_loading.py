# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Data sets of clips: loading, checking, splitting, batching, streaming."""

import functools
import json
import sys
from pathlib import Path

import datasets
import pytest

from builders import audio_column, wav_bytes, write_clip
from polyaudio.data.loading import load_clips, load_recordings
from polyaudio.data.ragas import SAME_SWARAS, build_ragas
from polyaudio.data.splits import check_clips
from polyaudio.data.streams import StreamedWindows
from polyaudio.data.windows import AudioClips


BYTES = (("bytes", "binary"), ("path", "string"))
TEXT = datasets.Value("string")


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


def test_the_same_file_names_in_two_splits(tmp_path, caplog):
    """train/dog/1.wav and test/dog/1.wav: whether they are one recording depends on the audio, not on their names."""
    for split in ("train", "test"):
        for name in ("dog/1.wav", "dog/2_clip1.wav", "cat/1.wav"):
            write_clip(tmp_path / split / name)
    write_clip(tmp_path / "test" / "dog" / "2_clip2.wav")
    write_clip(tmp_path / "train" / "dog" / "3.wav")
    clips = load_clips(str(tmp_path))
    assert clips["train"]["recording"][:] == ["train/cat/1", "train/dog/1", "train/dog/2", "dog/3"]
    assert clips["test"]["recording"][:] == ["test/cat/1", "test/dog/1", "test/dog/2", "test/dog/2"]
    check_clips(clips["train"], clips["test"])
    assert not caplog.records
    rows = [f"{name},{number % 2},{number}" for number, name in enumerate(["dog/1.wav", "dog/2_clip1.wav"])]
    for split in ("train", "test"):
        (tmp_path / split / "metadata.csv").write_text("\n".join(["file_name,label,recording", *rows]) + "\n")
    named = load_clips(str(tmp_path))
    with pytest.raises(ValueError, match=r"same recording.*: 0, 1"):  # a column knows
        check_clips(named["train"], named["test"])


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


def test_numbers_are_read_as_they_are_written(tmp_path, caplog):
    """001, 01 and 1 are three classes, and three recordings; numbers that are written in one way stay numbers."""
    labels = ["001", "01", "1", "10", "9"]
    for number in range(5):
        write_clip(tmp_path / f"{number}.wav")
    lines = [f"{number}.wav,{label},{label},{number + 7}" for number, label in enumerate(labels)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,label,artist,size", *lines]) + "\n")
    rows = load_clips(str(tmp_path), group_column="artist")["train"]
    assert rows.features["label"].int2str(rows["label"][:]) == labels
    assert rows["recording"][:] == labels
    assert "differ only in case, spaces, leading zeros or the code of a letter: '001', '01', '1'." in caplog.text
    caplog.clear()
    rows = load_clips(str(tmp_path), label_column="size")["train"]
    assert rows.features["label"].names == ["7", "8", "9", "10", "11"]
    assert not caplog.records


def test_similar_names_of_classes(tmp_path, caplog):
    names = ["bass", "Bass", "bass ", "caf\u00e9", "cafe\u0301", "drum"]
    rows = audio_column([wav_bytes(tmp_path / f"{i}.wav") for i in range(6)]).add_column("label", names)
    rows.save_to_disk(tmp_path / "saved")
    clips = load_clips(str(tmp_path / "saved"))["train"]
    assert clips.features["label"].int2str(clips["label"][:]) == names
    (record,) = (record for record in caplog.records if "classes" in record.message)
    assert "'Bass', 'bass', 'bass '; 'cafe\u0301', 'caf\u00e9'. If they are the same class" in record.message


NAMES = ["../secret.wav", "{}/secret.wav", "a/../../secret.wav", "file:///secret.wav", "link.wav", "folder/secret.wav"]


def with_links(tmp_path) -> Path:
    """A folder with links to a file, and to a folder, that are not in it."""
    write_clip(tmp_path / "secret.wav")
    folder = tmp_path / "data"
    write_clip(folder / "x" / "1.wav")
    (folder / "link.wav").symlink_to(tmp_path / "secret.wav")
    (folder / "folder").symlink_to(tmp_path)
    return folder


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("column", ["file_name", "sound"])
def test_metadata_cannot_leave_its_folder(tmp_path, monkeypatch, name, column):
    folder = with_links(tmp_path)
    monkeypatch.chdir(folder)
    name = name.format(tmp_path)
    lines = {"file_name": f"file_name,label\nx/1.wav,a\n{name},b\n", "sound": f"file_name,sound\nx/1.wav,{name}\n"}
    (folder / "metadata.csv").write_text(lines[column])
    audio_column = "audio" if column == "file_name" else column
    for load in (
        load_recordings,
        functools.partial(load_clips, label_column="label" if column != "sound" else column),
    ):
        with pytest.raises(ValueError, match=r"a file outside the dataset.*POLYAUDIO_AUDIO_ROOTS"):
            load(str(folder), audio_column=audio_column)
        monkeypatch.setenv("POLYAUDIO_AUDIO_ROOTS", f"/nowhere:{tmp_path}")
        if "://" in name:
            with pytest.raises(ValueError, match="a file outside the dataset"):
                load(str(folder), audio_column=audio_column)
        else:
            load(str(folder), audio_column=audio_column)
        monkeypatch.delenv("POLYAUDIO_AUDIO_ROOTS")


def test_class_folders_cannot_leave_their_folder(tmp_path, monkeypatch):
    folder = with_links(tmp_path)
    (folder / "link.wav").rename(folder / "x" / "link.wav")
    with pytest.raises(ValueError, match=rf"link\.wav', a file outside the dataset \({tmp_path}/secret\.wav\)"):
        load_clips(str(folder))
    with pytest.raises(ValueError, match="a file outside the dataset"):
        load_recordings(str(folder), streaming=True)
    monkeypatch.setenv("POLYAUDIO_AUDIO_ROOTS", str(tmp_path))
    assert len(load_clips(str(folder))["train"]) == 2
    (folder / "x" / "link.wav").unlink()
    (folder / "x" / "2.wav").symlink_to(folder / "x" / "1.wav")
    monkeypatch.delenv("POLYAUDIO_AUDIO_ROOTS")
    (tmp_path / "elsewhere").symlink_to(folder)
    assert len(load_clips(str(tmp_path / "elsewhere"))["train"]) == 2  # links within, and to the dataset itself


def test_metadata_with_absolute_paths_inside(tmp_path):
    path = write_clip(tmp_path / "a" / "1.wav")
    (tmp_path / "metadata.csv").write_text(f"file_name,label\n{path},a\n")
    assert load_clips(str(tmp_path))["train"][0]["audio"]["path"] == str(path)


def test_a_snapshot_in_the_cache_of_the_hub_holds_links(tmp_path):
    blob = write_clip(tmp_path / "blobs" / "abc.wav")
    folder = tmp_path / "snapshots" / "0123" / "a"
    folder.mkdir(parents=True)
    (folder / "1.wav").symlink_to(blob)
    assert len(load_clips(str(folder.parent))["train"]) == 1


def test_parquet_files(tmp_path):
    rows = audio_column([wav_bytes(tmp_path / "clips" / f"{number}.wav") for number in range(4)])
    rows = rows.add_column("label", ["cat", "dog"] * 2).add_column("recording", list("abcd"))
    (tmp_path / "rows").mkdir()
    for number in range(2):
        rows.shard(2, number).to_parquet(tmp_path / "rows" / f"{number}.parquet")
    for dataset, number in ((tmp_path / "rows", 4), (tmp_path / "rows" / "0.parquet", 2)):
        clips = load_clips(dataset)["train"]
        assert len(clips) == len(load_recordings(dataset)) == number
        assert clips.features["label"].names == ["cat", "dog"]
        assert clips[0]["audio"]["bytes"] == rows[0]["audio"]["bytes"]
    (tmp_path / "rows" / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match="cannot be read"):
        load_clips(tmp_path / "rows")


def test_parquet_files_beside_audio_are_not_the_dataset(tmp_path):
    write_clip(tmp_path / "cat" / "0.wav")
    (tmp_path / "features.parquet").write_bytes(b"something else")
    assert len(load_clips(tmp_path)["train"]) == 1


def test_saved_and_parquet_data_cannot_leave_their_folder(tmp_path, monkeypatch):
    secret = str(write_clip(tmp_path / "secret.wav"))
    plain = audio_column([wav_bytes(tmp_path / "1.wav"), secret, {"bytes": b"", "path": secret}])
    rows = plain.add_column("label", [*"aba"])
    storage = datasets.Features({"audio": {name: datasets.Value(kind) for name, kind in BYTES}, "label": TEXT})
    saved = datasets.Dataset.from_list(rows.to_list(), features=storage)
    saved.save_to_disk(tmp_path / "saved")
    (tmp_path / "built" / "data").mkdir(parents=True)
    rows.to_parquet(tmp_path / "built" / "data" / "train-00000-of-00001.parquet")
    monkeypatch.setattr(datasets, "load_dataset", functools.partial(of_hub, datasets.load_dataset, rows))
    for dataset in (tmp_path / "saved", tmp_path / "built", "someone/secrets"):
        for streaming in (False, True):
            if streaming and dataset == "someone/secrets":
                continue
            with pytest.raises(ValueError, match=r"secret\.wav', a file outside the dataset"):
                load_recordings(str(dataset), streaming=streaming)
        with pytest.raises(ValueError, match=r"secret\.wav', a file outside the dataset"):
            load_clips(str(dataset))
    monkeypatch.setenv("POLYAUDIO_AUDIO_ROOTS", str(tmp_path))
    assert len(load_clips(str(tmp_path / "saved"))["train"]) == 3
    for dataset in (tmp_path / "built", "someone/secrets"):  # of others, most often
        with pytest.raises(ValueError, match="must hold its audio itself"):
            load_clips(str(dataset))
    assert len(load_clips(rows)["train"]) == 3  # what the caller loaded is the caller's


def of_hub(load_dataset, rows: datasets.Dataset, name: str, streaming: bool = False):
    """Stands for `datasets.load_dataset`: one dataset on the Hub."""
    if name != "someone/secrets":
        return load_dataset(name)
    return {"train": rows.to_iterable_dataset()} if streaming else datasets.DatasetDict(train=rows)


@pytest.mark.parametrize("path", ["{}/secret.wav", "file://{}/secret.wav", "file://{}/secret.wav::hf://datasets/a/b"])
def test_a_stream_of_the_hub_reads_no_file_of_this_machine(tmp_path, monkeypatch, path, caplog):
    write_clip(tmp_path / "secret.wav")
    rows = audio_column([wav_bytes(tmp_path / "1.wav"), path.format(tmp_path)])
    monkeypatch.setattr(datasets, "load_dataset", functools.partial(of_hub, datasets.load_dataset, rows))
    clips = load_recordings("someone/secrets", streaming=True)
    assert len(list(StreamedWindows(clips, 8_000, endless=False))) == 1
    assert "1 of the 2 clips" in caplog.text


def test_rows_of_a_saved_dataset_with_another_label(tmp_path):
    paths = [str(write_clip(tmp_path / f"{name}.wav")) for name in "abcd"]
    saved = datasets.Dataset.from_dict({"audio": paths, "label": [0, 1, 0, 1]})
    saved.cast_column("audio", datasets.Audio(decode=False)).save_to_disk(tmp_path / "saved")
    rows = datasets.load_from_disk(tmp_path / "saved").select([1, 2, 3]).remove_columns("label")
    rows = rows.add_column("label", [1, 0, 1], feature=datasets.ClassLabel(names=["low", "high"]))
    assert load_clips(rows)["train"]["label"][:] == [1, 0, 1]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
def test_a_name_that_is_not_utf8(tmp_path):
    write_clip(tmp_path / "a" / "1.wav").rename(tmp_path / "a" / "\udcff.wav")
    for load in (load_clips, load_recordings):
        with pytest.raises(ValueError, match=r"udcff\.wav' is not UTF-8, which datasets need\. Rename it"):
            load(str(tmp_path))


def test_groups_for_splits(tmp_path):
    for name in "abcd":
        write_clip(tmp_path / f"{name}.wav")
    table = tmp_path / "metadata.csv"
    rows = ["a.wav,x,1,hall,150.5", "b.wav,y,1,hall,150.5", "c.wav,x,2,hall,160", "d.wav,y,3,park,170"]
    table.write_text("\n".join(["file_name,raga,recording,concert,tonic", *rows]))
    clips = load_clips(str(tmp_path), group_by="concert")["train"]
    assert clips.column_names == ["audio", "label", "recording", "group", "tonic", "concert"]
    assert clips["group"][:] == ["hall", "hall", "hall", "park"]
    assert "group" not in load_clips(str(tmp_path))["train"].column_names
    with pytest.raises(ValueError, match=r"no column 'artist'.*Pass another `group_by`"):
        load_clips(str(tmp_path), group_by="artist")

    # A dataset with a column of that name needs no argument, and the recordings can be asked for again
    table.write_text(table.read_text().replace("concert", "group"))
    assert load_clips(str(tmp_path))["train"]["group"][:] == ["hall", "hall", "hall", "park"]
    assert "group" not in load_clips(str(tmp_path), group_by="recording")["train"].column_names

    table.write_text(table.read_text().replace("d.wav,y,3,", "d.wav,y,1,"))
    with pytest.raises(ValueError, match="clips in several groups: 1"):
        load_clips(str(tmp_path))


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
    small = functools.partial(build_ragas, train_recordings=2, test_recordings=1, seconds=8.0)
    monkeypatch.setattr("polyaudio.data.ragas.dataset.build_ragas", small)
    clips = load_clips("ragas", seed=3)
    assert list(clips) == ["train", "test"]
    assert clips["train"].features["label"].num_classes == 8
    assert len(set(clips["train"]["recording"])) == 16
    check_clips(clips["train"], clips["test"])
    assert len(AudioClips(clips["test"], 16_000)[0]["waveform"]) == 2 * 16_000


def test_synthesised_concerts(monkeypatch):
    small = functools.partial(build_ragas, train_recordings=1, test_recordings=1, seconds=2.0)
    monkeypatch.setattr("polyaudio.data.ragas.dataset.build_ragas", small)
    clean, hard = load_clips("ragas:pairs")["test"], load_clips("ragas:pairs+strokes=0.5+mp3=1")["test"]
    assert hard.features["label"].names == [raga for pair in SAME_SWARAS for raga in pair]
    assert len(hard) == len(clean) == 80
    assert hard["recording"][:] == clean["recording"][:]
    assert hard[0]["audio"]["bytes"] != clean[0]["audio"]["bytes"]


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
    small = functools.partial(build_ragas, train_recordings=1, test_recordings=1, seconds=8.0)
    monkeypatch.setattr("polyaudio.data.ragas.dataset.build_ragas", small)

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
