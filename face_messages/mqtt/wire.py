"""Packets' bytes over a non-blocking socket, buffered in both directions: where each begins and ends, no more."""

import contextlib
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

# Room for what comes; it grows for a larger packet.
_BUFFER_BYTES = 256 * 1024
# Pieces that one call of sendmsg is given; systems take 1024 (IOV_MAX).
_PARTS = 512
# Bytes that one call takes at most: receiving must not starve sending.
_RECEIVE_AT_ONCE = 2 * 1024 * 1024
# Topic and packet id stand within the first bytes of a PUBLISH.
_HEAD_BYTES = 5 + 2 + 65535 + 2
_PUBLISH = 0x30
_WANT = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class ProtocolError(OSError):
    """The other side does not speak MQTT 5, or broke its rules."""


class Packet(NamedTuple):
    """A packet that has arrived. `body` follows the fixed header; it is valid until more is received."""

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
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._max_packet = max_packet
        # What has come and is no whole packet yet lies between begin and end.
        self._in = memoryview(bytearray(_BUFFER_BYTES))
        self._begin = self._end = 0
        self._out: deque[bytes | memoryview] = deque()
        #: Bytes that wait for the socket to take them.
        self.unsent = 0
        self._skip = 0
        #: Bytes that have come since the start.
        self.received = 0

    def fileno(self) -> int:
        return self.socket.fileno()

    def write(self, data: bytes) -> None:
        self._out.append(data)
        self.unsent += len(data)

    def flush(self) -> None:
        """Sends what the socket takes now. OSError: the connection is gone."""
        with contextlib.suppress(*_WANT):
            while self._out:
                if not self._is_tls:
                    self._sent(self.socket.sendmsg(islice(self._out, _PARTS)))
                    continue
                if len(self._out) > 1:  # each piece would become a record of its own
                    self._out = deque([b"".join(self._out)])
                self._sent(self.socket.send(self._out[0]))

    def _sent(self, count: int) -> None:
        self.unsent -= count
        while self._out and count >= len(self._out[0]):
            count -= len(self._out.popleft())
        if count:
            self._out[0] = memoryview(self._out[0])[count:]

    def receive(self) -> Iterator[Packet]:
        """The packets that have arrived. OSError: the connection is gone, or (ProtocolError) what came is not MQTT."""
        taken = 0
        while taken < _RECEIVE_AT_ONCE:
            self._make_room()
            room = len(self._in) - self._end
            try:
                count = self.socket.recv_into(self._in[self._end :])
            except _WANT:
                return
            if not count:
                raise ConnectionResetError("the broker closed the connection")
            taken += count
            self.received += count
            skipped = min(self._skip, count)
            self._skip -= skipped
            self._begin += skipped
            self._end += count
            yield from self._packets()
            if count < room and not self._is_tls:
                return

    def _make_room(self) -> None:
        """Moves what is there to the buffer's beginning, or to a buffer twice as large where it fills this one."""
        rest = self._in[self._begin : self._end]
        if len(rest) == len(self._in):
            self._in = memoryview(bytearray(2 * len(self._in)))
        elif len(self._in) > _BUFFER_BYTES >= 2 * len(rest):
            self._in = memoryview(bytearray(_BUFFER_BYTES))
        elif not self._begin:
            return  # with each piece of a large packet
        self._in[: len(rest)] = rest
        self._begin, self._end = 0, len(rest)

    @property
    def has_more(self) -> bool:
        """Whether TLS holds bytes that no selector would report."""
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    def _packets(self) -> Iterator[Packet]:
        data, end = self._in, self._end
        while (header := _fixed_header(data, self._begin, end)) is not None:
            command, begin, size = header
            needed, passed_over = size, ""
            if size > self._max_packet:
                if command & 0xF0 != _PUBLISH:
                    raise ProtocolError(f"a control packet of {size} bytes")
                needed, passed_over = min(size, _HEAD_BYTES), f"larger than {self._max_packet} bytes"
            at = self._begin
            there = min(size, end - at)
            if there < needed:
                return
            self._skip = size - there
            self._begin = at + there
            yield Packet(command, data[at + begin : at + there], size, passed_over)

    def finish(self, timeout: float) -> None:
        """Waits, some seconds at most, until the other side has read all and closed.

        Closing while there are bytes to read would make the kernel send a reset, which may overtake what was sent.
        """
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + timeout
            while (left := deadline - time.monotonic()) > 0:
                self.socket.settimeout(left)
                if not self.socket.recv(_BUFFER_BYTES):
                    return

    def close(self) -> None:
        self.socket.close()


def _fixed_header(data: memoryview, at: int, end: int) -> tuple[int, int, int] | None:
    """First byte, offset of the body and size in all, in bytes; None while there is not enough of it.

    MQTT 5.0, sections 2.1.1 and 1.5.5.
    """
    length = 0
    for i in range(1, 5):
        if at + i >= end:
            return None
        byte = data[at + i]
        length |= (byte & 0x7F) << 7 * i - 7
        if byte < 0x80:
            return data[at], 1 + i, 1 + i + length
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
