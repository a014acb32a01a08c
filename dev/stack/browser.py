"""Chromium, driven by Playwright; one of the test tools, which the demo does without."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

_PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium, without a window. Raises FileNotFoundError where there is none."""
    found = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if found is None:
        raise FileNotFoundError("there is no Chromium: dev/scripts/need.sh chromium")
    # Without a graphics card Chromium emulates one, which takes processor time.
    arguments = ["--disable-gpu", "--disable-software-rasterizer"]
    # Chromium refuses to be root with its sandbox, and containers often have no other user.
    arguments += ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()
