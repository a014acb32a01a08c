"""One HTTP or HTTPS server, asked over connections of urllib3 that are kept.

What urllib3 lacks stands here: a time by which an answer must be whole, heads of answers that are cut off, and what
became of a request on a connection that the server was closing.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator, Mapping
from functools import cached_property
from http.client import HTTPResponse
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ClosedPoolError, ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError
from urllib3.util import make_headers

#: The XML of an error is far below; whoever sends more may be sending for ever.
MAX_BYTES = 64 * 1024

# More than there are threads that ask: a connection that is given back is never one too many.
_KEPT = 256
_SEND_SECONDS = 30.0
# How a connection shows that its other end is gone.
_TLS_ENDED = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
_BROKEN = (ConnectionError, *_TLS_ENDED)


class KeptConnectionClosedError(ConnectionError):
    """The server ended a connection of an earlier request, before this one arrived or after."""


class Answer(NamedTuple):
    """`headers` are found in any case. `body` is what was asked for of its first bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connections:
    """Safe to use from many threads; keeps as many connections as there were requests at once. Follows no redirects.

    Proxies are taken from the environment (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`). Certificates are verified by the
    system's CAs, or by those in the PEM file that `AWS_CA_BUNDLE` or `REQUESTS_CA_BUNDLE` names.

    Args:
        url: of which scheme, host and port count.
        connect_seconds: for the TCP connection, to each address of the host.
        read_seconds: for the answer to begin, and for all of it to come.

    """

    def __init__(self, url: str, *, connect_seconds: float, read_seconds: float) -> None:
        parts = urlsplit(url)
        self._tls = parts.scheme == "https"
        #: What the header `host` says.
        self.host = parts.netloc.removesuffix(":443" if self._tls else ":80")
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._timeout = urllib3.Timeout(connect=connect_seconds, read=read_seconds)
        self._pool: urllib3.HTTPConnectionPool | None = None

    def request(
        self, method: str, path: str, headers: Mapping[str, Any], body: bytes = b"", *, max_bytes: int = MAX_BYTES
    ) -> Answer:
        """Sends a request, and waits for the answer.

        Args:
            method: such as `PUT`.
            path: percent-encoded, with the query.
            headers: without `content-length`.
            body: all of it.
            max_bytes: of the answer's body; what is beyond is not read.

        Raises:
            KeptConnectionClosedError: the request may have been served or not; the next one has a new connection.
            TimeoutError: no connection, or no whole answer, in time.
            ssl.SSLCertVerificationError: the server is somebody else.
            OSError: the server or the proxy cannot be reached, broke off, or does not speak HTTP.

        """
        try:
            return self._exchange(method, path, headers, body, max_bytes)
        except (HTTPError, OSError, ValueError) as error:
            self.close()  # other connections will have met the same fate
            raise _behind(error) from error

    def close(self) -> None:
        """Ends the connections that are idle; the next request makes a new one."""
        with contextlib.suppress(HTTPError, OSError, ValueError):  # of a proxy's URL that is none
            self._manager.clear()
            self._pool = None

    def _exchange(self, method: str, path: str, headers: Mapping[str, Any], body: bytes, max_bytes: int) -> Answer:
        manager = self._manager
        if isinstance(manager, urllib3.ProxyManager) and not self._tls:
            path, headers = self.origin + path, {**headers, **manager.proxy_headers}
        while True:
            pool = self._pool = self._pool or manager.connection_from_url(self.origin)
            try:
                response = pool.urlopen(
                    method,
                    path,
                    body,
                    headers,
                    retries=False,
                    redirect=False,
                    assert_same_host=False,
                    preload_content=False,
                    decode_content=False,
                )
            except ClosedPoolError:  # another thread had trouble just now
                self._pool = None
            else:
                break
        try:
            data = response.read(max_bytes)
        except (HTTPError, OSError):
            if response.status < 300:
                raise
            data = b""  # the status has told what matters
        finally:
            if not response.closed:
                response.close()  # not read to its end
            response.release_conn()
        return Answer(response.status, response.headers, data)

    @cached_property
    def _manager(self) -> urllib3.PoolManager:
        options: dict[str, Any] = {"timeout": self._timeout, "maxsize": _KEPT}
        if self._tls:
            options["ssl_context"] = _context()
        if (proxy := self._proxy()) is None:
            manager = urllib3.PoolManager(**options)
        else:
            parts = urlsplit(proxy)
            if parts.scheme != "http":
                raise OSError(f"a proxy of the kind {parts.scheme}:// is not supported")
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username is not None else None
            url = f"http://{parts.netloc.rpartition('@')[2]}"
            manager = urllib3.ProxyManager(url, proxy_headers=make_headers(proxy_basic_auth=user), **options)
        manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
        return manager

    def _proxy(self) -> str | None:
        scheme, _, netloc = self.origin.partition("://")
        if urllib.request.proxy_bypass(netloc):
            return None
        url = urllib.request.getproxies().get(scheme)
        return url if not url or "//" in url else f"http://{url}"


