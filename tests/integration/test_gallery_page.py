"""The gallery as people use it: real broker, saver and bucket, and a real Chromium."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from dev.bench.gallery import fill_day
from dev.stack.mosquitto import Mosquitto
from dev.stack.s3 import S3Server
from face_messages import Message
from object_store.keys import object_for
from tests.conftest import StartBroker
from tests.support.accessibility import barriers
from tests.support.gallery import NOON, Gallery, face, message, png, put
from tests.support.plain import plain_client, publish
from tests.support.programs import saver
from tests.support.stores import real_store
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.browser"]

CARDS = ".face"
OUTBOX = {"messages": 3, "bytes": 61_000, "max_bytes": 10**9, "oldest_seconds": 7.5, "aside": 0, "refusing": False}


@pytest.fixture
def gallery(tmp_path: Path, broker: Mosquitto, s3: S3Server) -> Iterator[Gallery]:
    with Gallery(tmp_path, broker.url, s3) as running:
        yield running


def edge_health(camera: str = "door", **changes: object) -> bytes:
    now = datetime.now(UTC).isoformat()
    about = {"camera": camera, "state": "up", "frames_per_second": 24.7, "faces_per_minute": 12.0, "outbox": OUTBOX}
    about |= {"last_face": now, "time": now, "version": "1"}
    health = {"outbox": OUTBOX, "link_since": now, "edge_broker": "up", "certificate_ends": None, "time": now}
    return json.dumps(health | {"version": "1", "cameras": [about | changes]}).encode()


def captions(page: Page) -> list[str]:
    return page.locator(f"{CARDS} b").all_inner_texts()


def test_a_face_that_somebody_publishes_appears_by_itself(
    page: Page, tmp_path: Path, broker: Mosquitto, s3: S3Server, gallery: Gallery
) -> None:
    """Through broker, saver and bucket, without reloading; with a sender and without one."""
    with saver(tmp_path, broker.url, s3) as running:
        running.expect("cloud_broker_up", 1)
        page.goto(gallery.url)
        expect(page.locator("#status")).to_have_text("live")
        expect(page.locator("#empty")).to_contain_text("No face yet")
        (tmp_path / "face.png").write_bytes(png())
        sent = message(datetime.now(UTC))
        properties = [word for pair in sent.user_properties for word in ("-D", "publish", "user-property", *pair)]
        plain = ["mosquitto_pub", "-p", str(broker.port), "-t", "facedetection_topic", "-f", str(tmp_path / "face.png")]
        subprocess.run([*plain, "-V", "5", "-D", "publish", "content-type", "image/png", *properties], check=True)
        expect(page.locator(CARDS)).to_have_count(1)
        expect(page.locator(f"{CARDS} i")).to_have_text("door")
        subprocess.run(plain, check=True)
        expect(page.locator(CARDS)).to_have_count(2)
        expect(page.locator(f"{CARDS} i", has_text="no sender")).to_be_visible()
        drawn = "[...document.querySelectorAll('.face img')].every((one) => one.naturalWidth === 48)"
        eventually(lambda: page.evaluate(drawn), what="no pictures are to be seen")
        expect(page.locator("#camera option", has_text="tx2 / door")).to_be_attached()
        page.reload()
        expect(page.locator(CARDS)).to_have_count(2)


def test_a_person_goes_back_in_time(page: Page, s3: S3Server, gallery: Gallery) -> None:
    """By camera, day and hour."""
    store = real_store(s3)
    put(store, [face(NOON + timedelta(hours=i), camera=c) for i in range(3) for c in ("door", "yard")])
    put(store, [face(NOON + timedelta(days=1), edge="other")])
    with page.context.browser.new_context(timezone_id="UTC") as context:  # type: ignore[union-attr] # it has one
        tab = context.new_page()
        tab.goto(gallery.url)
        expect(tab.locator(CARDS)).to_have_count(7)
        tab.locator("#camera").select_option(label="tx2: all")
        expect(tab.locator(CARDS)).to_have_count(6)
        tab.locator("#camera").select_option(label="tx2 / door")
        expect(tab.locator(CARDS)).to_have_count(3)
        tab.locator("#camera").select_option(label="All cameras")
        tab.locator("#day").select_option("2026-05-01")
        expect(tab.locator(CARDS)).to_have_count(6)
        tab.locator("#hour").select_option(label="13:00")
        expect(tab.locator(CARDS)).to_have_count(2)
        assert captions(tab) == ["12:00:00"] * 2
        tab.locator("#camera").select_option(label="tx2 / door")
        expect(tab.locator(CARDS)).to_have_count(1)
        tab.reload()
        expect(tab.locator(CARDS)).to_have_count(1)
        expect(tab.locator("#camera option:checked")).to_have_text("tx2 / door")
        expect(tab.locator("#hour option:checked")).to_have_text("13:00")
        tab.locator("#hour").select_option(label="11:00")
        expect(tab.locator("#empty")).to_contain_text("No face before this time")


def test_days_and_hours_are_those_of_who_looks(page: Page, s3: S3Server, gallery: Gallery) -> None:
    """Midnight at the store's clock is noon elsewhere."""
    put(real_store(s3), [face(NOON + timedelta(hours=i)) for i in (-1, 1)])
    with page.context.browser.new_context(timezone_id="Pacific/Auckland") as context:  # type: ignore[union-attr] # it has one
        tab = context.new_page()
        tab.goto(gallery.url)
        expect(tab.locator(CARDS)).to_have_count(2)
        tab.locator("#day").select_option("2026-05-01")
        expect(tab.locator(CARDS)).to_have_count(1)
        assert captions(tab) == ["23:00:00"]
        tab.locator("#day").select_option("2026-05-02")
        expect(tab.locator(CARDS)).to_have_count(2)
        tab.locator("#hour").select_option(label="01:00")
        expect(tab.locator(CARDS)).to_have_count(1)
        put(real_store(s3), [object_for(Message("t", png(i)), received_at=NOON + timedelta(days=i)) for i in range(2)])
        tab.locator("#day").select_option("")
        tab.reload()
        tab.locator("#camera").select_option(label="no sender")
        expect(tab.locator(CARDS)).to_have_count(2)
        tab.locator("#day").select_option("2026-05-01")
        expect(tab.locator(CARDS)).to_have_count(1)
        tab.locator("#day").select_option("2026-05-02")
        expect(tab.locator(CARDS)).to_have_count(2)


