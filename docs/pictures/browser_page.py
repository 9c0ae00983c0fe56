# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Takes the pictures of docs/guides/browser.md: the exported page in Chromium, on a screen and on a telephone.

polyaudio demo --output runs/demo
python docs/pictures/browser_page.py runs/demo docs/pictures
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image
from selenium.webdriver.common.by import By

from polyaudio.data.ragas import SAMPLING_RATE, synthesize_recording
from polyaudio.export.web import export_web


sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from browser import open_chrome, serve


PARTS = (  # raga, instrument, tonic in Hz
    ("Hamsanadam", "voice", 187.0),
    ("Todi", "plucked string", 139.0),
    ("Hamsanadam", "plucked string", 165.0),
    ("Kalyani", "voice", 150.0),
)
SECONDS = 24
SCREENS = {"browser_page.png": (1200, 1000, False), "browser_page_phone.png": (390, 844, True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of the model of `polyaudio demo`")
    parser.add_argument("output", type=Path, help="folder of the pictures")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = [
            synthesize_recording(raga, tonic=tonic, timbre=timbre, seconds=SECONDS, seed=seed)
            for seed, (raga, timbre, tonic) in enumerate(PARTS)
        ]
        soundfile.write(folder / "concert.wav", np.concatenate(parts), SAMPLING_RATE)
        export_web(args.model, folder / "page", title="Which raga is it?", quantized=False, window=8, hop=2)
        with serve(folder / "page") as address:
            for picture, (width, height, is_dark) in SCREENS.items():
                take(args.output / picture, address, folder, width, height, is_dark)


def take(picture: Path, address: str, folder: Path, width: int, height: int, is_dark: bool) -> None:
    """A picture of the page once the recording has been heard."""
    with open_chrome(folder / "profile") as chrome:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_dark}
        chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        chrome.get(address)
        activity = chrome.find_element(By.ID, "activity")
        wait(lambda: activity.text == "Ready")
        chrome.find_element(By.ID, "file").send_keys(str(folder / "concert.wav"))
        wait(lambda: activity.text == "Done")
        wait(lambda: chrome.execute_script("return pictures.length === 2"))
        chrome.execute_script("seek(40)")
        time.sleep(1)  # until the player has drawn itself
        chrome.save_screenshot(str(picture))
    shutil.rmtree(folder / "profile")
    # A palette makes the file smaller
    Image.open(picture).convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE).save(picture, optimize=True)


def wait(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.1)


if __name__ == "__main__":
    main()
