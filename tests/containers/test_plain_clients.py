"""Clients that are not ours get in at the brokers of the images, whose Mosquitto is newer than Debian's."""

from __future__ import annotations

import io
import socket
import ssl
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.engine import LABEL, docker, run
from tests.support.raw import packet, string
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("images")

# From this version on, what limits keepalives shuts out clients of MQTT 3.1.1.
SHUTS_OUT_SINCE = (2, 0, 12)
# 0 is "none"; half a day is the most that fits.
KEEPALIVES = (0, 1, 60, 300, 301, 600, 65535)
PROTOCOLS = {"3.1": (b"MQIsdp", 3), "3.1.1": (b"MQTT", 4), "5": (b"MQTT", 5)}


@pytest.fixture(scope="module", params=["cloud_mosquitto", "edge_mqtt_broker"])
def broker(request: pytest.FixtureRequest, images: None) -> Iterator[str]:  # noqa: ARG001 - it needs them
    """Name of a running container."""
    name = f"plain-{request.param}"
    docker("run", "--detach", "--label", LABEL, "--name", name, "--env", "CLOUD_ADDRESS=localhost", request.param)
    try:
        answers = ("docker", "exec", name, "mosquitto_pub", "-t", "t", "-m", "x")
        eventually(lambda: run(*answers, ok=range(256)).returncode == 0, within=20, what=f"{name} does not answer")
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def address(broker: str) -> str:
    return docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", broker).strip()


def answer(connection: socket.socket, protocol: str, keepalive: int) -> int:
    """The code of the CONNACK; 0 is "accepted"."""
    name, level = PROTOCOLS[protocol]
    properties = b"\0" if level == 5 else b""
    with connection:
        head = string(name) + bytes([level, 2]) + keepalive.to_bytes(2)
        connection.sendall(packet(0x10, head + properties + string(b"plain")))
        said = connection.recv(1024)
    assert said[:1] == b"\x20", said
    return said[3]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_inside_any_keepalive_gets_in(broker: str, protocol: str) -> None:
    place = (address(broker), 1883)
    refused = [each for each in KEEPALIVES if answer(socket.create_connection(place, 10), protocol, each) != 0]
    assert refused == []


def test_the_broker_is_new_enough_to_show_it(broker: str) -> None:
    said = run("docker", "exec", broker, "mosquitto", "-h", ok=(0, 1, 3)).stdout.decode()
    version = tuple(int(part) for part in said.split()[2].split("."))
    assert version >= SHUTS_OUT_SINCE


def test_outside_no_keepalive_is_refused_either(broker: str, tmp_path: Path) -> None:
    """The kernel's probes find who has vanished."""
    if "cloud" not in broker:
        pytest.skip("the edge broker has no way in from outside")
    bundle = run("docker", "exec", broker, "enrol", "tx2-01").stdout
    with tarfile.open(fileobj=io.BytesIO(bundle)) as tar:
        tar.extractall(tmp_path, filter="data")
    context = ssl.create_default_context(cafile=tmp_path / "cloud_ca.crt")
    context.load_cert_chain(tmp_path / "cloud_client.crt", tmp_path / "cloud_client.key")
    place = (address(broker), 8883)
    for protocol in PROTOCOLS:
        for keepalive in KEEPALIVES:
            inner = socket.create_connection(place, 10)
            outer = context.wrap_socket(inner, server_hostname="cloud_mosquitto")
            assert answer(outer, protocol, keepalive) == 0, (protocol, keepalive)
