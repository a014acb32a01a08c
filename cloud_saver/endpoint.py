"""One HTTP or HTTPS server, asked over connections that are kept, for as little CPU time as may be.

A request goes out in one piece, its head and its body, which the server has less work with, too.
"""

from __future__ import annotations

import base64
import contextlib
import os
import select
import socket
import ssl
import urllib.request
import weakref
from collections import deque
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, unquote, urlsplit

from cloud_saver.answer import MAX_BYTES, Answer, read_answer

#: What a request may run into: the network, a proxy, a proxy's URL that is none.
TROUBLE = (OSError, HTTPException, ValueError)

# How a connection shows that its other end is gone.
_BROKEN = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class KeptConnectionClosedError(ConnectionError):
    """The server ended a connection of an earlier request, before this one arrived or after."""


class Endpoint:
    """Safe to use from many threads; keeps as many connections as there were requests at once. Follows no redirects.

    Proxies are taken from the environment (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`). Certificates are verified by the
    system's CAs, or by those in the PEM file that `AWS_CA_BUNDLE` or `REQUESTS_CA_BUNDLE` names.

    Args:
        url: of which scheme, host and port count.
        connect_seconds: for the TCP connection, to each address of the host.
        read_seconds: for the request to go out, and again for its answer to come in.

    """

    def __init__(self, url: str, *, connect_seconds: float, read_seconds: float) -> None:
        parts = urlsplit(url)
        self._tls = parts.scheme == "https"
        self._address = (parts.hostname or "", parts.port or (443 if self._tls else 80))
        #: What the header `host` says.
        self.host = parts.netloc.removesuffix(":443" if self._tls else ":80")
        self._parts = parts
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._idle: deque[socket.socket] = deque()
        weakref.finalize(self, _close_all, self._idle)

    def request(
        self, method: str, path: str, headers: dict[str, str], body: bytes = b"", *, max_bytes: int = MAX_BYTES
    ) -> Answer:
        """Sends a request, and waits for the answer. Only a HEAD is repeated, if a kept connection proves to be closed.

        Args:
            method: such as `PUT`.
            path: percent-encoded, with the query.
            headers: without `content-length`, printable; with `connection: close` it is not kept.
            body: all of it.
            max_bytes: of the answer's body; what is beyond is not read.

        Raises:
            KeptConnectionClosedError: the request may have been served or not; the next one has a new connection.
            TimeoutError: no connection, or no whole answer, in time.
            OSError: the server cannot be reached, broke off, or does not speak HTTP.
            HTTPException: the proxy does not.

        """
        data = self._written(method, path, headers, body)
        kept = self._kept()
        try:
            keep = headers.get("connection") != "close"
            return self._exchange(kept or self._connect(), method, data, max_bytes=max_bytes, keep=keep)
        except OSError as error:
            _close_all(self._idle)  # the others will have met the same fate
            if kept is None or not isinstance(error, _BROKEN):
                raise
            if method == "HEAD":
                return self.request(method, path, headers, body)
            raise KeptConnectionClosedError("the server closed a connection that was kept") from error

    def _written(self, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
        if not "".join([path, *headers, *headers.values()]).isprintable():
            raise ValueError("a header that would end here, and begin another")
        if self._proxy is not None and not self._tls:
            path = f"http://{self.host}{path}"
            headers = headers | _authorization(self._proxy)
        fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        return f"{method} {path} HTTP/1.1\r\n{fields}content-length: {len(body)}\r\n\r\n".encode("ascii") + body

    def _exchange(self, sock: socket.socket, method: str, data: bytes, *, max_bytes: int, keep: bool) -> Answer:
        reusable = False
        try:
            # A server that refuses may end the connection before it has read all; why, says its answer.
            with contextlib.suppress(*_BROKEN):
                sock.sendall(data)
            answer = read_answer(sock, seconds=self._read_seconds, to_head=method == "HEAD", max_bytes=max_bytes)
            reusable = answer.reusable and keep
        finally:
            if reusable:
                self._idle.append(sock)
            else:
                sock.close()
        return answer

    def _kept(self) -> socket.socket | None:
        with contextlib.suppress(IndexError):
            while True:
                sock = self._idle.pop()
                if not _has_something(sock):
                    return sock
                sock.close()  # something that was not asked for: the end of the connection, as a rule
        return None

    def _connect(self) -> socket.socket:
        host, port = self._address
        if self._proxy is not None:
            if self._proxy.scheme != "http":
                raise OSError(f"a proxy of the kind {self._proxy.scheme}:// is not supported")
            host, port = self._proxy.hostname or "", self._proxy.port or 80
        if self._tls:
            connection: HTTPConnection = HTTPSConnection(
                host, port, timeout=self._connect_seconds, context=self._context
            )
            if self._proxy is not None:
                connection.set_tunnel(*self._address, headers=_authorization(self._proxy))
        else:
            connection = HTTPConnection(host, port, timeout=self._connect_seconds)
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        sock: socket.socket = connection.sock
        sock.settimeout(self._read_seconds)
        return sock

    @cached_property
    def _proxy(self) -> SplitResult | None:
        if urllib.request.proxy_bypass(self._parts.netloc):
            return None
        url = urllib.request.getproxies().get(self._parts.scheme)
        return urlsplit(url if "//" in url else f"http://{url}") if url else None

    @cached_property
    def _context(self) -> ssl.SSLContext:
        bundle = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
        try:
            return ssl.create_default_context(cafile=bundle)
        except OSError as error:
            raise OSError(f"no certificates can be read from AWS_CA_BUNDLE or REQUESTS_CA_BUNDLE {bundle}") from error


def in_words(trouble: BaseException) -> str:
    """What went wrong, briefly; of what a server sent only what a proxy says about itself."""
    text = (trouble.strerror or str(trouble)) if isinstance(trouble, OSError) else ""
    return text[:200] or type(trouble).__name__


def _has_something(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _close_all(sockets: deque[socket.socket]) -> None:
    with contextlib.suppress(IndexError):
        while True:
            sockets.pop().close()


def _authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return {"proxy-authorization": f"Basic {base64.b64encode(user).decode()}"}
