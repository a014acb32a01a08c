"""What is made of paho's client: on what of it that rests, and what it no longer does by itself."""

from __future__ import annotations

import inspect
import re
import socket
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from face_messages.message import Message
from face_messages.mqtt import client as module
from face_messages.mqtt.client import Client, Link, UndeliverableError
from face_messages.mqtt.wire import ProtocolError, Wire
from tests.support import raw
from tests.support.fake_broker import WELCOME

CHANGED = f"paho-mqtt {version('paho-mqtt')} is not as face_messages/mqtt/client.py knows it"
SOURCE = inspect.getsource(module)
# What is used of paho beyond its documentation: methods with their parameters, and a dictionary with some of its keys.
PRIVATE = {
    "_in_packet": "command packet remaining_length",
    "_create_socket": "self",
    "_mid_generate": "self",
    "_packet_handle": "self",
    "_packet_queue": "self command packet mid qos info",
    "_send_pingreq": "self",
}


class Peer:
    """A greeted client, and the broker's end of its connection."""

    def __init__(self, near: socket.socket, far: socket.socket, *, connack: bytes = WELCOME) -> None:
        self.far = far
        self.acknowledged: list[tuple[int, int]] = []
        self.client = Client(
            Wire(near, max_packet=1_000_000),
            "me",
            received=lambda _: None,
            acknowledged=lambda *each: self.acknowledged.append(each),
        )
        links: list[Link] = []
        self.client.on_connect = lambda _client, _data, _flags, _reason, said: links.append(
            Link(self.client, session_present=False, connack=said)
        )
        self.client.connect("localhost", clean_start=False)
        self.sent()
        self.hear(connack)
        (self.link,) = links

    def hear(self, data: bytes) -> None:
        self.far.sendall(data)
        self.client.loop_read()

    def sent(self) -> bytes:
        """What the broker has been sent since."""
        size = self.client.wire.unsent
        self.client.wire.flush()
        return self.far.recv(size, socket.MSG_WAITALL) if size else b""


@pytest.fixture
def peer() -> Iterator[Peer]:
    near, far = socket.socketpair()
    far.settimeout(5)
    with near, far:
        yield Peer(near, far)


@pytest.mark.parametrize("name", [name for name in PRIVATE if name != "_in_packet"])
def test_paho_s_methods_have_the_parameters_that_are_relied_upon(name: str) -> None:
    method = getattr(paho.Client, name, None)
    assert method is not None, f"{CHANGED}: there is no Client.{name} any more"
    parameters = " ".join(inspect.signature(method).parameters)
    assert parameters == PRIVATE[name], f"{CHANGED}: Client.{name} has the parameters {parameters}"


def test_paho_s_packet_has_the_keys_that_are_relied_upon() -> None:
    found = getattr(paho.Client(CallbackAPIVersion.VERSION2), "_in_packet", {})
    missing = set(PRIVATE["_in_packet"].split()) - set(found)
    assert not missing, f"{CHANGED}: Client._in_packet has no {missing}, it has {set(found)}"


def test_nothing_else_of_paho_s_insides_is_used_and_none_of_its_names_is_taken() -> None:
    """Neither a method nor an attribute is overridden by accident."""
    theirs = paho.Client(CallbackAPIVersion.VERSION2)
    private = set(re.findall(r"(?:self|super\(\)|def)[. ](_\w+)", SOURCE)) - {"__init__"}
    assert {name for name in private if hasattr(theirs, name)} == set(PRIVATE), f"{CHANGED}: PRIVATE is not complete"
    public = set(re.findall(r"self\.([a-z]\w+)(?:: [^=\n]+)? =", SOURCE)) | {"send", "ping"}
    taken = {name for name in public if hasattr(theirs, name)}
    assert not taken, f"{CHANGED}: it has {taken} itself"


def test_paho_keeps_no_message_and_no_window(peer: Peer) -> None:
    """Else it would send them again, or hold them back."""
    for _ in range(100):
        peer.link.publish(Message("t", bytes(1000)))
    assert peer.client.drop_out_messages() == []
    assert len(peer.client.unacknowledged) == 100
    assert peer.sent().count(b"\x00\x01t") == 100


def test_packet_ids_in_use_are_passed_over(peer: Peer) -> None:
    """Of a PUBLISH, and of what else has one."""
    peer.client.unacknowledged |= set(range(1, 65_536)) - {7, 65_535}
    assert peer.link.may_publish
    assert peer.link.publish(Message("t", b"")) == 7
    assert not peer.link.may_publish
    assert peer.client.unsubscribe("t") == (0, 65_535)
    peer.client.unacknowledged.remove(5)
    assert peer.link.publish(Message("t", b"")) == 5


