"""The preview as a person uses it: the real program, and a real Chromium."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import cv2
import pytest
from playwright.sync_api import Browser, Page, Position, expect

from edge_face_detection.pictures.mask import Mask
from tests.conftest import StartBroker
from tests.support.accessibility import barriers
from tests.support.plain import plain_client, publish
from tests.support.programs import Program
from tests.support.scenes import scene
from tests.support.waiting import at_least, eventually

pytest_plugins = ["tests.support.browser"]

SIZE = (640, 480)
# Two faces: one of about 120 pixels, and one of 48, which is too small for MIN_FACE_SIZE below.
SCENES = [scene([(200, 240, 120), (500, 240, 48)], size=SIZE, number=number) for number in range(2)]


class Detector(Program):
    """An `edge_face_detection --preview` that sees the scene for ever. Its folder's name tries to be a script."""

    def __init__(self, folder: Path, *, mqtt_url: str = "mqtt://127.0.0.1:9", **settings: str) -> None:
        pictures = folder / "<img src=x onerror=alert(1)>"
        pictures.mkdir(parents=True)
        for number, picture in enumerate(SCENES):
            cv2.imwrite(str(pictures / f"{number}.png"), picture)
        base = {"EDGE_ID": "tx2", "CAMERA_ID": "front-door", "MQTT_URL": mqtt_url, "MIN_FACE_SIZE": "60"}
        base |= {"VIDEO_SOURCE": str(pictures), "VIDEO_LOOP": "true", "OUTBOX_PATH": str(folder / "outbox.db")}
        super().__init__("edge_face_detection", folder, base | {"FACE_SELECTION": "best"} | settings)
        self._args.append("--preview")

    @property
    def url(self) -> str:
        """Of the preview, as the last line that names it has it."""
        self.expect_line("started on")
        urls: list[str] = re.findall(
            r"the preview is at (http://127\.0\.0\.1:\d+/preview/[\w-]{20,}/)", self.log_text()
        )
        return urls[-1]


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Detector]:
    with Detector(tmp_path_factory.mktemp("detector")) as detector:
        yield detector


def open_preview(page: Page, detector: Detector) -> None:
    page.goto(detector.url)
    expect(page.locator("#status")).to_have_text("live")
    expect(page.locator("#overlay rect.taken")).to_have_count(1)
    expect(page.locator("#overlay rect.passed")).to_have_count(1)


@pytest.fixture
def opened(page: Page, detector: Detector) -> Page:
    open_preview(page, detector)
    return page


def place(page: Page, selector: str) -> dict[str, float]:
    """Where something is on the screen; asked for at once, as what is drawn is drawn anew with each picture."""
    found: dict[str, float] = page.evaluate(f"document.querySelector({selector!r}).getBoundingClientRect().toJSON()")
    return found


def at(page: Page, x: float, y: float) -> Position:
    """A place in the picture, given in fractions of it, as a position in the stage."""
    box = place(page, "#stage")
    return {"x": x * box["width"], "y": y * box["height"]}


def expect_next_picture(page: Page) -> None:
    picture = page.locator("#picture")
    expect(picture).not_to_have_attribute("data-frame", picture.get_attribute("data-frame") or "")


def test_it_is_off_unless_asked_for(tmp_path: Path) -> None:
    """Then it has a port of its own where the figures have none."""
    with Detector(tmp_path, METRICS_PORT="0") as detector:
        detector.expect_line("the preview is at http://127.0.0.1:9100/preview/")
    with Detector(tmp_path / "off") as detector:
        detector._args.remove("--preview")
        detector.restart()
        detector.expect_line("started on")
        assert "the preview" not in detector.log_text()
        assert detector.ask("/preview/")[0] == 404


def test_faces_are_shown_where_they_are_and_why_one_is_passed_over(opened: Page) -> None:
    """Over the picture itself, which goes on."""
    stage, taken, passed = (place(opened, which) for which in ("#stage", "#overlay rect.taken", "#overlay rect.passed"))
    scale = stage["width"] / SIZE[0]
    assert taken["x"] + taken["width"] / 2 == pytest.approx(stage["x"] + 200 * scale, abs=12 * scale)
    assert taken["y"] + taken["height"] / 2 == pytest.approx(stage["y"] + 240 * scale, abs=12 * scale)
    assert taken["width"] == pytest.approx(120 * scale, rel=0.25)
    assert passed["x"] + passed["width"] / 2 == pytest.approx(stage["x"] + 500 * scale, abs=12 * scale)
    texts = opened.locator("#overlay").text_content() or ""
    assert re.search(r"#1 1\d\d×1\d\dsharp 0\.\d\d · score [\d.]+", texts)
    assert re.search(r"too small: [45]\d px", texts)
    expect_next_picture(opened)
    expect(opened.locator("#fps")).to_have_text(re.compile(r"\d+\.\d"))
    expect(opened.locator("#cpu")).to_have_text(re.compile(r"\d+\.\d ms"))
    expect(opened.locator("#size")).to_have_text("640×480")
    expect(opened.locator("#taken")).to_have_text("1 of 2")


