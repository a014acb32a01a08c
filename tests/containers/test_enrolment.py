"""An edge is enrolled, delivers through port 8883, and is revoked, with the images and commands as they are."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.engine import LABEL, ROOT, docker, figure, health, in_network, keys, run
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("stack")

# Within hw03 the VM's name is the container's; outside it would be what the person has set.
ADDRESS = ("--env", "CLOUD_ADDRESS=cloud_mosquitto")


def identities(*command: str) -> bytes:
    return run("docker", "exec", *ADDRESS, "cloud_mosquitto", *command).stdout


class Edge:
    """A TX2's broker and forwarder: what its compose file starts, beside the demo's."""

    def __init__(self, name: str, checkout: Path) -> None:
        self.name = name
        self.broker, self.forwarder = f"{name}-broker", f"{name}-forwarder"
        (checkout / "deploy").mkdir(parents=True)
        for folder in (checkout, *checkout.parents[:3]):
            folder.chmod(0o755)
        shutil.copy(ROOT / "deploy" / "enrol.sh", checkout / "deploy")
        shutil.copy(ROOT / ".env.edge.example", checkout)
        bundle = checkout / "bundle.tar"
        bundle.write_bytes(identities("enrol", name))
        run(str(checkout / "deploy" / "enrol.sh"), str(bundle))
        start = ("run", "--detach", "--label", LABEL, "--network", "hw03", "--read-only", "--cap-drop", "ALL")
        docker(*start, "--name", self.broker, "edge_mqtt_broker")
        edge_url = ("--env", f"EDGE_MQTT_URL=mqtt://{self.broker}:1883")
        mounts = ("--volume", f"{checkout / 'secrets'}:/run/secrets:ro", "--tmpfs", "/var/lib/facedetection:uid=10001")
        settings = ("--env-file", str(checkout / ".env"), *edge_url, *mounts)
        docker(*start, *settings, "--name", self.forwarder, "edge_forwarder")

    def log(self) -> str:
        return run("docker", "logs", self.forwarder).stderr.decode()

    def sees(self, face: str, *, claiming: str = "") -> None:
        """Its detector publishes a face with this id, as its own or another edge's."""
        attributes = {
            "specversion": "1.0",
            "id": face,
            "source": f"/edges/{claiming or self.name}/cameras/door",
            "type": "facedetection.face.v1",
            "time": "2026-05-01T08:00:00Z",
        }
        properties = [part for pair in attributes.items() for part in ("-D", "publish", "user-property", *pair)]
        publish = ("mosquitto_pub", "-V", "5", "-q", "1", "-t", "facedetection_topic", "-f", "face.png")
        content_type = ("-D", "publish", "content-type", "image/png")
        in_network(*publish, *content_type, *properties, "-h", self.broker)

    def has_stored(self, face: str) -> bool:
        key = f"faces/{self.name}/door/2026/05/01/20260501T080000.000000Z-{face}.png"
        return key in keys(f"faces/{self.name}")


@pytest.fixture
def edges(tmp_path: Path) -> Iterator[tuple[Edge, Edge]]:
    try:
        yield Edge("tx2-01", tmp_path / "one"), Edge("tx2-02", tmp_path / "two")
    finally:
        ids = docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}").split()
        docker("rm", "--force", "--volumes", *ids)


def test_an_enrolled_edge_delivers_until_it_is_revoked(edges: tuple[Edge, Edge]) -> None:
    """And for itself only. The other one, and those inside, go on."""
    first, second = edges
    for edge in edges:
        eventually(lambda edge=edge: "connected to the broker mqtts://" in edge.log(), what=edge.log)  # type: ignore[misc] # its default is not typed
        edge.sees("before")
        eventually(lambda edge=edge: edge.has_stored("before"), what=edge.log)  # type: ignore[misc] # as above
    first.sees("forged", claiming="tx2-02")
    eventually(lambda: figure("cloud_saver", "messages_impostor_total") == 1, what="the forged one is not noticed")
    assert not second.has_stored("forged")
    identities("revoke", "tx2-01")
    eventually(lambda: figure(first.forwarder, "cloud_broker_up") == 0, what=first.log)
    first.sees("after")
    second.sees("after")
    eventually(lambda: second.has_stored("after"), what=second.log)
    assert not first.has_stored("after")
    assert figure(first.forwarder, "cloud_broker_up") == 0
    states = {line.split()[0]: line.split()[3] for line in identities("enrolled").decode().splitlines()}
    assert states == {"cloud_mosquitto": "valid", "tx2-01": "revoked", "tx2-02": "valid"}
    assert second.log().count("connected to the broker mqtts://") == 1
    assert health("cloud_mosquitto") == "healthy"


def test_the_published_port_wants_a_certificate() -> None:
    """From the host, as from anywhere else."""
    context = ssl.create_default_context(cadata=identities("cat", "/var/lib/cloud_mosquitto/ca.crt").decode())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", 8883), 10) as client,
        pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"),
    ):
        context.wrap_socket(client, server_hostname="localhost")
