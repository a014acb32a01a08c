"""The forwarder as a process, between two real brokers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dev.stack.mosquitto import Mosquitto
from face_messages import FaceEvent, Message, new_id
from face_messages.message import RECEIPTS_TOPIC, TOPIC
from tests.conftest import StartBroker
from tests.support.parts import MIB, SendingSide, TakingSide, numbered
from tests.support.plain import plain_client, publish
from tests.support.programs import Program, forwarder
from tests.support.waiting import at_least, eventually, never


@pytest.fixture
def edge_broker(start_broker: StartBroker) -> Mosquitto:
    return start_broker()


@pytest.fixture
def cloud_broker(start_broker: StartBroker) -> Mosquitto:
    return start_broker()


@pytest.fixture
def program(tmp_path: Path, edge_broker: Mosquitto, cloud_broker: Mosquitto) -> Iterator[Program]:
    """A forwarder, not started yet."""
    made = forwarder(tmp_path, edge_broker.url, cloud_broker.url)
    yield made
    made.kill()


def started(program: Program) -> Program:
    program.start()
    program.expect("edge_broker_up", 1)
    program.expect("cloud_broker_up", 1)
    return program


def event_message(payload: bytes, topic: str = TOPIC) -> Message:
    return FaceEvent(new_id(), "tx2", "cam0", datetime.now(UTC), frame=1).to_message(topic, payload)


def test_faces_pass_from_edge_to_cloud_once(
    program: Program, edge_broker: Mosquitto, cloud_broker: Mosquitto, tmp_path: Path
) -> None:
    """With all that belongs to them; only the hop's own correlation and response topic change."""
    started(program)
    with (
        TakingSide(cloud_broker.url) as keeper,
        SendingSide(edge_broker.url, tmp_path / "detector.db", client_id="tx2-cam0") as detector,
    ):
        originals = [
            event_message(payload, f"{TOPIC}/tx2" if i % 2 else TOPIC) for i, payload in enumerate(numbered(500))
        ]
        for message in originals:
            detector.outbox.put(FaceEvent.from_message(message).id.encode(), message, lambda: None)
        eventually(lambda: detector.outbox.confirmed == 500)
        program.expect("outbox_confirmed_total", 500)
        assert sorted((m.payload, m.topic, m.content_type, m.user_properties) for m in keeper.messages) == [
            (m.payload, m.topic, m.content_type, m.user_properties) for m in originals
        ]
        assert {m.response_topic for m in keeper.messages} == {f"{RECEIPTS_TOPIC}/tx2"}
        assert all(m.correlation_data == FaceEvent.from_message(m).id.encode() for m in keeper.messages)


@pytest.mark.parametrize("v5", [False, True], ids=["MQTT 3.1.1", "MQTT 5"])
@pytest.mark.parametrize("qos", [0, 1])
def test_a_plain_message_passes_and_is_in_custody(
    program: Program, edge_broker: Mosquitto, cloud_broker: Mosquitto, v5: bool, qos: int
) -> None:
    """It is no event, and gets an id of the forwarder's."""
    started(program)
    with TakingSide(cloud_broker.url) as keeper, plain_client(edge_broker.port, v5=v5) as client:
        publish(client, f"{TOPIC}/somewhere", b"Testing message", qos=qos)
        program.expect("outbox_confirmed_total", 1)
        (message,) = keeper.messages
    assert (message.topic, message.payload) == (f"{TOPIC}/somewhere", b"Testing message")
    assert message.wants_receipt


def test_two_equal_plain_messages_are_two(program: Program, edge_broker: Mosquitto, cloud_broker: Mosquitto) -> None:
    """Nothing tells that they are one sent twice."""
    started(program)
    with TakingSide(cloud_broker.url) as keeper, plain_client(edge_broker.port, v5=False) as client:
        publish(client, TOPIC, b"again")
        publish(client, TOPIC, b"again")
        program.expect("outbox_confirmed_total", 2)
        assert keeper.payloads == [b"again", b"again"]


