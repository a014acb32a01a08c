"""Cameras over HTTP: single pictures that are polled, streams, logins, and what is no camera at all."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.client import responses
from pathlib import Path
from typing import Self

import cv2
import numpy as np
import pytest

from edge_face_detection.sources import url_camera
from edge_face_detection.sources.frame import Frame, Jpeg
from edge_face_detection.sources.live import LiveSource
from edge_face_detection.sources.url_camera import UrlCamera
from face_messages.service.backoff import Backoff
from tests.support.fake_http import Answer, FakeHttp, Request
from tests.support.mjpeg import greys, jpeg, number_shown
from tests.support.raw_http import Client, RawHttp
from tests.support.waiting import at_least, eventually, never

PICTURES = greys()


@pytest.fixture(autouse=True)
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "scale", 0.05)


class Watched:
    """A source whose frames are taken all the time."""

    def __init__(self, url: str, *, snapshot_seconds: float = 0.05, stall_seconds: float = 2.0) -> None:
        camera = UrlCamera(url, timeout=stall_seconds + 1, snapshot_seconds=snapshot_seconds)
        self.source = LiveSource(camera, stall_seconds=stall_seconds)
        self.frames: list[Frame] = []
        threading.Thread(target=lambda: self.frames.extend(self.source.frames()), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()

    def says(self, *words: str) -> None:
        eventually(lambda: self.source.trouble)
        assert self.source.trouble is not None
        for word in words:
            assert word in self.source.trouble


class Snapshots:
    """One picture an answer, another one each time; `headers` and `status` may be changed."""

    def __init__(self) -> None:
        self.given = 0
        self.headers: dict[str, str] = {}
        self.type = "image/jpeg"
        self.fixed: bytes | None = None

    def __call__(self, request: Request) -> Answer:
        del request
        self.given += 1
        body = PICTURES[self.given % len(PICTURES)] if self.fixed is None else self.fixed
        return Answer(200, body, {"Content-Type": self.type, **self.headers})


@pytest.mark.parametrize("kind", ["image/jpeg", "image/jpg", "IMAGE/JPEG; charset=x", "image/pjpeg", ""])
def test_single_pictures_are_polled_at_a_steady_rate(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """No outage, whatever the picture's type is called."""
    snapshots = Snapshots()
    snapshots.type = kind or "application/octet-stream"
    with FakeHttp(snapshots) as server, Watched(server.url + "/snap?user=a", snapshot_seconds=0.2) as watched:
        began = time.monotonic()
        at_least(lambda: watched.source.frames_read, 6)
        assert time.monotonic() - began >= 0.8
        assert watched.source.is_up
        assert [number_shown(frame) for frame in watched.frames[:5]] == [1, 2, 3, 4, 5]
        assert {request.path for request in server.requests} == {"/snap?user=a"}
    assert (watched.source.reconnects, caplog.records) == (0, [])


def test_other_formats_of_pictures_are_polled_too() -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    for suffix, kind in ((".png", "image/png"), (".webp", "image/webp"), (".bmp", "image/bmp")):
        count = iter(range(1000))

        def answer(_: Request, *, suffix: str = suffix, kind: str = kind, count: Iterator[int] = count) -> Answer:
            picture[:] = next(count)
            return Answer(200, cv2.imencode(suffix, picture)[1].tobytes(), {"Content-Type": kind})

        with FakeHttp(answer) as server, Watched(server.url) as watched:
            at_least(lambda: len(watched.frames), 3)
            assert watched.frames[0].image.shape == (48, 64, 3)


def test_a_connection_is_kept_and_one_that_was_closed_is_made_anew() -> None:
    seen: list[int] = []

    def serve(client: Client) -> None:
        for _ in range(3):
            if not client.request():
                return
            seen.append(client.number)
            body = PICTURES[len(seen)]
            client.send(
                f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )

    with RawHttp(serve) as server, Watched(server.url + "/") as watched:
        at_least(lambda: len(seen), 7)
        assert seen[:6] == [1, 1, 1, 2, 2, 2]
        assert watched.source.reconnects == 0
        assert watched.source.trouble is None


@pytest.mark.parametrize("length", [True, False])
def test_servers_that_close_after_each_picture_are_polled_as_well(*, length: bool) -> None:
    """HTTP/1.0, with and without a length; also one that leaves the connection open after the picture."""
    count = iter(range(10000))

    def serve(client: Client) -> None:
        if client.request():
            body = PICTURES[next(count) % 64]
            said = f"Content-Length: {len(body)}\r\n" if length else ""
            client.send(f"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n{said}\r\n".encode() + body)
            if not length:
                client.socket.recv(1)

    with RawHttp(serve) as server, Watched(server.url + "/") as watched:
        at_least(lambda: len(watched.frames), 5)
        assert watched.source.reconnects == 0


