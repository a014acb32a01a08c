"""An HTTP server that is all the test's own, byte by byte."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

OK = b'HTTP/1.1 200 OK\r\nETag: "0"\r\nContent-Length: 0\r\n\r\n'


class Client:
    """A connection, as the server sees it."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.socket = sock
        #: 1 for the first connection, and so on.
        self.number = number
        self._buffer = b""

    def head(self) -> bytes:
        """The next request's head; empty when there is none."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if not (data := self.socket.recv(65536)):
                return b""
            self._buffer += data
        head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        return head

    def request(self) -> bytes:
        """The next request's head, after its body came too."""
        head = self.head()
        length = int(match[1]) if (match := re.search(rb"(?i)\ncontent-length: (\d+)", head)) else 0
        while len(self._buffer) < length and (data := self.socket.recv(65536)):
            self._buffer += data
        self._buffer = self._buffer[length:]
        return head

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)


class RawHttp:
    """Gives each connection to `serve` in a thread, and closes it afterwards."""

    def __init__(self, serve: Callable[[Client], None], *, certificate: ssl.SSLContext | None = None) -> None:
        self._serve = serve
        self._certificate = certificate
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        #: How many there were.
        self.connections = 0

    @property
    def url(self) -> str:
        scheme = "https" if self._certificate else "http"
        return f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in (self._accepting, *self._threads):
            thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                self._sockets.append(sock)
                thread = threading.Thread(target=self._run, args=(sock, self.connections), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _run(self, sock: socket.socket, number: int) -> None:
        # A client that gives up is none of the test's business.
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(sock).settimeout(20)
            if self._certificate is not None:
                sock = stack.enter_context(self._certificate.wrap_socket(sock, server_side=True))
                self._sockets.append(sock)
            self._serve(Client(sock, number))


def answering(*answers: bytes) -> Callable[[Client], None]:
    """Serves each connection with these answers, one a request, and then ends it."""

    def serve(client: Client) -> None:
        for answer in answers:
            if not client.request():
                return
            client.send(answer)

    return serve
