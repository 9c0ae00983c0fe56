# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The page in a browser: uploading, recording, what is shown, downloads, errors, and which hosts it asks."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from browser import open_chrome
from polyaudio import annotate, predict


pytest.importorskip("gradio", reason="Gradio is not installed: pip install polyaudio[app]")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chrome(tmp_path_factory, recordings) -> Iterator[Chrome]:
    microphone = (
        # A microphone that hears a file, and a user who lets pages use it
        *("use-fake-device-for-media-stream", "use-fake-ui-for-media-stream"),
        f"use-file-for-fake-audio-capture={recordings / 'tone.wav'}",
    )
    with open_chrome(tmp_path_factory.mktemp("profile"), *microphone) as chrome:
        chrome.set_window_size(1280, 1600)
        yield chrome


class Page:
    """The page in a browser."""

    def __init__(self, chrome: Chrome, address: str):
        self.chrome = chrome
        chrome.get(address)
        self.wait(lambda: self.find("#recording input[type=file]"))

    def wait(self, condition: Callable[[], Any]) -> Any:
        return WebDriverWait(self.chrome, 120, poll_frequency=0.1).until(lambda _: condition())

    def find(self, selector: str) -> list[WebElement]:
        return self.chrome.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map(one => one.textContent.trim())"
        return self.chrome.execute_script(script, selector)

    def press(self, selector: str) -> None:
        self.wait(lambda: any(one.is_displayed() for one in self.find(selector)))
        next(one for one in self.find(selector) if one.is_displayed()).click()

    def upload(self, path: Path) -> None:
        self.find("#recording input[type=file]")[0].send_keys(str(path))
        self.wait_for_recording()

    def wait_for_recording(self) -> None:
        self.wait(lambda: self.find("#recording [data-testid=download-link]"))

    def analyse(self) -> None:
        self.press("#analyse")
        self.wait(lambda: self.find("#files a"))

    def wait_for_events(self, labels: list[str]) -> None:
        """Wait until the table has events with these labels."""
        cells = "#events [role=gridcell][aria-colindex='3']"
        self.wait(lambda: self.texts(cells) == labels)

    def links(self) -> dict[str, str]:
        """The address of each file, by its name."""
        addresses = [one.get_attribute("href") or "" for one in self.find("#files a")]
        return {address.rpartition("/")[2]: address for address in addresses}

    def picture_width(self) -> int:
        return self.chrome.execute_script("return document.querySelector('#picture img')?.naturalWidth ?? 0")


@pytest.fixture
def page(chrome, address) -> Iterator[Page]:
    yield Page(chrome, address)
    assert [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.parametrize(("name", "label"), [("tone.wav", "high"), ("noise.wav", "low")])
def test_the_label_of_a_recording_that_is_uploaded(page, clips, recordings, name, label):
    page.upload(recordings / name)
    page.analyse()
    (prediction,) = predict(recordings / name, clips)
    assert prediction.labels[0].label == label
    assert page.texts("#labels [data-testid=label-output-value]") == [label]
    assert f"{prediction.labels[0].score:.0%}" in page.texts("#labels")[0]


def test_the_picture_the_events_and_the_files(page, recordings, clips):
    page.upload(recordings / "bursts.flac")
    page.analyse()
    page.wait(lambda: page.picture_width() == 1400)
    (annotation,) = annotate(recordings / "bursts.flac", clips)
    page.wait_for_events([event.label for event in annotation.events])
    links = page.links()
    assert len(links) == 8
    with urllib.request.urlopen(links["bursts.flac.jsonl"]) as answer:
        line = json.load(answer)
    assert [event["label"] for event in line["events"]] == [event.label for event in annotation.events]
    with urllib.request.urlopen(links["bursts.flac.html"]) as answer:
        assert b"bursts.flac" in answer.read()


def test_another_model_and_an_example(page, frames, recordings):
    page.press("#model input")
    page.press("[role=option][aria-label=frames]")
    page.press(".gallery-item")
    page.wait_for_recording()
    page.analyse()
    (annotation,) = annotate(recordings / "noise.wav", frames)
    assert sorted(page.links())[0] == "noise.wav.csv"
    page.wait_for_events([event.label for event in annotation.events])


def test_the_microphone(page):
    page.press("#recording button[aria-label='Record audio']")
    page.press("#recording .record-button")
    page.wait(lambda: "0:02" in page.texts("#recording time"))
    page.press("#recording .stop-button")
    page.wait_for_recording()
    page.analyse()
    assert page.texts("#labels [data-testid=label-output-value]") == ["high"], "as for the file that it hears"


def test_a_file_that_is_not_audio(page, recordings):
    page.upload(recordings / "text.wav")
    page.press("#analyse")
    page.wait(lambda: page.find("[data-testid=toast-body]"))
    (text,) = page.texts("[data-testid=toast-body]")
    assert "text.wav is not audio that soundfile can read" in text
    assert "convert it to wav or flac" in text
    page.chrome.get_log("browser")  # says that the browser cannot play it either


def test_no_other_host_is_asked(page, address, recordings):
    page.upload(recordings / "tone.wav")
    page.analyse()
    page.wait(lambda: page.picture_width() > 0)
    script = "return performance.getEntriesByType('resource').map(one => one.name)"
    asked = [urlsplit(url) for url in page.chrome.execute_script(script)]
    assert {url.netloc for url in asked if url.scheme not in ("data", "blob")} == {urlsplit(address).netloc}
