"""Log lines, figures and health."""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from dev.stack.ports import free_port
from face_messages import Monitor
from face_messages.service import logs
from face_messages.service.monitor import Answer
from tests.support.waiting import eventually


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """As it was, afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:], root.level = handlers, level


def logged(capsys: pytest.CaptureFixture[str], form: str, text: str, *args: object) -> str:
    logs.configure("info", form)
    logging.getLogger("x").error(text, *args)
    return capsys.readouterr().err


@pytest.mark.usefixtures("root_logger")
def test_text_of_others_forges_no_line_and_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters are shown as what they are."""
    line = logged(capsys, "text", "topic %s", "a\n12:00:00 ERROR forged\r\x1b[2J\x9b\x00\x7f")
    assert line.count("\n") == 1
    assert r"a\x0a12:00:00 ERROR forged\x0d\x1b[2J\x9b\x00\x7f" in line


@pytest.mark.usefixtures("root_logger")
def test_json_lines_hold_anything(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line."""
    line = logged(capsys, "json", "%s", "a\n\x1b\u2028é\x00")
    assert line.count("\n") == 1
    assert line.isascii()
    entry = json.loads(line)
    assert entry["message"] == "a\n\x1b\u2028é\x00"
    assert (entry["level"], entry["logger"]) == ("error", "x")
    assert entry["time"].endswith("+00:00")


@pytest.mark.usefixtures("root_logger")
@pytest.mark.parametrize("form", ["text", "json"])
def test_an_exception_is_shown_with_its_traceback(capsys: pytest.CaptureFixture[str], form: str) -> None:
    """In both forms."""
    logs.configure("info", form)
    try:
        os.environ.pop("missing")
    except KeyError:
        logging.getLogger("x").exception("failed")
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "KeyError: 'missing'" in err


def ask(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_figures_are_read_when_asked() -> None:
    """Counters, gauges and histograms, and the process's own."""
    monitor = Monitor()
    count = 0
    monitor.counter("things", "things counted", lambda: count)
    monitor.gauge("level", "a level", lambda: -count)
    monitor.histogram("latency_seconds", "a latency", (0.1, 1.0)).observe(0.5)
    server = monitor.serve("127.0.0.1", free_port())
    assert server is not None
    try:
        count = 3
        status, text = ask(server.port, "/metrics")
        assert status == 200
        for line in (
            "facedetection_things_total 3.0",
            "facedetection_level -3.0",
            'facedetection_latency_seconds_bucket{le="1.0"} 1.0',
            "process_resident_memory_bytes",
        ):
            assert line in text
        assert ask(server.port, "/")[0] == 404
    finally:
        server.close()


def test_health_fails_only_for_what_a_restart_may_mend() -> None:
    """The rest is told in the body."""
    monitor = Monitor()
    alive = True
    monitor.check("a thread", lambda: alive)
    monitor.state("store", lambda: "away")
    assert monitor.health() == (True, {"well": True, "failed": [], "store": "away"})
    server = monitor.serve("127.0.0.1", free_port())
    assert server is not None
    try:
        assert ask(server.port, "/healthz")[0] == 200
        alive = False
        status, body = ask(server.port, "/healthz")
        assert status == 503
        assert json.loads(body)["failed"] == ["a thread"]
    finally:
        server.close()


def test_a_client_that_goes_away_is_nobody_s_business(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """One in mid-answer, that is; a page that fails is logged, and the next request is answered."""
    monitor = Monitor()
    is_cut = threading.Event()

    def large(_path: str, _host: str) -> Answer:
        is_cut.wait(10)
        return Answer(bytes(50_000_000))

    monitor.page("large", large)
    monitor.page("broken", lambda _path, _host: Answer(b"", status=HTTPStatus(int("no number"))))
    server = monitor.serve("127.0.0.1", free_port())
    assert server is not None
    try:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /large/ HTTP/1.1\r\n\r\n")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed by a reset
        is_cut.set()
        with pytest.raises(http.client.RemoteDisconnected):
            ask(server.port, "/broken/")
        assert ask(server.port, "/healthz")[0] == 200
        eventually(lambda: "ValueError" in caplog.text)
    finally:
        server.close()
    assert "ConnectionResetError" not in caplog.text
    assert "BrokenPipeError" not in caplog.text
    assert capsys.readouterr().err == ""  # not what OpenCV writes in a thread of another test


def test_port_0_serves_nothing() -> None:
    """As the setting says."""
    assert Monitor().serve("127.0.0.1", 0) is None
