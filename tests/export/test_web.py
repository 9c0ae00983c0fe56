# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The page that labels sound in a browser, driven as a person uses it, and what it finds beside what Python finds."""

import base64
import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from browser import node_package, open_chrome, serve
from builders import RATE, SAM_AUDIO, SSLAM, TONES
from polyaudio import (
    Annotator,
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioFrameClassification,
)
from polyaudio.export.web import export_web
from polyaudio.inference.annotation import Annotation
from polyaudio.inference.annotation_files import write_annotation


pytest.importorskip("transformers", minversion="5.23", reason="exports need it, and so Python 3.11")

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LABELS = {"id2label": dict(enumerate(TONES)), "label2id": {name: index for index, name in enumerate(TONES)}}
CLIPS = {"window": 1.0, "hop": 0.25}
RULES = {"threshold": 0.6, "low_threshold": 0.4, "median_filter": 0.5, "max_gap": 0.3}


def tones(names: Sequence[str], seconds: float, rate: int = RATE) -> np.ndarray:
    """One tone after the other in noise, each of the given length in seconds."""
    frequencies = np.repeat([TONES[name] for name in names], round(seconds * rate))
    noise = np.random.default_rng(0).standard_normal(len(frequencies))
    return 0.2 * np.sin(2 * np.pi * np.cumsum(frequencies) / rate) + 0.01 * noise


