"""One connection to an HTTP server: requests are written and answers are read without waiting.

That costs a third of what `http.client` costs, an answer must be whole in time, and one thread can have many on their
way.
"""

import contextlib
import select
import socket
import ssl
import time

from object_store.answers import Answer, Reader

_RECV_BYTES = 65536
# The other end has closed the connection.
_CLOSED = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
_WANT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_LATE = "the answer does not come to an end"


class KeptConnectionClosedError(ConnectionError):
    """The server closed a connection of an earlier request before it answered this one."""


class Connection:
    """Over a socket that is connected, for one request at a time. `seconds` are for sending, and again for reading."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self._sock = sock
        self._seconds = seconds
        self._sock.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._sock, select.POLLIN)
        self.fileno = self._sock.fileno
        self.since = time.monotonic()
        self._has_answered = False
        self._unsent = memoryview(b"")
        self._reader = Reader("", 0)
        self._reading = self._reader.read()
        #: What `proceed` waits for, and until when (monotonic).
        self.events = select.POLLIN
        self.deadline = 0.0
        #: Whether another request may follow.
        self.reusable = False

    @property
    def over(self) -> bool:
        """Whether the server has closed it. It has nothing to say before a request."""
        return bool(self._poll.poll(0))

    def close(self) -> None:
        self._sock.close()

    def start(self, method: str, request: bytes, max_bytes: int) -> None:
        self.reusable = False
        self._unsent = memoryview(request)
        self._reader = Reader(method, max_bytes)
        self._reading = self._reader.read()
        next(self._reading)
        self.events = select.POLLOUT
        self.deadline = time.monotonic() + self._seconds

    def wait(self) -> None:
        """Until there may be something for `proceed` to do."""
        self._poll.modify(self._sock, self.events)
        self._poll.poll(max(0.0, self.deadline - time.monotonic()) * 1000)
        self._poll.modify(self._sock, select.POLLIN)

    def proceed(self) -> Answer | None:
        """Sends and reads as far as that goes now; the answer once it is there. OSError as of `Connections.request`."""
        reader = self._reader
        trouble: OSError | None = None
        try:
            if self._unsent:
                self._send()
                self.events = select.POLLIN
                return None  # an answer takes longer
            self._receive()
        except StopIteration:
            self.reusable = reader.reusable
        except _WANT as want:
            if time.monotonic() <= self.deadline:
                self.events = self._wanted(want)
                return None
            trouble = TimeoutError(_LATE)
        except OSError as error:
            trouble = error
        if trouble is not None and (reader.answer is None or reader.answer.status < 300):
            if reader.answer is None and self._has_answered and isinstance(trouble, _CLOSED):
                raise KeptConnectionClosedError("the server closed a connection that was kept") from trouble
            raise trouble
        self._has_answered = True
        return reader.answer  # in trouble its status has told what matters

    def _send(self) -> None:
        # A server that refuses may close the connection before it has read all. Its answer says why.
        with contextlib.suppress(*_CLOSED):
            while self._unsent:
                self._unsent = self._unsent[self._sock.send(self._unsent) :]
        self._unsent = memoryview(b"")
        self.deadline = time.monotonic() + self._seconds

    def _receive(self) -> None:
        """Until nothing is left to be read now. StopIteration: the answer is complete."""
        while True:
            self._reading.send(self._sock.recv(_RECV_BYTES))
            if time.monotonic() > self.deadline:
                raise TimeoutError(_LATE)

    def _wanted(self, want: Exception) -> int:
        if isinstance(want, ssl.SSLError):  # TLS may have to read in order to write, and the other way round
            return select.POLLOUT if isinstance(want, ssl.SSLWantWriteError) else select.POLLIN
        return select.POLLOUT if self._unsent else select.POLLIN
