"""Custody between an outbox and a taker, over a real broker that is killed, loses things and refuses."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dev.stack.mosquitto import Mosquitto
from dev.stack.proxy import Proxy
from face_messages import Message, WhenFull
from face_messages.message import RECEIPTS_TOPIC, TOPIC
from tests.conftest import StartBroker
from tests.support.parts import MIB, SendingSide, TakingSide, numbered, put_and_wait
from tests.support.plain import listening, plain_client, publish
from tests.support.waiting import at_least, eventually, never


def test_messages_arrive_in_order_and_once(broker: Mosquitto, tmp_path: Path) -> None:
    """While nothing goes wrong nothing comes twice, and the outbox is empty in the end."""
    with TakingSide(broker.url) as keeper, SendingSide(broker.url, tmp_path / "outbox.db") as edge:
        payloads = numbered(500)
        for payload in payloads:
            edge.put(payload)
        eventually(lambda: edge.outbox.confirmed == len(payloads))
        assert keeper.payloads == payloads
        assert edge.sender.resent == 0
        eventually(lambda: len(edge.outbox) == 0)  # rows that were written meanwhile go a moment later


def test_properties_and_topic_travel_along(broker: Mosquitto, tmp_path: Path) -> None:
    """Content type, user properties with their order and doubles, and a topic below the main one stay as they are."""
    properties = (("b", "2"), ("a", "1"), ("a", "1"), ("é ☃", "\U0001f600"), ("empty", ""))
    with TakingSide(broker.url) as keeper, SendingSide(broker.url, tmp_path / "outbox.db") as edge:
        message_id = edge.put(b"x", topic=f"{TOPIC}/a/b", content_type="image/png", user_properties=properties)
        message = eventually(lambda: keeper.messages)[0]
    assert message.topic == f"{TOPIC}/a/b"
    assert (message.content_type, message.user_properties) == ("image/png", properties)
    assert message.correlation_data == message_id
    assert message.response_topic == f"{RECEIPTS_TOPIC}/edge1"


def test_what_is_not_safe_is_neither_acknowledged_nor_receipted(broker: Mosquitto, tmp_path: Path) -> None:
    """A keeper that holds messages keeps them in the outbox of their sender, and with the broker."""
    with (
        TakingSide(broker.url, hold=True) as keeper,
        listening(broker.port, f"{RECEIPTS_TOPIC}/#") as receipts,
        SendingSide(broker.url, tmp_path / "outbox.db") as edge,
    ):
        for payload in numbered(10):
            edge.put(payload)
        eventually(lambda: len(keeper.held) == 10)
        never(lambda: receipts.messages or edge.outbox.confirmed, during=0.3)
        keeper.session.stop()
        with TakingSide(broker.url) as again:
            eventually(lambda: edge.outbox.confirmed == 10)
            assert sorted(again.payloads) == numbered(10)


def test_receipts_are_batched_and_not_retained(broker: Mosquitto, tmp_path: Path) -> None:
    """Many messages cost few receipts, and none of them stays behind at the broker."""
    with (
        TakingSide(broker.url) as keeper,
        listening(broker.port, f"{RECEIPTS_TOPIC}/#") as receipts,
        SendingSide(broker.url, tmp_path / "outbox.db") as edge,
    ):
        ids = [edge.put(payload) for payload in numbered(500)]
        eventually(lambda: edge.outbox.confirmed == 500)
        assert sorted(keeper.payloads) == numbered(500)
        eventually(lambda: sum(p.count(b"\n") + 1 for p in receipts.payloads) == 500)
        assert sorted(b"\n".join(receipts.payloads).split(b"\n")) == sorted(ids)
        assert len(receipts.messages) < 250
    with listening(broker.port, f"{RECEIPTS_TOPIC}/#") as later:
        never(lambda: later.messages, during=0.2)


@pytest.mark.parametrize("away", [0.0, 1.0], ids=["restarted at once", "restarted later"])
def test_a_killed_broker_loses_nothing(broker: Mosquitto, tmp_path: Path, away: float) -> None:
    """`kill -9` of the broker in mid-flow, five times: all messages reach the keeper at least once."""
    with TakingSide(broker.url) as keeper, SendingSide(broker.url, tmp_path / "outbox.db", window=64) as edge:
        payloads = numbered(3000, size=2000)
        for round_number in range(3):
            for payload in payloads[round_number * 1000 : (round_number + 1) * 1000]:
                edge.put(payload)
            at_least(lambda: edge.outbox.confirmed, round_number * 1000 + 100)
            broker.kill()
            time.sleep(away)
            broker.start()
        eventually(lambda: edge.outbox.confirmed == len(payloads), within=40)
        assert set(keeper.payloads) == set(payloads)


def test_what_is_put_while_the_broker_is_away_arrives_later(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage is said once, and ends with a line as well."""
    caplog.set_level(logging.INFO)
    broker.kill()
    with SendingSide(broker.url, tmp_path / "outbox.db") as edge, TakingSide(broker.url, wait=False) as keeper:
        for payload in numbered(200):
            edge.put(payload)
        time.sleep(1)  # enough for some tries
        broker.start()
        eventually(lambda: edge.outbox.confirmed == 200)
        assert sorted(keeper.payloads) == numbered(200)
    of_the_edge = [r.getMessage() for r in caplog.records if "as edge1" in r.getMessage()]
    assert len(of_the_edge) == 2, of_the_edge
    assert "cannot use the broker" in of_the_edge[0]
    assert "connected to the broker" in of_the_edge[1]


