"""A disk that dies under an outbox, or is dead at the start: faces go on from memory, and it is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.stack.clip import PICTURE
from dev.stack.mosquitto import Mosquitto
from face_messages import Outbox
from face_messages.message import TOPIC
from tests.conftest import StartBroker
from tests.support.disks import SmallDisk
from tests.support.parts import MIB, SendingSide, TakingSide
from tests.support.plain import listening, plain_client, publish
from tests.support.programs import Program, forwarder
from tests.support.waiting import eventually

KINDS = pytest.mark.parametrize("kind", ["dies", "turns_read_only"])


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    small = SmallDisk(tmp_path / "disk")
    try:
        yield small
    finally:
        small.remove()


@pytest.fixture
def brokers(start_broker: StartBroker) -> tuple[Mosquitto, Mosquitto]:
    """The edge's and the cloud's."""
    return start_broker(), start_broker()


def on(disk: SmallDisk, tmp_path: Path, brokers: tuple[Mosquitto, Mosquitto]) -> Program:
    """A forwarder whose outbox lies there."""
    edge, cloud = brokers
    return forwarder(tmp_path, edge.url, cloud.url, OUTBOX_PATH=str(disk.folder / "outbox.db"))


def health(program: Program) -> tuple[int, dict[str, object]]:
    status, body = program.ask("/healthz")
    return status, json.loads(body)


def is_said(program: Program) -> bool:
    """In /healthz and in the figures."""
    status, body = health(program)
    return status == 503 and body["well"] is False and body["failed"] == ["outbox"] and body["outbox"] != "well"


def is_well(program: Program) -> bool:
    status, body = health(program)
    return status == 200 and body["well"] is True and body["outbox"] == "well"


def carry(detector: SendingSide, keeper: TakingSide, name: bytes, count: int = 20) -> None:
    """New faces come through, and their senders are told."""
    before = detector.outbox.confirmed
    faces = [b"%s %d" % (name, i) for i in range(count)]
    for face in faces:
        detector.put(face)
    eventually(lambda: set(faces) <= set(keeper.payloads), within=20, what="new faces do not come through")
    eventually(lambda: detector.outbox.confirmed >= before + count, within=20, what="their sender is not told")


@KINDS
@pytest.mark.parametrize("waiting", [True, False], ids=["faces waiting", "idle"])
def test_the_forwarder_goes_on_and_recovers(
    disk: SmallDisk, brokers: tuple[Mosquitto, Mosquitto], tmp_path: Path, kind: str, waiting: bool
) -> None:
    """What waited is sent once the disk can be read, and nothing is lost."""
    edge, cloud = brokers
    old = [b"before %d" % i for i in range(20)] if waiting else []
    with (
        on(disk, tmp_path, brokers) as program,
        SendingSide(edge.url, tmp_path / "detector.db", client_id="tx2:camera0") as detector,
    ):
        program.expect("edge_broker_up", 1)
        program.expect("cloud_broker_up", 1)
        if waiting:
            cloud.terminate()
            for face in old:
                detector.put(face)
            program.expect("outbox_messages", 20)
            eventually(lambda: detector.outbox.confirmed == 20)
            program.restart()  # so that it does not have them in memory
            program.expect("edge_broker_up", 1)
        getattr(disk, kind)()
        if waiting:
            cloud.start()
        with TakingSide(cloud.url) as keeper:
            carry(detector, keeper, b"meanwhile")
            eventually(lambda: is_said(program), within=10, what=lambda: str(health(program)))
            if kind == "turns_read_only":
                eventually(lambda: set(old) <= set(keeper.payloads), within=20, what="it can be read, and is not")
            with plain_client(edge.port) as camera:
                publish(camera, TOPIC, b"plain")
            eventually(lambda: b"plain" in keeper.payloads, within=20)
            eventually(lambda: unmounts(disk), within=30, what="somebody still holds its files")
            disk.mount()
            eventually(lambda: is_well(program), within=30, what=lambda: str(health(program)))
            eventually(lambda: set(old) <= set(keeper.payloads), within=20, what="what waited is lost")
            program.expect("outbox_messages", 0)
            carry(detector, keeper, b"afterwards")
            cloud.terminate()
            detector.put(b"kept")
            program.expect("outbox_messages", 1)
    assert program.log_text().count("the outbox cannot be written") == 1
    assert program.log_text().count("the outbox takes messages again") == 1


def unmounts(disk: SmallDisk) -> bool:
    try:
        disk.unmount()
    except Exception:  # noqa: BLE001 - it is busy
        return False
    return True


@pytest.mark.parametrize("kind", ["dies", "turns_read_only", "is no folder"])
def test_the_forwarder_starts_without_its_disk(
    disk: SmallDisk, brokers: tuple[Mosquitto, Mosquitto], tmp_path: Path, kind: str
) -> None:
    edge, cloud = brokers
    earlier = on(disk, tmp_path, brokers)
    with (
        SendingSide(edge.url, tmp_path / "detector.db", client_id="tx2:camera0") as detector,
    ):
        with earlier:
            cloud.terminate()
            detector.put(b"from before")
            earlier.expect("outbox_messages", 1)
        folder = disk.folder
        if kind == "is no folder":
            disk.unmount()
            folder.rmdir()
            folder.touch()
        else:
            getattr(disk, kind)()
        cloud.start()
        with on(disk, tmp_path, brokers) as program, TakingSide(cloud.url) as keeper:
            program.expect_line("OUTBOX_PATH cannot be used")
            eventually(lambda: is_said(program), within=10, what=lambda: str(health(program)))
            carry(detector, keeper, b"meanwhile")
            if kind == "is no folder":
                folder.unlink()
                folder.mkdir()
            else:
                eventually(lambda: unmounts(disk), within=30, what="somebody still holds its files")
            disk.mount()
            eventually(lambda: is_well(program), within=30, what=lambda: str(health(program)))
            eventually(lambda: b"from before" in keeper.payloads, within=20, what="what waited is lost")
            carry(detector, keeper, b"afterwards")
            program.expect("outbox_messages", 0)


@KINDS
def test_the_detector_goes_on_and_recovers(disk: SmallDisk, broker: Mosquitto, tmp_path: Path, kind: str) -> None:
    """What it finds reaches its broker from memory, and others are told how it is."""
    settings = {"EDGE_ID": "tx2", "MQTT_URL": broker.url, "OUTBOX_PATH": str(disk.folder / "outbox.db")}
    video = {"VIDEO_SOURCE": str(PICTURE), "VIDEO_LOOP": "true"}
    program = Program("edge_face_detection", tmp_path, settings | video)
    with program, TakingSide(broker.url) as keeper, listening(broker.port, "facedetection_status/+/health") as healths:
        eventually(lambda: keeper.messages)
        getattr(disk, kind)()
        eventually(lambda: is_said(program), within=20, what=lambda: str(health(program)))
        eventually(lambda: b'"refusing":true' in healths.payloads[-1])
        assert b"mend it" in healths.payloads[-1]
        count = len(keeper.messages)
        eventually(lambda: len(keeper.messages) >= count + 20, within=20, what=program.log_tail)
        eventually(lambda: unmounts(disk), within=30, what="somebody still holds its files")
        disk.mount()
        eventually(lambda: is_well(program), within=30, what=lambda: str(health(program)))
        eventually(lambda: b'"refusing":false' in healths.payloads[-1])
        count = len(keeper.messages)
        eventually(lambda: len(keeper.messages) >= count + 20, within=20, what=program.log_tail)
    assert program.log_text().count("the outbox cannot be written") == 1


def test_the_detector_starts_without_its_disk(broker: Mosquitto, tmp_path: Path) -> None:
    (tmp_path / "place").touch()
    settings = {"EDGE_ID": "tx2", "MQTT_URL": broker.url, "OUTBOX_PATH": str(tmp_path / "place" / "outbox.db")}
    video = {"VIDEO_SOURCE": str(PICTURE), "VIDEO_LOOP": "true"}
    with Program("edge_face_detection", tmp_path, settings | video) as program, TakingSide(broker.url) as keeper:
        program.expect_line("OUTBOX_PATH cannot be used")
        eventually(lambda: len(keeper.messages) >= 20, within=20, what=program.log_tail)
        assert is_said(program)
        (tmp_path / "place").unlink()
        eventually(lambda: is_well(program), within=30, what=lambda: str(health(program)))


def test_an_outbox_that_another_program_has_is_said_in_health(
    brokers: tuple[Mosquitto, Mosquitto], tmp_path: Path
) -> None:
    edge, cloud = brokers
    other = Outbox(tmp_path / "forwarder.db", max_bytes=8 * MIB)
    with forwarder(tmp_path, edge.url, cloud.url) as program:
        program.expect_line("is in use by another program")
        assert is_said(program)
        other.close()
        program.expect("edge_broker_up", 1)
        eventually(lambda: is_well(program))


@KINDS
def test_what_has_no_receipt_yet_is_kept_by_its_sender_through_all_of_it(
    disk: SmallDisk, brokers: tuple[Mosquitto, Mosquitto], tmp_path: Path, kind: str
) -> None:
    """While the cloud is away too, nobody is told that a face is safe."""
    edge, cloud = brokers
    cloud.terminate()
    with SendingSide(edge.url, tmp_path / "detector.db", client_id="tx2:camera0") as detector:
        with on(disk, tmp_path, brokers) as program:
            program.expect("edge_broker_up", 1)
            getattr(disk, kind)()
            for i in range(50):
                detector.put(b"%d" % i)
            program.expect("messages_held", 50)
            program.expect_line("the outbox cannot be written")
            assert detector.outbox.confirmed == 0
            program.kill()
        cloud.start()
        with on(disk, tmp_path, brokers), TakingSide(cloud.url) as keeper:
            eventually(lambda: len(set(keeper.payloads)) == 50, within=40)
            eventually(lambda: detector.outbox.confirmed == 50)