def test_nobody_is_kept_out(opened: Page) -> None:
    """For screen readers, and in contrast."""
    assert barriers(opened) == []


def test_what_is_not_the_program_s_own_is_text(opened: Page) -> None:
    """Here the name of a folder that would like to be a script."""
    expect(opened.locator("#camera")).to_have_text("front-door")
    expect(opened.locator("#source")).to_contain_text("<img src=x onerror=alert(1)>")
    assert opened.locator("img").count() == 1


def test_settings_are_tried_by_eye(opened: Page) -> None:
    """What they would pass over is drawn so, and the lines for .env are there to be copied."""
    opened.locator("#MIN_FACE_SIZE").fill("40")
    expect(opened.locator("#overlay rect.taken")).to_have_count(2)
    opened.locator("#MIN_FACE_SIZE").fill("60")
    expect(opened.locator("#lines")).to_have_text("nothing changed yet")
    opened.locator("#MIN_FACE_SIZE").fill("200")
    expect(opened.locator("#overlay rect.taken")).to_have_count(0)
    opened.locator("#MIN_FACE_SIZE").press("ArrowLeft")
    opened.locator("#FACE_MARGIN").fill("0.5")
    opened.locator("#copy").click()
    expect(opened.locator("#copy")).to_have_text("Copied")
    assert opened.evaluate("navigator.clipboard.readText()") == "MIN_FACE_SIZE=199\nFACE_MARGIN=0.5"


def test_blurred_faces_are_told_so(opened: Page) -> None:
    """With how sharp they are."""
    opened.locator("#MIN_SHARPNESS").fill("0.8")
    expect(opened.locator("#overlay")).to_contain_text(re.compile(r"#1 too blurred: 0\.\d\d"))
    expect(opened.locator("#overlay rect.taken")).to_have_count(0)


def test_a_mask_is_drawn_by_clicking_its_corners(opened: Page) -> None:
    """A click on the first one closes it; the text is one that PRIVACY_MASK takes."""
    stage = opened.locator("#stage")
    stage.hover(position=at(opened, 0.25, 0.5))
    expect(opened.locator("#point")).to_have_text("x 0.250, y 0.500 (pixel 160, 240)")
    stage.click(position=at(opened, 0.25, 0.5))
    expect(opened.locator("#overlay circle")).to_have_count(0)
    opened.locator("#draw").click()
    for x, y in ((0.1, 0.1), (0.5, 0.1), (0.5, 0.9), (0.1, 0.1)):
        stage.click(position=at(opened, x, y))
    expect(opened.locator("#overlay polygon.mask")).to_have_count(1)
    for x, y in ((0.6, 0.6), (0.8, 0.6), (0.6, 0.8), (0.8, 0.8)):
        stage.click(position=at(opened, x, y))
    opened.locator("#close").click()
    expect(opened.locator("#point")).to_contain_text("cross")
    opened.locator("#undo").click()
    opened.locator("#close").click()
    line = opened.locator("#lines").text_content() or ""
    assert line.startswith('PRIVACY_MASK="')
    polygons = Mask(line.partition("=")[2].strip('"')).polygons
    corners = [value for polygon in polygons for corner in polygon for value in corner]
    assert corners == pytest.approx([0.1, 0.1, 0.5, 0.1, 0.5, 0.9, 0.6, 0.6, 0.8, 0.6, 0.6, 0.8], abs=0.004)


def test_a_mask_is_drawn_by_the_keyboard(opened: Page) -> None:
    """From the button on, without a pointer."""
    opened.locator("#draw").press("Enter")
    for keys in (["ArrowUp"], ["Shift+ArrowRight"] * 3, ["Shift+ArrowDown"] * 2):
        for key in keys:
            opened.keyboard.press(key)
        opened.keyboard.press("Enter")
    expect(opened.locator("#overlay circle")).to_have_count(3)
    opened.keyboard.press("Backspace")
    expect(opened.locator("#overlay circle")).to_have_count(2)
    opened.keyboard.press("Enter")
    opened.keyboard.press("c")
    expect(opened.locator("#lines")).to_have_text('PRIVACY_MASK="0.5,0.495 0.65,0.495 0.65,0.595"')


def test_a_mask_that_is_set_is_shown_and_goes_along(page: Page, tmp_path: Path) -> None:
    """A new polygon is added to those there are, and what they hide is not in the picture."""
    with Detector(tmp_path, PRIVACY_MASK="0.6,0 1,0 1,1 0.6,1") as detector:
        page.goto(detector.url)
        expect(page.locator("#overlay polygon.mask")).to_have_attribute("points", "384,0 640,0 640,480 384,480")
        expect(page.locator("#overlay rect.taken")).to_have_count(1)
        expect(page.locator("#overlay rect.passed")).to_have_count(0)
        page.locator("#draw").click()
        for x, y in ((0.1, 0.1), (0.3, 0.1), (0.3, 0.3)):
            page.locator("#stage").click(position=at(page, x, y))
        page.locator("#close").click()
        expect(page.locator("#lines")).to_contain_text('PRIVACY_MASK="0.6,0 1,0 1,1 0.6,1; 0.1,')