def test_pictures_in_chunks_or_without_any_length_are_read_whole() -> None:
    png = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    chunked = b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(
        f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (png[:50], png[50:], b"")
    )

    def serve(client: Client) -> None:
        client.request()
        client.send(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n")
        client.send(chunked if client.number % 2 else b"Connection: close\r\n\r\n" + png)

    with RawHttp(serve) as server:
        for _ in range(2):
            with Watched(server.url) as watched:
                eventually(lambda: watched.frames)
                assert watched.frames[0].image.shape == (48, 64, 3)
                assert watched.source.trouble is None


@pytest.mark.parametrize(
    ("header", "value", "asks"),
    [("ETag", '"a-1"', "if-none-match"), ("Last-Modified", "Thu, 26 Nov 2026 18:00:00 GMT", "if-modified-since")],
)
def test_only_what_is_new_is_asked_for_where_the_camera_can_tell(header: str, value: str, asks: str) -> None:
    """A picture that stays the same for long is no outage and no frame."""

    def answer(request: Request) -> Answer:
        if request.headers.get(asks) == value:
            return Answer(304)
        return Answer(200, PICTURES[1], {"Content-Type": "image/jpeg", header: value})

    with FakeHttp(answer) as server, Watched(server.url, stall_seconds=0.3) as watched:
        at_least(lambda: len(server.requests), 20)
        assert watched.source.frames_read == 1
        assert watched.source.is_up
        server.answer = lambda _: Answer(200, PICTURES[2], {"Content-Type": "image/jpeg"})
        at_least(lambda: watched.source.frames_read, 2)
        count = len(server.requests)
        at_least(lambda: len(server.requests), count + 2)
        assert asks not in server.requests[-1].headers
        assert (watched.source.reconnects, watched.source.stalls) == (0, 0)


def test_the_very_same_picture_is_no_new_frame_and_no_outage() -> None:
    snapshots = Snapshots()
    snapshots.fixed = PICTURES[3]
    with FakeHttp(snapshots) as server, Watched(server.url, stall_seconds=0.3) as watched:
        at_least(lambda: snapshots.given, 20)
        assert (watched.source.frames_read, watched.source.stalls, watched.source.reconnects) == (1, 0, 0)


def test_a_poll_may_be_rarer_than_a_stall_is_long() -> None:
    with FakeHttp(Snapshots()) as server, Watched(server.url, snapshot_seconds=0.8, stall_seconds=0.3) as watched:
        at_least(lambda: watched.source.frames_read, 4)
        assert (watched.source.stalls, watched.source.reconnects) == (0, 0)
        assert len(server.requests) <= 5


@pytest.mark.parametrize(("seconds", "is_still"), [(0.05, False), (0.6, True)])
def test_pictures_that_come_far_apart_stand_alone_from_the_first_on(seconds: float, *, is_still: bool) -> None:
    """They are then looked through with all the care there is."""
    with FakeHttp(Snapshots()) as server, Watched(server.url, snapshot_seconds=seconds) as watched:
        at_least(lambda: len(watched.frames), 2)
        assert [frame.is_still for frame in watched.frames[:2]] == [is_still, is_still]


def test_a_camera_that_answers_no_more_is_down_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    """The outage lasts a few milliseconds: the log tells of it for longer."""
    thaw = threading.Event()
    count = iter(range(1, 10000))

    def answer(_: Request) -> Answer:
        number = next(count)
        if number == 4:
            thaw.wait(20)
        return Answer(200, PICTURES[number % 64], {"Content-Type": "image/jpeg"})

    with FakeHttp(answer) as server, Watched(server.url, stall_seconds=0.5) as watched:
        eventually(lambda: "no new frame for 0.5 s (STALL_SECONDS)" in caplog.text)
        thaw.set()
        eventually(lambda: watched.source.is_up)
        assert (watched.source.stalls, watched.source.reconnects) == (1, 1)


def test_pausing_ends_the_polls_at_once() -> None:
    with FakeHttp(Snapshots()) as server, Watched(server.url, snapshot_seconds=0.1) as watched:
        at_least(lambda: watched.source.frames_read, 3)
        watched.source.pause()
        time.sleep(0.2)  # one that was under way
        count = len(server.requests)
        never(lambda: len(server.requests) > count, during=0.5)
        watched.source.resume()
        at_least(lambda: len(server.requests), count + 2)


@pytest.mark.parametrize("status", [429, 503])
def test_a_camera_that_asks_for_time_gets_it(status: int) -> None:
    """Retry-After, both while it is opened and between two pictures."""
    snapshots = Snapshots()
    with FakeHttp(lambda _: Answer(status, b"", {"Retry-After": "1"})) as server, Watched(server.url) as watched:
        watched.says(f"{status} {responses[status]}")
        never(lambda: len(server.requests) > 1, during=0.8)
        server.answer = snapshots
        at_least(lambda: watched.source.frames_read, 2)
        server.answer = lambda _: Answer(status, b"", {"Retry-After": "1"})
        watched.says(f"{status}")
        count = len(server.requests)
        never(lambda: len(server.requests) > count, during=0.8)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(200, b"<html>Login</html>", {"Content-Type": "text/html"}), ("200 OK", "text/html", "login")),
        (Answer(404, b"gone", {"Content-Type": "text/html"}), ("404 Not Found", "text/html", "path")),
        (Answer(401, b"", {"WWW-Authenticate": 'Basic realm="x"'}), ("401 Unauthorized", "user and password")),
        (Answer(403, b""), ("403 Forbidden", "no content type")),
        (Answer(500, b""), ("500 Internal Server Error",)),
        (Answer(503, b"", {"Content-Type": "text/plain"}), ("503 Service Unavailable", "too many")),
        (Answer(299, b"", {"Content-Type": "image/jpeg"}), ("299",)),
        (Answer(200, b"", {"Content-Type": "image/jpeg"}), ("200 OK", "nothing in it")),
        (Answer(200, b"", {}), ("200 OK", "nothing in it")),
        (Answer(200, b"{}", {"Content-Type": "application/json"}), ("200 OK", "application/json", "path")),
        (Answer(200, b"<svg/>", {"Content-Type": "image/svg+xml"}), ("200 OK", "image/svg+xml")),
        (Answer(200, b"no video", {"Content-Type": "video/mp4"}), ("video/mp4", "no video")),
        (Answer(302, b"", {"Location": "/"}), ("again and again",)),
        (Answer(302, b"", {"Location": "ftp://127.0.0.1/a"}), ("none of http:// or https://",)),
        (Answer(302, b"", {"Location": "http://[::1/"}), ("none of http:// or https://",)),
        (Answer(204, b""), ("204 No Content",)),
    ],
)
def test_what_is_no_camera_is_told_by_status_and_type(answer: Answer, words: tuple[str, ...]) -> None:
    with FakeHttp(lambda _: answer) as server, Watched(server.url) as watched:
        watched.says("127.0.0.1:", *words)


