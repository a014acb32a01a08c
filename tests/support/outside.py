"""A client at the cloud broker's outer door that says what no client library would, and reads the answers."""

from __future__ import annotations

import socket
import ssl
from types import TracebackType
from typing import Self

from tests.support.raw import packet, publish, string, varint

NOT_AUTHORIZED = 0x87


class Outside:
    """Connects by TLS and MQTT 5.

    Args:
        port: on `host`.
        context: whose certificate it shows.
        will: topic and payload, retained or not.
        keepalive: in seconds.

    """

    def __init__(
        self,
        port: int,
        context: ssl.SSLContext,
        *,
        client_id: bytes = b"",
        will: tuple[bytes, bytes, bool] | None = None,
        will_properties: bytes = b"",
        session_seconds: int = 0,
        clean: bool = True,
        keepalive: int = 60,
        host: str = "127.0.0.1",
    ) -> None:
        self.socket = context.wrap_socket(socket.create_connection((host, port), 10), server_hostname=host)
        self._buffer = b""
        flags = 2 if clean else 0
        body = b""
        if will is not None:
            topic, payload, retain = will
            flags |= 0x0C | (0x20 if retain else 0)
            body = varint(len(will_properties)) + will_properties + string(topic) + string(payload)
        expiry = b"\x11" + session_seconds.to_bytes(4)
        head = string(b"MQTT") + bytes([5, flags]) + keepalive.to_bytes(2) + varint(len(expiry)) + expiry
        try:
            self.socket.sendall(packet(0x10, head + string(client_id) + body))
            kind, answer = self.read()
        except OSError:
            self.socket.close()
            raise
        assert kind == 0x20, answer
        #: Reason code of the CONNACK, and whether a session was there.
        self.reason = answer[1]
        self.session_present = bool(answer[0])

    def read(self) -> tuple[int, bytes]:
        """The next packet: type and flags, and what follows the length.

        Raises:
            ConnectionError: the broker hung up.

        """
        head = self._take(1)[0]
        size = shift = 0
        while True:
            byte = self._take(1)[0]
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return head, self._take(size)

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if not (data := self.socket.recv(65536)):
                raise ConnectionResetError("the broker hung up")
            self._buffer += data
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def publish(self, topic: bytes, payload: bytes, *, properties: bytes = b"", retain: bool = False) -> int:
        """Reason code of the PUBACK."""
        self.socket.sendall(publish(topic, payload, properties=properties, retain=retain))
        kind, answer = self.read()
        assert kind == 0x40, (kind, answer)
        return answer[2] if len(answer) > 2 else 0

    def subscribe(self, topic_filter: bytes) -> int:
        """Reason code of the SUBACK."""
        self.socket.sendall(packet(0x82, b"\x00\x07\x00" + string(topic_filter) + b"\x01"))
        kind, answer = self.read()
        assert kind == 0x90, (kind, answer)
        return answer[-1]

    def drop(self) -> None:
        """Vanishes without a goodbye."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()
