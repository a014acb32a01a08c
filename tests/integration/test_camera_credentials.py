"""A camera's user and password go to the camera alone, wherever they stand in its URL, and show up nowhere else."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest

from dev.stack.mosquitto import Mosquitto
from tests.support.plain import listening
from tests.support.programs import ROOT, Program
from tests.support.waiting import eventually

# The program as it is, but for the folder of its secrets.
START = """
import pathlib, runpy
from face_messages.service import settings
settings.SECRETS = pathlib.Path({secrets!r})
runpy.run_module("edge_face_detection", run_name="__main__", alter_sys=True)
"""


class Refusing(BaseRequestHandler):
    """A camera that takes no password, and repeats what it was asked."""

    def handle(self) -> None:
        while asked := self.request.recv(65536):
            self.server.asked.append(asked)  # type: ignore[attr-defined]  # its own list
            protocol = b"RTSP/1.0" if b"RTSP/" in asked else b"HTTP/1.1"
            number = re.search(rb"(?i)\r\nCSeq: *\d+", asked)
            what = asked.splitlines()[0]
            head = protocol + b" 401 " + what + (number[0] if number else b"")
            head += b"\r\nContent-Type: " + what.replace(b" ", b"/") + b"\r\nLocation: " + what
            self.request.sendall(head + b'\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n')


@pytest.fixture
def camera() -> Iterator[ThreadingTCPServer]:
    with ThreadingTCPServer(("127.0.0.1", 0), Refusing) as server:
        server.daemon_threads = True
        server.asked = []  # type: ignore[attr-defined]  # the handler's
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class SecretDetector(Program):
    """An `edge_face_detection` whose camera is named in a secret file alone; not started."""

    def __init__(self, folder: Path, broker: str, video_source: str, **settings: str) -> None:
        base = {"EDGE_ID": "tx2", "MQTT_URL": broker, "OUTBOX_PATH": str(folder / "outbox.db"), "PREVIEW": "true"}
        super().__init__("edge_face_detection", folder, base | settings)
        (folder / "secrets").mkdir()
        (folder / "secrets/video_source").write_text(f"{video_source}\n")
        (folder / "start.py").write_text(START.format(secrets=str(folder / "secrets")))
        self._args = [sys.executable, str(folder / "start.py")]

    def shown(self) -> str:
        """All that others can see of it, the preview included."""
        preview = re.search(r"/preview/\S+/", self.log_text())
        assert preview
        pages = ("/metrics", "/healthz", preview[0], f"{preview[0]}state")
        public = "".join((Path("/proc") / str(self.pid) / name).read_text() for name in ("cmdline", "environ"))
        return self.log_text() + public + "".join(self.ask(page)[1] for page in pages)


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://admin:hu%23sh@{host}/stream",
        "rtsp://{host}/user=admin&password=hush&channel=1&stream=0.sdp?real_stream",
        "http://admin:hush@{host}/video.mjpg",
        "http://{host}/video?user=admin&pwd=hush",
        "http://{host}/hush",
    ],
)
def test_a_camera_that_refuses_shows_no_password(
    url: str, camera: ThreadingTCPServer, broker: Mosquitto, tmp_path: Path
) -> None:
    """Not even where somebody wants all of FFmpeg's own lines; the camera was told, though."""
    host = f"127.0.0.1:{camera.server_address[1]}"
    verbose = {"LOG_LEVEL": "debug", "OPENCV_FFMPEG_LOGLEVEL": "56", "OPENCV_LOG_LEVEL": "VERBOSE"}
    detector = SecretDetector(
        tmp_path, broker.url, url.format(host=host), **verbose, OPENCV_FFMPEG_DEBUG="1", OPENCV_VIDEOIO_DEBUG="1"
    )
    with listening(broker.port, "facedetection_status/#") as health, detector:
        line = detector.expect_line(" is down, ")
        assert host in line
        eventually(lambda: [message for message in list(health.messages) if b'"down"' in message.payload])
        everything = detector.shown() + "".join(message.payload.decode() for message in list(health.messages))
    told = everything + detector.log_text()
    assert [mark for mark in ("hush", "hu%23", "hu#", "admin", "YWRtaW4") if mark in told] == []
    asked = b"".join(camera.asked)  # type: ignore[attr-defined]  # the fixture's
    assert any(mark in asked for mark in (b"hush", b"YWRtaW4"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("rtsp://admin:hush#1@cam/s", "write # as %23"),
        ("'rtsp://admin:hush@cam/s'", "without quotes"),
        ("rtsp://admin:hush", "no @"),
        ("rtsp//admin:hush@cam/s", "begins with rtsp://"),
        ("admin:hush@cam/s", "begins with rtsp://"),
    ],
)
def test_a_wrong_url_ends_the_program_with_a_line_that_says_how_to_write_it(
    url: str, said: str, tmp_path: Path
) -> None:
    detector = SecretDetector(tmp_path, "mqtt://127.0.0.1:9", url, PYTHONPATH=str(ROOT))
    with detector:
        assert detector.wait(60) == 1
    (line,) = detector.log_text().splitlines()
    assert said in line
    assert "hush" not in line
