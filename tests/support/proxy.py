"""A TCP proxy that can misbehave as links do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from dev.stack.ports import free_port


class Proxy:
    """Passes bytes between its port and another on loopback, unless told otherwise."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        #: Takes in all bytes and passes none on, in either direction, as a dead link with a live modem does.
        self.swallow = False
        #: Bytes a second and direction, 0 for as fast as it goes.
        self.rate = 0
        #: Called with what is on its way to the target, before it is passed on.
        self.watch: Callable[[bytes], None] = lambda _data: None
        #: Connections made to it since the start.
        self.connections = 0
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._closing = False

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def cut(self) -> None:
        """Ends all connections that are there now."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _start(self, run: object, *args: object) -> None:
        assert callable(run)
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                far = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for sock in (near, far):
                # Small buffers, so that the rate is what is felt.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            self._sockets += [near, far]
            both = threading.Semaphore(0)
            self._start(self._pass_on, near, far, both, self.watch)
            self._start(self._pass_on, far, near, both)
            self._start(self._close, near, far, both)

    def _pass_on(
        self,
        source: socket.socket,
        target: socket.socket,
        done: threading.Semaphore,
        watch: Callable[[bytes], None] = lambda _data: None,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536 if not self.rate else 16384):
                if self.rate:
                    time.sleep(len(data) / self.rate)
                watch(data)
                if not self.swallow:
                    target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
        done.release()

    @staticmethod
    def _close(near: socket.socket, far: socket.socket, both: threading.Semaphore) -> None:
        both.acquire()
        both.acquire()
        near.close()
        far.close()
