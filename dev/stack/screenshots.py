"""`python -m dev.stack.screenshots`: the pictures of the gallery in docs/, taken of the running demo."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from dev.stack.clip import make_clip
from dev.stack.gallery import Gallery
from dev.stack.stack import BUCKET, DETECTOR, LocalStack

_DOCS = Path(__file__).parents[2] / "docs"
# As many cards as fill the screen, and how long they may take.
_CARDS = 18
_PATIENCE_MS = 120_000
_DETECTOR = {"VIDEO_LOOP": "true", "FACE_SELECTION": "best", "BEST_SECONDS": "1"}


def main() -> int:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("screenshots: there is no Chromium: dev/scripts/need.sh chromium", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="facedetection-screenshots-") as name:
        folder = Path(name)
        clip = folder / "clip.avi"
        make_clip(clip, seconds=20)
        stack = LocalStack(
            folder,
            video_source=str(clip),
            edge_id="tx2-01",
            camera_id="front-door",
            settings={DETECTOR: _DETECTOR},
        )
        with (
            stack,
            Gallery(folder, stack.s3, BUCKET, mqtt_url=stack.cloud_broker.url) as gallery,
            sync_playwright() as playwright,
        ):
            # Chromium refuses to be root with its sandbox.
            arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
            _take(browser.new_page(viewport={"width": 1280, "height": 760}), gallery.url)
            browser.close()
    return 0


def _take(page: Page, url: str) -> None:
    page.goto(url)
    # Checked by itself, since a track has several of the best here, which are to be seen.
    expect(page.locator("#group")).to_be_checked(timeout=_PATIENCE_MS)
    page.locator("#group").uncheck()
    expect(page.locator(".face").nth(_CARDS - 1)).to_be_visible(timeout=_PATIENCE_MS)
    expect(page.locator("#summary")).to_have_text("all well", timeout=_PATIENCE_MS)
    page.screenshot(path=_DOCS / "gallery.png", animations="disabled")
    page.locator(".face button").nth(5).click()
    expect(page.locator("#attributes")).to_contain_text("score")
    page.screenshot(path=_DOCS / "gallery-large.png", animations="disabled")
    page.keyboard.press("Escape")
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 760})
    page.reload()
    expect(page.locator(".face").nth(3)).to_be_visible()
    page.screenshot(path=_DOCS / "gallery-phone.png", animations="disabled")


if __name__ == "__main__":
    sys.exit(main())
