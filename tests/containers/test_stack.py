"""The whole stack, running: faces arrive, the smoke tests work as written, and nobody has more rights than needed."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.containers.engine import (
    CLOUD,
    EDGE,
    LABEL,
    PROGRAMS,
    SERVICES,
    bucket,
    digest,
    docker,
    figure,
    health,
    in_network,
    inspect,
    keys,
    memory_bytes,
    run,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("stack")

FACE_KEY = re.compile(
    r"faces/demo/camera0/(?P<year>\d{4})/(?P<month>\d\d)/(?P<day>\d\d)/(?P=year)(?P=month)(?P=day)T\d{6}\.\d{6}Z-[^/]+\.png"
)
PICTURE = Path(__file__).parents[2] / "cloud_mosquitto" / "face.png"
MIB = 2**20


def is_picture(png: bytes) -> bool:
    read = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    return read is not None and min(read.shape[:2]) >= 20


def stored_as(folder: str, payload: bytes, suffix: str) -> bool:
    """Whether the payload lies byte for byte under the key of a message without event attributes."""
    sha256 = hashlib.sha256(payload).hexdigest()
    return digest(f"{folder}/{datetime.now(UTC):%Y/%m/%d}/{sha256}{suffix}") == sha256


def test_faces_of_the_clip_arrive_in_the_bucket() -> None:
    """Each as a whole picture under a key of the design, with an id of its own."""
    eventually(lambda: len(keys("faces/demo")) >= 50, within=90, what="no faces in the bucket")
    faces = {key: png for key, png in bucket().items() if key.startswith("faces/demo/")}
    assert [key for key in faces if not FACE_KEY.fullmatch(key)] == []
    assert [key for key, png in faces.items() if not is_picture(png)] == []


def test_the_network_can_be_inspected() -> None:
    names = {container["Name"] for container in inspect("hw03")["Containers"].values()}
    assert set(SERVICES) <= names


@pytest.mark.parametrize("version", ["default", "311", "5"])
def test_a_text_published_with_plain_tools_is_stored(version: str) -> None:
    text = "Testing message through client" + ("" if version == "default" else f", MQTT {version}")
    options = () if version == "default" else ("-V", version)
    in_network("mosquitto_pub", "-h", "cloud_mosquitto", "-m", text, "-t", "facedetection_topic", *options)
    eventually(lambda: stored_as("unrecognized", text.encode(), ""), what="the text is not in the bucket")


def test_a_picture_published_with_plain_tools_is_stored() -> None:
    """Without a mount, too: the image has a picture of that name."""
    in_network("mosquitto_pub", "-h", "cloud_mosquitto", "-f", "face.png", "-t", "facedetection_topic")
    eventually(lambda: stored_as("faces/unattributed", PICTURE.read_bytes(), ".png"), what="it is not in the bucket")


def test_a_picture_of_the_person_s_own_is_stored(tmp_path: Path) -> None:
    """As the README has it, from the folder the person is in."""
    png = PICTURE.read_bytes() + b"another"
    (tmp_path / "face.png").write_bytes(png)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    options = ("-v", f"{tmp_path}:/w", "-w", "/w")
    publish = ("mosquitto_pub", "-h", "cloud_mosquitto", "-f", "face.png", "-t", "facedetection_topic")
    in_network(*publish, options=options)
    eventually(lambda: stored_as("faces/unattributed", png, ".png"), what="it is not in the bucket")


def test_a_plain_message_at_the_edge_is_stored_as_well() -> None:
    text = "published at the edge"
    in_network("mosquitto_pub", "-h", "edge_mqtt_broker", "-m", text, "-t", "facedetection_topic")
    eventually(lambda: stored_as("unrecognized", text.encode(), ""), what="the text is not in the bucket")


@pytest.mark.parametrize("broker", ["edge_mqtt_broker", "cloud_mosquitto"])
def test_a_subscriber_gets_a_viewable_picture(broker: str) -> None:
    subscribe = ("mosquitto_sub", "-h", broker, "-t", "facedetection_topic", "-C", "1", "-W", "60")
    assert is_picture(in_network(*subscribe))


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_rights_it_does_not_need(name: str) -> None:
    """As Docker was told, and as the kernel sees it."""
    host = inspect(name)["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert not host["Privileged"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    status = dict(line.split(":\t", 1) for line in docker("exec", name, "cat", "/proc/1/status").splitlines())
    assert int(status["Uid"].split()[0]) >= 10000
    assert int(status["Gid"].split()[0]) >= 10000
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    wrote = run("docker", "exec", name, "sh", "-c", "echo > /etc/written", ok=(1, 2))
    assert b"ead-only" in wrote.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_bounded(name: str) -> None:
    """In memory, processes and logs; and no port of it is published but the broker's and the gallery's in the cloud."""
    inspected = inspect(name)
    host = inspected["HostConfig"]
    assert 0 < host["Memory"] <= 512 * MIB
    assert 0 < host["PidsLimit"] <= 320
    assert host["LogConfig"]["Config"].get("max-size") == "10m"
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    ports = {"cloud_mosquitto": {"8883/tcp"}, "cloud_gallery": {"8080/tcp"}}
    published = {port for port, hosts in inspected["NetworkSettings"]["Ports"].items() if hosts}
    assert published == set(host["PortBindings"]) == ports.get(name, set())


def test_limits_fit_the_vm() -> None:
    """Of 2 GB, with the gallery."""
    limits = {name: inspect(name)["HostConfig"]["Memory"] for name in CLOUD}
    assert sum(limits.values()) <= 1280 * MIB
    assert limits["cloud_mosquitto"] + limits["cloud_saver"] <= 900 * MIB
    assert all(inspect(name)["HostConfig"]["NanoCpus"] <= 1e9 for name in CLOUD)


def test_no_container_limits_cpus_at_the_edge() -> None:
    """Some kernels of Jetsons cannot, and Docker would refuse to start it there."""
    assert [inspect(name)["HostConfig"]["NanoCpus"] for name in EDGE] == [0, 0, 0]


def test_memory_stays_small(figures: list[str]) -> None:
    """Under 400 MB at the edge and under 200 MB in the cloud, while faces flow."""
    eventually(lambda: figure("cloud_saver", "objects_stored_total") > 50, within=60, what="no faces are stored")
    taken = memory_bytes(*SERVICES)
    figures += [f"memory {name:<20} {size / MIB:6.1f} MiB" for name, size in taken.items()]
    edge, cloud = sum(taken[name] for name in EDGE), sum(taken[name] for name in CLOUD)
    figures.append(f"memory in all: edge {edge / MIB:.0f} MiB, cloud {cloud / MIB:.0f} MiB")
    assert edge < 400e6
    assert cloud < 200e6


@pytest.mark.parametrize("name", PROGRAMS)
def test_figures_are_served_within_the_network_only(name: str) -> None:
    answer = in_network("wget", "-q", "-O", "-", f"http://{name}:9100/healthz")
    assert b'"well": true' in answer


def test_large_messages_exhaust_no_container() -> None:
    """600 MB for a forwarder that does not take them: the broker drops what is beyond its limits, and goes on."""
    before = {name: inspect(name)["RestartCount"] for name in SERVICES}
    docker("pause", "edge_forwarder")
    try:
        script = (
            "head -c 8000000 /dev/urandom > /tmp/large;"
            " mosquitto_pub -h edge_mqtt_broker -t facedetection_topic -q 1 -f /tmp/large --repeat 75"
        )
        in_network("sh", "-c", script, options=("--tmpfs", "/tmp", "--label", LABEL))
    finally:
        docker("unpause", "edge_forwarder")
    text = "after the large ones"

    def passes() -> bool:
        # As long as the broker's queue is full of large ones, this one is dropped as well.
        in_network("mosquitto_pub", "-h", "edge_mqtt_broker", "-m", text, "-t", "facedetection_topic", "-q", "1")
        return stored_as("unrecognized", text.encode(), "")

    eventually(passes, within=60, what="nothing passes any more")
    assert {name: inspect(name)["RestartCount"] for name in SERVICES} == before
    assert [name for name in SERVICES if inspect(name)["State"]["OOMKilled"]] == []
    # A paused container cannot answer its health check.
    eventually(lambda: all(health(name) == "healthy" for name in SERVICES), within=90, what="not all are healthy")
