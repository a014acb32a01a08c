"""Reads the answers of an HTTP server, strictly. It is given the bytes, and does no input or output itself."""

import re
from collections.abc import Generator, Mapping
from typing import NamedTuple, TypeVar

#: Bytes of an answer that are read unless a caller wants more. The XML of an error is far shorter.
MAX_BYTES = 64 * 1024
NO_HTTP = "it does not speak HTTP"

_MAX_HEAD = 64 * 1024
_MAX_LINE = 4 * 1024
_STATUS = re.compile(r"HTTP/1\.([01]) ([1-9]\d\d)(?: .*)?")
_HEADER = re.compile(r"([!#-'*+.0-9A-Z^-z|~-]+):(.*)")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")


T = TypeVar("T")
#: Yields when it needs more, and is sent what has come: nothing, when the other end has closed.
Reading = Generator[None, bytes, T]


class Answer(NamedTuple):
    """Names of `headers` are in lower case. `body` holds the first bytes, as many as the caller wanted."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Reader:
    """Reads the answer to a request with this method; of its body, the first `most` bytes.

    OSError: it makes no sense.
    """

    def __init__(self, method: str, most: int) -> None:
        self._method = method
        self._most = most
        #: Bytes that came and are not read yet.
        self.rest = b""
        #: What is known of the answer so far.
        self.answer: Answer | None = None
        #: Whether the answer was read to its end, and another may follow on the connection.
        self.reusable = False

    def read(self) -> Reading[None]:
        """Until the answer is complete."""
        version, status, headers = yield from self._head()
        self.answer = Answer(status, headers, b"")
        body, whole = yield from self._body(status, headers)
        self.answer = Answer(status, headers, body)
        closing = version == "0" or "close" in headers.get("connection", "").lower()
        self.reusable = whole and not closing and not self.rest

    def _head(self) -> Reading[tuple[str, int, dict[str, str]]]:
        """Minor version, status and headers, once the answer is more than `100 Continue`."""
        while True:
            text = yield from self._until(b"\r\n\r\n", _MAX_HEAD)
            first, *lines = text.decode("latin-1").split("\r\n")
            status = _STATUS.fullmatch(first)
            found = [_HEADER.fullmatch(line) for line in lines]
            if status is None or None in found:
                raise OSError(NO_HTTP)
            if status[2][0] != "1":
                headers: dict[str, str] = {}
                for each in found:
                    name, value = each[1].lower(), each[2].strip(" \t")  # type: ignore[index] # see above
                    headers[name] = f"{headers[name]}, {value}" if name in headers else value
                return status[1], int(status[2]), headers

    def _body(self, status: int, headers: Mapping[str, str]) -> Reading[tuple[bytes, bool]]:
        """Its first bytes, and whether the answer was read to its end."""
        if self._method == "HEAD" or status in (204, 304):
            return b"", True
        if "transfer-encoding" in headers:
            if headers["transfer-encoding"].lower() != "chunked":
                raise OSError(NO_HTTP)
            return (yield from self._chunks())
        if (length := headers.get("content-length")) is None:
            pieces, there = [self.rest], len(self.rest)
            while there < self._most and (more := (yield)):
                pieces.append(more)
                there += len(more)
            return b"".join(pieces)[: self._most], False
        if not (length.isascii() and length.isdecimal()):
            raise OSError(NO_HTTP)
        return (yield from self._exactly(min(int(length), self._most))), int(length) <= self._most

    def _chunks(self) -> Reading[tuple[bytes, bool]]:
        data = b""
        while True:
            line = yield from self._until(b"\r\n", _MAX_LINE)
            if (chunk := _CHUNK.fullmatch(line)) is None:
                raise OSError(NO_HTTP)
            if not (size := int(chunk[1], 16)):
                break
            data += yield from self._exactly(min(size, self._most - len(data)))
            if len(data) == self._most:
                return data, False
            if (yield from self._exactly(2)) != b"\r\n":
                raise OSError(NO_HTTP)
        while (yield from self._until(b"\r\n", _MAX_LINE)):
            pass  # trailers
        return data, True

    def _until(self, mark: bytes, most: int) -> Reading[bytes]:
        while (end := self.rest.find(mark, 0, most)) < 0:
            if len(self.rest) >= most:
                raise OSError(NO_HTTP)
            self.rest += yield from self._more()
        found, self.rest = self.rest[:end], self.rest[end + len(mark) :]
        return found

    def _exactly(self, count: int) -> Reading[bytes]:
        pieces, there = [self.rest], len(self.rest)
        while there < count:
            pieces.append((yield from self._more()))
            there += len(pieces[-1])
        data = b"".join(pieces)
        self.rest = data[count:]
        return data[:count]

    def _more(self) -> Reading[bytes]:
        if data := (yield):
            return data
        raise ConnectionResetError("it broke off")
