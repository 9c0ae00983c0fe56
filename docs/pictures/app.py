# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Takes the screenshot of `polyaudio app` in Chromium, with a recording of two ragas, one after the other.

polyaudio demo --output runs/demo
python docs/pictures/app.py runs/demo docs/pictures/app.png
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from polyaudio import build_app
from polyaudio.data.ragas import SAMPLING_RATE, synthesize_recording


RAGAS = {"Hamsanadam": 55, "Todi": 25}  # with their seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of the model of `polyaudio demo`")
    parser.add_argument("output", help="PNG file to write")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "two_ragas.wav"
        clips = [
            synthesize_recording(raga, tonic=187.0, timbre="voice", seconds=seconds, seed=12345)
            for raga, seconds in RAGAS.items()
        ]
        soundfile.write(recording, np.concatenate(clips), SAMPLING_RATE)
        app = build_app([args.model])
        _, address, _ = app.launch(prevent_thread_lock=True, quiet=True)
        try:
            take_screenshot(address, recording, args.output)
        finally:
            app.close()
    # A palette makes the file a third as large
    image = Image.open(args.output).convert("RGB")
    image.quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(args.output, optimize=True)


def take_screenshot(address: str, recording: Path, output: str) -> None:
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for argument in ("headless=new", "window-size=1200,1400", "no-sandbox", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    chrome = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        chrome.get(address)
        wait(chrome, lambda: chrome.find_elements(By.CSS_SELECTOR, "#recording input[type=file]"))
        chrome.find_element(By.CSS_SELECTOR, "#recording input[type=file]").send_keys(str(recording))
        wait(chrome, lambda: "1:20" in chrome.find_element(By.ID, "recording").text)  # its length
        chrome.find_element(By.ID, "analyse").click()
        script = "return document.querySelector('#picture img')?.naturalWidth"
        wait(chrome, lambda: chrome.find_elements(By.CSS_SELECTOR, "#files a") and chrome.execute_script(script))
        chrome.save_screenshot(output)
    finally:
        chrome.quit()


def wait(chrome: Chrome, condition: Callable[[], Any]) -> None:
    WebDriverWait(chrome, 300, poll_frequency=0.2).until(lambda _: condition())


if __name__ == "__main__":
    main()
