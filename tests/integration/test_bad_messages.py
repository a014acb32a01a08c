"""Messages that nobody should send: each is stored in its place or refused with a line, and none stops the others."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dev.stack.mosquitto import Mosquitto
from dev.stack.s3 import S3Server
from face_messages import FaceEvent, new_id
from face_messages.message import MAX_MESSAGE_BYTES, RECEIPTS_TOPIC, TOPIC
from tests.support import raw
from tests.support.fake_broker import WELCOME, FakeBroker, suback
from tests.support.parts import TakingSide
from tests.support.plain import listening, plain_client, publish
from tests.support.programs import BUCKET, Program, forwarder, saver
from tests.support.waiting import eventually, never

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
EVENT = FaceEvent("0190-abc", "tx2", "cam0", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
ATTRIBUTES = EVENT.attributes()
SCHEME = re.compile(
    r"faces/[^/]+/[^/]+/\d{4}/\d\d/\d\d/\d{8}T\d{6}\.\d{6}Z-[^/]+\.png"
    r"|faces/unattributed/\d{4}/\d\d/\d\d/[0-9a-f]{64}\.png"
    r"|unrecognized/\d{4}/\d\d/\d\d/[0-9a-f]{64}"
)


@dataclass
class Way:
    """From an edge broker to the bucket."""

    edge: Mosquitto
    forwarder: Program
    saver: Program
    s3: S3Server

    def objects(self) -> dict[str, bytes]:
        found = {}
        for key, path in self.s3.objects(BUCKET).items():
            with contextlib.suppress(FileNotFoundError):  # it is being overwritten
                found[key] = path.read_bytes()
        return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """One for all tests of this file: what one message does to it, the next would notice."""
    folder = tmp_path_factory.mktemp("path")
    s3 = S3Server(folder / "s3")
    with s3, Mosquitto(folder / "edge") as edge, Mosquitto(folder / "cloud") as cloud:
        forwarding, saving = forwarder(folder, edge.url, cloud.url), saver(folder, cloud.url, s3)
        with saving, forwarding:
            saving.expect("cloud_broker_up", 1)
            forwarding.expect("edge_broker_up", 1)
            forwarding.expect("cloud_broker_up", 1)
            yield Way(edge, forwarding, saving, s3)
        for program in (saving, forwarding):
            assert "Traceback" not in program.log_text()
            assert "CRITICAL" not in program.log_text()


def with_changes(**changes: str | None) -> list[tuple[str, str]]:
    return [(name, value) for name, value in {**ATTRIBUTES, **changes}.items() if value is not None]


def unattributed(payload: bytes) -> str:
    return f"faces/unattributed/{datetime.now(UTC):%Y/%m/%d}/{hashlib.sha256(payload).hexdigest()}.png"


def unrecognized(payload: bytes) -> str:
    return f"unrecognized/{datetime.now(UTC):%Y/%m/%d}/{hashlib.sha256(payload).hexdigest()}"


def arrives(path: Way, payload: bytes) -> str:
    """The key under which this payload ends up, when all has passed and been confirmed."""
    key = eventually(lambda: next((k for k, body in path.objects().items() if body == payload), ""))
    path.forwarder.expect("outbox_messages", 0)
    assert SCHEME.fullmatch(key)
    assert all(SCHEME.fullmatch(k) for k in path.objects())
    return key


def unique(start: bytes = PNG) -> bytes:
    return start + new_id().encode()


@pytest.mark.parametrize(
    "payload",
    [b"text of a person", b"\xff\xfe\x00 no UTF-8", b"\x89PN", b"{}", b"GIF89a", PNG[:8] + b"truncated right here"],
    ids=["text", "not UTF-8", "too short", "json", "gif", "truncated PNG"],
)
def test_payloads_of_all_kinds_have_a_place(path: Way, payload: bytes) -> None:
    """A truncated PNG is a PNG still, as far as its first bytes tell."""
    payload = unique(payload)
    with plain_client(path.edge.port, v5=False) as client:
        publish(client, TOPIC, payload)
    assert arrives(path, payload) == (unattributed(payload) if payload.startswith(PNG[:8]) else unrecognized(payload))


def test_an_empty_message_has_a_place(path: Way) -> None:
    """It is one object, of no bytes."""
    with plain_client(path.edge.port, v5=False) as client:
        publish(client, TOPIC, b"")
    assert arrives(path, b"") == unrecognized(b"")


@pytest.mark.parametrize(
    ("attributes", "key"),
    [
        (with_changes(id=None), None),
        (with_changes(time=None), None),
        (with_changes(specversion=None), None),
        ([*ATTRIBUTES.items(), ("id", "another")], None),
        ([*ATTRIBUTES.items(), ("source", "/edges/a/cameras/b")], None),
        (with_changes(id="x" * 60_000), None),
        (with_changes(source="/edges/" + "e" * 60_000 + "/cameras/c"), None),
        (
            [*ATTRIBUTES.items(), ("other", "o" * 60_000)],
            "faces/tx2/cam0/2026/01/02/20260102T030405.000000Z-0190-abc.png",
        ),
        (
            [*ATTRIBUTES.items(), *([("other", "")] * 5000)],
            "faces/tx2/cam0/2026/01/02/20260102T030405.000000Z-0190-abc.png",
        ),
        (with_changes(time="yesterday"), None),
        (with_changes(time="2026-02-30T00:00:00Z"), None),
        (with_changes(time="0001-01-01T00:00:00Z"), "faces/tx2/cam0/0001/01/01/00010101T000000.000000Z-0190-abc.png"),
        (
            with_changes(time="9999-12-31T23:59:59.999999Z"),
            "faces/tx2/cam0/9999/12/31/99991231T235959.999999Z-0190-abc.png",
        ),
        (
            with_changes(source="/edges/../cameras/../../unrecognized"),
            "faces/%2E%2E/%2E%2E%2F%2E%2E%2Funrecognized/2026/01/02/20260102T030405.000000Z-0190-abc.png",
        ),
        (
            with_changes(id="../../../../x"),
            "faces/tx2/cam0/2026/01/02/20260102T030405.000000Z-%2E%2E%2F%2E%2E%2F%2E%2E%2F%2E%2E%2Fx.png",
        ),
        (
            with_changes(id="é ☃ \U0001f600"),
            "faces/tx2/cam0/2026/01/02/20260102T030405.000000Z-%C3%A9%20%E2%98%83%20%F0%9F%98%80.png",
        ),
        (with_changes(type="somebody.elses.v1"), None),
    ],
    ids=[
        "no id",
        "no time",
        "no specversion",
        "id twice",
        "source twice",
        "60 kB id",
        "60 kB source",
        "60 kB other",
        "5000 others",
        "nonsense time",
        "no such day",
        "year 1",
        "year 9999",
        "../ in source",
        "../ in id",
        "not ASCII",
        "another type",
    ],
)
def test_attributes_of_all_kinds_lead_to_a_place(path: Way, attributes: list[tuple[str, str]], key: str | None) -> None:
    """An event that is not valid counts as a message without attributes."""
    payload = unique()
    client = raw.RawClient(path.edge.port)
    client.send(raw.publish(TOPIC.encode(), payload, properties=raw.event_properties(attributes)))
    assert client.answer()[0] == 0x40
    client.close()
    assert arrives(path, payload) == (key or unattributed(payload))


def test_correlation_data_need_not_be_text(path: Way) -> None:
    """The receipt carries the same bytes."""
    correlation, payload = b"\xff\xfe\x00\x80", unique()
    with listening(path.edge.port, f"{RECEIPTS_TOPIC}/#") as receipts, plain_client(path.edge.port) as client:
        publish(client, TOPIC, payload, ResponseTopic=f"{RECEIPTS_TOPIC}/me", CorrelationData=correlation)
        eventually(lambda: receipts.payloads == [correlation])
    assert arrives(path, payload) == unattributed(payload)


@pytest.mark.parametrize(
    ("topic", "correlation"),
    [
        ("facedetection_control/tx2/cam0", b"pause"),
        ("facedetection_status/tx2", b"offline"),
        (TOPIC, b"again and again"),
        (f"{RECEIPTS_TOPIC}/a/b", b"x"),
        (f"{RECEIPTS_TOPIC}/me", b"x\ny"),
        (f"{RECEIPTS_TOPIC}/me", b"x" * 60_000),
        (f"{RECEIPTS_TOPIC}/me", b""),
    ],
    ids=["control", "status", "topic itself", "deeper", "two lines", "60 kB", "empty"],
)
def test_no_receipt_goes_where_none_belongs(path: Way, topic: str, correlation: bytes) -> None:
    """The message is stored all the same."""
    payload = unique()
    with listening(path.edge.port, topic) as there, plain_client(path.edge.port) as client:
        own = topic == TOPIC
        publish(client, TOPIC, payload, ResponseTopic=topic, CorrelationData=correlation)
        arrives(path, payload)
        never(lambda: [m for m in there.messages if not (own and m.payload == payload) and not m.retain], during=0.1)


def test_a_message_over_the_limit_is_refused_with_a_line_and_a_count(path: Way) -> None:
    """10 MB; what comes after it passes."""
    before = path.forwarder.figure("messages_refused_total")
    after = unique()
    with plain_client(path.edge.port, v5=False) as client:
        publish(client, TOPIC, bytes(10_000_000))
        publish(client, TOPIC, after)
    arrives(path, after)
    assert path.forwarder.figure("messages_refused_total") == before + 1
    line = path.forwarder.expect_line("10000000 bytes")
    assert f"larger than {MAX_MESSAGE_BYTES}" in line
    assert "ERROR" in line


def test_a_message_just_within_the_limit_passes(path: Way) -> None:
    """8 MiB."""
    payload = unique().ljust(MAX_MESSAGE_BYTES - 1000, b".")
    with plain_client(path.edge.port, v5=False) as client:
        publish(client, TOPIC, payload)
    assert arrives(path, payload) == unattributed(payload)


def test_a_log_line_cannot_be_forged(path: Way) -> None:
    """Through the topic of a refused message, say."""
    topic = f"{TOPIC}/x\u2028ERROR forged\u0085ERROR forged"
    with plain_client(path.edge.port, v5=False) as client:
        client.publish(topic, bytes(9_000_000), qos=0)
        publish(client, TOPIC, unique())
    for line in path.forwarder.log_text().split("\n"):
        assert not line.startswith("ERROR forged")


# -- what only a strange broker would pass on --------------------------------------------------


def handshake(fake: FakeBroker) -> None:
    client = fake.client()
    client.sendall(suback(client.recv(65536)))


def acknowledged(fake: FakeBroker, *ids: int) -> None:
    """Waits until these packets were acknowledged."""
    expected = [bytes([0x40, 2]) + i.to_bytes(2) for i in ids]
    got = b""
    client = fake.client()
    while not all(e in got for e in expected):
        piece = client.recv(65536)
        assert piece, got
        got += piece


@pytest.mark.usefixtures("short_farewell")
@pytest.mark.parametrize(
    "bad",
    [
        raw.publish(TOPIC.encode(), b"", properties=b"\x26\x00\x01a\x00\x02\xff\xfe", packet_id=7),
        raw.publish(TOPIC.encode(), b"", properties=b"\x7f\x00", packet_id=7),
        raw.publish(TOPIC.encode(), b"", properties=b"\x03\xff\xff", packet_id=7),
        raw.publish(TOPIC.encode(), b"", properties=raw.content_type(b"a") * 2, packet_id=7),
        raw.publish(b"\xff\xfe", b"", packet_id=7),
        raw.publish(TOPIC.encode(), bytes(11 * 1024 * 1024), packet_id=7),
        raw.publish(TOPIC.encode(), b"", properties=raw.user_property(b"n", b"v" * 60_000) * 200, packet_id=7),
        raw.publish(TOPIC.encode(), bytes(9 * 1024 * 1024), packet_id=7),
    ],
    ids=["not UTF-8", "unknown property", "cut short", "doubled", "topic", "11 MiB", "12 MB of properties", "9 MiB"],
)
def test_an_unreadable_message_is_acknowledged_and_those_behind_it_pass(
    bad: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Logged and counted; unacknowledged, it would come again for ever."""
    with FakeBroker(WELCOME) as fake, TakingSide(fake.url, wait=False) as keeper:
        handshake(fake)
        fake.client().sendall(bad + raw.publish(TOPIC.encode(), b"behind it", packet_id=8))
        acknowledged(fake, 7, 8)
        assert keeper.payloads == [b"behind it"]
        assert keeper.taker.refused == 1
        assert keeper.session.connects == 1
    (line,) = [r.getMessage() for r in caplog.records if "was refused" in r.getMessage()]
    assert len(line) < 500


