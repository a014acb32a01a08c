"""An HTTP proxy that takes CONNECT, or answers as one that refuses does."""

from __future__ import annotations

import base64
import contextlib
import socket
import socketserver
import threading
from types import TracebackType
from typing import Self


class HttpProxy:
    """On 127.0.0.1, in threads.

    Args:
        user: name and password that it wants.
        answer: what it says to each request, in place of the tunnel.
        leads_to: the port on 127.0.0.1 to which it connects, whatever it is asked for.

    """

    def __init__(
        self, *, user: tuple[str, str] | None = None, answer: bytes | None = None, leads_to: int | None = None
    ) -> None:
        self._user = user
        self._answer = answer
        self._leads_to = leads_to
        #: The heads of all requests.
        self.requests: list[str] = []
        proxy = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                proxy._handle(self)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._open: list[socket.socket] = []

    def url(self, credentials: str = "") -> str:
        return f"http://{credentials}127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Ends all tunnels that are there now."""
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.cut()

    def _handle(self, handler: socketserver.StreamRequestHandler) -> None:
        lines = []
        while line := handler.rfile.readline().strip():
            lines.append(line.decode())
        if not lines:
            return
        self.requests.append("\n".join(lines))
        if self._answer is not None:
            handler.wfile.write(self._answer)
            return
        if self._user is not None:
            pair = base64.b64encode(":".join(self._user).encode()).decode()
            if f"Proxy-Authorization: Basic {pair}" not in lines:
                wants = b'Proxy-Authenticate: Basic realm="proxy"'
                handler.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n" + wants + b"\r\n\r\n")
                return
        host, _, port = lines[0].split()[1].rpartition(":")
        place = (host.strip("[]"), int(port)) if self._leads_to is None else ("127.0.0.1", self._leads_to)
        try:
            target = socket.create_connection(place, timeout=5)
        except OSError:
            handler.wfile.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        target.settimeout(None)
        # Some proxies add headers of their own, and name no reason.
        handler.wfile.write(b"HTTP/1.1 200\r\nVia: 1.1 proxy\r\n\r\n")
        self._open += [handler.connection, target]
        back = threading.Thread(target=_pass_on, args=(target, handler.connection), daemon=True)
        back.start()
        _pass_on(handler.connection, target)
        back.join()
        target.close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