def test_what_a_login_page_redirects_to_is_told() -> None:
    def answer(request: Request) -> Answer:
        if request.path != "/login?next=1":
            return Answer(302, b"", {"Location": "/login?next=1"})
        return Answer(200, b"<!doctype html>", {"Content-Type": "text/html; charset=utf-8"})

    with FakeHttp(answer) as server, Watched(server.url + "/snap.jpg") as watched:
        watched.says("200 OK", "text/html", "login")


def test_neither_status_nor_type_puts_words_into_the_log() -> None:
    """They are the camera's own words, and anybody's."""

    def serve(client: Client) -> None:
        client.request()
        client.send(b"HTTP/1.1 404 all is well\x1b[2J\r\nContent-Type: text/\x1b[2Jhtml\r\nContent-Length: 0\r\n\r\n")

    with RawHttp(serve) as server, Watched(server.url) as watched:
        watched.says("answers 404 Not Found with no content type")


def test_a_server_that_speaks_no_http_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url_camera, "URL_TIMEOUT_SECONDS", 1)

    def serve(client: Client) -> None:
        client.request()
        client.send(b"RTSP/1.0 400 Bad Request\r\n\r\n")

    with RawHttp(serve) as server, Watched(server.url) as watched:
        watched.says("is there but gives no video", "no HTTP")
    with RawHttp(serve) as server, Watched(server.url.replace("http:", "https:")) as watched:
        watched.says("speaks no TLS")


def test_an_answer_that_comes_in_drops_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url_camera, "URL_TIMEOUT_SECONDS", 0.5)

    def serve(client: Client) -> None:
        client.request()
        for _ in range(200):
            client.send(b"H")
            time.sleep(0.05)

    with RawHttp(serve) as server, Watched(server.url) as watched:
        began = time.monotonic()
        watched.says("no answer in time")
        assert time.monotonic() - began < 8


def test_a_picture_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_face_detection.sources.http_capture.MAX_PICTURE_BYTES", 1000)
    answer = Answer(200, b"\xff\xd8\xff" + bytes(5000), {"Content-Type": "image/jpeg"})
    with FakeHttp(lambda _: answer) as server, Watched(server.url) as watched:
        watched.says("its picture has", "MiB or more")


