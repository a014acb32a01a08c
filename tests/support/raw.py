"""MQTT packets by hand, for what no client library would send."""

from __future__ import annotations

import socket
from collections.abc import Iterable


def string(text: bytes) -> bytes:
    return len(text).to_bytes(2) + text


def varint(number: int) -> bytes:
    out = bytearray()
    while True:
        number, byte = number >> 7, number & 0x7F
        out.append(byte | (0x80 if number else 0))
        if not number:
            return bytes(out)


def packet(head: int, body: bytes) -> bytes:
    return bytes([head]) + varint(len(body)) + body


def publish(
    topic: bytes, payload: bytes, *, packet_id: int | None = 1, properties: bytes | None = b"", retain: bool = False
) -> bytes:
    """A PUBLISH of QoS 1, or 0 without packet id; of MQTT 3.1.1 without properties."""
    body = string(topic)
    if packet_id is not None:
        body += packet_id.to_bytes(2)
    if properties is not None:
        body += varint(len(properties)) + properties
    return packet(0x30 | (2 if packet_id is not None else 0) | retain, body + payload)


def user_property(name: bytes, value: bytes) -> bytes:
    return b"\x26" + string(name) + string(value)


def content_type(text: bytes) -> bytes:
    return b"\x03" + string(text)


def response_topic(text: bytes) -> bytes:
    return b"\x08" + string(text)


def correlation_data(data: bytes) -> bytes:
    return b"\x09" + string(data)


def event_properties(attributes: Iterable[tuple[str, str]]) -> bytes:
    """The properties of a face event."""
    pairs = (user_property(name.encode(), value.encode()) for name, value in attributes)
    return content_type(b"image/png") + b"".join(pairs)


class RawClient:
    """A connected client that sends bytes."""

    def __init__(self, port: int, *, v5: bool = True, client_id: bytes = b"raw", host: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection((host, port), timeout=10)
        properties = b"\x00" if v5 else b""
        self.socket.sendall(
            packet(0x10, string(b"MQTT") + bytes([5 if v5 else 4, 2, 0, 0]) + properties + string(client_id))
        )
        greeting = self.socket.recv(65536)
        assert greeting[0] == 0x20, greeting
        assert greeting[3] == 0, greeting

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> bytes:
        """What the broker says next; empty when it hung up."""
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        self.socket.close()