def test_a_face_opened_large_tells_all_about_it(page: Page, s3: S3Server, gallery: Gallery) -> None:
    """Its attributes, what was before and after, a link for an hour, a download; by keyboard alone."""
    keys = put(real_store(s3), [face(NOON + timedelta(seconds=i), track=f"run-{i}") for i in range(5)])
    page.goto(gallery.url)
    expect(page.locator(CARDS)).to_have_count(5)
    page.locator(f"{CARDS} button").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#large")).to_be_visible()
    for text in ("tx2", "door", "0.8750", "run-3", "30 × 40 pixels at 10, 20", "640 × 480"):
        expect(page.locator("#attributes")).to_contain_text(text)
    expect(page.locator("#neighbours button")).to_have_count(5)
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#attributes")).to_contain_text("run-2")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#attributes")).to_contain_text("run-4")
    expect(page.locator("#newer")).to_be_disabled()
    page.locator("#share").click()
    expect(page.locator("#told")).to_contain_text("Copied")
    link = page.evaluate("navigator.clipboard.readText()")
    assert "X-Amz-Expires=3600" in link
    assert s3.secret_access_key not in link
    with urllib.request.urlopen(link) as answer:
        assert answer.read() == (s3.folder / "faces" / keys[4]).read_bytes()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(link.replace(keys[4], keys[3]))
    with page.expect_download() as download:
        page.locator("#download").click()
    assert download.value.suggested_filename.startswith("tx2-door-20260501T")
    page.keyboard.press("Escape")
    expect(page.locator("#large")).to_be_hidden()


def test_faces_of_a_track_share_a_card(page: Page, s3: S3Server, gallery: Gallery) -> None:
    """When that is wanted; the newest is shown, with how many there are."""
    times = [(i, "run-1" if i < 3 else "run-2") for i in range(5)]
    put(real_store(s3), [face(NOON + timedelta(seconds=i), track=track) for i, track in times])
    page.goto(gallery.url)
    expect(page.locator(CARDS)).to_have_count(5)
    page.locator("#group").check()
    expect(page.locator(CARDS)).to_have_count(2)
    assert [card.get_attribute("data-count") for card in page.locator(CARDS).all()] == ["2", "3"]
    page.locator("#group").uncheck()
    expect(page.locator(CARDS)).to_have_count(5)


