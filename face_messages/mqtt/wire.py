"""Packets' bytes over a non-blocking socket, buffered in both directions: where each begins and ends, no more."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

_RECV_BYTES = 256 * 1024
# Bytes that one call takes at most: receiving must not starve sending.
_RECEIVE_AT_ONCE = 2 * 1024 * 1024
# Topic and packet id stand within the first bytes of a PUBLISH.
_HEAD_BYTES = 5 + 2 + 65535 + 2
_PUBLISH = 0x30
_WANT = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class ProtocolError(OSError):
    """The other side does not speak MQTT 5, or broke its rules."""


class Packet(NamedTuple):
    """A packet that has arrived. `body` follows the fixed header; it is valid until the next packet is asked for."""

    command: int  #: the first byte: type and flags
    body: memoryview
    size: int  #: bytes of the whole packet
    passed_over: str = ""  #: why `body` holds topic and packet id of a PUBLISH only; empty where it is whole


class Wire:
    """Frames what comes and joins what goes over a connected socket. Its users bound both buffers.

    PUBLISH packets of more than `max_packet` bytes are passed over, never held in memory.
    """

    def __init__(self, sock: socket.socket, *, max_packet: int) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._max_packet = max_packet
        self._in = bytearray()
        self._out = bytearray()
        self._skip = 0
        #: Bytes that have come since the start.
        self.received = 0

    def fileno(self) -> int:
        return self.socket.fileno()

    @property
    def unsent(self) -> int:
        """Bytes that wait for the socket to take them."""
        return len(self._out)

    def write(self, packet: bytes | bytearray) -> None:
        self._out += packet

    def flush(self) -> None:
        """Sends what the socket takes now. OSError: the connection is gone."""
        sent = 0
        with memoryview(self._out) as out:
            try:
                while sent < len(out):
                    sent += self.socket.send(out[sent:])
            except _WANT:
                pass
        if sent:
            del self._out[:sent]

    def receive(self) -> Iterator[Packet]:
        """The packets that have arrived. OSError: the connection is gone, or (ProtocolError) what came is not MQTT."""
        taken = 0
        while taken < _RECEIVE_AT_ONCE:
            try:
                data = self.socket.recv(_RECV_BYTES)
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
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    def _packets(self) -> Iterator[Packet]:
        at = 0
        while (header := _fixed_header(self._in, at)) is not None:
            command, begin, size = header
            needed, passed_over = size, ""
            if size > self._max_packet:
                if command & 0xF0 != _PUBLISH:
                    raise ProtocolError(f"a control packet of {size} bytes")
                needed, passed_over = min(size, _HEAD_BYTES), f"larger than {self._max_packet} bytes"
            there = min(size, len(self._in) - at)
            if there < needed:
                break
            with memoryview(self._in) as view, view[at + begin : at + there] as body:
                yield Packet(command, body, size, passed_over)
            self._skip = size - there
            at += there
        del self._in[:at]

    def finish(self, timeout: float) -> None:
        """Waits, some seconds at most, until the other side has read all and closed.

        Closing while there are bytes to read would make the kernel send a reset, which may overtake what was sent.
        """
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + timeout
            while (left := deadline - time.monotonic()) > 0:
                self.socket.settimeout(left)
                if not self.socket.recv(_RECV_BYTES):
                    return

    def close(self) -> None:
        self.socket.close()


def _fixed_header(data: bytearray, at: int) -> tuple[int, int, int] | None:
    """First byte, offset of the body and size in all, in bytes; None while there is not enough of it.

    MQTT 5.0, sections 2.1.1 and 1.5.5.
    """
    length = 0
    for i in range(4):
        if at + 1 + i >= len(data):
            return None
        byte = data[at + 1 + i]
        length |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return data[at], 2 + i, 2 + i + length
    raise ProtocolError("what came is not MQTT")


class Waker:
    """One thread registers it in its selector, others call `wake`; many wakes in a row cost one byte."""

    def __init__(self) -> None:
        self._woken = False
        self._lock = threading.Lock()
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self.fileno = self._receiver.fileno

    def wake(self) -> None:
        if not self._woken:
            self._woken = True
            # Bytes enough may be on their way. The lock: a straggler must not write to what another has opened since.
            with self._lock, contextlib.suppress(BlockingIOError):
                if self._sender.fileno() >= 0:
                    self._sender.send(b"\0")

    def clear(self) -> None:
        """Called by the thread that was woken, before it looks for what there is to do."""
        with contextlib.suppress(BlockingIOError):
            self._receiver.recv(64)
        # Only now: a wake from here on sends a byte again, one from before is answered by the look that follows.
        self._woken = False

    def close(self) -> None:
        with self._lock:
            self._receiver.close()
            self._sender.close()