def test_a_camera_that_is_paused_is_told_and_shows_nothing(
    page: Page, tmp_path: Path, start_broker: StartBroker
) -> None:
    """And comes back by itself."""
    broker = start_broker()
    topic = "facedetection_control/tx2/front-door"
    with Detector(tmp_path, mqtt_url=broker.url) as detector, plain_client(broker.port) as operator:
        page.goto(detector.url)
        expect(page.locator("#overlay rect.taken")).to_have_count(1)
        publish(operator, topic, b"pause", retain=True)
        expect(page.locator("#status")).to_have_text("paused")
        expect(page.locator("#notice")).to_contain_text("Paused by an operator")
        expect(page.locator("#picture")).to_be_hidden()
        expect(page.locator("#overlay rect.taken")).to_have_count(0)
        publish(operator, topic, b"resume", retain=True)
        expect(page.locator("#status")).to_have_text("live")
        expect(page.locator("#overlay rect.taken")).to_have_count(1)


def test_a_program_that_is_gone_or_restarted_is_told(page: Page, tmp_path: Path) -> None:
    """The address has another key then."""
    detector = Detector(tmp_path)
    with detector:
        first = detector.url
        page.goto(first)
        expect(page.locator("#status")).to_have_text("live")
    expect(page.locator("#notice")).to_contain_text("does not answer")
    with detector:
        assert detector.url != first
        expect(page.locator("#notice")).to_contain_text("new with each start")


class Viewer:
    """Somebody who looks, without a browser: those fall behind on a busy machine, and then count as gone."""

    def __init__(self, detector: Detector, name: str) -> None:
        self._detector = detector
        self._path = f"{detector.url.partition(str(detector.metrics_port))[2]}state?viewer={name}"
        self._gone = threading.Event()
        self._thread = threading.Thread(target=self._look)
        #: Of the answers to what it asked.
        self.statuses: list[int] = []

    def _look(self) -> None:
        while not self._gone.wait(0.1):
            self.statuses.append(self._detector.ask(self._path)[0])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def leave(self, *_: object) -> None:
        self._gone.set()
        self._thread.join()

    __exit__ = leave


def test_one_viewer_too_many_is_told(page: Page, detector: Detector) -> None:
    """And gets in when another one leaves; the others notice nothing."""
    with ExitStack() as stack:
        viewers = [stack.enter_context(Viewer(detector, f"viewer{number}")) for number in range(4)]
        # Who looked in the test before may be counted still.
        eventually(lambda: all(viewer.statuses[-1:] == [200] for viewer in viewers), what="not all four get in")
        before = [len(viewer.statuses) for viewer in viewers]
        page.goto(detector.url)
        expect(page.locator("#notice")).to_contain_text("4 are looking already")
        viewers[0].leave()
        expect(page.locator("#status")).to_have_text("live")
        for viewer, begin in zip(viewers, before, strict=True):
            assert set(viewer.statuses[begin:]) == {200}


def test_viewers_that_stall_hold_nothing_up(opened: Page, detector: Detector) -> None:
    """They ask, and do not read."""
    stalled = []
    for number in range(20):
        sock = socket.create_connection(("127.0.0.1", detector.metrics_port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        path = detector.url.partition(str(detector.metrics_port))[2]
        sock.sendall(f"GET {path}state?viewer={number % 3} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        stalled.append(sock)
    frames = detector.figure("frames_processed_total")
    at_least(lambda: detector.figure("frames_processed_total"), frames + 20)
    expect_next_picture(opened)
    for sock in stalled:
        sock.close()
    assert "Traceback" not in detector.log_text()


@pytest.fixture(scope="module")
def kept_open(browser: Browser, detector: Detector) -> Iterator[Page]:
    """One tab for all screens: a new one costs more than the whole test."""
    with browser.new_context() as context:
        tab = context.new_page()
        open_preview(tab, detector)
        yield tab


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1440])
def test_it_fits_on_any_screen(kept_open: Page, width: int, scheme: str) -> None:
    """Nothing sticks out at the side, and the whole picture is to be seen at once, in light and dark."""
    kept_open.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    kept_open.set_viewport_size({"width": width, "height": 800})
    expect_next_picture(kept_open)
    assert kept_open.evaluate("document.documentElement.scrollWidth") <= width
    box = place(kept_open, "#stage")
    assert box["y"] + box["height"] <= 800
    assert box["width"] / box["height"] == pytest.approx(4 / 3, rel=0.01)
    ground = kept_open.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 21, 23)" if scheme == "dark" else "rgb(246, 246, 244)")
