"""RTSP cameras over either transport, and slow ones: each picture has the time at which it was seen."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from dev.stack.ports import free_port
from dev.stack.processes import ManagedProcess, listens
from edge_face_detection.sources.camera import CameraError
from edge_face_detection.sources.frame import Frame
from edge_face_detection.sources.live import LiveSource
from edge_face_detection.sources.url_camera import UrlCamera
from tests.support.raw_http import Client, RawHttp
from tests.support.waiting import eventually

SERVER = Path(__file__).parents[1] / "support" / "rtsp_server.py"
Serve = Callable[..., AbstractContextManager[ManagedProcess]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Starts an RTSP server, with what it is told besides its port; its name is its port."""
    if subprocess.run(["/usr/bin/python3", str(SERVER)], check=False).returncode:
        pytest.fail("GStreamer's RTSP server is missing: dev/scripts/need.sh gst-rtsp-server")

    def start(*words: str) -> AbstractContextManager[ManagedProcess]:
        port = free_port()
        command = ["/usr/bin/python3", str(SERVER), str(port), *words]
        return ManagedProcess(str(port), command, log=tmp_path / f"{port}.log", ready=lambda: listens(port))

    return start


def _source(server: ManagedProcess, **settings: str) -> LiveSource:
    return LiveSource(UrlCamera(f"rtsp://127.0.0.1:{server.name}/camera", **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("asked", ["auto", "tcp", "udp"])
@pytest.mark.parametrize("offered", ["tcp", "udp"])
def test_video_comes_over_the_transport_that_both_have(serve: Serve, offered: str, asked: str) -> None:
    """Where there is none, the trouble names the one that was tried and the setting."""
    with serve("h264", offered) as server:
        source = _source(server, transport=asked)
        frames = source.frames()
        try:
            if asked in ("auto", offered):
                assert next(frames).size == (320, 240)
                return
            threading.Thread(target=list, args=(frames,), daemon=True).start()
            eventually(lambda: source.trouble)
            assert f"no video over {asked.upper()}" in str(source.trouble)
            assert "RTSP_TRANSPORT=auto" in str(source.trouble)
        finally:
            source.close()


@pytest.mark.parametrize(
    ("options", "asked", "offered", "works"),
    [
        ("stimeout;5000000|max_delay;100000", "auto", "udp", True),
        ("fflags;nobuffer", "tcp", "udp", False),
        ("rtsp_flags;filter_src", "auto", "udp", True),
        ("rtsp_transport;udp", "auto", "tcp", False),
        ("rtsp_transport;udp", "auto", "udp", True),
        ("rtsp_transport;udp", "tcp", "tcp", True),
    ],
)
def test_other_options_of_the_users_do_not_change_the_transport(
    serve: Serve, options: str, asked: str, offered: str, *, works: bool
) -> None:
    """A transport among them counts where RTSP_TRANSPORT leaves the choice."""
    program = """
import sys
from edge_face_detection.sources.url_camera import UrlCamera
from edge_face_detection.sources.camera import CameraError
try:
    capture = UrlCamera(sys.argv[1], transport=sys.argv[2]).open()
except CameraError as error:
    sys.exit("no video" not in str(error) or 3)
assert capture.grab()
"""
    with serve("h264", offered) as server:
        done = subprocess.run(
            [sys.executable, "-c", program, f"rtsp://127.0.0.1:{server.name}/camera", asked],
            env={**os.environ, "OPENCV_FFMPEG_CAPTURE_OPTIONS": options},
            cwd=Path(__file__).parents[2],
            timeout=60,
            check=False,
        )
    assert done.returncode == (0 if works else 3)


def test_udp_is_tried_where_tcp_is_refused_in_another_way_than_the_standards_and_remembered() -> None:
    """Some servers answer 400 or 500 where 461 is meant; the next opening begins with what may work."""
    asked: list[str] = []

    def answer(client: Client) -> None:
        while head := client.head():
            text = head.decode()
            number = text.lower().partition("cseq:")[2].split()[0]
            if text.startswith("SETUP"):
                asked.append("tcp" if "interleaved" in text else "udp")
                client.send(f"RTSP/1.0 400 Bad Request\r\nCSeq: {number}\r\n\r\n".encode())
            elif text.startswith("DESCRIBE"):
                sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=control:1\r\n"
                kind = f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}"
                client.send(f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{kind}\r\n\r\n{sdp}".encode())
            else:
                client.send(f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\nPublic: DESCRIBE, SETUP, PLAY\r\n\r\n".encode())

    with RawHttp(answer) as server:
        source = LiveSource(UrlCamera(server.url.replace("http", "rtsp") + "/camera"))
        frames: Iterator[Frame] = source.frames()
        threading.Thread(target=list, args=(frames,), daemon=True).start()
        eventually(lambda: source.trouble)
        source.close()
        assert asked[:2] == ["tcp", "udp"]
        assert "no video over TCP or UDP" in str(source.trouble)


@pytest.mark.parametrize(
    ("user", "status", "words"),
    [
        ("", "401 Unauthorized", ("401 Unauthorized", "rtsp://user:password@host")),
        ("user:sesame@", "401 Unauthorized", ("no video over TCP:", "user and password")),
        ("user:sesame@", "404 Stream Not Found", ("404 Not Found", "path")),
        ("", "503 Service Unavailable", ("503 Service Unavailable", "too many")),
        ("", "nothing of the kind", ("no video over TCP or UDP",)),
    ],
)
def test_what_an_rtsp_server_answers_is_told(user: str, status: str, words: tuple[str, ...]) -> None:
    def answer(client: Client) -> None:
        while head := client.head():
            number = re.search(r"(?i)cseq: *(\d+)", head.decode())
            assert number
            client.send(f"RTSP/1.0 {status}\r\nCSeq: {number[1]}\r\n\r\n".encode())

    with RawHttp(answer) as server:
        camera = UrlCamera(server.url.replace("http://", f"rtsp://{user}") + "/camera?pwd=sesame")
        with pytest.raises(CameraError) as refused:
            camera.open()
    assert all(word in str(refused.value) for word in words), refused.value
    assert "sesame" not in str(refused.value)


def _made_at(frame: Frame) -> float:
    """When the server made the picture, on the clock that all processes share."""
    row = frame.image[100:140].mean(axis=(0, 2)).reshape(16, 20).mean(axis=1)
    shown = int("".join("1" if stripe > 128 else "0" for stripe in row), 2)
    now = time.monotonic() * 100
    return (now - (int(now) - shown) % 2**16) / 100


@pytest.mark.parametrize(
    ("codec", "seconds", "count"),
    [("h264", 1.0, 4), ("hevc", 1.0, 4), ("jpeg", 1.0, 4), ("h264", 0.1, 20), ("h264", 6.0, 2)],
)
def test_each_picture_has_the_time_at_which_it_was_seen(serve: Serve, codec: str, seconds: float, count: int) -> None:
    """From the first one on, though FFmpeg gives first what came while it looked into the stream.

    On a busy machine a picture is made and decoded late; but not in each of five streams.
    """

    def late() -> list[float]:
        with serve(codec, "tcp", str(seconds)) as server:
            source = _source(server)
            seen = [frame.captured_monotonic - _made_at(frame) for frame in itertools.islice(source.frames(), count)]
            source.close()
        return seen

    tries: list[list[float]] = []
    while not any(all(-0.1 < seen < min(0.3, seconds) for seen in one) for one in tries):
        assert len(tries) < 5, tries
        tries.append(late())
