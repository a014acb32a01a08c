"""A TCP proxy that misbehaves as links do."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Self

from dev.stack.ports import free_port

#: Made for each connection. Called with the bytes on their way to the target, before they are passed on.
Watch = Callable[[bytes], object]


class Proxy:
    """A port on loopback that leads to another one, there or on `host`. It takes connections once it is entered.

    `swallow`: nothing gets through and nobody is told, as with a modem that lost its network. Bytes on their way
    arrive when the link is back, as TCP repeats them, or never, where the ends gave up meanwhile.
    `refuse`: open connections are ended, new ones refused.
    `rate`: bytes a second and direction, 0 for as fast as it goes.
    """

    def __init__(
        self, target: int, watch: Callable[[], Watch] = lambda: lambda _data: None, *, host: str = "127.0.0.1"
    ) -> None:
        self.port = free_port()
        self.rate = 0
        #: Connections made to it since the start.
        self.connections = 0
        self._target = (host, target)
        self._watch = watch
        self._listener: socket.socket | None = None
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._flows = threading.Event()
        self._flows.set()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.refuse = False
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse, self.swallow = True, False
        for thread in list(self._threads):
            thread.join(5)

    @property
    def swallow(self) -> bool:
        return not self._flows.is_set()

    @swallow.setter
    def swallow(self, on: bool) -> None:
        (self._flows.clear if on else self._flows.set)()

    @property
    def refuse(self) -> bool:
        return self._listener is None

    @refuse.setter
    def refuse(self, on: bool) -> None:
        if on and self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._listener.close()
            self._listener = None
            self.cut()
        elif not on and self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._start(self._accept, self._listener)

    def cut(self) -> None:
        """End all connections that are there now."""
        for sock in list(self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _start(self, run: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                self.connections += 1
                self._sockets.add(near)
                self._start(self._serve, near)
                if self._listener is not listener:  # refused meanwhile
                    near.shutdown(socket.SHUT_RDWR)

    def _serve(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            self._flows.wait()
            with socket.create_connection(self._target, timeout=5) as far:
                far.settimeout(None)
                self._sockets.add(far)
                for sock in (near, far):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    # Small buffers, so that the ends feel the rate.
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                back = self._start(self._pass_on, far, near, lambda _data: None)
                self._pass_on(near, far, self._watch())
                back.join()
                self._sockets.discard(far)
        self._sockets.discard(near)

    def _pass_on(self, source: socket.socket, target: socket.socket, watch: Watch) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536 if not self.rate else 16384):
                if self.rate:
                    time.sleep(len(data) / self.rate)
                self._flows.wait()
                watch(data)
                target.sendall(data)
        for sock in (source, target):  # the end of one direction ends the other
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
