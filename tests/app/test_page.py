# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The page through Gradio: its answers, its errors, its files and its connections."""

import csv
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from polyaudio import annotate, build_app, predict


gradio = pytest.importorskip("gradio", reason="Gradio is not installed: pip install polyaudio[app]")
gradio_client = pytest.importorskip("gradio_client")


@pytest.fixture(scope="module")
def client(address, tmp_path_factory) -> Any:
    return gradio_client.Client(address, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


def analyse(client: Any, recording: Path | None, model: str = "clips") -> tuple:
    file = None if recording is None else gradio_client.handle_file(str(recording))
    return client.predict(file, model, api_name="/analyse")


def test_it_answers_as_the_command_line_does(client, clips, recordings):
    file = recordings / "bursts.flac"
    labels, picture, _, events, files = analyse(client, file)
    (prediction,), (annotation,) = predict(file, clips), annotate(file, clips)
    assert labels["label"] == prediction.labels[0].label
    assert {one["label"]: one["confidence"] for one in labels["confidences"]} == pytest.approx(
        {one.label: one.score for one in prediction.labels}
    )
    assert events["headers"] == ["onset", "offset", "label", "score"]
    assert [row[2] for row in events["data"]] == [event.label for event in annotation.events]
    assert Path(picture).read_bytes().startswith(b"\x89PNG")
    table = next(Path(name) for name in files if name.endswith(".csv"))
    with open(table, newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["label"] for row in rows] == [event.label for event in annotation.events]
    assert {row["file"] for row in rows} == {"bursts.flac"}


def test_people_choose_a_model_by_its_name(client, frames, recordings):
    _, _, _, events, _ = analyse(client, recordings / "bursts.flac", "frames")
    (annotation,) = annotate(recordings / "bursts.flac", frames)
    assert [row[2] for row in events["data"]] == [event.label for event in annotation.events]


def test_errors_say_what_to_do_and_name_no_folder(client, recordings, cache):
    folders = set(cache.iterdir())
    for file, text in ((recordings / "text.wav", "text.wav is not audio"), (None, "Upload or record a sound first.")):
        with pytest.raises(gradio_client.exceptions.AppError) as caught:
            analyse(client, file)
        assert str(caught.value).startswith(text)
        assert str(cache) not in str(caught.value)
    assert not [folder for folder in set(cache.iterdir()) - folders if folder.name.startswith("tmp")]


def test_wrong_arguments(clips, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="at least one model"):
        build_app([])
    with pytest.raises(ValueError, match=r"There is no file .*gone.wav"):
        build_app([clips], examples=[tmp_path / "gone.wav"])
    with pytest.raises(ValueError, match="neither a model folder nor a model"):
        build_app([clips, str(tmp_path / "nowhere")])
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match=r"pip install 'polyaudio\[app\]'"):
        build_app([clips])


def test_folders_of_the_same_name_have_their_whole_paths(clips, tmp_path):
    other = shutil.copytree(clips, tmp_path / "clips")
    app = build_app([clips, str(other)])
    (model,) = [one for one in app.blocks.values() if isinstance(one, gradio.Dropdown)]
    assert [name for name, _ in model.choices] == [clips, str(other)]


def test_files_are_deleted_when_the_page_ends(clips, free_port, recordings, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    app = build_app([clips])
    _, url, _ = app.launch(server_name="127.0.0.1", server_port=free_port(), prevent_thread_lock=True, quiet=True)
    analyse(gradio_client.Client(url, verbose=False, download_files=False), recordings / "tone.wav")
    assert [path for path in tmp_path.rglob("tone.wav.*") if path.is_file()]
    app.close()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_it_connects_to_nobody(clips, free_port, recordings, monkeypatch):
    places: list[Any] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def watched(self: socket.socket, place: Any) -> None:
        places.append(place[0] if self.family != socket.AF_UNIX else "127.0.0.1")
        connect(self, place)

    def watched_names(host: Any, *rest: Any, **settings: Any) -> Any:
        places.append(host)
        return look_up(host, *rest, **settings)

    monkeypatch.setattr(socket.socket, "connect", watched)
    monkeypatch.setattr(socket, "getaddrinfo", watched_names)
    app = build_app([clips])
    _, url, _ = app.launch(server_name="127.0.0.1", server_port=free_port(), prevent_thread_lock=True, quiet=True)
    analyse(gradio_client.Client(url, verbose=False, download_files=False), recordings / "tone.wav")
    app.close()
    assert set(places) <= {"127.0.0.1", b"127.0.0.1", "localhost", "::1", None}
