"""Reads the answers of an HTTP server from a socket, strictly."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

#: Bytes of an answer that are read unless a caller wants more. The XML of an error is far shorter.
MAX_BYTES = 64 * 1024
NO_HTTP = "it does not speak HTTP"

_MAX_HEAD = 64 * 1024
_MAX_LINE = 4 * 1024
_STATUS = re.compile(r"HTTP/1\.([01]) ([1-9]\d\d)(?: .*)?")
_HEADER = re.compile(r"([!#-'*+.0-9A-Z^-z|~-]+):[ \t]*(.*?)[ \t]*")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")


class Answer(NamedTuple):
    """Names of `headers` are in lower case. `body` holds the first bytes, as many as the caller wanted."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Reader:
    """Reads one answer, all of it before a deadline: a byte now and then is no answer."""

    def __init__(self, sock: Any, seconds: float) -> None:
        self._sock = sock
        self._deadline = time.monotonic() + seconds
        #: Bytes that came and are not read yet.
        self.rest = bytearray()

    def head(self) -> tuple[str, int, dict[str, str]]:
        """Minor version, status and headers, once the answer is more than `100 Continue`."""
        while True:
            first, *lines = self._until(b"\r\n\r\n", _MAX_HEAD).decode("latin-1").split("\r\n")
            status = _STATUS.fullmatch(first)
            found = [_HEADER.fullmatch(line) for line in lines]
            if status is None or None in found:
                raise OSError(NO_HTTP)
            if status[2][0] != "1":
                headers: dict[str, str] = {}
                for each in found:
                    name, value = each[1].lower(), each[2]  # type: ignore[index] # see above
                    headers[name] = f"{headers[name]}, {value}" if name in headers else value
                return status[1], int(status[2]), headers

    def body(self, method: str, status: int, headers: Mapping[str, str], most: int) -> tuple[bytes, bool]:
        """Its first bytes, and whether the answer was read to its end."""
        if method == "HEAD" or status in (204, 304):
            return b"", True
        if "transfer-encoding" in headers:
            if headers["transfer-encoding"].lower() != "chunked":
                raise OSError(NO_HTTP)
            return self._chunks(most)
        if (length := headers.get("content-length")) is None:
            while len(self.rest) < most and self._more():
                pass
            return bytes(self.rest[:most]), False
        if not (length.isascii() and length.isdecimal()):
            raise OSError(NO_HTTP)
        return self._exactly(min(int(length), most)), int(length) <= most

    def _chunks(self, most: int) -> tuple[bytes, bool]:
        data = b""
        while True:
            if (chunk := _CHUNK.fullmatch(self._until(b"\r\n", _MAX_LINE))) is None:
                raise OSError(NO_HTTP)
            if not (size := int(chunk[1], 16)):
                break
            data += self._exactly(min(size, most - len(data)))
            if len(data) == most:
                return data, False
            if self._exactly(2) != b"\r\n":
                raise OSError(NO_HTTP)
        while self._until(b"\r\n", _MAX_LINE):
            pass  # trailers
        return data, True

    def _until(self, mark: bytes, most: int) -> bytes:
        while (end := self.rest.find(mark, 0, most)) < 0:
            if len(self.rest) >= most:
                raise OSError(NO_HTTP)
            self._need_more()
        found, _ = self._exactly(end), self._exactly(len(mark))
        return found

    def _exactly(self, count: int) -> bytes:
        while len(self.rest) < count:
            self._need_more()
        found = bytes(self.rest[:count])
        del self.rest[:count]
        return found

    def _need_more(self) -> None:
        if not self._more():
            raise ConnectionResetError("it broke off")

    def _more(self) -> bool:
        if time.monotonic() > self._deadline:
            raise TimeoutError("the answer does not come to an end")
        data = self._sock.recv(65536)
        self.rest += data
        return bool(data)
