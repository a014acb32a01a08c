"""Cameras in the network: a real RTSP server that is killed, frozen and changed, and the detector that looks at it."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.stack.ports import free_port
from dev.stack.processes import ManagedProcess, listens
from edge_face_detection.sources.frame import Frame
from edge_face_detection.sources.open_source import open_source
from edge_face_detection.sources.source import Source
from tests.support.fake_http import Answer, FakeHttp
from tests.support.mjpeg import MjpegServer, greys
from tests.support.programs import Program
from tests.support.waiting import at_least, eventually

SERVER = Path(__file__).parents[1] / "support" / "rtsp_server.py"
SYSTEMS_PYTHON = "/usr/bin/python3"
STALL_SECONDS = 1.0


class Watched:
    """A source whose frames are taken all the time, in a thread of its own."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.last: Frame | None = None
        self._frames = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        for frame in self.source.frames():
            self.last = frame
            self._frames += 1

    def gets_more(self) -> None:
        at_least(lambda: self._frames, self._frames + 10)

    def counts(self) -> tuple[int, int]:
        return self.source.reconnects, self.source.stalls


@pytest.fixture(params=["h264", "jpeg"])
def codec(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(tmp_path: Path, codec: str) -> Iterator[ManagedProcess]:
    """Its name is its port."""
    if subprocess.run([SYSTEMS_PYTHON, str(SERVER)], check=False).returncode:
        pytest.fail("GStreamer's RTSP server is missing: dev/scripts/need.sh gst-rtsp-server")
    port = free_port()
    command = [SYSTEMS_PYTHON, str(SERVER), str(port), codec]
    with ManagedProcess(str(port), command, log=tmp_path / "rtsp.log", ready=lambda: listens(port)) as server:
        yield server


@pytest.fixture
def watched(server: ManagedProcess, caplog: pytest.LogCaptureFixture) -> Iterator[Watched]:
    """Sees the server's camera."""
    caplog.set_level(logging.INFO, "edge_face_detection")
    source = open_source(
        f"rtsp://127.0.0.1:{server.name}/camera", realtime=False, loop=False, stall_seconds=STALL_SECONDS
    )
    watched = Watched(source)
    watched.gets_more()
    yield watched
    source.close()


def _told(caplog: pytest.LogCaptureFixture) -> list[int]:
    return [record.levelno for record in caplog.records]


def test_a_server_that_is_killed_and_comes_back(
    server: ManagedProcess, watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    assert caplog.records == []
    server.kill()
    eventually(lambda: not watched.source.is_up)
    eventually(lambda: _told(caplog) == [logging.WARNING])
    server.start()
    watched.gets_more()
    assert watched.counts() == (1, 0)
    assert _told(caplog) == [logging.WARNING, logging.INFO]


def test_a_server_that_freezes_and_thaws(
    server: ManagedProcess, watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """Its connections stay, and are of no use."""
    server.pause()
    eventually(lambda: not watched.source.is_up, within=2 * STALL_SECONDS + 1)
    eventually(lambda: caplog.records)
    assert "no new frame for 1 s" in caplog.text
    server.resume()
    eventually(lambda: watched.source.is_up)
    watched.gets_more()
    assert watched.counts()[0] == 1
    assert watched.counts()[1] >= 1
    assert _told(caplog) == [logging.WARNING, logging.INFO]


def test_a_camera_that_changes_its_size_in_mid_stream(codec: str, server: ManagedProcess, watched: Watched) -> None:
    """JPEGs come in the new size; of other codecs OpenCV scales the frames to the size at the opening."""
    os.kill(server.pid, signal.SIGUSR1)
    for _ in range(6):
        watched.gets_more()
    assert watched.last is not None
    assert watched.last.image.shape == ((480, 640, 3) if codec == "jpeg" else (240, 320, 3))
    assert watched.source.is_up
    assert watched.counts() == (0, 0)


def test_a_picture_that_stands_still(
    server: ManagedProcess, watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """It is opened anew, since a sensor's pictures are never alike; the server then shows the ball again."""
    os.kill(server.pid, signal.SIGUSR2)
    eventually(lambda: watched.source.stalls)
    watched.gets_more()
    assert watched.counts() == (1, 1)
    assert "the very same picture for 1 s" in caplog.text


def test_a_camera_that_is_paused_leaves_the_server(server: ManagedProcess, watched: Watched) -> None:
    def sockets() -> int:
        count = 0
        for link in Path(f"/proc/{server.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
                count += str(link.readlink()).startswith("socket:")
        return count

    seen = sockets()
    watched.source.pause()
    eventually(lambda: sockets() < seen)
    watched.source.resume()
    watched.gets_more()
    assert watched.counts() == (0, 0)


def _detector(folder: Path, camera: MjpegServer | FakeHttp, *, before: str = "") -> Program:
    """`before`: what its process does first."""
    settings = {
        "EDGE_ID": "tx2",
        "MQTT_URL": f"mqtt://127.0.0.1:{free_port()}",
        "OUTBOX_PATH": str(folder / "detector.db"),
        "VIDEO_SOURCE": camera.url,
        "STALL_SECONDS": "1",
        "SNAPSHOT_SECONDS": "0.1",
    }
    program = Program("edge_face_detection", folder, settings)
    if before:
        run = f"{before}\nimport runpy\nrunpy.run_module('edge_face_detection', run_name='__main__')"
        program._args = [sys.executable, "-c", run]
    return program


def test_the_detector_counts_what_befalls_its_camera(tmp_path: Path) -> None:
    """Frames that are no JPEGs, that cannot be decoded, a stall: it goes on, and is well."""
    pictures = greys(160, 120)
    with MjpegServer() as camera, _detector(tmp_path, camera) as detector:
        eventually(lambda: detector.figure("frames_processed_total") > 5, within=60)
        assert detector.figure("frames_unreadable_total") == 0
        camera.show([*pictures[:9], b"no JPEG"])
        eventually(lambda: detector.figure("frames_unreadable_total") > 0)
        unreadable, processed = detector.figure("frames_unreadable_total"), detector.figure("frames_processed_total")
        camera.show([*pictures[:3], pictures[0].replace(b"\xff\xdb", b"\xff\xfe", 1)])
        eventually(lambda: detector.figure("frames_unreadable_total") > unreadable + 2)
        eventually(lambda: detector.figure("frames_processed_total") > processed + 5)
        camera.silent = True
        detector.expect("source_up", 0)
        status, body = detector.ask("/healthz")
        assert status == 200
        assert "no new frame for 1 s" in body
        camera.silent = False
        detector.expect("source_up", 1)
        assert detector.figure("source_stalls_total") >= 1
        assert detector.figure("source_reconnects_total") >= 1


def test_the_detector_ends_when_its_cameras_driver_hangs_for_good(tmp_path: Path) -> None:
    """With status 1 and the reason, so that it is started again, and the driver's threads are gone."""
    hanging = """
from edge_face_detection.sources import http_capture, live
from edge_face_detection.sources import open_source as sources
live.MOST_HUNG, live.LEAVING_SECONDS = 1, 0.1
camera = sources.UrlCamera
sources.UrlCamera = lambda url, **_: camera(url, timeout=0)
http_capture.HttpCapture.cancel = lambda self: None
"""
    with MjpegServer() as camera:
        camera.falls_silent_after = 10
        with _detector(tmp_path, camera, before=hanging) as detector:
            assert detector.wait(60) == 1, detector.log_tail()
        assert "hangs and holds the camera: only this program's end may free it" in detector.log_text()
        assert "Traceback" not in detector.log_text()
        eventually(lambda: camera.clients == 0)


def test_the_detector_polls_single_pictures_and_says_what_a_camera_answers_instead(tmp_path: Path) -> None:
    pictures = itertools.cycle(greys(160, 120))
    picture = lambda _: Answer(200, next(pictures), {"Content-Type": "image/jpeg"})  # noqa: E731 - given twice
    with FakeHttp(picture) as camera, _detector(tmp_path, camera) as detector:
        eventually(lambda: detector.figure("frames_processed_total") > 5, within=60)
        camera.answer = lambda _: Answer(404, b"<p>gone</p>", {"Content-Type": "text/html"})
        detector.expect("source_up", 0)
        status, body = detector.ask("/healthz")
        assert status == 200
        assert "answers 404 Not Found with text/html: is the path right?" in body
        camera.answer = picture
        detector.expect("source_up", 1)
        assert detector.figure("source_reconnects_total") == 1
        assert detector.figure("source_stalls_total") == 0