@pytest.mark.usefixtures("short_farewell")
def test_unreadable_messages_of_qos_0_are_passed_over() -> None:
    """There is nothing to acknowledge."""
    bad = raw.publish(TOPIC.encode(), b"", properties=b"\x7f\x00", packet_id=None)
    large = raw.publish(TOPIC.encode(), bytes(11 * 1024 * 1024), packet_id=None)
    with FakeBroker(WELCOME) as fake, TakingSide(fake.url, wait=False) as keeper:
        handshake(fake)
        fake.client().sendall(bad + large + raw.publish(TOPIC.encode(), b"behind", packet_id=1))
        acknowledged(fake, 1)
        assert keeper.payloads == [b"behind"]
        assert keeper.taker.refused == 2


@pytest.mark.usefixtures("short_farewell")
@pytest.mark.parametrize(
    "nonsense",
    [
        pytest.param(b"\x00\x00", id="type 0"),
        pytest.param(b"\xf0\x00", id="AUTH"),
        pytest.param(b"\x40\x02\x99\x99", id="stray PUBACK"),
        pytest.param(b"\x40\x01\x00", id="short PUBACK"),
        pytest.param(b"\x90\x00", id="empty SUBACK"),
        pytest.param(b"\x20\x03\x00\x00\x00", id="second CONNACK"),
        pytest.param(b"\x32\x03\xff\xff\x00", id="short PUBLISH"),
        pytest.param(b"\x30\xff\xff\xff\xff", id="length"),
        pytest.param(b"\x40\xff\xff\xff\x7f", id="huge PUBACK"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n".ljust(200), id="HTTP"),
    ],
)
def test_a_broker_that_breaks_the_rules_is_left_and_tried_again(nonsense: bytes) -> None:
    """The thread lives on."""
    with FakeBroker(WELCOME) as fake, TakingSide(fake.url, wait=False) as keeper:
        handshake(fake)
        fake.client().sendall(nonsense)
        fake.client(2)
        assert keeper.session.is_alive


def test_a_forwarder_s_own_messages_are_not_confirmed_to_itself(tmp_path: Path, broker: Mosquitto) -> None:
    """The same broker under two names: no face may count as delivered because it came back."""
    one, other = broker.url, broker.url.replace("127.0.0.1", "localhost")
    with forwarder(tmp_path, one, other) as program, plain_client(broker.port) as client:
        eventually(lambda: program.figure("edge_broker_connects_total") > 0)
        for i in range(20):
            publish(client, TOPIC, b"%d" % i)
        never(lambda: program.figure("outbox_confirmed_total") > 0, during=3)
