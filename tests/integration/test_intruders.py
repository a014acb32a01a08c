"""What an edge, or who has stolen its certificate, cannot do; and what happens to the others meanwhile."""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from dev.stack.bundle import Bundle
from dev.stack.s3 import S3Server
from face_messages import FaceEvent, Message
from face_messages.event import new_id
from face_messages.message import TOPIC
from tests.support.cloud_broker import CloudBroker
from tests.support.outside import NOT_AUTHORIZED, Outside
from tests.support.parts import TakingSide
from tests.support.plain import Listener, listening, plain_client, publish
from tests.support.programs import BUCKET, saver
from tests.support.raw import correlation_data, event_properties, packet, response_topic, string, user_property, varint
from tests.support.waiting import eventually

FACES = TOPIC.encode()
PNG = b"\x89PNG\r\n\x1a\n a picture"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[CloudBroker]:
    with CloudBroker(tmp_path / "cloud") as broker:
        yield broker


@pytest.fixture
def edge(cloud: CloudBroker) -> Bundle:
    return cloud.enrol("tx2-01")


@pytest.fixture
def client(cloud: CloudBroker, edge: Bundle) -> Iterator[Outside]:
    with Outside(cloud.outside_port, edge.context()) as outside:
        yield outside


@pytest.fixture
def everything(cloud: CloudBroker) -> Iterator[Listener]:
    """What anybody inside would see."""
    with listening(cloud.port, "#") as listener:
        yield listener


def settle(cloud: CloudBroker, everything: Listener) -> list[str]:
    """Topics of all that was delivered up to now."""
    with plain_client(cloud.port) as inside:
        publish(inside, "end", b"end")
    eventually(lambda: "end" in [message.topic for message in list(everything.messages)], what="no end")
    return [message.topic for message in everything.messages if message.topic != "end"]


@pytest.mark.parametrize(
    "topic",
    [
        "facedetection_receipts/tx2-02",
        "facedetection_receipts/tx2-01",
        "facedetection_control/tx2-01/camera0",
        "facedetection_control/tx2-02/camera0",
        "facedetection_status/tx2-02",
        "facedetection_status/tx2-01/many/more",
        "facedetection_status/tx2-01/health/more",
        "facedetection_status/tx2-01/healthy",
        "facedetection_status/tx2-02/health",
        "facedetection_status/tx2-01:door/health",
        "facedetection_status/cloud_saver/health",
        "facedetection_stored",
        "facedetection_stored/tx2-01/door",
        "facedetection_status/tx2-011",
        "facedetection_status",
        "facedetection_topicality",
        "anything/else",
        "$SYS/broker/version",
        "$CONTROL/dynamic-security/v1",
    ],
)
def test_an_edge_publishes_nowhere_else(cloud: CloudBroker, client: Outside, everything: Listener, topic: str) -> None:
    for retain in (False, True):
        assert client.publish(topic.encode(), b"from an edge", retain=retain) == NOT_AUTHORIZED
    assert topic not in settle(cloud, everything)


@pytest.mark.parametrize(
    "topic",
    [
        "facedetection_topic",
        "facedetection_topic/lobby",
        "facedetection_status/tx2-01",
        "facedetection_status/tx2-01/health",
    ],
)
def test_an_edge_publishes_what_it_should(
    cloud: CloudBroker, client: Outside, everything: Listener, topic: str
) -> None:
    assert client.publish(topic.encode(), b"from an edge") == 0
    assert topic in settle(cloud, everything)


@pytest.mark.parametrize(
    "topic",
    [
        "#",
        "+/#",
        "$SYS/#",
        "facedetection_topic",
        "facedetection_topic/#",
        "$share/savers/facedetection_topic/#",
        "$share/x/facedetection_receipts/tx2-01",
        "facedetection_receipts/#",
        "facedetection_receipts/+",
        "facedetection_receipts/tx2-02",
        "+/tx2-01",
        "facedetection_control/+/camera0",
        "facedetection_status/tx2-02",
        "facedetection_status/tx2-02/health",
        "facedetection_status/#",
        "facedetection_stored/#",
        "facedetection_stored/tx2-01/door",
    ],
)
def test_an_edge_subscribes_to_nothing_else(client: Outside, topic: str) -> None:
    assert client.subscribe(topic.encode()) >= 0x80