@pytest.mark.parametrize(
    ("rest", "reason"), [("", 0), ("10", 0x10), ("97", 0x97), ("99 00", 0x99), ("1f", 0x1F), ("ff", 0xFF)]
)
def test_the_reason_of_a_puback_is_a_number_whatever_it_is(peer: Peer, rest: str, reason: int) -> None:
    """Brokers send reasons that the specification does not know."""
    packet_id = peer.link.publish(Message("t", b""))
    peer.hear(raw.packet(0x40, packet_id.to_bytes(2) + bytes.fromhex(rest)))
    assert peer.acknowledged == [(packet_id, reason)]
    assert not peer.client.unacknowledged


def test_an_exception_in_a_callback_comes_out(peer: Peer) -> None:
    """Paho neither swallows it nor takes it for a lost connection."""

    def broken(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    peer.client.on_subscribe = broken
    with pytest.raises(RuntimeError, match="broken on purpose"):
        peer.hear(raw.packet(0x90, b"\x00\x01\x00\x01"))


def test_what_a_callback_sends_goes_out(peer: Peer) -> None:
    """Behind what was sent before."""
    peer.client.on_subscribe = lambda *_: peer.link.tell("told", b"")
    peer.link.publish(Message("before", b""))
    peer.hear(raw.packet(0x90, b"\x00\x01\x00\x01"))
    sent = peer.sent()
    assert 0 < sent.index(b"before") < sent.index(b"told")


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        (b"\x90\x00", "malformed packet of type 9"),
        (b"\x90\x04\x00\x01\x00\x77", "malformed packet of type 9"),
        (b"\xe0\x01\x03", "malformed packet of type 14"),
        (b"\xd0\x01\x00", "protocol"),
        (b"\xf0\x00", "unexpected packet of type 15"),
        (b"\x62\x02\x00\x01", "unexpected packet of type 6"),
        (b"\xc0\x00", "unexpected packet of type 12"),
        (WELCOME, "second CONNACK"),
    ],
)
def test_what_is_malformed_is_told(peer: Peer, packet: bytes, said: str) -> None:
    """And nothing but an OSError, which ends the connection."""
    with pytest.raises(ProtocolError, match=said):
        peer.hear(packet)


def test_what_is_sent_is_what_paho_would_send_and_no_byte_more(peer: Peer) -> None:
    peer.link.publish(Message("a/b", b"payload", "image/png", (("n", "v"),), "r", b"c"), retain=True)
    properties = raw.content_type(b"image/png") + raw.response_topic(b"r") + raw.correlation_data(b"c")
    properties += raw.user_property(b"n", b"v")
    assert peer.sent() == raw.publish(b"a/b", b"payload", packet_id=1, properties=properties, retain=True)
    peer.link.acknowledge(0x1234)
    assert peer.sent() == b"\x40\x02\x12\x34"
    peer.client.ping()
    assert peer.sent() == b"\xc0\x00"
    peer.client.disconnect()
    assert peer.sent() == b"\xe0\x00"


def test_what_is_larger_than_the_broker_takes_is_not_sent() -> None:
    """To the byte."""
    near, far = socket.socketpair()
    with near, far:
        peer = Peer(near, far, connack=raw.packet(0x20, b"\x00\x00\x05\x27" + (100).to_bytes(4)))
        largest = 100 - len(raw.publish(b"t", b"", packet_id=1))
        with pytest.raises(UndeliverableError, match="a packet of 101 bytes, the broker takes 100"):
            peer.link.publish(Message("t", bytes(largest + 1)))
        assert peer.sent() == b""
        peer.link.publish(Message("t", bytes(largest)))
        assert len(peer.sent()) == 100


@pytest.mark.parametrize("topic", ["", "a/#", "+", "a\0b", "x" * 65_536, "\ud800"])
def test_a_topic_that_no_message_can_have_is_undeliverable(peer: Peer, topic: str) -> None:
    """The broker would hang up at it."""
    with pytest.raises(UndeliverableError):
        peer.link.publish(Message(topic, b""))
    assert peer.sent() == b""
    assert not peer.client.unacknowledged


class NarrowSocket:
    """Takes 4 KB a call, every other time."""

    def __init__(self) -> None:
        self.is_full = False
        self.taken = 0

    def sendmsg(self, pieces: Iterable[bytes | memoryview]) -> int:
        self.is_full = not self.is_full
        if not self.is_full:
            raise BlockingIOError
        sent = min(sum(map(len, pieces)), 4096)
        self.taken += sent
        return sent


def test_the_rest_of_a_large_message_is_not_copied_with_each_piece(peer: Peer) -> None:
    """That would be 32 GB here, which takes seconds."""
    narrow, wire = NarrowSocket(), peer.client.wire
    wire.socket = narrow  # type: ignore[assignment]
    before = time.process_time()
    peer.link.publish(Message("t", bytes(16 << 20)))
    while wire.unsent:
        wire.flush()
    assert narrow.taken > 16 << 20
    assert time.process_time() - before < 1
