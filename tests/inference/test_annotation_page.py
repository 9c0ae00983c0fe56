# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Pages that play recordings: what is in them, and what a browser makes of them."""

import base64
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from browser import open_chrome
from polyaudio.data.audio import AudioFileError
from polyaudio.inference.annotation import Annotation, Gap, Overview
from polyaudio.inference.annotation_files import write_annotation
from polyaudio.inference.annotation_page import write_page
from polyaudio.inference.prediction import ScoredEvent


RATE = 8_000
SECONDS = 60.0
HOSTILE = (
    "</script><img src=x onerror=window.hacked=1>",
    "<!--<script>window.hacked=2</script>",
    '"><svg onload="window.hacked=3">',
    "$title ${data} \\u003c <b>&lt;",
)
LABELS = ("speech", "कल्याणी", *HOSTILE)
GAPS = [Gap(40.0, 45.0, f"damaged {HOSTILE[0]}")]


def write_recording(path: Path, seconds: float = SECONDS, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(np.arange(round(seconds * rate)) * 2000 / rate), rate)
    return path


def annotation(file: Path, seconds: float = SECONDS, **changes) -> Annotation:
    """Each label has one event, one after the other, from a tenth to the middle of its turn."""
    turn = seconds / len(LABELS)
    events = [
        ScoredEvent(turn * (index + 0.1), turn * (index + 0.5), label, 0.5 + index / 20)
        for index, label in enumerate(LABELS)
    ]
    scores = np.eye(len(LABELS), dtype=np.float32) * 0.8
    settings = {"labels": LABELS, "events": events, "overview": Overview(scores, turn), "gaps": GAPS}
    return Annotation(str(file), seconds, **{**settings, **changes})


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of its data and its title."""

    def __init__(self, path: Path):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.found[-1] if self.found else ("", {})
        self.texts[attributes.get("id") or tag] = self.texts.get(attributes.get("id") or tag, "") + data

    @property
    def audio(self) -> str:
        (source,) = [attributes["src"] for tag, attributes in self.found if tag == "audio"]
        return source or ""

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.texts["data"])


def test_a_page_holds_the_annotation_and_needs_no_other_file(tmp_path):
    path = write_recording(tmp_path / "<b>&amp;.wav")
    write_page(annotation(path), tmp_path / "new" / "page.html")
    page = Elements(tmp_path / "new" / "page.html")
    tags = [tag for tag, _ in page.found]
    assert tags.count("script") == 2
    assert not {"img", "svg", "link", "iframe", "b"} & set(tags)
    assert [name for _, attributes in page.found for name in attributes if name in ("src", "href")] == ["src"]
    assert page.audio == "data:audio/wav;base64," + base64.b64encode(path.read_bytes()).decode()
    assert page.texts["title"].strip() == page.texts["h1"].strip() == "<b>&amp;.wav"
    expected = annotation(path)
    labels = page.data["labels"]
    assert [(onset, offset, labels[label], score) for onset, offset, label, score in page.data["events"]] == [
        (round(one.onset, 6), round(one.offset, 6), one.label, pytest.approx(one.score)) for one in expected.events
    ]
    assert [labels[row] for row in page.data["heat"]["labels"]] == list(LABELS)
    scores = np.frombuffer(base64.b64decode(page.data["heat"]["scores"]), dtype=np.uint8)
    assert scores.reshape(len(LABELS), -1).tolist() == (204 * np.eye(len(LABELS), dtype=int)).tolist()
    assert [Gap(*gap) for gap in page.data["gaps"]] == GAPS


def test_large_files_and_those_that_browsers_cannot_play_are_linked(tmp_path):
    small, large = write_recording(tmp_path / "a.flac", 1.0), write_recording(tmp_path / "b.wav", 630.0)
    other = write_recording(tmp_path / "c.aiff", 1.0)
    sources = {}
    for path, seconds in ((small, 1.0), (large, 630.0), (other, 1.0)):
        write_page(annotation(path, seconds), tmp_path / "page.html")
        sources[path.name] = Elements(tmp_path / "page.html").audio
    assert sources["a.flac"].startswith("data:audio/flac;base64,")
    assert (sources["b.wav"], sources["c.aiff"]) == ("b.wav", "c.aiff")
    write_page(annotation(large, 630.0), tmp_path / "page.html", "embed")
    assert Elements(tmp_path / "page.html").audio.startswith("data:audio/wav")
    with pytest.raises(ValueError, match=r"cannot play .*c.aiff. Convert it"):
        write_page(annotation(other, 1.0), tmp_path / "none.html", "embed")


@pytest.mark.parametrize("name", ["x/a b#1?&'\"%41.wav", "a:b.wav", "ü/रा.wav"])
def test_a_link_leads_from_the_page_to_the_recording(tmp_path, name):
    path = write_recording(tmp_path / "recordings" / name, 1.0)
    write_page(annotation(path, 1.0), tmp_path / "out" / "pages" / "page.html", "link")
    link = Elements(tmp_path / "out" / "pages" / "page.html").audio
    assert re.fullmatch(r"[\w./%~-]+", link, re.ASCII)
    assert (tmp_path / "out" / "pages" / unquote(link)).samefile(path)


def test_more_labels_than_rows(tmp_path):
    path = write_recording(tmp_path / "a.wav", 10.0)
    labels = tuple(f"label {index}" for index in range(527))
    events = [ScoredEvent(index / 60, 10 - index / 600, label, 0.7) for index, label in enumerate(labels)]
    overview = Overview(np.ones((5000, 527), dtype=np.float32), 0.002)
    write_page(annotation(path, 10.0, labels=labels, events=events, overview=overview), tmp_path / "page.html")
    data = Elements(tmp_path / "page.html").data
    assert (len(data["rows"]), data["hidden_labels"]) == (40, 487)
    assert (data["labels"][data["rows"][0]], len(data["events"])) == ("label 0", 527)
    assert data["heat"]["columns"] <= 2000
    assert data["heat"]["columns"] * data["heat"]["column_seconds"] == pytest.approx(10.0, abs=0.01)


def test_pages_that_cannot_be_written(tmp_path):
    path = write_recording(tmp_path / "a.wav", 1.0)
    with pytest.raises(ValueError, match="audio must be auto, embed or link, got 'copy'"):
        write_page(annotation(path, 1.0), tmp_path / "page.html", "copy")
    with pytest.raises(ValueError, match=r"nothing to show: a.wav is empty."):
        write_page(annotation(path, 1.0, events=[], error="a.wav is empty."), tmp_path / "page.html")
    with pytest.raises(AudioFileError, match="does not exist"):
        write_page(annotation(tmp_path / "gone.wav"), tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == [path]


# In a browser. With POLYAUDIO_NEEDS_BROWSER, as in CI, a browser that is missing is a failure.


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    with open_chrome(tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome


RECORD_SEEKS = """
window.seeks = [];
const time = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "currentTime");
Object.defineProperty(audio, "currentTime", {
  get: () => time.get.call(audio),
  set: (seconds) => { seeks.push(seconds); time.set.call(audio, seconds); },
});
"""


class Page:
    """A page in a browser."""

    def __init__(self, chrome: Chrome, path: Path):
        self.chrome = chrome
        chrome.get(path.as_uri())
        self.run(RECORD_SEEKS)

    def run(self, script: str) -> Any:
        return self.chrome.execute_script(script)

    def get(self, expression: str) -> Any:
        return self.run(f"return {expression}")

    def wait(self, condition: Callable[[], Any]) -> None:
        WebDriverWait(self.chrome, 120, poll_frequency=0.05).until(lambda _: condition())

    def wait_until_loaded(self) -> None:
        self.wait(lambda: self.get("audio.readyState >= 2 && strip.complete"))

    def press(self, name: str) -> None:
        self.chrome.find_element(By.ID, name).click()

    def type(self, keys: str) -> None:
        ActionChains(self.chrome).send_keys(keys).perform()

    def point(self, seconds: float, y: float) -> ActionChains:
        """Moves the mouse to a time and a height in the timeline. The caller performs it."""
        timeline = self.chrome.find_element(By.ID, "timeline")
        x = self.get(f"toX({seconds}) - timeline.clientWidth / 2")
        return ActionChains(self.chrome).move_to_element_with_offset(
            timeline, round(x), round(y - timeline.size["height"] / 2)
        )

    def listed(self) -> list[list[str]]:
        """Times, label and score of each event in the list."""
        return self.get("[...list.children].map(item => [...item.querySelectorAll('span')].map(s => s.textContent))")

    def plays_after(self, seconds: float) -> None:
        """Waits until it has played on from a time."""
        self.wait(lambda: self.get(f"audio.currentTime > {seconds} + 0.1"))


@pytest.fixture
def open_page(chrome, tmp_path):
    def open_one(seconds: float = SECONDS, audio: str = "embed", **changes) -> Page:
        path = tmp_path / "page.html"
        write_page(annotation(write_recording(tmp_path / "a.wav", seconds), seconds, **changes), path, audio)
        return Page(chrome, path)

    yield open_one
    assert [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.browser
@pytest.mark.parametrize("audio", ["embed", "link"])
def test_it_plays_and_the_cursor_moves(open_page, audio):
    page = open_page(audio=audio)
    page.wait_until_loaded()
    assert page.get("audio.duration") == SECONDS
    before = page.get("parseFloat(cursor.style.left)")
    page.press("play")
    page.plays_after(0)
    page.wait(lambda: page.get("parseFloat(cursor.style.left)") > before)
    page.press("play")
    page.wait(lambda: page.get("audio.paused"))
    # The cursor stands where the time is
    page.wait(lambda: page.get("Math.abs(parseFloat(cursor.style.left) - toX(audio.currentTime)) < 1"))
    assert page.get("Math.abs(timeline.getAttribute('aria-valuenow') - audio.currentTime) < 0.2")


@pytest.mark.browser
def test_a_click_on_an_event_plays_it(open_page):
    page = open_page()
    page.wait_until_loaded()
    events = annotation(Path("a.wav")).events
    page.chrome.find_elements(By.CSS_SELECTOR, "#list button")[1].click()
    page.plays_after(events[1].onset)
    page.run("audio.pause()")
    # The rows are sorted by the lengths of their events, which are all the same but for rounding
    row = page.get(f"rows.indexOf(labels.indexOf({json.dumps(events[4].label)}))")
    top = page.get("barsTop")
    page.point((events[4].onset + events[4].offset) / 2, top + 18 * (row + 0.5)).click().perform()
    page.plays_after(events[4].onset)
    assert page.get("seeks") == pytest.approx([events[1].onset, events[4].onset])


@pytest.mark.browser
def test_a_click_beside_the_events_seeks(open_page):
    page = open_page()
    page.wait_until_loaded()
    page.point(31.0, 20).click().perform()
    page.wait(lambda: page.get("seeks.length === 1"))
    a_pixel = page.get("span / width()")
    assert page.get("seeks") == pytest.approx([31.0], abs=2 * a_pixel)
    assert page.get("audio.paused")


@pytest.mark.browser
def test_the_mouse_shows_what_it_is_over(open_page):
    page = open_page()
    event = annotation(Path("a.wav")).events[2]
    row = page.get(f"rows.indexOf(labels.indexOf({json.dumps(event.label)}))")
    page.point(event.onset + 1.0, page.get("barsTop") + 18 * (row + 0.5)).perform()
    page.wait(lambda: page.get("!hint.hidden"))
    assert page.get("hint.textContent") == f"{event.label}\n0:21.000 to 0:25.000\nscore 0.60"
    row = page.get(f"heat.labels.indexOf(labels.indexOf({json.dumps(event.label)}))")
    page.point(event.onset + 1.0, page.get("heatTop") + 15 * (row + 0.5)).perform()
    page.wait(lambda: page.get("hint.textContent.endsWith('score 0.80')"))
    page.point(42.0, 20).perform()
    page.wait(lambda: page.get("hint.textContent") == f"cannot be read: {GAPS[0].reason}\n0:40.000 to 0:45.000")


@pytest.mark.browser
def test_text_of_others_runs_no_code(open_page):
    page = open_page()
    assert [label for _, label, _ in page.listed()] == list(LABELS)
    assert page.get("document.title") == "a.wav"
    assert page.get("document.querySelectorAll('img, svg, b, iframe').length") == 0
    # Even if a label became a part of the page, the page would not run it
    page.run("document.body.insertAdjacentHTML('beforeend', labels[2].replace('</script>', ''))")
    page.wait(lambda: page.get("document.querySelector('img').complete"))
    refused = [entry["message"] for entry in page.chrome.get_log("browser") if entry["level"] == "SEVERE"]
    assert refused
    assert all("Content Security Policy" in message or "violates" in message for message in refused)
    assert page.get("window.hacked") is None


@pytest.mark.browser
def test_keys(open_page):
    page = open_page()
    page.wait_until_loaded()
    page.type(Keys.ARROW_RIGHT)
    page.wait(lambda: page.get("seeks.length === 1"))
    page.type(Keys.END + Keys.ARROW_LEFT)
    page.wait(lambda: page.get("audio.currentTime") == SECONDS - 5)
    page.type(Keys.HOME + "nn")
    second = annotation(Path("a.wav")).events[1].onset
    page.wait(lambda: page.get("audio.currentTime") == pytest.approx(second))
    page.type("p")
    page.wait(lambda: page.get("audio.currentTime") == pytest.approx(1.0))
    page.type(" ")
    page.plays_after(1.0)
    page.type(" ")
    page.wait(lambda: page.get("audio.paused"))
    page.type("+")
    assert page.get("span") == SECONDS / 2
    page.type("-")
    assert page.get("span") == SECONDS


@pytest.mark.browser
def test_many_events_in_an_hour(chrome, tmp_path):
    path = write_recording(tmp_path / "hour.wav", 3600.0, 3000)  # the lowest rate that Chromium plays
    events = [ScoredEvent(index * 0.18, index * 0.18 + 0.1, LABELS[index % 2], 0.9) for index in range(20_000)]
    write_page(annotation(path, 3600.0, events=events), tmp_path / "page.html", "link")
    page = Page(chrome, tmp_path / "page.html")
    page.wait_until_loaded()
    assert len(page.listed()) == 300
    page.chrome.find_elements(By.CSS_SELECTOR, "#list button")[200].click()
    page.plays_after(36.0)
    page.run("audio.pause()")
    for _ in range(8):
        page.press("in")
    assert page.get("span") == 3600 / 2**8
    assert page.get("start <= audio.currentTime && audio.currentTime <= start + span")
    assert len(page.listed()) == pytest.approx(3600 / 2**8 / 0.18, abs=2)
    # The end of the recording, by the slider
    page.run("scroll.value = scroll.max; scroll.dispatchEvent(new Event('input'))")
    assert page.listed()[-1][0] == "59:59.820 to 59:59.920"
    assert page.get("cursor.hidden")
    page.press("all")
    assert page.get("span") == 3600


@pytest.mark.browser
def test_a_recording_that_is_gone(chrome, tmp_path):
    path = write_recording(tmp_path / "a.wav", 2.0)
    write_page(annotation(path, 2.0), tmp_path / "page.html", "link")
    path.unlink()
    page = Page(chrome, tmp_path / "page.html")
    page.wait(lambda: page.chrome.find_element(By.ID, "problem").is_displayed())
    assert "cannot play the recording" in page.get("document.getElementById('problem').textContent")
    assert len(page.listed()) == len(LABELS)
    chrome.get_log("browser")  # says that the file is not found


@pytest.mark.browser
def test_no_events_and_no_overview(open_page):
    page = open_page(seconds=0.1, events=[], overview=None, gaps=[])
    page.wait_until_loaded()
    page.press("next")
    page.press("in")
    assert page.listed() == []
    assert page.get("document.getElementById('facts').textContent") == "0:00.1; events: 0; gaps: 0"


@pytest.mark.browser
def test_a_browser_reads_webvtt(open_page, tmp_path):
    page = open_page()
    events = annotation(Path("a.wav")).events
    (path,) = write_annotation(annotation(Path("a.wav")), tmp_path, ["webvtt"])
    uri = "data:text/vtt;base64," + base64.b64encode(path.read_bytes()).decode()
    page.chrome.get("about:blank")  # the policy of our page allows no tracks
    page.run(
        "const track = document.createElement('track'); track.src = arguments[0]; track.default = true;"
        "window.media = document.body.appendChild(document.createElement('audio')); media.append(track)".replace(
            "arguments[0]", json.dumps(uri)
        )
    )
    page.wait(lambda: page.get("media.querySelector('track').readyState") == 2)
    cues = page.get(
        "[...media.textTracks[0].cues].map(cue => [cue.startTime, cue.endTime, cue.getCueAsHTML().textContent])"
    )
    assert cues == [[pytest.approx(e.onset), pytest.approx(e.offset), e.label] for e in events]
