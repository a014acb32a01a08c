"""`python -m dev.stack.screenshots`: the pictures of the gallery in docs/, taken of the running demo."""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect

from dev.stack.browser import chromium
from dev.stack.clip import make_clip
from dev.stack.stack import DETECTOR, FORWARDER, Gallery, LocalStack

_DOCS = Path(__file__).parents[2] / "docs"
# Cards that fill the screen, and how long they may take.
_CARDS = 18
_PATIENCE_MS = 120_000
_DETECTOR = {"VIDEO_LOOP": "true", "FACE_SELECTION": "best", "BEST_SECONDS": "1"}


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="facedetection-screenshots-") as name:
        folder = Path(name)
        clip = folder / "clip.avi"
        make_clip(clip, seconds=20)
        edge = {"EDGE_ID": "tx2-01"}
        detector = {**edge, "CAMERA_ID": "front-door", "VIDEO_SOURCE": str(clip), **_DETECTOR}
        try:
            with (
                LocalStack(folder, settings={DETECTOR: detector, FORWARDER: edge}) as stack,
                Gallery(folder, stack.s3, mqtt_url=stack.cloud_broker.url) as gallery,
                chromium() as browser,
            ):
                _take(browser.new_page(viewport={"width": 1280, "height": 760}), gallery.url)
        except FileNotFoundError as error:
            print(f"screenshots: {error}", file=sys.stderr)
            return 1
    return 0


def _take(page: Page, url: str) -> None:
    page.goto(url)
    # The page groups by itself; here, each of the best pictures of a track is to be seen.
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