@pytest.mark.parametrize("topic", ["facedetection_receipts/tx2-01", "facedetection_control/tx2-01/#"])
def test_an_edge_subscribes_to_what_is_its_own(client: Outside, topic: str) -> None:
    assert client.subscribe(topic.encode()) == 1


def test_a_retained_message_on_the_faces_topic_is_refused(
    cloud: CloudBroker, client: Outside, everything: Listener
) -> None:
    """It would come to every new saver for ever, also after it was erased."""
    for topic in (FACES, FACES + b"/lobby"):
        assert client.publish(topic, b"face", retain=True) == NOT_AUTHORIZED
    assert settle(cloud, everything) == []


@pytest.mark.parametrize("topic", ["facedetection_status/tx2-01", "facedetection_status/tx2-01/health"])
def test_what_an_edge_leaves_in_the_broker_s_memory_is_small(
    cloud: CloudBroker, client: Outside, everything: Listener, topic: str
) -> None:
    """What is retained stays there for as long as the broker runs."""
    assert client.publish(topic.encode(), bytes(16 * 1024), retain=True) == 0
    assert client.publish(topic.encode(), bytes(16 * 1024 + 1), retain=True) == NOT_AUTHORIZED
    settle(cloud, everything)
    assert [len(message.payload) for message in everything.messages if message.topic == topic] == [16 * 1024]


@pytest.mark.parametrize(
    "topic", ["facedetection_topic", "facedetection_receipts/tx2-02", "facedetection_status/tx2-02"]
)
@pytest.mark.parametrize("retain", [False, True])
def test_a_will_goes_nowhere_but_to_the_own_status(
    cloud: CloudBroker, edge: Bundle, everything: Listener, topic: str, *, retain: bool
) -> None:
    """Nor as a face, since a will would come without its identity. Faces of others come as before."""
    forged = user_property(b"identity", b"tx2-02")
    Outside(cloud.outside_port, edge.context(), will=(topic.encode(), b"will", retain), will_properties=forged).drop()
    Outside(cloud.outside_port, edge.context(), will=(b"facedetection_status/tx2-01", b"gone", retain)).drop()
    eventually(lambda: everything.last_on("facedetection_status/tx2-01") == b"gone", what="no will at all")
    assert b"will" not in everything.payloads
    with plain_client(cloud.port) as inside:
        publish(inside, TOPIC, b"from inside")
    with Outside(cloud.outside_port, cloud.enrol("tx2-02").context()) as other:
        assert other.publish(FACES, b"from outside") == 0
    settle(cloud, everything)
    assert [p for p in everything.payloads if p.startswith(b"from")] == [b"from inside", b"from outside"]


def test_a_will_costs_no_message_that_waits(cloud: CloudBroker, edge: Bundle) -> None:
    """What the broker holds for a saver that is away is still there when it comes back, after a will was refused."""
    with TakingSide(cloud.url, client_id="cloud_saver"):
        pass
    with plain_client(cloud.port) as inside:
        publish(inside, TOPIC, b"waits")
    Outside(cloud.outside_port, edge.context(), will=(FACES, b"will", False)).drop()
    # Who comes in its place makes the broker notice that it has gone.
    Outside(cloud.outside_port, edge.context()).drop()
    with TakingSide(cloud.url, client_id="cloud_saver") as saver_again:
        eventually(lambda: saver_again.payloads == [b"waits"], what=lambda: str(saver_again.payloads))


def test_a_receipt_cannot_be_sent_to_another_edge(cloud: CloudBroker, client: Outside, everything: Listener) -> None:
    """It would make that edge discard a face that is stored nowhere. What asks for one is taken, and acknowledged."""
    with TakingSide(cloud.url, client_id="cloud_saver") as taking:
        for answers in (b"facedetection_receipts/tx2-02", b"facedetection_receipts/tx2-01"):
            properties = response_topic(answers) + correlation_data(answers[-6:])
            assert client.publish(FACES, b"face", properties=properties) == 0
        eventually(lambda: len(taking.messages) == 2, what="they are not taken")
        eventually(lambda: b"tx2-01" in everything.payloads, what="no receipt for the own one")
    assert b"tx2-02" not in everything.payloads