def test_where_cameras_publish_the_best_only_it_groups_by_track(
    page: Page, broker: Mosquitto, s3: S3Server, gallery: Gallery
) -> None:
    """By itself, until somebody wants it otherwise."""
    put(real_store(s3), [face(NOON + timedelta(seconds=i), track="run-1") for i in range(3)])
    page.goto(gallery.url)
    expect(page.locator(CARDS)).to_have_count(3)
    with plain_client(broker.port) as client:
        publish(client, "facedetection_status/tx2/health", edge_health(selection="best"), retain=True)
        expect(page.locator(CARDS)).to_have_count(1)
        expect(page.locator(CARDS)).to_have_attribute("data-count", "3")
        page.locator("#group").uncheck()
        publish(client, "facedetection_status/tx2/health", edge_health(selection="best", state="down"))
        expect(page.locator("#summary")).to_have_text("door down")
    expect(page.locator(CARDS)).to_have_count(3)


def test_a_face_that_was_erased_meanwhile_is_told(page: Page, s3: S3Server, gallery: Gallery) -> None:
    """In the list, and large. It goes when the gallery has listed it, and the page has not asked for its picture."""
    keys = put(real_store(s3), [face(NOON - timedelta(seconds=i)) for i in range(3)])

    def erase_and_answer(route: Route) -> None:
        answer = route.fetch()
        (s3.folder / "faces" / keys[1]).unlink(missing_ok=True)
        s3.forget()
        route.fulfill(response=answer)

    page.route("**/api/faces?*", erase_and_answer)
    page.goto(gallery.url)
    expect(page.locator(f"{CARDS}.gone")).to_have_count(1)
    expect(page.locator(CARDS)).to_have_count(3)
    page.locator(f"{CARDS}.gone button").click()
    expect(page.locator("#attributes")).to_contain_text("There is no such face")
    expect(page.locator("#share")).to_be_disabled()


def test_names_and_attributes_that_try_to_be_scripts_are_text(
    page: Page, broker: Mosquitto, s3: S3Server, gallery: Gallery
) -> None:
    """Of faces that are there, that arrive, and of programs that tell their health."""
    evil = "<img src=x onerror=alert(1)>"
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    put(real_store(s3), [face(NOON, edge=evil, camera=evil)])
    page.goto(gallery.url)
    expect(page.locator(f"{CARDS} i")).to_have_text(evil)
    with plain_client(broker.port) as client:
        stored = face(NOON + timedelta(seconds=1), edge="tx2", camera=f"{evil}2")
        put(real_store(s3), [stored])
        publish(client, "facedetection_stored/a/b", stored.key.encode())
        publish(client, "facedetection_stored/a/b", b"faces/../../etc/passwd")
        publish(client, f"facedetection_status/{evil}/health", edge_health(why=evil, state="down"))
        publish(client, "facedetection_status/tx3/health", b'{"cameras": {"a": [[[')
        publish(client, "facedetection_status/tx3/health", b"[" * 16000)
        publish(client, "facedetection_status/tx4", b"\xff" * 100)
    expect(page.locator(CARDS)).to_have_count(2)
    expect(page.locator("#programs h3").first).to_contain_text(evil)
    expect(page.locator("#programs .why")).to_have_text(evil)
    page.locator(f"{CARDS} button").last.click()
    expect(page.locator("#title")).to_contain_text(evil)
    expect(page.locator("#attributes")).to_contain_text(evil)
    assert page.locator("img[onerror]").count() == 0
    page.goto(f"{gallery.url}/#in=faces/{quote(evil)}/&day={quote(evil)}&until=99&group={quote(evil)}")
    expect(page.locator(CARDS)).to_have_count(2)
    expect(page.locator("#camera option:checked")).to_have_text("All cameras")
    assert page.locator("img[onerror]").count() == 0