def test_a_killed_sender_sends_what_is_unconfirmed_after_its_restart(broker: Mosquitto, tmp_path: Path) -> None:
    """`kill -9` of the sending process: what its outbox had reported as kept reaches the keeper."""
    child = subprocess.Popen(
        [sys.executable, "-c", _SENDING_CHILD, broker.url, str(tmp_path / "outbox.db")],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    reported = []
    with TakingSide(broker.url) as keeper:
        for line in child.stdout:
            reported.append(line.strip())
            if len(reported) == 500:
                os.kill(child.pid, signal.SIGKILL)
                break
        reported += [line.strip() for line in child.stdout if line.endswith(b"\n")]
        child.wait(10)
        child.stdout.close()
        with SendingSide(broker.url, tmp_path / "outbox.db") as edge:
            eventually(lambda: len(edge.outbox) == 0)
            assert set(reported) <= {payload.rstrip(b".") for payload in keeper.payloads}


_SENDING_CHILD = """
import sys
from pathlib import Path
from face_messages import Message
from tests.support.parts import SendingSide
with SendingSide(sys.argv[1], Path(sys.argv[2])) as edge:
    for i in range(100_000):
        text = b"%06d" % i
        done = lambda text=text: (sys.stdout.buffer.write(text + b"\\n"), sys.stdout.buffer.flush())
        edge.outbox.put(b"id-" + text, Message("facedetection_topic", text.ljust(100, b".")), done)
"""


def test_messages_wait_until_somebody_takes_them(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """PUBACK with reason 0x10 (no matching subscribers): kept, said once, and delivered when a taker comes."""
    with SendingSide(broker.url, tmp_path / "outbox.db") as edge:
        for payload in numbered(300):
            edge.put(payload)
        eventually(lambda: edge.sender.sent >= 3 and "nobody takes the messages" in caplog.text)
        sent_in_vain = edge.sender.sent
        assert edge.outbox.confirmed == 0
        with TakingSide(broker.url) as keeper:
            eventually(lambda: edge.outbox.confirmed == 300)
        assert sorted(keeper.payloads) == numbered(300)
        assert sent_in_vain < 1000, "asking whether somebody is there must not be a flood"
    assert len([r for r in caplog.records if "nobody takes the messages" in r.getMessage()]) == 1


def test_a_whole_window_that_nobody_took_is_sent_again(broker: Mosquitto, tmp_path: Path) -> None:
    """The taker's session is gone in mid-flow, with all that the broker had queued for it."""
    with TakingSide(broker.url, hold=True, keep_session=False) as keeper:
        edge = SendingSide(broker.url, tmp_path / "outbox.db", window=50, resend_after=(1.0, 1.0))
        with edge:
            for payload in numbered(200):
                edge.put(payload)
            eventually(lambda: len(keeper.held) == 50)
            keeper.session.stop()
            with TakingSide(broker.url) as again:
                eventually(lambda: edge.outbox.confirmed == 200)
                assert set(again.payloads) == set(numbered(200))


def test_lost_receipts_cause_a_resend_and_nothing_else(broker: Mosquitto, tmp_path: Path) -> None:
    """A keeper that acknowledges and never says so is asked again, after some patience and not in a flood."""
    with (
        listening(broker.port, f"{TOPIC}/#") as silent,
        SendingSide(broker.url, tmp_path / "outbox.db", resend_after=(0.3, 0.4)) as edge,
    ):
        ids = [edge.put(payload) for payload in numbered(20)]
        eventually(lambda: edge.sender.resent >= 2)
        assert edge.sender.resent < 20, "where nothing at all is confirmed, one message asks for all"
        assert set(silent.payloads) == set(numbered(20))
        with plain_client(broker.port) as keeper:
            publish(keeper, f"{RECEIPTS_TOPIC}/edge1", b"\n".join(ids))
        eventually(lambda: edge.outbox.confirmed == 20)
        assert edge.sender.unconfirmed == 0


def test_a_single_lost_message_among_confirmed_ones_is_sent_again(broker: Mosquitto, tmp_path: Path) -> None:
    """Receipts of later messages show that the one without is lost."""
    with (
        listening(broker.port, f"{TOPIC}/#") as silent,
        SendingSide(broker.url, tmp_path / "outbox.db", resend_after=(0.3, 0.4)) as edge,
        plain_client(broker.port) as keeper,
    ):
        lost, *others = [edge.put(payload) for payload in numbered(20)]
        eventually(lambda: len(silent.messages) == 20)
        publish(keeper, f"{RECEIPTS_TOPIC}/edge1", b"\n".join(others))
        eventually(lambda: len(silent.messages) > 20)
        assert silent.payloads[20:] == [numbered(1)[0]] * len(silent.payloads[20:])
        publish(keeper, f"{RECEIPTS_TOPIC}/edge1", lost)
        eventually(lambda: len(edge.outbox) == 0)


def test_the_session_tells_whether_to_resend(broker: Mosquitto, tmp_path: Path) -> None:
    """A connection that broke while the broker kept the session resends only what the broker had not acknowledged."""
    with (
        Proxy(broker.port) as link,
        TakingSide(broker.url, hold=True) as keeper,
        SendingSide(link.url, tmp_path / "outbox.db") as edge,
    ):
        for payload in numbered(50):
            edge.put(payload)
        eventually(lambda: len(keeper.held) == 50)
        eventually(lambda: all(f.packet_id is None for f in list(edge.sender._in_flight.flying.values())))
        link.cut()
        eventually(lambda: edge.session.connects == 2)
        keeper.release()
        eventually(lambda: edge.outbox.confirmed == 50)
        assert keeper.payloads == numbered(50)
        assert edge.sender.resent == 0


def test_receipts_for_unknown_ids_are_harmless(broker: Mosquitto, tmp_path: Path) -> None:
    """Nor are empty ones, ones with empty lines, and ones that are no text at all."""
    with (
        SendingSide(broker.url, tmp_path / "outbox.db") as edge,
        plain_client(broker.port) as stranger,
    ):
        kept = edge.put(b"stays")
        eventually(lambda: edge.session.is_up)
        for receipt in (b"unknown", b"", b"\n\n\n", b"\xff\xfe\x00\n'; DROP TABLE outbox; --", b"x" * 1_000_000):
            publish(stranger, f"{RECEIPTS_TOPIC}/edge1", receipt)
        publish(stranger, f"{RECEIPTS_TOPIC}/edge1", b"nonsense\n" + kept + b"\nnonsense")
        eventually(lambda: edge.outbox.confirmed == 1)
        eventually(lambda: len(edge.outbox) == 0)


def test_the_window_bounds_what_is_unconfirmed(broker: Mosquitto, tmp_path: Path) -> None:
    """Beyond it the outbox waits on disk."""
    with (
        TakingSide(broker.url, hold=True) as keeper,
        SendingSide(broker.url, tmp_path / "outbox.db", window=7) as edge,
    ):
        for payload in numbered(100):
            edge.put(payload)
        eventually(lambda: len(keeper.held) == 7)
        never(lambda: len(keeper.held) > 7 or edge.sender.unconfirmed > 7, during=0.3)
        keeper.release()
        eventually(lambda: edge.outbox.confirmed == 100)
        assert sorted(keeper.payloads) == numbered(100)


def test_the_taker_s_receive_maximum_bounds_what_it_holds(broker: Mosquitto, tmp_path: Path) -> None:
    """The broker keeps the rest."""
    with (
        TakingSide(broker.url, hold=True, receive_maximum=5) as keeper,
        SendingSide(broker.url, tmp_path / "outbox.db") as edge,
    ):
        for payload in numbered(100):
            edge.put(payload)
        eventually(lambda: len(keeper.held) == 5)
        never(lambda: len(keeper.held) > 5, during=0.3)
        keeper.release()
        eventually(lambda: edge.outbox.confirmed == 100)


def test_two_senders_get_each_its_own_receipts(start_broker: StartBroker, tmp_path: Path) -> None:
    """Receipts go to the topic of the client that asked."""
    broker = start_broker()
    with (
        TakingSide(broker.url) as keeper,
        SendingSide(broker.url, tmp_path / "a.db", client_id="edge-a") as a,
        SendingSide(broker.url, tmp_path / "b.db", client_id="edge-b") as b,
    ):
        for payload in numbered(100):
            a.put(b"a" + payload)
            b.put(b"b" + payload)
        eventually(lambda: a.outbox.confirmed == 100 and b.outbox.confirmed == 100)
        assert len(keeper.messages) == 200


def test_plain_messages_without_a_response_topic_are_acknowledged_only(broker: Mosquitto) -> None:
    """Of QoS 0 and 1, MQTT 3.1.1 and 5."""
    with TakingSide(broker.url) as keeper, listening(broker.port, f"{RECEIPTS_TOPIC}/#") as receipts:
        eventually(lambda: keeper.session.is_up)
        for v5 in (False, True):
            with plain_client(broker.port, v5=v5) as client:
                publish(client, TOPIC, b"one", qos=0)
                publish(client, f"{TOPIC}/below", b"two", qos=1)
        eventually(lambda: len(keeper.messages) == 4)
        never(lambda: receipts.messages, during=0.2)


def test_messages_that_were_overwritten_in_flight_and_come_again_are_delivered(
    broker: Mosquitto, tmp_path: Path
) -> None:
    """Under overwrite-oldest, with a window that is full the whole time: nothing gets stuck by it."""
    edge = SendingSide(
        broker.url,
        tmp_path / "outbox.db",
        max_bytes=1 * MIB,
        when_full=WhenFull.OVERWRITE_OLDEST,
        resend_after=(0.5, 0.6),
        window=8,
    )
    messages = [(b"%d" % i, Message(TOPIC, b"%d" % i + bytes(40_000))) for i in range(60)]
    with TakingSide(broker.url, hold=True) as keeper, edge:
        for _ in range(3):
            put_and_wait(edge.outbox, messages)
        assert edge.outbox.overwritten > 60
        eventually(lambda: len(keeper.held) >= 8)
        keeper.release()
        eventually(lambda: len(edge.outbox) == 0)
        put_and_wait(edge.outbox, messages[:10])
        eventually(lambda: len(edge.outbox) == 0)
        eventually(lambda: edge.sender.unconfirmed == 0)