def test_inside_a_user_name_makes_no_edge(cloud: CloudBroker) -> None:
    """Without a certificate there is no identity, and nothing that is refused."""
    with TakingSide(cloud.url, client_id="cloud_saver") as inside:
        with plain_client(cloud.port, user=("tx2-01", "any")) as somebody:
            publish(somebody, TOPIC, b"face")
        eventually(lambda: inside.payloads == [b"face"], what="the face does not come")
        assert inside.messages[0].identity is None


def as_event(edge_id: str, camera: str = "door", event_id: str = "") -> bytes:
    event = FaceEvent(event_id or new_id(), edge_id, camera, datetime(2026, 5, 1, 8, tzinfo=UTC))
    return event_properties(list(event.attributes().items()))


def test_a_face_in_another_edge_s_name_is_filed_as_unattributed(
    cloud: CloudBroker, client: Outside, s3: S3Server, tmp_path: Path
) -> None:
    """With whose it is and whose it pretends to be as metadata, one line in the log, and a count."""
    with saver(tmp_path, cloud.url, s3) as running:
        running.expect("cloud_broker_up", 1)
        assert client.publish(FACES, PNG + b"1", properties=as_event("tx2-01")) == 0
        for number in (b"2", b"3"):
            assert client.publish(FACES, PNG + number, properties=as_event("tx2-02")) == 0
        forged = as_event("tx2-02") + user_property(b"identity", b"tx2-02")
        assert client.publish(FACES, PNG + b"4", properties=forged) == 0
        running.expect("objects_stored_total", 4)
        assert running.figure("messages_impostor_total") == 3
        (line,) = [text for text in running.log_text().splitlines() if "sends faces as" in text]
        assert "tx2-01 sends faces as /edges/tx2-02/cameras/door" in line
    keys = sorted(s3.objects(BUCKET))
    assert len([key for key in keys if key.startswith("faces/unattributed/")]) == 3
    assert len([key for key in keys if key.startswith("faces/tx2-01/door/2026/05/01/")]) == 1
    assert len(keys) == 4


def test_a_message_cannot_be_stored_outside_its_place(
    cloud: CloudBroker, client: Outside, s3: S3Server, tmp_path: Path
) -> None:
    names = ["../../tx2-02", "..", "a/../../b", "%2e%2e%2f", "x" * 250, "-", "~", "\u202e"]
    with saver(tmp_path, cloud.url, s3) as running:
        running.expect("cloud_broker_up", 1)
        for number, name in enumerate(names):
            for properties in (as_event("tx2-01", name), as_event("tx2-01", "door", name)):
                assert client.publish(FACES, PNG + b"%d" % number, properties=properties) == 0
        running.expect("objects_stored_total", 2 * len(names))
    place = re.compile(r"faces/tx2-01/(?!\.)[^/]{1,128}/2026/05/01/20260501T080000\.000000Z-[^/]{1,128}\.png")
    assert [key for key in s3.objects(BUCKET) if not place.fullmatch(key)] == []


def test_a_flood_does_not_fill_the_saver_s_memory(
    cloud: CloudBroker, edge: Bundle, s3: S3Server, tmp_path: Path
) -> None:
    """400 MB as fast as they go: it takes what it can write, and the broker drops what is beyond its own bounds."""
    # glibc, which the images do not have, keeps what many threads have freed.
    program = saver(tmp_path, cloud.url, s3, MALLOC_MMAP_THRESHOLD_="65536")
    with program as running, Outside(cloud.outside_port, edge.context()) as flooder:
        running.expect("cloud_broker_up", 1)
        # At its worst: all of it waits in the broker.
        running.pause()
        for number in range(50):
            flooder.publish(FACES, PNG + number.to_bytes(4) * 2_000_000)
        running.resume()
        running.expect("messages_held", 0, within=60)
        assert running.peak_rss_bytes() < 300e6
        assert cloud.peak_rss_bytes() < 300e6


def _is_last(inside: TakingSide, payload: bytes) -> bool:
    return inside.payloads[-1:] == [payload]


def keeps_delivering(other: Outside, inside: TakingSide, count: int = 20) -> None:
    """An edge that does nothing wrong gets its faces through, each within some seconds."""
    for number in range(count):
        payload = b"%d at %d" % (number, time.monotonic_ns())
        assert other.publish(FACES, payload) == 0
        eventually(partial(_is_last, inside, payload), within=10, what="no face comes")