def train(model: torch.nn.Module, feature_extractor: Any, folder: Path) -> Path:
    """Teach a model the two tones, in one second."""
    rng, names = np.random.default_rng(0), list(TONES)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(50):
        labels = torch.from_numpy(rng.integers(0, 2, 16))
        clips = [tones([names[label]], 0.5).astype(np.float32) * rng.uniform(0.3, 2) for label in labels]
        inputs = feature_extractor(clips, sampling_rate=RATE, padding=True, return_tensors="pt")
        logits = model(inputs["input_values"], inputs["attention_mask"]).logits
        target = torch.nn.functional.one_hot(labels, 2).float()
        target = target[:, None].expand_as(logits) if logits.ndim == 3 else target
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval().save_pretrained(folder)
    feature_extractor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip_model(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    model = SAMAudioForAudioClassification(SAMAudioConfig(**SAM_AUDIO, **LABELS))
    return train(model, SAMAudioFeatureExtractor("log_mel"), tmp_path_factory.mktemp("models") / "High or low")


@pytest.fixture(scope="module")
def frame_model(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    settings = {"problem_type": "multi_label_classification", "initializer_range": 0.3, "event_rules": RULES}
    model = SSLAMForAudioFrameClassification(SSLAMConfig(**SSLAM, **LABELS, **settings))
    return train(model, SSLAMFeatureExtractor(max_length=256), tmp_path_factory.mktemp("models") / "events")


@pytest.fixture(scope="module")
def clip_page(tmp_path_factory, clip_model) -> Path:
    """The folder of a page for a classifier of clips."""
    folder = tmp_path_factory.mktemp("pages") / "clips"
    export_web(clip_model, folder, quantized=False, web_runtime=node_package("onnxruntime-web"), **CLIPS)
    return folder


@pytest.fixture(scope="module")
def frame_page(tmp_path_factory, frame_model) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "frames"
    export_web(frame_model, folder, quantized=False, web_runtime=node_package("onnxruntime-web"), resolution=0.08)
    return folder


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    """A browser whose microphone hears a high tone again and again."""
    heard = tmp_path_factory.mktemp("microphone") / "heard.wav"
    soundfile.write(heard, tones(["high"], 4.0, 48_000), 48_000)
    with open_chrome(
        tmp_path_factory.mktemp("profile"),
        *("use-fake-device-for-media-stream", "use-fake-ui-for-media-stream"),
        f"use-file-for-fake-audio-capture={heard}",
    ) as chrome:
        chrome.set_script_timeout(120)
        yield chrome


class Page:
    """A page in a browser, whose model is loaded."""

    def __init__(self, chrome: Chrome, address: str):
        self.chrome = chrome
        self.address = address
        chrome.get(address)
        self.wait_for("Ready")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.chrome.execute_script(script, *arguments)

    def get(self, expression: str) -> Any:
        return self.run(f"return {expression}")

    def text(self, name: str) -> str:
        return self.get(f"document.getElementById({json.dumps(name)}).textContent")

    def wait(self, condition: Callable[[], Any]) -> None:
        WebDriverWait(self.chrome, 120, poll_frequency=0.05).until(lambda _: condition())

    def wait_for(self, activity: str) -> None:
        self.wait(lambda: self.text("activity").startswith(activity) or self.problem())
        assert self.text("activity").startswith(activity), self.problem()

    def problem(self) -> str | None:
        problem = "document.getElementById('problem')"
        return self.get(f"{problem}.hidden ? null : {problem}.textContent")

    def press(self, name: str) -> None:
        self.chrome.find_element(By.ID, name).click()

    def choose(self, path: Path) -> None:
        self.chrome.find_element(By.ID, "file").send_keys(str(path))

    def drop(self, path: Path) -> None:
        self.run(
            "const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));"
            "const dataTransfer = new DataTransfer(); dataTransfer.items.add(new File([bytes], arguments[1]));"
            "const settings = { dataTransfer, bubbles: true, cancelable: true };"
            "const target = document.getElementById('drop');"
            "for (const name of ['dragover', 'drop']) target.dispatchEvent(new DragEvent(name, settings));",
            base64.b64encode(path.read_bytes()).decode(),
            path.name,
        )

    def leading(self) -> str:
        """The label on top."""
        return self.get("document.querySelector('#means span')?.textContent")

    def events(self) -> list[tuple[float, float, str, float]]:
        return [(onset, offset, list(TONES)[label], score) for onset, offset, label, score in self.get("events")]

    def point(self, seconds: float, y: float) -> ActionChains:
        timeline = self.chrome.find_element(By.ID, "timeline")
        self.run("arguments[0].scrollIntoView()", timeline)
        x = self.get(f"toX({seconds}) - timeline.clientWidth / 2")
        return ActionChains(self.chrome).move_to_element_with_offset(
            timeline, round(x), round(y - timeline.size["height"] / 2)
        )


@pytest.fixture
def open_page(chrome):
    """Opens a page of a folder; there are no errors in the console of the browser afterwards."""
    servers = []

    def open_one(folder: Path) -> Page:
        server = serve(folder)
        servers.append(server)
        return Page(chrome, server.__enter__())

    yield open_one
    chrome.get("about:blank")
    for server in servers:
        server.__exit__(None, None, None)
    assert [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"] == []


def assert_same_events(found: list[tuple], annotation: Annotation, tolerance: float = 1e-3) -> None:
    expected = [(event.onset, event.offset, event.label, event.score) for event in annotation.events]
    assert [(onset, offset, label) for onset, offset, label, _ in found] == [
        (pytest.approx(onset), pytest.approx(offset), label) for onset, offset, label, _ in expected
    ]
    assert [one[3] for one in found] == pytest.approx([one[3] for one in expected], abs=tolerance)


@pytest.mark.parametrize("name", list(TONES))
def test_a_dropped_file_gets_its_label(open_page, clip_page, tmp_path, name):
    page = open_page(clip_page)
    assert not page.chrome.find_element(By.ID, "result").is_displayed()
    soundfile.write(tmp_path / "a.wav", tones([name], 1.5), RATE)
    page.drop(tmp_path / "a.wav")
    page.wait_for("Done")
    assert page.leading() == name
    assert page.text("name") == "a.wav"
    assert page.text("facts").startswith("0:01.5")


@pytest.mark.parametrize("extension", ["mp3", "ogg", "flac"])
def test_files_that_the_browser_decodes(open_page, clip_page, clip_model, tmp_path, extension):
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, np.stack([tones(["low", "high"], 3.0, 44_100)] * 2, 1), 44_100)
    page = open_page(clip_page)
    page.choose(path)
    page.wait_for("Done")
    (expected,) = Annotator(str(clip_model), **CLIPS).run([str(path)])
    labels = [event.label for event in expected.events]
    assert [label for _, _, label, _ in page.events()] == labels == ["low", "high"]
    # The browser resamples with another filter, and adds less or more silence
    ends = [(event.onset, event.offset) for event in expected.events]
    found = [(onset, offset) for onset, offset, _, _ in page.events()]
    np.testing.assert_allclose(found, ends, atol=0.26)


@pytest.mark.parametrize(("rate", "channels", "seconds"), [(RATE, 1, 12.34), (44_100, 2, 5.01), (8_000, 1, 0.3)])
@pytest.mark.parametrize("kind", ["clips", "frames"])
def test_the_page_finds_what_python_finds(request, open_page, tmp_path, kind, rate, channels, seconds):
    folder, model = (request.getfixturevalue(f"{kind[:-1]}_{what}") for what in ("page", "model"))
    path = tmp_path / "a.wav"
    samples = tones(["high", "low", "high"], seconds / 3, rate)
    soundfile.write(path, np.stack([samples, samples / 2], 1)[:, :channels], rate)
    page = open_page(folder)
    page.choose(path)
    page.wait_for("Done")
    settings = CLIPS if kind == "clips" else {"resolution": 0.08}
    annotator = Annotator(str(model), **settings)
    (expected,) = annotator.run([str(path)])
    assert expected.events
    assert_same_events(page.events(), expected)
    # The scores of all cells: such short recordings have one column for each
    scores = page.chrome.execute_async_script(
        "const [content, done] = arguments;"
        "const settings = await (await fetch('polyaudio_export.json')).json();"
        "const { Caller } = await import(new URL('calls.js', location));"
        "const { openRecording } = await import(new URL('recordings.js', location));"
        "const worker = new Caller(new URL('worker.js', location));"
        "await worker.call('load', settings);"
        "const file = new File([Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0))], 'a.wav');"
        "const recording = await openRecording(file, settings.sampling_rate);"
        "await worker.call('begin', recording.rate);"
        "await worker.call('push', await recording.read(0, recording.frames));"
        "await worker.call('finish', recording.duration);"
        "const { heat, scores } = await worker.call('found');"
        "worker.worker.terminate();"
        "done(heat.labels.map((label, row) =>"
        " [label, [...scores.slice(row * heat.columns, (row + 1) * heat.columns)]]));",
        base64.b64encode(path.read_bytes()).decode(),
    )
    for label, row in scores:
        np.testing.assert_allclose(row, expected.overview.scores[:, label], atol=1e-3)


def test_a_click_seeks_and_events_play(open_page, clip_page, tmp_path):
    soundfile.write(tmp_path / "a.wav", tones(["high", "low", "high", "low"], 4.0), RATE)
    page = open_page(clip_page)
    page.choose(tmp_path / "a.wav")
    page.wait_for("Done")
    page.wait(lambda: page.get("audio.readyState >= 2"))
    assert [label for _, _, label, _ in page.events()] == ["high", "low", "high", "low"]
    listed = [item.text.split("\n")[1] for item in page.chrome.find_elements(By.CSS_SELECTOR, "#list button")]
    assert listed == ["high", "low", "high", "low"]
    page.point(10.0, 20).click().perform()
    a_pixel = page.get("span / width()")
    assert page.get("audio.currentTime") == pytest.approx(10.0, abs=2 * a_pixel)
    assert page.get("Math.abs(parseFloat(cursor.style.left) - toX(audio.currentTime))") < 1
    page.chrome.find_elements(By.CSS_SELECTOR, "#list button")[1].click()
    onset = page.events()[1][0]
    page.wait(lambda: page.get(f"!audio.paused && audio.currentTime > {onset} + 0.1"))
    page.press("play")
    page.wait(lambda: page.get("audio.paused"))
    # Of a part that is shown the spectrogram has a column for each pixel
    page.press("in")
    page.wait(lambda: page.get("pictures.length === 2 && Math.abs(pictures[1].to - pictures[1].from - span) < 1e-6"))
    assert page.get("pictures[1].image.width === Math.round(width())")


def test_events_as_a_table(open_page, clip_page, clip_model, tmp_path):
    path = tmp_path / "a, b.wav"
    soundfile.write(path, tones(["high", "low"], 3.0), RATE)
    page = open_page(clip_page)
    page.chrome.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path / "downloads")}
    )
    page.choose(path)
    page.wait_for("Done")
    page.press("download")
    table = tmp_path / "downloads" / "a, b.csv"
    page.wait(table.exists)
    (expected,) = Annotator(str(clip_model), **CLIPS).run([str(path)])
    (other,) = write_annotation(expected, tmp_path / "python", ["csv"])
    found, rows = (list(csv.reader(one.open())) for one in (table, other))
    assert found[0] == rows[0]
    assert [row[:4] for row in found[1:]] == [["a, b.wav", *row[1:4]] for row in rows[1:]]
    assert len(found) > 2


