"""Every container is killed or stopped while faces flow; afterwards none is missing, and none is there twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from object_store.keys import face_key
from tests.containers.engine import (
    CLOUD,
    EDGE,
    LABEL,
    PROGRAMS,
    SERVICES,
    bucket,
    compose,
    docker,
    figure,
    inspect,
    keys,
    kill,
    run,
)
from tests.containers.numbered_camera import numbered_face
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("stack")

CAMERA = Path(__file__).with_name("numbered_camera.py")
NUMBERED = "faces/numbered"

# Who must be stuck for a container to fill, and the figure of a program that tells that it has.
STUCK = {
    "edge_face_detection": ("edge_mqtt_broker", ("edge_face_detection", "outbox_messages")),
    "edge_mqtt_broker": ("edge_forwarder", ("edge_face_detection", "messages_unconfirmed")),
    "edge_forwarder": ("cloud_mosquitto", ("edge_forwarder", "outbox_messages")),
    "cloud_mosquitto": ("cloud_saver", ("edge_forwarder", "messages_unconfirmed")),
    "cloud_saver": ("demo_s3", ("cloud_saver", "messages_held")),
}
ENOUGH = 20


@contextmanager
def started(image: str, *command: str, name: str, options: tuple[str, ...] = ()) -> Iterator[None]:
    """A container on hw03, meanwhile."""
    docker("run", "--detach", "--name", name, "--label", LABEL, "--network", "hw03", *options, image, *command)
    try:
        yield
    finally:
        docker("rm", "--force", name)


@contextmanager
def full(name: str, *, seconds: float) -> Iterator[None]:
    """Whoever follows after the container is stuck, until the container holds faces, and then meanwhile."""
    if name not in STUCK:
        yield
        return
    follower, (program, held) = STUCK[name]
    docker("pause", follower)
    try:
        eventually(lambda: figure(program, held) > ENOUGH, within=seconds, what=f"{name} holds no faces")
        yield
    finally:
        docker("unpause", follower)


def seen_ids() -> set[str]:
    """Ids of the detector's faces that a subscriber at the edge broker has got."""
    lines = (line.split() for line in run("docker", "logs", "witness").stdout.decode().splitlines())
    own = (attributes for attributes in lines if "source:/edges/demo/cameras/camera0" in attributes)
    return {attribute[3:] for attributes in own for attribute in attributes if attribute.startswith("id:")}


def detectors_ids() -> Counter[str]:
    """Ids in the bucket, and how many objects have each."""
    return Counter(key.rpartition("/")[2].split("-", 1)[1].removesuffix(".png") for key in keys("faces/demo"))


def await_more(count: Callable[[], int], *, what: str) -> None:
    before = count()
    eventually(lambda: count() > before, within=90, what=what)


def test_no_face_is_lost_or_doubled_whatever_is_killed(figures: list[str]) -> None:
    """`kill -9` of each container in turn, while it holds faces. A camera with numbered faces tells whether one is
    missing; so does a subscriber at the edge broker, for the detector's own faces.
    """
    camera = ("-v", f"{CAMERA}:/app/numbered_camera.py:ro", "--entrypoint", "python3")
    # -c: its session lasts; it connects again by itself. %P is the message's attributes.
    session = ("-V", "5", "-i", "witness", "-c", "-x", "600", "-q", "1")
    witness = ("mosquitto_sub", "-h", "edge_mqtt_broker", *session, "-t", "facedetection_topic", "-F", "%P")
    with (
        started("edge_mqtt_broker", *witness, name="witness"),
        started("edge_forwarder", "-m", "numbered_camera", name="numbered_camera", options=camera),
    ):
        eventually(lambda: keys(NUMBERED), within=60, what="no numbered face in the bucket")
        for name in SERVICES:
            begin = time.monotonic()
            with full(name, seconds=30):
                kill(name)
            await_more(lambda: len(keys(NUMBERED)), what=f"{name} was killed; nothing is stored")
            await_more(lambda: len(seen_ids()), what=f"{name} was killed; no faces are found")
            figures.append(f"filled, kill -9 {name:<20} flows again after {time.monotonic() - begin:4.1f} s")
        docker("stop", "--time", "90", "numbered_camera")
        assert inspect("numbered_camera")["State"]["ExitCode"] == 0, "not all numbered faces were confirmed at the edge"
        count = int(docker("logs", "numbered_camera").split()[-1])
        assert count > 100
        expected = {face_key(event): png for event, png in map(numbered_face, range(count))}
        eventually(lambda: keys(NUMBERED) >= expected.keys(), within=60, what="numbered faces are missing")
        seen_by_now = seen_ids()
        assert len(seen_by_now) > 100
        eventually(lambda: seen_by_now <= detectors_ids().keys(), within=60, what="the detector's faces are missing")
    assert {key: png for key, png in bucket().items() if key.startswith(f"{NUMBERED}/")} == expected
    assert [id_ for id_, objects in detectors_ids().items() if objects > 1] == []
    figures.append(f"killed {len(SERVICES)} containers: {count} numbered and {len(seen_by_now)} found faces, none lost")


def test_a_stop_is_orderly_and_a_start_goes_on() -> None:
    """Within 10 seconds and with status 0; what was in an outbox then is in the bucket after the next start."""
    eventually(lambda: figure("edge_face_detection", "faces_total") > 20, within=60, what="no faces are found")
    for name in (*EDGE, *CLOUD):
        begin = time.monotonic()
        compose("stop", name)
        assert time.monotonic() - begin < 10, name
        assert inspect(name)["State"]["ExitCode"] == 0, name
    for name in PROGRAMS:
        assert '"message": "stopped' in run("docker", "logs", "--tail", "3", name).stderr.decode()
    before = len(keys("faces/demo"))
    compose("start")
    eventually(lambda: len(keys("faces/demo")) > before + 20, within=90, what="no faces after the start")
    eventually(lambda: figure("edge_forwarder", "outbox_messages") < 20, within=60, what="the outbox does not drain")
