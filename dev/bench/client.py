"""What a face costs in the MQTT client alone: face_messages' subclass of paho's, beside paho's own as it comes.

Each has one end of a socket pair, and the benchmark plays the broker at the other. Only what the client does is
measured, in CPU time of its thread; what the broker's end does is not.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from dev.bench.measure import BenchmarkError, Figures, Scale, Table, by_turns, middle, ratio
from dev.bench.traffic import PAYLOAD_BYTES, faces
from face_messages.message import Message
from face_messages.mqtt.client import Client
from face_messages.mqtt.publish import pack
from face_messages.mqtt.wire import Wire

OURS, STOCK = "face_messages.mqtt.client", "paho-mqtt"
STEPS = {
    "send": "PUBLISH sent",
    "puback": "PUBACK read",
    "receive": "PUBLISH read",
    "ack": "PUBACK sent",
    "sum": "all four",
}

_BATCH = 5  # messages: what a socket's buffer holds
_WELCOME = bytes.fromhex("20 03 00 00 00")


def run(scale: Scale) -> list[Table]:
    batches = scale.messages // _BATCH
    measured = by_turns(
        "client",
        scale.rounds,
        {OURS: lambda: _measure(_Ours, batches), STOCK: lambda: _measure(_Stock, batches)},
        show="sum",
    )
    rows = [
        [
            name,
            *(middle(rounds, step, 1) for step in STEPS),
            ratio(rounds, measured[STOCK], "sum"),
        ]
        for name, rounds in measured.items()
    ]
    return [
        Table(
            title="MQTT client",
            about=f"{scale.messages:,} face events of {PAYLOAD_BYTES:,} bytes through a client on a socket pair, CPU µs"
            f" a message; medians of {scale.rounds} rounds by turns, the ratio with its range.",
            header=["CPU µs", *STEPS.values(), "of paho-mqtt's"],
            rows=rows,
            notes=["Properties are built from a message, and read into one."],
        )
    ]


class _Contestant:
    """A connected client. What it receives lands in `received`, as messages and their packet ids."""

    client: paho.Client

    def __init__(self) -> None:
        self.received: list[tuple[Message, int]] = []
        self.acknowledged = 0

    def send(self, message: Message) -> None: ...
    def flush(self) -> None: ...
    def read(self, packets: int) -> None: ...


class _Ours(_Contestant):
    def __init__(self, near: socket.socket) -> None:
        super().__init__()
        self.client: Client = Client(
            Wire(near, max_packet=1_000_000), "ours", received=self._received, acknowledged=self._acknowledged
        )

    def _received(self, packet: Any) -> None:
        self.received.append((packet.message, packet.packet_id))

    def _acknowledged(self, _packet_id: int, _reason: int) -> None:
        self.acknowledged += 1

    def send(self, message: Message) -> None:
        self.client.send(message, pack(message), qos=1, retain=False)

    def flush(self) -> None:
        self.client.wire.flush()

    def read(self, packets: int) -> None:
        del packets
        self.client.loop_read()


class _StockClient(paho.Client):
    """paho's, on a socket that is there already."""

    def __init__(self, near: socket.socket) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, "stock", protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True)
        self._near = near

    def _create_socket(self) -> paho.SocketLike:
        return self._near


class _Stock(_Contestant):
    def __init__(self, near: socket.socket) -> None:
        super().__init__()
        self.client = _StockClient(near)
        self.client.max_inflight_messages = 0
        self.client.on_message = self._on_message
        self.client.on_publish = self._on_publish

    def _on_message(self, _client: paho.Client, _: Any, packet: paho.MQTTMessage) -> None:
        said = packet.properties
        message = Message(
            packet.topic,
            bytes(packet.payload),
            getattr(said, "ContentType", None),
            tuple(getattr(said, "UserProperty", ())),
            getattr(said, "ResponseTopic", None),
            getattr(said, "CorrelationData", None),
        )
        self.received.append((message, packet.mid))

    def _on_publish(self, *_: Any) -> None:
        self.acknowledged += 1

    def send(self, message: Message) -> None:
        said: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho's types end here
        said.ContentType = message.content_type
        said.ResponseTopic = message.response_topic
        said.CorrelationData = message.correlation_data
        said.UserProperty = list(message.user_properties)
        self.client.publish(message.topic, message.payload, 1, properties=said)

    def flush(self) -> None:
        self.client.loop_write()

    def read(self, packets: int) -> None:
        for _ in range(packets):
            self.client.loop_read()


def _measure(contestant: Callable[[socket.socket], _Contestant], batches: int) -> Figures:
    figures = dict.fromkeys(STEPS, 0.0)

    @contextmanager
    def clock(step: str) -> Iterator[None]:
        begin = time.thread_time()
        yield
        seconds = time.thread_time() - begin
        figures[step] += seconds / (batches * _BATCH) * 1e6
        figures["sum"] += seconds / (batches * _BATCH) * 1e6

    near, far = socket.socketpair()
    with near, far:
        for end in (near, far):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * _BATCH * PAYLOAD_BYTES)
        far.setblocking(False)
        under_test = contestant(near)
        under_test.client.connect("localhost", clean_start=False)
        under_test.flush()
        _drain(far)
        far.sendall(_WELCOME)
        under_test.read(1)
        messages = list(faces(_BATCH, receipts=True))
        for _ in range(batches):
            with clock("send"):
                for message in messages:
                    under_test.send(message)
                under_test.flush()
            sent = _drain(far)
            ids = [int.from_bytes(sent[at : at + 2]) for at in _packet_ids(sent)]
            far.sendall(b"".join(b"\x40\x02" + packet_id.to_bytes(2) for packet_id in ids))
            with clock("puback"):
                under_test.read(_BATCH)
            far.sendall(sent)  # as a broker would pass them on
            with clock("receive"):
                under_test.read(_BATCH)
            taken = [message for message, _ in under_test.received]
            if taken != messages:
                raise BenchmarkError("what was received is not what was sent")
            with clock("ack"):
                for _, packet_id in under_test.received:
                    under_test.client.ack(packet_id, 1)
                under_test.flush()
            under_test.received.clear()
            _drain(far)
    if under_test.acknowledged != batches * _BATCH:
        raise BenchmarkError(f"{under_test.acknowledged} of {batches * _BATCH} messages were acknowledged")
    return figures


def _packet_ids(sent: bytes) -> Iterator[int]:
    """Where they stand in these PUBLISH packets, whose lengths take three bytes."""
    at = 0
    while at < len(sent):
        yield at + 6 + int.from_bytes(sent[at + 4 : at + 6])
        at += 4 + sum((sent[at + 1 + i] & 0x7F) << (7 * i) for i in range(3))


def _drain(far: socket.socket) -> bytes:
    got = bytearray()
    while True:
        try:
            got += far.recv(1 << 20)
        except BlockingIOError:
            return bytes(got)
