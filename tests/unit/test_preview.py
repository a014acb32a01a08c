"""The preview without a browser: who gets it, what it shows, and what it costs."""

from __future__ import annotations

import base64
import json
import time
from http import HTTPStatus
from itertools import count
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import SecretStr

from edge_face_detection.faces.detector import Face
from edge_face_detection.faces.haar import HaarFinder
from edge_face_detection.faces.tracker import Tracker
from edge_face_detection.preview import server as preview
from edge_face_detection.preview.server import MAX_VIEWERS, Preview
from edge_face_detection.settings import DetectorSettings
from edge_face_detection.sources.device_camera import DeviceCamera
from edge_face_detection.sources.frame import UnreadableFrameError
from edge_face_detection.sources.live import LiveSource
from face_messages.service.monitor import Answer
from tests.support.scenes import frame, scene
from tests.support.waiting import eventually, never

LARGE, SMALL = (100.0, 120.0, 80.0), (250.0, 120.0, 32.0)


class Watched:
    """A preview of scenes, and what it answers."""

    def __init__(self, **settings: Any) -> None:
        self.settings = DetectorSettings(
            edge_id="tx2", mqtt_url=SecretStr("mqtt://user:sesame@127.0.0.1"), min_face_size=40, **settings
        )
        self.source = LiveSource(DeviceCamera("/dev/video0"))  # never opened: a test says how it is
        self.source._is_running = True
        self.preview = Preview(
            Tracker(HaarFinder(), min_face_size=40),
            settings=self.settings,
            source=self.source,
            finer=Tracker(HaarFinder(), min_face_size=20),
        )
        self.key = self.preview.url(9100).split("/")[-2]
        self._numbers = count()

    def see(self, *faces: tuple[float, float, float], times: int = 1) -> list[Face]:
        """The detector gets such a frame; it is to be seen once the next one comes."""
        return [self.preview.faces(frame(scene(faces), next(self._numbers))) for _ in range(times)][-1]

    def ask(self, path: str = "state", *, host: str = "127.0.0.1:9100") -> Answer:
        return self.preview.answer(f"{self.key}/{path}", host)

    def state(self, query: str = "") -> dict[str, Any]:
        answer = self.ask(f"state?{query}")
        assert answer.status == HTTPStatus.OK, answer.body
        found: dict[str, Any] = json.loads(answer.body)
        return found


@pytest.fixture
def watched() -> Watched:
    """One at which somebody has begun to look."""
    watched = Watched()
    watched.state()
    return watched


def test_a_face_is_shown_with_all_that_is_decided_by(watched: Watched) -> None:
    """Its box, its track, its score and its sharpness, along with the picture that it was found in."""
    (face,) = watched.see(LARGE, times=3)
    state = watched.state()
    (shown,) = state["faces"]
    assert shown["box"] == pytest.approx([face.x, face.y, face.width, face.height], abs=4)
    assert (shown["track"], shown["score"]) == (face.track, pytest.approx(face.score, rel=0.5))
    assert 0 < shown["sharpness"] < 1
    kind, _, data = state["picture"].partition(",")
    assert kind == "data:image/jpeg;base64"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert list(picture.shape[1::-1]) == state["size"] == [320, 240]


def test_a_face_that_is_passed_over_as_too_small_is_shown_all_the_same(watched: Watched) -> None:
    """Those who use the detector do not get it."""
    faces = watched.see(LARGE, SMALL, times=3)
    assert [face.width > 40 for face in faces] == [True]
    large, small = watched.state()["faces"]
    assert large["track"] > 0
    assert small["track"] == 0
    assert small["box"] == pytest.approx([234, 104, 32, 32], abs=8)


