"""A socket that answers as a broker would, or as none should, byte by byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

#: CONNACK without properties: no session, success.
WELCOME = bytes.fromhex("20 03 00 00 00")


def suback(subscribe: bytes) -> bytes:
    """The SUBACK (QoS 1 granted) for a SUBSCRIBE packet at the start of these bytes."""
    assert subscribe[0] == 0x82
    return bytes([0x90, 4, *subscribe[2:4], 0, 1])


class FakeBroker:
    """Greets each client with `answer`; the rest is the test's, through `receive` and `send`."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.connections = 0
        self._clients: list[socket.socket] = []
        self._greeted = threading.Condition()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for client in self._clients:
            client.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.settimeout(10)
            self._clients.append(client)
            with contextlib.suppress(OSError):
                if client.recv(65536):  # CONNECT
                    client.sendall(self._answer)
            with self._greeted:
                self.connections += 1
                self._greeted.notify_all()

    def client(self, number: int = 1) -> socket.socket:
        """The socket of the n-th client, greeted."""
        with self._greeted:
            assert self._greeted.wait_for(lambda: self.connections >= number, 10)
        return self._clients[number - 1]