def test_a_packet_of_100_mb_ends_the_connection_of_who_sends_it(cloud: CloudBroker, edge: Bundle) -> None:
    with (
        TakingSide(cloud.url, client_id="cloud_saver") as inside,
        Outside(cloud.outside_port, cloud.enrol("tx2-02").context()) as other,
        Outside(cloud.outside_port, edge.context()) as huge,
    ):
        head = b"\x32" + varint(100_000_000) + string(FACES) + b"\x00\x01\x00"
        with pytest.raises(OSError):  # noqa: PT011 - the broker may close before, or while, it is sent
            huge.socket.sendall(head + bytes(100_000_000))
        keeps_delivering(other, inside)
        assert cloud.peak_rss_bytes() < 100e6
        assert len(inside.payloads) == 20


def test_a_thousand_idle_connections_do_not_disturb_who_is_connected(cloud: CloudBroker) -> None:
    """They take up the places that are left, and are thrown out; who comes meanwhile waits for one."""
    with (
        TakingSide(cloud.url, client_id="cloud_saver") as inside,
        Outside(cloud.outside_port, cloud.enrol("tx2-02").context()) as other,
        ExitStack() as idle,
    ):
        for _ in range(1000):
            idle.enter_context(socket.create_connection(("127.0.0.1", cloud.outside_port), 10))
        keeps_delivering(other, inside)
        with pytest.raises(OSError):  # noqa: PT011 - closed before or during the handshake
            Outside(cloud.outside_port, cloud.enrol("tx2-03").context())
        assert cloud.peak_rss_bytes() < 100e6


@pytest.mark.parametrize("keepalive", [0, 60, 65535])
def test_a_client_that_has_vanished_is_noticed_whatever_keepalive_it_asks_for(
    cloud: CloudBroker, edge: Bundle, keepalive: int
) -> None:
    """The kernel probes the connection; nothing else would end one without a keepalive."""
    with Outside(cloud.outside_port, edge.context(), keepalive=keepalive) as client:
        assert client.reason == 0
        port = client.socket.getsockname()[1]
        eventually(lambda: 60 < probed_within(cloud.outside_port, port) <= 120, what="no probe is due")


def probed_within(server: int, client: int) -> float:
    """Seconds until the server's side of a connection is probed; 0 where no probe is due.

    https://docs.kernel.org/networking/proc_net_tcp.html
    """
    ports = {f"{server:04X}", f"{client:04X}"}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, _, timer, *_ = line.split()
        if local.endswith(f":{server:04X}") and {local[-4:], remote[-4:]} == ports and state == "01":
            kind, when = timer.split(":")
            return int(when, 16) / os.sysconf("SC_CLK_TCK") if kind == "02" else 0.0
    raise AssertionError("there is no such connection")


def test_slow_handshakes_do_not_disturb_others(cloud: CloudBroker, edge: Bundle) -> None:
    """A client that sends a byte of its hello now and then, and one that stops in the middle of CONNECT."""
    out = ssl.MemoryBIO()
    hello = edge.context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    data = out.read()
    with (
        TakingSide(cloud.url, client_id="cloud_saver") as inside,
        ExitStack() as slow,
    ):
        other = slow.enter_context(Outside(cloud.outside_port, cloud.enrol("tx2-02").context()))
        for length in range(1, 50):
            stuck = slow.enter_context(socket.create_connection(("127.0.0.1", cloud.outside_port), 10))
            stuck.sendall(data[:length])
        raw = slow.enter_context(socket.create_connection(("127.0.0.1", cloud.outside_port), 10))
        half = slow.enter_context(edge.context().wrap_socket(raw, server_hostname="127.0.0.1"))
        half.sendall(packet(0x10, string(b"MQTT") + b"\x05\x02\x00\x3c\x00" + string(b"x"))[:9])
        keeps_delivering(other, inside)
        fresh = slow.enter_context(Outside(cloud.outside_port, cloud.enrol("tx2-03").context()))
        assert fresh.publish(FACES, b"fresh") == 0


def test_identity_is_the_last_property_of_that_name() -> None:
    """The broker's comes last, whatever the sender wrote."""
    assert Message(TOPIC, b"").identity is None
    assert Message(TOPIC, b"", user_properties=(("identity", "a"), ("x", "y"), ("identity", "b"))).identity == "b"
