"""Several brokers of the cloud: the next is tried when one is away or refuses."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from dev.stack.mosquitto import Mosquitto
from dev.stack.proxy import Proxy
from tests.conftest import StartBroker
from tests.support.fake_broker import FakeBroker
from tests.support.parts import SendingSide, TakingSide, numbered
from tests.support.plain import listening
from tests.support.programs import forwarder
from tests.support.waiting import eventually

# CONNACK of MQTT 5: not authorized, and "use another server".
REFUSALS = [bytes.fromhex("20 03 00 87 00"), bytes.fromhex("20 03 00 9c 00")]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in list(caplog.records) if record.levelno == logging.WARNING]


def is_at(edge: SendingSide, broker: Mosquitto) -> bool:
    return edge.session.is_up and edge.session.url.port == broker.port


@pytest.fixture
def two(start_broker: StartBroker) -> tuple[Mosquitto, Mosquitto]:
    return start_broker(), start_broker()


def test_the_next_is_used_while_one_is_away_and_so_on_round(
    two: tuple[Mosquitto, Mosquitto], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once for each, and the faces go on."""
    one, other = two
    one.terminate()
    with SendingSide(f"{one.url}, {other.url}", tmp_path / "outbox.db") as edge, TakingSide(other.url):
        eventually(lambda: is_at(edge, other))
        assert len(warnings(caplog)) == 1
        assert warnings(caplog)[0].startswith(f"cannot use the broker {one.url} as edge1: ")
        assert warnings(caplog)[0].endswith(f"trying the next one, {other.url}")
        edge.put(b"first")
        eventually(lambda: edge.outbox.confirmed == 1)
        other.kill()
        eventually(lambda: sum(" as edge1: " in line for line in warnings(caplog)) >= 3, what="not all is said")
        one.start()
        eventually(lambda: is_at(edge, one))
        with TakingSide(one.url) as keeper:
            edge.put(b"second")
            eventually(lambda: edge.outbox.confirmed == 2)
            assert keeper.payloads == [b"second"]
    said = [line for line in warnings(caplog) if " as edge1: " in line]
    assert [line.split(" as ")[0] for line in said[1:]] == [
        f"lost the broker {other.url}",
        f"cannot use the broker {one.url}",
    ]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_the_next_is_used_where_one_refuses(broker: Mosquitto, tmp_path: Path, refusal: bytes) -> None:
    with FakeBroker(refusal) as refusing, TakingSide(broker.url) as keeper:
        with SendingSide(f"{refusing.url},{broker.url}", tmp_path / "outbox.db") as edge:
            edge.put(b"face")
            eventually(lambda: edge.outbox.confirmed == 1)
        assert keeper.payloads == [b"face"]


def test_all_away_is_no_busy_loop(tmp_path: Path, start_broker: StartBroker, caplog: pytest.LogCaptureFixture) -> None:
    """Each is told once, and what comes back is used."""
    brokers = [start_broker() for _ in range(3)]
    for each in brokers:
        each.terminate()
    with SendingSide(",".join(each.url for each in brokers), tmp_path / "outbox.db") as edge:
        eventually(lambda: len(warnings(caplog)) == 3)
        brokers[2].start()
        eventually(lambda: is_at(edge, brokers[2]))
        assert len(warnings(caplog)) == 3


def test_what_another_broker_has_acknowledged_is_sent_again_at_once(
    two: tuple[Mosquitto, Mosquitto], tmp_path: Path
) -> None:
    """Also where this one kept the session from before: it has not seen what the other one took."""
    one, other = two
    with Proxy(one.port) as link, SendingSide(f"{link.url},{other.url}", tmp_path / "outbox.db") as edge:
        eventually(lambda: edge.session.is_up)
        with listening(other.port, "facedetection_topic") as nobody:
            link.swallow = True
            link.cut()
            eventually(lambda: is_at(edge, other))
            for payload in numbered(20):
                edge.put(payload)
            eventually(lambda: len(nobody.messages) == 20)
        link.swallow = False
        with TakingSide(one.url) as keeper:
            other.kill()
            # Long before the timer of last resort.
            eventually(lambda: set(keeper.payloads) == set(numbered(20)), within=15)
            eventually(lambda: edge.outbox.confirmed == 20)


def test_the_forwarder_takes_a_list(two: tuple[Mosquitto, Mosquitto], broker: Mosquitto, tmp_path: Path) -> None:
    one, other = two
    with (
        forwarder(tmp_path, broker.url, f"{one.url},{other.url}") as program,
        TakingSide(one.url) as first,
        TakingSide(other.url) as second,
        SendingSide(broker.url, tmp_path / "detector.db", client_id="tx2:camera0") as detector,
    ):
        detector.put(b"one")
        eventually(lambda: first.payloads == [b"one"])
        one.kill()
        detector.put(b"two")
        eventually(lambda: b"two" in second.payloads)
        program.expect("outbox_messages", 0)
        program.expect_line(f"trying the next one, {other.url}")
