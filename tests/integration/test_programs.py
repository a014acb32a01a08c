"""What all programs share: signals at any moment, dead threads, the exit status."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dev.stack.ports import free_port
from tests.support.programs import Program, forwarder, saver
from tests.support.stores import environment
from tests.support.waiting import eventually

Make = Callable[[Path], Program]
NOWHERE = "mqtt://127.0.0.1:9"


def gallery(folder: Path) -> Program:
    settings = {"MQTT_URL": NOWHERE, "GALLERY_PORT": str(free_port())}
    return Program("cloud_gallery", folder, environment("http://127.0.0.1:9") | settings)


PROGRAMS: dict[str, Make] = {
    "edge_forwarder": lambda folder: forwarder(folder, NOWHERE, "mqtt://localhost:9"),
    "cloud_saver": lambda folder: saver(folder, NOWHERE, "http://127.0.0.1:9"),
    "cloud_gallery": gallery,
}


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Program:
    """Each of the programs, whose brokers and store are not there."""
    return PROGRAMS[request.param](tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(program: Program, number: signal.Signals) -> None:
    """With status 0 and a last line."""
    with program:
        program.expect_line("started")
        os.kill(program.pid, number)
        assert program.wait(10) == 0
        assert "stopped" in program.log_tail(1)


def test_a_burst_of_signals_ends_it_all_the_same(program: Program) -> None:
    """An impatient operator's, or an init system's."""
    for _ in range(3):
        with program:
            program.expect_line("started")
            deadline = time.monotonic() + 10
            while program.poll() is None and time.monotonic() < deadline:
                os.kill(program.pid, random.choice([signal.SIGTERM, signal.SIGINT]))
            assert program.wait(1) == 0, program.log_tail()


def test_a_signal_at_any_moment_of_the_start_ends_it_soon(program: Program) -> None:
    """From the first lines of Python on: status 0, or by the signal itself before the program had begun."""
    program.forked = False
    for delay in (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6):
        program.start()
        time.sleep(delay)
        os.kill(program.pid, signal.SIGTERM)
        status = program.wait(10)
        text = program.log_text()
        assert status in (0, -signal.SIGTERM), text
        assert "Traceback" not in text
        assert status == 0 or "started" not in text


def test_a_taken_metrics_port_is_told(tmp_path: Path) -> None:
    """It names the variable."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = forwarder(tmp_path / "a", NOWHERE, "mqtt://localhost:9")
    with one:
        eventually(lambda: one.figure("outbox_messages") == 0)
        other = forwarder(tmp_path / "b", NOWHERE, "mqtt://localhost:9", METRICS_PORT=str(one.metrics_port))
        other.start()
        assert other.wait(20) == 1
        assert "METRICS_PORT" in other.log_text()


def test_a_dead_thread_ends_the_program_with_status_1(tmp_path: Path) -> None:
    """A program with a dead part looks alive and does nothing; whoever started it starts it again."""
    (tmp_path / "sitecustomize.py").write_text(
        "import face_messages.mqtt.session as c\n"
        "def broken(self): raise RuntimeError('broken on purpose')\n"
        "c.Session._connect_and_serve = broken\n"
    )
    program = forwarder(tmp_path, NOWHERE, "mqtt://localhost:9")
    assert program._env is not None
    program._env["PYTHONPATH"] += f":{tmp_path}"
    program.start()
    assert program.wait(20) == 1
    assert "broken on purpose" in program.log_text()


def test_json_logs_are_json(tmp_path: Path) -> None:
    """Each line of them."""
    import json

    program = forwarder(tmp_path, NOWHERE, "mqtt://localhost:9", LOG_FORMAT="json")
    with program:
        program.expect_line("cannot use the broker")
        program.terminate()
        lines = [json.loads(line) for line in program.log_text().splitlines()]
    assert {line["level"] for line in lines} == {"info", "warning"}
    assert all({"time", "level", "logger", "message"} == set(line) for line in lines)
