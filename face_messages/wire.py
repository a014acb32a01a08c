"""MQTT 5 packets over a non-blocking socket: bytes in and out, nothing of what they mean.

The packets themselves are written and read by `mqtt5`, a codec without I/O. Done by hand is only what it leaves to
its user: framing, and PUBLISH packets that must not be taken in but have to be acknowledged.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass

import mqtt5

_RECV_BYTES = 256 * 1024
# One call takes at most so much, so that sending is never starved by receiving.
_RECEIVE_AT_ONCE = 2 * 1024 * 1024
# Topic and packet id stand within the first bytes of a PUBLISH.
_HEAD_BYTES = 5 + 2 + 65535 + 2
_CONNACK = 2
_PUBLISH = 3
_PUBACK = 4
_WANT = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class ProtocolError(OSError):
    """The other side does not speak MQTT 5, or broke its rules."""


@dataclass(frozen=True, slots=True)
class UnreadablePublish:
    """A PUBLISH that was not taken in: over the size limit, or malformed where the broker did not mind.

    Its packet id (None at QoS 0) allows to acknowledge it, else it would come again for ever.
    """

    topic: str
    packet_id: int | None
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class PubAck:
    """A PUBACK. Brokers send reason codes outside the specification's list here, so it stays a number."""

    packet_id: int
    reason: int


Incoming = mqtt5.Packet | UnreadablePublish | PubAck


class Wire:
    """Frames packets in both directions; both buffers are bounded by their users.

    Args:
        sock: a connected socket, plain or TLS; it is made non-blocking.
        max_packet: larger PUBLISH packets are passed over in bytes, never held in memory.

    """

    def __init__(self, sock: socket.socket, *, max_packet: int) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._max_packet = max_packet
        self._in = bytearray()
        self._out = bytearray()
        self._skip = 0
        #: Bytes that have come since the start.
        self.received = 0

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def unsent(self) -> int:
        """Bytes that wait for the socket to take them."""
        return len(self._out)

    def write(self, packet: bytes) -> None:
        self._out += packet

    def flush(self) -> None:
        """Sends what the socket takes now.

        Raises:
            OSError: the connection is gone.

        """
        sent = 0
        with memoryview(self._out) as out:
            try:
                while sent < len(out):
                    sent += self._sock.send(out[sent:])
            except _WANT:
                pass
        if sent:
            del self._out[:sent]

    def receive(self) -> Iterator[Incoming]:
        """The packets that have arrived.

        Raises:
            OSError: the connection is gone, or (ProtocolError) what came is not MQTT 5.

        """
        taken = 0
        while taken < _RECEIVE_AT_ONCE:
            try:
                data = self._sock.recv(_RECV_BYTES)
            except _WANT:
                return
            if not data:
                raise ConnectionResetError("the broker closed the connection")
            taken += len(data)
            self.received += len(data)
            if self._skip:
                skipped = min(self._skip, len(data))
                self._skip -= skipped
                data = data[skipped:]
            self._in += data
            yield from self._packets()

    @property
    def has_more(self) -> bool:
        """Whether TLS holds bytes that no selector would report."""
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    def _packets(self) -> Iterator[Incoming]:
        at = 0
        while (header := _fixed_header(self._in, at)) is not None:
            kind, body, size = header
            if size > self._max_packet:
                if kind != _PUBLISH:
                    raise ProtocolError(f"a control packet of {size} bytes")
                if len(self._in) - at < min(size, _HEAD_BYTES):
                    break
                unreadable = _head_of_publish(self._in, at, body, size, f"larger than {self._max_packet} bytes")
                there = min(size, len(self._in) - at)
                self._skip = size - there
                at += there
                yield unreadable
            elif len(self._in) - at < size:
                break
            else:
                packet = self._read(kind, at, body, size)
                at += size
                yield packet
        del self._in[:at]

    def _read(self, kind: int, at: int, body: int, size: int) -> Incoming:
        if kind == _PUBACK:
            if size - body < 2:
                raise ProtocolError("a PUBACK without a packet id")
            reason = self._in[at + body + 2] if size - body > 2 else 0
            return PubAck(int.from_bytes(self._in[at + body : at + body + 2]), reason)
        with memoryview(self._in) as view, view[at : at + size] as packet:
            try:
                return mqtt5.read(packet)[0]
            except (ValueError, IndexError) as error:
                problem = str(error)
            except BaseException as error:
                # How the codec, which is written in Rust, takes a string that is no UTF-8; it has no name to import.
                if type(error).__name__ != "PanicException":
                    raise
                problem = "text that is no UTF-8"
        if kind == _CONNACK and size - body == 2:
            raise ProtocolError("the broker answers in MQTT 3.1.1; it must speak MQTT 5, which receipts need")
        if kind != _PUBLISH:
            raise ProtocolError(f"a malformed packet of type {kind}: {problem}")
        return _head_of_publish(self._in, at, body, size, problem)

    def finish(self, timeout: float) -> None:
        """Waits, some seconds at most, until the other side has read all and closed.

        Closing while there are bytes to read would make the kernel send a reset, which may overtake what was sent.
        """
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + timeout
            while (left := deadline - time.monotonic()) > 0:
                self._sock.settimeout(left)
                if not self._sock.recv(_RECV_BYTES):
                    return

    def close(self) -> None:
        self._sock.close()


def _fixed_header(data: bytearray, at: int) -> tuple[int, int, int] | None:
    """Packet type, offset of its body and size in all, in bytes; None while there is not enough of it.

    MQTT 5.0, sections 2.1.1 and 1.5.5.
    """
    length = 0
    for i in range(4):
        if at + 1 + i >= len(data):
            return None
        byte = data[at + 1 + i]
        length |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return data[at] >> 4, 2 + i, 2 + i + length
    raise ProtocolError("what came is not MQTT")


def _head_of_publish(data: bytearray, at: int, body: int, size: int, reason: str) -> UnreadablePublish:
    """Topic and packet id by hand. MQTT 5.0, section 3.3.2."""
    start = at + body + 2
    end = start + int.from_bytes(data[at + body : start])
    if end + 2 > at + size:
        raise ProtocolError("a PUBLISH shorter than its topic")
    has_id = data[at] & 0x06
    packet_id = int.from_bytes(data[end : end + 2]) if has_id else None
    return UnreadablePublish(bytes(data[start:end]).decode(errors="replace"), packet_id, size, reason)