@pytest.mark.parametrize("body", [b"", b"no picture", b"\xff\xd8\xff\xe0"])
def test_an_answer_that_should_be_a_picture_and_is_none_is_told(body: bytes) -> None:
    """Of an unknown length, so that nothing but its end tells."""

    def serve(client: Client) -> None:
        client.request()
        client.send(b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n\r\n" + body)

    with RawHttp(serve) as server, Watched(server.url) as watched:
        watched.says("its answer has none" if body else "nothing in it")


def test_frames_that_are_too_large_are_said_so() -> None:
    huge = bytearray(jpeg(np.zeros((8, 8, 3), np.uint8)))
    at = huge.index(b"\xff\xc0") + 5
    huge[at : at + 4] = b"\xff\xff\xff\xff"

    def serve(client: Client) -> None:
        client.request()
        client.send(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
        for _ in range(150):
            client.send(b"--frame\r\n\r\n" + bytes(huge) + b"\r\n")
        client.socket.recv(1)

    with RawHttp(serve) as server, Watched(server.url) as watched:
        watched.says("a JPEG of 65535x65535 pixels is too large", "resolution")


def _stream(client: Client, head: bytes, *parts: bytes) -> None:
    client.request()
    client.send(head)
    for part in parts:
        client.send(part)
    client.socket.recv(1)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=--frame\r\n\r\n",
        b'HTTP/1.0 200 OK\r\ncontent-type: Multipart/X-Mixed-Replace; Boundary = "frame"\r\n\r\n',
        b"HTTP/1.1 200 OK\nContent-Type: multipart/x-mixed-replace\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: video/x-motion-jpeg\r\n\r\n",
    ],
)
def test_streams_are_known_by_what_they_say_and_by_what_they_are(head: bytes) -> None:
    parts = [b"--frame\r\nContent-Type: image/jpg\r\n\r\n" + picture + b"\r\n" for picture in PICTURES[:5]]
    with RawHttp(lambda client: _stream(client, head, *parts)) as server, Watched(server.url) as watched:
        eventually(lambda: watched.source.frames_read == 5)
        assert watched.source.is_up


def test_a_stream_in_chunks_is_read() -> None:
    def serve(client: Client) -> None:
        body = b"".join(b"--frame\r\n\r\n" + picture + b"\r\n" for picture in PICTURES[:9])
        chunks = [body[at : at + 700] for at in range(0, len(body), 700)]
        head = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace\r\nTransfer-Encoding: chunked\r\n\r\n"
        _stream(client, head, *(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks))

    with RawHttp(serve) as server, Watched(server.url) as watched:
        eventually(lambda: watched.source.frames_read == 9)


def test_a_stream_of_no_pictures_is_told() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
    page = b"--frame\r\nContent-Type: text/html\r\n\r\n<p>Camera starts</p>\r\n" * 150
    with RawHttp(lambda client: _stream(client, head, page)) as server, Watched(server.url) as watched:
        watched.says("its frames cannot be decoded (no picture)")


def test_the_jpegs_of_a_stream_and_of_polls_are_not_decoded_on_the_way() -> None:
    with FakeHttp(Snapshots()) as server:
        capture = UrlCamera(server.url).open()
        assert capture.grab()
        assert isinstance(capture.retrieve(), Jpeg)
        capture.release()


def _basic(request: Request) -> bool:
    wanted = "Basic " + base64.b64encode("us er:p@ss:w/rd#é".encode()).decode()
    return request.headers.get("authorization") == wanted