def test_the_microphone(open_page, clip_page):
    page = open_page(clip_page)
    page.press("microphone")
    page.wait(lambda: page.text("means-heading") == "Labels now" and page.leading() == "high")
    page.wait(lambda: page.get("duration") > 3)
    page.press("microphone")
    page.wait_for("Done")
    assert page.text("microphone") == "Use the microphone"
    assert page.leading() == "high"
    assert "high" in {label for _, _, label, _ in page.events()}
    page.wait(lambda: page.get("audio.readyState >= 2"))
    assert page.get("audio.duration") == pytest.approx(page.get("duration"), abs=0.01)
    page.point(1.0, 20).click().perform()
    assert page.get("audio.currentTime") == pytest.approx(1.0, abs=0.1)


def test_a_long_recording_can_be_cancelled(open_page, clip_page, tmp_path):
    soundfile.write(tmp_path / "long.wav", tones(["high", "low"] * 75, 8.0), RATE)
    soundfile.write(tmp_path / "short.wav", tones(["low"], 2.0), RATE)
    page = open_page(clip_page)
    page.choose(tmp_path / "long.wav")
    page.wait(lambda: page.get("!document.getElementById('cancel').hidden && events.length > 0"))
    page.press("cancel")
    page.wait_for("Cancelled")
    assert page.get("duration") == 1200
    assert 0 < page.events()[-1][1] < 1200
    page.choose(tmp_path / "short.wav")
    page.wait_for("Done")
    assert (page.leading(), page.get("duration"), len(page.events())) == ("low", 2, 1)


