"""Live cameras: always the newest frame, back by themselves, and closed at once whatever they do."""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from socket import create_server, socket

import numpy as np
import pytest

from edge_face_detection.sources import live
from edge_face_detection.sources import url_camera as cameras
from edge_face_detection.sources.camera import Capture
from edge_face_detection.sources.device_camera import DeviceCamera
from edge_face_detection.sources.live import LiveSource
from edge_face_detection.sources.url_camera import UrlCamera
from face_messages.service.backoff import Backoff
from tests.support.mjpeg import GREYS, MjpegServer, number_shown
from tests.support.waiting import at_least, eventually


@pytest.fixture(autouse=True)
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "scale", 0.1)


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    with MjpegServer() as server:
        yield server


@pytest.fixture
def source(server: MjpegServer) -> Iterator[LiveSource]:
    source = LiveSource(UrlCamera(server.url))
    yield source
    source.close()


@pytest.fixture
def mute() -> Iterator[socket]:
    """A server that accepts and never answers."""
    with create_server(("127.0.0.1", 0)) as listening:
        yield listening


def _close_and_time(source: LiveSource, consumer: threading.Thread) -> float:
    began = time.monotonic()
    source.close()
    consumer.join(10)
    assert not consumer.is_alive()
    return time.monotonic() - began


def _consume(source: LiveSource) -> threading.Thread:
    consumer = threading.Thread(target=lambda: [None for _ in source.frames()], daemon=True)
    consumer.start()
    return consumer


def test_a_stream_gives_frames(source: LiveSource) -> None:
    frames = source.frames()
    first, second = next(frames), next(frames)
    assert first.image.shape == (48, 64, 3)
    assert first.image.dtype == np.uint8
    assert first.number < second.number
    assert 0 <= time.time() - second.captured_at.timestamp() < 5
    assert source.is_up
    assert source.reconnects == 0


def test_a_slow_consumer_gets_the_newest_frame_and_the_skipped_are_counted(
    server: MjpegServer, source: LiveSource
) -> None:
    """While it is at one frame, fifty pass by; the next it gets is one of the last."""
    frames = source.frames()
    first = next(frames)
    given, number = 1, first.number
    for _ in range(3):
        skipped = source.frames_skipped
        at_least(lambda: server.sent, server.sent + 50)
        frame = next(frames)
        given += 1
        assert source.frames_skipped - skipped >= 40
        assert frame.number - number >= 40
        assert (server.sent - number_shown(frame)) % GREYS < 40
        number = frame.number
    assert source.frames_read - source.frames_skipped - given in (0, 1)  # one may wait to be taken


def test_a_camera_that_goes_and_comes_is_followed_and_told_of_once(
    server: MjpegServer, source: LiveSource, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning when it goes, however often it is tried; one line when it is back; numbers go on."""
    caplog.set_level(logging.INFO)
    frames = source.frames()
    before = next(frames)
    assert caplog.records == []
    server.kill()
    eventually(lambda: not source.is_up)
    eventually(lambda: len(caplog.records) == 1)
    again = MjpegServer(server.port)
    try:
        eventually(lambda: source.is_up)
        read = source.frames_read
        frame = next(frames)
        while frame.number < read:
            frame = next(frames)
        assert frame.number > before.number
        assert source.reconnects == 1
    finally:
        again.kill()
    down, up = caplog.records[:2]
    assert down.levelno == logging.WARNING
    assert f"{server.url} is down" in down.getMessage()
    assert up.levelno == logging.INFO
    assert "up after" in up.getMessage()


def test_a_camera_that_comes_and_goes_does_not_fill_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two lines for the first outage; the next ones are too soon after it."""
    caplog.set_level(logging.INFO)
    server = MjpegServer()
    source = LiveSource(UrlCamera(server.url))
    _consume(source)
    for _ in range(3):
        eventually(lambda: source.is_up)
        server.kill()
        eventually(lambda: not source.is_up)
        server = MjpegServer(server.port)
    eventually(lambda: source.is_up)
    assert source.reconnects == 3
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]
    monkeypatch.setattr(live, "WARNING_INTERVAL_SECONDS", 0)
    server.kill()
    eventually(lambda: len(caplog.records) == 3)
    source.close()


