"""Bytes to packets: however they are cut, and whatever they are."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from face_messages.message import Incoming, Received
from face_messages.mqtt.client import Client
from face_messages.mqtt.wire import ProtocolError, Wire
from tests.support import raw
from tests.support.fake_broker import WELCOME

MAX_PACKET = 10_000


@contextmanager
def wire() -> Iterator[tuple[Wire, socket.socket]]:
    near, far = socket.socketpair()
    made = Wire(near, max_packet=MAX_PACKET)
    try:
        yield made, far
    finally:
        made.close()
        far.close()


def received(pieces: list[bytes]) -> list[tuple[object, ...]]:
    """What a client hands on when these bytes come in, piece by piece, behind a CONNACK."""
    packets: list[tuple[object, ...]] = []
    with wire() as (made, far):
        client = Client(
            made,
            "client",
            received=lambda packet: packets.append(seen(packet)),
            acknowledged=lambda packet_id, reason: packets.append(("acknowledged", packet_id, reason)),
        )
        client.connect("localhost", clean_start=False)
        client.unacknowledged |= {5, 6, 7}
        for piece in [WELCOME, *pieces]:
            for start in range(0, len(piece), 50_000):
                far.sendall(piece[start : start + 50_000])
                client.loop_read()
    return packets


def seen(packet: Incoming) -> tuple[object, ...]:
    """What of a packet can be compared."""
    if isinstance(packet, Received):
        message = packet.message
        return ("publish", packet.topic, packet.packet_id, message.payload, list(message.user_properties))
    return ("unreadable", packet.packet_id)


STREAM = b"".join(
    [
        raw.publish(b"t", b"one", packet_id=1, properties=raw.user_property(b"n", b"v")),
        b"\xd0\x00",
        raw.publish(b"t", b"x" * 3000, packet_id=2),
        raw.publish(b"big", bytes(MAX_PACKET + 1), packet_id=3),
        raw.packet(0x40, b"\x00\x05"),
        raw.packet(0x40, b"\x00\x06\x10"),
        raw.packet(0x40, b"\x00\x07\x99\x00"),
        raw.publish(b"t", b"", packet_id=None),
        raw.publish(b"bad", b"", packet_id=4, properties=b"\x7f\x00"),
        raw.publish(b"big", bytes(200_000), packet_id=None),
        raw.publish(b"t", b"last", packet_id=9),
    ]
)
EXPECTED = [
    ("publish", "t", 1, b"one", [("n", "v")]),
    ("publish", "t", 2, b"x" * 3000, []),
    ("unreadable", 3),
    ("acknowledged", 5, 0),
    ("acknowledged", 6, 0x10),
    ("acknowledged", 7, 0x99),
    ("publish", "t", None, b"", []),
    ("unreadable", 4),
    ("unreadable", None),
    ("publish", "t", 9, b"last", []),
]


def test_packets_come_out_in_order() -> None:
    """Large ones are passed over without being held."""
    assert received([STREAM]) == EXPECTED


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12) | st.lists(st.integers(0, 3200), max_size=40))
def test_it_does_not_matter_how_the_stream_is_cut(cuts: list[int]) -> None:
    """Anywhere."""
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in pairwise(places)]
    assert received(pieces) == EXPECTED


def test_byte_by_byte() -> None:
    """The smallest cuts."""
    start = STREAM[:3200]
    assert received([bytes([b]) for b in start]) == EXPECTED[:2]


ASCII_OR_BINARY = st.binary(max_size=400).map(lambda data: bytes(b & 0x7F for b in data)) | st.binary(max_size=400)


@given(data=ASCII_OR_BINARY, kind=st.integers(0, 255))
def test_any_bytes_are_packets_or_an_os_error(data: bytes, kind: int) -> None:
    """Nothing else may come of them: the connection's thread knows no other error."""
    try:
        received([data])
        received([raw.packet(kind, data)])
        received([raw.publish(b"t", b"", properties=data)])
    except OSError:
        pass


def test_a_large_control_packet_is_an_error() -> None:
    """Only messages are large."""
    with pytest.raises(ProtocolError, match="control packet"):
        received([raw.packet(0x90, bytes(MAX_PACKET + 1))])


def test_a_closed_connection_is_an_error() -> None:
    """After what came before it has been handed out."""
    with wire() as (made, far):
        far.sendall(b"\xd0\x00")
        far.close()
        assert [packet.command for packet in made.receive()] == [0xD0]
        with pytest.raises(ConnectionResetError):
            list(made.receive())


def test_what_the_socket_does_not_take_waits() -> None:
    """In order, until it does."""
    with wire() as (made, far):
        data = bytes(range(256)) * 20_000
        made.write(data)
        made.flush()
        assert 0 < made.unsent < len(data)
        far.setblocking(False)
        got = b""
        while made.unsent or len(got) < len(data):
            made.flush()
            try:
                got += far.recv(1 << 20)
            except BlockingIOError:
                continue
        assert got == data


def test_a_packet_larger_than_the_buffer_comes_whole_and_the_buffer_shrinks_again() -> None:
    large = bytes(range(256)) * 12_000
    near, far = socket.socketpair()
    made = Wire(near, max_packet=len(large) + 100)
    got: list[bytes] = []
    sender = threading.Thread(target=far.sendall, args=(raw.packet(0x30, large) + b"\xd0\x00",))
    sender.start()
    usual = len(made._in)
    while len(got) < 2:
        select.select([near], [], [])
        got += [bytes(packet.body) for packet in made.receive()]
    assert got == [large, b""]
    sender.join()
    far.sendall(b"\xd0\x00")
    assert [packet.command for packet in made.receive()] == [0xD0]
    assert len(made._in) == usual
    far.close()
    made.close()
