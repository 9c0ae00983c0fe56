# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Collections of ragas through mirdata, in small folders with the layouts of the real ones."""

import importlib.util
import logging
import sys
from pathlib import Path

import pytest

from polyaudio.data.loading import load_clips, load_recordings
from polyaudio.data.raga_collections import load_collection
from raga_folders import Performance, concert_series, write_compmusic_raga, write_indian_tonic, write_saraga


needs_mirdata = pytest.mark.skipif(
    importlib.util.find_spec("mirdata") is None, reason="mirdata, of the extra polyaudio[mirdata], is not installed"
)

CARNATIC = "mirdata:compmusic_raga/carnatic"
HINDUSTANI = "mirdata:compmusic_raga/hindustani"


@pytest.fixture(scope="module")
def carnatic(tmp_path_factory) -> Path:
    """Two artists with two concerts each, whose names and titles are the same."""
    performances = concert_series(["Kalyani", "Sencuruṭṭi"], artists=2, concerts=2)
    return write_compmusic_raga(tmp_path_factory.mktemp("compmusic"), performances, seconds=0.3)


@needs_mirdata
def test_carnatic_recordings_come_with_raga_tonic_artist_and_concert(carnatic):
    clips = load_clips(CARNATIC, data_home=carnatic)["train"]
    assert clips.column_names == ["audio", "label", "recording", "tonic", "artist", "concert", "pitch_path"]
    assert clips.features["label"].names == ["Kalyani", "Sencuruṭṭi"]
    assert len(clips) == len(set(clips["recording"])) == 8  # mirdata's index has one name for each two of them
    assert sorted(set(clips["concert"])) == [
        f"Artist_{artist}/Season_{concert}" for artist in (0, 1) for concert in (0, 1)
    ]
    row = clips[5]
    assert (row["artist"], row["tonic"]) == ("Artist_1", 155.0)  # that which was tuned by hand, 3 Hz below the other
    assert Path(row["audio"]["path"]).is_file()
    assert row["audio"]["path"].endswith("Artist_1/Season_0/Song_in_Sencuruṭṭi/Song_in_Sencuruṭṭi.mp3")
    assert Path(row["pitch_path"]).read_text().startswith("0.0000000\t0.0000000\n")


@needs_mirdata
def test_hindustani_files_are_found_where_the_archive_changed_their_names(tmp_path):
    performances = [
        Performance("Bāgēśrī", "Jagdish_Prasad", "Shraddhanjali:_Jagdish_Prasad", "Raga_Bhageshri"),
        Performance("Bhūp", "Bhimsen_Joshi", "Evergreen", "Paar_Karo"),
    ]
    write_compmusic_raga(tmp_path, performances, "Hindustani", seconds=0.3)
    clips = load_clips(HINDUSTANI, data_home=tmp_path)["train"]
    names = clips.features["label"].names
    assert [names[label] for label in clips["label"]] == ["Bāgēśrī", "Bhūp"]
    assert clips["artist"][:] == ["Jagdish_Prasad", "Bhimsen_Joshi"]
    assert clips["concert"][0] == "Jagdish_Prasad/Shraddhanjali:_Jagdish_Prasad"
    assert clips["tonic"][:] == [196.0, 196.0]
    assert all(Path(audio["path"]).is_file() for audio in clips["audio"])
    assert all(Path(path).is_file() for path in clips["pitch_path"])


@needs_mirdata
@pytest.mark.parametrize("tradition", ["carnatic", "hindustani"])
def test_saraga_leaves_out_what_has_no_single_raga_or_no_audio(tradition, tmp_path, caplog):
    performances = [
        Performance("Śrīranjani", "Some Singer", "At the Hall", "Bhuvini", 201.5),
        Performance("Todi", "Some Singer", "At the Hall", "Song of Todi", 201.5),
        Performance("Todi", "Other Singer", "Part-3 : by Night", "Gone", 130.0),
        Performance("Todi+Kalyani", "Other Singer", "Part-3 : by Night", "Ragamalika", 130.0),
        Performance("", "Other Singer", "Part-3 : by Night", "Tani", 130.0),
    ]
    write_saraga(tmp_path, tradition, performances, seconds=0.3)
    next(tmp_path.glob("*/*/Gone/Gone.mp3.mp3")).unlink()
    clips = load_clips(f"mirdata:saraga_{tradition}", data_home=tmp_path)["train"]
    assert clips["recording"][:] == ["0_Bhuvini", "1_Song_of_Todi"]
    assert clips.features["label"].names == ["Todi", "Śrīranjani"]
    assert set(clips["artist"]) == {"Some Singer"}
    assert set(clips["concert"]) == {"At the Hall by Some Singer"}
    assert clips["tonic"][:] == [None, 201.5]
    assert [path and Path(path).name for path in clips["pitch_path"]] == [None, "Song of Todi.pitch.txt"]
    assert "3 of 5 recordings" in caplog.text
    assert "1 without their audio file: 2_Gone" in caplog.text
    assert "1 with several ragas: 3_Ragamalika" in caplog.text
    assert "1 without a raga: 4_Tani" in caplog.text
    assert "1 of 2 recordings of mirdata:saraga_" in caplog.text  # that have no tonic


