# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""What the tests of pages share: a browser, a server on the loopback device, packages of npm."""

import contextlib
import functools
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service


NODE_MODULES = Path(__file__).with_name("node_modules")


def skip_or_fail(missing: str) -> None:
    """Skip a test for which something is missing. With POLYAUDIO_NEEDS_BROWSER, as in CI, it fails."""
    if os.environ.get("POLYAUDIO_NEEDS_BROWSER"):
        pytest.fail(missing)
    pytest.skip(missing)


def node_package(name: str) -> Path:
    """The folder of a package of npm that package.json names."""
    if not (NODE_MODULES / name).is_dir():
        skip_or_fail(f"The npm package {name} is not installed: npm ci --ignore-scripts --prefix tests")
    return NODE_MODULES / name


@contextlib.contextmanager
def open_chrome(profile: Path, *arguments: str) -> Iterator[Chrome]:
    """A browser without a window that reaches nothing but this machine."""
    driver = shutil.which("chromedriver")
    browser = next(filter(None, map(shutil.which, ("google-chrome", "chromium", "chromium-browser"))), None)
    if driver is None or browser is None:
        skip_or_fail("Chromium or its driver is not installed: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = browser
    for argument in (
        *("headless=new", "window-size=1200,1000", "mute-audio", "no-first-run"),
        *("no-sandbox", "disable-dev-shm-usage"),  # it runs as root and in containers, and opens our pages only
        *("disable-background-networking", "disable-component-update"),
        "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"user-data-dir={profile}",
        *arguments,
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=Service(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve the files of a folder; the address of the server, with a slash at its end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