class CountingDevice(DeviceCamera):
    """Counts how often it is tried."""

    tries = 0

    def open(self) -> Capture:
        self.tries += 1
        return super().open()


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("/dev/video987", "no such camera /dev/video987: is it plugged in"),
        ("/dev/null", "/dev/null is no camera: choose one of ls /dev/video*"),
    ],
)
def test_a_camera_that_is_not_there_is_retried_and_told_of_once(
    caplog: pytest.LogCaptureFixture, device: str, reason: str
) -> None:
    camera = CountingDevice(device)
    source = LiveSource(camera)
    consumer = _consume(source)
    eventually(lambda: camera.tries >= 4)
    assert consumer.is_alive()
    assert _close_and_time(source, consumer) < 5
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert reason in record.getMessage()
    assert source.frames_read == source.reconnects == 0


def test_an_address_where_nobody_is_says_so(mute: socket, caplog: pytest.LogCaptureFixture) -> None:
    port = mute.getsockname()[1]
    mute.close()
    source = LiveSource(UrlCamera(f"rtsp://user:secret@127.0.0.1:{port}/stream"))
    consumer = _consume(source)
    eventually(lambda: bool(caplog.records))
    assert _close_and_time(source, consumer) < 5
    message = caplog.records[0].getMessage()
    assert f"cannot reach 127.0.0.1:{port}" in message
    assert "secret" not in message


def test_a_server_that_gives_no_video_is_told_from_one_that_is_not_there(
    mute: socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cameras, "URL_TIMEOUT_SECONDS", 0.3)
    source = LiveSource(UrlCamera(f"http://127.0.0.1:{mute.getsockname()[1]}/stream"))
    consumer = _consume(source)
    eventually(lambda: bool(caplog.records))
    _close_and_time(source, consumer)
    assert "is there but gives no video" in caplog.records[0].getMessage()


@pytest.mark.parametrize("scheme", ["http", "https", "rtsp", "rtsps"])
def test_closing_does_not_wait_for_a_server_that_never_answers(mute: socket, scheme: str) -> None:
    """The reading thread is within FFmpeg then, for as long as its timeouts allow."""
    source = LiveSource(UrlCamera(f"{scheme}://127.0.0.1:{mute.getsockname()[1]}/stream"))
    consumer = _consume(source)
    connection, _ = mute.accept()
    with connection:
        assert connection.recv(1)
        assert _close_and_time(source, consumer) < 5
        assert not source.is_up


def test_closing_does_not_wait_for_a_camera_that_fell_silent(server: MjpegServer, source: LiveSource) -> None:
    consumer = _consume(source)
    eventually(lambda: source.frames_read > 3)
    server.silent = True
    assert _close_and_time(source, consumer) < 5


def test_after_closing_there_are_no_frames(source: LiveSource) -> None:
    frames = source.frames()
    next(frames)
    source.close()
    assert list(frames) == list(source.frames()) == []
    eventually(lambda: not source.is_up)


class BrokenDevice(DeviceCamera):
    def open(self) -> Capture:
        raise ZeroDivisionError("a mistake in the program")


def test_a_mistake_in_the_reading_thread_is_not_swallowed() -> None:
    """Nobody would notice the thread's end: it comes out where the frames are taken."""
    with pytest.raises(ZeroDivisionError):
        next(LiveSource(BrokenDevice("/dev/video0")).frames())


def _run(program: str, url: str) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        [sys.executable, "-c", "from edge_face_detection.sources.open_source import open_source\n" + program, url],
        cwd=Path(__file__).parents[2],
        timeout=60,
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_process_ends_though_its_camera_blocks(mute: socket) -> None:
    """The thread that is within FFmpeg is not waited for."""
    program = """
import sys, threading
from edge_face_detection.sources import url_camera as cameras
cameras.URL_TIMEOUT_SECONDS = 600
source = open_source(sys.argv[1], realtime=False, loop=False)
threading.Timer(0.5, source.close).start()
assert list(source.frames()) == []
"""
    assert _run(program, f"http://127.0.0.1:{mute.getsockname()[1]}/") == (0, b"", b"")


@pytest.mark.parametrize("closes", ["source.close()", "signal.raise_signal(signal.SIGTERM); assert not list(frames)"])
def test_a_process_ends_in_order_while_its_camera_gives_frames(server: MjpegServer, closes: str) -> None:
    """The camera's thread has ended before the interpreter does, which would abort the process otherwise."""
    program = f"""
import signal, sys
source = open_source(sys.argv[1], realtime=False, loop=False)
signal.signal(signal.SIGTERM, lambda *_: source.close())
frames = source.frames()
next(frames)
{closes}
"""
    for _ in range(3):
        assert _run(program, server.url) == (0, b"", b"")