def test_nothing_is_kept_while_nobody_looks(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither before nor afterwards, and who comes back is not shown what was then."""
    fresh = Watched()
    fresh.see(LARGE, times=2)
    assert (fresh.preview._current, fresh.preview._done) == (None, None)
    watched.see(LARGE, times=2)
    assert "picture" in watched.state()
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + 60)
    watched.see(LARGE, times=2)
    assert (watched.preview._current, watched.preview._done) == (None, None)
    assert "picture" not in watched.state()


def test_pictures_are_drawn_ten_times_a_second_at_most(watched: Watched) -> None:
    """However often they are asked for, and a viewer gets each of them once."""
    watched.see(LARGE)
    began = time.monotonic()
    numbers: list[int] = []
    while time.monotonic() < began + 0.55:
        watched.see(LARGE)
        after = numbers[-1] if numbers else ""
        numbers += [state["number"] for state in [watched.state(f"viewer=a&after={after}")] if "picture" in state]
    assert 2 <= len(numbers) <= 6
    assert numbers == sorted(set(numbers))


def test_viewers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is told so, and gets the place of one who has gone."""
    watched = Watched()
    monkeypatch.setattr(preview, "_VIEWER_SECONDS", 0.5)
    for number in range(MAX_VIEWERS):
        assert watched.ask(f"state?viewer={number}").status == HTTPStatus.OK
    assert watched.ask("state?viewer=more").status == HTTPStatus.SERVICE_UNAVAILABLE
    assert watched.ask("state?viewer=0").status == HTTPStatus.OK
    eventually(lambda: watched.ask("state?viewer=more").status == HTTPStatus.OK)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9100", "[::1]:9101", "LOCALHOST:1"])
def test_it_answers_under_the_names_of_this_machine(host: str) -> None:
    """Of which a tunnel has one, too."""
    assert Watched().ask("", host=host).status == HTTPStatus.OK


@pytest.mark.parametrize(
    "host", ["evil.example:9100", "127.0.0.1.evil.example", "192.168.0.7:9100", "", "[", "localhost:1@evil", "a\nb"]
)
def test_it_answers_under_no_other_name(host: str) -> None:
    """A site whose name was made to lead to this machine (DNS rebinding) gets nothing."""
    assert Watched().ask(host=host).status == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("path", ["", "/", "state", "{}/state", "{}x/state", "x{}/", "é/state"])
def test_nobody_gets_in_without_the_key(path: str) -> None:
    """Nor with a part of it, nor with that of another start."""
    watched = Watched()
    for key in (Watched().key, watched.key[:-1]):
        assert watched.preview.answer(path.format(key), "localhost").status == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("path", ["preview.py", "../settings.py", "%2e%2e/settings.py", "preview.html/", "x"])
def test_no_other_file_is_given_away(path: str) -> None:
    """Only those that the page is made of."""
    assert Watched().ask(path).status == HTTPStatus.NOT_FOUND


def test_nothing_is_cached_or_given_to_other_sites() -> None:
    """Whatever the answer is."""
    watched = Watched()
    answers = [watched.ask(path) for path in ("", "preview.js", "preview.css", "state", "x")]
    answers += [watched.ask(host="evil.example"), watched.preview.answer("x/", "localhost")]
    for answer in answers:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_settings_are_shown_by_name_but_no_secret() -> None:
    """The broker's URL holds a password, the camera's may."""
    watched = Watched(privacy_mask="0,0 0.5,0 0.5,0.5", video_source="rtsp://user:sesame@camera/")
    state = watched.state()
    assert state["settings"]["MIN_FACE_SIZE"]["value"] == "40"
    assert state["settings"]["MIN_SHARPNESS"]["value"] == "0.0"
    assert state["mask"] == [[[0, 0], [0.5, 0], [0.5, 0.5]]]
    assert b"sesame" not in watched.ask().body


@pytest.mark.parametrize("paused", [True, False])
def test_a_camera_that_is_off_shows_nothing(watched: Watched, *, paused: bool) -> None:
    """Not even what it saw before."""
    watched.see(LARGE, times=2)
    assert "picture" in watched.state()
    watched.source._is_running, watched.source.paused = False, paused
    never(lambda: "picture" in watched.state(), during=0.3)
    assert watched.state()["source_is"] == ("paused" if paused else "down")


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (7680, 3), (2560, 1440)])
def test_frames_of_any_size_are_shown(watched: Watched, size: tuple[int, int]) -> None:
    """Large ones are shrunk, so that they pass through a tunnel."""
    for number in range(2):
        watched.preview.faces(frame(np.zeros((size[1], size[0], 3), np.uint8), number))
    state = watched.state()
    assert state["size"] == list(size)
    data = np.frombuffer(base64.b64decode(state["picture"].partition(",")[2]), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert picture is not None
    assert max(picture.shape) <= 960


def test_a_frame_that_cannot_be_read_is_passed_over(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture before it stays."""
    watched.see(LARGE, times=2)
    assert watched.state()["number"] == 0

    def fail(_: object) -> list[Face]:
        raise UnreadableFrameError("damaged")

    with monkeypatch.context() as patch:
        patch.setattr(watched.preview._detector, "faces", fail)
        for _ in range(2):
            with pytest.raises(UnreadableFrameError):
                watched.see(LARGE)
    assert watched.state()["number"] == 0
    watched.see(LARGE, times=2)
    eventually(lambda: watched.state()["number"] == 4)


def test_figures_are_those_of_the_last_seconds(watched: Watched) -> None:
    """Frames a second and CPU time a frame; none are told until there is something to tell."""
    assert (watched.state()["fps"], watched.state()["cpu_ms"]) == (None, None)
    began = time.monotonic()
    frames = 0
    while time.monotonic() < began + 0.8:
        watched.see(LARGE)
        watched.state()
        frames += 1
    state = watched.state()
    assert state["fps"] == pytest.approx(frames / 0.8, rel=0.3)
    assert 0 < state["cpu_ms"] < 1000