@needs_mirdata
def test_excerpts_of_one_recording_stay_together_in_the_tonic_dataset(tmp_path, caplog):
    mbid = "0a6ebaa4-87cc-452d-a7af-a2006e96f16a"
    facts = {"tonic": 131.436, "mbid": mbid, "artist": "T. N. S.", "gender": "Male", "type": "vocal"}
    excerpts = [
        (f"CM/audio/{mbid}_0-180.mp3", {**facts, "tradition": "Carnatic"}),
        (f"CM/audio/{mbid}_180-360.mp3", {**facts, "tradition": "Carnatic"}),
        ("IITM/audio/Tonic_Data3/555-S/01-Varnam.mp3", {"tonic": 148.32, "tradition": "Hindustani"}),
        ("IITM/audio/Tonic_Data3/1-A/02-Kriti.mp3", {"tonic": 140.0}),
        ("IITM/audio/Tonic_Data3/2-B/02-Kriti.mp3", {"tonic": 180.0}),
    ]
    write_indian_tonic(tmp_path, excerpts)
    with pytest.raises(ValueError, match="Pass `label_column`"):
        load_clips("mirdata:compmusic_indian_tonic", data_home=tmp_path)
    clips = load_clips("mirdata:compmusic_indian_tonic", data_home=tmp_path, label_column="tradition")["train"]
    assert clips["recording"][:] == [mbid, mbid, "01-Varnam"]
    assert clips["tonic"][:] == pytest.approx([131.436, 131.436, 148.32])
    assert clips["artist"][:] == ["T. N. S.", "T. N. S.", None]
    assert "1 whose tonic cannot be told from that of a file with the same name: 02-Kriti" in caplog.text
    with pytest.raises(ValueError, match="have no 'artist'"):
        load_clips("mirdata:compmusic_indian_tonic", data_home=tmp_path, label_column="tradition", group_by="artist")


@needs_mirdata
def test_without_audio_the_error_says_what_the_features_are_good_for(tmp_path):
    write_compmusic_raga(tmp_path, concert_series(["Kalyani", "Todi"], artists=2, concerts=1))
    with pytest.raises(ValueError, match=r"4 without their audio file.*zenodo\.org/record/7278511.*needs='pitch'"):
        load_clips(CARNATIC, data_home=tmp_path)
    table, home = load_collection(CARNATIC, tmp_path, needs="pitch")
    assert home == tmp_path
    assert table.column_names == ["raga", "recording", "tonic", "artist", "concert", "pitch_path"]
    assert len(table) == 4


@needs_mirdata
def test_recordings_without_a_tonic_or_a_raga_are_not_in_the_table_of_pitch(tmp_path, caplog):
    performances = concert_series(["Kalyani", "Todi"], artists=2, concerts=1)
    write_compmusic_raga(tmp_path, performances)
    for path in tmp_path.glob("RagaDataset/*/features/*/Artist_0/*/Song_in_Kalyani/*.tonic*"):
        path.write_text("unknown\n")
    names = tmp_path / "RagaDataset" / "Carnatic" / "_info_" / "ragaId_to_ragaName_mapping.json"
    names.write_text(names.read_text().replace('"Todi"', '""'))
    table, _ = load_collection(CARNATIC, tmp_path, needs="pitch")
    assert table["artist"][:] == ["Artist_1"]
    assert "1 without a tonic" in caplog.text
    assert "2 without a raga" in caplog.text


@needs_mirdata
def test_pretraining_reads_a_collection_too(carnatic):
    recordings = load_recordings(CARNATIC, data_home=carnatic)
    assert (len(recordings), recordings.column_names) == (8, ["audio"])


@needs_mirdata
def test_audio_outside_the_folder_is_not_read(tmp_path):
    home = write_compmusic_raga(
        tmp_path / "home", concert_series(["Kalyani", "Todi"], artists=1, concerts=1), seconds=0.3
    )
    audio = next(home.rglob("*.mp3"))
    audio.rename(tmp_path / "private.mp3")
    audio.symlink_to(tmp_path / "private.mp3")
    with pytest.raises(ValueError, match="outside the dataset"):
        load_clips(CARNATIC, data_home=home)