def _digest(algorithm: str, qop: str, *, nonces: Callable[[], str]) -> Callable[[Request], bool]:
    """Checks as a camera would (RFC 7616, 3.4.1)."""

    def check(request: Request) -> bool:
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        if scheme != "Digest":
            return False
        said = {key: quoted or plain for key, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^",\s]+))', rest)}

        def digest(text: str) -> str:
            return hashlib.new(algorithm.lower().removesuffix("-sess").replace("-", ""), text.encode()).hexdigest()

        secret = digest('us er:cam "1":p@ss:w/rd#é'.replace('"', ""))
        if algorithm.endswith("-sess"):
            secret = digest(f"{secret}:{said['nonce']}:{said['cnonce']}")
        middle = f"{said['nc']}:{said['cnonce']}:auth:" if qop else ""
        wanted = digest(f"{secret}:{said['nonce']}:{middle}{digest(f'GET:{request.path}')}")
        return (said["nonce"], said["response"], said["uri"], said["opaque"]) == (nonces(), wanted, request.path, "o")

    return check


URL_WITH_PASSWORD = "http://us%20er:p%40ss%3Aw%2Frd%23%C3%A9@"


@pytest.mark.parametrize(
    ("algorithm", "qop"),
    [("MD5", "auth"), ("MD5", "auth,auth-int"), ("MD5", ""), ("SHA-256", "auth"), ("MD5-sess", "auth")],
)
def test_a_camera_that_wants_a_digest_gets_one_for_each_picture(algorithm: str, qop: str) -> None:
    """The challenge is asked for once, and again when the camera has another nonce."""
    nonce = ["n1"]
    snapshots, check = Snapshots(), _digest(algorithm, qop, nonces=lambda: nonce[0])
    refused: list[Request] = []

    def answer(request: Request) -> Answer:
        if check(request):
            return snapshots(request)
        refused.append(request)
        more = f', qop="{qop}"' if qop else ""
        said = f'Digest realm="cam 1", nonce="{nonce[0]}", opaque="o", algorithm={algorithm}{more}'
        return Answer(401, b"no", {"WWW-Authenticate": f'Basic realm="b", {said}'})

    with FakeHttp(answer) as server, Watched(server.url.replace("http://", URL_WITH_PASSWORD) + "/s?a=b,c") as watched:
        at_least(lambda: watched.source.frames_read, 4)
        assert len(refused) == 1
        nonce[0] = "n2"
        at_least(lambda: watched.source.frames_read, 9)
        assert len(refused) == 2
        assert watched.source.reconnects == 0


def test_basic_passwords_are_sent_only_when_asked_for_and_only_to_the_camera(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    snapshots = Snapshots()

    def answer(request: Request) -> Answer:
        if not _basic(request):
            return Answer(401, b"", {"WWW-Authenticate": "Basic"})
        if request.path == "/":
            return Answer(307, b"", {"Location": f"{other.url}/elsewhere"})
        return snapshots(request)

    with FakeHttp(snapshots) as other, FakeHttp(answer) as server:
        with Watched(server.url.replace("http://", URL_WITH_PASSWORD)) as watched:
            at_least(lambda: watched.source.frames_read, 3)
        assert "authorization" not in server.requests[0].headers
        assert all("authorization" not in request.headers for request in other.requests)
        assert _basic(server.requests[1])
    assert "ss:w" not in caplog.text


def test_a_password_goes_along_when_the_camera_sends_us_from_one_of_its_pages_to_another() -> None:
    """And what it says is for ever is not asked again."""
    snapshots = Snapshots()

    def answer(request: Request) -> Answer:
        if not _basic(request):
            return Answer(401, b"", {"WWW-Authenticate": "Basic"})
        return Answer(301, b"", {"Location": "/new"}) if request.path == "/old" else snapshots(request)

    with FakeHttp(answer) as server:
        with Watched(server.url.replace("http://", URL_WITH_PASSWORD) + "/old") as watched:
            at_least(lambda: watched.source.frames_read, 4)
        assert [request.path for request in server.requests].count("/old") == 2


@pytest.mark.parametrize("kind", ["video/x-msvideo", "image/jpeg"])
def test_other_video_is_read_by_ffmpeg_and_no_proxy_is_used(tmp_path: Path, kind: str) -> None:
    clip = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(clip, cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for grey in range(5):
        writer.write(np.full((48, 64, 3), grey, np.uint8))
    writer.release()
    body = PICTURES[0] if kind == "image/jpeg" else Path(clip).read_bytes()
    program = """
import sys
from edge_face_detection.sources.url_camera import UrlCamera
capture = UrlCamera(sys.argv[1]).open()
assert capture.grab()
assert capture.retrieve().size == (64, 48)
"""
    with FakeHttp(lambda _: Answer(200, body, {"Content-Type": kind})) as server:
        nowhere = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
        subprocess.run(
            [sys.executable, "-c", program, server.url],
            env={**os.environ, **nowhere, "no_proxy": "", "NO_PROXY": ""},
            cwd=Path(__file__).parents[2],
            check=True,
            timeout=60,
        )


def test_a_wrong_password_is_told_and_not_shown() -> None:
    def answer(_: Request) -> Answer:
        return Answer(401, b"", {"WWW-Authenticate": 'Digest realm="a", nonce="b", qop="auth"'})

    with FakeHttp(answer) as server, Watched(server.url.replace("http://", "http://user:sesame@")) as watched:
        watched.says("401 Unauthorized", "are user and password right?")
        assert "sesame" not in str(watched.source.trouble)
        assert len(server.requests) <= 4
