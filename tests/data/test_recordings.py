# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Recordings of every source: each has one name, and several processes read each of them once."""

import functools
import http.server
import io
import shutil
import tarfile
import threading
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet
import pytest

from builders import audio_column, write_clip, write_table
from polyaudio import DatasetRecordings, find_recordings
from polyaudio.data.recordings import Recording, fetch, read_names, share_of


NAMES = [f"{number % 2}/{number}.wav" for number in range(7)]


@pytest.fixture
def clips(tmp_path) -> Path:
    for number, name in enumerate(NAMES):
        write_clip(tmp_path / "clips" / name, 0.1 + 0.01 * number)
    return tmp_path / "clips"


def write_tar(path: Path, clips: Path, names: list[str]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name in names:
            archive.add(clips / name, name)
            text = tarfile.TarInfo(f"{name}.json")
            text.size = 2
            archive.addfile(text, io.BytesIO(b"{}"))
    return path


def write_parquet(path: Path, clips: Path, names: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = [{"bytes": (clips / name).read_bytes(), "path": Path(name).name} for name in names]
    columns = {"audio": audio, "label": [name[0] for name in names], "number": list(range(len(names)))}
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def contents(recordings) -> dict[str, bytes]:
    """The content of each recording by its name. No name comes twice."""
    found = [(one.name, one.audio) for one in recordings]
    assert len(dict(found)) == len(found)
    return {name: audio if isinstance(audio, bytes) else Path(audio).read_bytes() for name, audio in found}


def all_of(recordings) -> dict[str, bytes]:
    return contents(share_of(recordings, recordings.root()))


def expected(clips: Path, prefix: str = "") -> dict[str, bytes]:
    return {f"{prefix}{name}": (clips / name).read_bytes() for name in NAMES}


def test_files_have_the_names_of_their_paths(clips):
    assert all_of(find_recordings([clips])) == expected(clips)
    # Those of a folder stay the same when it gets other subfolders
    (clips / "one" / "more").mkdir(parents=True)
    (clips / "0" / "0.wav").rename(clips / "one" / "more" / "0.wav")
    shutil.rmtree(clips / "0")
    shutil.rmtree(clips / "1")
    assert list(all_of(find_recordings([clips]))) == ["one/more/0.wav"]


def test_files_have_the_names_below_their_common_folder(clips):
    assert all_of(find_recordings([clips / "1" / "1.wav", clips / "0" / "0.wav", clips / "1" / "1.wav"])).keys() == {
        "1/1.wav",
        "0/0.wav",
    }


def test_a_tar_archive(clips, tmp_path):
    path = write_tar(tmp_path / "clips.tar", clips, [*NAMES, NAMES[0]])
    found = all_of(find_recordings([path]))
    assert found.pop(f"clips.tar/{NAMES[0]}#2") == found[f"clips.tar/{NAMES[0]}"]
    assert found == expected(clips, "clips.tar/")


@pytest.mark.parametrize("size", [0, 100, 3000, 8000, 10240, 12000])
def test_a_tar_archive_that_is_cut_off_gives_what_it_has(clips, tmp_path, size):
    path = write_tar(tmp_path / "clips.tar", clips, NAMES)
    path.write_bytes(path.read_bytes()[:size])
    *found, last = share_of(find_recordings([path]), str(tmp_path))
    assert len(found) < 7
    assert all(one.error is None for one in found)
    assert f"clips.tar cannot be read after {len(found)} recordings" in last.error


def test_a_tar_archive_with_a_damaged_header(clips, tmp_path):
    path = write_tar(tmp_path / "clips.tar", clips, NAMES)
    content = path.read_bytes()
    place = content.index(b"0/2.wav\0")
    path.write_bytes(content[:place] + b"x" * 512 + content[place + 512 :])
    *found, last = share_of(find_recordings([path]), str(tmp_path))
    assert [one.name for one in found] == [f"clips.tar/{name}" for name in NAMES[:2]]
    assert "cut off or damaged" in last.error


def test_a_folder_of_parquet_files_or_archives(clips, tmp_path):
    write_parquet(tmp_path / "rows" / "data" / "a.parquet", clips, NAMES[:4])
    write_tar(tmp_path / "rows" / "b.tar", clips, NAMES[4:])
    found = all_of(find_recordings([tmp_path / "rows"]))
    rows = {f"data/a.parquet/{row:06d}/{Path(name).name}": name for row, name in enumerate(NAMES[:4])}
    members = {f"b.tar/{name}": name for name in NAMES[4:]}
    # The folder that has all of them is the root
    assert found == {name: (clips / path).read_bytes() for name, path in {**rows, **members}.items()}
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no audio files in the folder"):
        find_recordings([tmp_path / "empty"])


def test_columns_of_parquet_files(clips, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", clips, NAMES)
    found = find_recordings([path], keep_columns=["label", "number"])
    assert found.column_types() == {"label": pa.string(), "number": pa.int64()}
    rows = list(share_of(found, found.root()))
    assert [one.columns for one in rows] == [{"label": name[0], "number": row} for row, name in enumerate(NAMES)]
    with pytest.raises(ValueError, match=r"'sound' of .* does not exist"):
        find_recordings([path], keep_columns=["sound"]).column_types()
    (problem,) = share_of(find_recordings([path], audio_column="sound"), str(tmp_path))
    assert "has no column 'sound'" in problem.error


def test_a_row_of_a_parquet_file_reads_no_file_of_this_machine(clips, tmp_path):
    audio = [{"bytes": None, "path": str(clips / NAMES[0])}]
    pyarrow.parquet.write_table(pa.table({"audio": audio}), tmp_path / "a.parquet")
    (row,) = share_of(find_recordings([tmp_path / "a.parquet"]), str(tmp_path))
    assert "has no audio" in row.error
    assert row.audio == b""


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_processes_share_recordings(clips, tmp_path, world_size):
    """Together they read each recording once, and of files they read about as many bytes."""
    archives = [write_tar(tmp_path / f"{number}.tar", clips, NAMES[number:]) for number in range(3)]
    for found, number in ((find_recordings([clips]), 7), (find_recordings(archives), 18)):
        shares = [contents(share_of(found, found.root(), rank, world_size)) for rank in range(world_size)]
        assert sum(map(len, shares)) == number
        assert len({name for share in shares for name in share}) == number
        assert max(map(len, shares)) - min(map(len, shares)) <= 3


def test_a_dataset_of_files(clips):
    write_table(clips / "metadata.csv", [{"file_name": name, "label": name[0]} for name in [*NAMES, NAMES[0]]])
    found = DatasetRecordings(clips, keep_columns=["label"])
    assert all_of(found) == expected(clips)
    assert {one.name: one.columns["label"] for one in share_of(found, found.root())} == {
        name: int(name[0]) for name in NAMES
    }
    with pytest.raises(ValueError, match="has features of /elsewhere"):
        list(share_of(found, "/elsewhere"))


@pytest.mark.parametrize("saved", [False, True])
def test_a_dataset_that_holds_its_audio(clips, tmp_path, saved):
    rows = audio_column([{"bytes": (clips / name).read_bytes(), "path": None} for name in NAMES])
    kind = datasets.ClassLabel(names=["even", "odd"])
    rows = rows.add_column("kind", [int(name[0]) for name in NAMES], feature=kind)
    if saved:
        rows.save_to_disk(tmp_path / "saved")
    found = DatasetRecordings(tmp_path / "saved" if saved else rows, keep_columns=["kind"])
    assert list(all_of(found).values()) == [(clips / name).read_bytes() for name in NAMES]
    recordings = list(share_of(found, found.root()))
    assert [one.name for one in recordings] == [f"train/{row:06d}" for row in range(7)]
    assert [one.columns["kind"] for one in recordings] == [("even", "odd")[int(name[0])] for name in NAMES]
    with pytest.raises(ValueError, match="no column 'what' to keep"):
        all_of(DatasetRecordings(rows, keep_columns=["what"]))


def test_a_stream(clips, tmp_path, monkeypatch):
    """Rows have the same names, whatever the number of processes."""
    for number in range(3):
        write_parquet(tmp_path / "hub" / f"{number}.parquet", clips, NAMES[number:])

    def stream(name: str, streaming: bool = False) -> datasets.IterableDatasetDict:
        assert streaming
        files = {"train": sorted(map(str, (tmp_path / "hub").glob("*.parquet")))}
        loaded = load(f"{tmp_path}/hub", data_files=files, streaming=True)
        return loaded

    load = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", stream)
    found = DatasetRecordings("someone/clips", streaming=True, keep_columns=["label"])
    whole = all_of(found)
    assert list(whole) == [
        f"train/{shard:05d}/{row:06d}/{Path(name).name}"
        for shard in range(3)
        for row, name in enumerate(NAMES[shard:])
    ]
    for world_size in (2, 3, 4):
        shares = [contents(share_of(found, found.root(), rank, world_size)) for rank in range(world_size)]
        assert sum(map(len, shares)) == len(whole)
        assert {name: audio for share in shares for name, audio in share.items()} == whole
    assert [one.columns["label"] for one in share_of(found, found.root())][:7] == [name[0] for name in NAMES]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def address(clips):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(clips.parent)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_addresses(clips, tmp_path, address):
    write_tar(tmp_path / "clips.tar", clips, NAMES)
    found = find_recordings([f"{address}/clips/{NAMES[0]}", f"{address}/clips.tar"])
    first, *others = share_of(found, found.root())
    assert (first.name, first.is_remote) == (f"{address}/clips/{NAMES[0]}", True)
    assert fetch(first.audio) == (clips / NAMES[0]).read_bytes()
    assert contents(others) == expected(clips, f"{address}/clips.tar/")
    with pytest.raises(OSError, match=r"nothing\.wav"):
        fetch(f"{address}/nothing.wav")
    with pytest.raises(ValueError, match="is no address that can be read"):
        find_recordings(["nowhere://a.wav"])


def test_a_folder_of_a_file_system_of_fsspec(clips):
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in NAMES:
        memory.pipe(f"/test_recordings/{name}", (clips / name).read_bytes())
    found = find_recordings(["memory://test_recordings"])
    assert {one.name.rpartition("test_recordings/")[2]: fetch(one.audio) for one in share_of(found, "/")} == expected(
        clips
    )


def test_lists_of_names(tmp_path, monkeypatch):
    (tmp_path / "list.txt").write_text("b.wav\n\n c.wav\r\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("d.wav\ne.wav"))
    assert read_names(["a.wav", f"@{tmp_path}/list.txt", "-"]) == ["a.wav", "b.wav", " c.wav", "d.wav", "e.wav"]
    monkeypatch.chdir(tmp_path)
    Path("@here.wav").touch()
    assert read_names(["@here.wav"]) == ["@here.wav"]
    with pytest.raises(OSError, match=r"missing\.txt"):
        read_names(["@missing.txt"])
    (tmp_path / "latin.txt").write_bytes(b"\xe9.wav\n")
    with pytest.raises(ValueError, match="is not UTF-8"):
        read_names([f"@{tmp_path}/latin.txt"])


def test_a_name_that_is_not_utf8_becomes_one():
    (one,) = find_recordings([b"/tmp/\xe9.wav".decode("utf-8", "surrogateescape")]).listed("/tmp")
    assert one == Recording("\\xe9.wav", b"/tmp/\xe9.wav".decode("utf-8", "surrogateescape"))