def test_health_is_told_and_silence_turns_red(page: Page, broker: Mosquitto, gallery: Gallery) -> None:
    """By itself, some 25 s after the last word."""
    page.goto(gallery.url)
    with plain_client(broker.port) as client:
        publish(client, "facedetection_status/tx2", b"online", retain=True)
        publish(client, "facedetection_status/tx2/health", edge_health(), retain=True)
        last_word = time.monotonic()
        expect(page.locator("#summary")).to_have_text("all well")
        for text in ("tx2", "door", "24.7", "12", "3 · 61 kB · oldest 8 s", "up since"):
            expect(page.locator("#programs")).to_contain_text(text)
        expect(page.locator("#programs")).to_contain_text(re.compile(r"last face seen\d s ago"))
        expect(page.locator("#empty")).to_contain_text("the camera door saw a face")
        publish(client, "facedetection_status/tx3/health", edge_health(state="down", why="no such device"))
        expect(page.locator("#summary")).to_have_text("door down")
        expect(page.locator("#empty")).to_contain_text("is down (no such device)")
        publish(client, "facedetection_status/tx3", b"offline")
        expect(page.locator("#summary")).to_have_text("tx3 offline")
        expect(page.locator("#summary")).to_contain_text("tx2 silent", timeout=60_000)
        assert 20 < time.monotonic() - last_word < 45
        expect(page.locator("#empty")).to_contain_text(re.compile(r"door was last heard of \d\d s ago"))
        expect(page.locator(".program.bad-one")).to_have_count(2)
        publish(client, "facedetection_stored/tx2/door", face(datetime.now(UTC)).key.encode())
        expect(page.locator("#programs")).to_contain_text(re.compile(r"last face stored\d s ago"))


def test_without_broker_the_page_shows_what_is_there(page: Page, tmp_path: Path, s3: S3Server) -> None:
    put(real_store(s3), [face(NOON)])
    with Gallery(tmp_path, "mqtt://127.0.0.1:9", s3) as gallery:
        page.goto(gallery.url)
        expect(page.locator(CARDS)).to_have_count(1)
        expect(page.locator("#status")).to_contain_text("not live: the broker is away")


def test_a_bucket_that_cannot_be_reached_is_told_and_comes_back(page: Page, s3: S3Server, gallery: Gallery) -> None:
    put(real_store(s3), [face(NOON)])
    s3.terminate()
    page.goto(gallery.url)
    expect(page.locator("#trouble")).to_contain_text("is it right, and is it up?")
    s3.start()
    expect(page.locator(CARDS)).to_have_count(1)
    expect(page.locator("#trouble")).to_be_hidden()
    assert gallery.log_text().count("cannot be used") == 1


def test_a_bucket_that_goes_away_under_an_open_page_is_told_and_comes_back(
    page: Page, s3: S3Server, gallery: Gallery
) -> None:
    """What is shown stays, and what is known is shown at once."""
    put(real_store(s3), [face(NOON + timedelta(seconds=i)) for i in range(120)])
    page.goto(gallery.url)
    expect(page.locator("#status")).to_have_text("live")
    expect(page.locator(CARDS).first).to_be_visible()
    s3.terminate()
    page.reload()
    expect(page.locator(CARDS).first).to_be_visible()
    expect(page.locator("#trouble")).to_contain_text("is it right, and is it up?")
    s3.start()
    expect(page.locator("#trouble")).to_be_hidden()


def test_what_was_missed_while_the_gallery_was_gone_is_shown(
    page: Page, start_broker: StartBroker, tmp_path: Path, s3: S3Server
) -> None:
    """The page says that nothing is heard, and asks anew when it is back."""
    with Gallery(tmp_path, start_broker().url, s3) as gallery:
        page.goto(gallery.url)
        expect(page.locator("#empty")).to_be_visible()
        gallery.terminate()
        expect(page.locator("#status")).to_have_text("no word from the gallery")
        put(real_store(s3), [face(NOON)])
        gallery.start()
        expect(page.locator(CARDS)).to_have_count(1)


def test_what_was_stored_while_the_broker_was_away_is_shown_when_it_is_back(
    page: Page, broker: Mosquitto, s3: S3Server, gallery: Gallery
) -> None:
    """Without reloading; who looks further down is only told that there is more."""
    put(real_store(s3), [face(NOON + timedelta(seconds=i)) for i in range(100)])
    page.goto(gallery.url)
    expect(page.locator("#status")).to_have_text("live")
    expect(page.locator(f"{CARDS} b").first).to_be_visible()
    for further_down in (False, True):
        page.evaluate("scrollTo(0, 800)" if further_down else "scrollTo(0, 0)")
        broker.terminate()
        expect(page.locator("#status")).to_contain_text("not live")
        first = page.locator(f"{CARDS} button").first.get_attribute("data-key")
        (key,) = put(real_store(s3), [face(NOON + timedelta(minutes=5 if further_down else 4))])
        broker.start()
        expect(page.locator("#status")).to_have_text("live")
        if further_down:
            page.get_by_role("button", name="1 new").click()
        expect(page.locator(f'{CARDS} button[data-key="{key}"]')).to_be_visible()
        assert key != first