def in_words(trouble: BaseException) -> str:
    """What went wrong, briefly; of what a server sent only what a proxy says about itself."""
    text = (trouble.strerror or str(trouble)) if isinstance(trouble, OSError) else ""
    return text[:200] or type(trouble).__name__


def _context() -> ssl.SSLContext:
    bundle = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
    try:
        return ssl.create_default_context(cafile=bundle)
    except OSError as error:
        raise OSError(f"no certificates can be read from AWS_CA_BUNDLE or REQUESTS_CA_BUNDLE {bundle}") from error


class _Stream(io.RawIOBase):
    """What comes from a socket, until its timeout is over for all of it together: a byte now and then is no answer."""

    def __init__(self, sock: socket.socket) -> None:
        self._file = sock.makefile("rb", buffering=0)
        self._deadline = time.monotonic() + (sock.gettimeout() or 0)
        #: Whether the server has ended the connection.
        self.ended = False

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, 16 * 1024)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if time.monotonic() > self._deadline:
            raise TimeoutError("the answer does not come to an end")
        count = self._file.readinto(buffer)
        self.ended = not count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        self._stream = _Stream(sock)
        super().__init__(self._stream, *args, **kwargs)  # type: ignore[arg-type] # it wants `makefile` alone

    def begin(self) -> None:
        super().begin()
        if self._stream.ended:  # which http.client takes for the end of the headers
            raise ConnectionResetError("it broke off")


class _Kept(HTTPConnection):
    response_class = _Response
    _has_answered = False

    def connect(self) -> None:
        self._has_answered = False
        super().connect()
        self.sock.settimeout(_SEND_SECONDS)

    def request(self, *args: Any, **kwargs: Any) -> None:
        # A server that refuses may end the connection before it has read all; why, says its answer.
        with contextlib.suppress(*_TLS_ENDED):
            super().request(*args, **kwargs)

    def getresponse(self) -> Any:
        try:
            response = super().getresponse()
        except _BROKEN as error:
            if self._has_answered:
                raise KeptConnectionClosedError("the server closed a connection that was kept") from error
            raise
        self._has_answered = True
        return response


class _KeptTls(_Kept, HTTPSConnection):
    pass


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Kept


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _KeptTls


def _behind(error: BaseException) -> OSError:
    """The trouble itself, out of the errors that urllib3 wraps it in."""
    # Another kind of connection that was not made is a kind of this one to urllib3.
    if isinstance(error, (ConnectTimeoutError, ReadTimeoutError)) and not isinstance(error, NewConnectionError):
        return TimeoutError("no answer in time")
    found = next((each for each in _all_of(error) if isinstance(each, OSError)), None)
    return found or OSError(type(error).__name__ if isinstance(error, ValueError) else "it does not speak HTTP")


def _all_of(error: BaseException) -> Iterator[BaseException]:
    yield error
    for each in (*error.args, error.__cause__):
        if isinstance(each, BaseException):
            yield from _all_of(each)
