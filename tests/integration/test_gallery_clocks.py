"""Cameras whose clocks are wrong: their faces are seen as they arrive, and the page says whose clock it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from cloud_gallery.history import History
from dev.stack.mosquitto import Mosquitto
from dev.stack.s3 import S3Server
from object_store.keys import StoredObject, camera_folder
from tests.integration.test_gallery_page import CARDS, edge_health
from tests.support.gallery import Gallery, face, message, put
from tests.support.plain import listening, plain_client, publish
from tests.support.programs import saver
from tests.support.stores import real_store
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.browser"]

AHEAD = datetime(2099, 7, 1, 12, tzinfo=UTC)


@pytest.fixture
def gallery(tmp_path: Path, broker: Mosquitto, s3: S3Server) -> Iterator[Gallery]:
    with Gallery(tmp_path, broker.url, s3) as running:
        yield running


def now() -> datetime:
    return datetime.now(UTC)


def listed(gallery: Gallery, rest: str = "") -> list[str]:
    _, _, body = gallery.request(f"/api/faces?count=5{rest}")
    return [each["key"] for each in json.loads(body)["faces"]]


def announced(port: int, s3: S3Server, stored: StoredObject) -> str:
    (key,) = put(real_store(s3), [stored])
    with plain_client(port) as client:
        publish(client, "facedetection_stored/tx2/door", key.encode())
    return key


def test_a_camera_that_is_ahead_hides_no_new_faces(
    page: Page, broker: Mosquitto, s3: S3Server, gallery: Gallery
) -> None:
    """Neither those that arrive, nor those of a page that is loaded later; and its days can be chosen."""
    put(real_store(s3), [face(AHEAD + timedelta(seconds=i)) for i in range(130)])
    page.goto(gallery.url)
    expect(page.locator("#status")).to_have_text("live")
    expect(page.locator(CARDS).first).to_be_visible()
    first = page.locator(f"{CARDS} button").first
    key = announced(broker.port, s3, face(now(), camera="yard"))
    expect(first).to_have_attribute("data-key", key)
    # A camera that says nothing of its health is known by its faces.
    announced(broker.port, s3, face(AHEAD + timedelta(minutes=5)))
    expect(page.locator("#programs .clock")).to_contain_text(re.compile(r"The clock of tx2/door is \d+ years ahead"))
    # The clock is set right.
    key = announced(broker.port, s3, face(now()))
    expect(first).to_have_attribute("data-key", key)
    expect(page.locator("#programs .clock")).to_have_count(0)
    page.reload()
    expect(first).to_have_attribute("data-key", key)
    page.locator("#day").select_option("2099-07-01")
    expect(page.locator("#when")).to_contain_text("2099")
    expect(first).not_to_have_attribute("data-key", key)


def test_a_camera_that_is_behind_is_seen_as_its_faces_arrive(
    page: Page, broker: Mosquitto, s3: S3Server, gallery: Gallery
) -> None:
    """Though it has newer faces from before its clock went wrong."""
    put(real_store(s3), [face(now() - timedelta(seconds=130 - i)) for i in range(130)])
    page.goto(gallery.url)
    expect(page.locator("#status")).to_have_text("live")
    expect(page.locator(CARDS).first).to_be_visible()
    first = page.locator(f"{CARDS} button").first
    for camera in ("door", "yard"):
        key = announced(broker.port, s3, face(now() - timedelta(weeks=5), camera=camera))
        expect(first).to_have_attribute("data-key", key)
        page.reload()
        expect(first).to_have_attribute("data-key", key)


def test_what_arrived_while_nobody_listened_is_found_where_the_saver_stored_last(
    tmp_path: Path, broker: Mosquitto, s3: S3Server
) -> None:
    """The saver's health keeps what the camera's clock said last."""
    put(real_store(s3), [face(now() - timedelta(minutes=i)) for i in range(9)])
    with (
        saver(tmp_path, broker.url, s3) as running,
        listening(broker.port, "facedetection_status/cloud_saver/health") as heard,
        plain_client(broker.port) as client,
    ):
        running.expect("cloud_broker_up", 1)
        sent = message(now() - timedelta(weeks=5))
        publish(
            client, sent.topic, sent.payload, UserProperty=list(sent.user_properties), ContentType=sent.content_type
        )
        running.expect("objects_stored_total", 1)
        eventually(lambda: any(b'"captured":"20' in each for each in heard.payloads), what="the saver does not tell")
    with Gallery(tmp_path / "gallery", broker.url, s3) as gallery:
        old = f"{now() - timedelta(weeks=5):%Y%m%d}"
        eventually(lambda: f"/{old}T" in listed(gallery, "&fresh")[0], what="it is not the latest")


def test_faces_of_all_cameras_are_listed_in_the_order_of_arrival(s3: S3Server) -> None:
    """By the store's own time, whatever is in the keys."""
    store = real_store(s3)
    put(store, [face(AHEAD + timedelta(seconds=i), camera="ahead") for i in range(20)])
    folders = [camera_folder("tx2", name) for name in ("ahead", "behind", "right")]
    later = put(store, [face(now() - timedelta(weeks=9), camera="behind"), face(now(), camera="right")])
    found = [each.key for each in History(store).newest(folders, count=10, moments={})]
    assert found[:2] == later[::-1]
    assert len(set(found)) == 10