def test_the_edge_gets_no_receipt_while_the_forwarder_stands_still(
    program: Program, edge_broker: Mosquitto, tmp_path: Path
) -> None:
    """Stopped, it cannot have anything on disk; going on, it catches up."""
    started(program)
    program.pause()
    with SendingSide(edge_broker.url, tmp_path / "detector.db", client_id="tx2-cam0") as detector:
        for payload in numbered(100):
            detector.put(payload)
        eventually(lambda: detector.sender.unconfirmed == 100)
        never(lambda: detector.outbox.confirmed, during=0.5)
        program.resume()
        eventually(lambda: detector.outbox.confirmed == 100)
    program.expect("outbox_messages", 100)


def test_the_edge_gets_no_receipt_from_a_full_outbox(
    edge_broker: Mosquitto, cloud_broker: Mosquitto, tmp_path: Path
) -> None:
    """The faces stay with the detector, and follow once the cloud takes some; said once."""
    full = forwarder(tmp_path, edge_broker.url, cloud_broker.url, OUTBOX_MAX_BYTES=str(2 * MIB))
    with full, SendingSide(edge_broker.url, tmp_path / "detector.db", client_id="tx2-cam0") as detector:
        payloads = numbered(200, size=30_000)
        for payload in payloads:
            detector.put(payload)
        full.expect("outbox_refusing", 1)
        eventually(lambda: detector.outbox.confirmed == full.figure("outbox_messages"))
        assert 0 < detector.outbox.confirmed < 100
        with TakingSide(cloud_broker.url) as keeper:
            eventually(lambda: detector.outbox.confirmed == 200, within=40)
            full.expect("outbox_messages", 0)
            assert sorted(set(keeper.payloads)) == payloads
        full.expect("outbox_refusing", 0)
    assert full.log_text().count("is full") == 1


def test_kills_of_the_forwarder_and_both_brokers_lose_nothing(
    program: Program, edge_broker: Mosquitto, cloud_broker: Mosquitto, tmp_path: Path
) -> None:
    """`kill -9` of each in mid-flow: in the end each face has arrived, as one event."""
    started(program)
    with (
        TakingSide(cloud_broker.url) as keeper,
        SendingSide(edge_broker.url, tmp_path / "detector.db", client_id="tx2-cam0", resend_after=(3, 4)) as detector,
    ):
        sent: set[bytes] = set()
        for part in (program, edge_broker, cloud_broker, program, edge_broker, cloud_broker):
            confirmed = detector.outbox.confirmed
            for payload in numbered(300, size=5000, first=len(sent)):
                message = event_message(payload)
                detector.outbox.put(FaceEvent.from_message(message).id.encode(), message, lambda: None)
                sent.add(payload)
            at_least(lambda: detector.outbox.confirmed, confirmed + 20)
            part.kill()
            part.start()
        eventually(lambda: len(detector.outbox) == 0, within=40)
        program.expect("outbox_messages", 0, within=40)
        events = {FaceEvent.from_message(m).id: m.payload for m in keeper.messages}
        assert set(events.values()) == sent
        assert len(events) == len(sent)


def test_sigterm_under_load_ends_soon_and_the_rest_arrives_after_the_next_start(
    program: Program, edge_broker: Mosquitto, cloud_broker: Mosquitto, tmp_path: Path
) -> None:
    """Exit status 0 within 10 s, several times over."""
    with (
        TakingSide(cloud_broker.url) as keeper,
        SendingSide(edge_broker.url, tmp_path / "detector.db", client_id="tx2-cam0", resend_after=(3, 4)) as detector,
    ):
        payloads = numbered(3000, size=5000)
        for payload in payloads:
            detector.put(payload)
        for _ in range(3):
            program.start()
            at_least(lambda: len(keeper.messages), len(keeper.messages) + 100)
            assert_ends_well(program)
        started(program)
        eventually(lambda: len(detector.outbox) == 0)
        program.expect("outbox_messages", 0)
        assert sorted(set(keeper.payloads)) == payloads


def assert_ends_well(program: Program) -> None:
    before = time.monotonic()
    assert program.terminate(timeout=15) == 0, program.log_tail()
    assert time.monotonic() - before < 10
    assert "stopped: " in program.log_text()
    assert "Traceback" not in program.log_text()


def test_sigterm_before_the_brokers_are_there(tmp_path: Path, start_broker: StartBroker) -> None:
    """Both refuse connections: it ends at once."""
    edge, cloud = start_broker(), start_broker()
    edge.kill()
    cloud.kill()
    waiting = forwarder(tmp_path, edge.url, cloud.url)
    with waiting:
        waiting.expect_line("cannot use the broker " + edge.url)
        waiting.expect_line("cannot use the broker " + cloud.url)
        assert_ends_well(waiting)


