"""Many tabs of one browser: all of them load and are live, over one stream of events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from dev.stack.mosquitto import Mosquitto
from dev.stack.s3 import S3Server
from tests.support.gallery import NOON, Gallery, face, put
from tests.support.plain import plain_client, publish
from tests.support.stores import real_store
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.browser"]

CARDS = ".face"
# More than the connections that a browser has to one site.
TABS = 9


@pytest.fixture
def gallery(tmp_path: Path, broker: Mosquitto, s3: S3Server) -> Iterator[Gallery]:
    put(real_store(s3), [face(NOON)])
    with Gallery(tmp_path, broker.url, s3) as running:
        yield running


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context() as opened:
        yield opened


def opened(context: BrowserContext, gallery: Gallery, count: int) -> list[Page]:
    tabs = [context.new_page() for _ in range(count)]
    for tab in tabs:
        tab.goto(gallery.url)
    return tabs


def all_see_the_next_one(tabs: list[Page], broker: Mosquitto, s3: S3Server) -> None:
    (key,) = put(real_store(s3), [face(datetime.now(UTC))])
    with plain_client(broker.port) as client:
        publish(client, "facedetection_stored/tx2/door", key.encode())
    for tab in tabs:
        expect(tab.locator(f'{CARDS} button[data-key="{key}"]')).to_be_visible()


def test_all_tabs_are_live_over_one_stream(
    context: BrowserContext, broker: Mosquitto, s3: S3Server, gallery: Gallery
) -> None:
    """And go on when the tab that has the stream is closed."""
    tabs = opened(context, gallery, TABS)
    for tab in tabs:
        expect(tab.locator("#status")).to_have_text("live")
    assert gallery.figure("gallery_viewers") == 1
    all_see_the_next_one(tabs, broker, s3)
    while len(tabs) > TABS - 2:
        tabs.pop(0).close()
        all_see_the_next_one(tabs, broker, s3)
    for tab in tabs:
        expect(tab.locator("#status")).to_have_text("live")
    eventually(lambda: gallery.figure("gallery_viewers") == 1, what="not one stream")


def test_tabs_that_cannot_share_ask_instead(
    context: BrowserContext, broker: Mosquitto, s3: S3Server, gallery: Gallery
) -> None:
    """As on a page without https, where browsers have no locks."""
    context.add_init_script("delete Navigator.prototype.locks")
    tabs = opened(context, gallery, TABS)
    for tab in tabs:
        expect(tab.locator("#status")).to_have_text("live, every 3 s")
    all_see_the_next_one(tabs, broker, s3)
    assert gallery.figure("gallery_viewers") == 0


def hide(tab: Page, is_hidden: bool) -> None:
    tab.evaluate(
        "(hidden) => { Object.defineProperty(document, 'hidden', { configurable: true, value: hidden });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        is_hidden,
    )


def test_a_tab_in_the_background_has_no_stream_and_catches_up_when_it_is_looked_at(
    context: BrowserContext, broker: Mosquitto, s3: S3Server, gallery: Gallery
) -> None:
    (tab,) = opened(context, gallery, 1)
    expect(tab.locator("#status")).to_have_text("live")

    hide(tab, True)
    eventually(lambda: gallery.figure("gallery_viewers") == 0, what="it keeps its stream")
    put(real_store(s3), [face(datetime.now(UTC))])
    hide(tab, False)
    expect(tab.locator(CARDS)).to_have_count(2)
    eventually(lambda: gallery.figure("gallery_viewers") == 1, what="it has no stream")
    all_see_the_next_one([tab], broker, s3)


def test_a_face_that_is_not_in_the_first_list_is_in_the_next(
    context: BrowserContext, s3: S3Server, gallery: Gallery
) -> None:
    """The gallery gives the same list for a second. A face may be stored, and told to nobody, within that second."""
    (tab,) = opened(context, gallery, 1)
    with tab.expect_response("**/api/faces*fresh*") as listed:
        expect(tab.locator(CARDS)).to_have_count(1)
    old = listed.value.body()
    hide(tab, True)
    put(real_store(s3), [face(datetime.now(UTC))])
    begun: list[float] = []

    def answer(route: Route) -> None:
        begun.append(time.monotonic())
        if begun[-1] < begun[0] + 1:
            route.fulfill(body=old, content_type="application/json")
        else:
            route.continue_()

    tab.route("**/api/faces*fresh*", answer)
    hide(tab, False)
    expect(tab.locator(CARDS)).to_have_count(2)
    assert begun


def test_a_page_of_which_a_part_did_not_come_says_so_and_loads_again(context: BrowserContext, gallery: Gallery) -> None:
    """As where a proxy drops a request."""
    tab = context.new_page()
    tab.route("**/feed.js", lambda route: route.abort())
    tab.goto(gallery.url)
    expect(tab.locator("#status")).to_contain_text("loading it again")
    tab.unroute("**/feed.js")
    expect(tab.locator("#status")).to_have_text("live")