def test_the_page_says_whose_clock_is_wrong(page: Page, broker: Mosquitto, gallery: Gallery) -> None:
    """Of an edge, and of a camera alone; by how much, and what to do."""
    page.goto(gallery.url)
    with plain_client(broker.port) as client:

        def tell(edge: timedelta, camera: timedelta) -> None:
            said = json.loads(edge_health(time=(now() + camera).isoformat()))
            said["time"] = (now() + edge).isoformat()
            publish(client, "facedetection_status/tx2/health", json.dumps(said).encode())

        tell(timedelta(0), timedelta(0))
        expect(page.locator("#summary")).to_have_text("all well")
        tell(timedelta(days=30), timedelta(days=30))
        expect(page.locator("#programs .clock")).to_have_text(
            "The clock of tx2 is 30 days ahead: set it by NTP. Faces are filed by its time."
        )
        expect(page.locator("#summary")).to_have_text("a clock is wrong")
        tell(timedelta(0), timedelta(weeks=-3))
        expect(page.locator("#programs .clock")).to_contain_text("The clock of door is 21 days behind")
        tell(timedelta(0), timedelta(0))
        expect(page.locator("#summary")).to_have_text("all well")


def test_the_saver_says_whose_clock_is_wrong_and_its_latency_does_not_lie(
    tmp_path: Path, broker: Mosquitto, s3: S3Server
) -> None:
    """In the log once, and for as long as it lasts in /healthz. Faces that waited for hours count as before."""
    with saver(tmp_path, broker.url, s3) as running, plain_client(broker.port) as client:
        running.expect("cloud_broker_up", 1)

        def send(time: datetime, count: int, **names: str) -> None:
            sent = message(time, **names)
            publish(
                client, sent.topic, sent.payload, UserProperty=list(sent.user_properties), ContentType=sent.content_type
            )
            running.expect("objects_stored_total", count)

        send(now() - timedelta(hours=2), 1)
        running.expect("latency_seconds_count", 1)
        for number in (2, 3):
            send(AHEAD, number)
        said = json.loads(running.ask("/healthz")[1])["clocks"]
        assert re.fullmatch(r"the clock of tx2/door \(by its faces\) is \d+ years ahead", said)
        assert running.log_text().count("set it by NTP") == 1
        send(now(), 4)
        assert json.loads(running.ask("/healthz")[1])["clocks"] == "well"
        # An edge that is behind says so by its health; its faces then tell no latency.
        behind = json.loads(edge_health())
        behind["time"] = (now() - timedelta(weeks=1)).isoformat()
        publish(client, "facedetection_status/tx2/health", json.dumps(behind).encode())
        eventually(lambda: running.figure("edge_clock_error_seconds") < -604_000, what="it is not told")
        send(now() - timedelta(weeks=1), 5)
        running.expect("latency_seconds_count", 2)
        assert "the clock of tx2 is 7 days behind" in json.loads(running.ask("/healthz")[1])["clocks"]