def test_a_face_stored_while_the_page_was_on_its_way_is_shown(
    page: Page, broker: Mosquitto, s3: S3Server, gallery: Gallery
) -> None:
    """The list was made before, and nobody was there yet to be told."""
    gallery.request("/api/faces")
    with plain_client(broker.port) as client:
        (key,) = put(real_store(s3), [face(NOON)])
        publish(client, "facedetection_stored/tx2/door", key.encode())
        page.goto(gallery.url)
        expect(page.locator(CARDS)).to_have_count(1)


def test_a_face_of_which_nothing_was_told_is_found_when_somebody_looks(
    page: Page, s3: S3Server, gallery: Gallery
) -> None:
    """The first list may be an old one, and is made anew a moment later; also where the camera is a new one."""
    put(real_store(s3), [face(NOON + timedelta(seconds=i)) for i in range(120)])
    page.goto(gallery.url)
    expect(page.locator("#status")).to_have_text("live")
    expect(page.locator(CARDS).first).to_be_visible()
    put(real_store(s3), [face(NOON + timedelta(hours=1), camera="yard")])
    page.reload()
    expect(page.locator(f"{CARDS} i").first).to_have_text("yard")


def test_twenty_thousand_faces_in_a_day(page: Page, s3: S3Server, gallery: Gallery) -> None:
    """Only what is on the screen exists; the hour is a jump away, and memory stays flat."""
    fill_day(s3.folder / "faces", cameras=5, each=4_000)
    s3.forget()
    page.goto(gallery.url)
    # How soon, `python -m dev.bench gallery` measures.
    expect(page.locator(CARDS).first).to_be_visible()
    heap = page.context.new_cdp_session(page)

    def used() -> float:
        heap.send("HeapProfiler.collectGarbage")
        return float(heap.send("Runtime.getHeapUsage")["usedSize"]) / 2**20

    before = used()
    for _ in range(8):
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        expect(page.locator("#more")).to_have_text("")
        assert page.locator(CARDS).count() < 150
    assert used() - before < 5
    page.locator("#day").select_option("2026-05-01")
    page.locator("#hour").select_option(label="06:00")
    expect(page.locator("#when")).to_contain_text("05:59")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_kept_out(page: Page, broker: Mosquitto, s3: S3Server, gallery: Gallery, scheme: str) -> None:
    """The list, a face, what is the matter, and the way in: for screen readers, and in contrast."""
    put(real_store(s3), [face(NOON + timedelta(seconds=i)) for i in range(9)])
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
    page.goto(gallery.url)
    with plain_client(broker.port) as client:
        publish(client, "facedetection_status/tx2/health", edge_health())
        publish(client, "facedetection_status/tx3/health", edge_health(state="down", why="no such device"))
    expect(page.locator("#programs .why")).to_be_visible()
    expect(page.locator(CARDS)).to_have_count(9)
    assert barriers(page) == []
    page.locator(f"{CARDS} button").first.click()
    expect(page.locator("#attributes")).to_contain_text("score")
    assert barriers(page) == []
    page.goto(f"{gallery.url}/login")
    assert barriers(page) == []


@pytest.fixture(scope="module")
def nine_faces(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, str]]:
    """One tab for all screens, since to open one costs more than the whole test, and where its gallery is."""
    folder = tmp_path_factory.mktemp("nine")
    server = S3Server(folder / "s3")
    with server, Gallery(folder, "mqtt://127.0.0.1:9", server) as gallery, browser.new_context() as context:
        put(real_store(server), [face(NOON + timedelta(seconds=i)) for i in range(9)])
        yield context.new_page(), gallery.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1440])
def test_it_fits_on_any_screen(nine_faces: tuple[Page, str], width: int, scheme: str) -> None:
    page, url = nine_faces
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(url)
    expect(page.locator(CARDS)).to_have_count(9)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(f"{CARDS} button").first.click()
    expect(page.locator("#attributes")).to_contain_text("score")
    assert page.evaluate("document.getElementById('large').scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 21, 23)" if scheme == "dark" else "rgb(246, 246, 244)")