@needs_mirdata
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mirdata:compmusic_raga", r"one of mirdata:compmusic_indian_tonic, mirdata:compmusic_raga/carnatic"),
        ("mirdata:orchset", "There is no collection 'mirdata:orchset'"),
        (CARNATIC, r"no folder RagaDataset.*initialize\('compmusic_raga', data_home='.*'\)\.download\(\).*7278511"),
        ("mirdata:saraga_carnatic", r"no folder saraga1\.5_carnatic.*initialize\('saraga_carnatic'"),
        ("mirdata:compmusic_indian_tonic", r"no folder indian_art_music_tonic_1\.0.*7342372"),
    ],
)
def test_a_wrong_name_or_folder(name, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_clips(name, data_home=tmp_path)


@needs_mirdata
def test_files_of_the_collection_that_are_missing_or_damaged(tmp_path, monkeypatch):
    info = tmp_path / "RagaDataset" / "Carnatic" / "_info_"
    info.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"path_mbid_ragaid\.json is missing.*download"):
        load_clips(CARNATIC, data_home=tmp_path)
    for content in ("{", "[]", '{"1": {"path": "elsewhere"}}', '{"1": {}}'):
        (info / "path_mbid_ragaid.json").write_text(content)
        (info / "ragaId_to_ragaName_mapping.json").write_text("{}")
        with pytest.raises(ValueError, match=r"path_mbid_ragaid\.json"):
            load_clips(CARNATIC, data_home=tmp_path)

    (tmp_path / "indian_art_music_tonic_1.0").mkdir()
    with pytest.raises(ValueError, match="no annotations of the tonics"):
        load_clips("mirdata:compmusic_indian_tonic", data_home=tmp_path, label_column="type")

    (tmp_path / "saraga1.5_carnatic").mkdir()
    for content in ("{", "{}", '{"tracks": {"1": {}}}'):
        (tmp_path / "saraga_carnatic_index_1.5.json").write_text(content)
        with pytest.raises(ValueError, match=r"saraga_carnatic_index_1\.5\.json is not an index"):
            load_clips("mirdata:saraga_carnatic", data_home=tmp_path)
    (tmp_path / "saraga_carnatic_index_1.5.json").unlink()
    # The environment of whoever runs the tests may have the index
    monkeypatch.setattr("mirdata.core.Index.get_path", lambda index: str(tmp_path / "none" / index.filename))
    with pytest.raises(
        ValueError, match=r"index of saraga_carnatic is missing.*download\(\['index'\]\).*put the file"
    ):
        load_clips("mirdata:saraga_carnatic", data_home=tmp_path)


@needs_mirdata
def test_annotations_that_mirdata_cannot_read_are_counted(tmp_path):
    write_indian_tonic(tmp_path, [("CM/audio/a_0-180.mp3", {"tonic": 131.4}), ("CM/audio/b.mp3", {"tonic": 140.0})])
    (annotations,) = tmp_path.glob("*/CM/annotations/*.json")
    annotations.write_text(annotations.read_text().replace("131.4", '"high"'))
    with pytest.raises(ValueError, match=r"no recording of mirdata:compmusic_indian_tonic.*2 without a tonic"):
        load_clips("mirdata:compmusic_indian_tonic", data_home=tmp_path, label_column="type")

    saraga = write_saraga(
        tmp_path, "carnatic", [Performance("Todi", "A", "B", "C"), Performance("x", "A", "B", "D")], seconds=0.3
    )
    for path in saraga.glob("saraga1.5_carnatic/*/*/*.json"):
        path.write_text('{"raaga": [{}]}' if path.stem == "C" else "{")
    with pytest.raises(ValueError, match="2 whose metadata cannot be read"):
        load_clips("mirdata:saraga_carnatic", data_home=saraga)


def test_mirdata_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mirdata", None)
    with pytest.raises(ValueError, match=r"pip install polyaudio\[mirdata\]"):
        load_clips(CARNATIC, data_home=tmp_path)


def test_the_folder_belongs_to_collections_only(class_folders, tmp_path):
    for dataset in (str(class_folders), "ragas"):
        with pytest.raises(ValueError, match="data_home"):
            load_clips(dataset, data_home=tmp_path)


@needs_mirdata
def test_mirdata_does_not_print_the_log_of_others(carnatic, monkeypatch):
    """It sets up the root of all logs when it is imported, where nobody else has."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    for name in [name for name in sys.modules if name.split(".")[0] == "mirdata"]:
        monkeypatch.delitem(sys.modules, name)
    level = root.level
    load_collection(CARNATIC, carnatic)
    assert "mirdata.datasets.compmusic_raga" in sys.modules
    assert (root.handlers, root.level) == ([], level)
