"""A program in its image as a process, which benchmarks and chaos are made of."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.stack.mosquitto import Mosquitto
from dev.stack.processes import ManagedProcess, ProcessError
from dev.stack.programs import in_images, make_program
from tests.containers.engine import docker
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("images")

MIB = 2**20


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[tuple[Mosquitto, Mosquitto]]:
    with Mosquitto(tmp_path / "edge") as edge, Mosquitto(tmp_path / "cloud") as cloud:
        yield edge, cloud


@pytest.fixture
def forwarder(brokers: tuple[Mosquitto, Mosquitto], tmp_path: Path) -> Iterator[ManagedProcess]:
    edge, cloud = brokers
    settings = {"EDGE_ID": "e", "EDGE_MQTT_URL": edge.url, "CLOUD_MQTT_URL": cloud.url}
    with in_images():
        process = make_program("edge_forwarder", settings | {"OUTBOX_PATH": str(tmp_path / "outbox.db")}, tmp_path)
    try:
        yield process
    finally:
        process.kill()


def connect(process: ManagedProcess, broker: Mosquitto) -> None:
    process.start()
    process.wait_ready(lambda: f"connected to the broker {broker.url}" in process.log_text(), timeout=60)


def containers() -> list[str]:
    # Of this process, so not the stack's.
    return docker("ps", "--all", "--quiet", "--filter", f"name=facedetection-{os.getpid()}-").split()


def test_its_figures_are_those_of_the_program_and_it_ends_in_order(
    forwarder: ManagedProcess, brokers: tuple[Mosquitto, Mosquitto], tmp_path: Path
) -> None:
    """Within the limits of its compose file; and its files are of whoever called it."""
    connect(forwarder, brokers[1])
    assert forwarder.cpu_seconds() > 0.05
    assert 20 * MIB < forwarder.rss_bytes() <= forwarder.peak_rss_bytes() < 200 * MIB
    host = docker("inspect", "--format", "{{.HostConfig.Memory}} {{.HostConfig.ReadonlyRootfs}}", containers()[0])
    assert host.split() == [str(384 * MIB), "true"]
    assert (tmp_path / "outbox.db").owner() == tmp_path.owner()
    spent = forwarder.cpu_seconds()
    assert forwarder.terminate() == 0
    assert forwarder.cpu_seconds() >= spent
    assert "stopped: taken=0" in forwarder.log_text()


def test_it_can_be_paused_killed_and_started_again(
    forwarder: ManagedProcess, brokers: tuple[Mosquitto, Mosquitto]
) -> None:
    """Killed while it is paused, too; nothing of it is left."""
    connect(forwarder, brokers[1])
    forwarder.pause()
    assert docker("inspect", "--format", "{{.State.Status}}", containers()[0]).strip() == "paused"
    assert forwarder.kill() == 128 + signal.SIGKILL
    connect(forwarder, brokers[1])
    assert forwarder.running
    forwarder.kill()
    eventually(lambda: not containers(), what="a container is left")


def start_and_wait(process: ManagedProcess) -> None:
    """Until it has ended, which it may do before or after it is found to run."""
    process.start()
    process.wait_ready(lambda: False)


def test_a_program_that_cannot_start_says_so(tmp_path: Path) -> None:
    with in_images():
        process = make_program("edge_forwarder", {}, tmp_path)
    with pytest.raises(ProcessError, match="EDGE_ID: is not set"):
        start_and_wait(process)