def test_what_cannot_be_heard_is_named(open_page, clip_page, tmp_path):
    page = open_page(clip_page)
    (tmp_path / "text.mp3").write_text("no sound")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    for name, problem in (("text.mp3", "cannot decode text.mp3"), ("empty.wav", "empty.wav has no sound")):
        page.choose(tmp_path / name)
        page.wait(page.problem)
        assert problem in page.problem()
        page.run("document.getElementById('problem').hidden = true")
    page.run("navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotFoundError'))")
    page.press("microphone")
    page.wait(page.problem)
    assert page.problem() == "There is no microphone."
    # The page still works
    soundfile.write(tmp_path / "a.wav", tones(["low"], 1.0), RATE)
    page.choose(tmp_path / "a.wav")
    page.wait_for("Done")
    assert (page.leading(), page.problem()) == ("low", None)


def test_a_model_that_is_not_there(chrome, clip_page, tmp_path):
    shutil.copytree(clip_page, tmp_path / "page", ignore=shutil.ignore_patterns("*.onnx"))
    with serve(tmp_path / "page") as address:
        chrome.get(address)
        problem = chrome.find_element(By.ID, "problem")
        WebDriverWait(chrome, 60).until(lambda _: problem.is_displayed())
        assert problem.text == "The page cannot load /onnx/model.onnx: status 404."
        assert chrome.find_element(By.ID, "file").get_attribute("disabled")
    chrome.get_log("browser")  # says that the file is not found


def test_nothing_leaves_the_machine(open_page, clip_page, tmp_path):
    page = open_page(clip_page)
    soundfile.write(tmp_path / "a.wav", tones(["low"], 1.0), RATE)
    page.choose(tmp_path / "a.wav")
    page.wait_for("Done")
    loaded = page.get("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert loaded
    assert all(name.startswith((page.address, "blob:", "data:")) for name in loaded)
    for path in clip_page.glob("*.js"):
        assert "http:" not in path.read_text(encoding="utf-8")


PROBE = """
import { answerCalls } from "./calls.js";
answerCalls({
  ask: (address) => fetch(address, { mode: "no-cors" }).then(() => "reached", () => "refused"),
});
"""


def test_no_part_of_the_page_can_ask_another_server(open_page, clip_page, tmp_path):
    shutil.copytree(clip_page, tmp_path / "page")
    (tmp_path / "page" / "probe.js").write_text(PROBE)
    page = open_page(tmp_path / "page")
    with serve(tmp_path) as other:
        answers = page.chrome.execute_async_script(
            "const [addresses, done] = arguments;"
            "const { Caller } = await import(new URL('calls.js', location));"
            "const worker = new Caller(new URL('probe.js', location));"
            "const ask = (address) => fetch(address, { mode: 'no-cors' }).then(() => 'reached', () => 'refused');"
            "const asked = addresses.flatMap((one) => [ask(one), worker.call('ask', one)]);"
            "done(await Promise.all(asked));",
            [page.address, other],
        )
    assert answers == ["reached", "reached", "refused", "refused"]
    refused = [entry["message"] for entry in page.chrome.get_log("browser") if entry["level"] == "SEVERE"]
    assert refused
    assert all("Content Security Policy" in message for message in refused)


def test_a_telephone(open_page, clip_page, tmp_path):
    page = open_page(clip_page)
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        soundfile.write(tmp_path / f"{'long name ' * 10}.wav", tones(["low", "high"], 2.0), RATE)
        page.choose(tmp_path / f"{'long name ' * 10}.wav")
        page.wait_for("Done")
        assert page.get("innerWidth") == 390
        assert page.get("document.documentElement.scrollWidth") <= 390
    finally:
        page.chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_labels_that_are_code(open_page, clip_page, tmp_path):
    hostile = "<img src=x onerror=window.hacked=1>"
    shutil.copytree(clip_page, tmp_path / "page")
    path = tmp_path / "page" / "polyaudio_export.json"
    path.write_text(path.read_text().replace('"high"', json.dumps(hostile)))
    page = open_page(tmp_path / "page")
    soundfile.write(tmp_path / "a.wav", tones(["high"], 1.5), RATE)
    page.choose(tmp_path / "a.wav")
    page.wait_for("Done")
    assert page.leading() == hostile
    assert page.get("document.querySelectorAll('img').length") == 0
    assert page.get("window.hacked") is None