def test_sigterm_while_both_brokers_are_black_holes(tmp_path: Path) -> None:
    """Addresses that answer nothing hold up the end for no longer than the others."""
    lost = forwarder(tmp_path, "mqtt://192.0.2.1", "mqtts://192.0.2.2")
    with lost:
        lost.expect_line("started as tx2")
        assert_ends_well(lost)


def test_sigterm_while_a_full_outbox_holds_everything_up(
    edge_broker: Mosquitto, cloud_broker: Mosquitto, tmp_path: Path
) -> None:
    """What it could not take stays with the detector."""
    full = forwarder(tmp_path, edge_broker.url, cloud_broker.url, OUTBOX_MAX_BYTES=str(1 * MIB))
    with full, SendingSide(edge_broker.url, tmp_path / "detector.db", client_id="tx2-cam0") as detector:
        for payload in numbered(200, size=30_000):
            detector.put(payload)
        full.expect("outbox_refusing", 1)
        assert_ends_well(full)
        assert len(detector.outbox) > 100


def test_the_same_broker_twice_is_refused(tmp_path: Path, edge_broker: Mosquitto) -> None:
    """Each face would go round for ever."""
    wrong = forwarder(tmp_path, edge_broker.url, edge_broker.url)
    wrong.start()
    assert wrong.wait(20) == 2
    (line,) = wrong.log_text().splitlines()
    assert "EDGE_MQTT_URL, CLOUD_MQTT_URL: are the same broker" in line


def test_a_damaged_outbox_is_set_aside_and_the_work_goes_on(
    program: Program, edge_broker: Mosquitto, cloud_broker: Mosquitto, tmp_path: Path
) -> None:
    """With a line that names both files."""
    (tmp_path / "forwarder.db").write_bytes(os.urandom(100_000))
    started(program)
    line = program.expect_line("is damaged")
    (aside,) = tmp_path.glob("forwarder.db.damaged-*")
    assert aside.name in line
    with TakingSide(cloud_broker.url) as keeper, plain_client(edge_broker.port) as client:
        publish(client, TOPIC, b"x")
        eventually(lambda: keeper.payloads == [b"x"])


def test_an_outbox_that_cannot_be_opened_is_waited_for(
    tmp_path: Path, edge_broker: Mosquitto, cloud_broker: Mosquitto
) -> None:
    """It names the variable, confirms nothing, and goes on when the place is there."""
    (tmp_path / "place").touch()
    waiting = forwarder(tmp_path, edge_broker.url, cloud_broker.url, OUTBOX_PATH=str(tmp_path / "place" / "o.db"))
    with (
        waiting,
        SendingSide(edge_broker.url, tmp_path / "detector.db", client_id="tx2-cam0") as detector,
    ):
        detector.put(b"x")
        waiting.expect_line("OUTBOX_PATH cannot be used")
        (tmp_path / "place").unlink()
        eventually(lambda: detector.outbox.confirmed == 1)
        assert waiting.log_text().count("OUTBOX_PATH") == 1
        assert_ends_well(waiting)


def test_an_event_without_receipts_wished_and_with_a_long_id_is_delivered_once(
    program: Program, edge_broker: Mosquitto, cloud_broker: Mosquitto
) -> None:
    """Its id would not fit a receipt, so it travels under one of the forwarder's."""
    started(program)
    attributes = {**FaceEvent.from_message(event_message(b"")).attributes(), "id": "\U0001f600" * 200}
    with TakingSide(cloud_broker.url) as keeper, plain_client(edge_broker.port) as client:
        publish(client, TOPIC, b"x", ContentType="image/png", UserProperty=list(attributes.items()))
        program.expect("outbox_confirmed_total", 1)
        assert keeper.payloads == [b"x"]


def test_health_and_figures_are_served(program: Program, cloud_broker: Mosquitto) -> None:
    """A broker that is away is told, and no reason for a restart."""
    started(program)
    cloud_broker.kill()
    program.expect("cloud_broker_up", 0)
    status, body = program.ask("/healthz")
    assert status == 200
    assert '"cloud_broker": "down"' in body
    assert '"edge_broker": "up"' in body
    assert program.ask("/else")[0] == 404
