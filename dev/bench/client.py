"""Cost of a face in the MQTT client alone: face_messages' subclass of paho's, beside paho's own as it comes.

Each has one end of a socket pair, and the benchmark plays the broker at the other. The figures are CPU time of the
client's thread; the broker's end is not in them.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho

from dev.bench.measure import BenchmarkError, Figures, Scale, by_turns, middle, ratio
from dev.bench.traffic import PAYLOAD_BYTES, faces, stock_client, stock_publish
from dev.stack.figures import Table
from face_messages.message import Message
from face_messages.mqtt.client import Client
from face_messages.mqtt.publish import pack
from face_messages.mqtt.wire import Wire

OURS, STOCK = "face_messages.mqtt.client", "paho-mqtt"
_SEND, _PUBACK, _RECEIVE, _ACK, _SUM = "PUBLISH sent", "PUBACK read", "PUBLISH read", "PUBACK sent", "all four"
_STEPS = (_SEND, _PUBACK, _RECEIVE, _ACK, _SUM)

_BATCH = 5  # messages: as many as a socket's buffer holds
# Bytes, more than ever wait at the far end: all of them come by one call.
_ALL = 1 << 20
_WELCOME = bytes.fromhex("20 03 00 00 00")


def run(scale: Scale) -> list[Table]:
    batches = scale.messages // _BATCH
    contestants = {OURS: partial(_measure, _Ours, batches), STOCK: partial(_measure, _Stock, batches)}
    measured = by_turns("client", scale.rounds, contestants, show=_SUM)
    rows = [
        [name, *(middle(rounds, step, 1) for step in _STEPS), ratio(rounds, measured[STOCK], _SUM)]
        for name, rounds in measured.items()
    ]
    about = (
        f"{scale.messages:,} face events of {PAYLOAD_BYTES:,} bytes through a client on a socket pair, CPU µs"
        f" a message; medians of {scale.rounds} rounds by turns, the ratio with its range."
    )
    notes = ["Properties are built from a message, and read into one."]
    return [Table("MQTT client", about, ["CPU µs", *_STEPS, "of paho-mqtt's"], rows, notes)]


class _Ours:
    """The received messages land in `received`, with their packet ids."""

    def __init__(self, near: socket.socket) -> None:
        self.received: list[tuple[Message, int]] = []
        self.acknowledged = 0
        wire = Wire(near, max_packet=1_000_000)
        self.client: Any = Client(wire, "ours", received=self._received, acknowledged=self._acknowledged)

    def _received(self, packet: Any) -> None:
        self.received.append((packet.message, packet.packet_id))

    def _acknowledged(self, *_: Any) -> None:
        self.acknowledged += 1

    def send(self, message: Message) -> int:
        """Returns the packet id."""
        packet_id: int = self.client.send(message, pack(message), qos=1, retain=False)
        return packet_id

    def flush(self) -> None:
        self.client.wire.flush()

    def read(self, _packets: int) -> None:
        self.client.loop_read()


class _StockClient(paho.Client):
    """paho's, on a socket that is there already."""

    near: socket.socket

    def _create_socket(self) -> paho.SocketLike:
        return self.near


class _Stock(_Ours):
    def __init__(self, near: socket.socket) -> None:
        self.received = []
        self.acknowledged = 0
        self.client = stock_client("stock", _StockClient, manual_ack=True)
        self.client.near = near
        self.client.on_message = self._on_message
        self.client.on_publish = self._acknowledged

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

    def send(self, message: Message) -> int:
        return stock_publish(self.client, message)

    def flush(self) -> None:
        self.client.loop_write()

    def read(self, packets: int) -> None:
        for _ in range(packets):
            self.client.loop_read()


def _measure(contestant: Callable[[socket.socket], _Ours], batches: int, _folder: Path) -> Figures:
    figures = dict.fromkeys(_STEPS, 0.0)

    @contextmanager
    def clock(step: str) -> Iterator[None]:
        begin = time.thread_time()
        yield
        spent = (time.thread_time() - begin) / (batches * _BATCH) * 1e6
        figures[step] += spent
        figures[_SUM] += spent

    near, far = socket.socketpair()
    with near, far:
        for end in (near, far):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * _BATCH * PAYLOAD_BYTES)
        under_test = contestant(near)
        under_test.client.connect("localhost", clean_start=False)
        under_test.flush()
        far.recv(_ALL)
        far.sendall(_WELCOME)
        under_test.read(1)
        messages = list(faces(_BATCH, receipts=True))
        for _ in range(batches):
            with clock(_SEND):
                packet_ids = [under_test.send(message) for message in messages]
                under_test.flush()
            sent = far.recv(_ALL)
            far.sendall(b"".join(b"\x40\x02" + packet_id.to_bytes(2) for packet_id in packet_ids))
            with clock(_PUBACK):
                under_test.read(_BATCH)
            far.sendall(sent)  # as a broker would pass them on
            with clock(_RECEIVE):
                under_test.read(_BATCH)
            if [message for message, _ in under_test.received] != messages:
                raise BenchmarkError("the received messages are not the sent ones")
            with clock(_ACK):
                for _, mid in under_test.received:
                    under_test.client.ack(mid, 1)
                under_test.flush()
            under_test.received.clear()
            far.recv(_ALL)
    if under_test.acknowledged != batches * _BATCH:
        raise BenchmarkError(f"{under_test.acknowledged} of {batches * _BATCH} messages were acknowledged")
    return figures
