"""One HTTP or HTTPS server, asked over connections that are kept."""

import contextlib
import os
import socket
import ssl
import time
import weakref
from collections import deque
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from face_messages.mqtt.proxy import Proxy, proxy_for
from object_store.answers import MAX_BYTES, Answer
from object_store.connection import Connection

# A new connection looks the name up again and reads the CAs again. In seconds.
_LONGEST_USE = 600.0


class Connections:
    """Safe to use from many threads. Keeps as many connections as there were requests at once. Follows no redirects.

    Proxies come from the environment. The system's CAs are trusted, or those in the PEM file that `AWS_CA_BUNDLE` or
    `REQUESTS_CA_BUNDLE` names. Making a connection may take `connect_seconds` for each address of the host, sending a
    request and reading the whole answer `read_seconds` each.
    """

    def __init__(self, url: str, *, connect_seconds: float, read_seconds: float) -> None:
        parts = urlsplit(url)
        self._tls = parts.scheme == "https"
        #: What the header `host` says.
        self.host = parts.netloc.removesuffix(":443" if self._tls else ":80")
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._address = (parts.hostname or "", parts.port or (443 if self._tls else 80))
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._context: ssl.SSLContext | None = None
        self._context_of: Any = None
        self.idle: deque[Connection] = deque()
        weakref.finalize(self, _close, self.idle)

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", *, max_bytes: int = MAX_BYTES
    ) -> Answer:
        """Sends a request and waits for the answer. `path` is percent-encoded, with the query.

        Raises KeptConnectionClosedError if the server may have served the request or not, TimeoutError if there was no
        connection or no whole answer in time, and OSError if the server cannot be reached or trusted, or broke off.
        """
        try:
            data = self._data(method, path, headers, body)
            connection = self._kept() or self._connect()
        except (OSError, ValueError) as error:
            self.close()  # the other connections will have met the same fate
            raise _cause(error) from error
        connection.start(method, data, max_bytes)
        while (answer := self.proceed(connection)) is None:
            connection.wait()
        return answer

    def start(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Connection | None:
        """Begins a request over a connection that is kept, for `proceed`; None where there is none. It never waits.

        Raises OSError if the request cannot be written down.
        """
        try:
            data = self._data(method, path, headers, body)
        except ValueError as error:
            raise _cause(error) from error
        if (connection := self._kept()) is not None:
            connection.start(method, data, MAX_BYTES)
        return connection

    def proceed(self, connection: Connection) -> Answer | None:
        """Goes on without waiting; the answer once it is there, and then the connection is no longer the caller's.

        Raises as `request` does.
        """
        try:
            answer = connection.proceed()
        except BaseException as error:
            connection.close()
            if not isinstance(error, OSError | ValueError):
                raise
            self.close()  # as above
            raise _cause(error) from error
        if connection.reusable:
            self.idle.append(connection)
        elif answer is not None:
            connection.close()
        return answer

    def close(self) -> None:
        """Closes all idle connections. The next request makes a new one."""
        _close(self.idle)

    def _data(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        if self._proxy and not self._tls:
            path, headers = self.origin + path, {**headers, **self._proxy.headers}
        return _request(method, path, headers, body)

    def _kept(self) -> Connection | None:
        with contextlib.suppress(IndexError):
            while True:
                connection = self.idle.pop()
                if not connection.over and time.monotonic() - connection.since < _LONGEST_USE:
                    return connection
                connection.close()
        return None

    def _connect(self) -> Connection:
        if self._proxy and self._tls:
            sock = self._proxy.connect(*self._address, timeout=self._connect_seconds)
            sock.settimeout(self._connect_seconds)
        else:
            address = (self._proxy.host, self._proxy.port) if self._proxy else self._address
            sock = socket.create_connection(address, timeout=self._connect_seconds)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                sock = self._trusting().wrap_socket(sock, server_hostname=self._address[0])
        except BaseException:
            sock.close()
            raise
        return Connection(sock, self._read_seconds)

    @cached_property
    def _proxy(self) -> Proxy | None:
        return proxy_for(*self._address, tls=self._tls)

    def _trusting(self) -> ssl.SSLContext:
        """Made again when the file with the CAs has changed."""
        bundle = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
        try:
            file = bundle or ssl.get_default_verify_paths().cafile
            stat = Path(file).stat() if file else None
            state = (file, stat and (stat.st_ino, stat.st_mtime_ns, stat.st_size))
            if self._context is None or state != self._context_of:
                self._context, self._context_of = ssl.create_default_context(cafile=bundle), state
        except OSError as error:
            raise OSError(f"no certificates can be read from AWS_CA_BUNDLE or REQUESTS_CA_BUNDLE {bundle}") from error
        return self._context


def _close(idle: deque[Connection]) -> None:
    with contextlib.suppress(IndexError):
        while True:
            idle.pop().close()


def in_words(trouble: BaseException) -> str:
    """What went wrong, briefly. Of what a server sent, only what a proxy says about itself."""
    text = (trouble.strerror or str(trouble)) if isinstance(trouble, OSError) else ""
    return text[:200] or type(trouble).__name__


def _request(method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "accept-encoding: identity", "user-agent: facedetection"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body or method in ("PUT", "POST"):
        lines.append(f"content-length: {len(body)}")
    head = "\r\n".join(lines)
    if not head.count("\n") == head.count("\r") == len(lines) - 1:
        raise ValueError("a header with a line break")
    return b"%s\r\n\r\n%s" % (head.encode("latin-1"), body)


def _cause(error: Exception) -> OSError:
    return error if isinstance(error, OSError) else OSError(type(error).__name__)
